"""From one watched build: with which granularities of file times, and how much delay, make could have been wrong.

make overlooks an object if the last dependency file that should have it made again carries the same tick. Two moments t < u
share a tick of g unless a boundary of ticks lies in (t, u]; where the boundaries lie, against the build, is chance. So the
share of clock phases in which at least one object is overlooked is the measure of a union of arcs on a circle of length g,
and one build tells what a hundred would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.evidence.autoksyms import Round
from lab.evidence.mtimes import SECOND_NS, SLOWEST_TICK_NS
from lab.evidence.race import Clock

# a fast tick clock and the slowest one, the steps of some network shares, whole seconds, FAT
GRANULARITIES_NS = (SECOND_NS // 1000, SLOWEST_TICK_NS, SECOND_NS // 10, SECOND_NS, 2 * SECOND_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """An object, and the last dependency file that was touched to have it made again. Times: ns, as exact as they are known."""

    object: str
    dependency: str
    made_ns: int
    touched_ns: int

    @property
    def apart_ns(self) -> int:
        """From the object to the dependency file."""
        return self.touched_ns - self.made_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one granularity would have made of this build.

    share: of clock phases, in which at least one object is overlooked. enough_ns: how much later the dependency files had to
    be touched so that it cannot happen; 0 if it cannot as it is.
    """

    granularity_ns: int
    share: float
    enough_ns: int


def gaps(rounds: Iterable[Round], exporters: Mapping[str, Sequence[str]], clock: Clock) -> tuple[Gap, ...]:
    """Return a Gap for each object of each round that was there before it, nearest first.

    exporters: dependency file -> objects. Where a file still has the time of that write, and the clock is fine, that time is
    taken; what the watcher saw is late by some milliseconds otherwise.
    """
    found: list[Gap] = []
    for round_ in rounds:
        last: dict[str, tuple[int, str]] = {}
        first_ns = min(touch.first_ns for touch in round_.touches)
        for touch in round_.touches:
            for name in exporters.get(touch.path, ()):
                last[name] = max(last.get(name, (0, "")), (touch.last_ns, touch.path))
        for name, (seen_ns, dependency) in last.items():
            before_ns = clock.last_before(name, first_ns)
            if before_ns is None:
                continue
            made_ns, touched_ns = _exact(clock, name, before_ns), _exact(clock, dependency, seen_ns)
            if touched_ns >= made_ns:
                found.append(Gap(object=name, dependency=dependency, made_ns=made_ns, touched_ns=touched_ns))
    return tuple(sorted(found, key=lambda gap: (gap.apart_ns, gap.object)))


def _exact(clock: Clock, path: str, seen_ns: int) -> int:
    own = clock.left_by(path, seen_ns) if clock.granularity_ns <= SLOWEST_TICK_NS else None
    return own if own is not None else seen_ns


def lines(found: Sequence[Gap], granularities_ns: Iterable[int] = GRANULARITIES_NS) -> tuple[Line, ...]:
    """Return a Line for each granularity, finest first."""
    nearest_ns = min((gap.apart_ns for gap in found), default=None)
    return tuple(
        Line(
            granularity_ns=step,
            share=share(found, step),
            enough_ns=0 if nearest_ns is None else max(0, step - nearest_ns),
        )
        for step in sorted(set(granularities_ns))
    )


def share(found: Iterable[Gap], granularity_ns: int, *, delay_ns: int = 0) -> float:
    """Return the share of clock phases in which at least one object is overlooked.

    delay_ns: how much later every dependency file is touched than it was.
    """
    arcs: list[tuple[int, int]] = []
    for gap in found:
        safe_ns = gap.apart_ns + delay_ns  # a boundary in here, and make sees the difference
        if safe_ns < granularity_ns:
            begin = (gap.made_ns + safe_ns) % granularity_ns
            end = begin + granularity_ns - safe_ns
            arcs.append((begin, min(end, granularity_ns)))
            arcs.append((0, max(0, end - granularity_ns)))
    covered, reached = 0, 0
    for begin, end in sorted(arcs):
        covered += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return covered / granularity_ns
