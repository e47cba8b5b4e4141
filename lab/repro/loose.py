"""A hunk whose line breaks are lost, held against a file's own lines.

Signs stand at the beginnings of lines only, but they stand elsewhere, too ("mkdir -p",
"a + b"). So every sign may begin a line,
a removed line and a line of context must be the file's next one, and of all readings those count that have as many lines as
the hunk's header says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lab.repro.edits import CONTEXT, Edit, Refused, Sureness, indentation
from lab.repro.patches import Hunk

STEPS_MAX = 40_000
WORDS_MAX = 20_000
LINE_WORDS_MAX = 200
HEADING_WORDS_MAX = 16
INDENTED = re.compile(r"\.(?:py|ya?ml|rst|dtsi?|dtso)$")
"""Files in which white space means something, and nobody could tell it back."""


def readings(hunk: Hunk, lines: Sequence[str], path: str, after: int) -> Edit | Refused:
    """Return what a loose hunk does to a file's lines, if there is one best reading of it. after: behind earlier hunks."""
    if INDENTED.search(path):
        return Refused(why="its line breaks are lost, and white space means something in this file")
    reader = _Reader(hunk, lines, after)
    found: dict[tuple[int, int, tuple[str, ...]], _Reading] = {}
    for reading in reader.readings():
        found.setdefault((reading.start, reading.end, reading.lines), reading)
    if reader.steps > STEPS_MAX or len(reader.words) > WORDS_MAX:
        return Refused(why="its lines cannot be told apart in reasonable time")
    counts = f"{hunk.old_count} and {hunk.new_count}"
    if not found:
        return Refused(
            why=f"its lines were run together, and no reading has the {counts} lines of its header and fits this source"
        )
    usual = [reading for reading in found.values() if reading.even] or list(found.values())
    fewest = min(reading.lost for reading in usual)
    best = [reading for reading in usual if reading.lost == fewest]
    if len(best) > 1:
        return Refused(why=f"its lines were run together, and there are {len(best)} readings with {counts} lines")
    (reading,) = best
    if any(line.strip() == "#include" for line in reading.lines):
        return Refused(why="the page has lost what stood in angle brackets")
    notes = [
        f"line breaks put back: the only reading with the {counts} lines of its header; added lines are indented as "
        f"the one above"
    ]
    if reading.lost:
        notes.append(f"{reading.lost} lines of its context are others in this version; those next to the change agree")
    return Edit(
        start=reading.start, end=reading.end, lines=reading.lines, notes=tuple(notes),
        sureness=Sureness.REBASED if reading.lost else Sureness.RESTORED,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """One way to tell the lines apart: [start, end) of the file become `lines`. lost: lines of outer context that disagree.

    even: there are as many lines of context above the change as below it, as diff makes them.
    """

    start: int
    end: int
    lines: tuple[str, ...] = ()
    added: int = 0
    removed: int = 0
    kept: int = 0
    changed_last: bool = False
    lost: int = 0
    even: bool = False


class _Reader:
    """Holds one hunk's words against one file's lines."""

    def __init__(self, hunk: Hunk, lines: Sequence[str], after: int) -> None:
        self.hunk, self.lines, self.after = hunk, lines, after
        self.words: list[str] = []
        self.starts: set[int] = set()  # of words that begin a line of the page
        for line in hunk.body:
            self.starts.add(len(self.words))
            self.words += line.text.split()
        self.lined = len(hunk.body) > 1  # quoted: each line has its mark
        self.of_file = [line.split() for line in lines]
        self.by_words: dict[tuple[str, ...], list[int]] = {}
        for index, words in enumerate(self.of_file):
            if words and index >= after - 1:
                self.by_words.setdefault(tuple(words), []).append(index)
        self.steps = 0

    def readings(self) -> Iterator[_Reading]:
        """Yield every reading that fits: from each sign on, and each line of the file that stands right before it."""
        if len(self.words) > WORDS_MAX:
            return
        for at in range(len(self.words)):
            if not self._signed(at):
                continue
            if at == 0 and self.hunk.old <= 1:
                yield from self._checked(0, 0, 0)
            for size in range(1, min(at, LINE_WORDS_MAX) + 1):
                if self.lined and at - size not in self.starts:
                    continue
                for index in self.by_words.get(tuple(self.words[at - size : at]), ()):
                    yield from self._checked(at, index + 1, at - size)

    def _checked(self, at: int, index: int, context: int) -> Iterator[_Reading]:
        """Yield the readings of a change that begins at a word, behind a line of the file whose first word is `context`."""
        lead, rest = self._lead(index - 1, context)
        if lead < min(CONTEXT, index) and any(self._signed(word) for word in range(rest)):
            return  # a change further up would be left out
        beginnings = [index]
        while beginnings[-1] < len(self.lines) and not self.of_file[beginnings[-1]]:
            beginnings.append(beginnings[-1] + 1)  # an empty line of context leaves no word
        for begin in beginnings:
            for reading, behind in self._changes(at, begin, _Reading(start=begin, end=begin)):
                yield from self._bounded(reading, behind, min(CONTEXT, lead + begin - index))

    def _lead(self, index: int, context: int) -> tuple[int, int]:
        """Return how many lines above the change agree (the one at `index` does), and the word where the first of
        them begins."""
        if index < 0:
            return 0, 0
        agree, first = 1, context
        for above in range(index - 1, max(-1, index - CONTEXT), -1):
            words = self.of_file[above]
            if self.words[max(0, first - len(words)) : first] != words:
                break
            agree, first = agree + 1, first - len(words)
        return agree, first

    def _bounded(self, reading: _Reading, at: int, lead: int) -> Iterator[_Reading]:
        """Yield a reading if what follows it is the file's, and the numbers of lines are the header's."""
        around = self.hunk.old_count - reading.removed - reading.kept
        if reading.added - reading.removed != self.hunk.new_count - self.hunk.old_count or around < 0:
            return
        tail, behind = 0, at
        for index in range(reading.end, min(len(self.lines), reading.end + CONTEXT)):
            words = self.of_file[index]
            if (
                tail + lead >= around
                or self.words[behind : behind + len(words)] != words
                or not (self._may_begin(behind) or not words)
            ):
                break
            tail, behind = tail + 1, behind + len(words)
        whole = tail == min(CONTEXT, len(self.lines) - reading.end) or tail + lead == around
        goes_on = self._signed(behind)
        touching = tail > 0 or reading.end >= len(self.lines)
        if touching and lead + tail <= around <= 2 * CONTEXT and (whole or not goes_on):
            lost = around - lead - tail
            yield replace(reading, lost=lost, even=self._even(reading, around, lead, tail))

    def _even(self, reading: _Reading, around: int, lead: int, tail: int) -> bool:
        """Whether the lines around a change are as many above as below, but for a file's beginning and end."""
        above, below = reading.start, len(self.lines) - reading.end
        if around > lead + tail:
            return around == min(CONTEXT, above) + min(CONTEXT, below)
        size = max(lead, tail)
        return lead == min(size, above) and tail == min(size, below)

    # ---- between the first change and the last

    def _changes(self, at: int, index: int, reading: _Reading) -> Iterator[tuple[_Reading, int]]:
        """Yield (reading, the word behind it) for every way to go on from a word and a line of the file."""
        self.steps += 1
        if self.steps > STEPS_MAX:
            return
        if reading.changed_last:
            yield reading, at
        if not self._may_begin(at):
            return
        if self.words[at].startswith("+") and reading.added < self.hunk.new_count:
            yield from self._adding(at, index, reading)
        if index >= len(self.lines) or reading.kept + reading.removed >= self.hunk.old_count:
            return
        if (behind := self._removed(at, index)) is not None:
            yield from self._changes(behind, index + 1, _next(reading, index + 1, removed=1))
        words = self.of_file[index]
        if (reading.added or reading.removed) and self.words[at : at + len(words)] == words:
            yield from self._changes(
                at + len(words), index + 1, _next(reading, index + 1, line=self.lines[index], kept=1)
            )

    def _adding(self, at: int, index: int, reading: _Reading) -> Iterator[tuple[_Reading, int]]:
        """Go on behind an added line, wherever it may end: at the next sign, or where the file's next line begins."""
        following = next((words for words in self.of_file[index:] if words), [])
        for end in range(at + 1, min(len(self.words), at + LINE_WORDS_MAX) + 1):
            if end < len(self.words) and not self._ends(end, following):
                continue
            text = " ".join(self.words[at:end])[1:]
            line = indentation(self.lines, index) + text.lstrip() if text[:1] == " " else text
            yield from self._changes(end, index, _next(reading, index, line=line, added=1))
            if self.lined:  # a line of the page is one line
                return

    def _ends(self, at: int, following: Sequence[str]) -> bool:
        """Whether an added line may end before a word. following: the file's next line that has any words."""
        if self.lined:
            return at in self.starts
        return self._signed(at) or bool(following and self.words[at : at + len(following)] == following)

    def _removed(self, at: int, index: int) -> int | None:
        """Return the word behind the file's line if it stands here with a minus sign, else None."""
        words, first = self.of_file[index], self.words[at]
        if not first.startswith("-"):
            return None
        if first == "-":
            return at + 1 + len(words) if self.words[at + 1 : at + 1 + len(words)] == words else None
        attached = [first[1:], *self.words[at + 1 : at + len(words)]]
        return at + len(words) if words and attached == words else None

    def _signed(self, at: int) -> bool:
        """Whether a word may be, or begin with, the sign of a changed line."""
        return at < len(self.words) and self.words[at][:1] in ("+", "-") and self._may_begin(at)

    def _may_begin(self, at: int) -> bool:
        """Whether a line may begin with a word: on a page of quoted lines, their marks tell. No line of code begins with "=" or
        ">", so "+=" and "->" are no signs."""
        return at < len(self.words) and (at in self.starts if self.lined else self.words[at][1:2] not in ("=", ">"))


def _next(
    reading: _Reading, end: int, *, line: str | None = None, added: int = 0, removed: int = 0, kept: int = 0
) -> _Reading:
    return _Reading(
        start=reading.start, end=end, lines=reading.lines if line is None else (*reading.lines, line),
        added=reading.added + added,
        removed=reading.removed + removed, kept=reading.kept + kept, changed_last=not kept,
    )  # fmt: skip
