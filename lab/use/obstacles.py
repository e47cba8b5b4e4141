"""What makes cells hopeless before images and builds cost anything: the request, the matrix, the kernel, this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence

from lab.environment import emulation, filesystem, source
from lab.environment.source import Tree
from lab.errors import Impossible, LabError
from lab.matrix import possible
from lab.model import Cell, DebianSource, Lto, Outcome, Source
from lab.tables import Tables


def obstacles(cells: Sequence[Cell], tables: Tables, *, here: bool = True) -> dict[str, LabError]:
    """Return what makes cells impossible, or impossible on this machine, by cell id: told before anything is fetched.

    here: whether they are to be run on this machine; what another one can do is asked there.
    """
    found: dict[str, LabError] = {}
    of_sources: dict[Source, LabError | None] = {}
    for cell in cells:
        if cell.source not in of_sources:
            of_sources[cell.source] = source.obstacle(cell.source)
        why = _unwanted(cell) or of_sources[cell.source] or (_not_on_this_machine(cell, tables) if here else None)
        if why is not None:
            found[cell.id] = why
    return found


def to_be_looked_at(cell: Cell) -> bool:
    """Whether a cell's source comes before images: a request may have it wrong, or only the tree tells about LTO.

    Debian's are neither wrong nor quickly fetched, so theirs and the packages of images come side by side.
    """
    return cell.lto is not Lto.NONE or not isinstance(cell.source, DebianSource)


def lacking(cell: Cell, tree: Tree, tables: Tables) -> Impossible | None:
    """Return what a cell is about and its tree does not have, None if nothing is known to lack."""
    why = possible.tree_lacks_lto(tree.path, tables.arch[cell.arch], cell.lto)
    return Impossible(f"linux {tree.version} has no lto {cell.lto.value!r} for {cell.arch!r}: {why}") if why else None


def _unwanted(cell: Cell) -> Impossible | None:
    """Return why a cell is not to be run, whatever the machine: nothing can build it, or the matrix says so."""
    if cell.impossible:
        return Impossible(cell.impossible)
    if cell.expect is not None and cell.expect.outcome is Outcome.SKIP:
        return Impossible(cell.expect.because or "the matrix says that it is not to be run")
    return None


def _not_on_this_machine(cell: Cell, tables: Tables) -> LabError | None:
    row = tables.filesystem[cell.filesystem]
    whys = (filesystem.obstacle(one) for one in (row, tables.base_of(row)) if one is not None)
    why: LabError | None = next(filter(None, whys), None)
    return why or emulation.obstacle(tables.arch[cell.arch], cell.emulation, machine=os.uname().machine)
