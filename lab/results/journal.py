"""journal.jsonl: what a bisection has seen, one JSON object a line, in the order in which it happened. Only appended to.

Each line is on the disk before anything follows from it. A process that was killed may leave half a line at the end: it counts
as never written, and the next append begins on a line of its own. Everything else of a bisection is computed from this file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.results import store
from lab.results.disk import disk_fault

NAME = "journal.jsonl"
LARGEST = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One test, or one word of somebody.

    place: full commit, or "revert:COMMIT" for the bad end without it. number: counts from 1 at its place, 0 for a mark.
    verdict: failed, sound, other (it failed otherwise), untestable, error (the lab's trouble); of a mark: bad, good, skip.
    build_s: 0 if the kernel was at hand. identity: of what was tested, the same for places whose kernels are the same.
    """

    place: str
    number: int
    verdict: str
    seconds: float = 0.0
    build_s: float = 0.0
    reason: str = ""
    identity: str = ""
    at: str = ""


VERDICTS = ("failed", "sound", "other", "untestable", "error")
MARKS = ("bad", "good", "skip")


def append(path: Path, entry: Entry) -> None:
    """Write one line and wait until it is on the disk. Raises EnvironmentFault."""
    line = json.dumps({key: value for key, value in asdict(entry).items() if value not in ("", 0.0)}, ensure_ascii=True)
    try:
        with path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            torn = False
            if end:
                file.seek(end - 1)
                torn = file.read(1) != b"\n"
            file.write(b"\n" * torn + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise disk_fault(error, path) from error


def read(path: Path) -> tuple[Entry, ...]:
    """Return all whole lines. What is no entry (torn, edited badly) is passed over; at most LARGEST bytes are read."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise disk_fault(error, path) from error
    return tuple(entry for line in raw.split(b"\n") if (entry := _entry(line)) is not None)


def _entry(line: bytes) -> Entry | None:
    try:
        found: Any = json.loads(line)
        entry: Entry = store.adapter(Entry).validate_python({"number": 0, **found})
    except (ValueError, TypeError, RecursionError):  # pydantic's is a ValueError
        return None
    known = MARKS if entry.number == 0 else VERDICTS
    return entry if entry.verdict in known and entry.number >= 0 else None
