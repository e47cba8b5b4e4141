#!/usr/bin/env python3
"""How fast logs are read, as MB/s and against `cat` and `grep -c` of the same file, and with how much memory.

    .venv/bin/python bench/log.py [--mib 200] [--repeats 3] [FILE ...]

Without a FILE, synthetic ones of that size are read: a plain build log, one of `make V=1`, one in which every line is a
warning, and a console. Goal: 40 MB/s for build logs. Figures are of one run on one machine; nothing here is a test.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab.evidence import console, log

PLAIN = """  CC      drivers/net/ethernet/intel/e1000/e1000_main{n}.o
  CC [M]  fs/ext4/super{n}.o
  AR      drivers/net/ethernet/built-in{n}.a
  LD [M]  drivers/gpu/drm/amd/amdgpu/amdgpu{n}.ko
"""
VERBOSE = (
    "# CC      fs/ext4/super{n}.o\n  gcc -Wp,-MMD,fs/ext4/.super{n}.o.d -nostdinc -I./arch/x86/include "
    + "-I./include " * 12
    + "-D__KERNEL__ -Wall -Wundef -Werror=strict-prototypes -Wno-trigraphs -fno-strict-aliasing "
    + "-fno-common -fshort-wchar -fno-PIE " * 6
    + "-DKBUILD_MODNAME='\"ext4\"' -c -o fs/ext4/super{n}.o fs/ext4/super{n}.c\n"
    "  ./tools/objtool/objtool orc generate  --module  --no-fp --retpoline --uaccess fs/ext4/super{n}.o\n"
)
WARNINGS = """drivers/net/x{n}.c:12:5: warning: unused variable 'ret' [-Wunused-variable]
   12 |         int ret;
      |             ^~~
"""
CONSOLE = """[{n:12.6f}] usb 1-1: new high-speed USB device number 2 using xhci_hcd
[{n:12.6f}] EXT4-fs (sda1): mounted filesystem with ordered data mode
"""
END = "fs/x.c:12:5: error: expected ';'\nmake[3]: *** [scripts/Makefile.build:244: fs/x.o] Error 1\n"
KINDS = (
    ("build log", PLAIN, log.read),
    ("build log, V=1", VERBOSE, log.read),
    ("build log, warnings only", WARNINGS, log.read),
    ("console", CONSOLE, console.read),
)


def made(path: Path, block: str, size_bytes: int) -> Path:
    """Write a log of about that size, its lines all different, with an error at its end."""
    piece = "".join(block.format(n=number) for number in range(20_000)).encode()
    with path.open("wb") as file:
        for _ in range(max(1, size_bytes // len(piece))):
            file.write(piece)
        file.write(END.encode())
    return path


def cpu_seconds(call: Callable[[], object], who: int) -> float:
    """Return the CPU time of a call: of this process or (RUSAGE_CHILDREN) of what it started."""
    before = resource.getrusage(who)
    call()
    after = resource.getrusage(who)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(name: str, path: Path, read: Callable[[Path], object], repeats: int) -> None:
    """Print a line of the table."""
    size_mb = path.stat().st_size / 1e6
    pattern = "error: "  # grep -c exits 1 where nothing matches: no check
    others = [["cat", str(path)], ["grep", "-c", "-F", pattern, str(path)]]
    alone = min(cpu_seconds(lambda: read(path), resource.RUSAGE_SELF) for _ in range(repeats))
    cat, grep = (
        min(
            cpu_seconds(
                lambda argv=argv: subprocess.run(argv, stdout=subprocess.DEVNULL, check=False), resource.RUSAGE_CHILDREN
            )
            for _ in range(repeats)
        )
        for argv in others
    )
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:26} {size_mb:6.0f} MB  {size_mb / alone:6.0f} MB/s  {alone:6.2f} s  "
        f"{alone / max(cat, 1e-3):6.1f} x cat  {alone / max(grep, 1e-3):5.1f} x grep -c  peak {peak_mib:4.0f} MiB"
    )


def main() -> None:
    """Read the logs one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    options = parser.parse_args()
    for file in options.files:
        began = time.process_time()
        measured(file.name, file, log.read, options.repeats)
        print(f"{'':26} {time.process_time() - began:.1f} s in all")
    if options.files:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, block, read in KINDS:
            path = made(Path(folder) / "log.txt", block, options.mib << 20)
            measured(name, path, read, options.repeats)


if __name__ == "__main__":
    main()
