#!/usr/bin/env python3
"""What it takes to boot a distribution's kernel with its own modules, and what becomes of them.

    .venv/bin/python bench/distribution.py PACKAGE.deb [lab boot's options: --sample 200, --shard 1/20, …]

Unpacking, reading what 4,000 modules need and splitting them into boots are timed by themselves; then `lab boot` is called, and
what became of the modules is counted. Times are of one run on one machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Do something, print how long it took, return what it gave."""
    began = time.monotonic()
    done = work()
    print(f"{what:<60} {time.monotonic() - began:8.2f} s")
    return done


def planning(package: Path) -> None:
    """Time what comes before a boot."""
    from lab.boot import shards
    from lab.boot.initramfs import ModuleFile
    from lab.evidence import bootable, deb
    from lab.model import BootModules

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        got = timed("unpack", lambda: deb.unpack(package, folder))
        print(f"  {got.files} files, {got.bytes >> 20} MiB of a package of {package.stat().st_size >> 20} MiB")
        found = timed("look: image, architecture, list of modules", lambda: bootable.of_folder(folder))
        facts = timed("read what modules need", lambda: tuple(bootable.load_facts(found.modules)))
        needs = bootable.needs(facts)
        modules = [ModuleFile(path=one.path, data=one.file, depends=needs[one.path]) for one in facts]
        made = timed("split into boots", lambda: shards.shards(modules, most=BootModules().per_boot))
        loaded = sum(len(shard.modules) for shard in made)
        print(
            f"  {len(modules)} modules in {len(made)} boots, which load {loaded}: {loaded - len(modules)} more than once"
        )


def boot(package: Path, words: list[str]) -> int:
    """Boot, and count outcomes."""
    command = [sys.executable, "-m", "lab", "boot", str(package.absolute()), "--json", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    if not done.stdout:
        return done.returncode
    document = json.loads(done.stdout)
    kernel = document["kernel"]
    print(f"{document['outcome']}: {document['reason']}")
    print(
        f"{kernel['chosen']} of {kernel['modules']} modules, {kernel['boots']} boots, {kernel['seconds']} s ({kernel['accel']})"
    )
    rows = [
        row for finding in document["findings"] if finding["id"] == "boot.modules" for row in finding["data"]["modules"]
    ]
    for outcome, number in Counter(row["outcome"] for row in rows).most_common():
        print(f"  {number:6} {outcome}")
    for row in rows:
        if row["outcome"] not in ("ok", "no device", "needs"):
            print(f"    {row['outcome']:<10} {row['path']}  {row['error']}")
    for finding in document["findings"]:
        if finding["severity"] in ("fail", "error", "warning") and finding["id"] != "boot.module-refused":
            print(f"  {finding['severity']:<8} {finding['id']} {finding['blame']}  {finding['title']}")
    return done.returncode


def main() -> int:
    """Time and boot the package that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    options, words = parser.parse_known_args()
    planning(options.package)
    return boot(options.package, words)


if __name__ == "__main__":
    sys.exit(main())
