"""The one door to host processes: deadlines hold, nothing leaks in, nothing is left running."""

import os
import signal
import threading
import time

import pytest

from lab import proc
from lab.errors import EnvironmentFault


def test_a_child_sees_nothing_of_the_callers_environment(monkeypatch):
    monkeypatch.setenv("LAB_TEST_SECRET", "leaks")
    done = proc.run(["env"], deadline_s=10)
    assert done.ok
    assert "LAB_TEST_SECRET" not in done.output
    assert "PATH=" in done.output


def test_a_status_is_handed_on_and_output_kept_in_order():
    done = proc.run(["sh", "-c", "echo one; echo two >&2; exit 7"], deadline_s=10)
    assert (done.status, done.output, done.last_line) == (7, "one\ntwo\n", "two")


def test_a_deadline_ends_a_child_that_ignores_polite_signals(monkeypatch):
    monkeypatch.setattr(proc, "TERMINATE_AFTER_S", 0.1)
    monkeypatch.setattr(proc, "KILL_AFTER_S", 0.1)
    # a shell is there in milliseconds; on a busy machine Python may not be before its deadline, and dies politely
    done = proc.run(["sh", "-c", "trap '' INT TERM; exec sleep 60"], deadline_s=1)
    assert done.timed_out
    assert done.status == -signal.SIGKILL


def test_a_grandchild_goes_with_its_parent(tmp_path):
    note = tmp_path / "pid"
    proc.run(["sh", "-c", f"sleep 60 & echo $! > {note}; wait"], deadline_s=0.5)
    pid = int(note.read_text())
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        with open(f"/proc/{pid}/stat") as stat:
            if stat.read().split(")")[-1].split()[0] == "Z":
                return
        time.sleep(0.05)
    pytest.fail("the grandchild still runs")


def test_stop_ends_a_child_before_its_deadline():
    stop = threading.Event()
    stop.set()
    done = proc.run(["sleep", "60"], deadline_s=60, stop=stop)
    assert not done.ok
    assert not done.timed_out


def test_output_is_bounded_and_its_end_survives(monkeypatch):
    monkeypatch.setattr(proc, "OUTPUT_LIMIT", 1 << 16)
    done = proc.run(["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo last"], deadline_s=20)
    assert len(done.output) <= 1 << 16
    assert done.last_line == "last"


def test_stdin_is_what_was_given_or_nothing():
    assert proc.run(["cat"], deadline_s=5).output == ""
    assert proc.run(["cat"], deadline_s=5, stdin=b"words").output == "words"


def test_a_missing_program_is_the_environments_fault():
    with pytest.raises(EnvironmentFault, match="not installed") as caught:
        proc.run(["no-such-program-at-all"], deadline_s=1)
    assert caught.value.finding == "infra.missing-tool"


def test_checked_says_what_failed_and_recognises_a_full_disk():
    with pytest.raises(EnvironmentFault, match="cannot unpack 'x': 'sh' exited 3") as caught:
        proc.checked(["sh", "-c", "echo tar: x: No space left on device; exit 3"], deadline_s=5, what="unpack 'x'")
    assert caught.value.finding == "infra.disk-full"
