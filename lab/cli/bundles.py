"""`lab bundle`: an attempt as one file that runs elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lab.cli.plumbing import AsJson, emit, said, settings, shown
from lab.report import bundle as packed
from lab.report import bundled, document
from lab.use import bundle


def bundle_command(
    attempt: Annotated[Path, typer.Argument(metavar="ATTEMPT", help="results/<run>/<cell>/<attempt>")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.tar", help="default: <cell>-<attempt>.tar here")
    ] = None,
    with_source: Annotated[
        bool, typer.Option("--with-source", help="also the unpatched source, for machines without its mirror")
    ] = False,
    with_images: Annotated[
        bool,
        typer.Option(
            "--with-image", "--with-images", help="also the images themselves, for engines without them; large"
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Pack an attempt into one tar that does it again with nothing but a shell, docker and root.

    The same attempt gives the same bytes. Attempts that are not PASS or FAIL have nothing to be reproduced.
    """
    request = bundle.Request(
        attempt=attempt, output=output, here=Path.cwd(), with_source=with_source, with_images=with_images
    )
    made = bundle.bundled(request, settings(), said)
    contract = {
        "schema_version": document.SCHEMA_VERSION,
        **asdict(made),
        "path": shown(made.path),
        "class": made.expected.word,
        "folder": packed.TOP,
    }
    emit(contract, bundled.bundled_text(contract), as_json=as_json)
