"""What a livepatch module asks of the kernel: symbols by object, name and position; as annotated, and as converted.

Annotation (klp-convert, never merged): section .klp.module_relocs.OBJ, an array of {void *sym; u32 sympos;}, each with a
relocation to the symbol. Converted (all kernels): sections .klp.rela.OBJ.SECTION and symbols .klp.sym.OBJ.NAME,POS with
st_shndx SHN_LIVEPATCH. POS counts the symbols of that name in OBJ, from 1, in the order of kallsyms; 0 says that there is one.
Source: Documentation/livepatch/module-elf-format.rst; kernel/livepatch/core.c, klp_resolve_symbols(), klp_find_callback().
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.evidence.elf import SHN_UNDEF, SHT_REL, SHT_RELA, Elf, Symbols, UnreadableError, open_elf

ANNOTATIONS, CONVERTED, SYMBOL = ".klp.module_relocs.", ".klp.rela.", ".klp.sym."
SHN_LIVEPATCH = 0xFF20  # include/uapi/linux/elf.h
SHF_RELA_LIVEPATCH = 0x00100000
MAX_ASKED = 1 << 16
# The kernel's own pattern, of sscanf(): ".klp.sym.%55[^.].%511[^,],%lu". Source: klp_resolve_symbols(), 6.1 to 7.2
_SYMBOL = re.compile(r"\.klp\.sym\.([^.]{1,55})\.([^,]{1,511}),(\d{1,10})")
_SECTION = re.compile(r"\.klp\.rela\.([^.]{1,55})\.(.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A symbol that a livepatch wants. object: "vmlinux" or a module's name. position: 0 if there should be one only."""

    object: str
    symbol: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Livepatch:
    """A module with anything of livepatching in it.

    annotated: in file order, repeated ones as well. undefined: how many undefined symbols of a name the link left.
    converted: what its .klp.sym. symbols ask. malformed: names, sections and symbols against the format, in words.
    marked: modinfo says livepatch=Y.
    """

    path: str
    annotated: tuple[Asked, ...] = ()
    undefined: tuple[tuple[str, int], ...] = ()
    converted: tuple[Asked, ...] = ()
    malformed: tuple[str, ...] = ()
    marked: bool = False


def read(file: Path, path: str) -> Livepatch | None:
    """Return what a module asks, None if it is no livepatch. Raises UnreadableError for a damaged file."""
    with open_elf(file) as elf:
        return of_elf(elf, path)


def of_elf(elf: Elf, path: str) -> Livepatch | None:
    """Return what an open module asks, None if it is no livepatch. Raises UnreadableError for a damaged file."""
    concerned = any(section.name.startswith((ANNOTATIONS, CONVERTED)) for section in elf.sections)
    marked = ("livepatch", "Y") in elf.modinfo()
    symbols = elf.symbols() if concerned or marked else None
    if symbols is None:
        return Livepatch(path=path, marked=True) if marked else None
    names = symbols.names()
    annotated = tuple(_annotated(elf, names))
    wanted = {one.symbol for one in annotated}
    undefined = [name for name, place in zip(names, symbols.sections.tolist(), strict=True) if place == SHN_UNDEF]
    converted, malformed = _converted(elf, names, symbols)
    return Livepatch(
        path=path,
        annotated=annotated,
        undefined=tuple((name, undefined.count(name)) for name in sorted(wanted)),
        converted=tuple(converted),
        malformed=tuple(malformed),
        marked=marked,
    )


def _annotated(elf: Elf, names: list[str]) -> list[Asked]:
    word = 8 if elf.is_64 else 4
    found: list[Asked] = []
    for number, section in enumerate(elf.sections):
        if not section.name.startswith(ANNOTATIONS):
            continue
        data = elf.data(section)
        table = next((one for one in elf.sections if one.type in (SHT_RELA, SHT_REL) and one.info == number), None)
        if table is None:
            continue
        relocations = elf.relocations(table)
        for offset, symbol in zip(relocations.offsets.tolist(), relocations.symbols.tolist(), strict=True):
            position = data[offset + word : offset + word + 4]
            if len(position) < 4 or not 0 < symbol <= len(names) or len(found) >= MAX_ASKED:
                raise UnreadableError(f"an annotation of {section.name!r} lies outside its section")
            found.append(
                Asked(
                    object=section.name.removeprefix(ANNOTATIONS),
                    symbol=names[symbol - 1],
                    position=int.from_bytes(position, "little" if elf.byte_order == "<" else "big"),
                )
            )
    return found


def _converted(elf: Elf, names: list[str], symbols: Symbols) -> tuple[list[Asked], list[str]]:
    """Return what .klp.sym. symbols ask, and everything that is against the format."""
    asked: list[Asked] = []
    malformed: list[str] = []
    places = symbols.sections.tolist()
    for name, place in zip(names, places, strict=True):
        if name.startswith(SYMBOL):
            match = _SYMBOL.fullmatch(name)
            if match is None:
                malformed.append(f"symbol {name!r} is not of the form .klp.sym.OBJECT.NAME,POSITION")
            else:
                asked.append(Asked(object=match[1], symbol=match[2], position=int(match[3])))
            if place != SHN_LIVEPATCH:
                malformed.append(f"symbol {name!r} is in section {place:#x}, not in SHN_LIVEPATCH")
    for section in elf.sections:
        if not section.name.startswith(CONVERTED):
            continue
        match = _SECTION.fullmatch(section.name)
        target = elf.sections[section.info].name if section.info < len(elf.sections) else ""
        if match is None:
            malformed.append(f"section {section.name!r} is not of the form .klp.rela.OBJECT.SECTION")
        elif match[2] != target.removeprefix(".") and match[2] != target:
            malformed.append(f"section {section.name!r} applies to {target!r}")
        if not section.flags & SHF_RELA_LIVEPATCH:
            malformed.append(f"section {section.name!r} lacks the flag SHF_RELA_LIVEPATCH")
        if section.type != SHT_RELA:
            malformed.append(f"section {section.name!r} is not of type SHT_RELA")
            continue
        used = {one for one in elf.relocations(section).symbols.tolist() if 0 < one <= len(names)}
        strangers = sorted(names[one - 1] for one in used if not names[one - 1].startswith(SYMBOL))
        malformed += [
            f"section {section.name!r} uses {name!r}, which is no livepatch symbol" for name in strangers[:10]
        ]
    return asked[:MAX_ASKED], malformed[:1000]
