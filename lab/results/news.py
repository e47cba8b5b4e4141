"""What of a comparison is news, and how a night ends by it. Pure.

    1    something is new, and proven: a fault (NEW, or FIRST in a cell without a past), a rate that rose, an unexpected pass
    128  a cell was not judged for the lab's or the machine's reasons and was so before; or nothing was judged at all
    125  a cell newly cannot be judged here, or something was seen that chance may have done
    0    nothing of these: what fails as it did, what is known, what is fixed, what comes and goes as it did

What the matrix expects, and known issues in force, are no news.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.errors import ExitCode
from lab.results.comparison import Change, Comparison, Difference, Night, Unjudged
from lab.results.known import Sorted


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What is new. claimed: proven; unproven: not; unjudged: cells that were judged before; unexpected: see Comparison.

    nothing_judged: no cell of the night says anything.
    """

    claimed: tuple[Difference, ...] = ()
    unproven: tuple[Difference, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()
    unexpected: tuple[str, ...] = ()
    nothing_judged: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """How the process ends, by the table above."""
        if self.claimed or self.unexpected:
            return ExitCode.KERNEL_FAULT
        if self.nothing_judged or any(not cell.untestable for cell in self.unjudged):
            return ExitCode.LAB_FAULT
        return ExitCode.UNTESTABLE if self.unproven or self.unjudged else ExitCode.AS_EXPECTED


def news(found: Comparison, told: Sorted, tonight: Night) -> News:
    """Return what is new. told: the differences with known issues apart."""
    return News(
        claimed=tuple(one for one in told.rest if _claimed(one)),
        unproven=tuple(one for one in told.rest if _unproven(one)),
        unjudged=tuple(cell for cell in found.unjudged if cell.new),
        unexpected=found.unexpected,
        nothing_judged=len(found.unjudged) == len(tonight),
    )


def _claimed(one: Difference) -> bool:
    rose = one.change is Change.FLAKY and one.rate_changed > 0
    return not one.expected and (rose or one.change in (Change.NEW, Change.FIRST))


def _unproven(one: Difference) -> bool:
    first_seen = one.change is Change.FLAKY and one.before.failures == 0 and one.tonight.failures > 0
    return not one.expected and one.rate_changed == 0 and (first_seen or one.change is Change.UNPROVEN)
