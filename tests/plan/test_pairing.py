"""The loop of two arms with attempts that a seeded coin decides: turns, what counts, when it ends, what a kill loses."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.model import AttemptResult, Ending, Finding, NotApplicable, Outcome, Severity, Span, StepResult
from lab.plan import pairing, statistics
from lab.plan.pairing import ARMS, COUNTS, Arm, End, Limits, Made, Standing, Verdict, in_turn, replayed, verdict_of
from lab.plan.statistics import Answer, Errors

WIDE = Limits(pairs=200, budget_s=1e9)
VERDICTS = st.sampled_from(Verdict)


def made(arm, number, verdict, seconds=10.0):
    return Made(arm=arm, number=number, verdict=verdict, seconds=seconds)


def scripted(*verdicts):
    """Attempts that come to these verdicts, in this order, whatever the arm."""
    left = iter(verdicts)
    return lambda arm, number: made(arm, number, next(left))


def coin(seed, without, with_patch, *, error=0.0):
    """Attempts of arms that fail at these rates; some are the machine's trouble."""
    random = np.random.default_rng(seed)
    rates = {Arm.WITHOUT: without, Arm.WITH: with_patch}

    def attempt(arm, number):
        if random.random() < error:
            return made(arm, number, Verdict.ERROR)
        return made(arm, number, Verdict.FAILED if random.random() < rates[arm] else Verdict.SOUND)

    return attempt


def arms_in_order(standing):
    return "".join("+" if one.arm is Arm.WITH else "-" for one in standing.made)


# ---------------------------------------------------------------------------------------------------------------- turns


def test_the_order_within_a_pair_alternates():
    standing, _ = in_turn(Standing(), Limits(pairs=5, budget_s=1e9), coin(1, 0.0, 0.0))
    assert arms_in_order(standing) == "-++--++--+"
    assert [pair.first for pair in standing.pairs] == [Arm.WITHOUT, Arm.WITH] * 2 + [Arm.WITHOUT]
    assert [(pair.without.number, pair.with_patch.number) for pair in standing.pairs] == [(n, n) for n in range(1, 6)]


def test_an_attempt_that_does_not_count_is_made_again_in_its_place():
    failed, sound, error, other = Verdict.FAILED, Verdict.SOUND, Verdict.ERROR, Verdict.OTHER
    attempt = scripted(error, failed, error, other, sound, sound, failed)
    standing, end = in_turn(Standing(), Limits(pairs=2, budget_s=1e9, errors=Errors(no_effect=0.01)), attempt)
    assert end is End.PAIRS
    assert arms_in_order(standing) == "--+++" + "+-"
    assert [(one.arm, one.number) for one in standing.of(Arm.WITH)] == [(Arm.WITH, 3), (Arm.WITH, 4)]
    assert [pair.outcome for pair in standing.pairs] == [(True, False), (True, False)]


@given(st.lists(VERDICTS, max_size=40))
def test_no_arm_is_ever_more_than_one_ahead_and_every_pair_has_both(verdicts):
    left = iter(verdicts)

    def attempt(arm, number):
        verdict = next(left, None)
        return None if verdict is None else made(arm, number, verdict)

    def told(standing):
        without, with_patch = (len(standing.of(arm)) for arm in ARMS)
        assert abs(without - with_patch) <= 1
        assert len(standing.pairs) == min(without, with_patch)

    standing, _ = in_turn(Standing(), WIDE, attempt, told)
    for arm in ARMS:
        assert [one.number for one in standing.made if one.arm is arm] == list(
            range(1, 1 + sum(one.arm is arm for one in standing.made))
        )
        assert {one.verdict for one in standing.of(arm)} <= set(COUNTS)


# ----------------------------------------------------------------------------------------------------------- how it ends


@pytest.mark.parametrize(
    ("without", "with_patch", "wanted"),
    [(0.6, 0.0, End.MENDS), (0.6, 0.6, End.DOES_NOT_MEND), (1, 1, End.DOES_NOT_MEND)],
)
@pytest.mark.parametrize("seed", range(5))
def test_it_ends_with_the_first_pair_that_decides(without, with_patch, wanted, seed):
    standing, end = in_turn(Standing(), WIDE, coin(seed, without, with_patch))
    outcomes = [pair.outcome for pair in standing.pairs]
    assert end is wanted
    assert statistics.compared(outcomes).answer == wanted.value
    assert all(statistics.compared(outcomes[:at]).answer is Answer.OPEN for at in range(len(outcomes)))


def test_it_ends_undecided_when_the_pairs_are_made():
    standing, end = in_turn(Standing(), Limits(pairs=7, budget_s=1e9), coin(1, 0.0, 0.0))
    assert (end, len(standing.pairs)) == (End.PAIRS, 7)


@given(st.floats(1.0, 300.0), st.floats(0.0, 3000.0), st.floats(0.0, 0.3))
def test_no_pair_begins_that_would_not_fit_into_the_budget(seconds, budget_s, error):
    inner = coin(3, 0.0, 0.0, error=error)

    def attempt(arm, number):
        one = inner(arm, number)
        return made(arm, number, one.verdict, seconds)

    standing, end = in_turn(Standing(), Limits(pairs=200, budget_s=budget_s), attempt)
    assert end in (End.BUDGET, End.PAIRS, End.ERROR)
    if end is End.BUDGET:
        assert standing.spent_s + standing.pair_s > budget_s
        assert len(standing.pairs) == 1 or error or standing.spent_s <= budget_s + 1e-6


def test_a_pair_that_was_begun_is_finished():
    slow = itertools.count()

    def attempt(arm, number):
        return made(arm, number, Verdict.SOUND, 10.0 if next(slow) < 4 else 500.0)

    standing, end = in_turn(Standing(), Limits(pairs=200, budget_s=65), attempt)
    assert (end, len(standing.pairs), arms_in_order(standing)) == (End.BUDGET, 3, "-++--+")


def test_three_errors_in_a_row_end_it_and_two_do_not():
    error, sound = Verdict.ERROR, Verdict.SOUND
    standing, end = in_turn(Standing(), WIDE, scripted(error, error, sound, error, error, sound, error, error, error))
    assert end is End.ERROR
    assert len(standing.pairs) == 1


def test_three_other_failures_of_one_arm_end_it_and_two_of_each_do_not():
    other, sound = Verdict.OTHER, Verdict.SOUND
    attempt = scripted(other, other, sound, other, other, sound, sound, other)
    standing, end = in_turn(Standing(), WIDE, attempt)
    assert end is End.OTHER
    assert len(standing.pairs) == 1
    assert [one.arm for one in standing.made if one.verdict is other] == [
        *[Arm.WITHOUT] * 2,
        *[Arm.WITH] * 2,
        Arm.WITHOUT,
    ]


def test_an_interruption_loses_nothing_that_was_made():
    standing, end = in_turn(
        Standing(), WIDE, lambda arm, number: None if number > 2 else made(arm, number, Verdict.SOUND)
    )
    assert (end, arms_in_order(standing)) == (End.INTERRUPTED, "-++-")


# -------------------------------------------------------------------------------------------------- a kill at any point


@given(st.lists(VERDICTS, max_size=30), st.integers(0, 30))
def test_what_a_kill_left_is_where_it_stood(verdicts, killed_after):
    """The attempts on disk know nothing of one another; whose turn each was follows from what they came to."""
    standing = Standing()
    for verdict in verdicts[:killed_after]:
        arm = standing.next_arm
        standing = standing.after(made(arm, standing.next_number(arm), verdict))
    left = {arm: [one for one in standing.made if one.arm is arm] for arm in ARMS}
    assert replayed(left) == standing


def test_what_lies_behind_a_gap_is_not_taken():
    numbers = {Arm.WITHOUT: (1, 2, 4), Arm.WITH: (1, 2, 3)}
    left = {arm: [made(arm, number, Verdict.SOUND) for number in some] for arm, some in numbers.items()}
    standing = replayed(left)
    assert arms_in_order(standing) == "-++-"
    assert (standing.next_arm, standing.next_number(Arm.WITHOUT)) == (Arm.WITHOUT, 3)


@pytest.mark.parametrize("killed_after", range(12))
def test_going_on_after_a_kill_comes_to_what_an_undisturbed_comparison_does(killed_after):
    verdicts = [Verdict.FAILED, Verdict.ERROR, Verdict.SOUND, Verdict.OTHER, Verdict.SOUND] * 30
    whole, end = in_turn(Standing(), Limits(pairs=12, budget_s=1e9), scripted(*verdicts))
    first = whole.made[:killed_after]
    left = {arm: [one for one in first if one.arm is arm] for arm in ARMS}
    again = in_turn(replayed(left), Limits(pairs=12, budget_s=1e9), scripted(*verdicts[killed_after:]))
    assert again == (whole, end)


# ------------------------------------------------------------------------------------------- error rates, through the loop


def ends(without, with_patch, *, runs=200, pairs=30, error=0.05):
    found = [
        in_turn(Standing(), Limits(pairs=pairs, budget_s=1e9), coin(seed, without, with_patch, error=error))[1]
        for seed in range(runs)
    ]
    return {end: found.count(end) / runs for end in End}


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_patch_that_does_nothing_is_seldom_said_to_mend(share):
    assert ends(share, share)[End.MENDS] <= 0.05 + 0.047  # three standard deviations of 200 runs


@pytest.mark.parametrize(("without", "with_patch"), [(0.5, 0.0), (0.6, 0.12)])
def test_a_patch_that_mends_is_seldom_refused(without, with_patch):
    found = ends(without, with_patch)
    assert found[End.DOES_NOT_MEND] <= 0.05 + 0.047
    assert found[End.MENDS] >= 0.5


# --------------------------------------------------------------------------------------------------- what an attempt says


def finding(name, severity=Severity.FAIL, joined=()):
    return Finding(id=name, severity=severity, title=name, message="", where=Span(file=""), joined=joined)


def result(outcome, *findings, built=True, booted=True, gaps=()):
    steps = [StepResult(name="build", ending=Ending.EXITED, status=0 if built else 2, seconds=1.0)]
    if built:
        steps.append(
            StepResult(name="boot", ending=Ending.EXITED if booted else Ending.DEADLINE, status=0, seconds=1.0)
        )
    return AttemptResult(
        number=1, outcome=outcome, reason="", findings=tuple(findings), steps=tuple(steps), not_applicable=tuple(gaps)
    )


TIE, UNDEFINED, SYNTAX = finding("timestamps.tie"), finding("modpost.undefined"), finding("build.compiler")
PANIC = finding("boot.panic")
STORY = finding("timestamps.tie", joined=(UNDEFINED,))
FAIL, PASS, ERROR = Outcome.FAIL, Outcome.PASS, Outcome.ERROR
BLIND = NotApplicable(check="modpost", because="there is no log")


@pytest.mark.parametrize(
    ("said", "asked", "wanted"),
    [
        (result(FAIL, UNDEFINED, built=False), ("modpost.undefined",), Verdict.FAILED),
        (result(FAIL, STORY, built=False), ("modpost.undefined",), Verdict.FAILED),
        (result(FAIL, STORY, built=False), ("kallsyms.inconsistent", "modpost.undefined"), Verdict.FAILED),
        (result(FAIL, SYNTAX, built=False), (), Verdict.FAILED),
        (result(PASS), ("modpost.undefined",), Verdict.SOUND),
        (result(PASS), (), Verdict.SOUND),
        # a warning may be what a patch is to mend, also where the build passes
        (result(PASS, finding("objtool.warning", Severity.WARNING)), ("objtool.warning",), Verdict.FAILED),
        # a build that was lucky: it fails for the tie, and came far enough to show what is asked for
        (result(FAIL, TIE), ("modpost.undefined",), Verdict.SOUND),
        # the patch does not compile: nobody knows what would have come
        (result(FAIL, SYNTAX, built=False), ("modpost.undefined",), Verdict.OTHER),
        # the build is finished, so that a hanging boot says nothing against it, but nothing of a fault at boot either
        (result(FAIL, PANIC), ("modpost.undefined",), Verdict.SOUND),
        (result(FAIL, PANIC, booted=False), ("modpost.undefined",), Verdict.SOUND),
        (result(FAIL, PANIC), ("boot.warning",), Verdict.OTHER),
        (result(FAIL, finding("boot.hang"), booted=False), ("boot.warning",), Verdict.OTHER),
        (result(FAIL, TIE), ("boot.warning",), Verdict.SOUND),
        # a check that could not look is no sign that nothing was there
        (result(PASS, gaps=(BLIND,)), ("modpost.undefined",), Verdict.OTHER),
        (result(PASS, gaps=(BLIND,)), ("timestamps.tie",), Verdict.SOUND),
        (
            result(PASS, gaps=(NotApplicable(check="modpost", because="no modules", natural=True),)),
            ("modpost.undefined",),
            Verdict.SOUND,
        ),
        (result(ERROR, UNDEFINED), ("modpost.undefined",), Verdict.ERROR),
        (result(Outcome.MISS), (), Verdict.ERROR),
        (result(Outcome.SKIP), (), Verdict.ERROR),
    ],
)
def test_an_attempt_counts_only_if_it_could_have_shown_the_fault(said, asked, wanted):
    assert verdict_of(said, asked) is wanted


def test_a_check_covers_its_own_findings_alone():
    assert pairing.covers("modpost", "modpost.undefined")
    assert pairing.covers("timestamps.tie", "timestamps.tie")
    assert not pairing.covers("timestamps.tie", "timestamps.tie-break")
    assert not pairing.covers("mod", "modpost.undefined")
