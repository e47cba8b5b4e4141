"""The link passes of a build, read from the maps and temporary kernels that were kept, by any version's names for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lab.evidence.elf import UnreadableError, open_elf
from lab.evidence.symbols import Indices, Listing, of_elf, of_map

_MAP = re.compile(r"\.tmp_vmlinux(?:\.kallsyms)?([1-9])\.syms")  # of 0, before the first link, there is an empty map
_KERNEL = re.compile(r"\.tmp_vmlinux(?:\.kallsyms)?(\d)(?:\.zst)?")
LAST = 9
_LAST_MAP = ".tmp_System.map"  # until 5.19: the map of the last pass, and the only one


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One link of vmlinux. name: of the file that shows it. kernel: the temporary kernel, if it was kept.

    number: from 1; LAST if it is not known which one it was, but that it was the last, and of the final link.
    """

    name: str
    listing: Listing = field(repr=False)
    kernel: Path | None = None
    number: int = LAST


def read_passes(files: Sequence[Path], system_map: Path | None, written: Callable[[Path], int]) -> tuple[Pass, ...]:
    """Return the passes in the order in which they were linked, the final link last; files that cannot be read are left out.

    files: maps and temporary kernels, by any version's names. written: when a file was (ns): a pass that is older than the one
    before it was left by an earlier build. Without a System.map younger than the passes there is no final link.
    """
    maps = {int(match[1]): path for path in files if (match := _MAP.fullmatch(path.name))}
    kernels = {int(match[1]): path for path in files if (match := _KERNEL.fullmatch(path.name))}
    last = next((path for path in files if path.name == _LAST_MAP), None)
    if last is not None and kernels:
        maps[max(kernels)] = last  # until 5.19 the last pass has this map, the others have none
    elif last is not None:
        maps.setdefault(LAST, last)
    found: list[Pass] = []
    newest = -1
    for number in sorted({*maps, *kernels}):
        path = maps.get(number) or kernels[number]
        listing = listing_of(path)
        if listing is None or written(path) < newest:
            continue
        newest = written(path)
        found.append(
            Pass(name=path.name.removesuffix(".zst"), listing=listing, kernel=kernels.get(number), number=number)
        )
    if (
        found
        and system_map is not None
        and written(system_map) >= newest
        and (listing := listing_of(system_map)) is not None
    ):
        found.append(Pass(name=system_map.name, listing=listing))
    return tuple(found)


def is_of_a_pass(path: str) -> bool:
    """Whether a file of the output directory is the map of a pass or a temporary kernel."""
    return path == _LAST_MAP or bool(_MAP.fullmatch(path) or _KERNEL.fullmatch(path))


def listing_of(path: Path) -> Listing | None:
    """Return the symbols of a map or of a temporary kernel, as a map has them; None if it cannot be read."""
    try:
        if path.name.endswith(("map", ".syms")) or path.name.startswith("System.map-"):
            return of_map(path)
        with open_elf(path) as elf:
            listing = of_elf(elf)
    except UnreadableError:
        return None
    return None if listing is None else as_mapped(listing)


def as_mapped(listing: Listing) -> Listing:
    """Return what scripts/mksysmap leaves of an `nm -n`: no local absolute, debugging and weak undefined symbols, no labels."""
    return listing.taken(mapped_indices(listing))


def mapped_indices(listing: Listing) -> Indices:
    """Return which symbols scripts/mksysmap leaves of an `nm -n`."""
    block, starts, lengths = listing.names.block, listing.names.starts, listing.names.lengths
    first = np.where(lengths > 0, block[np.minimum(starts, len(block) - 1)], 0)
    second = np.where(lengths > 1, block[np.minimum(starts + 1, len(block) - 1)], 0)
    dropped = np.isin(listing.letters, np.frombuffer(b"aNUw", np.uint8))
    dropped |= (first == ord("$")) | ((first == ord(".")) & (second == ord("L")))
    dropped[listing.names.starting_with(b"__crc_")] = True
    kept: Indices = np.flatnonzero(~dropped)
    return kept


def section_of(kernel: Path | None, symbol: str) -> str:
    """Return the section that a symbol belongs to in a temporary kernel ("*ABS*" for none), "" if that cannot be told."""
    if kernel is None:
        return ""
    try:
        with open_elf(kernel) as elf:
            listing = of_elf(elf)
            index = listing.index(symbol) if listing is not None else None
            if listing is None or index is None:
                return ""
            number = int(listing.sections[index])
            return elf.sections[number].name if number < len(elf.sections) else "*ABS*"
    except UnreadableError:
        return ""
