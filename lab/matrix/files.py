"""What a matrix refers to: files beside it, patches and kernel configurations.

Files are read here, once, within the matrix' folder, and never followed out of it: a matrix may come from a stranger.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from lab import yamltext
from lab.errors import UsageError
from lab.model import Fragment, Patch, Program
from lab.tables import Tables
from lab.yamltext import Node, Notes, Scalar, quoted

FILE_BYTES_MAX = 1024 * 1024
ALL_FILES_BYTES_MAX = 16 * 1024 * 1024
PROGRAM_BYTES_MAX = 64 * 1024 * 1024

# Targets of scripts/kconfig/Makefile that ask nothing. *_defconfig are files of arch/<srcarch>/configs, which only the tree
# knows; "make:NAME.config" are fragments of kernel/configs and arch/<srcarch>/configs, merged by the kernel's own rule.
BASES = (
    "tinyconfig", "defconfig", "allnoconfig", "allyesconfig", "allmodconfig", "alldefconfig", "randconfig",
)  # fmt: skip
_DEFCONFIG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}_defconfig")
_MAKE = re.compile(r"make:([A-Za-z0-9][A-Za-z0-9_.-]{0,60}\.config)")
LAB = "lab:"

_SET = re.compile(r'(CONFIG_[A-Za-z0-9_]+)=(y|m|n|-?[0-9]+|0[xX][0-9A-Fa-f]+|"(?:[^"\\]|\\.)*")')
_UNSET = re.compile(r"#\s+(CONFIG_[A-Za-z0-9_]+) is not set")
_HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@", re.MULTILINE)


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """What the values of one matrix file are read against. folder: its own, absolute. cache: files already read."""

    tables: Tables
    folder: Path
    notes: Notes
    cache: dict[Path, str] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------------------- kconfig


def fragments(nodes: tuple[Node, ...], place: Node, around: Surroundings) -> tuple[Fragment, ...] | None:
    """Return a configuration: a base (or a whole .config file), then what is put on top, in order."""
    found = [_fragment(node, first=index == 0, around=around) for index, node in enumerate(nodes)]
    if not nodes:
        around.notes.at(place, "kconfig is empty", known=_known_bases(), hint="start with a base, such as tinyconfig")
    told = [one for one in found if one is not None]
    return tuple(told) if told and len(told) == len(found) else None


def _known_bases() -> str:
    return ", ".join(BASES) + ", *_defconfig"


def _fragment(node: Node, *, first: bool, around: Surroundings) -> Fragment | None:
    if isinstance(node, Scalar) and node.plain and not node.text:
        hint = "an unquoted # starts a YAML comment: write '# CONFIG_X is not set' with its quotes"
        around.notes.at(node, "kconfig item is empty", hint=hint)
        return None
    written = yamltext.text(node, "kconfig item", around.notes)
    if written is None:
        return None
    line = config_line(written)
    if (line is not None or written.startswith(("CONFIG_", "#", "make:"))) and first:
        around.notes.at(node, f"kconfig must start with a base, not {quoted(written)}", known=_known_bases())
        return None
    if line is not None:
        return Fragment(kind="line", text=line, name=written)
    if written in BASES or _DEFCONFIG.fullmatch(written):
        return _base(node, written, first=first, around=around)
    if target := _MAKE.fullmatch(written):
        return Fragment(kind="base", text=target[1], name=written)
    if written.startswith(("CONFIG_", "#", "make:")):
        known = 'CONFIG_X=y|m|n|number|"text", # CONFIG_X is not set, make:NAME.config'
        around.notes.at(node, f"not a kconfig line: {quoted(written)}", known=known)
        return None
    return _config_file(node, written, around)


def _base(node: Node, written: str, *, first: bool, around: Surroundings) -> Fragment | None:
    if first:
        return Fragment(kind="base", text=written, name=written)
    around.notes.at(node, f"base {quoted(written)} would overwrite what stands before it", hint="put it first")
    return None


def config_line(written: str) -> str | None:
    """Return one requested symbol as .config has it ("CONFIG_X=n" becomes "# CONFIG_X is not set"), or None."""
    if unset := _UNSET.fullmatch(written.strip()):
        return f"# {unset[1]} is not set"
    if not (assigned := _SET.fullmatch(written.strip())):
        return None
    return f"# {assigned[1]} is not set" if assigned[2] == "n" else assigned[0]


def _config_file(node: Node, written: str, around: Surroundings) -> Fragment | None:
    ours = written.startswith(LAB)
    text = _lab_fragment(node, written, around) if ours else _kconfig_text(node, written, around)
    if text is None:
        return None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#") and config_line(line) is None:
            around.notes.at(node, f"{quoted(written)}, line {number}, is no kconfig line: {quoted(line)}")
            return None
    further = around.tables.kconfig_further.get(written.removeprefix(LAB), {}) if ours else {}
    return Fragment(kind="file", text=text, name=written, further=tuple(further.items()))


def _lab_fragment(node: Node, written: str, around: Surroundings) -> str | None:
    known = [LAB + name for name in around.tables.kconfig]
    if written not in known:
        around.notes.unknown(node, "kconfig fragment", written, known, "lab/data/kconfig")
        return None
    return around.tables.kconfig[written.removeprefix(LAB)]


def _kconfig_text(node: Node, written: str, around: Surroundings) -> str | None:
    if "/" in written or "." in written:
        return file_text(node, written, around)
    known = [*BASES, *(LAB + name for name in around.tables.kconfig)]
    # os.path: what the disk cannot even look for (a name of 300 bytes) is simply not there
    if not os.path.isfile(around.folder / written):  # noqa: PTH113
        around.notes.unknown(node, "kconfig", written, known)
        return None
    return file_text(node, written, around)


# ------------------------------------------------------------------------------------------------------------- patches


def patches(nodes: tuple[Node, ...], around: Surroundings) -> tuple[Patch, ...] | None:
    """Return patches in the order in which they are applied."""
    found = [_patch(node, around) for node in nodes]
    told = [one for one in found if one is not None]
    return tuple(told) if len(told) == len(found) else None


def _patch(node: Node, around: Surroundings) -> Patch | None:
    written = yamltext.text(node, "patch", around.notes)
    text = file_text(node, written, around) if written is not None else None
    if written is None or text is None:
        return None
    if not _HUNK.search(text):
        around.notes.at(node, f"{quoted(written)} is no unified diff: it has no line '@@ -a,b +c,d @@'")
        return None
    return Patch(name=Path(written).stem, text=text)


def patch_of(path: Path) -> Patch:
    """Return a patch that is named on the command line, wherever it lies. Raises UsageError if it is none."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"cannot read the patch {str(path)!r}: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise UsageError(f"the patch {str(path)!r} is larger than {FILE_BYTES_MAX} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UsageError(f"the patch {str(path)!r} is not UTF-8 text")
    if not _HUNK.search(text):
        raise UsageError(f"{str(path)!r} is no unified diff: it has no line '@@ -a,b +c,d @@'")
    return Patch(name=path.stem, text=text)


# --------------------------------------------------------------------------------------------------------------- files


def program(node: Node, around: Surroundings) -> Program | None:
    """Return a script or a static program beside the matrix, or None after a complaint. It is read again when it is packed."""
    written = yamltext.text(node, "run", around.notes)
    path = _contained(node, written, around) if written is not None else None
    if written is None or path is None:
        return None
    try:
        with path.open("rb") as file:
            data = file.read(PROGRAM_BYTES_MAX + 1)
    except OSError as error:
        around.notes.at(node, f"cannot read {quoted(written)}: {error.strerror}")
        return None
    if len(data) > PROGRAM_BYTES_MAX:
        around.notes.at(node, f"{quoted(written)} is larger than {PROGRAM_BYTES_MAX} bytes")
        return None
    if not data.startswith((b"#!", b"\x7fELF")):
        hint = "a script begins with '#!/bin/sh'; a program is linked statically, for the guest's architecture"
        around.notes.at(node, f"{quoted(written)} is neither a script nor an ELF file", hint=hint)
        return None
    return Program(name=path.name, path=str(path), sha256=hashlib.sha256(data).hexdigest())


def file_text(node: Node, written: str, around: Surroundings) -> str | None:
    """Return the text of a file beside the matrix, or None after a complaint; line ends are kept."""
    path = _contained(node, written, around)
    if path is None:
        return None
    if path not in around.cache:
        try:
            with path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            around.notes.at(node, f"cannot read {quoted(written)}: {error.strerror}")
            return None
        text = _checked(node, written, data, around)
        if text is None:
            return None
        around.cache[path] = text
    return around.cache[path]


def _contained(node: Node, written: str, around: Surroundings) -> Path | None:
    try:
        path = (around.folder / written).resolve()
        regular = path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name that is too long, holds a NUL, or links to itself
        around.notes.at(node, f"not a usable path: {quoted(written)}")
        return None
    if not path.is_relative_to(around.folder):
        around.notes.at(node, f"{quoted(written)} lies outside the matrix' folder", hint="copy it beside the matrix")
        return None
    if path.exists() and not regular:
        around.notes.at(node, f"{quoted(written)} is not a file")
        return None
    if not regular:
        around.notes.at(node, f"no file {quoted(written)} beside the matrix", hint=_neighbour(path, around))
        return None
    return path


def _neighbour(path: Path, around: Surroundings) -> str:
    """Return a hint at a file that is there and has a name like the wanted one's."""
    if len(around.notes) >= yamltext.MISTAKES_MAX:
        return ""
    try:
        names = sorted(one.name for one in path.parent.iterdir())[:1000] if path.parent.is_dir() else []
    except OSError:
        return ""
    folder = path.parent.relative_to(around.folder)
    return around.notes.likely(str(folder / path.name), [str(folder / name) for name in names])


def _checked(node: Node, written: str, data: bytes, around: Surroundings) -> str | None:
    if len(data) > FILE_BYTES_MAX:
        around.notes.at(node, f"{quoted(written)} is larger than {FILE_BYTES_MAX} bytes")
        return None
    if sum(map(len, around.cache.values())) + len(data) > ALL_FILES_BYTES_MAX:
        around.notes.at(
            node, f"{quoted(written)}: the files of this matrix are larger than {ALL_FILES_BYTES_MAX} bytes"
        )
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        around.notes.at(node, f"{quoted(written)} is not UTF-8 text")
        return None
    return text
