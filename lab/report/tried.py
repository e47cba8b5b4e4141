"""A comparison of a cell without and with a patch, in words and as the JSON contract of `lab try`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from lab.model import Result
from lab.report.document import SCHEMA_VERSION, cell_document, rate_document
from lab.report.plain import duration, one_line
from lab.results.store import RunFacts
from lab.results.trials import Trial
from lab.results.verdict import interval_words

NOT_COUNTED_AT_MOST = 12
ENDS = {
    "mends": "the patch mends",
    "does-not-mend": "the patch does not mend",
    "pairs": "not decided after {pairs}",
    "budget": "not decided when the budget was used up",
    "other-failures": "cannot be judged: too many attempts failed for another reason",
    "errors": "not decided: the lab is in trouble",
    "interrupted": "interrupted, not decided",
}
CAVEAT = "the answer is the sequential test's; p is right for numbers that were fixed beforehand, and these were not"


def final_words(trial: Trial) -> str:
    """Return the outcome in one line: both rates, the answer, and what it rests on."""
    if trial.without.trials == 0:
        return f"no pair was made: {_end(trial)}"
    said = f"{arms_words(trial)}: {_end(trial)}"
    odds = f"{odds_words(trial.against_no_effect)} against no effect"
    if trial.ended == "does-not-mend":
        odds = f"{odds_words(trial.against_effect)} against an effect"
    p_value = f"p = {trial.p_value:.2g} (Fisher, one-sided), " if trial.p_value is not None else ""
    asked = trial.asked
    return f"{said}; {p_value}{odds}; error rates {asked.no_effect * 100:g} % and {asked.missed * 100:g} %"


def _end(trial: Trial) -> str:
    return ENDS.get(trial.ended, "under way").format(pairs=pairs_words(len(trial.pairs)))


def arms_words(trial: Trial) -> str:
    """Return both rates: "without 9/20 (26 to 66 %), with 0/20 (0 to 16 %)"."""
    arms = (("without", trial.without), ("with", trial.with_patch))
    told = ((arm, rate, interval_words(rate, amplified=bool(trial.asked.amplified))) for arm, rate in arms)
    return ", ".join(f"{arm} {rate.failures}/{rate.trials} ({interval})" for arm, rate, interval in told)


def odds_words(stakes: float) -> str:
    """Return how many times the stakes a bettor has: "412 to 1", "1 to 8"."""
    if stakes >= 1:
        return f"{stakes:.0f} to 1" if stakes < 1e6 else f"{stakes:.0e} to 1"
    return f"1 to {min(1 / max(stakes, 1e-9), 1e9):.0f}"


def pairs_words(number: int) -> str:
    """Return "1 pair", "20 pairs"."""
    return f"{number} pair{'' if number == 1 else 's'}"


def further_words(trial: Trial) -> Iterator[str]:
    """Yield a line for all else that is to be known of the outcome."""
    asked = trial.asked
    what = f"one of {', '.join(asked.findings)}" if len(asked.findings) > 1 else "".join(asked.findings)
    yield f"in question: {what or 'any failure'}, in {asked.cell}, with {', '.join(name for name, _ in asked.patches)}"
    if asked.amplified:
        yield f"amplified ({asked.amplified}): these are not natural rates"
    if trial.ended in ("pairs", "budget", "errors", "interrupted"):
        yield undecided_words(trial)
    if trial.p_value is not None and trial.decided:
        yield CAVEAT
    for one in trial.not_counted[:NOT_COUNTED_AT_MOST]:
        yield f"not counted: {one.arm} {one.number}, {one.verdict.replace('other', 'other failure')}: {one.reason}"
    if len(trial.not_counted) > NOT_COUNTED_AT_MOST:
        yield f"not counted: … and {len(trial.not_counted) - NOT_COUNTED_AT_MOST} more"


def undecided_words(trial: Trial) -> str:
    """Return what it would take to decide."""
    if not trial.without.failures and not trial.with_patch.failures:
        most = f"its rate without the patch is at most {trial.without.high * 100:.0f} %"
        return f"nothing failed, so that there is nothing to mend yet: {most}"
    if trial.more_pairs is None:
        return "at these rates more than a thousand pairs would not decide it"
    time = f", some {duration(trial.more_pairs * trial.pair_s)}" if trial.pair_s else ""
    return f"at these rates about {pairs_words(trial.more_pairs)} more would decide it{time}; --resume goes on"


def tried_text(trial: Trial, *, report: str = "") -> str:
    """Return the outcome, and where to read on."""
    lines = [final_words(trial), *(f"  {one_line(words)}" for words in further_words(trial))]
    return "\n".join([*lines, f"report: {one_line(report)}"] if report else lines)


def begin_words(pairs: int, pair_s: float, chances: Iterable[tuple[float, float, int]]) -> str:
    """Return what a budget buys. chances: (rate without the patch, probability that it is decided, median of pairs)."""
    known = f", of some {duration(pair_s)} each," if pair_s else ""
    told = ", ".join(chance_words(*one) for one in chances)
    return f"at most {pairs_words(pairs)}{known} decide, if the patch ends a fault that comes in {told}"


def chance_words(rate: float, decided: float, pairs: int) -> str:
    """Return what may be hoped of one rate: "25 % of builds: 98 of 100 times (after 19)"."""
    after = f" (after some {pairs})" if pairs else ""
    return f"{rate * 100:g} % of builds: {decided * 100:.0f} of 100 times{after}"


def pair_words(trial: Trial) -> str:
    """Return how the newest pair went, and where it stands."""
    last = trial.pairs[-1]
    failed = {True: "failed", False: "did not fail"}
    both = f"without {failed[last.without_failed]}, with {failed[last.with_patch_failed]}"
    odds = (
        f"{odds_words(trial.against_no_effect)} against no effect, {odds_words(trial.against_effect)} against an effect"
    )
    return f"pair {len(trial.pairs)}: {both}; {arms_words(trial)}; {odds}"


def prospect_words(pairs: int, decided: float, more_pairs: int | None) -> str:
    """Return whether the budget that is left will do. pairs: so many are left; decided: how probably they decide."""
    left = f"at these rates the {pairs_words(pairs)} that are left decide it {decided * 100:.0f} of 100 times"
    if decided >= 0.5:
        return left
    need = "more than a thousand" if more_pairs is None else f"about {more_pairs}"
    return f"the budget can hardly decide it: {left}; {need} would be needed"


def tried_document(
    trial: Trial, facts: RunFacts, results: Iterable[Result], *, folder: str, exit_code: int
) -> dict[str, Any]:
    """Return the contract of `lab try`: docs/json.md."""
    axes = {cell.id: dict(cell.axes) for cell in facts.cells}
    asked = trial.asked
    return {
        "schema_version": SCHEMA_VERSION,
        "exit_code": exit_code,
        "run": facts.run,
        "matrix": facts.matrix,
        "folder": folder,
        "ended": trial.ended,
        "words": final_words(trial),
        "findings": list(asked.findings),
        "patches": [{"name": name, "sha256": digest} for name, digest in asked.patches],
        "amplified": asked.amplified,
        "without": {"cell": asked.cell, "rate": rate_document(trial.without)},
        "with": {"cell": asked.with_patch, "rate": rate_document(trial.with_patch)},
        "p_value": trial.p_value,
        "against_no_effect": trial.against_no_effect,
        "against_effect": trial.against_effect,
        "error_rates": {"no_effect": asked.no_effect, "missed": asked.missed},
        "pairs": [asdict(pair) for pair in trial.pairs],
        "not_counted": [asdict(one) for one in trial.not_counted],
        "budget": {
            "pairs": trial.pairs_at_most,
            "seconds": trial.budget_s,
            "spent_s": trial.spent_s,
            "pair_s": trial.pair_s,
        },
        "more_pairs": trial.more_pairs,
        "cells": [cell_document(result, axes.get(result.cell, {})) for result in results],
    }
