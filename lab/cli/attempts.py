"""Commands on attempts that have been made: `lab diff`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lab.cli.plumbing import AsJson, emit
from lab.report import contrasted, document
from lab.use import contrast


def diff_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="an attempt's evidence folder, or a kernel's O= directory")],
    b: Annotated[Path, typer.Argument(metavar="B", help="the other")],
    as_json: AsJson = False,
) -> None:
    """Tell what differs between two attempts: environment, configuration, what was made how often, times, log lines.

    Exits 0 if nothing does, 1 if something does, 125 if nothing could be compared.
    """
    found = contrast.folders(a, b)
    code = contrast.exit_code(found)
    contract = {"schema_version": document.SCHEMA_VERSION, "exit_code": int(code), **asdict(found)}
    if found.ties is not None:
        contract["ties"] = [asdict(tie) | {"words": contrast.words(tie)} for tie in found.ties]
    emit(contract, contrasted.contrasted_text(contract), as_json=as_json)
    raise typer.Exit(code)
