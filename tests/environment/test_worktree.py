"""Worktrees that follow one tree after another: their files are the tree's, and make sees what changed and nothing else."""

import os
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.environment import worktree as module
from lab.environment.source import Tree
from lab.environment.worktree import Worktree, follow

NAMES = st.sampled_from(["a.c", "b.c", "lib/c.c", "lib/d.h", "lib/deep/e.c", "f"])
TREES = st.dictionaries(NAMES, st.sampled_from(["1", "2", "33", "link:a.c", "link:/etc/passwd", "run:x"]), max_size=6)
LONG_AGO_NS = 1_600_000_000 * 10**9


def written(folder, files):
    """Write a tree of the cache: old times, as sources have."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("link:"):
            path.symlink_to(text.removeprefix("link:"))
        else:
            path.write_text(text)
            path.chmod(0o755 if text.startswith("run:") else 0o644)
        os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS), follow_symlinks=False)
    return Tree(path=folder, key=folder.name, version="6.1", origin=folder.name)


def read(folder):
    """Return what a tree holds: path -> kind and content."""
    told = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            told[name] = ("link", str(path.readlink()))
        elif path.is_file():
            told[name] = (stat.S_IMODE(path.stat().st_mode), path.read_text())
    return told


def times(folder):
    return {name: (folder / name).lstat().st_mtime_ns for name in read(folder)}


@settings(deadline=None, max_examples=60)
@given(wanted=st.lists(TREES, min_size=1, max_size=5), fails=st.lists(st.booleans(), min_size=5, max_size=5))
def test_what_is_made_by_times_alone_is_what_is_made_from_nothing(tmp_path_factory, wanted, fails):
    """A make that rebuilds what is older than its source, and fails now and then, never keeps a stale object."""
    root = tmp_path_factory.mktemp("worktree")
    trees = [written(root / f"tree-{number}", files) for number, files in enumerate(wanted)]
    before = [read(tree.path) for tree in trees]
    (root / "work").mkdir()
    line = Worktree(root / "work")
    for number, tree in enumerate([*trees, *reversed(trees)]):
        there = line.at(tree)
        assert read(there.path) == read(tree.path)
        out = root / f"out-{number}"
        out.mkdir()
        seeded = line.seed(out)
        assert seeded == bool(line.built_from)
        changed = times(there.path)
        for name, content in read(there.path).items():
            made = out / name.replace("/", "_")
            if not made.exists() or made.stat().st_mtime_ns < changed[name]:
                made.write_text(str(content))
        for made in out.iterdir():  # as the kernel's Makefiles do, objects that nobody lists are not looked at
            name = made.name.replace("_", "/")
            assert name not in read(there.path) or made.read_text() == str(read(there.path)[name])
        if not fails[number % 5]:
            line.keep(out)
            assert line.built_from == tree.origin
    assert [read(tree.path) for tree in trees] == before
    shutil.rmtree(root)


def test_what_stays_the_same_keeps_its_time_and_its_inode(tmp_path):
    old = written(tmp_path / "old", {"a.c": "1", "lib/b.c": "2"})
    new = written(tmp_path / "new", {"a.c": "1", "lib/b.c": "3"})
    (tmp_path / "work").mkdir()
    assert follow(tmp_path / "work", old.path, anew=False) == 2
    assert (tmp_path / "work/a.c").samefile(old.path / "a.c")
    assert follow(tmp_path / "work", new.path, anew=True) == 1
    assert (tmp_path / "work/a.c").samefile(old.path / "a.c")
    assert (tmp_path / "work/lib/b.c").stat().st_mtime_ns > LONG_AGO_NS
    assert (old.path / "lib/b.c").read_text() == "2"


def test_files_of_one_size_and_time_are_told_apart_however_often_they_are_compared(tmp_path):
    one, same, other = (written(tmp_path / name, {"a.c": text}) for name, text in (("a", "1"), ("b", "1"), ("c", "2")))
    (tmp_path / "work").mkdir()
    for tree in (one, same, other, same):
        follow(tmp_path / "work", tree.path, anew=False)
        assert read(tmp_path / "work") == read(tree.path), "what was the same before need not be it now"


def test_a_folder_becomes_a_file_and_back(tmp_path):
    trees = [written(tmp_path / "one", {"x/y.c": "1"}), written(tmp_path / "two", {"x": "2"})]
    (tmp_path / "work").mkdir()
    for tree in (*trees, *trees):
        follow(tmp_path / "work", tree.path, anew=True)
        assert read(tmp_path / "work") == read(tree.path)


def test_after_a_clock_that_went_back_everything_is_built_again(tmp_path, monkeypatch):
    tree = written(tmp_path / "tree", {"a.c": "1"})
    (tmp_path / "work").mkdir()
    (tmp_path / "out").mkdir()
    line = Worktree(tmp_path / "work")
    line.at(tree)
    line.keep(tmp_path / "out")
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now - 3600)
    line.at(tree)
    assert not line.built_from
    assert not line.seed(tmp_path / "out")


@pytest.mark.parametrize("disk", [Path("/dev/shm")])
def test_a_tree_on_another_disk_is_copied(tmp_path, disk):
    if not disk.is_dir() or disk.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip(f"{disk} is no other disk")
    tree = written(tmp_path / "tree", {"a.c": "1", "l": "link:a.c"})
    work = disk / f"lab-worktree-{os.getpid()}"
    work.mkdir()
    try:
        assert follow(work, tree.path, anew=False) == 2
        assert read(work) == read(tree.path)
        assert times(work) == times(tree.path)
    finally:
        shutil.rmtree(work)
