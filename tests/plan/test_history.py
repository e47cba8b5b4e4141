"""Held against a walk over the parents."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.plan.history import history, line

RANDOM = st.integers(0, 1 << 30).map(np.random.default_rng)


def drawn(random, size):
    """Parents in a history with merges of any kind: one or two earlier commits each; only what leads to the last commit."""
    parents = [()]
    for number in range(1, size):
        wanted = min(number, int(random.integers(1, 3)))
        parents.append(tuple(random.choice(np.arange(max(0, number - 6), number), wanted, replace=False).tolist()))
    kept = sorted(walked(parents, size - 1))
    return [tuple(kept.index(parent) for parent in parents[commit]) for commit in kept]


def walked(parents, commit):
    seen, todo = set(), [commit]
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.add(one)
            todo += parents[one]
    return seen


@given(RANDOM, st.integers(1, 40))
def test_ancestors_are_those_of_a_walk(random, size):
    parents = drawn(random, size)
    size = len(parents)
    known = history(parents)
    for commit in range(size):
        assert set(np.flatnonzero(known.ancestors(commit)).tolist()) == walked(parents, commit)
        assert set(np.flatnonzero(known.descendants(commit)).tolist()) == {
            other for other in range(size) if commit in walked(parents, other)
        }


@given(RANDOM, st.integers(1, 40), st.integers(1, 5))
def test_shares_are_sums_over_ancestors(random, size, classes):
    parents = drawn(random, size)
    size = len(parents)
    labels = random.integers(-1, classes, size)
    prior = random.random(size) + 0.01
    for known in (history(parents), line(size)):
        shares = known.shares(labels, prior, classes)
        for commit in range(size):
            inside = known.ancestors(commit)
            for which in range(classes):
                of = labels == which
                whole = prior[of].sum() or 1.0
                assert shares[commit, which] == pytest.approx(prior[of & inside].sum() / whole)


@given(RANDOM, st.integers(2, 30))
def test_commits_are_alike_if_the_same_testable_ones_have_them(random, size):
    parents = drawn(random, size)
    size = len(parents)
    skipped = set(np.flatnonzero(random.random(size) < 0.4).tolist()) - {size - 1}
    for known in (history(parents), line(size)):
        groups = known.alike(skipped)
        testable = [number for number in range(size) if number not in skipped]
        seen = [frozenset(number for number in testable if known.ancestors(number)[cause]) for cause in range(size)]
        for one in range(size):
            for other in range(size):
                assert (groups[one] == groups[other]) == (seen[one] == seen[other])


def test_a_line_is_kept_as_a_line():
    assert history([(), (0,), (1,)]).packed is None
    assert history([(), (0,), (0,), (1, 2)]).packed is not None


@pytest.mark.parametrize("parents", [[], [(0,)], [(), (2,), (0,)], [(), (-1,)], [(), (0,), (0,)]])
def test_what_is_no_history_is_refused(parents):
    with pytest.raises(ValueError, match=r"commit"):
        history(parents)
