"""Work Jobs off: a ready queue, named resource pools, threads. One Job's trouble never stops the others.

Order: Jobs on the way to something that failed last time, then the longest way to the end first (own duration plus that of
what waits for it), then as planned. A Job whose pools are taken is passed over, but only OVERTAKEN_AT_MOST times: then
nothing that wants one of its pools starts before it, so a wide Job is not starved by narrow ones.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from statistics import median
from typing import Generic, TypeVar

from lab.errors import LabError, understood
from lab.events import JobFinished, JobStarted, Sink
from lab.plan.jobs import Demand, Job

T = TypeVar("T")

OVERTAKEN_AT_MOST = 4
UNKNOWN_DURATION_S = 60.0


class JobState(StrEnum):
    """What became of a Job."""

    DONE = "done"  # do() returned
    FAILED = "failed"  # do() raised
    BLOCKED = "blocked"  # not run: something it needs failed
    NOT_STARTED = "not-started"  # not run: the run was stopped before its turn
    NOT_NEEDED = "not-needed"  # not run: when its turn came, nobody wanted it any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Generic[T]):
    """The end of one Job.

    value: what do() returned, None unless DONE. error: what it raised; of a BLOCKED Job the error of the Job at the root of
    the trouble, and because_of that Job's key. traceback: text, "" for a LabError, which is no bug.
    """

    key: str
    state: JobState
    value: T | None = None
    error: BaseException | None = None
    because_of: str = ""
    traceback: str = ""
    seconds: float = 0.0


def work_off(
    jobs: Sequence[Job],
    do: Callable[[Job], T],
    *,
    pools: Mapping[str, int],
    sink: Sink,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    durations: Mapping[str, float] | None = None,
    failed_before: Set[str] = frozenset(),
    stop: threading.Event | None = None,
    threads: int = 64,
    wanted: Callable[[Job], bool] = lambda job: True,
) -> dict[str, Ended[T]]:
    """Do every Job once and return how each ended, by key, in the order of `jobs`.

    do: called in threads of ours, at most `threads` at once; it must heed `stop` itself if it is to end early.
    pools: name -> amount. A demand beyond its pool is clamped to it; a pool that is not named here has no limit.
    wanted: asked when a Job's turn has come; one that is not wanted any more is not started, and nothing is told of it.
    clock: seconds since the epoch, for events. monotonic: seconds, for durations; no clock that jumps.
    durations, failed_before: of earlier runs, by Job key. stop: once set, nothing new starts and what runs is waited for.
    A first KeyboardInterrupt while waiting sets stop; a second one is raised, and then running Jobs are abandoned.
    Errors: ValueError if Jobs need unknown Jobs or one another in a circle, or share a key: a bug of the planner.
    """
    order = Order.of(jobs, durations or {}, failed_before)
    ready = Ready(pools=pools, order=order)
    crew: Crew[T] = Crew(
        jobs={job.key: job for job in jobs},
        do=do,
        ready=ready,
        sink=sink,
        clock=clock,
        monotonic=monotonic,
        wanted=wanted,
    )
    return crew.run(stop or threading.Event(), threads)


@dataclass(slots=True, kw_only=True)
class Crew(Generic[T]):
    """The coordinator's books. Only the thread that called work_off() touches them; workers speak through `ends`."""

    jobs: dict[str, Job]
    do: Callable[[Job], T]
    ready: Ready
    sink: Sink
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    wanted: Callable[[Job], bool] = lambda job: True
    ends: queue.SimpleQueue[Ended[T]] = field(default_factory=queue.SimpleQueue)
    ended: dict[str, Ended[T]] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    waiting_for: dict[str, set[str]] = field(default_factory=dict)
    wanted_by: dict[str, list[str]] = field(default_factory=dict)

    def run(self, stop: threading.Event, threads: int) -> dict[str, Ended[T]]:
        """Work until nothing runs and nothing can start."""
        for job in self.jobs.values():
            self.waiting_for[job.key] = set(job.needs)
            for need in set(job.needs):
                self.wanted_by.setdefault(need, []).append(job.key)
            if not job.needs:
                self.ready.add(job)
        executor = ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="job")
        try:
            self.loop(executor, stop, max(1, threads))
        except BaseException:
            stop.set()
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        executor.shutdown()
        missed: list[Ended[T]] = [
            Ended(key=key, state=JobState.NOT_STARTED) for key in self.jobs if key not in self.ended
        ]
        self.ended |= {end.key: end for end in missed}
        return {key: self.ended[key] for key in self.jobs}

    def loop(self, executor: ThreadPoolExecutor, stop: threading.Event, threads: int) -> None:
        """Start what fits, wait for an end, again."""
        while True:
            while not stop.is_set() and len(self.running) < threads and (job := self.ready.take()):
                if not self.wanted(job):
                    self.drop(job)
                    continue
                self.running.add(job.key)
                self.sink(JobStarted(at_s=self.clock(), key=job.key, title=job.title, cell=job.cell))
                executor.submit(self.work, job)
            if not self.running:
                return
            self.settle(self.next_end(stop))

    def drop(self, job: Job) -> None:
        """Pass over a Job that nobody wants any more; what waits for it would wait for nothing, so nothing may."""
        assert job.key not in self.wanted_by, "only the last Jobs of a way can become needless"
        self.ready.give_back(job)
        self.ended[job.key] = Ended(key=job.key, state=JobState.NOT_NEEDED)

    def next_end(self, stop: threading.Event) -> Ended[T]:
        """Wait for a worker."""
        try:
            return self.ends.get()
        except KeyboardInterrupt:
            if stop.is_set():
                raise
            stop.set()
            return self.ends.get()

    def work(self, job: Job) -> None:
        """Do one Job, in a worker's thread. Whatever is raised becomes part of its end."""
        begun_s = self.monotonic()
        value: T | None = None
        error: BaseException | None = None
        trace = ""
        try:
            value = self.do(job)
        except BaseException as raised:
            error = raised
            trace = "" if isinstance(raised, LabError) else traceback.format_exc()
        state = JobState.DONE if error is None else JobState.FAILED
        seconds = max(0.0, self.monotonic() - begun_s)
        self.ends.put(Ended(key=job.key, state=state, value=value, error=error, traceback=trace, seconds=seconds))

    def settle(self, end: Ended[T]) -> None:
        """Write down an end, give back what it held, and let go or block what waited for it."""
        job = self.jobs[end.key]
        self.running.discard(end.key)
        self.ready.give_back(job)
        self.record(end)
        for key in self.wanted_by.get(end.key, ()):
            if end.state is JobState.DONE:
                self.waiting_for[key].discard(end.key)
                if not self.waiting_for[key] and key not in self.ended:
                    self.ready.add(self.jobs[key])
        if end.state is JobState.FAILED:
            self.block_those_behind(end)

    def block_those_behind(self, root: Ended[T]) -> None:
        """Record everything that directly or indirectly waits for a failed Job, with that Job's error."""
        behind = list(self.wanted_by.get(root.key, ()))
        while behind:
            key = behind.pop(0)
            if key in self.ended:
                continue
            end: Ended[T] = Ended(
                key=key, state=JobState.BLOCKED, error=root.error, because_of=root.key, traceback=root.traceback
            )
            self.record(end)
            behind += self.wanted_by.get(key, ())

    def record(self, end: Ended[T]) -> None:
        """Write down an end and tell it."""
        job = self.jobs[end.key]
        self.ended[end.key] = end
        error = "" if end.error is None else one_line(end.error)
        if end.because_of:
            error = f"not run, {self.jobs[end.because_of].title} failed: {error}"
        finished = JobFinished(
            at_s=self.clock(), key=job.key, title=job.title, cell=job.cell, error=error, seconds=end.seconds
        )
        self.sink(finished)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Rank of each Job: smaller goes first."""

    ranks: dict[str, tuple[bool, float, int]]

    @classmethod
    def of(cls, jobs: Sequence[Job], durations: Mapping[str, float], failed_before: Set[str]) -> Order:
        """Rank Jobs by (not on the way to an earlier failure, minus the seconds to the end of its longest way, place)."""
        inner_first = sorted_by_needs(jobs)
        known = [durations[job.key] for job in jobs if job.key in durations]
        unknown_s = median(known) if known else UNKNOWN_DURATION_S
        way_s = {job.key: durations.get(job.key, unknown_s) for job in jobs}
        urgent = {job.key for job in jobs if job.key in failed_before}
        by_key = {job.key: job for job in jobs}
        after_s = dict.fromkeys(by_key, 0.0)
        for key in reversed(inner_first):
            way_s[key] += after_s[key]
            for need in by_key[key].needs:
                after_s[need] = max(after_s[need], way_s[key])
                if key in urgent:
                    urgent.add(need)
        return cls(ranks={job.key: (job.key not in urgent, -way_s[job.key], place) for place, job in enumerate(jobs)})


def sorted_by_needs(jobs: Sequence[Job]) -> list[str]:
    """Return keys, each after those it needs. Raises ValueError where that cannot be."""
    graph = {job.key: job.needs for job in jobs}
    if len(graph) != len(jobs):
        raise ValueError("two jobs share a key")
    unknown = {need for needs in graph.values() for need in needs} - graph.keys()
    if unknown:
        raise ValueError(f"jobs need jobs that are not there: {sorted(unknown)}")
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise ValueError(f"jobs need one another: {error.args[1]}") from error


class Ready:
    """Jobs that could start, and what is left in the pools.

    Jobs with an equal demand wait in one heap: whether they fit is one question, so a take() costs as many looks as there
    are different demands, not as many as there are Jobs.
    """

    def __init__(self, *, pools: Mapping[str, int], order: Order) -> None:
        self.size = dict(pools)
        self.free = dict(pools)
        self.order = order
        self.heaps: dict[Demand, list[tuple[tuple[bool, float, int], Job]]] = {}
        self.overtaken: dict[str, int] = {}

    def add(self, job: Job) -> None:
        """Let a Job wait for its turn. Ranks are unique, so heaps never compare Jobs."""
        heapq.heappush(self.heaps.setdefault(self.clamped(job), []), (self.order.ranks[job.key], job))

    def take(self) -> Job | None:
        """Return the next Job that fits, its demand taken from the pools; None if none does now."""
        reserved: set[str] = set()
        passed: list[str] = []
        for _, key, demand in sorted((heap[0][0], heap[0][1].key, demand) for demand, heap in self.heaps.items()):
            pools = {pool for pool, _ in demand}
            if pools & reserved or any(self.free[pool] < amount for pool, amount in demand):
                passed.append(key)
                if self.overtaken.get(key, 0) >= OVERTAKEN_AT_MOST:
                    reserved |= pools
                continue
            for waiting in passed:
                self.overtaken[waiting] = self.overtaken.get(waiting, 0) + 1
            return self.taken(demand)
        return None

    def taken(self, demand: Demand) -> Job:
        """Take the first Job of a heap, and its demand from the pools."""
        heap = self.heaps[demand]
        _, job = heapq.heappop(heap)
        if not heap:
            del self.heaps[demand]
        self.overtaken.pop(job.key, None)
        for pool, amount in demand:
            self.free[pool] -= amount
        return job

    def give_back(self, job: Job) -> None:
        """Return to the pools what a Job held."""
        for pool, amount in self.clamped(job):
            self.free[pool] += amount

    def clamped(self, job: Job) -> Demand:
        """Return the demand within what the pools could ever give."""
        sizes = ((pool, min(amount, self.size[pool])) for pool, amount in job.demand if pool in self.size)
        return tuple((pool, amount) for pool, amount in sizes if amount > 0)


def one_line(error: BaseException) -> str:
    """Return the first line of an error's message; a bug of ours says what it is."""
    error = understood(error)
    text = (str(error).splitlines() or [""])[0].strip()
    if isinstance(error, LabError):
        return text or type(error).__name__
    return f"bug of the lab: {type(error).__name__}: {text}"[:500]
