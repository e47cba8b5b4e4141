"""A filesystem with coarse times: its arguments, and the real FUSE mount with what a build does on it."""

import dataclasses
import mmap
import os
import subprocess
import time

import pytest

from lab.environment import coarse, filesystem, writes
from lab.errors import EnvironmentFault
from lab.evidence.writes import read_writes

STEP_NS = 2_000_000_000


@pytest.fixture
def row(rows):
    return rows.filesystem["fuse-2s"]


def test_the_layer_is_told_what_to_show_where_in_which_steps(row):
    assert coarse.words(row, "/scratch") == ("/scratch/base", "/scratch/out", "2000000000", "nosuid,nodev")
    plain = dataclasses.replace(row, mount_options=(), granularity_ns_min=10**9, granularity_ns_max=10**9)
    assert coarse.words(plain, "/scratch")[2:] == ("1000000000", "defaults")


def test_a_helper_is_given_no_more_than_it_needs():
    assert {"SYS_ADMIN", "DAC_OVERRIDE", "CHOWN", "FOWNER", "DAC_READ_SEARCH"} == set(coarse.CAPABILITIES)


@pytest.fixture
def place(row, rows, real, engine, build_image):
    """The row, mounted: a Scratch."""
    why = filesystem.obstacle(row)
    if why is not None:
        pytest.skip(why.message)
    with (
        filesystem.scratch(f"test-{os.getpid()}-{time.monotonic_ns()}", real, engine, build_image.id) as scratch,
        filesystem.mounted(row, scratch, real, engine, build_image.id, rows.base_of(row)),
    ):
        yield scratch


def mtimes_ns(folder):
    return {path.name: path.lstat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.docker
def test_measured_granularity_is_two_seconds(place):
    assert filesystem.measure(place.out) == filesystem.Granularity(stored_ns=STEP_NS, tick_ns=STEP_NS)


@pytest.mark.docker
def test_no_way_of_setting_a_time_leaves_an_odd_second(place):
    out = place.out
    (out / "written").write_text("1")
    (out / "folder").mkdir()
    (out / "link").symlink_to("written")
    until = time.monotonic() + 2.5
    while time.monotonic() < until:  # every phase of the clock
        (out / f"at-{time.monotonic_ns()}").write_text("x")
        with (out / "written").open("a") as more:
            more.write("1")
        with (out / f"mapped-{time.monotonic_ns()}").open("w+b") as file:
            file.truncate(4096)
            with mmap.mmap(file.fileno(), 4096) as memory:
                memory[:1] = b"x"
        time.sleep(0.1)
    os.utime(out / "folder", ns=(1_577_836_801_500_000_000, 1_577_836_801_500_000_000))
    for words in (
        ["touch", "-r", "folder", "by-reference"],
        ["cp", "-p", "by-reference", "copied"],
        ["ln", "copied", "hard"],
    ):
        subprocess.run(words, cwd=out, check=True)
    subprocess.run(["touch", "-h", "-d", "2020-01-01 00:00:03 UTC", "link"], cwd=out, check=True)
    (out / "copied").rename(out / "moved")
    seen = mtimes_ns(out)
    assert not [name for name, time_ns in seen.items() if time_ns % STEP_NS]
    assert {seen[name] for name in ("folder", "by-reference", "moved", "hard")} == {1_577_836_800_000_000_000}
    assert seen["link"] == 1_577_836_802_000_000_000
    assert len(set(seen.values())) > 3, "the clock goes on"


@pytest.mark.docker
def test_it_holds_what_a_kernel_tree_needs(place):
    out = place.out
    (out / "xt_mark.o").write_text("small")
    (out / "xt_MARK.o").write_text("large")
    assert (out / "xt_mark.o").read_text() == "small"
    (out / "link").symlink_to("xt_MARK.o")
    assert ((out / "link").read_text(), str((out / "link").readlink())) == ("large", "xt_MARK.o")
    os.link(out / "xt_mark.o", out / "hard")
    assert (out / "hard").stat().st_nlink == 2
    (out / "run").write_text("#!/bin/sh\necho ran\n")
    (out / "run").chmod(0o750)
    assert (out / "run").stat().st_mode & 0o7777 == 0o750
    assert subprocess.run([str(out / "run")], capture_output=True, check=True).stdout == b"ran\n"
    with (out / "gone").open("w+") as stream:
        (out / "gone").unlink()
        stream.write("still there")
        stream.seek(0)
        assert stream.read() == "still there"
    big = os.urandom(3 << 20)
    (out / "big").write_bytes(big)
    assert (out / "big").read_bytes() == big
    assert sorted(mtimes_ns(out)) == ["big", "hard", "link", "run", "xt_MARK.o", "xt_mark.o"]
    with pytest.raises(OSError, match="No space left"), (out / "too-large").open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, 64 << 30)


@pytest.mark.docker
def test_a_build_by_another_user_sees_ties_of_two_seconds(place, real):
    (place.out / "Makefile").write_text("out: in\n\tcp in out\n")
    user = {"user": real.uid, "group": real.gid, "extra_groups": []} if os.geteuid() == 0 else {}

    def make():
        return subprocess.run(["make", "-s", "-q", "out"], cwd=place.out, check=False, **user).returncode

    now = time.time()
    time.sleep(2.05 - now % 2)  # just after a tick began
    subprocess.run(["sh", "-c", "echo 1 >in; make -s out; sleep 1.1; echo 2 >in"], cwd=place.out, check=True, **user)
    assert make() == 0, "input and output are of one tick: make sees nothing to do"
    time.sleep(1)
    subprocess.run(["touch", "in"], cwd=place.out, check=True, **user)
    assert make() == 1
    assert (place.out / "out").stat().st_uid == real.uid


def wait_for(record, text):
    end = time.monotonic() + 60
    while text not in record.read_text() and time.monotonic() < end:
        time.sleep(0.02)


@pytest.mark.docker
def test_the_order_of_writes_is_seen_below_the_layer(place, real, engine, build_image, tmp_path):
    record = tmp_path / "writes.tsv"
    with writes.recorded(place, record, real, engine, build_image.id) as recording:
        assert recording.works
        for name in ("b", "a", "sub/c"):
            (place.out / name).parent.mkdir(exist_ok=True)
            (place.out / name).write_text(name)
        with (place.out / "b").open() as unchanged:
            unchanged.read()
        (place.out / "a").rename(place.out / "d")
        wait_for(record, "\tM\td\n")  # what waits to be read takes up a later event of the same file: fanotify(7)
        subprocess.run(["touch", "b"], cwd=place.out, check=True)
    seen = read_writes(record) or ()
    assert [event.path for event in seen if "W" in event.letters] == ["b", "a", "sub/c"]
    assert [event.path for event in seen if "M" in event.letters] == ["d"]
    assert (seen[-1].path, "A" in seen[-1].letters) == ("b", True)


@pytest.mark.docker
def test_a_layer_that_ends_under_a_build_is_the_labs_trouble(row, rows, real, engine, build_image, monkeypatch):
    if filesystem.obstacle(row) is not None or not real.may_mount:
        pytest.skip("the layer does not run on the host here")
    started = []
    start = coarse.proc.start
    monkeypatch.setattr(
        coarse.proc, "start", lambda *words, **options: started.append(start(*words, **options)) or started[-1]
    )
    name = f"test-{os.getpid()}-{time.monotonic_ns()}"

    def build():
        with (
            filesystem.scratch(name, real, engine, build_image.id) as scratch,
            filesystem.mounted(row, scratch, real, engine, build_image.id, rows.base_of(row)),
        ):
            (layer,) = [child for child in started if str(coarse.SERVER) in child.args]
            layer.kill()
            layer.wait()
            with pytest.raises(OSError, match="not connected"):
                (scratch.out / "x").write_text("x")

    with pytest.raises(EnvironmentFault, match="server of filesystem 'fuse-2s' ended while it was used"):
        build()
    assert not (real.work / name).exists()
