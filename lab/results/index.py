"""The index of all runs under results/, for questions over time. The folders are the truth; this can be made again at will.

grow() brings it up to date: runs that are new or were written to since are read, those whose folder is gone leave it. What it
has then is what rebuild() would make. Each run is one transaction: a process that is killed, or a full disk, leaves an index
that lacks that run and nothing else. Any number of processes may do this at once.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lab.errors import EnvironmentFault
from lab.model import Outcome
from lab.results import brief, nights, store, trials
from lab.results.brief import Verdict
from lab.results.comparison import Observed
from lab.results.disk import mtime_ns, set_aside
from lab.results.index_tables import (
    CELLS,
    CONTENT,
    FAULTS,
    FILE,
    RESULTS,
    RUNS,
    SIGNATURES,
    SPANS,
    current,
    opened,
    prepared,
    reading,
    url_of,
    writing,
)
from lab.results.signature import Signature

CHUNK = 500
REASON_AT_MOST = 600
STAMPED = ("run.json", "history.json", nights.NAME, nights.SEEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedRun:
    """A run as the index has it. stamp: changes when the run's folder does. night: it is a night of `matrix` that ended.

    called, file: its name and its matrix' as run.json has them. cells: what it saw, with what was tried further and carried
    over; verdicts: what its own folder says, by cell, None where it says nothing.
    """

    name: str
    matrix: str
    day: str
    started_at_s: float
    night: bool
    stamp: str
    cells: tuple[Observed, ...]
    verdicts: Mapping[str, Verdict | None] = field(default_factory=dict)
    called: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """What bringing the index up to date came to: names of runs that were read and that left it, and of those unreadable."""

    read: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


class Index:
    """The index of one results folder. Safe to use from several processes; each has its own."""

    def __init__(self, results: Path, url: str = "", *, as_it_is: bool = False) -> None:
        """Open it, made if it is not there. as_it_is: only to be read; see existing()."""
        self.results = results
        self.url = url_of(results, url)
        self._embedded = not url
        if self._embedded and not as_it_is:
            results.mkdir(parents=True, exist_ok=True)
        self.engine = opened(self.url)
        if as_it_is:
            return
        try:
            prepared(self.engine)
        except EnvironmentFault as error:
            if not self._damaged(error):
                raise
            self.engine.dispose()
            set_aside(results / Path(self.engine.url.database or "").name)
            prepared(self.engine)

    def _damaged(self, error: EnvironmentFault) -> bool:
        words = error.message
        return self._embedded and ("not a database" in words or "malformed" in words)

    def close(self) -> None:
        """Let the database go."""
        self.engine.dispose()

    def grow(self) -> Grown:
        """Bring the index up to date with the folders."""
        with reading(self.engine) as connection:
            known = {run.name: run.stamp for run in connection.execute(sa.select(RUNS.c.name, RUNS.c.stamp))}
        there = dict(_stamps(self.results))
        gone = [name for name in known if name not in there]
        for name in gone:
            self.remove(name)
        added, unreadable = [], []
        for name, stamp in there.items():
            if known.get(name) == stamp:
                continue
            run = run_of(self.results, name, stamp)
            if run is None:
                unreadable.append(name)
                self.remove(name)
                continue
            self.append(run)
            added.append(name)
        return Grown(read=tuple(added), removed=tuple(gone), unreadable=tuple(unreadable))

    def rebuild(self) -> Grown:
        """Empty the index and make it again."""
        with writing(self.engine) as connection:
            for table in CONTENT:
                connection.execute(table.delete())
        return self.grow()

    def append(self, run: IndexedRun) -> None:
        """Put a run in, in place of what the index had of it."""
        with writing(self.engine) as connection:
            touched = _removed(connection, run.name)
            rows = [_result(one, run.verdicts.get(one.cell)) for one in run.cells]
            connection.execute(RUNS.insert().values(**_run(run, {one["cell"] for one in rows if one["own"]})))
            number = connection.execute(sa.select(RUNS.c.id).where(RUNS.c.name == run.name)).scalar_one()
            cells = _numbers(connection, CELLS, "name", {one.cell: {"name": one.cell} for one in run.cells})
            keys = {fault.signature.key: fault.signature for one in run.cells for fault in one.faults}
            keys |= {one.key: one for verdict in run.verdicts.values() if verdict for one in verdict.found}
            signatures = _numbers(connection, SIGNATURES, "key", {key: _row(one) for key, one in keys.items()})
            _insert(connection, RESULTS, (one | {"run": number, "cell": cells[one["cell"]]} for one in rows))
            faults = [
                {"run": number, "cell": cells[one.cell], "signature": signatures[fault.signature.key],
                 "attempts": fault.attempts, "alone": fault.alone}
                for one in run.cells if not one.carried for fault in one.faults
            ]  # fmt: skip
            _insert(connection, FAULTS, faults)
            _count_spans(connection, number, touched)

    def remove(self, name: str) -> None:
        """Take a run out, if it is there."""
        with writing(self.engine) as connection:
            touched = _removed(connection, name)
            _count_spans(connection, None, touched)


def existing(results: Path, url: str = "") -> Index | None:
    """Return the index of a results folder to be read as it is, None if there is none of this version.

    Raises EnvironmentFault if it cannot be read, UsageError for a URL that is none.
    """
    if not url and not (results / FILE).is_file():
        return None
    index = Index(results, url, as_it_is=True)
    if current(index.engine):
        return index
    index.close()
    return None


def run_of(results: Path, name: str, stamp: str) -> IndexedRun | None:
    """Return a run from its folder, None if its run.json cannot be read. What is torn in it is left out."""
    facts = store.read(store.RunFacts, results / name / "run.json")
    if facts is None:
        return None
    night = nights.read(results / name)
    seen = nights.seen(results, name)
    at = datetime.datetime.fromtimestamp(facts.started_at_s, datetime.UTC)
    return IndexedRun(
        name=name,
        matrix=night.matrix if night else Path(facts.matrix).stem,
        day=night.day if night else at.date().isoformat(),
        started_at_s=facts.started_at_s,
        night=night is not None and night.finished,
        stamp=stamp,
        cells=tuple(seen.values()),
        verdicts={cell.id: brief.verdict_in(results / name, cell.id) for cell in facts.cells},
        called=facts.run,
        file=facts.matrix,
    )


def _stamps(results: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, stamp) of every run, in order; further attempts of a night belong to the night."""
    for path in sorted(results.iterdir()) if results.is_dir() else ():
        part = nights.is_further(path.name) or trials.is_trial(path)
        if not path.is_symlink() and not part and (path / "run.json").is_file():
            yield path.name, stamp_of(path)


def stamp_of(folder: Path) -> str:
    """Return what changes when a run does. Of one that is under way, or was killed, every attempt and verdict counts."""
    times = [mtime_ns(folder / name) for name in STAMPED]
    ended = times[1] >= times[0]
    if not ended:
        for pattern in ("*/*/result.json", "*/result.json"):
            times += [mtime_ns(path) for path in sorted(folder.glob(pattern))]
    if times[3] == 0 and (night := nights.read(folder)) is not None:  # without seen.json it is read from these
        others = {*night.further, *(one.run for one in night.cells)} - {folder.name}
        times += [mtime_ns(folder.with_name(run) / name) for run in sorted(others) for name in STAMPED]
    return hashlib.sha256(repr(times).encode()).hexdigest()[:32]


# ------------------------------------------------------------------------------------------------------------- writing


def _removed(connection: sa.Connection, name: str) -> set[tuple[int, int]]:
    """Remove a run, and return the (signature, cell) of what it had."""
    number = connection.execute(sa.select(RUNS.c.id).where(RUNS.c.name == name)).scalar()
    if number is None:
        return set()
    told = connection.execute(sa.select(FAULTS.c.signature, FAULTS.c.cell).where(FAULTS.c.run == number))
    touched = {(signature, cell) for signature, cell in told}
    for table in (FAULTS, RESULTS):
        connection.execute(table.delete().where(table.c.run == number))
    connection.execute(RUNS.delete().where(RUNS.c.id == number))
    return touched


def _count_spans(connection: sa.Connection, run: int | None, touched: set[tuple[int, int]]) -> None:
    """Count again when each fault was seen first and last in each cell, for those that a run has (run), or had (touched)."""
    if run is not None:
        _count_again(connection, sa.select(FAULTS.c.signature, FAULTS.c.cell).where(FAULTS.c.run == run))
    pairs = sorted(touched)
    for at in range(0, len(pairs), CHUNK):
        _count_again(connection, pairs[at : at + CHUNK])


def _count_again(connection: sa.Connection, pairs: Any) -> None:
    """Count some (signature, cell) again. pairs: a list, or a query that gives it."""
    connection.execute(SPANS.delete().where(sa.tuple_(SPANS.c.signature, SPANS.c.cell).in_(pairs)))
    rank = RUNS.c.day + sa.literal(" ") + RUNS.c.name
    counted = (
        sa.select(FAULTS.c.signature, FAULTS.c.cell, sa.func.min(rank), sa.func.max(rank), sa.func.count())
        .join(RUNS, RUNS.c.id == FAULTS.c.run)
        .where(sa.tuple_(FAULTS.c.signature, FAULTS.c.cell).in_(pairs))
        .group_by(FAULTS.c.signature, FAULTS.c.cell)
    )
    connection.execute(SPANS.insert().from_select(["signature", "cell", "first", "last", "runs"], counted))


def _numbers(
    connection: sa.Connection, table: sa.Table, column: str, rows: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """Return the id of each row by its name, inserted where it is not there."""
    found = _known(connection, table, column, list(rows))
    missing = [row for name, row in rows.items() if name not in found]
    if missing:
        _insert(connection, table, missing)
        found |= _known(connection, table, column, [row[column] for row in missing])
    return found


def _known(connection: sa.Connection, table: sa.Table, column: str, names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for at in range(0, len(names), CHUNK):
        query = sa.select(table.c[column], table.c.id).where(table.c[column].in_(names[at : at + CHUNK]))
        found |= {row[0]: row[1] for row in connection.execute(query)}
    return found


def _insert(connection: sa.Connection, table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> None:
    some = list(rows)
    if some:
        connection.execute(table.insert(), some)


def _row(one: Signature) -> dict[str, str]:
    return {
        "key": one.key, "finding": _plain(one.id), "blame": _plain(one.blame), "function": _plain(one.function),
        "title": _plain(one.title),
    }  # fmt: skip


def _run(run: IndexedRun, own: set[str]) -> dict[str, Any]:
    same = ("name", "matrix", "day", "started_at_s", "night", "stamp", "called", "file")
    return {key: getattr(run, key) for key in same} | {
        "ask": json.dumps([one for one in run.verdicts if one not in own])
    }


def _result(one: Observed, verdict: Verdict | None) -> dict[str, Any]:
    reason = _plain(one.reason[:REASON_AT_MOST])
    own = verdict is not None and not one.carried and _told_whole(verdict, one.outcome, reason)
    return {
        "cell": one.cell, "outcome": str(one.outcome), "reason": reason, "judged": one.judged, "lost": one.lost,
        "carried": one.carried, "own": own, "seconds": verdict.seconds if verdict and own else 0.0,
        "found": " ".join(each.key for each in verdict.found) if verdict and own else "",
    }  # fmt: skip


def _told_whole(verdict: Verdict, outcome: Outcome, reason: str) -> bool:
    """Whether the index can give a verdict back to the letter: nothing added by further attempts, cut or replaced."""
    words = (word for one in verdict.found for word in (one.id, one.blame, one.function, one.title))
    return (verdict.outcome, verdict.reason) == (outcome, reason) and all(_plain(word) == word for word in words)


def _plain(text: str) -> str:
    """Return a text that every database takes: PostgreSQL has no NUL, no encoding has half a surrogate pair."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def content(index: Index) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that the index says, by names and in order: two that say the same are equal, however they were made."""
    cell, run = CELLS.c.name, RUNS.c.name
    of_results = [column for column in RESULTS.c if column.name not in ("run", "cell")]
    key = SIGNATURES.c.key
    queries: dict[str, sa.Select[Any]] = {
        "runs": sa.select(run, *(column for column in RUNS.c if column.name not in ("id", "name"))),
        "results": sa.select(run, cell, *of_results).select_from(
            RESULTS.join(RUNS, RUNS.c.id == RESULTS.c.run).join(CELLS, CELLS.c.id == RESULTS.c.cell)
        ),
        "faults": sa.select(run, cell, key, FAULTS.c.attempts, FAULTS.c.alone).select_from(
            FAULTS.join(RUNS, RUNS.c.id == FAULTS.c.run)
            .join(CELLS, CELLS.c.id == FAULTS.c.cell)
            .join(SIGNATURES, SIGNATURES.c.id == FAULTS.c.signature)
        ),
        "spans": sa.select(key, cell, SPANS.c.first, SPANS.c.last, SPANS.c.runs).select_from(
            SPANS.join(CELLS, CELLS.c.id == SPANS.c.cell).join(SIGNATURES, SIGNATURES.c.id == SPANS.c.signature)
        ),
    }
    with reading(index.engine) as connection:
        return {name: sorted(tuple(row) for row in connection.execute(query)) for name, query in queries.items()}


def index_size(index: Index) -> int:
    """Return the bytes of an embedded index with its log, 0 for another."""
    path = Path(index.engine.url.database or "")
    names = (path, path.with_name(f"{path.name}-wal"))
    return sum(one.stat().st_size for one in names if one.is_file())
