"""`lab nightly`: a matrix' night: pin what moves, run what is new or was not judged, compare, try again what is not proven.

sources → which cells → session → comparison with earlier nights → further attempts → comparison → seen.json, night.json
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab.environment import source as sources
from lab.environment.cache import Holds
from lab.errors import ExitCode, LabError
from lab.events import Note, Sink
from lab.model import Cell, DirSource, GitSource, Outcome, Source
from lab.results import nights, store
from lab.results.comparison import Change, Comparison, Night, Observed, comparison
from lab.results.known import KnownIssue, Sorted, sorted_out
from lab.results.news import News, news
from lab.results.nights import NightCell, NightFacts, Revision
from lab.results.signature import Signature
from lab.settings import Settings
from lab.tables import Tables
from lab.use import session
from lab.use.coordinator import Options

WINDOW = 14
MORE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked. window: earlier nights that count. more: further attempts at most of a cell with something unproven.

    again: also what was judged before with the same inputs. on: a fleet that executes it, None for this machine.
    """

    matrix: Path
    name: str
    cells: tuple[Cell, ...]
    today: datetime.date
    known: tuple[KnownIssue, ...] = ()
    window: int = WINDOW
    more: int = MORE
    again: bool = False
    accel: str = "auto"
    on: Options | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A source as it is tonight. source: with what moves pinned. tree: key of its content, "" if it cannot be known."""

    source: Source
    tree: str
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a night came to. sessions: what was executed, the further attempts last. previous: names of the nights before."""

    run: str
    folder: Path
    night: NightFacts
    tonight: Night
    comparison: Comparison
    told: Sorted
    news: News
    previous: tuple[str, ...]
    sessions: tuple[session.Session, ...] = ()
    interrupted: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """How the process ends."""
        return ExitCode.INTERRUPTED if self.interrupted else self.news.exit_code


Runner = Callable[[session.Request, Settings, Tables, Sink, threading.Event], session.Session]
Resolve = Callable[[Source], Resolved]


def night(
    request: Request,
    settings: Settings,
    tables: Tables,
    sink: Sink,
    stop: threading.Event,
    *,
    runner: Runner = session.run,
    resolve: Resolve | None = None,
) -> Done:
    """Run a night and return what it says. A night of the same day that was broken off is gone on with.

    One night of a matrix at a time: another is a UsageError.
    runner, resolve: who executes cells and who pins sources; tests have their own.
    """
    with nights.alone(settings.results, request.name), Holds(settings) as holds:
        work = _Night(request, settings, tables, sink, stop, runner)
        work.open(resolve or _resolver(settings, sink, holds))
        work.execute()
        work.try_again()
        return work.close()


class _Night:
    """A night under way. Used by night() only."""

    def __init__(
        self, request: Request, settings: Settings, tables: Tables, sink: Sink, stop: threading.Event, runner: Runner
    ) -> None:
        self.request, self.settings, self.tables, self.sink, self.stop = request, settings, tables, sink, stop
        self.runner = runner
        self.results = settings.results
        self.sessions: list[session.Session] = []

    def open(self, resolve: Resolve) -> None:
        """Decide what is executed, and write it down."""
        day = self.request.today.isoformat()
        self.previous = nights.earlier(self.results, self.request.name, day, at_most=self.request.window)
        self.before = [nights.seen(self.results, run) for run in self.previous]
        self.run, under_way = nights.of_day(self.results, self.request.name, day)
        pinned, trees, revisions = self._pinned(resolve, under_way)
        if under_way is not None and self._changed(pinned):
            self._say(f"the matrix has changed since {self.run} was broken off: a new night")
            under_way = None
            pinned, trees, revisions = self._pinned(resolve, under_way)
        if under_way is None and (self.results / self.run).exists():
            self.run = store.untaken(self.results, nights.run_name(self.request.name, day))
        self.cells = {cell.id: cell for cell in pinned}
        carried = {} if self.request.again else self._judged_before()
        cells = []
        for cell in pinned:
            inputs = nights.inputs_of(cell, trees.get(cell.id, ""))
            cells.append(NightCell(cell=cell.id, inputs=inputs, run=carried.get((cell.id, inputs), self.run)))
        self.facts = NightFacts(
            matrix=self.request.name, day=day, cells=tuple(cells), revisions=revisions,
            further=under_way.further if under_way else (),
        )  # fmt: skip
        facts = session.facts_of(self.request.matrix, self.run, self._to_run())
        with store.open_run(self.results, facts) as opened:
            nights.write(opened.folder, self.facts)

    def _changed(self, cells: tuple[Cell, ...]) -> bool:
        """Whether a cell is not what it was in the earlier part of this night."""
        facts = store.read(store.RunFacts, self.results / self.run / "run.json")
        known = {cell.id: store.encoded(cell) for cell in facts.cells} if facts else {}
        return any(cell.id in known and known[cell.id] != store.encoded(cell) for cell in cells)

    def _say(self, text: str) -> None:
        self.sink(Note(at_s=time.time(), text=text))

    def _to_run(self) -> tuple[Cell, ...]:
        return tuple(self.cells[one.cell] for one in self.facts.cells if one.run == self.run)

    def _pinned(
        self, resolve: Resolve, under_way: NightFacts | None
    ) -> tuple[tuple[Cell, ...], dict[str, str], tuple[Revision, ...]]:
        """Return the cells with pinned sources, cell -> key of its tree, and the revisions.

        What an earlier part of this night pinned stays. A source that cannot be had leaves its cells as they are: they become
        ERROR, and the others are run.
        """
        facts = store.read(store.RunFacts, self.results / self.run / "run.json") if under_way else None
        of_earlier_part = {cell.id: cell.source for cell in facts.cells} if facts else {}
        known: dict[Source, Resolved] = {}
        cells, trees, revisions = [], {}, {}
        for cell in self.request.cells:
            source = _same_repository(of_earlier_part.get(cell.id), cell.source)
            if source not in known:
                try:
                    known[source] = resolve(source)
                except LabError as error:
                    self._say(f"source not at hand: {error.message}")
                    known[source] = Resolved(source=source, tree="")
            found = known[source]
            cells.append(replace(cell, source=found.source))
            trees[cell.id] = found.tree
            if found.words:
                name = cell.source.rev if isinstance(cell.source, GitSource) else dict(cell.axes).get("source", "")
                revisions[name] = Revision(source=name, revision=found.words)
        return tuple(cells), trees, tuple(revisions.values())

    def _judged_before(self) -> dict[tuple[str, str], str]:
        """Return (cell, inputs) -> the run that judged it."""
        found = {}
        for run, seen in zip(self.previous, self.before, strict=True):
            night = nights.read(self.results / run)
            for one in night.cells if night else ():
                told = seen.get(one.cell)
                if one.inputs and told is not None and (told.judged or told.outcome is Outcome.SKIP):
                    found[one.cell, one.inputs] = one.run
        return found

    def execute(self) -> None:
        """Run what is new or was not judged."""
        cells = self._to_run()
        kept = len(self.facts.cells) - len(cells)
        if kept:
            self.sink(
                Note(at_s=0.0, text=f"{kept} cells are as they were when they were judged, and are not run again")
            )
        self._run(cells, self.run)

    def _run(self, cells: tuple[Cell, ...], run: str) -> None:
        if cells and not self.stop.is_set():
            request = session.Request(
                matrix=self.request.matrix, name=self.request.name, cells=cells, run=run, accel=self.request.accel,
                on=self.request.on,
            )  # fmt: skip
            self.sessions.append(self.runner(request, self.settings, self.tables, self.sink, self.stop))

    def try_again(self) -> None:
        """Run cells in which something is not proven some more; the new attempts count beside the others, not instead."""
        wanted: dict[str, int] = {}
        found = comparison(self.before, self._seen())
        for one in sorted_out(found.of(Change.UNPROVEN, Change.GONE), self.request.known, self.request.today).rest:
            if one.more and not one.expected:
                wanted[one.cell] = max(wanted.get(one.cell, 0), min(one.more, self.request.more))
        cells = tuple(replace(self.cells[cell], repeat=number, until=None) for cell, number in wanted.items() if number)
        if not cells or self.stop.is_set():
            return
        self._say(f"{len(cells)} cells show what chance may have done: further attempts")
        further = store.untaken(self.results, nights.further_name(self.run))
        self.facts = replace(self.facts, further=(*self.facts.further, further))
        nights.write(self.results / self.run, self.facts)
        self._run(cells, further)

    def _seen(self) -> dict[str, Observed]:
        return nights.observed_night(self.results, self.run, self.facts)

    def close(self) -> Done:
        """Say what the night came to; if nobody stopped it, it is finished."""
        tonight = self._seen()
        interrupted = self.stop.is_set()
        folder = self.results / self.run
        if not interrupted:
            nights.keep_seen(folder, tonight)
            self.facts = replace(self.facts, finished=True)
            nights.write(folder, self.facts)
        found = comparison(self.before, tonight)
        told = sorted_out(found.differences, self.request.known, self.request.today, _signatures(self.before))
        return Done(
            run=self.run, folder=folder, night=self.facts, tonight=tonight, comparison=found, told=told,
            news=news(found, told, tonight), previous=self.previous, sessions=tuple(self.sessions),
            interrupted=interrupted,
        )  # fmt: skip


def _signatures(before: Sequence[Night]) -> set[tuple[str, Signature]]:
    return {(one.cell, fault.signature) for night in before for one in night.values() for fault in one.faults}


def _same_repository(before: Source | None, now: Source) -> Source:
    """Return what an earlier part of the night pinned, if the matrix still names that repository."""
    same = isinstance(before, GitSource) and isinstance(now, GitSource) and before.repository == now.repository
    return before if same and before is not None else now


def _resolver(settings: Settings, sink: Sink, holds: Holds) -> Resolve:
    """Return what pins a source by fetching it. A folder may change at any time: what is in it is not known."""

    def resolve(source: Source) -> Resolved:
        if isinstance(source, DirSource):
            return Resolved(source=source, tree="")
        tree = sources.prepare(source, settings, lambda text: sink(Note(at_s=time.time(), text=text)), holds)
        if isinstance(source, GitSource):
            return Resolved(source=replace(source, rev=tree.commit), tree=tree.key, words=tree.commit)
        return Resolved(source=source, tree=tree.key, words=tree.origin)

    return resolve
