"""What a kernel exports, from the bytes of its image alone: the array of struct kernel_symbol, found by what it looks like.

A kernel without KALLSYMS_ALL has no __ksymtab_* names in its own table, and a boot image has no other symbols. An entry is
value, name, namespace: each 32 bits relative to its own place (HAVE_ARCH_PREL32_RELOCATIONS), or each an address of a word.
Source: include/linux/export.h, include/linux/export-internal.h; kernel/module/internal.h, struct kernel_symbol.
"""

from __future__ import annotations

import re

import numpy as np

from lab.evidence.symbols import Indices

ANCHORS = (b"kfree", b"_printk", b"printk", b"memset", b"schedule")  # exported by every kernel with modules
MAX_PLACES = 4096  # of an anchor in the image
LEAST_ENTRIES = 64
MAX_ENTRIES = 1 << 18
_NAME = re.compile(rb"[A-Za-z_][\w.$]{0,511}\0")
_FIELDS = 3
_CHUNK = 1 << 22


def exported(data: bytes, *, byte_order: str, word: int) -> tuple[str, ...]:
    """Return the names that an image exports, sorted; () if the array was not found. word: 4 or 8 bytes."""
    places = _places(data)
    if not len(places):
        return ()
    best: set[bytes] = set()
    for start, base in (*_relative(data, places, byte_order), *_absolute(data, places, byte_order, word)):
        step = 4 if base is None else word
        names = _run(data, start, base, step, byte_order)
        if len(names) > len(best):
            best = names
        if len(best) >= LEAST_ENTRIES * 16:
            break
    return tuple(sorted(name.decode("ascii") for name in best)) if len(best) >= LEAST_ENTRIES else ()


def _places(data: bytes) -> Indices:
    found: list[int] = []
    for anchor in ANCHORS:
        wanted = anchor + b"\0"  # the linker merges strings: it may be the end of a longer one
        at = data.find(wanted)
        while at >= 0 and len(found) < MAX_PLACES:
            found.append(at)
            at = data.find(wanted, at + 1)
    return np.array(found, np.int64)


def _relative(data: bytes, places: Indices, byte_order: str) -> list[tuple[int, int | None]]:
    """Return offsets of name fields that point to an anchor from their own place."""
    found: list[tuple[int, int | None]] = []
    words = np.frombuffer(data[: len(data) // 4 * 4], np.dtype(byte_order + "i4"))
    for first in range(0, len(words), _CHUNK):
        some = words[first : first + _CHUNK]
        targets = some.astype(np.int64) + 4 * (first + np.arange(len(some), dtype=np.int64))
        hits = np.flatnonzero(np.isin(targets, places))
        found += [(4 * (first + one), None) for one in hits[:MAX_PLACES].tolist()]
    return found


def _absolute(data: bytes, places: Indices, byte_order: str, word: int) -> list[tuple[int, int | None]]:
    """Return (offset of a name field, address of the image) where a field may hold the address of an anchor."""
    kind = np.dtype(f"{byte_order}u{word}")
    words = np.frombuffer(data[: len(data) // word * word], kind).astype(np.uint64)
    found: list[tuple[int, int | None]] = []
    for place in places[:64].tolist():
        base = words - np.uint64(place)
        near = np.flatnonzero((base & np.uint64(0xFFF)) == 0)
        near = near[(near >= _FIELDS) & (near < len(words) - _FIELDS)]
        for other in (-_FIELDS, _FIELDS):  # the entries beside it are of the same image
            beside = words[near + other] - base[near]
            near = near[(beside > 0) & (beside < len(data))]
        found += [(word * one, int(words[one]) - place) for one in near[:256].tolist()]
    return found


def _run(data: bytes, start: int, base: int | None, step: int, byte_order: str) -> set[bytes]:
    """Return the names of all entries before and behind the one whose name field is at `start`."""
    names: set[bytes] = set()
    order = "little" if byte_order == "<" else "big"
    for direction in (1, -1):
        at = start if direction == 1 else start - _FIELDS * step
        while 0 <= at <= len(data) - step and len(names) < MAX_ENTRIES:
            value = int.from_bytes(data[at : at + step], order, signed=base is None)  # type: ignore[arg-type]
            target = value + at if base is None else value - base
            match = _NAME.match(data, target) if 0 < target < len(data) else None
            if match is None:
                break
            names.add(match[0][:-1])
            at += direction * _FIELDS * step
    return names
