import json
import os
import sys
from pathlib import Path

import pytest

from lab.checks import timestamps
from lab.evidence.bundle import Evidence, pack
from lab.evidence.writes import WRITES, steps_back
from lab.model import NotApplicable, Severity

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
from synthetic_tree import GUARDED, SECOND, START, UNGUARDED, Tree, mcb

OBJECT, DEPENDENCY = "drivers/mcb/mcb-core.o", "include/ksym/mcb_alloc_bus"


def judged(evidence):
    answers = list(timestamps.check(evidence))
    return [one for one in answers if not isinstance(one, NotApplicable)]


def reasons(evidence):
    return {one.check: one.because for one in timestamps.check(evidence) if isinstance(one, NotApplicable)}


def packed(tree, tmp_path, *, script, granularity_ns=SECOND, record=True, whole=True):
    folder, source = tmp_path / "attempt", tmp_path / "src"
    folder.mkdir()
    source.joinpath("scripts").mkdir(parents=True)
    if script is not None:
        source.joinpath("scripts/adjust_autoksyms.sh").write_text(script)
    writes = tree.writes(tmp_path / "order.tsv") if record else None
    pack(tree.root, folder, source=source, writes=writes, whole=whole)
    folder.joinpath("record.json").write_text(json.dumps({"filesystem": {"granularity_ns": granularity_ns}}))
    return Evidence(folder)


def test_an_object_overlooked_in_the_same_second_is_a_tie_and_stale(tmp_path):
    tree = mcb(tmp_path / "out", stale=True, object_at=10.2, list_at=10.4, touch_at=10.5)
    tie, stale = judged(packed(tree, tmp_path, script=UNGUARDED))
    assert (tie.id, tie.severity, tie.blame) == ("timestamps.tie", Severity.FAIL, OBJECT)
    pair = tie.data["pairs"][0]
    assert pair == {
        "object": OBJECT,
        "dependency": DEPENDENCY,
        "object_time_ns": START + 10 * SECOND,
        "dependency_time_ns": START + 10 * SECOND,
        "apart_ns": 300_000_000,
        "shared_second": "2023-11-14 22:13:30 UTC",
        "granularity_ns": SECOND,
        "hit": True,
    }
    assert all(word in tie.message for word in (OBJECT, DEPENDENCY, "2023-11-14 22:13:30 UTC", "1 s"))
    assert any("adjust_autoksyms.sh:5" in reason and "825d48758308" in reason for reason in tie.because)
    assert (stale.id, stale.severity, stale.data["missing"]) == ("timestamps.stale", Severity.FAIL, ["mcb_alloc_bus"])
    assert stale.data["shared_second"] == "2023-11-14 22:13:30 UTC"


def test_on_a_clock_of_two_seconds_what_is_shared_is_no_second(tmp_path):
    """1.3 s apart: two seconds by the calendar, one tick of this clock."""
    tree = mcb(tmp_path / "out", stale=True, object_at=10.2, list_at=11.4, touch_at=11.5, granularity=2.0)
    tie, stale = judged(packed(tree, tmp_path, script=UNGUARDED, granularity_ns=2 * SECOND))
    assert tie.data["pairs"][0]["shared_second"] == "2023-11-14 22:13:30 UTC"
    assert "1.3 s after" in tie.message
    assert tie.message.endswith(": same two seconds 2023-11-14 22:13:30 UTC (times here are exact to 2 s)")
    assert stale.because[0].startswith("it carries the same two seconds as its dependency")
    assert "same second" not in " ".join((tie.message, *tie.because, stale.message, *stale.because))


def test_on_a_clock_of_two_seconds_luck_is_counted_in_its_ticks(tmp_path):
    tree = mcb(tmp_path / "out", object_at=11.8, list_at=11.9, touch_at=12.1, granularity=2.0)
    (tie,) = judged(packed(tree, tmp_path, script=UNGUARDED, granularity_ns=2 * SECOND))
    assert tie.data["hit_count"] == 0
    assert tie.data["likelihood"] == pytest.approx(0.85)
    assert (
        "only luck put that into two ticks of 2 s, 2023-11-14 22:13:30 UTC and 2023-11-14 22:13:32 UTC" in tie.message
    )


def test_on_a_clock_of_two_seconds_the_guard_is_seen_at_work(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.8, list_at=10.9, touch_at=12.01, touches=60, granularity=2.0)
    assert judged(packed(tree, tmp_path, script=None, granularity_ns=2 * SECOND)) == []


def test_a_lucky_build_without_the_guard_is_a_tie_that_says_how_likely(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.8, list_at=10.9, touch_at=11.1)
    (tie,) = judged(packed(tree, tmp_path, script=UNGUARDED))
    assert tie.id == "timestamps.tie"
    assert tie.data["hit_count"] == 0
    assert tie.data["pairs"][0]["shared_second"] is None
    assert tie.data["likelihood"] == pytest.approx(0.7)
    assert "70%" in tie.because[0]


def test_an_object_hit_and_remade_for_another_reason_is_still_a_hit(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=10.5)
    (tie,) = judged(packed(tree, tmp_path, script=UNGUARDED))
    assert tie.data["hit_count"] == 1


def test_without_the_guard_a_slow_build_names_the_nearest_object(tmp_path):
    tree = mcb(tmp_path / "out", object_at=8.2, list_at=10.4, touch_at=10.5)
    (tie,) = judged(packed(tree, tmp_path, script=UNGUARDED))
    assert tie.data["pairs"][0]["object"] == OBJECT
    assert tie.data["likelihood"] == pytest.approx(0.9)


def test_all_objects_within_reach_are_listed_and_the_closest_comes_first(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.9, touch_at=11.1)
    for name, at in (("lib/near.o", 10.8), ("lib/far.o", 5.0)):
        tree.object(name, could=["mcb_alloc_bus"], exports=["mcb_alloc_bus"], at=17)
        tree.wrote(at, "CW", name)
        tree.wrote(17.2, "CW", name)
    (tie,) = judged(packed(tree.done(), tmp_path, script=UNGUARDED))
    assert [pair["object"] for pair in tie.data["pairs"]] == ["lib/near.o", OBJECT]


def test_a_guard_written_in_other_words_is_known_by_what_it_did(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.8, list_at=10.9, touch_at=11.01, touches=60)
    assert judged(packed(tree, tmp_path, script=UNGUARDED)) == []


@pytest.mark.parametrize("touches", [1, 60])
def test_the_guard_makes_the_order_certain(tmp_path, touches):
    tree = mcb(tmp_path / "out", object_at=10.8, list_at=10.9, touch_at=11.01, touches=touches)
    assert judged(packed(tree, tmp_path, script=GUARDED)) == []


def test_a_late_watcher_does_not_make_a_hit_of_a_guarded_build(tmp_path):
    # The object was written at 10.99 and seen at 11.00; the guard let the dependency go at 11.01.
    tree = mcb(tmp_path / "out", object_at=11.0, list_at=11.005, touch_at=11.01, touches=30)
    assert judged(packed(tree, tmp_path, script=GUARDED)) == []


def test_a_guard_at_work_is_known_from_the_record_when_the_script_is_not_there(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.8, list_at=10.9, touch_at=11.01, touches=60)
    assert judged(packed(tree, tmp_path, script=None)) == []


def test_a_guard_in_a_comment_is_no_guard(tmp_path):
    script = UNGUARDED + '# while [ ! "$depfile" -nt "$new_ksyms_file" ]; do touch "$depfile"; done\n'
    tree = mcb(tmp_path / "out", object_at=10.8, list_at=10.9, touch_at=11.1)
    assert [finding.id for finding in judged(packed(tree, tmp_path, script=script))] == ["timestamps.tie"]


def test_on_a_fine_clock_the_unguarded_script_is_silent(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=10.5, granularity=0.004)
    assert judged(packed(tree, tmp_path, script=UNGUARDED, granularity_ns=4_000_000)) == []


def test_on_a_fine_clock_a_real_hit_is_told(tmp_path):
    tree = mcb(tmp_path / "out", stale=True, object_at=10.501, list_at=10.5015, touch_at=10.502, granularity=0.004)
    tie, stale = judged(packed(tree, tmp_path, script=UNGUARDED, granularity_ns=4_000_000))
    assert (tie.id, stale.id) == ("timestamps.tie", "timestamps.stale")
    assert ": same time 2023" in tie.message


def test_a_foreign_tree_shows_the_hit_by_its_content(tmp_path):
    tree = mcb(tmp_path / "out", stale=True, object_at=10.2, list_at=10.4, touch_at=10.5)
    tie, stale = judged(Evidence(tree.root))
    assert (tie.id, tie.data["recorded"], tie.data["hit_count"]) == ("timestamps.tie", False, 1)
    assert stale.id == "timestamps.stale"


def test_a_foreign_tree_full_of_harmless_ties_is_silent(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=10.5)
    assert judged(Evidence(tree.root)) == []


def test_a_foreign_tree_whose_script_lacks_the_guard_is_told(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=10.5)
    tmp_path.joinpath("src/scripts").mkdir(parents=True)
    tmp_path.joinpath("src/scripts/adjust_autoksyms.sh").write_text(UNGUARDED)
    tree.root.joinpath("source").symlink_to(tmp_path / "src")
    (tie,) = judged(Evidence(tree.root))
    assert (tie.id, tie.data["guarded"], tie.data["hit_count"]) == ("timestamps.tie", False, 0)


def test_an_export_that_should_be_gone_is_stale(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=12.5)
    tree.wanted(at=10)
    tree.time(DEPENDENCY, 17)
    (stale,) = [one for one in judged(Evidence(tree.root)) if one.id == "timestamps.stale"]
    assert stale.data["superfluous"] == ["mcb_alloc_bus"]
    assert "still has" in stale.message


def test_an_object_that_make_would_still_remake_is_not_stale(tmp_path):
    tree = mcb(tmp_path / "out", stale=True, object_at=10.2, list_at=11.4, touch_at=11.5)
    assert judged(Evidence(tree.root)) == []


def test_a_dependency_written_after_its_object_in_one_second_is_a_hit(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", deps=["include/generated/table.h"], at=10)
    tree.file("include/generated/table.h", at=10)
    tree.wrote(10.2, "CW", "lib/crc.o")
    tree.wrote(10.6, "CW", "include/generated/table.h")
    (tie,) = judged(packed(tree.done(), tmp_path, script=None))
    assert (tie.data["pairs"][0]["dependency"], tie.data["hit_count"]) == ("include/generated/table.h", 1)


def test_a_dependency_written_before_its_object_in_one_second_is_harmless(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", deps=["include/generated/table.h"], at=10)
    tree.file("include/generated/table.h", at=10)
    tree.wrote(10.2, "CW", "include/generated/table.h")
    tree.wrote(10.6, "CW", "lib/crc.o")
    assert judged(packed(tree.done(), tmp_path, script=None)) == []


def test_a_linked_object_older_than_its_input_is_stale(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", deps=["include/generated/table.h"], at=10)
    tree.file("include/generated/table.h", at=20)
    (stale,) = judged(Evidence(tree.done(at=60).root))
    assert (stale.id, stale.data["dependency"]) == ("timestamps.stale", "include/generated/table.h")


@pytest.mark.parametrize(("linked", "changed_at"), [(False, 20), (True, 70)])
def test_left_over_objects_and_later_edits_are_not_stale(tmp_path, linked, changed_at):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", deps=["include/generated/table.h"], at=10, linked=linked)
    tree.file("include/generated/table.h", at=changed_at)
    assert judged(Evidence(tree.done(at=60).root)) == []


def test_a_watcher_that_missed_the_last_write_does_not_make_a_hit(tmp_path):
    tree = mcb(tmp_path / "out", object_at=9.2, list_at=10.4, touch_at=10.5, touches=30)
    tree.events = [event for event in tree.events if event[0] < START + 12 * SECOND]
    assert judged(packed(tree, tmp_path, script=GUARDED)) == []


def test_a_record_with_a_gap_is_not_trusted(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=10.5)
    tree.wrote(10.3, "Q", "")
    evidence = packed(tree, tmp_path, script=None)
    assert judged(evidence) == []
    assert "gap" in reasons(evidence)["timestamps.tie"]


def test_a_record_whose_recorder_died_is_not_trusted(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=10.5)
    evidence = packed(tree, tmp_path, script=None, whole=False)
    assert judged(evidence) == []
    assert "gap" in reasons(evidence)["timestamps.tie"]
    assert not steps_back(evidence.file(WRITES)), "it is no clock that was set"


def test_the_times_of_a_copy_are_not_judged(tmp_path):
    tree = Tree(tmp_path / "out")
    for number in range(30):
        tree.object(f"lib/crc{number}.o", deps=["include/generated/table.h"], at=10)
    tree.file("include/generated/table.h", at=20)
    evidence = Evidence(tree.done(at=60).root)
    assert judged(evidence) == []
    assert "copy" in reasons(evidence)["timestamps.stale"]


def test_a_kernel_that_trims_in_modpost_is_not_applicable_rather_than_fine(tmp_path):
    tree = Tree(tmp_path / "out", version="6.12.117")
    tree.object("lib/crc.o")
    assert "6.12.117" in reasons(Evidence(tree.done().root))["timestamps.tie"]


@pytest.mark.parametrize("stale", [True, False])
def test_the_packed_folder_gives_the_findings_of_the_output_directory(tmp_path, stale):
    tree = mcb(tmp_path / "out", stale=stale, object_at=10.2, list_at=10.4, touch_at=10.5)
    tmp_path.joinpath("kernel/scripts").mkdir(parents=True)
    tmp_path.joinpath("kernel/scripts/adjust_autoksyms.sh").write_text(UNGUARDED)
    tree.root.joinpath("source").symlink_to(tmp_path / "kernel")
    folder = packed(tree, tmp_path, script=UNGUARDED, record=False)
    assert judged(folder) == judged(Evidence(tree.root)) != []


def test_a_foreign_tree_on_a_coarse_clock_has_its_ties_counted(tmp_path):
    tree = Tree(tmp_path / "out", trim=False)
    for name in ("lib/crc.o", "lib/sort.o"):
        tree.object(name, deps=["include/generated/table.h", "include/generated/old.h"], at=10)
    tree.file("include/generated/table.h", at=10)
    tree.file("include/generated/old.h", at=5)
    evidence = Evidence(tree.done().root)
    gaps = [one.because for one in timestamps.check(evidence) if isinstance(one, NotApplicable)]
    told = "2 ties within 1 s of 2 objects and their inputs cannot be told from races without a record of writes"
    assert told in gaps
    assert judged(evidence) == []


def test_a_record_of_writes_leaves_nothing_to_count(tmp_path):
    tree = Tree(tmp_path / "out", trim=False)
    tree.object("lib/crc.o", deps=["include/generated/table.h"], at=10)
    tree.file("include/generated/table.h", at=10)
    tree.wrote(10.2, "CW", "include/generated/table.h")
    tree.wrote(10.6, "CW", "lib/crc.o")
    answers = list(timestamps.check(packed(tree.done(), tmp_path, script=None)))
    assert not any("ties" in one.because for one in answers if isinstance(one, NotApplicable))


def test_a_tie_names_the_module_at_which_modpost_goes_wrong(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.8, list_at=10.9, touch_at=11.1)
    (tie,) = judged(packed(tree, tmp_path, script=UNGUARDED))
    assert any("modpost" in reason and "drivers/mcb/mcb-lpc.ko" in reason for reason in tie.because)


def test_a_late_header_names_the_link_that_goes_wrong(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", deps=["include/generated/table.h"], at=10)
    tree.file("include/generated/table.h", at=10)
    tree.wrote(10.2, "CW", "lib/crc.o")
    tree.wrote(10.6, "CW", "include/generated/table.h")
    (tie,) = judged(packed(tree.done(), tmp_path, script=None))
    assert "the link of 'vmlinux'" in tie.because[1]


@pytest.mark.parametrize(("script", "ids"), [("\tsleep 2\n", []), ("", ["timestamps.tie"])])
def test_a_script_that_sleeps_before_it_touches_has_made_the_order_certain(tmp_path, script, ids):
    tree = mcb(tmp_path / "out", object_at=10.8, list_at=10.9, touch_at=12.95)
    text = UNGUARDED.replace("\ttouch", f"{script}\ttouch")
    assert [one.id for one in judged(packed(tree, tmp_path, script=text))] == ids


@pytest.mark.parametrize(("written_at", "ids"), [(59.5, ["timestamps.stale"]), (60.5, [])])
def test_in_the_second_of_the_link_the_record_tells_a_late_input_from_a_later_edit(tmp_path, written_at, ids):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", deps=["include/generated/table.h"], at=10)
    tree.file("include/generated/table.h", at=int(written_at))
    tree.wrote(10.1, "CW", "lib/crc.o")
    tree.wrote(written_at, "CW", "include/generated/table.h")
    tree.wrote(60.3, "CW", "vmlinux")
    assert [one.id for one in judged(packed(tree.done(at=60), tmp_path, script=None))] == ids


@pytest.mark.parametrize(("patched_at", "ids"), [(30, ["timestamps.stale"]), (5, []), (70, [])])
def test_a_source_that_was_patched_while_the_build_ran_is_told(tmp_path, patched_at, ids):
    source = tmp_path / "kernel"
    for name, text in (
        ("Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 192\n"),
        ("scripts/mod/modpost.c", ""),
        ("include/linux/crc.h", ""),
    ):
        source.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        source.joinpath(name).write_text(text)
    time_ns = START + patched_at * SECOND
    os.utime(source / "include/linux/crc.h", ns=(time_ns, time_ns))
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", deps=[str(source / "include/linux/crc.h")], at=10)
    tree.root.joinpath("source").symlink_to(source)
    assert [one.id for one in judged(Evidence(tree.done(at=60).root))] == ids
