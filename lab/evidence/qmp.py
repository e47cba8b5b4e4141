"""What qemu told of a guest: qmp.jsonl (its events and answers) and qemu.txt (what it noted of processor resets).

Both were written with a hostile guest and a hostile qemu in mind and are read the same way: bounded, and whatever is no row of
the form is passed over.
Source: qemu, qapi/run-state.json, ShutdownCause; target/i386/tcg/excp_helper.c, check_exception().
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.evidence.text import json_rows, numbered_lines

EVENTS = "qmp.jsonl"
NOTES = "qemu.txt"
ROWS_LIMIT = 5000
ROW_BYTES = 64 << 10
NOTE_LINES = 20_000
TEXT = 100
HOSTS_STATES = ("internal-error", "io-error")
QUIT = "quit"  # the lab's own word to a guest that will not go on

# What "info registers" calls the program counter, by architecture: x86, arm64, arm, riscv, ppc, s390.
COUNTER = re.compile(
    r"\b(?:[ER]IP=([0-9a-f]{8,16})|PC=([0-9a-f]{16})|R15=([0-9a-f]{8})|pc +([0-9a-f]{8,16})"
    r"|NIP ([0-9a-f]{16})|PSW=mask [0-9A-F]{16} addr ([0-9A-F]{16}))\b"  # x86 has an R15, too: of 16 digits
)
TERMINATED = re.compile(r"\s*qemu-system-\S+: terminating on signal \d+")
TRIPLE_FAULT = b"Triple fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is known of a guest beside its console. at: line of qmp.jsonl, 0 if that was not told.

    connected: qemu was listened to, so that what it did not tell did not happen while it lived. version: qemu's. held_at: the
    guest waited for the lab's word to run, which never came. shutdown: why it ended (guest-reset, guest-shutdown, host-signal,
    …), "" if it did not say. panicked_at, watchdog_at: the guest told of its panic; a watchdog fired. stopped: the state in
    which the guest was stopped for good (internal-error), or "". ended: the lab told qemu to end. counter: the program counter
    shortly before the deadline. triple_fault_at: line of qemu.txt.
    """

    connected: bool = False
    held_at: int = 0
    version: str = ""
    shutdown: str = ""
    shutdown_at: int = 0
    panicked_at: int = 0
    watchdog_at: int = 0
    stopped: str = ""
    stopped_at: int = 0
    ended: bool = False
    counter: int | None = None
    counter_at: int = 0
    triple_fault_at: int = 0


def read(events: Path | None, notes: Path | None) -> Told:
    """Read both files; what is not there was not told."""
    told = Told()
    for at, row in enumerate(json_rows(events, ROW_BYTES), start=1):
        if at > ROWS_LIMIT:
            break
        told = _with_row(told, row, at)
    for at, line in numbered_lines(notes):
        if at > NOTE_LINES:
            break
        if line.startswith(TRIPLE_FAULT):
            return replace(told, triple_fault_at=at)
    return told


def is_hosts(told: Told, tail: Iterable[str] = ()) -> bool:
    """Whether qemu ended, or stopped its guest, for a reason that was not the guest's: a signal, an error of its own.

    tail: the last lines of the console; they count only where qemu was not listened to, because a guest can print anything.
    """
    if not told.connected:
        return any(TERMINATED.match(line) for line in tail)
    return told.stopped in HOSTS_STATES or (told.shutdown.startswith("host-") and not told.ended)


def _with_row(told: Told, row: Mapping[str, Any], at: int) -> Told:
    if row.get("link") == "up":
        return replace(told, connected=True)
    if row.get("link") == "held":
        return replace(told, held_at=at)
    if isinstance(event := row.get("event"), str):
        return _with_event(told, event, row.get("data"), at)
    if isinstance(command := row.get("asked"), str):
        return _with_answer(told, command, row.get("answer"), at)
    return told


def _with_event(told: Told, event: str, data: Any, at: int) -> Told:
    if event == "SHUTDOWN":
        return replace(told, shutdown=_word(data, "reason") or "unknown", shutdown_at=at)
    if event == "GUEST_PANICKED":
        return replace(told, panicked_at=told.panicked_at or at)
    if event == "WATCHDOG":
        return replace(told, watchdog_at=told.watchdog_at or at)
    return told


def _with_answer(told: Told, command: str, answer: Any, at: int) -> Told:
    if command == QUIT:
        return replace(told, ended=True)
    if command == "query-version":
        numbers = answer.get("qemu") if isinstance(answer, Mapping) else None
        return replace(told, version=".".join(_word(numbers, key) or "?" for key in ("major", "minor", "micro")))
    if command == "query-status" and isinstance(answer, Mapping) and answer.get("running") is False:
        return replace(told, stopped=_word(answer, "status"), stopped_at=at)
    if command == "human-monitor-command" and isinstance(answer, str) and (found := COUNTER.search(answer)):
        return replace(told, counter=int(next(filter(None, found.groups())), 16), counter_at=at)
    return told


def _word(data: Any, key: str) -> str:
    value = data.get(key) if isinstance(data, Mapping) else None
    return str(value)[:TEXT] if isinstance(value, str | int) else ""
