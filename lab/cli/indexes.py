"""`lab index …`: questions over time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from lab.cli.plumbing import AsJson, emit, settings
from lab.errors import UsageError
from lab.report import document, indexed
from lab.use import indexing
from lab.use.indexing import questions

indexes = typer.Typer(
    help="Questions over time, asked of an index of all runs under results/; it is brought up to date before each.",
    no_args_is_help=True,
)
ROWS_MAX = 100_000

Matrix = Annotated[str, typer.Option("--matrix", metavar="NAME", help="which matrix; default: the only one there is")]
Last = Annotated[int, typer.Option("--last", metavar="N", min=1, max=ROWS_MAX, help="of the newest runs, how many")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=ROWS_MAX, help="rows at most")]


@contextlib.contextmanager
def up_to_date() -> Iterator[Any]:
    """Give the index, with all that is under results/."""
    index = indexing.opened(settings())
    try:
        index.grow()
        yield index
    finally:
        index.close()


def one_matrix(index: Any, name: str) -> str:
    """Return the matrix that is meant. Raises UsageError if that is not clear, or it has no run."""
    known = questions.matrices(index)
    if (name and name not in known) or (not name and len(known) != 1):
        what = f"no run of matrix {name!r}" if name else f"runs of {len(known)} matrices"
        raise UsageError(what, facts=(("known", ", ".join(known[:20]) or "none"),), hint="name one with --matrix")
    return name or known[0]


@indexes.command("update")
def update_command(as_json: AsJson = False) -> None:
    """Bring the index up to date with the folders; every question does."""
    index = indexing.opened(settings())
    told(index, index.grow(), as_json=as_json)


@indexes.command("rebuild")
def rebuild_command(as_json: AsJson = False) -> None:
    """Empty the index and make it again from the folders."""
    index = indexing.opened(settings())
    told(index, index.rebuild(), as_json=as_json)


def told(index: Any, grown: Any, *, as_json: bool) -> None:
    """Print what bringing the index up to date came to."""
    index.close()
    contract = {
        "schema_version": document.SCHEMA_VERSION, "read": list(grown.read), "removed": list(grown.removed),
        "unreadable": list(grown.unreadable),
    }  # fmt: skip
    lines = [f"{len(grown.read)} runs read, {len(grown.removed)} that are gone removed"]
    lines += [f"unreadable: {name}" for name in grown.unreadable]
    emit(contract, "\n".join(lines), as_json=as_json)


@indexes.command("cell")
def cell_command(
    cell: Annotated[str, typer.Argument(metavar="CELL", help="its id")],
    matrix: Annotated[str, typer.Option("--matrix", metavar="NAME", help="only runs of this matrix")] = "",
    last: Last = 60,
    as_json: AsJson = False,
) -> None:
    """Show what became of a cell from run to run, the oldest first."""
    with up_to_date() as index:
        contract = indexed.cell_runs_document(questions.history(index, cell, matrix=matrix, at_most=last))
    emit(contract, indexed.cell_runs_text(contract), as_json=as_json)


@indexes.command("findings")
def findings_command(
    finding: Annotated[
        str, typer.Argument(metavar="[FINDING]", help="a finding id, or a signature's key; none: all")
    ] = "",
    limit: Limit = 200,
    as_json: AsJson = False,
) -> None:
    """List faults over all runs by signature: seen first, seen last, in how many cells; those seen last first."""
    with up_to_date() as index:
        contract = indexed.findings_document(questions.findings(index, finding=finding, at_most=limit))
    emit(contract, indexed.findings_text(contract), as_json=as_json)


@indexes.command("rates")
def rates_command(
    matrix: Matrix = "",
    cell: Annotated[str, typer.Option("--cell", "-c", metavar="CELL", help="only this cell")] = "",
    last: Last = 14,
    limit: Limit = 1000,
    as_json: AsJson = False,
) -> None:
    """Tell how often each fault was found in each cell, over a matrix' newest runs; what was not judged does not count."""
    with up_to_date() as index:
        runs = questions.latest(index, one_matrix(index, matrix), at_most=last)
        contract = indexed.rates_document(questions.rates(index, runs, cell=cell, at_most=limit), runs)
    emit(contract, indexed.rates_text(contract), as_json=as_json)


@indexes.command("not-judged")
def not_judged_command(matrix: Matrix = "", last: Last = 1, as_json: AsJson = False) -> None:
    """List the cells that were ERROR or MISS in a matrix' newest runs, the newest first."""
    with up_to_date() as index:
        runs = questions.latest(index, one_matrix(index, matrix), at_most=last)
        contract = indexed.cell_runs_document(questions.not_judged(index, runs))
    emit(contract, indexed.cell_runs_text(contract), as_json=as_json)
