"""What an attempt came to, as a class that another machine can be held against; and what its runs say of it. Pure.

Two runs are of one class if their outcomes are the same and, where they failed, each main fault of the one is among the faults
of the other: a race shows its cause alone where the build was lucky, and its consequences, joined to it, where it was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lab.model import AttemptResult, Finding, Outcome, Rate
from lab.plan import statistics
from lab.results.verdict import rate_words

VARYING = ("boot", "timestamps")
"""Families in which one fault shows as one id or another: it depends on the instant where a race or a crash hits."""

TIMES_AT_MOST = 20
JUDGED = (Outcome.PASS, Outcome.FAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A finding that decided. main: not only joined to another. blame, function: as in Finding; they are told, not compared."""

    id: str
    blame: str
    function: str
    main: bool

    @property
    def kind(self) -> str:
        """What is compared: the id, or its family where the id varies."""
        family = self.id.partition(".")[0]
        return family if family in VARYING else self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What expected.json says. outcome: PASS or FAIL. faults: () if it passed. rate: of a cell that was repeated, else None.

    lab_version: of the lab that judged. seconds: that the attempt took.
    """

    cell: str
    attempt: int
    outcome: Outcome
    reason: str
    faults: tuple[Fault, ...]
    rate: Rate | None
    lab_version: str
    seconds: float

    @property
    def flaky(self) -> bool:
        """Whether attempts of the cell failed and others did not."""
        return self.rate is not None and self.rate.intermittent

    @property
    def word(self) -> str:
        """The class in a word: PASS, FAIL or flaky."""
        return "flaky" if self.flaky else self.outcome.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of a bundle came to. Only PASS and FAIL count."""

    outcome: Outcome
    reason: str
    faults: tuple[Fault, ...] = ()


class Answer(StrEnum):
    """Whether runs are of the class that was expected. OPEN: too few of them to say."""

    SAME = "same"
    OTHER = "other"
    OPEN = "open"
    UNJUDGED = "unjudged"


def expected(
    cell: str, attempts: Sequence[AttemptResult], number: int, rate: Rate | None, lab_version: str
) -> Expected | None:
    """Return what an attempt and its cell came to; None if that attempt was not judged, or is not among `attempts`.

    Of a flaky cell what counts are the faults of a failing attempt: of this one, or else of the first.
    """
    judged = {attempt.number: attempt for attempt in attempts if attempt.outcome in JUDGED}
    chosen = judged.get(number)
    if chosen is None:
        return None
    failing = [attempt for _, attempt in sorted(judged.items()) if attempt.outcome is Outcome.FAIL]
    if chosen.outcome is Outcome.PASS and rate is not None and rate.intermittent and failing:
        chosen = failing[0]
    return Expected(
        cell=cell,
        attempt=chosen.number,
        outcome=chosen.outcome,
        reason=chosen.reason,
        faults=faults(chosen.findings),
        rate=rate,
        lab_version=lab_version,
        seconds=chosen.seconds,
    )


def faults(findings: Iterable[Finding]) -> tuple[Fault, ...]:
    """Return what decides among findings, alone or joined to another, each once, main ones first."""
    told = [(finding, True) for finding in findings if finding.decides]
    waiting = [joined for finding in findings for joined in finding.joined]
    while waiting:
        one = waiting.pop(0)
        waiting += one.joined
        told += [(one, False)] if one.decides else []
    seen: dict[tuple[str, str, str], Fault] = {}
    for finding, main in told:
        key = (finding.id, finding.blame, finding.function)
        seen.setdefault(key, Fault(id=key[0], blame=key[1], function=key[2], main=main))
    return tuple(seen.values())


def same(wanted: Expected, run: Run) -> bool:
    """Whether one run is of the class of the attempt."""
    if run.outcome is not wanted.outcome:
        return False
    ours, theirs = run.faults, wanted.faults
    return _main(ours) <= _kinds(theirs) and _main(theirs) <= _kinds(ours)


def _kinds(some: Iterable[Fault]) -> set[str]:
    return {fault.kind for fault in some}


def _main(some: Iterable[Fault]) -> set[str]:
    return _kinds(fault for fault in some if fault.main)


def times(wanted: Expected) -> int:
    """Return how many runs should do: of a flaky cell so many that one fails 19 of 20 times, at the lowest likely rate."""
    if not wanted.flaky or wanted.rate is None:
        return 1
    return min(TIMES_AT_MOST, statistics.attempts_to_see(wanted.rate.low))


def answer(wanted: Expected, runs: Iterable[Run]) -> Answer:
    """Return what runs say so far.

    A pass is expected of every run, a failure of one: a fault that was seen is there, however often it shows. Where none was
    seen, a cell known to be flaky is another one only after as many runs as would have shown it.
    """
    judged = [run for run in runs if run.outcome in JUDGED]
    alike = sum(same(wanted, run) for run in judged)
    if not judged:
        return Answer.UNJUDGED
    if wanted.outcome is Outcome.PASS:
        return Answer.SAME if alike == len(judged) else Answer.OTHER
    if alike:
        return Answer.SAME
    if any(run.outcome is Outcome.FAIL for run in judged):
        return Answer.OTHER
    rate = wanted.rate if wanted.flaky else None
    return Answer.OPEN if rate and len(judged) < statistics.attempts_to_see(rate.low) else Answer.OTHER


def settled(wanted: Expected, runs: Sequence[Run]) -> bool:
    """Whether further runs could not change the answer."""
    told = answer(wanted, runs)
    return told is (Answer.OTHER if wanted.outcome is Outcome.PASS else Answer.SAME)


def answer_words(wanted: Expected, runs: Sequence[Run]) -> str:
    """Return the answer in one line."""
    judged = [run for run in runs if run.outcome in JUDGED]
    alike = sum(same(wanted, run) for run in judged)
    told = answer(wanted, runs)
    if told is Answer.UNJUDGED:
        return f"none of {len(runs)} runs could be judged: {runs[-1].reason if runs else 'none was made'}"
    count = f"{alike} of {len(judged)} runs"
    lost = len(runs) - len(judged)
    remark = f"; {lost} could not be judged" if lost else ""
    if wanted.rate is not None and wanted.rate.trials > 1:
        remark = f"; recorded: {rate_words(wanted.rate)} failed{remark}"
    if told is Answer.OPEN and wanted.rate is not None:
        needed = statistics.attempts_to_see(wanted.rate.low)
        return f"open: none of {len(judged)} runs failed, {needed} would show it{remark}"
    if told is Answer.SAME:
        return f"the same verdict: {wanted.outcome} in {count}{remark}"
    return f"another verdict: {wanted.outcome} in {count}, but {_came_instead(wanted, judged)}{remark}"


def _came_instead(wanted: Expected, judged: Sequence[Run]) -> str:
    """Return what the first run that is not of the class came to; a failure before a pass."""
    others = [run for run in judged if not same(wanted, run)]
    other = next((run for run in others if run.outcome is Outcome.FAIL), others[0])
    kinds = ", ".join(sorted(_main(other.faults)))
    return f"{other.outcome} ({kinds})" if kinds else other.outcome.value
