"""A bisection under way: its journal, what follows from it, and workers that test what is asked for.

Who tests a commit is a callable, so that all of this is run in tests without an engine. What a test has seen is in the journal
before anything follows from it; a hunt that was killed is made again from question and journal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from lab.errors import EnvironmentFault
from lab.plan import bisection
from lab.plan.bisection import ERRORS_IN_A_ROW, OUTSIDE, REVERTED, Phase, Rules, Seen, Standing
from lab.plan.history import History, history
from lab.plan.posterior import faults, unknown
from lab.plan.search import Costs, Ending, Step
from lab.results import journal
from lab.results.bisections import Question
from lab.results.journal import Entry

LIKELIER = 10.0
"""How much likelier a commit is that touches the paths that were named."""
REVERT = "revert:"
ASKED_EVERY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one test said. verdict: of journal.VERDICTS. seconds: of the test; build_s: of the build, 0 if there was none."""

    verdict: str
    seconds: float
    build_s: float = 0.0
    reason: str = ""
    identity: str = ""


Judge = Callable[[str, int], Judged | None]
"""Makes the numbered test of a place (a full commit, or "revert:COMMIT"); None if it was interrupted."""


class Hunt:
    """folder: of the run, holds the journal. revert: the commit's reverse applies to the bad end, as far as is known."""

    def __init__(self, question: Question, folder: Path, rules: Rules, tell: Callable[[str], None]) -> None:
        self.question, self.path, self.rules, self.tell = question, folder / journal.NAME, rules, tell
        self.numbers = {name: number for number, name in enumerate(question.commits)}
        self.numbers[question.good] = OUTSIDE
        self.entries = list(journal.read(self.path))
        self.standing = self._replayed()
        self._lock = threading.Lock()
        self._made: dict[str, int] = {}
        for entry in self.entries:
            self._made[entry.place] = max(self._made.get(entry.place, 0), entry.number)

    # ------------------------------------------------------------------------------------------------ what was seen so far

    def _replayed(self) -> Standing:
        question = self.question
        known = history(question.parents)
        turned = History(known.parents, known.packed, mended=question.mended)
        prior = np.ones(known.size)
        prior[list(question.likely)] = LIKELIER
        standing = Standing(posterior=unknown(turned, faults(question.false_positives), prior))
        for entry in self.entries:
            standing = self._after(standing, entry)
        return standing

    def _after(self, standing: Standing, entry: Entry) -> Standing:
        place = self.place_of(entry.place)
        if place is None:
            return standing
        if entry.number == 0 or entry.verdict == "untestable":
            return standing.marked(place, entry.verdict if entry.number == 0 else "skip")
        seen = Seen(entry.verdict)
        return standing.after(place, seen, test_s=entry.seconds, build_s=entry.build_s, identity=entry.identity)

    def place_of(self, name: str) -> int | None:
        """Return the number of a place in the history, None if it is not of this bisection."""
        return REVERTED if name.startswith(REVERT) else self.numbers.get(name)

    def name_of(self, place: int) -> str:
        """Return what a place is called in the journal."""
        if place == REVERTED:
            return REVERT + self.question.commits[self.standing.answer(self.rules).commits[0]]
        return self.question.good if place == OUTSIDE else self.question.commits[place]

    def take(self, entry: Entry) -> None:
        """Write down what was seen, then let it follow."""
        with self._lock:
            journal.append(self.path, entry)
            self.entries.append(entry)
            before = self.standing
            self.standing = self._after(before, entry)
            self._made[entry.place] = max(self._made.get(entry.place, 0), entry.number)
        for text in self.standing.contradicted[len(before.contradicted) :]:
            self.tell(f"not believed: {text}")

    def follow(self, entry: Entry) -> None:
        """Let an entry that is written down already have its effect."""
        self.entries.append(entry)
        self.standing = self._after(self.standing, entry)

    def next_number(self, name: str) -> int:
        """Return the number of a place's next test. Two workers never get the same one."""
        with self._lock:
            self._made[name] = self._made.get(name, 0) + 1
            return self._made[name]

    @property
    def spent_s(self) -> float:
        """The time of all tests and builds."""
        return sum(entry.seconds + entry.build_s for entry in self.entries)

    # ------------------------------------------------------------------------------------------------------------ the work

    def pursue(self, judge: Judge, stop: threading.Event, *, workers: int = 1, budget_s: float = float("inf")) -> bool:
        """Test until it is decided, or the budget is used up; returns whether it came to an end of its own.

        budget_s: of all workers together, each counted. Raises EnvironmentFault after ERRORS_IN_A_ROW errors: the lab is in
        trouble, and nobody is blamed.
        """
        pending: dict[Future[None], Step] = {}
        phase = None
        with ThreadPoolExecutor(max_workers=workers) as pool:
            try:
                while True:
                    if self.standing.errors >= ERRORS_IN_A_ROW:
                        raise self._trouble()
                    halted = stop.is_set() or self.spent_s >= budget_s * workers
                    phase = self._told(phase)
                    while not halted and len(pending) < workers:
                        step = self.standing.next_step(self.rules, tuple(pending.values()))
                        if step is None:
                            break
                        pending[pool.submit(self._worked, step, judge, stop)] = step
                    if not pending:
                        return not halted
                    done, _ = wait(pending, timeout=ASKED_EVERY_S, return_when=FIRST_COMPLETED)
                    for future in done:
                        del pending[future]
                        future.result()
            except BaseException:
                stop.set()
                raise

    def _trouble(self) -> EnvironmentFault:
        last = next(entry for entry in reversed(self.entries) if entry.verdict == "error")
        return EnvironmentFault(
            f"the lab is in trouble: {ERRORS_IN_A_ROW} tests in a row could not be made",
            facts=(("last", last.reason),),
            hint="`lab bisect --resume` goes on when that is mended; no commit was blamed for it",
        )

    def _told(self, before: Phase | None) -> Phase:
        phase = self.standing.phase(self.rules)
        if phase is not before and phase is not Phase.DONE:
            self.tell(f"now {phase}")
        return phase

    def _worked(self, step: Step, judge: Judge, stop: threading.Event) -> None:
        """Do one step: test until it fails, or was silent often enough, or somebody else's test has made it pointless."""
        name = self.name_of(step.commit)
        for _ in range(step.tests):
            if stop.is_set():
                return
            number = self.next_number(name)
            try:
                judged = judge(name, number)
            except EnvironmentFault as error:
                judged = Judged(verdict="error", seconds=0.0, reason=error.message)
            if judged is None:
                return
            at = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
            self.take(
                Entry(
                    place=name, number=number, verdict=judged.verdict, seconds=round(judged.seconds, 3),
                    build_s=round(judged.build_s, 3), reason=judged.reason, identity=judged.identity, at=at,
                )
            )  # fmt: skip
            self.tell(self.line(name, step.commit, judged))
            if judged.verdict != "sound" or self._pointless(step):
                return

    def _pointless(self, step: Step) -> bool:
        if step.commit < 0:
            return True
        chance = float(self.standing.posterior.bad()[step.commit])
        return not 1e-4 < chance < 1 - 1e-4

    def line(self, name: str, place: int, judged: Judged) -> str:
        """Return what is told after a test."""
        count = self.standing.count(place)
        what = f"{name[:12]}: {judged.verdict}, {count.failures}/{count.tests}"
        return f"{what} ({judged.reason})" if judged.verdict not in ("failed", "sound") and judged.reason else what

    # --------------------------------------------------------------------------------------------------------------- the end

    @property
    def ending(self) -> Ending:
        """How it ended, or would end now."""
        return self.standing.answer(self.rules).ending


def rules_of(question: Question, assumed: Costs, *, reverts: bool) -> Rules:
    """Return the rules of a bisection. assumed: what builds and tests cost, until they are measured."""
    costs = assumed if question.boots else Costs(build=0.0, test=assumed.build + assumed.test)
    return bisection.Rules(confidence=question.confidence, reverts=reverts and not question.mended, assumed=costs)
