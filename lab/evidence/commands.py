"""What kbuild noted about each file that it made: the .X.cmd files, of every version from 4.14 on.

cmd_X (savedcmd_X since 6.3) is the command line, source_X the source, deps_X what fixdep found it to depend on,
ksymdeps_X (5.1 … 6.4) the exports that TRIM_UNUSED_KSYMS may turn on or off; before 5.1 those stand among the deps.
Source: scripts/Kbuild.include (make-cmd), scripts/basic/fixdep.c, scripts/gen_ksymdeps.sh.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from lab.evidence.runs import LIST_END, OLD_KSYM_FOLDER, Lists, Names, normal, text
from lab.evidence.text import MAX_TEXT_BYTES, json_rows

KSYM_FOLDERS = ("include/ksym/", OLD_KSYM_FOLDER)
MAX_CMD_BYTES = 32 << 20
USUAL_BYTES = 64 << 10  # hardly a file has more

_HEAD = re.compile(rb"^(?:saved)?cmd_(\S+) ?:= ?(.*)$", re.M)
_SOURCE = re.compile(rb"^source_\S+ := ?(.*)$", re.M)
_EXTRA = re.compile(rb"^\S+: \$\(wildcard ([^)]+)\)$", re.M)  # "x.o: $(wildcard ./tools/objtool/objtool)"
_IS, _LIST = b" := ", b" := \\\n"
_SOURCE_WITHIN = 4096  # bytes after the command line
MAX_EXTRAS, MAX_EXTRA_BYTES = 4096, 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Command:
    """How one file was made.

    file: the .cmd, relative to O=. target: relative to O= ("" if the file is damaged). command: the line as make's variable has
    it ($$ for $). source: as kbuild names it, or "". deps: files, relative ones relative to O= and normalised, without ksyms.
    ksyms: dependency files of exported symbols ("include/ksym/mcb_alloc_bus"). deps are kept as the numbers of runs of names in
    a table that all commands of a tree share, see lab.evidence.runs.
    """

    file: str
    target: str
    command: str
    source: str = ""
    ksyms: tuple[str, ...] = ()
    runs: tuple[int, ...] = ()
    table: Sequence[tuple[str, ...]] = field(default=(), repr=False)

    @property
    def deps(self) -> tuple[str, ...]:
        """All dependencies in a row, put together at each call: what looks at many objects looks at their runs."""
        return tuple(chain.from_iterable(map(self.table.__getitem__, self.runs)))

    def __eq__(self, other: object) -> bool:
        """Whether both say the same; how the dependencies are divided into runs is not said by the file."""
        return self._said() == other._said() if isinstance(other, Command) else NotImplemented

    def __hash__(self) -> int:
        """Hash what it says."""
        return hash(self._said())

    def _said(self) -> tuple[object, ...]:
        return self.file, self.target, self.command, self.source, self.deps, self.ksyms


def is_command_file(path: str) -> bool:
    """Whether a path has the name of a .cmd file: drivers/mcb/.mcb-core.o.cmd."""
    return path.endswith(".cmd") and posixpath.basename(path).startswith(".")


def read_commands(root: Path, files: Iterable[str]) -> Iterator[Command]:
    """Yield a Command for each of the .cmd files, given relative to root. One that cannot be read yields nothing.

    Fastest if files of one folder follow each other. Links are not followed.
    """
    known = _Known()
    for file, data in _contents(os.fspath(root), files):
        yield _as_written(file, data, known) or _parsed(file, data, known)


def _contents(root: str, files: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the files that are regular, with at most MAX_CMD_BYTES of each.

    Opened relative to their folder: a long path is walked once a folder and not once a file (8 instead of 29 us each).
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    opened: str | None = None
    folder_fd = -1
    try:
        for file in files:
            folder, _, name = file.rpartition("/")
            if folder != opened:
                if folder_fd >= 0:
                    os.close(folder_fd)
                opened, folder_fd = folder, -1
                try:
                    folder_fd = os.open(
                        f"{root}/{folder}" if folder else root, (flags & ~os.O_NOFOLLOW) | os.O_DIRECTORY
                    )
                except (OSError, ValueError):
                    continue
            if folder_fd < 0:
                continue
            try:
                # O_NONBLOCK: see lab.evidence.text.opened()
                descriptor = os.open(name, flags | os.O_NONBLOCK, dir_fd=folder_fd)
            except (OSError, ValueError):
                continue
            try:
                data = _content(descriptor)
            except OSError:
                continue
            finally:
                os.close(descriptor)
            if data is not None:
                yield file, data
    finally:
        if folder_fd >= 0:
            os.close(folder_fd)


def _content(descriptor: int) -> bytes | None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return None
    size = min(status.st_size, MAX_CMD_BYTES)
    data = os.read(descriptor, USUAL_BYTES)  # room of one size for all keeps malloc() short, unlike the file's own size
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data


def parse_command(file: str, content: str) -> Command:
    """Return the Command that the text of one .cmd file says; half a file gives what is there."""
    return _parsed(file, content.encode("utf-8", "surrogateescape"), _Known())


class _Known:
    """What is kept from one .cmd file for the next.

    extras: what stands behind an object's lists, without its name -> the runs of it. without_ksyms: run -> see there.
    """

    def __init__(self) -> None:
        self.lists = Lists()
        self.extras: dict[bytes, tuple[int, ...]] = {b"": ()}
        self.without_ksyms: dict[int, tuple[int, tuple[str, ...]]] = {}


def _as_written(file: str, data: bytes, known: _Known) -> Command | None:
    """Return the Command of a file that is exactly as kbuild and fixdep write it, as nearly every one is; else None.

    Every piece is looked for only where it has to be. The result is that of _parsed().
    """
    pieces = known.lists.divided(data)
    front = pieces[0]
    end = front.find(b"\n")
    first, made, command = front[: max(end, 0)].removeprefix(b"saved").partition(_IS)
    name = first.removeprefix(b"cmd_")
    if not made or len(first) == len(name) or len(name.split()) != 1:
        return None
    if len(data) == end + 1:
        return _command(file, name, command, b"", (), (), known)
    source_is, deps_are = b"\n\nsource_" + name + _IS, b"\n\ndeps_" + name + _LIST
    source, at = end + len(source_is), front.find(b"\n", end + len(source_is), end + _SOURCE_WITHIN)
    if at < 0 or not front.startswith(source_is, end) or not front.startswith(deps_are, at):
        return None
    pieces[0] = front[at + len(deps_are) :]
    if (listed := known.lists.read(pieces)) is None or (tail := _tail(name, listed[1], known)) is None:
        return None
    return _command(file, name, command, front[source:at], (*listed[0], *tail[0]), tail[1], known)


def _tail(name: bytes, tail: bytes, known: _Known) -> tuple[tuple[int, ...], tuple[str, ...]] | None:
    """Return the further dependencies and the exports that the rest of an object's file names; None if it is not as usual."""
    rest = tail.removeprefix(name + b": $(deps_" + name + b")\n\n$(deps_" + name + b"):\n")
    if len(rest) == len(tail):
        return None
    ksyms: tuple[str, ...] = ()
    if rest.startswith(b"\nksymdeps_"):
        listed, _, tail = rest.partition(LIST_END)
        lines = listed.removeprefix(b"\nksymdeps_" + name + _LIST)
        rest = tail.removeprefix(name + b": $(ksymdeps_" + name + b")\n\n$(ksymdeps_" + name + b"):\n")
        if len(lines) == len(listed) or len(rest) == len(tail):
            return None
        ksyms = known.lists.names.of(lines)
    if rest and not rest.startswith(b"\n" + name + b": "):
        return None
    key = rest[len(name) + 1 :]
    extras = known.extras.get(key)
    if extras is None:
        if rest.find(b"ksymdeps_") >= 0:
            return None
        extras = _extras(rest, known)
        if len(key) <= MAX_EXTRA_BYTES and len(known.extras) < MAX_EXTRAS:
            known.extras[key] = extras
    return extras, ksyms


def _command(
    file: str, name: bytes, command: bytes, source: bytes, runs: tuple[int, ...], ksyms: tuple[str, ...], known: _Known
) -> Command:
    if known.lists.names.old_style:
        sorted_out = [_without_ksyms(run, known) for run in runs]
        runs = tuple(run for run, _ in sorted_out)
        ksyms = (*chain.from_iterable(old for _, old in sorted_out), *ksyms)
    return Command(
        file=file,
        target=normal(text(name).replace("$$", "$")),
        command=text(command),
        source=text(source).strip(),
        ksyms=tuple(dict.fromkeys(ksyms)),
        runs=runs,
        table=known.lists.runs,
    )


def _parsed(file: str, data: bytes, known: _Known) -> Command:
    """Return the Command of any file."""
    head = _HEAD.search(data)
    if head is None:
        return Command(file=file, target="", command="")
    names = known.lists.names
    front, deps, tail = _list(data[head.end() :], b"\ndeps_", names)
    source = _SOURCE.search(data[: head.end()] + front, head.end() - 1, head.end() + _SOURCE_WITHIN)
    runs: tuple[int, ...] = (known.lists.added(deps),) if deps else ()
    ksyms: tuple[str, ...] = ()
    if b"$(wildcard " in tail:
        _, ksyms, rest = _list(tail, b"\nksymdeps_", names)
        runs += _extras(rest or tail, known)
    return _command(file, head[1], head[2], source[1] if source else b"", runs, ksyms, known)


def _list(data: bytes, variable: bytes, names: Names) -> tuple[bytes, tuple[str, ...], bytes]:
    """Return what stands before the list of a variable, its paths, what stands behind it (all in front if there is none)."""
    start = data.find(variable)
    start = data.find(_LIST, start) + len(_LIST) if start >= 0 else -1
    if start < len(_LIST):
        return data, (), data
    end = data.find(LIST_END, start - 1)
    end = end if end >= 0 else len(data)
    return data[:start], names.of(data[start:end]), data[end:]


def _extras(tail: bytes, known: _Known) -> tuple[int, ...]:
    """Return the dependencies that are named outside of lists."""
    found = (one[1] for one in _EXTRA.finditer(tail))
    names = tuple(known.lists.names[one.strip()] for one in found if len(one.split()) == 1)
    return (known.lists.added(names),) if names else ()


def _without_ksyms(run: int, known: _Known) -> tuple[int, tuple[str, ...]]:
    """Return dependencies and, of kernels before 5.1 that list them together, dependency files of exports."""
    if run not in known.without_ksyms:
        names = known.lists.runs[run]
        ksyms = tuple(name for name in names if name.startswith(KSYM_FOLDERS))
        rest = tuple(name for name in names if not name.startswith(KSYM_FOLDERS))
        known.without_ksyms[run] = (known.lists.added(rest) if ksyms else run), ksyms
    return known.without_ksyms[run]


def dependency_names(commands: Sequence[Command]) -> frozenset[str]:
    """Return everything that commands of one tree depend on, exports' files apart."""
    used = set(chain.from_iterable(command.runs for command in commands))
    return frozenset().union(*map(table_of(commands).__getitem__, used))


def table_of(commands: Iterable[Command]) -> Sequence[tuple[str, ...]]:
    """Return the table that all commands of a tree share. Raises ValueError if they are of several trees."""
    tables = {id(command.table): command.table for command in commands if command.runs}
    if len(tables) > 1:
        raise ValueError("the commands are of several trees")
    return next(iter(tables.values()), ())


def jsonl(commands: Iterable[Command]) -> Iterator[str]:
    """Yield the lines of commands.jsonl. deps are numbers: names are counted from 0 in the order in which "new" lists them.

    A tiny kernel has half a million dependencies of a few thousand names: numbers make the file ten times smaller.
    """
    numbers: dict[str, int] = {}
    numbered: dict[int, tuple[int, ...]] = {}  # the runs that were met
    table: Sequence[tuple[str, ...]] = ()
    for command in commands:
        if command.table is not table:
            table, numbered = command.table, {}
        unseen = [run for run in dict.fromkeys(command.runs) if run not in numbered]
        names = chain(*map(table.__getitem__, unseen), command.ksyms)
        new = [name for name in dict.fromkeys(names) if name not in numbers]
        for name in new:
            numbers[name] = len(numbers)
        numbered |= {run: tuple(map(numbers.__getitem__, table[run])) for run in unseen}
        row: dict[str, Any] = {"file": command.file, "target": command.target, "command": command.command}
        row |= {"source": command.source, "new": new}
        row["deps"] = list(chain.from_iterable(map(numbered.__getitem__, command.runs)))
        row["ksyms"] = list(map(numbers.__getitem__, command.ksyms))
        yield json.dumps(row, separators=(",", ":")) + "\n"


def read_jsonl(path: Path | None) -> tuple[Command, ...]:
    """Return what commands.jsonl says; lines that are not of its form are passed over."""
    names: list[str] = []
    table: list[tuple[str, ...]] = []
    commands = []
    for row in json_rows(path, MAX_TEXT_BYTES):
        try:
            names += [name for name in row["new"] if isinstance(name, str)]
            deps = tuple(names[number] for number in row["deps"])
            commands.append(
                Command(
                    file=str(row["file"]),
                    target=str(row["target"]),
                    command=str(row["command"]),
                    source=str(row["source"]),
                    ksyms=tuple(names[number] for number in row["ksyms"]),
                    runs=(len(table),),
                    table=table,
                )
            )
            table.append(deps)
        except (KeyError, TypeError, IndexError):
            continue
    return tuple(commands)
