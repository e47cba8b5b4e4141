"""The live view: one Sink. On a terminal a few lines that change, elsewhere one plain line for each thing that happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lab.events import CellJudged, Event, JobFinished, JobProgress, JobStarted, Note, RunStarted, Sink
from lab.model import Outcome
from lab.report.plain import duration, one_line
from lab.report.text import STYLES

RUNNING_LINES_AT_MOST = 8
UNEXPECTED = (Outcome.FAIL, Outcome.XPASS, Outcome.ERROR, Outcome.MISS)


@dataclass(slots=True, kw_only=True)
class Running:
    """A Job that runs. since_s: on the view's clock."""

    title: str
    cell: str
    since_s: float
    step: str = ""
    detail: str = ""
    fraction: float | None = None


@dataclass(slots=True, kw_only=True)
class Progress:
    """What the events so far amount to. history: seconds by Job key, of earlier runs."""

    history: Mapping[str, float] = field(default_factory=dict)
    cells: int = 0
    reused: frozenset[str] = frozenset()
    judged: dict[str, Outcome] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    taken_s: list[float] = field(default_factory=list)
    lanes: int = 1

    def apply(self, event: Event, now_s: float) -> None:
        """Take one event into account."""
        if isinstance(event, RunStarted):
            self.cells = len(event.cells)
            self.reused = frozenset(event.finished)
        elif isinstance(event, JobStarted):
            self.running[event.key] = Running(title=event.title, cell=event.cell, since_s=now_s)
            self.lanes = max(self.lanes, sum(1 for job in self.running.values() if job.cell))
        elif isinstance(event, JobProgress) and event.key in self.running:
            job = self.running[event.key]
            job.step, job.detail, job.fraction = event.step, event.detail, event.fraction
        elif isinstance(event, JobFinished):
            self.running.pop(event.key, None)
            if event.cell and not event.error:
                self.taken_s.append(event.seconds)
        elif isinstance(event, CellJudged):
            self.judged[event.cell] = event.outcome

    @property
    def done(self) -> int:
        """Cells that have a verdict, of this time or before."""
        return len(self.reused | self.judged.keys())

    @property
    def unexpected(self) -> int:
        """Cells whose verdict needs a look."""
        return sum(1 for outcome in self.judged.values() if outcome in UNEXPECTED)

    def estimate_s(self, now_s: float) -> float | None:
        """Return the seconds that are left, or None if nothing like this was done before, now or in an earlier run.

        Cells that wait are taken to last as long as those that are known do on average, on as many lanes as were ever used.
        """
        known = self.taken_s or [seconds for key, seconds in self.history.items() if key.startswith("attempt:")]
        if not known:
            return None
        usual_s = fmean(known)
        rest = [
            max(0.0, self.history.get(key, usual_s) - (now_s - job.since_s))
            for key, job in self.running.items()
            if job.cell
        ]
        waiting = max(0, self.cells - self.done - len({job.cell for job in self.running.values() if job.cell}))
        return max([(sum(rest) + waiting * usual_s) / self.lanes, *rest])

    def summary(self, now_s: float) -> str:
        """Return the state in one line."""
        left_s = self.estimate_s(now_s)
        words = [
            f"{self.done} of {self.cells} cells done",
            f"{self.unexpected} to look at",
            f"{len(self.running)} running",
        ]
        if left_s is not None and self.done < self.cells:
            words.append(f"about {duration(left_s)} left")
        return ", ".join(words)


@contextmanager
def live(
    stream: TextIO,
    *,
    terminal: bool,
    colour: bool,
    history: Mapping[str, float] | None = None,
    clock: Callable[[], float] = time.monotonic,
    width: int | None = None,
) -> Iterator[Sink]:
    """Give a Sink that shows what happens on a stream; any thread may call it. It never raises because the reader is gone.

    terminal: whether lines may be redrawn. colour: whether words may be coloured (they are words without it too).
    history: seconds by Job key. clock: seconds, monotonic.
    """
    view = View(stream, progress=Progress(history=history or {}), terminal=terminal, colour=colour, clock=clock)
    if width:
        view.console.width = width
    if not terminal:
        yield view
        return
    with Live(get_renderable=view.drawing, console=view.console, refresh_per_second=4, transient=True):
        yield view


class Patient:
    """A stream that may go away, a pipe or a terminal that hangs up (EIO): what is written from then on is written to nobody.

    Rich's own answer to a broken pipe is to exit with 1, which is the kernel's.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if somebody reads."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if somebody reads."""
        with suppress(OSError, ValueError):
            self._stream.flush()


class View:
    """A Sink that prints lines for what has happened and can draw what is happening."""

    def __init__(
        self, stream: TextIO, *, progress: Progress, terminal: bool, colour: bool, clock: Callable[[], float]
    ) -> None:
        self.progress = progress
        self.clock = clock
        self.begun_s = clock()
        self.lock = threading.Lock()
        self.console = Console(
            file=cast(TextIO, Patient(stream)),
            force_terminal=terminal or colour,
            no_color=not colour,
            color_system="standard" if colour else None,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )

    def __call__(self, event: Event) -> None:
        """Take an event."""
        with self.lock:
            now_s = self.clock()
            line = self.line_for(event, now_s)
            self.progress.apply(event, now_s)
            if line is not None:
                self.console.print(line, soft_wrap=True)

    def line_for(self, event: Event, now_s: float) -> Text | None:
        """Return the line that tells an event, or None if it is told by the drawing alone."""
        text = Text().append(f"[{clock_face(now_s - self.begun_s)}] ", "dim")
        match event:
            case RunStarted():
                again = f", {len(event.finished)} of them finished before" if event.finished else ""
                return text.append(f"run {one_line(event.run)}: {len(event.cells)} cells{again}", "bold")
            case CellJudged():
                text.append(f"{event.outcome:<5}", STYLES[event.outcome])
                return text.append(f" {one_line(event.cell)}  {one_line(event.reason)}")
            case JobStarted():
                return text.append(f"begin {one_line(event.title)}")
            case JobFinished() if event.error:
                return text.append(f"lost  {one_line(event.title)}: {one_line(event.error)}", STYLES[Outcome.ERROR])
            case JobFinished() if not event.cell:
                return text.append(f"ready {one_line(event.title)} ({duration(event.seconds)})")
            case JobProgress():
                job = self.progress.running.get(event.key)
                if job is None or job.step == event.step:
                    return None
                return text.append(f"{one_line(event.step):<9} {one_line(job.title)}", "dim")
            case Note():
                return text.append(one_line(event.text, at_most=2000))
        return None

    def drawing(self) -> Text:
        """Return what is happening: a line of numbers, then a line for each of the first running Jobs."""
        with self.lock:
            now_s = self.clock()
            lines = [Text(self.progress.summary(now_s), "bold")]
            running = list(self.progress.running.values())
            lines += [Text(running_line(job, now_s)) for job in running[:RUNNING_LINES_AT_MOST]]
            if len(running) > RUNNING_LINES_AT_MOST:
                lines.append(Text(f"  … and {len(running) - RUNNING_LINES_AT_MOST} more", "dim"))
        return Text("\n", no_wrap=True, overflow="ellipsis").join(lines)


def running_line(job: Running, now_s: float) -> str:
    """Return what a Job does now, in one line."""
    part = f" {job.fraction:.0%}" if job.fraction is not None and 0 <= job.fraction <= 1 else ""
    step = f"  {one_line(job.step)}{part}" if job.step else ""
    detail = f"  {one_line(job.detail, at_most=200)}" if job.detail else ""
    return f"  {clock_face(now_s - job.since_s)}  {one_line(job.title)}{step}{detail}"


def clock_face(seconds: float) -> str:
    """Return seconds as mm:ss, or h:mm:ss from an hour on."""
    whole = max(0, int(seconds))
    minutes = f"{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 3600}:{minutes}" if whole >= 3600 else minutes
