"""Whether the machine's clock was set back meanwhile: it dates files, and make goes by their times.

The wall clock less the one that runs on whatever happens is the same number for ever, unless somebody sets the wall clock: the
slow corrections of NTP speed up or slow down both, and a suspended machine has both skip the same. A jump forward keeps files
in the order in which they were made and is of no matter.
Source: clock_gettime(2), CLOCK_BOOTTIME; Linux, kernel/time/timekeeping.c, do_settimeofday64(), timekeeping_inject_offset().
"""

from __future__ import annotations

import time

STEP_NS = 10_000_000  # files' times cannot tell less apart where the kernel's tick is slowest, HZ=100
TRIES = 10
CLOSE_NS = STEP_NS // 10


class WallClock:
    """Looks at the clock whenever it is told to. A clock that was set and set right again between two looks is not seen."""

    def __init__(self) -> None:
        self._latest_ns = _offset_ns() or 0
        self._back_ns = 0

    def look(self) -> None:
        """Compare the clock with the latest that it ever was."""
        offset_ns = _offset_ns()
        if offset_ns is not None:
            self._back_ns = max(self._back_ns, self._latest_ns - offset_ns)
            self._latest_ns = max(self._latest_ns, offset_ns)

    def set_back_s(self) -> float:
        """Look, and return by how many seconds it was set back since this was last asked, 0.0 if it was not."""
        self.look()
        back_ns, self._back_ns = self._back_ns, 0
        if back_ns < STEP_NS:
            return 0.0
        self._latest_ns = _offset_ns() or self._latest_ns - back_ns
        return round(back_ns / 1e9, 3)


def _offset_ns() -> int | None:
    """Return the wall clock less the other one; None if they could not be read close together."""
    for _ in range(TRIES):
        before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall_ns = time.time_ns()
        if time.clock_gettime_ns(time.CLOCK_BOOTTIME) - before_ns <= CLOSE_NS:
            return wall_ns - before_ns
    return None
