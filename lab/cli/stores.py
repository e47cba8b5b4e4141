"""`lab store …`: what is kept of finished attempts, here and elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.plumbing import AsJson, emit, settings
from lab.report import document
from lab.use import storing
from lab.use.storing import Keep

stores = typer.Typer(
    help="What is kept of finished attempts: copies in a store (LAB_STORE, any fsspec URL), evidence by rule.",
    no_args_is_help=True,
)
RunName = Annotated[str, typer.Argument(metavar="RUN", help="its name under results/")]
Rule = Annotated[
    Keep,
    typer.Option(help="all; failures: nothing but documents of attempts that are PASS; findings: only what proves one"),
]


@stores.command("put")
def put_command(run: RunName, keep: Rule = Keep.ALL, as_json: AsJson = False) -> None:
    """Copy a run's finished attempts into the store: each content once, compressed."""
    moved = storing.put(run, keep, settings())
    contract = {
        "schema_version": document.SCHEMA_VERSION, "attempts": moved.attempts, "objects": moved.objects,
        "shared": moved.shared, "bytes": moved.bytes, "packed_bytes": moved.packed_bytes,
    }  # fmt: skip
    words = f"{moved.attempts} attempts; {moved.objects} new objects of {moved.packed_bytes >> 10} KiB, packed"
    emit(contract, f"{words}; {moved.shared} files were there already", as_json=as_json)


@stores.command("get")
def get_command(run: RunName, as_json: AsJson = False) -> None:
    """Bring a run back from the store to results/; what is there is left as it is."""
    options = settings()
    count = storing.at(options).get_run(run, options.results)
    emit({"schema_version": document.SCHEMA_VERSION, "attempts": count}, f"{count} attempts", as_json=as_json)


@stores.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List the runs that are in the store."""
    runs = storing.at(settings()).runs()
    emit({"schema_version": document.SCHEMA_VERSION, "runs": list(runs)}, "\n".join(runs) or "nothing", as_json=as_json)


@stores.command("thin")
def thin_command(
    run: RunName,
    keep: Annotated[Keep, typer.Option(help="failures or findings; see `lab store put --help`")],
    as_json: AsJson = False,
) -> None:
    """Take away evidence of a run here, by a rule. Documents and verdicts stay; evidence.json says what went."""
    files, size = storing.thin(run, keep, settings())
    contract = {"schema_version": document.SCHEMA_VERSION, "files": files, "bytes": size}
    emit(contract, f"{files} files of {size >> 20} MiB removed", as_json=as_json)
