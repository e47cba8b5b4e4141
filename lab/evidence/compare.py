"""What two ELF files differ in, beside what names the tools that made them: each section's bytes, with the symbol around.

Left out, and nothing else (LEFT_OUT says it to people):
- .comment: the compiler's and assembler's version;
- the bytes of the kernel's banner, `linux_banner` and `linux_proc_banner`: compiler, linker, user, host, time;
- the release in .modinfo's vermagic, its first word; the rest of vermagic counts;
- build ids: hashes over all of the above.
Source: init/version.c, include/linux/vermagic.h, elf(5) "Notes (Nhdr)", ld(1) --build-id.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from lab.evidence.elf import SHN_UNDEF, SHT_NOBITS, SHT_SYMTAB, Elf, Section, Symbols, UnreadableError

LEFT_OUT = (
    ".comment (the compiler's version)",
    "the bytes of linux_banner and linux_proc_banner",
    "the release in .modinfo's vermagic",
    "build ids (hashes over these)",
)
BANNERS = ("linux_banner", "linux_proc_banner")
ET_REL, SHT_RELA, SHT_NOTE, SHT_REL = 1, 4, 7, 9
STT_SECTION, STT_FILE = 3, 4
NT_GNU_BUILD_ID = 3
PIECE = 1 << 20  # bytes looked at at once for the first that differs
# Sections of one file may overlap by a trick only: a million headers that all name one gigabyte would take for ever.
OVERLAP_AT_MOST = 2


class Kind(StrEnum):
    """How two builds differ in one place."""

    BYTES = "bytes"
    SIZE = "size"
    HEADER = "header"  # of the file or of a section: text says which field
    ONLY_IN_A = "only in A"
    ONLY_IN_B = "only in B"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One section that differs, or with section "" the whole file.

    path: relative to O=. offset: of the first byte that differs, in the section; None where it is not about bytes.
    symbol: what lies there in A, else in B, as name+0xoffset, or "". size_a, size_b: in bytes, None if it is not there.
    """

    path: str
    kind: Kind
    section: str = ""
    offset: int | None = None
    symbol: str = ""
    size_a: int | None = None
    size_b: int | None = None
    text: str = ""


class RelaidError(Exception):
    """Two linked files whose banners differ in length: what comes after lies elsewhere, so bytes prove nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """Bytes of a section that do not count: a banner and its padding. section: index."""

    section: int
    start: int
    end: int


class _Side:
    """One of the two files, with what does not count in it."""

    def __init__(self, elf: Elf, packed: Sequence[bytes] = ()) -> None:
        """packed: contents of files that were compared by themselves, and do not count where a section holds them whole."""
        self.elf, self._packed = elf, packed
        held = sum(section.size for section in elf.sections if section.type != SHT_NOBITS)
        if held > OVERLAP_AT_MOST * elf.bytes + PIECE:
            raise UnreadableError(f"its sections claim {held} bytes, the file has {elf.bytes}")
        self.symbols = elf.symbols()
        self.cuts = tuple(self._banners(self.symbols)) if self.symbols is not None else ()
        self.named = dict(self._named())

    def _named(self) -> Iterator[tuple[tuple[str, int], int]]:
        """Yield ((name, how many of that name came before), index)."""
        seen: Counter[str] = Counter()
        for index, section in enumerate(self.elf.sections[1:], start=1):
            yield (section.name, seen[section.name]), index
            seen[section.name] += 1

    def _banners(self, symbols: Symbols) -> Iterator[_Cut]:
        places = {name: symbols.strings.find(b"\0" + name.encode() + b"\0") + 1 for name in BANNERS}
        for place in filter(None, places.values()):
            for row in np.flatnonzero(symbols.name_offsets == place).tolist():
                index = int(symbols.sections[row])
                if SHN_UNDEF < index < len(self.elf.sections):
                    start = int(symbols.values[row]) - self.base(index)
                    size = int(symbols.sizes[row])
                    if start >= 0 and start + size <= self.elf.sections[index].size:
                        yield _Cut(section=index, start=start, end=self._padded(symbols, index, start + size))

    def _padded(self, symbols: Symbols, index: int, end: int) -> int:
        """Return where the next symbol of the section begins, or its end, if there are only zeros up to there."""
        behind = symbols.values[(symbols.sections == index) & (symbols.values >= np.uint64(end + self.base(index)))]
        limit = int(behind.min()) - self.base(index) if behind.size else self.elf.sections[index].size
        padding = self.elf.data(self.elf.sections[index])[end:limit]
        return limit if not padding.strip(b"\0") else end

    def base(self, index: int) -> int:
        """Return what to take from a symbol's value to get its offset in the section."""
        return 0 if self.elf.type == ET_REL else self.elf.sections[index].addr

    def data(self, index: int) -> bytes:
        """Return what counts of a section's bytes."""
        section = self.elf.sections[index]
        data = self.elf.data(section)
        if section.name == ".modinfo":
            return b"\0".join(_without_release(text) for text in data.split(b"\0"))
        if section.type == SHT_NOTE or section.name == ".notes":
            return _without_build_id(data, self.elf.byte_order)
        for cut in sorted((cut for cut in self.cuts if cut.section == index), key=lambda cut: -cut.start):
            data = data[: cut.start] + data[cut.end :]
        for content in self._packed:
            data = data.replace(content, bytes(len(content)), 1)
        return data

    def symbol_at(self, index: int, offset: int) -> str:
        """Return name+0xoffset of the symbol around an offset of a section, "" if there is none."""
        symbols = self.symbols
        if symbols is None or not 0 < index < len(self.elf.sections):
            return ""
        mine = (symbols.sections == index) & (symbols.types != STT_SECTION) & (symbols.types != STT_FILE)
        mine &= symbols.values <= np.uint64(min(offset + self.base(index), (1 << 64) - 1))
        rows = np.flatnonzero(mine)
        # The nearest few are enough: of those at one place one is a mapping symbol ($a, $d) or a local label.
        nearest = rows[np.argsort(symbols.values[rows], kind="stable")][-16:]
        marked = np.zeros(len(symbols.values), bool)
        for row in reversed(nearest.tolist()):
            marked[:] = False
            marked[row] = True
            name = symbols.names(marked)[0]
            if name and not name.startswith(("$", ".L")):
                distance = offset + self.base(index) - int(symbols.values[row])
                return f"{name}+{distance:#x}" if distance else name
        return ""


def _without_release(text: bytes) -> bytes:
    if not text.startswith(b"vermagic="):
        return text
    return b"vermagic=" + text.partition(b" ")[2]


def _without_build_id(data: bytes, byte_order: str) -> bytes:
    """Return notes with the build id's bytes zeroed; what is no well-formed note stays as it is."""
    out, position = bytearray(data), 0
    while position + 12 <= len(data):
        name_bytes, bytes_, kind = struct.unpack_from(byte_order + "III", data, position)
        start = position + 12 + -(-name_bytes // 4) * 4
        end = start + bytes_
        if end > len(data):
            break
        if kind == NT_GNU_BUILD_ID and data[position + 12 : position + 16] == b"GNU\0":
            out[start:end] = bytes(bytes_)
        position = start + -(-bytes_ // 4) * 4
    return bytes(out)


def differences(path: str, a: Elf, b: Elf, packed: Sequence[tuple[bytes, bytes]] = ()) -> Iterator[Difference]:
    """Yield what differs between two ELF files that should be the same, one Difference a section, in A's order.

    packed: contents in A and in B of files that either may hold whole (a vdso), and that were compared by themselves.
    Raises UnreadableError for a damaged file and RelaidError where banners of different length moved everything.
    """
    for field in ("is_64", "byte_order", "machine", "type", "flags"):
        mine, other = getattr(a, field), getattr(b, field)
        if mine != other:
            yield Difference(path=path, kind=Kind.HEADER, text=f"ELF header: {field} is {mine} and {other}")
            return
    one, two = (_Side(elf, [pair[side] for pair in packed]) for side, elf in enumerate((a, b)))
    if _relaid(one, two):
        raise RelaidError("the version banners differ in length, and everything behind them lies elsewhere")
    for key in dict.fromkeys((*one.named, *two.named)):
        if key[0] != ".comment":
            difference = _section_difference(path, key, one, two)
            if difference is not None:
                yield difference


def _relaid(one: _Side, two: _Side) -> bool:
    lengths = [sorted(cut.end - cut.start for cut in side.cuts) for side in (one, two)]
    if lengths[0] == lengths[1]:
        return False
    if one.elf.type != ET_REL:
        return True
    holders = {cut.section for cut in one.cuts}
    return any(section.type in (SHT_REL, SHT_RELA) and section.info in holders for section in one.elf.sections)


def _section_difference(path: str, key: tuple[str, int], one: _Side, two: _Side) -> Difference | None:
    name = key[0]
    if key not in one.named or key not in two.named:
        side, kind = (one, Kind.ONLY_IN_A) if key in one.named else (two, Kind.ONLY_IN_B)
        size = side.elf.sections[side.named[key]].size
        sizes = (size, None) if side is one else (None, size)
        return Difference(path=path, kind=kind, section=name, size_a=sizes[0], size_b=sizes[1])
    mine, other = one.named[key], two.named[key]
    a, b = one.elf.sections[mine], two.elf.sections[other]
    for field in ("type", "flags", "addr", "align", "entsize"):
        if getattr(a, field) != getattr(b, field):
            text = f"section header: {field} is {getattr(a, field):#x} and {getattr(b, field):#x}"
            return Difference(path=path, kind=Kind.HEADER, section=name, size_a=a.size, size_b=b.size, text=text)
    if a.type == SHT_NOBITS:
        same = a.size == b.size
        return None if same else Difference(path=path, kind=Kind.SIZE, section=name, size_a=a.size, size_b=b.size)
    offset = first_difference(one.data(mine), two.data(other))
    if offset is None or (a.type == SHT_SYMTAB and _symbols_agree(one, two)):
        return None
    return Difference(
        path=path,
        kind=Kind.BYTES if a.size == b.size else Kind.SIZE,
        section=name,
        offset=offset,
        symbol=_around(one, mine, offset) or _around(two, other, offset),
        size_a=a.size,
        size_b=b.size,
    )


def first_difference(a: bytes, b: bytes) -> int | None:
    """Return the offset of the first byte that differs (the shorter one's length if it is the other's beginning), or None."""
    if a == b:
        return None
    common = min(len(a), len(b))
    for start in range(0, common, PIECE):
        left, right = a[start : start + PIECE], b[start : start + PIECE]
        if left[: common - start] != right[: common - start]:
            size = min(len(left), len(right))
            unequal = np.frombuffer(left, np.uint8, size) != np.frombuffer(right, np.uint8, size)
            return start + int(np.argmax(unequal))
    return common


def _around(side: _Side, index: int, offset: int) -> str:
    """Return the symbol at an offset: of a relocation, what it patches; of the symbol table, the entry's own name."""
    section = side.elf.sections[index]
    if section.type == SHT_SYMTAB:
        return _entry(side, section, offset)
    if section.type in (SHT_REL, SHT_RELA) and section.entsize:
        start = offset // section.entsize * section.entsize
        layout = side.elf.byte_order + ("Q" if side.elf.is_64 else "I")
        entry = side.elf.data(section)[start : start + struct.calcsize(layout)]
        if len(entry) == struct.calcsize(layout):
            return side.symbol_at(section.info, struct.unpack(layout, entry)[0])
        return ""
    moved = sum(cut.end - cut.start for cut in side.cuts if cut.section == index and cut.start <= offset)
    return side.symbol_at(index, offset + moved)


def _entry(side: _Side, section: Section, offset: int) -> str:
    symbols = side.symbols
    row = offset // section.entsize - 1 if section.entsize else -1  # the null entry is not among Symbols
    if symbols is None or not 0 <= row < len(symbols.values):
        return ""
    marked = np.zeros(len(symbols.values), bool)
    marked[row] = True
    return symbols.names(marked)[0]


def _symbols_agree(one: _Side, two: _Side) -> bool:
    """Whether symbol tables are equal but for the banners' sizes and the places of what lies behind them."""
    a, b = one.symbols, two.symbols
    if a is None or b is None or not (one.cuts and two.cuts) or len(a.values) != len(b.values):
        return False
    mine, other = _places(one, a), _places(two, b)
    names = np.array_equal(a.name_offsets, b.name_offsets) and a.strings == b.strings
    same = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("binds", "types", "sections"))
    return names and same and all(np.array_equal(left, right) for left, right in zip(mine, other, strict=True))


def _places(side: _Side, symbols: Symbols) -> tuple[np.ndarray, np.ndarray]:
    values, sizes = symbols.values.astype(np.int64), symbols.sizes.astype(np.int64)
    moved = np.zeros_like(values)
    for cut in side.cuts:
        in_it = symbols.sections == cut.section
        start = cut.start + side.base(cut.section)
        sizes[in_it & (symbols.values == np.uint64(start))] = 0
        moved[in_it & (symbols.values > np.uint64(start))] += cut.end - cut.start
    return values - moved, sizes
