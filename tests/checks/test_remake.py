import json
import sys
from pathlib import Path

import pytest

from lab.checks import remake
from lab.evidence.bundle import Evidence
from lab.evidence.remake import changed, rebuilt
from lab.model import NotApplicable, Severity

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
from synthetic_tree import mcb

# What make V=2 printed in a finished tree of linux 6.1, x86_64, tinyconfig with TRIM_UNUSED_KSYMS
NOTHING = """make: Entering directory '/src'
make[1]: Entering directory '/out'
  GEN     Makefile - due to target is PHONY
  DESCEND objtool
  CALL    /src/scripts/checksyscalls.sh - due to target is PHONY
  CHK     include/generated/autoksyms.h
Kernel: arch/x86/boot/bzImage is ready  (#1)
"""
# The same with a rule in lib/Makefile that touches an input of ctype.o each time, shortened
ALWAYS = NOTHING.replace(
    "  CHK ",
    "  CC      lib/ctype.o - due to: lib/stamp\n  AR      lib/lib.a - due to: lib/ctype.o\n"
    "  LD      vmlinux.o - due to: lib/lib.a\n  LD      .tmp_vmlinux.kallsyms1\n  CHK ",
)
MENDED = NOTHING.replace(
    "  CHK ",
    "  CC      kernel/rcu/tiny.o - due to: include/ksym/synchronize_rcu\n  CC      lib/ctype.o - due to target missing\n"
    "  KSYMS   symbols: before=0, after=58, changed=58\n  CHK ",
)
FAILED = "/src/lib/ctype.c:8:10: fatal error: late.h: No such file or directory\n"
FAILED += "make[3]: *** [/src/scripts/Makefile.build:255: lib/ctype.o] Error 1\n"
USUAL = [[".missing-syscalls.d", 1, 2], ["Makefile", 1, 2]]


def folder(tmp_path, log, *, first=0, again=0, ending="exited", written=(), build="", **how):
    root = tmp_path / "attempt"
    root.mkdir()
    root.joinpath("remake.txt").write_text(log)
    root.joinpath("build.txt").write_text(build or "  CC      lib/ctype.o\n")
    steps = {"name": "build", "ending": "exited", "status": first, "seconds": 1.0}
    made = {"first": steps, "again": steps | {"status": again, "ending": ending} | how, "written": [*USUAL, *written]}
    root.joinpath("remake.json").write_text(json.dumps(made))
    root.joinpath("record.json").write_text("{}")
    return Evidence(root)


def judged(evidence):
    return list(remake.check(evidence))


def test_what_a_finished_build_does_every_time_is_no_finding(tmp_path):
    assert judged(folder(tmp_path, NOTHING)) == []


def test_without_a_second_make_there_is_nothing_to_say(tmp_path):
    tmp_path.joinpath("record.json").write_text("{}")
    (gap,) = judged(Evidence(tmp_path))
    assert isinstance(gap, NotApplicable)
    assert "no second make" in gap.because


def test_a_finished_build_that_makes_an_object_again_is_told_with_the_rule(tmp_path):
    (found,) = judged(folder(tmp_path, ALWAYS, written=[["lib/stamp", 1, 2], ["lib/ctype.o", 1, 2]]))
    assert (found.id, found.severity, found.blame) == ("timestamps.remake", Severity.FAIL, "lib/ctype.o")
    assert "'lib/stamp' is newer" in found.message
    assert found.data["verdict"] == "rebuilds"
    assert found.data["rebuilt"][0]["newer"] == ["lib/stamp"]
    assert found.where.first == 6
    assert not any("lib/lib.a' was made again" in reason for reason in found.because)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("  CC [M]  fs/x.o - due to command line change", "command line change"),
        ("  CC      fs/x.o - due to x.o not in $(targets)", "x.o not in $(targets)"),
        ("  CC      fs/x.o - due to missing .cmd file", "missing .cmd file"),
        ("  CC      fs/x.o - due to: a.h b.h c.h d.h", "'a.h', 'b.h', 'c.h' and 1 more are newer"),
        ("  LD      vmlinux", "its rule tells no reason"),
    ],
)
def test_each_of_kbuilds_reasons_is_told(tmp_path, line, why):
    (found,) = judged(folder(tmp_path, NOTHING + line + "\n"))
    assert found.message.endswith(why)


def test_a_list_that_is_written_each_time_is_only_a_warning(tmp_path):
    (found,) = judged(folder(tmp_path, NOTHING, written=[["lib/notes.txt", 1, 2]]))
    assert (found.severity, found.blame) == (Severity.WARNING, "lib/notes.txt")


def test_a_failure_that_make_again_mends_was_stale(tmp_path):
    (found,) = judged(folder(tmp_path, MENDED, first=2, build=FAILED))
    assert (found.severity, found.blame, found.data["verdict"]) == (Severity.FAIL, "lib/ctype.o", "mended")
    assert "stale, not broken" in found.message
    assert found.because[0] == "'lib/ctype.o' was made again: target missing"
    assert all(row["target"] != "symbols:" for row in found.data["rebuilt"])


def test_a_failure_that_stays_is_a_note(tmp_path):
    (found,) = judged(folder(tmp_path, FAILED, first=2, again=2, build=FAILED))
    assert (found.severity, found.data["verdict"]) == (Severity.NOTE, "same")
    assert "broken, not stale" in found.message


def test_a_failure_at_another_target_is_told_as_such(tmp_path):
    (found,) = judged(folder(tmp_path, FAILED.replace("ctype", "crc"), first=2, again=2, build=FAILED))
    assert (found.severity, found.data["verdict"]) == (Severity.NOTE, "moved")
    assert "lib/crc.o" in found.message


def test_a_failure_of_the_machine_says_nothing_when_it_goes_away(tmp_path):
    full = "fatal error: error writing to /tmp/x.s: No space left on device\n" + FAILED.splitlines()[1] + "\n"
    (gap,) = judged(folder(tmp_path, MENDED, first=2, build=full))
    assert isinstance(gap, NotApplicable)
    assert "machine" in gap.because


def test_a_finished_build_that_then_fails_is_told(tmp_path):
    (found,) = judged(folder(tmp_path, FAILED, again=2))
    assert (found.severity, found.data["verdict"], found.blame) == (Severity.FAIL, "breaks", "lib/ctype.o")


def test_a_second_make_that_did_not_end_is_not_judged(tmp_path):
    (gap,) = judged(folder(tmp_path, ALWAYS, ending="deadline", again=-1))
    assert isinstance(gap, NotApplicable)
    assert "deadline" in gap.because


def test_a_second_make_after_the_clock_was_set_back_is_not_judged(tmp_path):
    (gap,) = judged(folder(tmp_path, ALWAYS, set_back_s=3600.0))
    assert isinstance(gap, NotApplicable)
    assert "set back by 3600 s" in gap.because


def test_a_log_beside_a_foreign_tree_is_judged_by_itself(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=12.5)
    tree.file("remake.txt", ALWAYS)
    (found,) = judged(Evidence(tree.root))
    assert found.data["verdict"] == "rebuilds"


def test_what_changed_is_told_by_path():
    assert changed({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3, "d": 4}) == (("b", 2, 3), ("c", 3, None), ("d", None, 4))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"first": 7}', '{"first": {}, "again": {}, "written": [[1]]}', "\x00"]
)
def test_any_text_is_a_remake_json(tmp_path, text):
    evidence = folder(tmp_path, NOTHING)
    evidence.root.joinpath("remake.json").write_text(text)
    assert judged(Evidence(evidence.root)) == []


def test_any_bytes_are_a_log(tmp_path):
    path = tmp_path / "remake.txt"
    path.write_bytes(b"  CC \xff\xfe x\x00.o - due to: \xff\n  LD " + b"a" * 100_000 + b"\n  AR")
    assert [one.tool for one in rebuilt(path)] == ["CC", "LD"] or rebuilt(path)
