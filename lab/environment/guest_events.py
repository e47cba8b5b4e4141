"""What qemu says of the guest it runs (QMP), followed on a thread of its own and kept as rows of JSON.

The socket lies in a folder that the container may write to, so neither what lies there nor who answers is trusted: the
socket is no link, every wait has an end, rows are bounded in size and number, and nothing that goes wrong here is an error
of the attempt. It is a row, and the boot is then judged without it.

Rows, each with at_s, seconds since the block began:
    {"event": NAME, "data": {…}}             what qemu told
    {"asked": COMMAND, "answer": …}          what it answered; "refused": why it did not
    {"link": "up" | "none" | "lost" | "cut" | "held", "because": TEXT}    the connection; "cut": events beyond EVENTS_LIMIT;
                                                                          "held": the guest never ran
    {"dropped": {NAME: NUMBER}}              events beyond ROWS_OF_A_NAME, counted

Source: qemu, docs/interop/qmp-spec.rst, qapi/run-state.json; the library qemu.qmp.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qemu.qmp import Message, QMPClient, QMPError, Runstate

from lab.environment.following import write_all
from lab.errors import machine_fault

ROW_BYTES = 32 << 10
ROWS_OF_A_NAME = 50
ROWS_LIMIT = 2000
EVENTS_LIMIT = 20_000  # a guest can make qemu tell of a panic as fast as it can write to a port
MESSAGE_BYTES = 1 << 20
POLL_S = 0.02
ANSWER_S = 5.0
AGAIN_S = 0.5  # before a qemu whose guest waits is spoken to again
TRIES = 20
PANIC_GRACE_S = 5.0  # what a guest that told of its panic, and then did not end, has to say the rest
JOIN_S = 5.0
DEAD = ("internal-error", "io-error", "guest-panicked", "shutdown")  # states in which a stopped guest stays
LAST_WORDS = ("human-monitor-command", {"command-line": "info registers"})

logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())  # what the library has to say is in the rows


@contextlib.contextmanager
def followed(place: Path, log: Path, *, deadline_s: float, held: bool = False) -> Iterator[None]:
    """Follow the guest of the step that is run in this block. place: where qemu makes its socket. log: the rows, replaced.

    held: the guest waits (qemu -S) and is let go once qemu is listened to, so that nothing it does is missed. A guest that
    is still there shortly before `deadline_s` is asked for its registers; one that told of its panic or was stopped for
    good is ended. Raises EnvironmentFault if `log` cannot be written, whole, and nothing for what qemu does.
    """
    where = (("file", str(log)),)
    try:
        rows = log.open("wb", buffering=0)
    except OSError as error:
        raise machine_fault("keep what qemu tells", error, facts=where) from error
    with rows as out:
        follower = _Follower(place, out, deadline_s, held)
        follower.start()
        try:
            yield
        finally:
            follower.end()
    if follower.trouble is not None:  # what is missing may be that qemu was killed
        raise machine_fault("keep what qemu tells", follower.trouble, facts=where)


class _Follower:
    """The thread and its rows. trouble: why a row could not be written."""

    def __init__(self, place: Path, out: io.FileIO, deadline_s: float, held: bool) -> None:
        self._place, self._out, self._deadline_s, self._held = place, out, deadline_s, held
        self._began = time.monotonic()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._events: Counter[str] = Counter()
        self._rows = 0
        self._panicked_s: float | None = None
        self.trouble: OSError | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"qmp:{place.name}", daemon=True)

    def start(self) -> None:
        """Begin to look for the socket."""
        self._thread.start()

    def end(self) -> None:
        """Take the connection away, if there still is one, and wait for the thread, but not for ever."""
        self._thread.join(0.5)  # qemu is gone: what it said last is in the socket
        self._over.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(JOIN_S)
        if self._held:
            self._row(link="held", because="nobody told qemu to run the guest")
        dropped = {name: number - ROWS_OF_A_NAME for name, number in self._events.items() if number > ROWS_OF_A_NAME}
        if dropped:
            self._row(dropped=dict(sorted(dropped.items())[:20]))
        with self._lock:
            self._rows = ROWS_LIMIT  # a thread that is still there writes no more

    def _run(self) -> None:
        for _ in range(TRIES):
            try:
                asyncio.run(self._follow())
            except Exception as error:  # whatever the library makes of a hostile peer: the attempt goes on without it
                self._row(link="lost", because=f"{type(error).__name__}: {error}"[:300])
            if not self._held or self._over.wait(AGAIN_S):
                return

    # ---------------------------------------------------------------------------------------------------- connection

    async def _follow(self) -> None:
        connection = await self._connected()
        if connection is None:
            self._row(link="none", because="qemu made no socket, or no longer listens at it")
            return
        self._socket = connection
        client = QMPClient("lab", readbuflen=MESSAGE_BYTES)
        client.events.event_filter = self._heard
        try:
            await asyncio.wait_for(client.connect(connection), ANSWER_S)
            self._row(link="up")
            await self._ask(client, "query-version")
            if self._held:
                self._held = await self._ask(client, "cont") is None
            else:
                await self._ask(client, "query-status")
            if not self._held:
                await self._attend(client)
        finally:
            with contextlib.suppress(QMPError, OSError, EOFError, asyncio.TimeoutError):
                await asyncio.wait_for(client.disconnect(), 1.0)

    async def _connected(self) -> socket.socket | None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                return _connection(self._place)
            await asyncio.sleep(POLL_S)
        return None

    async def _attend(self, client: QMPClient) -> None:
        """Wait for the end of the connection; ask and act where that is wanted."""
        asked_last = False
        while client.runstate is Runstate.RUNNING and not self._over.is_set():
            await asyncio.sleep(POLL_S)
            if self._events.total() > EVENTS_LIMIT:
                self._row(link="cut", because=f"more than {EVENTS_LIMIT} events")
                return
            if self._stopped:
                self._stopped = False
                answer = await self._ask(client, "query-status")
                if isinstance(answer, Mapping) and answer.get("status") in DEAD:
                    await self._ask(client, "quit")
            if self._panicked_s is not None and time.monotonic() - self._panicked_s > PANIC_GRACE_S:
                self._panicked_s = None
                await self._ask(client, "quit")
            if not asked_last and time.monotonic() - self._began > max(self._deadline_s - 2.0, self._deadline_s * 0.8):
                asked_last = True
                await self._ask(client, *LAST_WORDS)

    async def _ask(self, client: QMPClient, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """Ask qemu, note the answer, return it; None if there is none."""
        try:
            answer = await asyncio.wait_for(client.execute(command, arguments), ANSWER_S)
        except (TimeoutError, QMPError, OSError, EOFError) as error:
            self._row(asked=command, refused=f"{type(error).__name__}: {error}"[:300])
            return None
        self._row(asked=command, answer=answer)
        return answer

    # ---------------------------------------------------------------------------------------------------------- rows

    def _heard(self, message: Message) -> bool:
        """Note an event; False: the library need not keep it."""
        name = str(message.get("event"))[:64]
        known = len(self._events) < ROWS_LIMIT or name in self._events
        self._events[name if known else "…"] += 1
        if name == "GUEST_PANICKED" and self._panicked_s is None:
            self._panicked_s = time.monotonic()
        self._held = self._held and name != "RESUME"  # an answer can come too late
        self._stopped = self._stopped or name == "STOP"
        if self._events[name] <= ROWS_OF_A_NAME:
            self._row(event=name, data=message.get("data", {}))
        return False

    def _row(self, **row: Any) -> None:
        """Write a row; one that is too long, or cannot be JSON, keeps its name."""
        told = {"at_s": round(time.monotonic() - self._began, 3), **row}
        try:
            text = json.dumps(told, ensure_ascii=True)
        except (TypeError, ValueError, RecursionError):
            text = ""
        if not text or len(text) > ROW_BYTES:
            text = json.dumps(
                {key: told[key] for key in ("at_s", "event", "asked", "link") if key in told} | {"cut": True}
            )
        with self._lock, contextlib.suppress(ValueError):
            if self._rows < ROWS_LIMIT:
                self._rows += 1
                try:
                    write_all(self._out, text.encode() + b"\n")
                except OSError as error:
                    self.trouble = error


def _connection(place: Path) -> socket.socket:
    """Return a connection to a socket that is no link to another one. Raises OSError if it is not there.

    By its descriptor, because a path to a socket may have 108 bytes (unix(7)).
    """
    descriptor = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(f"no socket: {place}")
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            made.connect(f"/proc/self/fd/{descriptor}")
        except OSError:
            made.close()
            raise
        return made
    finally:
        os.close(descriptor)


def kept(source: Path, target: Path, limit: int) -> None:
    """Keep the first `limit` bytes of a regular file that the container wrote; nothing if there is none, or it is empty.

    Raises EnvironmentFault if `target` cannot be written.
    """
    data = b""
    with contextlib.suppress(OSError):
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            data = file.read(limit) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    if data:
        try:
            target.write_bytes(data)
        except OSError as error:
            raise machine_fault("keep what qemu noted", error, facts=(("file", str(target)),)) from error
