"""Rates of intermittent faults, and the comparison of two of them. Pure: numbers in, numbers out.

A rate is k failures in n judged attempts; what can be said of the true one is Wilson's interval. Two arms are compared while
they run, one attempt of each in turn: compared() may be asked after every pair, and its error rates hold all the same, as it
bets (e-values) and does not count the looks.

Source: Wilson, JASA 22 (1927) 209; Turner, Ly, Grünwald, "Generic E-variables for exact sequential k-sample tests that allow
for optional stopping", JSPI 230 (2024); Ville's inequality for "at any time".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from scipy import optimize, stats

from lab.model import AttemptResult, Rate, Until

CONFIDENCE = 0.95
MENDED_TO = 0.2
"""What counts as mended: a rate of at most this part of the other arm's."""
RATES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 0.99)
PARTS = (0.0, 0.1)  # of the rate without, that the bettor believes is left with the patch
NEAR_ZERO = 1e-4


def rate(failures: int, trials: int, confidence: float = CONFIDENCE) -> Rate:
    """Return the rate with its interval. ValueError unless 0 <= failures <= trials and 0 < confidence < 1."""
    if not 0 <= failures <= trials or not 0.0 < confidence < 1.0:
        raise ValueError(f"no rate: {failures} of {trials} at {confidence}")
    if trials == 0:
        return Rate(failures=0, trials=0, low=0.0, high=1.0, confidence=confidence)
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    share = failures / trials
    middle = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low = 0.0 if failures == 0 else max(0.0, (middle - spread) / scale)
    high = 1.0 if failures == trials else min(1.0, (middle + spread) / scale)
    return Rate(failures=failures, trials=trials, low=low, high=high, confidence=confidence)


def narrow(seen: Rate, width: float) -> bool:
    """Whether to stop at this rate because its interval is at most so wide.

    It must be so for each true rate that the interval still allows: who stops as soon as the interval in hand is narrow stops
    at lucky moments, and a true rate of 0.3 is then outside one interval of 0.95 in ten (simulated, width 0.3).
    """
    likeliest_widest = min(max(0.5, seen.low), seen.high)
    return seen.width <= width and (
        rate(round(likeliest_widest * seen.trials), seen.trials, seen.confidence).width <= width
    )


def rate_of(attempts: Iterable[AttemptResult], finding: str = "", confidence: float = CONFIDENCE) -> Rate:
    """Return how often attempts failed, or found what is named; only those that were judged count."""
    judged = [failed for attempt in attempts if (failed := attempt.failed(finding)) is not None]
    return rate(sum(judged), len(judged), confidence)


def enough(until: Until, attempts: Iterable[AttemptResult]) -> bool:
    """Whether a cell has been executed often enough."""
    seen = rate_of(attempts, until.finding, until.confidence)
    if until.first_failure and seen.failures:
        return True
    return seen.trials > 0 and until.width > 0 and narrow(seen, until.width)


def attempts_for(width: float, confidence: float = CONFIDENCE) -> int:
    """Return how many attempts make the interval at most so wide whatever the rate is; 0 < width < 1."""
    if not 0.0 < width < 1.0:
        raise ValueError(f"no width of an interval: {width}")
    low, high = 0, 1
    while rate(round(high / 2), high, confidence).width > width:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if rate(round(middle / 2), middle, confidence).width <= width else (middle, high)
    return high


def attempts_to_see(share: float, confidence: float = CONFIDENCE) -> int:
    """Return how many attempts show a fault of this rate at least once with this probability; 0 < share <= 1."""
    if not 0.0 < share <= 1.0:
        raise ValueError(f"no rate: {share}")
    return 1 if share == 1.0 else max(1, math.ceil(math.log(1 - confidence) / math.log1p(-share)))


def fewer(without: Rate, with_patch: Rate) -> float:
    """Return the one-sided p-value of Fisher's exact test: that the second arm fails less often by chance alone.

    It is right for numbers that were fixed beforehand; while looking, ask compared().
    """
    table = [
        [without.failures, without.trials - without.failures],
        [with_patch.failures, with_patch.trials - with_patch.failures],
    ]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def changed(before: Rate, after: Rate) -> float:
    """Return the two-sided p-value of Fisher's exact test: that two rates differ so much by chance alone."""
    table = [[before.failures, before.trials - before.failures], [after.failures, after.trials - after.failures]]
    return float(stats.fisher_exact(table).pvalue)


# ------------------------------------------------------------------------------------------------- two arms, in turn


class Answer(StrEnum):
    """What a comparison of two arms says so far."""

    MENDS = "mends"  # the second arm fails less often
    DOES_NOT_MEND = "does-not-mend"  # it fails more than MENDED_TO times as often as the first
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Where a sequential test stands.

    pairs: (first arm failed, second arm failed) -> how often. against_no_effect: how many times the stakes a bettor has who
    did not believe that the patch has no effect; against_effect: of one who did not believe that it mends. Each is 1 at the
    beginning, and if what it bets against is true, reaches x at any time with a probability of at most 1/x.
    """

    answer: Answer
    against_no_effect: float
    against_effect: float
    pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """The error rates of a comparison. no_effect: of saying "mends" of a patch that does nothing. missed: of saying "does
    not mend" of one that leaves at most MENDED_TO of the rate."""

    no_effect: float = 0.05
    missed: float = 0.05


Pair = tuple[bool, bool]  # (the attempt without the patch failed, the one with it failed)
ERRORS = Errors()
OUTCOMES: tuple[Pair, ...] = ((False, False), (False, True), (True, False), (True, True))


def compared(pairs: Iterable[Pair], errors: Errors = ERRORS) -> Comparison:
    """Return where the comparison stands after these pairs, in any order; it may be asked after each of them."""
    return compared_counts(_counts(pairs), errors)


def _counts(pairs: Iterable[Pair]) -> np.ndarray:
    """Return how often each of OUTCOMES came."""
    counts = np.zeros(len(OUTCOMES))
    for pair in pairs:
        counts[OUTCOMES.index((bool(pair[0]), bool(pair[1])))] += 1
    return counts


def compared_counts(counts: Sequence[float] | np.ndarray, errors: Errors = ERRORS) -> Comparison:
    """Return the same of how often each of OUTCOMES came."""
    seen = np.asarray(counts, dtype=float)
    effect, none = _stakes()
    no_effect, mends = _wealth(effect @ seen), _wealth(none @ seen)
    answer = Answer.OPEN
    if no_effect >= 1 / errors.no_effect:
        answer = Answer.MENDS
    elif mends >= 1 / errors.missed:
        answer = Answer.DOES_NOT_MEND
    return Comparison(answer=answer, against_no_effect=no_effect, against_effect=mends, pairs=int(seen.sum()))


def _wealth(logarithms: np.ndarray) -> float:
    """Return the mean wealth of bettors that each began with 1 (a mixture of e-processes is one)."""
    return float(np.exp(np.logaddexp.reduce(logarithms) - math.log(len(logarithms))))


@cache
def _stakes() -> tuple[np.ndarray, np.ndarray]:
    """Return the bets as logarithms of e-values, a row for each bettor, a column for each of OUTCOMES.

    The first bet against "the second arm fails at least as often", the second against "at most MENDED_TO times as often".
    """
    mending = [(one, max(one * part, NEAR_ZERO)) for one in RATES for part in PARTS]
    useless = [(one, one * part) for one in RATES for part in (1.0, 0.6)]
    against_none = [_bet(one, other, 1.0) for one, other in mending]
    against_effect = [_bet(one, other, MENDED_TO) for one, other in useless]
    return np.log(np.array(against_none)), np.log(np.array(against_effect))


def _bet(first: float, second: float, part: float) -> list[float]:
    """Return the e-value of each of OUTCOMES: likelihood of (first, second) over that of the nearest point of the null.

    The null is one side of the line second = part * first, a convex set; the nearest point, by Kullback-Leibler, lies on it.
    """
    believed = _likelihood(first, second)

    def divergence(at: float) -> float:
        return -float(believed @ np.log(_likelihood(at, part * at)))

    nearest = optimize.minimize_scalar(divergence, bounds=(1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-10})
    return list(believed / _likelihood(float(nearest.x), part * float(nearest.x)))


def _likelihood(first: float, second: float) -> np.ndarray:
    """Return the probability of each of OUTCOMES."""
    one, other = (1 - first, first), (1 - second, second)
    return np.array([one[failed] * other[failed_too] for failed, failed_too in OUTCOMES])


def fewest_pairs(errors: Errors = ERRORS) -> int:
    """Return the number of pairs below which no outcome of them decides."""
    likes = np.eye(len(OUTCOMES))
    pairs = 1
    while all(compared_counts(pairs * one, errors).answer is Answer.OPEN for one in likes):
        pairs += 1
    return pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What a budget buys. decided: the probability that so many pairs decide; pairs: the median number that it takes, if it
    does within them, else 0."""

    decided: float
    pairs: int


def prospect(
    without: float,
    with_patch: float,
    budget: int,
    errors: Errors = ERRORS,
    *,
    seen: Iterable[Pair] = (),
    runs: int = 400,
    seed: int = 0,
) -> Prospect:
    """Return what comes of comparing arms of these rates with at most `budget` pairs, by simulation.

    seen: pairs that were made already and did not decide; the budget is what comes on top of them.
    """
    random = np.random.default_rng(seed)
    effect, none = _stakes()
    first, second = random.random((runs, budget)) < without, random.random((runs, budget)) < with_patch
    outcomes = first * 2 + second  # an index into OUTCOMES
    before = _counts(seen)
    open_ones, ended = np.ones(runs, dtype=bool), np.zeros(runs, dtype=int)
    bets, counter = np.tile(effect @ before, (runs, 1)), np.tile(none @ before, (runs, 1))
    for at in range(budget):
        bets += effect.T[outcomes[:, at]]
        counter += none.T[outcomes[:, at]]
        wealth = np.logaddexp.reduce(bets, axis=1) - math.log(len(effect))
        other = np.logaddexp.reduce(counter, axis=1) - math.log(len(none))
        over = open_ones & ((wealth >= -math.log(errors.no_effect)) | (other >= -math.log(errors.missed)))
        ended[over] = at + 1
        open_ones &= ~over
        if not open_ones.any():
            break
    decided = ended[ended > 0]
    return Prospect(decided=len(decided) / runs, pairs=int(np.median(decided)) if len(decided) else 0)
