"""The search on synthetic histories: what a bisection will take, how often it is right. Pure; randomness comes with a seed."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from lab.plan import search
from lab.plan.history import Bools, Floats, History, history, line
from lab.plan.posterior import Count, Posterior, faults, unknown
from lab.plan.search import Costs, Ending, Known, Step

TESTS_AT_MOST = 20_000  # of one run: then it is unresolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is simulated. fail_rate: of a commit that has the fault. false_positives: failure rate of one that has not.

    skips: share of the commits that turn out not to build, each for itself; the bad end builds. merges: of a side branch each.
    """

    commits: int = 1024
    fail_rate: float = 1.0
    false_positives: float = 0.0
    skips: float = 0.0
    merges: int = 0
    jobs: int = 1
    confidence: float = search.CONFIDENCE
    costs: Costs = Costs(build=300.0, test=60.0)  # noqa: RUF009 - it is frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One bisection. tests, builds: of the search. end: tests of the bad end before it. left: commits of the answer.

    correct: whether the culprit is among them and no test could part them further. elapsed: from the first test to the answer.
    """

    tests: int
    builds: int
    end: Count
    ending: Ending
    left: int
    correct: bool
    elapsed: float


def synthetic(commits: int, merges: int, random: np.random.Generator) -> History:
    """Return a history with so many merges, each of a side branch that left the main line earlier. ValueError if too many."""
    if merges == 0:
        return line(commits)
    if merges < 0 or 2 * merges > commits - 2:
        raise ValueError(f"{merges} merges do not fit into {commits} commits")
    places = set(random.choice(np.arange(1, commits), 2 * merges, replace=False).tolist())
    parents: list[tuple[int, ...]] = [()]
    tips, left = [0], merges  # tips[0]: the main line
    for number in range(1, commits):
        at = 0 if number == commits - 1 else int(random.integers(len(tips)))
        if number not in places:
            parents.append((tips[at],))
            tips[at] = number
        elif left and (len(tips) == 1 or random.random() < 0.5):
            parents.append((tips[0],))
            tips.append(number)
            left -= 1
        else:
            parents.append((tips[0], tips.pop(1 + int(random.integers(len(tips) - 1)))))
            tips[0] = number
    return history(parents)


def simulated(scene: Scene, random: np.random.Generator) -> Run:
    """Return one bisection of a history whose culprit is drawn evenly."""
    commits = synthetic(scene.commits, scene.merges, random)
    culprit = int(random.integers(commits.size))
    skipped = random.random(commits.size) < scene.skips
    skipped[commits.bad] = False
    posterior = unknown(commits, faults(scene.false_positives))
    end = Count()
    while not search.measured(end, scene.costs) and end.tests < TESTS_AT_MOST:
        end = end.plus(int(random.random() < scene.fail_rate), 1)
    posterior = posterior.after(commits.bad, end.failures, end.tests)
    rates = np.where(commits.descendants(culprit), scene.fail_rate, scene.false_positives)
    return _searched(scene, Under(posterior=posterior, rates=rates, unbuildable=skipped), culprit, end, random)


@dataclass(slots=True, kw_only=True)
class Under:
    """A simulated bisection under way. rates: how often each commit really fails; unbuildable: which cannot be built."""

    posterior: Posterior
    rates: Floats
    unbuildable: Bools
    built: set[int] = field(default_factory=set)
    skipped: set[int] = field(default_factory=set)
    working: list[tuple[float, int, Step, int, int]] = field(default_factory=list)
    tests: int = 0
    builds: int = 0
    now: float = 0.0

    @property
    def known(self) -> Known:
        """What a next step may build on."""
        building = {step.commit for _, _, step, _, _ in self.working if step.build}
        return Known(
            built=self.built,
            skipped=self.skipped,
            reserved=building,
            pending=tuple(step for _, _, step, _, _ in self.working),
        )

    def begin(self, step: Step, costs: Costs, random: np.random.Generator) -> None:
        """Have a worker do a step; what it will see is drawn now and told when it ends."""
        self.builds += step.build
        fails = random.random(step.tests) < self.rates[step.commit]
        failed = bool(fails.any())
        tests = 0 if self.unbuildable[step.commit] else int(fails.argmax()) + 1 if failed else step.tests
        ends = self.now + costs.of(step.build, tests)
        heapq.heappush(self.working, (ends, self.builds + self.tests, step, int(failed), tests))
        self.tests += tests

    def end(self) -> bool:
        """Take what the first worker to end has seen; returns whether a commit turned out not to be testable."""
        self.now, _, step, failures, tests = heapq.heappop(self.working)
        if not tests:
            self.skipped.add(step.commit)
            return True
        self.built.add(step.commit)
        self.posterior = self.posterior.after(step.commit, failures, tests)
        return False


def _searched(scene: Scene, under: Under, culprit: int, end: Count, random: np.random.Generator) -> Run:
    groups = under.posterior.history.alike(())
    while not search.settled(under.posterior, groups, scene.confidence) and under.tests < TESTS_AT_MOST:
        while len(under.working) < scene.jobs:
            step = search.next_step(under.posterior, scene.costs, under.known)
            if step is None:
                break
            under.begin(step, scene.costs, random)
        if not under.working:
            break
        if under.end():
            groups = under.posterior.history.alike(under.skipped)
    answer = search.answer(under.posterior, groups, scene.confidence)
    return Run(
        tests=under.tests,
        builds=under.builds,
        end=end,
        ending=answer.ending,
        left=len(answer.commits),
        correct=answer.ending is Ending.CULPRIT and culprit in answer.commits,
        elapsed=under.now,
    )


def means(scene: Scene, runs: int, seed: int) -> dict[str, float | dict[str, int]]:
    """Return the means over so many runs; ready for JSON. cost: of the search. end_cost: of the bad end, its build included."""
    seen = [simulated(scene, np.random.default_rng([seed, number])) for number in range(runs)]

    def mean(values: list[float]) -> float:
        return round(float(np.mean(values)), 4)

    tests, builds = mean([one.tests for one in seen]), mean([one.builds for one in seen])
    end = mean([one.end.tests for one in seen])
    return {
        "tests": tests,
        "builds": builds,
        "correct": mean([one.correct for one in seen]),
        "cost": round(scene.costs.of(builds, tests), 3),
        "elapsed": mean([one.elapsed for one in seen]),
        "end_tests": end,
        "end_cost": round(scene.costs.of(1, end), 3),
        "all_tests": round(tests + end, 4),
        "commits_left": mean([one.left for one in seen]),
        "tests_90": round(float(np.quantile([one.tests for one in seen], 0.9)), 1),
        "builds_90": round(float(np.quantile([one.builds for one in seen], 0.9)), 1),
        "endings": dict(Counter(str(one.ending) for one in seen)),
    }
