"""What is missing, empty, cut off or copied without its times is never taken for proof: neither of health nor of a fault."""

import sys
from pathlib import Path

import pytest

from lab import checks
from lab.evidence.bundle import Evidence
from lab.model import Outcome
from lab.report.judged import judged

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
from synthetic_tree import Tree, mcb

MODULE = "drivers/mcb/mcb-lpc.ko"


def verdict(root):
    findings, gaps = checks.judge(Evidence(root))
    return judged(findings, gaps, {check.name: check.ids for check in checks.CHECKS})


def gap(root, name):
    return [one.because for one in verdict(root).not_applicable if one.check == name]


def healthy(root):
    return mcb(root, object_at=10.2, list_at=10.4, touch_at=11.5)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\0" * 4096], ids=["empty", "blank lines", "zeros"])
def test_a_folder_with_nothing_but_an_empty_log_was_not_looked_at(tmp_path, content):
    (tmp_path / "build.txt").write_bytes(content)
    result = verdict(tmp_path)
    assert (result.outcome, int(result.exit_code)) == (Outcome.SKIP, 125)


def test_an_empty_console_without_a_boot_step_does_not_accuse_the_kernel(tmp_path):
    (tmp_path / "console.txt").touch()
    assert verdict(tmp_path).outcome is Outcome.SKIP


def test_an_empty_console_of_a_boot_step_does(tmp_path):
    (tmp_path / "console.txt").touch()
    (tmp_path / "steps.json").write_text('[{"name": "boot", "ending": "deadline", "status": -1}]')
    assert [finding.id for finding in verdict(tmp_path).findings] == ["boot.silent"]


def test_a_log_that_says_a_word_was_looked_at(tmp_path):
    (tmp_path / "build.txt").write_text("make: Nothing to be done for 'all'.\n")
    assert verdict(tmp_path).outcome is Outcome.PASS


def test_a_symvers_that_is_cut_off_accuses_nobody(tmp_path):
    tree = healthy(tmp_path)
    symvers = tree.root / "Module.symvers"
    symvers.write_bytes(symvers.read_bytes()[:5])
    assert verdict(tmp_path).findings == ()
    assert gap(tmp_path, "modpost") == ["Module.symvers is cut off: only the log was read"]


def test_a_symvers_that_lacks_what_an_object_exports_is_not_believed_against_modpost(tmp_path):
    tree = healthy(tmp_path)
    tree.symvers("another_symbol")
    tree.file("build.txt", "  MODPOST Module.symvers\n")
    assert verdict(tmp_path).findings == ()


def test_where_modpost_stopped_counting_the_missing_symbol_is_still_told(tmp_path):
    tree = healthy(tmp_path)
    tree.symvers("another_symbol")
    tree.file(
        "build.txt",
        'ERROR: modpost: "a" [drivers/mcb/mcb-lpc.ko] undefined!\n'
        "WARNING: modpost: suppressed 1 unresolved symbol warnings because there were too many)\n",
    )
    assert [finding.data["symbol"] for finding in verdict(tmp_path).findings] == ["a", "mcb_alloc_bus"]


def test_a_list_of_used_symbols_that_is_cut_off_makes_no_object_stale(tmp_path):
    tree = healthy(tmp_path)
    tree.file("include/generated/autoksyms.h", "#define __KSYM_mcb_al", at=10)
    assert verdict(tmp_path).findings == ()
    assert gap(tmp_path, "timestamps.stale") == [
        "include/generated/autoksyms.h is missing or cut off: exports were not compared with it"
    ]


def test_modules_that_cannot_be_read_are_told(tmp_path):
    tree = healthy(tmp_path)
    tree.file(MODULE, b"\x7fELF", at=20)
    assert gap(tmp_path, "modpost")[0].startswith("1 of 1 modules cannot be read (drivers/mcb/mcb-lpc.ko: ")


def test_the_times_of_a_copy_prove_nothing(tmp_path):
    tree = Tree(tmp_path)
    for number in range(10):
        tree.object(f"lib/o{number}.o", deps=["lib/late.h"], at=10 + number)
        tree.file(f"lib/{number}/built-in.a", b"!<thin>\n", at=10)
        tree.command(f"lib/{number}/built-in.a", at=5)
    tree.file("lib/late.h", at=40)
    tree.done()
    assert [finding.id for finding in verdict(tmp_path).findings] == []
    assert "a copy that did not keep the files' times" in gap(tmp_path, "timestamps")[0]


def test_objects_that_objtool_changed_after_they_were_noted_are_no_sign_of_a_copy(tmp_path):
    tree = healthy(tmp_path)
    for number in range(10):
        tree.object(f"lib/o{number}.o", at=10 + number)
        tree.time(f"lib/.o{number}.o.cmd", 5 + number)  # as 5.10 has them
    assert gap(tmp_path, "timestamps") == []


def test_the_same_times_without_a_sign_of_a_copy_are_stale(tmp_path):
    tree = Tree(tmp_path)
    for number in range(10):
        tree.object(f"lib/o{number}.o", deps=["lib/late.h"], at=10 + number)
    tree.file("lib/late.h", at=40)
    tree.done()
    assert {finding.id for finding in verdict(tmp_path).findings} == {"timestamps.stale"}
