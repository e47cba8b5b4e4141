"""Symbols of a kernel as `nm -n` lists them, in arrays: from an ELF file's symbol table, or from a map (System.map, *.syms).

A vmlinux has 50,000 to 300,000 symbols, so everything here works on whole columns.
Source: nm(1); binutils, bfd/syms.c, bfd_decode_symclass(), and binutils/nm.c, numeric_forward().
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lab.evidence.elf import STB_WEAK, Elf, Section, Symbols, UnreadableError
from lab.evidence.text import bytes_of, opened

MAX_MAP_BYTES = 1 << 30
MAX_SHARED, MAX_SHARED_BYTES = 8, 16 << 20  # names together against the table that they lie in
SHT_PROGBITS, SHT_NOBITS = 1, 8
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
EM_ARM = 40
STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE, STT_GNU_IFUNC = 1, 2, 3, 4, 10
STB_LOCAL, STB_GNU_UNIQUE = 0, 10
STV_HIDDEN = 2
SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_COMMON = 0, 0xFF00, 0xFFF1, 0xFFF2
_UPPER = ord("a") - ord("A")

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Many byte strings in one block: string i is block[starts[i] : starts[i] + lengths[i]]."""

    block: Bytes = field(repr=False)
    starts: Indices
    lengths: Indices

    def __len__(self) -> int:
        return len(self.starts)

    def raw(self, index: int) -> bytes:
        """Return one string."""
        start = int(self.starts[index])
        return self.block[start : start + int(self.lengths[index])].tobytes()

    def text(self, index: int) -> str:
        """Return one string; what is no UTF-8 survives as surrogates."""
        return self.raw(index).decode("utf-8", "surrogateescape")

    def texts(self, which: Indices) -> list[str]:
        """Return some strings."""
        return [self.text(index) for index in which.tolist()]

    def taken(self, which: Indices | Mask) -> Texts:
        """Return some of the strings, in the order given; the block is shared."""
        return Texts(block=self.block, starts=self.starts[which], lengths=self.lengths[which])

    def starting_with(self, prefix: bytes) -> Indices:
        """Return which strings begin with some bytes."""
        near = np.flatnonzero(self.lengths >= len(prefix))
        for offset, byte in enumerate(prefix):
            near = near[self.block[self.starts[near] + offset] == byte]
        return near

    def keys(self) -> Numbers:
        """Return a number for each string: the same for equal ones, and for others but for one pair in 2^56.

        Numbers of one process only: the multipliers are drawn anew, so that nobody can prepare names that collide.
        """
        if not len(self):
            return np.zeros(0, np.uint64)
        lengths = np.minimum(self.lengths, len(_MULTIPLIERS) - 1)
        found: Numbers = lengths.astype(np.uint64) * _MULTIPLIERS[0]
        # letter by letter over all strings that are so long, the longest first: no array is longer than they are many
        order = np.argsort(-lengths, kind="stable")
        starts, sums = self.starts[order], found[order]
        ends = np.searchsorted(-lengths[order], -np.arange(int(lengths[order[0]])), side="left")
        for position, live in enumerate(ends.tolist()):
            letters = self.block[starts[:live] + position].astype(np.uint64)
            sums[:live] += (letters + np.uint64(1)) * _MULTIPLIERS[position + 1]  # wraps around
        found[order] = sums
        return found


_MULTIPLIERS = np.random.default_rng().integers(1, 2**63, size=4097, dtype=np.uint64) | np.uint64(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Symbols in the order of `nm -n`: by address, then by name. values: addresses. letters: nm's type letters.

    sections: st_shndx of each (0 where a map does not say it).
    """

    values: Numbers
    letters: Bytes
    names: Texts
    sections: npt.NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.values)

    def taken(self, which: Indices | Mask) -> Listing:
        """Return some of the symbols."""
        return Listing(
            values=self.values[which],
            letters=self.letters[which],
            names=self.names.taken(which),
            sections=self.sections[which],
        )

    def find(self, name: str) -> int | None:
        """Return the address of the first symbol of that name, or None."""
        found = self.index(name)
        return None if found is None else int(self.values[found])

    def nearest(self, address: int) -> str:
        """Return an address as "symbol+0x2" by the last symbol of code at or before it; "" if none is within a MiB."""
        code = np.flatnonzero(np.isin(self.letters | np.uint8(_UPPER), np.frombuffer(b"tw", np.uint8)))
        values = self.values[code]
        at = int(np.searchsorted(values, np.uint64(address & (2**64 - 1)), side="right")) - 1
        if at < 0 or not 0 <= address - int(values[at]) < 1 << 20:
            return ""
        return f"{self.names.text(int(code[at]))}+{address - int(values[at]):#x}"

    def index(self, name: str) -> int | None:
        """Return the position of the first symbol of that name, or None."""
        wanted = name.encode("utf-8", "surrogateescape")
        near = np.flatnonzero(self.names.lengths == len(wanted))
        for offset, byte in enumerate(wanted):
            if not len(near):
                return None
            near = near[self.names.block[self.names.starts[near] + offset] == byte]
        return int(near[0]) if len(near) else None


# ---------------------------------------------------------------------------------------------------------- from ELF


def of_elf(elf: Elf) -> Listing | None:
    """Return what `nm -n` shows of an ELF file, without undefined symbols; None if it is stripped.

    Raises UnreadableError for a damaged file.
    """
    symbols = elf.symbols()
    if symbols is None:
        return None
    shown = (symbols.types != STT_SECTION) & (symbols.types != STT_FILE) & (symbols.sections != SHN_UNDEF)
    offsets = symbols.name_offsets[shown].astype(np.int64)
    return _sorted(
        values=values_of(elf, symbols)[shown],
        letters=letters_of(elf, symbols)[shown],
        names=terminated(symbols.strings, offsets),
        sections=symbols.sections[shown],
    )


def values_of(elf: Elf, symbols: Symbols) -> Numbers:
    """Return addresses: ARM marks Thumb functions by an odd one. Source: bfd/elf32-arm.c, elf32_arm_swap_symbol_in()."""
    if elf.machine != EM_ARM:
        return symbols.values
    return np.where(symbols.types == STT_FUNC, symbols.values & ~np.uint64(1), symbols.values)


def terminated(strings: bytes, offsets: Indices) -> Texts:
    """Return the C strings at some offsets; an offset outside, or a string that never ends, is "".

    Raises UnreadableError if they overlap so much that they are many times the table: linkers share ends of names, no more.
    """
    block = np.frombuffer(strings or b"\0", np.uint8)
    ends = np.flatnonzero(block == 0)
    which = np.searchsorted(ends, offsets)
    inside = (which < len(ends)) & (offsets >= 0)
    found = ends[np.minimum(which, max(len(ends) - 1, 0))] if len(ends) else np.zeros(len(offsets), np.int64)
    lengths = np.where(inside, found - offsets, 0)
    if int(lengths.sum()) > max(MAX_SHARED_BYTES, MAX_SHARED * len(block)):
        raise UnreadableError("the names of its symbols overlap")
    return Texts(block=block, starts=np.where(inside, offsets, 0), lengths=lengths)


def letters_of(elf: Elf, symbols: Symbols) -> Bytes:
    """Return nm's letter of every symbol. Source: bfd_decode_symclass()."""
    of_section = np.full(1 << 16, ord("?"), np.uint8)
    for number, section in enumerate(elf.sections[:SHN_LORESERVE]):
        of_section[number] = ord(_letter_of(section))
    of_section[SHN_ABS], of_section[SHN_COMMON], of_section[SHN_UNDEF] = ord("a"), ord("c"), ord("u")
    letters = of_section[symbols.sections]
    lower = (letters >= ord("a")) & (letters <= ord("z"))
    letters = np.where(lower & (symbols.binds != STB_LOCAL), letters - np.uint8(_UPPER), letters)
    weak = np.where(symbols.types == STT_OBJECT, ord("V"), ord("W")).astype(np.uint8)
    letters = np.where(symbols.binds == STB_WEAK, weak, letters)
    letters = np.where(symbols.binds == STB_GNU_UNIQUE, np.uint8(ord("u")), letters)
    return np.where(symbols.types == STT_GNU_IFUNC, np.uint8(ord("i")), letters).astype(np.uint8)


def _letter_of(section: Section) -> str:
    """Return the letter by the section's flags, as binutils do since 2.35; before, some names of sections counted more.

    Source: bfd/syms.c, decode_section_type().
    """
    if section.flags & SHF_EXECINSTR:
        return "t"
    if not section.flags & SHF_ALLOC:
        if section.name.startswith((".debug", ".zdebug", ".stab", ".line")):
            return "N"
        return "?" if section.type == SHT_NOBITS or section.flags & SHF_WRITE else "n"
    if section.type == SHT_NOBITS:
        return "b"
    return "d" if section.flags & SHF_WRITE else "r"


def _sorted(*, values: Numbers, letters: Bytes, names: Texts, sections: npt.NDArray[np.uint16]) -> Listing:
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    tied = np.concatenate(([False], ordered[1:] == ordered[:-1])) if len(ordered) else np.zeros(0, np.bool_)
    tied[:-1] |= tied[1:]
    places = np.flatnonzero(tied)
    if len(places):  # symbols of one address are in the order of strcmp()
        order[places] = _by_name(order[places], ordered[places], names)
    return Listing(values=ordered, letters=letters[order], names=names.taken(order), sections=sections[order])


_KEY_BYTES = 8


def _by_name(rows: Indices, values: Numbers, names: Texts) -> Indices:
    """Return rows, which are in the order of their values, with those of one value in the order of their names' bytes.

    The first eight bytes of a name decide nearly always: they are compared as one number.
    """
    within = np.arange(_KEY_BYTES)
    lengths = names.lengths[rows]
    inside = within < lengths[:, None]
    held = names.block[np.where(inside, names.starts[rows][:, None] + within, 0)]
    keys = np.where(inside, held, 0).astype(np.uint8).view(">u8")[:, 0]
    order = np.lexsort((keys, values))
    rows, keys, values, lengths = rows[order], keys[order], values[order], lengths[order]
    alike = np.concatenate(([False], (keys[1:] == keys[:-1]) & (values[1:] == values[:-1])))
    edges = np.flatnonzero(np.diff(np.concatenate((alike, [False])).astype(np.int8)))
    for first, last in zip(edges[0::2].tolist(), (edges[1::2] + 1).tolist(), strict=True):
        if int(lengths[first:last].max()) > _KEY_BYTES:
            group = rows[first:last]
            raw = [names.raw(int(one)) for one in group]
            rows[first:last] = group[sorted(range(len(group)), key=raw.__getitem__)]
    return rows


# --------------------------------------------------------------------------------------------------------- from a map

_HEX = np.full(256, 255, np.uint8)
for _digits, _base in (("0123456789", 0), ("abcdef", 10), ("ABCDEF", 10)):
    for _number, _digit in enumerate(_digits):
        _HEX[ord(_digit)] = _base + _number


def of_map(path: Path) -> Listing:
    """Return the symbols of a map file ("ffffffff81000000 T _stext" a line), in its own order.

    A last line that is cut off is left out. Raises UnreadableError if a line is of another form or the file is too large.
    """
    try:
        with opened(path) as file:
            data = bytes_of(file, MAX_MAP_BYTES + 1)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
    if len(data) > MAX_MAP_BYTES:
        raise UnreadableError(f"it has more than {MAX_MAP_BYTES} bytes")
    return parsed(data)


def parsed(data: bytes) -> Listing:
    """Return the symbols of a map's text. Raises UnreadableError naming the first line that is of another form."""
    block = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(block == ord("\n"))
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else np.zeros(0, np.int64)
    blank = data.find(b" ")
    width = blank - int(starts[0]) if len(starts) else 0
    if not len(starts):
        if data.strip():
            raise UnreadableError("it has no complete line")
        return Listing(
            values=np.zeros(0, np.uint64),
            letters=np.zeros(0, np.uint8),
            names=Texts(block=block, starts=starts, lengths=starts),
            sections=np.zeros(0, np.uint16),
        )
    _need(width in (8, 16), 1)
    lengths = ends - starts
    _all(lengths >= width + 3)  # a symbol may have no name
    digits = _HEX[block[starts[:, None] + np.arange(width)]]
    _all((digits < 16).all(axis=1) & (block[starts + width] == ord(" ")) & (block[starts + width + 2] == ord(" ")))
    values = np.zeros(len(starts), np.uint64)
    for column in range(width):
        values = (values << np.uint64(4)) | digits[:, column]
    return Listing(
        values=values,
        letters=block[starts + width + 1],
        names=Texts(block=block, starts=starts + width + 3, lengths=lengths - width - 3),
        sections=np.zeros(len(starts), np.uint16),
    )


def _all(good: Mask) -> None:
    if not good.all():
        _need(False, int(np.argmin(good)) + 1)


def _need(good: bool, line: int) -> None:
    if not good:
        raise UnreadableError(f"line {line} is not of the form 'ADDRESS TYPE NAME'")
