from hypothesis import given
from hypothesis import strategies as st
from synthetic_tree import START, mcb, thin_archive

from lab.evidence import autoksyms, objects
from lab.evidence.bundle import Evidence
from lab.evidence.writes import Write

NEW, LIST, KSYM = "include/generated/autoksyms.h.tmpnew", "include/generated/autoksyms.h", "include/ksym/a"


def test_a_thin_archive_names_its_members(tmp_path):
    path = tmp_path / "vmlinux.a"
    path.write_bytes(thin_archive(["init/main.o", "drivers/mcb/mcb-core.o"]))
    assert objects.archive_members(path) == ("init/main.o", "drivers/mcb/mcb-core.o")


def test_an_object_knows_what_it_is_linked_into(tmp_path):
    tree = mcb(tmp_path, object_at=10.2, list_at=10.4, touch_at=11.5)
    facts = Evidence(tree.root).objects
    assert facts["drivers/mcb/mcb-core.o"].part_of == "vmlinux"
    assert facts["drivers/mcb/mcb-lpc.o"].part_of == "drivers/mcb/mcb-lpc.ko"


def test_facts_survive_the_jsonl(tmp_path):
    facts = (objects.ObjectFacts(path="a\udcff\n.o", markers=("x",), undefined=("y",)), objects.ObjectFacts(path="b.o"))
    path = tmp_path / "objects.jsonl"
    path.write_text("".join(objects.jsonl(facts)))
    assert objects.read_jsonl(path) == facts


@given(st.binary(max_size=200))
def test_any_bytes_are_an_objects_jsonl(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("objects") / "objects.jsonl"
    path.write_bytes(data + b'\n{"path": 3}\n{"path": "x", "markers": [1, "a"]}\n[]')
    assert objects.read_jsonl(path)[-1].markers == ("a",)


def test_the_old_and_the_new_names_of_a_dependency_file():
    names = autoksyms.dependency_names("__put_user_4")
    assert {"include/ksym/__put_user_4", "include/config/ksym/put/user/4.h"} <= set(names)


def test_an_object_of_before_5_1_is_judged_without_markers():
    command = autoksyms.Command(file="", target="x.o", command="", ksyms=("include/config/ksym/put/user/4.h",))
    facts = {"x.o": objects.ObjectFacts(path="x.o", defines=("__put_user_4", "other"))}
    (stale,) = autoksyms.stale_exports([command], facts, frozenset({"__put_user_4", "other"}), {}, 1)
    assert stale.missing == ("__put_user_4",)


def test_a_round_is_what_was_touched_between_the_list_and_its_move():
    events = [
        (1, "C", NEW),
        (2, "W", NEW),
        (3, "C", KSYM),
        (4, "WA", KSYM),
        (5, "M", LIST),
        (6, "WA", KSYM),
        (7, "C", NEW),
    ]
    (found,) = autoksyms.rounds([Write(START + time, letters, path) for time, letters, path in events])
    assert found.list_ns == START + 2
    assert [(touch.first_ns, touch.count) for touch in found.touches] == [(START + 4, 1)]


def test_the_guard_is_known_by_its_loop():
    assert autoksyms.has_guard('while [ ! "$depfile" -nt "$new_ksyms_file" ]; do')
    assert autoksyms.has_guard("until test ${depfile} -nt ${new_ksyms_file}; do")
    assert not autoksyms.has_guard('touch "$depfile"\n# while [ ! "$depfile" -nt "$new_ksyms_file" ]')
