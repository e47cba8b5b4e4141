"""The live view: lines for what happened, a drawing for what happens, an estimate that admits what it does not know."""

import errno
import io

import pytest

from lab.events import CellJudged, JobFinished, JobProgress, JobStarted, Note, RunStarted
from lab.model import Outcome
from lab.report.live import Progress, Running, live, running_line


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def told(events, *, terminal=False, colour=False):
    """Return what a stream gets from (time, event) pairs."""
    stream, clock = io.StringIO(), Clock()
    with live(stream, terminal=terminal, colour=colour, clock=clock, width=100) as sink:
        for at_s, event in events:
            clock.now_s = at_s
            sink(event)
    return stream.getvalue()


EVENTS = [
    (0, RunStarted(run="quickstart-1", cells=("tmpfs", "ext4"), finished=("ext4",))),
    (0, Note(text="mounting a loop device")),
    (1, JobStarted(key="image:a", title="image a")),
    (61, JobFinished(key="image:a", title="image a", seconds=60.0)),
    (61, JobStarted(key="attempt:tmpfs:1", title="tmpfs", cell="tmpfs")),
    (62, JobProgress(key="attempt:tmpfs:1", step="build", detail="CC a.o")),
    (63, JobProgress(key="attempt:tmpfs:1", step="build", detail="CC b.o")),
    (99, JobFinished(key="attempt:tmpfs:1", title="tmpfs", cell="tmpfs", seconds=38.0)),
    (3661, CellJudged(cell="tmpfs", outcome=Outcome.FAIL, reason="build.compiler: x")),
]


def test_elsewhere_each_thing_that_happened_is_one_plain_line():
    assert told(EVENTS) == (
        "[00:00] run quickstart-1: 2 cells, 1 of them finished before\n"
        "[00:00] mounting a loop device\n"
        "[00:01] begin image a\n"
        "[01:01] ready image a (1 min 00 s)\n"
        "[01:01] begin tmpfs\n"
        "[01:02] build     tmpfs\n"
        "[1:01:01] FAIL  tmpfs  build.compiler: x\n"
    )


def test_lost_work_is_told_with_its_reason():
    assert told([(0, JobFinished(key="k", title="image a", error="no space left"))]) == (
        "[00:00] lost  image a: no space left\n"
    )


def test_on_a_terminal_the_lines_stay_and_the_drawing_goes():
    text = told(EVENTS, terminal=True)
    assert "build.compiler: x" in text
    assert "\x1b[2K" in text


def test_colour_is_an_argument():
    assert "\x1b[" not in told(EVENTS)
    assert "\x1b[1;31m" in told(EVENTS, colour=True)


def test_hostile_progress_obeys_nobody():
    job = Running(title="t\x1b[2J", cell="", since_s=0.0, step="[bold]", detail="\x1b]0;x\x07\u202e", fraction=0.5)
    assert running_line(job, 5.0) == "  00:05  t  [bold] 50%  <U+202E>"


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_a_reader_who_went_away_stops_nothing():
    with live(Gone(), terminal=False, colour=False) as sink:
        for _, event in EVENTS:
            sink(event)


class HungUp(io.StringIO):
    def write(self, text=""):
        raise OSError(errno.EIO, "Input/output error")

    flush = write


def test_a_terminal_that_hangs_up_stops_nothing():
    with live(HungUp(), terminal=True, colour=True, width=80) as sink:
        for _, event in EVENTS:
            sink(event)


def applied(progress, events):
    for at_s, event in events:
        progress.apply(event, at_s)
    return progress


def test_reused_and_judged_cells_are_done_and_counted_once():
    progress = applied(Progress(), [*EVENTS, (0, CellJudged(cell="ext4", outcome=Outcome.PASS, reason=""))])
    assert (progress.done, progress.cells, progress.unexpected, progress.running) == (2, 2, 1, {})


def test_without_anything_known_there_is_no_estimate():
    progress = applied(Progress(), EVENTS[:5])
    assert progress.estimate_s(100.0) is None
    assert progress.summary(100.0) == "1 of 2 cells done, 0 to look at, 1 running"


def test_the_estimate_counts_what_runs_and_what_waits():
    started = RunStarted(run="r", cells=("a", "b", "c"))
    progress = applied(
        Progress(history={"attempt:a:1": 100.0, "attempt:b:1": 50.0}),
        [(0, started), (0, JobStarted(key="attempt:a:1", title="a", cell="a"))],
    )
    assert progress.estimate_s(40.0) == pytest.approx(60.0 + 2 * 75.0)


def test_cells_that_run_beside_one_another_halve_the_estimate_but_not_below_the_longest():
    progress = applied(
        Progress(history={"attempt:a:1": 100.0, "attempt:b:1": 20.0}),
        [
            (0, RunStarted(run="r", cells=("a", "b"))),
            (0, JobStarted(key="attempt:a:1", title="a", cell="a")),
            (0, JobStarted(key="attempt:b:1", title="b", cell="b")),
        ],
    )
    assert progress.estimate_s(0.0) == pytest.approx(100.0)


def test_many_running_jobs_are_drawn_in_a_few_lines():
    stream, clock = io.StringIO(), Clock()
    with live(stream, terminal=False, colour=False, clock=clock) as view:
        for number in range(100):
            view(JobStarted(key=str(number), title=f"job {number}"))
        drawing = view.drawing()
    assert len(drawing.plain.splitlines()) == 10
    assert drawing.plain.endswith("… and 92 more")


def test_ten_thousand_cells_of_which_hundreds_run_are_still_a_few_lines():
    stream, clock = io.StringIO(), Clock()
    names = [f"cell-{number}" for number in range(10_000)]
    with live(stream, terminal=False, colour=False, clock=clock) as view:
        view(RunStarted(run="many", cells=tuple(names)))
        for name in names[:9_000]:
            view(JobStarted(key=f"attempt:{name}:1", title=name, cell=name))
            if name not in names[8_600:9_000]:
                view(JobFinished(key=f"attempt:{name}:1", title=name, cell=name, seconds=10.0))
                view(CellJudged(cell=name, outcome=Outcome.FAIL if name == "cell-7" else Outcome.PASS, reason=""))
        drawing = view.drawing().plain.splitlines()
    assert drawing[0] == "8600 of 10000 cells done, 1 to look at, 400 running, about 35 s left"
    assert len(drawing) == 10
    assert drawing[-1].endswith("… and 392 more")
    assert all(len(line) < 100 for line in drawing)
    (told,) = [line for line in stream.getvalue().splitlines() if "FAIL" in line]
    assert told.endswith("FAIL  cell-7  ")
