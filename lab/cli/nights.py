"""`lab nightly`: a matrix' night, once or again and again."""

from __future__ import annotations

import datetime
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lab.cli.plumbing import (
    Accel,
    AsJson,
    Cells,
    MatrixFile,
    chosen,
    colour,
    emit,
    interrupt_once,
    load_tables,
    settings,
    shown,
)
from lab.errors import ExitCode, LabError, UsageError
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.report import live, page, plain
from lab.report import nightly as report
from lab.settings import seconds_of
from lab.use import changes, indexing, nightly, session, storing

WINDOW_MAX, MORE_MAX = 400, 100

Known = Annotated[
    Path | None,
    typer.Option("--known", metavar="FILE", help="known issues (docs/nightly.md): shown apart, and no news"),
]


def pages(done: nightly.Done) -> str:
    """Write report.html of what a night executed, and return where the first is."""
    paths = [page.write_page(one.facts, one.by_cell, one.folder) for one in done.sessions]
    return f"report: {shown(paths[0])}" if paths else ""


Face = Callable[[nightly.Done], str]
FACES: tuple[Face, ...] = (pages,)
"""Who tells of a night beside the terminal, once it is written down: each returns a line for people, or ""."""


def nightly_command(
    matrix: MatrixFile,
    cell: Cells = None,
    known: Known = None,
    every: Annotated[
        str, typer.Option("--every", metavar="24h", help="again and again, from one start to the next (s m h d w)")
    ] = "",
    today: Annotated[str, typer.Option("--today", metavar="DATE", help="the night's day; default: today, UTC")] = "",
    window: Annotated[int, typer.Option("--window", metavar="N", help="earlier nights that count")] = nightly.WINDOW,
    more: Annotated[
        int, typer.Option("--more", metavar="N", help="further attempts at most where something may be chance")
    ] = nightly.MORE,
    again: Annotated[
        bool, typer.Option("--again", help="run also what was judged before and has not changed since")
    ] = False,
    accel: Annotated[Accel, typer.Option(help="how guests run; auto: KVM where a guest was seen to run")] = Accel.AUTO,
    as_json: AsJson = False,
) -> None:
    """Run what is new in a matrix or was not judged, and say what changed since the nights before.

    Revisions that move are pinned first. A change is claimed where the intervals of the rates do not touch; what may be chance
    is tried some more. Exits 1 if something is new, 125 if that is not proven, 128 if cells were not judged that were before,
    0 if nothing is new. A night that was broken off is gone on with by the same call on the same day.
    """
    if not 1 <= window <= WINDOW_MAX or not 0 <= more <= MORE_MAX:
        raise UsageError(f"--window must be from 1 to {WINDOW_MAX}, --more from 0 to {MORE_MAX}")
    if every and (today or as_json):
        raise UsageError("--every goes with neither --today nor --json", hint="each night's verdict is in its folder")
    period_s = seconds_of(every, "--every") if every else 0.0
    day = day_of(today)
    stop = threading.Event()
    interrupt_once(stop)

    def once() -> ExitCode:
        request = asked(matrix, cell, known, day, window=window, more=more, again=again, accel=accel)
        return one_night(request, stop, as_json=as_json)

    raise typer.Exit(repeated(once, period_s, stop) if every else once())


def asked(
    matrix: Path, cell: list[str] | None, known: Path | None, day: datetime.date | None, *, window: int, more: int,
    again: bool, accel: Accel,
) -> nightly.Request:  # fmt: skip
    """Read the matrix and the known issues, as they are now."""
    read_matrix = read(matrix, load_tables())
    return nightly.Request(
        matrix=matrix,
        name=read_matrix.name,
        cells=chosen(expand(read_matrix), cell),
        today=day or datetime.datetime.now(datetime.UTC).date(),
        known=changes.known_issues(known),
        window=window,
        more=more,
        again=again,
        accel=accel.value,
    )


def one_night(request: nightly.Request, stop: threading.Event, *, as_json: bool) -> ExitCode:
    """Run one night, tell it, and return how it ends."""
    options, rows = settings(), load_tables()
    history = session.history(options).durations
    with live.live(sys.stderr, terminal=sys.stderr.isatty(), colour=colour(sys.stderr), history=history) as sink:
        done = nightly.night(request, options, rows, sink, stop)
        indexing.update(options, sink)
        storing.copy(tuple(one.facts.run for one in done.sessions), options, sink)
    faces = [line for face in FACES if (line := face(done))]
    shared = report.comparison_document(done.comparison, done.told, done.news)
    contract = report.night_document(
        done.run, done.night, done.tonight, done.previous, shared, folder=shown(done.folder),
        exit_code=int(done.exit_code),
    )  # fmt: skip
    emit(contract, "\n".join([report.night_text(contract), *faces]), as_json=as_json)
    return done.exit_code


def repeated(once: Callable[[], ExitCode], period_s: float, stop: threading.Event) -> ExitCode:
    """Do it again and again, from start to start, until somebody stops it. One night's trouble does not end the others."""
    while True:
        began = time.monotonic()
        try:
            once()
        except LabError as error:
            print(plain.plain(str(error)), file=sys.stderr, flush=True)
        sys.stdout.flush()
        if stop.wait(max(0.0, began + period_s - time.monotonic())):
            return ExitCode.INTERRUPTED


def day_of(text: str) -> datetime.date | None:
    """Return the day that is named, None if none is. Raises UsageError."""
    try:
        return datetime.date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"--today must be a day such as 2027-01-31, not {text!r}") from None
