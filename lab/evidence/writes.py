"""The order of writes: what the watcher of the output filesystem noted while the build ran.

writes.tsv: "t_ns<TAB>letters<TAB>escaped path" an event, in order. Letters: C created, W closed after writing, A attributes
(touch, chmod), M moved to this name; Q with an empty path: the queue ran over, events are missing. t_ns is when the event
was *seen*: never before it happened, usually some milliseconds later. It says in which order things happened; the exact
time is the file's own, where that still exists.
Source: fanotify(7), FAN_REPORT_DFID_NAME.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from lab.evidence.paths import unescape
from lab.evidence.text import numbered_lines

MAX_EVENTS = 20_000_000


class Write(NamedTuple):
    """One event. time_ns: since the epoch, when seen. letters: of C, W, A, M."""

    time_ns: int
    letters: str
    path: str


def read_writes(path: Path | None) -> tuple[Write, ...] | None:
    """Return the events in the order of their times; None if there is no record. Malformed lines are passed over."""
    if path is None:
        return None
    events: list[Write] = []
    known: dict[str, str] = {}  # a file is written many times; keep its name once
    for _, line in numbered_lines(path):
        fields = line.decode("utf-8", "surrogateescape").split("\t")
        if len(fields) != 3 or not fields[0].isascii() or not fields[0].isdigit() or len(fields[0]) > 19:
            continue
        name = known.setdefault(fields[2], unescape(fields[2]))
        events.append(Write(int(fields[0]), fields[1][:8], name))
        if len(events) >= MAX_EVENTS:
            break
    events.sort(key=lambda event: event.time_ns)
    return tuple(events)


def has_gap(writes: tuple[Write, ...]) -> bool:
    """Whether events are missing: what was not seen cannot be put in order."""
    return any("Q" in event.letters for event in writes)


def times_of_changes(writes: tuple[Write, ...]) -> dict[str, list[int]]:
    """Return path -> times at which it may have changed, ascending. A move counts: it brings new content under the name."""
    times: dict[str, list[int]] = defaultdict(list)
    for event in writes:
        times[event.path].append(event.time_ns)
    return dict(times)
