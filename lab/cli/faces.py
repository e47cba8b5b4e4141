"""`lab site`: results for other people's eyes and programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lab.cli.plumbing import AsJson, emit, said, settings, shown
from lab.report import document
from lab.use import site


def site_command(
    results: Annotated[
        Path | None,
        typer.Argument(metavar="[RESULTS]", help="folder of runs, or of one run; default: the lab's results"),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="where the pages go")] = Path("site"),
    nights: Annotated[int, typer.Option("--nights", min=1, help="runs of each matrix at most, the newest")] = 30,
    title: Annotated[str, typer.Option("--title", help="what stands above")] = "kbuild-lab",
    as_json: AsJson = False,
) -> None:
    """Write static pages over many runs: grid, findings, cells, nights; opened from the disk, no server, no network.

    A site that lies in DIR already is replaced when the new one is whole.
    """
    request = site.Request(results=results or settings().results, output=output, nights=nights, title=title)
    made = site.written(request, said)
    contract = {
        "schema_version": document.SCHEMA_VERSION,
        "index": shown(made.index),
        "pages": made.pages,
        "bytes": made.bytes,
    }
    emit(contract, f"{shown(made.index)}: {made.pages} pages, {made.bytes / (1 << 20):.1f} MiB", as_json=as_json)
