#!/usr/bin/env python3
"""What the site costs: made from a results folder of synthetic runs, and opened in headless Chromium.

    .venv/bin/python bench/site.py [--cells 10000] [--nights 30] [--folder DIR] [--repeats 3]

read: every verdict of every night, findings where they decide; from the folders, and with --index from the index (bringing it
up to date is printed by itself). write: all pages of the newest night, its
evidence read, from the parsed verdicts to the last byte. Both once, wall clock and CPU seconds: on a busy machine they
differ. size: of all files. interactive: from navigation to the end of the first render, when every control works, and from a
letter in the search field to the list that fits it; in a fresh browser each time, the worst and the median of the repeats.
The runs are made by tests/synthetic_runs.py; --folder keeps them, or takes those that are there.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import synthetic_runs  # noqa: E402
from browser import Browser, program  # noqa: E402

from lab.events import silent  # noqa: E402
from lab.report.html.write import write_site  # noqa: E402
from lab.results.index import Index  # noqa: E402
from lab.use import site  # noqa: E402

VIEWS = {"grid": "", "findings": "#view=findings", "cells": "#view=cells", "nights": "#view=nights"}
TYPING = """new Promise((done) => {
  const field = document.getElementById("q");
  const begun = performance.now();
  field.value = "modpost";
  const painted = () => requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
  window.addEventListener("hashchange", painted, { once: true });
  field.dispatchEvent(new Event("input"));
})"""


def made(root: Path, cells: int, nights: int) -> None:
    begun = time.monotonic()
    for number, _ in enumerate(synthetic_runs.write(root, count=cells, nights=nights), 1):
        print(f"\r  {number} of {nights} nights", end="", file=sys.stderr, flush=True)
    print(f"\nruns made in {time.monotonic() - begun:.0f} s (not part of the figures)")


def indexed(root: Path) -> None:
    begun, begun_cpu = time.monotonic(), time.process_time()
    index = Index(root)
    read = len(index.grow().read)
    index.close()
    print(f"index  {time.monotonic() - begun:.1f} s, CPU {time.process_time() - begun_cpu:.1f} s, {read} runs read")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cells", type=int, default=10_000)
    options.add_argument("--nights", type=int, default=30)
    options.add_argument("--folder", type=Path)
    options.add_argument("--index", action="store_true", help="verdicts from the index, brought up to date first")
    options.add_argument("--repeats", type=int, default=3)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = given.folder or Path(scratch) / "results"
        if not root.is_dir():
            made(root, given.cells, given.nights)
        request = site.Request(results=root, output=Path(scratch) / "site", nights=given.nights)
        if given.index:
            indexed(root)
        begun, begun_cpu = time.monotonic(), time.process_time()
        index = site.index_of(request, silent) if given.index else None
        runs, notes = site.read_runs(request, index)
        shown = site.site_of(runs, request.title, notes, index)
        read_s, read_cpu_s = time.monotonic() - begun, time.process_time() - begun_cpu
        begun, begun_cpu = time.monotonic(), time.process_time()
        written = write_site(shown, request.output, "bench")
        write_s, write_cpu_s = time.monotonic() - begun, time.process_time() - begun_cpu
        print(f"{len(shown.histories)} cells, {sum(map(len, shown.nights.values()))} nights")
        print(f"read   {read_s:.1f} s, CPU {read_cpu_s:.1f} s")
        print(f"write  {write_s:.1f} s, CPU {write_cpu_s:.1f} s, {written.pages} pages")
        print(
            f"size   {written.bytes / (1 << 20):.1f} MiB, index.html {written.index.stat().st_size / (1 << 20):.2f} MiB"
        )
        if program() is None:
            print("no chromium: nothing was opened")
            return
        for name, fragment in VIEWS.items():
            ready, typing = [], []
            for _ in range(given.repeats):
                with Browser() as browser:
                    browser.open(written.index, fragment)
                    browser.until("document.documentElement.dataset.ready")
                    ready.append(float(browser.run("document.documentElement.dataset.ready")))
                    typing.append(float(browser.run(TYPING)))
            print(
                f"{name:<9}interactive after {max(ready):.0f} ms (median {statistics.median(ready):.0f}), "
                f"a search {max(typing):.0f} ms (median {statistics.median(typing):.0f})"
            )


if __name__ == "__main__":
    main()
