"""Who does the jobs of a run: shared ones once for every cell that needs them, and attempts with what these have made."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lab.boot.machine import Accel
from lab.environment import emulation, image, source
from lab.environment import engine as engines
from lab.environment.cache import Holds
from lab.environment.image import BuiltImage
from lab.environment.source import Tree
from lab.environment.worktree import Worktree
from lab.events import CellJudged, JobProgress, Note, Sink
from lab.model import Amplify, AttemptResult, Cell, Emulation, Need, Result
from lab.plan import jobs as plan
from lab.plan.jobs import AttemptWork, ImageWork, Job, JobKind, PatchedWork, SourceWork
from lab.plan.schedule import Ended, work_off
from lab.plan.statistics import enough
from lab.results import store, verdict
from lab.settings import Settings
from lab.tables import FilesystemKind, Purpose, Tables
from lab.use import attempt, doctor
from lab.use.bench import Bench, Inputs
from lab.use.obstacles import lacking, obstacles, to_be_looked_at

NETWORK_AT_ONCE = 2
LOOPS_AT_ONCE = 8

Finished = dict[tuple[str, int], AttemptResult]  # by cell id and attempt number
Done = dict[str, Ended[AttemptResult | None]]  # by job key


class Verdicts:
    """Says each cell's verdict once, from whatever thread."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._told, self._lock = sink, set[str](), threading.Lock()

    def tell(self, result: Result) -> None:
        """Say it, unless it was said."""
        with self._lock:
            if result.cell in self._told:
                return
            self._told.add(result.cell)
        self._sink(
            CellJudged(
                at_s=time.time(), cell=result.cell, outcome=result.outcome, reason=result.reason, seconds=result.seconds
            )
        )


class Crew:
    """Does the jobs of some cells. What shared jobs return is kept here for the attempts that need it.

    opened: the run that attempts go into; without one there are only shared jobs. accel: see session.Request.
    needs: what attempts of a cell used before, by cell id. worktree: attempts are made in it, one after the other, each on top
    of what the last one has built; None: each from nothing.
    """

    worktree: Worktree | None = None

    def __init__(
        self,
        cells: Sequence[Cell],
        settings: Settings,
        tables: Tables,
        engine: engines.Engine,
        sink: Sink,
        stop: threading.Event,
        opened: store.Run | None,
        accel: str = "auto",
        needs: Mapping[str, Need] | None = None,
    ) -> None:
        self._cells, self._settings, self._tables, self._wanted_accel = tuple(cells), settings, tables, accel
        self._engine, self._sink, self._stop, self._run = engine, sink, stop, opened
        self._needs = needs or {}
        self._images: dict[str, BuiltImage] = {}
        self._trees: dict[str, Tree] = {}
        self._accel: dict[str, Accel] = {}  # by architecture
        self._verdicts = Verdicts(sink)
        # of a cell so far, those of an earlier part of the run first
        self._attempts: dict[str, list[AttemptResult]] = {}
        self._lock = threading.Lock()
        self.holds = Holds(settings)  # what is prepared here stays in the cache until these are closed

    def wanted(self, job: Job) -> bool:
        """Whether a job still has to be done: an attempt not if its cell has been executed often enough."""
        if not isinstance(job.payload, AttemptWork) or job.payload.cell.until is None:
            return True
        with self._lock:
            return not enough(job.payload.cell.until, self._attempts.get(job.cell, ()))

    def jobs(self, finished: Finished, hopeless: Container[str] = ()) -> tuple[Job, ...]:
        """Return what is left to do. hopeless: ids of cells that are impossible here."""
        for (cell_id, _), result in finished.items():
            self._attempts.setdefault(cell_id, []).append(result)
        cells = [cell for cell in self._cells if cell.id not in hopeless]
        planned = planned_jobs(cells, self._settings, self._tables, self._needs, finished)
        ready = self._trees.keys()  # those that were looked at
        return tuple(
            replace(job, needs=tuple(key for key in job.needs if key not in ready))
            for job in planned
            if job.key not in ready
        )

    def look(
        self, finished: Finished, hopeless: Container[str], at: Callable[[Cell], bool] = to_be_looked_at
    ) -> tuple[Done, dict[str, BaseException]]:
        """Prepare the sources that may be wrong or may lack what a cell is about, before images and builds cost anything.

        at: of which cells. Returns how these jobs ended, and what makes cells hopeless that were not, by cell id.
        """
        cells = [cell for cell in self._cells if cell.id not in hopeless]
        planned = plan.jobs(
            [cell for cell in cells if at(cell)],
            image_of=lambda cell: (),
            demand_of=lambda cell: {},
            finished=frozenset(finished),
        )
        jobs = [job for job in planned if job.kind in (JobKind.SOURCE, JobKind.PATCHED)]
        ended = work_off(jobs, self.do, pools=pools(self._settings), sink=self._sink, stop=self._stop)
        found: dict[str, BaseException] = {}
        for cell in cells:
            keys = [job.key for job in plan.source_jobs(cell)]
            error = next((ended[key].error for key in keys if key in ended and ended[key].error), None)
            if error is None and keys[-1] in self._trees:
                error = lacking(cell, self._trees[keys[-1]], self._tables)
            if error is not None:
                found[cell.id] = error
        return ended, found

    def share(self) -> None:
        """Do what the attempts of all cells need and is not done yet. Raises what the first job that failed has raised."""
        shared = [job for job in self.jobs({}) if job.kind is not JobKind.ATTEMPT]
        ended = work_off(shared, self.do, pools=pools(self._settings), sink=self._sink, stop=self._stop)
        for error in (end.error for end in ended.values()):
            if error is not None:
                raise error
        if self._stop.is_set():
            raise KeyboardInterrupt

    def fill_caches(self) -> None:
        """Build each cell that has a compiler cache once, one after the other, so that no attempt is the first to compile.

        How these builds end does not matter. Raises what kept the lab from making one.
        """

        def fill(job: Job) -> None:
            assert isinstance(job.payload, AttemptWork)
            cell = replace(job.payload.cell, amplify=Amplify())
            attempt.fill_cache(self.bench(cell), f"cache-{cell.id}-{os.getpid()}", cell, job.key, self.inputs(cell))

        for cell in self._cells:
            job = replace(
                plan.attempt_job(cell, 1, (), ()), key=f"cache:{cell.id}", title=f"compiler cache for {cell.id}"
            )
            if cell.ccache:
                end = work_off([job], fill, pools=pools(self._settings), sink=self._sink, stop=self._stop)[job.key]
                if end.error is not None:
                    raise end.error

    def do(self, job: Job) -> AttemptResult | None:
        """Do one job; the scheduler calls this from its threads."""
        say = self._speaker(job)
        match job.payload:
            case ImageWork(name=name):
                row = self._tables.image[name]
                built = self._images[name] = image.prepare(row, self._engine, self._settings, say, self.holds)
                if built.left_out:
                    lacks = (
                        f"image {name} has no packages of {', '.join(built.left_out)}: the mirror did not have it whole"
                    )
                    self._sink(Note(at_s=time.time(), text=lacks))
                if row.purpose is Purpose.TOOLS:
                    self.holds.keep("tools", emulation.folder_of(row, built, self._settings).name)
                    emulation.unpack(row, built, self._engine, self._settings, say)
            case SourceWork(source=wanted):
                self._trees[job.key] = source.prepare(wanted, self._settings, say, self.holds)
            case PatchedWork(source=wanted, patches=patches):
                base = self._trees[plan.source_key(wanted)]
                self._trees[job.key] = source.patched(base, patches, self._settings, say, self.holds)
            case AttemptWork(cell=cell, number=number):
                assert self._run is not None, "without a run there are only shared jobs"
                inputs = self.inputs(cell)
                if self.worktree is not None:
                    inputs = replace(inputs, tree=self.worktree.at(inputs.tree), worktree=self.worktree)
                result = attempt.execute(self.bench(cell), self._run, cell, number, job.key, inputs)
                with self._lock:
                    self._attempts.setdefault(cell.id, []).append(result)
                if cell.repeat == 1:
                    self.tell(verdict.cell_result(cell, (result,)))
                return result
        return None

    def tell(self, result: Result) -> None:
        """Say a cell's verdict, once: when its only attempt ends, or at the end of the run."""
        self._verdicts.tell(result)

    def _speaker(self, job: Job) -> Callable[[str], None]:
        return lambda text: self._sink(JobProgress(at_s=time.time(), key=job.key, step=job.kind.value, detail=text))

    def _images_of(self, cell: Cell) -> tuple[str, ...]:
        return images_of(cell, self._tables)

    def _mount_image_of(self, cell: Cell) -> str | None:
        return mount_image_of(cell, self._tables, self._settings)

    def inputs(self, cell: Cell) -> Inputs:
        """Return what the cell's shared jobs made."""
        names = self._images_of(cell)
        key = plan.patched_key(cell.source, cell.patches) if cell.patches else plan.source_key(cell.source)
        inputs = Inputs(
            tree=self._trees[key],
            build=self._images[names[0]],
            boot=self._images[names[1]] if len(names) > 1 else None,
            guest=self._images[names[2]] if len(names) > 2 else None,
            mount=self._images.get(self._mount_image_of(cell) or ""),
            tools=self._images.get(tools_image_of(cell, self._tables) or ""),
        )
        self.holds.keep("ccache", inputs.ccache_name)
        return inputs

    def bench(self, cell: Cell) -> Bench:
        """Return what an attempt of the cell works with."""
        return Bench(
            settings=self._settings,
            tables=self._tables,
            engine=self._engine,
            sink=self._sink,
            stop=self._stop,
            accel=self._acceleration(cell),
        )

    def _acceleration(self, cell: Cell) -> Accel:
        """Decide once for each architecture how guests run; KVM only where the probe guest was seen to run."""
        with self._lock:
            if cell.boot and cell.arch not in self._accel:
                arch, image = self._tables.arch[cell.arch], self._images[self._images_of(cell)[1]]
                self._accel[cell.arch] = doctor.acceleration(
                    self._wanted_accel, arch, image.id, self._engine, self._settings, self._sink
                )
            return self._accel.get(cell.arch, Accel.TCG)


def prepared(
    cell: Cell, settings: Settings, tables: Tables, engine: engines.Engine, sink: Sink, stop: threading.Event
) -> tuple[Bench, Inputs]:
    """Prepare image and source of a cell that is not to be booted, for who builds it by hand.

    Raises what `lab run` would make its result: EnvironmentFault, Untestable.
    """
    alone = replace(cell, boot=None, repeat=1, expect=None)
    for why in obstacles([alone], tables).values():
        raise why
    crew = Crew([alone], settings, tables, engine, sink, stop, None)
    for error in crew.look({}, ())[1].values():
        raise error
    crew.share()
    return crew.bench(alone), crew.inputs(alone)


def planned_jobs(
    cells: Sequence[Cell], settings: Settings, tables: Tables, needs: Mapping[str, Need], finished: Finished
) -> tuple[Job, ...]:
    """Return what is to be done for these cells on this machine. needs: what attempts used before, by cell id."""

    def image_of(cell: Cell) -> tuple[str, ...]:
        others = (mount_image_of(cell, tables, settings), tools_image_of(cell, tables))
        return (*images_of(cell, tables), *filter(None, others))

    def demand_of(cell: Cell) -> dict[str, int]:
        row = tables.filesystem[cell.filesystem]
        loop, on_disk = tables.uses_loop(row), (tables.base_of(row) or row).kind is not FilesystemKind.TMPFS
        return plan.demand(cell, cpus=settings.cores, loop=loop, on_disk=on_disk, measured=needs.get(cell.id))

    return plan.jobs(cells, image_of=image_of, demand_of=demand_of, finished=frozenset(finished))


def images_of(cell: Cell, tables: Tables) -> tuple[str, ...]:
    """Return the names of the images that build a cell, boot it and run in its guest.

    The matrix reader has checked that they exist.
    """
    build = tables.toolchain[cell.toolchain].image_for(Emulation(cell.emulation), cell.arch)
    assert build is not None, f"no image builds {cell.arch} with {cell.toolchain}"
    if cell.boot is None:
        return (build,)
    arch = tables.arch[cell.arch]
    row = arch.machine_named(cell.boot.machine)
    return (build, row.image, arch.guest) if row else (build,)


def mount_image_of(cell: Cell, tables: Tables, settings: Settings) -> str | None:
    """Return the name of the image that makes and mounts a cell's filesystem, None if none is needed.

    A host for which no row has such an image uses the cell's own, which for loop filesystems must have their mkfs then.
    """
    if settings.may_mount and not tables.uses_loop(tables.filesystem[cell.filesystem]):
        return None
    return tables.mount_image(os.uname().machine)


def tools_image_of(cell: Cell, tables: Tables) -> str | None:
    """Return the name of the image whose native programs stand in for the build image's own, None if none do."""
    build = tables.toolchain[cell.toolchain].image_for(cell.emulation, cell.arch)
    return tables.image[build].tools if build and cell.emulation is Emulation.ACCELERATED else None


def pools(settings: Settings) -> dict[str, int]:
    """Return how much of everything that jobs hold there is on this machine."""
    return {
        "cpu": settings.cores,
        "memory_mib": settings.memory_mib * 3 // 4,
        "loop": LOOPS_AT_ONCE,
        "qemu": settings.cores,
        "network": NETWORK_AT_ONCE,
        "disk_mib": free_mib(settings.cache) * 9 // 10,
    }


def free_mib(folder: Path) -> int:
    """Return what is free on the disk where a folder is, or will be made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    disk = os.statvfs(there)
    return disk.f_bavail * disk.f_frsize >> 20
