"""Two link passes compared: which symbol differed first, what that pushed along, and how the kernel's own tables grew.

Addresses tell little: one byte more in a table moves everything behind it. So symbols are compared by their order, their
type letter and their distance from the symbol before them: what changes there is an event, all else was only pushed.
Source: Russell King's analysis, linux-arm-kernel, 25 March 2012; scripts/link-vmlinux.sh, kallsyms_step() and the comparison.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from lab.evidence.kallsyms_table import ARRAYS
from lab.evidence.symbols import Indices, Listing, Mask, Numbers

# What linkers insert where a branch does not reach. Source: scripts/kallsyms.c, is_ignored_symbol(); scripts/mksysmap.
_INSERTED = re.compile(r"__[A-Za-z0-9]*Thunk_|.*(?:_veneer|_from_arm|_from_thumb)$|.*\.(?:long|plt)_branch\.")
MAX_EVENTS = 200
TOKEN_INDEX_BYTES = 512  # 256 of two bytes


class Change(StrEnum):
    """What happened to a symbol between two passes."""

    ADDED = "added"
    REMOVED = "removed"
    TYPE = "type changed"
    ORDER = "moved in the order"
    DISTANCE = "distance from its predecessor changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One symbol that differs by itself. before, after: (address, type letter, previous symbol); None if it is not there.

    beside_before, beside_after: other symbols of the same address. inserted: made by the linker (a thunk, a veneer).
    """

    symbol: str
    change: Change
    before: tuple[int, str, str] | None
    after: tuple[int, str, str] | None
    beside_before: tuple[str, ...] = ()
    beside_after: tuple[str, ...] = ()
    inserted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """How a pass differs from the one before. events: in address order, MAX_EVENTS at most of `total`.

    pushed: symbols that only moved along with what is before them. shifts: the distances by which, most frequent first.
    tables: (kallsyms label, size before, size after) in bytes, of those that changed. named: whether a name, a type or the
    order changed, so that a table made from this pass differs from one made from the pass before.
    """

    events: tuple[Event, ...] = ()
    total: int = 0
    pushed: int = 0
    shifts: tuple[int, ...] = ()
    tables: tuple[tuple[str, int, int], ...] = ()
    named: bool = False

    @property
    def root(self) -> Event | None:
        """The first event that is more than a distance; if there is none, the first distance."""
        return next((one for one in self.events if one.change is not Change.DISTANCE), next(iter(self.events), None))

    @property
    def same(self) -> bool:
        """Whether the two maps are equal."""
        return not (self.total or self.pushed or self.tables)


@dataclass(frozen=True, slots=True)
class _Side:
    """One pass without the labels of the tables, which are there by design or not."""

    listing: Listing
    keys: Numbers = field(repr=False)
    behind: Mask = field(repr=False)  # symbols right behind the tables: their distance is the tables' size


def diverged(before: Listing, after: Listing) -> Divergence:
    """Compare two passes, each in the order of its map."""
    if len(before) == len(after) and _equal(before, after):
        return Divergence()
    tables = tuple(_table_growth(before, after))
    old, new = _without_tables(before), _without_tables(after)
    pairs = _pairs(old, new)
    matched_old, matched_new = np.zeros(len(old.keys), np.bool_), np.zeros(len(new.keys), np.bool_)
    matched_old[pairs[0]], matched_new[pairs[1]] = True, True
    partner = np.full(len(new.keys), -1, np.int64)
    partner[pairs[1]] = pairs[0]

    reordered = _out_of_order(partner[matched_new])
    moved = np.zeros(len(new.keys), np.bool_)
    moved[np.flatnonzero(matched_new)[reordered]] = True
    retyped = np.zeros(len(new.keys), np.bool_)
    retyped[pairs[1]] = old.listing.letters[pairs[0]] != new.listing.letters[pairs[1]]
    shift = np.zeros(len(new.keys), np.int64)
    shift[pairs[1]] = (new.listing.values[pairs[1]] - old.listing.values[pairs[0]]).astype(np.int64)
    behind = new.behind.copy()
    behind[pairs[1]] |= old.behind[pairs[0]]
    stretched = _stretched(shift, matched_new & ~moved) & ~behind

    kinds = (
        (~matched_new, Change.ADDED),
        (retyped, Change.TYPE),
        (moved & ~retyped, Change.ORDER),
        (stretched & ~moved & ~retyped, Change.DISTANCE),
    )
    events = sorted(_events(old, new, partner, kinds, ~matched_old), key=_address)
    still = matched_new & ~moved & ~retyped & ~stretched & (shift != 0)
    sizes, counts = np.unique(shift[still], return_counts=True)
    return Divergence(
        events=tuple(events[:MAX_EVENTS]),
        total=len(events),
        pushed=int(np.count_nonzero(still)),
        shifts=tuple(sizes[np.argsort(-counts, kind="stable")].tolist()[:8]),
        tables=tables,
        named=bool((~matched_new).any() or (~matched_old).any() or retyped.any() or moved.any()),
    )


def _equal(before: Listing, after: Listing) -> bool:
    return bool(
        np.array_equal(before.values, after.values)
        and np.array_equal(before.letters, after.letters)
        and np.array_equal(before.names.keys(), after.names.keys())
    )


def _without_tables(listing: Listing) -> _Side:
    known = [index for name in ARRAYS if (index := listing.index(name)) is not None]
    kept = np.ones(len(listing), np.bool_)
    kept[known] = False
    rest = listing.taken(kept)
    after_label = np.concatenate(([False], ~kept[:-1])) if len(listing) else kept
    return _Side(rest, rest.names.keys(), after_label[kept])


def table_sizes(listing: Listing) -> dict[str, int]:
    """Return label -> bytes up to the next symbol of a higher address, of the kernel's own tables in a pass.

    What follows the last of them may have no symbol for long, so its size is left out; only kallsyms_token_index (the last one
    until 6.3) has a fixed one.
    """
    known = {name: address for name in ARRAYS if (address := listing.find(name)) is not None}
    found = {}
    for name, address in known.items():
        higher = np.searchsorted(listing.values, np.uint64(address), side="right")
        if name == "kallsyms_token_index":
            found[name] = TOKEN_INDEX_BYTES
        elif address < max(known.values()) and higher < len(listing):
            found[name] = int(listing.values[higher]) - address
    return found


def _table_growth(before: Listing, after: Listing) -> Iterator[tuple[str, int, int]]:
    old, new = table_sizes(before), table_sizes(after)
    for name in ARRAYS:
        if old.get(name, 0) != new.get(name, 0):
            yield name, old.get(name, 0), new.get(name, 0)


def _pairs(old: _Side, new: _Side) -> tuple[Indices, Indices]:
    """Return positions of the same symbol in both: the first of a name with the first, the second with the second."""
    keyed_old, keyed_new = _numbered(old.keys), _numbered(new.keys)
    _, in_old, in_new = np.intersect1d(keyed_old, keyed_new, assume_unique=False, return_indices=True)
    order = np.argsort(in_new)
    return in_old[order].astype(np.int64), in_new[order].astype(np.int64)


def _numbered(keys: Numbers) -> Numbers:
    """Return keys that are unique: static functions of one name are told apart by which of them comes first."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    fresh = np.concatenate(([True], ordered[1:] != ordered[:-1])) if len(ordered) else np.zeros(0, np.bool_)
    positions = np.arange(len(ordered))
    ordinal = positions - np.maximum.accumulate(np.where(fresh, positions, 0)) if len(ordered) else positions
    found = np.zeros_like(keys)
    found[order] = ordered + ordinal.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return found


def _out_of_order(sequence: Indices) -> Indices:
    """Return the positions in a sequence of distinct numbers that must go so that the rest ascends: as few as possible."""
    if not len(sequence) or bool((np.diff(sequence) > 0).all()):
        return np.zeros(0, np.int64)
    tails: list[int] = []  # tails[k]: smallest end of an ascending run of k + 1
    ends: list[int] = []  # position of that end
    previous = [-1] * len(sequence)
    for position, number in enumerate(sequence.tolist()):
        length = bisect_left(tails, number)
        previous[position] = ends[length - 1] if length else -1
        tails[length : length + 1] = [number]
        ends[length : length + 1] = [position]
    kept = np.ones(len(sequence), np.bool_)
    position = ends[-1]
    while position >= 0:
        kept[position] = False
        position = previous[position]
    return np.flatnonzero(kept)


def _stretched(shift: Indices, chain: Mask) -> Mask:
    """Return which symbols of a chain are further from, or nearer to, the one before them than they were."""
    found = np.zeros(len(shift), np.bool_)
    places = np.flatnonzero(chain)
    steps = np.diff(shift[places], prepend=0) if len(places) else np.zeros(0, np.int64)
    found[places] = steps != 0
    return found


def _events(
    old: _Side, new: _Side, partner: Indices, kinds: Sequence[tuple[Mask, Change]], removed: Mask
) -> Iterator[Event]:
    for mask, change in kinds:
        for index in np.flatnonzero(mask).tolist():
            yield _event(change, old, new, int(partner[index]), index)
    for index in np.flatnonzero(removed).tolist():
        yield _event(Change.REMOVED, old, new, index, -1)


def _event(change: Change, old: _Side, new: _Side, was: int, now: int) -> Event:
    symbol = new.listing.names.text(now) if now >= 0 else old.listing.names.text(was)
    return Event(
        symbol=symbol,
        change=change,
        before=_seen(old.listing, was),
        after=_seen(new.listing, now),
        beside_before=_beside(old.listing, was),
        beside_after=_beside(new.listing, now),
        inserted=_INSERTED.match(symbol) is not None,
    )


def _seen(listing: Listing, index: int) -> tuple[int, str, str] | None:
    if index < 0:
        return None
    previous = listing.names.text(index - 1) if index else ""
    return int(listing.values[index]), chr(listing.letters[index]), previous


def _beside(listing: Listing, index: int, most: int = 6) -> tuple[str, ...]:
    if index < 0:
        return ()
    first = int(np.searchsorted(listing.values, listing.values[index], side="left"))
    last = int(np.searchsorted(listing.values, listing.values[index], side="right"))
    return tuple(listing.names.text(one) for one in range(first, min(last, first + most + 1)) if one != index)[:most]


def _address(event: Event) -> int:
    seen = event.after or event.before
    return seen[0] if seen else 0


class Convergence(StrEnum):
    """What another pass would do."""

    SETTLES = "settles"
    FINAL_ONLY = "never: only the final link differs"
    OSCILLATES = "oscillates"
    UNKNOWN = "unknown"


def convergence(passes: Sequence[Listing]) -> Convergence:
    """Return what one more pass would do, from all passes in order, the final link last.

    A table depends on names, types and order alone (its offsets have a fixed size), so a pass that repeats those of the one
    before repeats its table, and the layout too.
    """
    if len(passes) < 2:
        return Convergence.UNKNOWN
    lists = [_content(one) for one in passes]
    if lists[-1] == lists[-2]:
        return Convergence.SETTLES
    if len(lists) >= 4 and lists[-1] == lists[-3] and lists[-2] == lists[-4]:
        return Convergence.OSCILLATES
    if len(lists) >= 3 and lists[-2] == lists[-3]:
        return Convergence.FINAL_ONLY
    return Convergence.UNKNOWN


def _content(listing: Listing) -> bytes:
    side = _without_tables(listing)
    mixed = side.keys ^ (side.listing.letters.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return mixed.tobytes()
