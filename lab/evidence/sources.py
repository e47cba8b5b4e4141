"""The source tree of an output directory: where it is, which file exports a symbol, which options build that file.

Only text is read: a name that a macro puts together (EXPORT_SYMBOL_GPL(pci_user_read_config_##size)) is not seen here, only
in an object.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from lab.evidence.text import opened, text_of

MAX_FILES = 120_000
MAX_FILE_BYTES = 4 << 20
MAX_TREE_BYTES = 3 << 30
_SUFFIXES = (".c", ".S")
_ELSEWHERE = frozenset({"Documentation", "tools", "scripts", "usr", "include", ".git", "debian"})
_INCLUDE = re.compile(r"^include (\S+)/Makefile$", re.M)
_NUMBERS = re.compile(r"^(?:VERSION|PATCHLEVEL|SUBLEVEL) *= *(\d+)$", re.M)
_EXPORT = re.compile(rb"EXPORT_(?P<kind>[A-Z_]+) ?\(\s*(?P<name>[A-Za-z_]\w*)\s*[,)]")
_ASSIGNMENT = re.compile(r"^\s*([\w./$()-]+?)\s*[:+]?=(.*)$", re.M)
_OPTION = re.compile(r"\$\(CONFIG_(\w+)\)")


class Place(NamedTuple):
    """Where a symbol is exported: a file of the source tree and its line, from 1."""

    file: str
    line: int


def source_tree(out: Path, version: str) -> Path | None:
    """Return the source of an output directory: its link "source", what its Makefile includes, or itself (built in place).

    None if none of them is a kernel tree of that version ("6.1.192-rt1"; "" is never found).
    """
    makefile = text_of(out / "Makefile", 1 << 16) or ""
    included = _INCLUDE.search(makefile)
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    for tree in (out / "source", *([out / included[1]] if included else []), out):
        found = _NUMBERS.findall((text_of(tree / "Makefile", 1 << 16) or "")[:1024])
        if (
            numbers
            and found == [part or "0" for part in numbers.groups()]
            and (tree / "scripts/mod/modpost.c").is_file()
        ):
            return tree
    return None


def exporters(tree: Path, names: Collection[str], srcarch: str) -> dict[str, Place]:
    """Return symbol -> where the source exports it, for those of the names that it does.

    srcarch: the folder of arch/ that counts ("x86"). Some 30,000 files are read, which takes seconds from a cold disk.
    """
    found: dict[str, Place] = {}
    wanted = set(names)
    left = MAX_TREE_BYTES
    for path in _files(tree, srcarch):
        try:
            with opened(tree / path) as file:
                data = file.read(MAX_FILE_BYTES)
        except OSError:
            continue
        left -= len(data)
        for match in _EXPORT.finditer(data) if b"EXPORT_" in data else ():
            for name in _symbols(match):
                if name in wanted:
                    found.setdefault(name, Place(path, data.count(b"\n", 0, match.start()) + 1))
        if left < 0 or len(found) == len(wanted):
            break
    return found


def _symbols(match: re.Match[bytes]) -> tuple[str, ...]:
    """Return what one macro exports. Source: include/linux/tracepoint.h, include/linux/static_call.h."""
    name, kind = match["name"].decode("ascii"), match["kind"]
    if b"TRACEPOINT" in kind:
        return (f"__tracepoint_{name}", f"__traceiter_{name}", f"__SCK__tp_func_{name}")
    if b"STATIC_CALL" in kind:
        return (f"__SCT__{name}",) if b"TRAMP" in kind else (f"__SCK__{name}", f"__SCT__{name}")
    return (name,) if b"SYMBOL" in kind else ()


def _files(tree: Path, srcarch: str) -> Iterator[str]:
    pending, count = [""], 0
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(tree / folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError:
            continue
        for entry in listed:
            path = posixpath.join(folder, entry.name)
            if entry.is_dir(follow_symlinks=False):
                foreign = folder == "arch" and entry.name != srcarch
                if not foreign and (folder or entry.name not in _ELSEWHERE):
                    pending.append(path)
            elif entry.name.endswith(_SUFFIXES):
                count += 1
                if count > MAX_FILES:
                    return
                yield path


def options_of(tree: Path, path: str) -> tuple[str, ...]:
    """Return the options (without CONFIG_) that the Makefile beside a source names for its object; () if it names none."""
    folder, _, base = path.rpartition("/")
    text = next((t for name in ("Kbuild", "Makefile") if (t := text_of(tree / folder / name, 1 << 20)) is not None), "")
    assigned = [(one[1], one[2].split()) for one in _ASSIGNMENT.finditer(text.replace("\\\n", " "))]
    wanted, options = [base.rpartition(".")[0] + ".o"], dict[str, None]()
    for target in wanted:  # grows: an object may be part of another, which an option switches on
        for name, values in assigned:
            if target not in values:
                continue
            options |= dict.fromkeys(_OPTION.findall(name))
            whole = re.fullmatch(r"([\w.-]+?)-(?:y|m|objs|\$\(CONFIG_\w+\))", name)
            if whole and whole[1] not in ("obj", "lib") and f"{whole[1]}.o" not in wanted:
                wanted.append(f"{whole[1]}.o")
    return tuple(options)
