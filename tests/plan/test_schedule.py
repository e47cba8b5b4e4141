"""The schedule: every Job ends once, pools hold, needs are respected, nobody starves, trouble stays where it is."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.errors import EnvironmentFault, Untestable
from lab.events import JobFinished, JobStarted, silent
from lab.plan.jobs import ImageWork, Job, JobKind
from lab.plan.schedule import OVERTAKEN_AT_MOST, JobState, work_off

POOLS = {"cpu": 2, "loop": 1}


def job(key, *needs, cell="", **demand):
    return Job(
        key=key,
        title=f"job {key}",
        kind=JobKind.IMAGE,
        payload=ImageWork(name=key),
        cell=cell,
        needs=needs,
        demand=tuple(sorted(demand.items())),
    )


def run(jobs, do=lambda job: job.key, *, pools=POOLS, **options):
    return work_off(jobs, do, pools=pools, sink=options.pop("sink", silent), clock=lambda: 1.0, **options)


def started_order(jobs, **options):
    """Return keys in the order in which they start when only one can run."""
    order = []

    def note(event):
        if isinstance(event, JobStarted):
            order.append(event.key)

    run(jobs, sink=note, threads=1, **options)
    return order


class Meter:
    """A do() that knows what runs at once, and what has ended before."""

    def __init__(self, failing=()):
        self.lock = threading.Lock()
        self.running = {}
        self.most = {}
        self.done = []
        self.early = []
        self.failing = failing

    def __call__(self, job):
        with self.lock:
            for pool, amount in job.demand:
                self.running[pool] = self.running.get(pool, 0) + amount
                self.most[pool] = max(self.most.get(pool, 0), self.running[pool])
            self.early += [need for need in job.needs if need not in self.done]
        threading.Event().wait(0.0002)
        with self.lock:
            for pool, amount in job.demand:
                self.running[pool] -= amount
            if job.key in self.failing:
                raise EnvironmentFault(f"{job.key} broke")
            self.done.append(job.key)


@st.composite
def plans(draw):
    count = draw(st.integers(1, 12))
    some = []
    for number in range(count):
        needs = draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        demand = draw(st.fixed_dictionaries({}, optional={"cpu": st.integers(1, 2), "loop": st.integers(1, 1)}))
        some.append(job(f"j{number}", *(f"j{need}" for need in needs), **demand))
    failing = draw(st.sets(st.sampled_from([each.key for each in some]), max_size=3))
    return draw(st.permutations(some)), failing


@settings(deadline=None, max_examples=60)
@given(plans())
def test_every_job_ends_once_within_the_pools_and_after_its_needs(plan):
    jobs, failing = plan
    meter, finished = Meter(failing), []
    ended = run(jobs, meter, sink=lambda event: finished.append(event.key) if isinstance(event, JobFinished) else None)
    assert list(ended) == [each.key for each in jobs]
    assert sorted(finished) == sorted(ended)
    assert all(meter.most.get(pool, 0) <= size for pool, size in POOLS.items())
    assert meter.early == []
    done = {key for key, end in ended.items() if end.state is JobState.DONE}
    assert done == set(meter.done)
    for each in jobs:
        blocked = any(ended[need].state is not JobState.DONE for need in each.needs)
        assert (ended[each.key].state is JobState.BLOCKED) == blocked


def test_a_value_comes_back_by_key():
    assert run([job("a")], lambda job: job.key * 2)["a"].value == "aa"


def test_a_demand_beyond_the_pool_is_clamped_to_it():
    assert run([job("wide", cpu=64)])["wide"].state is JobState.DONE


def test_a_pool_that_is_not_named_has_no_limit():
    assert run([job("far", network=9)], pools={})["far"].state is JobState.DONE


def test_an_empty_plan_ends_at_once():
    assert run([]) == {}


def test_what_needs_a_failed_job_is_not_run_and_keeps_its_error():
    broken = Untestable("patch 'x' does not apply")

    def do(job):
        if job.key == "patched":
            raise broken
        return job.key

    ended = run([job("patched"), job("cell", "patched"), job("after", "cell"), job("other")], do)
    assert ended["cell"].state is JobState.BLOCKED
    assert ended["after"].error is broken
    assert ended["after"].because_of == "patched"
    assert ended["other"].state is JobState.DONE


def test_a_bug_of_ours_is_kept_with_its_traceback_and_stops_nobody():
    def do(job):
        if job.key == "a":
            raise KeyError("oops")

    ended = run([job("a"), job("b")], do)
    assert isinstance(ended["a"].error, KeyError)
    assert "in do" in ended["a"].traceback
    assert ended["b"].state is JobState.DONE


def test_a_lab_error_needs_no_traceback():
    def do(job):
        raise EnvironmentFault("no space")

    assert run([job("a")], do)["a"].traceback == ""


def test_even_a_system_exit_in_a_job_is_only_that_jobs_end():
    def do(job):
        raise SystemExit(3)

    assert run([job("a")], do)["a"].state is JobState.FAILED


def test_events_tell_start_and_end_and_why_something_was_not_run():
    events = []

    def do(job):
        raise EnvironmentFault("no space left\nsecond line")

    run([job("image"), job("cell", "image", cell="tmpfs")], do, sink=events.append)
    assert [(type(event).__name__, event.key) for event in events] == [
        ("JobStarted", "image"),
        ("JobFinished", "image"),
        ("JobFinished", "cell"),
    ]
    assert events[1].error == "no space left"
    assert events[2].error == "not run, job image failed: no space left"
    assert events[2].cell == "tmpfs"


def test_what_failed_before_goes_first_and_takes_its_needs_along():
    jobs = [job("image1"), job("long", "image1"), job("image2"), job("flaky", "image2")]
    order = started_order(jobs, durations={"long": 999.0, "flaky": 1.0}, failed_before={"flaky"})
    assert order == ["image2", "flaky", "image1", "long"]


def test_the_longest_way_to_the_end_goes_first():
    jobs = [job("short"), job("image"), job("long", "image")]
    order = started_order(jobs, durations={"short": 50.0, "image": 1.0, "long": 100.0})
    assert order == ["image", "long", "short"]


def test_equals_start_in_the_order_of_the_plan():
    jobs = [job(f"j{number}") for number in range(20)]
    assert started_order(jobs) == [each.key for each in jobs]


def test_a_wide_job_is_overtaken_only_so_often():
    started = []
    first_may_end = threading.Event()

    def do(job):
        if job.key == "first":  # holds one cpu, so that the wide one does not fit, until nothing else starts
            assert first_may_end.wait(10)

    def note(event):
        if isinstance(event, JobStarted):
            started.append(event.key)
        if isinstance(event, JobFinished) and event.key == f"narrow{OVERTAKEN_AT_MOST - 1}":
            first_may_end.set()

    jobs = [job("first", cpu=1), job("wide", cpu=2), *(job(f"narrow{number}", cpu=1) for number in range(20))]
    run(jobs, do, sink=note)
    assert started.index("wide") == 1 + OVERTAKEN_AT_MOST


def test_a_wide_job_that_waits_does_not_hold_up_other_pools():
    started = []
    release = threading.Event()

    def do(job):
        if job.key == "holder":
            assert release.wait(10)

    def note(event):
        if isinstance(event, JobStarted):
            started.append(event.key)
        if isinstance(event, JobFinished) and event.key == "loop9":
            release.set()

    jobs = [job("holder", cpu=1), job("wide", cpu=2), *(job(f"loop{number}", loop=1) for number in range(10))]
    run(jobs, do, sink=note)
    assert started[-1] == "wide"


def test_after_stop_nothing_new_starts_and_what_runs_ends():
    stop = threading.Event()

    def do(job):
        stop.set()
        return "finished anyway"

    ended = run([job("a", cpu=2), job("b", cpu=2)], do, stop=stop)
    assert ended["a"].value == "finished anyway"
    assert ended["b"].state is JobState.NOT_STARTED
    assert ended["b"].error is None


def test_a_sink_that_breaks_is_told_to_the_caller():
    def sink(event):
        raise BrokenPipeError

    stop = threading.Event()
    with pytest.raises(BrokenPipeError):
        run([job("a")], sink=sink, stop=stop)
    assert stop.is_set()


@pytest.mark.parametrize(
    ("jobs", "complaint"),
    [
        ([job("a"), job("a")], "share a key"),
        ([job("a", "b")], "not there"),
        ([job("a", "b"), job("b", "a")], "one another"),
    ],
)
def test_a_plan_that_cannot_be_worked_off_is_refused(jobs, complaint):
    with pytest.raises(ValueError, match=complaint):
        run(jobs)


def test_two_thousand_jobs_that_share_a_need_all_run():
    jobs = [job("image"), *(job(f"c{number}", "image", cpu=1) for number in range(2_000))]
    ticks = []
    ended = run(jobs, lambda job: ticks.append(1))
    assert len(ticks) == len(ended) == 2_001


def test_what_nobody_wants_any_more_is_not_started_and_not_told():
    told = []
    done = []

    def do(one):
        done.append(one.key)
        return one.key

    ended = run(
        [job(f"a{number}", cpu=2) for number in range(5)], do, sink=told.append, wanted=lambda one: len(done) < 2
    )
    assert [ended[f"a{number}"].state for number in range(5)] == [JobState.DONE] * 2 + [JobState.NOT_NEEDED] * 3
    assert {event.key for event in told} == {"a0", "a1"}


def test_a_needless_job_gives_its_pools_back():
    ended = run([job("a", cpu=2), job("b", cpu=2)], wanted=lambda one: one.key == "b")
    assert (ended["a"].state, ended["b"].state) == (JobState.NOT_NEEDED, JobState.DONE)
