"""`lab bisect`: words, options, and what works from a journal alone."""

import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lab import cli as main
from lab.cli import bisect as cli
from lab.errors import ExitCode, UsageError
from lab.model import AttemptResult, Finding, Outcome, Result, Severity, Span
from lab.results import bisections, journal
from lab.results.journal import Entry
from lab.use import bisect, session
from lab.use.commit import verdict_of
from tests.use.test_hunt import COSTS, NAMES, QUESTION, Fault, Hunt, rules_of


@pytest.fixture
def run(tmp_path):
    """A bisection that has ended, as results/it."""
    folder = tmp_path / "it"
    folder.mkdir()
    bisections.write(folder, QUESTION)
    Hunt(QUESTION, folder, rules_of(QUESTION, COSTS, reverts=True), lambda text: None).pursue(
        Fault(rate=0.5), threading.Event()
    )  # fmt: skip
    return folder


@pytest.fixture
def lab(monkeypatch, tmp_path, capsys):
    """Call lab; returns exit code, standard output and standard error."""
    monkeypatch.setenv("LAB_RESULTS", str(tmp_path))

    def lab(*words):
        capsys.readouterr()
        code = main.exit_code_of(words)
        told = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=told.out, stderr=told.err)

    return lab


def test_status_log_and_replay_need_the_journal_only(lab, run):
    told = json.loads(lab("bisect", "status", "--json").stdout)
    assert (told["ending"], told["culprits"][0]["commit"]) == ("culprit", NAMES[37])
    assert told["bad_end"]["failures"] > 0 == told["good_end"]["failures"]
    number = len(journal.read(run / journal.NAME))
    assert len(lab("bisect", "log").stdout.splitlines()) == number
    replayed = lab("bisect", "replay", "it").stdout.splitlines()
    assert len(replayed) == number
    assert NAMES[37][:12] in replayed[-1]
    assert lab("bisect", "log", "--git").stdout.startswith("# bad:")


def test_a_mark_is_in_the_journal_and_believed(lab, run):
    (run / journal.NAME).unlink()
    assert lab("bisect", "mark", "good", NAMES[20]).returncode == 0
    assert lab("bisect", "mark", "bad", NAMES[21]).returncode == 0
    assert json.loads(lab("bisect", "status", "--json").stdout)["culprits"] == [{"commit": NAMES[21], "subject": ""}]
    wrong = lab("bisect", "mark", "bad", NAMES[3])
    assert (wrong.returncode, "not believed" in wrong.stderr) == (129, True)


@pytest.mark.parametrize(
    "words", [["mark", "ugly", "0000000a"], ["mark", "bad", "abc"], ["status", "nothing"], ["log", "../x"]]
)
def test_what_makes_no_sense_is_refused(lab, run, words):
    done = lab("bisect", *words)
    assert done.returncode == 129
    assert "Traceback" not in done.stderr


def test_words_of_the_ends():
    assert cli.terms([], "", "") == ("good", "bad")
    assert cli.terms(["old=broken new=fixed"], "", "") == cli.terms([], "broken", "fixed") == ("broken", "fixed")
    for wrong in ("older=x", "old", "old=a;b"):
        with pytest.raises(UsageError):
            cli.terms([wrong], "", "")


@pytest.mark.parametrize("finding", ["timestamps.tie", "objtool.warning", ""])
def test_what_a_build_on_top_of_another_may_not_show_is_refused(finding):
    with pytest.raises(UsageError, match="--incremental is not for"):
        bisect.check_incremental((finding,) if finding else ())
    bisect.check_incremental(("boot.panic", "kallsyms.inconsistent@vmlinux"))


def test_matrix_and_cell():
    assert [str(part) for part in cli.matrix_and_cell("a:b.yaml:x86*")] == ["a:b.yaml", "x86*"]
    for wrong in ("", "m.yaml", ":cell", "m.yaml:"):
        with pytest.raises(UsageError):
            cli.matrix_and_cell(wrong)


@pytest.mark.parametrize("words", [["--commits", "1"], ["--fail-rate", "0"], ["--test-cost", "0"], ["--merges", "600"]])
def test_a_scene_that_makes_no_sense_is_refused(lab, words):
    assert lab("bisect", "simulate", *words).returncode == 129


def test_simulate_prints_means(lab):
    words = (
        "--commits",
        "64",
        "--runs",
        "20",
        "--fail-rate",
        "0.5",
        "--build-cost",
        "50",
        "--test-cost",
        "5",
        "--json",
    )
    told = json.loads(lab("bisect", "simulate", *words).stdout)
    assert {"tests", "builds", "correct", "cost", "end_tests"} <= told.keys()
    assert told["cost"] == pytest.approx(50 * told["builds"] + 5 * told["tests"], rel=1e-3)


def attempt(*findings, outcome=Outcome.FAIL, **changes):
    return AttemptResult(number=1, outcome=outcome, reason="", findings=findings, **changes)


def found(id_, blame="", severity=Severity.FAIL):
    return Finding(id=id_, severity=severity, title="", message="", where=Span(file="build.txt"), blame=blame)


def test_a_signature_is_a_fault_in_one_place():
    here = attempt(found("build.compiler", "lib/a.o"))
    assert verdict_of(here, ("build.compiler",)) == "failed"
    assert verdict_of(here, ("build.compiler@lib/a.o",)) == "failed"
    assert verdict_of(here, ("build.compiler@lib/b.o",)) == "other"
    assert verdict_of(here, ()) == "failed"


@pytest.mark.parametrize(
    ("attempts", "code"),
    [
        ([attempt(found("build.compiler"))], ExitCode.KERNEL_FAULT),
        ([attempt(outcome=Outcome.PASS)], ExitCode.AS_EXPECTED),
        ([attempt(found("config.not-honoured", severity=Severity.ERROR), outcome=Outcome.ERROR)], ExitCode.UNTESTABLE),
        ([attempt(outcome=Outcome.ERROR, facts={"untestable": True})], ExitCode.UNTESTABLE),
        ([attempt(found("infra.disk-full", severity=Severity.ERROR), outcome=Outcome.ERROR)], ExitCode.LAB_FAULT),
        ([], ExitCode.LAB_FAULT),
    ],
)
def test_a_run_with_a_question_answers_it(attempts, code):
    result = Result(cell="c", outcome=Outcome.FAIL, reason="", attempts=tuple(attempts))
    assert session.answer([result], ("build.compiler",)) is code


def test_a_journal_with_places_of_another_history_changes_nothing(tmp_path):
    journal.append(tmp_path / journal.NAME, Entry(place="d" * 40, number=1, verdict="failed"))
    hunt = Hunt(replace(QUESTION), tmp_path, rules_of(QUESTION, COSTS, reverts=True), lambda text: None)
    assert hunt.standing.counts == {}
