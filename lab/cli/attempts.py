"""Commands on attempts and runs that have been made: `lab diff`."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lab.cli.nights import Known
from lab.cli.plumbing import AsJson, emit, settings, shown
from lab.errors import UsageError
from lab.report import contrasted, document
from lab.report import nightly as report
from lab.use import changes, contrast


def diff_command(
    a: Annotated[
        Path, typer.Argument(metavar="A", help="an attempt's evidence folder, a kernel's O= directory, or a run")
    ],
    b: Annotated[Path, typer.Argument(metavar="B", help="the other")],
    known: Known = None,
    as_json: AsJson = False,
) -> None:
    """Tell what differs between two attempts, or what changed from one run to another.

    Attempts: environment, configuration, what was made how often, times, log lines. Exits 0 if nothing differs, 1 if something
    does, 125 if nothing could be compared. Runs, by folder or name: findings by cell and signature, with rates. Exits 1 if
    something is new, 125 if that is not proven, 128 if cells were not judged that were before, 0 if nothing is new.
    """
    results = settings().results
    runs = [changes.run_folder(str(path), results) for path in (a, b)]
    if runs[0] is not None and runs[1] is not None:
        diff_runs(runs[0], runs[1], known, as_json=as_json)
    if any(runs):
        raise UsageError("a run cannot be compared with an attempt", hint="name two runs, or two attempts")
    if known is not None:
        raise UsageError("--known goes with two runs")
    found = contrast.folders(a, b)
    code = contrast.exit_code(found)
    contract = {"schema_version": document.SCHEMA_VERSION, "exit_code": int(code), **asdict(found)}
    if found.ties is not None:
        contract["ties"] = [asdict(tie) | {"words": contrast.words(tie)} for tie in found.ties]
    emit(contract, contrasted.contrasted_text(contract), as_json=as_json)
    raise typer.Exit(code)


def diff_runs(a: Path, b: Path, known: Path | None, *, as_json: bool) -> None:
    """Tell what changed from run a to run b, and exit by what is new."""
    today = datetime.datetime.now(datetime.UTC).date()
    found = changes.between(a, b, changes.known_issues(known), today)
    code = int(found.news.exit_code)
    shared = report.comparison_document(found.comparison, found.told, found.news)
    contract = {"schema_version": document.SCHEMA_VERSION, "exit_code": code, "a": shown(a), "b": shown(b), **shared}
    emit(contract, report.diff_text(contract), as_json=as_json)
    raise typer.Exit(code)
