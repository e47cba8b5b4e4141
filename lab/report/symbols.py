"""Symbols and their positions, as the JSON contract of `lab symbols` and as a table."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.report.plain import one_line


def symbols_document(
    *,
    rows: list[dict[str, Any]],
    total: int,
    sources: Mapping[str, str],
    unreadable: Mapping[str, str],
    schema_version: int,
    exit_code: int,
) -> dict[str, Any]:
    """Return the contract. rows: object, name, position, count, address, type, file."""
    return {
        "schema_version": schema_version,
        "exit_code": exit_code,
        "total": total,
        "symbols": rows,
        "objects": [{"object": name, "order": source} for name, source in sources.items()],
        "unreadable": [{"object": name, "because": because} for name, because in unreadable.items()],
    }


def symbols_text(contract: Mapping[str, Any], *, duplicates: bool, colour: bool) -> str:
    """Return a table of the rows, what could not be read, and a closing line."""
    rows = contract["symbols"]
    lines = [_table(rows, colour=colour)] if rows else []
    lines += [f"cannot read {one_line(one['object'])}: {one_line(one['because'])}" for one in contract["unreadable"]]
    objects = len(contract["objects"])
    what = "symbols whose names need a position" if duplicates else "symbols"
    left = contract["total"] - len(rows)
    cut = f"; {left} more (--limit 0 shows all)" if left else ""
    lines.append(f"{contract['total']} {what} in {objects} object{'' if objects == 1 else 's'}{cut}")
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]], *, colour: bool) -> str:
    table = Table(box=None, pad_edge=False, header_style="bold" if colour else "")
    for name, justify in (("object", "left"), ("symbol", "left"), ("position", "right"), ("address", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("type", no_wrap=True)
    table.add_column("file", no_wrap=True)
    for row in rows:
        table.add_row(
            one_line(row["object"]),
            one_line(row["name"]),
            f"{row['position']} of {row['count']}",
            f"{row['address']:x}",
            one_line(row["type"]),
            one_line(row["file"]),
        )
    console = Console(
        file=io.StringIO(), force_terminal=colour, color_system="standard" if colour else None, no_color=not colour,
        highlight=False, markup=False, emoji=False, width=10_000, legacy_windows=False, _environ={},
    )  # fmt: skip
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
