"""Diffs in a text: found, read by the counts of their hunks, and judged before anything else looks at them. Nothing
is written here.

A hunk's header says how many lines it has, so that a diff ends where it says and not where prose begins. Where a page ran lines
together, or a reviewer's words stand in between, what is found is only a candidate: lab.repro.hunks makes a patch of it, or
says why not. Source: POSIX diff -u; git-diff(1), "extended header lines".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lab.repro.facts import Line, Place

FILES_MAX = 200
HUNKS_MAX = 500
HUNK_LINES_MAX = 5000
FOREIGN_MAX = 400  # lines of comments between two lines of a hunk
GIT = re.compile(r"diff --git (?P<old>\S{1,400}) (?P<new>\S{1,400})\s*$")
OLD = re.compile(r"--- (?P<path>[^\t\n]{1,400}?)(?:\t[^\n]*| \d{4}-\d\d-\d\d .*)?\s*$")
NEW = re.compile(r"\+\+\+ (?P<path>[^\t\n]{1,400}?)(?:\t[^\n]*| \d{4}-\d\d-\d\d .*)?\s*$")
HUNK = re.compile(
    r"@@ -(?P<old>\d{1,7})(?:,(?P<old_count>\d{1,5}))? \+(?P<new>\d{1,7})(?:,(?P<new_count>\d{1,5}))? @@(?P<rest>.*)",
    re.S,
)
EXTENDED = re.compile(
    r"index [0-9a-f]{4,64}\.\.[0-9a-f]{4,64}|(?:old|new) mode|(?:new|deleted) file mode|(?:dis)?similarity index"
    r"|(?:rename|copy) (?:from|to) "
    r"|GIT binary patch|Binary files |literal \d|delta \d"
)
ENDS = re.compile(r"-- ?$|-{2,12} ?(?:>8|8<)|_{20,}$|On .{6,100} wrote:$|Index: ")
PLAIN_PATH = re.compile(
    r"[A-Za-z0-9_+.,@=%~][A-Za-z0-9_+.,@=%~-]{0,100}(?:/[A-Za-z0-9_+.,@=%~][A-Za-z0-9_+.,@=%~-]{0,100}){0,20}"
)
NOWHERE = "/dev/null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    """One hunk as found. body: the lines below its header, signs and all. loose: a line of it may hold several.

    short: lines are missing by the header's counts.
    """

    old: int
    old_count: int
    new: int
    new_count: int
    heading: str
    body: tuple[Line, ...]
    loose: bool = False
    short: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDiff:
    """What a diff does to one file. old, new: paths as written. extended: git's further header lines."""

    old: str
    new: str
    extended: tuple[str, ...]
    hunks: tuple[Hunk, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """A diff of one or several files. before: the words above it; subject: of the mail, or below a cut mark.

    inside: indices of the lines that belong to it.
    """

    files: tuple[FileDiff, ...]
    place: Place
    by: str
    level: int
    before: str = ""
    subject: str = ""
    inside: frozenset[int] = frozenset()
    message: int = 0


def found(
    file: str, part: str, lines: Sequence[Line], *, loose: bool, subject: str = "", message: int = 0
) -> Iterator[Diff]:
    """Yield the diffs of a text. loose: its lines were run together."""
    index = 0
    while index < len(lines):
        if not _begins(lines, index):
            index += 1
            continue
        reader = _Reader(lines, index, loose)
        files = reader.files()
        if files:
            line = lines[index]
            yield Diff(
                files=files, by=line.by, level=line.level, before=_before(lines, index), message=message,
                place=Place(
                    file=file, part=part, line=line.at, first=line.column, last=line.column + max(0, len(line.text) - 1),
                    text=line.text[:160],
                ),
                subject=_subject(lines, index) or subject, inside=frozenset(reader.inside),
            )  # fmt: skip
        index = max(reader.at, index + 1)


def _begins(lines: Sequence[Line], index: int) -> bool:
    line = lines[index]
    if GIT.match(line.text[:900]):
        return True
    if not OLD.match(line.text[:500]):
        return False
    below = next((other for other in lines[index + 1 : index + 4] if other.level == line.level), None)
    return below is not None and NEW.match(below.text[:500]) is not None


CUT = re.compile(r"-{2,12} ?(?:>8|8<)")
SUBJECT = re.compile(r"Subject: (?P<text>(?:\[[^\]\n]{1,60}\] ?)?[^\n]{3,160})")

RUN_ON = re.compile(r"(?<=[a-z)\]]) (?=[A-Z][a-z]+ [a-z]+ [a-z])")  # where a page ran the text into its title


def _subject(lines: Sequence[Line], index: int) -> str:
    """Return the subject that is given below a cut mark, "" if there is none."""
    for line in reversed(lines[max(0, index - 60) : index]):
        if line.level != lines[index].level:
            continue
        if one := SUBJECT.match(line.text[:400]):
            return RUN_ON.split(one["text"], maxsplit=1)[0]
        if CUT.match(line.text):
            break
    return ""


def _before(lines: Sequence[Line], index: int) -> str:
    """Return the writer's words above a diff, to its cut mark and beyond, the nearest last."""
    level = lines[index].level
    above = [line.text for line in lines[max(0, index - 80) : index] if line.level == level and not line.patch]
    return " ".join(" ".join(above).split())[-3000:]


class _Reader:
    """Reads one diff from its first line. at: the index behind it. inside: indices that belong to it."""

    def __init__(self, lines: Sequence[Line], start: int, loose: bool) -> None:
        self.lines, self.at, self.loose = lines, start, loose
        self.level = lines[start].level
        self.inside: set[int] = set()
        self.hunks = 0

    def files(self) -> tuple[FileDiff, ...]:
        """Return what the diff says of each file; () if it is none."""
        found: list[FileDiff] = []
        while len(found) < FILES_MAX and (one := self._file()) is not None:
            found.append(one)
        return tuple(found)

    def _line(self, skip: int = 3) -> Line | None:
        """Return the next line of the level, empty ones and a few foreign ones passed over; None at the end."""
        for index in range(self.at, min(len(self.lines), self.at + FOREIGN_MAX)):
            line = self.lines[index]
            if line.level == self.level and line.text.strip():
                self.at = index
                return line
            if line.level == self.level:
                skip -= 1
            if skip < 0:
                return None
        return None

    def _take(self) -> None:
        self.inside.add(self.at)
        self.at += 1

    def _file(self) -> FileDiff | None:
        line = self._line()
        if line is None or not _begins(self.lines, self.at):
            return None
        old = new = ""
        extended: list[str] = []
        while (line := self._line()) is not None:
            text = line.text[:900]
            if (git := GIT.match(text)) and not old and not extended:
                old, new = git["old"], git["new"]
            elif git:
                break
            elif one := OLD.match(text):
                old = one["path"].strip()
            elif one := NEW.match(text):
                new = one["path"].strip()
                self._take()
                break
            elif EXTENDED.match(text):
                extended.append(text)
            elif not extended or not self._binary(extended):
                break
            self._take()
        hunks = tuple(self._hunks())
        return FileDiff(old=old, new=new, extended=tuple(extended[:20]), hunks=hunks) if old and new else None

    @staticmethod
    def _binary(extended: Sequence[str]) -> bool:
        return any(one.startswith(("GIT binary", "literal", "delta")) for one in extended)

    def _hunks(self) -> Iterator[Hunk]:
        while self.hunks < HUNKS_MAX and (line := self._line()) is not None and (head := HUNK.match(line.text)):
            self.hunks += 1
            self._take()
            counts = [int(head[name]) if head[name] is not None else 1 for name in ("old_count", "new_count")]
            if min(counts) < 0 or max(counts) > HUNK_LINES_MAX:
                return
            rest = head["rest"].strip()
            body, short = self._loose_body(line, head) if self.loose else self._body(*counts)
            yield Hunk(
                old=int(head["old"]), old_count=counts[0], new=int(head["new"]), new_count=counts[1],
                heading="" if self.loose else rest[:200], body=tuple(body), loose=self.loose, short=short,
            )  # fmt: skip

    def _body(self, old: int, new: int) -> tuple[list[Line], bool]:
        """Return as many lines as the header counts. What has no sign is context whose space got lost."""
        body: list[Line] = []
        foreign = 0
        while (old > 0 or new > 0) and self.at < len(self.lines) and foreign < FOREIGN_MAX:
            line = self.lines[self.at]
            if line.level != self.level:
                foreign += 1
                self.at += 1
                continue
            sign = line.text[:1]
            if (
                HUNK.match(line.text[:80])
                or GIT.match(line.text[:900])
                or (sign == "-" and ENDS.match(line.text[:200]))
            ):
                break
            if sign == "-":
                old -= 1
            elif sign == "+":
                new -= 1
            elif sign != "\\":
                old, new = old - 1, new - 1
            body.append(line)
            self._take()
            foreign = 0
        if self.at < len(self.lines) and self.lines[self.at].text.startswith("\\ No newline"):
            body.append(self.lines[self.at])
            self._take()
        return body, old != 0 or new != 0

    def _loose_body(self, head: Line, found: re.Match[str]) -> tuple[list[Line], bool]:
        """Return what follows, to whatever begins something else: counts do not help where lines are not known."""
        rest = found["rest"]
        start = len(head.text) - len(rest) + len(rest) - len(rest.lstrip())
        body = [replace(head, text=rest.strip(), column=head.column + start)] if rest.strip() else []
        foreign = 0
        while self.at < len(self.lines) and foreign < FOREIGN_MAX and len(body) < HUNK_LINES_MAX:
            line = self.lines[self.at]
            if line.level != self.level:
                foreign += 1
                self.at += 1
                continue
            if HUNK.match(line.text[:80]) or ENDS.match(line.text[:200]) or _begins(self.lines, self.at):
                break
            body.append(line)
            self._take()
            foreign = 0
        return body, False


# ---------------------------------------------------------------------------------------------------- what is refused


def refusal(diff: Diff) -> str:
    """Return why a diff is not used whatever the tree is like, "" if nothing is wrong with it.

    Only changes of text inside the tree are taken: no renames, links, submodules, modes, binaries, and only plain names.
    """
    if len(diff.files) >= FILES_MAX:
        return f"it names {FILES_MAX} files or more"
    for one in diff.files:
        for line in one.extended:
            if why := _refused_header(line):
                return why
        for path in (one.old, one.new):
            if path != NOWHERE and (why := refused_path(path)):
                return why
        if one.old == NOWHERE and one.new == NOWHERE:
            return "it names no file"
        if NOWHERE not in (one.old, one.new) and inner(one.old, 1) != inner(one.new, 1) and one.old != one.new:
            return f"it renames a file: {one.old!r} is not {one.new!r}"
        if not one.hunks:
            return f"it has no hunk for {one.new!r}"
    return ""


def _refused_header(line: str) -> str:
    if line.startswith(("GIT binary", "Binary files", "literal", "delta")):
        return "it is binary"
    if line.startswith(("rename", "copy")):
        return "it renames or copies a file"
    mode = re.search(r"mode (\d{6})|index \S+ (\d{6})", line)
    number = next((one for one in mode.groups() if one), "") if mode else ""
    if number and number not in ("100644", "100755"):
        return f"it makes something that is no plain file (mode {number})"
    return ""


def refused_path(path: str) -> str:
    """Return why a path of a diff is refused, "" if it is a plain name inside a tree."""
    if path.startswith('"'):
        return f"a name in quotes: {path[:80]!r}"
    if path.startswith(("/", "~")):
        return f"it reaches out of the source tree: {path[:80]!r}"
    parts = path.split("/")
    if ".." in parts or "." in parts or ".git" in parts:
        return f"it reaches out of the source tree: {path[:80]!r}"
    if len(path) > 300 or not PLAIN_PATH.fullmatch(path):
        return f"not the name of a file in a kernel tree: {path[:80]!r}"
    return ""


def inner(path: str, strip: int) -> str:
    """Return a path without its first components, as patch -p does it; "" if it has no more."""
    return "/".join(path.split("/")[strip:])
