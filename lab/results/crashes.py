"""What may be the machine's doing and seldom comes twice: such an attempt is made again once. Pure.

qemu-user crashes now and then, and never twice in one place. A compiler that crashes has a bug, which comes again, or runs on
a machine with bad memory, which looks the same once. A clock is set when a machine has just started, and is right then.
"""

from __future__ import annotations

from dataclasses import replace

from lab.model import AttemptResult, Cell, Finding, Outcome, Severity
from lab.results.verdict import GENERIC

EMULATOR, CLOCK, TOOL = "infra.emulator-crash", "infra.clock", "build.toolchain-crash"


def crash_of(result: AttemptResult) -> Finding | None:
    """Return the crash, or the set clock, that an attempt came to nothing by; None if a fault of the kernel stands beside a
    crash, by its own proof."""
    if result.outcome is Outcome.ERROR:
        errors = (finding for finding in result.findings if finding.severity is Severity.ERROR)
        return next((finding for finding in errors if finding.id in (EMULATOR, CLOCK)), None)
    fails = [finding for finding in result.findings if finding.severity is Severity.FAIL]
    if result.outcome is not Outcome.FAIL or any(finding.id not in (TOOL, *GENERIC) for finding in fails):
        return None
    return next((finding for finding in fails if finding.id == TOOL), None)


def asked_for(crash: Finding, cell: Cell) -> bool:
    """Whether the matrix expects the crash, or counts how often it comes: then one that was seen is not to be made good."""
    expected = cell.expect.findings if cell.expect is not None else ()
    return crash.id in expected or (cell.until is not None and cell.until.finding == crash.id)


def made_again(first: AttemptResult, crash: Finding, second: AttemptResult, aside: str) -> AttemptResult:
    """Return the second result of an attempt that first ended by a crash, with the fact `retried_after`: its verdict counts.

    A crash that came again tells whether it was in the same place. One that did not stays as a warning, without what it led to:
    nothing is sure that was built on a machine that spoils memory. aside: name of the folder with the evidence of the first,
    beside that of the second.
    """
    known = (EMULATOR, CLOCK, TOOL)
    again = next((finding for finding in second.findings if finding.id in known and finding.decides), None)
    if again is None:
        word = "it did not come again when the attempt was repeated, whose verdict counts"
        word += "" if crash.id == CLOCK else "; bad memory looks like this"
        where = replace(crash.where, file=f"../{aside}/{crash.where.file}")
        once = replace(crash, severity=Severity.WARNING, where=where, because=(*crash.because, word), joined=())
        findings = (*second.findings, once)
    else:
        told = replace(again, because=(*again.because, _compared(crash, again)))
        findings = tuple(told if finding is again else finding for finding in second.findings)
    return replace(second, findings=findings, facts={**second.facts, "retried_after": first.reason})


def _compared(crash: Finding, again: Finding) -> str:
    if crash.id == CLOCK:
        return f"the attempt was repeated after {crash.message}"
    if (again.id, again.blame, again.message) == (crash.id, crash.blame, crash.message):
        return "it came again in the same place when the attempt was repeated: a bug, hardly the machine"
    place = f" at '{crash.blame}'" if crash.blame else ""
    before = f"the attempt was repeated after {crash.id}{place}: {crash.message}"
    return f"{before}; what crashes now here, now there is more often the machine than a bug"
