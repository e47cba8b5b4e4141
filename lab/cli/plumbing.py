"""What every command of `lab` shares: the options of this call, the tables, cells by pattern, printing."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lab import tables
from lab.cli.ending import tell
from lab.errors import UsageError
from lab.events import Event, Note
from lab.model import Cell
from lab.report import document, plain
from lab.settings import Settings, bytes_of

ROOT = Path(__file__).parent.parent.parent
HANDED_ON = (  # what child processes may see of the caller's environment: how to reach the network, nothing else
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "XDG_RUNTIME_DIR",
)  # fmt: skip
CAP_SYS_ADMIN = 21

MatrixFile = Annotated[Path, typer.Argument(metavar="MATRIX", help="the matrix file (docs/matrix.md)")]
Cells = Annotated[
    list[str] | None,
    typer.Option("--cell", "-c", metavar="PATTERN", help="only these cells (shell pattern, repeatable)"),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="print the stable JSON contract (docs/json.md) on standard output")
]


class Accel(StrEnum):
    """How guests run."""

    AUTO = "auto"
    TCG = "tcg"
    KVM = "kvm"


def settings() -> Settings:
    """Build the options of this call from the environment and the machine. The only place that reads either."""
    environment = os.environ
    home_cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    clone = (ROOT / "images").is_dir()
    uid = os.geteuid()
    return Settings(
        cache=Path(environment.get("LAB_CACHE") or home_cache / "kbuild-lab").absolute(),
        results=Path(environment.get("LAB_RESULTS") or (ROOT if clone else Path.cwd()) / "results").absolute(),
        images=Path(environment.get("LAB_IMAGES") or ROOT / "images").absolute(),
        data=Path(__file__).parent.parent / "data",
        environment=tuple((name, environment[name]) for name in HANDED_ON if environment.get(name)),
        engine=environment.get("DOCKER_HOST", ""),
        mirror=environment.get("LAB_MIRROR", ""),
        snapshot=environment.get("LAB_SNAPSHOT", ""),
        keyring=environment.get("LAB_KEYRING", ""),
        cache_budget_bytes=bytes_of(environment.get("LAB_CACHE_BUDGET") or "60G", "LAB_CACHE_BUDGET"),
        index=environment.get("LAB_INDEX", ""),
        store=environment.get("LAB_STORE", ""),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        uid=uid or 1000,
        gid=os.getegid() or 1000,
        may_mount=uid == 0 and environment.get("LAB_MOUNT") != "helper" and has_capability(CAP_SYS_ADMIN),
    )


def has_capability(number: int) -> bool:
    """Whether this process holds a capability. Source: capabilities(7), proc(5) CapEff."""
    status = Path("/proc/self/status").read_text()
    mask = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(mask, 16) >> number & 1)


def load_tables() -> tables.Tables:
    """Read the rows."""
    return tables.load(images=settings().images)


def chosen(cells: Sequence[Cell], patterns: list[str] | None) -> tuple[Cell, ...]:
    """Return the cells that a pattern names. Raises UsageError with what is known if one names none."""
    if not patterns:
        return tuple(cells)
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(cell.id, pattern) for cell in cells):
            known = ", ".join(cell.id for cell in cells[:12]) + (", …" if len(cells) > 12 else "")
            raise UsageError(
                f"no cell is called {pattern!r}", facts=(("known", known),), hint="`lab list` shows them all"
            )
    return tuple(cell for cell in cells if any(fnmatch.fnmatchcase(cell.id, pattern) for pattern in patterns))


def only(cells: Sequence[Cell], pattern: str) -> Cell:
    """Return the one cell that a pattern names. Raises UsageError with what is known if it is none, or several."""
    found = chosen(cells, [pattern])
    if len(found) > 1:
        known = ", ".join(one.id for one in found[:12]) + (", …" if len(found) > 12 else "")
        raise UsageError(f"{len(found)} cells are called {pattern!r}", facts=(("they are", known),), hint="name one")
    return found[0]


def emit(contract: Mapping[str, Any], words: str, *, as_json: bool) -> None:
    """Print the one or the other."""
    print(document.printed_json(contract) if as_json else words)


def said(event: Event) -> None:
    """Print notes of commands that have no live view."""
    if isinstance(event, Note):
        tell(plain.one_line(event.text))


def colour(stream: Any) -> bool:
    """Whether a stream wants colours. Source: no-color.org."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR")


def shown(path: Path) -> str:
    """Return a path as one would type it from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
