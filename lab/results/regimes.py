"""A rate that is watched over nights: what is believed of it, and when it has changed. Pure.

Source: the intervals are Wilson's, see lab.plan.statistics; bench/comparison.py measures how often a change is claimed wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from lab.model import Rate
from lab.plan import statistics

MORE_AT_MOST = 1000


@dataclass(frozen=True, slots=True)
class Count:
    """k of n attempts since a run."""

    failures: int
    trials: int
    since: str

    def __add__(self, other: Count) -> Count:
        return Count(self.failures + other.failures, self.trials + other.trials, self.since)

    @property
    def look(self) -> str:
        """Whether none failed, all, or some."""
        return "none" if self.failures == 0 else "all" if self.failures == self.trials else "some"

    @property
    def rate(self) -> Rate:
        """The rate with its interval."""
        return rate(self.failures, self.trials)


@dataclass(frozen=True, slots=True)
class Regimes:
    """What is believed; what has been different since, None if nothing; what was believed until tonight, if that changed."""

    believed: Count
    pending: Count | None = None
    left: Count | None = None


@lru_cache(maxsize=1 << 14)
def rate(failures: int, trials: int) -> Rate:
    """Return a rate with its interval; a matrix of thousands of cells asks for the same few again and again."""
    return statistics.rate(failures, trials)


def apart(one: Rate, other: Rate) -> bool:
    """Whether two intervals do not touch: then the true rates differ."""
    return one.high < other.low or other.high < one.low


@lru_cache(maxsize=1 << 14)
def more_needed(before: Rate, now: Rate) -> int:
    """Return how many more attempts that all end as those of `now` would hold the two apart; 0: no such number is known.

    now: a rate of 0 or of 1.
    """
    if now.intermittent or not now.trials:
        return 0
    for more in range(1, MORE_AT_MOST):
        failures = now.failures + (more if now.failures else 0)
        if apart(before, rate(failures, now.trials + more)):
            return more
    return 0


def with_night(regimes: Regimes | None, night: Count) -> Regimes:
    """Return the regimes with one more night."""
    if regimes is None:
        return Regimes(night)
    believed, pending = regimes.believed, regimes.pending
    if pending is not None and pending.look == night.look:
        pending += night
    elif pending is not None:
        believed, pending = believed + pending, night
    else:
        pending = night
    if apart(believed.rate, pending.rate):
        return Regimes(pending, None, believed)
    if pending.look == believed.look:
        return Regimes(believed + pending)
    return Regimes(believed, pending)
