"""A source tree that follows one commit after another, and what was built from it last, so that make builds only what changed.

A worktree is hard links to a tree of the cache at first. When it follows another one, what stays the same keeps its time, and
what differs is a new file with the time of now, which is later than that of every object kept: make compares nothing else.
Source: git-worktree(1) and entry.c of git, which leave times alone in the same way.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from dataclasses import replace
from pathlib import Path

from lab import proc
from lab.environment.source import Tree
from lab.errors import EnvironmentFault

COPY_DEADLINE_S = 900.0
CHUNK_BYTES = 1 << 18


class Worktree:
    """A folder with the worktree, and with a copy of the output directory that was built from it last.

    One builder at a time uses it. built_from: the origin of the tree that the copy was built from, "" if there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tree, self._built = folder / "tree", folder / "built"
        self._kept_at_s = 0.0
        self._origin = self.built_from = ""

    def at(self, wanted: Tree) -> Tree:
        """Return the worktree with the files of a tree of the cache. Raises EnvironmentFault.

        After a clock that went backwards what was built is forgotten: new files would be older than it.
        """
        if time.time() <= self._kept_at_s:
            self.forget()
        try:
            self._tree.mkdir(exist_ok=True)
            follow(self._tree, wanted.path, anew=self._built.exists())
        except OSError as error:
            self.forget()
            raise EnvironmentFault(f"cannot follow {wanted.origin}: {error.strerror}", finding="infra.host") from error
        self._origin = wanted.origin
        return replace(wanted, path=self._tree)

    def seed(self, out: Path) -> bool:
        """Put what was built into an output directory, with its times; returns whether there was anything."""
        if not self._built.is_dir():
            return False
        _copied(self._built, out)
        return True

    def keep(self, out: Path) -> None:
        """Keep a copy of an output directory that was built without a failure. Raises EnvironmentFault."""
        self._drop()
        fresh = self.folder / "built.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        _copied(out, fresh)
        fresh.rename(self._built)
        self._kept_at_s, self.built_from = time.time(), self._origin

    def forget(self) -> None:
        """Forget what was built, and the worktree with it."""
        self._drop()
        shutil.rmtree(self._tree, ignore_errors=True)

    def _drop(self) -> None:
        self.built_from = ""
        shutil.rmtree(self._built, ignore_errors=True)


def _copied(source: Path, target: Path) -> None:
    proc.checked(
        ["cp", "-a", "--reflink=auto", "--", f"{source}/.", str(target)],
        deadline_s=COPY_DEADLINE_S, what="copy what was built",
    )  # fmt: skip


def follow(worktree: Path, tree: Path, *, anew: bool) -> int:
    """Give a worktree the files of a tree; returns how many it got. No link is followed, nothing written through a hard link.

    anew: what it gets are copies with the time of now; else hard links, where that is possible, with the tree's own times.
    """
    ours = {entry.name: entry for entry in os.scandir(worktree)}
    theirs = list(os.scandir(tree))
    for name in ours.keys() - {entry.name for entry in theirs}:
        _remove(ours[name])
    count = 0
    for entry in theirs:
        mine, target = ours.get(entry.name), worktree / entry.name
        if entry.is_dir(follow_symlinks=False):
            if mine is not None and not mine.is_dir(follow_symlinks=False):
                _remove(mine)
            target.mkdir(exist_ok=True)
            count += follow(target, Path(entry.path), anew=anew)
        elif mine is None or not _same(mine, entry):
            if mine is not None:
                _remove(mine)
            _place(Path(entry.path), target, anew=anew)
            count += 1
    return count


def _remove(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path)
    else:
        os.unlink(entry.path)  # noqa: PTH108 (an entry, not a Path: there are 80 000 of them)


def _same(mine: os.DirEntry[str], theirs: os.DirEntry[str]) -> bool:
    """Whether two entries, neither of them a folder in the tree, are the same file, link or content."""
    a, b = mine.stat(follow_symlinks=False), theirs.stat(follow_symlinks=False)
    if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino):
        return True
    if a.st_mode != b.st_mode:
        return False
    if stat.S_ISLNK(a.st_mode):
        return Path(mine.path).readlink() == Path(theirs.path).readlink()
    return stat.S_ISREG(a.st_mode) and a.st_size == b.st_size and _same_bytes(mine.path, theirs.path)


def _same_bytes(mine: str, theirs: str) -> bool:
    """Whether two files hold the same.

    filecmp.cmp would not do: it remembers what it said of two paths while sizes and times stay, and a worktree has one file
    after another under the same path, all with the same old time.
    """
    with open(mine, "rb") as one, open(theirs, "rb") as other:
        while (chunk := one.read(CHUNK_BYTES)) == other.read(CHUNK_BYTES):
            if not chunk:
                return True
    return False


def _place(source: Path, target: Path, *, anew: bool) -> None:
    if anew and source.is_symlink():
        target.symlink_to(source.readlink())
    elif anew and source.is_file():
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
    else:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:  # another disk, or links enough on this file
            shutil.copy2(source, target, follow_symlinks=False)
