#!/usr/bin/env python3
"""What the audit of .cmd files costs: reading all of them and judging their times, against `cat` of the same files.

    .venv/bin/python bench/audit.py DIR… [--repeats 5]

DIR: output directories of kbuild. read: commands.read_commands(), every .cmd file to typed facts. audit: that, and the three
passes over all dependencies that the check of timestamps makes (inputs newer than objects, inputs written after their object,
ties), with every target taken for a linked one, which is the most work. cat: the same files in the same order, to /dev/null.
Each is the best of the repeats, in turn, with the files in the page cache; CPU time of process and children. A busy machine
shares its caches and, between hyperthreads, its cores: there CPU time grows for everybody. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from lab.evidence import commands, mtimes, race

SECOND_NS = 1_000_000_000
ARGUMENTS_BYTES = 100_000  # of one call of cat


def cpu_s(act: Callable[[], object]) -> float:
    """Return the CPU seconds of this process and its children. os.times() would count in hundredths."""
    before = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    act()
    after = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    children_s = sum(after[1][:2]) - sum(before[1][:2])
    return after[0] - before[0] + children_s


def cat(root: Path, files: list[str]) -> None:
    pending: list[str] = []
    size = 0
    for file in [*files, ""]:
        if pending and (not file or size + len(file) > ARGUMENTS_BYTES):
            subprocess.run(["cat", "--", *pending], cwd=root, stdout=subprocess.DEVNULL, check=True)
            pending, size = [], 0
        pending.append(file)
        size += len(file) + 1


class Tree:
    """An output directory: its .cmd files and the times of all files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.times = mtimes.scan(root).times
        self.files = sorted(filter(commands.is_command_file, self.times))
        self.bytes = sum((root / file).lstat().st_size for file in self.files)

    def read(self) -> tuple[commands.Command, ...]:
        return tuple(commands.read_commands(self.root, self.files))

    def judge(self, found: tuple[commands.Command, ...]) -> None:
        linked = {command.target: "vmlinux" for command in found}
        changes = {path: (time_ns,) for path, time_ns in self.times.items()}
        clock = race.Clock(times=self.times, changes=changes, granularity_ns=SECOND_NS)
        given = race.Dependencies(found, self.times)
        race.newer_inputs(given, linked, self.times, clock, race.End(time_ns=max(self.times.values())))
        race.dependency_pairs(given, linked, clock)
        race.ties(given, linked, self.times, SECOND_NS)

    def audit(self) -> None:
        self.judge(self.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trees", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for root in options.trees:
        tree = Tree(root)
        count = len(tree.files)
        best = {"cat": 1e9, "read": 1e9, "audit": 1e9}
        for _ in range(options.repeats):
            best["cat"] = min(best["cat"], cpu_s(lambda tree=tree: cat(tree.root, tree.files)))
            best["read"] = min(best["read"], cpu_s(tree.read))
            best["audit"] = min(best["audit"], cpu_s(tree.audit))
        tracemalloc.start()
        before = time.monotonic()
        tree.audit()
        traced_s, peak = time.monotonic() - before, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        lines = sum(len(command.deps) for command in tree.read())
        print(f"{root}: {count} .cmd files, {tree.bytes / 1e6:.1f} MB, {lines / 1e3:.0f} thousand dependencies")
        for name, seconds in best.items():
            print(
                f"  {name:6} {count / max(seconds, 1e-9):9.0f} files/s   {seconds / max(best['cat'], 1e-9):5.2f} x cat"
            )
        print(
            f"  memory {peak / 1e6:.1f} MB at most, {peak / tree.bytes:.2f} x the files ({traced_s:.1f} s while traced)"
        )
        print(f"  goal   20000 files/s: {'met' if count / best['audit'] >= 20_000 else 'missed'}", flush=True)


if __name__ == "__main__":
    main()
