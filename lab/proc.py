"""The only place that starts processes on the host: argv, an environment from nothing, a deadline, a clean end.

Engine containers are not processes of ours; lab.environment.engine starts those.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import IO

from lab.errors import EnvironmentFault

# What every child sees. HOME is nowhere on purpose: no dot file of the caller changes what a tool does.
CLEAN = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/nonexistent",
}
TERMINATE_AFTER_S = 2.0  # patience after an interrupt
KILL_AFTER_S = 3.0  # patience after SIGTERM
OUTPUT_LIMIT = 4 << 20  # bytes kept of what a child says; the rest is read and dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """status: exit status, negative for a signal as in subprocess. output: stdout and stderr in order, its last 4 MiB."""

    argv: tuple[str, ...]
    status: int
    output: str
    seconds: float
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with 0."""
        return self.status == 0 and not self.timed_out

    @property
    def last_line(self) -> str:
        """The last line that is not empty, for one-line reasons."""
        return next((line.strip() for line in reversed(self.output.splitlines()) if line.strip()), "")


def run(
    argv: Sequence[str],
    *,
    deadline_s: float,
    environment: Mapping[str, str] | None = None,
    workdir: Path | None = None,
    stdin: bytes | None = None,
    stop: Event | None = None,
) -> Completed:
    """Run argv to its end. Raises EnvironmentFault only if it cannot be started; a non-zero status is for the caller."""
    began = time.monotonic()
    child = start(argv, environment=environment, workdir=workdir, stdin=stdin)
    output = bytearray()
    timed_out = False
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), False)
    while True:
        quiet = not _drain(child.stdout, output)
        if quiet and child.poll() is not None:
            _drain(child.stdout, output)
            break
        if time.monotonic() - began > deadline_s or (stop is not None and stop.is_set()):
            timed_out = time.monotonic() - began > deadline_s
            end(child)
        if quiet:
            time.sleep(0.01)
    child.stdout.close()
    return Completed(
        argv=tuple(argv),
        status=child.returncode,
        output=output.decode("utf-8", "replace"),
        seconds=time.monotonic() - began,
        timed_out=timed_out,
    )


def checked(
    argv: Sequence[str], *, deadline_s: float, what: str, environment: Mapping[str, str] | None = None
) -> Completed:
    """Run argv and raise EnvironmentFault with its last words unless it ended with 0. what: "unpack 'linux.tar.xz'"."""
    done = run(argv, deadline_s=deadline_s, environment=environment)
    if done.ok:
        return done
    how = f"no end within {deadline_s:.0f} s" if done.timed_out else f"exited {done.status}"
    raise EnvironmentFault(
        f"cannot {what}: {Path(argv[0]).name!r} {how}",
        finding="infra.disk-full" if "No space left on device" in done.output else "infra.host",
        facts=(("said", done.last_line), ("command", " ".join(argv))),
    )


def start(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    workdir: Path | None = None,
    stdin: bytes | None = None,
    output: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start argv in a process group of its own and return at once; the caller ends it with end()."""
    source: IO[bytes] | int = subprocess.DEVNULL
    if stdin is not None:
        descriptor = os.memfd_create("stdin")
        os.write(descriptor, stdin)
        os.lseek(descriptor, 0, os.SEEK_SET)
        source = os.fdopen(descriptor, "rb")
    try:
        return subprocess.Popen(
            list(argv),
            stdin=source,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**CLEAN, **(environment or {})},
            cwd=workdir,
            process_group=0,
        )
    except FileNotFoundError as error:
        raise EnvironmentFault(
            f"cannot start {argv[0]!r}: not installed", finding="infra.missing-tool", hint="lab doctor --fix"
        ) from error
    except OSError as error:
        raise EnvironmentFault(f"cannot start {argv[0]!r}: {error.strerror}") from error
    finally:
        if not isinstance(source, int):
            source.close()


def end(child: subprocess.Popen[bytes]) -> None:
    """Interrupt, then terminate, then kill the child's whole group; returns when it is gone."""
    patience = ((signal.SIGINT, TERMINATE_AFTER_S), (signal.SIGTERM, KILL_AFTER_S), (signal.SIGKILL, 10.0))
    for number, patience_s in patience:
        if child.poll() is not None:
            break
        _signal_group(child, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience_s)
    # a shell's background children ignore SIGINT and outlive it (POSIX, "Signals and error handling")
    _signal_group(child, signal.SIGKILL)


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _drain(pipe: IO[bytes], output: bytearray) -> bool:
    """Read what is there; True if there was anything."""
    try:
        chunk = os.read(pipe.fileno(), 1 << 16)
    except BlockingIOError:
        return False
    output += chunk
    if len(output) > OUTPUT_LIMIT:
        del output[: len(output) - OUTPUT_LIMIT]
    return bool(chunk)
