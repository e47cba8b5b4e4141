"""`lab decode`: a console's crash reports with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lab.cli.plumbing import AsJson, emit, load_tables, said, settings
from lab.errors import ExitCode
from lab.events import Note
from lab.report import decoded as report
from lab.report import document
from lab.use import decode


def decode_command(
    console: Annotated[
        Path, typer.Argument(metavar="CONSOLE", help="a saved console, or a folder of evidence that has one")
    ],
    kernel: Annotated[
        Path | None,
        typer.Option(
            "--kernel",
            "--vmlinux",
            metavar="PATH",
            help="the kernel that wrote it: a folder as `lab check` takes it, or a vmlinux; default: the console's folder",
        ),
    ] = None,
    modules: Annotated[
        Path | None, typer.Option("--modules", metavar="DIR", help="where its modules are, packed or not")
    ] = None,
    release: Annotated[
        str, typer.Option("--release", metavar="RELEASE", help="which kernel, if the packages of several are there")
    ] = "",
    symbols_only: Annotated[
        bool, typer.Option("--symbols-only", help="functions, objects and sources only: asks no container engine")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print a console's crash reports with file and line beside each address, as scripts/decode_stacktrace.sh does.

    Lines come from debugging information, which addr2line reads in a container; without either, functions, objects and
    sources come from symbol tables. Says what it could not resolve, and why. Exits 125 if that is everything.
    """  # fmt: skip
    request = decode.Request(
        path=console, kernel=kernel, modules=modules, release=release, symbols_only=symbols_only
    )  # fmt: skip
    found = decode.decoded(request, settings(), load_tables(), lambda text: said(Note(text=text, at_s=0.0)))
    code = ExitCode.AS_EXPECTED if found.resolved else ExitCode.UNTESTABLE
    shown = [report.Shown(title=one.title, facts=decode.facts(one), lines=one.lines) for one in found.reports]
    contract = report.decoded_document(
        shown, found.notes, schema_version=document.SCHEMA_VERSION, exit_code=int(code)
    )  # fmt: skip
    emit(contract, report.decoded_text(contract), as_json=as_json)
    raise typer.Exit(code)
