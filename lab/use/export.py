"""`lab export`: a run for other people's programs. Only reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.errors import UsageError
from lab.evidence.bundle import Evidence
from lab.model import AttemptResult, Cell, Finding, Result
from lab.report import page
from lab.report.export.told import Told
from lab.results import store
from lab.results.disk import write_bytes


def told(folder: Path) -> Told:
    """Return a run as the exports take it. Raises UsageError if there is none, or none of its cells has a verdict."""
    facts = store.read(store.RunFacts, folder / "run.json")
    if facts is None:
        raise UsageError(f"no run in {str(folder)!r}", hint="name a folder of results/, such as results/latest")
    results = store.read_results(folder)
    if not results:
        raise UsageError(f"no cell of {str(folder)!r} has a verdict", hint="`lab run MATRIX --resume` goes on with it")

    def lines(attempt: AttemptResult, finding: Finding) -> tuple[page.Line, ...]:
        name = page.inner(attempt.folder, finding.where.file)
        return page.excerpt(folder, name, finding.where) if name else ()

    def record(attempt: AttemptResult) -> Mapping[str, Any]:
        name = page.inner(attempt.folder, ".")
        return Evidence(folder / name).record if name else {}

    return Told(facts=facts, results=results, lines=lines, record=record)


def one(run: Told, cell: str) -> tuple[Cell | None, Result]:
    """Return the cell that a mail is about. Raises UsageError if it has no verdict."""
    found = next(((known, result) for known, result in run.cells() if result.cell == cell), None)
    if found is None:
        known = ", ".join(list(run.results)[:12])
        raise UsageError(f"no cell is called {cell!r} in run {run.facts.run!r}", facts=(("known", known),))
    return found


def keep(path: Path, raw: bytes) -> None:
    """Let the file appear, whole. Raises EnvironmentFault, UsageError if its folder is not there."""
    if not path.absolute().parent.is_dir():
        raise UsageError(f"no such folder: {str(path.parent)!r}")
    write_bytes(path.absolute(), raw)
