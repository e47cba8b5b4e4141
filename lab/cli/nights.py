"""`lab nightly`: a matrix' night, once or again and again."""

from __future__ import annotations

import datetime
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.cli import fleet
from lab.cli.ending import interrupt_once, tell
from lab.cli.plumbing import (
    Accel,
    AsJson,
    Cells,
    MatrixFile,
    chosen,
    colour,
    emit,
    load_tables,
    said,
    settings,
    shown,
)
from lab.errors import ExitCode, LabError, UsageError, understood
from lab.events import Note
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.report import live, page
from lab.report import nightly as report
from lab.report.export.mail import Envelope, address
from lab.report.export.morning import morning
from lab.report.html.write import ours
from lab.settings import seconds_of
from lab.use import changes, export, indexing, nightly, session, site, storing
from lab.use.coordinator import Options

WINDOW_MAX, MORE_MAX = 400, 100

Known = Annotated[
    Path | None,
    typer.Option("--known", metavar="FILE", help="known issues (docs/nightly.md): shown apart, and no news"),
]


Face = Callable[[nightly.Done, Mapping[str, Any]], str]
"""Who tells of a night, and of its contract, beside the terminal, once it is written down: returns a line for people, or ""."""


def pages(done: nightly.Done, contract: Mapping[str, Any]) -> str:
    """Write report.html of what a night executed, and return where the first is."""
    paths = [page.write_page(one.facts, one.by_cell, one.folder) for one in done.sessions]
    return f"report: {shown(paths[0])}" if paths else ""


def site_face(output: Path) -> Face:
    """Return what writes the site. Raises UsageError now, and not after the night, if something else lies there."""
    ours(output.absolute())

    def face(done: nightly.Done, contract: Mapping[str, Any]) -> str:
        if done.interrupted:
            return ""
        options = settings()
        request = site.Request(results=options.results, output=output, index=options.index)
        return f"site: {shown(site.written(request, said).index)}"

    return face


def mail_face(path: Path, envelope: Envelope) -> Face:
    """Return what writes the mail. Raises UsageError now, and not after the night, if it cannot be written like that."""
    if not path.absolute().parent.is_dir():
        raise UsageError(f"no such folder: {str(path.parent)!r}")
    try:
        for one in (envelope.sender, *envelope.to):
            address(one)
    except ValueError as error:
        raise UsageError(str(error)) from error

    def face(done: nightly.Done, contract: Mapping[str, Any]) -> str:
        if done.interrupted:
            return ""
        export.keep(path, morning(contract, done.news.claimed, envelope, time.time()))
        return f"mail, not sent: {shown(path)}"

    return face


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
    site_folder: Annotated[
        Path | None, typer.Option("--site", metavar="DIR", help="write all runs as pages, as `lab site -o DIR` does")
    ] = None,
    mail_file: Annotated[
        Path | None, typer.Option("--mail", metavar="FILE", help="write what is said as a mail (.eml); never sent")
    ] = None,
    sender: Annotated[
        str, typer.Option("--from", metavar="ADDRESS", help="of the mail")
    ] = "kbuild-lab <lab@localhost>",
    to: Annotated[list[str] | None, typer.Option("--to", metavar="ADDRESS", help="of the mail; repeatable")] = None,
    on: fleet.On = "",
    depot: fleet.Depot = "",
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
    faces: list[Face] = [pages]
    if site_folder is not None:
        faces.append(site_face(site_folder))
    if mail_file is not None:
        faces.append(mail_face(mail_file, Envelope(sender=sender, to=tuple(to or ()))))
    stop = threading.Event()
    interrupt_once(stop)

    def once() -> ExitCode:
        machines = fleet.options(on, depot, accel.value)
        request = asked(matrix, cell, known, day, window=window, more=more, again=again, accel=accel, on=machines)
        return one_night(request, stop, faces, as_json=as_json)

    raise typer.Exit(repeated(once, period_s, stop) if every else once())


def asked(
    matrix: Path, cell: list[str] | None, known: Path | None, day: datetime.date | None, *, window: int, more: int,
    again: bool, accel: Accel, on: Options | None = None,
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
        on=on,
    )


def one_night(request: nightly.Request, stop: threading.Event, faces: Sequence[Face], *, as_json: bool) -> ExitCode:
    """Run one night, tell it, and return how it ends."""
    options, rows = settings(), load_tables()
    history = session.history(options).durations
    with live.live(sys.stderr, terminal=sys.stderr.isatty(), colour=colour(sys.stderr), history=history) as sink:
        done = nightly.night(request, options, rows, sink, stop)
        indexing.update(options, sink)
        storing.copy(tuple(one.facts.run for one in done.sessions), options, sink)
    shared = report.comparison_document(done.comparison, done.told, done.news)
    contract = report.night_document(
        done.run, done.night, done.tonight, done.previous, shared, folder=shown(done.folder),
        exit_code=int(done.exit_code),
    )  # fmt: skip
    lines = [line for face in faces if (line := faced(face, done, contract))]
    emit(contract, "\n".join([report.night_text(contract), *lines]), as_json=as_json)
    return done.exit_code


def faced(face: Face, done: nightly.Done, contract: Mapping[str, Any]) -> str:
    """Return a face's line; that it cannot be written is told and spoils no night."""
    try:
        return face(done, contract)
    except LabError as error:
        said(Note(at_s=time.time(), text=f"the night is as it is, but: {error.message}"))
        return ""


def repeated(once: Callable[[], ExitCode], period_s: float, stop: threading.Event) -> ExitCode:
    """Do it again and again, from start to start, until somebody stops it. One night's trouble does not end the others."""
    while True:
        began = time.monotonic()
        try:
            once()
            sys.stdout.flush()
        except Exception as error:
            if not isinstance(fault := understood(error), LabError):
                raise
            tell(str(fault))
        if stop.wait(max(0.0, began + period_s - time.monotonic())):
            return ExitCode.INTERRUPTED


def day_of(text: str) -> datetime.date | None:
    """Return the day that is named, None if none is. Raises UsageError."""
    try:
        return datetime.date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"--today must be a day such as 2027-01-31, not {text!r}") from None
