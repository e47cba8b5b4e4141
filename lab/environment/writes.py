"""The order in which files of an output directory are written, kept while a build runs.

On a clock of one second mtimes cannot tell "written before" from "written after"; this record can. It is made by
lab/data/bin/record-writes (fanotify), as a process of its own, on the host or in a helper container.
"""

from __future__ import annotations

import contextlib
import select
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import proc
from lab.environment.engine import Engine, Mount, Place
from lab.environment.filesystem import Scratch
from lab.errors import EnvironmentFault
from lab.model import Step
from lab.settings import Settings

READY_WITHIN_S = 10.0


@dataclass(slots=True)
class Recording:
    """A record under way. works: the recorder listens. whole: known after its end, whether it listened to the last."""

    works: bool = False
    whole: bool = False


@contextlib.contextmanager
def recorded(place: Scratch, output: Path, settings: Settings, engine: Engine, image: str) -> Iterator[Recording]:
    """Record writes under place.watched into `output` while the block runs; ask the Recording after it.

    A machine that forbids it loses this evidence, not the attempt: checks then say that they could not look. A recorder that
    died, as there was no room or somebody killed it, leaves a record with a gap.
    """
    recorder = _on_host if settings.may_mount else _in_helper
    with recorder(place, output, settings, engine, image) as recording:
        yield recording


@contextlib.contextmanager
def _on_host(place: Scratch, output: Path, settings: Settings, engine: Engine, image: str) -> Iterator[Recording]:
    child = proc.start(
        [sys.executable, "-I", str(settings.data / "bin" / "record-writes"), str(place.watched), str(output)]
    )
    assert child.stdout is not None
    recording = Recording()
    try:
        heard = bool(select.select([child.stdout], [], [], READY_WITHIN_S)[0])
        recording.works = heard and child.stdout.readline() == b"ready\n"
        yield recording
    finally:
        proc.end(child)
        child.stdout.close()
        recording.whole = child.returncode == 0


@contextlib.contextmanager
def _in_helper(place: Scratch, output: Path, settings: Settings, engine: Engine, image: str) -> Iterator[Recording]:
    said = place.folder / "record-writes.txt"
    output.touch()
    step = Step(
        name="record-writes",
        argv=("/usr/bin/python3", "-I", "/lab/record-writes", f"/scratch/{place.watched.name}", "/writes.tsv"),
        workdir="/",
        deadline_s=1e9,
        log=said.name,
        environment=(("PATH", "/usr/bin:/bin"),),
    )
    helper = Place(
        image=image,
        owner=place.owner,
        user="0:0",
        mounts=(
            Mount(host=place.folder, inside="/scratch"),
            Mount(host=output, inside="/writes.tsv", writable=True),
            Mount(host=settings.data / "bin" / "record-writes", inside="/lab/record-writes"),
        ),
        capabilities=("SYS_ADMIN", "DAC_READ_SEARCH", "DAC_OVERRIDE"),
        unconfined=True,
    )
    stop = threading.Event()

    def listen() -> None:
        with contextlib.suppress(EnvironmentFault):  # what it was for is then not there
            engine.execute(step, helper, said, stop=stop)

    thread = threading.Thread(target=listen, name="record-writes", daemon=True)
    thread.start()
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until and thread.is_alive() and not (said.exists() and b"ready" in said.read_bytes()):
        time.sleep(0.05)
    recording = Recording(thread.is_alive())
    try:
        yield recording
    finally:
        time.sleep(0.2)  # the last events are read at once, but not by us
        recording.whole = thread.is_alive()
        stop.set()
        thread.join(10)
