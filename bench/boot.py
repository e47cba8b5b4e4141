#!/usr/bin/env python3
"""What the lab adds to a boot: its boot step up to the verdict, against bare qemu with the same kernel and initramfs.

    .venv/bin/python bench/boot.py O-DIRECTORY [--arch x86_64] [--machine pc] [--pairs 10] [--together]

The lab's part begins with the modules in hand and ends with the findings of the console: it makes the initramfs, looks whether
the files are whole, starts the container, listens to qemu, judges. Bare qemu is `docker run` of the same image with the same
command line without what the lab listens to (-qmp, -D), its output in a file that nobody reads; its initramfs is there already.
The two alternate, or run at the same time (--together), so that what else the machine does weighs on both alike. Figures are
ratios of one run on one machine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import checks, cli
from lab.boot import initramfs
from lab.environment import engine as engines
from lab.environment import image
from lab.events import silent
from lab.evidence.bundle import Evidence
from lab.model import Boot, Deadlines
from lab.results import store
from lab.use import guest as guests
from lab.use.bench import Bench

OURS = ("-qmp", "-d", "-D")  # options with one value each that only the lab needs


class Booting:
    """One kernel with its modules, to be booted both ways."""

    def __init__(self, options: argparse.Namespace, engine: engines.Engine, scratch: Path) -> None:
        settings, tables = cli.settings(), cli.load_tables()
        self.arch, self.scratch = tables.arch[options.arch], scratch
        row = self.arch.machine_named(options.machine)
        assert row is not None, f"no machine {options.machine!r}"
        prepared = [image.prepare(tables.image[name], engine, settings) for name in (row.image, self.arch.guest)]
        self.bench = Bench(settings=settings, tables=tables, engine=engine, sink=silent, stop=threading.Event())
        self.guest = guests.guest(
            self.bench, self.arch, Boot(machine=row.name), qemu=prepared[0], busybox=prepared[1], deadlines=Deadlines()
        )
        self.out = options.directory
        built = Evidence(self.out)
        self.modules = [
            initramfs.ModuleFile(path=one.path, data=one.file, depends=one.depends) for one in built.modules if one.file
        ]
        self.tree = next((self.out / name for name in row.device_tree if (self.out / name).is_file()), None)
        self.laid_out = scratch / "bare"
        self.laid_out.mkdir(mode=0o755)
        self.lay_out(self.laid_out)
        (self.laid_out / guests.TOLD).mkdir()

    def lay_out(self, place: Path) -> None:
        """Put kernel and initramfs into place."""
        guests.lay_out(self.bench, self.guest, self.out / self.arch.image_path, self.modules, place, self.tree)

    def lab_s(self, number: int) -> float:
        """Boot as an attempt does; return the seconds to the verdict."""
        place, folder = self.scratch / f"{number}", self.scratch / f"{number}-evidence"
        for one in (place, folder):
            one.mkdir(mode=0o755)
        began = time.monotonic()
        self.lay_out(place)
        result = guests.run(self.bench, self.guest, place, folder, owner="")
        store.write(folder / "steps.json", store.Steps(steps=(result,)))
        findings, _ = checks.judge(Evidence(folder))
        seconds = time.monotonic() - began
        done = [one for one in findings if one.id == "boot.modules" and one.data["done"]]
        assert done, [one.message for one in findings]
        return seconds

    def bare_s(self, number: int) -> float:
        """Boot the same with qemu alone; return the seconds to its end."""
        place = self.guest.place(self.bench, self.laid_out, "")
        words = list(self.guest.step.argv)
        for option in OURS:
            at = words.index(option)
            del words[at : at + 2]
        mounts = [f"--volume={mount.host}:{mount.inside}" for mount in place.mounts]
        line = ["docker", "run", "--rm", "--network=none", *mounts, f"--user={place.user}", place.image, *words]
        with (self.scratch / f"{number}-bare.txt").open("wb") as log:
            began = time.monotonic()
            subprocess.run(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
            return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="what O= named: the kernel, modules.order, the modules")
    parser.add_argument("--arch", default="x86_64")
    parser.add_argument("--machine", default="")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--together", action="store_true", help="both at the same time; wants two cores")
    options = parser.parse_args()
    with engines.connect(cli.settings()) as engine, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        scratch = Path(folder)
        scratch.chmod(0o755)
        booting = Booting(options, engine, scratch)
        print(f"{len(booting.modules)} modules, {booting.guest.machine.name}, {booting.bench.accel.value}", flush=True)
        pairs = []
        for number in range(options.pairs):
            with ThreadPoolExecutor(2 if options.together else 1) as pool:
                lab, bare = pool.submit(booting.lab_s, number), pool.submit(booting.bare_s, number)
            lab_s, bare_s = lab.result(), bare.result()
            pairs.append((lab_s, bare_s))
            print(f"lab {lab_s:6.2f} s    bare qemu {bare_s:6.2f} s    ratio {lab_s / bare_s:.3f}", flush=True)
        lab_s, bare_s = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for one, other in pairs)
        print(f"medians: lab {lab_s:.2f} s, bare qemu {bare_s:.2f} s; time to verdict: {ratio:.3f} (goal 1.1)")


if __name__ == "__main__":
    main()
