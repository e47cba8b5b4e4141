"""The nouns of a report: a line with its origin, a fact with its place, and how sure it is. Nothing here is ever made up."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

QUOTED_MAX = 160  # characters of a report that are kept with a fact
VALUE_MAX = 400


class Field(StrEnum):
    """What a fact is about. A field of which nothing is said has no fact: it stays unknown."""

    SUBJECT = "subject"
    MESSAGE_ID = "message-id"
    IN_REPLY_TO = "in-reply-to"
    DATE = "date"
    FROM = "from"
    LIST = "list"
    PERSON = "person"
    LINK = "link"
    VERSION = "kernel-version"
    TREE = "kernel-tree"
    COMMIT = "commit"
    ARCH = "architecture"
    BOARD = "board"
    COMPILER = "compiler"
    LTO = "lto"
    LINKER = "linker"
    BINUTILS = "binutils"
    MAKE = "make"
    QEMU = "qemu"
    DISTRIBUTION = "distribution"
    FILESYSTEM = "filesystem"
    TIMESTAMPS = "timestamps"
    JOBS = "jobs"
    CONFIG_BASE = "config-base"
    CONFIG = "config-symbol"
    COMMAND = "build-command"
    CROSS = "cross-prefix"
    MODULE = "module"
    FINDING = "finding"
    RATE = "rate"
    DIFFERENCE = "difference"
    PATCH = "patch"


class Certainty(StrEnum):
    """STATED: the report says it in so many words. IMPLIED: a rule concludes it from what is said. GUESSED: a rule prefers it,
    and the report allows other values."""

    STATED = "stated"
    IMPLIED = "implied"
    GUESSED = "guessed"


ORDER = {Certainty.STATED: 0, Certainty.IMPLIED: 1, Certainty.GUESSED: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something is said. line, first, last: line and columns, from 1; last is the last character's.

    part: "" where line counts in the file itself; else what was decoded ("attachment config.gz"), whose lines are counted.
    text: the words, at most QUOTED_MAX characters, as they stand there.
    """

    file: str
    line: int
    first: int
    last: int
    text: str
    part: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a report, without quote marks. at, column: of its first character in the file (or part), from 1.

    level: how deep it is quoted. by: who wrote it, "" if not known. patch: whether it belongs to a diff's header or hunks.
    uncertain: who wrote it was decided by a rule, as a page that runs lines together does not say where a quotation ends.
    """

    text: str
    at: int
    column: int = 1
    level: int = 0
    by: str = ""
    patch: bool = False
    uncertain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One value that a report gives for one field.

    value: in the field's own form (an architecture as the kernel calls it, "gcc 7.3.0", "CONFIG_X=y", "1/10").
    rule: the name of the rule that concluded it, "" for what is stated. by: who says it, "" if not known. level: how deep it
    is quoted. data: further facts for machines.
    """

    field: Field
    value: str
    place: Place
    certainty: Certainty = Certainty.STATED
    rule: str = ""
    by: str = ""
    level: int = 0
    data: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """Return one of the further facts, "" if there is none of the name."""
        return dict(self.data).get(name, "")


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive lines of one writer at one depth, as one text."""

    file: str
    part: str
    lines: tuple[Line, ...]
    text: str = ""
    words: str = ""  # the same with spaces for line breaks: a sentence may go on in the next line
    starts: tuple[int, ...] = field(default=())

    @property
    def by(self) -> str:
        """Who wrote it, "" if not known."""
        return self.lines[0].by

    @property
    def level(self) -> int:
        """How deep it is quoted."""
        return self.lines[0].level

    def place(self, start: int, end: int) -> Place:
        """Return the place of text[start:end]; what goes on in further lines is told by its first line."""
        index = max(0, bisect.bisect_right(self.starts, start) - 1)
        line = self.lines[index]
        offset = start - self.starts[index]
        length = max(1, min(end - start, len(line.text) - offset))
        first = line.column + offset
        words = " ".join(self.text[start : min(end, start + QUOTED_MAX)].split())
        return Place(file=self.file, part=self.part, line=line.at, first=first, last=first + length - 1, text=words)


def block(file: str, part: str, lines: Sequence[Line]) -> Block:
    """Put lines together. They must not be empty."""
    starts, at = [], 0
    for line in lines:
        starts.append(at)
        at += len(line.text) + 1
    text = "\n".join(line.text for line in lines)
    return Block(file, part, tuple(lines), text, text.replace("\n", " "), tuple(starts))


def unique(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Return facts without repetitions: of those that say the same for the same reason in one writer's words, the first.
    Whoever repeats another's value is a witness of his own."""
    first: dict[tuple[object, ...], Fact] = {}
    for fact in facts:
        key = (fact.field, fact.value, fact.by, fact.rule, fact.data if fact.field in DATA_TELLS else ())
        first.setdefault(key, fact)
    return tuple(first.values())


DATA_TELLS = frozenset({Field.FINDING, Field.RATE, Field.PATCH})
