#!/usr/bin/env python3
"""What attempts of one cell cost: the first one with an empty compiler cache, then many, all as `lab run` makes them.

    .venv/bin/python bench/repeats.py [--times 20] [--matrix matrices/quickstart.yaml] [--cell x86_64-gcc-12-tmpfs]

CPU seconds of everything, boots and judging included: of all containers (the engine's control group, so let no others run
meanwhile), of the lab and of the processes that it starts. Sources and images are those of the machine's cache. Figures are of
one run on one machine; nothing here is a test.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import resource
import tempfile
import threading
import time
from pathlib import Path

from lab import cli
from lab.events import silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.settings import Settings
from lab.use import session

MATRIX = Path(__file__).parent.parent / "matrices" / "quickstart.yaml"
CELL = "x86_64-gcc-12-tmpfs"
GOAL = 0.15
OWN = ("ccache", "work", "locks", "progress")  # of the cache: not shared with the machine's
GROUPS = ("cpuacct/docker/cpuacct.usage", "docker/cpu.stat", "system.slice/docker.service/cpu.stat")


def containers_cpu_s() -> float:
    """Return the CPU seconds of all containers since the engine was started (cgroups(7), version 1 or 2)."""
    for name in GROUPS:
        path = Path("/sys/fs/cgroup") / name
        if path.is_file():
            text = path.read_text()
            found = re.search(r"^usage_usec (\d+)", text, re.M)
            return int(found[1]) / 1e6 if found else int(text) / 1e9
    raise SystemExit("the engine's control group is at none of: " + ", ".join(GROUPS))


def cpu_s() -> float:
    """Return the CPU seconds of containers, of this process and of its children."""
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return containers_cpu_s() + sum(one.ru_utime + one.ru_stime for one in own)


def with_own_cache(shared: Settings, folder: Path) -> Settings:
    """Return settings with sources and images of the machine, and an empty compiler cache."""
    cache = folder / "cache"
    cache.mkdir()
    for entry in shared.cache.iterdir():
        if entry.is_dir() and entry.name not in OWN:
            (cache / entry.name).symlink_to(entry)
    return dataclasses.replace(shared, cache=cache, results=folder / "results")


def attempts_cpu_s(settings: Settings, matrix: Path, name: str, times: int) -> float:
    """Run a cell so many times; return the CPU seconds of all attempts together."""
    tables = cli.load_tables()
    cell = next(cell for cell in expand(read(matrix, tables)) if cell.id == name)
    cell = dataclasses.replace(cell, repeat=times)
    request = session.Request(matrix=matrix, name=f"repeats-{times}", cells=(cell,))
    before, began = cpu_s(), time.monotonic()
    done = session.run(request, settings, tables, silent, threading.Event())
    used = cpu_s() - before
    (result,) = done.results
    assert len(result.attempts) == times, result.reason
    print(
        f"{times:3} attempts: {result.outcome.value}, {used:8.1f} s CPU, {time.monotonic() - began:8.1f} s wall",
        flush=True,
    )
    return used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--matrix", type=Path, default=MATRIX)
    parser.add_argument("--cell", default=CELL, help="of the matrix")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = with_own_cache(cli.settings(), Path(folder))
        cold = attempts_cpu_s(settings, options.matrix, options.cell, 1)
        warm = attempts_cpu_s(settings, options.matrix, options.cell, options.times)
        print(f"an attempt of {options.times} / a cold one, CPU: {warm / options.times / cold:.3f} (goal {GOAL})")


if __name__ == "__main__":
    main()
