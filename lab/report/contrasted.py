"""Two attempts side by side, as text and as the JSON contract of `lab diff`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lab.report.plain import one_line

SHOWN_AT_MOST = 40
UNKNOWN = {
    "environment": "one of them has no record.json",
    "config": "one of them has no configuration",
    "made": "one of them has no build log",
    "ties": "the clock is fine, or unknown, in one of them",
}


def contrasted_text(contract: Mapping[str, Any]) -> str:
    """Return what differs, a line each, and what could not be compared. contract: docs/json.md, "lab diff"."""
    lines = [*_values(contract, "environment"), *_values(contract, "config"), *_made(contract)]
    lines += [f"time     {one_line(row['words'])}" for row in contract["ties"] or ()]
    for key, side in (("lines_a", "a"), ("lines_b", "b")):
        lines += [f"only {side}   {one_line(line)}" for line in contract[key]]
    for key, side in (("exports_a", "a"), ("exports_b", "b")):
        if contract[key]:
            lines.append(f"exported in {side} only: {one_line(', '.join(contract[key]))}")
    if not lines:
        lines = ["nothing differs that could be compared"]
    lines += [f"not compared  {key}: {why}" for key, why in UNKNOWN.items() if contract[key] is None]
    return "\n".join(lines)


def _values(contract: Mapping[str, Any], key: str) -> Iterator[str]:
    word = {"environment": "record  ", "config": "config  "}[key]
    for row in contract[key] or ():
        yield f"{word} {one_line(row['name'])}: {one_line(row['a']) or '(not there)'} | {one_line(row['b']) or '(not there)'}"


def _made(contract: Mapping[str, Any]) -> Iterator[str]:
    rows = contract["made"] or ()
    for row in rows[:SHOWN_AT_MOST]:
        yield f"made     {one_line(row['target'])}: {_times(row['a'])} in a, {_times(row['b'])} in b"
    if len(rows) > SHOWN_AT_MOST:
        yield f"made     … and {len(rows) - SHOWN_AT_MOST} more files (--json has them)"


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")
