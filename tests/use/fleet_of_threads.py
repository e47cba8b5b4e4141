"""A real scheduler and real workers in this process, whose attempts are made by a function of the test's."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading

from lab.environment import cluster as clusters
from lab.plan.placing import Worker
from lab.results import store
from lab.use import remote

POOLS = {"cpu": 2, "memory_mib": 8192, "disk_mib": 100_000, "loop": 8, "qemu": 2}


@contextlib.contextmanager
def fleet(settings, rows, execute, names=("one", "two", "three"), facts=None):
    """Yield (address, workers by name). execute: (worker's name, task, settings, sink, unwanted) -> AttemptResult.

    facts: by name, what differs from a plain x86_64 worker with two processors.
    """
    import dask
    import distributed

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    ours = {"code": remote.code_hash(), "images": remote.images_hash(settings)}
    with (
        contextlib.ExitStack() as meanwhile,
        distributed.LocalCluster(
            n_workers=0, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=":0", silence_logs=50
        ) as local,
    ):
        workers = {}

        def added(name):
            said = Worker(**{"host": name, "machine": "x86_64", "pools": POOLS, "native": ("x86_64",), **ours,
                             **(facts or {}).get(name, {})})  # fmt: skip
            own = dataclasses.replace(settings, cache=settings.cache / name)
            hand = remote.Hand(own, rows, lambda *words: execute(name, *words))

            async def start():
                worker = distributed.Worker(
                    local.scheduler_address,
                    nthreads=4,
                    resources=said.pools,
                    name=name,
                    memory_limit=0,
                    dashboard=False,
                )
                clusters.resident_of(worker, clusters.Resident(facts=store.encoded(said), perform=hand.perform))
                return await worker

            workers[name] = local.sync(start)

        for name in names:
            added(name)
        lost = set()

        def lose(name=None):
            """Let the scheduler lose a worker, as when a machine dies or is cut off; without a name, the scheduler ends."""
            if name is None:
                # its goodbye is for the scheduler as well
                meanwhile.enter_context(dask.config.set({"distributed.comm.timeouts.connect": "1s"}))
                local.sync(local.scheduler.close)
                return
            lost.add(name)
            address = workers[name].address
            local.sync(local.scheduler.remove_worker, address=address, stimulus_id="lost")

        try:
            yield local.scheduler_address.replace("tcp://", "dask://"), lose
        finally:
            for name in set(workers) - lost:
                local.sync(workers[name].close, timeout=5)


class Counted:
    """Counts who made what."""

    def __init__(self):
        self.lock, self.made = threading.Lock(), []

    def note(self, name, task):
        with self.lock:
            self.made.append((name, task.cell.id))

    def by(self, name):
        return [cell for worker, cell in self.made if worker == name]
