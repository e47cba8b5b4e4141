"""A verdict in brief: what pages over many runs show of a cell in one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.model import AttemptResult, Outcome, Result
from lab.results import store
from lab.results.comparison import TELLING
from lab.results.disk import checked
from lab.results.signature import Signature, signature, told

QUIET = (Outcome.PASS, Outcome.SKIP, Outcome.MISS)
"""Outcomes whose attempts have no finding that decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a cell was in one run, by its folder alone. found: what decides, each fault once, in the order of ordered()."""

    outcome: Outcome
    reason: str
    seconds: float = 0.0
    found: tuple[Signature, ...] = ()


def verdict_in(run: Path, cell: str) -> Verdict | None:
    """Return what a cell was in the run of a folder, None if it has no verdict. Attempts are read where they can decide."""
    result = store.read(Result, run / checked(cell) / "result.json")
    if result is None:
        return None
    return verdict_of(result, () if result.outcome in QUIET else store.read_attempts(run, cell))


def verdict_of(result: Result, attempts: Iterable[AttemptResult]) -> Verdict:
    """Return a cell's verdict in brief."""
    everything = (result.findings, *(attempt.findings for attempt in attempts))
    deciding = (finding for some in everything for finding, _ in told(some) if finding.decides)
    return Verdict(
        outcome=result.outcome,
        reason=result.reason,
        seconds=result.seconds,
        found=ordered(map(signature, deciding)),
    )


def pooled(first: Verdict, further: Verdict) -> Verdict:
    """Return two verdicts on a cell in one night as one: the worse one tells, and no pass hides a failure before it."""
    if first.outcome is further.outcome:
        outcome, reason = first.outcome, f"{first.reason}; the same in further attempts"
    elif TELLING.index(first.outcome) < TELLING.index(further.outcome):
        outcome, reason = first.outcome, f"{first.reason}; in further attempts {further.outcome}: {further.reason}"
    else:
        outcome, reason = further.outcome, f"{further.reason}; in the attempts before {first.outcome}: {first.reason}"
    return Verdict(
        outcome=outcome,
        reason=reason,
        seconds=first.seconds + further.seconds,
        found=ordered((*first.found, *further.found)),
    )


def ordered(some: Iterable[Signature]) -> tuple[Signature, ...]:
    """Return signatures, each once, in an order that is theirs alone."""
    return tuple(sorted(set(some), key=lambda one: (one.id, one.blame, one.function, one.title)))
