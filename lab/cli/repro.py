"""`lab repro REPORT…`: what somebody reported, as facts, as a matrix file, and on demand as a run with its rate."""

from __future__ import annotations

import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.cli.ending import interrupt_once, tell
from lab.cli.plumbing import Accel, AsJson, colour, emit, load_tables, settings, shown
from lab.errors import ExitCode, UsageError
from lab.report import document, live, page
from lab.report import repro as told
from lab.use import repro, session, tree

STDIN = "-"


def repro_command(
    reports: Annotated[
        list[str],
        typer.Argument(
            metavar="REPORT…", help="mails, mboxes, saved pages, logs, .configs (also .gz); - is standard input"
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="where the matrix goes; its patches go beside it"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="overwrite files that are there")] = False,
    source: Annotated[
        str,
        typer.Option(
            "--source", metavar="SOURCE", help="a release at hand (6.1), a kernel tree's folder, or REPOSITORY@REVISION"
        ),
    ] = "",
    times: Annotated[
        int, typer.Option("--times", min=0, max=1000, help="attempts of each arm; 0: as the reported rate asks for")
    ] = 0,
    run: Annotated[bool, typer.Option("--run", help="build and boot it, and count")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="fetch no source; without one no patch of the report can be fitted")
    ] = False,
    accel: Annotated[Accel, typer.Option(help="how guests run, with --run")] = Accel.AUTO,
    as_json: AsJson = False,
) -> None:
    """Turn a report into a matrix: what it says, with place and certainty, what was chosen and why, what could not be matched.

    Nothing of a report becomes a path, an option or a command. A patch that it proposes is put on the source at hand, or
    refused with the reason; it is the second arm. Exits 0 when a matrix was written; with --run as `lab run` does: 0 if
    the fault came.
    """
    options, rows = settings(), load_tables()
    read = tuple(zip(names_of(reports), map(bytes_of, reports), strict=True))
    first = next((name for name in reports if name != STDIN), "report")
    stem = output.name.removesuffix(".yaml").removesuffix(".yml") if output else repro.stem_of(first)
    if output and repro.stem_of(stem) != stem:
        raise UsageError(
            f"{output.name!r} cannot name a matrix", hint="lower-case letters, digits, _, + and -, ending in .yaml"
        )
    given = tree.given(source, rows) if source else None
    request = repro.Request(reports=read, stem=stem, given=given, times=times, fetch=not offline)
    made = repro.make(request, options, rows, lambda text: tell(f"lab: {text}"))
    matrix = repro.write(made, output.parent if output else Path(), force=force)
    contract = contract_of(made, [shown(matrix.parent / name) for name in made.files])
    ran = run_it(made, matrix, accel) if run else None
    if ran is not None:
        report = page.write_page(ran.done.facts, ran.done.by_cell, ran.done.folder)
        contract |= run_contract(ran, shown(report))
    emit(contract, told.repro_text(contract, colour=colour(sys.stdout)), as_json=as_json)
    raise typer.Exit(contract["exit_code"])


def names_of(reports: list[str]) -> list[str]:
    """Return what files are called in the result: their own names where those tell them apart, else as they were given."""
    short = ["standard input" if name == STDIN else Path(name).name for name in reports]
    return short if len(set(short)) == len(short) else list(reports)


def bytes_of(name: str) -> bytes:
    """Return a file's bytes, or standard input's; one more than is read tells that there is more."""
    try:
        if name == STDIN:
            return sys.stdin.buffer.read(repro.BYTES_MAX + 1)
        with Path(name).open("rb") as stream:
            return stream.read(repro.BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {name!r}", facts=(("because", str(getattr(error, "strerror", error))),)
        ) from error


def run_it(made: repro.Made, matrix: Path, accel: Accel) -> repro.Ran:
    """Run a matrix with the live view."""
    options, rows = settings(), load_tables()
    stop = threading.Event()
    interrupt_once(stop)
    history = session.history(options).durations
    with live.live(sys.stderr, terminal=sys.stderr.isatty(), colour=colour(sys.stderr), history=history) as sink:
        return repro.run(made, matrix, options, rows, sink, stop, accel=accel.value)


def contract_of(made: repro.Made, written: list[str]) -> dict[str, Any]:
    """Return what docs/json.md promises of `lab repro`."""
    chosen = {id(pick.fact): pick.rule for pick in made.picks.values()}
    facts = [
        asdict(fact) | {"data": dict(fact.data), "because": repro.sentence(fact.rule), "chosen": id(fact) in chosen,
                        "chosen_by": repro.sentence(chosen.get(id(fact), ""))}
        for fact in made.report.facts
    ]  # fmt: skip
    choices = [
        {
            "axis": one.axis,
            "value": one.value,
            "rule": one.rule,
            "because": one.reason,
            "place": asdict(one.place) if one.place else None,
        }
        for one in made.choices.choices
    ]
    return {
        "schema_version": document.SCHEMA_VERSION, "exit_code": int(ExitCode.AS_EXPECTED),
        "sources": [asdict(one) for one in made.report.sources], "reporter": made.report.reporter, "facts": facts,
        "choices": choices,
        "not_matched": [asdict(gap) for gap in made.choices.gaps], "patches": [patch_row(one) for one in made.patches],
        "written": written, "run": None,
    }  # fmt: skip


def patch_row(one: repro.PatchTold) -> dict[str, Any]:
    """Return a diff of the report and what became of it."""
    return {
        "files": [file.new for file in one.diff.files], "subject": one.diff.subject, "by": one.diff.by,
        "place": asdict(one.diff.place),
        "proposed_by": repro.sentence(one.rule), "used": one.used, "sureness": one.sureness,
        "notes": list(one.notes), "why": one.why,
    }  # fmt: skip


def run_contract(ran: repro.Ran, report: str) -> dict[str, Any]:
    """Return the keys that a run adds."""
    code = document.run_document(ran.done.facts, ran.done.by_cell, folder=shown(ran.done.folder))["exit_code"]
    arms = [
        {"arm": arm.arm, "cell": arm.cell, "outcome": str(arm.outcome), "reason": arm.reason, "judged": arm.judged,
         "rates": {id_: asdict(rate) for id_, rate in arm.rates.items()}}
        for arm in ran.arms
    ]  # fmt: skip
    return {
        "exit_code": int(ExitCode.INTERRUPTED) if ran.done.interrupted else int(code),
        "run": {
            "run": ran.done.facts.run,
            "report": report,
            "folder": shown(ran.done.folder),
            "arms": arms,
            "reproduced": asdict(ran.reproduced),
        },
    }
