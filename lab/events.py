"""What the effectful rooms say while they work: frozen events, given to a Sink that was passed in.

Live display, log file and tests are receivers of the same stream. An event is a fact that has happened; nobody answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lab.model import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """at_s: seconds since the epoch, from the run's clock."""

    at_s: float = field(default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run began, or was taken up again. cells: ids in matrix order; finished: those whose results are reused."""

    run: str
    cells: tuple[str, ...]
    finished: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted(Event):
    """A job left the queue. key: unique in the run; title: for people; cell: "" for shared work (image, source)."""

    key: str
    title: str
    cell: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress(Event):
    """A job came further. step: "configure", "build", …; detail: its newest line; fraction: 0 … 1, or None if unknown."""

    key: str
    step: str
    detail: str = ""
    fraction: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFinished(Event):
    """A job ended. error: "" if it did its work (a FAIL of the kernel is work done), else one line."""

    key: str
    title: str
    cell: str = ""
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CellJudged(Event):
    """A cell has its verdict."""

    cell: str
    outcome: Outcome
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Event):
    """One line for the reader, such as what is about to be changed on the host."""

    text: str


Sink = Callable[[Event], None]


def silent(event: Event) -> None:
    """Take every event and say nothing: the Sink of tests and of library callers that do not listen."""
