"""dask.distributed: the only place that knows it. Bytes go to a worker and come back; what they mean is known in lab.use.

A worker is a process of `lab worker`: it has a resident, which says what the machine is and does what it is sent. No code
travels, only values: a worker runs the lab that is installed on it.

Source: distributed.dask.org, "API", "Worker"; a task whose future was released is `cancelled` in the state of its worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from lab.errors import EnvironmentFault, UsageError

SCHEME = "dask://"
CONNECT_S = 20.0
CANCEL_LOOK_S = 1.0
FETCHES = 16  # at once; dask makes one request of those that come together
AT_WORK = ("running", "paused")  # states of a worker; a task on one that closes is wanted by nobody
WITHDRAWN = ("cancelled", "released", "forgotten")
Say = Callable[[dict[str, Any]], None]
Perform = Callable[[bytes, Say, threading.Event], Any]


@dataclass(slots=True, kw_only=True)
class Resident:
    """What a worker process of ours has: facts, whatever they mean, and what does a piece of work.

    perform: called in threads, with the piece, a voice, and an event that is set once nobody wants the answer any more.
    """

    facts: bytes
    perform: Perform
    running: dict[str, threading.Event] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of a task. value: what perform() returned. error: what it, or dask, raised. lost: its worker went away."""

    key: str
    value: Any = None
    error: BaseException | None = None
    lost: bool = False


def scheduler_of(address: str) -> str:
    """Return dask's form of "dask://HOST:PORT". Raises UsageError for anything else, or if dask is not installed."""
    if not address.startswith(SCHEME) or not address.removeprefix(SCHEME).rpartition(":")[2].isdigit():
        raise UsageError(f"not the address of a scheduler: {address!r}", hint="such as dask://build-host:8786")
    return "tcp://" + address.removeprefix(SCHEME)


def dask() -> Any:
    """Return dask.distributed: an extra, and a second of imports that no other command has to wait for."""
    try:
        import distributed
    except ImportError as error:
        raise UsageError("dask.distributed is not installed", hint="pip install 'kbuild-lab[fleet]'") from error
    return distributed


class Cluster:
    """A connection to a scheduler. Ends of tasks are in `ends`, in the order in which they came; a context manager."""

    def __init__(self, client: Any, topic: str, hear: Callable[[dict[str, Any]], None]) -> None:
        self._client, self._topic = client, topic
        self._futures: dict[str, Any] = {}
        # dask calls back in one thread for all: a fetch there would wait for every fetch before it, and for a lost worker's
        self._fetchers = ThreadPoolExecutor(FETCHES, thread_name_prefix="fetch")
        self.ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        client.subscribe_topic(topic, lambda event: hear(event[1]) if isinstance(event[1], dict) else None)

    def workers(self) -> set[str]:
        """Return the addresses of all workers. Raises EnvironmentFault if the scheduler is lost."""
        with self._trouble():
            if self._client.status != "running":
                raise OSError("the connection was closed")
            return set(self._client.nthreads())

    def facts(self, workers: set[str]) -> dict[str, bytes | None]:
        """Return what workers say of themselves, by address; None of one that has no resident, nothing of one that is gone."""
        with self._trouble():
            said = self._client.run(_facts, workers=sorted(workers), on_error="return") if workers else {}
        return {address: value for address, value in said.items() if value is None or isinstance(value, bytes)}

    def submit(self, key: str, payload: bytes, worker: str, resources: Mapping[str, float]) -> None:
        """Give a piece of work to a worker; its end will be in `ends`. key: unique, never used again."""
        with self._trouble():
            future = self._client.submit(
                _perform, self._topic, key, payload, key=key, workers=[worker], allow_other_workers=False, pure=False,
                resources=dict(resources), retries=0,
            )  # fmt: skip
        self._futures[key] = future
        future.add_done_callback(lambda done: self._fetch(key, done))

    def withdraw(self, key: str) -> None:
        """Want a piece of work no more: it is taken from the queue, or told to stop."""
        future = self._futures.pop(key, None)
        if future is not None:
            with contextlib.suppress(Exception):  # a scheduler that is gone runs nothing either
                future.cancel()

    def close(self) -> None:
        """Let go of everything."""
        for key in list(self._futures):
            self.withdraw(key)
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)

    def _fetch(self, key: str, future: Any) -> None:
        with contextlib.suppress(RuntimeError):  # closed: nobody asks
            self._fetchers.submit(lambda: self.ends.put(self._ended(key, future)))

    def _ended(self, key: str, future: Any) -> Ended:
        if key not in self._futures:
            return Ended(key=key, lost=True)  # withdrawn; nobody asks
        try:
            if future.status == "finished":
                return Ended(key=key, value=future.result(timeout=60))
            if future.status == "error":
                error = future.exception(timeout=60)
                return Ended(key=key, error=error, lost=isinstance(error, dask().KilledWorker))
        except Exception as error:  # dask's own: the answer was lost with the worker, the connection broke
            return Ended(key=key, error=error, lost=True)
        return Ended(key=key, error=OSError(f"the task was {future.status}"), lost=True)

    def taken(self, key: str) -> None:
        """Forget a task whose end was taken."""
        future = self._futures.pop(key, None)
        if future is not None:
            future.release()

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            raise lost_scheduler(str(error)) from error


def lost_scheduler(said: str) -> EnvironmentFault:
    """Return the error of a scheduler that does not answer."""
    return EnvironmentFault(
        "the scheduler does not answer", finding="infra.worker-lost", facts=(("said", said[:300]),),
        hint="start it again and `lab run --resume`",
    )  # fmt: skip


@contextlib.contextmanager
def connected(address: str, topic: str, hear: Callable[[dict[str, Any]], None]) -> Iterator[Cluster]:
    """Connect to a scheduler. hear: called in a thread of dask's with what residents say on this topic."""
    where = scheduler_of(address)
    _quiet()
    try:
        client = dask().Client(where, timeout=CONNECT_S, set_as_default=False, name="kbuild-lab")
    except (OSError, TimeoutError) as error:
        raise lost_scheduler(f"{address}: {error}") from error
    cluster = Cluster(client, topic, hear)
    try:
        yield cluster
    finally:
        cluster.close()


# ------------------------------------------------------------------------------------------------------- on a worker


def serve(address: str, resident: Resident, *, threads: int, resources: Mapping[str, float], name: str) -> None:
    """Be a worker until the scheduler says that it is enough, or this process is interrupted."""
    where = scheduler_of(address)
    _quiet()

    async def until_closed() -> None:
        # memory_limit=0: builds run in containers of their own, with limits of their own
        worker = dask().Worker(
            where, nthreads=threads, resources=dict(resources), name=name, memory_limit=0, dashboard=False,
        )  # fmt: skip
        resident_of(worker, resident)
        async with worker:
            await worker.finished()

    try:
        asyncio.run(until_closed())
    except (
        OSError,
        TimeoutError,
        RuntimeError,
    ) as error:  # what keeps a worker from starting is a RuntimeError's cause
        raise lost_scheduler(f"{address}: {error.__cause__ or error}") from error


def resident_of(worker: Any, resident: Resident) -> None:
    """Give a worker its resident, before it is asked for anything."""
    worker.kbuild_lab = resident


def _facts(dask_worker: Any) -> bytes | None:
    resident = getattr(dask_worker, "kbuild_lab", None)
    return resident.facts if resident is not None else None


def _perform(topic: str, key: str, payload: bytes) -> Any:
    """Do a piece of work in a thread of the worker."""
    worker = dask().get_worker()
    resident: Resident | None = getattr(worker, "kbuild_lab", None)
    if resident is None:
        raise EnvironmentFault("this worker was not started with `lab worker`", finding="infra.worker-lost")
    unwanted = threading.Event()
    resident.running[key] = unwanted
    over = threading.Event()

    def look() -> None:
        while not over.wait(CANCEL_LOOK_S):
            task = worker.state.tasks.get(key)
            if task is None or task.state in WITHDRAWN or worker.status.name not in AT_WORK:
                unwanted.set()

    watch = threading.Thread(target=look, name="withdrawn", daemon=True)
    watch.start()
    try:
        return resident.perform(payload, lambda said: worker.log_event(topic, said), unwanted)
    finally:
        over.set()
        resident.running.pop(key, None)


def _quiet() -> None:
    """Keep dask's own log off our screen: what it has to say of lost workers is told by us."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
