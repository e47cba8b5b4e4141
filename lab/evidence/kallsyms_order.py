"""Whether kallsyms_seqs_of_names is the order of the names: kallsyms_lookup_name() finds by halving and misses what is not.

Source: scripts/kallsyms.c, compare_names(); kernel/kallsyms.c, kallsyms_lookup_names(); since 6.2, and stable 6.1.
"""

from __future__ import annotations

import numpy as np

from lab.evidence.symbols import Indices, Mask, Numbers, Texts

_STEP = 8  # bytes that are compared at once


def first_fall(names: Texts, seqs: Indices) -> tuple[int, int] | None:
    """Return two symbols next to each other in the order, of which the second comes first by name; None if there are none.

    Names with a dot are passed over: with LTO_CLANG, some versions sort them without what follows it (cleanup_symbol_name()).
    """
    order = seqs[~_dotted(names)[seqs]]
    before, after = order[:-1], order[1:]
    for step in range(0, int(names.lengths.max(initial=0)) + 1, _STEP):
        if not len(before):
            return None
        one, other = _word(names, before, step), _word(names, after, step)
        falls = np.flatnonzero(one > other)
        if len(falls):
            return int(before[falls[0]]), int(after[falls[0]])
        same = one == other
        before, after = before[same], after[same]
    return None


def _word(names: Texts, which: Indices, step: int) -> Numbers:
    """Return some bytes of each name as one big-endian number, zeros behind its end."""
    columns = np.arange(step, step + _STEP)
    inside = columns < names.lengths[which][:, None]
    places = np.where(inside, names.starts[which][:, None] + columns, 0)
    letters = np.where(inside, names.block[places], np.uint8(0)).astype(np.uint8)
    return np.ascontiguousarray(letters).view(">u8").reshape(-1).astype(np.uint64)


def _dotted(names: Texts) -> Mask:
    dots = np.concatenate(([0], np.cumsum(names.block == ord("."))))
    found: Mask = dots[names.starts + names.lengths] != dots[names.starts]
    return found
