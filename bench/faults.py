#!/usr/bin/env python3
"""Break runs of the real lab at seeded moments, take each up again, and print what came of it.

    .venv/bin/python bench/faults.py [--points 50] [--seed 9] [--kind 'kill lab']…

Two tiny cells (allnoconfig, lib/ctype.o; tmpfs, ext4-128). A point is good if the run that was taken up again ended with 0 and
the verdicts of an undisturbed one, if what was finished before is byte for byte as it was, and if no container, mount, loop
device, scratch folder or temporary file of it is left. What the rest of the machine feels as well is done only if --kind asks
for it: the engine restarted, mounting made impossible, the clock set, the disk under the engine's storage filled. For the last,
an engine on a disk of its own is best (DOCKER_HOST).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "faults"))

from injection import KINDS, ON_DEMAND, Place, disturbed, points, undisturbed

from lab import cli
from lab.environment import engine as engines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--kind", action="append", choices=[*KINDS, *ON_DEMAND])
    options = parser.parse_args()
    settings, bad = cli.settings(), 0
    with tempfile.TemporaryDirectory() as folder, engines.connect(settings) as engine:
        place = Place(Path(folder), f"faults-{os.getpid()}", settings.work, engine)
        undisturbed(place, "first")  # fills the compiler cache, which all others find
        lasting_s, usual = undisturbed(place)
        print(f"undisturbed: {lasting_s:.1f} s, {', '.join(usual)}")
        print("| fault | at | exit code | taken up again | verdicts | finished results | left | seconds |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for number, point in enumerate(points(options.points, options.seed, tuple(options.kind or KINDS))):
            done = disturbed(place, point, lasting_s, number)
            same = "the same" if done.verdicts == usual else ", ".join(done.verdicts)
            bad += not done.good or done.verdicts != usual
            cells = (
                point.kind, f"{point.at:.0%}", done.first, done.again, same, "intact" if done.intact else "CHANGED",
                ", ".join(done.left) or "nothing", done.seconds,
            )  # fmt: skip
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    print(f"{options.points - bad} of {options.points} good")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
