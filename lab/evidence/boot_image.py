"""What a boot image says of itself: its release, the symbol table in it, and what it exports."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lab.evidence import kallsyms, kallsyms_table, kernel_image, ksymtab, symbols
from lab.evidence.elf import Elf, UnreadableError
from lab.evidence.kallsyms import KernelSymbols
from lab.evidence.kallsyms_table import KallsymsTable
from lab.evidence.symbols import Listing

KSYMTAB = "__ksymtab_"
_VERMAGIC = rb" (?:[\w.+~-]{1,40} ){1,12}?[\w.+~-]{0,40}\0"  # include/linux/vermagic.h
_BANNER = re.compile(rb"Linux version ([\w.+~-]{1,128}) \(")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootImage:
    """release: of the banner. version: what module loading compares with vermagic. Either is "" if it is unknown.

    exports: sorted, () unknown. unreadable: why nothing is known, or "".
    """

    symbols: KernelSymbols = field(repr=False)
    exports: tuple[str, ...] = field(default=(), repr=False)
    release: str = ""
    version: str = ""
    unreadable: str = ""


def read(path: Path, listing: Listing | None, layout: tuple[int, str] | None) -> BootImage:
    """Unpack a boot image and read it. Never raises: unreadable says why.

    listing: the kernel's symbols from elsewhere (System.map), to hold the table against. layout: (bytes of a word, byte
    order) of the kernel if the modules tell it; an image that is no ELF file does not.
    """
    try:
        with kernel_image.unpacked(path) as plain:
            data = kernel_image.whole(plain)
            if data.startswith(b"\x7fELF"):
                elf = Elf(plain)
                layout = (8 if elf.is_64 else 4, elf.byte_order)
                own = symbols.of_elf(elf)
                listing = own or listing
                table = kallsyms_table.of_elf(elf, own)
            else:
                table, layout = _table(data, layout)
    except UnreadableError as error:
        return BootImage(symbols=KernelSymbols(listing=listing, unreadable=str(error)), unreadable=str(error))
    exports = _labelled(table.listing) if table is not None else ()
    if not exports and layout is not None:
        exports = ksymtab.exported(data, word=layout[0], byte_order=layout[1])
    banner = _BANNER.search(data)
    magic = re.search(re.escape(banner[1]) + _VERMAGIC, data) if banner else None
    return BootImage(
        symbols=kallsyms.compared(listing, table),
        exports=exports,
        release=banner[1].decode() if banner else "",
        version=magic[0][:-1].decode() if magic else "",
    )


def _table(data: bytes, layout: tuple[int, str] | None) -> tuple[KallsymsTable | None, tuple[int, str] | None]:
    """Return the table of a bare image and the layout with which it was found; the soundest one if the layout is a guess."""
    layouts: Iterable[tuple[int, str]] = [layout] if layout is not None else [(8, "<"), (4, "<"), (8, ">"), (4, ">")]
    found: list[tuple[int, KallsymsTable, tuple[int, str]]] = []
    trouble: UnreadableError | None = None
    for word, byte_order in layouts:
        try:
            table = kallsyms_table.of_image(data, word=word, byte_order=byte_order)
        except UnreadableError as error:
            trouble = trouble or error
            continue
        if table is not None:
            found.append((len(table.faults), table, (word, byte_order)))
    if not found:
        if trouble is not None:
            raise trouble
        return None, layout
    _, best, its = min(found, key=lambda one: one[0])
    return best, its


def _labelled(listing: Listing) -> tuple[str, ...]:
    """Return the exports that the kernel's own table names (KALLSYMS_ALL, until what is left out changed)."""
    near = listing.names.starting_with(KSYMTAB.encode())
    return tuple(sorted({name.removeprefix(KSYMTAB) for name in listing.names.texts(near)}))
