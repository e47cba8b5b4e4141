"""A table of patches that make old commits testable: which patch, and the commits between which it is needed.

    version: 1
    backports:
      - patch: backports/objtool-binutils-2.37.patch   # beside the table
        since: v5.4            # the commit that needs it first; without it: the beginning of the history
        until: 1d489151e9f9    # the commit that does not need it any more; without it: none
        because: objtool cannot read what binutils 2.37 writes

A commit gets the patch if it has `since` among its ancestors (or is it) and has not `until`; a line of versions would not do,
as branches are left and come back. Every mistake of a file is told at once, with its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab import yamltext
from lab.errors import Mistakes, UsageError
from lab.matrix import files
from lab.model import Patch
from lab.tables import Tables
from lab.yamltext import Node, Notes, quoted

BACKPORTS_AT_MOST = 200
KEYS = ("patch", "since", "until", "because")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+^~-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backport:
    """One row. since, until: revisions, "" for no end. place: "file:line:column" where it stands."""

    patch: Patch
    since: str = ""
    until: str = ""
    because: str = ""
    place: str = ""


def read(path: Path, tables: Tables) -> tuple[Backport, ...]:
    """Return the rows of a table, in order. Raises UsageError if it cannot be read, Mistakes for all that is wrong in it."""
    try:
        with path.open("rb") as file:
            data = file.read(yamltext.SIZE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"cannot read the table of back-ports {str(path)!r}: {error.strerror}") from error
    notes = Notes(str(path))
    text = yamltext.decode(data, notes)
    root = yamltext.parse(text, notes) if text is not None else None
    around = files.Surroundings(tables=tables, folder=path.absolute().parent.resolve(), notes=notes)
    told = "table of back-ports"
    nodes = yamltext.rows(root, told, "backports", notes, at_most=BACKPORTS_AT_MOST) if root is not None else ()
    rows = [_row(node, around) for node in nodes]
    yamltext.finish(Mistakes, notes)
    return tuple(row for row in rows if row is not None)


def _row(node: Node, around: files.Surroundings) -> Backport | None:
    notes = around.notes
    found = yamltext.entries(node, "back-port", KEYS, notes)
    if found is None:
        return None
    if "patch" not in found:
        notes.at(node, "back-port lacks 'patch'", hint="a unified diff beside the table")
        return None
    told = {}
    for key in ("since", "until", "because"):
        if key in found and (written := yamltext.text(found[key][1], key, notes)) is not None:
            told[key] = written
    for key in ("since", "until"):
        if key in told and (not _REVISION.fullmatch(told[key]) or ".." in told[key]):
            notes.at(found[key][1], f"{key} must be one commit or tag, not {quoted(told[key])}")
    patch = files.patches((found["patch"][1],), around)
    if patch is None:
        return None
    return Backport(patch=patch[0], place=f"{notes.name}:{node.line}:{node.column}", **told)
