"""`lab decode`: a kernel's crash reports with file and line beside each address, as scripts/decode_stacktrace.sh has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from lab.environment import engine as engines
from lab.errors import EnvironmentFault, UsageError
from lab.evidence import code, console, distribution, guilty, traces
from lab.evidence.bundle import Evidence
from lab.evidence.code import Kernel
from lab.evidence.console_report import Crash
from lab.evidence.console_rows import Category
from lab.evidence.elf import UnreadableError
from lab.evidence.lines import Lines
from lab.evidence.log import file_batches
from lab.evidence.origin import Origins
from lab.evidence.traces import Bounds, Frame, Trace
from lab.settings import Settings
from lab.tables import Tables
from lab.use import lines as reader

BOUNDS = Bounds(lines=5_000, frames=2_000, everyone=True)
CANNOT_READ = "file and line are not shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """path: a console, or a folder of evidence that has one. kernel: a folder as `lab check` takes it, or a vmlinux; None: the
    folder of the console. modules: where further .ko files are. symbols_only: do not ask for lines.
    """

    path: Path
    kernel: Path | None = None
    modules: Path | None = None
    release: str = ""
    symbols_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One crash report. title: "" of a console in which none is known. lines: of the console, with what was found out.

    first, last: its lines, from 1. kernel_offset: "0x…", "" if not known.
    """

    title: str
    first: int
    last: int
    kernel_offset: str
    frames: tuple[dict[str, Any], ...]
    lines: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Decoded:
    """reports: in the order of the console. notes: what could not be looked up, and why."""

    reports: list[Report] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def resolved(self) -> bool:
        """Whether any place was found."""
        return any(frame["file"] for report in self.reports for frame in report.frames)


def decoded(request: Request, settings: Settings, tables: Tables, say: Callable[[str], None]) -> Decoded:
    """Decode the crash reports of a console. Raises UsageError for what is not there, or is no kernel."""
    path, evidence = _console(request)
    kernel, origins = _kernel(request, evidence)
    found = Decoded()
    crashes = console.read(path).crashes or (_whole(path),)
    told = traces.said(path, crashes, BOUNDS)
    if not any(one.spots for one in told):
        found.notes.append("nothing on this console looks like an address in the kernel's code")
    known = dict(traces.kept_lines(evidence)) if evidence is not None else {}
    if not request.symbols_only:
        known |= _lines(traces.traces(told, kernel, {}, None), kernel, settings, tables, say, found.notes)
    made = traces.traces(told, kernel, known, origins)
    texts = _texts(path, crashes)
    for crash, trace in zip(crashes, made, strict=True):
        found.reports.append(_report(crash, trace, texts))
    return found


def _console(request: Request) -> tuple[Path, Evidence | None]:
    """Return the console and the evidence of the folder that is meant with it, if it is one."""
    path = request.path
    if path.is_dir():
        evidence = Evidence(path, request.release if request.kernel is None else "")
        if evidence.console is None:
            raise UsageError(f"there is no console.txt in '{path}'", hint="give a saved console, and --kernel")
        return evidence.console, evidence
    if not path.is_file():
        raise UsageError(f"no such console: {str(path)!r}")
    return path, None


def _kernel(request: Request, evidence: Evidence | None) -> tuple[Kernel, Origins | None]:
    given = request.kernel
    if given is not None and not given.is_dir():
        try:
            return code.of_files(given, _modules(request.modules)), None
        except UnreadableError as error:
            raise UsageError(f"cannot read the kernel '{given}': {error}") from error
    if given is not None:
        evidence = Evidence(given, request.release)
    elif evidence is None:
        evidence = _beside(request.path)
    origins = Origins(evidence.commands, evidence.objects, evidence.modules_order)
    return code.of_evidence(evidence, _modules(request.modules)), origins


def _beside(path: Path) -> Evidence:
    try:
        return Evidence(path.parent)
    except UsageError as error:
        hint = "--kernel names its vmlinux, or a folder as `lab check` takes it"
        raise UsageError(f"nothing says which kernel wrote '{path}'", hint=hint) from error


def _modules(folder: Path | None) -> dict[str, Path]:
    """Return module -> file of a folder, its names as the build knew them."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise UsageError(f"no folder '{folder}'")
    found: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if name.endswith(distribution.MODULE_SUFFIXES) and len(found) < distribution.MAX_MODULES:
                found.setdefault(distribution.module_name(path.relative_to(folder).as_posix()), path)
    return found


def _whole(path: Path) -> Crash:
    """Return a whole console as one report: a trace that was cut out of one has no head."""
    return Crash(
        category=Category.OOPS, title="", at=1, last=sum(map(len, file_batches(path, "console"))) or 1, text=""
    )


def _lines(
    made: Sequence[Trace],
    kernel: Kernel,
    settings: Settings,
    tables: Tables,
    say: Callable[[str], None],
    notes: list[str],
) -> Lines:
    """Return the lines of all places, by a container; without one, say so."""
    wanted, first = traces.wanted(made, kernel), traces.first_of(kernel)
    objects = dict.fromkeys(one.object for one in wanted)
    lined = [name for name in objects if kernel.lined(name)]
    notes += [f"{name}: no debugging information is here, only symbols" for name in objects if name not in lined]
    if not lined:
        return {}
    try:
        with engines.connect(settings) as engine:
            return reader.read(wanted, first, kernel, settings, tables, engine, say)
    except EnvironmentFault as error:
        notes.append(f"{CANNOT_READ}: {error.message}")
        return {}


def _texts(path: Path, crashes: Sequence[Crash]) -> dict[int, tuple[str, str]]:
    """Return line -> (printk's prefix, text) of all reports."""
    spans = {at for one in crashes for at in range(one.at, BOUNDS.last(one) + 1)}
    found: dict[int, tuple[str, str]] = {}
    for at, line in enumerate(chain.from_iterable(file_batches(path, "console")), 1):
        if at in spans:
            found[at] = traces.split(line)
    return found


def _report(crash: Crash, trace: Trace, texts: dict[int, tuple[str, str]]) -> Report:
    last = BOUNDS.last(crash)
    frames: dict[int, list[Frame]] = {}
    for frame in trace.frames:
        frames.setdefault(frame.at, []).append(frame)
    rows = [(at, *texts[at]) for at in range(crash.at, last + 1) if at in texts]
    return Report(
        title=crash.title,
        first=crash.at,
        last=last,
        kernel_offset=hex(trace.moved.offset) if trace.moved.offset is not None else "",
        frames=tuple(guilty.frame_data(frame) for frame in trace.frames),
        lines=tuple(prefix + "".join(_with(text, frames.get(at, ()))) for at, prefix, text in rows),
    )


def _with(text: str, frames: Sequence[Frame]) -> Iterator[str]:
    """Yield the pieces of a line, with what was found out behind each place that it names."""
    at = 0
    for frame in sorted(frames, key=lambda one: one.spot.end):
        yield text[at : frame.spot.end]
        at = frame.spot.end
        told = [line.place for line in frame.lines] or [guilty.place_of(frame)]
        place = frame.place
        if place is not None and not frame.spot.function:
            told.insert(0, f"{place.function.name}+{place.offset:#x}")
        words = " ".join(filter(None, told)) + ("?" if place is not None and not place.trusted and any(told) else "")
        yield f" ({words})" if words else ""
    yield text[at:]


def facts(report: Report) -> dict[str, Any]:
    """Return a report as docs/json.md has it, without its title and its text."""
    return {
        "first": report.first,
        "last": report.last,
        "kernel_offset": report.kernel_offset,
        "frames": list(report.frames),
    }
