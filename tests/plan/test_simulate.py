"""Small simulations with loose bounds; bench/bisection.py measures the real ones."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.plan import simulate
from lab.plan.search import Costs
from lab.plan.simulate import Scene

SMALL = Scene(commits=128, costs=Costs(build=300.0, test=60.0))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 20), st.integers(6, 120), st.floats(0.0, 0.25))
def test_a_synthetic_history_has_so_many_merges_and_one_end(seed, commits, share):
    merges = int(share * commits)
    known = simulate.synthetic(commits, merges, np.random.default_rng(seed))
    assert known.size == commits
    assert sum(len(parents) == 2 for parents in known.parents) == merges
    assert known.ancestors(known.bad).all()


@pytest.mark.parametrize(
    ("scene", "tests", "builds"),
    [
        (SMALL, 11, 9),
        (replace(SMALL, fail_rate=0.5), 45, 10),
        (replace(SMALL, fail_rate=0.2), 110, 12),
        (replace(SMALL, fail_rate=0.5, costs=Costs(build=0.0, test=60.0)), 45, 128),
    ],
)
def test_the_search_is_right_and_stingy(scene, tests, builds):
    told = simulate.means(scene, 60, 3)
    assert told["correct"] >= 0.9
    assert told["tests"] <= tests
    assert told["builds"] <= builds


def test_false_positives_skips_and_merges_are_borne():
    told = simulate.means(replace(SMALL, fail_rate=0.5, false_positives=0.01, skips=0.2, merges=12), 60, 4)
    assert told["correct"] >= 0.87
    assert told["commits_left"] < 4


def test_more_workers_are_sooner_ready():
    one, four = (simulate.means(replace(SMALL, fail_rate=0.5, jobs=jobs), 40, 5) for jobs in (1, 4))
    assert four["elapsed"] < 0.8 * one["elapsed"]
    assert four["correct"] >= 0.9


def test_a_seed_is_a_run():
    scene = replace(SMALL, fail_rate=0.4, merges=6, skips=0.1)
    assert simulate.means(scene, 5, 7) == simulate.means(scene, 5, 7)
    assert simulate.means(scene, 5, 7) != simulate.means(scene, 5, 8)
