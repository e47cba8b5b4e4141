"""What changed between nights: claimed where the intervals say so, told where they do not, hidden never."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.model import AttemptResult, Finding, Outcome, Result, Severity, Span
from lab.results.comparison import Change, comparison, observed, pooled
from lab.results.regimes import more_needed

STALE = Finding(
    id="timestamps.stale", severity=Severity.FAIL, title="x.o is stale", message="x.o was not rebuilt", blame="x.o",
    where=Span(file="build.txt", first=3, last=3),
)  # fmt: skip
UNDEFINED = replace(STALE, id="modpost.undefined", title="'x' is undefined", message="needs x", blame="y.ko")


def attempt(number, *findings, outcome=None, **facts):
    outcome = outcome or (Outcome.FAIL if findings else Outcome.PASS)
    return AttemptResult(
        number=number, outcome=outcome, reason="", findings=findings, folder=f"cell/{number}", facts=facts
    )


def seen(marks, run="", finding=STALE, **changes):
    """Return one night of one cell: "F" an attempt that failed, "." one that passed, "E" one that was not judged."""
    outcomes = {"F": Outcome.FAIL, ".": Outcome.PASS, "E": Outcome.ERROR}
    attempts = tuple(
        attempt(number, *([finding] if mark == "F" else []), outcome=outcomes[mark])
        for number, mark in enumerate(marks, start=1)
    )
    judged = [one.outcome for one in attempts if one.outcome is not Outcome.ERROR]
    outcome = Outcome.FAIL if Outcome.FAIL in judged else Outcome.PASS if judged else Outcome.ERROR
    result = Result(cell="cell", outcome=outcome, reason="why", attempts=attempts)
    return replace(observed(result, run=run), **changes)


def story(*nights):
    """Return what is told of one cell each morning: kinds of change."""
    days = [{"cell": seen(marks, run=f"night-{at}")} for at, marks in enumerate(nights, start=1)]
    mornings = []
    for at in range(len(days)):
        found = comparison(days[:at], days[at])
        words = [one.change.value for one in found.differences]
        mornings.append(" ".join([*words, *(["not judged"] if found.unjudged else [])]))
    return mornings


def test_one_unlucky_night_is_no_regression():
    assert story(".", ".", ".", "F", ".") == ["", "", "", "unproven", "flaky"]


def test_a_regression_is_claimed_once_as_soon_as_the_intervals_are_apart():
    assert story(".", ".", ".", ".", "F", "F", "F", "F", "F") == [*[""] * 4, *["unproven"] * 3, "new", "still"]


def test_further_attempts_in_the_same_night_prove_it_and_its_fix():
    assert story(".", ".", ".", "FFFFF", "F", "F", "....", ".") == ["", "", "", "new", "still", "still", "fixed", ""]


def test_a_fault_that_comes_and_goes_is_flaky_and_not_fixed_by_a_lucky_night():
    mornings = story("..F", "...", ".F.", "...", "F..")
    assert mornings == ["first", "flaky", "flaky", "flaky", "flaky"]


def test_a_flaky_rate_that_rises_is_told():
    days = [{"cell": seen(marks)} for marks in ("....F.....", ".....F....", "FFFFFFFF.F")]
    (found,) = comparison(days[:2], days[2]).differences
    assert (found.change, found.rate_changed) == (Change.FLAKY, 1)
    assert (found.before.failures, found.before.trials, found.tonight.failures) == (2, 20, 9)
    (back,) = comparison(days, {"cell": seen(".........." * 2)}).differences
    assert (back.change, back.rate_changed) == (Change.FIXED, -1)


def test_an_error_is_not_judged_and_neither_failed_nor_fixed():
    assert story(".", "E", ".", ".", ".", "FFFF", "E", "F") == [
        "",
        "not judged",
        "",
        "",
        "",
        "new",
        "unjudged not judged",
        "still",
    ]


def test_a_cell_that_was_not_judged_before_either_is_not_newly_so():
    nights = [{"cell": seen("E")}, {"cell": seen("E")}]
    assert comparison(nights[:1], nights[1]).unjudged[0].new is False
    assert comparison([], nights[0]).unjudged[0].new is True


def test_a_retry_never_hides_a_failure():
    first, again = seen("F"), seen("....")
    (found,) = comparison([{"cell": seen("....")}], {"cell": pooled(first, again)}).differences
    assert (found.change, found.tonight.failures, found.tonight.trials) == (Change.FLAKY, 1, 5)


def test_a_crash_that_was_repeated_is_counted():
    crash = replace(STALE, id="build.toolchain-crash", severity=Severity.WARNING)
    result = Result(
        cell="cell",
        outcome=Outcome.PASS,
        reason="",
        attempts=(attempt(1, crash, outcome=Outcome.PASS, retried_after="x"),),
    )
    (found,) = comparison([{"cell": seen("...")}], {"cell": observed(result)}).differences
    assert (found.fault.signature.id, found.tonight.failures, found.tonight.trials) == ("build.toolchain-crash", 1, 2)
    assert found.fault.crash_retried == 1


def test_what_is_joined_to_another_fault_is_told_with_it_and_is_not_new_by_itself():
    joined = replace(STALE, joined=(UNDEFINED,))
    nights = [{"cell": seen("FFFF", finding=joined)}]
    assert [
        one.fault.signature.id for one in comparison(nights, {"cell": seen("FFFF", finding=joined)}).differences
    ] == ["timestamps.stale"]
    alone = comparison(nights, {"cell": seen("FFFF", finding=UNDEFINED)}).differences
    assert {one.fault.signature.id: one.change for one in alone} == {
        "modpost.undefined": Change.STILL, "timestamps.stale": Change.FIXED,
    }  # fmt: skip


def test_cells_that_come_and_go_are_told():
    one = {"cell": seen("."), "old": seen(".")}
    two = {"cell": seen("."), "fresh": replace(seen("F"), cell="fresh")}
    found = comparison([one], two)
    assert (found.added, found.removed) == (("fresh",), ("old",))
    assert [(one.cell, one.change) for one in found.differences] == [("fresh", Change.FIRST)]
    assert comparison([], two).added == (), "the first night has no earlier one to differ from"


def test_a_pass_that_the_matrix_does_not_expect_is_news_once():
    nights = [{"cell": seen("F", outcome=Outcome.XFAIL)}, *[{"cell": seen(".", outcome=Outcome.XPASS)}] * 2]
    assert comparison(nights[:1], nights[1]).unexpected == ("cell",)
    assert comparison(nights[:2], nights[2]).unexpected == ()


def test_a_skipped_cell_is_judged():
    assert comparison([], {"cell": seen("", outcome=Outcome.SKIP)}).unjudged == ()


def test_what_was_not_executed_counts_once_and_changes_nothing():
    nights = [{"cell": seen("..", run="a")}, {"cell": seen("FFFFFFFF", run="b")}]
    carried = {"cell": seen("FFFFFFFF", run="b", carried=True)}
    (found,) = comparison(nights, carried).differences
    assert found.change is Change.STILL
    (later,) = comparison([*nights, carried, carried], {"cell": seen(".", run="c")}).differences
    assert (later.change, later.before.trials) == (Change.GONE, 8)


def test_how_many_more_attempts_would_prove_it_is_said_and_true():
    past = [{"cell": seen(marks)} for marks in (".", ".", ".")]
    (found,) = comparison(past, {"cell": seen("F")}).differences
    assert found.change is Change.UNPROVEN
    assert more_needed(found.before, found.now) == found.more
    for more, change in ((found.more - 1, Change.UNPROVEN), (found.more, Change.NEW)):
        (then,) = comparison(past, {"cell": seen("F" * (1 + more))}).differences
        assert then.change is change


marks = st.text("F.E", min_size=1, max_size=6)


@given(st.lists(marks, min_size=1, max_size=8))
def test_a_claim_always_has_intervals_that_do_not_touch(nights):
    days = [{"cell": seen(night)} for night in nights]
    for one in comparison(days[:-1], days[-1]).differences:
        if one.change in (Change.NEW, Change.FIXED) or one.rate_changed:
            assert one.before.high < one.now.low or one.now.high < one.before.low


@given(st.lists(marks, min_size=1, max_size=6), st.integers(0, 5))
def test_nights_without_a_verdict_change_nothing(nights, at):
    days = [{"cell": seen(night, run="n")} for night in nights]
    more = [*days[:-1][:at], {"cell": seen("E")}, *days[:-1][at:]]
    assert comparison(days[:-1], days[-1]).differences == comparison(more, days[-1]).differences


@given(st.lists(marks, max_size=6), st.text("F.", min_size=1, max_size=6))
def test_what_was_seen_tonight_is_always_told(nights, tonight):
    found = comparison([{"cell": seen(night)} for night in nights], {"cell": seen(tonight)}).differences
    assert ("F" in tonight) <= any(one.tonight.failures == tonight.count("F") for one in found)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_a_steady_flaky_rate_is_rarely_called_changed(share):
    """300 simulated stories of twenty nights with five attempts each: no more than one in twelve ends with a claim."""
    import numpy as np

    random = np.random.default_rng(7)
    claims = 0
    for _ in range(300):
        days = [{"cell": seen("".join("F" if x else "." for x in random.random(5) < share))} for _ in range(20)]
        claims += any(one.rate_changed for one in comparison(days[:-1], days[-1]).differences)
    assert claims <= 25


def test_counts_that_cannot_be_are_no_traceback():
    """seen.json is read from the disk: more attempts with a fault than were judged are a rate of 1."""
    odd = replace(seen("F"), faults=tuple(replace(fault, attempts=7) for fault in seen("F").faults))
    (found,) = comparison([{"cell": seen(".")}], {"cell": odd}).differences
    assert (found.tonight.failures, found.tonight.trials) == (1, 1)
