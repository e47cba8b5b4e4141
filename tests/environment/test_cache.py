"""Who uses what in the cache, since when, how much it takes, what goes."""

import dataclasses
import os
import subprocess
import sys
import threading
import time

import pytest

from lab.environment import cache
from lab.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(cache=tmp_path / "cache", results=tmp_path, images=tmp_path, data=tmp_path)


def made(settings, kind, name, size=8192, age_s=0.0):
    folder = settings.cache / kind / name
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"x" * size)
    with cache.Holds(settings) as holds:
        holds.keep(kind, name)
    stamp = settings.cache / "used" / f"{kind}.{name}"
    os.utime(stamp, (stamp.stat().st_atime, stamp.stat().st_mtime - age_s))
    return next(entry for entry in cache.entries(settings) if entry.name == name)


def test_the_least_recently_used_comes_first_whatever_its_kind(settings):
    made(settings, "sources", "young", age_s=10)
    made(settings, "ccache", "old", age_s=1000)
    made(settings, "downloads", "middle", age_s=100)
    assert [entry.name for entry in cache.entries(settings)] == ["old", "middle", "young"]


def test_using_an_entry_makes_it_the_youngest(settings):
    made(settings, "sources", "a", age_s=1000)
    made(settings, "sources", "b", age_s=10)
    with cache.Holds(settings) as holds:
        holds.keep("sources", "a")
    assert [entry.name for entry in cache.entries(settings)] == ["b", "a"]


def test_a_tree_without_a_stamp_was_used_when_it_was_made_and_not_when_its_tarball_was(settings):
    folder = settings.cache / "sources" / "x"
    folder.mkdir(parents=True)
    os.utime(folder, (0, 0))
    assert cache.entries(settings)[0].used_at_s > 1e9


def test_without_room_for_a_stamp_an_entry_counts_as_used_now(settings):
    settings.cache.mkdir()
    (settings.cache / "used").write_text("no folder, and nobody can make one of it")
    assert cache.last_use_s(settings, "images", "x") == pytest.approx(time.time(), abs=60)


def test_what_somebody_uses_stays_also_in_the_same_process(settings):
    entry = made(settings, "sources", "tree")
    with cache.Holds(settings) as holds:
        holds.keep("sources", "tree")
        assert not cache.remove(settings, entry)
        assert (settings.cache / "sources/tree/file").exists()
    assert cache.remove(settings, entry)
    assert not (settings.cache / "sources/tree").exists()


def test_what_another_lab_uses_stays_until_that_lab_ends_or_is_killed(settings):
    entry = made(settings, "sources", "tree")
    lines = f"""
import sys
from pathlib import Path
from lab.environment import cache
from lab.settings import Settings
here = Path({str(settings.cache)!r})
holds = cache.Holds(Settings(cache=here, results=here, images=here, data=here))
holds.keep("sources", "tree")
print("held", flush=True)
sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", lines], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        assert not cache.remove(settings, entry)
    finally:
        other.kill()
        other.communicate()
    assert cache.remove(settings, entry)


def test_who_comes_while_an_entry_is_removed_waits_and_finds_it_gone(settings):
    entry = made(settings, "sources", "tree")
    seen = []

    def user():
        with cache.Holds(settings) as holds:
            holds.keep("sources", "tree")
            seen.append((settings.cache / "sources/tree").exists())

    with cache.alone(settings, entry) as nobody:
        assert nobody
        thread = threading.Thread(target=user)
        thread.start()
        thread.join(0.2)
        assert seen == [], "did not wait"
        entry.path.rename(settings.cache / "aside")
    thread.join(5)
    assert seen == [False]


def test_files_that_trees_share_count_once_and_are_freed_with_the_last(settings):
    made(settings, "sources", "a", size=1 << 20)
    twin = settings.cache / "sources" / "b"
    twin.mkdir()
    os.link(settings.cache / "sources/a/file", twin / "file")
    usage = cache.Usage(cache.entries(settings))
    assert 1 << 20 <= usage.bytes < 2 << 20
    first, second = cache.entries(settings)
    assert usage.without(first) < 1 << 20
    assert usage.without(second) >= 1 << 20
    assert usage.bytes == 0


def test_what_is_being_made_is_no_entry(settings):
    (settings.cache / "sources" / "x.new").mkdir(parents=True)
    (settings.cache / "tools" / ".new-abc").mkdir(parents=True)
    assert cache.entries(settings) == ()


def test_a_killed_removal_leaves_no_half_tree_in_place(settings, monkeypatch):
    entry = made(settings, "sources", "tree")
    monkeypatch.setattr(cache.shutil, "rmtree", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cache.remove(settings, entry)
    assert not (settings.cache / "sources/tree").exists()
    monkeypatch.undo()
    cache.empty_trash(settings)
    assert not (settings.cache / "trash").exists()


def test_settings_of_another_cache_do_not_meet(settings, tmp_path):
    entry = made(settings, "sources", "tree")
    with cache.Holds(dataclasses.replace(settings, cache=tmp_path / "other")) as holds:
        holds.keep("sources", "tree")
        assert cache.remove(settings, entry)
