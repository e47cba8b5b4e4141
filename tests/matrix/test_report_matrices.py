"""matrices/reports/: one file a report, each with faulty cells that say what must be found, and pristine twins of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from lab import cli
from lab.checks import CHECKS
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Boot, Make, Outcome
from lab.plan.jobs import JobKind, jobs

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "matrices" / "reports"
TABLES = cli.load_tables()
FILES = sorted(FOLDER.glob("*.yaml"))
CAUSES = {
    "000": {"modpost.undefined", "timestamps.tie"},
    "001": {"timestamps.tie"},
    "002": {"kallsyms.inconsistent"},
    "003": {"objtool.flags", "objtool.error", "boot.oops"},
    "004": {"livepatch.conflict", "modpost.undefined"},
}


def cells(path):
    return expand(read(path, TABLES))


def environment(cell):
    """Return what a faulty cell and its pristine twin have in common: all but what makes it faulty."""
    return replace(cell, id="", axes=(), expect=None, patches=(), kconfig=(), filesystem="", make=Make(), boot=Boot())


def test_there_is_one_file_for_each_report():
    assert [path.name[:3] for path in FILES] == sorted(CAUSES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_report_s_cells_can_be_planned(path):
    found = cells(path)
    assert not any(cell.impossible for cell in found)
    planned = jobs(found, image_of=lambda _: ("build", "boot"), demand_of=lambda _: {"cpu": 1}, finished=frozenset())
    assert sum(job.kind is JobKind.ATTEMPT for job in planned) == len(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_faulty_cell_names_its_cause_and_has_a_pristine_twin(path):
    found = cells(path)
    faulty = [cell for cell in found if cell.expect is not None]
    pristine = {environment(cell) for cell in found if cell.expect is None}
    assert faulty
    assert {one for cell in faulty for one in cell.expect.findings} == CAUSES[path.name[:3]]
    for cell in faulty:
        assert cell.expect.outcome is Outcome.FAIL
        assert cell.expect.because
        assert environment(cell) in pristine, cell.id


def test_what_is_expected_can_be_found():
    ids = {one for check in CHECKS for one in check.ids}
    assert {one for path in FILES for cell in cells(path) if cell.expect for one in cell.expect.findings} <= ids


def test_every_patch_is_used_and_says_what_it_applies_to():
    used = {patch.name for path in FILES for cell in cells(path) for patch in cell.patches}
    there = sorted((FOLDER / "patches").glob("*.patch"))
    assert {path.stem for path in there} == used
    for path in there:
        assert "\nApplies to " in path.read_text(), path.name


def test_the_fix_of_report_001_gives_back_what_its_faulty_twin_lacks():
    removed, given_back = (
        [line[1:] for line in (FOLDER / name).read_text().splitlines() if line.startswith(sign) and line[1:2] == "\t"]
        for name, sign in (("patches/trim-guard-removed.patch", "-"), ("fixes/trim-guard.patch", "+"))
    )
    assert removed == given_back
    assert len(removed) == 7
