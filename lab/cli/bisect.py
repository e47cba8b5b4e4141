"""`lab bisect`: which commit brought a fault in that shows itself only sometimes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lab.cli.plumbing import AsJson, emit
from lab.use import simulate

app = typer.Typer(
    name="bisect",
    help="Find the commit that brought a fault in, also one that shows itself only sometimes.",
    no_args_is_help=True,
)


@app.command("simulate")
def simulate_command(
    commits: Annotated[int, typer.Option(metavar="N", help="commits between the ends")] = 1024,
    fail_rate: Annotated[float, typer.Option(metavar="P", help="how often a commit with the fault fails")] = 1.0,
    build_cost: Annotated[float, typer.Option(metavar="B", help="what a build costs, in any unit")] = 300.0,
    test_cost: Annotated[float, typer.Option(metavar="T", help="what a test of a built commit costs")] = 60.0,
    runs: Annotated[int, typer.Option(metavar="R", help="bisections")] = 200,
    false_positives: Annotated[
        float, typer.Option(metavar="F", help="how often a commit without the fault fails; known to the search")
    ] = 0.0,
    skips: Annotated[float, typer.Option(metavar="S", help="share of the commits that do not build")] = 0.0,
    merges: Annotated[int, typer.Option(metavar="M", help="merges of side branches")] = 0,
    jobs: Annotated[int, typer.Option(metavar="N", help="workers")] = 1,
    confidence: Annotated[float, typer.Option(metavar="C", help="when to stop")] = 0.98,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="the same numbers again")] = 1,
    as_json: AsJson = False,
) -> None:
    """Bisect synthetic histories with the search of `lab bisect`: tests, builds, cost and how often it is right, as means.

    The rate is not known to the search. tests and builds are the search's own; end_tests are those of the bad end before it.
    """
    scene = simulate.scene_of(
        build_cost, test_cost, commits=commits, fail_rate=fail_rate, false_positives=false_positives, skips=skips,
        merges=merges, jobs=jobs, confidence=confidence,
    )  # fmt: skip
    told = simulate.simulated(scene, runs, seed)
    emit(told, simulated_words(told), as_json=as_json)


def simulated_words(told: dict[str, Any]) -> str:
    """Return the means for people."""
    return "\n".join(
        (
            f"{told['runs']} bisections of {told['commits']} commits, failing {told['fail_rate']:g} of the time",
            f"  tests    {told['tests']:8.1f}   and {told['end_tests']:.1f} of the bad end before",
            f"  builds   {told['builds']:8.1f}",
            f"  cost     {told['cost']:8.1f}   and {told['end_cost']:.1f} of the bad end",
            f"  elapsed  {told['elapsed']:8.1f}   with {told['jobs']} worker{'s' if told['jobs'] > 1 else ''}",
            f"  right    {100 * told['correct']:8.1f} %",
        )
    )
