"""Quote marks off, depth kept: a document's lines → lines with a level.

Where lines were run together the marks are all that is left of the line breaks, and those of an empty quoted line stand right
before those of the next one: "> > > >" may be one line quoted four times, or an empty line and one, both quoted twice. The
reading is taken that makes the whole page the least strange (Viterbi's algorithm over the runs of marks).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lab.repro import flattened
from lab.repro.facts import Line

LEVELS_MAX = 12
WIDTH = 92  # characters of a quoted line with its marks: mailers wrap at 72 to 80, patches and logs may be longer
LOG_WIDTH = 240
PREFIX = re.compile(r"[ \t]{0,2}(?:>[ \t]?)+")
LINKER = re.compile(r">>> (?:referenced by|defined at|defined in|the vtable|did you mean)|>>> {2,}\S+:\(")
OF_ROBOT = re.compile(r"[\w./+-]{1,200}(?::\d+){1,2}:|(?:ERROR|WARNING|ld|ld\.lld): ")  # what is new to the 0-day robot
NEW_ONE = re.compile(rf">> (?:{OF_ROBOT.pattern})")
RUN = re.compile(r"(?<!\S)(?:>(?!8)[ ]?){1,200}(?=\S|$)|(?<!\S)(?:> ?){1,200}$")
ATTRIBUTION = re.compile(r"(?:wrote|writes):\s*$|^From: \S")
OF_SHELL = re.compile(r"[$/&\"'({.]|\w+[./]\w")  # >$(objtree)/x, >/dev/null, >&2
IN_EXPRESSION = re.compile(r"[\w)\]]$")
CONSTANT = re.compile(r"(?:[A-Z][A-Z0-9_]{1,40}|\d{1,12}[uUlL]{0,3})\)*[;),]|(?:[A-Z][A-Z0-9_]{2,40}|\d{1,12})\) ")
BEGINS = re.compile(r"[A-Z][a-z' ]|I ")
SENTENCE_END = re.compile(r"[.?!:;][\"')]{0,2} (?=[A-Z\"'(])")


def unquoted(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return the lines of a mail or page without quote marks, each with its level; run-together ones are split first."""
    if flattened.is_flat(lines):
        return tuple(_flat(lines))
    return tuple(_plain(line) for line in lines)


def _plain(line: Line) -> Line:
    found = PREFIX.match(line.text[:400])
    if NEW_ONE.match(line.text):
        return replace(line, text=line.text[3:], column=line.column + 3)
    if not found or LINKER.match(line.text):
        return line
    marks = found[0]
    if marks.endswith("\t"):  # a tab after the marks belongs to the text
        marks = marks[:-1]
    level = min(marks.count(">"), LEVELS_MAX)
    return replace(line, text=line.text[len(marks) :], column=line.column + len(marks), level=level)


# ------------------------------------------------------------------------------------------------- lines run together


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of text, and the groups of marks before it; () if it has none. whole: it told its own end."""

    line: Line
    groups: tuple[int, ...] = ()
    whole: bool = False


def _flat(lines: Sequence[Line]) -> Iterator[Line]:
    marks = [run[0].endswith(" ") for line in lines for run in RUN.finditer(line.text)]
    tight = len(marks) >= 3 and 4 * sum(marks) < len(marks)  # this page writes ">words"
    pieces = [piece for line in lines for piece in _pieces(line, tight)]
    levels = _levels(pieces)
    room, before = 0, 0  # what is left of the present line's width; the level of what was said before
    for piece, level in zip(pieces, levels, strict=True):
        if piece.groups:
            room = WIDTH - 2 * level
        goes_on = (
            not piece.groups and before > 0 and len(piece.line.text) <= room
        )  # in the middle of a line that is short
        line = replace(piece.line, level=before if goes_on else level)
        for part in _overlong(line, room if line.level else len(line.text), piece.whole):
            yield part
            room -= len(part.text) + 1
            before = part.level
        if piece.whole:
            room = 0


def _pieces(line: Line, tight: bool) -> Iterator[_Piece]:
    """Yield the stretches of a line, each with the marks before it. tight: no space follows them."""
    groups: list[int] = []
    last = 0  # where the last mark was
    for stretch in flattened.split(line):
        at, text = 0, stretch.text
        whole = _is_whole(text)
        for run in RUN.finditer(text) if not whole else ():
            if not _is_mark(text, run, tight, within=stretch.column + run.start() - last <= WIDTH):
                continue
            last = stretch.column + run.end()
            if told := text[at : run.start()].rstrip():
                yield _Piece(replace(stretch, text=told, column=stretch.column + at), tuple(groups))
                groups = []
            groups += [word.count(">") for word in run[0].split()]
            at = run.end()
        if told := text[at:]:
            yield _Piece(replace(stretch, text=told, column=stretch.column + at), tuple(groups), whole)
            groups = []


def _is_mark(text: str, run: re.Match[str], tight: bool, within: bool) -> bool:
    """Whether ">" begins a quoted line, and is no operator or redirection. within: a quotation went on until here."""
    following = text[run.end() : run.end() + 80]
    if not tight and run[0][-1] == ">" and following and OF_SHELL.match(following):
        return False
    before = text[max(0, run.start() - 60) : run.start()].rstrip()
    if not before or not IN_EXPRESSION.search(before) or before.endswith(("wrote:", "writes:")):
        return True
    return not (CONSTANT.match(following) or (not within and not BEGINS.match(following)))


def _is_whole(text: str) -> bool:
    found = flattened.MARKS.match(text)
    return bool(found and found["whole"] and found.end() == len(text))


def _overlong(line: Line, room: int, whole: bool) -> Iterator[Line]:
    """Yield a quoted line, and apart from it what follows on the page without a mark: the answer to it.

    A quoted line has an end, and no page says where. The first end of a sentence is taken; so `uncertain`.
    """
    if not line.level or whole or len(line.text) <= room:
        yield line
        return
    ends = SENTENCE_END.search(line.text[: max(room, 1) + 1])
    of_log = not ends or flattened.MARKS.match(line.text) is not None
    if of_log and len(line.text) <= LOG_WIDTH:  # a command, or a line of a log
        yield line
        return
    cut = ends.end() if ends else max(line.text.rfind(" ", 0, LOG_WIDTH), 1)
    yield replace(line, text=line.text[:cut].rstrip(), uncertain=True)
    rest = line.text[cut:]
    told = rest.lstrip()
    yield replace(line, text=told, column=line.column + cut + len(rest) - len(told), level=0, uncertain=True)


# ---- how deep: the cheapest reading of all runs of marks

FAR_JUMP, CHANGE, BLANK, ODD = 2.0, 3.0, 1.0, 5.0


def _levels(pieces: Sequence[_Piece]) -> list[int]:
    """Return the level of each piece."""
    costs: dict[int, float] = {0: 0.0}
    ways: list[dict[int, int]] = []  # per piece: level -> the level before it on the cheapest way
    voices = sum(ATTRIBUTION.search(piece.line.text) is not None for piece in pieces)
    previous = _Piece(Line(text="", at=0), whole=True)
    for piece in pieces:
        now: dict[int, float] = {}
        way: dict[int, int] = {}
        for before, spent in costs.items():
            for level, cost in _readings(piece, before, previous, voices):
                if spent + cost < now.get(level, float("inf")):
                    now[level], way[level] = spent + cost, before
        costs, previous = now, piece
        ways.append(way)
    if not pieces:
        return []
    level = min(costs, key=lambda one: costs[one])
    found = []
    for way in reversed(ways):
        found.append(level)
        level = way[level]
    return found[::-1]


def _readings(piece: _Piece, before: int, previous: _Piece, voices: int) -> Iterator[tuple[int, float]]:
    """Yield (level, cost) of what the marks before a piece may mean."""
    if not piece.groups:
        yield 0, 0.0
        return
    if piece.groups == (2,) and OF_ROBOT.match(piece.line.text):
        yield 0, 0.0
        return
    total, seen = 0, set()
    for size in reversed(piece.groups):
        total += size
        if total > LEVELS_MAX:
            break
        seen.add(total)
    for level in sorted(seen):
        far = FAR_JUMP * max(0, level - max(voices, before + 1))  # deeper than anybody is said to have been quoted
        yield level, far + _cost(level, sum(piece.groups) - level, before, previous, piece)
    if not seen:
        yield LEVELS_MAX, ODD


def _cost(level: int, rest: int, before: int, previous: _Piece, piece: _Piece) -> float:
    """Return how strange it is that a line of one level follows another, with `rest` marks of empty lines between them."""
    text, said = piece.line.text, previous.line.text.rstrip()
    attribution = said.endswith(("wrote:", "writes:")) and level == before + 1
    cost = 0.0 if level == before or attribution else CHANGE - (1.5 if rest else 0.0)
    if rest:
        cost += _blank_cost(rest, level, before)
        if said[-1:].isalnum() and text[:1].islower() and not previous.whole:
            cost += ODD  # an empty line within a sentence
    elif level == before and len(said) < 50 and said.endswith((".", "?", "!")) and len(piece.groups) == level:
        cost += 2.5  # a short last line, and no empty one before the next paragraph
    if len(piece.groups) > 1 and max(piece.groups) > 1 and piece.groups[-1] != level:
        cost += 1.0  # ">> >>" is two lines
    return cost


def _blank_cost(rest: int, level: int, before: int) -> float:
    """Return the cost of reading so many marks as empty quoted lines: best at the lower of both levels."""
    usual = min(level, before) or level
    for often in (1, 2, 3):
        if rest == often * usual:
            return BLANK * often
    if rest in (level, before, level + before):
        return BLANK * 1.6
    return ODD
