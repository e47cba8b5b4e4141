"""Where the arrays of a kernel's symbol table are in its memory, without labels: by what a token table looks like.

The layouts stand in kallsyms_table. Source: scripts/kallsyms.c, write_src().
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.evidence.elf import UnreadableError
from lab.evidence.symbols import Indices

MAX_NAME = 1 << 14  # two bytes of ULEB128
BLOCK = 256  # names between two markers
MAX_BEFORE = 64 << 20  # bytes before the token table in which the others are looked for


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


def found_in(piece: Memory) -> Places | None:
    """Return the addresses of the arrays in a memory of one piece: the token table first, the others around it."""
    [(first, data)] = piece.pieces
    for table in _token_tables(data):
        places = _around(piece, first, data, table)
        if places is not None:
            return places
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
