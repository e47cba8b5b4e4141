"""A clock that is set back is seen, by how much; one that runs, is set forward, or was read by a stalled process is not."""

import time

import pytest

from lab.environment import wallclock
from lab.environment.wallclock import WallClock


@pytest.fixture
def offset(monkeypatch):
    """Let the test say by how much the two clocks differ, in ns; None: they could not be read close together."""
    now = [10**18]
    monkeypatch.setattr(wallclock, "_offset_ns", lambda: now[0])
    return now


def test_this_machines_clock_was_not_set():
    clock = WallClock()
    time.sleep(0.05)
    assert clock.set_back_s() == 0.0


def test_a_clock_that_is_set_back_is_told_once(offset):
    clock = WallClock()
    offset[0] -= 3600 * 10**9
    assert clock.set_back_s() == 3600.0
    assert clock.set_back_s() == 0.0


def test_a_clock_that_is_set_forward_is_of_no_matter(offset):
    clock = WallClock()
    offset[0] += 3600 * 10**9
    assert clock.set_back_s() == 0.0


def test_a_clock_that_is_set_forward_and_back_was_set_back(offset):
    clock = WallClock()
    offset[0] += 3600 * 10**9
    clock.look()
    offset[0] -= 3600 * 10**9
    assert clock.set_back_s() == 3600.0


def test_a_clock_that_was_set_right_before_anybody_asked_was_set_back(offset):
    clock = WallClock()
    offset[0] -= 10**9
    clock.look()
    offset[0] += 10**9
    assert clock.set_back_s() == 1.0


def test_many_small_steps_are_one_large_one(offset):
    clock = WallClock()
    for _ in range(20):
        offset[0] -= wallclock.STEP_NS // 10
        clock.look()
    assert clock.set_back_s() == 0.02


def test_what_no_file_shows_is_not_told(offset):
    clock = WallClock()
    offset[0] -= wallclock.STEP_NS - 1
    assert clock.set_back_s() == 0.0


def test_clocks_that_could_not_be_read_close_together_say_nothing(monkeypatch):
    clock, stalled = WallClock(), iter(range(0, 10**12, 10**9))
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: next(stalled))
    clock.look()
    assert wallclock._offset_ns() is None
    monkeypatch.undo()
    assert clock.set_back_s() == 0.0
