#!/usr/bin/env python3
"""How often the comparison of nights claims a change where there is none, and how soon it claims a real one.

    .venv/bin/python bench/comparison.py [--stories 300] [--nights 14]

A fault with one true rate, so many attempts each night: the share of mornings with a claim (rate rose or fell, new, fixed), and
of stories with any. Then a fault that comes for good after ten nights: the median number of mornings until it is claimed, and
the same where its first night adds four attempts, as `lab nightly` does.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from lab.model import Outcome
from lab.results.comparison import Change, Fault, Observed, comparison
from lab.results.signature import Signature

SIGNATURE = Signature(id="modpost.undefined", title="'x' is undefined")


def night(failures: int, trials: int) -> dict[str, Observed]:
    faults = (Fault(signature=SIGNATURE, attempts=failures),) if failures else ()
    outcome = Outcome.FAIL if failures else Outcome.PASS
    return {"cell": Observed(cell="cell", outcome=outcome, reason="", judged=trials, faults=faults)}


def false_claims(random: np.random.Generator, share: float, attempts: int, nights: int) -> int:
    days = [night(int((random.random(attempts) < share).sum()), attempts) for _ in range(nights)]
    claims = 0
    for at in range(1, nights):
        claims += any(one.rate_changed for one in comparison(days[:at], days[at]).differences)
    return claims


def mornings(random: np.random.Generator, share: float, more: int) -> int:
    days = [night(0, 1) for _ in range(10)]
    for at in range(1, 200):
        failures, trials = int(random.random() < share), 1
        if failures and at == 1:
            failures, trials = failures + int((random.random(more) < share).sum()), trials + more
        tonight = night(failures, trials)
        if any(one.change is Change.NEW or one.rate_changed > 0 for one in comparison(days, tonight).differences):
            return at
        days.append(tonight)
    return 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stories", type=int, default=300)
    parser.add_argument("--nights", type=int, default=14)
    options = parser.parse_args()
    random = np.random.default_rng(11)
    for share in (0.05, 0.1, 0.3, 0.5, 0.8):
        for attempts in (1, 5):
            claims = [false_claims(random, share, attempts, options.nights) for _ in range(options.stories)]
            morning = sum(claims) / options.stories / (options.nights - 1)
            story = sum(map(bool, claims)) / options.stories
            print(
                f"true rate {share:4}  {attempts} a night: false claims in {morning:.2%} of mornings, {story:.1%} of stories"
            )
    for share in (1.0, 0.5):
        for more in (0, 4):
            seen = statistics.median(mornings(random, share, more) for _ in range(options.stories))
            print(f"comes with rate {share}, {more} more attempts: claimed on morning {seen:g}")


if __name__ == "__main__":
    main()
