"""A cell with further patches: another cell, to be held against the first."""

from __future__ import annotations

from dataclasses import replace

from lab.matrix.axes import AxisValue
from lab.matrix.expand import ID_MAX, hashed, part
from lab.model import Cell, Patch


def with_patches(cell: Cell, patches: tuple[Patch, ...]) -> Cell:
    """Return the cell with further patches on top, under an id of its own. Nothing is expected of it."""
    name = "+".join(patch.name for patch in patches)
    cell_id = f"{cell.id}-with-{part(AxisValue(axis='patches', value=patches, text=name, name=name))}"
    before = dict(cell.axes).get("patches", "none")
    shown = f"{before} + {name}" if cell.patches else name
    return replace(
        cell,
        id=hashed(cell_id, repr(patches)) if len(cell_id) > ID_MAX else cell_id,
        patches=(*cell.patches, *patches),
        expect=None,
        axes=tuple((axis, shown if axis == "patches" else text) for axis, text in cell.axes),
    )
