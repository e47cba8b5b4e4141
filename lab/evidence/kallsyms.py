"""vmlinux's symbols held against the table in it: what the table says that the kernel does not have, and the reverse.

Which symbols scripts/kallsyms leaves out differs a little from version to version. A symbol that some version leaves out may
be missing; one that no version leaves out must be there; and what is there must be in the kernel, under that name, at that
address. Source: scripts/kallsyms.c, is_ignored_symbol(), symbol_valid(); scripts/mksysmap; 5.10 to 7.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lab.evidence import kallsyms_table, kept_passes, symbols
from lab.evidence.elf import UnreadableError, open_elf
from lab.evidence.kallsyms_table import ARRAYS, KallsymsTable, WrongTableError
from lab.evidence.symbols import Indices, Listing, Mask, Numbers

MAX_NAMED = 50
KSYM_NAME_LEN = 512  # 128 until 6.0; longer names are left out with an error. Source: include/linux/kallsyms.h
# Names that one version or another leaves out.
_MAY_LACK = re.compile(
    r"(?:__crc_|__kstrtab|__ksymtab_|__efistub_|__kvm_nvhe_|__pi_|__kcfi_typeid_|__mod_device_table__|__UNIQUE_ID_|_SDA2?_BASE_$|L0$|\$|\.L)"
    r"|__[A-Za-z0-9]*Thunk_|.*(?:_from_arm|_from_thumb|_veneer)$|.*\.(?:long|plt)_branch\."
)
_OFTEN_LACKING = (b"__kstrtab", b"__ksymtab_", b"__crc_")  # of _MAY_LACK, those that come by the thousand
_ALWAYS = (b"__start_", b"__stop_")  # bounds of sections, kept without KALLSYMS_ALL as well in 6.12 and 7.2, not in 6.1
_TEXT_RANGES = (("_stext", "_etext"), ("_sinittext", "_einittext"))
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lie:
    """An entry of the table that is wrong, or a symbol that it lacks. address: what the table says, or the kernel has.

    others: addresses at which the kernel, or the table, has that name.
    """

    symbol: str
    address: int
    others: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSymbols:
    """listing: of the ELF file, None if it is stripped. table: None if there is none; unreadable: why it cannot be looked at.
    broken: what makes it impossible to decode a table that is there.

    wrong: entries that the kernel does not have. lacking: symbols that the table must have. mistyped: entries whose type letter
    is of another kind. Each MAX_NAMED at most, followed by how many there are. nameless: addresses of symbols without a name:
    scripts/kallsyms reads the next line's address as the name, so that the table has that and lacks the next symbol.
    """

    listing: Listing | None = field(default=None, repr=False)
    table: KallsymsTable | None = field(default=None, repr=False)
    unreadable: str = ""
    broken: str = ""
    wrong: tuple[Lie, ...] = ()
    wrong_total: int = 0
    lacking: tuple[Lie, ...] = ()
    lacking_total: int = 0
    mistyped: tuple[Lie, ...] = ()
    mistyped_total: int = 0
    nameless: tuple[int, ...] = ()


def read(path: Path) -> KernelSymbols:
    """Read a vmlinux (also packed as .zst) and compare its two symbol tables. Never raises: unreadable says why."""
    try:
        with open_elf(path) as elf:
            listing = symbols.of_elf(elf)
            try:
                table = kallsyms_table.of_elf(elf, listing)
            except WrongTableError as error:
                return KernelSymbols(listing=listing, broken=str(error))
            except UnreadableError as error:
                return KernelSymbols(listing=listing, unreadable=str(error))
    except UnreadableError as error:
        return KernelSymbols(unreadable=str(error))
    return compared(listing, table)


def compared(listing: Listing | None, table: KallsymsTable | None) -> KernelSymbols:
    """Hold a table against the kernel's own symbols."""
    if listing is None or table is None:
        return KernelSymbols(listing=listing, table=table)
    kept = kept_passes.mapped_indices(listing)
    mapped = listing.taken(kept)
    named_kernel, named_table = listing.names.keys(), table.listing.names.keys()
    shift = _slide(listing, table)
    at_kernel = _placed(named_kernel, listing.values)
    at_table = _placed(named_table, table.listing.values + shift)
    nameless, misread, swallowed = _nameless(mapped)
    wrong = np.flatnonzero(~_among(at_table, at_kernel))
    wrong = np.array([one for one in wrong.tolist() if table.listing.names.text(one) not in misread], np.int64)
    known = _among(at_kernel[kept], at_table)
    known[swallowed] = True
    for prefix in _OFTEN_LACKING:
        known[mapped.names.starting_with(prefix)] = True
    candidates = np.flatnonzero(~known & _covered(mapped, table, shift))
    lacking = np.array([one for one in candidates.tolist() if _must(mapped, one)], np.int64)
    mistyped = _mistyped(listing, table, at_kernel, at_table)
    return KernelSymbols(
        listing=listing,
        table=table,
        wrong=_lies(table.listing, wrong, listing, named_table, named_kernel),
        wrong_total=len(wrong),
        lacking=_lies(mapped, lacking, table.listing, named_kernel[kept], named_table),
        lacking_total=len(lacking),
        mistyped=_lies(table.listing, mistyped, listing, named_table, named_kernel),
        mistyped_total=len(mistyped),
        nameless=tuple(mapped.values[nameless].tolist()),
    )


def not_of_kernel(mapped: Listing, kernel: Listing) -> tuple[tuple[Lie, ...], int]:
    """Return entries of a map that the kernel does not have under that name at that address, MAX_NAMED at most, and how many.

    What scripts/mksysmap leaves out of the map is no difference; what is taken out of vmlinux after its map was made is none
    either (7.2, scripts/Makefile.vmlinux, remove-symbols).
    """
    named, held = mapped.names.keys(), kernel.names.keys()
    strange = np.flatnonzero(~np.isin(_placed(named, mapped.values), _placed(held, kernel.values)))
    strange = np.array([one for one in strange.tolist() if not _MAY_LACK.match(mapped.names.text(one))], np.int64)
    return _lies(mapped, strange, kernel, named, held), len(strange)


def _among(wanted: Numbers, known: Numbers) -> Mask:
    """Return which numbers are among others. np.isin() sorts both and is three times as slow."""
    if not len(known):
        return np.zeros(len(wanted), np.bool_)
    ordered = np.sort(known)
    at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    found: Mask = ordered[at] == wanted
    return found


def _placed(names: Numbers, values: Numbers) -> Numbers:
    return names ^ (values * _MIX)


def _slide(listing: Listing, table: KallsymsTable) -> np.uint64:
    """Return what a relocation adds to the table's addresses at boot: 0, or all of it where relative_base is filled in then."""
    here, there = listing.find("_text"), table.listing.find("_text")
    if table.base or here is None or there is None or there:
        return np.uint64(0)
    return np.uint64(here)


def _nameless(mapped: Listing) -> tuple[Indices, set[str], list[int]]:
    """Return symbols without a name, what the table then has as their names, and the symbols that have no entry for it.

    Source: scripts/kallsyms.c, read_symbol(): fscanf("%llx %c %s") takes the next word, wherever it stands.
    """
    found = np.flatnonzero(mapped.names.lengths == 0)
    after = [one + 1 for one in found.tolist() if one + 1 < len(mapped)]
    addresses = [int(mapped.values[one]) for one in after]
    misread = {form % address for address in addresses for form in ("%08x", "%016x")}
    return found, misread, [*found.tolist(), *after]


def _must(listing: Listing, index: int) -> bool:
    name = listing.names.text(index)
    if name in ARRAYS or _MAY_LACK.match(name) or len(name) >= KSYM_NAME_LEN:
        return False
    return chr(listing.letters[index]).lower() in "tdbrv" or chr(listing.letters[index]) == "W"


def _covered(listing: Listing, table: KallsymsTable, shift: np.uint64) -> Mask:
    """Return which symbols the table covers: all with KALLSYMS_ALL, else those in the text, its end left out.

    Source: symbol_valid(): what shares the address of _etext may change sides between passes.
    """
    covered = np.zeros(len(listing), np.bool_)
    for first, last in _TEXT_RANGES:
        begin, end = listing.find(first), listing.find(last)
        if begin is not None and end is not None:
            covered |= (listing.values >= np.uint64(begin)) & (listing.values < np.uint64(end))
    held = table.listing.values + shift
    begin, end = listing.find("_etext"), listing.find("_sinittext")
    if begin is None:
        return np.ones(len(listing), np.bool_)
    outside = (held > np.uint64(begin)) & (held < np.uint64(end or 2**64 - 1))
    for prefix in _ALWAYS:
        outside[table.listing.names.starting_with(prefix)] = False
    return np.ones(len(listing), np.bool_) if outside.any() else covered


def _mistyped(listing: Listing, table: KallsymsTable, at_kernel: Numbers, at_table: Numbers) -> Indices:
    """Return entries that call text what is no text in the kernel, or the reverse.

    Data letters depend on which nm wrote the map (llvm-nm and binutils before 2.35 say 'd' where others say 'r').
    """
    text = np.isin(listing.letters, np.frombuffer(b"tT", np.uint8))
    data = np.isin(listing.letters, np.frombuffer(b"dDbBrR", np.uint8))
    said_text = np.isin(table.listing.letters, np.frombuffer(b"tT", np.uint8))
    said_data = np.isin(table.listing.letters, np.frombuffer(b"dDbBrR", np.uint8))
    as_text, as_data = _among(at_table, at_kernel[text]), _among(at_table, at_kernel[data])
    return np.flatnonzero((said_text & as_data & ~as_text) | (said_data & as_text & ~as_data))


def _lies(of: Listing, which: Indices, other: Listing, keys: Numbers, other_keys: Numbers) -> tuple[Lie, ...]:
    found = []
    for index in which[:MAX_NAMED].tolist():
        elsewhere = other.values[np.flatnonzero(other_keys == keys[index])[:4]]
        found.append(Lie(symbol=of.names.text(index), address=int(of.values[index]), others=tuple(elsewhere.tolist())))
    return tuple(found)
