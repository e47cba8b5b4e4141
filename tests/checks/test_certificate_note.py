import sys
from pathlib import Path

import pytest

from lab.checks import certificate
from lab.evidence.bundle import Evidence
from lab.model import NotApplicable, Severity

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
sys.path.append(str(Path(__file__).parent))
from synthetic_tree import GUARDED, SECOND, UNGUARDED, Tree, mcb
from test_timestamps import DEPENDENCY, OBJECT, packed


def told(evidence):
    (one,) = certificate.check(evidence)
    return one


def test_one_lucky_build_says_how_often_the_others_fail(tmp_path):
    note = told(packed(mcb(tmp_path / "out", object_at=10.8, list_at=10.9, touch_at=11.1), tmp_path, script=UNGUARDED))
    assert (note.id, note.severity) == ("timestamps.certificate", Severity.NOTE)
    shares = {line["granularity_ns"]: line["share"] for line in note.data["lines"]}
    assert shares[SECOND] == pytest.approx(0.7, abs=0.01)
    assert shares[2 * SECOND] == pytest.approx(0.85, abs=0.01)
    assert shares[SECOND // 10] == 0.0
    assert note.data["gaps"][0]["object"] == OBJECT
    assert note.data["gaps"][0]["dependency"] == DEPENDENCY
    assert "never with times of 0.1 s or finer" in note.message


def test_with_the_guard_no_clock_is_too_coarse(tmp_path):
    note = told(packed(mcb(tmp_path / "out", object_at=10.8, list_at=10.9, touch_at=12.1), tmp_path, script=GUARDED))
    assert {line["share"] for line in note.data["lines"]} == {0.0}
    assert "however coarse" in note.message


def test_an_object_is_saved_by_the_last_of_its_dependency_files(tmp_path):
    """make sees the newest: what counts is the time from the object to that one."""
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.3, touch_at=10.4)
    tree.object("lib/two.o", could=["mcb_alloc_bus", "late"], exports=["late"], at=17)
    tree.wrote(10.1, "CW", "lib/two.o")
    tree.wrote(10.41, "CA", "include/ksym/late")
    note = told(packed(tree.done(), tmp_path, script=UNGUARDED))
    apart = {gap["object"]: gap["apart_ns"] for gap in note.data["gaps"]}
    assert apart["lib/two.o"] == pytest.approx(0.31 * SECOND)
    assert apart[OBJECT] == pytest.approx(0.2 * SECOND)


def test_without_a_record_nothing_is_certified(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=10.5)
    gap = told(packed(tree, tmp_path, script=UNGUARDED, record=False))
    assert isinstance(gap, NotApplicable)
    assert "was not recorded" in gap.because


def test_a_kernel_without_the_mechanism_has_none(tmp_path):
    tree = Tree(tmp_path / "out").done()
    gap = told(Evidence(tree.root))
    assert isinstance(gap, NotApplicable)
    assert gap.natural
