"""A console's crash reports with what each address is, as text and as the JSON contract of `lab decode`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.report.plain import one_line, plain

REASONS_AT_MOST = 20
LINE_CHARS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One crash report: its title, its contract (see document()), the lines to print."""

    title: str
    facts: Mapping[str, Any]
    lines: Sequence[str]


def decoded_document(
    reports: Iterable[Shown], notes: Iterable[str], *, schema_version: int, exit_code: int
) -> dict[str, Any]:
    """Return the contract: reports with their frames, and what could not be looked up."""
    return {
        "schema_version": schema_version,
        "exit_code": exit_code,
        "reports": [{"title": one.title} | dict(one.facts) | {"text": list(one.lines)} for one in reports],
        "notes": list(notes),
    }


def decoded_text(contract: Mapping[str, Any]) -> str:
    """Return the reports' lines as they can be mailed, then what is not known and why."""
    lines: list[str] = []
    for report in contract["reports"]:
        lines += [plain(text).replace("\n", " ")[:LINE_CHARS] for text in report["text"]]
        lines.append("")
    lines += [f"note: {one_line(note)}" for note in contract["notes"]]
    lines += _unresolved(contract["reports"])
    frames = [frame for report in contract["reports"] for frame in report["frames"]]
    sure = sum(bool(frame["file"]) and not frame["why"] for frame in frames)
    doubtful = sum(bool(frame["file"] and frame["why"]) for frame in frames)
    with_line = sum(bool(frame["lines"]) for frame in frames)
    doubt = f", {doubtful} more in doubt" if doubtful else ""
    lines.append(f"{sure} of {len(frames)} addresses resolved{doubt}; {with_line} with file and line")
    return "\n".join(lines)


def _unresolved(reports: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each reason why something is not known, with the first place that has it."""
    reasons: dict[str, list[Mapping[str, Any]]] = {}
    for report in reports:
        for frame in report["frames"]:
            if frame["why"]:
                reasons.setdefault(frame["why"], []).append(frame)
    rows = []
    for why, frames in list(reasons.items())[:REASONS_AT_MOST]:
        more = f" and {len(frames) - 1} more" if len(frames) > 1 else ""
        word = "doubtful" if frames[0]["file"] else "not resolved"
        rows.append(f"{word}: line {frames[0]['line']}, {one_line(frames[0]['text'])}{more}: {one_line(why)}")
    if len(reasons) > REASONS_AT_MOST:
        rows.append(f"… and {len(reasons) - REASONS_AT_MOST} more reasons (--json has them)")
    return rows
