"""Ratios of one run: reading a vmlinux's symbols, and holding its kallsyms table against them, to `nm -n` of the same file.

    .venv/bin/python bench/symbols.py VMLINUX [--passes DIR] [--repeat 5] [--json FILE]

Each figure is the smallest CPU time of the repetitions, which take turns; the file is in the page cache. Memory is the peak
of a process of its own. --passes: an output directory whose link passes are compared as well.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

GOALS = {"listing": 0.5, "comparison": 2.0, "memory": 6.0}


def nm(vmlinux: Path) -> None:
    subprocess.run(["nm", "-n", str(vmlinux)], stdout=subprocess.DEVNULL, check=True)


def listing(vmlinux: Path) -> int:
    from lab.evidence import symbols
    from lab.evidence.elf import open_elf

    with open_elf(vmlinux) as elf:
        found = symbols.of_elf(elf)
    return len(found) if found is not None else 0


def comparison(vmlinux: Path, passes: Path | None) -> int:
    """Decode the table, compare it with the symbols; read the passes of the link and compare each with the next."""
    from lab.evidence import kallsyms, kept_passes
    from lab.evidence.passes import convergence, diverged

    found = kallsyms.read(vmlinux)
    if found.unreadable:
        raise SystemExit(f"{vmlinux}: {found.unreadable}")
    if passes is not None:
        maps = kept_passes.read_passes(
            sorted(passes.glob(".tmp_*")), passes / "System.map", lambda path: path.stat().st_mtime_ns
        )
        for before, after in pairwise(maps):
            diverged(before.listing, after.listing)
        convergence([one.listing for one in maps])
    return found.wrong_total + found.lacking_total


def seconds(work: Callable[[], object]) -> float:
    """Return CPU seconds of this process and its children: on a machine under load wall time measures the others."""
    began = _cpu_s()
    work()
    return _cpu_s() - began


def _cpu_s() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_bytes(what: str, vmlinux: Path) -> int:
    """Return how much more memory a process had for the work than one that only loaded the code."""
    code = (
        "import re,sys,pathlib\n"
        f"sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'bench')!r}]\n"
        "import symbols as bench\n"
        "from lab.evidence import kallsyms, kept_passes, passes, symbols\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])\n"
        "before = peak()\n"
        + {"listing": "bench.listing(path)\n", "comparison": "bench.comparison(path, None)\n"}[what]
        + "print((peak() - before) << 10)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(vmlinux)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def measured(vmlinux: Path, passes: Path | None, repeat: int) -> dict[str, object]:
    times: dict[str, list[float]] = {"nm": [], "listing": [], "comparison": []}
    listing(vmlinux), comparison(vmlinux, passes)
    for _ in range(repeat):
        times["nm"].append(seconds(lambda: nm(vmlinux)))
        times["listing"].append(seconds(lambda: listing(vmlinux)))
        times["comparison"].append(seconds(lambda: comparison(vmlinux, passes)))
    best = {name: min(some) for name, some in times.items()}
    size = vmlinux.stat().st_size
    memory = peak_bytes("comparison", vmlinux)
    return {
        "symbols": listing(vmlinux),
        "file_mib": round(size / (1 << 20), 1),
        "seconds": {name: round(value, 4) for name, value in best.items()},
        "listing_ratio": round(best["listing"] / best["nm"], 3),
        "comparison_ratio": round(best["comparison"] / best["nm"], 3),
        "comparison_memory_mib": round(memory / (1 << 20), 1),
        "memory_ratio": round(memory / size, 3),
        "goals": GOALS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vmlinux", type=Path)
    parser.add_argument("--passes", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measured(options.vmlinux, options.passes, options.repeat)
    print(json.dumps(found, indent=2))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(f"peak of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB", file=sys.stderr)


if __name__ == "__main__":
    main()
