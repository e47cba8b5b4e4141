"""`lab site`: the runs of a results folder as static pages. What cannot be read is left out, and said."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from lab import __version__
from lab.errors import EnvironmentFault, UsageError
from lab.events import Note, Sink
from lab.evidence import contrast
from lab.evidence.bundle import Evidence
from lab.model import Cell, Result
from lab.report import contrasted
from lab.report.html.history import UNEXPECTED, Detail, History, Night, Site
from lab.report.html.write import Written, matrix_name, write_site
from lab.results import brief, nights, questions, store, trials
from lab.results.brief import Verdict
from lab.results.disk import checked
from lab.results.index import Index, existing
from lab.results.questions import KeptRun

DEEP_AT_MOST = 40
"""Cells whose build logs are held against those of their last good run; of more only record and configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be shown. results: folder of runs, or of one run. nights: at most so many of each matrix, the newest.

    index: URL of the index of these results, "" for the one beside them; without one the folders are read.
    """

    results: Path
    output: Path
    nights: int = 30
    title: str = "kbuild-lab"
    index: str = ""


@dataclass(frozen=True, kw_only=True)
class Read:
    """A run as it was read. kept: what the index has of it, None if the folder is to be read.

    further: folders of runs that have further attempts of it, if it is a night.
    """

    night: Night
    folder: Path
    kept: KeptRun | None = None
    further: tuple[Path, ...] = ()

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """Its cells, read when they are asked for: of many nights those of the newest are mostly enough."""
        return cells_in(self.folder)


def written(request: Request, sink: Sink) -> Written:
    """Write the site. Raises UsageError if there are no runs, or the folder is somebody's own."""
    index = index_of(request, sink)
    try:
        runs, notes = read_runs(request, index)
        if not runs:
            raise UsageError(f"no runs in {str(request.results)!r}", hint="`lab run MATRIX` makes one")
        for note in notes:
            sink(Note(at_s=time.time(), text=note))
        return write_site(site_of(runs, request.title, notes, index), request.output, __version__)
    finally:
        if index is not None:
            index.close()


def index_of(request: Request, sink: Sink) -> Index | None:
    """Return the index, None if there is none; that it cannot be read is told and harms nothing, the folders have it all."""
    results = request.results.absolute()
    try:
        return existing(results.parent if is_run(results) else results, request.index)
    except EnvironmentFault as error:
        sink(Note(at_s=time.time(), text=f"the folders are read: {error.message}"))
        return None


def is_run(folder: Path) -> bool:
    """Whether a folder is that of one run."""
    return (folder / "run.json").is_file()


def read_runs(request: Request, index: Index | None = None) -> tuple[dict[str, tuple[Read, ...]], tuple[str, ...]]:
    """Return the newest runs by matrix, oldest first, and what was left out."""
    folders, further = with_further(folders_of(request.results))
    known = kept_runs(index, folders)
    by_matrix: dict[str, list[Read]] = {}
    unreadable: list[str] = []
    compared = 0
    for folder in folders:
        kept = known.get(folder.name)
        night = night_of(folder, kept)
        if night is None:
            unreadable.append(folder.name)
        elif trials.is_trial(folder):
            compared += 1
        else:
            read = Read(night=night, folder=folder, kept=kept, further=tuple(further.get(folder.name, ())))
            by_matrix.setdefault(night.matrix, []).append(read)
    notes = []
    if unreadable:
        notes.append(f"left out: {', '.join(unreadable[:5])}: run.json cannot be read")
    if compared:
        notes.append(f"left out: comparisons with a patch (`lab try`): {compared}")
    ordered = {
        matrix: tuple(sorted(some, key=lambda read: (read.night.started_at_s, read.night.run))[-request.nights :])
        for matrix, some in sorted(by_matrix.items())
    }
    return ordered, tuple(notes)


def night_of(folder: Path, kept: KeptRun | None) -> Night | None:
    """Return a run as a column, None if its run.json cannot be read."""
    if kept is not None:
        run, matrix, at_s = kept.called, kept.file, kept.started_at_s
    else:
        facts = store.read(store.RunFacts, folder / "run.json")
        if facts is None:
            return None
        run, matrix, at_s = facts.run, facts.matrix, facts.started_at_s
    return Night(run=run, matrix=matrix_name(run, matrix), started_at_s=at_s)


def folders_of(results: Path) -> list[Path]:
    """Return the folders of runs, or the one of the run that it is itself. Raises UsageError."""
    if is_run(results):
        return [results]
    try:
        some = sorted(path for path in results.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError as error:
        raise UsageError(f"cannot read {str(results)!r}: {error.strerror}") from error
    return [path for path in some if (path / "run.json").exists()]


def with_further(folders: Sequence[Path]) -> tuple[list[Path], dict[str, list[Path]]]:
    """Return the folders that are columns, and by name of a night those that have its further attempts: they are part of it."""
    names = {path.name for path in folders}
    further: dict[str, list[Path]] = {}
    for path in folders:
        night = nights.night_of_further(path.name)
        if night in names:
            further.setdefault(night, []).append(path)
    parts = {path for some in further.values() for path in some}
    return [path for path in folders if path not in parts], further


def cells_in(folder: Path) -> dict[str, Cell]:
    """Return the cells of a run by id, none if its run.json cannot be read."""
    facts = store.read(store.RunFacts, folder / "run.json")
    return {cell.id: cell for cell in facts.cells} if facts else {}


def kept_runs(index: Index | None, folders: Sequence[Path]) -> dict[str, KeptRun]:
    """Return what the index can tell instead of the folders; they have all that it fails to tell."""
    if index is None or not folders:
        return {}
    with contextlib.suppress(EnvironmentFault):
        return questions.kept(index, folders[0].absolute().parent)
    return {}


def site_of(runs: dict[str, tuple[Read, ...]], title: str, notes: tuple[str, ...], index: Index | None = None) -> Site:
    """Return what the pages are made from. Verdicts are read now, the newest runs' evidence when its page is written."""
    histories = [history for matrix, some in runs.items() for history in histories_of(matrix, some, index)]
    deep = {(one.matrix, one.cell) for one in histories if one.now.outcome in UNEXPECTED and one.last_good is not None}

    def detail(history: History) -> Detail | None:
        return detail_of(history, runs[history.matrix], deep=len(deep) <= DEEP_AT_MOST)

    return Site(
        nights={matrix: tuple(read.night for read in some) for matrix, some in runs.items()},
        histories=histories,
        detail=detail,
        title=title,
        notes=notes,
    )


def histories_of(matrix: str, some: tuple[Read, ...], index: Index | None = None) -> Iterator[History]:
    """Yield the cells of a matrix over its runs, those of the newest run first; a cell without any verdict is not there."""
    by_run = [verdicts_of(read, index) for read in some]
    wanted = set[str]().union(*by_run)
    for cells in cells_by_run(some):
        if not wanted:
            break
        for name in [name for name in cells if name in wanted]:
            wanted.remove(name)
            verdicts = tuple(verdicts.get(name) for verdicts in by_run)
            yield History(matrix=matrix, cell=name, axes=cells[name].axes, verdicts=verdicts)


def cells_by_run(some: tuple[Read, ...]) -> Iterator[dict[str, Cell]]:
    """Yield the cells of each run, the newest first, each read when it is asked for."""
    for read in reversed(some):
        yield read.cells
        for folder in read.further:
            yield cells_in(folder)


def verdicts_of(read: Read, index: Index | None) -> dict[str, Verdict]:
    """Return the verdicts of a run by cell: from the index what it has of the folder as it is now, all else from the folder."""
    known: dict[str, Verdict] | None = None
    if index is not None and read.kept is not None:
        with contextlib.suppress(EnvironmentFault):  # it was readable a moment ago; the folders always are
            known = questions.verdicts(index, read.kept)
    ask = read.kept.ask if read.kept is not None and known is not None else tuple(read.cells)
    asked = ((cell, brief.verdict_in(read.folder, cell)) for cell in ask)
    found = (known or {}) | {cell: verdict for cell, verdict in asked if verdict is not None}
    for folder in read.further:
        for cell in cells_in(folder):
            verdict = brief.verdict_in(folder, cell)
            if verdict is not None:
                found[cell] = brief.pooled(found[cell], verdict) if cell in found else verdict
    return found


def detail_of(history: History, some: tuple[Read, ...], *, deep: bool) -> Detail | None:
    """Return a cell's newest run in full. deep: also what its build made and said differently from the last good run."""
    read = some[history.last]
    told = (
        (folder, store.read(Result, folder / checked(history.cell) / "result.json"))
        for folder in (read.folder, *read.further)
    )
    found = [(folder, result) for folder, result in told if result is not None]
    if not found:
        return None
    # of a night with further attempts the run that has the night's verdict
    folder, result = next((one for one in found if one[1].outcome is history.now.outcome), found[0])
    whole = replace(result, attempts=store.read_attempts(folder, history.cell))
    differs: tuple[str, ...] = ()
    if history.last_good is not None and history.now.outcome in UNEXPECTED:
        good = some[history.last_good].folder
        differs = differences(good, folder, whole, deep=deep)
    cell = read.cells.get(history.cell) or cells_in(folder).get(history.cell)
    return Detail(result=whole, cell=cell, folder=folder, differs=differs)


def differences(good: Path, run: Path, result: Result, *, deep: bool) -> tuple[str, ...]:
    """Return lines of `lab diff` between the last good run's first attempt (a) and this run's first that failed (b)."""
    bad = next((one for one in result.attempts if one.outcome is result.outcome), None) or next(
        iter(result.attempts), None
    )
    before = next(iter(store.read_attempts(good, result.cell)), None)
    if bad is None or before is None or not bad.folder or not before.folder:
        return ()
    a, b = Evidence(good / before.folder), Evidence(run / bad.folder)
    found = contrast.contrast(a, b) if deep else contrast.settings(a, b)
    contract = asdict(found)
    contract["ties"] = [asdict(tie) | {"words": contrast.tie_words(tie)} for tie in found.ties or ()]
    return tuple(contrasted.contrasted_text(contract).splitlines()[:DEEP_AT_MOST])
