"""The cache folder: what is in it, who uses what and since when, how much it takes, and what goes first.

An entry is one thing that can be made again: a tree in sources/, a clone in git/, a package in downloads/, a folder of
debs/, apt/, ccache/ or tools/; an image of the engine is one as well, but has no folder here. Each has a stamp,
used/<kind>.<name>: its mtime is the time of the last use (atime is of no use under relatime and noatime), and it is the lock:
whoever uses the entry holds it shared, whoever removes the entry must have it alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.settings import Settings

FOLDERS = ("sources", "git", "downloads", "debs", "apt", "ccache", "tools")
IMAGES = "images"  # kind of entries that the engine keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that can go. used_at_s: seconds since the epoch. path: None for an image, whose name is then its key."""

    kind: str
    name: str
    used_at_s: float
    path: Path | None = None


class Holds:
    """Entries that must stay while this object is open; each is marked as used now. Safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Holds:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def keep(self, kind: str, name: str) -> None:
        """Hold an entry, whether or not it exists already. Waits for whoever is removing it right now."""
        stamp = _stamp(self._settings, kind, name)
        with self._lock:
            if (kind, name) not in self._held:
                self._held[kind, name] = _locked_file(stamp, fcntl.LOCK_SH)
            with contextlib.suppress(PermissionError):  # another user's cache: held all the same
                os.utime(self._held[kind, name])

    def close(self) -> None:
        """Let all of them go."""
        with self._lock:
            while self._held:
                os.close(self._held.popitem()[1])


@contextlib.contextmanager
def locked(settings: Settings, name: str) -> Iterator[None]:
    """Hold a lock of the cache by name, against other threads and other labs: for making an entry."""
    folder = settings.cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def entries(settings: Settings) -> tuple[Entry, ...]:
    """Return every entry of the cache folder, the least recently used first."""
    found = []
    for kind in FOLDERS:
        root = settings.cache / kind
        for path in sorted(root.iterdir()) if root.is_dir() else ():
            # .new: being made, under its lock
            if path.is_dir() and not path.is_symlink() and path.suffix != ".new" and not path.name.startswith("."):
                used = last_use_s(settings, kind, path.name, path)
                found.append(Entry(kind=kind, name=path.name, path=path, used_at_s=used))
    return tuple(sorted(found, key=lambda entry: entry.used_at_s))


def last_use_s(settings: Settings, kind: str, name: str, path: Path | None = None) -> float:
    """Return when an entry was used last; one that has no stamp was used when it was made, or gets a stamp of now."""
    stamp = _stamp(settings, kind, name)
    with contextlib.suppress(OSError):
        return stamp.stat().st_mtime
    with contextlib.suppress(OSError):
        if path is not None:
            return path.stat().st_ctime  # a tree's mtime is its tarball's
    with contextlib.suppress(OSError):  # without room for a stamp it counts as used now, each time
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
        return stamp.stat().st_mtime
    return time.time()


@contextlib.contextmanager
def alone(settings: Settings, entry: Entry) -> Iterator[bool]:
    """Yield whether nobody uses the entry; if so, nobody can begin to until this ends."""
    stamp = _stamp(settings, entry.kind, entry.name)
    try:
        descriptor = _locked_file(stamp, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        if entry.path is None or not entry.path.exists():
            stamp.unlink(missing_ok=True)  # who waits for it sees that it is gone and makes another, see _locked_file
        os.close(descriptor)


def remove(settings: Settings, entry: Entry) -> bool:
    """Remove an entry of the cache folder unless somebody uses it; returns whether it is gone.

    It is renamed first: a lab that is killed here never leaves half a tree that looks like a whole one.
    """
    assert entry.path is not None, "the engine removes images"
    with alone(settings, entry) as nobody:
        if not nobody:
            return False
        trash = settings.cache / "trash"
        trash.mkdir(parents=True, exist_ok=True)
        aside = trash / f"{entry.kind}.{entry.name}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):  # another lab was faster
            entry.path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
    return True


def empty_trash(settings: Settings) -> None:
    """Remove what a lab that was killed while removing left."""
    shutil.rmtree(settings.cache / "trash", ignore_errors=True)


class Usage:
    """How much the entries take on disk. Files that several trees share by hard links count once, and go with the last."""

    def __init__(self, found: tuple[Entry, ...]) -> None:
        self._bytes: dict[tuple[int, int], int] = {}
        self._users: dict[tuple[int, int], int] = {}
        self._files = {entry: _files(entry.path) for entry in found if entry.path is not None}
        for files in self._files.values():
            for inode, size in files.items():
                self._bytes[inode] = size
                self._users[inode] = self._users.get(inode, 0) + 1
        self.bytes = sum(self._bytes.values())

    def without(self, entry: Entry) -> int:
        """Take an entry out of the account and return how many bytes that frees."""
        freed = 0
        for inode in self._files.pop(entry, {}):
            self._users[inode] -= 1
            if not self._users[inode]:
                freed += self._bytes[inode]
        self.bytes -= freed
        return freed


def _files(root: Path) -> dict[tuple[int, int], int]:
    """Return what files and folders below a folder take, by device and inode."""
    found = {}
    for folder, _, names in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 (a kernel has 80 000)
            with contextlib.suppress(OSError):
                facts = os.lstat(path)
                found[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return found


def _stamp(settings: Settings, kind: str, name: str) -> Path:
    return settings.cache / "used" / f"{kind}.{name}"


def _locked_file(path: Path, how: int) -> int:
    """Return a descriptor of the file, locked. One that was removed while we waited for it is no lock: try again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, how)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
