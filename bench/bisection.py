#!/usr/bin/env python3
"""The search of `lab bisect` on synthetic histories, with git_bayesect beside it: tests, builds and how often it is right.

    .venv/bin/python bench/bisection.py [--runs 2000] [--others 200] [--commits 1024] [--only frontier|noise|others|workers]

frontier: a line of commits, the rate unknown to the search, for several prices of a build in tests. noise: with false
positives (known to the search), commits that do not build, and merges. workers: several at once. others: git_bayesect 1.2
(PyPI, `pip install git_bayesect`) on the same line, told as much as ours: the tests of the bad end are recorded before it
begins, and it stops at the same confidence; it knows no price, takes the commit that its own select() names, one test at a
time, and a build is counted for each commit that it had not tested. Left out if it is not installed. Tables are Markdown.

tests and builds: the search's own, mean; end: tests of the bad end before. right: share of the runs whose answer holds the
culprit and could not be narrower. Shannon: log2(commits) over the capacity of the Z channel of this rate: the least tests that
there can be. (The file is not called bisect.py, as scripts beside it could not import Python's own module of that name then.)
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from lab.plan import search, simulate
from lab.plan.posterior import Count
from lab.plan.search import Costs
from lab.plan.simulate import Scene

try:
    import git_bayesect
except ImportError:
    git_bayesect = None

RATES = (1.0, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1)
PRICES = (0.0, 1.0, 5.0, 10.0, 100.0)
NOISE = {"false_positives": 0.01, "skips": 0.2, "merges": 60}
SEED = 1


def shannon(commits: int, rate: float) -> float:
    """Return the tests that no search can do with less of, in the mean."""

    def entropy(chance: float) -> float:
        return -sum(part * math.log2(part) for part in (chance, 1 - chance) if part > 0)

    best = minimize_scalar(
        lambda bad: bad * entropy(rate) - entropy(bad * rate), bounds=(1e-6, 1 - 1e-6), method="bounded"
    )
    return math.log2(commits) / -best.fun


def frontier(scene: Scene, runs: int) -> Iterator[str]:
    """Yield the table of rates and prices."""
    yield "| rate | build = … tests | tests | builds | end | right | Shannon |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for rate in RATES:
        for price in PRICES:
            told = simulate.means(replace(scene, fail_rate=rate, costs=Costs(build=price, test=1.0)), runs, SEED)
            least = f"{shannon(scene.commits, rate):.0f}"
            yield f"| {rate:g} | {price:g} | {row(told)} | {least} |"


def row(told: dict[str, Any]) -> str:
    """Return the columns that all tables share."""
    return f"{told['tests']:.1f} | {told['builds']:.1f} | {told['end_tests']:.1f} | {100 * told['correct']:.1f} %"


def noise(scene: Scene, runs: int) -> Iterator[str]:
    """Yield the table with false positives, skips and merges."""
    yield "| rate | tests | builds | end | right | commits in the answer |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    for rate in (1.0, 0.5, 0.3, 0.1):
        told = simulate.means(replace(scene, fail_rate=rate, costs=Costs(build=5.0, test=1.0), **NOISE), runs, SEED)
        yield f"| {rate:g} | {row(told)} | {told['commits_left']:.2f} |"


def workers(scene: Scene, runs: int) -> Iterator[str]:
    """Yield the table of workers."""
    yield "| rate | workers | tests | builds | end | right | elapsed, in tests |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for rate in (1.0, 0.3):
        for jobs in (1, 2, 4, 8):
            wanted = replace(scene, fail_rate=rate, jobs=jobs, costs=Costs(build=5.0, test=1.0))
            told = simulate.means(wanted, runs, SEED)
            yield f"| {rate:g} | {jobs} | {row(told)} | {told['elapsed']:.0f} |"


def others(scene: Scene, runs: int) -> Iterator[str]:
    """Yield the table of git_bayesect."""
    if git_bayesect is None:
        yield "git_bayesect is not installed"
        return
    yield "| rate | tests | builds | end | right |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    for rate in (1.0, 0.5, 0.3, 0.1):
        seen = np.array([bayesect(scene, rate, np.random.default_rng([SEED, number])) for number in range(runs)])
        tests, builds, end, right = seen.mean(axis=0)
        yield f"| {rate:g} | {tests:.1f} | {builds:.1f} | {end:.1f} | {100 * right:.1f} % |"


def bayesect(scene: Scene, rate: float, random: np.random.Generator) -> tuple[int, int, int, bool]:
    """Return tests, builds, tests of the bad end, and whether it was right. Its commit 0 is the newest one."""
    culprit = int(random.integers(scene.commits))  # 0: only the newest commit has the fault
    bisector = git_bayesect.Bisector(np.ones(scene.commits))
    end, tests, built = Count(), 0, set()
    while not search.measured(end, Costs(build=5.0, test=1.0)):
        failed = bool(random.random() < rate)
        end = end.plus(int(failed), 1)
        bisector.record(0, failed)
    while bisector.distribution.max() < scene.confidence and tests < simulate.TESTS_AT_MOST:
        commit = bisector.select()
        built.add(commit)
        tests += 1
        bisector.record(commit, bool(random.random() < (rate if commit <= culprit else 0.0)))
    return tests, len(built - {0}), end.tests, int(bisector.distribution.argmax()) == culprit


TABLES = {"frontier": frontier, "noise": noise, "workers": workers}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--others", type=int, default=200, help="runs of git_bayesect, which takes longer")
    parser.add_argument("--commits", type=int, default=1024)
    parser.add_argument("--only", choices=[*TABLES, "others"])
    asked = parser.parse_args()
    scene = Scene(commits=asked.commits)
    for name, table in TABLES.items():
        if asked.only in (None, name):
            print(f"\n{name}: {asked.commits} commits, {asked.runs} runs, confidence {scene.confidence}\n")
            for line in table(scene, asked.runs):
                print(line, flush=True)
    if asked.only in (None, "others"):
        print(f"\ngit_bayesect: {asked.commits} commits, {asked.others} runs, confidence {scene.confidence}\n")
        for line in others(scene, asked.others):
            print(line, flush=True)


if __name__ == "__main__":
    main()
