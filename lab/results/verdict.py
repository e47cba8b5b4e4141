"""From findings to the verdict: of an attempt, of a cell, of a run. Pure. Nothing here starts life as PASS.

How a run ends (the process of lab, and so `git bisect run`), the first line that fits:

    1    a cell is FAIL or XPASS: the kernel's doing. It stands even if other cells are ERROR, as it has its own proof.
    128  a cell is ERROR or MISS for the lab's or the machine's reasons, or nothing was there to be judged
    129  a cell is ERROR because what was asked for is not there: a file, a folder, a git revision, the sha256 of a tarball
    125  a cell cannot be judged here (does not configure, a patch does not apply), or all are SKIP: git bisect skips the commit
    0    every cell is as expected: PASS, XFAIL or SKIP

Whoever finds that there can be no such kernel at all raises Impossible: the cell is then SKIP.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable, Sequence

from lab.errors import EnvironmentFault, ExitCode, Impossible, LabError, Untestable, UsageError, understood
from lab.model import (
    AttemptResult,
    Cell,
    Ending,
    Expectation,
    Finding,
    FindingRate,
    NotApplicable,
    Outcome,
    Rate,
    Result,
    Severity,
    Span,
    StepResult,
    Until,
)
from lab.plan import statistics

REQUEST = "lab.request"
IDS = ("lab.bug", "lab.fault", REQUEST, "lab.unexplained", "lab.untestable")
"""The finding ids that come from here and from no check."""

JUDGED = frozenset({Outcome.PASS, Outcome.FAIL, Outcome.SKIP})
"""Outcomes of an attempt that say something about the kernel; a resumed run repeats the others."""

BROKEN_OFF = frozenset({Ending.OUT_OF_MEMORY, Ending.KILLED, Ending.INTERRUPTED, Ending.ENGINE_LOST})
"""Endings after which the evidence is half written: a FAIL that a check reads from it may be an artefact of that."""

SEVERITIES = (Severity.ERROR, Severity.FAIL, Severity.WARNING, Severity.NOTE)

# Ids that only say "it failed, here is an excerpt"; a finding that says why is told before them.
GENERIC = ("build.failed",)


def attempt_outcome(
    findings: Sequence[Finding],
    not_applicable: Sequence[NotApplicable],
    steps: Sequence[StepResult],
    *,
    boot_expected: bool,
    booted: bool,
) -> tuple[Outcome, str]:
    """Return the outcome of one execution and its reason in one line.

    steps: all that were begun, in order. booted: the boot's check has seen the mark that our init ended well.
    ERROR: an ERROR finding, a step that was broken off, or a failed step that nothing explains. FAIL: a FAIL finding.
    MISS: no step was begun. PASS: every step said 0 and, if a boot was asked for, `booted`. Never XFAIL or XPASS.
    """
    told = most_telling_first(findings)
    errors = [finding for finding in told if finding.severity is Severity.ERROR]
    fails = [finding for finding in told if finding.severity is Severity.FAIL]
    if errors:
        return Outcome.ERROR, reason_of(errors)
    for step in steps:
        if step.ending in BROKEN_OFF:
            return Outcome.ERROR, f"lab.unexplained: {ending_of(step)}"
    if fails:
        return Outcome.FAIL, reason_of(fails)
    return without_findings(not_applicable, steps, boot_expected=boot_expected, booted=booted)


def without_findings(
    not_applicable: Sequence[NotApplicable], steps: Sequence[StepResult], *, boot_expected: bool, booted: bool
) -> tuple[Outcome, str]:
    """Return the outcome where no finding decides."""
    if not steps:
        return Outcome.MISS, "no step was begun"
    for step in steps:
        if not step.ok:
            return Outcome.ERROR, f"lab.unexplained: {ending_of(step)}, and no check says why"
    if boot_expected and not booted:
        return Outcome.ERROR, "lab.unexplained: the boot left no sign that it ended well, and no check says why"
    blind = sorted({gap.check for gap in not_applicable if not gap.natural})
    done = "built and booted" if boot_expected else "built"
    return Outcome.PASS, f"{done}; not looked at: {', '.join(blind)}" if blind else done


def cell_result(
    cell: Cell,
    attempts: Sequence[AttemptResult],
    error: BaseException | None = None,
    differences: tuple[str, ...] = (),
) -> Result:
    """Return the verdict on a cell, with its expectation applied.

    attempts: those with a result, in any order. error: what kept the cell, or some of its attempts, from being executed.
    differences: see Result. Attempts that are ERROR or MISS do not count beside judged ones, but the reason mentions them. One
    FAIL makes the cell FAIL. A cell of which attempts are missing with no error to blame is MISS unless it has failed already.
    """
    ordered = tuple(sorted(attempts, key=lambda attempt: attempt.number))
    rate, rates = (None, ()) if cell.repeat == 1 else rates_of(ordered, cell)
    outcome, reason = combined(cell, ordered, error, rate)
    findings = (fault(error),) if error is not None else ()
    untestable = outcome is Outcome.ERROR and is_untestable(ordered, error)
    told = (*(finding for attempt in ordered for finding in attempt.findings), *findings)
    seen = {identity for finding in told for identity in finding.ids()}
    if cell.expect:
        outcome, reason = against(cell.expect, outcome, reason, seen)
    return Result(
        cell=cell.id,
        outcome=outcome,
        reason=reason,
        attempts=ordered,
        seconds=sum(attempt.seconds for attempt in ordered),
        findings=findings,
        untestable=untestable,
        rate=rate,
        rates=rates,
        differences=differences,
        amplified=cell.amplify.words(),
    )


def rates_of(attempts: Sequence[AttemptResult], cell: Cell) -> tuple[Rate | None, tuple[FindingRate, ...]]:
    """Return how often a cell failed, and each fault of it, with intervals; attempts that were not judged do not count.

    Where the cell asks for a finding, its rate comes first, whatever it blames.
    """
    judged = [attempt for attempt in attempts if attempt.outcome in (Outcome.PASS, Outcome.FAIL)]
    if not judged:
        return None, ()
    confidence = (cell.until or Until()).confidence
    failures = sum(attempt.outcome is Outcome.FAIL for attempt in judged)
    seen = Counter(signature for attempt in judged for signature in signatures(attempt.findings))
    rates = [
        FindingRate(id=id_, blame=blame, function=function, rate=statistics.rate(count, len(judged), confidence))
        for (id_, blame, function), count in seen.most_common()
    ]
    if finding := (cell.until or Until()).finding:
        asked_for = statistics.rate_of(judged, finding, confidence)
        rates.insert(0, FindingRate(id=finding, blame="", function="", rate=asked_for))
    return statistics.rate(failures, len(judged), confidence), tuple(rates)


def signatures(findings: Iterable[Finding]) -> set[tuple[str, str, str]]:
    """Return (id, blame, function) of all that decides, alone or joined to another: what makes two faults the same one."""
    told = [one for finding in findings for one in (finding, *finding.joined) if one.decides]
    return {(finding.id, finding.blame, finding.function) for finding in told}


def combined(
    cell: Cell, attempts: Sequence[AttemptResult], error: BaseException | None, rate: Rate | None = None
) -> tuple[Outcome, str]:
    """Return the outcome of all attempts together, before the expectation."""
    judged = [attempt for attempt in attempts if attempt.outcome in JUDGED]
    failed = [attempt for attempt in judged if attempt.outcome is Outcome.FAIL]
    planned = max(cell.repeat, len(attempts), 1)
    if cell.until and statistics.enough(cell.until, attempts):
        planned = max(len(attempts), 1)
    asked_for = until_words(cell, attempts)
    if failed:
        return Outcome.FAIL, counted(failed, len(judged), "failed", rate, amplified=bool(cell.amplify)) + asked_for
    if error is not None and not judged:
        return error_outcome(error)
    unjudged = [attempt for attempt in attempts if attempt.outcome not in JUDGED]
    if not judged and unjudged:
        worst = next((attempt for attempt in unjudged if attempt.outcome is Outcome.ERROR), unjudged[0])
        return worst.outcome, worst.reason
    if len(attempts) < planned and error is None:
        return Outcome.MISS, f"{len(attempts)} of {planned} attempts ran" if attempts else "never ran"
    lost = planned - len(judged)
    remark = f"; {lost} of {planned} attempts could not be judged" if lost else ""
    passed = [attempt for attempt in judged if attempt.outcome is Outcome.PASS]
    first = passed[0] if passed else judged[0]
    if rate is not None and rate.trials > 1 and passed:
        remark = f"; {rate_words(rate, amplified=bool(cell.amplify))} failed{remark}"
    return first.outcome, first.reason + remark + asked_for


def until_words(cell: Cell, attempts: Sequence[AttemptResult]) -> str:
    """Return what is to be said of the end that a cell's `repeat` asks for: the finding's rate, and whether it is known."""
    until, words = cell.until, ""
    if until is None or not attempts:
        return words
    if until.finding:
        seen = statistics.rate_of(attempts, until.finding, until.confidence)
        words += f"; {until.finding} in {rate_words(seen, amplified=bool(cell.amplify))}"
    if until.width and not statistics.enough(until, attempts):
        words += f"; more attempts are needed for an interval of {until.width:g}"
    return words


def counted(
    some: Sequence[AttemptResult], total: int, verb: str, rate: Rate | None = None, *, amplified: bool = False
) -> str:
    """Return the first one's reason, led by how many of how many if there were several."""
    if total == 1:
        return some[0].reason
    flaky = "flaky, " if rate is not None and rate.intermittent else ""
    share = f" ({interval_words(rate, amplified=amplified)})" if rate is not None else ""
    return f"{flaky}{len(some)} of {total} attempts {verb}{share}: {some[0].reason}"


def rate_words(rate: Rate, *, amplified: bool = False) -> str:
    """Return a rate as people say it: "7 of 20 (18 to 57 %)". amplified: it is none that comes by nature, and says so."""
    return f"{rate.failures} of {rate.trials} ({interval_words(rate, amplified=amplified)})"


def interval_words(rate: Rate, *, amplified: bool = False) -> str:
    """Return the interval of a rate: "18 to 57 %"."""
    return f"{rate.low * 100:.0f} to {rate.high * 100:.0f} %{', amplified' if amplified else ''}"


def against(expect: Expectation, outcome: Outcome, reason: str, seen: Iterable[str]) -> tuple[Outcome, str]:
    """Return outcome and reason measured by what the matrix expects. All findings it names must have been found."""
    missing = [wanted for wanted in expect.findings if wanted not in set(seen)]
    if outcome is Outcome.PASS:
        named = f" ({', '.join(expect.findings)})" if expect.findings else ""
        return Outcome.XPASS, f"{expect.outcome}{named} was expected, but it passed"
    if outcome is not expect.outcome or outcome is Outcome.SKIP:
        return outcome, reason
    if missing:
        return outcome, f"{reason} (expected: {', '.join(missing)})"
    return Outcome.XFAIL, reason


def error_outcome(error: BaseException) -> tuple[Outcome, str]:
    """Return what an exception makes of a cell: ERROR, or SKIP where there can be no such kernel."""
    if isinstance(error, Impossible):
        return Outcome.SKIP, error.message
    return Outcome.ERROR, reason_of([fault(error)])


def is_untestable(attempts: Sequence[AttemptResult], error: BaseException | None) -> bool:
    """Return whether all that is wrong is that the cell cannot be judged here."""
    causes = [cannot_be_judged(attempt) for attempt in attempts if attempt.outcome not in JUDGED]
    if error is not None:
        causes.append(isinstance(error, Untestable))
    return bool(causes) and all(causes)


def cannot_be_judged(attempt: AttemptResult) -> bool:
    """Return whether an attempt was not judged for nobody's fault: a patch does not apply, a symbol is not to be had."""
    errors = {finding.id for finding in attempt.findings if finding.severity is Severity.ERROR}
    return attempt.facts.get("untestable") is True or (
        attempt.outcome is Outcome.ERROR and errors == {"config.not-honoured"}
    )


def attempt_from_error(number: int, error: BaseException, *, seconds: float = 0.0, folder: str = "") -> AttemptResult:
    """Return the result of an attempt that an exception ended; facts["untestable"] says whether it is no one's fault."""
    outcome, reason = error_outcome(error)
    return AttemptResult(
        number=number,
        outcome=outcome,
        reason=reason,
        findings=(fault(error),),
        seconds=seconds,
        folder=folder,
        facts={"untestable": isinstance(error, Untestable)},
    )


def fault(error: BaseException) -> Finding:
    """Return the finding that an exception amounts to. Of a bug of ours it keeps the traceback, in data."""
    error = understood(error)
    facts: dict[str, object] = {"error": type(error).__name__}
    if isinstance(error, LabError):
        because = tuple(f"{label}: {text}" for label, text in error.facts)
        facts["hint"] = error.hint
        message = error.message
    else:
        because = ()
        message = f"{type(error).__name__}: {error}"
        facts["traceback"] = "".join(traceback.format_exception(error, limit=-50))[-20_000:]
    identity, title = identity_of(error)
    severity = Severity.NOTE if isinstance(error, Impossible) else Severity.ERROR
    return Finding(
        id=identity,
        severity=severity,
        title=title,
        message=message or title,
        where=Span(file=""),
        because=because,
        data=facts,
    )


def identity_of(error: BaseException) -> tuple[str, str]:
    """Return the finding id and title of an exception."""
    if isinstance(error, Untestable):
        return "lab.untestable", "the cell cannot be judged here"
    if isinstance(error, EnvironmentFault):
        return error.finding, "the machine let the lab down"
    if isinstance(error, UsageError):
        return REQUEST, "what was asked for is not there"
    if isinstance(error, LabError):
        return "lab.fault", "the lab could not do its work"
    return "lab.bug", "a bug of the lab"


def most_telling_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings by severity, those that only say that something failed behind those that say why, else as given."""
    return tuple(sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), finding.id in GENERIC)))


def reason_of(findings: Sequence[Finding]) -> str:
    """Return one line: the first finding's id and message, and how many more there are."""
    first = findings[0]
    subject = f"{first.blame}: " if first.blame and first.blame not in first.message else ""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return " ".join(f"{first.id}: {subject}{first.message}"[:600].split()) + more


def ending_of(step: StepResult) -> str:
    """Return how a step ended, in words."""
    how = f"exited {step.status}" if step.ending is Ending.EXITED else f"ended by {step.ending.replace('-', ' ')}"
    detail = f" ({' '.join(step.detail[:300].split())})" if step.detail else ""
    return f"step '{step.name}' {how}{detail}"


def exit_code(results: Iterable[Result]) -> ExitCode:
    """Return how the process ends, by the table at the top of this file."""
    cells = list(results)
    outcomes = {result.outcome for result in cells}
    if outcomes & {Outcome.FAIL, Outcome.XPASS}:
        return ExitCode.KERNEL_FAULT
    stopped = [result for result in cells if result.outcome in (Outcome.ERROR, Outcome.MISS)]
    requested = [result for result in stopped if any(finding.id == REQUEST for finding in result.findings)]
    if not cells or any(not result.untestable and result not in requested for result in stopped):
        return ExitCode.LAB_FAULT
    if requested:
        return ExitCode.USAGE
    return ExitCode.UNTESTABLE if stopped or outcomes == {Outcome.SKIP} else ExitCode.AS_EXPECTED
