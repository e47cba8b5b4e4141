"""What the pages of many runs are made from: plain values, whoever has read them (a folder, an index)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from lab.model import Cell, Outcome, Result
from lab.results.brief import Verdict

ORDER: tuple[Outcome, ...] = (
    Outcome.FAIL,
    Outcome.XPASS,
    Outcome.ERROR,
    Outcome.MISS,
    Outcome.XFAIL,
    Outcome.PASS,
    Outcome.SKIP,
)
"""The worst first: what is to be looked at, then what is as expected."""

GOOD = frozenset({Outcome.PASS, Outcome.XFAIL})
UNEXPECTED = frozenset({Outcome.FAIL, Outcome.XPASS, Outcome.ERROR, Outcome.MISS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """One run, as a column. matrix: the name that runs of the same matrix share. started_at_s: since the epoch."""

    run: str
    matrix: str
    started_at_s: float

    @property
    def at(self) -> str:
        """When it began: "2026-11-28 20:58"."""
        return minute(self.started_at_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A cell of a matrix over the matrix' nights, oldest first; None where it had no verdict.

    axes: (axis, text), of the newest night that has the cell. note: what a comparison says of it ("new", "flaky"), else "".
    """

    matrix: str
    cell: str
    axes: tuple[tuple[str, str], ...]
    verdicts: tuple[Verdict | None, ...]
    note: str = ""

    @property
    def last(self) -> int:
        """The index of the newest verdict. Raises ValueError if there is none."""
        for index in range(len(self.verdicts) - 1, -1, -1):
            if self.verdicts[index] is not None:
                return index
        raise ValueError(f"cell {self.cell!r} has no verdict")

    @property
    def now(self) -> Verdict:
        """The newest verdict."""
        newest = self.verdicts[self.last]
        assert newest is not None, "last is the index of a verdict"
        return newest

    @property
    def last_good(self) -> int | None:
        """The index of the newest good verdict before the newest one, None if there was none."""
        good = (index for index in range(self.last - 1, -1, -1) if is_good(self.verdicts[index]))
        return next(good, None)

    @property
    def changed(self) -> bool:
        """Whether the newest verdict is another than the one before it."""
        before = next((one for one in reversed(self.verdicts[: self.last]) if one is not None), None)
        return before is not None and before.outcome is not self.now.outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """The newest run of a cell in full. folder: of the run, where its evidence lies. differs: lines of `lab diff`."""

    result: Result
    cell: Cell | None
    folder: Path
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """All that is shown. nights: by matrix, oldest first; histories: each cell with at least one verdict.

    detail: reads a cell's newest run when its page is written, None if it has gone. notes: what was left out, and why.
    """

    nights: dict[str, tuple[Night, ...]]
    histories: Sequence[History]
    detail: Callable[[History], Detail | None]
    title: str = "kbuild-lab"
    notes: tuple[str, ...] = field(default=())


@lru_cache(maxsize=4096)
def minute(at_s: float) -> str:
    """Return seconds since the epoch as "2026-11-28 20:58", UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")


def is_good(verdict: Verdict | None) -> bool:
    """Whether a verdict is one that a later failure may be held against."""
    return verdict is not None and verdict.outcome in GOOD


def rank(outcome: Outcome) -> int:
    """Return how far down an outcome stands in ORDER."""
    return ORDER.index(outcome)
