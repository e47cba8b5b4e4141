"""A container's output, followed while it runs: into a file, line by line to whoever listens, with a deadline.

What a log may take is bounded, on disk and in memory: of a longer one the head and the tail are kept, and a line between
them says how much was dropped. The last lines are what a kernel's end is judged by.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.model import Ending

TAIL_BYTES = 4 << 20  # at most, and at most a quarter of the whole
PIECE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a step may take, how long it may be silent, and what its log may take.

    deadline: by time.monotonic(). silence_s: seconds without a byte after which it is ended, 0: no limit. log_bytes: on disk.
    """

    deadline: float
    silence_s: float = 0.0
    log_bytes: int


class LogReader:
    """Copies a container's output into a file on a thread of its own and tells each line once.

    dropped, silent_s: bytes that the log has not, and seconds since the last word, once until_end() has returned. trouble: what
    ended the following before its time, a disk or a bug: whoever goes on then judges by half a log.
    """

    def __init__(
        self,
        stream: Iterator[bytes],
        log: Path,
        on_line: Callable[[str], None],
        lost: tuple[type[Exception], ...],
        limits: Limits,
    ) -> None:
        """lost: what the stream raises when the engine is gone; the log then ends."""
        self._done = threading.Event()
        self._stream, self._log, self._on_line, self._lost, self._limits = stream, log, on_line, lost, limits
        self._heard = time.monotonic()
        self.dropped, self.silent_s = 0, 0.0
        self.trouble: Exception | None = None
        threading.Thread(target=self._copy, name=f"log:{log.name}", daemon=True).start()

    def _copy(self) -> None:
        tail = _Tail(min(TAIL_BYTES, self._limits.log_bytes // 4))
        room, rest = self._limits.log_bytes - tail.limit, b""
        try:
            with self._log.open("ab", buffering=0) as out:
                try:
                    for chunk in self._chunks():
                        self._heard = time.monotonic()
                        write_all(out, chunk[:room])
                        tail.add(chunk[room:])
                        room -= min(room, len(chunk))
                        *lines, rest = (rest + chunk)[-PIECE_BYTES:].split(b"\n")
                        self._tell(lines[-200:])
                finally:
                    write_all(out, tail.text())
                    self.dropped = tail.dropped
        except Exception as error:  # also what a listener raises: nobody else would hear of it on this thread
            self.trouble = error
        finally:
            self._done.set()

    def _chunks(self) -> Iterator[bytes]:
        with contextlib.suppress(*self._lost):
            yield from self._stream

    def _tell(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            with contextlib.suppress(OSError):  # who listens may have gone away
                self._on_line(line.decode("utf-8", "replace"))

    def until_end(self, stop: threading.Event | None, kill: Callable[[], None]) -> tuple[Ending | None, str]:
        """Wait until the output ends; kill at a limit or when told to stop. Returns what we did, None if nothing, and why."""
        ours: Ending | None = None
        why = ""
        while not self._done.wait(0.05):
            if ours is not None:
                continue
            now, silence_s = time.monotonic(), self._limits.silence_s
            if now > self._limits.deadline:
                ours = Ending.DEADLINE
            elif silence_s and now - self._heard > silence_s:
                ours, why = Ending.DEADLINE, f"it had said nothing for {silence_s:g} s"
            elif stop is not None and stop.is_set():
                ours = Ending.INTERRUPTED
            if ours is not None:
                self.silent_s = round(now - self._heard, 3)
                kill()
        if ours is None:
            self.silent_s = round(time.monotonic() - self._heard, 3)
        return ours, why


def write_all(out: io.FileIO, data: bytes) -> None:
    """Write all of it: a disk that is nearly full takes a part and says nothing. Source: write(2)."""
    left = memoryview(data)
    while left:
        left = left[out.write(left) :]


class _Tail:
    """The newest bytes of a stream, no more than `limit`, and how many went before them."""

    def __init__(self, limit: int) -> None:
        self.limit, self.dropped = limit, 0
        self._pieces: deque[bytes] = deque()
        self._bytes = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes; the oldest go."""
        for at in range(0, len(data), PIECE_BYTES):
            piece = data[at : at + PIECE_BYTES]
            self._pieces.append(piece)
            self._bytes += len(piece)
            while self._bytes - len(self._pieces[0]) >= self.limit:
                self._bytes -= len(self._pieces[0])
                self.dropped += len(self._pieces.popleft())

    def text(self) -> bytes:
        """Return what follows the head in the log; it begins with a line, and one that says what was dropped, if any was."""
        data = b"".join(self._pieces)
        if not self.dropped:
            return data
        cut = max(0, len(data) - self.limit)
        cut = data.find(b"\n", cut, cut + PIECE_BYTES) + 1 or cut
        self.dropped += cut
        return b"\nlab: %d bytes were dropped here\n" % self.dropped + data[cut:]
