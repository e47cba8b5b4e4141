"""`lab index …`: the index of the runs under results/, opened; and brought up to date by who has just finished a run."""

from __future__ import annotations

import time

from lab.errors import LabError
from lab.events import Note, Sink
from lab.results import questions
from lab.results.index import Index
from lab.settings import Settings

__all__ = ["opened", "questions", "update"]


def opened(settings: Settings) -> Index:
    """Return the index, made if it is not there. Raises UsageError for a URL that is none, EnvironmentFault."""
    return Index(settings.results, settings.index)


def update(settings: Settings, sink: Sink) -> None:
    """Bring the index up to date; that it cannot be is told and harms nothing, the folders have it all."""
    try:
        index = opened(settings)
        index.grow()
        index.close()
    except LabError as error:
        sink(Note(at_s=time.time(), text=f"the index was not brought up to date: {error.message}"))
