#!/usr/bin/env python3
"""Bisect real histories: 220 commits on linux 6.1 with the cause of a known report somewhere inside. Takes hours.

    PYTHONPATH=. .venv/bin/python bench/histories.py FOLDER [--report 001|002|003|panic] [--incremental]

For each report a git history is written into FOLDER (tests/use/history.py: changed C files, 12 merges, commits that cannot be
built or configured), and `lab bisect` is called on the report's own matrix, with the cell that has no patch. Printed are the
contract of `lab bisect` in short, and whether it found the commit that brought the cause in. What is built is kept by the
compiler cache; a call that was broken off goes on (--resume) where FOLDER is the same.

001: objects and dependency files of the same second (scripts/adjust_autoksyms.sh without its guard), by timestamps.tie.
002: a symbol that only the final link has, by kallsyms.inconsistent. 003: objtool without --module, by objtool.flags.
panic: a kernel that panics in about every third boot, by boot.panic; a kernel is built once and booted often.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from lab import cli
from lab.environment import source
from lab.model import DebianSource
from tests.use import history
from tests.use.history import Plan

ROOT = Path(__file__).parent.parent
NOW_AND_THEN = """\
	if (((u32)get_cycles() >> 4) % 3 == 0)
		panic("now and then");
"""
REPORTS = {  # matrix, cell, patch that is the cause ("": NOW_AND_THEN), finding, number of the commit that brings it in
    "001": ("reports/001-coarse-timestamps", "x86_64-gcc-12-ext4-128", "trim-guard-removed", "timestamps.tie", 137),
    "002": ("reports/002-kallsyms", "x86_64-gcc-12-tmpfs", "kallsyms-final-link-only-6.1", "kallsyms.inconsistent", 71),
    "003": (
        "reports/003-objtool-module",
        "x86_64-gcc-12-lto-none-tmpfs-ibt",
        "objtool-no-module-flag-6.1",
        "objtool.flags",
        188,
    ),
    "panic": ("quickstart", "x86_64-gcc-12-tmpfs", "", "boot.panic", 103),
}


def text_of(base: Path, path: str) -> str:
    """Return a file of the unchanged source."""
    return history.git(base, "show", f"base:{path}")


def panics(base: Path) -> dict[str, str | None]:
    """Return a kernel that panics in about every third boot, before it starts init."""
    before = "\tkernel_init_freeable();\n"
    text = text_of(base, "init/main.c")
    assert text.count(before) == 1, "init/main.c starts init in another way"
    return {"init/main.c": text.replace(before, before + NOW_AND_THEN)}


def made(folder: Path, report: str) -> history.Made:
    """Return the history of a report, written if it is not there."""
    base = folder / f"linux-{report}.git"
    if not base.exists():
        tree = source.prepare(DebianSource(package="linux-source-6.1", suite="bookworm"), cli.settings())
        history.repository(tree.path, base)
    patch, culprit = REPORTS[report][2], REPORTS[report][4]
    plan = Plan(
        cause=history.patched(base, ROOT / f"matrices/reports/patches/{patch}.patch") if patch else panics(base),
        culprit=culprit,
        breaks={"include/linux/ctype.h": text_of(base, "include/linux/ctype.h") + "\n#error not now\n"},
        unconfigured={"init/Kconfig": "menu\n"},
    )
    return history.history(base, plan)


def main() -> None:
    """Make and bisect what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--report", choices=REPORTS, action="append")
    parser.add_argument("--jobs", default="1")
    parser.add_argument("--budget", default="12h")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--incremental", action="store_true", help="each commit on top of the last one; not for 001")
    parser.add_argument("--finding", help="not the report's own: modpost.undefined comes in half of 001's builds")
    parser.add_argument("--only-make", action="store_true", help="write the histories, bisect nothing")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for report in asked.report or REPORTS:
        matrix, cell, _, finding, _ = REPORTS[report]
        found = made(asked.folder.absolute(), report)
        print(f"{report}: {len(found.names) - 1} commits, culprit {found.culprit[:12]}", flush=True)
        if asked.only_make:
            continue
        words = [
            "bisect", "--cell", f"{ROOT}/matrices/{matrix}.yaml:{cell}", "--git", str(found.folder),
            "--good", "base", "--bad", "main", "--finding", asked.finding or finding,
            "--jobs", asked.jobs, "--budget", asked.budget, "--json",
            *(["--resume"] if asked.resume else []), *(["--incremental"] if asked.incremental else []),
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "lab", *words], stdout=subprocess.PIPE, check=False, env=os.environ
        )
        told = json.loads(done.stdout or "{}")
        right = [one["commit"] for one in told.get("culprits", [])] == [found.culprit]
        kept = {
            name: told.get(name) for name in ("ending", "confidence", "rate", "builds", "tests", "seconds", "folder")
        }
        print(f"{report}: {'right' if right else 'WRONG'} {json.dumps(kept)}", flush=True)


if __name__ == "__main__":
    main()
