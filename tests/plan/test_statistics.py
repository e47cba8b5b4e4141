"""Held against scipy, against exact sums and by simulation with fixed seeds: properties, not examples."""

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lab.model import AttemptResult, Finding, Outcome, Severity, Span, Until
from lab.plan import statistics
from lab.plan.statistics import MENDED_TO, OUTCOMES, Answer, rate

COUNTS = st.integers(1, 400).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))
SHARES = np.linspace(0.0, 1.0, 101)


# ------------------------------------------------------------------------------------------------------------ one rate


@given(COUNTS, st.sampled_from((0.8, 0.95, 0.99)))
def test_the_interval_is_scipys(counts, confidence):
    ours = rate(*counts, confidence)
    theirs = stats.binomtest(*counts).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(COUNTS)
def test_the_interval_holds_what_was_seen_and_is_symmetric(counts):
    failures, trials = counts
    one, other = rate(failures, trials), rate(trials - failures, trials)
    assert 0.0 <= one.low <= failures / trials <= one.high <= 1.0
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low))


def test_nothing_tried_means_nothing_known():
    assert (rate(0, 0).low, rate(0, 0).high, rate(0, 0).intermittent) == (0.0, 1.0, False)


@pytest.mark.parametrize(("failures", "trials", "confidence"), [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 0.0), (1, 3, 1.0)])
def test_what_is_no_rate_is_refused(failures, trials, confidence):
    with pytest.raises(ValueError, match="no rate"):
        rate(failures, trials, confidence)


@pytest.mark.parametrize("trials", [10, 20, 50, 200])
def test_the_interval_covers_the_true_rate_as_often_as_it_says(trials):
    intervals = [rate(failures, trials) for failures in range(trials + 1)]
    low, high = np.array([one.low for one in intervals]), np.array([one.high for one in intervals])
    true = np.linspace(0.02, 0.98, 97)
    covers = [stats.binom.pmf(range(trials + 1), trials, p) @ ((low <= p) & (p <= high)) for p in true]
    # the coverage of Wilson's interval swings around what it promises. Source: Brown, Cai, DasGupta, Stat. Sci. 16 (2001)
    assert np.mean(covers) >= 0.945
    assert min(covers) >= 0.83


@pytest.mark.parametrize("true", [0.05, 0.1, 0.3, 0.5])
def test_stopping_at_a_width_costs_no_coverage(true):
    """`repeat: {until: {width: …}}` looks after every attempt; its interval may not become a lie by that."""
    random = np.random.default_rng(int(true * 100))
    covered = 0
    known = functools.cache(rate)
    for _ in range(600):
        failures = trials = 0
        while not (trials and statistics.narrow(known(failures, trials), 0.3)):
            failures, trials = failures + int(random.random() < true), trials + 1
        seen = known(failures, trials)
        covered += seen.low <= true <= seen.high
    assert covered / 600 >= 0.95 - 0.027  # three standard deviations of 600 runs


@given(st.floats(0.05, 0.9), st.sampled_from((0.9, 0.95)))
def test_so_many_attempts_make_the_worst_interval_narrow_enough(width, confidence):
    enough = statistics.attempts_for(width, confidence)
    assert rate(round(enough / 2), enough, confidence).width <= width


@given(st.floats(0.001, 0.999), st.sampled_from((0.5, 0.95, 0.999)))
def test_so_many_attempts_show_a_fault_and_one_less_may_not(share, confidence):
    enough = statistics.attempts_to_see(share, confidence)
    assert 1 - (1 - share) ** enough >= confidence - 1e-12
    assert enough == 1 or 1 - (1 - share) ** (enough - 1) < confidence + 1e-12


def attempt(outcome, *ids):
    found = tuple(
        Finding(id=one, severity=Severity.FAIL, title=one, message="", where=Span(file="")) for one in ids if one != "+"
    )
    joined = (replace(found[0], joined=found[1:]),) if "+" in ids else found
    return AttemptResult(number=1, outcome=outcome, reason="", findings=joined)


TIE, BOTH = ("timestamps.tie",), ("timestamps.tie", "modpost.undefined")


@pytest.mark.parametrize(
    ("until", "attempts", "wanted"),
    [
        (Until(first_failure=True), [attempt(Outcome.PASS)] * 9, False),
        (Until(first_failure=True), [attempt(Outcome.PASS), attempt(Outcome.FAIL, *TIE)], True),
        (Until(first_failure=True, finding="modpost.undefined"), [attempt(Outcome.FAIL, *TIE)] * 9, False),
        (Until(first_failure=True, finding="modpost.undefined"), [attempt(Outcome.FAIL, *BOTH)], True),
        (Until(first_failure=True, finding="modpost.undefined"), [attempt(Outcome.FAIL, *BOTH, "+")], True),
        # found, but nobody says that it is so: the machine broke
        (Until(first_failure=True, finding="modpost.undefined"), [attempt(Outcome.ERROR, *BOTH)], False),
        # of failing, 30 of 30 are enough for this width; of the finding, which half of them have, they are not
        (Until(width=0.25), [attempt(Outcome.FAIL, *TIE), attempt(Outcome.FAIL, *BOTH)] * 15, True),
        (
            Until(width=0.25, finding="modpost.undefined"),
            [attempt(Outcome.FAIL, *TIE), attempt(Outcome.FAIL, *BOTH)] * 15,
            False,
        ),
        (
            Until(width=0.25, finding="modpost.undefined"),
            [attempt(Outcome.FAIL, *TIE), attempt(Outcome.FAIL, *BOTH)] * 40,
            True,
        ),
        (Until(width=0.5), [], False),
    ],
)
def test_enough_is_asked_of_failures_or_of_one_finding(until, attempts, wanted):
    assert statistics.enough(until, attempts) is wanted


# ----------------------------------------------------------------------------------------------------------- two rates


@given(COUNTS, COUNTS)
def test_the_p_values_are_fishers(one, other):
    table = [[one[0], one[1] - one[0]], [other[0], other[1] - other[0]]]
    first, second = rate(*one), rate(*other)
    assert statistics.changed(first, second) == pytest.approx(stats.fisher_exact(table).pvalue)
    hypergeometric = stats.hypergeom(one[1] + other[1], one[0] + other[0], one[1])
    assert statistics.fewer(first, second) == pytest.approx(hypergeometric.sf(one[0] - 1), abs=1e-9)


def expectation(logarithms, first, second):
    """The mean of each bet, where the arms fail at these rates."""
    chances = [(first if a else 1 - first) * (second if b else 1 - second) for a, b in OUTCOMES]
    return np.exp(logarithms) @ np.array(chances)


def test_no_bet_is_better_than_fair_where_it_bets_against_the_truth():
    effect, none = statistics._stakes()
    for first, second in itertools.product(SHARES, SHARES):
        if second >= first:
            assert expectation(effect, first, second).max() <= 1 + 1e-6
        if second <= MENDED_TO * first:
            assert expectation(none, first, second).max() <= 1 + 1e-6


def answers(first, second, *, budget, runs=600, seed=1):
    random = np.random.default_rng(seed)
    found = dict.fromkeys(Answer, 0)
    for _ in range(runs):
        counts = np.zeros(len(OUTCOMES))
        answer = Answer.OPEN
        for _ in range(budget):
            counts[OUTCOMES.index((bool(random.random() < first), bool(random.random() < second)))] += 1
            answer = statistics.compared_counts(counts).answer
            if answer is not Answer.OPEN:
                break
        found[answer] += 1
    return {answer: count / runs for answer, count in found.items()}


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_patch_that_does_nothing_is_seldom_believed(share):
    # looked at after each of 60 pairs; three standard deviations of 600 runs
    assert answers(share, share, budget=60)[Answer.MENDS] <= 0.05 + 0.027


@pytest.mark.parametrize(("first", "second"), [(0.3, 0.0), (0.5, 0.1), (1.0, 0.2)])
def test_a_patch_that_mends_is_seldom_refused(first, second):
    assert answers(first, second, budget=60)[Answer.DOES_NOT_MEND] <= 0.05 + 0.027


@pytest.mark.parametrize(("first", "second", "answer"), [(0.5, 0.0, Answer.MENDS), (0.5, 0.5, Answer.DOES_NOT_MEND)])
def test_it_comes_to_the_right_answer(first, second, answer):
    assert answers(first, second, budget=60, runs=200)[answer] >= 0.9


@given(st.lists(st.sampled_from(OUTCOMES), max_size=40), st.randoms())
def test_the_order_of_the_pairs_does_not_count(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert statistics.compared(pairs).against_no_effect == pytest.approx(
        statistics.compared(shuffled).against_no_effect
    )


@pytest.mark.parametrize("error_rate", [0.001, 0.05, 0.3])
def test_fewer_pairs_than_the_fewest_decide_nothing_and_so_many_can(error_rate):
    errors = statistics.Errors(no_effect=error_rate, missed=error_rate)
    fewest = statistics.fewest_pairs(errors)

    def decided(pairs):
        some = itertools.combinations_with_replacement(OUTCOMES, pairs)
        return any(statistics.compared(one, errors).answer is not Answer.OPEN for one in some)

    assert decided(fewest)
    assert not any(decided(pairs) for pairs in range(1, fewest))


def test_without_a_pair_nothing_is_said():
    nothing = statistics.compared([])
    assert nothing.answer is Answer.OPEN
    assert (nothing.against_no_effect, nothing.against_effect) == pytest.approx((1.0, 1.0))


def test_pairs_that_were_made_count_in_a_prospect():
    seen = [(True, False)] * 2
    assert statistics.prospect(1.0, 0.0, budget=20).pairs == 3
    assert statistics.prospect(1.0, 0.0, budget=20, seen=seen).pairs == 1
    assert statistics.prospect(1.0, 1.0, budget=20, seen=seen).pairs > statistics.prospect(1.0, 1.0, budget=20).pairs


def test_a_prospect_says_when_a_budget_cannot_decide():
    assert statistics.prospect(0.05, 0.0, budget=10).decided < 0.05
    likely = statistics.prospect(0.5, 0.0, budget=60)
    assert likely.decided > 0.95
    assert 5 <= likely.pairs <= 20
