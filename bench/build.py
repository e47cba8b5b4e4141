#!/usr/bin/env python3
"""What the lab costs: one cell against bare make in the same image, and a repeat with a warm ccache against a cold build.

    .venv/bin/python bench/build.py [--repeats 3]

Bare make: the same make lines in the same image and container limits on the same kind of filesystem, nothing of the lab
around them (no record, no wrapper, no watcher, no evidence, no checks). Both are built without ccache, one after the other.
CPU seconds are those of the container's processes (the shell's `times`), so that a noisy machine matters less.
Figures are ratios of one run on one machine; nothing here is a test.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import statistics
import tempfile
import threading
import time
from pathlib import Path

from lab import cli, kbuild
from lab.environment import engine as engines
from lab.environment import filesystem, image, source
from lab.environment.engine import Mount, Place
from lab.events import silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.use import session

MATRIX = Path(__file__).parent.parent / "matrices" / "quickstart.yaml"
CELL = "x86_64-gcc-12-tmpfs"
TIMED = ("sh", "-c", '"$@"; status=$?; echo; times; exit $status', "sh")
TIMES = re.compile(r"(\d+)m([\d.]+)s (\d+)m([\d.]+)s\s*\Z")


class Lab:
    """The machine's lab with a compiler cache of its own, so that cold is cold."""

    def __init__(self, scratch: Path) -> None:
        self.tables = cli.load_tables()
        shared = cli.settings()
        self.engine = engines.connect(shared)
        row = self.tables.image["bookworm-amd64-gcc12"]
        self.image = image.prepare(row, self.engine, shared)
        image.prepare(self.tables.image["bookworm-amd64-qemu"], self.engine, shared)
        matrix = read(MATRIX, self.tables)
        self.cell = next(cell for cell in expand(matrix) if cell.id == CELL)
        self.tree = source.prepare(self.cell.source, shared)
        self.settings = dataclasses.replace(shared, results=scratch / "results")
        self.ccache = scratch / "ccache"
        self.ccache.mkdir()
        self.ccache.chmod(0o777)

    def steps_cpu_s(self, *, ccache: bool, wrapped: bool = True) -> tuple[float, float]:
        """Run the make lines of the cell; return (wall seconds, CPU seconds)."""
        cell = dataclasses.replace(self.cell, ccache=ccache)
        arch, toolchain = self.tables.arch[cell.arch], self.tables.toolchain[cell.toolchain]
        cache = kbuild.CompilerCache(compiler=self.image.id)
        steps = (
            *kbuild.configure_steps(cell, arch, toolchain, jobs=self.settings.cores, cache=cache),
            kbuild.build_step(cell, arch, toolchain, jobs=self.settings.cores, cache=cache),
        )
        cpu_s = 0.0
        name = f"bench-{time.monotonic_ns()}"
        with filesystem.scratch(name, self.settings, self.engine, self.image.id) as place:
            (place.lab / "kconfig").mkdir()
            for file, text in kbuild.kconfig_files(cell):
                (place.lab / "kconfig" / file).write_text(text)
            row = self.tables.filesystem[cell.filesystem]
            with filesystem.mounted(row, place, self.settings, self.engine, self.image.id):
                mounts = [
                    Mount(host=self.tree.path, inside=kbuild.SOURCE),
                    Mount(host=place.out, inside=kbuild.OUT, writable=True),
                    Mount(host=place.lab, inside=kbuild.LAB),
                ]
                if ccache:
                    mounts.append(Mount(host=self.ccache, inside=kbuild.CCACHE, writable=True))
                where = Place(image=self.image.id, owner=place.owner, mounts=tuple(mounts))
                began = time.monotonic()
                for step in steps:
                    log = place.folder / f"{step.name}.log"
                    timed = dataclasses.replace(step, argv=(*TIMED, *step.argv)) if wrapped else step
                    result = self.engine.execute(timed, where, log)
                    text = log.read_text(errors="replace")
                    assert result.ok, text[-2000:]
                    if wrapped:
                        found = TIMES.search(text)
                        assert found, text[-200:]
                        minutes, seconds, system_minutes, system = found.groups()
                        cpu_s += 60 * (int(minutes) + int(system_minutes)) + float(seconds) + float(system)
                return time.monotonic() - began, cpu_s

    def cell_wall_s(self) -> float:
        """Run the cell as `lab run` does, without boot and without ccache; return its wall seconds."""
        cell = dataclasses.replace(self.cell, ccache=False, boot=None)
        request = session.Request(matrix=MATRIX, name="bench", cells=(cell,))
        done = session.run(request, self.settings, self.tables, silent, threading.Event())
        assert done.results[0].outcome.value == "PASS", done.results[0].reason
        return done.results[0].seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="warm builds, 0 for none; the median counts")
    parser.add_argument("--pairs", type=int, default=1, help="pairs of bare make and cell; the median ratio counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        ratios = []
        for _ in range(options.pairs):
            bare, _ = lab.steps_cpu_s(ccache=False, wrapped=False)
            cell = lab.cell_wall_s()
            ratios.append(cell / bare)
            print(f"bare make {bare:7.1f} s wall    one cell {cell:7.1f} s wall    ratio {cell / bare:.3f}", flush=True)
        print(f"one cell / bare make: {statistics.median(ratios):.3f} (goal 1.03)", flush=True)
        if not options.repeats:
            return
        _, cold = lab.steps_cpu_s(ccache=True)
        print(f"cold, filling ccache  {cold:7.1f} s CPU", flush=True)
        warm = []
        for _ in range(options.repeats):
            _, cpu = lab.steps_cpu_s(ccache=True)
            warm.append(cpu)
            print(f"warm                  {cpu:7.1f} s CPU    ratio {cpu / cold:.3f}", flush=True)
        print(f"warm / cold, CPU:     {statistics.median(warm) / cold:.3f} (goal 0.15)")


if __name__ == "__main__":
    main()
