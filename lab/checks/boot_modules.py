"""What became of modules at boot: the part of lab.checks.boot that tells of them. Over all boots of a kernel, not of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from lab.evidence import boots
from lab.evidence import console_modules as kmod
from lab.evidence.console import ConsoleLog
from lab.model import Finding, Severity, Span

IDS = ("boot.module-failed", "boot.module-refused", "boot.module-twice", "boot.modules")
MODULES_LIMIT = 10_000  # entries of boot.modules' data
SYMBOLS_LIMIT = 50
SAID_LINES = 3
TOLD = {
    boots.NO_HARDWARE: "found no device",
    boots.NEEDS: "need one of those",
    boots.REFUSED: "refused",
    boots.FAIL: "failed",
    boots.BEGUN: "did not come back",
    boots.LOST: "not known",
    boots.NOT_TRIED: "not tried",
}
"""What is told of modules that did not load, in this order."""


def of_module(one: boots.Outcome, plan: boots.Plan) -> Iterator[Finding]:
    """Yield what is wrong with a module: nothing if it loaded, or if its hardware is not there."""
    if one.outcome == boots.FAIL or (one.outcome == boots.REFUSED and one.path in plan.named):
        yield _failed(one)
    elif one.outcome == boots.REFUSED:
        yield Finding(
            id="boot.module-refused",
            severity=Severity.WARNING,
            title=f"a module's own init refused: {one.path}",
            message=f"the init of {one.path} refused: {one.error}",
            where=_where(one),
            blame=one.path,
            because=(
                "the kernel has nothing against the module; many drivers answer so where they have nothing to do",
            ),
            data={"module": one.path, "error": one.error},
        )
    if one.again not in ("", "ok", "begun"):
        yield Finding(
            id="boot.module-twice",
            severity=Severity.FAIL,
            title=f"a second load was not told that the module is there: {one.path}",
            message=f"{one.path} is loaded, and a second insmod says: {one.again}",
            where=_where(one),
            blame=one.path,
            because=("the kernel must answer EEXIST (File exists)",),
            data={"module": one.path, "again": one.again},
        )


def _failed(one: boots.Outcome) -> Finding:
    said = tuple(f"the kernel says: {line.text.strip()} (line {line.at})" for line in one.said[:SAID_LINES])
    named = ("it was asked for by its name",) if one.outcome == boots.REFUSED else ()
    return Finding(
        id="boot.module-failed",
        severity=Severity.FAIL,
        title=f"module does not load: {one.path}",
        message=f"{one.path} does not load: {one.error or 'insmod gave no reason'}",
        where=_where(one),
        blame=one.path,
        because=(*said, *named) or ("the kernel gave no reason between the two markers",),
        data={"module": one.path, "error": one.error, **refusal_data(one.said)},
    )


def _where(one: boots.Outcome) -> Span:
    return Span(file=one.file, first=one.at, last=one.last)


def refused_by_name(lines: Iterable[kmod.ModuleRefusal], file: str) -> Iterator[Finding]:
    """Yield a finding for each module and reason that the kernel names, where no marker of our init says which it is."""
    groups: dict[tuple[str, kmod.RefusalKind], list[kmod.ModuleRefusal]] = {}
    for line in lines:
        groups.setdefault((line.module, line.kind), []).append(line)
    for (module, kind), said in groups.items():
        more = f" (and {len(said) - 1} more lines)" if len(said) > 1 else ""
        yield Finding(
            id="boot.module-failed",
            severity=Severity.WARNING if kind in kmod.MILD else Severity.FAIL,
            title=f"module refused: {module or 'unnamed'}: {kind}",
            message=f"the kernel refuses {module or 'a module'}: {said[0].text.strip()}{more}",
            where=Span(file=file, first=said[0].at, last=said[-1].at),
            data={"module": module, "error": said[0].text.strip(), **refusal_data(said)},
        )


def refusal_data(said: Sequence[kmod.ModuleRefusal]) -> dict[str, Any]:
    """Return what the kernel's words name: kinds, symbols, the first symbol."""
    symbols = list(dict.fromkeys(line.symbol for line in said if line.symbol))
    return {
        "kinds": list(dict.fromkeys(str(line.kind) for line in said)), "symbols": symbols[:SYMBOLS_LIMIT],
        "symbol": symbols[0] if symbols else "",
    }  # fmt: skip


def note(outcomes: Sequence[boots.Outcome], consoles: Sequence[ConsoleLog], plan: boots.Plan, file: str) -> Finding:
    """Return boot.modules: what became of each. file: the first console."""
    count = Counter(one.outcome for one in outcomes)
    # without a plan (a console from elsewhere) only the init's first marker says how many there should be
    announced = len(outcomes) if plan.boots or len(consoles) > 1 else consoles[0].announced
    announced = announced if announced is not None else len(outcomes)
    parts = [f"{count[boots.OK]} of {announced} modules loaded"]
    parts += [f"{count[outcome]} {words}" for outcome, words in TOLD.items() if count[outcome]]
    stages = [one.unload for one in outcomes if one.unload]
    parts += [f"{stages.count('ok')} of {len(stages)} unloaded"] if stages else []
    parts += [f"in {len(consoles)} boots"] if len(consoles) > 1 else []
    loads = consoles[0].loads
    return Finding(
        id="boot.modules",
        severity=Severity.NOTE,
        title="modules loaded at boot",
        message=", ".join(parts),
        where=Span(file=file, first=loads[0].at, last=loads[-1].last) if loads else Span(file=file),
        # done: the init said so itself, in every boot; without it a boot has not passed, whatever was not found
        data={
            "announced": announced, "loaded": count[boots.OK], "boots": len(consoles),
            "done": len(consoles) >= len(plan.boots) and all(console.done is not None for console in consoles),
            "modules": [_row(one, several=len(consoles) > 1) for one in outcomes[:MODULES_LIMIT]],
        },
    )  # fmt: skip


def _row(one: boots.Outcome, *, several: bool) -> dict[str, Any]:
    told = {key: value for key, value in asdict(one).items() if key in ("because", "again", "unload") and value}
    place = {"file": one.file} if several and one.file else {}
    return {"path": one.path, "outcome": one.outcome, "error": one.error} | told | place
