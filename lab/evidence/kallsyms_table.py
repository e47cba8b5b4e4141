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

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from lab.evidence import kallsyms_order
from lab.evidence.elf import Elf, Section, UnreadableError
from lab.evidence.kallsyms_search import BLOCK, MAX_NAME, Memory, Places, found_in
from lab.evidence.symbols import SHF_ALLOC, SHT_NOBITS, Bytes, Indices, Listing, Numbers, Texts

MAX_SYMBOLS = 1 << 24  # seqs_of_names has three bytes for each
MAX_TOKEN_TABLE = 1 << 16  # token_index has two bytes
ARRAYS = (
    "kallsyms_addresses", "kallsyms_offsets", "kallsyms_relative_base", "kallsyms_num_syms", "kallsyms_names",
    "kallsyms_markers", "kallsyms_seqs_of_names", "kallsyms_token_table", "kallsyms_token_index",
)  # fmt: skip


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


def _searched(memory: Memory) -> KallsymsTable | None:
    """Find the table by what its arrays look like, and decode it."""
    for first, data in memory.pieces:
        piece = Memory([(first, data)], byte_order=memory.byte_order, word=memory.word)
        places = found_in(piece)
        if places is not None:
            text = 0 if first == 0 else min(address for address, _ in memory.pieces)
            return decoded(piece, places, text)
    return None
