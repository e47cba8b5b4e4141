"""Questions over time, answered by the index: a cell's nights, findings, rates, what was not judged."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lab.model import Outcome, Rate
from lab.plan import statistics
from lab.results.brief import Verdict, ordered
from lab.results.index import Index, stamp_of
from lab.results.index_tables import CELLS, FAULTS, RESULTS, RUNS, SIGNATURES, SPANS, reading, snapshot
from lab.results.signature import Signature

NOT_JUDGED = (str(Outcome.ERROR), str(Outcome.MISS))


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRun:
    """A cell in one run. judged, lost: attempts; carried: not executed, as it had been judged with the same inputs."""

    run: str
    day: str
    cell: str
    outcome: str
    reason: str
    judged: int
    lost: int
    carried: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRun:
    """A run of which the index can tell what its folder says. called, file: its name and its matrix' as run.json has them.

    ask: cells that only the folder can tell of: what it says is cut, has further attempts added, or is not there.
    """

    name: str
    called: str
    file: str
    started_at_s: float
    ask: tuple[str, ...]
    stamp: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A fault over all runs. first_day, first_run, last_day, last_run: when it was seen. cells: how many; runs: in how many
    results of a cell."""

    signature: Signature
    first_day: str
    first_run: str
    last_day: str
    last_run: str
    cells: int
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRate:
    """How often a fault was found in a cell, in the runs that were asked about."""

    cell: str
    signature: Signature
    rate: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A run: how many cells have each outcome."""

    run: str
    day: str
    night: bool
    outcomes: dict[str, int]


def matrices(index: Index) -> tuple[str, ...]:
    """Return the names of all matrices that have runs."""
    with reading(index.engine) as connection:
        return tuple(connection.execute(sa.select(RUNS.c.matrix).distinct().order_by(RUNS.c.matrix)).scalars())


def latest(index: Index, matrix: str, *, at_most: int, nights: bool = False) -> tuple[str, ...]:
    """Return the names of a matrix' newest runs, the oldest first. nights: only those that are nights."""
    query = sa.select(RUNS.c.name).where(RUNS.c.matrix == matrix)
    if nights:
        query = query.where(RUNS.c.night)
    newest = query.order_by(RUNS.c.day.desc(), RUNS.c.started_at_s.desc(), RUNS.c.name.desc()).limit(at_most)
    with reading(index.engine) as connection:
        return tuple(reversed(list(connection.execute(newest).scalars())))


def history(index: Index, cell: str, *, matrix: str = "", at_most: int = 60) -> tuple[CellRun, ...]:
    """Return what became of a cell in the newest runs, the oldest first."""
    query = _cell_runs().where(CELLS.c.name == cell)
    if matrix:
        query = query.where(RUNS.c.matrix == matrix)
    newest = query.order_by(RUNS.c.day.desc(), RUNS.c.started_at_s.desc(), RUNS.c.name.desc()).limit(at_most)
    with reading(index.engine) as connection:
        return tuple(reversed(_typed(connection.execute(newest))))


def grid(index: Index, run: str) -> tuple[CellRun, ...]:
    """Return every cell of a run, by name."""
    with reading(index.engine) as connection:
        number = connection.execute(sa.select(RUNS.c.id).where(RUNS.c.name == run)).scalar()
        query = _cell_runs().where(RESULTS.c.run == number).order_by(CELLS.c.name)
        return tuple(_typed(connection.execute(query)))


def kept(index: Index, results: Path) -> dict[str, KeptRun]:
    """Return, by name, the runs of which the index has what their folders under `results` say now."""
    columns = (RUNS.c.name, RUNS.c.called, RUNS.c.file, RUNS.c.started_at_s, RUNS.c.ask, RUNS.c.stamp)
    with reading(index.engine) as connection:
        rows = connection.execute(sa.select(*columns)).all()
    return {
        name: KeptRun(name=name, called=called, file=file, started_at_s=at_s, ask=tuple(json.loads(ask)), stamp=stamp)
        for name, called, file, at_s, ask, stamp in rows
        if stamp == stamp_of(results / name)
    }


def verdicts(index: Index, run: KeptRun) -> dict[str, Verdict] | None:
    """Return the verdicts of a run's cells but for those in `ask`, as brief.verdict_in() reads them; None if it has changed."""
    query = (
        sa.select(CELLS.c.name, RESULTS.c.outcome, RESULTS.c.reason, RESULTS.c.seconds, RESULTS.c.found)
        .join(CELLS, CELLS.c.id == RESULTS.c.cell)
        .where(RESULTS.c.own)
    )
    named = sa.select(RUNS.c.id).where(RUNS.c.name == run.name, RUNS.c.stamp == run.stamp)
    with snapshot(index.engine) as connection:
        number = connection.execute(named).scalar()
        if number is None:
            return None
        rows = connection.execute(query.where(RESULTS.c.run == number)).all()
        found = _signatures(connection, {keys for *_, keys in rows})
    reasons: dict[str, str] = {}  # most cells of a run have one of few: kept once
    return {
        cell: Verdict(
            outcome=Outcome(outcome), reason=reasons.setdefault(reason, reason), seconds=seconds, found=found[keys]
        )
        for cell, outcome, reason, seconds, keys in rows
    }


def _signatures(connection: sa.Connection, some: set[str]) -> dict[str, tuple[Signature, ...]]:
    """Return the signatures of each text of keys."""
    wanted = sorted({key for keys in some for key in keys.split()})
    known: dict[str, Signature] = {}
    for at in range(0, len(wanted), 500):
        chosen = SIGNATURES.c.key.in_(wanted[at : at + 500])
        for key, *words in connection.execute(sa.select(SIGNATURES.c.key, *_signature_columns()).where(chosen)):
            known[key] = Signature(**dict(zip(("id", "blame", "function", "title"), words, strict=True)))
    return {keys: ordered(known[key] for key in keys.split()) for keys in some}


def not_judged(index: Index, runs: tuple[str, ...]) -> tuple[CellRun, ...]:
    """Return the cells that were ERROR or MISS in some runs, newest run first."""
    query = _cell_runs().where(RUNS.c.name.in_(runs), RESULTS.c.outcome.in_(NOT_JUDGED))
    with reading(index.engine) as connection:
        ordered = query.order_by(RUNS.c.day.desc(), RUNS.c.name.desc(), CELLS.c.name)
        return tuple(_typed(connection.execute(ordered)))


def overviews(index: Index, runs: tuple[str, ...]) -> tuple[Overview, ...]:
    """Return how many cells had each outcome in some runs, in their order."""
    query = (
        sa.select(RUNS.c.name, RUNS.c.day, RUNS.c.night, RESULTS.c.outcome, sa.func.count())
        .join(RESULTS, RESULTS.c.run == RUNS.c.id)
        .where(RUNS.c.name.in_(runs))
        .group_by(RUNS.c.name, RUNS.c.day, RUNS.c.night, RESULTS.c.outcome)
    )
    found: dict[str, Overview] = {}
    with reading(index.engine) as connection:
        for name, day, night, outcome, count in connection.execute(query):
            one = found.setdefault(name, Overview(run=name, day=day, night=bool(night), outcomes={}))
            one.outcomes[outcome] = count
    return tuple(found[run] for run in runs if run in found)


def findings(index: Index, *, finding: str = "", at_most: int = 200) -> tuple[Known, ...]:
    """Return faults over all runs, those seen last first. finding: an id, or the key of a signature; "" for all."""
    first, last = sa.func.min(SPANS.c.first), sa.func.max(SPANS.c.last)
    query = (
        sa.select(*_signature_columns(), first, last, sa.func.count(), sa.func.sum(SPANS.c.runs))
        .join(SPANS, SPANS.c.signature == SIGNATURES.c.id)
        .group_by(SIGNATURES.c.id, *_signature_columns())
        .order_by(last.desc(), SIGNATURES.c.key)
        .limit(at_most)
    )
    if finding:
        query = query.where(sa.or_(SIGNATURES.c.finding == finding, SIGNATURES.c.key == finding))
    found = []
    with reading(index.engine) as connection:
        for row in connection.execute(query):
            id_, blame, function, title, began, ended, cells, runs = tuple(row)
            (first_day, first_run), (last_day, last_run) = began.split(" ", 1), ended.split(" ", 1)
            key = Signature(id=id_, blame=blame, function=function, title=title)
            found.append(
                Known(
                    signature=key, first_day=first_day, first_run=first_run, last_day=last_day, last_run=last_run,
                    cells=cells, runs=int(runs),
                )
            )  # fmt: skip
    return tuple(found)


def rates(index: Index, runs: tuple[str, ...], *, cell: str = "", at_most: int = 1000) -> tuple[CellRate, ...]:
    """Return how often each fault was found in each cell, over some runs; the most frequent first.

    Attempts that were not judged, and verdicts that were carried over, count nowhere. cell: only this one.
    """
    with reading(index.engine) as connection:
        chosen = list(connection.execute(sa.select(RUNS.c.id).where(RUNS.c.name.in_(runs))).scalars())
        count = sa.func.sum(FAULTS.c.attempts).label("failures")
        # counted by numbers first: sorting names and titles of all of them would be most of the work
        counted = sa.select(FAULTS.c.cell, FAULTS.c.signature, count).where(FAULTS.c.run.in_(chosen))
        if cell:
            counted = counted.where(FAULTS.c.cell.in_(sa.select(CELLS.c.id).where(CELLS.c.name == cell)))
        counted = counted.group_by(FAULTS.c.cell, FAULTS.c.signature)
        few = counted.order_by(count.desc(), FAULTS.c.signature, FAULTS.c.cell).limit(at_most).subquery()
        query = sa.select(CELLS.c.id, CELLS.c.name, *_signature_columns(), few.c.failures).select_from(
            few.join(CELLS, CELLS.c.id == few.c.cell).join(SIGNATURES, SIGNATURES.c.id == few.c.signature)
        )
        rows = connection.execute(query).all()
        trials = _trials(connection, chosen, sorted({row[0] for row in rows}))
    found = []
    for row in rows:
        number, name, id_, blame, function, title, failures = tuple(row)
        key = Signature(id=id_, blame=blame, function=function, title=title)
        judged = trials.get(number, 0)
        found.append(CellRate(cell=name, signature=key, rate=statistics.rate(min(int(failures), judged), judged)))
    return tuple(sorted(found, key=lambda one: (-one.rate.failures, one.cell, one.signature.key)))


def _trials(connection: sa.Connection, runs: list[int], cells: list[int]) -> dict[int, int]:
    """Return cell -> judged attempts in some runs."""
    found: dict[int, int] = {}
    for at in range(0, len(cells), 500):
        query = (
            sa.select(RESULTS.c.cell, sa.func.sum(RESULTS.c.judged))
            .where(RESULTS.c.cell.in_(cells[at : at + 500]), RESULTS.c.run.in_(runs), sa.not_(RESULTS.c.carried))
            .group_by(RESULTS.c.cell)
        )
        found |= {cell: int(count) for cell, count in connection.execute(query)}
    return found


def _typed(rows: Iterable[Any]) -> list[CellRun]:
    return [
        CellRun(run=run, day=day, cell=cell, outcome=outcome, reason=reason, judged=judged, lost=lost, carried=carried)
        for run, day, cell, outcome, reason, judged, lost, carried in rows
    ]


def _signature_columns() -> tuple[sa.Column[Any], ...]:
    return (SIGNATURES.c.finding, SIGNATURES.c.blame, SIGNATURES.c.function, SIGNATURES.c.title)


def _cell_runs() -> sa.Select[Any]:
    return sa.select(
        RUNS.c.name.label("run"), RUNS.c.day, CELLS.c.name.label("cell"), RESULTS.c.outcome, RESULTS.c.reason,
        RESULTS.c.judged, RESULTS.c.lost, RESULTS.c.carried,
    ).select_from(
        RESULTS.join(RUNS, RUNS.c.id == RESULTS.c.run).join(CELLS, CELLS.c.id == RESULTS.c.cell)
    )  # fmt: skip
