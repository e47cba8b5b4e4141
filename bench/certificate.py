#!/usr/bin/env python3
"""Hold the certificates of builds against what became of these builds: does one watched build tell the rate of a hundred?

    .venv/bin/lab run matrices/rates.yaml
    .venv/bin/python bench/certificate.py results/latest [--finding modpost.undefined]

For each cell of a run: the attempts in which the finding was there, with Wilson's interval, and beside it the mean of the
shares that the cell's own certificates give for its own granularity, one a build. Whether the two agree is told by the
probability of a count at least as far from its expectation, were every build lost with the share that its certificate says
(Poisson binomial, two-sided). Then the mean share of each cell's builds for whole seconds, also where times are fine and
nothing is lost.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lab.model import AttemptResult
from lab.plan.statistics import rate
from lab.results import store
from lab.results.disk import attempt_folders

SECOND_NS = 10**9


def attempts(cell: Path) -> list[AttemptResult]:
    """Return the attempts of a cell's folder that were judged."""
    read = (store.read(AttemptResult, path / "result.json") for _, path in attempt_folders(cell))
    return [one for one in read if one is not None and one.failed() is not None]


def share(attempt: AttemptResult, granularity_ns: int) -> float | None:
    """Return the share of clock phases that the build's certificate gives, None if it has none."""
    for finding in attempt.findings:
        if finding.id == "timestamps.certificate":
            rows = {row["granularity_ns"]: row["share"] for row in finding.data["lines"]}
            near = min(rows, key=lambda one: abs(one - granularity_ns))
            return float(rows[near])
    return None


def as_far(shares: Sequence[float], count: int) -> float:
    """Return the probability of a count at least as far from the sum of the shares."""
    chances = np.ones(1)
    for one in shares:
        chances = np.convolve(chances, [1 - one, one])
    counts, mean = np.arange(len(chances)), sum(shares)
    return float(chances[np.abs(counts - mean) >= abs(count - mean) - 1e-9].sum())


def main() -> None:
    """Print a line for each cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--finding", default="modpost.undefined")
    options = parser.parse_args()
    for cell in sorted(path for path in options.run.iterdir() if path.is_dir()):
        known = [(one, share(one, int(one.facts["granularity_ns"]))) for one in attempts(cell)]
        pairs = [(one, told) for one, told in known if told is not None]
        if not pairs:
            print(f"{cell.name}: no certificate")
            continue
        shares, hits = [told for _, told in pairs], sum(options.finding in one.found() for one, _ in pairs)
        seen = rate(hits, len(pairs))
        at_second = [told for one, _ in pairs if (told := share(one, SECOND_NS)) is not None]
        print(
            f"{cell.name}: {options.finding} {hits}/{len(pairs)} = {hits / len(pairs):.0%} "
            f"({seen.low:.0%} to {seen.high:.0%}); "
            f"its certificates say {statistics.mean(shares):.0%}, p = {as_far(shares, hits):.2f}; "
            f"with times of 1 s {statistics.mean(at_second):.0%} ({min(at_second):.0%} to {max(at_second):.0%})"
        )


if __name__ == "__main__":
    main()
