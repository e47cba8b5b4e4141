"""The posterior against exact sums over culprits and rates; the search by what it must hold to whatever it sees."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.plan import search
from lab.plan.history import history, line
from lab.plan.posterior import Count, faults, unknown
from lab.plan.search import Costs, Ending, Known, Step
from tests.plan.test_history import RANDOM, drawn

CHEAP, EVEN, DEAR = Costs(build=0.0, test=60.0), Costs(build=60.0, test=60.0), Costs(build=6000.0, test=60.0)


def by_hand(known, model, prior, tests):
    """Return the posterior over culprits as the sum that defines it."""
    told = np.zeros(known.size)
    for culprit, (rate, weight) in itertools.product(range(known.size), zip(model.rates, model.weights, strict=True)):
        likely = weight * prior[culprit]
        for commit, failed in tests:
            fails = rate if known.ancestors(commit)[culprit] else model.good_fails
            likely *= fails if failed else 1 - fails
        told[culprit] += likely
    return told / told.sum()


@settings(max_examples=40, deadline=None)
@given(RANDOM, st.integers(2, 12), st.integers(0, 12), st.sampled_from((0.0, 0.02)))
def test_the_posterior_is_bayes(random, size, number, false_positives):
    known = history(drawn(random, size))
    size = known.size
    model = faults(false_positives)
    prior = random.random(size) + 0.05
    tests = [(known.bad, True)] + [
        (int(random.integers(size)), bool(random.random() < 0.3 * false_positives)) for _ in range(number)
    ]
    posterior = unknown(known, model, prior)
    for commit, failed in tests:
        posterior = posterior.after(commit, int(failed), 1)
    assert posterior.culprits() == pytest.approx(by_hand(known, model, prior, tests), abs=1e-6)
    assert posterior.joint.sum() == pytest.approx(1.0)


@given(RANDOM, st.integers(2, 20))
def test_tests_may_be_told_one_by_one_or_at_once_and_in_any_order(random, size):
    known = history(drawn(random, size))
    size = known.size
    counts = [(known.bad, 2, 3), *((int(random.integers(size)), 0, int(random.integers(1, 5))) for _ in range(4))]
    at_once = unknown(known, faults())
    for commit, failures, tests in counts:
        at_once = at_once.after(commit, failures, tests)
    each = [(commit, number < failures) for commit, failures, tests in counts for number in range(tests)]
    random.shuffle(each)
    one_by_one = unknown(known, faults())
    for commit, failed in each:
        one_by_one = one_by_one.after(int(commit), int(failed), 1)
    assert one_by_one.culprits() == pytest.approx(at_once.culprits(), abs=1e-6)


def test_a_failure_rules_out_what_is_not_an_ancestor_and_silence_only_leans():
    fresh = unknown(line(8), faults()).after(7, 3, 9)
    failed, silent = fresh.after(3, 1, 1).culprits(), fresh.after(3, 0, 1).culprits()
    assert failed[4:].sum() < 1e-6
    assert 0.01 < silent[:4].sum() < 0.5


def test_a_false_positive_is_not_believed_as_such():
    posterior = unknown(line(8), faults(0.05)).after(7, 8, 10).after(3, 1, 12)
    assert posterior.culprits()[4:].sum() > 0.9


@settings(max_examples=25, deadline=None)
@given(RANDOM, st.integers(2, 60), st.sampled_from((CHEAP, EVEN, DEAR)), st.floats(0.0, 0.5))
def test_a_bisection_ends_and_takes_only_steps_that_tell_something(random, size, costs, skips):
    known = history(drawn(random, size))
    size = known.size
    culprit = int(random.integers(size))
    unbuildable = set(np.flatnonzero(random.random(size) < skips).tolist()) - {known.bad}
    posterior, skipped, built = unknown(known, faults()).after(known.bad, 6, 6), set(), set()
    while not search.settled(posterior, known.alike(skipped), 0.98):
        step = search.next_step(posterior, costs, Known(built=built, skipped=skipped))
        assert step is not None
        assert step.commit not in skipped
        assert step.build is (step.commit not in built)
        assert step.bits > 0
        if step.commit in unbuildable:
            skipped.add(step.commit)
            continue
        built.add(step.commit)
        failed = bool(known.ancestors(step.commit)[culprit])
        posterior = posterior.after(step.commit, int(failed), 1 if failed else step.tests)
    told = search.answer(posterior, known.alike(skipped), 0.98)
    assert told.ending is Ending.CULPRIT
    assert culprit in told.commits
    assert len(set(known.alike(skipped)[list(told.commits)].tolist())) == 1


@settings(max_examples=25, deadline=None)
@given(RANDOM, st.integers(20, 60))
def test_workers_get_different_builds(random, size):
    known = history(drawn(random, size))
    size = known.size
    posterior = unknown(known, faults()).after(known.bad, 3, 6)
    steps = []
    for _ in range(3):
        step = search.next_step(posterior, EVEN, Known(reserved={one.commit for one in steps}, pending=tuple(steps)))
        if step is None:
            break
        steps.append(step)
    assert steps
    assert len({step.commit for step in steps}) == len(steps)


def test_a_second_worker_goes_where_the_first_ones_answer_will_not_reach():
    posterior = unknown(line(64), faults()).after(63, 12, 12)
    first = search.next_step(posterior, EVEN)
    second = search.next_step(posterior, EVEN, Known(reserved={first.commit}, pending=(first,)))
    assert abs(second.commit - first.commit) > 8


def test_what_fails_seldom_is_tested_more_often():
    often = search.next_step(unknown(line(1000), faults()).after(999, 12, 12), EVEN)
    seldom = search.next_step(unknown(line(1000), faults()).after(999, 4, 40), EVEN)
    assert abs(often.commit - 500) < 30
    assert often.tests <= 2
    assert seldom.tests > 5


def test_dear_builds_are_paid_with_tests():
    posterior = unknown(line(1000), faults()).after(999, 6, 20)
    assert search.next_step(posterior, DEAR).tests > search.next_step(posterior, CHEAP).tests


def test_what_is_near_to_a_skipped_commit_is_avoided():
    posterior = unknown(line(1000), faults()).after(999, 8, 8)
    first = search.next_step(posterior, EVEN)
    second = search.next_step(posterior, EVEN, Known(skipped={first.commit}))
    assert abs(second.commit - first.commit) > 4


def test_commits_that_nobody_can_part_are_the_answer_together():
    posterior = unknown(line(8), faults()).after(7, 9, 9).after(2, 0, 9).after(5, 1, 1)
    known = Known(built={2, 5}, skipped={3, 4})
    assert search.next_step(posterior, EVEN, Known(built={2, 5}, skipped={3, 4, 0, 1, 6, 2, 5})) is None
    told = search.answer(posterior, posterior.history.alike(known.skipped), 0.95)
    assert (told.ending, told.commits) == (Ending.CULPRIT, (3, 4, 5))


def test_what_is_not_settled_is_narrowed_or_unresolved():
    posterior = unknown(line(100), faults()).after(99, 9, 9)
    groups = posterior.history.alike(())
    assert search.answer(posterior, groups, 0.98).ending is Ending.UNRESOLVED
    narrowed = search.answer(posterior.after(80, 0, 9), groups, 0.95)
    assert narrowed.ending is Ending.NARROWED
    assert narrowed.confidence >= 0.95
    assert set(range(81, 100)) <= set(narrowed.commits)


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from((CHEAP, EVEN, DEAR)))
def test_the_bad_end_is_measured_when_it_failed_often_enough(failures, silences, costs):
    end = Count(failures=failures, tests=failures + silences)
    more = end.plus(1, 1)
    assert search.measured(more, costs) >= search.measured(end, costs)
    assert not search.measured(Count(failures=0, tests=silences), costs)


@pytest.mark.parametrize("prior", [[1.0], [0.0] * 4, [1, 1, 1, -1], [1, 1, 1, float("nan")]])
def test_weights_that_are_none_are_refused(prior):
    with pytest.raises(ValueError, match="prior weights"):
        unknown(line(4), faults(), np.array(prior))


def test_a_prior_leads_the_search():
    prior = np.ones(1000)
    prior[100:110] = 1000.0
    step = search.next_step(unknown(line(1000), faults(), prior).after(999, 9, 9), EVEN)
    assert 100 <= step.commit < 110


def test_outcomes_of_steps_under_way_are_a_distribution():
    posterior = unknown(line(64), faults()).after(63, 3, 9).split(20).split(40)
    branches = search.outcomes(posterior, (Step(commit=20, tests=4, build=True), Step(commit=40, tests=2, build=True)))
    assert sum(weight for weight, _ in branches) == pytest.approx(1.0)
    assert sum(weight * joint for weight, joint in branches) == pytest.approx(posterior.joint, abs=1e-5)
