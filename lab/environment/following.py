"""A container's output, followed while it runs: into a file, line by line to whoever listens, with a deadline."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.model import Ending

LOG_LIMIT = 512 << 20  # bytes of one step's log; a console that floods is cut, not waited for


class LogReader:
    """Copies a container's output into a file on a thread of its own and tells each line once."""

    def __init__(
        self,
        stream: Iterator[bytes],
        log: Path,
        on_line: Callable[[str], None],
        lost: tuple[type[Exception], ...],
    ) -> None:
        """lost: what the stream raises when the engine is gone; the log then ends."""
        self._done = threading.Event()
        self._stream, self._log, self._on_line, self._lost = stream, log, on_line, lost
        threading.Thread(target=self._copy, name=f"log:{log.name}", daemon=True).start()

    def _copy(self) -> None:
        written, rest = 0, b""
        try:
            with self._log.open("ab", buffering=0) as out, contextlib.suppress(*self._lost):
                for chunk in self._stream:
                    if written < LOG_LIMIT:
                        out.write(chunk[: LOG_LIMIT - written])
                    written += len(chunk)
                    *lines, rest = (rest + chunk)[-(1 << 16) :].split(b"\n")
                    for line in lines[-200:]:
                        self._on_line(line.decode("utf-8", "replace"))
                if written > LOG_LIMIT:
                    out.write(b"\nlab: log cut here, %d bytes more were said\n" % (written - LOG_LIMIT))
        finally:
            self._done.set()

    def until_end(self, deadline: float, stop: threading.Event | None, kill: Callable[[], None]) -> Ending | None:
        """Wait until the output ends; kill at the deadline or when told to stop. Returns what we did, None if nothing."""
        ours: Ending | None = None
        while not self._done.wait(0.05):
            if ours is None and time.monotonic() > deadline:
                ours = Ending.DEADLINE
                kill()
            elif ours is None and stop is not None and stop.is_set():
                ours = Ending.INTERRUPTED
                kill()
        return ours
