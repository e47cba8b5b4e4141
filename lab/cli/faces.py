"""`lab site`, `lab serve` and `lab export`: results for other people's eyes and programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lab.cli.ending import tell
from lab.cli.plumbing import AsJson, emit, said, settings, shown
from lab.errors import UsageError
from lab.report import document
from lab.report.export.junit import junit
from lab.report.export.kcidb import kcidb
from lab.report.export.mail import Envelope, mail
from lab.report.export.markdown import markdown
from lab.report.export.told import Told
from lab.use import export, indexing, serve, site

Mails = Annotated[list[str] | None, typer.Option(metavar="ADDRESS", help="of the mail; repeatable")]


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
    options = settings()
    if results is None and options.results.is_dir():
        indexing.update(options, said)
    request = site.Request(
        results=results or options.results, output=output, nights=nights, title=title,
        index=options.index if results is None else "",
    )  # fmt: skip
    made = site.written(request, said)
    contract = {
        "schema_version": document.SCHEMA_VERSION,
        "index": shown(made.index),
        "pages": made.pages,
        "bytes": made.bytes,
    }
    emit(contract, f"{shown(made.index)}: {made.pages} pages, {made.bytes / (1 << 20):.1f} MiB", as_json=as_json)


def serve_command(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="what `lab site -o DIR` wrote")] = Path("site"),
    bind: Annotated[
        str, typer.Option("--bind", metavar="ADDRESS", help="where to listen; by default nobody else gets there")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free")] = 8000,
) -> None:
    """Serve a site over HTTP, to be read only, until it is interrupted.

    Nothing but the site's own files is handed out; links to the evidence lead nowhere.
    """
    with serve.opened(folder, bind, port) as server:
        if not server.loopback:
            tell("lab: whoever reaches this address can read the site")
        print(f"{shown(folder)} is at {server.url}; Ctrl-C ends it", flush=True)
        server.serve_forever()


def export_command(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="results/<run>; default: the newest run of the lab's results")
    ] = None,
    as_kcidb: Annotated[bool, typer.Option("--kcidb", help="KCIDB's JSON, version 5")] = False,
    as_junit: Annotated[bool, typer.Option("--junit", help="JUnit XML, a test case for each cell")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="a summary for CI pages")] = False,
    mail_of: Annotated[
        str,
        typer.Option(
            "--mail", metavar="CELL", help="one cell's fault as a mail in the 0-day robot's layout; never sent"
        ),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="default: standard output")
    ] = None,
    origin: Annotated[str, typer.Option("--origin", help="the lab's name in KCIDB: a-z, 0-9, _")] = "kbuild_lab",
    sender: Annotated[
        str, typer.Option("--from", metavar="ADDRESS", help="of the mail")
    ] = "kbuild-lab <lab@localhost>",
    to: Mails = None,
    cc: Mails = None,
    tree: Annotated[str, typer.Option("--tree", metavar="TREE:BRANCH", help="for the mail's subject")] = "",
    introduced: Annotated[
        str, typer.Option("--introduced", metavar="A..B", help="tells regzbot; only if a person has confirmed it")
    ] = "",
    link: Annotated[
        str, typer.Option("--link", metavar="URL", help="the report that the mail is about, for Closes:")
    ] = "",
) -> None:
    """Write a run for other programs: KCIDB, JUnit, Markdown, or a mail that somebody may send."""
    asked = [
        name
        for name, on in (("kcidb", as_kcidb), ("junit", as_junit), ("markdown", as_markdown), ("mail", mail_of))
        if on
    ]
    if len(asked) != 1:
        raise UsageError("say one of --kcidb, --junit, --markdown, --mail CELL")
    told = export.told((run or settings().results / "latest").resolve())
    envelope = Envelope(
        sender=sender, to=tuple(to or ()), cc=tuple(cc or ()), tree=tree, introduced=introduced, link=link
    )
    raw = exported(told, asked[0], origin, mail_of, envelope)
    if output is None:
        sys.stdout.buffer.write(raw)
    else:
        export.keep(output, raw)


def exported(told: Told, what: str, origin: str, cell: str, envelope: Envelope) -> bytes:
    """Return the run in one of its forms. Raises UsageError for an origin, an address or a range of another form."""
    try:
        if what == "kcidb":
            return document.printed_json(kcidb(told, origin)).encode() + b"\n"
        if what == "junit":
            return junit(told)
        if what == "markdown":
            return markdown(told).encode("utf-8", "replace")
        return mail(told, *export.one(told, cell), envelope)
    except ValueError as error:
        raise UsageError(str(error)) from error
