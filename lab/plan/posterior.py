"""What tests of commits say of where a fault came in, if a faulty commit fails only sometimes and nobody knows how often. Pure.

A test of a commit that has the fault fails at an unknown rate, the same for all of them; a test of one that has not fails at
the rate of false positives, which is given and mostly 0. The posterior is joint over the culprit and a grid of rates.

Commits that all tests made so far treat alike form a class: within it the posterior has the shape of the prior. So it is held
as [rates, classes]; 1 024 commits are some twenty numbers a rate, and a test costs microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lab.plan.history import Bools, Floats, History, Ints

LOWEST_RATE, HIGHEST_RATE = 0.005, 0.995
RATES = 30
SURE = 0.9999
"""The rate of a fault that fails always. Not quite 1: a search must be able to come back from a silence that was wrong."""
SURE_SHARE = 0.25
"""Prior weight of that rate: most faults of a build are deterministic."""
NEVER = 1e-9
FORGOTTEN = 1e-10
TOUCHED = 1e-9


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Faults:
    """How the fault shows itself. rates: of a commit that has it; weights: theirs; false_positives: of one that has not."""

    rates: Floats
    weights: Floats
    false_positives: float = 0.0

    @property
    def good_fails(self) -> float:
        """The rate of false positives that is reckoned with, never quite 0."""
        return max(self.false_positives, NEVER)


def faults(false_positives: float = 0.0, sure_share: float = SURE_SHARE) -> Faults:
    """Return faults of unknown rate: even in the logit from LOWEST_RATE to HIGHEST_RATE, and always with weight sure_share."""
    if not 0.0 <= false_positives < 0.5:
        raise ValueError(f"no rate of false positives: {false_positives}")
    low, high = (np.log(rate / (1 - rate)) for rate in (LOWEST_RATE, HIGHEST_RATE))
    rates = 1 / (1 + np.exp(-np.linspace(low, high, RATES)))
    rates, weights = np.append(rates, SURE), np.append(np.full(RATES, (1 - sure_share) / RATES), sure_share)
    possible = rates > 2 * false_positives  # a fault that fails hardly more often than nothing cannot be found
    weights = weights[possible]
    return Faults(rates=rates[possible], weights=weights / weights.sum(), false_positives=false_positives)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Tests of a commit: k failures in n."""

    failures: int = 0
    tests: int = 0

    def plus(self, failures: int, tests: int) -> Count:
        """Return it with more tests."""
        return Count(failures=self.failures + failures, tests=self.tests + tests)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Posterior:
    """joint: of rate and class, sums to 1; [rates, classes]. labels: class of each commit, -1: it is out; [commits].

    shares: the part of a class that is the cause if a commit has the fault; [commits, classes]. prior: [commits].
    """

    history: History
    faults: Faults
    prior: Floats
    labels: Ints
    joint: Floats
    shares: Floats
    counts: Mapping[int, Count] = field(default_factory=dict)

    def after(self, commit: int, failures: int, tests: int) -> Posterior:
        """Return it after so many more tests of a commit. ValueError if there cannot be so many failures."""
        if not 0 <= failures <= tests:
            raise ValueError(f"{failures} failures of {tests} tests")
        if not tests:
            return self
        split = self.split(commit)
        joint = split.joint * split.likelihood(commit, failures, tests - failures)
        total = joint.sum()
        if not total > 0.0:
            raise ValueError("what was seen is impossible")
        counts = {**self.counts, commit: self.counts.get(commit, Count()).plus(failures, tests)}
        return replace(split, joint=joint / total, counts=counts)._without_forgotten()

    def after_end(self, failures: int, tests: int) -> Posterior:
        """Return it after so many tests of a commit that has the fault for sure: they tell the rate."""
        rates = self.faults.rates[:, np.newaxis]
        joint = self.joint * rates**failures * (1 - rates) ** (tests - failures)
        return replace(self, joint=joint / joint.sum())

    def given(self, commit: int, *, has_fault: bool) -> Posterior:
        """Return it with the certainty that a commit has the fault or not. ValueError if that is ruled out already."""
        split = self.split(commit)
        return split._only((split.shares[commit] > 0.5) == has_fault)

    def same(self, one: int, other: int) -> Posterior:
        """Return it with the certainty that two commits both have the fault or both have not. ValueError as for given()."""
        split = self.split(one).split(other)
        return split._only((split.shares[one] > 0.5) == (split.shares[other] > 0.5))

    def _only(self, classes: Bools) -> Posterior:
        joint = self.joint * classes
        total = joint.sum()
        if not total > FORGOTTEN:
            raise ValueError("what was said is impossible after what was seen")
        return replace(self, joint=joint / total)._without_forgotten()

    def likelihood(self, commit: int, failures: int, silences: int) -> Floats:
        """Return how likely such tests of a commit are, for each rate and class; [rates, classes]. The commit is split."""
        rates, good = self.faults.rates, self.faults.good_fails
        bad = rates**failures * (1 - rates) ** silences
        return np.asarray(
            np.where(self.shares[commit] > 0.5, bad[:, np.newaxis], good**failures * (1 - good) ** silences)
        )

    def split(self, commit: int) -> Posterior:
        """Return the same with classes of which either all or none is the cause if a commit has the fault."""
        share = self.shares[commit]
        mixed = (share > TOUCHED) & (share < 1 - TOUCHED)
        if not mixed.any():
            return self
        inside = self.history.causes(commit)
        cut = np.flatnonzero(mixed)
        fresh = np.full(self.joint.shape[1], -1)
        fresh[cut] = self.joint.shape[1] + np.arange(len(cut))
        labels = np.where((self.labels >= 0) & ~inside & mixed[self.labels], fresh[self.labels], self.labels)
        joint = np.concatenate([self.joint, self.joint[:, cut] * (1 - share[cut])], axis=1)
        joint[:, cut] *= share[cut]
        shares = self.history.shares(labels, self.prior, joint.shape[1])
        return replace(self, labels=labels, joint=joint, shares=shares)

    def _without_forgotten(self) -> Posterior:
        masses = self.joint.sum(axis=0)
        kept = masses > FORGOTTEN
        if kept.all():
            return self
        names = np.where(kept, np.cumsum(kept) - 1, -1)
        labels = np.where(self.labels >= 0, names[self.labels], -1)
        joint = self.joint[:, kept]
        return replace(self, labels=labels, joint=joint / joint.sum(), shares=self.shares[:, kept])

    def culprits(self) -> Floats:
        """Return the probability that a commit brought the fault in; [commits]."""
        within = self.labels >= 0
        classes = self.joint.shape[1]
        masses = np.bincount(self.labels[within], weights=self.prior[within], minlength=classes)
        ratio = self.joint.sum(axis=0) / masses
        return np.asarray(np.where(within, self.prior * ratio[self.labels], 0.0))

    def bad(self) -> Floats:
        """Return the probability that a commit has the fault; [commits]."""
        return np.asarray(np.clip(self.shares @ self.joint.sum(axis=0), 0.0, 1.0))

    def rates(self) -> Floats:
        """Return the probability of each rate; [rates]."""
        return np.asarray(self.joint.sum(axis=1))

    @property
    def rate(self) -> float:
        """The expected rate."""
        return float(self.rates() @ self.faults.rates)

    def within(self) -> Bools:
        """Return which commits are not ruled out; [commits]."""
        return np.asarray(self.labels >= 0)


def unknown(history: History, faults: Faults, prior: Floats | None = None) -> Posterior:
    """Return what is known before any test. prior: weights of the commits, not negative, one positive; none: all alike."""
    weights = np.ones(history.size) if prior is None else np.asarray(prior, dtype=np.float64)
    if weights.shape != (history.size,) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError("prior weights: one for each commit, none negative, not all 0")
    weights = weights / weights.sum()
    labels = np.where(weights > 0, 0, -1)
    return Posterior(
        history=history,
        faults=faults,
        prior=weights,
        labels=labels,
        joint=faults.weights[:, np.newaxis].copy(),
        shares=history.shares(labels, weights, 1),
    )
