"""What is told of a crash beside its title: where the guilty function stands, every frame, and how that code was built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from lab.evidence.console_report import Crash
from lab.evidence.origin import Origin, shortened
from lab.evidence.resolve import KERNEL, module_name
from lab.evidence.text import clean
from lab.evidence.traces import Frame, Trace

BUILT_AT_MOST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Guilty:
    """What is known of the code behind a crash. module: the .ko that was being loaded, or that has the guilty code, "".

    because: sentences for the finding. data: its facts for machines; `place` is "fs/autofs/waitq.c:532", the source, or "".
    """

    module: str = ""
    because: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


def guilty(crash: Crash, trace: Trace, loading: str) -> Guilty:
    """Return what is known of the code behind a crash. loading: path or name of the module that was being loaded, or ""."""
    frame = trace.of(crash.function, crash.module) or trace.pointer
    built = tuple(_built(frame, trace, loading))
    place = place_of(frame) if frame is not None else ""
    data: dict[str, Any] = {
        "place": place,
        "object": frame.origin.object if frame is not None else "",
        "kernel_offset": hex(trace.moved.offset) if trace.moved.offset is not None else "",
        "frames": [frame_data(one) for one in trace.frames],
        "built": [{"module": module} | asdict(origin) for module, origin in built],
    }
    because = [*(_where(frame) if frame is not None else ()), *(_how_built(module, origin) for module, origin in built)]
    return Guilty(module=_module(frame, trace, loading), because=tuple(because), data=data)


def _module(frame: Frame | None, trace: Trace, loading: str) -> str:
    mine = frame.place.object if frame is not None and frame.place is not None else ""
    path = trace.built(loading)[0] if loading else mine
    return path if path.endswith(".ko") else ""


def place_of(frame: Frame) -> str:
    """Return the line of a frame's own function (not of what was inlined into it), or its source, or ""."""
    if frame.lines:
        return frame.lines[-1].place
    return frame.origin.source or (frame.place.function.file if frame.place is not None else "")


def frame_data(frame: Frame) -> dict[str, Any]:
    """Return a frame as docs/json.md has it."""
    place, spot = frame.place, frame.spot
    return {
        "line": frame.at,
        "text": spot.name,
        "function": place.function.name if place is not None else spot.function,
        "offset": place.offset if place is not None else spot.offset,
        "module": spot.module,
        "file": place.object if place is not None else "",
        "section": place.function.section if place is not None and place.object != KERNEL else "",
        "address": place.function.address + place.offset if place is not None else 0,
        "object": frame.origin.object,
        "source": frame.origin.source or (place.function.file if place is not None else ""),
        "lines": [{"function": one.function, "file": one.file, "line": one.line} for one in frame.lines],
        "pointer": spot.exact,
        "why": frame.resolved.why,
    }


def _where(frame: Frame) -> Iterator[str]:
    """Yield where the guilty code stands in the source, as far as that is more than its name."""
    told = [f"{clean(one.place)} in {clean(one.function) or 'a function without name'}" for one in frame.lines]
    if told:
        yield f"{frame.spot.name} is {', inlined into '.join(told)}"
    if frame.origin.object:
        yield f"{frame.spot.function or frame.spot.name} comes from {frame.origin.object}: {frame.origin.how}"
    if frame.resolved.why:
        yield f"{frame.spot.name}: {clean(frame.resolved.why)}"


def _built(frame: Frame | None, trace: Trace, loading: str) -> Iterator[tuple[str, Origin]]:
    """Yield (module or "vmlinux", how it was built): the module that was being loaded, then the guilty code."""
    told: set[tuple[str, str]] = set()
    found: list[tuple[str, Origin]] = []
    place = frame.place if frame is not None else None
    mine = place.object if place is not None else ""
    if loading and (not mine or module_name(mine) != module_name(loading)):
        found.append(trace.built(loading))
    if frame is not None and place is not None:
        found.append((mine, frame.origin if frame.origin.object or mine == KERNEL else trace.built(mine)[1]))
    for module, origin in found[:BUILT_AT_MOST]:
        if origin.file and (module, origin.file) not in told:
            told.add((module, origin.file))
            yield module, origin


def _how_built(module: str, origin: Origin) -> str:
    """Return the command lines of an object in one sentence."""
    parts = [f"made by: {shortened(origin.command)}"] if origin.command else []
    parts += [f"linked by: {shortened(origin.linked)}"] if origin.linked else []
    parts += [origin.objtool.removeprefix("./tools/objtool/")] if origin.objtool else ["objtool did not run on it"]
    name = origin.object or module
    inside = f" (of {module})" if module not in (KERNEL, name) else ""
    return clean(f"{name}{inside}, {'; '.join(parts)} ({origin.file})")
