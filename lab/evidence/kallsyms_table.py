"""The kernel's own symbol table, decoded from vmlinux or from a bare image: every layout from 5.10 to 7.2.

scripts/kallsyms writes, each array aligned and in this order (`num_syms`: one u32; N: the number of symbols):

    until 6.3   offsets or addresses, [relative_base], num_syms, names, markers, [seqs_of_names], token_table, token_index
    6.4 on      num_syms, names, markers, token_table, token_index, offsets, [relative_base], seqs_of_names

names: per symbol a length (ULEB128 of up to two bytes since 6.1) and that many bytes, each a token; the first letter of the
text is nm's type. markers: u32, where every 256th name begins. token_table: 256 C strings, token_index (u16) where each
begins. offsets: s32, see Addressing. seqs_of_names (6.2 on, and stable 6.1): 3 bytes, big endian, the order by name.

In an ELF file with symbols the arrays are found by their labels; else by what a token table looks like.
Source: scripts/kallsyms.c, write_src(); kernel/kallsyms.c, kallsyms_sym_address().
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.evidence import kallsyms_order
from lab.evidence.elf import Elf, Section, UnreadableError
from lab.evidence.symbols import SHF_ALLOC, SHT_NOBITS, Bytes, Indices, Listing, Numbers, Texts

MAX_SYMBOLS = 1 << 24  # seqs_of_names has three bytes for each
MAX_TOKEN_TABLE = 1 << 16  # token_index has two bytes
MAX_NAME = 1 << 14  # two bytes of ULEB128
BLOCK = 256  # names between two markers
ARRAYS = (
    "kallsyms_addresses", "kallsyms_offsets", "kallsyms_relative_base", "kallsyms_num_syms", "kallsyms_names",
    "kallsyms_markers", "kallsyms_seqs_of_names", "kallsyms_token_table", "kallsyms_token_index",
)  # fmt: skip
MAX_BEFORE = 64 << 20  # bytes before the token table in which the others are looked for


class WrongTableError(UnreadableError):
    """The labels say where the table is, and what lies there is none."""


class Addressing(StrEnum):
    """How the table says an address."""

    ABSOLUTE = "addresses"  # kallsyms_addresses: a word each
    BASE = "offsets from relative_base"  # u32 + kallsyms_relative_base
    PERCPU = "offsets from relative_base, per-CPU symbols absolute"  # s32: >= 0 itself, < 0 base - 1 - s32
    PLACE = "offsets from the place"  # s32 + address of the entry itself (7.0 on, 64 bit or RELOCATABLE)
    VALUE = "32-bit values"  # u32 (7.0 on, 32 bit)


@dataclass(frozen=True, slots=True, kw_only=True)
class KallsymsTable:
    """The decoded table. listing: symbols in the table's order. addressing: how it says addresses.

    base: value of kallsyms_relative_base, 0 if there is none (or if a relocation fills it in at boot).
    seqs: position in the table of the first, second … symbol by name; None if the layout has no such array.
    faults: what in the table contradicts itself, in words; () for a sound one.
    """

    listing: Listing = field(repr=False)
    addressing: Addressing
    base: int
    seqs: Indices | None = field(repr=False)
    faults: tuple[str, ...] = ()


class Memory:
    """Bytes by address. pieces: (first address, bytes), not overlapping."""

    def __init__(self, pieces: list[tuple[int, bytes]], *, byte_order: str, word: int) -> None:
        self.pieces = pieces
        self.byte_order, self.word = byte_order, word

    def block(self, address: int, size: int, what: str) -> bytes:
        """Return `size` bytes. Raises UnreadableError if the file does not have them."""
        for first, data in self.pieces:
            if address >= first and size >= 0 and address - first + size <= len(data):
                return data[address - first : address - first + size]
        raise UnreadableError(f"{what} ({size} bytes at {address:#x}) lies outside the file")

    def rest(self, address: int, what: str) -> bytes:
        """Return everything from an address to the end of its piece."""
        for first, data in self.pieces:
            if 0 <= address - first < len(data):
                return data[address - first :]
        raise UnreadableError(f"{what} (at {address:#x}) lies outside the file")

    def number(self, address: int, size: int, what: str) -> int:
        """Return an unsigned number."""
        return int.from_bytes(self.block(address, size, what), "little" if self.byte_order == "<" else "big")

    def array(self, address: int, kind: str, count: int, what: str) -> npt.NDArray[Any]:
        """Return `count` numbers of a numpy kind ("u4")."""
        row = np.dtype(self.byte_order + kind)
        return np.frombuffer(self.block(address, count * row.itemsize, what), row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Addresses of the arrays; 0 for one that is not there."""

    num_syms: int
    names: int
    markers: int
    token_table: int
    token_index: int
    offsets: int = 0
    addresses: int = 0
    relative_base: int = 0
    seqs: int = 0


def of_elf(elf: Elf, listing: Listing | None) -> KallsymsTable | None:
    """Decode the table of a vmlinux. listing: its symbols, None if it is stripped. None if it has no table.

    Raises WrongTableError if there is one that leads nowhere, UnreadableError if it cannot be looked at.
    """
    sections = [one for one in elf.sections if one.flags & SHF_ALLOC and one.type != SHT_NOBITS and one.size]
    if listing is not None:
        places = _by_labels(listing)
        if places is None:
            return None
        holding = [one for one in sections if one.addr <= places.names < one.addr + one.size]
        if not holding:
            raise UnreadableError(
                "this file has the labels of the table without its contents (a file of debug symbols)"
            )
        memory = _memory(elf, holding)
        try:
            return decoded(memory, places, listing.find("_text") or listing.find("_stext") or 0)
        except UnreadableError as error:
            raise WrongTableError(str(error)) from error
    memory = _memory(elf, sections)
    return _searched(memory)


def of_image(data: bytes, *, byte_order: str, word: int) -> KallsymsTable | None:
    """Decode the table of a kernel image that is no ELF file (arm's and arm64's Image). word: 4 or 8 bytes.

    Addresses are relative to the image's beginning where the table does not say them itself.
    """
    return _searched(Memory([(0, data)], byte_order=byte_order, word=word))


def _memory(elf: Elf, sections: list[Section]) -> Memory:
    pieces = [(section.addr, elf.data(section)) for section in sections]
    return Memory(pieces, byte_order=elf.byte_order, word=8 if elf.is_64 else 4)


def _by_labels(listing: Listing) -> Places | None:
    found = {name.removeprefix("kallsyms_"): listing.find(name) or 0 for name in ARRAYS}
    if not found["names"] or not found["token_table"]:
        return None
    found["seqs"] = found.pop("seqs_of_names")
    missing = [name for name in ("num_syms", "markers", "token_index") if not found[name]]
    if missing or not (found["offsets"] or found["addresses"]):
        raise UnreadableError(f"there is a kallsyms_names but no kallsyms_{missing[0] if missing else 'offsets'}")
    return Places(**found)


# ---------------------------------------------------------------------------------------------------------- decoding


def decoded(memory: Memory, places: Places, text: int) -> KallsymsTable:
    """Decode a table whose arrays are known. text: address of _text, where a relocation fills in relative_base at boot.

    Raises UnreadableError where an array leads out of the file.
    """
    count = memory.number(places.num_syms, 4, "kallsyms_num_syms")
    if not 0 < count < MAX_SYMBOLS:
        raise UnreadableError(f"kallsyms_num_syms is {count}")
    faults: list[str] = []
    markers = memory.array(places.markers, "u4", -(-count // BLOCK), "kallsyms_markers").astype(np.int64)
    stream = np.frombuffer(memory.rest(places.names, "kallsyms_names"), np.uint8)
    starts, lengths = _walk(stream, markers, count, faults)
    tokens = _tokens(memory, places)
    letters, names = _expanded(stream, starts, lengths, tokens)
    addressing, base, values = _addresses(memory, places, count, text)
    falls = int(np.count_nonzero(values[1:] < values[:-1]))
    if falls:
        at = int(np.argmax(values[1:] < values[:-1])) + 1
        faults.append(f"addresses are not in ascending order: first at entry {at}, {names.text(at)}, {falls} in all")
    seqs = _seqs(memory, places, count, faults)
    if seqs is not None and (fall := kallsyms_order.first_fall(names, seqs)) is not None:
        told = f"{names.text(fall[1])} after {names.text(fall[0])}"
        faults.append(f"kallsyms_seqs_of_names is not in the order of the names: {told}")
    return KallsymsTable(
        listing=Listing(values=values, letters=letters, names=names, sections=np.zeros(count, np.uint16)),
        addressing=addressing,
        base=base,
        seqs=seqs,
        faults=tuple(faults),
    )


def _walk(stream: Bytes, markers: Indices, count: int, faults: list[str]) -> tuple[Indices, Indices]:
    """Return where the tokens of each name begin and how many they are, walking all blocks of 256 at once."""
    starts, lengths = np.zeros((len(markers), BLOCK), np.int64), np.zeros((len(markers), BLOCK), np.int64)
    at = markers.copy()
    end = len(stream)
    for step in range(BLOCK):
        live = np.arange(len(markers)) * BLOCK + step < count
        here = at[live]
        if len(here) and int(here.max()) + 2 > end:
            raise UnreadableError("kallsyms_names runs beyond its section: a marker or a length is wrong")
        first, second = stream[here].astype(np.int64), stream[here + 1].astype(np.int64)
        big = first >= 0x80
        length = np.where(big, (first & 0x7F) | (second << 7), first)
        starts[live, step] = here + 1 + big
        lengths[live, step] = length
        at[live] = here + 1 + big + length
    if len(at) and int(at.max()) > end:
        raise UnreadableError("kallsyms_names runs beyond its section: a marker or a length is wrong")
    wrong = np.flatnonzero(at[:-1] != markers[1:])
    if len(wrong):
        faults.append(f"kallsyms_markers[{int(wrong[0]) + 1}] does not point to the name after the one before it")
    flat = lengths.reshape(-1)[:count]
    if count and int(flat.min()) == 0:
        faults.append(f"name {int(np.argmin(flat))} is empty")
    return starts.reshape(-1)[:count], flat


def _tokens(memory: Memory, places: Places) -> Texts:
    index = memory.array(places.token_index, "u2", 256, "kallsyms_token_index").astype(np.int64)
    block = np.frombuffer(memory.rest(places.token_table, "kallsyms_token_table")[:MAX_TOKEN_TABLE], np.uint8)
    ends = np.flatnonzero(block == 0)
    which = np.searchsorted(ends, index)
    if not len(ends) or int(which.max()) >= len(ends):
        raise UnreadableError("kallsyms_token_index points beyond kallsyms_token_table")
    return Texts(block=block, starts=index, lengths=ends[which] - index)


def _expanded(stream: Bytes, starts: Indices, lengths: Indices, tokens: Texts) -> tuple[Bytes, Texts]:
    """Return nm's letter and the name of every symbol."""
    total = int(lengths.sum())
    if total > len(stream):
        raise UnreadableError("the names of kallsyms_names overlap")
    begins = np.cumsum(lengths) - lengths
    place = np.arange(total, dtype=np.int64) - np.repeat(begins, lengths) + np.repeat(starts, lengths)
    coded = stream[place]
    widths = tokens.lengths[coded]
    size = int(widths.sum())
    if size > MAX_NAME * max(len(starts), 1) or size > 1 << 30:
        raise UnreadableError("the names of kallsyms_names expand to more than a kernel has")
    ends = np.cumsum(widths)
    source = np.arange(size, dtype=np.int64) + np.repeat(tokens.starts[coded] - (ends - widths), widths)
    block = tokens.block[source]
    edges = np.concatenate(([0], ends))
    first, last = edges[begins], edges[begins + lengths]
    empty = first >= last
    letters = np.where(empty, np.uint8(ord("?")), block[np.minimum(first, max(size - 1, 0))] if size else np.uint8(63))
    return letters.astype(np.uint8), Texts(block=block, starts=first + ~empty, lengths=last - first - ~empty)


def _addresses(memory: Memory, places: Places, count: int, text: int) -> tuple[Addressing, int, Numbers]:
    mask = np.uint64(2 ** (8 * memory.word) - 1)
    if places.addresses:
        found = memory.array(places.addresses, f"u{memory.word}", count, "kallsyms_addresses")
        return Addressing.ABSOLUTE, 0, found.astype(np.uint64)
    signed = memory.array(places.offsets, "i4", count, "kallsyms_offsets").astype(np.int64)
    if places.relative_base:
        base = memory.number(places.relative_base, memory.word, "kallsyms_relative_base") or text
        if int((signed < 0).sum()) * 2 > count:
            # Ordinary symbols are negative only with KALLSYMS_ABSOLUTE_PERCPU: no kernel has half its symbols above 2 GiB.
            relative = np.uint64(base) + (-1 - signed).astype(np.uint64)
            return Addressing.PERCPU, base, np.where(signed < 0, relative, signed.astype(np.uint64)) & mask
        return Addressing.BASE, base, (np.uint64(base) + (signed & 0xFFFFFFFF).astype(np.uint64)) & mask
    plain = (signed & 0xFFFFFFFF).astype(np.uint64)
    if memory.word == 4 and bool((plain[1:] >= plain[:-1]).all()):
        return Addressing.VALUE, 0, plain
    place = np.uint64(places.offsets) + np.arange(count, dtype=np.uint64) * np.uint64(4)
    return Addressing.PLACE, 0, (place + signed.astype(np.uint64)) & mask


def _seqs(memory: Memory, places: Places, count: int, faults: list[str]) -> Indices | None:
    if not places.seqs:
        return None
    rows = np.frombuffer(memory.block(places.seqs, 3 * count, "kallsyms_seqs_of_names"), np.uint8).reshape(-1, 3)
    seqs = rows[:, 0].astype(np.int64) << 16 | rows[:, 1].astype(np.int64) << 8 | rows[:, 2]
    if not np.array_equal(np.sort(seqs), np.arange(count)):
        faults.append("kallsyms_seqs_of_names is no order of the names: some are missing, others come twice")
        return None
    return seqs


# --------------------------------------------------------------------------------------------------- without labels


def _searched(memory: Memory) -> KallsymsTable | None:
    """Find the arrays by what they look like: the token table first, the others around it."""
    for first, data in memory.pieces:
        piece = Memory([(first, data)], byte_order=memory.byte_order, word=memory.word)
        for table in _token_tables(data):
            places = _around(piece, first, data, table)
            if places is not None:
                text = 0 if first == 0 else min(address for address, _ in memory.pieces)
                return decoded(piece, places, text)
    return None


def _token_tables(data: bytes) -> list[tuple[int, int]]:
    """Return (offset of the token table, offset of the index) of each place that looks like them.

    A letter that stands for itself is a token of one letter: those of the digits come one after the other.
    """
    found = []
    digits = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00"
    at = data.find(digits)
    while at >= 0:
        # What stands before the first token need not end in a zero, so that the second is where counting begins.
        second, end = _back(data, at, ord("0") - 1), _forth(data, at, 256 - ord("0"))
        if second is not None and end is not None:
            tokens = data[second:end].split(b"\0")[:254]
            places = np.cumsum([0, *(len(token) + 1 for token in tokens)])
            for index, order in itertools.product(range(end, end + 8), "<>"):
                said = np.frombuffer(data[index : index + 512].ljust(512), order + "u2").astype(np.int64)
                if said[0] == 0 and len(places) == 255 and np.array_equal(said[1:] - said[1], places):
                    found.append((second - int(said[1]), index))
        at = data.find(digits, at + 1)
    return found


def _forth(data: bytes, at: int, tokens: int) -> int | None:
    """Return where a run of so many C strings ends that begins at `at`."""
    for _ in range(tokens):
        at = data.find(b"\0", at, at + MAX_NAME) + 1
        if not at:
            return None
    return at


def _back(data: bytes, at: int, tokens: int) -> int | None:
    """Return where a run of C strings begins of which so many end before `at`."""
    for _ in range(tokens):
        at = data.rfind(b"\0", max(0, at - MAX_NAME), at - 1) + 1
        if at <= 0:
            return None
    return at


def _around(memory: Memory, first: int, data: bytes, table: tuple[int, int]) -> Places | None:
    """Return the addresses of all arrays, given offsets of the token table and of its index; None if the rest is not there."""
    token_table, token_index = table
    for markers, run in _marker_runs(data[:token_table], memory.byte_order):
        for num_syms, names, count in _heads(memory, first, data, markers, run):
            found = _tails(data, memory, num_syms, names, markers, token_table, token_index, count)
            if found is not None:
                return Places(**{name: first + offset for name, offset in found.items()})
    return None


def _marker_runs(data: bytes, byte_order: str) -> Iterator[tuple[int, Indices]]:
    """Yield (offset, values) of ascending u32 runs that begin with 0 and may be kallsyms_markers, the last one first."""
    near = data[-MAX_BEFORE:]
    skipped = len(data) - len(near)
    skipped, near = skipped + -skipped % 4, near[-skipped % 4 :]
    words = np.frombuffer(near[: len(near) // 4 * 4], np.dtype(byte_order + "u4")).astype(np.int64)
    steps = np.diff(words)
    fits = np.concatenate(((steps >= 2 * BLOCK) & (steps <= BLOCK * 128), [False]))
    for start in np.flatnonzero((words == 0) & fits)[::-1].tolist():
        length = int(np.argmin(fits[start:])) + 1
        yield skipped + 4 * start, words[start : start + length]


def _heads(memory: Memory, first: int, data: bytes, markers: int, run: Indices) -> Iterator[tuple[int, int, int]]:
    """Yield (offset of num_syms, offset of names, number of symbols) that fit a run of markers."""
    for gap in (memory.word, 4):
        end = markers - int(run[-1])
        for num_syms in range((end - gap) & ~3, max(0, end - BLOCK * 128), -4):
            count = memory.number(first + num_syms, 4, "kallsyms_num_syms")
            if -(-count // BLOCK) != len(run):
                continue
            at = num_syms + gap
            for _ in range(min(BLOCK, count)):
                length = data[at] if data[at] < 0x80 else (data[at] & 0x7F) | data[at + 1] << 7
                at += length + (1 if data[at] < 0x80 else 2)
                if not length or at >= markers:
                    break
            if at == num_syms + gap + (int(run[1]) if len(run) > 1 else at - num_syms - gap):
                yield num_syms, num_syms + gap, count


def _tails(
    data: bytes, memory: Memory, num_syms: int, names: int, markers: int, token_table: int, token_index: int, count: int
) -> dict[str, int] | None:
    """Return the offsets of all arrays in the layout that fits, None if none does."""
    word = memory.word
    found = {
        "num_syms": num_syms,
        "names": names,
        "markers": markers,
        "token_table": token_table,
        "token_index": token_index,
    }

    def aligned(offset: int, to: int) -> int:
        return offset + -offset % to

    after = aligned(token_index + 512, 4)
    if _is_order(data, after + 4 * count, count):
        return found | {"offsets": after, "seqs": after + 4 * count}  # 7.0 on
    after = aligned(token_index + 512, word)
    base = aligned(after + 4 * count, word)
    if _is_order(data, base + word, count):
        return found | {"offsets": after, "relative_base": base, "seqs": base + word}  # 6.4 … 6.19
    seqs = aligned(markers + 4 * -(-count // BLOCK), word)
    if _is_order(data, seqs, count):
        found["seqs"] = seqs
    base = num_syms - word
    offsets = base - aligned(4 * count, word)
    if base > 0 and offsets >= 0:
        return found | {"offsets": offsets, "relative_base": base}  # until 6.3
    return None


def _is_order(data: bytes, at: int, count: int) -> bool:
    """Whether kallsyms_seqs_of_names may lie at an offset: every number below `count` once."""
    rows = np.frombuffer(data[at : at + 3 * count], np.uint8)
    if len(rows) != 3 * count:
        return False
    rows = rows.reshape(-1, 3).astype(np.int64)
    return bool(np.array_equal(np.sort(rows[:, 0] << 16 | rows[:, 1] << 8 | rows[:, 2]), np.arange(count)))
