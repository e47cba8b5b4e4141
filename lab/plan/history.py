"""A history between a good and a bad end as numbers: commits in topological order, and who is whose ancestor. Pure.

Commit k has number k, parents have lower numbers, the last commit is the bad end. If commit k brought the fault in, commit i
has it exactly if k is i or an ancestor of i. That is all that a search asks of a history; on a line it is `k <= i`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """parents: of each commit, lower numbers only. packed: row i are the ancestors of i and i, as bits; None for a line.

    mended: what is looked for is the commit that took the fault away; then a commit has the fault unless that one is it or
    among its ancestors, and it is the good end that has it.
    """

    parents: tuple[tuple[int, ...], ...]
    packed: npt.NDArray[np.uint8] | None
    mended: bool = False

    @property
    def size(self) -> int:
        """How many commits."""
        return len(self.parents)

    @property
    def bad(self) -> int:
        """The bad end."""
        return self.size - 1

    def ancestors(self, commit: int) -> Bools:
        """Return for each commit whether it is this one or an ancestor of it; [size]."""
        if self.packed is None:
            return np.arange(self.size) <= commit
        return np.unpackbits(self.packed[commit], count=self.size).astype(np.bool_)

    def descendants(self, commit: int) -> Bools:
        """Return for each commit whether it is this one or has it for an ancestor; [size]."""
        if self.packed is None:
            return np.arange(self.size) >= commit
        return (self.packed[:, commit // 8] & (0x80 >> commit % 8)) > 0

    def causes(self, commit: int) -> Bools:
        """Return for each commit whether this one has the fault if that one is the culprit; [size]."""
        within = self.ancestors(commit)
        return ~within if self.mended else within

    def shares(self, labels: Ints, prior: Floats, classes: int) -> Floats:
        """Return which part of each class would be the cause of a fault in each commit, by prior weight; [size, classes].

        labels: class of each commit, -1 for those that are out; [size]. prior: [size].
        """
        members = np.flatnonzero(labels >= 0)
        weights = np.zeros((self.size, classes))
        weights[members, labels[members]] = prior[members]
        masses = weights.sum(axis=0)
        masses[masses <= 0] = 1.0
        weights /= masses
        if self.packed is None:
            return self._turned(np.cumsum(weights, axis=0), weights)
        parts = []
        for first in range(0, self.size, ROWS_AT_ONCE):
            rows = np.unpackbits(self.packed[first : first + ROWS_AT_ONCE], axis=1, count=self.size)[:, members]
            parts.append(rows.astype(np.float64) @ weights[members])
        return self._turned(np.concatenate(parts), weights)

    def _turned(self, within: Floats, weights: Floats) -> Floats:
        return np.asarray(weights.sum(axis=0) - within if self.mended else within)

    def alike(self, untestable: Iterable[int]) -> Ints:
        """Return a number for each commit, the same for commits that no test can tell apart; [size].

        Two causes look alike if the same commits that can be tested have them. untestable: commits that cannot be.
        """
        testable = np.ones(self.size, dtype=np.bool_)
        testable[list(untestable)] = False
        testable[self.bad] = True
        if testable.all():
            return np.arange(self.size)
        if self.packed is None:
            following = np.where(testable, np.arange(self.size), self.size)
            return np.asarray(np.minimum.accumulate(following[::-1])[::-1])
        # a sum of random numbers names a set; 2^40 each, so that the sum is exact in a float
        names = np.random.default_rng(7).integers(1, 1 << 40, self.size).astype(np.float64) * testable
        sums = np.zeros(self.size)
        for first in range(0, self.size, ROWS_AT_ONCE):
            rows = np.unpackbits(self.packed[first : first + ROWS_AT_ONCE], axis=1, count=self.size)
            sums += names[first : first + len(rows)] @ rows.astype(np.float64)
        return np.asarray(np.unique(sums, return_inverse=True)[1])


def line(size: int) -> History:
    """Return a history without merges. ValueError if it has no commit."""
    if size < 1:
        raise ValueError("a history needs a commit")
    return History(tuple((number - 1,) if number else () for number in range(size)), None)


def history(parents: Sequence[Sequence[int]]) -> History:
    """Return a history with merges.

    ValueError if it has no commit, if a parent does not come before its child, or if a commit is no ancestor of the last one.
    """
    if not parents:
        raise ValueError("a history needs a commit")
    known = tuple(tuple(of) for of in parents)
    for number, of in enumerate(known):
        if any(not 0 <= parent < number for parent in of):
            raise ValueError(f"commit {number}: parents must come before it")
    if all(of == ((number - 1,) if number else ()) for number, of in enumerate(known)):
        return line(len(known))
    packed: npt.NDArray[Any] = np.zeros((len(known), (len(known) + 7) // 8), dtype=np.uint8)
    for number, of in enumerate(known):
        for parent in of:
            packed[number] |= packed[parent]
        packed[number, number // 8] |= 0x80 >> number % 8
    made = History(known, packed)
    if not made.ancestors(made.bad).all():
        raise ValueError("every commit must be an ancestor of the last")
    return made
