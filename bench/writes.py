#!/usr/bin/env python3
"""What the record of writes (fanotify) costs: the same small build with and without it, in turn, as a ratio of CPU seconds.

    .venv/bin/python bench/writes.py [--pairs 3] [--target lib/]

A tree of the quickstart's linux 6.1 is configured once; then the target is made again and again from nothing, without a
compiler cache, every other time with the recorder running. CPU seconds of the build are the container's (the shell's `times`):
what the kernel spends on noting events is part of them. CPU seconds of the recorder are those of its process, where it runs on
this machine and not in a helper. Figures are of one run on one machine; nothing here is a test.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import re
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from lab import cli, kbuild
from lab.environment import engine as engines
from lab.environment import filesystem, image, source, writes
from lab.environment.engine import Mount, Place
from lab.environment.filesystem import Scratch
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Step

MATRIX = Path(__file__).parent.parent / "matrices" / "quickstart.yaml"
CELL = "x86_64-gcc-12-tmpfs"
TIMED = ("sh", "-c", '"$@"; status=$?; echo; times; exit $status', "sh")
TIMES = re.compile(r"(\d+)m([\d.]+)s (\d+)m([\d.]+)s\s*\Z")


class Bench:
    """A configured tree on tmpfs, and how one target is made in it."""

    def __init__(self, place: Scratch, target: str) -> None:
        self.place, self.target = place, target
        self.settings, self.tables = cli.settings(), cli.load_tables()
        self.engine = engines.connect(self.settings)
        self.image = image.prepare(self.tables.image["bookworm-amd64-gcc12"], self.engine, self.settings)
        found = next(cell for cell in expand(read(MATRIX, self.tables)) if cell.id == CELL)
        self.cell = dataclasses.replace(found, ccache=False)
        tree = source.prepare(self.cell.source, self.settings)
        mounts = (
            Mount(host=tree.path, inside=kbuild.SOURCE),
            Mount(host=place.out, inside=kbuild.OUT, writable=True),
            Mount(host=place.lab, inside=kbuild.LAB),
        )
        self.where = Place(image=self.image.id, owner=place.owner, mounts=mounts)
        (place.lab / "kconfig").mkdir()
        for name, text in kbuild.kconfig_files(self.cell):
            (place.lab / "kconfig" / name).write_text(text)

    def cpu_s(self, step: Step) -> float:
        """Run a step; return its CPU seconds."""
        log = self.place.folder / f"bench-{time.monotonic_ns()}.log"
        result = self.engine.execute(dataclasses.replace(step, argv=(*TIMED, *step.argv)), self.where, log)
        text = log.read_text(errors="replace")
        found = TIMES.search(text)
        assert result.ok, text[-2000:]
        assert found, text[-200:]
        minutes, seconds, system_minutes, system = found.groups()
        return 60 * (int(minutes) + int(system_minutes)) + float(seconds) + float(system)

    def configure(self) -> None:
        arch, toolchain = self.tables.arch[self.cell.arch], self.tables.toolchain[self.cell.toolchain]
        for step in kbuild.configure_steps(self.cell, arch, toolchain, jobs=2):
            self.cpu_s(step)
        self.step = kbuild.build_step(self.cell, arch, toolchain, jobs=2)
        line = kbuild.make_line(self.cell, arch, toolchain, jobs=2, targets=("prepare", self.target))
        self.step = dataclasses.replace(self.step, argv=line)
        self.cpu_s(self.step)  # host programs and headers once

    def made_from_nothing_s(self, *, recorded: bool) -> tuple[float, float, int]:
        """Return CPU seconds of the build and of the recorder, and how many events it wrote."""
        for path in (self.place.out / self.target).rglob("*.o"):
            path.unlink()
        if not recorded:
            return self.cpu_s(self.step), 0.0, 0
        output = self.place.folder / "writes.tsv"
        with writes.recorded(self.place, output, self.settings, self.engine, self.image.id) as recording:
            assert recording.works, "the recorder does not work here"
            before = os.times()
            built_s = self.cpu_s(self.step)
        after = os.times()  # the recorder is a child and has been waited for
        recorder_s = after.children_user + after.children_system - before.children_user - before.children_system
        return built_s, recorder_s, output.read_bytes().count(b"\n")


@contextlib.contextmanager
def bench(target: str) -> Iterator[Bench]:
    settings, tables = cli.settings(), cli.load_tables()
    engine = engines.connect(settings)
    built = image.prepare(tables.image["bookworm-amd64-gcc12"], engine, settings)
    name = f"bench-writes-{os.getpid()}-{threading.get_native_id()}"
    with filesystem.scratch(name, settings, engine, built.id) as place:
        one = Bench(place, target)
        row = tables.filesystem[one.cell.filesystem]
        with filesystem.mounted(row, place, settings, engine, built.id):
            one.configure()
            yield one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--target", default="lib/")
    options = parser.parse_args()
    ratios = []
    with bench(options.target) as one:
        for _ in range(options.pairs):
            plain, _, _ = one.made_from_nothing_s(recorded=False)
            noted, recorder, events = one.made_from_nothing_s(recorded=True)
            ratios.append((noted + recorder) / plain)
            print(
                f"without {plain:6.2f} s CPU    with {noted:6.2f} + recorder {recorder:5.2f} s CPU, {events} events"
                f"    ratio {ratios[-1]:.3f}",
                flush=True,
            )
    print(f"with the record of writes / without, CPU: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
