"""Cells to Jobs: what has to be done, what each piece waits for and what it takes. Pure.

Work that several cells share (an image, an unpacked source, a patched source) is one Job, keyed by what goes into it; an
attempt of a cell is a Job of its own. Who does a Job is not known here: lab.plan.schedule hands it to a callable.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import asdict, dataclass
from enum import StrEnum

from lab.model import AttemptResult, Cell, DebianSource, DirSource, GitSource, Need, Patch, Source


class JobKind(StrEnum):
    """What a Job makes. The payload's class says the same; this is for people and for events."""

    IMAGE = "image"
    SOURCE = "source"
    PATCHED = "patched"
    ATTEMPT = "attempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageWork:
    """Make sure that an image of lab's own is there. name: as image_of() gave it."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWork:
    """Fetch, verify and unpack a source once."""

    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchedWork:
    """Make the patched tree of a source that is already unpacked. patches: in the order in which they are applied."""

    source: Source
    patches: tuple[Patch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptWork:
    """Execute a cell once. number: counts from 1."""

    cell: Cell
    number: int


Work = ImageWork | SourceWork | PatchedWork | AttemptWork
Demand = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work.

    key: unique in a run, and the same in every run for the same inputs, so that durations of earlier runs apply.
    title: for people. cell: id, "" for shared work. needs: keys of the Jobs that must have succeeded before.
    demand: (pool, amount) it holds while it runs, sorted by pool; see demand_of(). payload: what to do.
    """

    key: str
    title: str
    kind: JobKind
    payload: Work
    cell: str = ""
    needs: tuple[str, ...] = ()
    demand: Demand = ()


RESERVE = 1.25  # of what was seen: no two builds are alike
UNKNOWN_MEMORY_MIB = 1024
UNKNOWN_DISK_MIB = 1024
LONG_S = 4.0
SHARED_DEMAND: Demand = (("cpu", 1), ("network", 1))


def jobs(
    cells: Iterable[Cell],
    *,
    image_of: Callable[[Cell], tuple[str, ...]],
    demand_of: Callable[[Cell], Mapping[str, int]],
    finished: Set[tuple[str, int]] = frozenset(),
) -> tuple[Job, ...]:
    """Return the Jobs of these cells: every Job after those it needs, otherwise in the order of the cells.

    image_of: names of the images that a cell's attempt needs (build, boot). demand_of: pool -> amount of one attempt.
    finished: (cell id, attempt number) that have a result to be reused; shared work that only they needed is left out.
    """
    plan: dict[str, Job] = {}
    known: dict[object, tuple[str, ...]] = {}  # what a cell needs, by what decides it: few answers for many cells
    demands: dict[Demand, Demand] = {}
    for cell in cells:
        wanted = [number for number in range(1, max(1, cell.repeat) + 1) if (cell.id, number) not in finished]
        if not wanted:
            continue
        images = image_of(cell)
        deciding = (images, cell.source, cell.patches)
        if deciding not in known:
            shared = (*(image_job(name) for name in images), *source_jobs(cell))
            for job in shared:
                plan.setdefault(job.key, job)
            known[deciding] = tuple(dict.fromkeys(job.key for job in shared))
        needs = known[deciding]
        demand = frozen(demand_of(cell))
        demand = demands.setdefault(demand, demand)
        for number in wanted:
            job = attempt_job(cell, number, needs, demand)
            plan[job.key] = job
    return tuple(plan.values())


def demand(cell: Cell, *, cpus: int, loop: bool, on_disk: bool = False, measured: Need | None = None) -> dict[str, int]:
    """Return what one attempt of a cell holds: cpu, memory_mib, disk_mib if its files are on disk, loop and qemu.

    cpus: the share of one cell, used unless the cell says `make.jobs`. loop: whether its filesystem is loop-mounted.
    measured: what it used before, by which memory and disk are asked for with a reserve; without it they are guessed.
    A cell that left half of its processors idle makes room for another. One that is repeated, or amplified, does not: how
    often it fails is in question, and neighbours have a part in that. -j stays what it is.
    A guest's memory counts if it is larger than the build's, as the boot comes after the build.
    """
    seen = measured or Need()
    wide = cell.make.jobs or cpus
    used = math.ceil(seen.cpu * RESERVE) if seen.cpu else wide
    alone = cell.repeat > 1 or bool(cell.amplify)
    memory_mib = math.ceil(seen.memory_mib * RESERVE) or UNKNOWN_MEMORY_MIB
    amounts = {
        "cpu": wide if alone or 2 * used > wide else used,
        "memory_mib": max(memory_mib, cell.boot.memory_mib if cell.boot else 0),
    }
    if on_disk:
        amounts["disk_mib"] = math.ceil(seen.disk_mib * RESERVE) or UNKNOWN_DISK_MIB
    if loop:
        amounts["loop"] = 1
    if cell.boot:
        amounts["qemu"] = 1
    return amounts


def need_of(attempts: Iterable[AttemptResult], size_mib: int) -> Need:
    """Return what a cell's attempts were seen to use at most. size_mib: of the filesystem of their output, 0 if unknown."""
    steps = [step for attempt in attempts for step in attempt.steps]
    free_mib = [step.bytes_free >> 20 for step in steps if step.bytes_free is not None]
    # a short step is asked about once or never, and its processors are then anybody's guess
    long = [step for step in steps if step.seconds >= LONG_S]
    cpus = [step.cpu_s / step.seconds for step in long if step.cpu_s is not None]
    return Need(
        cpu=round(max(cpus), 2) if cpus and len(cpus) == len(long) else 0.0,
        memory_mib=max((step.peak_mib or 0 for step in steps), default=0),
        disk_mib=max(0, size_mib - min(free_mib)) if size_mib and free_mib else 0,
    )


def image_job(name: str) -> Job:
    """Return the Job that provides an image."""
    return Job(
        key=image_key(name),
        title=f"image {name}",
        kind=JobKind.IMAGE,
        payload=ImageWork(name=name),
        demand=SHARED_DEMAND,
    )


def source_jobs(cell: Cell) -> tuple[Job, ...]:
    """Return the Jobs that provide the cell's tree: unpacking, and patching if it has patches."""
    name = source_name(cell.source)
    unpack = Job(
        key=source_key(cell.source),
        title=f"source {name}",
        kind=JobKind.SOURCE,
        payload=SourceWork(source=cell.source),
        demand=SHARED_DEMAND,
    )
    if not cell.patches:
        return (unpack,)
    patched = Job(
        key=patched_key(cell.source, cell.patches),
        title=f"source {name} with {', '.join(patch.name for patch in cell.patches)}",
        kind=JobKind.PATCHED,
        payload=PatchedWork(source=cell.source, patches=cell.patches),
        needs=(unpack.key,),
        demand=(("cpu", 1),),
    )
    return (unpack, patched)


def attempt_job(cell: Cell, number: int, needs: tuple[str, ...], held: Demand) -> Job:
    """Return the Job of one attempt."""
    return Job(
        key=attempt_key(cell.id, number),
        title=cell.id if cell.repeat <= 1 else f"{cell.id} attempt {number} of {_planned(cell)}",
        kind=JobKind.ATTEMPT,
        payload=AttemptWork(cell=cell, number=number),
        cell=cell.id,
        needs=needs,
        demand=held,
    )


def _planned(cell: Cell) -> str:
    return f"at most {cell.repeat}" if cell.until else str(cell.repeat)


def image_key(name: str) -> str:
    """Return the key of an image's Job."""
    return f"image:{name}"


def source_key(source: Source) -> str:
    """Return the key of an unpacked source, by what names its content."""
    return f"source:{source_name(source)}:{hashed(type(source).__name__, asdict(source))}"


def patched_key(source: Source, patches: tuple[Patch, ...]) -> str:
    """Return the key of a patched source. Names of patches do not count, their texts and order do."""
    return f"patched:{source_name(source)}:{hashed(source_key(source), [patch.text for patch in patches])}"


def attempt_key(cell: str, number: int) -> str:
    """Return the key of an attempt's Job. Cell ids hold no colon, so keys never clash."""
    return f"attempt:{cell}:{number}"


def source_name(source: Source) -> str:
    """Return a short name of a source, for people."""
    if isinstance(source, DebianSource):
        return f"{source.package}/{source.suite}" if source.suite else source.package
    if isinstance(source, DirSource):
        return source.path
    if isinstance(source, GitSource):
        return f"{source.repository.rstrip('/').rpartition('/')[2]} {source.rev}"
    return source.path.rpartition("/")[2]


def hashed(*parts: object) -> str:
    """Return 16 hex digits of a hash over JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def frozen(amounts: Mapping[str, int]) -> Demand:
    """Return amounts as sorted pairs, without those that ask for nothing."""
    return tuple(sorted((pool, amount) for pool, amount in amounts.items() if amount > 0))
