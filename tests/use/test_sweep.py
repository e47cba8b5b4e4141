"""What is taken away: by age, by budget, never what is in use."""

import dataclasses
import json
import os
import time

import pytest

from lab.environment import cache, image
from lab.environment.engine import ImageFacts
from lab.settings import Settings
from lab.use import prepare, sweep

MIB = 1 << 20
cache_usage = cache.Usage


class FakeEngine:
    """An engine that has images of ours and can forget them."""

    def __init__(self, **images):
        self.has = {
            f"sha256:{key}": ImageFacts(
                id=f"sha256:{key}",
                architecture="amd64",
                labels=((image.LABEL, key), (f"{image.LABEL}.key", key)),
                bytes=size,
            )
            for key, size in images.items()
        }

    def images(self, label):
        return tuple(self.has.values())

    def remove_image(self, name):
        del self.has[name]


@pytest.fixture
def settings(tmp_path):
    return Settings(cache=tmp_path / "cache", results=tmp_path, images=tmp_path, data=tmp_path)


@pytest.fixture
def filled(settings):
    """Three trees of one MiB, used one, two and three hours ago; an image used 90 minutes ago."""
    for name, hours in (("one", 1), ("two", 2), ("three", 3)):
        folder = settings.cache / "sources" / name
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(os.urandom(MIB))
        used(settings, "sources", name, hours)
    used(settings, cache.IMAGES, "image", 1.5)
    return FakeEngine(image=MIB)


def used(settings, kind, name, hours):
    with cache.Holds(settings) as holds:
        holds.keep(kind, name)
    stamp = settings.cache / "used" / f"{kind}.{name}"
    os.utime(stamp, (0, stamp.stat().st_mtime - hours * 3600))


def trees(settings):
    return sorted(path.name for path in (settings.cache / "sources").iterdir())


def budget(settings, size):
    return dataclasses.replace(settings, cache_budget_bytes=size)


def test_what_was_not_used_for_so_long_goes_caches_and_images_alike(settings, filled):
    gone = sweep.unused(settings, filled, 1.25 * 3600)
    assert trees(settings) == ["one"]
    assert filled.has == {}
    assert (gone.caches, gone.images) == (2, 1)
    assert 3 * MIB <= gone.bytes < 4 * MIB


def test_the_budget_takes_the_least_recently_used_and_no_more_than_needed(settings, filled):
    said = []
    gone = sweep.to_budget(budget(settings, 2 * MIB + MIB // 2), filled, said.append)
    assert trees(settings) == ["one"]
    assert len(filled.has) == 1
    assert gone.caches == 2
    assert "not used for longest" in said[0].text


def test_what_was_counted_within_a_day_is_not_counted_again(settings, filled, monkeypatch):
    sweep.to_budget(budget(settings, 6 * MIB), filled, pytest.fail)
    monkeypatch.setattr(
        sweep, "_used_bytes", lambda folder: json.loads((folder / sweep.COUNTED).read_text())["disk_bytes"]
    )
    counted = []
    monkeypatch.setattr(cache, "Usage", lambda found: counted.append(found) or cache_usage(found))
    sweep.to_budget(budget(settings, 6 * MIB), filled, pytest.fail)
    assert counted == []
    sweep.to_budget(budget(settings, 6 * MIB), filled, pytest.fail, recount=True)
    assert len(counted) == 1
    monkeypatch.setattr(time, "time", lambda: 2 * sweep.COUNT_EVERY_S + 2e9)
    sweep.to_budget(budget(settings, 6 * MIB), filled, pytest.fail)
    assert len(counted) == 2


def test_what_the_disk_gained_since_counts_as_the_cache_s(settings, filled, monkeypatch):
    sweep.to_budget(budget(settings, 6 * MIB), filled, pytest.fail)
    noted = json.loads((settings.cache / sweep.COUNTED).read_text())
    monkeypatch.setattr(sweep, "_used_bytes", lambda folder: noted["disk_bytes"] + 4 * MIB)
    counted = []
    monkeypatch.setattr(cache, "Usage", lambda found: counted.append(found) or cache_usage(found))
    sweep.to_budget(budget(settings, 6 * MIB), filled, pytest.fail)
    assert len(counted) == 1


def test_an_image_goes_when_its_turn_comes(settings, filled):
    sweep.to_budget(budget(settings, MIB + MIB // 2), filled, lambda note: None)
    assert trees(settings) == ["one"]
    assert filled.has == {}


@pytest.mark.parametrize("size", [0, 1 << 60], ids=["no limit", "enough"])
def test_within_the_budget_nothing_goes(settings, filled, size):
    assert not sweep.to_budget(budget(settings, size), filled, pytest.fail)
    assert len(trees(settings)) == 3


def test_what_a_running_attempt_needs_stays_though_it_is_old_and_the_budget_is_tiny(settings, filled):
    with cache.Holds(settings) as holds:
        holds.keep("sources", "three")
        holds.keep(cache.IMAGES, "image")
        sweep.to_budget(budget(settings, 1), filled, lambda note: None)
        sweep.unused(settings, filled, 0)
        sweep.caches(settings, filled, images=True)
        assert trees(settings) == ["three"]
        assert len(filled.has) == 1


def test_an_image_that_was_never_noted_is_not_old(settings):
    engine = FakeEngine(unknown=MIB)
    assert not sweep.unused(settings, engine, 3600)


def test_clean_without_options_keeps_to_the_budget_only(settings, filled):
    gone = prepare.clean(dataclasses.replace(settings, engine="unix:///nonexistent"), lambda note: None)
    assert gone.caches == 0
    assert len(trees(settings)) == 3
