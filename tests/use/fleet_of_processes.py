"""A real scheduler and real `lab worker` processes, which can be killed, frozen, and cut off from the network."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from lab.events import JobProgress, JobStarted, Note

# RFC 2544: addresses for tests between networks; nobody routes them, and each process has its own
NET = f"198.18.{os.getpid() % 256}"
NEAR, FAR = f"{NET}.1", f"{NET}.2"
ENDS_WITHIN_S = 120
DASK = {
    # a lost worker shall be missed soon, but not one that is only slow
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "15s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
}


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@contextlib.contextmanager
def cable(name):
    """Yield a network namespace that reaches this one by a cable; its near end is `name`, which can be set down."""
    ip("netns", "add", name)
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", f"{NEAR}/30", "dev", name)
        ip("link", "set", name, "up")
        for words in (
            ["addr", "add", f"{FAR}/30", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["link", "set", "lo", "up"],
        ):
            ip("-n", name, *words)
        yield name
    finally:
        ip("netns", "delete", name)  # its end of the cable goes with it, and so the other


class Processes:
    """A fleet; a context manager that ends what is left. near: where the scheduler listens. dask: its settings, as words."""

    def __init__(self, folder: Path, repository: Path, near: str = "127.0.0.1", dask: Mapping[str, str] = DASK) -> None:
        self.folder, self.repository, self.near, self.dask = folder, repository, near, dask
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.address = ""

    def __enter__(self) -> Processes:
        note = self.folder / "scheduler.json"
        self.scheduler = self._started(
            "scheduler", "dask", "scheduler", "--host", f"tcp://{self.near}", "--port", "0", "--no-dashboard",
            "--scheduler-file", str(note),
        )  # fmt: skip
        while not note.exists() or not note.read_text().rstrip().endswith("}"):
            assert self.scheduler.poll() is None, self.said("scheduler")
            time.sleep(0.1)
        found = next(word for word in note.read_text().split('"') if word.startswith("tcp://"))
        self.address = found.replace("tcp://", "dask://")
        return self

    def __exit__(self, *error: object) -> None:
        for child in (*self.workers.values(), self.scheduler):
            child.send_signal(signal.SIGCONT)
            child.terminate()
        for child in (*self.workers.values(), self.scheduler):
            try:
                child.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _started(self, name, *words, before=(), **environment):
        with (self.folder / f"{name}.txt").open("ab") as log:
            return subprocess.Popen(
                [*before, sys.executable, "-m", *words], cwd=self.repository, stdout=log, stderr=log,
                env={**os.environ, **self.dask, **environment},
            )  # fmt: skip

    def said(self, name):
        """Return what a process has printed."""
        return (self.folder / f"{name}.txt").read_text(errors="replace")

    def worker(self, name, *, processors, before=(), **environment):
        """Start a worker that has these processors; before: words before its command line."""
        cpus = ",".join(str(one) for one in processors)
        self.workers[name] = self._started(
            name, "lab", "worker", self.address, "--name", name, before=(*before, "taskset", "-c", cpus), **environment
        )

    def wait_for(self, count):
        """Wait until so many workers are there."""
        import distributed

        with distributed.Client(self.address.replace("dask://", "tcp://"), set_as_default=False) as client:
            client.wait_for_workers(count, timeout=ENDS_WITHIN_S)

    def kill(self, name):
        """As when a machine loses its power."""
        child = self.workers.pop(name)
        child.kill()
        child.wait()

    def kill_scheduler(self):
        self.scheduler.kill()
        self.scheduler.wait()

    def freeze(self, name):
        self.workers[name].send_signal(signal.SIGSTOP)

    def thaw(self, name):
        self.workers[name].send_signal(signal.SIGCONT)

    def end(self, name):
        """Wait until a worker that was lost has noticed it and ended by itself."""
        return self.workers.pop(name).wait(ENDS_WITHIN_S)


class Saboteur:
    """Hears what a run tells, and does a thing to a worker while it builds; each once."""

    def __init__(self, blows):
        self.blows, self.where, self.seen, self.struck = dict(blows), {}, [], {}

    def __call__(self, event):
        self.seen.append(event)
        if isinstance(event, JobStarted) and " on " in event.title:
            self.where[event.key] = event.title.rpartition(" on ")[2]
        if isinstance(event, JobProgress) and event.step == "build":
            blow = self.blows.pop(self.where.get(event.key), None)
            if blow is not None:
                self.struck[self.where[event.key]] = event.key
                threading.Thread(target=blow).start()  # this is a thread of dask's

    def notes(self):
        return [event.text for event in self.seen if isinstance(event, Note)]


def told(results):
    """Return what a run says of each cell: its verdict, and each finding with whom it blames."""
    return {
        result.cell: (
            result.outcome.value,
            result.untestable,
            *sorted((one.id, one.blame) for attempt in result.attempts for one in attempt.findings),
        )
        for result in results
    }


@contextlib.contextmanager
def frozen(fleet):
    """Yield how a worker of a fleet is frozen and thawed, and nothing that stands before its command line."""
    yield fleet.freeze, fleet.thaw, ()


@contextlib.contextmanager
def unplugged(name):
    """Yield how a worker's cable is pulled and put back, and what stands before its command line. name: of its namespace."""
    with cable(name) as link:
        yield (
            lambda _: ip("link", "set", link, "down"),
            lambda _: ip("link", "set", link, "up"),
            # and not `ip netns exec`, which makes a mount namespace as well: what is mounted there the engine does not see
            ("nsenter", f"--net=/run/netns/{link}"),
        )
