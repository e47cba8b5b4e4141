"""What is kept of a step's output, and when it is ended; no engine."""

import errno
import io
import threading
import time
from pathlib import Path

import pytest

from lab.environment import following
from lab.environment.following import Limits, LogReader
from lab.model import Ending

MIB = 1 << 20


class Lost(Exception):
    pass


def copied(tmp_path, chunks, *, log_bytes=MIB, deadline_s=60.0, silence_s=0.0, stop=None):
    """Follow chunks to their end; return what until_end() said, the log, the lines told, and the reader."""
    lines, killed = [], threading.Event()
    limits = Limits(deadline=time.monotonic() + deadline_s, silence_s=silence_s, log_bytes=log_bytes)
    reader = LogReader(chunks(killed), tmp_path / "log.txt", lines.append, (Lost,), limits)
    ours = reader.until_end(stop, killed.set)
    return ours, (tmp_path / "log.txt").read_bytes(), lines, reader


def test_a_log_within_its_limit_is_kept_to_the_byte(tmp_path):
    ours, log, lines, reader = copied(tmp_path, lambda _: iter([b"one\ntw", b"o\n\xff", b"half"]))
    assert ours == (None, "")
    assert log == b"one\ntwo\n\xffhalf"
    assert lines == ["one", "two"]
    assert reader.dropped == 0


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, MIB + following.PIECE_BYTES])
def test_around_the_limit_nothing_is_lost_without_being_counted(tmp_path, size):
    data = b"".join(b"%015d\n" % number for number in range(size // 16 + 1))[:size]
    _, log, _, reader = copied(tmp_path, lambda _: iter([data[at : at + 5000] for at in range(0, size, 5000)]))
    marker = b"\nlab: %d bytes were dropped here\n" % reader.dropped
    assert len(log) == size - reader.dropped + (len(marker) if reader.dropped else 0)
    assert log.endswith(data[-1000:])


def test_a_flood_keeps_its_head_its_last_lines_and_says_what_was_dropped(tmp_path):
    flood = 100 * MIB
    chunk = b"x" * 99 + b"\n"

    def chunks(_):
        yield b"the first line\n"
        for _ in range(flood // (1000 * len(chunk))):
            yield chunk * 1000
        yield b"Kernel panic - not syncing: the last line\n"

    _, log, lines, reader = copied(tmp_path, chunks, log_bytes=4 * MIB)
    assert len(log) < 4 * MIB + 100
    assert log.startswith(b"the first line\n")
    assert log.endswith(b"\nKernel panic - not syncing: the last line\n")
    assert b"\nlab: %d bytes were dropped here\nxxx" % reader.dropped in log
    assert reader.dropped > flood - 4 * MIB - 100 * MIB // 50
    assert lines[-1].endswith("the last line")


def test_one_endless_line_is_bounded_too(tmp_path):
    _, log, _, reader = copied(tmp_path, lambda _: (b"y" * MIB for _ in range(20)), log_bytes=2 * MIB)
    assert len(log) < 2 * MIB + 100
    assert reader.dropped >= 18 * MIB


def test_what_was_said_before_the_engine_was_lost_is_kept(tmp_path):
    def chunks(_):
        yield b"a\n" * MIB
        yield b"last words"
        raise Lost

    ours, log, _, _ = copied(tmp_path, chunks)
    assert ours == (None, "")
    assert log.endswith(b"a\nlast words")


def waits(killed):
    """Say one thing, then nothing until killed."""
    yield b"said\n"
    killed.wait(30)


def talks(killed):
    while not killed.wait(0.02):
        yield b"tick\n"


def test_at_the_deadline_it_is_killed(tmp_path):
    assert copied(tmp_path, talks, deadline_s=0.3)[0] == (Ending.DEADLINE, "")


def test_silence_ends_it_before_the_deadline_if_that_is_asked_for(tmp_path):
    (ending, why), _, _, reader = copied(tmp_path, waits, silence_s=0.2)
    assert ending is Ending.DEADLINE
    assert reader.silent_s >= 0.2
    assert why == "it had said nothing for 0.2 s"


def test_who_talks_is_not_silent(tmp_path):
    assert copied(tmp_path, talks, silence_s=0.5, deadline_s=1.5)[0] == (Ending.DEADLINE, "")


def test_an_interruption_is_told_from_a_deadline(tmp_path):
    stop = threading.Event()
    stop.set()
    assert copied(tmp_path, waits, stop=stop)[0][0] is Ending.INTERRUPTED


def test_a_log_that_cannot_be_written_is_told_and_ends_the_following():
    limits = Limits(deadline=time.monotonic() + 60, log_bytes=MIB)
    reader = LogReader(iter([b"one\n", b"two\n"]), Path("/dev/full"), lambda line: None, (Lost, OSError), limits)
    assert reader.until_end(None, lambda: None) == (None, "")
    assert reader.trouble.errno == errno.ENOSPC


def test_a_listener_with_a_bug_is_heard_of(tmp_path):
    def broken(line):
        raise KeyError(line)

    limits = Limits(deadline=time.monotonic() + 60, log_bytes=MIB)
    reader = LogReader(iter([b"one\n", b"two\n"]), tmp_path / "log.txt", broken, (Lost,), limits)
    reader.until_end(None, lambda: None)
    assert isinstance(reader.trouble, KeyError)


def test_a_disk_that_takes_a_part_of_a_line_is_given_the_rest():
    taken = []

    class Narrow(io.FileIO):
        def write(self, data):
            taken.append(bytes(data[:3]))
            return len(taken[-1])

    with Narrow("/dev/null", "w") as out:
        following.write_all(out, b"a whole line\n")
    assert b"".join(taken) == b"a whole line\n"


def test_who_listens_and_has_gone_away_does_not_end_the_log(tmp_path):
    def gone(line):
        raise BrokenPipeError

    limits = Limits(deadline=time.monotonic() + 60, log_bytes=MIB)
    reader = LogReader(iter([b"one\n", b"two\n"]), tmp_path / "log.txt", gone, (Lost,), limits)
    reader.until_end(None, lambda: None)
    assert (reader.trouble, (tmp_path / "log.txt").read_bytes()) == (None, b"one\ntwo\n")
