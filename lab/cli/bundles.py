"""`lab bundle` and `lab verify-bundle`: an attempt as one file that runs elsewhere, and the proof that it does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lab import __version__
from lab.cli.plumbing import AsJson, emit, load_tables, said, settings, shown
from lab.report import bundle as packed
from lab.report import bundled, document
from lab.use import bundle, verify


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


def verify_bundle_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.tar", help="what `lab bundle` wrote")],
    times: Annotated[
        int,
        typer.Option(
            "--times",
            min=0,
            metavar="N",
            help="runs at most; 0: one, or as many as a flaky cell's rate asks for (to 20)",
        ),
    ] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="keep the evidence of each run under results/")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="run reproduce.sh as root even if it is not as this lab would make it")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a bundle's reproduce.sh in an empty home, judge what it left, and compare with the verdict that it came with.

    Exits 0 if it is the same, 1 if it is another, 125 if that cannot be told, 128 for the machine's trouble, 129 for a file
    that is no bundle, or whose script is not run unread.
    """
    request = verify.Request(file=file, times=times, keep=keep, trust=trust)
    found = verify.verified(request, settings(), load_tables(), said)
    contract = {
        "schema_version": document.SCHEMA_VERSION,
        "exit_code": int(found.exit_code),
        "answer": found.answer,
        "words": found.words,
        "judged_by": __version__,
        "class": found.expected.word,
        "expected": asdict(found.expected),
        "runs": [verify.run_row(run, found.expected) for run in found.runs],
        "kept": shown(found.kept) if found.kept else None,
    }
    emit(contract, bundled.verified_text(contract), as_json=as_json)
    raise typer.Exit(found.exit_code)
