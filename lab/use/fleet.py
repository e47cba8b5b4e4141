"""`lab run --on dask://…`: attempts are made by the workers of a fleet; what they leave behind comes into the run's folder."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from lab.environment import cluster as clusters
from lab.events import JobProgress, Note, Sink
from lab.model import AttemptResult, Cell, Emulation, Result
from lab.plan import jobs as plan
from lab.plan.jobs import Job, JobKind
from lab.plan.placing import Wants
from lab.plan.schedule import Ended, JobState
from lab.results import store
from lab.settings import Settings
from lab.tables import Tables
from lab.use import remote, supply
from lab.use.coordinator import Fleet, Options
from lab.use.crew import Done, Finished, Verdicts, images_of, planned_jobs, tools_image_of
from lab.use.delivery import End
from lab.use.hands import Make


def work_off(
    cells: Sequence[Cell],
    options: Options,
    opened: store.Run,
    settings: Settings,
    tables: Tables,
    before: store.History,
    finished: Finished,
    sink: Sink,
    stop: threading.Event,
    tell: Callable[[Result], None],
) -> Done:
    """Let the fleet make the attempts of these cells that are not finished, and return how each ended, by key.

    -j of a cell that does not say it is the processors of the smallest worker, so that it does not depend on where it runs.
    before: of earlier runs, for the order and for what jobs hold. tell: is told the verdict on a cell with one attempt.
    Raises EnvironmentFault if there is no scheduler, UsageError if the address is none.
    """
    cells = supply.pinned(cells, settings)
    with (
        supply.sent(supply.wanted(cells), options.depot, settings, sink) as supplies,
        _gathered(options, opened, settings, tables, sink, stop, tell, before.durations, supplies) as fleet,
    ):
        for (cell_id, _), result in finished.items():
            fleet.made.setdefault(cell_id, []).append(result)
        cpus = fleet.smallest()
        planned = planned_jobs(cells, replace(settings, cores=cpus), tables, before.needs, finished)
        # images and sources are the workers' own matter: each prepares what it needs, once, under its cache's locks
        attempts = [replace(job, needs=()) for job in planned if job.kind is JobKind.ATTEMPT]
        return fleet.work_off(attempts, frozenset(before.failed))


@contextlib.contextmanager
def standing(
    options: Options, opened: store.Run, wanted: supply.Wanted, settings: Settings, tables: Tables, sink: Sink,
    stop: threading.Event,
) -> Iterator[Make]:  # fmt: skip
    """Yield what lets the fleet make attempts that are asked for one at a time, from any thread: each call waits for its own.

    wanted: commits that will be asked for. -j as in work_off(). Raises as it does; a call raises what kept the attempt from
    being made, and returns None once `stop` is set.
    """

    def tell(result: Result) -> None:
        Verdicts(sink).tell(result)  # a cell that is made again has a verdict again

    with (
        supply.sent([wanted], options.depot, settings, sink) as supplies,
        _gathered(options, opened, settings, tables, sink, stop, tell, {}, supplies) as fleet,
    ):
        own, desk = replace(settings, cores=fleet.smallest()), Desk()
        fleet.settled = desk.settled

        def made(cell: Cell, number: int) -> AttemptResult | None:
            planned = planned_jobs([cell], own, tables, {}, {})
            held = next(job.demand for job in planned if job.kind is JobKind.ATTEMPT)
            end = desk.done(plan.attempt_job(cell, number, (), held))
            if end.error is not None:
                raise end.error
            return end.value

        thread = threading.Thread(target=desk.serve, args=(fleet,), name="fleet")
        thread.start()
        try:
            yield made
        finally:
            desk.close()
            thread.join()


class Desk:
    """Where threads leave jobs for a fleet, and wait for how they end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: list[Job] = []
        self._awaited: dict[str, Future[End]] = {}
        self._closed = False

    def done(self, job: Job) -> End:
        """Let a job be done, and return how it ended."""
        future: Future[End] = Future()
        with self._lock:
            if self._closed:
                return _never(job.key)
            self._new.append(job)
            self._awaited[job.key] = future
        return future.result()

    def serve(self, fleet: Fleet) -> None:
        """Let the fleet do what comes, until the desk is closed, somebody stops it, or the scheduler is lost."""
        error: BaseException | None = None
        try:
            fleet.serve(self._taken)
        except BaseException as raised:
            error = raised
        self.close()
        for key, future in self._awaited.items():
            future.set_result(replace(_never(key), error=error))
        self._awaited.clear()

    def settled(self, job: Job, end: End) -> None:
        """Hear how a job ended."""
        future = self._awaited.pop(job.key, None)
        if future is not None:
            future.set_result(end)

    def close(self) -> None:
        """Take nothing more."""
        with self._lock:
            self._closed = True

    def _taken(self) -> list[Job] | None:
        with self._lock:
            new, self._new = self._new, []
            return None if self._closed else new


def _never(key: str) -> End:
    return Ended(key=key, state=JobState.NOT_STARTED)


@contextlib.contextmanager
def _gathered(
    options: Options, opened: store.Run, settings: Settings, tables: Tables, sink: Sink, stop: threading.Event,
    tell: Callable[[Result], None], durations: Mapping[str, float], supplies: Mapping[str, remote.Supply],
) -> Iterator[Fleet]:  # fmt: skip
    topic = f"kbuild-lab-{uuid.uuid4().hex}"
    with clusters.connected(options.address, topic, lambda said: heard(said, sink)) as cluster:
        yield Fleet(
            cluster=cluster, options=options, opened=opened, sink=sink, stop=stop, tell=tell, durations=durations,
            supplies=supplies,
            ours=(remote.code_hash(), remote.images_hash(settings)), wants=lambda cell: wants_of(cell, tables),
        )  # fmt: skip


def heard(said: dict[str, Any], sink: Sink) -> None:
    """Tell the live view what a worker said. It comes from another machine, so every part of it is looked at."""
    progress, note = said.get("progress"), said.get("note")
    if isinstance(note, str):
        sink(Note(at_s=time.time(), text=note))
    if isinstance(progress, dict):
        fraction = progress.get("fraction")
        sink(
            JobProgress(
                at_s=time.time(), key=str(progress.get("key")), step=str(progress.get("step"))[:60],
                detail=str(progress.get("detail"))[:200], fraction=fraction if isinstance(fraction, float) else None,
            )
        )  # fmt: skip


def wants_of(cell: Cell, tables: Tables) -> Wants:
    """Return what an attempt of a cell takes of a machine."""
    row = tables.filesystem[cell.filesystem]
    parts = ["engine", f"filesystem:{row.name}", f"emulation:{cell.arch}/{cell.emulation.value}"]
    if (base := tables.base_of(row)) is not None:
        parts.append(f"filesystem:{base.name}")
    build, *boot = images_of(cell, tables)
    by_itself = cell.emulation in (Emulation.NATIVE, Emulation.CROSS)
    images = [*([build] if by_itself else []), *boot[:1], *filter(None, [tools_image_of(cell, tables)])]
    parts += [f"image:{name}" for name in images]  # a guest's image is unpacked and never run
    return Wants(parts=tuple(parts), arch=cell.arch, emulates=not by_itself, guest=cell.boot is not None)


def serve(address: str, settings: Settings, tables: Tables, sink: Sink, name: str = "") -> None:
    """Be a worker of a fleet until the scheduler ends it, or the process is interrupted.

    Containers and scratch folders that a killed worker left are swept first, as by every other lab.
    """
    called = name or f"{socket.gethostname()}-{os.getpid()}"
    facts = remote.facts(settings, tables, called, sink)
    sink(Note(text=f"worker {called}: {facts.machine}, {facts.pools}; runs natively: {', '.join(facts.native)}"))
    if why := facts.lacks.get("engine"):
        sink(Note(text=f"this worker will be refused: {why}"))
    remote.sweep(settings, sink)
    resident = clusters.Resident(
        facts=store.encoded(facts), perform=remote.Hand(settings, tables, kvm=facts.kvm).perform
    )
    clusters.serve(address, resident, threads=settings.cores, resources=facts.pools, name=called)
