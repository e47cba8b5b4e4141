#!/usr/bin/env python3
"""A hundred thousand attempts that only sleep, over two hundred workers of a real dask cluster: the makespan.

    .venv/bin/python bench/fleet.py [--cells 100000] [--workers 200] [--processes 4] [--scale 1] [--results /dev/shm]

Everything of `lab run --on` is real but the attempts: scheduler, workers, tasks as values, batches, the order from history,
reports back, results in the store. An attempt sleeps for a time drawn from a lognormal distribution (median 1 s, at most eight
times that) times --scale; its duration is known from history. The bound is what nobody could beat: all sleeps on all lanes
without a break, or the longest. The goal is 1.1 of that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import multiprocessing
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "use"))

from fleet_of_processes import Processes

from lab import cli
from lab.environment import cluster as clusters
from lab.events import Event, JobStarted
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import AttemptResult, Outcome
from lab.plan.placing import Worker, lower_bound
from lab.results import store
from lab.settings import Settings
from lab.use import fleet, remote, session
from lab.use.coordinator import Options

ROOT = Path(__file__).parent.parent
GOAL = 1.1
CELLS_OF_ONE_MATRIX = 5_000  # a matrix file has its own bound

MATRIX = """
version: 1
name: fleet
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: x86_64
  toolchain: gcc-12
  filesystem: tmpfs
  kconfig: [tinyconfig]
  repeat: %d
matrix:
  make:
"""


class Sleeper:
    """Makes attempts that only take time."""

    def __init__(self, lasting: dict[str, float]) -> None:
        self.lasting = lasting

    def __call__(self, task: remote.Task, *_: object) -> AttemptResult:
        time.sleep(self.lasting[task.key])
        return AttemptResult(number=task.number, outcome=Outcome.PASS, reason="slept", findings=())


# what two hundred workers do by the clock would be what is measured: on a machine each there is one of it
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.admin.system-monitor.interval": "60s",
    "distributed.admin.tick.interval": "10s",
}
IN_WORDS = {f"DASK_{name.replace('.', '__').replace('-', '_').upper()}": str(value) for name, value in QUIET.items()}


def serving(address: str, numbers: range, settings: Settings, lasting: dict[str, float]) -> None:
    """Be so many workers with one processor each, in this process."""
    import dask
    import distributed

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    dask.config.set(QUIET)
    ours = {"code": remote.code_hash(), "images": remote.images_hash(settings)}
    hand = remote.Hand(settings, cli.load_tables(), Sleeper(lasting))
    resident = clusters.Resident(facts=b"", perform=hand.perform)

    async def serve() -> None:
        made = []
        for number in numbers:
            said = Worker(host=f"w{number}", machine="x86_64", pools={"cpu": 1}, native=("x86_64",), **ours)
            worker = distributed.Worker(
                address, nthreads=1, resources=said.pools, memory_limit=0, dashboard=False, name=said.host
            )
            clusters.resident_of(worker, dataclasses.replace(resident, facts=store.encoded(said)))
            made.append(await worker)
        await asyncio.gather(*(worker.finished() for worker in made))

    asyncio.run(serve())


@contextlib.contextmanager
def cluster_of(
    options: argparse.Namespace, folder: Path, settings: Settings, lasting: dict[str, float]
) -> Iterator[str]:
    """Yield the address of a scheduler with all workers there; they are killed afterwards, as goodbyes would take minutes."""
    import distributed

    parts = [range(first, options.workers, options.processes) for first in range(options.processes)]
    spawn = multiprocessing.get_context("spawn")
    with Processes(folder, ROOT, dask=IN_WORDS) as scheduler:
        address = scheduler.address.replace("dask://", "tcp://")
        children = [spawn.Process(target=serving, args=(address, part, settings, lasting)) for part in parts]
        try:
            for child in children:
                child.start()
            with distributed.Client(address, set_as_default=False) as client:
                client.wait_for_workers(options.workers, timeout=600)
            yield scheduler.address
        finally:
            for child in children:
                child.kill()
                child.join()


def cpu_s(whose: int) -> float:
    """Return what a process, or its ended children, has used of processors so far."""
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--processes", type=int, default=4, help="in which the workers are")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--results", type=Path, default=Path("/dev/shm"))
    options = parser.parse_args()
    rows, chance, stop = cli.load_tables(), random.Random(1), threading.Event()
    repeat = -(-options.cells // CELLS_OF_ONE_MATRIX)
    with tempfile.TemporaryDirectory(dir=options.results) as folder:
        place = Path(folder)
        path = place / "matrix.yaml"
        makes = "".join(f"    - {{jobs: 1, targets: [t{number}.o]}}\n" for number in range(options.cells // repeat))
        path.write_text(MATRIX % repeat + makes)
        settings = dataclasses.replace(cli.settings(), results=place / "results", cache=place / "cache")
        cells = expand(read(path, rows))
        keys = [f"attempt:{cell.id}:{number}" for cell in cells for number in range(1, repeat + 1)]
        lasting = {key: options.scale * min(8.0, chance.lognormvariate(0.0, 0.7)) for key in keys}
        print(f"{len(keys)} attempts of {len(cells)} cells", flush=True)
        sent_s: list[float] = []

        def sink(event: Event) -> None:
            if isinstance(event, JobStarted):
                sent_s.append(time.monotonic())
                if len(sent_s) % 5_000 == 0:
                    print(f"{len(sent_s)} sent, {sent_s[-1] - sent_s[0]:.0f} s", file=sys.stderr, flush=True)

        request = session.Request(matrix=path, name="fleet", cells=cells)
        with cluster_of(options, place, settings, lasting) as address, session._open(request, settings) as opened:
            print(f"{options.workers} workers in {options.processes} processes", flush=True)
            before, before_s = store.History(durations=lasting), cpu_s(resource.RUSAGE_SELF)
            ended = fleet.work_off(
                cells, Options(address=address), opened, settings, rows, before, {}, sink, stop, lambda result: None
            )
            taken_s = time.monotonic() - sent_s[0]
        done = sum(end.value is not None for end in ended.values())
        bound_s = lower_bound(lasting.values(), options.workers)
        ratio = f"{taken_s / bound_s:.3f} (goal {GOAL})"
        print(f"{done} of {len(keys)} done; makespan {taken_s:.1f} s, bound {bound_s:.1f} s: {ratio}")
        spent_s, theirs_s = cpu_s(resource.RUSAGE_SELF) - before_s, cpu_s(resource.RUSAGE_CHILDREN)
        most_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        each = f"{1e3 * spent_s / len(keys):.2f} ms CPU an attempt, {most_mib} MiB"
        print(
            f"the lab's process: {each}; scheduler and workers, start included: {1e3 * theirs_s / len(keys):.2f} ms CPU"
        )
        sys.exit(taken_s / bound_s > GOAL or done != len(keys))


if __name__ == "__main__":
    main()
