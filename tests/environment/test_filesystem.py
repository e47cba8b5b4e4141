"""Filesystems under output directories: mounted, measured, taken away; whatever a killed lab left is found."""

import dataclasses
import os
import time

import pytest

from lab import proc
from lab.environment import filesystem, writes
from lab.environment.engine import owner_is_alive
from lab.errors import EnvironmentFault
from lab.events import silent
from lab.use import sweep


def test_granularity_of_a_folder_is_measured_and_nothing_is_left(tmp_path):
    measured = filesystem.measure(tmp_path)
    assert measured.stored_ns >= 1
    assert measured.effective_ns == max(measured.stored_ns, measured.tick_ns)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kept_ns", "expected_ns"),
    [(1, 1), (100, 100), (1_000, 1_000), (1_000_000, 1_000_000), (10**9, 10**9), (2 * 10**9, 2 * 10**9)],
)
def test_stored_granularity_is_read_from_what_is_left_of_an_odd_time(tmp_path, monkeypatch, kept_ns, expected_ns):
    real = os.utime

    def rounding(path, ns):
        real(path, ns=tuple(one // kept_ns * kept_ns for one in ns))

    (tmp_path / "probe").touch()
    monkeypatch.setattr(filesystem.os, "utime", rounding)
    assert filesystem._stored_ns(tmp_path / "probe") == expected_ns


def test_a_scratch_folder_is_alive_only_while_somebody_holds_it(tmp_path, repository):
    import fcntl

    from lab.settings import Settings

    settings = Settings(
        cache=tmp_path, results=tmp_path / "r", images=repository / "images", data=repository / "lab/data"
    )
    folder = settings.work / "one"
    folder.mkdir(parents=True)
    with (folder / "owner").open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert owner_is_alive(str(folder))
        assert filesystem.dead(settings) == ()
    assert not owner_is_alive(str(folder))
    assert filesystem.dead(settings) == (folder,)
    assert not owner_is_alive("")
    assert owner_is_alive(f"pid:{os.getpid()}")
    assert not owner_is_alive("pid:999999999")


def scratch(settings, engine, image):
    return filesystem.scratch(f"test-{os.getpid()}-{time.monotonic_ns()}", settings, engine, image.id)


@pytest.mark.docker
@pytest.mark.parametrize(("name", "low_ns", "high_ns"), [("tmpfs", 1, 10_000_000), ("ext4-128", 10**9, 10**9)])
def test_each_row_keeps_the_time_it_promises_and_goes_away(name, low_ns, high_ns, real, rows, engine, build_image):
    with scratch(real, engine, build_image) as place:
        with filesystem.mounted(rows.filesystem[name], place, real, engine, build_image.id) as measured:
            assert low_ns <= measured.effective_ns <= high_ns
            assert place.out.stat().st_uid == real.uid
            assert os.path.ismount(place.out)
        folder = place.folder
    assert not folder.exists()
    assert str(folder) not in proc.run(["losetup", "-a"], deadline_s=10).output


@pytest.mark.docker
def test_a_row_that_breaks_its_promise_is_the_labs_trouble(real, rows, engine, build_image):
    lying = dataclasses.replace(rows.filesystem["tmpfs"], granularity_ns_min=10**9, granularity_ns_max=10**9)
    with scratch(real, engine, build_image) as place, pytest.raises(EnvironmentFault, match="as its row promises"):
        with filesystem.mounted(lying, place, real, engine, build_image.id):
            pass


@pytest.mark.docker
@pytest.mark.parametrize("name", ["tmpfs", "ext4-128"])
def test_a_user_who_may_not_mount_is_helped_by_a_container(name, real, rows, engine, build_image, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    for words in (["--bind", str(shared), str(shared)], ["--make-shared", str(shared)]):
        assert proc.run(["mount", *words], deadline_s=10).ok, (
            "this test prepares a shared mount and needs root for that"
        )
    helped = dataclasses.replace(real, cache=shared, may_mount=False)
    try:
        with scratch(helped, engine, build_image) as place:
            with filesystem.mounted(rows.filesystem[name], place, helped, engine, build_image.id) as measured:
                assert measured.effective_ns <= 10**9
                record = tmp_path / "writes.tsv"
                with writes.recorded(place, record, helped, engine, build_image.id) as works:
                    assert works
                    (place.out / "seen").write_text("x")
            assert "\tseen\n" in record.read_text()
    finally:
        proc.run(["umount", "-R", str(shared)], deadline_s=10)


@pytest.mark.docker
def test_the_order_of_writes_is_kept_where_the_clock_cannot_tell(real, rows, engine, build_image, tmp_path):
    record = tmp_path / "writes.tsv"
    with scratch(real, engine, build_image) as place:
        with filesystem.mounted(rows.filesystem["ext4-128"], place, real, engine, build_image.id):
            with writes.recorded(place, record, real, engine, build_image.id) as works:
                assert works
                for name in ("b", "a", "sub/c"):
                    (place.out / name).parent.mkdir(exist_ok=True)
                    (place.out / name).write_text(name)
                (place.out / "b").rename(place.out / "d\ne")
                (place.out / "a").touch()
            seconds = {path.stat().st_mtime for path in place.out.rglob("*") if path.is_file()}
    rows_seen = [line.split("\t") for line in record.read_text().splitlines()]
    closed = [path for _, letters, path in rows_seen if "W" in letters]
    assert closed[:3] == ["b", "a", "sub/c"]
    assert [path for _, letters, path in rows_seen if "M" in letters] == ["d\\ne"]
    assert len(seconds) <= 2, "three files within a second or two: the clock alone cannot order them"
    assert [int(row[0]) for row in rows_seen] == sorted(int(row[0]) for row in rows_seen)


@pytest.mark.docker
def test_a_loop_device_that_was_never_mounted_goes_with_its_folder(real, engine, build_image):
    with scratch(real, engine, build_image) as place:
        disk = place.folder / "disk.img"
        with disk.open("wb") as out:
            out.truncate(1 << 20)
        made = proc.run(["losetup", "--find", "--show", str(disk)], deadline_s=10)
        assert made.ok, made.output
        assert filesystem.loops_below(place.folder) == (made.last_line,)
    assert str(disk) not in proc.run(["losetup", "-a"], deadline_s=10).output


@pytest.mark.docker
def test_what_a_killed_lab_left_is_swept_and_what_lives_is_not(real, rows, engine, build_image, tmp_path):
    alone = dataclasses.replace(real, cache=tmp_path / "cache")
    script = tmp_path / "dies.py"
    script.write_text(
        "import os, sys, dataclasses\n"
        "from pathlib import Path\n"
        "from lab import cli\n"
        "from lab.environment import engine, filesystem\n"
        f"s = dataclasses.replace(cli.settings(), cache=Path({str(alone.cache)!r}))\n"
        "e = engine.connect(s); row = cli.load_tables().filesystem['ext4-128']\n"
        f"one = filesystem.scratch('dead', s, e, {build_image.id!r}); place = one.__enter__()\n"
        f"two = filesystem.mounted(row, place, s, e, {build_image.id!r}); two.__enter__()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    import sys

    environment = dict(real.environment)
    done = proc.run([sys.executable, str(script)], deadline_s=120, environment={**environment, "HOME": str(tmp_path)})
    assert done.status == -9, done.output
    left = alone.work / "dead"
    assert filesystem.mounts_below(left)
    with scratch(alone, engine, build_image) as living:
        swept = sweep.dead_work(alone, engine, silent)
        assert living.folder.exists()
    assert (swept.scratch_folders, swept.mounts) == (1, 1)
    assert not left.exists()
    assert str(left) not in proc.run(["losetup", "-a"], deadline_s=10).output
