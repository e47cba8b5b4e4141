"""`lab try` with a real store and attempts that a seeded coin decides: what is kept and told, how it goes on after a kill."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lab.errors import ExitCode, UsageError
from lab.events import Note
from lab.model import (
    Amplify,
    AttemptResult,
    Cell,
    Deadlines,
    DirSource,
    Emulation,
    Ending,
    Expectation,
    Finding,
    Lto,
    Make,
    Outcome,
    Patch,
    Severity,
    Span,
    StepResult,
)
from lab.plan.pairing import Arm, End
from lab.report import document, tried
from lab.results import store, trials
from lab.settings import Settings
from lab.use import session, trial

CELL = Cell(
    id="x86_64-gcc-12-ext4-128-unguarded",
    source=DirSource(path="/usr/src/linux"),
    arch="x86_64",
    toolchain="gcc-12",
    lto=Lto.NONE,
    emulation=Emulation.NATIVE,
    filesystem="ext4-128",
    kconfig=(),
    patches=(Patch(name="unguarded", text="@@ -1 +1 @@\n-a\n+b\n"),),
    make=Make(),
    boot=None,
    repeat=1,
    deadlines=Deadlines(),
    ccache=True,
    expect=Expectation(outcome=Outcome.FAIL, findings=("timestamps.tie",)),
    axes=(("filesystem", "ext4-128"), ("patches", "unguarded"), ("repeat", "1")),
)
PATCH = Patch(name="guard", text="@@ -1 +1 @@\n-b\n+a\n")
UNDEFINED = Finding(
    id="modpost.undefined", severity=Severity.FAIL, title="undefined", message="needs 'x'", where=Span(file="build.txt")
)


class Killed(BaseException):
    """The process is gone: nothing that comes after it happens."""


class World:
    """A store, and what executes attempts in it: arms fail at their rates, by number, so that a resumed call sees the same."""

    def __init__(
        self, folder, *, without=0.8, with_patch=0.0, pairs=60, budget_s=1e9, findings=("modpost.undefined",), cell=CELL
    ):
        self.settings = Settings(cache=folder / "cache", results=folder / "results", images=folder, data=folder)
        (folder / "m.yaml").write_text("name: m\n")
        self.request = trial.Request(
            matrix=folder / "m.yaml",
            name="m",
            cell=cell,
            patches=(PATCH,),
            pairs=pairs,
            budget_s=budget_s,
            error_rate=0.05,
            findings=findings,
        )
        self.rates = {CELL.id: without}
        self.with_patch = with_patch
        self.executed, self.notes = [], []
        self.outcome = {}  # (cell id, number) -> Outcome, where it is not the coin's
        self.killed_after = None  # so many attempts
        self.killed_at = "start"

    def open(self, *, resume=False, **changes):
        self.request = replace(self.request, resume=resume, **changes)
        arms = trial.arms_of(self.request.cell, self.request.patches)
        self.asked = trial.asked_for(self.request, arms)
        self.run = trial._open(self.request, arms, self.asked, self.settings)
        self.rates[arms[Arm.WITH].id] = self.with_patch
        try:
            self.books = trial.Books(self.request.limits, self.asked, arms, self.run, self.hear, 10.0)
        except BaseException:
            self.run.close()
            raise
        return self.books

    def hear(self, event):
        assert isinstance(event, Note)
        self.notes.append(event.text)

    def execute(self, cell, number, title):
        folder = self.run.attempt_folder(cell.id, number)
        (folder / "build.txt").write_text(f"  CC      {cell.id}.o\n")
        killed = len(self.executed) == self.killed_after
        if killed and self.killed_at == "start":
            raise Killed
        self.executed.append((cell.id, number))
        known = self.outcome.get((cell.id, number))
        seed = [len(cell.id), number]
        failed = np.random.default_rng(seed).random() < self.rates[cell.id]
        outcome = known or (Outcome.FAIL if failed else Outcome.PASS)
        found = (UNDEFINED,) if failed and outcome is Outcome.FAIL else ()
        result = AttemptResult(
            number=number, outcome=outcome, reason=f"{outcome} of {title}", findings=found, seconds=20.0,
            folder=f"{cell.id}/{number}",
        )  # fmt: skip
        self.run.keep_attempt(cell.id, result)
        if killed:
            raise Killed
        return result

    def pursue(self):
        try:
            return self.books.pursue(self.execute)
        finally:
            self.run.close()  # as the kernel does when the process ends


@pytest.fixture
def world(tmp_path):
    return lambda **more: World(tmp_path, **more)


def test_the_arms_are_the_cell_as_it_is_and_with_the_patch_on_top(world):
    world = world()
    arms = trial.arms_of(CELL, (PATCH,))
    without, with_patch = arms[Arm.WITHOUT], arms[Arm.WITH]
    assert (without.id, without.patches, without.expect) == (CELL.id, CELL.patches, CELL.expect)
    assert with_patch.id == f"{CELL.id}-with-guard"
    assert with_patch.patches == (*CELL.patches, PATCH)
    assert with_patch.expect is None
    assert dict(with_patch.axes)["patches"] == "unguarded + guard"


def test_an_id_that_gets_too_long_is_still_one_folder(world):
    long = replace(CELL, id="x" * 78)
    arms = trial.arms_of(long, (PATCH,))
    other = trial.arms_of(long, (replace(PATCH, text=PATCH.text + "\n"),))
    assert len(arms[Arm.WITH].id) <= 80
    assert len({arms[Arm.WITHOUT].id, arms[Arm.WITH].id, other[Arm.WITH].id}) == 3


def test_the_fault_in_question_is_what_the_cell_expects_unless_somebody_asks(world):
    named, unnamed = world(), world(findings=())
    arms = trial.arms_of(CELL, (PATCH,))
    assert trial.asked_for(named.request, arms).findings == ("modpost.undefined",)
    assert trial.asked_for(unnamed.request, arms).findings == ("timestamps.tie",)
    bare = replace(unnamed.request, cell=replace(CELL, expect=None))
    assert trial.asked_for(bare, arms).findings == ()


def test_a_patch_that_mends_is_found_to_and_written_down(world):
    world = world()
    world.open()
    folder = world.run.folder
    assert trials.read(folder).ended == "", "trial.json is written first"
    assert world.pursue() is End.MENDS
    written = trials.read(folder)
    assert (written.ended, written.decided) == ("mends", True)
    assert written == world.books.trial(End.MENDS)
    assert written.without.failures == sum(pair.without_failed for pair in written.pairs) > 0
    assert (written.with_patch.failures, written.with_patch.trials) == (0, len(written.pairs))
    assert [pair.first for pair in written.pairs[:3]] == ["without", "with", "without"]
    words = tried.final_words(written)
    assert words.startswith(f"without {written.without.failures}/{len(written.pairs)} (")
    assert ": the patch mends; p = " in words
    assert words.endswith("error rates 5 % and 5 %")


def test_both_arms_are_told_as_repeated_cells_with_their_attempts(world):
    world = world()
    world.open()
    world.pursue()
    without, with_patch = world.books.verdicts()
    pairs = len(world.books.standing.pairs)
    assert (len(without.attempts), len(with_patch.attempts)) == (pairs, pairs)
    assert without.rate.trials == pairs
    assert without.flaky
    assert with_patch.outcome is Outcome.PASS
    contract = tried.tried_document(
        world.books.trial(End.MENDS), world.run.facts, (without, with_patch), folder="results/x", exit_code=0
    )
    told = json.loads(document.printed_json(contract))
    assert (told["ended"], told["exit_code"], told["schema_version"]) == ("mends", 0, 1)
    assert told["without"]["rate"]["trials"] == len(told["pairs"]) == pairs
    assert [cell["id"] for cell in told["cells"]] == [told["without"]["cell"], told["with"]["cell"]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return what a comparison executed that nobody killed, and its pairs."""
    whole = World(tmp_path_factory.mktemp("whole"))
    whole.open()
    assert whole.pursue() is End.MENDS
    return whole.executed, trials.read(whole.run.folder).pairs


@pytest.mark.parametrize("killed_after", [0, 1, 2, 3, 4, 7, -1])
@pytest.mark.parametrize("killed_at", ["start", "end"])
def test_after_a_kill_at_any_point_it_goes_on_and_comes_to_the_same(world, undisturbed, killed_after, killed_at):
    executed, pairs = undisturbed
    first, again = world(), world()
    first.killed_after, first.killed_at = killed_after % len(executed), killed_at
    first.open()
    with pytest.raises(Killed):
        first.pursue()
    again.open(resume=True)
    assert again.run.folder == first.run.folder
    assert again.pursue() is End.MENDS
    assert first.executed + again.executed == executed, "an attempt that was finished was made again"
    assert trials.read(again.run.folder).pairs == pairs


def test_an_error_is_made_again_and_does_not_count(world):
    world = world(pairs=10)
    world.outcome = {(CELL.id, 1): Outcome.ERROR, (CELL.id, 2): Outcome.ERROR}
    world.open()
    world.pursue()
    written = trials.read(world.run.folder)
    assert [(one.arm, one.number, one.verdict) for one in written.not_counted] == [
        ("without", 1, "error"),
        ("without", 2, "error"),
    ]
    assert written.pairs[0].without == 3
    assert written.pairs[0].with_patch == 1
    assert any("without 1 does not count (error): ERROR" in note for note in world.notes)


def test_three_errors_end_it_and_a_later_call_has_three_of_its_own(world):
    first = world()
    first.outcome = {(CELL.id, number): Outcome.ERROR for number in range(1, 5)}
    first.open()
    assert first.pursue() is End.ERROR
    assert len(first.executed) == 3
    first.open(resume=True)
    assert first.pursue() is End.MENDS
    assert first.executed[3] == (CELL.id, 4)


def test_failures_of_another_kind_are_told_and_end_it_without_a_verdict(world):
    world = world()
    with_id = f"{CELL.id}-with-guard"
    world.rates = {CELL.id: 0.6}
    world.outcome = {(with_id, number): Outcome.FAIL for number in range(1, 4)}
    world.open()
    broken = Finding(
        id="build.compiler", severity=Severity.FAIL, title="error", message="expected ';'", where=Span(file="build.txt")
    )
    inner = world.execute

    def execute(cell, number, title):
        result = inner(cell, number, title)
        if cell.id == with_id:
            steps = (StepResult(name="build", ending=Ending.EXITED, status=2, seconds=1.0),)
            result = replace(result, findings=(broken,), steps=steps, reason="build.compiler: expected ';'")
            world.run.keep_attempt(cell.id, result)
        return result

    world.execute = execute
    assert world.pursue() is End.OTHER
    written = trials.read(world.run.folder)
    assert written.pairs == ()
    lines = [tried.final_words(written), *tried.further_words(written)]
    assert "cannot be judged" in lines[0]
    assert sum("not counted: with" in line and "build.compiler" in line for line in lines) == 3
    done = trial.Tried(facts=world.run.facts, folder=world.run.folder, results=(), trial=written)
    assert done.exit_code == ExitCode.UNTESTABLE


def test_the_budget_is_that_of_all_attempts_also_of_an_earlier_call(world):
    world = world(without=0.0, budget_s=100.0)
    world.open()
    assert world.pursue() is End.BUDGET
    assert len(world.books.standing.pairs) == 2
    world.open(resume=True)
    assert world.pursue() is End.BUDGET
    assert len(world.executed) == 4
    world.open(resume=True, budget_s=200.0)
    assert world.pursue() is End.BUDGET
    assert len(world.books.standing.pairs) == 5


def test_what_the_budget_buys_is_told_before_and_when_something_failed(world):
    world = world(without=0.3, with_patch=0.2, pairs=9)
    world.open()
    outlook = world.books.outlook()
    assert outlook.startswith(
        "at most 9 pairs, of some 20 s each, decide, if the patch ends a fault that comes in 50 % of builds:"
    )
    assert "5 % of builds: 0 of 100 times" in outlook
    assert world.pursue() is End.PAIRS
    assert any(note.startswith("the budget can hardly decide it: at these rates the ") for note in world.notes)
    written = trials.read(world.run.folder)
    assert written.more_pairs is None or written.more_pairs > 9
    assert any("at these rates" in line for line in tried.further_words(written))


def test_where_nothing_failed_it_says_what_the_rate_can_still_be(world):
    world = world(without=0.0, pairs=10)
    world.open()
    world.pursue()
    told = " ".join(tried.further_words(trials.read(world.run.folder)))
    assert "nothing failed, so that there is nothing to mend yet: its rate without the patch is at most 28 %" in told


# ----------------------------------------------------------------------------------------------- runs stay what they are


def test_a_new_call_never_takes_up_an_old_one(world):
    world = world(pairs=5)
    world.open()
    world.pursue()
    first = world.run.folder
    world.open()
    assert world.run.folder != first
    assert world.books.standing.made == ()
    world.run.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"patches": (replace(PATCH, text="@@ -1 +1 @@\n-b\n+c\n"),)},
        {"findings": ("timestamps.tie",)},
        {"error_rate": 0.1},
        {"cell": replace(CELL, make=Make(jobs=3))},
    ],
    ids=["another patch", "another finding", "other error rates", "another cell of that id"],
)
def test_only_the_very_same_comparison_is_resumed(world, changes):
    world = world(pairs=5)
    world.open()
    world.pursue()
    with pytest.raises(UsageError, match="nothing to resume"):
        world.open(resume=True, **changes)


def test_lab_run_keeps_out_of_a_comparison(world, tmp_path):
    world = world(pairs=5)
    world.open()
    world.pursue()
    name = world.run.facts.run
    cells = (CELL,)
    with pytest.raises(UsageError, match="compares a cell with and without a patch"):
        session._open(session.Request(matrix=tmp_path / "m.yaml", name="m", cells=cells, run=name), world.settings)
    for matrix in ("m", "m-try"):
        with pytest.raises(UsageError, match="no run of"):
            session._latest_of(matrix, world.settings)


def test_a_run_of_another_matrix_whose_name_goes_on_is_not_the_latest(world, tmp_path):
    world = world()
    for name in ("m-20260101-000000", "m-next-20270101-000000"):
        facts = session.facts_of(tmp_path / "m.yaml", name, (CELL,))
        store.open_run(world.settings.results, facts).close()
    assert session._latest_of("m", world.settings) == "m-20260101-000000"


def test_attempts_that_were_amplified_otherwise_are_not_compared(world):
    world = world(pairs=5, cell=replace(CELL, amplify=Amplify(load=2)))
    world.open()
    with pytest.raises(UsageError, match="amplified rates are not natural ones"):
        world.pursue()  # these attempts say that they were natural


def test_too_few_pairs_to_decide_anything_are_refused_before_anything_begins(world, rows):
    world = world(pairs=1)
    with pytest.raises(UsageError, match="a limit of 1 pair decides nothing"):
        trial.run(world.request, world.settings, rows, world.hear, None)
    assert not world.settings.results.exists()
