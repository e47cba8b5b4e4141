"""night.json: that a run is one night of a matrix; and seen.json: what it saw, so that later nights need not read all attempts.

Both lie in the run's folder and appear by rename. night.json is written before anything is executed, and once more at the end.
seen.json is made from the attempts' results, which are the truth: without it, or if it is torn, it is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lab.model import Cell
from lab.results import store
from lab.results.comparison import Observed, observed, pooled
from lab.results.disk import disk_fault
from lab.results.verdict import cell_result

NAME, SEEN = "night.json", "seen.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class NightCell:
    """A cell of a night. inputs: hash of all that is known to decide its outcome, "" if that cannot be known (a folder).

    run: the run that has its word: the night's own, or the earlier one that judged just the same inputs.
    """

    cell: str
    inputs: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A source that moves, as the matrix names it, and what it was that night (a commit, a package's version)."""

    source: str
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NightFacts:
    """What night.json says. matrix: its name. day: "2026-11-28". further: runs with further attempts of this night's cells.

    finished: it came to its end; one that did not is gone on with by the next call on the same day.
    """

    matrix: str
    day: str
    cells: tuple[NightCell, ...]
    revisions: tuple[Revision, ...] = ()
    further: tuple[str, ...] = ()
    finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What seen.json says."""

    cells: tuple[Observed, ...]


def inputs_of(cell: Cell, tree: str) -> str:
    """Return a hash of a cell as it is executed and of its source tree's key; "" where the key is not known."""
    return hashlib.sha256(store.encoded(cell) + tree.encode()).hexdigest()[:24] if tree else ""


def run_name(matrix: str, day: str) -> str:
    """Return the name of a night's run: "quickstart-night-20261128"."""
    stem = store.run_name(matrix, 0.0).rsplit("-", 2)[0]
    return f"{stem}-night-{day.replace('-', '')}"


@contextlib.contextmanager
def alone(results: Path, matrix: str) -> Iterator[None]:
    """Hold the nights of a matrix against other processes. Raises UsageError if one is under way, EnvironmentFault."""
    folder = results / ".nights" / run_name(matrix, "").rstrip("-")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = store.locked(folder)
    except OSError as error:
        raise disk_fault(error, folder) from error
    try:
        yield
    finally:
        os.close(lock)


def further_name(run: str) -> str:
    """Return the name of the run that has a night's further attempts."""
    return f"{run}-more"


def is_further(run: str) -> bool:
    """Whether a run has further attempts of a night, by its name."""
    return bool(night_of_further(run))


def night_of_further(run: str) -> str:
    """Return the name of the night of which a run has further attempts, "" if it is no such run."""
    found = re.fullmatch(r"(.+-night-[0-9]{8}(?:-[0-9]+)?)-more(?:-[0-9]+)?", run)
    return found[1] if found else ""


def write(folder: Path, night: NightFacts) -> None:
    """Let night.json appear in a run's folder, whole. Raises EnvironmentFault."""
    store.write(folder / NAME, night)


def read(folder: Path) -> NightFacts | None:
    """Return what night.json of a run's folder says, None if there is none that is whole."""
    return store.read(NightFacts, folder / NAME)


def keep_seen(folder: Path, cells: Mapping[str, Observed]) -> None:
    """Let seen.json appear in a run's folder. Raises EnvironmentFault."""
    store.write(folder / SEEN, Seen(cells=tuple(cells.values())))


def of_day(results: Path, matrix: str, day: str) -> tuple[str, NightFacts | None]:
    """Return the name of the day's newest night, and what it says if it did not come to its end: it can be gone on with.

    Without any night of the day, the name is that of the first.
    """
    stem = run_name(matrix, day)
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    there = [name for name in names if (results / name / NAME).exists()]
    newest = there[-1] if there else stem
    night = read(results / newest)
    return newest, night if night is not None and not night.finished else None


def earlier(results: Path, matrix: str, day: str, *, at_most: int) -> tuple[str, ...]:
    """Return the names of the newest nights of a matrix up to a day that came to their end, the oldest first."""
    named = re.compile(re.escape(run_name(matrix, "")) + r"([0-9]{8})(?:-([0-9]{1,3}))?")
    folders = results.iterdir() if results.is_dir() else ()
    matches = (named.fullmatch(path.name) for path in folders if not path.is_symlink())
    found: list[str] = []
    # from the newest on, and no more of them than are wanted: a night of a big matrix takes a while to read
    for one in sorted((one for one in matches if one), key=lambda one: (one[1], int(one[2] or 1)), reverse=True):
        if len(found) == at_most:
            break
        night = read(results / one[0]) if one[1] <= day.replace("-", "") else None
        if night is not None and night.matrix == matrix and night.finished:
            found.append(one[0])
    return tuple(reversed(found))


def seen(results: Path, run: str) -> dict[str, Observed]:
    """Return what a night saw, by cell, those carried over from earlier nights among them."""
    kept = store.read(Seen, results / run / SEEN)
    if kept is not None:
        return {one.cell: one for one in kept.cells}
    night = read(results / run)
    return observed_of(results, run) if night is None else observed_night(results, run, night)


def observed_night(results: Path, run: str, night: NightFacts) -> dict[str, Observed]:
    """Return what a night saw, from the attempts themselves."""
    own = observed_of(results, run)
    for further in night.further:
        for cell, more in observed_of(results, further).items():
            own[cell] = pooled(own[cell], more) if cell in own else more
    others: dict[str, dict[str, Observed]] = {}
    found = {}
    for one in night.cells:
        if one.run == run:
            if one.cell in own:
                found[one.cell] = own[one.cell]
            continue
        if one.run not in others:
            others[one.run] = seen(results, one.run)
        if one.cell in others[one.run]:
            before = replace(others[one.run][one.cell], carried=True)
            # what was tried further tonight counts tonight
            found[one.cell] = replace(own[one.cell], run=run) if one.cell in own else before
    return found


def observed_of(results: Path, run: str) -> dict[str, Observed]:
    """Return what any run saw, by cell. A cell without a verdict (its run was killed) is judged by the attempts it has."""
    folder = results / run
    facts = store.read(store.RunFacts, folder / "run.json")
    whole = store.read_results(folder)
    found = {}
    for cell in facts.cells if facts else ():
        result = whole.get(cell.id)
        if result is None:
            result = cell_result(cell, store.read_attempts(folder, cell.id))
        found[cell.id] = observed(result, cell.expect.findings if cell.expect else (), run)
    return found
