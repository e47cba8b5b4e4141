"""Lines of the source, as a tool read them from debugging information: what it is asked, what it answers, how it is kept.

DWARF is a language of programs, and these are a stranger's: it is never read in this process. eu-addr2line of elfutils
reads it in a container, for every architecture, with inlined functions, and in modules, which are relocatable.
lines.jsonl keeps the answers: one place a line.
Source: eu-addr2line(1), options -a -f -i -j.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lab.evidence.elf import Elf
from lab.evidence.resolve import KERNEL
from lab.evidence.text import clean

NAME = "lines.jsonl"
INLINED_AT_MOST = 16
ROW_BYTES = 1 << 16
MAX_ROWS = 100_000
FIRST = "start_kernel"  # of init/main.c: what stands before that in its path is the source tree
_FIRST_SOURCE = "init/main.c"
_ADDRESS = re.compile(r"0x[0-9a-f]{1,16}$")
_LINE = re.compile(r"(?P<file>.+?):(?P<line>\d{1,7})(?::\d{1,7})?(?: \(discriminator \d+\))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What is asked for: a place in "vmlinux" or in a module (.ko path). section: of a module; address: an offset in it."""

    object: str
    section: str
    address: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the source and the function that it stands in. file: as the tree names it, if that is known."""

    function: str
    file: str
    line: int

    @property
    def place(self) -> str:
        """The line as compilers print it: "fs/autofs/waitq.c:532"."""
        return f"{self.file}:{self.line}"


Lines = Mapping[Where, tuple[Line, ...]]
"""The innermost line first: what was inlined, then the function that it was inlined into."""


def has_lines(elf: Elf) -> bool:
    """Whether a file has debugging information with lines, packed or not."""
    return any(elf.section(name) is not None for name in (".debug_line", ".zdebug_line"))


def answers(text: str, count: int) -> tuple[tuple[Line, ...], ...] | None:
    """Return what eu-addr2line -a -f -i said of `count` addresses, in their order; () for one that it knows no line of.

    None if that is not what it said: names in debugging information may hold anything, also what looks like an answer.
    """
    groups: list[list[str]] = []
    for row in text.splitlines():
        if _ADDRESS.match(row):
            groups.append([])
        elif groups:
            groups[-1].append(row)
    if len(groups) != count:
        return None
    return tuple(tuple(_pairs(group)) for group in groups)


def _pairs(rows: Sequence[str]) -> Iterator[Line]:
    for name, place in list(zip(rows[0::2], rows[1::2], strict=False))[:INLINED_AT_MOST]:
        match = _LINE.match(place)
        if match is None or match["file"].startswith("??") or not int(match["line"]):
            return
        function = name.split(" inlined at ")[0].split(" ")[0]
        file = posixpath.normpath(clean(match["file"]))
        yield Line(function="" if function == "??" else clean(function), file=file, line=int(match["line"]))


def tree_of(known: Lines, first: Where | None) -> str:
    """Return the folder of the source tree, with a "/" behind it, by where `first` (FIRST) lies; "" if that does not tell."""
    found = known.get(first, ()) if first is not None else ()
    file = next((one.file for one in reversed(found) if one.file.endswith("/" + _FIRST_SOURCE)), "")
    return file.removesuffix(_FIRST_SOURCE)


def in_tree(known: Lines, tree: str) -> dict[Where, tuple[Line, ...]]:
    """Return the lines with files as the tree names them. tree: see tree_of(); "": a module's own folder tells it."""
    return {
        where: tuple(Line(function=one.function, file=_inside(one.file, where, tree), line=one.line) for one in found)
        for where, found in known.items()
    }


def _inside(file: str, where: Where, tree: str) -> str:
    if tree:
        return file.removeprefix(tree)
    folder = posixpath.dirname(where.object)
    cut = file.rfind(f"/{folder}/") if folder and where.object != KERNEL else -1
    return file[cut + 1 :] if cut >= 0 else file


def jsonl(known: Lines) -> Iterator[str]:
    """Yield the lines of lines.jsonl, without places that nothing is known of."""
    for where, found in known.items():
        rows = [[one.function, one.file, one.line] for one in found]
        place = {"object": where.object, "section": where.section, "address": where.address}
        if rows:
            yield json.dumps(place | {"lines": rows}, separators=(",", ":")) + "\n"


def read_jsonl(rows: Iterable[Mapping[str, object]]) -> dict[Where, tuple[Line, ...]]:
    """Return what the rows of lines.jsonl say; those of another form are passed over."""
    found: dict[Where, tuple[Line, ...]] = {}
    for row in rows:
        match row:
            case {"object": str(name), "section": str(section), "address": int(address), "lines": list(listed)}:
                where = Where(object=name, section=section, address=address)
                found[where] = tuple(line for one in listed[:INLINED_AT_MOST] if (line := _from(one)) is not None)
        if len(found) >= MAX_ROWS:
            break
    return found


def _from(row: object) -> Line | None:
    match row:
        case [str(function), str(file), int(line)]:
            return Line(function=function, file=file, line=line)
        case _:
            return None
