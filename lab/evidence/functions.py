"""The functions of a vmlinux or a module by name and by address, in arrays; also of a map, which knows no sections.

In a module an address is an offset in its section: nobody knows before it is loaded where that will lie.
What the kernel prints as the size of a function is the way to the next symbol.
Source: kernel/kallsyms.c, get_symbol_pos(); kernel/module/kallsyms.c, find_kallsyms_symbol().
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lab.evidence import positions, symbols
from lab.evidence.elf import STB_WEAK, Elf
from lab.evidence.symbols import (
    SHF_EXECINSTR,
    SHN_LORESERVE,
    STT_FILE,
    STT_SECTION,
    Indices,
    Listing,
    Mask,
    Numbers,
    Texts,
)

ET_REL = 1
_CODE_LETTERS = b"tTwW"
_NEAR = 4096  # symbols of one address, or of one name, that are looked at
ROOMS = 4
BESIDE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function. address: where it was linked; in a module, its offset in the section.

    size: as the symbol table has it, 0 if it does not say. rooms: the ways to the next symbols of the section, at most ROOMS;
    () for the last one, whose end is not known. section: name, "" of a map. file: the source that the table names for it
    ("inode.c"), ""; file_number: which of Functions.file_names that is, -1. local: static in its source.
    """

    name: str
    address: int
    size: int = 0
    rooms: tuple[int, ...] = ()
    section: str = ""
    file: str = ""
    file_number: int = -1
    local: bool = False

    def misfit(self, size: int) -> int | None:
        """Return how badly a size that the kernel printed fits, 0 (it does) to 2; None if it cannot have printed it.

        1: the next symbol is one that the kernel's own table leaves out. 2: only the loaded module, or the linked kernel, knows
        what comes behind the section. A size of 0 was not printed.
        """
        if not size or size == self.size or size in self.rooms[:1]:
            return 0
        if size in self.rooms:
            return 1
        return 2 if len(self.rooms) < ROOMS and size >= self.size else None


@dataclass(frozen=True, kw_only=True)
class Functions:
    """Functions in the order of (section, address). relocatable: of a module, whose addresses are offsets in sections.

    sections: st_shndx of each; section_names: by that number. files: number of each one's file in file_names, -1 for none.
    """

    values: Numbers
    sizes: Numbers
    sections: Indices
    names: Texts
    weak: Mask = field(repr=False)
    local: Mask = field(repr=False)
    files: Indices = field(repr=False)
    file_names: tuple[str, ...] = field(default=(), repr=False)
    section_names: tuple[str, ...] = field(default=(), repr=False)
    relocatable: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def named(self, name: str) -> tuple[Function, ...]:
        """Return every function of a name, by section and address."""
        return tuple(self._function(index) for index in self._of_name(name))

    def beginning(self, stem: str) -> tuple[Function, ...]:
        """Return the functions whose name is `stem` and something after a dot.

        With clang's LTO kallsyms cuts off what the compiler appended (".llvm.123", ".constprop.0"), and the kernel prints
        less than the symbol table has. Source: kernel/kallsyms.c, cleanup_symbol_name().
        """
        found = self.names.starting_with(stem.encode("utf-8", "surrogateescape") + b".")
        return tuple(self._function(int(index)) for index in found[:_NEAR].tolist())

    def at(self, address: int, section: str = "") -> Function | None:
        """Return the function that an address lies in, None if it lies before the first, or far behind the last.

        Of several names of one address it is the one that the kernel would print: scripts/kallsyms.c, compare_symbols().
        """
        if self.relocatable:
            number = self.section_names.index(section) if section in self.section_names else -1
            first, last = np.searchsorted(self.sections, [number, number + 1]).tolist()
        else:
            first, last = 0, len(self)
        if address < 0 or address >> 64:
            return None
        index = first + int(np.searchsorted(self.values[first:last], np.uint64(address), side="right")) - 1
        if index < first:
            return None
        begin = first + int(np.searchsorted(self.values[first:last], self.values[index]))
        best = min(
            range(max(begin, index - _NEAR), index + 1), key=lambda one: (bool(self.weak[one]), self._prefix(one), one)
        )
        found = self._function(best)
        inside = found.rooms[0] if found.rooms else int(self.sizes[max(begin, index - _NEAR) : index + 1].max())
        return found if address - found.address < max(inside, 1) else None

    def _prefix(self, index: int) -> int:
        raw = self.names.raw(index)
        return len(raw) - len(raw.lstrip(b"_"))

    def _of_name(self, name: str) -> list[int]:
        wanted = name.encode("utf-8", "surrogateescape")
        keys, order = self._by_key
        block, lengths = np.frombuffer(wanted or b"\0", np.uint8), np.array([len(wanted)], np.int64)
        key = Texts(block=block, starts=np.zeros(1, np.int64), lengths=lengths).keys()
        first, last = np.searchsorted(keys, key, side="left")[0], np.searchsorted(keys, key, side="right")[0]
        near = sorted(order[int(first) : min(int(last), int(first) + _NEAR)].tolist())
        return [index for index in near if self.names.raw(index) == wanted]

    @cached_property
    def _by_key(self) -> tuple[Numbers, Indices]:
        keys = self.names.keys()
        order = np.argsort(keys, kind="stable")
        return keys[order], order

    @cached_property
    def _starts(self) -> Indices:
        """Return the first symbol of every address, in order."""
        if not len(self):
            return np.zeros(0, np.int64)
        moved = (self.values[1:] != self.values[:-1]) | (self.sections[1:] != self.sections[:-1])
        return np.flatnonzero(np.concatenate(([True], moved)))

    def _rooms(self, index: int) -> tuple[int, ...]:
        after = int(np.searchsorted(self._starts, index, side="right"))
        following = self._starts[after : after + ROOMS].tolist()
        section, value = int(self.sections[index]), int(self.values[index])
        return tuple(int(self.values[one]) - value for one in following if int(self.sections[one]) == section)

    def _function(self, index: int) -> Function:
        file, section = int(self.files[index]), int(self.sections[index])
        return Function(
            name=self.names.text(index),
            address=int(self.values[index]),
            size=int(self.sizes[index]),
            rooms=self._rooms(index),
            section=self.section_names[section] if section < len(self.section_names) else "",
            file=self.file_names[file] if file >= 0 else "",
            file_number=file,
            local=bool(self.local[index]),
        )

    def beside(self, function: Function, known: Callable[[Function], bool]) -> tuple[Function | None, Function | None]:
        """Return the nearest functions before and behind one that something is known of; None where the section ends before."""
        index = next((one for one in self._of_name(function.name) if int(self.values[one]) == function.address), None)
        if index is None:
            return None, None
        ways = (range(index - 1, max(-1, index - BESIDE), -1), range(index + 1, min(len(self), index + BESIDE)))
        return self._first(ways[0], index, known), self._first(ways[1], index, known)

    def _first(self, way: Iterable[int], index: int, known: Callable[[Function], bool]) -> Function | None:
        same = (one for one in way if self.sections[one] == self.sections[index])
        return next((near for one in same if known(near := self._function(one))), None)


def of_elf(elf: Elf) -> Functions | None:
    """Return the functions of a vmlinux or a module; None if it has no symbols. Raises UnreadableError for a damaged file."""
    table = elf.symbols()
    if table is None:
        return None
    code = np.zeros(1 << 16, np.bool_)
    for number, section in enumerate(elf.sections[:SHN_LORESERVE]):
        code[number] = bool(section.flags & SHF_EXECINSTR)
    wanted = code[table.sections] & (table.types != STT_SECTION) & (table.types != STT_FILE)
    names = symbols.terminated(table.strings, table.name_offsets.astype(np.int64))
    wanted &= ~_is_mark(names)
    which = np.flatnonzero(wanted)
    values, sections = symbols.values_of(elf, table)[which], table.sections[which].astype(np.int64)
    relocatable = elf.type == ET_REL
    order = np.lexsort((values, sections)) if relocatable else np.argsort(values, kind="stable")
    which = which[order]
    files, file_names = positions.sources_of(elf)
    return Functions(
        values=values[order],
        sizes=table.sizes[which],
        sections=sections[order],
        names=names.taken(which),
        weak=table.binds[which] == STB_WEAK,
        local=(table.binds[which] == symbols.STB_LOCAL) & ((files[which] >= 0) | (not file_names)),
        files=files[which],
        file_names=file_names,
        section_names=tuple(section.name for section in elf.sections[:SHN_LORESERVE]),
        relocatable=relocatable,
    )


def _is_mark(names: Texts) -> Mask:
    """Return which names are no functions: "", assembler's own (".L12") and the marks of code and data ("$a", "$x.5").

    Source: include/linux/module_symbol.h, is_mapping_symbol().
    """
    first = np.where(names.lengths > 0, names.block[np.minimum(names.starts, max(len(names.block) - 1, 0))], 0)
    mark = (first == 0) | (first == ord("$"))
    local = names.starting_with(b".L")
    mark[local] = True
    return np.asarray(mark, np.bool_)


def of_listing(listing: Listing) -> Functions:
    """Return the functions of a map or of a kallsyms table."""
    code = np.isin(listing.letters, np.frombuffer(_CODE_LETTERS, np.uint8))
    which = np.flatnonzero(code & ~_is_mark(listing.names))
    which = which[np.argsort(listing.values[which], kind="stable")]
    letters = listing.letters[which]
    return Functions(
        values=listing.values[which],
        sizes=np.zeros(len(which), np.uint64),
        sections=np.zeros(len(which), np.int64),
        names=listing.names.taken(which),
        weak=(letters == ord("w")) | (letters == ord("W")),
        local=letters == ord("t"),
        files=np.full(len(which), -1, np.int64),
    )
