"""What a step uses while it runs, asked of the engine now and then: memory that nobody could take back, and CPU time.

Source: Docker Engine API, ContainerStats; cgroups(7) versions 1 and 2: `usage` holds the page cache, which no build needs.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

FIRST_S, LONGEST_S = 0.5, 8.0  # between two questions: soon at first, so that short steps are seen, then seldom


@dataclass(slots=True, kw_only=True)
class Usage:
    """What was seen of a step. peak_mib: of anonymous and shared memory, a tmpfs' among it. None: not seen."""

    peak_mib: int | None = None
    cpu_s: float | None = None

    def see(self, stats: Any) -> None:
        """Take one answer of the engine into account; one that is no such answer says nothing."""
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            cpu_s = int(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9
            self.cpu_s = max(self.cpu_s or 0.0, round(cpu_s, 3))
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            memory, parts = stats["memory_stats"], stats["memory_stats"]["stats"]
            names = ("total_inactive_file", "total_active_file")
            if names[0] not in parts:
                names = ("inactive_file", "active_file")
            held = int(memory["usage"]) - sum(int(parts.get(name, 0)) for name in names)
            if held > 0:
                self.peak_mib = max(self.peak_mib or 0, -(-held >> 20))


@contextlib.contextmanager
def watched(ask: Callable[[], Any], ignored: tuple[type[BaseException], ...]) -> Iterator[Usage]:
    """Ask now and then until the block ends; what was seen stands in the Usage. ignored: raised by ask() and of no matter."""
    seen, over = Usage(), threading.Event()

    def look() -> None:
        pause_s = FIRST_S
        while not over.wait(pause_s):
            pause_s = min(2 * pause_s, LONGEST_S)
            with contextlib.suppress(*ignored):
                seen.see(ask())

    thread = threading.Thread(target=look, name="usage", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(5.0)
