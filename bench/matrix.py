#!/usr/bin/env python3
"""What ten thousand cells cost beside their builds: reading, expanding, planning, then each cell as one that does nothing.

    .venv/bin/python bench/matrix.py [--cells 10000] [--results /dev/shm]

A cell that does nothing goes the way of every other (queue, threads, store, verdict, live view), but its attempt is an empty
folder and a PASS. --results: where the store is made; on a disk each file is synced, and that is the disk's time and not ours.
Memory is what the process had at most, less what it had with everything imported.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

from lab import cli
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import AttemptResult, Cell, Outcome
from lab.plan.estimate import estimate
from lab.plan.jobs import AttemptWork, Job
from lab.plan.schedule import Order, work_off
from lab.report import live
from lab.results import store, verdict
from lab.use import session
from lab.use.crew import Crew, planned_jobs, pools

AXES = {"filesystem": ["tmpfs", "ext4", "ext4-128", "xfs"], "kconfig": ["tinyconfig", "defconfig", "allmodconfig"]}
READ_GOAL_S, CELL_GOAL_MS, CELL_GOAL_KIB = 1.0, 3.0, 30.0


def written(cells: int) -> str:
    """Return a matrix of about so many cells, with the axes of a real one."""
    kconfig = [f"[{name}]" for name in AXES["kconfig"]]
    lines = [
        "version: 1", "name: many", "defaults:", "  source: {debian: linux-source-6.1, suite: bookworm}", "  arch: x86_64",
        "  toolchain: gcc-12", "matrix:", f"  filesystem: [{', '.join(AXES['filesystem'])}]",
        f"  kconfig: [{', '.join(kconfig)}]", "  make:",
    ]  # fmt: skip
    each = -(-cells // (len(AXES["filesystem"]) * len(kconfig)))
    return "\n".join([*lines, *(f"    - {{targets: [lib/t{number}.o]}}" for number in range(each)), ""])


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Clock:
    """Says what each part took, in wall and CPU time."""

    def __init__(self) -> None:
        self.mark()

    def mark(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def say(self, what: str, more: str = "") -> float:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        print(f"{what:<28} {wall:7.2f} s, {cpu:6.2f} s CPU  {more}", flush=True)
        self.mark()
        return cpu


class Idle(Crew):
    """A crew whose attempts do nothing."""

    def do(self, job: Job) -> AttemptResult | None:
        if not isinstance(job.payload, AttemptWork):
            return None
        cell, number = job.payload.cell, job.payload.number
        assert self._run is not None
        folder = self._run.attempt_folder(cell.id, number)
        result = AttemptResult(
            number=number, outcome=Outcome.PASS, reason="built", findings=(),
            folder=str(folder.relative_to(self._run.folder)),
        )  # fmt: skip
        self._run.keep_attempt(cell.id, result)
        self.tell(verdict.cell_result(cell, (result,)))
        return result


def run(matrix: Path, cells: tuple[Cell, ...], settings: object, clock: Clock, screen: io.StringIO) -> None:
    """Do what session.run() does, with an idle crew and without an engine."""
    rows = cli.load_tables()
    request = session.Request(matrix=matrix, name="many", cells=cells)
    with session._open(request, settings) as opened, live.live(screen, terminal=False, colour=False) as sink:
        sink(session._started(request, opened, {}))
        crew = Idle(cells, settings, rows, None, sink, threading.Event(), opened)
        clock.mark()
        ended = work_off(crew.jobs({}), crew.do, pools=pools(settings), sink=sink, threads=8)
        results = tuple(session._result(cell, {}, ended, None, opened.folder) for cell in cells)
        session._keep(opened, results, ended, rows)
    assert all(result.outcome is Outcome.PASS for result in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--results", type=Path, default=Path("/dev/shm"))
    options = parser.parse_args()
    rows, clock = cli.load_tables(), Clock()
    with tempfile.TemporaryDirectory(dir=options.results) as folder:
        place = Path(folder)
        path = place / "matrix.yaml"
        path.write_text(written(options.cells))
        settings = dataclasses.replace(cli.settings(), results=place / "results", cache=place / "cache")
        before_kib = peak_kib()
        clock.mark()
        matrix = read(path, rows)
        clock.say("read")
        cells = expand(matrix)
        planning = clock.say("expand", f"{len(cells)} cells")
        jobs = planned_jobs(cells, settings, rows, {}, {})
        planning += clock.say("jobs", f"{len(jobs)} jobs")
        Order.of(jobs, {}, frozenset())
        planning += clock.say("order")
        print(f"expand and plan: {planning:.2f} s CPU (goal {READ_GOAL_S} s)")
        estimate(jobs, pools=pools(settings), durations={})
        clock.say("estimate")
        del jobs
        screen = io.StringIO()
        run(path, cells, settings, clock, screen)
        cpu_s = clock.say("run", f"{screen.getvalue().count(chr(10))} lines told")
        taken_kib = peak_kib() - before_kib
        print(f"a cell: {1e3 * cpu_s / len(cells):.2f} ms CPU (goal {CELL_GOAL_MS})", end=", ")
        print(f"{taken_kib / len(cells):.1f} KiB at the peak (goal {CELL_GOAL_KIB})")
        begun_s = time.perf_counter()
        history = store.read_history(settings.results)
        print(f"history of the next run: {time.perf_counter() - begun_s:.2f} s, {len(history.durations)} jobs")


if __name__ == "__main__":
    sys.exit(main())
