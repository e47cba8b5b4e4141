"""What a bisection will take, by simulation: `lab bisect simulate`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lab.errors import UsageError
from lab.plan import simulate
from lab.plan.search import Costs
from lab.plan.simulate import Scene

COMMITS_AT_MOST = 16_384
RUNS_AT_MOST = 1_000_000
RATES = (0.01, 1.0)
JOBS_AT_MOST = 64


def simulated(scene: Scene, runs: int, seed: int) -> dict[str, Any]:
    """Return the scene and the means over the runs; ready for JSON. Raises UsageError for a scene that makes no sense."""
    check(scene, runs)
    told = {**asdict(scene), "build_cost": scene.costs.build, "test_cost": scene.costs.test}
    del told["costs"]
    return {**told, "runs": runs, "seed": seed, **simulate.means(scene, runs, seed)}


def scene_of(build_cost: float, test_cost: float, **rest: Any) -> Scene:
    """Return a scene with its costs. Raises UsageError for costs that make no sense."""
    if not 0.0 <= build_cost < 1e9 or not 0.0 < test_cost < 1e9:
        raise UsageError(
            f"no costs: --build-cost {build_cost:g}, --test-cost {test_cost:g}",
            hint="where every test is a build: --build-cost 0, and --test-cost what a build takes",
        )
    return Scene(costs=Costs(build=build_cost, test=test_cost), **rest)


def check(scene: Scene, runs: int) -> None:
    """Raise UsageError for a scene that makes no sense."""
    low, high = RATES
    wrong = {
        f"--commits must be from 2 to {COMMITS_AT_MOST}": not 2 <= scene.commits <= COMMITS_AT_MOST,
        f"--fail-rate must be from {low:g} to {high:g}": not low <= scene.fail_rate <= high,
        "--false-positives must be less than half of --fail-rate": not 0 <= 2 * scene.false_positives < scene.fail_rate,
        "--skips must be from 0 to 0.9": not 0.0 <= scene.skips <= 0.9,
        "--merges must be at most a quarter of --commits": not 0 <= 4 * scene.merges <= scene.commits,
        f"--jobs must be from 1 to {JOBS_AT_MOST}": not 1 <= scene.jobs <= JOBS_AT_MOST,
        "--confidence must be from 0.5 to 0.9999": not 0.5 <= scene.confidence <= 0.9999,
        f"--runs must be from 1 to {RUNS_AT_MOST}": not 1 <= runs <= RUNS_AT_MOST,
    }
    if sentences := [sentence for sentence, is_so in wrong.items() if is_so]:
        raise UsageError("; ".join(sentences))
