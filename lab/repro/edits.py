"""What a hunk does to a file's lines, and a unified diff of it with the file's own context."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lab.repro.patches import NOWHERE

CONTEXT = 3


class Sureness(StrEnum):
    """EXACT: every byte is the report's. RESTORED: lines or white space were put back with the tree's help. REBASED: besides,
    or only, the lines around the change were replaced by those of this version."""

    EXACT = "exact"
    RESTORED = "restored"
    REBASED = "rebased"


def worst(some: Iterable[Sureness]) -> Sureness:
    """Return the least sure of some."""
    order = list(Sureness)
    return order[max((order.index(one) for one in some), default=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why a diff gives no patch for a tree."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Lines [start, end) of a file become others. Indices from 0. notes: what was restored, and how surely."""

    start: int
    end: int
    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()
    sureness: Sureness = Sureness.EXACT


class FileLines:
    """The lines of a file, and where each of them stands."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self._at: dict[str, list[int]] = {}
        for index, line in enumerate(lines):
            self._at.setdefault(" ".join(line.split()), []).append(index)

    def at(self, line: str) -> Sequence[int]:
        """Return the indices of the lines that differ from one in white space at most."""
        return self._at.get(" ".join(line.split()), ())


def indentation(lines: Sequence[str], at: int) -> str:
    """Return the white space at the beginning of a line that is known to have had some: that of its neighbour above, else of
    the one below, else a tab."""
    for some in (reversed(lines[:at]), iter(lines[at:])):
        line = next((line for line in some if line.strip()), "")
        if line[:1] in (" ", "\t"):
            return line[: len(line) - len(line.lstrip())]
    return "\t"


def written(path: str, lines: Sequence[str], edits: Sequence[Edit], *, gone: bool = False) -> str:
    """Return a unified diff of edits, in order; edits that are near each other share a hunk. gone: the file is deleted."""
    groups: list[list[Edit]] = []
    for edit in edits:
        if groups and edit.start - groups[-1][-1].end <= 2 * CONTEXT:
            groups[-1].append(edit)
        else:
            groups.append([edit])
    text = f"--- a/{path}\n+++ {NOWHERE if gone else f'b/{path}'}\n"
    shift = 0
    for group in groups:
        first, last = max(0, group[0].start - CONTEXT), min(len(lines), group[-1].end + CONTEXT)
        body: list[str] = []
        at = first
        for edit in group:
            body += [f" {line}" for line in lines[at : edit.start]]
            body += _changed(lines[edit.start : edit.end], edit.lines)
            at = edit.end
        body += [f" {line}" for line in lines[at:last]]
        old = sum(not line.startswith("+") for line in body)
        new = sum(not line.startswith("-") for line in body)
        ranges = f"-{first + 1 if old else 0},{old} +{first + 1 + shift if new else 0},{new}"
        text += f"@@ {ranges} @@\n" + "".join(f"{line}\n" for line in body)
        shift += new - old
    return text


def _changed(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return the lines of a change; what stays the same within it is context."""
    body: list[str] = []
    at = 0
    for line in new:
        if line in old[at:]:
            here = at + list(old[at:]).index(line)
            body += [f"-{other}" for other in old[at:here]] + [f" {line}"]
            at = here + 1
        else:
            body.append(f"+{line}")
    return body + [f"-{other}" for other in old[at:]]
