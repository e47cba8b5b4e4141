"""Two arms in turn, one attempt of each a pair: which is next, which counts, when it ends. Pure: who attempts is a callable.

Within a pair the order alternates (without, with; with, without; …), so that what drifts on the machine, a growing cache or a
neighbour's load, meets both arms alike. An attempt that does not count is made again in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from lab.model import AttemptResult, Outcome, Rate
from lab.plan import statistics
from lab.plan.statistics import Answer, Comparison, Errors

ERRORS_IN_A_ROW = 3
OTHERS_IN_AN_ARM = 3
BOOT = "boot"  # family of findings, and beginning of the names of steps


class Arm(StrEnum):
    """The cell as it is, or with the patch."""

    WITHOUT = "without"
    WITH = "with"


ARMS = (Arm.WITHOUT, Arm.WITH)


class Verdict(StrEnum):
    """What an attempt says of the fault in question."""

    FAILED = "failed"
    SOUND = "sound"
    OTHER = "other"  # it failed otherwise, or nobody could look: does not count
    ERROR = "error"  # the lab's or the machine's trouble: does not count


COUNTS = (Verdict.FAILED, Verdict.SOUND)


class End(StrEnum):
    """Why a comparison ended."""

    MENDS = "mends"
    DOES_NOT_MEND = "does-not-mend"
    PAIRS = "pairs"  # so many as were allowed, and not decided
    BUDGET = "budget"  # the time is used up, and it is not decided
    OTHER = "other-failures"
    ERROR = "errors"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An attempt that was made. number: counts from 1 in its arm. seconds: what it took, of the budget."""

    arm: Arm
    number: int
    verdict: Verdict
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An attempt of each arm that count. first: the arm whose turn it was."""

    without: Made
    with_patch: Made
    first: Arm

    @property
    def outcome(self) -> statistics.Pair:
        """Which of the two failed."""
        return self.without.verdict is Verdict.FAILED, self.with_patch.verdict is Verdict.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When it ends undecided: after so many pairs, or when the next would not fit into the seconds."""

    pairs: int
    budget_s: float
    errors: Errors = statistics.ERRORS


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All attempts made so far, in the order in which they were made, and what follows from them."""

    made: tuple[Made, ...] = ()

    def of(self, arm: Arm) -> tuple[Made, ...]:
        """Return the attempts of an arm that count."""
        return tuple(one for one in self.made if one.arm is arm and one.verdict in COUNTS)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs that are whole."""
        both = zip(self.of(Arm.WITHOUT), self.of(Arm.WITH), strict=False)
        return tuple(Pair(without=one, with_patch=two, first=first_of(at)) for at, (one, two) in enumerate(both))

    @property
    def next_arm(self) -> Arm:
        """Whose turn it is."""
        without, with_patch = (len(self.of(arm)) for arm in ARMS)
        if without == with_patch:
            return first_of(without)
        return Arm.WITHOUT if without < with_patch else Arm.WITH

    def next_number(self, arm: Arm) -> int:
        """Return the number of an arm's next attempt; those that do not count keep theirs."""
        return 1 + sum(one.arm is arm for one in self.made)

    @property
    def spent_s(self) -> float:
        """The time of all attempts."""
        return sum(one.seconds for one in self.made)

    @property
    def pair_s(self) -> float:
        """The time that a pair takes, with what was made again; 0 as long as none is whole."""
        return self.spent_s / len(self.pairs) if self.pairs else 0.0

    def rate(self, arm: Arm) -> Rate:
        """Return how often an arm failed, in whole pairs."""
        failed = [pair.outcome[ARMS.index(arm)] for pair in self.pairs]
        return statistics.rate(sum(failed), len(failed))

    def compared(self, errors: Errors) -> Comparison:
        """Return where the comparison stands."""
        return statistics.compared((pair.outcome for pair in self.pairs), errors)

    def after(self, one: Made) -> Standing:
        """Return where it stands after one more attempt."""
        return replace(self, made=(*self.made, one))

    def end(self, limits: Limits) -> End | None:
        """Return why it is over, None if it goes on. A pair that was begun is finished."""
        if any(len([one for one in self.made if other_in(one, arm)]) >= OTHERS_IN_AN_ARM for arm in ARMS):
            return End.OTHER
        if len(self.of(Arm.WITHOUT)) != len(self.of(Arm.WITH)):
            return None
        answer = self.compared(limits.errors).answer
        if answer is not Answer.OPEN:
            return End.MENDS if answer is Answer.MENDS else End.DOES_NOT_MEND
        if len(self.pairs) >= limits.pairs:
            return End.PAIRS
        return End.BUDGET if self.spent_s + self.pair_s > limits.budget_s else None


def first_of(pair: int) -> Arm:
    """Return the arm that begins a pair. pair: counts from 0."""
    return ARMS[pair % 2]


def other_in(one: Made, arm: Arm) -> bool:
    """Whether an attempt is one of this arm that failed otherwise."""
    return one.arm is arm and one.verdict is Verdict.OTHER


def in_turn(
    standing: Standing,
    limits: Limits,
    attempt: Callable[[Arm, int], Made | None],
    told: Callable[[Standing], None] = lambda standing: None,
) -> tuple[Standing, End]:
    """Make attempts until it is decided or over; returns where it stands then, and why it ended.

    attempt: makes the numbered attempt of an arm, None if it was interrupted. told: hears where it stands after each one.
    """
    errors = 0
    while (end := standing.end(limits)) is None:
        arm = standing.next_arm
        one = attempt(arm, standing.next_number(arm))
        if one is None:
            return standing, End.INTERRUPTED
        standing = standing.after(one)
        told(standing)
        errors = errors + 1 if one.verdict is Verdict.ERROR else 0
        if errors >= ERRORS_IN_A_ROW:
            return standing, End.ERROR
    return standing, end


def replayed(of_arm: Mapping[Arm, Sequence[Made]]) -> Standing:
    """Return where a comparison stood that was broken off at any point, from the attempts it left: turns follow from them.

    of_arm: by number, from 1. What lies behind a number that is missing was made in another order and is not taken.
    """
    standing = Standing()
    while True:
        arm = standing.next_arm
        number = standing.next_number(arm)
        following = next((one for one in of_arm[arm] if one.number == number), None)
        if following is None:
            return standing
        standing = standing.after(following)


def verdict_of(result: AttemptResult, findings: Collection[str]) -> Verdict:
    """Return what an attempt says of the fault in question. findings: ids that are it; none: any failure is.

    A failure of another kind says that the fault was not there only if the build came as far as the fault would have shown.
    """
    if result.failed() is None:
        return Verdict.ERROR
    if any(result.failed(finding) for finding in findings or ("",)):
        return Verdict.FAILED
    if any(covers(gap.check, finding) for gap in result.not_applicable if not gap.natural for finding in findings):
        return Verdict.OTHER
    if result.outcome is Outcome.PASS:
        return Verdict.SOUND
    at_boot = any(covers(BOOT, finding) for finding in findings)
    if any(not step.ok for step in result.steps if at_boot or not step.name.startswith(BOOT)):
        return Verdict.OTHER
    broken = at_boot and any(covers(BOOT, finding) for finding in decided_by(result))
    return Verdict.OTHER if broken else Verdict.SOUND


def covers(check: str, finding: str) -> bool:
    """Whether a finding is of this check, which is named by its family or by the finding itself."""
    return finding == check or finding.startswith(f"{check}.")


def decided_by(result: AttemptResult) -> frozenset[str]:
    """Return the ids of the findings that made an attempt fail."""
    told = (one for finding in result.findings for one in (finding, *finding.joined))
    return frozenset(one.id for one in told if one.decides)
