"""What the objects of a kernel say about exports: which symbols they export, could export, define and need.

objects.jsonl: one ObjectFacts a line. Objects are those that are linked into vmlinux or a module, as far as the
archives and .mod files of the tree tell.
Source: include/linux/export.h of 5.1 … 6.4 (__ksym_marker_, __ksymtab_), of 6.5+ (__export_symbol_).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from lab.evidence.elf import EM_SPARC_FAMILY, SHN_UNDEF, STB_GLOBAL, STT_SPARC_REGISTER, Elf, UnreadableError, open_elf
from lab.evidence.text import MAX_TEXT_BYTES, bytes_of, json_rows, opened

MARKER, KSYMTAB, EXPORT = "__ksym_marker_", "__ksymtab_", "__export_symbol_"
_OURS = ("__ksym", "__kstrtab", "__export_symbol_", "__crc_")
MAX_ARCHIVE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFacts:
    """path: relative to O=. part_of: "vmlinux", a module's .ko, or "" if nothing links it as far as we see.

    markers: symbols that it would export if the list of used symbols had them. ksymtab: those that it does export.
    defines: its global and weak definitions. undefined: what it needs (weak references left out).
    unreadable: why nothing is known, or "". All sorted.
    """

    path: str
    part_of: str = ""
    markers: tuple[str, ...] = ()
    ksymtab: tuple[str, ...] = ()
    defines: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()
    unreadable: str = ""


def object_facts(path: Path, name: str, part_of: str = "") -> ObjectFacts:
    """Read the facts of one object or module; one that cannot be read says why in `unreadable` (LTO's bitcode, damage)."""
    try:
        with open_elf(path) as elf:
            return facts_of(elf, name, part_of)
    except UnreadableError as error:
        return ObjectFacts(path=name, part_of=part_of, unreadable=str(error))


def facts_of(elf: Elf, name: str, part_of: str = "") -> ObjectFacts:
    """Return the facts of an open object. Raises UnreadableError for a damaged one."""
    symbols = elf.symbols()
    if symbols is None:
        return ObjectFacts(path=name, part_of=part_of, unreadable="it has no symbol table")
    defined = symbols.sections != SHN_UNDEF
    globals_ = symbols.binds != 0
    needed = ~defined & (symbols.binds == STB_GLOBAL)
    if (
        elf.machine in EM_SPARC_FAMILY
    ):  # register declarations look like undefined symbols; modpost.c skips them as well
        needed &= symbols.types != STT_SPARC_REGISTER
    names = np.array(symbols.names(), dtype=object)
    mine = [text for text in names[defined].tolist() if text.startswith(_OURS)]
    exports = [text.removeprefix(KSYMTAB) for text in mine if text.startswith(KSYMTAB)]
    exports += [text.removeprefix(EXPORT) for text in mine if text.startswith(EXPORT)]
    return ObjectFacts(
        path=name,
        part_of=part_of,
        markers=_sorted(text.removeprefix(MARKER) for text in mine if text.startswith(MARKER)),
        ksymtab=_sorted(exports),
        defines=_sorted(text for text in names[defined & globals_].tolist() if not text.startswith(_OURS)),
        undefined=_sorted(names[needed].tolist()),
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names) - {""}))


def archive_members(path: Path) -> tuple[str, ...]:
    """Return the paths that a thin archive (built-in.a, vmlinux.a) names, as stored; () if it is none, or damaged.

    Source: binutils, bfd/archive.c: "!<thin>\\n", then headers of 60 bytes; only "/" and "//" have their data inside.
    """
    try:
        with opened(path) as file:
            data = bytes_of(file, MAX_ARCHIVE_BYTES)
    except OSError:
        return ()
    if not data.startswith(b"!<thin>\n"):
        return ()
    members, names, position = [], b"", 8
    while len(header := data[position : position + 60]) == 60:
        # A number fills 14 of 15 places, and what stood in the last one is left: "/8             /". bfd, _bfd_ar_spacepad()
        name, size = header[:16].rstrip(), header[48:58].strip()
        if name[:1] == b"/" and name[1:15].rstrip().isdigit():
            name = name[:15].rstrip()
        position += 60
        if name in (b"/", b"/SYM64/", b"//"):
            length = int(size) if size.isdigit() else len(data)
            names = data[position : position + length] if name == b"//" else names
            position += length + length % 2
        elif name.startswith(b"/") and name[1:].isdigit():
            start = int(name[1:])
            members.append(names[start : max(names.find(b"/\n", start), start)])
        else:
            members.append(name.rstrip(b"/"))
    return tuple(member.decode("utf-8", "surrogateescape") for member in members if member)


def jsonl(facts: Iterable[ObjectFacts]) -> Iterator[str]:
    """Yield the lines of objects.jsonl; what is empty is left out."""
    for fact in facts:
        yield json.dumps({key: value for key, value in asdict(fact).items() if value}, separators=(",", ":")) + "\n"


def read_jsonl(path: Path | None) -> tuple[ObjectFacts, ...]:
    """Return what objects.jsonl says; lines that are not of its form are passed over."""
    return tuple(fact for row in json_rows(path, MAX_TEXT_BYTES) if (fact := _from_row(row)) is not None)


def _from_row(row: dict[str, Any]) -> ObjectFacts | None:
    values: dict[str, Any] = {}
    for key in (field.name for field in fields(ObjectFacts)):
        value = row.get(key)
        if isinstance(value, list):
            values[key] = tuple(item for item in value if isinstance(item, str))
        elif isinstance(value, str):
            values[key] = value
    return ObjectFacts(**values) if isinstance(values.get("path"), str) else None
