"""A hunk whose lines are known, held against a file: as it is, without white space, and with less of its context."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from lab.repro.edits import Edit, FileLines, Refused, Sureness, indentation
from lab.repro.patches import Hunk

SPOTS_MAX = 1000
TELLING = re.compile(r"\w{3}")
Operation = tuple[str, str]  # sign (" ", "-", "+") and text


def operations(hunk: Hunk) -> list[Operation] | Refused:
    """Return a hunk's lines with their signs; its header must count them. A line without a sign has lost its space."""
    ops: list[Operation] = []
    for line in hunk.body:
        sign = line.text[:1]
        if sign != "\\":
            ops.append((sign, line.text[1:]) if sign and sign in "+- " else (" ", line.text))
    old, new = (sum(sign != other for sign, _ in ops) for other in "+-")
    if hunk.short or (old, new) != (hunk.old_count, hunk.new_count):
        return Refused(
            why=f"its header counts {hunk.old_count} and {hunk.new_count} lines, and {old} and {new} are there"
        )
    if all(sign == " " for sign, _ in ops):
        return Refused(why="it changes nothing")
    if any(line.text.startswith("\\") for line in hunk.body):
        return Refused(why="it is about a last line without newline")
    return ops


def placed(hunk: Hunk, ops: Sequence[Operation], lines: FileLines, after: int) -> Edit | Refused:
    """Return what a hunk does to a file's lines. after: index behind what earlier hunks changed.

    All context must agree, else as much of it as does, from the change outwards; each time white space counts first.
    """
    fits = [_Fit(hunk, ops, lines, after, strict=strict) for strict in (True, False)]
    for before, behind in fits[0].ways():
        for fit in fits:
            if done := fit.edit(before, behind):
                return done
    return Refused(why="the lines that it changes, or those next to them, are not in this version")


def _same(one: str, other: str) -> bool:
    return one.split() == other.split()


class _Fit:
    """One way to compare. strict: white space counts."""

    def __init__(self, hunk: Hunk, ops: Sequence[Operation], file: FileLines, after: int, *, strict: bool) -> None:
        self.hunk, self.ops, self.file, self.after, self.strict = hunk, ops, file, after, strict
        self.lines = file.lines
        self.equal: Callable[[str, str], bool] = str.__eq__ if strict else _same
        changes = [index for index, (sign, _) in enumerate(ops) if sign != " "]
        self.first, self.last = changes[0], changes[-1]

    def ways(self) -> list[tuple[int, int]]:
        """Return how many lines of context may be asked for above and below the change: all first, at last one each."""
        lead, tail = self.first, len(self.ops) - 1 - self.last
        ways = [(above, below) for above in range(min(lead, 1), lead + 1) for below in range(min(tail, 1), tail + 1)]
        return sorted(ways, key=lambda way: -sum(way))

    def edit(self, before: int, behind: int) -> Edit | Refused | None:
        """Return the edit at the place with so many lines of context, None if there is none.

        Of several the nearest is taken, if all of the context agrees.
        """
        spots = [at for at in self._places(before, behind) if self._fits(at, before, behind)][:SPOTS_MAX]
        lost = len(self.ops) - 1 - self.last + self.first - before - behind
        if lost and len(spots) > 1:
            return Refused(why=f"the lines next to its change are the same in {len(spots)} places")
        if not spots:
            return None
        if lost and not any(TELLING.search(text) for text in self._wanted(before, behind)):
            return Refused(why="of the lines that it needs only empty ones and brackets are in this version")
        wanted = self.hunk.old - 1 + self.first
        return self._made(min(spots, key=lambda at: abs(at - wanted)), lost)

    def _wanted(self, lead: int, tail: int) -> list[str]:
        """Return the lines that the file must have: with so many of context."""
        return [text for sign, text in self.ops[self.first - lead : self.last + 1 + tail] if sign != "+"]

    def _places(self, lead: int, tail: int) -> Iterable[int]:
        """Return where the change may begin at all: a line that it names, the rarest, must be in its place."""
        known = [(self.file.at(text), offset) for offset, text in enumerate(self._wanted(lead, tail)) if text.strip()]
        if not known:
            return range(self.after, len(self.lines) + 1)
        rarest, offset = min(known, key=lambda pair: len(pair[0]))
        return [at - offset + lead for at in rarest]

    def _fits(self, at: int, lead: int, tail: int) -> bool:
        """Whether the change may begin at a line of the file, with so many lines of context around it."""
        wanted, start = self._wanted(lead, tail), at - lead
        if start < self.after or start + len(wanted) > len(self.lines):
            return False
        return all(self.equal(theirs, ours) for theirs, ours in zip(wanted, self.lines[start:], strict=False))

    def _made(self, at: int, lost: int) -> Edit:
        made: list[str] = []
        end = at
        for sign, text in self.ops[self.first : self.last + 1]:
            if sign == "+":
                made.append(text if self.strict else self._spaced(text, end))
            else:
                made += [self.lines[end]] if sign == " " else []
                end += 1
        notes = []
        if not self.strict:
            notes.append("white space put back: that of its context is this source's, added lines follow it")
        if lost:
            notes.append(f"{lost} lines of its context are others in this version; those next to the change agree")
        sureness = Sureness.REBASED if lost else Sureness.EXACT if self.strict else Sureness.RESTORED
        return Edit(start=at, end=end, lines=tuple(made), notes=tuple(notes), sureness=sureness)

    def _spaced(self, text: str, at: int) -> str:
        """Return an added line with its indentation: tabs that became spaces are tabs again; of one space where the others had
        more, only that there was some is known, and it gets that of the line above."""
        body = text.lstrip(" ")
        width = len(text) - len(body)
        if not body.strip() or body.startswith("\t") or not width:
            return text.rstrip() if not body.strip() else text
        if width == 1:
            return indentation(self.lines, at) + body
        return "\t" * (width // 8) + " " * (width % 8) + body
