"""What changed between runs: by cell and signature, with rates. Pure.

A cell's nights are read from the oldest to the newest and kept as *regimes*: a count k of n attempts that is believed, and
beside it what has been different since, if anything. A change is claimed where Wilson's intervals of the two do not touch, so
that one unlucky night is none; what differs without that is told as not proven, with how many attempts would do. Nights that
went back to what was believed before are counted into it: the fault is then one that comes and goes. Attempts that were not
judged count nowhere, and no attempt takes another one's place: a failure before a success is a rate, never nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from lab.model import AttemptResult, Finding, Outcome, Rate, Result, Severity
from lab.plan import statistics
from lab.results.crashes import TOOL
from lab.results.regimes import Count, Regimes, more_needed, with_night
from lab.results.signature import Signature, signature, told


class Change(StrEnum):
    """What became of a fault in a cell.

    NEW: it was not there before, and the intervals say so. UNPROVEN: in all attempts now and in none before, which may be
    chance. FIRST: seen in a cell of which nothing is known before. FIXED: it was there, and the intervals say that it is gone.
    GONE: not seen now, which may be chance. STILL: in all attempts, as before. FLAKY: it comes and goes; whether its rate rose
    or fell significantly is told beside it, and a rate of 0 before means that it was first seen now. UNJUDGED: it was there
    before, and now the cell was not judged.
    """

    NEW = "new"
    UNPROVEN = "unproven"
    FIRST = "first"
    FIXED = "fixed"
    GONE = "gone"
    STILL = "still"
    FLAKY = "flaky"
    UNJUDGED = "unjudged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault in the judged attempts of one cell in one run. attempts: in how many.

    alone: in one at least it was not joined to another. message, folder: of its first attempt, the folder relative to
    results/. crash_retried: attempts in which it came and did not come again when they were repeated.
    """

    signature: Signature
    attempts: int
    alone: bool = True
    message: str = ""
    folder: str = ""
    crash_retried: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What one run says of one cell. judged: attempts that count; lost: those that were ERROR or MISS. run: its name.

    outcome: of the cell, with its expectation applied; expected: ids of findings that the matrix expects there. untestable: as
    in Result.
    carried: nothing was executed, as it had been judged in that run with just the same inputs.
    """

    cell: str
    outcome: Outcome
    reason: str
    judged: int
    lost: int = 0
    faults: tuple[Fault, ...] = ()
    expected: tuple[str, ...] = ()
    run: str = ""
    carried: bool = False
    untestable: bool = False

    def fault(self, key: Signature) -> Fault | None:
        """Return what was seen of a fault, None if nothing was."""
        return next((fault for fault in self.faults if fault.signature == key), None)


TELLING = (
    Outcome.FAIL, Outcome.XFAIL, Outcome.XPASS, Outcome.PASS, Outcome.SKIP, Outcome.ERROR, Outcome.MISS,
)  # fmt: skip
"""Which of two outcomes of one cell in one night is its outcome: a failure was seen, whatever else was."""

CARRIED: Mapping[Change, Change | None] = {Change.NEW: Change.STILL, Change.FIRST: Change.STILL, Change.FIXED: None}
"""What a change is called once it has been told, as long as nothing is executed again."""

Night = Mapping[str, Observed]
"""Cell id -> what was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One fault in one cell. before: the rate that is held against `now`, which is that of all nights since it changed.

    since: the run in which `now` began. tonight: of the last night alone. rate_changed: -1, 0, 1, as its rate fell or rose
    significantly tonight. more: attempts like tonight's that would prove it (UNPROVEN, GONE), 0 if unknown or proven.
    """

    cell: str
    change: Change
    fault: Fault
    before: Rate
    now: Rate
    tonight: Rate
    since: str
    rate_changed: int = 0
    more: int = 0
    expected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """A cell of which tonight says nothing. new: the night before it was judged, or it was not there."""

    cell: str
    outcome: Outcome
    reason: str
    new: bool
    untestable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a night says against those before. added, removed: ids of cells. nights: how many there were before.

    unexpected: cells that newly pass although the matrix expects them to fail.
    """

    differences: tuple[Difference, ...]
    unjudged: tuple[Unjudged, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    unexpected: tuple[str, ...]
    nights: int

    def of(self, *changes: Change) -> tuple[Difference, ...]:
        """Return the differences of some kinds, in order."""
        return tuple(one for one in self.differences if one.change in changes)


# ------------------------------------------------------------------------------------------------------ what was seen


def observed(result: Result, expected: tuple[str, ...] = (), run: str = "") -> Observed:
    """Return what a cell's verdict comes to. A cell that is SKIP has nothing that was judged, and no failure either."""
    judged = [attempt for attempt in result.attempts if attempt.outcome in (Outcome.PASS, Outcome.FAIL)]
    return Observed(
        cell=result.cell,
        outcome=result.outcome,
        reason=result.reason,
        judged=len(judged) + sum(_retried(attempt) is not None for attempt in judged),
        lost=len(result.attempts) - len(judged),
        faults=_faults(judged, run),
        expected=expected,
        run=run,
        untestable=result.untestable,
    )


def pooled(first: Observed, second: Observed) -> Observed:
    """Return two observations of one cell in one night as one; the second only adds to the first."""
    faults = {fault.signature: fault for fault in first.faults}
    for fault in second.faults:
        known = faults.get(fault.signature)
        faults[fault.signature] = fault if known is None else _added(known, fault)
    telling = min(first, second, key=lambda one: TELLING.index(one.outcome))
    return replace(
        telling,
        judged=first.judged + second.judged,
        lost=first.lost + second.lost,
        faults=tuple(faults.values()),
        expected=first.expected,
        run=first.run,
        carried=first.carried and second.carried,
    )


def _added(one: Fault, other: Fault) -> Fault:
    return Fault(
        signature=one.signature,
        attempts=one.attempts + other.attempts,
        alone=one.alone or other.alone,
        message=one.message,
        folder=one.folder,
        crash_retried=one.crash_retried + other.crash_retried,
    )


def _faults(judged: Iterable[AttemptResult], run: str) -> tuple[Fault, ...]:
    found: dict[Signature, Fault] = {}
    for attempt in judged:
        here: dict[Signature, tuple[Finding, bool]] = {}
        for finding, alone in told(attempt.findings):
            if finding.severity is Severity.FAIL:
                key = signature(finding)
                here[key] = (finding, alone or (key in here and here[key][1]))
        crash = _retried(attempt)
        if crash is not None:
            here.setdefault(signature(crash), (crash, True))
        folder = f"{run}/{attempt.folder}" if run else attempt.folder
        for key, (finding, alone) in here.items():
            seen = Fault(
                signature=key, attempts=1, alone=alone, message=finding.message, folder=folder,
                crash_retried=int(finding is crash),
            )  # fmt: skip
            found[key] = seen if key not in found else _added(found[key], seen)
    return tuple(found.values())


def _retried(attempt: AttemptResult) -> Finding | None:
    """Return the crash of a tool after which an attempt was repeated and did not crash: it was seen, once in two executions."""
    if "retried_after" not in attempt.facts:
        return None
    known = (finding for finding in attempt.findings if finding.id == TOOL)
    return next((finding for finding in known if finding.severity is Severity.WARNING), None)


# --------------------------------------------------------------------------------------------------------- comparison


def comparison(before: Sequence[Night], tonight: Night) -> Comparison:
    """Return what changed. before: earlier nights, the oldest first; a night without a cell says nothing of it."""
    differences: list[Difference] = []
    unjudged: list[Unjudged] = []
    last = before[-1] if before else {}
    for cell, now in tonight.items():
        past = [night[cell] for night in before if cell in night]
        if now.judged == 0 and now.outcome is not Outcome.SKIP:
            known = last.get(cell)
            new = known is None or known.judged > 0 or known.outcome is Outcome.SKIP
            unjudged.append(
                Unjudged(cell=cell, outcome=now.outcome, reason=now.reason, new=new, untestable=now.untestable)
            )
        differences += _of_carried(past, now) if now.carried else _of_cell(past, now)
    cells_before = {cell for night in before for cell in night}
    return Comparison(
        differences=tuple(differences),
        unjudged=tuple(unjudged),
        added=tuple(cell for cell in tonight if before and cell not in cells_before),
        removed=tuple(sorted(cell for cell in last if cell not in tonight)),
        unexpected=tuple(
            cell
            for cell, now in tonight.items()
            if now.outcome is Outcome.XPASS and (cell not in last or last[cell].outcome is not Outcome.XPASS)
        ),
        nights=len(before),
    )


def _of_carried(past: Sequence[Observed], now: Observed) -> list[Difference]:
    """Return how a cell stands that was not executed tonight, as of the night whose word it has: nothing changes twice."""
    executed = [one for one in past if one.judged and not one.carried]
    if not executed:
        return _of_cell([], replace(now, carried=False))
    stands = []
    for one in _of_cell(executed[:-1], executed[-1]):
        change = CARRIED.get(one.change, one.change)
        if change is not None:
            stands.append(replace(one, change=change, rate_changed=0, tonight=statistics.rate(0, 0)))
    return stands


def _of_cell(past: Sequence[Observed], now: Observed) -> list[Difference]:
    """Return what became of each fault that was ever told by itself, those seen tonight first."""
    judged = [one for one in past if one.judged and not one.carried]
    everywhere = (*([now] if now.judged else []), *reversed(judged))
    alone = {fault.signature: False for one in everywhere for fault in one.faults}
    alone |= {fault.signature: True for one in everywhere for fault in one.faults if fault.alone}
    found = []
    for key in (key for key, itself in alone.items() if itself):
        here = now.fault(key) if now.judged else None
        if here is not None and not here.alone:
            continue  # tonight it is part of what another fault did, and told with that one
        one = _difference(key, judged, now)
        if one is not None:
            found.append(one)
    return found


def _difference(key: Signature, judged: Sequence[Observed], now: Observed) -> Difference | None:
    regimes: Regimes | None = None
    for night in judged:
        regimes = with_night(regimes, _count(key, night))
    sample = next(fault for one in (now, *reversed(judged)) if (fault := one.fault(key)) is not None)
    expected = key.id in now.expected
    if now.judged == 0:
        if regimes is None or not regimes.believed.failures:
            return None
        rate = (regimes.pending or regimes.believed).rate
        none = statistics.rate(0, 0)
        return Difference(
            cell=now.cell, change=Change.UNJUDGED, fault=sample, before=rate, now=none, tonight=none, since=now.run,
            expected=expected,
        )  # fmt: skip
    count = _count(key, now)
    if regimes is None:
        none = statistics.rate(0, 0)
        return Difference(
            cell=now.cell, change=Change.FIRST, fault=sample, before=none, now=count.rate, tonight=count.rate,
            since=now.run, expected=expected,
        )  # fmt: skip
    after = with_night(regimes, count)
    change = _change(after, count)
    if change is None:
        return None
    old = after.left or (after.believed if after.pending else regimes.believed)
    new = after.pending or after.believed
    moved = 0 if after.left is None else 1 if new.rate.low > old.rate.high else -1
    more = more_needed(old.rate, new.rate) if change in (Change.UNPROVEN, Change.GONE) else 0
    return Difference(
        cell=now.cell, change=change, fault=sample, before=old.rate, now=new.rate, tonight=count.rate,
        since=new.since, rate_changed=moved, more=more, expected=expected,
    )  # fmt: skip


def _change(after: Regimes, tonight: Count) -> Change | None:
    """Return what a night comes to; None: it was not there and is not, or it is long fixed."""
    if after.left is not None:
        if after.left.look == "none":
            return Change.NEW
        return Change.FIXED if tonight.failures == 0 and after.believed.look == "none" else Change.FLAKY
    believed, pending = after.believed, after.pending
    if believed.look == "none":
        if pending is None:
            return None
        return Change.UNPROVEN if pending.look == "all" else Change.FLAKY
    if believed.look == "all":
        if pending is None:
            return Change.STILL
        return Change.GONE if pending.look == "none" else Change.FLAKY
    return Change.FLAKY


def _count(key: Signature, night: Observed) -> Count:
    fault = night.fault(key)
    # what was read from a file of ours may still be nonsense: a rate must be one
    return Count(max(0, min(fault.attempts, night.judged)) if fault else 0, night.judged, night.run)
