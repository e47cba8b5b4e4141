"""A bounded reader of ELF files: section headers, symbol tables, .modinfo; 32 and 64 bit, both byte orders.

Every length and offset in the file is held against the file's real size before anything is read; what does not fit is
Unreadable with a reason. Nothing is mapped: a file that shrinks while it is read must not kill us with SIGBUS.
Source: elf(5); gABI, "Section Header", e_shnum and e_shstrndx escapes.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from elftools.elf.enums import ENUM_E_MACHINE

from lab.evidence import unpack
from lab.evidence.text import opened

MAX_SECTIONS = 1 << 20
MAX_SECTION_BYTES = 1 << 30
MAX_NAME_BYTES = 4096
MAX_NAMES_BYTES = 16 << 20
MAX_SYMBOLS = 1 << 23
COPY_BYTES = 1 << 22

SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 2, 4, 8, 9
SHN_UNDEF = 0
STB_GLOBAL, STB_WEAK = 1, 2
EM_SPARC_FAMILY = (2, 18, 43)  # EM_SPARC, EM_SPARC32PLUS, EM_SPARCV9
STT_SPARC_REGISTER = 13

_SECTION = {
    True: "name:u4 type:u4 flags:u8 addr:u8 offset:u8 size:u8 link:u4 info:u4 align:u8 entsize:u8",
    False: "name:u4 type:u4 flags:u4 addr:u4 offset:u4 size:u4 link:u4 info:u4 align:u4 entsize:u4",
}
_SYMBOL = {
    True: "name:u4 info:u1 other:u1 shndx:u2 value:u8 size:u8",
    False: "name:u4 value:u4 size:u4 info:u1 other:u1 shndx:u2",
}

SECTION_NUMBERS = ("type", "flags", "addr", "offset", "size", "link", "info", "align", "entsize")


_RELOCATION = {  # with and without an addend
    (True, True): "offset:u8 info:u8 addend:i8",
    (True, False): "offset:u8 info:u8",
    (False, True): "offset:u4 info:u4 addend:i4",
    (False, False): "offset:u4 info:u4",
}


def _row(layout: str, byte_order: str) -> np.dtype[np.void]:
    return np.dtype([(name, byte_order + kind) for name, _, kind in (field.partition(":") for field in layout.split())])


def machine_name(number: int) -> str:
    """Return the name of an e_machine, as the rows of architectures have it: "EM_X86_64"; "EM_60000" for an unknown one."""
    return next((name for name, value in ENUM_E_MACHINE.items() if value == number), f"EM_{number}")


class UnreadableError(Exception):
    """A file that is no ELF file, or a damaged one. str() says why, in words that can follow "cannot read X: "."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section header. offset and size in bytes, in the file; not yet checked against its end. info: sh_info."""

    name: str
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbols:
    """The symbol table, without its first (null) entry: arrays of equal length, in file order.

    values, sizes: unsigned. binds, types, visibilities: STB_*, STT_*, STV_*. sections: st_shndx as stored (0 undefined,
    0xfff1 absolute).
    """

    name_offsets: npt.NDArray[np.uint32]
    values: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.uint64]
    binds: npt.NDArray[np.uint8]
    types: npt.NDArray[np.uint8]
    visibilities: npt.NDArray[np.uint8]
    sections: npt.NDArray[np.uint16]
    strings: bytes = field(repr=False)

    def names(self, which: npt.NDArray[np.bool_] | None = None) -> list[str]:
        """Return the names of all symbols, or of those marked in `which`; "" for an offset outside the string table."""
        offsets = self.name_offsets if which is None else self.name_offsets[which]
        strings, names = self.strings, []
        left = max(MAX_NAMES_BYTES, 8 * len(strings))
        for offset in offsets.tolist():
            # A name that does not end within the bound is a trick: a million of them would fill the memory.
            end = strings.find(b"\0", offset, offset + MAX_NAME_BYTES)
            names.append(strings[offset:end].decode("utf-8", "surrogateescape") if end >= 0 else "")
            left -= len(names[-1])
            if left < 0:
                raise UnreadableError("the names of its symbols overlap")
        return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocations:
    """Relocations of one section, in file order. offsets: in the section they apply to. symbols: by number, 0 is none."""

    offsets: npt.NDArray[np.uint64]
    symbols: npt.NDArray[np.int64]
    types: npt.NDArray[np.int64]


class Elf:
    """An open ELF file. machine: EM_*; type: ET_* (1 relocatable, 2 executable, 3 shared); flags: e_flags. bytes: its size."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.bytes = os.fstat(file.fileno()).st_size
        ident = self._read(0, 16, "the identification")
        if ident[:4] != b"\x7fELF":
            raise UnreadableError("it is not an ELF file")
        if ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise UnreadableError(f"unknown ELF class {ident[4]} or byte order {ident[5]}")
        self.is_64 = ident[4] == 2
        self.byte_order = "<" if ident[5] == 1 else ">"
        header = self._read(16, 48 if self.is_64 else 36, "the header")
        fields = struct.unpack(self.byte_order + ("HHIQQQIHHHHHH" if self.is_64 else "HHIIIIIHHHHHH"), header)
        self.type, self.machine = fields[0], fields[1]
        self.flags = fields[6]
        self.sections = self._sections(fields[5], fields[10], fields[11], fields[12])

    def _read(self, offset: int, size: int, what: str) -> bytes:
        if offset < 0 or size > MAX_SECTION_BYTES or offset + size > self.bytes:
            raise UnreadableError(f"{what} ({size} bytes at {offset}) reaches beyond the file ({self.bytes} bytes)")
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) != size:
            raise UnreadableError(f"{what} could not be read whole: the file shrank")
        return data

    def _sections(self, offset: int, entry_size: int, count: int, strings_index: int) -> tuple[Section, ...]:
        row = _row(_SECTION[self.is_64], self.byte_order)
        if not offset:
            return ()
        if entry_size != row.itemsize:
            raise UnreadableError(f"section headers of {entry_size} bytes, expected {row.itemsize}")
        first = np.frombuffer(self._read(offset, row.itemsize, "the first section header"), row)[0]
        count = count or int(first["size"])
        strings_index = int(first["link"]) if strings_index == 0xFFFF else strings_index
        if count > MAX_SECTIONS:
            raise UnreadableError(f"{count} sections are more than a kernel object has")
        table = np.frombuffer(self._read(offset, count * row.itemsize, "the section headers"), row)
        if strings_index >= count:
            raise UnreadableError(f"the section names are in section {strings_index} of {count}")
        strings = self._read(
            int(table[strings_index]["offset"]), int(table[strings_index]["size"]), "the section names"
        )
        return tuple(self._section(header, strings) for header in table)

    @staticmethod
    def _section(header: np.void, strings: bytes) -> Section:
        start = int(header["name"])
        end = strings.find(b"\0", start, start + MAX_NAME_BYTES)
        name = strings[start:end].decode("utf-8", "surrogateescape") if end >= 0 else ""
        numbers = {key: int(header[key]) for key in SECTION_NUMBERS}
        return Section(name=name, **numbers)

    def section(self, name: str) -> Section | None:
        """Return the first section of that name, or None."""
        return next((section for section in self.sections if section.name == name), None)

    def data(self, section: Section) -> bytes:
        """Return the section's bytes; b"" where it has none in the file (.bss)."""
        if section.type == SHT_NOBITS:
            return b""
        return self._read(section.offset, section.size, f"section {section.name!r}")

    def symbols(self) -> Symbols | None:
        """Return the symbol table, or None if the file has none (stripped)."""
        table = next((section for section in self.sections if section.type == SHT_SYMTAB), None)
        if table is None:
            return None
        row = _row(_SYMBOL[self.is_64], self.byte_order)
        if MAX_SYMBOLS * row.itemsize < table.size <= self.bytes:
            raise UnreadableError(f"a symbol table of {table.size} bytes is more than a kernel has")
        if table.entsize != row.itemsize or table.size % row.itemsize:
            raise UnreadableError(f"a symbol table of {table.size} bytes with entries of {table.entsize}")
        if table.link >= len(self.sections):
            raise UnreadableError(f"the symbol names are in section {table.link} of {len(self.sections)}")
        rows = np.frombuffer(self.data(table), row)[1:]
        info = rows["info"]
        return Symbols(
            name_offsets=rows["name"].astype(np.uint32),
            values=rows["value"].astype(np.uint64),
            sizes=rows["size"].astype(np.uint64),
            binds=info >> np.uint8(4),
            types=info & np.uint8(15),
            visibilities=rows["other"] & np.uint8(3),
            sections=rows["shndx"].astype(np.uint16),
            strings=self.data(self.sections[table.link]),
        )

    def copy_to(self, target: BinaryIO) -> None:
        """Write the whole file, as it is unpacked. Raises UnreadableError if it shrinks meanwhile."""
        for offset in range(0, self.bytes, COPY_BYTES):
            target.write(self._read(offset, min(COPY_BYTES, self.bytes - offset), "the file"))

    def relocations(self, section: Section) -> Relocations:
        """Return the entries of a SHT_RELA or SHT_REL section. Raises UnreadableError for one of another form."""
        row = _row(_RELOCATION[self.is_64, section.type == SHT_RELA], self.byte_order)
        if section.type not in (SHT_RELA, SHT_REL) or section.entsize != row.itemsize or section.size % row.itemsize:
            raise UnreadableError(f"section {section.name!r} of {section.size} bytes is no table of relocations")
        rows = np.frombuffer(self.data(section), row)
        info = rows["info"].astype(np.uint64)
        shift, mask = (32, 0xFFFFFFFF) if self.is_64 else (8, 0xFF)
        return Relocations(
            offsets=rows["offset"].astype(np.uint64),
            symbols=(info >> np.uint64(shift)).astype(np.int64),
            types=(info & np.uint64(mask)).astype(np.int64),
        )

    def modinfo(self) -> tuple[tuple[str, str], ...]:
        """Return .modinfo as (key, value) pairs in file order: ("depends", "mcb"), ("import_ns", "MCB")."""
        section = self.section(".modinfo")
        if section is None:
            return ()
        texts = (text.decode("utf-8", "surrogateescape") for text in self.data(section).split(b"\0") if b"=" in text)
        return tuple((key, value) for key, _, value in (text.partition("=") for text in texts))


@contextmanager
def open_elf(path: Path) -> Iterator[Elf]:
    """Open an ELF file, also one that is packed with zstd, xz or gzip (told by its first bytes, whatever its name).

    Raises UnreadableError for whatever is wrong with it, here and in the methods of Elf.
    """
    try:
        with opened(path) as file:
            first = os.pread(file.fileno(), 8, 0)
            form = next((form for magic, form in unpack.FILE_FORMS if first.startswith(magic)), None)
            if form is None:
                yield Elf(file)
                return
            with tempfile.TemporaryFile() as plain:
                _unpack(form, file, plain)
                yield Elf(plain)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
    except MemoryError as error:
        raise UnreadableError("it asks for more memory than there is") from error


def _unpack(form: unpack.Pieces, packed: BinaryIO, plain: BinaryIO) -> None:
    limit = unpack.limit_for(os.fstat(packed.fileno()).st_size)
    try:
        unpack.unpack(form, unpack.pieces_of(packed.read), plain, limit)
    except unpack.TooLargeError as error:
        raise UnreadableError(str(error)) from error
    except unpack.DAMAGED as error:
        raise UnreadableError(f"damaged packed data: {error}") from error
