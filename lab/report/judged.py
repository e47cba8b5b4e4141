"""The outcome of findings alone, where nobody built or booted: `lab check DIR` and `lab log FILE`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.errors import ExitCode
from lab.model import Finding, NotApplicable, Outcome, Severity
from lab.results.verdict import most_telling_first, reason_of

EXIT_CODES = {
    Outcome.PASS: ExitCode.AS_EXPECTED,
    Outcome.FAIL: ExitCode.KERNEL_FAULT,
    Outcome.ERROR: ExitCode.LAB_FAULT,
    Outcome.SKIP: ExitCode.UNTESTABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Findings with what they amount to. findings: the most telling first. exit_code: of the command that judged."""

    outcome: Outcome
    reason: str
    findings: tuple[Finding, ...]
    not_applicable: tuple[NotApplicable, ...]
    exit_code: ExitCode


def judged(
    findings: Iterable[Finding],
    not_applicable: Iterable[NotApplicable],
    checks: Sequence[str] | Mapping[str, Sequence[str]],
) -> Judged:
    """Return the outcome of what these checks found.

    checks: names of those that were asked, best with the ids that each can find. ERROR and FAIL as findings say, ERROR
    first. PASS only if at least one check could look; SKIP (exit code 125) if none could.
    """
    told = most_telling_first(findings)
    gaps = tuple(not_applicable)
    blind = {gap.check for gap in gaps}
    looked = [name for name in checks if could_look(name, checks[name] if isinstance(checks, Mapping) else (), blind)]
    errors = [finding for finding in told if finding.severity is Severity.ERROR]
    fails = [finding for finding in told if finding.severity is Severity.FAIL]
    if errors or fails:
        outcome, reason = (Outcome.ERROR, reason_of(errors)) if errors else (Outcome.FAIL, reason_of(fails))
    elif looked or told:
        outcome, reason = Outcome.PASS, f"nothing found by: {', '.join(looked or {finding.id for finding in told})}"
    else:
        outcome, reason = Outcome.SKIP, "nothing here that a check could look at"
    return Judged(outcome=outcome, reason=reason, findings=told, not_applicable=gaps, exit_code=EXIT_CODES[outcome])


def could_look(name: str, ids: Sequence[str], blind: set[str]) -> bool:
    """Return whether a check could look for at least one of its faults. Of a check whose ids are unknown, one gap is enough."""
    if name in blind:
        return False
    if ids:
        return not set(ids) <= blind
    return not any(gap.startswith(f"{name}.") for gap in blind)
