"""trial.json: what a comparison of two arms was asked, what was made of it so far, and where it stands.

It lies in the run's folder, is written before the first attempt and again after each, and appears by rename. The attempts are
the truth: a comparison that is taken up again is computed from them, and from this file only what was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.model import Cell, Rate
from lab.results import store

NAME = "trial.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is compared; no part of it changes while a comparison is under way.

    cell: id of the arm without, with_patch: of the one with. patches: (name, sha256 of the text). findings: ids of the fault;
    none: any failure. no_effect, missed: the error rates. amplified: what made races likelier, "" if nothing did.
    """

    cell: str
    with_patch: str
    patches: tuple[tuple[str, str], ...]
    findings: tuple[str, ...]
    no_effect: float
    missed: float
    amplified: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairMade:
    """A pair that counts: numbers of its attempts, the arm that came first, and which of them failed."""

    without: int
    with_patch: int
    first: str
    without_failed: bool
    with_patch_failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCounted:
    """An attempt that does not count. arm: "without" or "with"; verdict: "other" or "error"."""

    arm: str
    number: int
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Where a comparison stands. ended: why it is over, "" while it goes on: mends, does-not-mend, pairs, budget,
    other-failures, errors, interrupted.

    without, with_patch: how often each arm failed, in whole pairs. against_no_effect, against_effect: see
    plan.statistics.Comparison. p_value: Fisher's, one-sided, None without a pair. pairs_at_most, budget_s: the limits of the
    latest call; spent_s: what all attempts took; pair_s: what a pair takes. more_pairs: how many more it would take at these
    rates, None if it is decided or nobody can say.
    """

    asked: Asked
    pairs_at_most: int
    budget_s: float
    pairs: tuple[PairMade, ...] = ()
    not_counted: tuple[NotCounted, ...] = ()
    without: Rate
    with_patch: Rate
    against_no_effect: float = 1.0
    against_effect: float = 1.0
    p_value: float | None = None
    spent_s: float = 0.0
    pair_s: float = 0.0
    ended: str = ""
    more_pairs: int | None = None

    @property
    def decided(self) -> bool:
        """Whether the question has an answer."""
        return self.ended in ("mends", "does-not-mend")


def write(folder: Path, trial: Trial) -> None:
    """Let trial.json appear in a run's folder, whole. Raises EnvironmentFault."""
    store.write(folder / NAME, trial)


def read(folder: Path) -> Trial | None:
    """Return what trial.json of a run's folder says, None if there is none that is whole."""
    return store.read(Trial, folder / NAME)


def is_trial(folder: Path) -> bool:
    """Whether a run's folder belongs to a comparison, whatever state it is in."""
    return (folder / NAME).exists()


def latest(results: Path, asked: Asked, cells: Sequence[Cell]) -> str | None:
    """Return the name of the newest run that compares just this, None if there is none. cells: both arms, as they are now."""
    wanted = [store.encoded(cell) for cell in cells]
    found: list[tuple[float, str]] = []
    for folder in (path.parent for path in results.glob(f"*/{NAME}") if not path.parent.is_symlink()):
        trial, facts = read(folder), store.read(store.RunFacts, folder / "run.json")
        same = trial is not None and trial.asked == asked
        if same and facts is not None and [store.encoded(cell) for cell in facts.cells] == wanted:
            found.append((facts.started_at_s, folder.name))
    return max(found)[1] if found else None
