"""YAML as text with positions: what the tables and the matrix reader build on.

PyYAML's constructors are not used: they turn 5.10 into 5.1, no into False and 12:30 into 750. Here every scalar stays
the text that was written, with the line and column of its first character, and is typed by whoever asks for it.
Aliases, anchors, tags, merge keys, several documents, tabs and deep nesting are refused, so a file cannot grow when it
is read.

Source of the traps: YAML 1.1, 10.2 "Language-Independent Types"; PyYAML 6.0, resolver.py and constructor.py.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import yaml

from lab.errors import Mistakes

SIZE_BYTES_MAX = 256 * 1024  # PyYAML's scanner reads some 100 kB/s; no matrix written by hand comes near
DEPTH_MAX = 16
MISTAKES_MAX = 100
ON = ("on", "true", "yes")
OFF = ("off", "false", "no")

# Controls, surrogates, inner byte-order marks, and line breaks that editors do not count (U+0085, U+2028, U+2029).
_FORBIDDEN = re.compile("[\x00-\x08\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_KEY = re.compile(r"[^A-Za-z0-9_/+.-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A place in the file. line, column: of its first character, from 1; path: as in "matrix.toolchain[2]", from 0."""

    line: int
    column: int
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar(Node):
    """A scalar as written. plain: without quotes and not a block; a plain empty text means that nothing was written."""

    text: str
    plain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence(Node):
    """A list."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping(Node):
    """A mapping with unique keys, in the order of the file."""

    entries: tuple[tuple[Scalar, Node], ...]

    def get(self, key: str) -> Node | None:
        """Return the value of a key, or None."""
        return next((value for name, value in self.entries if name.text == key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Node):
    """A node that has been complained about already (an alias, a tag): readers pass over it in silence."""


def quoted(text: str) -> str:
    """Return a stranger's word for a message: in quotes, on one line, at most 60 characters of it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


class Notes:
    """The complaints about one file. name: of the file, as its owner would write it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._told: list[tuple[int, int, str]] = []

    def __len__(self) -> int:
        """How many there are."""
        return len(self._told)

    def add(self, line: int, column: int, message: str, *, known: str = "", hint: str = "") -> None:
        """Note one mistake. known: what would have been right; hint: what to do."""
        rows = [f"{self.name}:{line}:{column}: {message}"]
        rows += [f"  known: {known}"] if known else []
        rows += [f"  hint:  {hint}"] if hint else []
        self._told.append((line, column, "\n".join(rows)))

    def at(self, place: Node, message: str, *, known: str = "", hint: str = "") -> None:
        """Note one mistake at a place, with the way to it."""
        way = f" at {place.path}" if "." in place.path or "[" in place.path else ""  # "name" alone is plain to see
        self.add(place.line, place.column, message + way, known=known, hint=hint)

    def unknown(self, node: Node, kind: str, word: str, known: Collection[str], source: str = "") -> None:
        """Note a word that is none of the known ones. source: the file that lists them."""
        listed = ", ".join(known) + (f" ({source})" if source else "")
        self.at(node, f"unknown {kind} {quoted(word)}", known=listed, hint=self.likely(word, known))

    def likely(self, word: str, known: Iterable[str]) -> str:
        """Return "did you mean 'x'?" for the known word that looks most like this one, or "" if none does.

        After MISTAKES_MAX complaints nobody will read it, and looking takes time.
        """
        lower = {name.lower(): name for name in known} if len(self) < MISTAKES_MAX else {}
        close = difflib.get_close_matches(word[:60].lower(), lower, n=1, cutoff=0.6)
        return f"did you mean {lower[close[0]]!r}?" if close else ""

    def lines(self) -> tuple[str, ...]:
        """Return the complaints in file order, each once; beyond MISTAKES_MAX only their number."""
        told = list(dict.fromkeys(text for _, _, text in sorted(self._told, key=lambda one: one[:2])))
        more = len(told) - MISTAKES_MAX
        return tuple(told[:MISTAKES_MAX]) + ((f"{self.name}: {more} more mistakes",) if more > 0 else ())


def parse(text: str, notes: Notes) -> Node | None:
    """Return the document's root, or None if it cannot be read at all; every complaint goes to notes.

    A syntax error ends the reading; what YAML allows and we do not is noted, becomes Refused, and the reading goes on.
    """
    if too_large(len(text.encode("utf-8", "surrogatepass")), notes):
        return None
    text = text.removeprefix("\ufeff")
    if bad := _FORBIDDEN.search(text):
        _forbidden(text, bad.start(), notes)
        return None
    loader = yaml.SafeLoader(text)
    try:
        return _Composer(iter(loader.get_event, None), notes).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark or loader.get_mark()
        problem = " ".join(str(error.problem or error.context).split())
        notes.add(mark.line + 1, mark.column + 1, f"not YAML: {problem}")
    except (ValueError, OverflowError):
        # PyYAML calls chr() on "\UFFFFFFFF" and int() on a %YAML line of thousands of digits.
        mark = loader.get_mark()
        notes.add(mark.line + 1, mark.column + 1, "not YAML: number out of range")
    except _TooDeep as error:
        notes.add(error.line, error.column, f"nested deeper than {DEPTH_MAX} levels")
    return None


def decode(data: bytes, notes: Notes) -> str | None:
    """Return a file's bytes as text, or None with a complaint (not UTF-8, too large)."""
    if too_large(len(data), notes):
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        notes.add(*_position(before), f"not UTF-8 text: byte 0x{data[error.start]:02x}")
        return None


def too_large(size_bytes: int, notes: Notes) -> bool:
    """Complain about a file of more than SIZE_BYTES_MAX; say whether it is one."""
    if size_bytes <= SIZE_BYTES_MAX:
        return False
    notes.add(1, 1, f"file of {size_bytes} bytes; at most {SIZE_BYTES_MAX} are read")
    return True


def finish(error: type[Mistakes], *notes: Notes) -> None:
    """Raise every complaint as one error, if there is any."""
    if lines := tuple(line for one in notes for line in one.lines()):
        raise error(lines)


class _TooDeep(Exception):
    def __init__(self, line: int, column: int) -> None:
        self.line, self.column = line, column


class _Composer:
    """Events of one document to Nodes."""

    def __init__(self, events: Iterator[yaml.Event], notes: Notes) -> None:
        self.events = events
        self.notes = notes

    def document(self) -> Node | None:
        next(self.events)  # StreamStart
        event = next(self.events)
        if isinstance(event, yaml.StreamEndEvent):
            self.notes.add(1, 1, "file is empty")
            return None
        if isinstance(event, yaml.DocumentStartEvent) and (event.version or event.tags):
            self.note(event, "YAML directives are not used here")
        root = self.node(next(self.events), 0, "")
        next(self.events)  # DocumentEnd
        event = next(self.events)
        if not isinstance(event, yaml.StreamEndEvent):
            self.note(event, "second YAML document: one file holds one")
            for _ in self.events:  # a syntax error further down is still told
                pass
        return root

    def node(self, event: yaml.Event, depth: int, path: str) -> Node:
        line, column = _place(event)
        if depth > DEPTH_MAX:
            raise _TooDeep(line, column)
        refused = self.refused(event)
        result: Node
        if isinstance(event, yaml.SequenceStartEvent):
            result = Sequence(line=line, column=column, path=path, items=tuple(self.items(depth, path)))
        elif isinstance(event, yaml.MappingStartEvent):
            result = Mapping(line=line, column=column, path=path, entries=tuple(self.entries(depth, path)))
        elif isinstance(event, yaml.ScalarEvent):
            refused = refused or self.unprintable(event)
            result = Scalar(line=line, column=column, path=path, text=event.value, plain=event.style is None)
        return Refused(line=line, column=column, path=path) if refused else result

    def unprintable(self, event: yaml.ScalarEvent) -> bool:
        if _FORBIDDEN.search(event.value.replace("\t", " ")):  # came in through an escape such as "\0"
            self.note(event, "control character in a text")
            return True
        return False

    def refused(self, event: yaml.Event) -> bool:
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent):
            self.note(event, f"alias {quoted(f'*{anchor}')}: aliases are not used here, write it out")
        elif anchor is not None:
            self.note(event, f"anchor {quoted(f'&{anchor}')}: anchors are not used here, write it out")
        elif tag is not None:
            self.note(event, f"tag {quoted(str(tag))}: tags are not used here, every scalar is text")
        else:
            return False
        return True

    def items(self, depth: int, path: str) -> Iterator[Node]:
        for index in itertools.count():
            if isinstance(event := next(self.events), yaml.SequenceEndEvent):
                return
            yield self.node(event, depth + 1, f"{path}[{index}]")

    def entries(self, depth: int, path: str) -> Iterator[tuple[Scalar, Node]]:
        seen: dict[str, int] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            # The key's word is part of every path below: clipped, or long keys would multiply.
            word = _KEY.sub("?", event.value)[:40] if isinstance(event, yaml.ScalarEvent) else "?"
            way = f"{path}.{word}" if path else word
            key = self.node(event, depth + 1, way)
            value = self.node(next(self.events), depth + 1, way)
            if isinstance(key, Scalar) and self.usable(event, key, seen):
                seen[key.text] = key.line
                yield key, value
            elif not isinstance(key, (Scalar, Refused)):
                self.note(event, "key must be a word")

    def usable(self, event: yaml.Event, key: Scalar, seen: dict[str, int]) -> bool:
        if key.text == "<<" and key.plain:
            self.note(event, "merge key '<<': merging is not used here, write it out")
        elif key.text in seen:
            self.note(event, f"duplicate key {quoted(key.text)}, first given in line {seen[key.text]}")
        else:
            return True
        return False

    def note(self, event: yaml.Event, message: str) -> None:
        self.notes.add(*_place(event), message)


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _forbidden(text: str, index: int, notes: Notes) -> None:
    character = text[index]
    message = f"character U+{ord(character):04X} does not belong into a matrix or a table"
    hint = ""
    if character == "\t":
        message, hint = "tab character", "indent and separate with spaces"
    notes.add(*_position(text[:index]), message, hint=hint)


def _position(before: str) -> tuple[int, int]:
    """Return line and column, from 1, of the character that follows this text."""
    before = before.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - before.rfind("\n")


# ----------------------------------------------------------------------------------------------- typed by whoever asks
# Each returns None after a complaint (and without one for a Refused node, which has had its own).

Word = TypeVar("Word", bound=StrEnum)


def entries(node: Node, what: str, known: Collection[str], notes: Notes) -> dict[str, tuple[Scalar, Node]] | None:
    """Return a mapping's known keys; unknown ones are noted. known: () takes every key."""
    if not isinstance(node, Mapping):
        _expected(node, f"{what} must be a mapping", notes)
        return None
    found = {}
    for key, value in node.entries:
        if known and key.text not in known:
            notes.unknown(key, f"key of {what}", key.text, known)
        else:
            found[key.text] = (key, value)
    return found


def items(node: Node, what: str, notes: Notes) -> tuple[Node, ...] | None:
    """Return the items of a list."""
    if isinstance(node, Sequence):
        return node.items
    _expected(node, f"{what} must be a list", notes)
    return None


def rows(root: Node, what: str, key: str, notes: Notes, *, at_most: int) -> tuple[Node, ...]:
    """Return the items of a file of `version: 1` and one list. what: "file of known issues"; key: what the list is called."""
    found = entries(root, f"the {what}", ("version", key), notes)
    if found is None:
        return ()
    for one in ("version", key):
        if one not in found:
            notes.at(root, f"the {what} lacks '{one}'", known=f"version: 1, {key}: [...]")
    if "version" in found:
        whole(found["version"][1], "version", notes, low=1, high=1)
    nodes = (items(found[key][1], key, notes) if key in found else ()) or ()
    if len(nodes) > at_most:
        notes.at(nodes[at_most], f"more than {at_most} {key}")
    return nodes[:at_most]


def text(node: Node, what: str, notes: Notes) -> str | None:
    """Return a text that is not empty and lies on one line."""
    if not isinstance(node, Scalar):
        _expected(node, f"{what} must be a text", notes)
    elif not node.text.strip():
        notes.at(node, f"{what} is empty")
    elif "\n" in node.text or "\r" in node.text:
        notes.at(node, f"{what} must be one line")
    else:
        return node.text
    return None


def texts(node: Node, what: str, notes: Notes) -> tuple[str, ...] | None:
    """Return a list of texts; one text alone is a list of one."""
    if isinstance(node, Scalar):
        alone = text(node, what, notes)
        return None if alone is None else (alone,)
    nodes = items(node, what, notes)
    if nodes is None:
        return None
    found = [text(one, f"item of {what}", notes) for one in nodes]
    return tuple(one for one in found if one is not None)


def whole(node: Node, what: str, notes: Notes, *, low: int, high: int) -> int | None:
    """Return a whole number within low … high, in decimal digits."""
    written = text(node, what, notes)
    if written is None:
        return None
    digits = re.fullmatch(r"-?[0-9]{1,18}", written)
    if not digits or not low <= int(written) <= high:
        notes.at(node, f"{what} must be a whole number from {low} to {high}, not {quoted(written)}")
        return None
    return int(written)


def word(node: Node, what: str, kind: type[Word], notes: Notes) -> Word | None:
    """Return the member of an enum."""
    written = text(node, what, notes)
    if written is None:
        return None
    known = tuple(member.value for member in kind)
    if written not in known:
        notes.unknown(node, what, written, known)
        return None
    return kind(written)


def switch(node: Node, what: str, notes: Notes) -> bool | None:
    """Return on or off (true and false, yes and no are understood)."""
    written = text(node, what, notes)
    if written is None:
        return None
    if written.lower() not in ON + OFF:
        notes.at(node, f"{what} must be 'on' or 'off', not {quoted(written)}")
        return None
    return written.lower() in ON


def _expected(node: Node, message: str, notes: Notes) -> None:
    if isinstance(node, Refused):
        return
    kind = {Scalar: "a text", Sequence: "a list", Mapping: "a mapping"}[type(node)]
    if isinstance(node, Scalar) and node.plain and not node.text:
        kind = "nothing"
    notes.at(node, f"{message}, not {kind}")


_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./=+-]*(?::[A-Za-z0-9_./=+-]+)?")


def scalar(written: str) -> str:
    """Return a text as YAML writes it on one line, also within [ ] and { }: plain if that is safe, else in double quotes.

    What it becomes is never more than that one text, whatever is in it.
    """
    if _PLAIN.fullmatch(written):
        return written
    return yaml.safe_dump(written, default_style='"', allow_unicode=False, width=10**9).rstrip("\n")
