#!/usr/bin/env python3
"""What the index costs: results put in a second, and seconds for each question, with a million results in it.

    .venv/bin/python bench/index.py [--cells 10000] [--nights 100] [--url postgresql://…] [--folder DIR]

Nights of a matrix of so many cells; one cell in ten shows one of 400 faults, one in a hundred was not judged, one in five is
carried over. Runs go in whole, a transaction each, as `lab index update` does once it has read the folders (reading them is not
measured here: it is JSON). Each question is asked with its defaults, over 14 nights or all, seven times; best and worst are
printed as wall clock, and the mean CPU time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lab.model import Outcome
from lab.results import questions
from lab.results.brief import Verdict
from lab.results.comparison import Fault, Observed
from lab.results.index import Index, IndexedRun, index_size
from lab.results.signature import Signature

TURNS = 7
FAULTS = [
    Signature(
        id="modpost.undefined", blame=f"drivers/d{number % 40}/m{number}.ko", title=f"'symbol_{number}' is undefined"
    )
    for number in range(400)
]


def night(number: int, cells: int, random: np.random.Generator) -> IndexedRun:
    day = np.datetime64("2026-01-01") + number
    kinds, which = random.random(cells), random.integers(0, len(FAULTS), cells)
    seen = [cell(at, kinds[at], FAULTS[which[at] if kinds[at] < 0.02 else at % len(FAULTS)]) for at in range(cells)]
    name = f"big-night-{str(day).replace('-', '')}"
    return IndexedRun(
        name=name,
        matrix="big",
        day=str(day),
        started_at_s=float(number),
        night=True,
        stamp=str(number),
        cells=tuple(seen),
        verdicts={one.cell: verdict(one) for one in seen if not one.carried},
    )


def verdict(seen: Observed) -> Verdict:
    found = tuple(fault.signature for fault in seen.faults)
    return Verdict(outcome=seen.outcome, reason=seen.reason, seconds=61.5, found=found)


def cell(at: int, kind: float, fault: Signature) -> Observed:
    name = f"x86_64-gcc-12-ext4-128-config{at:05}"
    if kind < 0.1:
        seen = (Fault(signature=fault, attempts=1, message="it is not there"),)
        return Observed(cell=name, outcome=Outcome.FAIL, reason=f"{fault.words()}", judged=1, faults=seen)
    if kind < 0.11:
        return Observed(cell=name, outcome=Outcome.ERROR, reason="infra.disk-full: no space left", judged=0, lost=1)
    return Observed(cell=name, outcome=Outcome.PASS, reason="built and booted", judged=1, carried=kind > 0.8)


def asked(index: Index, nights: int) -> dict[str, Callable[[], object]]:
    recent = questions.latest(index, "big", at_most=14, nights=True)
    everything = questions.latest(index, "big", at_most=nights)
    name = "x86_64-gcc-12-ext4-128-config00042"
    return {
        "latest 14 nights": lambda: questions.latest(index, "big", at_most=14, nights=True),
        "one cell over 60 nights": lambda: questions.history(index, name),
        "one night, every cell": lambda: questions.grid(index, recent[-1]),
        "outcomes of 14 nights": lambda: questions.overviews(index, recent),
        "not judged, last night": lambda: questions.not_judged(index, recent[-1:]),
        "not judged, 14 nights": lambda: questions.not_judged(index, recent),
        "findings over all, newest 200": lambda: questions.findings(index),
        "one finding over all": lambda: questions.findings(index, finding=FAULTS[7].key),
        "rates, 14 nights, 1000 rows": lambda: questions.rates(index, recent),
        "rates of one cell, all nights": lambda: questions.rates(index, everything, cell=name),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--nights", type=int, default=100)
    parser.add_argument("--url", default="")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        index = Index(Path(scratch), options.url)
        random = np.random.default_rng(3)
        spent, last = 0.0, 0.0
        for number in range(options.nights):
            run = night(number, options.cells, random)
            began = time.monotonic()
            index.append(run)
            last = time.monotonic() - began
            spent += last
        total = options.nights * options.cells
        rate, rate_last = total / spent, options.cells / last
        print(f"{total} results in {spent:.1f} s: {rate:.0f} a second; in the last night {rate_last:.0f} a second")
        print(f"{index_size(index) / (1 << 20):.0f} MiB")
        for what, question in asked(index, options.nights).items():
            times = []
            began_cpu = time.process_time()
            for _ in range(TURNS):
                began = time.monotonic()
                question()
                times.append(time.monotonic() - began)
            cpu = (time.process_time() - began_cpu) / TURNS
            print(f"{what:32} {min(times):.3f} s best, {max(times):.3f} s worst, {cpu:.3f} s of CPU")


if __name__ == "__main__":
    main()
