"""An estimate is what the schedule would come to: held against work_off() itself, and against what no order can beat."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.plan.estimate import estimate
from lab.plan.jobs import AttemptWork, ImageWork, Job, JobKind

POOLS = {"cpu": 2, "loop": 1}


def job(key, *needs, kind=JobKind.IMAGE, cell="", **demand):
    work = ImageWork(name=key) if kind is JobKind.IMAGE else AttemptWork(cell=None, number=1)
    return Job(
        key=key, title=key, kind=kind, payload=work, cell=cell, needs=needs, demand=tuple(sorted(demand.items()))
    )


def attempt(cell, number=1, *needs, **demand):
    return job(f"attempt:{cell}:{number}", *needs, kind=JobKind.ATTEMPT, cell=cell, **(demand or {"cpu": 1}))


def test_two_narrow_jobs_run_side_by_side_and_a_wide_one_alone():
    jobs = [attempt("a", cpu=1), attempt("b", cpu=1), attempt("c", cpu=2)]
    lasting = {"attempt:a:1": 10.0, "attempt:b:1": 8.0, "attempt:c:1": 5.0}
    found = estimate(jobs, pools=POOLS, durations=lasting)
    assert found.seconds == pytest.approx(15.0)
    assert found.bound_s == pytest.approx((10 + 8 + 2 * 5) / 2)
    assert dict(found.busy)["cpu"] == pytest.approx(28 / 30)
    assert (found.attempts, found.guessed) == (3, 0)


def test_what_is_needed_comes_before_and_counts():
    found = estimate(
        [job("image", cpu=1), attempt("a", 1, "image", cpu=1)],
        pools=POOLS,
        durations={"image": 60.0, "attempt:a:1": 5.0},
    )
    assert (found.seconds, found.bound_s) == (65.0, 65.0)


def test_an_attempt_never_made_is_taken_for_its_cells_others_and_a_cell_never_run_for_the_median():
    jobs = [attempt("a", 9), attempt("b"), attempt("new")]
    durations = {"attempt:a:1": 10.0, "attempt:a:2": 12.0, "attempt:a:3": 99.0, "attempt:b:1": 4.0}
    found = estimate(jobs, pools={"cpu": 1}, durations=durations)
    assert found.guessed == 1
    assert found.guess_s == pytest.approx((12 + 4) / 2)
    assert found.seconds == pytest.approx(12 + 4 + 8)


def test_nothing_known_is_said_and_nothing_to_do_takes_no_time():
    found = estimate([attempt("a"), attempt("b")], pools={"cpu": 1}, durations={})
    assert (found.guessed, found.seconds) == (2, 2 * found.guess_s)
    assert estimate([], pools=POOLS, durations={}).seconds == 0.0


@st.composite
def plans(draw):
    count = draw(st.integers(1, 12))
    jobs = []
    for number in range(count):
        needs = draw(st.lists(st.integers(0, number - 1), max_size=2, unique=True)) if number else []
        demand = draw(st.fixed_dictionaries({"cpu": st.integers(1, 3)}, optional={"loop": st.just(1)}))
        jobs.append(job(f"j{number}", *(f"j{need}" for need in needs), **demand))
    return jobs, {one.key: float(draw(st.integers(1, 9))) for one in jobs}


@given(plans())
def test_no_estimate_beats_the_bound_and_none_is_longer_than_one_after_the_other(plan):
    jobs, lasting = plan
    found = estimate(jobs, pools=POOLS, durations=lasting)
    assert found.bound_s <= found.seconds + 1e-9
    assert found.seconds <= sum(lasting.values()) + 1e-9
