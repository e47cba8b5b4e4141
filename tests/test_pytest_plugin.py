"""Matrices as tests: what pytest's users expect of ids, -k, --lf, junitxml, xfail, skip, errors and workers."""

import json
import textwrap
from pathlib import Path

import junitparser
import pytest

from lab import pytest_plugin
from lab.cli import plumbing  # noqa: F401 (with numpy, which no process loads twice)
from lab.use import session  # noqa: F401

pytest_plugins = ("pytester",)

MATRIX = """
version: 1
name: tiny
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: x86_64
  toolchain: gcc-12
  kconfig: [tinyconfig]
  make: {targets: [lib/ctype.o]}
matrix:
  filesystem: [tmpfs, ext4, ext4-128]
"""
# in place of builds: verdicts from a file, by filesystem; what was run is written down
FAKE = """
import json, os, time
from dataclasses import replace
from pathlib import Path
from lab import pytest_plugin
from lab.cli import plumbing  # noqa: F401 (with numpy, which no process loads twice)
from lab.use import session  # noqa: F401
from lab.cli.plumbing import settings
from lab.model import AttemptResult, Ending, Finding, NotApplicable, Outcome, Severity, Span, StepResult
from lab.results.verdict import cell_result

OF_AN_ATTEMPT = {"XFAIL": "FAIL", "XPASS": "PASS"}

def judged_cell(item):
    outcome = json.loads(Path("verdicts.json").read_text()).get(item.cell.filesystem, "PASS")
    run = pytest_plugin.run_of(item, settings())
    with open("ran.txt", "a") as file:
        file.write(f"{item.cell.id} {os.getpid()} {run.folder.name}\\n")
    time.sleep(float(os.environ.get("FAKE_BUILD_S", 0)))
    severity = Severity.ERROR if outcome == "ERROR" else Severity.FAIL
    failed = outcome in ("FAIL", "ERROR", "XFAIL")
    found = Finding(
        id="modpost.undefined", severity=severity, title="t", message="needs 'x'", where=Span(file=""), blame="a.ko"
    )
    attempt = AttemptResult(
        number=1, outcome=Outcome(OF_AN_ATTEMPT.get(outcome, outcome)), reason="needs 'x'" if failed else "built",
        findings=(found,) if failed else (), folder=f"{item.cell.id}/1", seconds=61.0,
        steps=(StepResult(name="build", ending=Ending.EXITED, status=0, seconds=61.0),),
        not_applicable=(NotApplicable(check="boot", because="no console"),),
    )
    result = replace(cell_result(replace(item.cell, expect=None), (attempt,)), outcome=Outcome(outcome))
    run.attempt_folder(item.cell.id, 1)
    run.keep_attempt(item.cell.id, attempt)
    run.keep_result(result)
    return result
"""


@pytest.fixture
def tests(pytester, monkeypatch):
    """Return what runs pytest on a matrix whose cells end as told, by filesystem; in this process unless there are workers."""
    monkeypatch.setenv("LAB_RESULTS", str(pytester.path / "results"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    pytester.makefile(".yaml", tiny=MATRIX)
    names = {}
    exec(FAKE, names)
    monkeypatch.setattr(pytest_plugin, "judged_cell", names["judged_cell"])

    def tests(*words, path="tiny.yaml", workers=0, **verdicts):
        by_filesystem = {name.replace("_", "-"): outcome for name, outcome in verdicts.items()}
        (pytester.path / "verdicts.json").write_text(json.dumps(by_filesystem))
        (pytester.path / "ran.txt").write_text("")
        if workers:
            pytester.makeconftest(FAKE + "\npytest_plugin.judged_cell = judged_cell\n")
            monkeypatch.setenv("FAKE_BUILD_S", "0.3")
            words = ("-n", str(workers), *words)
        if workers:
            done = pytester.runpytest_subprocess("-p", "lab.pytest_plugin", path, *words)
        else:
            done = pytester.runpytest_inprocess(path, *words, plugins=[pytest_plugin])
        ran = [line.split() for line in (pytester.path / "ran.txt").read_text().splitlines()]
        return done, ran

    return tests


def outcomes(done):
    found = done.parseoutcomes()
    return {name.rstrip("s"): count for name, count in found.items() if not name.startswith("subtests")}


def test_cells_are_items_and_their_ids_are_cell_ids(tests):
    done, ran = tests("-v")
    assert outcomes(done)["passed"] == 3
    assert [row[0].split("-", 3)[3] for row in ran] == ["tmpfs", "ext4", "ext4-128"]
    done.stdout.fnmatch_lines(["tiny.yaml::*ext4-128 PASSED*"])
    done.stdout.fnmatch_lines(["lab: */results/tiny-*/report.html"])


@pytest.mark.parametrize(
    ("outcome", "counted", "exit_code"),
    [
        ("PASS", {"passed": 3}, 0),
        ("SKIP", {"passed": 2, "skipped": 1}, 0),
        ("XFAIL", {"passed": 2, "xfailed": 1}, 0),
        ("FAIL", {"passed": 2, "failed": 2}, 1),  # the cell and, below it, its finding
        ("XPASS", {"passed": 2, "failed": 1}, 1),
        ("ERROR", {"passed": 2, "error": 1}, 1),
        ("MISS", {"passed": 2, "error": 1}, 1),
    ],
)
def test_verdicts_are_what_users_of_pytest_expect(tests, outcome, counted, exit_code):
    done, _ = tests(ext4=outcome)
    assert outcomes(done) == counted
    assert done.ret == exit_code
    if outcome in ("FAIL", "ERROR"):
        done.stdout.fnmatch_lines(["*modpost.undefined*a.ko*", "*needs 'x'*"])
        assert "Traceback" not in done.stdout.str()


def test_runxfail_takes_an_expected_fault_as_a_failure(tests):
    done, _ = tests("--runxfail", ext4="XFAIL")
    assert outcomes(done)["failed"] == 2


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("ext4-128", 1),
        ("tmpfs or ext4-128", 2),
        ("filesystem:tmpfs", 1),
        ("not ext4", 1),
        ("gcc-12", 3),
        ("arch:arm64", 0),
    ],
)
def test_k_selects_by_what_is_on_an_axis(tests, expression, count):
    _, ran = tests("-k", expression)
    assert len(ran) == count


def test_lf_runs_what_failed_and_what_was_not_judged(tests):
    tests("--lf", ext4="FAIL", tmpfs="ERROR")
    done, ran = tests("--lf", ext4="FAIL")
    assert len(ran) == 2
    assert outcomes(done)["failed"] == 2
    _, ran = tests("--lf")
    assert len(ran) == 1


def test_junitxml_has_a_case_for_each_cell_with_its_axes(tests, pytester):
    tests("--junitxml=junit.xml", ext4="FAIL", tmpfs="SKIP")
    (suite,) = list(junitparser.JUnitXml.fromfile("junit.xml"))
    assert suite.tests >= 3
    cases = {case.name: case for case in suite}
    assert len(cases) == 3
    axes = {
        one.get("name"): one.get("value")
        for name, case in cases.items()
        if name.endswith("ext4")
        for one in case._elem.iter("property")
    }
    assert axes["filesystem"] == "ext4"


def test_steps_findings_and_blind_checks_are_sub_results(tests):
    done, _ = tests("-vv", ext4="FAIL", tmpfs="XFAIL", ext4_128="ERROR")
    text = done.stdout.str()
    assert "step build, 1 min 01 s" in text
    assert "SUBFAILED[modpost.undefined a.ko]" in text
    assert "SUBXFAIL[modpost.undefined a.ko]" in text
    assert text.count("SUBFAILED[modpost.undefined a.ko]") <= 2, "what was not judged has no failed sub-result"


@pytest.mark.slow
def test_workers_share_one_run_and_no_cell_is_run_twice(tests, pytester):
    done, ran = tests(workers=2, ext4="FAIL")
    assert outcomes(done)["passed"] == 2
    assert sorted(row[0] for row in ran) == sorted({row[0] for row in ran})
    assert len(ran) == 3
    assert len({row[1] for row in ran}) == 2, "both workers worked"
    assert len({row[2] for row in ran}) == 1, "in one run"
    folder = pytester.path / "results" / ran[0][2]
    assert len(json.loads((folder / "run.json").read_text())["cells"]) == 3
    assert (folder / "report.html").is_file()
    assert len(list(folder.glob("*/result.json"))) == 3


def test_a_mistake_in_the_matrix_is_an_error_of_collection_with_its_place(tests, pytester):
    pytester.makefile(".yaml", wrong=MATRIX.replace("gcc-12", "gcc-twelve"))
    done, ran = tests(path="wrong.yaml")
    assert done.ret == 2
    assert ran == []
    done.stdout.fnmatch_lines(["*wrong.yaml:6:*gcc-twelve*"])
    assert "Traceback" not in done.stdout.str()


def test_nothing_is_collected_that_was_not_named(tests, pytester):
    pytester.makepyfile(test_own="def test_own(): pass")
    done, ran = tests(path=".")
    assert outcomes(done) == {"passed": 1}
    assert ran == []


def test_other_yaml_is_left_to_others_and_the_lab_is_not_even_imported(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    pytester.makefile(".yaml", other="version: 1\nstages: []\n")
    pytester.makepyfile(
        test_own=textwrap.dedent("""
            import sys
            def test_own():
                assert not [name for name in sys.modules if name.startswith("lab.") and name != "lab.pytest_plugin"]
        """)
    )
    done = pytester.runpytest_subprocess("-p", "lab.pytest_plugin", "test_own.py", "-p", "no:cacheprovider")
    assert outcomes(done) == {"passed": 1}
    done = pytester.runpytest_subprocess("-p", "lab.pytest_plugin", "other.yaml")
    assert "not found: " in done.stderr.str()
