"""What kbuild noted about each file that it made: the .X.cmd files, of every version from 4.14 on.

cmd_X (savedcmd_X since 6.3) is the command line, source_X the source, deps_X what fixdep found it to depend on,
ksymdeps_X (5.1 … 6.4) the exports that TRIM_UNUSED_KSYMS may turn on or off; before 5.1 those stand among the deps.
Source: scripts/Kbuild.include (make-cmd), scripts/basic/fixdep.c, scripts/gen_ksymdeps.sh.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from lab.evidence.text import MAX_TEXT_BYTES, json_rows, opened

KSYM_FOLDERS = ("include/ksym/", "include/config/ksym/")  # the second until 5.8 or so
MAX_CMD_BYTES = 32 << 20

_HEAD = re.compile(r"^(?:saved)?cmd_(\S+) ?:= ?(.*)$", re.M)
_SOURCE = re.compile(r"^source_\S+ := ?(.*)$", re.M)
_EXTRA = re.compile(r"^\S+: \$\(wildcard ([^)]+)\)$", re.M)  # "x.o: $(wildcard ./tools/objtool/objtool)"


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


class _Names(dict[str, str]):
    """Memory of raw dependency lines -> path: the same headers come hundreds of times, and each string is kept once."""

    def __missing__(self, raw: str) -> str:
        name = raw.strip().rstrip("\\").strip()
        if name.startswith("$(wildcard "):
            name = name[len("$(wildcard ") :].rstrip(")").strip()
        name = posixpath.normpath(name.replace("$$", "$")) if name else ""
        self[raw] = name
        return name


def is_command_file(path: str) -> bool:
    """Whether a path has the name of a .cmd file: drivers/mcb/.mcb-core.o.cmd."""
    return path.endswith(".cmd") and posixpath.basename(path).startswith(".")


def read_commands(root: Path, files: Iterable[str]) -> Iterator[Command]:
    """Yield a Command for each of the .cmd files, given relative to root. One that cannot be read yields nothing."""
    names = _Names()
    for file in files:
        try:
            with opened(root / file) as stream:
                text = stream.read(MAX_CMD_BYTES).decode("utf-8", "surrogateescape")
        except OSError:
            continue
        yield _parsed(file, text, names)


def parse_command(file: str, text: str) -> Command:
    """Return the Command that the text of one .cmd file says; half a file gives what is there."""
    return _parsed(file, text, _Names())


def _parsed(file: str, text: str, names: _Names) -> Command:
    head = _HEAD.search(text)
    if head is None:
        return Command(file=file, target="", command="")
    source = _SOURCE.search(text, head.end(), head.end() + 4096)
    blocks: list[tuple[str, ...]] = []
    position = head.end()
    for variable in ("\ndeps_", "\nksymdeps_"):
        # str.find and str.split, not a regular expression: half a million lines go through here for a tiny kernel
        start = text.find(variable, position)
        start = text.find(" := \\\n", start) + 6 if start >= 0 else -1
        block = ""
        if start >= 6:
            end = text.find("\n\n", start - 1)
            position = end if end >= 0 else len(text)
            block = text[start:position]
        blocks.append(tuple(map(names.__getitem__, block.split(" \\\n"))) if block else ())
    extra = tuple(names[one[1]] for one in _EXTRA.finditer(text, position) if len(one[1].split()) == 1)
    deps, ksyms = _sorted_out(blocks[0], old_style="/config/ksym/" in text)
    target = posixpath.normpath(head[1].replace("$$", "$"))
    return Command(
        file=file,
        target=target,
        command=head[2],
        source=source[1].strip() if source else "",
        deps=deps + extra,
        ksyms=tuple(dict.fromkeys(filter(None, ksyms + blocks[1]))),
    )


def _sorted_out(listed: tuple[str, ...], *, old_style: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return dependencies and, of kernels before 5.1 that list them together, dependency files of exports."""
    if "" in listed:
        listed = tuple(filter(None, listed))
    if not old_style:
        return listed, ()
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
