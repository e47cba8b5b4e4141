"""Two builds side by side, as text and as the JSON contract of `lab compare-builds`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lab.report.plain import one_line

SHOWN_AT_MOST = 60


def compared_text(contract: Mapping[str, Any]) -> str:
    """Return a line for each difference, what could not be compared, what does not count, and a closing line.

    contract: schema of docs/json.md, "lab compare-builds".
    """
    differences = contract["differences"]
    lines = [_difference(row) for row in differences[:SHOWN_AT_MOST]]
    if len(differences) > SHOWN_AT_MOST:
        lines.append(f"… and {len(differences) - SHOWN_AT_MOST} more (--json has them)")
    lines += [f"unknown  {one_line(row['path'])}: {one_line(row['because'])}" for row in contract["unproven"]]
    lines += [f"left out {one_line(row['path'])}: {one_line(row['because'])}" for row in contract["explained"]]
    lines += [f"left out {words}" for words in contract["left_out"]]
    return "\n".join([*lines, _closing(contract)])


def _difference(row: Mapping[str, Any]) -> str:
    return "differs  " + ", ".join(_parts(row))


def _parts(row: Mapping[str, Any]) -> Iterator[str]:
    yield one_line(row["path"]) + (f" {one_line(row['section'])}" if row["section"] else "")
    if row["kind"] in ("only in A", "only in B"):
        yield row["kind"]
    if row["offset"] is not None:
        yield f"at {row['offset']:#x}" + (f" ({one_line(row['symbol'])})" if row["symbol"] else "")
    if row["size_a"] != row["size_b"] and None not in (row["size_a"], row["size_b"]):
        yield f"{row['size_a']} and {row['size_b']} bytes"
    if row["text"]:
        yield one_line(row["text"])


def _closing(contract: Mapping[str, Any]) -> str:
    files = f"{contract['same']} files carry the same code, {contract['identical']} of them to the last byte"
    rest = f"{contract['differing']} differ" + (
        f", {len(contract['unproven'])} unknown" if contract["unproven"] else ""
    )
    host = f"; {contract['host']} host programs left out" if contract["host"] else ""
    return f"{files}; {rest}{host}"
