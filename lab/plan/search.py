"""Which commit to test next, how often, and when to stop. Pure: a posterior and costs in, the next step out.

A step is a commit and a number of tests: it is built if it is not, and tested until it fails or was silent so often. That is
the form of every sensible plan for faults that fail only sometimes: a failure says nearly all at once, and only silence needs
repetition. Of all commits and numbers that step is taken which gives most information about the culprit for its expected cost.
Where to probe and how often follow from that, from the rate as far as it is known, and from what a build costs; a step that was
not enough is followed by another at the same commit, as its kernel is there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from lab.plan.history import Bools, Floats, Ints
from lab.plan.posterior import Count, Posterior

CONFIDENCE = 0.98
TESTS = np.array([1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90])
POINTS = 96
"""So many commits are looked at for a step; of more, those that part the posterior most evenly."""
LEAST_BUILD, MOST_BUILD = 2.0, 4.0
BEYOND = 0.15
"""What a build is reckoned at, in tests: see Costs.reckoned_build."""
END_TESTS = ((2.0, 6, 3), (10.0, 8, 3), (30.0, 10, 3), (math.inf, 12, 4))
"""Build cost in tests below which: failures wanted at the bad end if no test was silent, and if one was."""
NEIGHBOURS = 8.0
BRANCHES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a build and a test cost, in seconds or in anything else. Neither is negative, and one of them is positive."""

    build: float
    test: float

    @property
    def reckoned_build(self) -> float:
        """What a build is taken to cost when a step is chosen.

        A step's bits for its cost alone would have a dear build wait until what is built is known all but for certain; but the
        tests of a built commit stay as cheap later, and most need never be made. So beyond MOST_BUILD tests a build counts with
        a small power only. Below LEAST_BUILD it counts as if it cost so much, as going elsewhere for each test gains nothing
        (simulated, docs/bisect.md).
        """
        if self.test <= 0:
            return self.build
        ratio = max(self.build / self.test, LEAST_BUILD)
        beyond: float = max(1.0, ratio / MOST_BUILD) ** BEYOND
        return self.test * min(ratio, MOST_BUILD * beyond)

    def of(self, builds: float, tests: float) -> float:
        """Return the cost of so many builds and tests."""
        return self.build * builds + self.test * tests


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Test a commit until it fails, at most so often. build: it must be built first. bits: what it is expected to tell."""

    commit: int
    tests: int
    build: bool
    bits: float = 0.0


def measured(end: Count, costs: Costs) -> bool:
    """Whether the bad end was tested often enough to begin: so often in a row that it seems to fail always, or often enough.

    More tests in a row are asked for where a test is cheap beside a build. What a fault of 80 % looks like after five failures
    is a fault of 100 %; the search goes on learning the rate, but believes the first silences by it.
    """
    ratio = costs.build / costs.test if costs.test > 0 else sys.float_info.max
    in_a_row, failures = next(wanted for below, *wanted in END_TESTS if ratio < below)
    return end.failures >= (in_a_row if end.failures == end.tests else failures)


class Ending(StrEnum):
    """How a bisection ends."""

    CULPRIT = "culprit"  # one commit, or commits that no test can tell apart
    NARROWED = "narrowed"  # several commits hold the confidence that was asked for
    UNRESOLVED = "unresolved"  # most of the history still does
    NOT_CONFIRMED = "not confirmed"  # the bad end does not fail, or the good end does


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """commits: the likeliest ones that hold the confidence, in the order of the history. confidence: what they hold."""

    ending: Ending
    commits: tuple[int, ...]
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known besides the posterior. built: commits whose kernel is at hand. skipped: they cannot be tested.

    reserved: nobody may take them (they are being built). pending: steps under way elsewhere.
    """

    built: Collection[int] = frozenset()
    skipped: Collection[int] = frozenset()
    reserved: Collection[int] = frozenset()
    pending: tuple[Step, ...] = ()


def answer(posterior: Posterior, groups: Ints, confidence: float) -> Answer:
    """Return what the posterior says. groups: the same number for commits that no test can tell apart; [commits]."""
    culprits = posterior.culprits()
    masses = np.bincount(groups, weights=culprits)
    best = int(masses.argmax())
    if masses[best] >= confidence:
        chosen = np.flatnonzero((groups == best) & (culprits > 0))
        return Answer(ending=Ending.CULPRIT, commits=tuple(map(int, chosen)), confidence=float(masses[best]))
    order = np.argsort(-masses, kind="stable")
    needed = int(np.searchsorted(np.cumsum(masses[order]), confidence)) + 1
    chosen = np.flatnonzero(np.isin(groups, order[:needed]) & (culprits > 0))
    held = float(culprits[chosen].sum())
    few = 2 * len(chosen) <= int(np.count_nonzero(posterior.prior))
    return Answer(
        ending=Ending.NARROWED if few else Ending.UNRESOLVED, commits=tuple(map(int, chosen)), confidence=held
    )


def settled(posterior: Posterior, groups: Ints, confidence: float) -> bool:
    """Whether the answer is a culprit. Cheaper than answer(), for it is asked after every step."""
    classes = posterior.joint.sum(axis=0)
    if classes.max() < confidence and len(groups) == posterior.history.size and groups[-1] == len(groups) - 1:
        return False  # no two are alike: a culprit lies in one class
    return answer(posterior, groups, confidence).ending is Ending.CULPRIT


def next_step(posterior: Posterior, costs: Costs, known: Known = Known()) -> Step | None:  # noqa: B008 - it is frozen
    """Return the step that tells most for its cost; None if nothing that can be tested tells anything."""
    for step in known.pending:
        posterior = posterior.split(step.commit)
    branches = outcomes(posterior, known.pending)
    points = candidates(posterior, known)
    if not len(points):
        return None
    built = marked(posterior.history.size, known.built)[points]
    bits = np.zeros((len(TESTS), len(points)))
    tests = np.zeros((len(TESTS), len(points)))
    for weight, joint in branches:
        told, made = worth(posterior, joint, points)
        bits += weight * told
        tests += weight * made
    chance = testable(points, posterior, known)
    cost = np.where(built, 0.0, costs.reckoned_build) + costs.test * tests
    score = bits * chance / np.maximum(cost, 1e-12)
    number, point = np.unravel_index(int(score.argmax()), score.shape)
    if bits[number, point] <= 0.0:
        return None
    return Step(
        commit=int(points[point]),
        tests=int(TESTS[number]),
        build=not built[point],
        bits=float(bits[number, point]),
    )


def candidates(posterior: Posterior, known: Known) -> Ints:
    """Return the commits that a step may test: whether they have the fault is open, and nobody else is at them."""
    bad = posterior.bad()
    open_ = (bad > 1e-6) & (bad < 1 - 1e-6)
    open_ &= ~marked(posterior.history.size, [*known.skipped, *known.reserved])
    points = np.flatnonzero(open_)
    if len(points) <= POINTS:
        return points
    order = points[np.argsort(bad[points], kind="stable")]
    chances = bad[order]
    wanted = np.searchsorted(chances, np.linspace(chances[0], chances[-1], POINTS))
    chosen = marked(posterior.history.size, known.built) & open_
    chosen[order[wanted]] = True
    return np.flatnonzero(chosen)


def marked(size: int, commits: Collection[int]) -> Bools:
    """Return whether each commit is one of these; [size]."""
    marks = np.zeros(size, dtype=np.bool_)
    marks[list(commits)] = True
    return marks


def outcomes(posterior: Posterior, pending: Iterable[Step]) -> list[tuple[float, Floats]]:
    """Return what the joint may be after the steps under way, with the probability of each; the likeliest ones."""
    branches = [(1.0, posterior.joint)]
    for step in pending:
        silent = posterior.likelihood(step.commit, 0, step.tests)
        halves = ((weight, part) for weight, joint in branches for part in (joint * silent, joint * (1 - silent)))
        branches = [
            (weight * float(part.sum()), part / part.sum()) for weight, part in halves if weight * part.sum() > 1e-6
        ]
        branches = sorted(branches, key=lambda branch: -branch[0])[:BRANCHES]
    whole = sum(weight for weight, _ in branches)
    return [(weight / whole, joint) for weight, joint in branches]


def worth(posterior: Posterior, joint: Floats, points: Ints) -> tuple[Floats, Floats]:
    """Return the bits about the culprit that up to TESTS tests of a commit tell, and how many are made; [TESTS, points] each.

    The rate is marginalised for each culprit: how likely a faulty commit is to be silent depends on who the culprit is.
    """
    good_silent = (1 - posterior.faults.good_fails) ** TESTS[:, np.newaxis]
    good_tests = (1 - good_silent) / posterior.faults.good_fails
    silent = (1 - posterior.faults.rates) ** TESTS[:, np.newaxis]  # [TESTS, rates]
    made = (1 - silent) / posterior.faults.rates
    masses = joint.sum(axis=0)
    quiet = silent @ joint  # [TESTS, classes]
    shares = posterior.shares[points].T  # [classes, points]
    good = 1.0 - masses @ shares
    noise = (masses * entropy(quiet / np.maximum(masses, 1e-300))) @ shares + good * entropy(good_silent)
    bits = entropy(quiet @ shares + good * good_silent) - noise
    return np.maximum(bits, 0.0), (made @ joint) @ shares + good * good_tests


def entropy(chance: Floats) -> Floats:
    """Return the entropy of events of these probabilities, in bits."""
    safe = np.clip(chance, 1e-15, 1 - 1e-15)
    return np.asarray(-(safe * np.log2(safe) + (1 - safe) * np.log2(1 - safe)))


def testable(points: Ints, posterior: Posterior, known: Known) -> Floats:
    """Return how likely it is that commits can be tested: those near to skipped ones less; [points].

    What breaks a build stays for a while, so commits near to a skipped one are as likely skipped; counts fade with distance.
    """
    if not known.skipped:
        return np.ones(len(points))
    near = np.zeros((2, len(points)))
    for row, others in enumerate((known.skipped, posterior.counts)):
        for other in others:
            near[row] += np.exp(-np.abs(points - other) / NEIGHBOURS)
    chance = 1.0 - (near[0] + 0.1) / (near.sum(axis=0) + 0.5)
    return np.where(marked(posterior.history.size, known.built)[points], 1.0, np.maximum(chance, 0.05))
