"""`lab`: options → one call into lab.use. The only reader of the environment and the only place that exits."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lab import __version__
from lab.cli import (
    attempts,
    bisect,
    boots,
    bundles,
    decoding,
    ending,
    faces,
    fleet,
    groups,
    indexes,
    nights,
    repro,
    stores,
    trials,
)
from lab.cli.plumbing import (
    Accel,
    AsJson,
    Cells,
    MatrixFile,
    chosen,
    colour,
    emit,
    load_tables,
    only,
    said,
    settings,
    shown,
)
from lab.errors import ExitCode
from lab.matrix import schema as matrix_schema
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.report import compared, document, explain, inventory, live, page, text
from lab.report import symbols as symbol_table
from lab.settings import seconds_of
from lab.use import check, compare, doctor, prepare, session, shell, symbols

app = typer.Typer(
    name="lab",
    help="A test lab for the Linux kernel's own build system: builds, checks and boots the cells of a matrix.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(groups.images, name="image")
app.add_typer(groups.sources, name="source")
app.add_typer(bisect.app, name="bisect")
app.add_typer(indexes.indexes, name="index")
app.add_typer(stores.stores, name="store")
app.command("boot")(boots.boot_command)
app.command("decode")(decoding.decode_command)
app.command("repro")(repro.repro_command)
app.command("worker")(fleet.worker_command)


Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="a kernel's O= directory, an attempt's evidence folder, or where packages were unpacked"
    ),
]
Release = Annotated[
    str, typer.Option("--release", metavar="RELEASE", help="which kernel, if the packages of several are there")
]


class Kind(StrEnum):
    """What `lab log` reads."""

    BUILD = "build"
    CONSOLE = "console"


@app.command("run")
def run_command(
    matrix: MatrixFile,
    cell: Cells = None,
    run: Annotated[str, typer.Option("--run", help="name of the run; one that exists is taken up again")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="take up the latest run of this matrix")] = False,
    finding: Annotated[
        list[str] | None,
        typer.Option(
            "--finding",
            metavar="ID",
            help="exit 1 for this fault alone, and 125 where it could not show itself (repeatable)",
        ),
    ] = None,
    accel: Annotated[Accel, typer.Option(help="how guests run; auto: KVM where a guest was seen to run")] = Accel.AUTO,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="only say how long it would take, by what earlier runs took")
    ] = False,
    on: fleet.On = "",
    depot: fleet.Depot = "",
    as_json: AsJson = False,
) -> None:
    """Build, check and boot the cells of a matrix.

    Exits 0 if all is as expected, 1 for the kernel's fault, 125 if the only cell cannot be judged, 128 for the lab's
    trouble. Ctrl-C once finishes nothing new and reports; --resume goes on.
    """
    options, rows, findings = settings(), load_tables(), trials.checked_ids(finding or [])
    read_matrix = read(matrix, rows)
    request = session.Request(
        matrix=matrix,
        name=read_matrix.name,
        cells=chosen(expand(read_matrix), cell),
        run=run,
        resume=resume,
        accel=accel.value,
        on=fleet.options(on, depot, accel.value),
    )
    if estimate:
        row = asdict(session.estimated(request, options, rows)) | {"schema_version": document.SCHEMA_VERSION}
        emit(row, inventory.estimate_text(row, cells=len(request.cells), cores=options.cores), as_json=as_json)
        raise typer.Exit
    stop = threading.Event()
    ending.interrupt_once(stop)
    terminal = sys.stderr.isatty()
    history = session.history(options).durations
    with live.live(sys.stderr, terminal=terminal, colour=colour(sys.stderr), history=history) as sink:
        done = session.run(request, options, rows, sink, stop)
    report = page.write_page(done.facts, done.by_cell, done.folder)
    contract = document.run_document(done.facts, done.by_cell, folder=shown(done.folder))
    if as_json:
        print(document.printed_json(contract))
    else:
        print(
            text.run_text(
                done.results, folder=Path(shown(done.folder)), report=shown(report), colour=colour(sys.stdout)
            )
        )
        print(next_steps(matrix, done))
    code = session.answer(done.results, findings) if findings else contract["exit_code"]
    raise typer.Exit(ExitCode.INTERRUPTED if done.interrupted else code)


app.command("try")(trials.try_command)
app.command("nightly")(nights.nightly_command)


@app.command("shell")
def shell_command(
    matrix: MatrixFile,
    cell: Annotated[str, typer.Argument(metavar="CELL", help="the cell, or a pattern that only one cell fits")],
) -> None:
    """Open a prompt where a cell is built: its image, source, O=, variables, and the exact commands.

    Without a terminal, standard input is read as a script. Exits as the shell does.
    """
    options, rows = settings(), load_tables()
    alone = only(expand(read(matrix, rows)), cell)
    term = os.environ.get("TERM", "dumb")
    status = shell.enter(alone, options, rows, said, stdin=0, stdout=1, term=term)
    raise typer.Exit(status)


@app.command("list")
def list_command(matrix: MatrixFile, cell: Cells = None, as_json: AsJson = False) -> None:
    """List the cells of a matrix, without an engine."""
    cells = chosen(expand(read(matrix, load_tables())), cell)
    emit(document.list_document(cells), text.cells_text(cells, colour=colour(sys.stdout)), as_json=as_json)


@app.command("check")
def check_command(
    folder: Folder,
    release: Release = "",
    as_json: AsJson = False,
) -> None:
    """Judge what a build left behind, or a distribution's kernel unpacked from its packages; no engine needed."""
    judged = check.folder(folder, release)
    emit(document.judged_document(judged), text.judged_text(judged, colour=colour(sys.stdout)), as_json=as_json)
    raise typer.Exit(judged.exit_code)


@app.command("symbols")
def symbols_command(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="a folder as `lab check` takes it, or one file: vmlinux, a .ko (packed or not), vmlinuz",
        ),
    ],
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="only names that occur more than once in their object; of all objects")
    ] = False,
    of: Annotated[str, typer.Option("--object", metavar="NAME", help="vmlinux or a module; default: vmlinux")] = "",
    name: Annotated[str, typer.Option("--name", metavar="SYMBOL", help="only symbols of this name")] = "",
    release: Release = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="rows at most; 0: all")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List the symbols of vmlinux or a module, with the position by which a livepatch must name one of several.

    Positions count the symbols of one name in one object from 1, in the order of kallsyms (vmlinux) or of the symbol table
    (modules). Exits 125 if nothing could be read.
    """
    request = symbols.Request(path=path, object=of, name=name, release=release, duplicates=duplicates, limit=limit)
    found = symbols.listed(request)
    code = ExitCode.AS_EXPECTED if found.sources else ExitCode.UNTESTABLE
    rows = [{"object": row.object} | symbol_row(row.symbol) for row in found.rows]
    contract = symbol_table.symbols_document(
        rows=rows, total=found.total, sources=found.sources, unreadable=found.unreadable,
        schema_version=document.SCHEMA_VERSION, exit_code=int(code),
    )  # fmt: skip
    emit(
        contract,
        symbol_table.symbols_text(contract, duplicates=duplicates, colour=colour(sys.stdout)),
        as_json=as_json,
    )
    raise typer.Exit(code)


def symbol_row(symbol: Any) -> dict[str, Any]:
    """Return a symbol as docs/json.md has it."""
    row = asdict(symbol)
    letter = row.pop("letter")
    return row | {"type": letter}


@app.command("compare-builds")
def compare_builds_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="a kernel's O= directory, or an attempt's evidence folder")],
    b: Annotated[Path, typer.Argument(metavar="B", help="the other")],
    as_json: AsJson = False,
) -> None:
    """Tell whether two builds carry the same code, and where they do not: object, section, offset, symbol.

    Exits 0 if they do, 1 if they differ, 125 if that cannot be told.
    """
    comparison = compare.folders(a, b)
    code = compare.exit_code(comparison)
    contract = {"schema_version": document.SCHEMA_VERSION, "exit_code": int(code), **asdict(comparison)}
    emit(contract, compared.compared_text(contract), as_json=as_json)
    raise typer.Exit(code)


app.command("diff")(attempts.diff_command)
app.command("site")(faces.site_command)
app.command("serve")(faces.serve_command)
app.command("export")(faces.export_command)
app.command("bundle")(bundles.bundle_command)
app.command("verify-bundle")(bundles.verify_bundle_command)


@app.command("log")
def log_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a saved log")],
    kind: Annotated[Kind, typer.Option(help="what wrote it: make, or a kernel's console")],
    as_json: AsJson = False,
) -> None:
    """Give the findings of one saved log."""
    judged = check.log_file(file, kind.value)
    emit(document.judged_document(judged), text.judged_text(judged, colour=colour(sys.stdout)), as_json=as_json)
    raise typer.Exit(judged.exit_code)


@app.command("doctor")
def doctor_command(
    fix: Annotated[
        bool, typer.Option("--fix", help="install and start what lacks; says so before each change")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="say nothing if nothing lacks")] = False,
    as_json: AsJson = False,
) -> None:
    """Try what this machine can do, say what lacks and how to get it."""
    options, rows = settings(), load_tables()
    found = doctor.fix(options, rows, said) if fix else doctor.examine(options, rows)
    lacking = any(one.needed and one.ok is False for one in found)
    rows_found = [asdict(one) for one in found]
    if as_json or lacking or not quiet:
        contract = {"schema_version": document.SCHEMA_VERSION, "ok": not lacking, "capabilities": rows_found}
        emit(contract, inventory.capabilities_text(rows_found), as_json=as_json)
    raise typer.Exit(ExitCode.LAB_FAULT if lacking else ExitCode.AS_EXPECTED)


@app.command("clean")
def clean_command(
    caches: Annotated[bool, typer.Option("--caches", help="also sources, compiler caches and downloads")] = False,
    with_images: Annotated[bool, typer.Option("--images", help="also the engine's images of ours")] = False,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="7d", help="also caches and images not used for so long (s m h d w)")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Take away what a killed run left: containers, mounts, loop devices, scratch folders; caches beyond the budget.

    Results are never touched, nor is what a running lab needs.
    """
    older_s = seconds_of(older_than, "--older-than") if older_than else None
    swept = prepare.clean(
        settings(), said, caches=(caches or with_images) and older_s is None, images=with_images and older_s is None,
        older_s=older_s,
    )  # fmt: skip
    contract = {
        "containers": swept.containers,
        "scratch_folders": swept.scratch_folders,
        "mounts": swept.mounts,
        "images": swept.images,
        "caches": swept.caches,
        "bytes": swept.bytes,
        "trouble": list(swept.trouble),
    }
    words = f"{swept.containers} containers, {swept.scratch_folders} scratch folders, {swept.mounts} mounts"
    cache = f", {swept.caches} caches, {swept.images} images, {swept.bytes >> 20} MiB"
    emit(contract, "\n".join([f"removed: {words}{cache}", *swept.trouble]), as_json=as_json)
    raise typer.Exit(ExitCode.LAB_FAULT if swept.trouble else ExitCode.AS_EXPECTED)


@app.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of matrix files, for editors."""
    print(document.printed_json(matrix_schema.schema(load_tables())))


@app.command("explain")
def explain_command(
    finding: Annotated[
        str, typer.Argument(metavar="[FINDING-ID]", help="such as modpost.undefined; none: list them")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Print the page of a finding id: what it is, why it happens, how to confirm it by hand."""
    if finding:
        words = explain.page(finding)
        emit({"id": finding, "page": words}, words, as_json=as_json)
    else:
        emit({"ids": list(explain.ids())}, "\n".join(explain.ids()), as_json=as_json)


# -------------------------------------------------------------------------------------------------------- how it ends


def next_steps(matrix: Path, done: session.Session) -> str:
    """Return what to try next."""
    rows = []
    deciding = ("error", "fail")
    for result in done.results:
        early = next((finding for finding in result.findings if finding.severity in deciding), None)
        if early is not None:
            rows.append(f"lab explain {early.id}")
            break
        found = [(attempt, finding) for attempt in result.attempts for finding in attempt.findings]
        telling = next(((attempt, finding) for attempt, finding in found if finding.severity in deciding), None)
        if telling is not None:
            attempt, finding = telling
            rows += [f"lab explain {finding.id}", f"lab check {shown(done.folder / attempt.folder)}"]
            break
    rows.append(f"lab run {matrix} --json")
    return "\n".join(["next:", *(f"  {row}" for row in rows)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run lab and exit with the code that says what happened (docs/exit-codes.md)."""
    code = exit_code_of(arguments)
    ending.let_go()
    sys.exit(code)


def exit_code_of(arguments: Sequence[str] | None = None) -> int:
    """Run lab and return its exit code."""
    return int(ending.exit_code_of(app, arguments))


@app.callback(invoke_without_command=True)
def top(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="print the version and exit")] = False,
) -> None:
    """Print the version if asked."""
    if version:
        print(f"lab {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
