"""The coordinator of a fleet: sends jobs to workers, hears how they end, and lets others do what came to nothing.

What runs next is decided by the same order as on one machine; where, by lab.plan.placing. dask carries the pieces, knows who is
there, and tells when one is gone. A job that was with a lost worker, or with one that has trouble of its own, goes to another.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from lab.environment import cluster as clusters
from lab.errors import EnvironmentFault
from lab.events import JobFinished, JobStarted, Note, Sink
from lab.model import AttemptResult, Cell, Result
from lab.plan.jobs import AttemptWork, Demand, Job
from lab.plan.placing import Books, Wants, Worker, batch_size, clamped, refusal
from lab.plan.schedule import OVERTAKEN_AT_MOST, Ended, JobState, Order, one_line
from lab.plan.statistics import enough
from lab.results import store, verdict
from lab.use import delivery, remote
from lab.use.crew import Done
from lab.use.delivery import End

LOOK_EVERY_S = 2.0
PATIENCE_S = 60.0  # for a worker that can do what is left
LOST_AT_MOST = 3  # workers that a job may lose before it is thought to be the reason
DELIVERIES = 4
NO_RESIDENT = "was not started with `lab worker`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a fleet is used. address: dask://HOST:PORT. depot: URL of a store that all reach, "" for none. accel: as locally."""

    address: str
    depot: str = ""
    accel: str = "auto"
    patience_s: float = PATIENCE_S


@dataclass(frozen=True, slots=True)
class Kind:
    """What is alike for the question where it can run. without: workers that are not to be asked again."""

    wants: Wants
    demand: Demand
    without: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class Piece:
    """Jobs that are with a worker, as one task. since_s: monotonic."""

    worker: str
    kind: Kind
    jobs: tuple[Job, ...]
    since_s: float


@dataclass(kw_only=True)
class Fleet:
    """The coordinator of one run. Its books are touched by the thread that called work_off() alone."""

    cluster: clusters.Cluster
    options: Options
    opened: store.Run
    sink: Sink
    stop: threading.Event
    ours: tuple[str, str]  # hashes of code and image definitions
    wants: Callable[[Cell], Wants]
    tell: Callable[[Result], None]
    durations: Mapping[str, float]
    supplies: Mapping[str, remote.Supply] = field(default_factory=dict)  # by git repository
    books: Books = field(default_factory=Books)
    refused: dict[str, str] = field(default_factory=dict)
    ended: Done = field(default_factory=dict)
    pieces: dict[str, Piece] = field(default_factory=dict)
    waiting: dict[Kind, list[tuple[tuple[bool, float, int], Job]]] = field(default_factory=dict)
    overtaken: dict[Kind, int] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)
    tried: dict[str, frozenset[str]] = field(
        default_factory=dict
    )  # by job: workers that had trouble of their own with it
    made: dict[str, list[AttemptResult]] = field(default_factory=dict)  # by cell
    settled: Callable[[Job, End], None] = lambda job, end: None
    delivered: queue.SimpleQueue[tuple[Job, str, End]] = field(default_factory=queue.SimpleQueue)
    delivering: int = 0

    def work_off(self, jobs: Sequence[Job], failed_before: frozenset[str]) -> Done:
        """Let the fleet do every job and return how each ended, as lab.plan.schedule.work_off() does.

        Once the scheduler is lost, what has not ended ends with that error: what is finished stays a result.
        """
        self.order = Order.of(jobs, self.durations, failed_before)
        for job in jobs:
            self._let_wait(job, frozenset())
        try:
            self._pursue(lambda: bool(self.waiting or self.pieces or self.delivering))
        except EnvironmentFault as error:
            self._end_all(jobs, error)
        missed: Done = {job.key: Ended(key=job.key, state=JobState.NOT_STARTED) for job in jobs}
        return {key: self.ended.get(key, never) for key, never in missed.items()}

    def serve(self, asked: Callable[[], Sequence[Job] | None]) -> None:
        """Do jobs that come while others are done, in the order in which they come; `settled` hears how each ended.

        asked: returns what has come since it was called last, None once nothing more will.
        """
        self.order = Order(ranks={})

        def more() -> bool:
            new = asked()
            for job in new or ():
                self.order.ranks[job.key] = (False, 0.0, len(self.order.ranks))
                self._let_wait(job, frozenset())
            return new is not None

        self._pursue(more)

    def _pursue(self, more: Callable[[], bool]) -> None:
        """Take turns until there is nothing more, or somebody stops it; then withdraw what is under way."""
        looked_s, able_s = 0.0, time.monotonic()
        with ThreadPoolExecutor(DELIVERIES, thread_name_prefix="delivery") as self.porters:
            while more():
                now_s = time.monotonic()
                if now_s - looked_s >= LOOK_EVERY_S:
                    self._look()
                    looked_s = now_s
                if self.stop.is_set() and not self.delivering:
                    break
                if not self.stop.is_set():
                    self._start_what_fits()
                if self.pieces or self.delivering or not self.waiting:
                    able_s = now_s
                elif now_s - able_s > self.options.patience_s:
                    self._give_up()
                self._take_ends()
        for key in self.pieces:
            self.cluster.withdraw(key)

    def _end_all(self, jobs: Sequence[Job], error: EnvironmentFault) -> None:
        """Settle what was brought in, by threads that are gone by now, and let all else fail with an error."""
        while self.delivering:
            job, _, end = self.delivered.get()
            self.delivering -= 1
            self._settle(job, end)
        for job in jobs:
            if job.key not in self.ended:
                self._settle(job, Ended(key=job.key, state=JobState.FAILED, error=error))

    # ------------------------------------------------------------------------------------------------------- workers

    def smallest(self) -> int:
        """Wait for the first workers, and return how many processors the smallest has; 1 if none comes."""
        until_s = time.monotonic() + self.options.patience_s
        while True:
            self._look()
            if self.books.workers or self.stop.is_set() or time.monotonic() > until_s:
                return min((worker.pools.get("cpu", 1) for worker in self.books.workers.values()), default=1)
            self.stop.wait(1.0)

    def _look(self) -> None:
        """See who has come and who has gone."""
        there = self.cluster.workers()
        for name in list(self.books.workers):
            if name not in there:
                host = self.books.workers[name].host
                self.books.leave(name)
                self._note(f"worker {host} is gone")
        for key, piece in list(self.pieces.items()):
            if piece.worker not in there:
                self._lost(key)
        new = there - self.books.workers.keys() - self.books.aside.keys() - self.refused.keys()
        for name, raw in self.cluster.facts(new).items():
            worker = store.decoded(Worker, raw) if raw else None
            why = refusal(worker, code=self.ours[0], images=self.ours[1]) if worker else NO_RESIDENT
            if worker is None or why:
                self.refused[name] = f"{worker.host if worker else name}: {why}"
                self._note(f"worker {worker.host if worker else name} is refused: {why}")
            else:
                self.books.join(name, worker)
                self._note(f"worker {worker.host}: {worker.machine}, {worker.pools.get('cpu', 0)} processors")

    def _host(self, name: str) -> str:
        worker = self.books.workers.get(name)
        return worker.host if worker else name

    def _note(self, text: str) -> None:
        self.sink(Note(at_s=time.time(), text=text))

    # --------------------------------------------------------------------------------------------------------- begin

    def _let_wait(self, job: Job, without: frozenset[str]) -> None:
        assert isinstance(job.payload, AttemptWork), "workers prepare what attempts need"
        kind = Kind(self.wants(job.payload.cell), job.demand, without)
        heapq.heappush(self.waiting.setdefault(kind, []), (self.order.ranks[job.key], job))

    def _start_what_fits(self) -> None:
        while True:
            passed: list[Kind] = []
            for kind in sorted(self.waiting, key=lambda kind: self.waiting[kind][0][0]):
                worker = self.books.choose(kind.wants, kind.demand, kind.without, kind)
                if worker is None:
                    passed.append(kind)
                    if self.overtaken.get(kind, 0) >= OVERTAKEN_AT_MOST:
                        self.books.reserve(kind.wants, kind.without, kind)
                    continue
                for other in passed:
                    self.overtaken[other] = self.overtaken.get(other, 0) + 1
                self._begin(kind, worker)
                break
            else:
                return

    def _begin(self, kind: Kind, worker: str) -> None:
        """Send the first jobs of a kind to a worker."""
        heap = self.waiting[kind]
        first = heap[0][1]
        expected_s = self.durations.get(first.key)
        jobs: list[Job] = []
        for _ in range(batch_size(expected_s, len(heap), self.books.lanes)):
            job = heapq.heappop(heap)[1]
            if self._enough(job):
                self.ended[job.key] = Ended(key=job.key, state=JobState.NOT_NEEDED)
            else:
                jobs.append(job)
        if not heap:
            del self.waiting[kind]
        self.overtaken.pop(kind, None)
        if not jobs:
            self.books.let_go(kind)
            return
        key = f"{self.opened.facts.run}:{uuid.uuid4().hex}"
        there = clamped(kind.demand, self.books.workers[worker].pools)
        tasks = remote.Tasks(tasks=tuple(self._task(job, dict(there)) for job in jobs))
        self.books.hold(worker, kind.demand, kind)
        self.pieces[key] = Piece(worker=worker, kind=kind, jobs=tuple(jobs), since_s=time.monotonic())
        for job in jobs:
            title = f"{job.title} on {self._host(worker)}"
            self.sink(JobStarted(at_s=time.time(), key=job.key, title=title, cell=job.cell))
        self.cluster.submit(key, store.encoded(tasks, indent=None), worker, dict(there))

    def _task(self, job: Job, there: dict[str, int]) -> remote.Task:
        assert isinstance(job.payload, AttemptWork), "workers prepare what attempts need"
        return remote.Task(
            run=self.opened.facts.run, key=job.key, cell=job.payload.cell, number=job.payload.number,
            cpus=max(1, there.get("cpu", 1)), accel=self.options.accel, depot=self.options.depot,
            supply=self.supplies.get(getattr(job.payload.cell.source, "repository", "")),
        )  # fmt: skip

    def _enough(self, job: Job) -> bool:
        assert isinstance(job.payload, AttemptWork), "workers prepare what attempts need"
        until = job.payload.cell.until
        return until is not None and enough(until, self.made.get(job.cell, ()))

    def _give_up(self) -> None:
        """Let what nobody can do fail, with what each worker lacks."""
        for kind, heap in list(self.waiting.items()):
            if self.books.able(kind.wants, kind.without):
                continue
            if self.books.able(kind.wants):
                # only those are left that had trouble with it: what one of them comes to now is the verdict
                del self.waiting[kind]
                self.books.let_go(kind)
                for _, job in heap:
                    self._let_wait(job, frozenset())
                continue
            facts = (*self.books.nobody(kind.wants), *(("refused", why) for why in self.refused.values()))
            error = EnvironmentFault(
                "no worker can do it" if facts else "there is no worker", finding="infra.worker-lost", facts=facts[:12],
                hint=f"lab worker {self.options.address}",
            )  # fmt: skip
            del self.waiting[kind]
            self.books.let_go(kind)
            for _, job in heap:
                self._settle(job, Ended(key=job.key, state=JobState.FAILED, error=error))

    # ----------------------------------------------------------------------------------------------------------- end

    def _take_ends(self) -> None:
        """Wait a little for what ends, or is delivered, and settle it."""
        try:
            end = self.cluster.ends.get(timeout=0.05 if self.delivering else 0.5)
            while True:
                self._take(end)
                end = self.cluster.ends.get_nowait()
        except queue.Empty:
            pass
        while self.delivering:
            try:
                job, worker, settled = self.delivered.get_nowait()
            except queue.Empty:
                return
            self.delivering -= 1
            self._judge_worker(job, worker, settled)

    def _take(self, end: clusters.Ended) -> None:
        if end.key not in self.pieces:
            return
        if end.lost:
            self._lost(end.key)
            return
        piece = self.pieces.pop(end.key)
        self.cluster.taken(end.key)
        self.books.give_back(piece.worker, piece.kind.demand)
        answers: dict[str, tuple[remote.Report, bytes]] = {}
        for raw, parcel in end.value or ():
            report = store.decoded(remote.Report, raw)
            if report is not None:
                answers[report.key] = (report, parcel)
        for job in piece.jobs:
            self.delivering += 1
            error = end.error or EnvironmentFault("a worker gave no answer", finding="infra.worker-lost")
            self.porters.submit(self._deliver, job, piece.worker, answers.get(job.key), error)

    def _lost(self, key: str) -> None:
        """Let what was with a worker that is gone be done by another."""
        piece = self.pieces.pop(key)
        self.cluster.withdraw(key)
        self.books.give_back(piece.worker, piece.kind.demand)
        for job in piece.jobs:
            self.losses[job.key] = self.losses.get(job.key, 0) + 1
            if self.losses[job.key] < LOST_AT_MOST:
                self._note(f"{job.title} was with a worker that is gone, and goes to another")
                self._let_wait(job, piece.kind.without)
                continue
            error = EnvironmentFault(
                f"{LOST_AT_MOST} workers were lost while they did this", finding="infra.worker-lost",
                hint="it may be the reason: look at the memory and disks of the machines",
            )  # fmt: skip
            self._settle(job, Ended(key=job.key, state=JobState.FAILED, error=error))

    def _deliver(self, job: Job, worker: str, answer: tuple[remote.Report, bytes] | None, error: BaseException) -> None:
        """Take in what came of a job: in a thread of its own, as its evidence may be large."""
        host, depot = self._host(worker), self.options.depot
        end, theirs = delivery.taken_in(self.opened, job.cell, job.key, host, answer, error, depot)
        self.delivered.put((job, worker if theirs else "", end))

    def _judge_worker(self, job: Job, worker: str, end: End) -> None:
        """Settle a job, unless its worker's own trouble brought it to nothing and there is another to ask."""
        trouble = delivery.trouble_of(end) if worker else ""
        if not trouble:
            self.books.did_well(worker)
            self._settle(job, end)
            return
        host = self._host(worker)
        if self.books.had_trouble(worker, trouble):
            self._note(f"worker {host} is set aside: {self.books.aside[worker]}")
        assert isinstance(job.payload, AttemptWork), "workers prepare what attempts need"
        tried = frozenset({worker, *self.tried.get(job.key, ())})
        others = self.books.able(self.wants(job.payload.cell), tried)
        if others and len(tried) < LOST_AT_MOST and not self.stop.is_set():
            self.tried[job.key] = tried
            self._note(f"{job.title} came to nothing on {host} ({trouble}), and goes to another")
            self._let_wait(job, tried)
            return
        self._settle(job, end)

    def _settle(self, job: Job, end: End) -> None:
        self.ended[job.key] = end
        self.settled(job, end)
        error = "" if end.error is None else one_line(end.error)
        self.sink(
            JobFinished(at_s=time.time(), key=job.key, title=job.title, cell=job.cell, error=error, seconds=end.seconds)
        )
        if end.value is None:
            return
        self.made.setdefault(job.cell, []).append(end.value)
        assert isinstance(job.payload, AttemptWork), "workers prepare what attempts need"
        if job.payload.cell.repeat == 1:
            self.tell(verdict.cell_result(job.payload.cell, (end.value,)))
