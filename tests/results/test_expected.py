"""The class of a verdict: what two machines must agree on, and how many runs it takes to say that they do not."""

import pytest

from lab.model import AttemptResult, Finding, Outcome, Severity, Span
from lab.plan import statistics
from lab.results import expected as expectations
from lab.results import store
from lab.results.expected import Answer, Expected, Fault, Run, answer, answer_words, faults, same, settled, times


def finding(identity, *joined, severity=Severity.FAIL, blame=""):
    return Finding(
        id=identity, severity=severity, title=identity, message="", where=Span(file=""), blame=blame, joined=joined
    )


def attempt(number=1, outcome=Outcome.FAIL, findings=()):
    return AttemptResult(number=number, outcome=outcome, reason=f"reason {number}", findings=tuple(findings))


def wanted(*findings, outcome=None, rate=None):
    outcome = outcome or (Outcome.FAIL if findings else Outcome.PASS)
    return Expected(
        cell="c",
        attempt=1,
        outcome=outcome,
        reason="",
        faults=faults(findings),
        rate=rate,
        lab_version="0",
        seconds=1.0,
    )


def run(*findings, outcome=None):
    return Run(outcome=outcome or (Outcome.FAIL if findings else Outcome.PASS), reason="said", faults=faults(findings))


TIE = finding("timestamps.tie", finding("timestamps.stale"), finding("modpost.undefined"))
ERROR = run(outcome=Outcome.ERROR)


def test_only_what_decides_counts_and_joined_faults_are_known_as_such():
    told = faults([TIE, finding("boot.modules", severity=Severity.NOTE)])
    assert [(fault.id, fault.main) for fault in told] == [
        ("timestamps.tie", True),
        ("timestamps.stale", False),
        ("modpost.undefined", False),
    ]


@pytest.mark.parametrize(
    ("theirs", "ours", "alike"),
    [
        ([finding("build.compiler", blame="a.o")], [finding("build.compiler", blame="b.o")], True),
        ([finding("build.compiler")], [finding("build.linker")], False),
        ([finding("build.compiler")], [finding("build.compiler"), finding("build.linker")], False),
        ([finding("build.compiler"), finding("build.linker")], [finding("build.compiler")], False),
        # a lucky build shows the cause alone, an unlucky one what it led to; and who did not watch sees only that
        ([TIE], [finding("timestamps.tie")], True),
        ([finding("timestamps.tie")], [TIE], True),
        ([TIE], [finding("modpost.undefined")], False),
        ([TIE], [finding("timestamps.stale", finding("modpost.undefined"))], True),
        ([finding("boot.oops")], [finding("boot.panic")], True),
        ([], [finding("build.compiler")], False),
    ],
)
def test_two_verdicts_are_the_same_if_each_knows_the_others_main_faults(theirs, ours, alike):
    assert same(wanted(*theirs), run(*ours)) is alike


def test_a_fault_that_was_seen_once_is_there():
    cell = wanted(TIE, rate=statistics.rate(6, 20))
    runs = [run(), ERROR, run(TIE)]
    assert answer(cell, runs) is Answer.SAME
    assert settled(cell, runs)
    assert answer_words(cell, runs) == (
        "the same verdict: FAIL in 1 of 2 runs; recorded: 6 of 20 (15 to 52 %) failed; 1 could not be judged"
    )


def test_a_flaky_cell_that_does_not_fail_is_another_one_only_after_enough_runs():
    cell = wanted(TIE, rate=statistics.rate(6, 20))
    needed = statistics.attempts_to_see(cell.rate.low)
    assert cell.word == "flaky"
    assert times(cell) == needed
    assert answer(cell, [run()] * (needed - 1)) is Answer.OPEN
    assert f"{needed} would show it" in answer_words(cell, [run()] * (needed - 1))
    assert answer(cell, [run()] * needed) is Answer.OTHER


def test_a_fault_of_one_attempt_that_does_not_come_is_another_verdict():
    assert answer(wanted(TIE), [run()]) is Answer.OTHER
    assert answer_words(wanted(TIE), [run()]) == "another verdict: FAIL in 0 of 1 runs, but PASS"


def test_another_fault_is_another_verdict_also_of_a_flaky_cell():
    cell = wanted(TIE, rate=statistics.rate(6, 20))
    assert answer(cell, [run(), run(finding("build.compiler"))]) is Answer.OTHER
    assert "but FAIL (build.compiler)" in answer_words(cell, [run(finding("build.compiler"))])


def test_a_pass_is_expected_of_every_run():
    assert answer(wanted(), [run(), run()]) is Answer.SAME
    assert not settled(wanted(), [run()])
    assert answer(wanted(), [run(), run(TIE)]) is Answer.OTHER
    assert settled(wanted(), [run(), run(TIE)])


def test_runs_that_could_not_be_judged_say_nothing():
    for cell in (wanted(), wanted(TIE)):
        assert answer(cell, [ERROR, ERROR]) is Answer.UNJUDGED
        assert not settled(cell, [ERROR])
        assert answer_words(cell, [ERROR]) == "none of 1 runs could be judged: said"


def test_a_rare_fault_is_not_waited_for_for_ever():
    assert times(wanted(TIE, rate=statistics.rate(1, 100))) == expectations.TIMES_AT_MOST
    assert times(wanted(TIE, rate=statistics.rate(5, 5))) == 1
    assert times(wanted(TIE)) == 1


def test_of_a_flaky_cell_the_failing_attempts_are_what_is_expected():
    attempts = [
        attempt(1, Outcome.PASS),
        attempt(2, findings=[TIE]),
        attempt(3, findings=[finding("modpost.undefined")]),
    ]
    rate = statistics.rate(2, 3)
    for number, chosen in ((1, 2), (2, 2), (3, 3)):
        assert expectations.expected("c", attempts, number, rate, "0").attempt == chosen
    assert expectations.expected("c", attempts, 1, None, "0").outcome is Outcome.PASS


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.MISS, Outcome.SKIP])
def test_of_an_attempt_that_was_not_judged_nothing_can_be_expected(outcome):
    assert expectations.expected("c", [attempt(1, outcome)], 1, None, "0") is None
    assert expectations.expected("c", [], 1, None, "0") is None


def test_it_survives_being_written_and_nothing_else_is_taken_for_it():
    cell = wanted(TIE, rate=statistics.rate(6, 20))
    assert store.decoded(Expected, store.encoded(cell)) == cell
    for raw in (b"", b"[]", b'{"schema_version": 1}', store.encoded(cell).replace(b'"FAIL"', b'"fail"')):
        assert store.decoded(Expected, raw) is None
    assert Fault(id="boot.oops", blame="", function="f", main=True).kind == "boot"
