"""The crash reports of a console with the places in the code that they name: where each lies, its object, its line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from lab.evidence import code, lines, resolve
from lab.evidence.bundle import Evidence
from lab.evidence.code import Kernel
from lab.evidence.console_addresses import KernelOffset, Spot, kernel_offset, spots
from lab.evidence.console_frames import plain
from lab.evidence.console_lines import CONTROL, TEXT_LIMIT, said_by
from lab.evidence.console_report import Crash
from lab.evidence.functions import Functions
from lab.evidence.lines import Line, Lines, Where
from lab.evidence.log import ANSI, LINE_BYTES, file_batches
from lab.evidence.origin import Origin, Origins
from lab.evidence.resolve import KERNEL, Moved, Place, Resolved
from lab.evidence.text import json_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much of one report is looked at. everyone: also what other tasks and CPUs say between its lines."""

    lines: int = 400
    frames: int = 64
    everyone: bool = False

    def last(self, crash: Crash) -> int:
        """Return the last line of a report that is looked at."""
        return min(crash.last, crash.at + self.lines - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One place that a report names. at: line of the console. origin: of its function, as far as the build tells."""

    at: int
    resolved: Resolved
    origin: Origin = field(default_factory=Origin)
    lines: tuple[Line, ...] = ()

    @property
    def spot(self) -> Spot:
        """What the console printed."""
        return self.resolved.spot

    @property
    def place(self) -> Place | None:
        """Where it lies."""
        return self.resolved.place


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The places of one crash report, in its order. moved: how far the kernel was moved.

    built: gives a module, by path or by the kernel's name for it, as (path, how it was linked).
    """

    frames: tuple[Frame, ...] = ()
    moved: Moved = field(default_factory=Moved)
    built: Callable[[str], tuple[str, Origin]] = field(default=lambda name: (name, Origin()), repr=False)

    def of(self, function: str, module: str) -> Frame | None:
        """Return the first frame of a function (without the compiler's suffixes) of a module ("": of any), or None."""
        mine = (one for one in self.frames if plain(one.spot.function) == function)
        return next((one for one in mine if not module or one.spot.module == module), None)

    @property
    def pointer(self) -> Frame | None:
        """Where the kernel was: the first instruction pointer, None if the report has none."""
        return next((one for one in self.frames if one.spot.exact), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a console says of one crash. spots: (line, spot). offset: how far the kernel was moved, None if it does not say."""

    spots: tuple[tuple[int, Spot], ...] = ()
    offset: KernelOffset | None = None


def said(path: Path, crashes: Sequence[Crash], bounds: Bounds | None = None) -> tuple[Said, ...]:
    """Return what a console says of each crash, reading it once more. Raises LabError if it cannot be opened.

    Of a console that names who speaks, only what the head's own task or CPU says is taken, unless the bounds say otherwise.
    """
    limit = bounds or Bounds()
    found: list[list[tuple[int, Spot]]] = [[] for _ in crashes]
    callers: dict[int, str] = {}
    offsets: list[tuple[int, KernelOffset]] = []
    of_line: dict[int, list[int]] = {}
    for number, crash in enumerate(crashes):
        for at in range(crash.at, limit.last(crash) + 1):
            of_line.setdefault(at, []).append(number)
    for at, line in enumerate(chain.from_iterable(file_batches(path, "console")), 1):
        if b"Kernel Offset" in line and (offset := kernel_offset(said_by(line)[1])) is not None:
            offsets.append((at, offset))
        for number in of_line.get(at, ()):
            caller, text = said_by(line)
            mine = limit.everyone or callers.setdefault(number, caller) == caller
            if mine and len(found[number]) < limit.frames:
                found[number] += ((at, spot) for spot in spots(text))
    return tuple(
        Said(spots=tuple(some), offset=next((offset for line, offset in offsets if line >= crash.at), None))
        for some, crash in zip(found, crashes, strict=True)
    )


def split(line: bytes) -> tuple[str, str]:
    """Return what printk, or a log daemon, put before a line's text, and the text, both without colours."""
    text = said_by(line)[1]
    whole = CONTROL.sub("", ANSI.sub("", line[:LINE_BYTES].decode("utf-8", "replace")).strip("\r"))[:TEXT_LIMIT]
    return whole[: len(whole) - len(text)] if whole.endswith(text) else "", text


def traces(told: Iterable[Said], kernel: Kernel, known: Lines, origins: Origins | None) -> tuple[Trace, ...]:
    """Return the places of each crash. known: lines, as far as they were read. origins: None if there is no build."""
    made: list[Trace] = []

    def built(name: str) -> tuple[str, Origin]:
        path = kernel.modules.get(resolve.module_name(name), name)
        return path, origins.of_module(path) if origins is not None else Origin()

    for one in told:
        way = moved_of(one, kernel)
        resolved = resolve.resolved((spot for _, spot in one.spots), kernel.code, way)
        frames = [Frame(at=at, resolved=each) for (at, _), each in zip(one.spots, resolved, strict=True)]
        full = tuple(_full(frame, kernel, known, origins) for frame in frames)
        made.append(Trace(frames=full, moved=way, built=built))
    return tuple(made)


def moved_of(one: Said, kernel: Kernel) -> Moved:
    """Return how far the kernel was moved when it said this: by its configuration, by its own words, by its addresses."""
    if kernel.moved.offset is not None:
        return kernel.moved
    return resolve.moved((spot for _, spot in one.spots), kernel.code.kernel, one.offset)


def _full(frame: Frame, kernel: Kernel, known: Lines, origins: Origins | None) -> Frame:
    place = frame.place
    if place is None:
        return frame
    functions = functions_of(place, kernel)
    origin = Origin()
    if origins is not None and functions is not None:
        origin = origins.of(place.object, place.function, functions)
    return replace(frame, origin=origin, lines=known.get(where_of(place), ()) if place.trusted else ())


def functions_of(place: Place, kernel: Kernel) -> Functions | None:
    """Return the functions of the file that a place lies in."""
    if place.object == KERNEL:
        return kernel.code.kernel
    found = kernel.code.module(resolve.module_name(place.object))
    return None if isinstance(found, str) else found[1]


def where_of(place: Place) -> Where:
    """Return what a tool is asked for the line of a place: only in a module an address needs its section."""
    section = "" if place.object == KERNEL else place.function.section
    return Where(object=place.object, section=section, address=place.at)


def first_of(kernel: Kernel) -> Where | None:
    """Return the place whose line tells where the source tree is (lab.evidence.lines.tree_of), None if it is not known."""
    found = kernel.code.kernel.named(lines.FIRST) if kernel.code.kernel is not None else ()
    return Where(object=KERNEL, section="", address=found[0].address) if found else None


def wanted(found: Iterable[Trace], kernel: Kernel) -> tuple[Where, ...]:
    """Return what a tool is to be asked of these traces, each place once, with what tells where the source tree is."""
    places = (frame.place for trace in found for frame in trace.frames)
    some = dict.fromkeys(where_of(place) for place in places if place is not None and place.trusted)
    first = first_of(kernel) if some else None
    return tuple(some) if first is None else (first, *(one for one in some if one != first))


def of_evidence(evidence: Evidence, console: Path, crashes: Sequence[Crash]) -> tuple[Trace, ...]:
    """Return the places of each crash, as far as the evidence of its kernel tells them. Raises LabError as said() does."""
    if not crashes:
        return ()
    origins = Origins(evidence.commands, evidence.objects, evidence.modules_order)
    return traces(said(console, crashes), code.of_evidence(evidence), kept_lines(evidence), origins)


def kept_lines(evidence: Evidence) -> dict[Where, tuple[Line, ...]]:
    """Return the lines that were read when the kernel had crashed (lines.jsonl), {} if none were."""
    return lines.read_jsonl(json_rows(evidence.file(lines.NAME), lines.ROW_BYTES))
