"""The store: results/<run>/<cell>/<attempt>/ on disk. Folders are the truth; what is not whole is not there.

    results/latest                               symlink to the run that was opened last
    results/<run>/run.json                       RunFacts: matrix, cells, when, by which lab
    results/<run>/history.json                   History: how long each job took, which failed; for the next run's order
    results/<run>/<cell>/result.json             Result without its attempts
    results/<run>/<cell>/<attempt>/result.json   AttemptResult: its presence makes the attempt finished
    results/<run>/<cell>/<attempt>/…             evidence; record.json before the first step, steps.json, findings.json
    results/<run>/<cell>/<attempt>.aside-N/      what an attempt left that was not finished or not judged

Every JSON file is one object with schema_version beside its fields, and appears by rename of a synced temporary file. A file
that cannot be read (torn, too big, of a newer version, not ours) counts as absent. One process works in a run at a time, or
several that share it and never a cell (pytest's workers).
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from lab.errors import UsageError
from lab.model import AttemptResult, Cell, Finding, Need, NotApplicable, Result, StepResult
from lab.results.codec import adapter as adapter  # known here, too: what is stored is what is encoded
from lab.results.codec import decoded as decoded
from lab.results.codec import encoded as encoded
from lab.results.codec import finite as finite
from lab.results.disk import (
    aside_numbers,
    attempt_folders,
    checked,
    disk_fault,
    mtime_ns,
    read_bytes,
    remove_temporaries,
    set_aside,
    thin_out,
    write_bytes,
)
from lab.results.verdict import JUDGED

T = TypeVar("T")

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}")
LATEST = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What run.json says. started_at_s: since the epoch. matrix_sha256: of the matrix file's bytes, for people and reports."""

    run: str
    matrix: str
    matrix_sha256: str
    cells: tuple[Cell, ...]
    started_at_s: float
    lab_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What steps.json says."""

    steps: tuple[StepResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What findings.json says."""

    findings: tuple[Finding, ...]
    not_applicable: tuple[NotApplicable, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How long jobs took, by key, the keys of those that did not end as expected, and what attempts used, by cell id."""

    durations: dict[str, float] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    needs: dict[str, Need] = field(default_factory=dict)


def read(kind: type[T], path: Path) -> T | None:
    """Return the object in a file, or None if the file is absent, not regular, too big, or not whole."""
    raw = read_bytes(path)
    return None if raw is None else decoded(kind, raw)


def write(path: Path, value: Any) -> None:
    """Let a JSON file appear, whole. value: a model object or a mapping. Raises EnvironmentFault."""
    write_bytes(path, encoded(value))


# ---------------------------------------------------------------------------------------------------------- runs


def run_name(matrix: str, at_s: float) -> str:
    """Return the name of a new run: matrix name and UTC, such as "quickstart-20261121-101112"."""
    stem = re.sub(r"[^A-Za-z0-9._+-]+", "-", matrix).strip("-.")[:80] or "run"
    return f"{stem}-{datetime.fromtimestamp(at_s, UTC):%Y%m%d-%H%M%S}"


class Run:
    """A run that this process works in, locked against others; a context manager. Made by open_run().

    Safe to use from several threads as long as no two of them work on the same attempt.
    """

    def __init__(self, folder: Path, facts: RunFacts, lock: int) -> None:
        self.folder = folder
        self.facts = facts
        self._lock = lock

    def __enter__(self) -> Run:
        """Return itself; it is locked already."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Let others work in the run. Closing twice is harmless."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def finished(self) -> dict[tuple[str, int], AttemptResult]:
        """Return the judged attempts of this run's cells, by (cell id, number): what need not be done again.

        An unreadable result.json is set aside, and its attempt is not finished. Attempts that were ERROR or MISS are not
        in it either: they are to be repeated.
        """
        found = {}
        for cell in self.facts.cells:
            for number, folder in attempt_folders(self.folder / checked(cell.id)):
                path = folder / "result.json"
                result = read(AttemptResult, path)
                if result is None and path.exists():
                    set_aside(path)
                if result is not None and result.outcome in JUDGED and result.number == number:
                    found[cell.id, number] = result
        return found

    def made(self, cell: str) -> tuple[AttemptResult, ...]:
        """Return all attempts of a cell that have a result, also those that were not judged, by number."""
        found = (
            (number, read(AttemptResult, folder / "result.json"))
            for number, folder in attempt_folders(self.folder / checked(cell))
        )
        return tuple(result for number, result in found if result is not None and result.number == number)

    def attempt_folder(self, cell: str, number: int) -> Path:
        """Return a new, empty folder for an attempt; what an earlier try left there is set aside."""
        folder = self.folder / checked(cell) / str(number)
        try:
            if folder.exists():
                set_aside(folder)
                thin_out(folder)
            folder.mkdir(parents=True)
        except OSError as error:
            raise disk_fault(error, folder) from error
        return folder

    def last_aside(self, cell: str, number: int) -> str:
        """Return the name of the folder with what the try before this one of an attempt left, "" if there is none."""
        folder = self.folder / checked(cell) / str(number)
        numbers = aside_numbers(folder)
        return f"{number}.aside-{numbers[-1]}" if numbers else ""

    def keep_attempt(self, cell: str, result: AttemptResult) -> None:
        """Make an attempt finished. steps.json and findings.json first: result.json is the last word."""
        folder = self.folder / checked(cell) / str(result.number)
        write(folder / "steps.json", Steps(steps=result.steps))
        write(folder / "findings.json", Findings(findings=result.findings, not_applicable=result.not_applicable))
        write(folder / "result.json", result)

    def keep_result(self, result: Result) -> None:
        """Write the verdict on a cell. Its attempts have their own files."""
        folder = self.folder / checked(result.cell)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise disk_fault(error, folder) from error
        write(folder / "result.json", replace(result, attempts=()))

    def keep_history(self, history: History) -> None:
        """Write how long the jobs took, for the order of the next run. An earlier part of this run is kept."""
        with ExitStack() as stack:
            try:
                lock = stack.enter_context(open(self.folder / ".history.lock", "w"))
            except OSError as error:
                raise disk_fault(error, self.folder) from error
            fcntl.flock(lock, fcntl.LOCK_EX)  # a shared run is written by several processes
            before = read(History, self.folder / "history.json") or History()
            failed = (set(before.failed) - history.durations.keys()) | set(history.failed)
            durations, needs = before.durations | history.durations, before.needs | history.needs
            write(self.folder / "history.json", History(durations=durations, failed=tuple(sorted(failed)), needs=needs))


def open_run(root: Path, facts: RunFacts, *, fresh: bool = False, shared: bool = False) -> Run:
    """Return the run of this name, made if it is not there, locked, and `latest`.

    shared: with other processes that open it shared, with the same facts, and work on other cells; nobody else may work in it.

    Cells that the run already has and `facts` does not stay in it. fresh: never take up an old run, but add "-2" and so on
    to the name if it is taken. Errors: UsageError if the name cannot be a folder's, another process works in the run, or a
    cell of the same id was made differently before; EnvironmentFault if the disk does not take it.
    """
    if not RUN_NAME.fullmatch(facts.run) or facts.run == LATEST:
        raise UsageError(f"'{facts.run}' cannot be the name of a run", hint="letters, digits and . _ + -, not 'latest'")
    if fresh:
        facts = replace(facts, run=untaken(root, facts.run))
    folder = root / facts.run
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = locked(folder, shared=shared)
    except OSError as error:
        raise disk_fault(error, folder) from error
    try:
        merged = with_earlier(folder, facts)
        if not shared:
            remove_temporaries(folder)
        write(folder / "run.json", merged)
        point_latest(root, facts.run)
    except BaseException:
        os.close(lock)
        raise
    return Run(folder, merged, lock)


def untaken(root: Path, name: str) -> str:
    """Make the folder of the first name of this stem that is not taken, and return the name. mkdir decides races."""
    for number in range(1, 1000):
        candidate = name if number == 1 else f"{name}-{number}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            (root / candidate).mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise disk_fault(error, root / candidate) from error
        return candidate
    raise UsageError(f"no name is left for a run '{name}' in '{root}'")


def locked(folder: Path, *, shared: bool = False) -> int:
    """Return the descriptor that holds the run's lock. The kernel drops it when the process ends, however it ends."""
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise UsageError(
            f"run '{folder.name}' is being worked on by another process",
            facts=(("process", owner or "unknown"),),
            hint="wait for it, or give this run another name with --run",
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def with_earlier(folder: Path, facts: RunFacts) -> RunFacts:
    """Return the facts joined with those already in the folder; a torn run.json is set aside."""
    path = folder / "run.json"
    before = read(RunFacts, path)
    if before is None:
        if path.exists():
            set_aside(path)
        return facts
    known = {cell.id: cell for cell in before.cells}
    changed = [cell.id for cell in facts.cells if cell.id in known and encoded(cell) != encoded(known[cell.id])]
    if changed:
        raise UsageError(
            f"cell '{changed[0]}' is not what it was when run '{facts.run}' began",
            facts=(("changed", ", ".join(changed)),),
            hint="its old results say nothing about it; start another run with --run",
        )
    cells = {cell.id: cell for cell in facts.cells}
    rest = tuple(cell for cell in before.cells if cell.id not in cells)
    return replace(facts, cells=(*facts.cells, *rest), started_at_s=before.started_at_s)


def point_latest(root: Path, name: str) -> None:
    """Let results/latest point at a run. Something else of that name is left alone."""
    link, temporary = root / LATEST, root / f".{LATEST}.{os.getpid()}"
    if link.exists() and not link.is_symlink():
        return
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(name)
        temporary.replace(link)
    except OSError as error:
        raise disk_fault(error, link) from error


def latest_run(root: Path) -> str | None:
    """Return the name of the run that was opened last, or None."""
    try:
        name = (root / LATEST).readlink().name
    except OSError:
        return None
    return name if (root / name / "run.json").is_file() else None


def read_results(folder: Path) -> dict[str, Result]:
    """Return the verdicts in a run's folder by cell, with their attempts, whoever works there. Nothing is changed."""
    facts = read(RunFacts, folder / "run.json")
    found = {}
    for cell in facts.cells if facts else ():
        result = read(Result, folder / checked(cell.id) / "result.json")
        if result is not None:
            found[cell.id] = replace(result, attempts=read_attempts(folder, cell.id))
    return found


def read_attempts(folder: Path, cell: str) -> tuple[AttemptResult, ...]:
    """Return the finished attempts of a cell in a run's folder, whoever works there."""
    read_in = (read(AttemptResult, path / "result.json") for _, path in attempt_folders(folder / checked(cell)))
    return tuple(attempt for attempt in read_in if attempt)


def read_history(root: Path, *, runs: int = 5) -> History:
    """Return what the newest runs under root say about jobs; of each job the newest word counts."""
    paths = sorted(root.glob("*/history.json"), key=mtime_ns, reverse=True) if root.is_dir() else []
    durations: dict[str, float] = {}
    failed: set[str] = set()
    needs: dict[str, Need] = {}
    for path in [path for path in paths if not path.parent.is_symlink()][:runs]:
        history = read(History, path) or History()
        failed |= set(history.failed) - durations.keys()
        durations = history.durations | durations
        needs = history.needs | needs
    return History(durations=durations, failed=tuple(sorted(failed)), needs=needs)
