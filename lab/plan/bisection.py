"""A bisection from its ends to its culprit: what was seen so far, and what is to be tested next. Pure: values in, values out.

The faulty end until its rate is known; the other end until its silence means something; the search; the culprit and its parents
once more; the faulty end without the culprit. At each point next_step() says what may be tested beside what is under way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from lab.plan import search
from lab.plan.posterior import Count, Posterior
from lab.plan.search import Answer, Costs, Ending, Known, Step

OUTSIDE = -1
"""The good end: it is not among the commits of the history."""
REVERTED = -2
"""The bad end without the culprit."""
SILENT_AT_MOST = 90  # tests of the faulty end without a failure: then it is not confirmed
OTHERS_AT_MOST = 2  # tests that do not count, of one commit, with none that does: then it is skipped
OTHERS_IN_ALL = 8  # the same, of one where some count
ERRORS_IN_A_ROW = 3
VERIFIED_WITH = 3.0  # a parent's silence is to be so many times as sure as the bisection


class Seen(StrEnum):
    """What a test says."""

    FAILED = "failed"
    SOUND = "sound"
    OTHER = "other"
    ERROR = "error"


class Phase(StrEnum):
    """Where a bisection is."""

    FAULTY_END = "the end with the fault"
    SOUND_END = "the end without"
    SEARCH = "the search"
    VERIFY = "the culprit and its parents"
    REVERT = "the end without the culprit"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """confidence: when it may stop. reverts: the bad end can be tested without the culprit. assumed: costs until measured."""

    confidence: float = search.CONFIDENCE
    reverts: bool = False
    assumed: Costs = Costs(build=300.0, test=60.0)  # noqa: RUF009 - it is frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What was seen so far. counts: of places, commits and OUTSIDE and REVERTED. others: tests of a place that do not count.

    errors: in a row. identities: first commit of each identity that was tested. contradicted: somebody's word was against what
    was seen.
    """

    posterior: Posterior
    counts: Mapping[int, Count] = field(default_factory=dict)
    others: Mapping[int, int] = field(default_factory=dict)
    skipped: frozenset[int] = frozenset()
    built: frozenset[int] = frozenset()
    identities: Mapping[str, int] = field(default_factory=dict)
    errors: int = 0
    test_s: tuple[float, ...] = ()
    build_s: tuple[float, ...] = ()
    contradicted: tuple[str, ...] = ()

    @property
    def faulty_end(self) -> int:
        """The end that has the fault."""
        return OUTSIDE if self.posterior.history.mended else self.posterior.history.bad

    @property
    def sound_end(self) -> int:
        """The end that has not."""
        return self.posterior.history.bad if self.posterior.history.mended else OUTSIDE

    def count(self, place: int) -> Count:
        """Return the tests of a place that count."""
        return self.counts.get(place, Count())

    def costs(self, assumed: Costs) -> Costs:
        """Return what was measured, or what is assumed. Where every test was a build, a build alone costs nothing."""
        build = float(np.median(self.build_s)) if self.build_s else assumed.build
        test = float(np.median(self.test_s)) if self.test_s else assumed.test
        return Costs(build=build, test=max(test, 0.001))

    def after(
        self, place: int, seen: Seen, *, test_s: float = 0.0, build_s: float = 0.0, identity: str = ""
    ) -> Standing:
        """Return where it stands after one more test."""
        if seen is Seen.ERROR:
            return replace(self, errors=self.errors + 1)
        timed = replace(
            self,
            errors=0,
            built=self.built | {place},
            test_s=(*self.test_s, test_s) if test_s else self.test_s,
            build_s=(*self.build_s, build_s) if build_s else self.build_s,
        )
        if seen is Seen.OTHER:
            return timed._not_counted(place)
        failures = int(seen is Seen.FAILED)
        counted = replace(timed, counts={**self.counts, place: self.count(place).plus(failures, 1)})
        if place == self.faulty_end:
            posterior = self.posterior.after_end(failures, 1)
        elif place in (OUTSIDE, REVERTED):
            posterior = self.posterior
        else:
            posterior = self.posterior.after(place, failures, 1)
        return replace(counted, posterior=posterior)._with_identity(place, identity)

    def _not_counted(self, place: int) -> Standing:
        others = {**self.others, place: self.others.get(place, 0) + 1}
        gone = others[place] >= (OTHERS_IN_ALL if self.count(place).tests else OTHERS_AT_MOST)
        return replace(self, others=others, skipped=self.skipped | {place} if gone else self.skipped)

    def _with_identity(self, place: int, identity: str) -> Standing:
        """Take two commits whose kernels are the same for one."""
        if not identity or place < 0:
            return self
        first = self.identities.get(identity)
        if first is None:
            return replace(self, identities={**self.identities, identity: place})
        if first == place:
            return self
        try:
            return replace(self, posterior=self.posterior.same(first, place))
        except ValueError as error:
            return replace(self, contradicted=(*self.contradicted, f"same kernel {identity[:12]}: {error}"))

    def marked(self, place: int, word: str) -> Standing:
        """Return where it stands after somebody's word: bad, good or skip."""
        if word == "skip":
            return replace(self, skipped=self.skipped | {place})
        if place < 0:
            return self
        try:
            return replace(self, posterior=self.posterior.given(place, has_fault=word == "bad"))
        except ValueError as error:
            return replace(self, contradicted=(*self.contradicted, f"marked {word}: {error}"))

    def answer(self, rules: Rules) -> Answer:
        """Return what is known of the culprit."""
        if self.unconfirmed():
            return Answer(ending=Ending.NOT_CONFIRMED, commits=(), confidence=0.0)
        return search.answer(self.posterior, self.posterior.history.alike(self.skipped), rules.confidence)

    # --------------------------------------------------------------------------------------------------------- the ends

    def unconfirmed(self) -> str:
        """Return why there is nothing to be looked for, "" if that is not so."""
        faulty, sound = self.count(self.faulty_end), self.count(self.sound_end)
        if not faulty.failures and faulty.tests >= SILENT_AT_MOST:
            return f"the end that should fail was silent in {faulty.tests} tests"
        if self.faulty_end in self.skipped:
            return "the end that should fail cannot be tested"
        if self.sound_end in self.skipped:
            return "the end that should not fail cannot be tested"
        # odds that so many failures are false positives, against an end that has the fault as likely as not
        if sound.failures and self._sound_end_odds() < 1.0:
            return f"the end that should not fail failed in {sound.failures} of {sound.tests} tests"
        return ""

    def _sound_end_odds(self) -> float:
        """Return how many times likelier the tests of the sound end are if it is sound."""
        count, faults = self.count(self.sound_end), self.posterior.faults
        silences = count.tests - count.failures
        good = faults.good_fails**count.failures * (1 - faults.good_fails) ** silences
        bad = float(self.posterior.rates() @ (faults.rates**count.failures * (1 - faults.rates) ** silences))
        return good / bad if bad > 0 else math.inf

    def phase(self, rules: Rules) -> Phase:
        """Return what comes next."""
        costs = self.costs(rules.assumed)
        if self.unconfirmed():
            return Phase.DONE
        if not search.measured(self.count(self.faulty_end), costs):
            return Phase.FAULTY_END
        if self._sound_end_odds() < 1.0 / (1.0 - rules.confidence):
            return Phase.SOUND_END
        if not search.settled(self.posterior, self.posterior.history.alike(self.skipped), rules.confidence):
            return Phase.SEARCH if self._step(rules) is not None else Phase.DONE
        if self.to_verify(rules):
            return Phase.VERIFY
        alone = len(self.answer(rules).commits) == 1
        if rules.reverts and alone and REVERTED not in self.skipped and self.wanted(REVERTED, rules) > 0:
            return Phase.REVERT
        return Phase.DONE

    # ------------------------------------------------------------------------------------------------------------ steps

    def next_step(self, rules: Rules, pending: Sequence[Step] = ()) -> Step | None:
        """Return what may be tested now beside what is under way; None if that must be waited for, or it is over."""
        phase, busy = self.phase(rules), {step.commit for step in pending}
        if phase is Phase.SEARCH:
            return self._step(rules, pending)
        places: tuple[int, ...] = ()
        if phase in (Phase.FAULTY_END, Phase.SOUND_END):
            places = (self.faulty_end, self.sound_end) if phase is Phase.FAULTY_END else (self.sound_end,)
        elif phase is Phase.VERIFY:
            places = self.to_verify(rules)
        elif phase is Phase.REVERT:
            places = (REVERTED,)
        for place in places:
            if place not in busy:
                return Step(commit=place, tests=1, build=place not in self.built)
        return None

    def _step(self, rules: Rules, pending: Sequence[Step] = ()) -> Step | None:
        inside = tuple(step for step in pending if step.commit >= 0)
        known = Known(
            built={place for place in self.built if place >= 0},
            skipped={place for place in self.skipped if place >= 0},
            reserved={step.commit for step in inside if step.build},
            pending=inside,
        )
        return search.next_step(self.posterior, self.costs(rules.assumed), known)

    def to_verify(self, rules: Rules) -> tuple[int, ...]:
        """Return the places that are to be tested again before the culprit is believed: the culprit if it was not seen to
        fail (or, of a fix, not to), and its parents if they were not silent (or failed) often enough.
        """
        told = self.answer(rules)
        if told.ending is not Ending.CULPRIT or len(told.commits) != 1:
            return ()
        culprit = told.commits[0]
        parents = self.posterior.history.parents[culprit] or (OUTSIDE,)
        return tuple(
            place for place in (culprit, *parents) if place not in self.skipped and self.wanted(place, rules) > 0
        )

    def wanted(self, place: int, rules: Rules) -> int:
        """Return how many more silent tests of a place mean that it has not the fault; 0 if it failed, or had so many."""
        count, faults = self.count(place), self.posterior.faults
        if count.failures:
            return 0
        sure = (1 - rules.confidence) / VERIFIED_WITH if place >= 0 else 1 - rules.confidence
        for more in range(SILENT_AT_MOST * 10):
            if float(self.posterior.rates() @ (1 - faults.rates) ** (count.tests + more)) <= sure:
                return more
        return 0
