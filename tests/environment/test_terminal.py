"""Between a person's terminal or pipe and a container: nothing lost, nothing added, and an end."""

import os
import socket
import struct
import threading

import pytest

from lab.environment import terminal


def framed(kind, data):
    return struct.pack(">BxxxI", kind, len(data)) + data


@pytest.mark.parametrize("piece", [1, 3, 8, 9, 4096])
def test_frames_are_taken_off_however_they_are_cut(piece):
    whole = framed(1, b"one\n") + framed(2, b"") + framed(2, b"two" * 100) + framed(1, b"!")
    frames = terminal.Frames()
    parts = [whole[at : at + piece] for at in range(0, len(whole), piece)]
    assert b"".join(map(frames.payload, parts)) == b"one\n" + b"two" * 100 + b"!"


def test_a_promised_length_takes_no_memory():
    frames = terminal.Frames()
    assert frames.payload(struct.pack(">BxxxI", 1, 2**32 - 1) + b"little") == b"little"


class Pipe:
    """A talk() under way: its far end of the connection, and pipes for stdin and stdout."""

    def __init__(self):
        ours, self.far = socket.socketpair()
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()

        def run():
            terminal.talk(ours, lambda rows, columns: None, stdin=stdin, stdout=stdout, terminal=False)
            os.close(stdout)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def said(self):
        out = b""
        while data := os.read(self.stdout, 65536):
            out += data
        return out


def test_the_end_of_a_pipe_is_handed_on_and_the_answer_still_arrives():
    pipe = Pipe()
    os.write(pipe.stdin, b"make --version\n")
    os.close(pipe.stdin)
    got = b""
    while data := pipe.far.recv(100):
        got += data
    assert got == b"make --version\n"
    pipe.far.sendall(framed(1, b"GNU Make"))
    pipe.far.close()
    assert pipe.said() == b"GNU Make"


def test_a_container_that_ends_ends_the_talk_while_stdin_is_open():
    pipe = Pipe()
    pipe.far.sendall(framed(1, b"bye"))
    pipe.far.close()
    assert pipe.said() == b"bye"
    pipe.thread.join(5)
    assert not pipe.thread.is_alive()


def test_much_both_ways_at_once_does_not_stand_still():
    pipe, much = Pipe(), 4 << 20
    threading.Thread(target=lambda: (os.write(pipe.stdin, b"x" * much), os.close(pipe.stdin)), daemon=True).start()
    answer = threading.Thread(target=lambda: pipe.far.sendall(framed(1, b"y" * much)), daemon=True)
    answer.start()  # the far end says all of its own before it reads anything
    said = []
    reader = threading.Thread(target=lambda: said.append(pipe.said()), daemon=True)
    reader.start()
    answer.join(20)
    got = 0
    while data := pipe.far.recv(65536):
        got += len(data)
    pipe.far.close()
    reader.join(20)
    assert (got, [len(one) for one in said]) == (much, [much])
