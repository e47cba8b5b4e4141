"""The boots of one kernel: which there were, what each was to load, and what became of each module over all of them.

    boots.json      Plan: what each boot was to load; written before the boot
    console.txt     of the first boot; console-2.txt, console-3.txt, … of further ones; qmp.jsonl and qemu.txt as well
    modules.list    what init was given in the first boot; modules-2.list, …

Their steps are `boot`, `boot-2`, …
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.evidence import console_modules as kmod
from lab.evidence import qmp
from lab.evidence.console import ConsoleLog
from lab.evidence.console_markers import LOADERS_OWN, ModuleLoad
from lab.evidence.text import text_of
from lab.model import StepResult

STEP, CONSOLE, LIST, PLAN = "boot", "console.txt", "modules.list", "boots.json"
BOOTS_LIMIT = 1000
PLAN_BYTES = 64 << 20

# insmod's errors for hardware that is not there; our init prints the name or strerror's text (busybox does the latter)
NO_DEVICE = ("ENODEV", "ENXIO", "No such device")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBoot:
    """One boot. modules: paths in loading order. borrowed: those that are another boot's and only needed here.

    bytes, sha256: of the initramfs. memory_mib: of the guest. because: why there is this boot, "" for what was planned first.
    """

    step: str
    console: str
    modules: tuple[str, ...]
    borrowed: tuple[str, ...] = ()
    bytes: int = 0
    sha256: str = ""
    memory_mib: int = 0
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A module that no boot loads, and why."""

    path: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What boots.json says. named: paths that were asked for by their full name. needs: path -> paths it needs directly."""

    boots: tuple[PlannedBoot, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    named: tuple[str, ...] = ()
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)


def numbered(name: str, number: int) -> str:
    """Return what a boot's file or step is called: "console.txt", "console-2.txt", …; numbers count from 1."""
    stem, dot, suffix = name.partition(".")
    return name if number == 1 else f"{stem}-{number}{dot}{suffix}"


def of_step(step: str, name: str) -> str:
    """Return what a file is called that the boot of this step leaves: "qmp.jsonl" of `boot`, "qmp-2.jsonl" of `boot-2`."""
    number = step.removeprefix(f"{STEP}-")
    return numbered(name, int(number)) if is_boot(step) and number.isdecimal() else name


def is_boot(step: str) -> bool:
    """Whether a step of this name booted the kernel."""
    return step == STEP or (step.startswith(f"{STEP}-") and step.removeprefix(f"{STEP}-").isdecimal())


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One boot as it left its traces. step: None if it is not known how it ended. console: None if there is no such file.

    file: what the console is called, there or not. events, notes: names of what qemu told. told: what that was.
    """

    number: int
    step: StepResult | None
    console: Path | None
    file: str
    events: str
    notes: str
    told: qmp.Told


def found(
    steps: Iterable[StepResult], file: Callable[[str], Path | None], name_of: Callable[[Path], str]
) -> list[Boot]:
    """Return the boots that a step or a console tells of, in order; [] if there was none. file, name_of: of the evidence."""
    by_name = {step.name: step for step in steps}
    boots = []
    for number in range(1, BOOTS_LIMIT + 1):
        step, console = by_name.get(numbered(STEP, number)), file(numbered(CONSOLE, number))
        if step is None and console is None:
            break
        named = name_of(console) if console is not None else numbered(CONSOLE, number)
        events, notes = numbered(qmp.EVENTS, number), numbered(qmp.NOTES, number)
        boots.append(
            Boot(
                number=number, step=step, console=console, file=named, events=events, notes=notes,
                told=qmp.read(file(events), file(notes)),
            )
        )  # fmt: skip
    return boots


def read_plan(path: Path | None) -> Plan | None:
    """Return what boots.json says, None without it or if it is not whole."""
    text = text_of(path, PLAN_BYTES)
    try:
        value = json.loads(text) if text is not None else None
        return _plan(value) if isinstance(value, dict) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _plan(value: Mapping[str, Any]) -> Plan:
    return Plan(
        boots=tuple(
            PlannedBoot(
                step=str(row["step"]),
                console=str(row["console"]),
                modules=_texts(row["modules"]),
                borrowed=_texts(row.get("borrowed", ())),
                because=str(row.get("because", "")),
            )
            for row in value.get("boots", ())
        ),
        left_out=tuple(
            LeftOut(path=str(row["path"]), because=str(row["because"])) for row in value.get("left_out", ())
        ),
        named=_texts(value.get("named", ())),
        needs={str(path): _texts(needed) for path, needed in value.get("needs", {}).items()},
    )


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(map(str, values))


# ------------------------------------------------------------------------------------------------------------- outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one module over all boots; of several, the worst.

    outcome: one of ORDER. error: insmod's. said: the kernel's own reasons, gravest first. because: why, where it is not the
    module's doing. file, at, last: console and lines. again, unload: "", "ok", or what became of it in that stage.
    """

    path: str
    outcome: str
    error: str = ""
    said: tuple[kmod.ModuleRefusal, ...] = ()
    because: str = ""
    file: str = ""
    at: int = 0
    last: int = 0
    again: str = ""
    unload: str = ""


BEGUN = "begun"  # nothing followed
LOST = "lost"  # others followed, but what became of it stood in a marker that was not kept whole
FAIL = "fail"  # the kernel would not load it
REFUSED = "refused"  # its own init would not
NEEDS = "needs"  # what it needs is not loaded
NO_HARDWARE = "no device"
OK = "ok"
NOT_TRIED = "not tried"
ORDER = (BEGUN, FAIL, LOST, REFUSED, NEEDS, NO_HARDWARE, OK, NOT_TRIED)


def outcomes(consoles: Sequence[tuple[str, ConsoleLog]], plan: Plan | None) -> tuple[Outcome, ...]:
    """Return what became of every module that was announced or tried. consoles: (name, what it says) of each boot.

    Without a plan (a console from elsewhere) nothing is known of needs, nor of modules that were never tried.
    """
    plan = plan or Plan()
    merged = {
        path: Outcome(path=path, outcome=NOT_TRIED, because=f"{boot.step} ended before it")
        for boot in plan.boots
        for path in boot.modules
    }
    for file, console in consoles:
        for one in _of_console(file, console, plan):
            known = merged.get(one.path)
            if known is None or ORDER.index(one.outcome) < ORDER.index(known.outcome):
                merged[one.path] = one
    for left in plan.left_out:
        if merged.get(left.path, Outcome(path="", outcome=NOT_TRIED)).outcome == NOT_TRIED:
            merged[left.path] = Outcome(path=left.path, outcome=NOT_TRIED, because=left.because)
    return tuple(merged.values())


def _of_console(file: str, console: ConsoleLog, plan: Plan) -> Iterable[Outcome]:
    again, unloads = _stage(console.again), _stage(console.unloads)
    of: dict[str, Outcome] = {}
    for load in _resolved(console):
        said = _said(load, console)
        outcome, because = _judged(load, said, of, plan)
        of[load.path] = Outcome(
            path=load.path, outcome=outcome, error=load.error, said=said, because=because, file=file, at=load.at,
            last=load.last, again=again.get(load.path, ""), unload=unloads.get(load.path, ""),
        )  # fmt: skip
    return of.values()


def _resolved(console: ConsoleLog) -> Iterable[ModuleLoad]:
    """Return what became of each module; where a marker was lost, init's count at the end tells, if it can be but one thing."""
    last = len(console.loads) if console.done is not None else len(console.loads) - 1
    lost = sum(load.outcome == "begun" for load in console.loads[:last])
    outcome = LOST
    if lost and console.done is not None:
        for word, counted in zip(("ok", "fail"), console.done, strict=True):
            if counted - sum(load.outcome == word for load in console.loads) == lost:
                outcome = word
    for at, load in enumerate(console.loads):
        yield replace(load, outcome=outcome) if load.outcome == "begun" and at < last else load


def _stage(loads: Iterable[ModuleLoad]) -> dict[str, str]:
    return {
        load.path: load.outcome if load.outcome in ("ok", "begun") else load.error or load.outcome for load in loads
    }


def _said(load: ModuleLoad, console: ConsoleLog) -> tuple[kmod.ModuleRefusal, ...]:
    """Return what the kernel said while a module was being loaded; what it may also say of one that it takes comes last."""
    lines = [line for line in console.refused if load.at <= line.at <= load.last]
    return tuple(sorted(lines, key=lambda line: line.kind in kmod.MILD))


def _judged(
    load: ModuleLoad, said: Sequence[kmod.ModuleRefusal], before: Mapping[str, Outcome], plan: Plan
) -> tuple[str, str]:
    """Return the outcome of one load, and why it is no doing of the module's. before: those of the same boot so far."""
    if load.outcome != "fail":
        return load.outcome, ""
    unknown = "nknown symbol" in load.error or any(line.kind is kmod.RefusalKind.UNKNOWN_SYMBOL for line in said)
    needed = plan.needs.get(load.path, ()) if unknown else ()
    missing = next((path for path in needed if _absent(path, before)), None)
    if missing is not None:
        error = before[missing].error or before[missing].outcome
        return NEEDS, f"it needs {missing}, which did not load: {error}"
    if any(word in load.error for word in NO_DEVICE):
        return NO_HARDWARE, ""
    if said or any(word in load.error for word in LOADERS_OWN):
        return FAIL, ""
    return REFUSED, ""


def _absent(path: str, before: Mapping[str, Outcome]) -> bool:
    return path in before and before[path].outcome != OK
