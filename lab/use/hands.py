"""Who makes the attempts of a bisection: this machine, from nothing or on top of what a worker has built last, or a fleet."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator

from lab.environment import engine as engines
from lab.environment import filesystem
from lab.environment.worktree import Worktree
from lab.events import Sink
from lab.model import AttemptResult, Cell
from lab.plan import jobs as plan
from lab.plan.schedule import work_off
from lab.results import store
from lab.settings import Settings
from lab.tables import Tables
from lab.use.crew import Crew, pools

Make = Callable[[Cell, int], AttemptResult | None]
"""Executes a cell once, under a number, in the bisection's run; None if it was interrupted. Raises what kept it from that."""


class Here:
    """Makes attempts on this machine: images and sources first, if they are not there."""

    def __init__(
        self, settings: Settings, tables: Tables, engine: engines.Engine, sink: Sink, stop: threading.Event,
        opened: store.Run, accel: str,
    ) -> None:  # fmt: skip
        self.settings, self.tables, self.engine, self.sink = settings, tables, engine, sink
        self.stop, self.opened, self.accel = stop, opened, accel

    def __call__(self, cell: Cell, number: int, worktree: Worktree | None = None) -> AttemptResult | None:
        """Make an attempt, as Make does. worktree: it is built there, on top of what was built there last."""
        crew = Crew([cell], self.settings, self.tables, self.engine, self.sink, self.stop, self.opened, self.accel)
        crew.worktree = worktree
        with crew.holds:
            for error in crew.look({}, (), at=lambda cell: True)[1].values():
                raise error
            crew.share()
            job = plan.attempt_job(cell, number, (), ())
            end = work_off([job], crew.do, pools=pools(self.settings), sink=self.sink, stop=self.stop)[job.key]
        if end.error is not None:
            raise end.error
        return end.value


@contextlib.contextmanager
def on_top(
    here: Here, workers: int, whole: Callable[[], bool], telling: Callable[[AttemptResult], bool]
) -> Iterator[Make]:
    """Yield what builds on top of what the same worker has built last, while that is not to be from nothing.

    whole: whether it is, now. telling: whether an attempt says something of the fault in question; one that does not, because
    another fault came first, may owe that to the build before it and is made again from nothing. Worktrees are scratch folders:
    they go at the end, or after a kill with the next sweep.
    """
    free = queue.SimpleQueue[Worktree]()
    with contextlib.ExitStack() as stack:
        for number in range(workers):
            name = f"{here.opened.facts.run}-worktree-{number}-{os.getpid()}"
            place = stack.enter_context(
                filesystem.scratch(name, here.settings, here.engine, "")
            )  # nothing is mounted there
            free.put(Worktree(place.folder))

        def made(cell: Cell, number: int) -> AttemptResult | None:
            if whole():
                return here(cell, number)
            worktree = free.get()
            try:
                done = here(cell, number, worktree)
                if done is None or telling(done) or here.stop.is_set():
                    return done
                worktree.forget()
            finally:
                free.put(worktree)
            return here(cell, number)

        yield made
