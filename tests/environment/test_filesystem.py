"""Filesystems under output directories: mounted, measured, taken away; whatever a killed lab left is found."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import proc
from lab.environment import filesystem, writes
from lab.environment.owner import owner_is_alive
from lab.errors import EnvironmentFault
from lab.events import silent
from lab.tables import FilesystemKind
from lab.use import sweep


def test_granularity_of_a_folder_is_measured_and_nothing_is_left(tmp_path):
    measured = filesystem.measure(tmp_path)
    assert measured.stored_ns >= 1
    assert measured.effective_ns == max(measured.stored_ns, measured.tick_ns)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kept_ns", "expected_ns"),
    [
        (1, 1),
        (100, 100),
        (1_000, 1_000),
        (1_000_000, 1_000_000),
        (10**9, 10**9),
        (2 * 10**9, 2 * 10**9),
        (4 * 10**9, 4 * 10**9),
    ],
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


def test_every_row_promises_what_old_and_new_kernels_keep(rows):
    """Fine clocks tick every 10 ms at worst (CONFIG_HZ=100) and are exact to the nanosecond at best."""
    for row in rows.filesystem.values():
        promise = (row.granularity_ns_min, row.granularity_ns_max)
        assert promise in ((1, 10_000_000), (10**9, 10**9), (2 * 10**9, 2 * 10**9)), row.name


def test_there_is_a_row_with_steps_of_two_seconds(rows):
    row = rows.filesystem["fuse-2s"]
    assert (row.kind, row.fstype, rows.base_of(row)) == (FilesystemKind.COARSE, "fuse", rows.filesystem["tmpfs"])
    assert (row.granularity_ns_min, row.granularity_ns_max) == (2 * 10**9, 2 * 10**9)


def test_an_overlay_promises_what_its_base_does(rows):
    overlays = [row for row in rows.filesystem.values() if row.kind is FilesystemKind.OVERLAY]
    assert {row.base for row in overlays} >= {"tmpfs", "ext4-128"}
    for row in overlays:
        base = rows.base_of(row)
        assert (row.granularity_ns_min, row.granularity_ns_max) == (base.granularity_ns_min, base.granularity_ns_max)


def test_a_type_that_the_kernel_lacks_is_named_before_anything_is_made(rows, tmp_path):
    kernel = tmp_path / "filesystems"
    kernel.write_text("nodev\ttmpfs\n\text4\n")
    strange = dataclasses.replace(rows.filesystem["tmpfs"], name="strange", fstype="strangefs")
    why = filesystem.obstacle(strange, kernel)
    assert why is not None
    assert (why.finding, "'strangefs'" in why.message) == ("infra.mount", True)
    assert ("known", "tmpfs, ext4") in why.facts
    assert filesystem.obstacle(rows.filesystem["tmpfs"], kernel) is None


def test_a_machine_without_fuse_is_told_before_anything_is_made(rows, tmp_path):
    kernel = tmp_path / "filesystems"
    row = rows.filesystem["fuse-2s"]
    kernel.write_text("nodev\ttmpfs\nnodev\tfuse\n")
    why = filesystem.obstacle(row, kernel, tmp_path / "fuse")
    assert why is not None
    assert (why.finding, why.hint) == ("infra.mount", "`lab doctor --fix` loads the driver")
    assert why.message == f"filesystem 'fuse-2s' needs FUSE, and this machine has no '{tmp_path}/fuse'"
    (tmp_path / "fuse").touch()
    assert filesystem.obstacle(row, kernel, tmp_path / "fuse") is None
    kernel.write_text("nodev\ttmpfs\n")
    why = filesystem.obstacle(row, kernel, tmp_path / "fuse")
    assert why is not None
    assert "no filesystem of type 'fuse'" in why.message


def test_what_was_mounted_last_is_unmounted_first(tmp_path, monkeypatch):
    """An overlay and its base lie side by side; the base is busy as long as the overlay is there."""
    table = "".join(f"{n} 1 0:{n} / {tmp_path}/{name} rw - tmpfs x rw\n" for n, name in ((1, "base"), (2, "out")))
    monkeypatch.setattr(filesystem.Path, "read_text", lambda self, errors=None: table)
    assert [path.name for path in filesystem.mounts_below(tmp_path)] == ["out", "base"]


def every_row():
    from lab import cli

    return list(cli.load_tables().filesystem)


def mountable(row, rows):
    for one in filter(None, (row, rows.base_of(row))):
        why = filesystem.obstacle(one)
        if why is not None:
            pytest.skip(why.message)


@pytest.mark.docker
@pytest.mark.parametrize("name", every_row())
def test_each_row_keeps_the_time_it_promises_and_goes_away(name, real, rows, engine, mount_image, tmp_path):
    row, record = rows.filesystem[name], tmp_path / "writes.tsv"
    mountable(row, rows)
    with scratch(real, engine, mount_image) as place:
        helper = mount_image.id
        with filesystem.mounted(row, place, real, engine, helper, rows.base_of(row)) as measured:
            assert row.granularity_ns_min <= measured.effective_ns <= row.granularity_ns_max
            assert place.out.stat().st_uid == real.uid
            assert os.path.ismount(place.out)
            assert list(place.out.iterdir()) == []
            with writes.recorded(place, record, real, engine, helper) as recording:
                assert recording.works, "the order of writes is recorded on every row"
                (place.out / "one").write_text("1")
                (place.out / "one").rename(place.out / "two")
        folder = place.folder
    names = [line.split("\t")[2] for line in record.read_text().splitlines()]
    assert list(dict.fromkeys(names)) == ["one", "two"]
    assert not folder.exists()
    assert str(folder) not in proc.run(["losetup", "-a"], deadline_s=10).output


@pytest.mark.docker
@pytest.mark.parametrize("name", every_row())
def test_what_make_sees_is_what_the_disk_keeps(name, real, rows, engine, mount_image):
    """A time is rounded when it is set and not when its inode is written: no tie appears only after a remount."""
    row = rows.filesystem[name]
    if not row.mkfs:
        pytest.skip("nothing of it is on a disk of its own")
    mountable(row, rows)
    with scratch(real, engine, mount_image) as place:
        with filesystem.mounted(row, place, real, engine, mount_image.id):
            for number in range(20):
                (place.out / str(number)).write_text("x")
            seen = {path.name: path.stat().st_mtime_ns for path in place.out.iterdir()}
            script = str(real.data / "bin" / "mount-output")
            assert proc.run([script, "unmount", "out"], deadline_s=30, workdir=place.folder).ok
            again = [script, "mount", row.fstype, "defaults", "disk.img", "out", "0:0"]
            assert proc.run(again, deadline_s=30, workdir=place.folder).ok
            assert {path.name: path.stat().st_mtime_ns for path in place.out.iterdir()} == seen


@pytest.mark.docker
def test_a_row_that_breaks_its_promise_is_the_labs_trouble(real, rows, engine, build_image):
    lying = dataclasses.replace(rows.filesystem["tmpfs"], granularity_ns_min=10**9, granularity_ns_max=10**9)
    with scratch(real, engine, build_image) as place, pytest.raises(EnvironmentFault, match="as its row promises"):
        with filesystem.mounted(lying, place, real, engine, build_image.id):
            pass


@pytest.mark.docker
def test_a_lab_in_a_mount_namespace_of_its_own_is_the_labs_trouble(real, rows, engine, build_image, tmp_path):
    """Mounts made there are not the engine's: nothing is built in the empty folder that containers would see."""
    script = tmp_path / "mounts.py"
    script.write_text(
        "import dataclasses, sys\n"
        "from pathlib import Path\n"
        "from lab import cli\n"
        "from lab.environment import engine, filesystem\n"
        "from lab.errors import EnvironmentFault\n"
        "settings, rows = cli.settings(), cli.load_tables()\n"
        "with engine.connect(settings) as there, filesystem.scratch(sys.argv[1], settings, there, sys.argv[2]) as place:\n"
        "    try:\n"
        "        with filesystem.mounted(rows.filesystem['tmpfs'], place, settings, there, sys.argv[2]):\n"
        "            print('mounted')\n"
        "    except EnvironmentFault as error:\n"
        "        print(error.finding, error.message)\n"
    )
    words = [sys.executable, str(script), f"private-{os.getpid()}", build_image.id]
    private = ["unshare", "--mount", "--propagation", "private", *words]
    keep = {**os.environ, "LAB_CACHE": str(real.cache)}
    said = [
        subprocess.run(argv, capture_output=True, text=True, env=keep, check=True).stdout for argv in (words, private)
    ]
    assert said == ["mounted\n", "infra.mount containers do not see what is mounted here\n"]


@pytest.mark.docker
@pytest.mark.parametrize("name", ["tmpfs", "xfs", "overlay-ext4-128", "fuse-2s"])
def test_a_user_who_may_not_mount_is_helped_by_a_container(name, real, rows, engine, mount_image, tmp_path):
    row, base = rows.filesystem[name], rows.base_of(rows.filesystem[name])
    mountable(row, rows)
    shared = tmp_path / "shared"
    shared.mkdir()
    for words in (["--bind", str(shared), str(shared)], ["--make-shared", str(shared)]):
        assert proc.run(["mount", *words], deadline_s=10).ok, (
            "this test prepares a shared mount and needs root for that"
        )
    helped = dataclasses.replace(real, cache=shared, may_mount=False)
    try:
        with scratch(helped, engine, mount_image) as place:
            with filesystem.mounted(row, place, helped, engine, mount_image.id, base) as measured:
                assert row.granularity_ns_min <= measured.effective_ns <= row.granularity_ns_max
                record = tmp_path / "writes.tsv"
                with writes.recorded(place, record, helped, engine, mount_image.id) as recording:
                    assert recording.works
                    (place.out / "seen").write_text("x")
            assert "\tseen\n" in record.read_text()
    finally:
        proc.run(["umount", "-R", str(shared)], deadline_s=10)


@pytest.mark.docker
def test_a_record_that_found_no_room_is_none(real, rows, engine, build_image, tmp_path):
    with scratch(real, engine, build_image) as place:
        with filesystem.mounted(rows.filesystem["tmpfs"], place, real, engine, build_image.id):
            for record, whole in ((Path("/dev/full"), False), (tmp_path / "writes.tsv", True)):
                with writes.recorded(place, record, real, engine, build_image.id) as recording:
                    assert recording.works
                    (place.out / "a").write_text("a")
                    time.sleep(0.5)
                assert recording.whole is whole


@pytest.mark.docker
def test_the_order_of_writes_is_kept_where_the_clock_cannot_tell(real, rows, engine, build_image, tmp_path):
    record = tmp_path / "writes.tsv"
    with scratch(real, engine, build_image) as place:
        with filesystem.mounted(rows.filesystem["ext4-128"], place, real, engine, build_image.id):
            with writes.recorded(place, record, real, engine, build_image.id) as recording:
                assert recording.works
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
@pytest.mark.parametrize(("name", "mounts"), [("ext4-128", 1), ("fuse-2s", 2)])
def test_what_a_killed_lab_left_is_swept_and_what_lives_is_not(name, mounts, real, rows, engine, build_image, tmp_path):
    alone = dataclasses.replace(real, cache=tmp_path / "cache")
    script = tmp_path / "dies.py"
    script.write_text(
        "import os, sys, dataclasses\n"
        "from pathlib import Path\n"
        "from lab import cli\n"
        "from lab.environment import engine, filesystem\n"
        f"s = dataclasses.replace(cli.settings(), cache=Path({str(alone.cache)!r}))\n"
        f"e = engine.connect(s); rows = cli.load_tables(); row = rows.filesystem[{name!r}]\n"
        f"one = filesystem.scratch('dead', s, e, {build_image.id!r}); place = one.__enter__()\n"
        f"two = filesystem.mounted(row, place, s, e, {build_image.id!r}, rows.base_of(row)); two.__enter__()\n"
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
    assert (swept.scratch_folders, swept.mounts) == (1, mounts)
    assert not left.exists()
    assert str(left) not in proc.run(["losetup", "-a"], deadline_s=10).output
