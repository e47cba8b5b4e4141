"""Break a run of the real lab at a chosen moment, take it up again, and say what came of it.

Used by tests/faults (a few points) and bench/faults.py (all of them). What others of this machine would feel as well (an engine
that restarts, no mount left, another time of day) is done only where somebody asks for that kind.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.environment.engine import LABEL

MATRIX = """
version: 1
name: %s
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: x86_64
  toolchain: gcc-12
  kconfig: [allnoconfig]
  make: {targets: [lib/ctype.o], jobs: 64}
matrix:
  filesystem: [tmpfs, ext4-128]
"""
ENDS_WITHIN_S = 900
LOOPS = 300


@dataclass(frozen=True)
class Point:
    """One fault. kind: of KINDS. at: share of an undisturbed run's time."""

    kind: str
    at: float


@dataclass(frozen=True)
class Outcome:
    """first: exit code of the disturbed run. intact: what was finished before is as it was. left: what nobody took away."""

    point: Point
    first: int
    again: int
    verdicts: tuple[str, ...]
    intact: bool
    left: tuple[str, ...]
    seconds: float

    @property
    def good(self) -> bool:
        return self.intact and not self.left and self.again == 0


class Place:
    """Where runs of one test are made: a folder of results of its own, and a matrix whose name nobody else has."""

    def __init__(self, folder: Path, name: str, work: Path, engine: object) -> None:
        self.results, self.name, self.work, self.engine = folder / "results", name, work, engine
        self.matrix = folder / "matrix.yaml"
        self.matrix.write_text(textwrap.dedent(MATRIX) % name)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        # what runs under nohup hands an ignored SIGINT down, which Python then leaves alone until the lab takes it
        return subprocess.Popen(
            ["env", "--default-signal=INT,HUP", sys.executable, "-m", "lab", "run", str(self.matrix), "--json", *words],
            env={**os.environ, "LAB_RESULTS": str(self.results)}, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def containers(self) -> list[str]:
        found = self.engine._client.api.containers(all=True, filters={"label": LABEL})
        return [row["Id"] for row in found if self.name in row["Labels"][LABEL]]

    def processes(self, program: str) -> list[int]:
        """Return the processes of this name that run in our containers."""
        found = []
        for container in self.containers():
            with contextlib.suppress(Exception):  # it may be gone by now
                top = self.engine._client.api.top(container, "-eo pid,comm")
                found += [int(row[0]) for row in top["Processes"] if row[1] == program]
        return found

    def left(self) -> tuple[str, ...]:
        """Return what is still there of ours."""
        loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=False).stdout
        places = {"mounts": Path("/proc/self/mountinfo").read_text(), "loop devices": loops}
        found = [what for what, said in places.items() if f"{self.name}-" in said]
        found += [f"container {one[:12]}" for one in self.containers()]
        found += [f"scratch {path.name}" for path in self.work.glob(f"{self.name}-*")]
        return (*found, *(f"temporary {path.name}" for path in self.results.rglob(".*.tmp")))

    def finished(self) -> dict[Path, bytes]:
        """Return every finished attempt. `latest` is another way to one of the runs, and points to the next one soon."""
        found = [path for path in self.results.glob("*/*/1/result.json") if path.parts[-4] != "latest"]
        return {path: path.read_bytes() for path in found}


def kill_lab(place: Place, child: subprocess.Popen[bytes]) -> None:
    os.killpg(child.pid, signal.SIGKILL)


def kill_make(place: Place, child: subprocess.Popen[bytes]) -> None:
    for pid in place.processes("make"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_container(place: Place, child: subprocess.Popen[bytes]) -> None:
    for container in place.containers():
        with contextlib.suppress(Exception):  # it may be gone by now
            place.engine._client.api.kill(container, "SIGKILL")


def interrupt(place: Place, child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGINT)


def interrupt_twice(place: Place, child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)


def hang_up(place: Place, child: subprocess.Popen[bytes]) -> None:
    """Do what a terminal does to what runs in it when it goes away, and what its shell does once more."""
    for _ in range(2):
        child.send_signal(signal.SIGHUP)
        time.sleep(0.3)


def restart_engine(place: Place, child: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    """Stop dockerd as an upgrade does, and start it again: by systemd, or as `lab doctor --fix` does where there is none.

    number: SIGKILL: it dies without a word to its containers.
    """
    if subprocess.run(["systemctl", "-q", "is-active", "docker"], capture_output=True, check=False).returncode == 0:
        subprocess.run(["systemctl", "kill", f"--signal={number}", "docker"], check=True)
        subprocess.run(["systemctl", "restart", "docker"], check=True)
        return
    pid = int(Path("/run/docker.pid").read_text())
    os.kill(pid, number)
    deadline_s = time.monotonic() + 60
    while Path("/proc", str(pid)).exists() and time.monotonic() < deadline_s:
        time.sleep(0.1)
    subprocess.run([sys.executable, "-m", "lab", "doctor", "--fix", "--quiet"], stdout=subprocess.DEVNULL, check=True)


def use_up_mounts(place: Place, child: subprocess.Popen[bytes]) -> Callable[[], object]:
    """Let nobody mount anything, containers neither, until the run has ended. Source: admin-guide/sysctl/fs.rst, mount-max."""
    most = Path("/proc/sys/fs/mount-max")
    before = most.read_text()
    most.write_text("1")
    return lambda: most.write_text(before)


def set_clock(place: Place, child: subprocess.Popen[bytes], *, by_s: float) -> Callable[[], object]:
    """Set the machine's clock, once, until the run has ended. Source: clock_settime(2)."""
    clocks = (time.CLOCK_REALTIME, time.CLOCK_BOOTTIME)
    apart_s = time.clock_gettime(clocks[0]) - time.clock_gettime(clocks[1])
    time.clock_settime(clocks[0], time.clock_gettime(clocks[0]) + by_s)
    return lambda: time.clock_settime(clocks[0], time.clock_gettime(clocks[1]) + apart_s)


def take_loops(place: Place, child: subprocess.Popen[bytes]) -> Callable[[], object]:
    """Take every loop device that there is, and many more: the driver adds others until there is no number left (loop(4))."""
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(1 << 20)
        words = ["losetup", "--find", "--show", "--read-only", file.name]
        devices = [
            subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() for _ in range(LOOPS)
        ]
    return lambda: subprocess.run(["losetup", "--detach", *devices], check=True)


def fill_engines_disk(place: Place, child: subprocess.Popen[bytes]) -> Callable[[], object]:
    """Let the disk under the engine's own storage have no block left until the run has ended."""
    root = Path(place.engine._client.api.info()["DockerRootDir"])
    disk, filler = os.statvfs(root), root / "filler"
    with filler.open("wb") as file, contextlib.suppress(OSError):
        left = disk.f_bfree * disk.f_frsize
        while left >= disk.f_frsize:
            with contextlib.suppress(OSError):  # less than it says can be had, as files need blocks for their own map
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), left)
            left //= 2
    return filler.unlink


Fault = Callable[[Place, subprocess.Popen[bytes]], Callable[[], object] | None]
"""What breaks a run; it returns what mends that once the run has ended, None if there is nothing to mend."""

KINDS: dict[str, Fault] = {
    "kill lab": kill_lab,
    "kill make": kill_make,
    "kill container": kill_container,
    "SIGINT once": interrupt,
    "SIGINT twice": interrupt_twice,
}
# Also what others do not feel: another kind among KINDS would move the points of all that were measured (points()).
ON_DEMAND: dict[str, Fault] = {
    "hang up": hang_up,
    "restart engine": restart_engine,
    "kill engine": partial(restart_engine, number=signal.SIGKILL),
    "use up mounts": use_up_mounts,
    "take loop devices": take_loops,
    "fill engine's disk": fill_engines_disk,
    "set clock back": partial(set_clock, by_s=-3600.0),
    "set clock forward": partial(set_clock, by_s=3600.0),
}


def points(count: int, seed: int, kinds: tuple[str, ...] = tuple(KINDS)) -> list[Point]:
    """Return so many faults of all kinds in turn, each at a moment of its own, the same for the same seed."""
    chance = random.Random(seed)
    return [Point(kind=kinds[number % len(kinds)], at=chance.random()) for number in range(count)]


def undisturbed(place: Place, name: str = "undisturbed") -> tuple[float, tuple[str, ...]]:
    """Return the seconds and the verdicts of a run that nobody disturbs."""
    began_s = time.monotonic()
    child = place.start("--run", f"{place.name}-{name}")
    said, _ = child.communicate(timeout=ENDS_WITHIN_S)
    return time.monotonic() - began_s, verdicts(said)


def verdicts(said: bytes) -> tuple[str, ...]:
    return tuple(f"{cell['id']} {cell['outcome']}" for cell in json.loads(said)["cells"])


def disturbed(place: Place, point: Point, lasting_s: float, number: int) -> Outcome:
    """Run, break it at the point, take it up again."""
    run = f"{place.name}-{number}"
    began_s = time.monotonic()
    child = place.start("--run", run)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(point.at * lasting_s)
    before, mend = place.finished(), None
    try:
        if child.poll() is None:
            mend = (KINDS | ON_DEMAND)[point.kind](place, child)
        child.communicate(timeout=ENDS_WITHIN_S)
    finally:
        if mend is not None:
            mend()
    again = place.start("--run", run)
    said, _ = again.communicate(timeout=ENDS_WITHIN_S)
    intact = all(path.is_file() and path.read_bytes() == raw for path, raw in before.items())
    return Outcome(
        point=point, first=child.returncode, again=again.returncode, verdicts=verdicts(said), intact=intact,
        left=place.left(), seconds=round(time.monotonic() - began_s, 1),
    )  # fmt: skip
