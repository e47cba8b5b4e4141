"""`lab bisect`: which commit brought a fault in that shows itself only sometimes."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.cli import fleet
from lab.cli.ending import interrupt_once
from lab.cli.plumbing import Accel, AsJson, colour, emit, load_tables, only, settings, shown
from lab.cli.trials import checked_ids
from lab.errors import UsageError
from lab.matrix.backports import read as read_backports
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.report import bisected, live
from lab.settings import seconds_of
from lab.use import bisect, session, simulate

JOBS_AT_MOST = 64
app = typer.Typer(
    name="bisect",
    invoke_without_command=True,
)
Run = Annotated[str, typer.Argument(metavar="[RUN]", help="its name under results/; default: the newest bisection")]


CellOfMatrix = Annotated[
    str, typer.Option("--cell", "-c", metavar="MATRIX:CELL", help="a matrix file and one of its cells")
]
Git = Annotated[str, typer.Option("--git", metavar="REPO", help="a repository on this machine")]
Good = Annotated[str, typer.Option("--good", metavar="REV", help="the older end")]
Bad = Annotated[str, typer.Option("--bad", metavar="REV", help="the newer end")]
Finding = Annotated[
    list[str] | None,
    typer.Option(
        "--finding",
        metavar="ID[@FILE]",
        help="the fault, where it was blamed on if need be (repeatable); default: what the cell expects, or any failure",
    ),
]
Budget = Annotated[str, typer.Option("--budget", metavar="4h", help="how long it may take (s m h d w)")]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", metavar="N", min=1, max=JOBS_AT_MOST, help="tests at once, here or on a fleet")
]
Confidence = Annotated[float, typer.Option(metavar="C", help="when to stop")]
FalsePositives = Annotated[float, typer.Option(metavar="F", help="how often a commit without the fault fails")]
Term = Annotated[
    list[str] | None,
    typer.Option("--term", metavar="old=… new=…", help="words for the ends; with new=fixed the fix is looked for"),
]
TermOld = Annotated[str, typer.Option("--term-old", metavar="WORD", help="the same, for the older end")]
TermNew = Annotated[str, typer.Option("--term-new", metavar="WORD", help="the same, for the newer end")]
Paths = Annotated[
    list[str] | None, typer.Option("--paths", metavar="PATH", help="only commits that touch it (repeatable)")
]
Likely = Annotated[
    list[str] | None,
    typer.Option("--likely", metavar="PATH", help="commits that touch it are likelier (repeatable)"),
]
FirstParent = Annotated[bool, typer.Option("--first-parent", help="follow only the first parent of merges")]
Backports = Annotated[
    Path | None,
    typer.Option("--backports", metavar="FILE", help="a table of patches that make commits testable (docs/bisect.md)"),
]
Incremental = Annotated[
    bool,
    typer.Option("--incremental", help="while it searches, build each commit on top of the last one (docs/bisect.md)"),
]
Resume = Annotated[bool, typer.Option("--resume", help="go on with the latest bisection of just this")]
How = Annotated[Accel, typer.Option(help="how guests run; auto: KVM where a guest was seen to run")]


@app.callback()
def bisect_command(
    context: typer.Context,
    cell: CellOfMatrix = "",
    git: Git = "",
    good: Good = "",
    bad: Bad = "",
    finding: Finding = None,
    budget: Budget = "4h",
    jobs: Jobs = 1,
    confidence: Confidence = 0.98,
    false_positives: FalsePositives = 0.0,
    term: Term = None,
    term_old: TermOld = "",
    term_new: TermNew = "",
    paths: Paths = None,
    likely: Likely = None,
    first_parent: FirstParent = False,
    backports: Backports = None,
    incremental: Incremental = False,
    resume: Resume = False,
    accel: How = Accel.AUTO,
    on: fleet.On = "",
    depot: fleet.Depot = "",
    as_json: AsJson = False,
) -> None:
    """Find the commit that brought a fault in, also one that shows itself only sometimes (docs/bisect.md).

    Exits 0 if it is found, 125 if it is not (narrowed, unresolved, not confirmed), 128 for the lab's trouble, which blames no
    commit. Ctrl-C once reports what there is; --resume goes on, also after a kill.
    """
    if context.invoked_subcommand is not None:
        return
    rows = load_tables()
    old, new = terms(term or [], term_old, term_new)
    path, pattern = matrix_and_cell(cell)
    for name, value in (("--git", git), ("--good", good), ("--bad", bad)):
        if not value:
            raise UsageError(f"{name} is missing", hint="lab bisect --cell MATRIX:CELL --git REPO --good REV --bad REV")
    if not 0.5 <= confidence <= 0.9999 or not 0.0 <= false_positives < 0.4:
        raise UsageError("--confidence must be from 0.5 to 0.9999, --false-positives from 0 to 0.4")
    matrix = read(path, rows)
    request = bisect.Request(
        matrix=path, name=matrix.name, cell=only(expand(matrix), pattern), repository=str(Path(git).absolute()),
        good=good, bad=bad, findings=checked(finding or []), budget_s=seconds_of(budget, "--budget"), jobs=jobs,
        confidence=confidence, false_positives=false_positives, mended=new in FIXED, old=old, new=new,
        paths=tuple(paths or ()), likely=tuple(likely or ()), first_parent=first_parent, resume=resume, accel=accel.value,
        backports=read_backports(backports, rows) if backports else (), incremental=incremental,
        on=fleet.options(on, depot, accel.value),
    )  # fmt: skip
    bisected_by(request, as_json=as_json)


def bisected_by(request: bisect.Request, *, as_json: bool) -> None:
    """Bisect, print what came of it, and exit."""
    options, rows = settings(), load_tables()
    stop = threading.Event()
    interrupt_once(stop)
    durations = session.history(options).durations
    with live.live(sys.stderr, terminal=sys.stderr.isatty(), colour=colour(sys.stderr), history=durations) as sink:
        done = bisect.run(request, options, rows, sink, stop)
    outcome = bisect.outcome_of(done.hunt, done.subjects, finished=done.finished)
    folder = shown(done.folder)
    if outcome.ending == "culprit":
        (done.folder / "culprit.eml").write_bytes(bisected.mail(outcome))
    contract = bisected.document(outcome, folder=folder, exit_code=int(done.exit_code))
    emit(contract, bisected.words(outcome, folder=folder), as_json=as_json)
    raise typer.Exit(done.exit_code)


def checked(findings: list[str]) -> tuple[str, ...]:
    """Return ids and signatures of findings. Raises UsageError for what no check finds."""
    checked_ids([one.partition("@")[0] for one in findings])
    return tuple(findings)


FIXED = ("fixed", "mended")
"""Words for the newer end that say that the fault is gone there."""


def terms(term: list[str], old: str, new: str) -> tuple[str, str]:
    """Return what the ends are called. Raises UsageError."""
    known = {"old": old, "new": new}
    for one in " ".join(term).split():
        which, equals, word = one.partition("=")
        if which not in known or not equals or not word.isidentifier():
            raise UsageError(
                f"--term must be old=WORD or new=WORD, not {one!r}", hint="--term old=broken --term new=fixed"
            )
        known[which] = word
    return known["old"] or "good", known["new"] or "bad"


def matrix_and_cell(written: str) -> tuple[Path, str]:
    """Return the two parts of MATRIX:CELL. Raises UsageError."""
    matrix, colon, cell = written.rpartition(":")
    if not colon or not matrix or not cell:
        raise UsageError(
            f"--cell must be MATRIX:CELL, not {written!r}", hint="--cell matrices/quickstart.yaml:'*gcc-12*'"
        )
    return Path(matrix), cell


@app.command("status")
def status_command(run: Run = "", as_json: AsJson = False) -> None:
    """Say where a bisection stands, from its journal alone; also while it is under way."""
    hunt, folder = bisect.taken_up(settings(), run)
    outcome = bisect.outcome_of(hunt, finished=False)
    contract = bisected.document(outcome, folder=shown(folder), exit_code=0)
    emit(contract, bisected.words(outcome, folder=shown(folder)), as_json=as_json)


@app.command("log")
def log_command(
    run: Run = "",
    as_git: Annotated[
        bool, typer.Option("--git", help="as `git bisect log` writes it, for `git bisect replay`")
    ] = False,
) -> None:
    """Print what a bisection has seen, a line a test, in order."""
    if as_git:
        print(bisect.git_log(settings(), run), end="")
        return
    _, entries, _ = bisect.journal_of(settings(), run)
    for entry in entries:
        print(bisected.entry_words(entry))


@app.command("replay")
def replay_command(run: Run = "") -> None:
    """Print how the answer came about: after each test what it changed, computed anew from the journal."""
    question, entries, _ = bisect.journal_of(settings(), run)
    for entry, standing in bisect.replayed(question, entries):
        print(f"{bisected.entry_words(entry)}  ->  {standing}")


@app.command("mark")
def mark_command(
    word: Annotated[str, typer.Argument(metavar="WORD", help="good, bad, skip, or the bisection's own words")],
    commit: Annotated[str, typer.Argument(metavar="COMMIT", help="at least four digits of its hash")],
    run: Run = "",
) -> None:
    """Say of a commit what you know: it is believed as if it was certain. A bisection under way must be stopped first."""
    hunt = bisect.mark(settings(), run, commit, word)
    for text in hunt.standing.contradicted[-1:]:
        raise UsageError(f"not believed: {text}")
    print(bisected.final_words(bisect.outcome_of(hunt)))


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
