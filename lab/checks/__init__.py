"""The checks: Evidence in, Findings out, nothing else.

A check is a function `check(evidence) -> Iterable[Finding | NotApplicable]` in a leaf module of this package; the registry
is the tuple below, in the order in which findings are told, plus the entry-point group "lab.checks" (each entry a Check).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from lab.checks import (
    boot,
    build,
    certificate,
    clock,
    config,
    exports,
    infra,
    join,
    kallsyms,
    link,
    livepatch,
    modpost,
    modules,
    objtool,
    remake,
    timestamps,
)
from lab.errors import EnvironmentFault, understood
from lab.evidence.bundle import Evidence
from lab.model import Finding, NotApplicable, Severity, Span

CheckFunction = Callable[[Evidence], Iterable[Finding | NotApplicable]]
CRASHED = "lab.check-crashed"
ENTRY_POINTS = "lab.checks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One leaf. name: the family ("modpost"); ids: every finding id it can yield."""

    name: str
    ids: tuple[str, ...]
    run: CheckFunction


CHECKS: tuple[Check, ...] = (
    Check(name="infra", ids=infra.IDS, run=infra.check),
    Check(name="config", ids=config.IDS, run=config.check),
    Check(name="build", ids=build.IDS, run=build.check),
    Check(name="link", ids=link.IDS, run=link.check),
    Check(name="modpost", ids=modpost.IDS, run=modpost.check),
    Check(name="exports", ids=exports.IDS, run=exports.check),
    Check(name="timestamps", ids=timestamps.IDS, run=timestamps.check),
    Check(name="certificate", ids=certificate.IDS, run=certificate.check),
    Check(name="clock", ids=clock.IDS, run=clock.check),
    Check(name="remake", ids=remake.IDS, run=remake.check),
    Check(name="kallsyms", ids=kallsyms.IDS, run=kallsyms.check),
    Check(name="objtool", ids=objtool.IDS, run=objtool.check),
    Check(name="livepatch", ids=livepatch.IDS, run=livepatch.check),
    Check(name="modules", ids=modules.IDS, run=modules.check),
    Check(name="boot", ids=boot.IDS, run=boot.check),
)


def judge(
    evidence: Evidence, checks: tuple[Check, ...] | None = None
) -> tuple[tuple[Finding, ...], tuple[NotApplicable, ...]]:
    """Run the checks (all of them by default, with those of installed plug-ins) and return what they found, in their order.

    A check that raises becomes an ERROR finding `lab.check-crashed`: a broken check must never look like a pass. What it
    had found before is kept.
    """
    findings: list[tuple[str, Finding]] = []
    not_applicable: list[NotApplicable] = []
    for check in CHECKS + plugins() if checks is None else checks:
        try:
            for answer in check.run(evidence):
                if isinstance(answer, Finding):
                    findings.append((check.name, answer))
                else:
                    not_applicable.append(answer)
        except Exception as error:  # whatever a check of ours or of a plug-in does, it must be seen
            findings.append((check.name, _crashed(check.name, error)))
    told = _told_once(findings)
    return join.joined(told, _part_of(told, evidence)), tuple(not_applicable)


def _told_once(findings: list[tuple[str, Finding]]) -> tuple[Finding, ...]:
    """Leave out what another check said under an id of a family whose own check, which knows more, said it as well.

    Not of livepatch: the log's word on a symbol is joined to what the module itself shows.
    """
    own = {finding.id for name, finding in findings if finding.id.split(".")[0] == name} - set(livepatch.IDS)
    return tuple(finding for name, finding in findings if finding.id not in own or finding.id.split(".")[0] == name)


def _part_of(findings: tuple[Finding, ...], evidence: Evidence) -> dict[str, str]:
    """Return object -> what it is linked into, if there may be something to join by it: the objects are slow to read."""
    if len(findings) < 2 or not any(finding.id.startswith("objtool.") for finding in findings):
        return {}
    return {path: facts.part_of for path, facts in evidence.objects.items() if facts.part_of}


def plugins() -> tuple[Check, ...]:
    """Return the checks of the entry-point group "lab.checks"; one that cannot be loaded becomes a check that says so."""
    return tuple(_loaded(entry) for entry in sorted(entry_points(group=ENTRY_POINTS)))


def _loaded(entry: EntryPoint) -> Check:
    try:
        check = entry.load()
    except Exception as error:  # the same: an import of a stranger may raise anything
        failure = error
    else:
        if isinstance(check, Check):
            return check
        failure = TypeError(f"entry point {entry.name!r} of {ENTRY_POINTS!r} is no lab.checks.Check")

    def broken(_: Evidence) -> Iterable[Finding | NotApplicable]:
        raise failure

    return Check(name=entry.name, ids=(CRASHED,), run=broken)


def _crashed(name: str, error: Exception) -> Finding:
    if isinstance(fault := understood(error), EnvironmentFault):
        message = f"the check '{name}' could not look: {fault.message}"
        return Finding(
            id=fault.finding,
            severity=Severity.ERROR,
            title="a check could not look",
            message=message,
            where=Span(file=""),
        )
    last_line = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return Finding(
        id=CRASHED,
        severity=Severity.ERROR,
        title=f"the check '{name}' crashed",
        message=f"the check '{name}' crashed, so nothing is known about what it looks for: {last_line}",
        where=Span(file=""),
        because=("this is a bug of the lab, or of a plug-in, not of the kernel",),
        data={"check": name, "error": last_line, "place": place},
    )
