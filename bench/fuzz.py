#!/usr/bin/env python3
"""Changed files for every parser of strangers' files, until one falls over, takes too long or too much memory.

    .venv/bin/python bench/fuzz.py [--inputs 100000] [--parser NAME]… [--seed 1]

Each parser runs in a process of its own; an input may take 10 s of CPU time, the process 512 MiB above what it has with
everything loaded. What makes a parser fall over is written to fuzz-crashes/<parser>-<hash>: put it into
tests/fuzz/seeds/<parser>/, where every test run tries it from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fuzz"))

from parsers import PARSERS, Parser, mutated, seeds_of

SECONDS, MEMORY_KIB = 10, 512 << 10
SAID_EVERY = 5_000  # inputs


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def one(parser: Parser, data: bytes, folder: Path) -> str:
    """Give a parser one input; return what is wrong, "" if nothing is."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "input").write_bytes(data)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        parser.read(folder / "input")
    except parser.allowed:
        pass
    except BaseException:
        return traceback.format_exc(limit=-6)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return ""


def fuzz(name: str, inputs: int, seed: int, crashes: str) -> None:
    parser = next(one for one in PARSERS if one.name == name)
    begin = sorted(seeds_of(parser), key=len)[:60]
    chance, bad, slowest_s = random.Random(f"{seed} {name}"), 0, 0.0
    signal.signal(signal.SIGVTALRM, too_long)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        for data in begin:
            one(parser, data, Path(scratch) / "in")
        before_kib, began_s = peak_kib(), time.monotonic()
        for number in range(inputs):
            if number and number % SAID_EVERY == 0:
                left_s = (time.monotonic() - began_s) / number * (inputs - number)
                print(f"{name}: {number} of {inputs}, {bad} bad, some {left_s:.0f} s left", file=sys.stderr, flush=True)
            data, at_s = mutated(chance.choice(begin), chance), time.process_time()
            wrong = one(parser, data, Path(scratch) / "in")
            slowest_s = max(slowest_s, time.process_time() - at_s)
            grown_kib = peak_kib() - before_kib
            if not wrong and grown_kib > MEMORY_KIB:
                wrong, before_kib = f"{grown_kib >> 10} MiB more memory", peak_kib()
            if wrong:
                bad += 1
                Path(crashes).mkdir(exist_ok=True)
                place = Path(crashes, f"{name}-{hashlib.sha256(data).hexdigest()[:12]}")
                place.write_bytes(data)
                print(f"{name}: {place}\n{wrong}", flush=True)
                if bad >= 5:
                    break
        seconds, mib = time.monotonic() - began_s, (peak_kib() - before_kib) >> 10
    print(
        f"{name:<10} {inputs:>7} inputs, {bad} bad, slowest {slowest_s:5.2f} s CPU, {mib:>4} MiB more, {seconds:7.1f} s",
        flush=True,
    )
    sys.exit(bool(bad))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--parser", action="append", choices=[one.name for one in PARSERS])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bad = 0
    for name in options.parser or [one.name for one in PARSERS]:
        child = multiprocessing.Process(target=fuzz, args=(name, options.inputs, options.seed, "fuzz-crashes"))
        child.start()
        child.join()
        bad += bool(child.exitcode)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
