"""Whole bisections with a fault that is drawn: all phases, what does not count, words of people, and lost work."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.plan import bisection
from lab.plan.bisection import OUTSIDE, REVERTED, Phase, Rules, Seen, Standing
from lab.plan.history import History, history, line
from lab.plan.posterior import faults, unknown
from lab.plan.search import Ending
from tests.plan.test_history import RANDOM, drawn

RULES = Rules()


def begun(known: History, false_positives: float = 0.0) -> Standing:
    return Standing(posterior=unknown(known, faults(false_positives)))


def pursued(standing, rate, culprit, random, rules=RULES, unbuildable=(), mended=True):
    """Do what is asked for until nothing is. mended: whether the bad end is sound without the culprit."""
    known = standing.posterior.history
    for _ in range(4000):
        step = standing.next_step(rules)
        if step is None:
            return standing
        if step.commit == OUTSIDE:
            faulty = known.mended
        elif step.commit == REVERTED:
            faulty = not mended
        else:
            faulty = bool(known.causes(step.commit)[culprit])
        for _ in range(step.tests):
            if step.commit in unbuildable:
                standing = standing.after(step.commit, Seen.OTHER)
                break
            failed = faulty and random.random() < rate
            standing = standing.after(step.commit, Seen.FAILED if failed else Seen.SOUND, test_s=1.0, build_s=5.0)
            if failed:
                break
    raise AssertionError("it does not end")


@settings(max_examples=20, deadline=None)
@given(RANDOM, st.integers(2, 60), st.floats(0.0, 0.3))
def test_a_fault_that_always_shows_itself_is_found(random, size, skips):
    known = history(drawn(random, size))
    culprit = int(random.integers(known.size))
    unbuildable = set(np.flatnonzero(random.random(known.size) < skips).tolist()) - {known.bad}
    done = pursued(begun(known), 1.0, culprit, random, unbuildable=unbuildable)
    answer = done.answer(RULES)
    assert answer.ending is Ending.CULPRIT
    assert culprit in answer.commits
    assert done.phase(RULES) is Phase.DONE


@settings(max_examples=10, deadline=None)
@given(RANDOM, st.integers(2, 60))
def test_a_fix_is_found_as_well(random, size):
    known = history(drawn(random, size))
    turned = History(known.parents, known.packed, mended=True)
    culprit = int(random.integers(known.size))
    done = pursued(begun(turned), 1.0, culprit, random)
    assert done.answer(RULES).commits == (culprit,)
    assert done.faulty_end == OUTSIDE


def test_intermittent_faults_are_found_nearly_always():
    random = np.random.default_rng(3)
    right = 0
    for _ in range(40):
        culprit = int(random.integers(200))
        done = pursued(begun(line(200)), 0.3, culprit, random, Rules(reverts=True))
        right += done.answer(RULES).commits == (culprit,)
        assert done.count(REVERTED).tests > 5
    assert right >= 36


def test_the_culprits_parent_is_tested_until_its_silence_is_sure():
    done = pursued(begun(line(64)), 0.5, 20, np.random.default_rng(1))
    assert done.count(19).tests >= 7
    assert done.count(19).failures == 0
    assert done.count(20).failures > 0


def test_a_first_commit_is_verified_against_the_good_end():
    done = pursued(begun(line(64)), 0.5, 0, np.random.default_rng(1))
    assert done.answer(RULES).commits == (0,)
    assert done.count(OUTSIDE).tests >= 7


def test_an_end_that_never_fails_is_not_confirmed():
    done = pursued(begun(line(64)), 0.0, 20, np.random.default_rng(1))
    assert done.answer(RULES).ending is Ending.NOT_CONFIRMED
    assert "silent in 90 tests" in done.unconfirmed()


def test_a_good_end_that_fails_is_not_confirmed():
    standing = begun(line(64))
    for _ in range(8):
        standing = standing.after(63, Seen.FAILED)
    standing = standing.after(OUTSIDE, Seen.FAILED)
    assert standing.answer(RULES).ending is Ending.NOT_CONFIRMED


def test_one_false_positive_of_a_good_end_is_borne_where_they_are_reckoned_with():
    standing = begun(line(64), 0.05)
    for _ in range(8):
        standing = standing.after(63, Seen.FAILED)
    for _ in range(20):
        standing = standing.after(OUTSIDE, Seen.SOUND)
    assert not standing.after(OUTSIDE, Seen.FAILED).unconfirmed()


def test_errors_count_nowhere():
    standing = begun(line(64)).after(63, Seen.FAILED)
    after = standing.after(63, Seen.ERROR).after(63, Seen.ERROR)
    assert (after.counts, after.posterior) == (standing.counts, standing.posterior)
    assert after.errors == 2
    assert after.after(63, Seen.FAILED).errors == 0


def test_another_failure_skips_only_where_nothing_counted():
    standing = begun(line(64)).after(30, Seen.SOUND).after(30, Seen.OTHER).after(30, Seen.OTHER)
    assert not standing.skipped
    assert standing.after(31, Seen.OTHER).after(31, Seen.OTHER).skipped == {31}


def test_two_commits_with_the_same_kernel_are_one_test():
    standing = begun(line(8))
    for _ in range(8):
        standing = standing.after(7, Seen.FAILED)
    standing = standing.after(2, Seen.SOUND, identity="a").after(5, Seen.SOUND, identity="a")
    culprits = standing.posterior.culprits()
    assert culprits[3:6].sum() == pytest.approx(0.0, abs=1e-9)
    assert culprits[6:].sum() > 0.9


def test_peoples_words_are_believed():
    standing = begun(line(8)).marked(2, "good").marked(4, "bad").marked(3, "skip")
    assert standing.answer(RULES).commits == (3, 4)
    assert standing.marked(1, "bad").contradicted


def test_workers_get_different_places():
    standing = begun(line(64))
    first = standing.next_step(RULES)
    second = standing.next_step(RULES, (first,))
    assert (first.commit, second.commit) == (63, OUTSIDE)
    assert standing.next_step(RULES, (first, second)) is None


def test_costs_are_those_that_were_measured():
    standing = begun(line(8)).after(7, Seen.FAILED, test_s=3.0, build_s=50.0).after(7, Seen.FAILED, test_s=5.0)
    costs = standing.costs(bisection.Rules().assumed)
    assert (costs.build, costs.test) == (50.0, 4.0)
