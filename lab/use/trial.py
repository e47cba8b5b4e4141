"""`lab try`: a cell without and with a patch, in turn on one machine, until it is decided whether the patch mends it.

both arms → the run → sources, with the patch → images → the compiler cache of both → pairs, each written down → results
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from lab.environment import engine as engines
from lab.errors import ExitCode, UsageError
from lab.events import Note, RunStarted, Sink
from lab.matrix.arms import with_patches
from lab.matrix.repeat import REPEAT_MAX
from lab.model import AttemptResult, Cell, Patch, Result
from lab.plan import jobs as plan
from lab.plan import pairing, statistics
from lab.plan.pairing import ARMS, Arm, End, Limits, Made, Standing
from lab.plan.schedule import work_off
from lab.report import tried
from lab.results import store, trials, verdict
from lab.results.trials import Asked, NotCounted, PairMade, Trial
from lab.settings import Settings
from lab.tables import Tables
from lab.use import contrast, session, sweep
from lab.use.crew import Crew, pools
from lab.use.obstacles import obstacles

ASSUMED_RATES = (0.5, 0.25, 0.1, 0.05)
LOOKS = frozenset(2**power for power in range(2, 12))  # pairs, after which it is told what may be hoped of the rest
MORE_AT_MOST = 1000
LIKELY = 0.5
EXIT_CODES = {
    End.MENDS: ExitCode.AS_EXPECTED,
    End.DOES_NOT_MEND: ExitCode.KERNEL_FAULT,
    End.ERROR: ExitCode.LAB_FAULT,
    End.INTERRUPTED: ExitCode.INTERRUPTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be compared. matrix: the file; name: the matrix' own. findings: ids of the fault; none: what the cell is
    expected to find, and if it expects nothing, any failure. pairs, budget_s: at most. error_rate: of both answers.
    resume: the latest comparison of just this. accel: as for a run.
    """

    matrix: Path
    name: str
    cell: Cell
    patches: tuple[Patch, ...]
    findings: tuple[str, ...] = ()
    pairs: int
    budget_s: float
    error_rate: float
    resume: bool = False
    accel: str = "auto"

    @property
    def limits(self) -> Limits:
        """When it ends."""
        errors = statistics.Errors(no_effect=self.error_rate, missed=self.error_rate)
        return Limits(pairs=self.pairs, budget_s=self.budget_s, errors=errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What a comparison came to. folder: of the run under results/. results: of both arms."""

    facts: store.RunFacts
    folder: Path
    results: tuple[Result, ...]
    trial: Trial

    @property
    def exit_code(self) -> ExitCode:
        """How the process ends: 0 mends, 1 does not mend, 125 not decided, 128 the lab's trouble."""
        return EXIT_CODES.get(End(self.trial.ended), ExitCode.UNTESTABLE)


def run(request: Request, settings: Settings, tables: Tables, sink: Sink, stop: threading.Event) -> Tried:
    """Compare until it is decided, or nothing is left of what it may cost.

    Raises UsageError if so few pairs cannot decide, Untestable if a patch does not apply (nothing was built then), and what
    else keeps the lab from preparing both arms.
    """
    arms = arms_of(request.cell, request.patches)
    asked = asked_for(request, arms)
    fewest = statistics.fewest_pairs(request.limits.errors)
    if request.limits.pairs < fewest:
        raise UsageError(
            f"a limit of {tried.pairs_words(request.limits.pairs)} decides nothing, whatever comes of it",
            hint=f"with these error rates it takes {fewest} at least",
        )
    for why in obstacles(list(arms.values()), tables).values():
        raise why
    with engines.connect(settings) as engine, _open(request, arms, asked, settings) as opened:
        sweep.dead_work(settings, engine, sink)
        crew = Crew(list(arms.values()), settings, tables, engine, sink, stop, opened, request.accel)
        books = Books(request.limits, asked, arms, opened, sink, seconds_of(arms[Arm.WITHOUT], settings))
        with crew.holds:
            done = _worked(books, crew, settings, stop)
        sweep.to_budget(settings, engine, sink)
        return done


def _worked(books: Books, crew: Crew, settings: Settings, stop: threading.Event) -> Tried:
    """Prepare both arms, make pairs, keep what came of them."""
    opened, sink = books.opened, books.sink
    sink(RunStarted(at_s=time.time(), run=opened.facts.run, cells=tuple(cell.id for cell in books.arms.values())))
    books.tell(books.outlook())
    for error in crew.look({}, (), at=lambda cell: True)[1].values():
        raise error
    crew.share()
    if not books.standing.made:  # who compiles first is slower: both arms find what they need in the cache, or neither
        crew.fill_caches()
    end = books.pursue(executed_by(crew, opened, settings, sink, stop))
    results = books.verdicts()
    for result in results:
        opened.keep_result(result)
        crew.tell(result)
    durations = {
        plan.attempt_key(books.arms[arm].id, number): one.seconds for (arm, number), one in books.results.items()
    }
    opened.keep_history(store.History(durations=durations))
    return Tried(facts=opened.facts, folder=opened.folder, results=results, trial=books.trial(end))


def seconds_of(cell: Cell, settings: Settings) -> float:
    """Return what an attempt of a cell took in earlier runs, 0 if there was none."""
    begins = plan.attempt_key(cell.id, 0).removesuffix("0")
    known = store.read_history(settings.results).durations
    return median([seconds for key, seconds in known.items() if key.startswith(begins)] or [0.0])


def arms_of(cell: Cell, patches: tuple[Patch, ...]) -> dict[Arm, Cell]:
    """Return the cell as it is and with the patches; how often they are executed is not the matrix' business here."""
    axes = tuple((axis, "in pairs" if axis == "repeat" else text) for axis, text in cell.axes)
    without = replace(cell, repeat=REPEAT_MAX, until=None, axes=axes)
    return {Arm.WITHOUT: without, Arm.WITH: with_patches(without, patches)}


def asked_for(request: Request, arms: dict[Arm, Cell]) -> Asked:
    """Return what is compared, as it is written down."""
    expected = request.cell.expect.findings if request.cell.expect else ()
    return Asked(
        cell=arms[Arm.WITHOUT].id,
        with_patch=arms[Arm.WITH].id,
        patches=tuple((one.name, hashlib.sha256(one.text.encode()).hexdigest()) for one in request.patches),
        findings=tuple(dict.fromkeys(request.findings or expected)),
        no_effect=request.error_rate,
        missed=request.error_rate,
        amplified=request.cell.amplify.words(),
    )


def _open(request: Request, arms: dict[Arm, Cell], asked: Asked, settings: Settings) -> store.Run:
    """Open a run of its own, or with `resume` the latest that compares just this: attempts of others never get into it."""
    cells = tuple(arms.values())
    name = trials.latest(settings.results, asked, cells) if request.resume else ""
    if name is None:
        raise UsageError(
            f"nothing to resume: no earlier call compared {request.cell.id!r} with just these patches and findings",
            facts=(("looked in", str(settings.results)),),
            hint="leave --resume away",
        )
    facts = session.facts_of(request.matrix, name or store.run_name(f"{request.name}-try", time.time()), cells)
    return store.open_run(settings.results, facts, fresh=not name)


Execute = Callable[[Cell, int, str], AttemptResult | None]
"""Executes the numbered attempt of a cell and keeps it in the run, under this title; None if it was interrupted."""


class Books:
    """A comparison under way: what was made of it, what follows, what is written down and told. Used by run() only.

    opened: the run that attempts are in. seconds_before: how long attempts of the cell took in earlier runs.
    """

    def __init__(
        self,
        limits: Limits,
        asked: Asked,
        arms: dict[Arm, Cell],
        opened: store.Run,
        sink: Sink,
        seconds_before: float = 0,
    ) -> None:
        self.limits, self.asked, self.arms, self.opened, self.sink = limits, asked, arms, opened, sink
        self.seconds_before = seconds_before
        self.results: dict[tuple[Arm, int], AttemptResult] = {}
        self.standing = self._so_far()
        self.write_down()

    def pursue(self, execute: Execute) -> End:
        """Make pairs until it is decided or over; trial.json follows each attempt."""

        def attempt(arm: Arm, number: int) -> Made | None:
            title = f"pair {len(self.standing.pairs) + 1}, {arm} the patch (attempt {number} of {self.arms[arm].id})"
            result = execute(self.arms[arm], number, title)
            return None if result is None else self._made(arm, result)

        self.standing, end = pairing.in_turn(self.standing, self.limits, attempt, self._after)
        self.write_down(end)
        return end

    def _so_far(self) -> Standing:
        of_arm = {arm: [self._made(arm, one) for one in self.opened.made(cell.id)] for arm, cell in self.arms.items()}
        return pairing.replayed(of_arm)

    def _made(self, arm: Arm, result: AttemptResult) -> Made:
        told = result.facts.get("amplified")
        amplified = told.get("what", "") if isinstance(told, dict) else ""
        if result.failed() is not None and amplified != self.asked.amplified:
            raise UsageError(
                f"attempt {result.number} of {self.arms[arm].id!r} cannot be compared: amplified rates are not natural ones",
                facts=(
                    ("it was", amplified or "not amplified"),
                    ("asked for", self.asked.amplified or "not amplified"),
                ),
            )
        self.results[arm, result.number] = result
        found = pairing.verdict_of(result, self.asked.findings)
        return Made(arm=arm, number=result.number, verdict=found, seconds=result.seconds, reason=result.reason)

    def _after(self, standing: Standing) -> None:
        """Write down and tell what one more attempt has changed."""
        pairs_before = len(self.standing.pairs)
        self.standing = standing
        trial = self.write_down()
        last = standing.made[-1]
        if last.verdict not in pairing.COUNTS:
            self.tell(f"{last.arm} {last.number} does not count ({last.verdict}): {last.reason}")
        if len(standing.pairs) > pairs_before:
            self.tell(tried.pair_words(trial))
            if len(standing.pairs) in LOOKS and trial.without.failures and standing.end(self.limits) is None:
                self.tell(self._prospect(trial))

    def write_down(self, end: End | None = None) -> Trial:
        """Let trial.json say where it stands; returns the same."""
        trial = self.trial(end)
        trials.write(self.opened.folder, trial)
        return trial

    def tell(self, text: str) -> None:
        """Say one line."""
        self.sink(Note(at_s=time.time(), text=text))

    def trial(self, end: End | None = None) -> Trial:
        """Return where it stands."""
        standing, errors = self.standing, self.limits.errors
        pairs, stakes = standing.pairs, standing.compared(errors)
        without, with_patch = (standing.rate(arm) for arm in ARMS)
        open_end = end is not None and end not in (End.MENDS, End.DOES_NOT_MEND)
        return Trial(
            asked=self.asked,
            pairs_at_most=self.limits.pairs,
            budget_s=self.limits.budget_s,
            pairs=tuple(_noted(pair) for pair in pairs),
            not_counted=tuple(
                NotCounted(arm=one.arm.value, number=one.number, verdict=one.verdict.value, reason=one.reason)
                for one in standing.made
                if one.verdict not in pairing.COUNTS
            ),
            without=without,
            with_patch=with_patch,
            against_no_effect=stakes.against_no_effect,
            against_effect=stakes.against_effect,
            p_value=statistics.fewer(without, with_patch) if pairs else None,
            spent_s=standing.spent_s,
            pair_s=standing.pair_s,
            ended=end.value if end else "",
            more_pairs=self.more_pairs() if open_end else None,
        )

    # ------------------------------------------------------------------------------------------------- what is to come

    def pairs_left(self) -> int:
        """Return how many pairs the limits still allow, by what pairs took so far, here or in earlier runs."""
        standing, limits = self.standing, self.limits
        pair_s = standing.pair_s or 2 * self.seconds_before
        by_number = limits.pairs - len(standing.pairs)
        by_time = int((limits.budget_s - standing.spent_s) / pair_s) if pair_s else by_number
        return max(0, min(by_number, by_time))

    def outlook(self) -> str:
        """Return what the budget buys, for a few rates."""
        left = self.pairs_left()
        chances = [(rate, statistics.prospect(rate, 0.0, left, self.limits.errors)) for rate in ASSUMED_RATES]
        told = [(rate, chance.decided, chance.pairs) for rate, chance in chances]
        return tried.begin_words(left, self.standing.pair_s or 2 * self.seconds_before, told)

    def _prospect(self, trial: Trial) -> str:
        left = self.pairs_left()
        decided = self._hoped(left).decided
        return tried.prospect_words(left, decided, self.more_pairs() if decided < LIKELY else None)

    def more_pairs(self) -> int | None:
        """Return how many more pairs decide it at the rates that were seen, None if more than MORE_AT_MOST, or none failed."""
        if not any(self.standing.rate(arm).failures for arm in ARMS):
            return None
        hoped = self._hoped(MORE_AT_MOST)
        return hoped.pairs if hoped.decided >= LIKELY else None

    def _hoped(self, budget: int) -> statistics.Prospect:
        rates = (self.standing.rate(arm) for arm in ARMS)
        without, with_patch = (rate.failures / max(rate.trials, 1) for rate in rates)
        seen = [pair.outcome for pair in self.standing.pairs]
        return statistics.prospect(without, with_patch, budget, self.limits.errors, seen=seen)

    # ---------------------------------------------------------------------------------------------------------- the end

    def verdicts(self) -> tuple[Result, ...]:
        """Return the verdict on each arm, as of any repeated cell."""
        return tuple(self._verdict(arm) for arm in ARMS)

    def _verdict(self, arm: Arm) -> Result:
        numbers = [one.number for one in self.standing.made if one.arm is arm]
        attempts = [self.results[arm, number] for number in numbers]
        cell = replace(self.arms[arm], repeat=max(1, len(attempts)))
        return verdict.cell_result(cell, attempts, None, contrast.differences(attempts, self.opened.folder))


def _noted(pair: pairing.Pair) -> PairMade:
    without_failed, with_patch_failed = pair.outcome
    return PairMade(
        without=pair.without.number,
        with_patch=pair.with_patch.number,
        first=pair.first.value,
        without_failed=without_failed,
        with_patch_failed=with_patch_failed,
    )


def executed_by(crew: Crew, opened: store.Run, settings: Settings, sink: Sink, stop: threading.Event) -> Execute:
    """Return what executes attempts one after the other, with a job of the scheduler for each."""

    def execute(cell: Cell, number: int, title: str) -> AttemptResult | None:
        if stop.is_set():
            return None
        job = replace(plan.attempt_job(cell, number, (), ()), title=title)
        end = work_off([job], crew.do, pools=pools(settings), sink=sink, stop=stop)[job.key]
        if end.error is not None:
            raise end.error
        if stop.is_set():  # it may have been broken off; what was not is kept
            return next((one for one in opened.made(cell.id) if one.number == number), None)
        return end.value

    return execute
