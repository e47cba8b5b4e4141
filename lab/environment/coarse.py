"""A filesystem with coarse times: another one, shown through a FUSE layer that rounds down every time that it tells.

The layer is lab/data/bin/coarse-times, a process that lives as long as the mount is used: on the host where the lab may mount,
else in a helper container. It ends with the lab; a mount without a server is then left, and is unmounted as any other.
"""

from __future__ import annotations

import contextlib
import select
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from lab import proc
from lab.environment.engine import Engine, Mount, Place
from lab.errors import EnvironmentFault
from lab.model import Step
from lab.settings import Settings
from lab.tables import DATA, Filesystem

DEVICE = Path("/dev/fuse")
SERVER = DATA / "bin" / "coarse-times"
READY_WITHIN_S = 30.0
MEMORY_MIB = 4096  # what is written into a tmpfs counts as its writer's, and the writer is the layer
# Mounting; acting for any user; finding files by their handles (open_by_handle_at(2)).
CAPABILITIES = ("SYS_ADMIN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "CHOWN", "FOWNER")


def words(row: Filesystem, folder: str) -> tuple[str, ...]:
    """Return the arguments of coarse-times. folder: the scratch folder, in which `base` is shown as `out`."""
    step_ns = row.granularity_ns_max
    return (f"{folder}/base", f"{folder}/out", str(step_ns), ",".join(row.mount_options) or "defaults")


@contextlib.contextmanager
def shown(row: Filesystem, folder: Path, settings: Settings, engine: Engine, image: str) -> Iterator[None]:
    """Mount the layer on folder/out while the block runs; the mount itself is left to who takes the folder away.

    Raises EnvironmentFault when it cannot be mounted, and when the layer ended before the block: what was seen there then is
    worth nothing.
    """
    server = _on_host if settings.may_mount else _in_helper
    with server(row, folder, settings, engine, image):
        yield


@contextlib.contextmanager
def _on_host(row: Filesystem, folder: Path, settings: Settings, engine: Engine, image: str) -> Iterator[None]:
    child = proc.start([sys.executable, "-I", str(SERVER), *words(row, str(folder))])
    assert child.stdout is not None
    try:
        said = child.stdout.readline() if select.select([child.stdout], [], [], READY_WITHIN_S)[0] else b""
        if said != b"ready\n":
            raise _not_mounted(row, said.decode("utf-8", "replace"))
        yield
        if child.poll() is not None:
            raise _lost(row, child.stdout.read().decode("utf-8", "replace"))
    finally:
        proc.end(child)
        child.stdout.close()


@contextlib.contextmanager
def _in_helper(row: Filesystem, folder: Path, settings: Settings, engine: Engine, image: str) -> Iterator[None]:
    log = folder / "coarse-times.txt"
    step = Step(
        name="coarse-times",
        argv=("/usr/bin/python3", "-I", "/lab/coarse-times", *words(row, "/scratch")),
        workdir="/",
        deadline_s=1e9,
        log=log.name,
        environment=(("PATH", "/usr/bin:/bin"),),
    )
    helper = Place(
        image=image,
        owner=str(folder),
        user="0:0",
        mounts=(
            Mount(host=folder, inside="/scratch", writable=True, shared=True),
            Mount(host=SERVER, inside="/lab/coarse-times"),
        ),
        memory_mib=MEMORY_MIB,
        devices=(f"{DEVICE}:{DEVICE}:rw",),
        capabilities=CAPABILITIES,
        unconfined=True,
    )
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(engine, step, helper, log, stop), daemon=True)
    thread.start()
    try:
        until = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < until and thread.is_alive() and not _said(log).startswith("ready\n"):
            time.sleep(0.05)
        if not _said(log).startswith("ready\n"):
            raise _not_mounted(row, _said(log))
        yield
        if not thread.is_alive():
            raise _lost(row, _said(log))
    finally:
        stop.set()
        thread.join(60)


def _run(engine: Engine, step: Step, helper: Place, log: Path, stop: threading.Event) -> None:
    try:
        engine.execute(step, helper, log, stop=stop)
    except EnvironmentFault as error:
        log.write_text(str(error))


def _said(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""


def _not_mounted(row: Filesystem, said: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"cannot mount filesystem {row.name!r}",
        finding="infra.mount",
        facts=(("said", _last_line(said) or f"nothing within {READY_WITHIN_S:.0f} s"),),
        hint="`lab doctor` shows what mounting needs here",
    )


def _lost(row: Filesystem, said: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the server of filesystem {row.name!r} ended while it was used",
        finding="infra.filesystem",
        facts=(("said", _last_line(said)),),
    )


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
