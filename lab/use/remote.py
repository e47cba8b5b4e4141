"""What a worker of a fleet does: says what its machine is, and executes attempts that another lab sends it.

A task is a plain value: a cell, a number, and how the run is made. Nothing of the sender's settings is in it, so neither are
its proxies, keys or paths; a worker uses its own. Images and sources are prepared on the worker, once, under the cache's locks.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab import __version__, errors
from lab.environment import emulation, filesystem, parcels, supplies
from lab.environment import engine as engines
from lab.environment.cache import locked
from lab.errors import EnvironmentFault, LabError, UsageError, understood
from lab.events import Event, JobProgress, Note, Sink, silent
from lab.model import AttemptResult, Cell, Emulation, GitSource
from lab.plan.jobs import JobKind
from lab.plan.placing import Worker
from lab.results import store
from lab.settings import Settings
from lab.tables import Tables
from lab.use import attempt, doctor
from lab.use import sweep as sweeper
from lab.use.crew import Crew, pools

FOLDER = "fleet"  # in the cache: what is on its way back
Probe = Callable[[Settings, Tables, Sink], tuple[bool, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """A pack in the depot, for a worker that does not have the git repository of a source."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One attempt to be made. key: of its job. cpus: its share of the worker. depot: for evidence, "": with the answer.

    supply: has the commit of the cell's source, None if a worker must have it.
    """

    run: str
    key: str
    cell: Cell
    number: int
    cpus: int
    accel: str = "auto"
    depot: str = ""
    supply: Supply | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """What goes to a worker at once; they are done one after the other."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An exception, as a value. kind: name of its class. trace: of a bug of the lab, "" for a LabError."""

    kind: str
    message: str
    finding: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    hint: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a task. result or fault. parcel: the name of its evidence in the depot; sha256 of it, wherever it is."""

    key: str
    seconds: float
    result: AttemptResult | None = None
    fault: Fault | None = None
    parcel: str = ""
    sha256: str = ""


def fault_of(error: BaseException) -> Fault:
    """Return an exception as a value."""
    error = understood(error)
    if isinstance(error, LabError):
        finding = error.finding if isinstance(error, EnvironmentFault) else ""
        return Fault(
            kind=type(error).__name__, message=error.message, finding=finding, facts=error.facts, hint=error.hint
        )
    trace = "".join(traceback.format_exception(error, limit=-50))[-20_000:]
    return Fault(kind=type(error).__name__, message=str(error), trace=trace)


def raised_of(fault: Fault) -> Exception:
    """Return the exception that a value stands for; a bug of another machine's lab is a RuntimeError here."""
    kind = getattr(errors, fault.kind, None)
    if kind is EnvironmentFault:
        return EnvironmentFault(fault.message, finding=fault.finding, facts=fault.facts, hint=fault.hint)
    if kind in (errors.Untestable, errors.Impossible, errors.UsageError):
        return kind(fault.message, facts=fault.facts, hint=fault.hint)  # type: ignore[no-any-return]
    return RuntimeError(f"{fault.kind}: {fault.message}")


# ----------------------------------------------------------------------------------------------------------- its facts


def code_hash() -> str:
    """Return a hash over this lab's own files: two labs that agree in it do the same."""
    return _hash_of(Path(__file__).parent.parent, ("*.py", "data/**/*", "report/templates/*"))


def images_hash(settings: Settings) -> str:
    """Return a hash over the image definitions."""
    return _hash_of(settings.images, ("*.yaml",))


def _hash_of(root: Path, patterns: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in root.rglob(pattern)}):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def facts(settings: Settings, tables: Tables, host: str, sink: Sink = silent, probe: Probe | None = None) -> Worker:
    """Return what this machine is, and what it cannot do. probe: kvm_works(), tests have another.

    Access to /dev/kvm alone says little: nested KVM may hang in a guest's first instructions.
    """
    machine, lacks = os.uname().machine, dict(_lacks(settings, tables, os.uname().machine))
    kvm, why = (False, lacks["engine"]) if "engine" in lacks else (probe or kvm_works)(settings, tables, sink)
    sink(Note(at_s=time.time(), text=f"guests run under {'KVM' if kvm else 'TCG'}: {why}"))
    native = tuple(arch.name for arch in tables.arch.values() if emulation.runs_natively(arch, machine))
    there = {pool: amount for pool, amount in pools(settings).items() if pool != "network"}
    return Worker(
        host=host,
        code=code_hash(),
        images=images_hash(settings),
        machine=machine,
        pools=there,
        native=native,
        kvm=kvm,
        lacks=lacks,
    )


def kvm_works(settings: Settings, tables: Tables, sink: Sink) -> tuple[bool, str]:
    """Say whether a probe guest ran under KVM here, and what was seen; that it could not be tried is a no."""
    try:
        with engines.connect(settings) as engine:
            return doctor.kvm_of_this_machine(engine, settings, tables, sink)
    except EnvironmentFault as error:
        return False, f"it could not be tried: {error.message}"


def _lacks(settings: Settings, tables: Tables, machine: str) -> Iterator[tuple[str, str]]:
    try:
        engines.connect(settings).close()
    except EnvironmentFault as error:
        yield "engine", error.message
    for row in tables.filesystem.values():
        if (why := filesystem.obstacle(row)) is not None:
            yield f"filesystem:{row.name}", why.message
    for arch in tables.arch.values():
        for how in Emulation:
            if (why := emulation.obstacle(arch, how, machine=machine)) is not None:
                yield f"emulation:{arch.name}/{how.value}", why.message
    native = {arch.debian_arch for arch in tables.arch.values() if emulation.runs_natively(arch, machine)}
    for image in tables.image.values():
        if image.debian_arch not in native:
            yield f"image:{image.name}", f"image {image.name!r} is for {image.debian_arch}, this machine is {machine}"


# ------------------------------------------------------------------------------------------------------------ its work


class Hand:
    """Executes tasks on this machine; safe to use from many threads. execute: what makes an attempt, for tests.

    kvm: whether guests were seen to run under it here; None: each attempt that boots tries it.
    """

    def __init__(
        self, settings: Settings, tables: Tables, execute: Callable[..., AttemptResult] | None = None,
        kvm: bool | None = None,
    ) -> None:  # fmt: skip
        self._settings, self._tables, self._kvm = settings, tables, kvm
        self._execute = execute or self._executed

    def perform(self, payload: bytes, say: Callable[[dict[str, Any]], None], unwanted: threading.Event) -> Any:
        """Do tasks and return (report, evidence) of each as bytes. Raises only what is a bug of the sender's or ours."""
        wanted = store.decoded(Tasks, payload)
        if wanted is None:
            raise EnvironmentFault("a task that cannot be read: another lab sent it", finding="infra.worker-lost")
        answers = []
        for task in wanted.tasks:
            if unwanted.is_set():
                break
            answers.append(self._answer(task, _voice(say), unwanted))
        return answers

    def _answer(self, task: Task, sink: Sink, unwanted: threading.Event) -> tuple[bytes, bytes]:
        began = time.monotonic()
        report, parcel = Report(key=task.key, seconds=0.0), b""
        with self._scratch() as place:
            try:
                result = self._execute(task, replace(self._settings, results=place / "results"), sink, unwanted)
                report = replace(report, result=result)
                cell_folder = place / "results" / task.run / task.cell.id
                if cell_folder.is_dir():
                    name, sha256, parcel = self._sent(task, cell_folder, place)
                    report = replace(report, parcel=name, sha256=sha256)
            except (Exception, KeyboardInterrupt) as error:
                report = replace(report, result=None, fault=fault_of(error))
        report = replace(report, seconds=round(time.monotonic() - began, 3))
        return store.encoded(report, indent=None), parcel

    def _sent(self, task: Task, folder: Path, place: Path) -> tuple[str, str, bytes]:
        """Send evidence on its way; returns its name in the depot, its sha256, and itself if it goes with the answer."""
        packed = place / "evidence.tar.zst"
        sha256 = parcels.packed(folder, packed)
        if task.depot:
            name = f"{task.run}/{task.cell.id}/{task.number}-{uuid.uuid4().hex}.tar.zst"
            parcels.Depot(task.depot).put(packed, name)
            return name, sha256, b""
        if packed.stat().st_size > parcels.ANSWER_AT_MOST:
            raise EnvironmentFault(
                f"the evidence is too large to go with the answer ({packed.stat().st_size >> 20} MiB)",
                finding="infra.worker-lost",
                hint="name a store that all machines reach: lab run --on … --depot URL",
            )
        return "", sha256, packed.read_bytes()

    def _executed(self, task: Task, settings: Settings, sink: Sink, stop: threading.Event) -> AttemptResult:
        """Prepare what the cell needs, if it is not there, and execute it once."""
        cell, own = task.cell, replace(settings, cores=min(task.cpus, settings.cores))
        if isinstance(cell.source, GitSource) and supplies.is_local(cell.source):
            self._supply(cell.source, task, own)
        with engines.connect(own) as engine, store.open_run(own.results, _run_of(task)) as opened:
            crew = Crew([cell], own, self._tables, engine, sink, stop, opened, self._accel(task))
            with crew.holds:
                for error in crew.look({}, ())[1].values():
                    raise error
                for job in crew.jobs({}):
                    if job.kind is not JobKind.ATTEMPT:
                        crew.do(job)
                return attempt.execute(crew.bench(cell), opened, cell, task.number, task.key, crew.inputs(cell))

    def _accel(self, task: Task) -> str:
        """Return how guests run: as was seen when this worker began, if the task leaves it to us."""
        if task.accel != "auto" or self._kvm is None:
            return task.accel
        return "kvm" if self._kvm else "tcg"

    def _supply(self, source: GitSource, task: Task, settings: Settings) -> None:
        """Let a commit of a repository that lies on the sender's machine be here."""
        with locked(settings, f"supply-{source.rev}"):  # the first of many attempts fetches it
            if supplies.there(source, settings):
                return
            if task.supply is None:
                raise UsageError(
                    f"a worker has no {source.rev[:12]!r} of git repository {source.repository!r}",
                    hint="--depot URL sends it; or let a clone that has it lie at the same path on every worker",
                )
            with self._scratch() as place:
                pack = place / "supply.pack"
                parcels.Depot(task.depot).copy(task.supply.name, pack, task.supply.sha256)
                supplies.taken_in(source, pack, settings)

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        """Make a folder that goes at the end."""
        root = self._settings.cache / FOLDER
        root.mkdir(parents=True, exist_ok=True)
        folder = root / f"{os.getpid()}-{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _run_of(task: Task) -> store.RunFacts:
    return store.RunFacts(
        run=task.run, matrix="", matrix_sha256="", cells=(task.cell,), started_at_s=time.time(), lab_version=__version__
    )


def sweep(settings: Settings, sink: Sink) -> None:
    """Take away what a killed worker of this machine left: what was on its way back, too."""
    root = settings.cache / FOLDER
    for folder in root.iterdir() if root.is_dir() else ():
        if not Path("/proc", folder.name.partition("-")[0]).exists():
            shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(EnvironmentFault), engines.connect(settings) as engine:
        sweeper.dead_work(settings, engine, sink)


def _voice(say: Callable[[dict[str, Any]], None]) -> Sink:
    """Return a Sink that passes on what a live view wants to know, as plain values."""

    def sink(event: Event) -> None:
        if isinstance(event, JobProgress):
            said = {"key": event.key, "step": event.step, "detail": event.detail[:200], "fraction": event.fraction}
            say({"progress": said})
        elif isinstance(event, Note):
            say({"note": event.text[:500]})

    return sink
