#!/usr/bin/env python3
"""A hundred thousand attempts that only sleep, over two hundred workers of a real dask cluster in this process: the makespan.

    .venv/bin/python bench/fleet.py [--cells 100000] [--workers 200] [--scale 1] [--results /dev/shm]

Everything of `lab run --on` is real but the attempts: scheduler, workers, tasks as values, batches, the order from history,
reports back, results in the store. An attempt sleeps for a time drawn from a lognormal distribution (median 1 s, at most eight
times that) times --scale; its duration is known from history. The bound is what nobody could beat: all sleeps on all lanes
without a break, or the longest. The goal is 1.1 of that.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import random
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

from lab import cli
from lab.environment import cluster as clusters
from lab.events import CellJudged, Event, JobStarted
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import AttemptResult, Outcome
from lab.plan.placing import Worker, lower_bound
from lab.results import store
from lab.use import fleet, remote, session
from lab.use.coordinator import Options

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


def cluster_of(count: int, settings: object, rows: object, sleeper: Sleeper) -> object:
    """Start a scheduler and workers with one processor each, all in this process."""
    import dask
    import distributed

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    # what two hundred workers do by the clock would be what is measured: on a machine each there is one of it
    dask.config.set(
        {
            "distributed.worker.profile.enabled": False,
            "distributed.scheduler.work-stealing": False,
            "distributed.admin.system-monitor.interval": "60s",
        }
    )
    local = distributed.LocalCluster(
        n_workers=0, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=None, silence_logs=50
    )
    ours = {"code": remote.code_hash(), "images": remote.images_hash(settings)}
    resident = clusters.Resident(facts=b"", perform=remote.Hand(settings, rows, sleeper).perform)

    async def start() -> list[object]:
        made = []
        for number in range(count):
            said = Worker(host=f"w{number}", machine="x86_64", pools={"cpu": 1}, native=("x86_64",), **ours)
            worker = distributed.Worker(
                local.scheduler_address,
                nthreads=1,
                resources=said.pools,
                memory_limit=0,
                dashboard=False,
                name=said.host,
            )
            clusters.resident_of(worker, dataclasses.replace(resident, facts=store.encoded(said)))
            made.append(await worker)
        return made

    local.made = local.sync(start)
    return local


def cpu_s() -> float:
    """Return what this process has used of processors so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=200)
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
        local = cluster_of(options.workers, settings, rows, Sleeper(lasting))
        address = local.scheduler_address.replace("tcp://", "dask://")
        print(f"{options.workers} workers at {address}", flush=True)
        first: list[float] = []
        before_s = cpu_s()
        told = [0]

        def sink(event: Event) -> None:
            if isinstance(event, JobStarted) and not first:
                first.append(time.monotonic())
            told[0] += isinstance(event, CellJudged | JobStarted)
            if isinstance(event, JobStarted) and told[0] % 10_000 == 0:
                print(f"{told[0]} sent, {time.monotonic() - first[0]:.0f} s", flush=True)

        request = session.Request(matrix=path, name="fleet", cells=cells)
        with session._open(request, settings) as opened:
            before = store.History(durations=lasting)
            ended = fleet.work_off(
                cells, Options(address=address), opened, settings, rows, before, {}, sink, stop, lambda result: None
            )
        taken_s = time.monotonic() - first[0]
        done = sum(end.value is not None for end in ended.values())
        bound_s = lower_bound(lasting.values(), options.workers)
        spent_s, most_mib = cpu_s() - before_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        ratio = f"{taken_s / bound_s:.3f} (goal {GOAL})"
        print(f"{done} of {len(keys)} done; makespan {taken_s:.1f} s, bound {bound_s:.1f} s: {ratio}")
        print(f"{1e3 * spent_s / len(keys):.2f} ms CPU an attempt, cluster included; {most_mib} MiB")
        sys.stdout.flush()
        bad = taken_s / bound_s > GOAL or done != len(keys)
    os._exit(int(bad))  # two hundred workers take minutes to say goodbye to one another


if __name__ == "__main__":
    main()
