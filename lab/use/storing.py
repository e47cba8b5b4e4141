"""`lab store …`: finished attempts copied to a store and back, and evidence taken away by a rule."""

from __future__ import annotations

import time

from lab.errors import LabError, UsageError
from lab.events import Note, Sink
from lab.results import store, thinning
from lab.results.objects import Moved, Objects
from lab.results.retention import Keep
from lab.settings import Settings

__all__ = ["Keep", "Moved", "at", "copy", "put", "thin"]


def at(settings: Settings) -> Objects:
    """Return the store that the settings name. Raises UsageError if they name none."""
    if not settings.store:
        raise UsageError("no store is named", hint="set LAB_STORE to a URL: file:///srv/store, s3://bucket/lab")
    return Objects(settings.store)


def put(run: str, keep: Keep, settings: Settings) -> Moved:
    """Copy a run's finished attempts into the store. Raises UsageError if there is no such run."""
    folder = settings.results / run
    if not (folder / "run.json").is_file():
        raise UsageError(f"no run {run!r} under '{settings.results}'")
    return at(settings).put_run(folder.resolve(), keep)


def copy(runs: tuple[str, ...], settings: Settings, sink: Sink) -> None:
    """Copy runs into the store if the settings name one; that it cannot be done is told and harms nothing."""
    for run in runs if settings.store else ():
        try:
            put(run, Keep.ALL, settings)
        except LabError as error:
            sink(Note(at_s=time.time(), text=f"run {run} was not copied to the store: {error.message}"))


def thin(run: str, keep: Keep, settings: Settings) -> tuple[int, int]:
    """Take away what a rule does not keep of a run; return (files, bytes). Raises UsageError while somebody works in it."""
    facts = store.read(store.RunFacts, settings.results / run / "run.json")
    if facts is None:
        raise UsageError(f"no run {run!r} under '{settings.results}'")
    folder = (settings.results / run).resolve()
    lock = store.locked(folder)
    with store.Run(folder, facts, lock):
        return thinning.thin(folder, keep)
