"""Whether a filesystem in an image kept what was written to it: the disk under a sparse image may have no room for it.

A write is done once it is in the page cache. What the disk has no room for is lost later, and no program of a build is told:
files read back as they should until memory is short, then as something else, and the compiler blames the source. Only who asks
with a descriptor that was open before is told. Source: syncfs(2), "since Linux 5.8"; errseq_check_and_advance() of
lib/errseq.c. Unmounting writes the same pages, so that asking costs nothing more.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from lab.errors import EnvironmentFault

FULL_BYTES = 16 << 20  # less than this free on the disk: that is why; as of O= itself in lab.checks.infra
_LIBC = ctypes.CDLL(None, use_errno=True)


def room(disk: Path) -> tuple[int, bool]:
    """Return the bytes that are free beside a file, and whether so little, of bytes or inodes, means that its disk is full."""
    there = os.statvfs(disk)
    free = there.f_bavail * there.f_frsize
    return free, free < FULL_BYTES or not there.f_favail


class Writeback:
    """Asks for what was lost since it was made. folder: anywhere on the mounted filesystem. disk: the file that holds it."""

    def __init__(self, folder: Path, disk: Path) -> None:
        self._disk = disk
        self._open = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the filesystem, which cannot be unmounted before."""
        os.close(self._open)

    def check(self) -> None:
        """Write what is not written yet. Raises EnvironmentFault if any of it, or of what was written before, was lost."""
        if _LIBC.syncfs(self._open) == 0:
            return
        said = os.strerror(ctypes.get_errno())
        free, full = room(self._disk)
        why = "the disk that holds its image is full" if full else "the disk that holds its image failed"
        raise EnvironmentFault(
            f"the filesystem of the output lost what was written to it: {why}",
            finding="infra.disk-full" if full else "infra.io-error",
            facts=(
                ("said", f"syncfs: {said}"),
                ("free", f"{free} bytes, beside the image"),
                ("disk", str(self._disk.parent)),
            ),
            hint="`lab clean` makes room; LAB_CACHE names a folder on another disk",
        )
