"""The order of writes: what the watcher of the output filesystem noted while the build ran.

writes.tsv: "t_ns<TAB>letters<TAB>escaped path" an event, in order. Letters: C created, W closed after writing, A attributes
(touch, chmod), M moved to this name; Q with an empty path: the queue ran over, events are missing. t_ns is when the event
was *seen*: never before it happened, usually some milliseconds later. It says in which order things happened; the exact
time is the file's own, where that still exists.
Source: fanotify(7), FAN_REPORT_DFID_NAME.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from lab.evidence.paths import unescape
from lab.evidence.text import numbered_lines

WRITES = "writes.tsv"
MAX_EVENTS = 20_000_000
# The recorder reads events in batches and stamps each batch; nothing but a clock that was set back turns times round by more.
STEP_BACK_NS = 100_000_000
MIN_DATED = 8


class Write(NamedTuple):
    """One event. time_ns: since the epoch, when seen, and never before that of an earlier event. letters: of C, W, A, M."""

    time_ns: int
    letters: str
    path: str


class StepBack(NamedTuple):
    """The clock was set back while writes were recorded. line: of writes.tsv, from 1, the first event afterwards."""

    line: int
    before_ns: int
    after_ns: int


def read_writes(path: Path | None) -> tuple[Write, ...] | None:
    """Return the events in the order of their times; None if there is no record. Malformed lines are passed over.

    After a step back (see steps_back()) the clock is counted on as if it had stood still: the order is what counts.
    """
    if path is None:
        return None
    events: list[Write] = []
    known: dict[str, str] = {}  # a file is written many times; keep its name once
    latest_ns = lag_ns = 0
    for _, seen_ns, line in _events(path):
        fields = line.split("\t")
        if len(fields) != 3:
            continue
        if seen_ns + lag_ns < latest_ns - STEP_BACK_NS:
            lag_ns = latest_ns + 1 - seen_ns
        latest_ns = max(latest_ns, seen_ns + lag_ns)
        name = known.setdefault(fields[2], unescape(fields[2]))
        events.append(Write(seen_ns + lag_ns, fields[1][:8], name))
        if len(events) >= MAX_EVENTS:
            break
    events.sort(key=lambda event: event.time_ns)
    return tuple(events)


def steps_back(path: Path | None) -> tuple[StepBack, ...]:
    """Return where the clock was set back by more than STEP_BACK_NS while the writes were recorded, in order."""
    found: list[StepBack] = []
    latest_ns = 0
    for number, seen_ns, _ in _events(path):
        if seen_ns < latest_ns - STEP_BACK_NS:
            found.append(StepBack(number, latest_ns, seen_ns))
            latest_ns = seen_ns
        latest_ns = max(latest_ns, seen_ns)
    return tuple(found)


def _events(path: Path | None) -> Iterator[tuple[int, int, str]]:
    """Yield (line number, time, line) of each line that begins with a time."""
    for number, raw in numbered_lines(path):
        line = raw.decode("utf-8", "surrogateescape")
        time, _, _ = line.partition("\t")
        if time.isascii() and time.isdigit() and len(time) <= 19:
            yield number, int(time), line


def add_gap(path: Path) -> None:
    """Note at the end of a record that events are missing from here on. Raises OSError if that cannot be written.

    At the time of the last event: another one would be taken for a clock that was set.
    """
    last_ns = max((seen_ns for _, seen_ns, _ in _events(path)), default=0)
    with path.open("ab") as file:
        file.write(b"\n%d\tQ\t\n" % last_ns)


def has_gap(writes: tuple[Write, ...]) -> bool:
    """Whether events are missing: what was not seen cannot be put in order."""
    return any("Q" in event.letters for event in writes)


def times_of_changes(writes: tuple[Write, ...]) -> dict[str, list[int]]:
    """Return path -> times at which it may have changed, ascending. A move counts: it brings new content under the name."""
    times: dict[str, list[int]] = defaultdict(list)
    for event in writes:
        times[event.path].append(event.time_ns)
    return dict(times)


def lag_ns(writes: tuple[Write, ...], times: Mapping[str, int]) -> int | None:
    """Return by how much the watcher's clock is ahead of the one that dates files (below 0: behind); None if unknown.

    The median over the files that were last seen closed after writing and not moved: a file keeps its time when it is moved,
    and some are given another (touch -r). A record of fewer than MIN_DATED such files says nothing.
    """
    last = {event.path: event for event in writes}
    apart = [
        event.time_ns - times[path]
        for path, event in last.items()
        if path in times and "W" in event.letters and "M" not in event.letters
    ]
    return round(median(apart)) if len(apart) >= MIN_DATED else None
