"""`lab try`: one cell with and without a patch."""

from __future__ import annotations

import difflib
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from lab import checks
from lab.cli.ending import interrupt_once
from lab.cli.plumbing import (
    Accel,
    AsJson,
    MatrixFile,
    colour,
    emit,
    load_tables,
    only,
    settings,
    shown,
)
from lab.errors import UsageError
from lab.matrix.expand import expand
from lab.matrix.files import patch_of
from lab.matrix.read import read
from lab.matrix.repeat import REPEAT_MAX
from lab.report import live, page, tried
from lab.settings import seconds_of
from lab.use import session, trial

ERROR_RATES = (0.0001, 0.4)


def try_command(
    matrix: MatrixFile,
    cell: Annotated[str, typer.Option("--cell", "-c", metavar="PATTERN", help="a pattern that only one cell fits")],
    patch: Annotated[
        list[Path], typer.Option("--patch", metavar="FILE", help="a unified diff, applied last (repeatable, in order)")
    ],
    finding: Annotated[
        list[str] | None,
        typer.Option(
            "--finding",
            metavar="ID",
            help="what the patch is to mend (repeatable); default: what the cell is expected to find",
        ),
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", metavar="N", help="pairs at most")] = 200,
    budget: Annotated[
        str, typer.Option("--budget", metavar="4h", help="what all attempts may take together (s m h d w)")
    ] = "4h",
    error_rate: Annotated[
        float, typer.Option("--error-rate", metavar="P", help="how often either answer may be wrong")
    ] = 0.05,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the latest comparison of just this")] = False,
    accel: Annotated[Accel, typer.Option(help="how guests run; auto: KVM where a guest was seen to run")] = Accel.AUTO,
    as_json: AsJson = False,
) -> None:
    """Build a cell with and without a patch, in turn, until it is decided whether the patch mends it.

    Exits 0 if it does, 1 if it does not, 125 if that is not decided or cannot be judged, 128 for the lab's trouble. Ctrl-C once
    reports what there is; --resume goes on.
    """
    checked_limits(pairs, error_rate)
    options, rows = settings(), load_tables()
    read_matrix = read(matrix, rows)
    request = trial.Request(
        matrix=matrix,
        name=read_matrix.name,
        cell=only(expand(read_matrix), cell),
        patches=tuple(patch_of(path) for path in patch),
        pairs=pairs,
        budget_s=seconds_of(budget, "--budget"),
        error_rate=error_rate,
        findings=checked_ids(finding or []),
        resume=resume,
        accel=accel.value,
    )
    stop = threading.Event()
    interrupt_once(stop)
    history = session.history(options).durations
    with live.live(sys.stderr, terminal=sys.stderr.isatty(), colour=colour(sys.stderr), history=history) as sink:
        done = trial.run(request, options, rows, sink, stop)
    words = (tried.final_words(done.trial), *tried.further_words(done.trial))
    report = page.write_page(done.facts, {result.cell: result for result in done.results}, done.folder, summary=words)
    contract = tried.tried_document(
        done.trial, done.facts, done.results, folder=shown(done.folder), exit_code=int(done.exit_code)
    )
    emit(contract, tried.tried_text(done.trial, report=shown(report)), as_json=as_json)
    raise typer.Exit(done.exit_code)


def checked_ids(findings: list[str]) -> tuple[str, ...]:
    """Return ids of findings. Raises UsageError for what no check finds: it would never fail, and nothing would be decided."""
    known = {identity for check in (*checks.CHECKS, *checks.plugins()) for identity in check.ids}
    for one in findings:
        if one not in known:
            near = difflib.get_close_matches(one, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`lab explain` lists them"
            raise UsageError(f"no check finds {one!r}", hint=hint)
    return tuple(findings)


def checked_limits(pairs: int, error_rate: float) -> None:
    """Raise UsageError for numbers that make no sense."""
    low, high = ERROR_RATES
    if not low <= error_rate <= high:
        raise UsageError(f"--error-rate must be from {low:g} to {high:g}, not {error_rate:g}")
    if not 1 <= pairs <= REPEAT_MAX:
        raise UsageError(f"--pairs must be from 1 to {REPEAT_MAX}, not {pairs}")
