"""`lab worker`, and the options by which other commands use a fleet."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.plumbing import load_tables, said, settings
from lab.errors import UsageError
from lab.use import fleet
from lab.use.coordinator import Options

On = Annotated[
    str,
    typer.Option("--on", metavar="dask://HOST:PORT", help="let the workers of this scheduler do it (docs/fleet.md)"),
]
Depot = Annotated[
    str,
    typer.Option(
        "--depot",
        metavar="URL",
        help="with --on: a store that all machines reach, for evidence on its way back (fsspec)",
    ),
]


def options(on: str, depot: str, accel: str) -> Options | None:
    """Return how a fleet is used, None if none is. Raises UsageError."""
    if depot and not on:
        raise UsageError("--depot goes with --on", hint="it is where workers leave evidence")
    return Options(address=on, depot=depot, accel=accel) if on else None


def worker_command(
    scheduler: Annotated[str, typer.Argument(metavar="dask://HOST:PORT", help="where the scheduler listens")],
    name: Annotated[str, typer.Option("--name", help="what it is called in reports; default: host and process")] = "",
) -> None:
    """Lend this machine to a fleet: execute attempts that `lab run --on` sends, until interrupted.

    Tells the scheduler its processors, memory, disk, loop devices, the architectures it runs natively, and what it lacks. Uses
    this machine's own settings (LAB_CACHE, DOCKER_HOST, …). A lab of other code or image definitions refuses it.
    """
    fleet.serve(scheduler, settings(), load_tables(), said, name)
