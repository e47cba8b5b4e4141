#!/usr/bin/env python3
"""What emulation costs: one cell built in several modes, one after the other, with CPU and wall seconds and their ratios.

    .venv/bin/python bench/emulation.py                                    # armhf accelerated, emulated; whole: an hour of CPU
    .venv/bin/python bench/emulation.py --target lib/                      # configuration and a folder: some minutes
    .venv/bin/python bench/emulation.py --arch arm64 --mode cross --mode accelerated --hot 12

The cell is that of matrices/architectures.yaml for the architecture: its make lines, in its containers, on its filesystem,
without ccache and without boot; no evidence is packed. CPU seconds are those of the container's processes (the shell's
`times`), emulator and all, so that a noisy machine matters less. Ratios are to the last mode. --hot tells which programs they
went to (as root: bench/exits.py). Figures are ratios of one run on one machine; nothing here is a test.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import shutil
import sys
import threading
import time
from pathlib import Path

import exits

from lab import cli
from lab.environment import emulation
from lab.environment import engine as engines
from lab.errors import LabError
from lab.events import Event, JobProgress, Note
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Cell, Deadlines, Emulation
from lab.tables import Tables
from lab.use import crew
from lab.use.attempt import Attempt
from lab.use.bench import laid_out

MATRIX = Path(__file__).parent.parent / "matrices" / "architectures.yaml"
MARK = "lab-bench"  # the name of the shell around a step: whose descendants count
TIMED = (
    "sh",
    "-c",
    f'printf {MARK} >/proc/self/comm; "$@"; status=$?; echo; times; exit $status',
    "sh",
)
TIMES = re.compile(r"(\d+)m([\d.]+)s (\d+)m([\d.]+)s\s*\Z")
LONG = Deadlines(configure_s=7200, build_s=6 * 3600, boot_s=120)


@dataclasses.dataclass(slots=True)
class Cost:
    """What one mode took. steps: (name, wall seconds, CPU seconds)."""

    mode: Emulation
    steps: list[tuple[str, float, float]] = dataclasses.field(default_factory=list)
    hot: list[tuple[str, int, float]] = dataclasses.field(default_factory=list)

    @property
    def wall_s(self) -> float:
        return sum(wall for _, wall, _ in self.steps)

    @property
    def cpu_s(self) -> float:
        return sum(cpu for *_, cpu in self.steps)


def measured(cell: Cell, options: argparse.Namespace, tables: Tables) -> Cost:
    """Build a cell once and return what it took."""
    settings = dataclasses.replace(cli.settings(), cores=options.jobs) if options.jobs else cli.settings()
    cost = Cost(cell.emulation)
    with engines.connect(settings) as engine, contextlib.ExitStack() as stack:
        bench, inputs = crew.prepared(cell, settings, tables, engine, _tell, threading.Event())
        if inputs.tools is not None:
            emulation.check_versions(inputs.build, inputs.tools)
        name = f"bench-{cell.emulation}-{time.monotonic_ns()}"
        place, _ = stack.enter_context(laid_out(bench, name, cell, inputs))
        attempt = Attempt(bench, cell, 1, "bench", inputs, place.folder)
        attempt.decide()
        heard = exits.Exits() if options.hot else None
        for step in (*attempt.configure_steps, attempt.build_step):
            log = place.folder / f"{step.name}.log"
            timed = dataclasses.replace(step, argv=(*TIMED, *step.argv))
            result = engine.execute(timed, attempt.build_place(place), log)
            text = log.read_text(errors="replace")
            found = TIMES.search(text)
            assert result.ok, text[-2000:]
            assert found, text[-200:]
            minutes, seconds, system_minutes, system = found.groups()
            cpu_s = 60 * (int(minutes) + int(system_minutes)) + float(seconds) + float(system)
            cost.steps.append((step.name, result.seconds, cpu_s))
            print(f"{cell.emulation:12} {step.name:14} {cpu_s:8.1f} s CPU {result.seconds:8.1f} s wall", flush=True)
        if heard is not None:
            cost.hot = exits.below(MARK, heard.close())
            _print_hot(cost, options.hot, heard.lost)
        if options.keep:
            shutil.copytree(place.out, Path(options.keep) / cell.emulation.value, symlinks=True)
    return cost


def _print_hot(cost: Cost, rows: int, lost: int) -> None:
    print(f"{cost.mode}: program           processes    s CPU   ms each" + (f"   ({lost} bursts lost)" if lost else ""))
    for name, count, cpu_s in cost.hot[:rows]:
        print(f"    {name:24} {count:12} {cpu_s:8.1f} {1000 * cpu_s / count:9.1f}")
    rest = cost.hot[rows:]
    print(
        f"    {'all others':24} {sum(count for _, count, _ in rest):12} {sum(cpu for *_, cpu in rest):8.1f}", flush=True
    )


def _tell(event: Event) -> None:
    if isinstance(event, JobProgress | Note):
        print(getattr(event, "detail", "") or getattr(event, "text", ""), file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="armhf", help="a row of lab/data/arch.yaml")
    parser.add_argument(
        "--mode", action="append", choices=[one.value for one in Emulation], help="repeatable, in order"
    )
    parser.add_argument("--target", action="append", default=[], help="make's targets instead of the whole kernel")
    parser.add_argument("--jobs", type=int, default=0, help="of make; 0: the machine's cores")
    parser.add_argument("--hot", type=int, default=0, metavar="ROWS", help="print the dearest programs (needs root)")
    parser.add_argument("--keep", default="", metavar="DIR", help="copy the output directories there: DIR/MODE")
    return parser.parse_args()


def main() -> None:
    options = _arguments()
    modes = [Emulation(one) for one in options.mode or ["accelerated", "emulated"]]
    tables = cli.load_tables()
    matrix = read(MATRIX, tables)
    arch = tables.arch_named(options.arch)
    found = next((cell for cell in expand(matrix) if arch and cell.arch == arch.name), None)
    if found is None:
        sys.exit(f"no cell of {MATRIX.name} is {options.arch!r}")
    lacking = [one.value for one in modes if not tables.toolchain[found.toolchain].image_for(one, found.arch)]
    if lacking:
        sys.exit(f"{found.toolchain} has no image for {found.arch} {', '.join(lacking)}")
    make = dataclasses.replace(found.make, targets=tuple(options.target), jobs=options.jobs)
    plain = dataclasses.replace(found, ccache=False, boot=None, make=make, deadlines=LONG)
    try:
        costs = [measured(dataclasses.replace(plain, emulation=mode), options, tables) for mode in modes]
    except LabError as error:
        sys.exit("\n".join([str(error), *(f"  {name}: {text}" for name, text in error.facts)]))
    what = " ".join(options.target) or "whole"
    print(f"{found.arch} {what}, without ccache, ratios to {costs[-1].mode}:")
    for cost in costs:
        ratios = f"ratio {cost.cpu_s / costs[-1].cpu_s:.3f} CPU, {cost.wall_s / costs[-1].wall_s:.3f} wall"
        print(f"{cost.mode:12} {cost.cpu_s:8.1f} s CPU {cost.wall_s:8.1f} s wall    {ratios}")


if __name__ == "__main__":
    main()
