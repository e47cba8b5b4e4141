#!/usr/bin/env python3
"""Run a matrix on three workers of this machine, kill one and pull the cable of another while they build.

    .venv/bin/lab run matrices/architectures.yaml
    .venv/bin/python bench/lost_workers.py matrices/architectures.yaml --against results/latest

The workers are processes with processors of their own; they share this machine's cache, as several labs of one machine do. The
one that is cut off has a network namespace of its own. Every verdict, every finding and whom it blames are held against those
of the run that is named, which nobody disturbed. Needs root, for the namespace; and `dask.distributed`.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "use"))

from fleet_of_processes import NEAR, Processes, Saboteur, told, unplugged

from lab import cli
from lab.events import CellJudged, Event, JobStarted
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.results import store
from lab.use import session
from lab.use.coordinator import Options

ROOT = Path(__file__).parent.parent


class Teller(Saboteur):
    """Says besides where each attempt is made, and when each cell was judged."""

    began = time.monotonic()

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        at = f"{time.monotonic() - self.began:7.0f} s"
        if isinstance(event, JobStarted) and event.key in self.where:
            print(f"{at}  {event.title}", flush=True)
        if isinstance(event, CellJudged):
            print(f"{at}  {event.cell}: {event.outcome}", flush=True)


def main() -> int:
    """Run, compare, and print a row for each cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--against", type=Path, required=True, help="the folder of an undisturbed run")
    parser.add_argument("--without", metavar="PATTERN", default="", help="leave out the cells of such names")
    options = parser.parse_args()
    rows = cli.load_tables()
    matrix = read(options.matrix, rows)
    cells = tuple(cell for cell in expand(matrix) if not fnmatch.fnmatchcase(cell.id, options.without))
    kept = store.read_results(options.against.resolve())
    usual = told(kept[cell.id] for cell in cells if cell.id in kept)
    every = sorted(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory() as folder,
        unplugged(f"lab{os.getpid()}") as (cut, heal, before),
        Processes(Path(folder), ROOT, NEAR) as fleet,
    ):
        fleet.worker("lost", processors=every, before=before)
        fleet.worker("killed", processors=every[:1])
        fleet.worker("sound", processors=every)
        fleet.wait_for(3)
        teller = Teller({"killed": lambda: fleet.kill("killed"), "lost": lambda: cut("lost")})
        name = f"{matrix.name}-lost-workers"
        asked = session.Request(
            matrix=options.matrix, name=name, cells=cells, run=store.run_name(name, time.time()),
            on=Options(address=fleet.address),
        )  # fmt: skip
        done = session.run(asked, cli.settings(), rows, teller, threading.Event())
        found = told(done.results)
        heal("lost")  # it hears only now that it was given up
    for note in teller.notes():
        print(f"          {note}")
    print("| cell | undisturbed | worker killed, worker cut off |")
    print("| --- | --- | --- |")
    for cell in sorted({*usual, *found}):
        print(f"| {cell} | {usual.get(cell, ('—',))[0]} | {found.get(cell, ('—',))[0]} |")
    same = found == usual
    told_of = "every verdict, finding and blame is the same" if same else "NOT the same"
    print(f"hit while they built: {', '.join(sorted(teller.struck))}; {told_of}")
    return 0 if same and len(teller.struck) == 2 else 1


if __name__ == "__main__":
    sys.exit(main())
