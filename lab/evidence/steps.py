"""How steps ended, as steps.json and remake.json say it; whatever is no row of the form is passed over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.model import Ending, StepResult


def steps_of(value: Any) -> tuple[StepResult, ...]:
    """Return the steps that the value of a steps.json tells of, in order: a list of rows, or {"steps": rows}."""
    rows = value.get("steps") if isinstance(value, dict) else value
    found = (step_of(row) for row in rows) if isinstance(rows, list) else ()
    return tuple(step for step in found if step is not None)


def step_of(row: Any) -> StepResult | None:
    """Return what came of one step; None if the row does not say its name, its ending and its status."""
    if not isinstance(row, Mapping):
        return None
    try:
        return StepResult(
            name=str(row["name"]),
            ending=Ending(row["ending"]),
            status=int(row["status"]),
            seconds=float(row.get("seconds", 0.0)),
            argv=tuple(map(str, row.get("argv") or ())),
            bytes_free=_whole(row.get("bytes_free")),
            inodes_free=_whole(row.get("inodes_free")),
            detail=str(row.get("detail", "")),
            dropped=_whole(row.get("dropped")) or 0,
            silent_s=float(row["silent_s"]) if isinstance(row.get("silent_s"), int | float) else None,
            set_back_s=float(row.get("set_back_s", 0.0)),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None
