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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from lab.evidence.text import MAX_TEXT_BYTES, json_rows

KSYM_FOLDERS = ("include/ksym/", "include/config/ksym/")  # the second until 5.8 or so
MAX_CMD_BYTES = 32 << 20

_HEAD = re.compile(rb"^(?:saved)?cmd_(\S+) ?:= ?(.*)$", re.M)
_SOURCE = re.compile(rb"^source_\S+ := ?(.*)$", re.M)
_EXTRA = re.compile(rb"^\S+: \$\(wildcard ([^)]+)\)$", re.M)  # "x.o: $(wildcard ./tools/objtool/objtool)"
# Every object of a kernel includes it first (-include); what stands before it is how this tree names its headers.
_HEADERS = re.compile(rb" \\\n  \S*include/linux/(?=kconfig\.h )")
_LINE_END, _LIST, _END = b" \\\n", b" := \\\n", b"\n\n"
_UNTIDY = re.compile(r"//|\./|/\.|\.\.|/$")
MAX_RUN_BYTES, MAX_KNOWN_BYTES = 4 << 10, 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How one file was made.

    file: the .cmd, relative to O=. target: relative to O= ("" if the file is damaged). command: the line as make's variable has
    it ($$ for $). source: as kbuild names it, or "". deps: files, relative ones relative to O= and normalised, without ksyms.
    ksyms: dependency files of exported symbols ("include/ksym/mcb_alloc_bus").
    """

    file: str
    target: str
    command: str
    source: str = ""
    deps: tuple[str, ...] = ()
    ksyms: tuple[str, ...] = ()


class _Names(dict[bytes, str]):
    """Memory of raw dependency lines -> path: the same headers come hundreds of times, and each string is kept once.

    old_style: whether dependency files of exports, of a kernel before 5.1, were among them.
    """

    old_style = False

    def __missing__(self, raw: bytes) -> str:
        name = _text(raw).strip().rstrip("\\").strip()
        if name.startswith("$(wildcard "):
            name = name[len("$(wildcard ") :].rstrip(")").strip()
        name = _normal(name.replace("$$", "$"))
        self.old_style = self.old_style or name.startswith(KSYM_FOLDERS[1])
        self[raw] = name
        return name

    def of(self, lines: bytes) -> tuple[str, ...]:
        """Return the paths of the lines of a list."""
        return tuple(filter(None, map(self.__getitem__, lines.split(_LINE_END))))


class _Irregular(ValueError):
    """A list of dependencies is not as fixdep writes it."""


class _Runs(dict[bytes, tuple[str, ...]]):
    """Memory of runs of dependency lines -> their paths; a run is from one header of include/linux in "s" to the next.

    A header brings its own headers and options along, so most runs have been seen before: the half million lines of a tiny
    kernel are 25,000 runs, 2,900 of them different. Other letters, or all of them, took longer: with more runs there is more
    to look up, with fewer more to take apart. headers: what a run stands behind, " \\\n  /src/include/linux/s".
    """

    def __init__(self, names: _Names, headers: bytes) -> None:
        super().__init__()
        self.names, self.headers, self.bytes = names, headers, 0

    def __missing__(self, rest: bytes) -> tuple[str, ...]:
        if _END in rest:
            raise _Irregular
        paths = self.names.of(self.headers[len(_LINE_END) :] + rest)
        if len(rest) <= MAX_RUN_BYTES:
            if self.bytes > MAX_KNOWN_BYTES:  # not a kernel's: keep memory bounded
                self.clear()
                self.bytes = 0
            self.bytes += len(rest)
            self[rest] = paths
        return paths


class _Lists:
    """What is kept from one .cmd file for the next. runs: None until a file tells how this tree names its headers."""

    def __init__(self) -> None:
        self.names = _Names()
        self.runs: _Runs | None = None

    def whole(self, data: bytes) -> tuple[bytes, tuple[str, ...], bytes] | None:
        """Return what stands before the list of an object's .cmd, its paths, what stands behind it; None if not of that shape.

        The file is gone through once, by one split: its list is most of it.
        """
        if self.runs is None:
            match = _HEADERS.search(data)
            if match is None:
                return None
            self.runs = _Runs(self.names, match[0] + b"s")
        first, *runs = data.split(self.runs.headers)
        if first.endswith(b" :="):  # the list begins with such a header
            first += _LINE_END
        start = first.find(b"\ndeps_")
        start = first.find(_LIST, start) if start >= 0 else -1
        if start < 0 or not runs or first.find(_END, start + len(_LIST) - 1) >= 0:
            return None
        runs[-1], end, tail = runs[-1].partition(_END)
        try:
            found = list(map(self.runs.__getitem__, runs))
        except _Irregular:
            return None
        found.insert(0, self.names.of(first[start + len(_LIST) :]))
        return first[:start], tuple(chain.from_iterable(found)), end + tail


def is_command_file(path: str) -> bool:
    """Whether a path has the name of a .cmd file: drivers/mcb/.mcb-core.o.cmd."""
    return path.endswith(".cmd") and posixpath.basename(path).startswith(".")


def read_commands(root: Path, files: Iterable[str]) -> Iterator[Command]:
    """Yield a Command for each of the .cmd files, given relative to root. One that cannot be read yields nothing.

    Fastest if files of one folder follow each other. Links are not followed.
    """
    lists = _Lists()
    for file, data in _contents(os.fspath(root), files):
        yield _parsed(file, data, lists)


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
    data = os.read(descriptor, size)
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data


def parse_command(file: str, text: str) -> Command:
    """Return the Command that the text of one .cmd file says; half a file gives what is there."""
    return _parsed(file, text.encode("utf-8", "surrogateescape"), _Lists())


def _parsed(file: str, data: bytes, lists: _Lists) -> Command:
    whole = lists.whole(data)
    front, deps, tail = whole if whole is not None else _in_parts(data, lists)
    head = _HEAD.search(front)
    if head is None:
        return Command(file=file, target="", command="")
    source = _SOURCE.search(front, head.end() - 1, head.end() + 4096)
    ksyms: tuple[str, ...] = ()
    if b"$(wildcard " in tail:
        _, ksyms, rest = _list(tail, b"\nksymdeps_", lists)
        found = (one[1] for one in _EXTRA.finditer(rest or tail))
        deps += tuple(lists.names[one] for one in found if len(one.split()) == 1)
    if lists.names.old_style:
        deps, old = _sorted_out(deps)
        ksyms = old + ksyms
    return Command(
        file=file,
        target=_normal(_text(head[1]).replace("$$", "$")),
        command=_text(head[2]),
        source=_text(source[1]).strip() if source else "",
        deps=deps,
        ksyms=tuple(dict.fromkeys(ksyms)),
    )


def _normal(name: str) -> str:
    """Return the path normalised, "" if there is none: most are so already, and posixpath.normpath() takes its time."""
    return posixpath.normpath(name) if _UNTIDY.search(name) else name


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _in_parts(data: bytes, lists: _Lists) -> tuple[bytes, tuple[str, ...], bytes]:
    """Return the same as _Lists.whole() of any file."""
    head = _HEAD.search(data)
    if head is None:
        return b"", (), b""
    front, deps, tail = _list(data[head.end() :], b"\ndeps_", lists)
    return data[: head.end()] + front, deps, tail


def _list(data: bytes, variable: bytes, lists: _Lists) -> tuple[bytes, tuple[str, ...], bytes]:
    """Return what stands before the list of a variable, its paths, what stands behind it (all in front if there is none)."""
    start = data.find(variable)
    start = data.find(_LIST, start) + len(_LIST) if start >= 0 else -1
    if start < len(_LIST):
        return data, (), data
    end = data.find(_END, start - 1)
    end = end if end >= 0 else len(data)
    return data[:start], lists.names.of(data[start:end]), data[end:]


def _sorted_out(listed: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return dependencies and, of kernels before 5.1 that list them together, dependency files of exports."""
    ksyms = tuple(name for name in listed if name.startswith(KSYM_FOLDERS))
    return tuple(name for name in listed if not name.startswith(KSYM_FOLDERS)), ksyms


def jsonl(commands: Iterable[Command]) -> Iterator[str]:
    """Yield the lines of commands.jsonl. deps are numbers: names are counted from 0 in the order in which "new" lists them.

    A tiny kernel has half a million dependencies of a few thousand names: numbers make the file ten times smaller.
    """
    numbers: dict[str, int] = {}
    for command in commands:
        new = [name for name in dict.fromkeys(chain(command.deps, command.ksyms)) if name not in numbers]
        for name in new:
            numbers[name] = len(numbers)
        row: dict[str, Any] = {"file": command.file, "target": command.target, "command": command.command}
        row |= {"source": command.source, "new": new}
        row["deps"] = list(map(numbers.__getitem__, command.deps))
        row["ksyms"] = list(map(numbers.__getitem__, command.ksyms))
        yield json.dumps(row, separators=(",", ":")) + "\n"


def read_jsonl(path: Path | None) -> tuple[Command, ...]:
    """Return what commands.jsonl says; lines that are not of its form are passed over."""
    names: list[str] = []
    commands = []
    for row in json_rows(path, MAX_TEXT_BYTES):
        try:
            names += [name for name in row["new"] if isinstance(name, str)]
            commands.append(
                Command(
                    file=str(row["file"]),
                    target=str(row["target"]),
                    command=str(row["command"]),
                    source=str(row["source"]),
                    deps=tuple(names[number] for number in row["deps"]),
                    ksyms=tuple(names[number] for number in row["ksyms"]),
                )
            )
        except (KeyError, TypeError, IndexError):
            continue
    return tuple(commands)
