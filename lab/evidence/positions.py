"""Names that occur more than once in the kernel or in a module, and the position by which livepatch tells them apart.

livepatch counts the symbols of one name from 1: in vmlinux in the order of its kallsyms table, which is that of addresses; in a
module in the order of its ELF symbol table, of the symbols that the kernel keeps. Position 0 says that there is one only.
Source: kernel/livepatch/core.c, klp_find_callback(), klp_match_callback(); kernel/module/kallsyms.c,
module_kallsyms_on_each_symbol(), is_core_symbol().
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from lab.evidence import symbols
from lab.evidence.elf import Elf
from lab.evidence.kallsyms_table import KallsymsTable
from lab.evidence.symbols import (
    SHF_ALLOC,
    SHN_LORESERVE,
    SHN_UNDEF,
    STB_LOCAL,
    STT_FILE,
    STT_SECTION,
    STV_HIDDEN,
    Bytes,
    Indices,
    Listing,
    Numbers,
    Texts,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One symbol. position: from 1 among those of its name in the object, in livepatch's order. count: how many there are.

    letter: nm's. file: the source that the symbol table names for a local symbol, "" if it does not say.
    """

    name: str
    position: int
    count: int
    address: int
    letter: str
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """The symbols of an object in livepatch's order. files: number of each one's file in file_names, -1 for none."""

    values: Numbers
    letters: Bytes
    names: Texts
    files: Indices
    file_names: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, *, duplicates: bool, name: str = "") -> Iterator[Named]:
        """Yield the symbols in livepatch's order, or those whose names occur more than once, by name and position.

        name: only symbols of exactly this name.
        """
        keys = self.names.keys()
        _, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
        order = np.argsort(which, kind="stable")
        begins = np.concatenate(([0], np.cumsum(counts)))[:-1]
        position = np.empty(len(keys), np.int64)
        position[order] = np.arange(len(keys)) - begins[which[order]] + 1
        shown = np.flatnonzero(counts[which] > 1) if duplicates else np.arange(len(keys))
        if name:
            wanted = name.encode("utf-8", "surrogateescape")
            shown = shown[self.names.lengths[shown] == len(wanted)]
            shown = np.array([one for one in shown.tolist() if self.names.raw(one) == wanted], np.int64)
        if duplicates:
            shown = np.array(sorted(shown.tolist(), key=lambda one: (self.names.raw(one), position[one])), np.int64)
        for one in shown.tolist():
            file = int(self.files[one])
            yield Named(
                name=self.names.text(one),
                position=int(position[one]),
                count=int(counts[which[one]]),
                address=int(self.values[one]),
                letter=chr(self.letters[one]),
                file=self.file_names[file] if file >= 0 else "",
            )


def of_table(table: KallsymsTable, elf: Elf | None) -> Ordered:
    """Return vmlinux's symbols as its own table orders them. elf: the same kernel with symbols, which knows their files."""
    listing = table.listing
    none: tuple[Indices, tuple[str, ...]] = (np.full(len(listing), -1, np.int64), ())
    files, names = _files_at(listing, elf) if elf is not None else none
    return Ordered(values=listing.values, letters=listing.letters, names=listing.names, files=files, file_names=names)


def of_vmlinux(elf: Elf) -> Ordered | None:
    """Return vmlinux's symbols in the order in which its table would have them; None if it is stripped."""
    listing = symbols.of_elf(elf)
    if listing is None:
        return None
    files, names = _files_at(listing, elf)
    return Ordered(values=listing.values, letters=listing.letters, names=listing.names, files=files, file_names=names)


def of_listing(listing: Listing) -> Ordered:
    """Return the symbols of a map, which knows no files."""
    return Ordered(
        values=listing.values,
        letters=listing.letters,
        names=listing.names,
        files=np.full(len(listing), -1, np.int64),
    )


def of_module(elf: Elf) -> Ordered | None:
    """Return the symbols of a module that the kernel keeps, in the order of its symbol table; None if it is stripped."""
    table = elf.symbols()
    if table is None:
        return None
    kept = np.zeros(1 << 16, np.bool_)
    for number, section in enumerate(elf.sections[:SHN_LORESERVE]):
        # module_init_section(): ".init*" goes away when the module has started
        kept[number] = bool(section.flags & SHF_ALLOC) and not section.name.startswith(".init") and number > 0
    offsets = table.name_offsets.astype(np.int64)
    texts = symbols.terminated(table.strings, offsets)
    core = kept[table.sections] & (texts.lengths > 0) & (table.types != STT_SECTION) & (table.sections != SHN_UNDEF)
    which = np.flatnonzero(core)
    files, names = sources_of(elf)
    return Ordered(
        values=symbols.values_of(elf, table)[which],
        letters=symbols.letters_of(elf, table)[which],
        names=texts.taken(which),
        files=files[which],
        file_names=names,
    )


def sources_of(elf: Elf) -> tuple[Indices, tuple[str, ...]]:
    """Return for each symbol of the table the number of its file (-1: global, or before the first FILE symbol), and the names.

    A linker makes hidden symbols local ones, and puts them behind all files: lld as hidden as they were, GNU ld behind a FILE
    symbol without a name. Source: gABI, "Symbol Table", STT_FILE: it precedes the other local symbols of the file;
    binutils, bfd/elflink.c, elf_link_output_extsym().
    """
    table = elf.symbols()
    if table is None:
        return np.zeros(0, np.int64), ()
    is_file = table.types == STT_FILE
    number = np.cumsum(is_file) - 1
    number[(table.binds != STB_LOCAL) | is_file | (table.visibilities == STV_HIDDEN)] = -1
    names = symbols.terminated(table.strings, table.name_offsets[is_file].astype(np.int64))
    nameless = np.append(names.lengths == 0, False)  # the last one stands for -1
    number[nameless[number]] = -1
    return number, tuple(names.texts(np.arange(len(names))))


def _files_at(listing: Listing, elf: Elf) -> tuple[Indices, tuple[str, ...]]:
    """Return for each symbol of a listing the number of its file, by address and name, and the names of the files."""
    table = elf.symbols()
    found = np.full(len(listing), -1, np.int64)
    files, names = sources_of(elf)
    if table is None or not len(listing):
        return found, names
    local = np.flatnonzero(files >= 0)
    texts = symbols.terminated(table.strings, table.name_offsets[local].astype(np.int64))
    mix = np.uint64(0x9E3779B97F4A7C15)
    known = texts.keys() ^ (symbols.values_of(elf, table)[local] * mix)
    wanted = listing.names.keys() ^ (listing.values * mix)
    order = np.argsort(known, kind="stable")
    at = np.searchsorted(known[order], wanted)
    inside = at < len(order)
    hit = np.zeros(len(listing), np.bool_)
    hit[inside] = known[order][at[inside]] == wanted[inside]
    found[hit] = files[local[order[at[hit]]]]
    return found, names
