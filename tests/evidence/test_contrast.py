"""What differs between two attempts, from small folders; the first is report 000's own sentence."""

import json
from collections import Counter

import pytest

from lab.evidence import contrast
from lab.evidence.bundle import Evidence
from lab.evidence.commands import Command, jsonl
from lab.evidence.mtimes import SECOND_NS

START = 1_700_000_000 * SECOND_NS
GOOD = """  CC      init/main.o
  AS      arch/x86/lib/retpoline.o
  KSYMS   symbols: before=0, after=1871, changed=1871
  AS      arch/x86/lib/retpoline.o
  MODPOST Module.symvers
"""
BAD = """  CC      init/main.o
  AS      arch/x86/lib/retpoline.o
  KSYMS   symbols: before=0, after=1871, changed=1871
  MODPOST Module.symvers
ERROR: modpost: "__x86_indirect_thunk_rax" [fs/fat/fat.ko] undefined!
"""


def attempt(folder, log, *, record=None, config="CONFIG_A=y\n", made=0, touched=0):
    folder.mkdir()
    (folder / "build.txt").write_text(log)
    (folder / "config.txt").write_text(config)
    (folder / "record.json").write_text(json.dumps({"granularity_ns": SECOND_NS, **(record or {})}))
    times = {"a.o": START + made, "include/ksym/f": START + touched, **{f"f{n}.o": START for n in range(9)}}
    rows = "".join(f"{time}\t{path}\n" for path, time in sorted(times.items()))
    (folder / "mtimes.tsv").write_text(f"# captured_ns\t{START}\n{rows}")
    command = Command(file=".a.o.cmd", target="a.o", command="gcc", ksyms=("include/ksym/f",))
    (folder / "commands.jsonl").write_text("".join(jsonl([command])))
    return folder


def between(a, b):
    return contrast.contrast(Evidence(a), Evidence(b))


def test_the_failing_build_does_not_rebuild_an_object(tmp_path):
    found = between(attempt(tmp_path / "bad", BAD), attempt(tmp_path / "good", GOOD))
    assert [(one.target, one.a, one.b) for one in found.made] == [("arch/x86/lib/retpoline.o", 1, 2)]
    assert found.lines_a == ('ERROR: modpost: "__x86_indirect_thunk_rax" [fs/fat/fat.ko] undefined!',)
    assert found.lines_b == ()


def test_equal_attempts_do_not_differ(tmp_path):
    assert between(attempt(tmp_path / "a", GOOD), attempt(tmp_path / "b", GOOD)).same


def test_the_order_of_lines_does_not_count(tmp_path):
    shuffled = "".join(sorted(GOOD.splitlines(keepends=True)))
    assert between(attempt(tmp_path / "a", GOOD), attempt(tmp_path / "b", shuffled)).same


def test_a_tie_in_one_of_two_is_told_with_the_second(tmp_path):
    a = attempt(tmp_path / "a", GOOD)
    b = attempt(tmp_path / "b", GOOD, touched=3 * SECOND_NS)
    (tie,) = between(a, b).ties
    assert (tie.object, tie.dependency, tie.in_a) == ("a.o", "include/ksym/f", True)
    assert contrast.tie_words(tie) == (
        "include/ksym/f carries the time of a.o in a (2023-11-14 22:13:20 UTC); in b it is 3 s after it"
    )


def test_what_the_environments_had_differently_is_told(tmp_path):
    a = attempt(tmp_path / "a", GOOD, record={"image": {"id": "one"}, "attempt": 1})
    b = attempt(tmp_path / "b", GOOD, record={"image": {"id": "two"}, "attempt": 2}, config="CONFIG_B=y\n")
    found = between(a, b)
    assert [(one.name, one.a, one.b) for one in found.environment] == [("image.id", "one", "two")]
    assert [(one.name, one.a, one.b) for one in found.config] == [("CONFIG_A", "y", ""), ("CONFIG_B", "", "y")]


def test_what_is_missing_is_not_compared(tmp_path):
    a, b = attempt(tmp_path / "a", GOOD), attempt(tmp_path / "b", GOOD)
    for name in ("build.txt", "config.txt"):
        (b / name).unlink()
    found = between(a, b)
    assert (found.made, found.config) == (None, None)


@pytest.mark.parametrize(
    ("failing", "others", "separate"),
    [
        ([{"a.o": 1}, {"a.o": 1}], [{"a.o": 2}, {"a.o": 2}], ["a.o"]),
        ([{"a.o": 1}, {"a.o": 2}], [{"a.o": 2}], []),
        ([{}], [{"a.o": 1}], ["a.o"]),
        ([], [{"a.o": 1}], []),
    ],
)
def test_what_separates_failing_attempts_does_so_in_each(failing, others, separate):
    found = contrast.separating([Counter(one) for one in failing], [Counter(one) for one in others])
    assert [one.target for one in found] == separate


def test_the_sentence_reads_like_the_reports():
    found = contrast.separating([Counter({"retpoline.o": 1})] * 3, [Counter({"retpoline.o": 2})] * 4)
    assert contrast.sentences(found, 3, 4) == (
        "retpoline.o was made once in each of 3 failing attempts, twice in each of 4 others",
    )
