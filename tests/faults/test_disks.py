"""Disks that fill up, lack inodes or turn read-only under the store: what was finished stays, and the machine is blamed."""

import contextlib
import dataclasses
import os
import subprocess
import textwrap
import threading
import time

import pytest

from lab.errors import EnvironmentFault
from lab.events import silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import AttemptResult, Outcome
from lab.results import store
from lab.results.store import History, RunFacts
from lab.use import session


@pytest.fixture
def small(tmp_path):
    """Mount a tmpfs of 256 KiB and 64 inodes; yield its folder."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=64", "small", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def facts():
    return RunFacts(run="r", matrix="m", matrix_sha256="", cells=(), started_at_s=time.time(), lab_version="0")


def result(number=1, reason="built"):
    return AttemptResult(number=number, outcome=Outcome.PASS, reason=reason, findings=())


def finished(run):
    """Keep one attempt; return its bytes."""
    run.attempt_folder("a", 1)
    run.keep_attempt("a", result())
    return (run.folder / "a" / "1" / "result.json").read_bytes()


def fill(folder):
    with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass


def use_inodes(folder):
    with contextlib.suppress(OSError):
        for number in range(1000):
            (folder / f"inode-{number}").touch()


def keep_more(run):
    for number in range(1, 200):
        run.keep_attempt("b", result(reason="x" * 4000 * number))
        run.attempt_folder("b", 1 + number)


@pytest.mark.parametrize("exhaust", [fill, use_inodes], ids=["bytes", "inodes"])
def test_a_full_store_keeps_what_was_finished_and_blames_the_disk(small, exhaust):
    with store.open_run(small, facts()) as run:
        before = finished(run)
        run.attempt_folder("b", 1)
        exhaust(small)
        with pytest.raises(EnvironmentFault) as told:
            keep_more(run)
        assert told.value.finding == "infra.disk-full"
        assert (run.folder / "a" / "1" / "result.json").read_bytes() == before
        assert not list(run.folder.rglob(".*.tmp")), "half a file takes the room that is missing"
        with pytest.raises(EnvironmentFault):
            run.keep_history(History(durations={f"attempt:x{number}:1": 1.0 for number in range(20_000)}))
    for path in [*small.glob("filler"), *small.glob("inode-*")]:
        path.unlink()
    with store.open_run(small, facts()) as run:
        assert [one.outcome for one in run.made("a")] == [Outcome.PASS]
        run.attempt_folder("b", 1)
        run.keep_attempt("b", result())


def test_a_store_that_turned_read_only_is_told_as_such(small):
    with store.open_run(small, facts()) as run:
        before = finished(run)
        run.close()  # nothing can turn read-only while it is open for writing; a disk that fails does not ask
        subprocess.run(["mount", "-o", "remount,ro", small], check=True)
        for write in (lambda: run.attempt_folder("b", 1), lambda: run.keep_history(History(durations={"a": 1.0}))):
            with pytest.raises(EnvironmentFault) as told:
                write()
            assert told.value.finding == "infra.read-only"
        assert (run.folder / "a" / "1" / "result.json").read_bytes() == before
    with pytest.raises(EnvironmentFault) as told:
        store.open_run(small, facts())
    assert told.value.finding == "infra.read-only"


@pytest.mark.parametrize("jump_s", [-10 * 365 * 86400, 10 * 365 * 86400], ids=["back", "forward"])
def test_a_clock_that_jumped_changes_neither_what_is_finished_nor_what_comes_first(tmp_path, jump_s):
    with store.open_run(tmp_path, facts()) as run:
        finished(run)
        run.keep_history(History(durations={"attempt:a:1": 7.0}))
        for path in run.folder.rglob("*"):
            os.utime(path, (time.time() + jump_s, time.time() + jump_s))
    with store.open_run(tmp_path, facts()) as run:
        assert [one.outcome for one in run.made("a")] == [Outcome.PASS]
    assert store.read_history(tmp_path).durations == {"attempt:a:1": 7.0}


MATRIX = """
version: 1
name: crowded
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: x86_64
  toolchain: gcc-12
  kconfig: [allnoconfig]
  make: {targets: [kernel/time/, kernel/sched/]}
  filesystem: ext4-128
"""


SHARED = {"sources", "ccache", "locks", "downloads", "apt"}
ROOM = {
    "work": ("size=2560k", "size=1g"),
    "sources": ("size=100m", "size=4g"),
    "locks": ("nr_inodes=1", "nr_inodes=1000"),
}
"""What a folder of the cache has at first, and later. An unpacked source has 1.3 GB; a folder is an inode."""


@pytest.fixture(params=ROOM)
def crowded(request, machine_settings, tmp_path):
    """Settings with the machine's cache, but with little room in one of its folders, and how that becomes more."""
    cache, (little, much) = tmp_path / "cache", ROOM[request.param]
    with contextlib.ExitStack() as stack:

        def mount(*words):
            if subprocess.run(["mount", *words], capture_output=True, check=False).returncode:
                pytest.skip("mounting is not allowed here")
            stack.callback(subprocess.run, ["umount", "-l", words[-1]], check=True)

        for shared in sorted(SHARED - {request.param}):
            (machine_settings.cache / shared).mkdir(parents=True, exist_ok=True)
            (cache / shared).mkdir(parents=True)
            mount("--bind", str(machine_settings.cache / shared), str(cache / shared))
        small = cache / request.param
        small.mkdir()
        mount("-t", "tmpfs", "-o", f"{little},mode=755", "small", str(small))
        yield (
            dataclasses.replace(machine_settings, cache=cache, results=tmp_path / "results"),
            lambda: subprocess.run(["mount", "-o", f"remount,{much}", str(small)], check=True),
        )


@pytest.mark.docker
@pytest.mark.slow
def test_a_run_whose_disk_filled_up_blames_the_disk_and_goes_on_with_more_room(crowded, rows, tmp_path):
    settings, larger = crowded
    path = tmp_path / "matrix.yaml"
    path.write_text(textwrap.dedent(MATRIX))
    asked = session.Request(matrix=path, name="crowded", cells=expand(read(path, rows)), run=f"crowded-{os.getpid()}")
    (full,) = session.run(asked, settings, rows, silent, threading.Event()).results
    assert (full.outcome, full.reason.partition(":")[0]) == (Outcome.ERROR, "infra.disk-full"), full.reason
    larger()
    (whole,) = session.run(asked, settings, rows, silent, threading.Event()).results
    assert whole.outcome is Outcome.PASS, whole.reason
    assert list(settings.work.iterdir()) == []
