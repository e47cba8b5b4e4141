"""`lab run`: a matrix' cells, worked off, judged, kept.

sweep → open the run → what is hopeless → sources that may be wrong → jobs → schedule { image, source, patched source,
attempt } → results
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import __version__
from lab.environment import engine as engines
from lab.errors import ExitCode, UsageError
from lab.events import RunStarted, Sink
from lab.model import AttemptResult, Cell, Outcome, Result
from lab.plan import jobs as plan
from lab.plan import pairing
from lab.plan.estimate import Estimate, estimate
from lab.plan.pairing import Verdict
from lab.plan.schedule import JobState, work_off
from lab.results import store, trials, verdict
from lab.settings import Settings
from lab.tables import Tables
from lab.use import contrast, fleet, sweep
from lab.use.coordinator import Options
from lab.use.crew import Crew, Done, Finished, Verdicts, planned_jobs, pools
from lab.use.obstacles import obstacles

UNEXPECTED = (Outcome.FAIL, Outcome.ERROR, Outcome.XPASS)  # what goes first next time


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be run. matrix: the file; name: the matrix' own. run: "" for a new one. resume: the matrix' latest run.

    accel: "tcg", "kvm", or "auto": KVM where a guest was seen to run under it, else TCG. on: a fleet, None for this machine.
    """

    matrix: Path
    name: str
    cells: tuple[Cell, ...]
    run: str = ""
    resume: bool = False
    accel: str = "auto"
    on: Options | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a run came to. folder: of the run under results/. interrupted: there are cells that were not run."""

    facts: store.RunFacts
    folder: Path
    results: tuple[Result, ...]
    interrupted: bool = False

    @property
    def by_cell(self) -> dict[str, Result]:
        """The results by cell id, in the matrix' order."""
        return {result.cell: result for result in self.results}


def run(request: Request, settings: Settings, tables: Tables, sink: Sink, stop: threading.Event) -> Session:
    """Run the cells and return every verdict. Cells that a run taken up again has judged already are not repeated."""
    if request.on is not None:
        return _on_a_fleet(request, request.on, settings, tables, sink, stop)
    with engines.connect(settings) as engine, _open(request, settings) as opened:
        return _worked(opened, request, engine, settings, tables, sink, stop)


def work(
    opened: store.Run, request: Request, settings: Settings, tables: Tables, sink: Sink, stop: threading.Event
) -> Session:
    """Run the cells in a run that is open already, which other processes may share (store.open_run)."""
    with engines.connect(settings) as engine:
        return _worked(opened, request, engine, settings, tables, sink, stop)


def _worked(
    opened: store.Run,
    request: Request,
    engine: engines.Engine,
    settings: Settings,
    tables: Tables,
    sink: Sink,
    stop: threading.Event,
) -> Session:
    sweep.dead_work(settings, engine, sink)
    finished = {key: result for key, result in opened.finished().items() if key[0] in {c.id for c in request.cells}}
    sink(_started(request, opened, finished))
    hopeless: dict[str, BaseException] = dict(obstacles(request.cells, tables))
    before = history(settings)
    crew = Crew(request.cells, settings, tables, engine, sink, stop, opened, request.accel, before.needs)
    with crew.holds:
        first, why = crew.look(finished, hopeless)
        hopeless |= why
        ended = first | work_off(
            crew.jobs(finished, hopeless),
            crew.do,
            pools=pools(settings),
            sink=sink,
            durations=before.durations,
            failed_before=frozenset(before.failed),
            stop=stop,
            wanted=crew.wanted,
        )
    results = tuple(_result(cell, finished, ended, hopeless.get(cell.id), opened.folder) for cell in request.cells)
    _keep(opened, results, ended, tables)
    for result in results:
        crew.tell(result)
    sweep.to_budget(settings, engine, sink)
    return Session(facts=opened.facts, folder=opened.folder, results=results, interrupted=stop.is_set())


def answer(results: Sequence[Result], findings: tuple[str, ...]) -> ExitCode:
    """Return how a run ends whose question is a fault: 1 if it was found, 125 where it could not have shown itself, else 0.

    A cell that failed otherwise, before the fault would have shown itself, is skipped by `git bisect run`, not blamed.
    """
    attempts = [attempt for result in results for attempt in result.attempts]
    seen = {pairing.verdict_of(attempt, findings) for attempt in attempts if not verdict.cannot_be_judged(attempt)}
    if Verdict.FAILED in seen:
        return ExitCode.KERNEL_FAULT
    if Verdict.ERROR in seen or any(not result.attempts and not result.untestable for result in results):
        return ExitCode.LAB_FAULT
    return ExitCode.AS_EXPECTED if seen == {Verdict.SOUND} else ExitCode.UNTESTABLE


def _on_a_fleet(
    request: Request, on: Options, settings: Settings, tables: Tables, sink: Sink, stop: threading.Event
) -> Session:
    """Run the cells on other machines. Nothing is prepared or swept here, and no engine is needed."""
    with _open(request, settings) as opened:
        finished = {key: result for key, result in opened.finished().items() if key[0] in {c.id for c in request.cells}}
        sink(_started(request, opened, finished))
        hopeless = obstacles(request.cells, tables, here=False)
        cells, verdicts = [cell for cell in request.cells if cell.id not in hopeless], Verdicts(sink)
        before = history(settings)
        ended = fleet.work_off(cells, on, opened, settings, tables, before, finished, sink, stop, verdicts.tell)
        results = tuple(_result(cell, finished, ended, hopeless.get(cell.id), opened.folder) for cell in request.cells)
        _keep(opened, results, ended, tables)
        for result in results:
            verdicts.tell(result)
        return Session(facts=opened.facts, folder=opened.folder, results=results, interrupted=stop.is_set())


def estimated(request: Request, settings: Settings, tables: Tables) -> Estimate:
    """Return how long `run()` would take with this request, as far as earlier runs tell. Nothing is run or written.

    Images and sources count as they did when they were asked for last: mostly they were there.
    """
    before, finished = history(settings), {}
    name = request.run or (_latest_of(request.name, settings) if request.resume else "")
    if name:
        taken_up = store.Run(settings.results / name, facts_of(request.matrix, name, request.cells), -1)
        made = ((cell.id, attempt) for cell in request.cells for attempt in taken_up.made(cell.id))
        finished = {(cell, one.number): one for cell, one in made if one.outcome in verdict.JUDGED}
    hopeless = obstacles(request.cells, tables)
    cells = [cell for cell in request.cells if cell.id not in hopeless]
    planned = planned_jobs(cells, settings, tables, before.needs, finished)
    there, failed = pools(settings), frozenset(before.failed)
    return estimate(planned, pools=there, durations=before.durations, failed_before=failed)


def history(settings: Settings) -> store.History:
    """Return how long jobs took in the latest runs, for estimates."""
    return store.read_history(settings.results)


def _open(request: Request, settings: Settings) -> store.Run:
    """Open a new run, the named one, or with `resume` the latest of this matrix."""
    name = request.run
    if request.resume and not name:
        name = _latest_of(request.name, settings)
    if name and trials.is_trial(settings.results / name):
        raise UsageError(
            f"run {name!r} compares a cell with and without a patch",
            hint="`lab try --resume` goes on with it; give this run another name with --run",
        )
    facts = facts_of(request.matrix, name or store.run_name(request.name, time.time()), request.cells)
    return store.open_run(settings.results, facts, fresh=not name)


def facts_of(matrix: Path, run: str, cells: tuple[Cell, ...]) -> store.RunFacts:
    """Return what is written down of a run that begins now."""
    return store.RunFacts(
        run=run,
        matrix=str(matrix),
        matrix_sha256=hashlib.sha256(matrix.read_bytes()).hexdigest(),
        cells=cells,
        started_at_s=time.time(),
        lab_version=__version__,
    )


def _latest_of(matrix: str, settings: Settings) -> str:
    """Return the newest run of a matrix by this name; a run's name begins with its matrix' and ends with UTC."""
    stem = store.run_name(matrix, 0.0).rsplit("-", 2)[0]
    named = re.compile(re.escape(stem) + r"-[0-9]{8}-[0-9]{6}(?:-[0-9]+)?")  # "linux" has no part in "linux-next"
    known = settings.results.iterdir() if settings.results.is_dir() else ()
    runs = sorted(
        path.name
        for path in known
        if named.fullmatch(path.name) and (path / "run.json").is_file() and not trials.is_trial(path)
    )
    if not runs:
        raise UsageError(
            f"no run of {matrix!r} to resume", facts=(("looked in", str(settings.results)),), hint="leave --resume away"
        )
    return runs[-1]


def _started(request: Request, opened: store.Run, finished: dict[tuple[str, int], AttemptResult]) -> RunStarted:
    whole = [
        cell.id for cell in request.cells if all((cell.id, number) in finished for number in range(1, cell.repeat + 1))
    ]
    return RunStarted(
        at_s=time.time(), run=opened.facts.run, cells=tuple(cell.id for cell in request.cells), finished=tuple(whole)
    )


def _result(
    cell: Cell,
    finished: Finished,
    ended: Done,
    error: BaseException | None = None,
    folder: Path | None = None,
) -> Result:
    """Put a cell's attempts of this run and of an earlier part of it together. error: why none could be made, if known.

    folder: of the run, to look there for what failing attempts had that others had not.
    """
    attempts = []
    for number in range(1, cell.repeat + 1):
        if (cell.id, number) in finished:
            attempts.append(finished[cell.id, number])
            continue
        end = ended.get(plan.attempt_key(cell.id, number))
        if end is not None and end.state is JobState.DONE and end.value is not None:
            attempts.append(end.value)
        elif end is not None and end.error is not None:
            error = end.error
    return verdict.cell_result(cell, attempts, error, contrast.differences(attempts, folder) if folder else ())


def _size_mib(cell: Cell, tables: Tables) -> int:
    row = tables.filesystem[cell.filesystem]
    return (tables.base_of(row) or row).size_mib


def _keep(opened: store.Run, results: tuple[Result, ...], ended: Done, tables: Tables) -> None:
    for result in results:
        opened.keep_result(result)
    sizes = {cell.id: _size_mib(cell, tables) for cell in opened.facts.cells}
    needs = {one.cell: plan.need_of(one.attempts, sizes[one.cell]) for one in results if one.attempts}
    durations = {key: end.seconds for key, end in ended.items() if end.state is JobState.DONE}
    unexpected = {result.cell for result in results if result.outcome in UNEXPECTED}
    failed = tuple(
        key
        for key, end in ended.items()
        if end.state is JobState.FAILED or (end.value is not None and key.split(":")[1] in unexpected)
    )
    opened.keep_history(store.History(durations=durations, failed=failed, needs=needs))
