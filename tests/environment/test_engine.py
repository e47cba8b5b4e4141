"""A step in a container of the real engine: what it may not do, and every way it can end."""

import dataclasses
import fcntl
import threading
import time
from pathlib import Path

import pytest

from lab.environment.engine import LABEL, Mount, Place, connect
from lab.environment.owner import this_process
from lab.errors import EnvironmentFault
from lab.model import Ending, Step

pytestmark = pytest.mark.docker


def step(*argv, deadline_s=30.0):
    return Step(
        name="test",
        argv=argv,
        workdir="/tmp",
        deadline_s=deadline_s,
        log="log.txt",
        environment=(("PATH", "/usr/bin:/bin"),),
    )


@pytest.fixture
def run(engine, build_image, tmp_path):
    log = tmp_path / "log.txt"

    def run(*argv, deadline_s=30.0, stop=None, on_line=lambda line: None, **place):
        place = Place(image=build_image.id, **place)
        result = engine.execute(step(*argv, deadline_s=deadline_s), place, log, stop=stop, on_line=on_line)
        return result, log.read_text(errors="replace") if log.exists() else ""

    return run


def test_a_step_has_no_root_no_capability_no_network_and_nothing_to_write_to(run):
    script = (
        "id -u; grep -h CapBnd /proc/self/status; grep NoNewPrivs /proc/self/status; ls /sys/class/net;"
        "touch /x 2>&1; touch /usr/x 2>&1; ls /run/docker.sock 2>&1; env | sort"
    )
    result, said = run("sh", "-c", script)
    lines = said.splitlines()
    assert result.ending is Ending.EXITED
    assert lines[0] == "1000"
    assert lines[1].split() == ["CapBnd:", "0000000000000000"]
    assert lines[2].split() == ["NoNewPrivs:", "1"]
    assert "eth0" not in said
    assert said.count("Read-only file system") == 2
    assert "No such file" in said
    assert "HOSTNAME=lab" in said


def test_an_exit_status_is_the_steps_own(run):
    result, _ = run("sh", "-c", "exit 3")
    assert (result.ending, result.status, result.ok) == (Ending.EXITED, 3, False)


def test_lines_are_told_while_they_come_and_the_log_keeps_every_byte(run):
    seen = []
    _, said = run("sh", "-c", "echo one; echo two >&2; printf half", on_line=seen.append)
    assert said == "one\ntwo\nhalf"
    assert seen == ["one", "two"]


def test_a_deadline_is_an_ending_of_its_own(run):
    result, _ = run("sleep", "60", deadline_s=1.0)
    assert result.ending is Ending.DEADLINE
    assert result.seconds < 20


def test_a_memory_limit_is_told_from_a_kill(run):
    result, _ = run("python3", "-c", "x = bytearray(1 << 30)", memory_mib=64)
    assert result.ending is Ending.OUT_OF_MEMORY


def test_a_kill_from_outside_is_told(engine, build_image, tmp_path):
    (tmp_path / "scratch").mkdir()
    owner = str(tmp_path / "scratch")
    lock = (tmp_path / "scratch" / "owner").open("w")  # or another lab's sweep would be the one that kills it
    fcntl.flock(lock, fcntl.LOCK_EX)

    def kill():
        api = engine._client.api
        until = time.monotonic() + 20
        while time.monotonic() < until:
            for row in api.containers(filters={"label": f"{LABEL}={owner}"}):
                api.kill(row["Id"])
                return
            time.sleep(0.1)

    threading.Thread(target=kill).start()
    result = engine.execute(step("sleep", "60"), Place(image=build_image.id, owner=owner), tmp_path / "log")
    lock.close()
    assert result.ending is Ending.KILLED


def test_an_interruption_ends_it_at_once(run):
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    result, _ = run("sleep", "60", stop=stop)
    assert result.ending is Ending.INTERRUPTED
    assert result.seconds < 20


def test_processes_are_bounded(run):
    result, said = run("sh", "-c", "for i in $(seq 200); do sleep 5 & done; wait", processes=32)
    assert "Cannot fork" in said or "Resource temporarily unavailable" in said
    assert result.status != 0


def test_a_bind_is_read_only_unless_said(run, tmp_path):
    (tmp_path / "given").mkdir(mode=0o777)
    (tmp_path / "given").chmod(0o777)
    _, said = run("touch", "/given/x", mounts=(Mount(host=tmp_path / "given", inside="/given"),))
    assert "Read-only file system" in said
    result, _ = run("touch", "/given/x", mounts=(Mount(host=tmp_path / "given", inside="/given", writable=True),))
    assert result.ok


def test_a_missing_image_is_the_environments_fault(engine, tmp_path):
    with pytest.raises(EnvironmentFault, match="the image is gone"):
        engine.execute(step("true"), Place(image="kbuild-lab/none:none"), tmp_path / "log")


def test_nothing_is_left_of_a_step(run, engine):
    run("true")
    assert not [
        row
        for row in engine._client.api.containers(all=True, filters={"label": f"{LABEL}={this_process()}"})
        if row["State"] == "exited"
    ]


def test_a_step_whose_log_found_no_room_is_ended_and_never_judged(engine, build_image):
    wordy = step("sh", "-c", "while :; do echo line; done")
    with pytest.raises(EnvironmentFault, match="keep the log of step 'test'") as told:
        engine.execute(wordy, Place(image=build_image.id), Path("/dev/full"))
    assert told.value.finding == "infra.disk-full"
    assert engine._client.api.containers(all=True, filters={"label": f"{LABEL}={this_process()}"}) == []


def test_no_engine_is_one_clear_error_with_what_was_tried(real):
    with pytest.raises(EnvironmentFault, match="no container engine answers") as caught:
        connect(dataclasses.replace(real, engine="unix:///nonexistent.sock"))
    assert caught.value.finding == "infra.engine-lost"
    assert "nonexistent.sock" in str(caught.value)


def test_what_a_step_used_is_told(run):
    script = (
        "data=$(head -c 80000000 /dev/zero | tr '\\0' x); i=0; while [ $i -lt 2000000 ]; do i=$((i+1)); done; sleep 2"
    )
    result, _ = run("sh", "-c", script)
    assert result.ok
    assert 76 <= result.peak_mib < 1000
    assert 0 < result.cpu_s <= result.seconds * 2
