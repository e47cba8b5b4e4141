"""`lab bisect`: which commit brought a fault in.

the commits → the run and its journal → both ends → what it will take → the search, by workers → culprit and parents again →
the bad end without the culprit → the report
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from lab.environment import engine as engines
from lab.environment import revisions
from lab.errors import ExitCode, UsageError
from lab.events import Note, RunStarted, Sink
from lab.matrix.backports import Backport
from lab.model import Cell
from lab.plan import pairing, search, simulate
from lab.plan.bisection import OUTSIDE, REVERTED, Phase
from lab.plan.search import Costs, Ending
from lab.plan.simulate import Scene
from lab.report import bisected
from lab.results import bisections, journal, store
from lab.results.bisections import Backported, Question
from lab.settings import Settings
from lab.tables import Tables
from lab.use import fleet, session, supply, sweep
from lab.use.commit import CellJudge, telling
from lab.use.coordinator import Options
from lab.use.hands import Here, Make, on_top
from lab.use.hunt import REVERT, Hunt, Judge, Judged, rules_of
from lab.use.obstacles import obstacles

ASSUMED = Costs(build=600.0, test=60.0)
PREVIEW_RUNS = 16
PREVIEW_COMMITS = 4096
CONFIDENCES = (0.99, 0.98, 0.95, 0.9, 0.8)
SEEN_AGAIN = ("boot.", "build.", "kallsyms.", "livepatch.", "modpost.", "objtool.error", "objtool.flags")
"""Findings that every build shows, also one in which little is compiled: they end it, or stand in what was made."""
EXIT_CODES = {Ending.CULPRIT: ExitCode.AS_EXPECTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is looked for. matrix: the file; name: the matrix' own. findings: none: what the cell is expected to find, else any
    failure. budget_s: of the clock. old, new: what the ends are called; mended: the fix is looked for. paths, likely,
    first_parent: see environment.revisions. backports: rows of a table. incremental: see bisections.Question. resume: the
    latest bisection that asks just this is taken up. on: a fleet that makes the tests, None for this machine; jobs: how many at
    once.
    """

    matrix: Path
    name: str
    cell: Cell
    repository: str
    good: str
    bad: str
    findings: tuple[str, ...] = ()
    budget_s: float
    jobs: int = 1
    confidence: float = search.CONFIDENCE
    false_positives: float = 0.0
    mended: bool = False
    old: str = "good"
    new: str = "bad"
    paths: tuple[str, ...] = ()
    likely: tuple[str, ...] = ()
    first_parent: bool = False
    backports: tuple[Backport, ...] = ()
    incremental: bool = False
    resume: bool = False
    accel: str = "auto"
    on: Options | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisected:
    """What came of it. subjects: of the commits of the answer. finished: it came to an end of its own."""

    hunt: Hunt
    folder: Path
    subjects: tuple[str, ...]
    finished: bool
    interrupted: bool

    @property
    def exit_code(self) -> ExitCode:
        """How the process ends: 0 a culprit, 125 anything less, 130 interrupted."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        return EXIT_CODES.get(self.hunt.ending, ExitCode.UNTESTABLE)


def run(request: Request, settings: Settings, tables: Tables, sink: Sink, stop: threading.Event) -> Bisected:
    """Bisect until it is decided, interrupted, or the budget is used up.

    Raises UsageError if there is nothing between the ends, EnvironmentFault if the lab is in trouble; the journal stays.
    """
    for why in obstacles([request.cell], tables, here=request.on is None).values():
        raise why
    question = asked(request, settings)
    with _hands(request, question, settings, tables, sink, stop) as hands, _open(request, question, settings) as opened:
        bisections.write(opened.folder, question)

        def tell(text: str) -> None:
            sink(Note(at_s=time.time(), text=text))

        hunt = Hunt(question, opened.folder, rules_of(question, ASSUMED, reverts=True), tell)
        sink(RunStarted(at_s=time.time(), run=opened.facts.run, cells=(request.cell.id,)))
        tell(f"{len(question.commits)} commits between {question.good[:12]} and {question.bad[:12]}")
        for line in bisected.backport_words(question):
            tell(line)
        with hands(opened, lambda: hunt.standing.phase(hunt.rules) is not Phase.SEARCH) as make:
            judge = CellJudge(request.cell, question, make, request.accel, settings, tables, sink, stop, opened)
            finished = hunt.pursue(
                _previewed(judge, hunt, request), stop, workers=request.jobs, budget_s=request.budget_s
            )
    commits = hunt.standing.answer(hunt.rules).commits
    subjects = tuple(revisions.subject(request.repository, question.commits[one], settings) for one in commits[:20])
    return Bisected(
        hunt=hunt, folder=opened.folder, subjects=subjects, finished=finished, interrupted=stop.is_set()
    )  # fmt: skip


Hands = Callable[[store.Run, Callable[[], bool]], AbstractContextManager[Make]]
"""Opened run, and whether a build is to be made from nothing now → who makes attempts."""


@contextlib.contextmanager
def _hands(
    request: Request, question: Question, settings: Settings, tables: Tables, sink: Sink, stop: threading.Event
) -> Iterator[Hands]:
    """Yield what makes attempts for a run: this machine, whose engine must answer, or a fleet."""
    on = request.on
    if on is not None:
        wanted = supply.Wanted(repository=request.repository, commits=(question.bad,), since=question.good)
        yield lambda opened, _: fleet.standing(on, opened, wanted, settings, tables, sink, stop)
        return
    with engines.connect(settings) as engine:
        sweep.dead_work(settings, engine, sink)

        def here(opened: store.Run, whole: Callable[[], bool]) -> AbstractContextManager[Make]:
            made = Here(settings, tables, engine, sink, stop, opened, request.accel)
            if not question.incremental:
                return contextlib.nullcontext(made)
            return on_top(made, request.jobs, whole, telling(question))

        yield here
        sweep.to_budget(settings, engine, sink)


def asked(request: Request, settings: Settings) -> Question:
    """Return the question, with the commits it is about. Raises UsageError."""
    expected = request.cell.expect.findings if request.cell.expect else ()
    findings = tuple(dict.fromkeys(request.findings or expected))
    if request.incremental:
        check_incremental(findings, here=request.on is None)
    found = revisions.between(
        request.repository, request.good, request.bad, settings,
        first_parent=request.first_parent, paths=request.paths, likely=request.likely,
    )  # fmt: skip
    return Question(
        cell=request.cell.id,
        findings=findings,
        repository=request.repository,
        good=found.good,
        bad=found.bad,
        commits=tuple(commit.name for commit in found.commits),
        parents=tuple(commit.parents for commit in found.commits),
        likely=found.likely,
        mended=request.mended,
        old=request.old,
        new=request.new,
        confidence=request.confidence,
        false_positives=request.false_positives,
        # elsewhere no kernel waits for another boot: every test is a build
        boots=request.on is None and boots(request.cell, findings),
        amplified=request.cell.amplify.words(),
        backports=tuple(needed_at(row, request.repository, found, settings) for row in request.backports),
        incremental=request.incremental,
    )


def check_incremental(findings: tuple[str, ...], *, here: bool = True) -> None:
    """Raise UsageError if a fault may be silent in a build that goes on from another one, or if no worker has a last one."""
    if not here:
        raise UsageError(
            "--incremental goes with no fleet (--on)", hint="each worker builds commits as they come to it"
        )
    wrong = [one for one in findings if not one.startswith(SEEN_AGAIN)]
    if wrong or not findings:
        raise UsageError(
            f"--incremental is not for {wrong[0] if wrong else 'any failure'}",
            facts=(("for", ", ".join(f"{one}*" for one in SEEN_AGAIN)),),
            hint="a warning is printed only when its file is compiled, and a race of a build is one of whole builds",
        )


def needed_at(row: Backport, repository: str, found: revisions.Range, settings: Settings) -> Backported:
    """Return a back-port with the commits that need it. Raises UsageError, with its place, for a revision that is not there."""

    def having(revision: str) -> frozenset[str]:
        try:
            return revisions.having(repository, revision, (found.good, found.bad), settings)
        except UsageError as error:
            raise UsageError(f"{row.place}: {error.message}", facts=error.facts, hint=error.hint) from error

    since = having(row.since) if row.since else None
    until = having(row.until) if row.until else frozenset()

    def needs(name: str) -> bool:
        return (since is None or name in since) and name not in until

    numbers = tuple(number for number, commit in enumerate(found.commits) if needs(commit.name))
    return Backported(patch=row.patch, commits=numbers, good=needs(found.good), because=row.because)


def boots(cell: Cell, findings: tuple[str, ...]) -> bool:
    """Whether a test is a boot of a kernel that is built once: the fault is one of boots and of nothing else."""
    return (
        cell.boot is not None
        and bool(findings)
        and all(pairing.covers(pairing.BOOT, one.partition("@")[0]) for one in findings)
    )


def _open(request: Request, question: Question, settings: Settings) -> store.Run:
    name = bisections.latest(settings.results, question) if request.resume else ""
    if name is None:
        raise UsageError(
            "nothing to resume: no earlier call asked just this",
            facts=(("looked in", str(settings.results)),),
            hint="leave --resume away",
        )
    wanted = name or store.run_name(f"{request.name}-bisect", time.time())
    return store.open_run(settings.results, session.facts_of(request.matrix, wanted, (request.cell,)), fresh=not name)


def _previewed(judge: Judge, hunt: Hunt, request: Request) -> Judge:
    """Return the judge; when the ends are known, it is told once what the bisection will take."""
    told = threading.Event()

    def judged(place: str, number: int) -> Judged | None:
        if not told.is_set() and hunt.standing.phase(hunt.rules) is Phase.SEARCH:
            told.set()
            for line in outlook(hunt, request):
                hunt.tell(line)
        return judge(place, number)

    return judged


def outlook(hunt: Hunt, request: Request) -> tuple[str, ...]:
    """Return what the bisection will take from here, by simulation at the rate that was seen, and what the budget buys."""
    standing = hunt.standing
    costs = standing.costs(hunt.rules.assumed)
    end = standing.count(standing.faulty_end)
    merges = sum(len(parents) > 1 for parents in hunt.question.parents)
    size = max(2, min(len(hunt.question.commits), PREVIEW_COMMITS))
    scene = Scene(
        commits=size, fail_rate=min(1.0, max(0.02, end.failures / max(1, end.tests))), jobs=request.jobs, costs=costs,
        merges=min(merges, size // 4), false_positives=request.false_positives, confidence=request.confidence,
    )  # fmt: skip
    means = simulate.means(scene, PREVIEW_RUNS, 1)
    left_s = max(0.0, request.budget_s - hunt.spent_s / request.jobs)
    lines = [
        f"the fault shows itself in {end.failures} of {end.tests} tests; about {means['builds']:.0f} builds and "
        f"{means['tests']:.0f} tests are to come, {float(str(means['elapsed'])) / 3600:.1f} h"
    ]
    for confidence in CONFIDENCES:
        takes_s = float(str(simulate.means(replace(scene, confidence=confidence), PREVIEW_RUNS, 1)["elapsed"]))
        if takes_s <= left_s:
            return (*lines, f"the budget ({left_s / 3600:.1f} h left) buys a confidence of {confidence:g}")
    return (*lines, f"the budget ({left_s / 3600:.1f} h left) buys a narrower range only")


def journal_of(settings: Settings, run: str) -> tuple[Question, tuple[journal.Entry, ...], Path]:
    """Return what a bisection asked and has seen. run: "" for the newest. Raises UsageError if there is none."""
    name = run or bisections.latest(settings.results) or ""
    folder = settings.results / name
    question = bisections.read(folder) if name and store.RUN_NAME.fullmatch(name) else None
    if question is None:
        raise UsageError(
            f"no bisection {run!r}" if run else "no bisection", facts=(("looked in", str(settings.results)),)
        )
    return question, journal.read(folder / journal.NAME), folder


def git_log(settings: Settings, run: str) -> str:
    """Return what a bisection has seen as `git bisect replay` takes it. Raises UsageError if there is none."""
    question, entries, _ = journal_of(settings, run)
    return bisections.git_log(question, entries)


def taken_up(settings: Settings, run: str) -> tuple[Hunt, Path]:
    """Return where a bisection stands, computed from its journal. Raises UsageError if there is none."""
    question, _, folder = journal_of(settings, run)
    return Hunt(question, folder, rules_of(question, ASSUMED, reverts=True), lambda text: None), folder


def replayed(question: Question, entries: tuple[journal.Entry, ...]) -> Iterator[tuple[journal.Entry, str]]:
    """Yield each entry with what was believed after it: the phase, and the likeliest commit."""
    hunt = Hunt(question, Path("/nonexistent"), rules_of(question, ASSUMED, reverts=True), lambda text: None)
    for entry in entries:
        hunt.follow(entry)
        culprits = hunt.standing.posterior.culprits()
        best = int(culprits.argmax())
        phase = hunt.standing.phase(hunt.rules)
        yield entry, f"{phase}; {question.commits[best][:12]} at {100 * culprits[best]:.1f} %"


def mark(settings: Settings, run: str, commit: str, word: str) -> Hunt:
    """Write down somebody's word on a commit. Raises UsageError if it is none of the bisection's, or a worker is at it."""
    question, _, folder = journal_of(settings, run)
    names = [name for name in question.commits if name.startswith(commit)]
    if len(names) != 1 or len(commit) < 4:
        raise UsageError(f"{len(names)} commits of this bisection begin with {commit!r}", hint="name one")
    words = {"good": "good", "bad": "bad", "skip": "skip", question.old: "good", question.new: "bad"}
    if word not in words:
        raise UsageError(f"no word for a commit: {word!r}", facts=(("known", ", ".join(words)),))
    said = words[word]
    if question.mended and said != "skip":
        said = "bad" if said == "good" else "good"  # old is where the fault is
    lock = store.locked(folder)
    try:
        at = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        journal.append(folder / journal.NAME, journal.Entry(place=names[0], number=0, verdict=said, at=at))
    finally:
        os.close(lock)
    return taken_up(settings, run)[0]


def outcome_of(hunt: Hunt, subjects: tuple[str, ...] = (), *, finished: bool = True) -> bisected.Outcome:
    """Return what is reported of a bisection, also of one that is under way."""
    question, standing = hunt.question, hunt.standing
    answer = standing.answer(hunt.rules)
    has_fault = standing.posterior.bad()
    reasons = {entry.place: entry.reason for entry in hunt.entries if entry.verdict in ("untestable", "other")}

    def tested(place: int, name: str) -> bisected.Tested:
        count = standing.count(place)
        return bisected.Tested(
            name=name, failures=count.failures, tests=count.tests, skipped=place in standing.skipped,
            chance=float(has_fault[place]) if place >= 0 else None, note=reasons.get(name, ""),
        )  # fmt: skip

    last = standing.posterior.history.bad
    places = sorted({*standing.counts, *standing.skipped} - {OUTSIDE, REVERTED, last})
    revert = next((entry.place for entry in hunt.entries if entry.place.startswith(REVERT)), "")
    return bisected.Outcome(
        question=question,
        ending=answer.ending.value,
        commits=tuple(question.commits[one] for one in answer.commits),
        subjects=subjects,
        confidence=answer.confidence,
        tested=tuple(tested(place, question.commits[place]) for place in places),
        good_end=tested(OUTSIDE, question.good),
        bad_end=tested(last, question.bad),
        reverted=tested(REVERTED, revert) if revert else None,
        rate=standing.posterior.rate,
        builds=sum(entry.build_s > 0 for entry in hunt.entries)
        if question.boots
        else sum(entry.seconds > 0 for entry in hunt.entries),
        tests=sum(entry.verdict in ("failed", "sound") for entry in hunt.entries),
        spent_s=hunt.spent_s,
        why=standing.unconfirmed(),
        finished=finished,
    )
