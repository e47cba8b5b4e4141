"""Writes to an image that its disk has no room for are lost silently, and are found by who asks."""

import contextlib
import dataclasses
import os
import subprocess
import time

import pytest

from lab.environment import filesystem
from lab.environment.writeback import Writeback, room
from lab.errors import EnvironmentFault

SMALL = "4m"


def test_a_filesystem_that_kept_everything_says_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 4096)
    with contextlib.closing(Writeback(tmp_path, tmp_path / "file")) as asked:
        asked.check()
        asked.check()


def test_a_disk_is_full_with_no_room_for_a_kernel(tmp_path):
    free, full = room(tmp_path)
    assert (free > 0, full) == (True, free < 16 << 20)


@pytest.fixture
def crowded(machine_settings, tmp_path):
    """Settings whose scratch folders lie on a tmpfs of 4 MiB, and how it is made larger."""
    work = tmp_path / "cache" / "work"
    work.mkdir(parents=True)
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=755", "small", work]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield (
        dataclasses.replace(machine_settings, cache=tmp_path / "cache"),
        lambda: subprocess.run(["mount", "-o", "remount,size=64m", work], check=True),
    )
    subprocess.run(["umount", "-l", work], check=True)


@contextlib.contextmanager
def output(settings, engine, image, row):
    name = f"test-{os.getpid()}-{time.monotonic_ns()}"
    with (
        filesystem.scratch(name, settings, engine, image.id) as place,
        filesystem.mounted(row, place, settings, engine, image.id),
    ):
        yield place


def written(place):
    """Write more than the disk has room for, as a build does: nobody waits until it is stored."""
    for number in range(16):
        (place.out / f"{number}.o").write_bytes(os.urandom(1 << 20))


@pytest.mark.docker
def test_what_an_image_lost_is_found_and_laid_to_the_disk(crowded, engine, build_image, rows):
    settings, larger = crowded
    row = rows.filesystem["ext4-128"]
    with output(settings, engine, build_image, row) as place:
        written(place)
        with pytest.raises(EnvironmentFault) as told:
            place.check_kept()
        assert told.value.finding == "infra.disk-full"
        assert "0 bytes" in dict(told.value.facts)["free"]
    larger()
    with output(settings, engine, build_image, row) as place:
        written(place)
        place.check_kept()


@pytest.mark.docker
def test_an_image_without_room_for_its_filesystem_is_a_full_disk(crowded, engine, build_image, rows):
    settings, _ = crowded
    (settings.work / "filler").write_bytes(bytes(3_600_000))
    with pytest.raises(EnvironmentFault) as told, output(settings, engine, build_image, rows.filesystem["ext4-128"]):
        pass
    assert told.value.finding == "infra.disk-full", told.value
