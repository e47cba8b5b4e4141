#!/usr/bin/env python3
"""Take the pictures of docs/site.md: synthetic runs (tests/synthetic_runs.py) as `lab site` shows them, in headless Chromium.

.venv/bin/python bench/screenshots.py [--output docs]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import synthetic_runs  # noqa: E402
from browser import Browser  # noqa: E402

from lab.events import silent  # noqa: E402
from lab.use import site  # noqa: E402

PICTURES = (  # name, fragment of the overview or "" for a cell page, width, height, dark
    ("site-grid", "#", 1100, 760, False),
    ("site-findings", "#view=findings", 1100, 620, True),
    ("site-nights", "#view=nights", 1100, 760, False),
    ("site-cells", "#view=cells&outcome=FAIL,ERROR", 420, 820, True),
    ("site-cell", "", 1100, 980, False),
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--output", type=Path, default=ROOT / "docs")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        list(synthetic_runs.write(root / "results", count=400, nights=30))
        request = site.Request(results=root / "results", output=root / "site")
        index = site.written(request, silent).index
        cells = sorted((index.parent / "cells").rglob("*.html"))
        failing = next(path for path in cells if "kernel_version:" in path.read_text())
        for name, fragment, width, height, dark in PICTURES:
            with Browser(width=width, height=height, dark=dark) as browser:
                browser.open(index if fragment else failing, fragment)
                browser.screenshot(given.output / f"{name}.png")
                print(given.output / f"{name}.png")


if __name__ == "__main__":
    main()
