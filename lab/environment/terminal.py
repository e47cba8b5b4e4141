"""A person's terminal, or a pipe, and a container's: bytes are copied both ways until the container ends.

What talk() does to the terminal (raw mode, so that Ctrl-C reaches the program inside) is undone however it ends.

Source: termios(3), tty_ioctl(4); Docker Engine API v1.40, "ContainerAttach", stream format.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import termios
import tty
from collections.abc import Callable, Iterator

CHUNK = 1 << 16
PENDING_AT_MOST = 1 << 20  # bytes read from us that the container has not taken yet

Resize = Callable[[int, int], None]  # rows, columns


def is_terminal(stdin: int, stdout: int) -> bool:
    """Whether both descriptors are terminals: a prompt makes sense only then."""
    return os.isatty(stdin) and os.isatty(stdout)


def talk(connection: socket.socket, resize: Resize, *, stdin: int, stdout: int, terminal: bool) -> None:
    """Copy until the container's end. terminal: it has a tty, so set ours raw and hand its size on.

    The end of stdin is handed on, too. Raises BrokenPipeError when nobody reads stdout any more.
    """
    if not terminal:
        _copy(connection, stdin, stdout, Frames(), None)
        return
    with _raw(stdin), _resized(stdin, resize) as woken:
        _copy(connection, stdin, stdout, None, woken)


class Frames:
    """Takes the engine's framing off a stream without tty: 8 bytes (kind, three zeros, length) before each piece."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._left = 0  # bytes of the current piece that are still to come

    def payload(self, data: bytes) -> bytes:
        """Return what of the data, and of what came before it, is the program's own; headers may come in parts."""
        self._rest += data
        out = bytearray()
        while self._rest:
            if self._left:
                piece = self._rest[: self._left]
                del self._rest[: len(piece)]
                self._left -= len(piece)
                out += piece
            elif len(self._rest) >= 8:
                self._left = struct.unpack_from(">I", self._rest, 4)[0]
                del self._rest[:8]
            else:
                break
        return bytes(out)


class _Woken:
    """A signal handler's end of a pipe (write) and the loop's (read), and what to do when it was rung."""

    def __init__(self, stdin: int, resize: Resize) -> None:
        self.read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stdin, self._resize = stdin, resize

    def ring(self, number: int, frame: object) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b".")

    def answer(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.read, CHUNK)
        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(self._stdin)
            self._resize(rows, columns)

    def close(self) -> None:
        os.close(self.read)
        os.close(self._write)


def _copy(connection: socket.socket, stdin: int, stdout: int, frames: Frames | None, woken: _Woken | None) -> None:
    pending, open_stdin, said_end = bytearray(), True, False
    connection.setblocking(False)
    while True:
        wanted: list[socket.socket | int] = [connection]
        if open_stdin and len(pending) < PENDING_AT_MOST:
            wanted.append(stdin)
        if woken is not None:
            wanted.append(woken.read)
        ready, writable, _ = select.select(wanted, [connection] if pending else [], [])
        if woken is not None and woken.read in ready:
            woken.answer()
        if stdin in ready:
            data = _read(stdin)
            open_stdin = bool(data)
            pending += data
        if writable and not _send(connection, pending):
            open_stdin = False
        if not open_stdin and not pending and not said_end:
            said_end = True
            with contextlib.suppress(OSError):  # it may be gone already
                connection.shutdown(socket.SHUT_WR)
        if connection in ready:
            said = _receive(connection)
            if said == b"":
                return
            _write_all(stdout, frames.payload(said) if frames and said else said or b"")


def _read(stdin: int) -> bytes:
    try:
        return os.read(stdin, CHUNK)
    except OSError:  # a terminal that was hung up
        return b""


def _send(connection: socket.socket, pending: bytearray) -> bool:
    """Send some of what waits; False, with nothing left to wait, if nobody will ever take it."""
    try:
        del pending[: connection.send(pending[:CHUNK])]
    except BlockingIOError:
        pass
    except OSError:
        pending.clear()
        return False
    return True


def _receive(connection: socket.socket) -> bytes | None:
    """Return what came, b"" at the end, None if nothing is there after all."""
    try:
        return connection.recv(CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _write_all(stdout: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(stdout, data) :]
        except BlockingIOError:
            select.select([], [stdout], [])


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    before = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resized(terminal: int, resize: Resize) -> Iterator[_Woken]:
    """Hand the terminal's size on now and whenever it changes."""
    woken = _Woken(terminal, resize)
    before = signal.signal(signal.SIGWINCH, woken.ring)
    try:
        woken.answer()
        yield woken
    finally:
        signal.signal(signal.SIGWINCH, before)
        woken.close()
