"""Which of many machines does what: who may take a job, who should, how much of it at once, and whom nobody asks again. Pure.

A worker is a machine that says what it has and what it lacks; a job's wants say what it takes. What a worker holds at the
moment is kept here, in books that one thread writes; the machines themselves are behind lab.environment.cluster.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Set
from dataclasses import dataclass, field

from lab.plan.jobs import Demand

SET_ASIDE_AFTER = 3  # attempts in a row that a worker's own trouble brought to nothing
BATCH_S = 10.0  # a task is worth the way to a worker and back: shorter attempts go together


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What a machine says of itself. pools: how much it has of what jobs hold.

    code, images: hashes over its lab and its image definitions. machine: uname -m. native: architectures whose programs its
    kernel runs by itself. kvm: whether a guest was seen to run under it. lacks: what it cannot do, and why; the keys are those
    of Wants.parts. host: for people.
    """

    host: str
    code: str
    images: str
    machine: str
    pools: dict[str, int]
    native: tuple[str, ...] = ()
    kvm: bool = False
    lacks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What an attempt takes of a machine. parts: "engine", "filesystem:ext4", "emulation:arm64/emulated", "image:…".

    arch: whose programs it runs. emulates: whether they would run slowly on another machine. guest: whether KVM would help.
    """

    parts: tuple[str, ...] = ()
    arch: str = ""
    emulates: bool = False
    guest: bool = False


def refusal(worker: Worker, *, code: str, images: str) -> str:
    """Return why a worker cannot be used at all, "" if it can. code, images: the hashes of who asks."""
    if worker.code != code:
        return f"its lab is another one ({worker.code[:12]}, here {code[:12]})"
    if worker.images != images:
        return f"its image definitions are others ({worker.images[:12]}, here {images[:12]})"
    return worker.lacks.get("engine", "")


def lacking(worker: Worker, wants: Wants) -> str:
    """Return why a worker cannot do a job, "" if it can."""
    return next((why for part in wants.parts if (why := worker.lacks.get(part))), "")


def liking(worker: Worker, wants: Wants) -> tuple[bool, bool]:
    """Return how gladly a job goes to a worker, smaller first: no emulation of programs, then guests under KVM."""
    native = wants.arch in worker.native
    return (wants.emulates and not native, wants.guest and not (native and worker.kvm))


def clamped(demand: Demand, pools: Mapping[str, int]) -> Demand:
    """Return the demand within what a worker could ever give; pools that it does not name have no limit."""
    return tuple((pool, min(amount, pools[pool])) for pool, amount in demand if pools.get(pool, 0) > 0)


def batch_size(expected_s: float | None, waiting: int, lanes: int) -> int:
    """Return how many attempts of one kind go to a worker as one task.

    expected_s: of one of them, None if unknown: then each goes by itself. waiting: how many there are. lanes: how many tasks
    run at once. Towards the end batches become small, so that all lanes end at about the same time.
    Source: guided self-scheduling; Polychronopoulos and Kuck, IEEE Transactions on Computers C-36(12), 1987.
    """
    if expected_s is None or expected_s >= BATCH_S:
        return 1
    wished = math.ceil(BATCH_S / max(expected_s, BATCH_S / 1000))
    return max(1, min(wished, waiting // (2 * max(1, lanes))))


class Books:
    """Who is there, what is free, who is in trouble."""

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}
        self.aside: dict[str, str] = {}  # by name: why it is not asked again
        self._free: dict[str, dict[str, int]] = {}
        self._troubles: dict[str, list[str]] = {}
        self._reserved: dict[str, Hashable] = {}  # worker -> whom it is kept for

    def join(self, name: str, worker: Worker) -> None:
        """Take a worker into the books."""
        self.workers[name] = worker
        self._free[name] = dict(worker.pools)

    def leave(self, name: str) -> None:
        """Forget a worker that is gone."""
        for book in (self.workers, self._free, self._troubles, self._reserved):
            book.pop(name, None)

    def set_aside(self, name: str, why: str) -> None:
        """Ask a worker for nothing more."""
        self.aside[name] = why
        self.leave(name)

    @property
    def lanes(self) -> int:
        """How many processors all workers have together."""
        return sum(worker.pools.get("cpu", 1) for worker in self.workers.values())

    def able(self, wants: Wants, without: Set[str] = frozenset()) -> list[str]:
        """Return the workers that could do a job. without: those that are not to be asked."""
        return [name for name, worker in self.workers.items() if name not in without and not lacking(worker, wants)]

    def choose(self, wants: Wants, demand: Demand, without: Set[str] = frozenset(), who: Hashable = None) -> str | None:
        """Return the worker that a job goes to now; None if it must wait.

        A worker that runs it natively is taken before one that emulates, even if the job has to wait for it a little: what
        emulates is taken only when all that would not are busy. Among equals the one with most processors free.
        who: what is alike to the job, as given to reserve(); a worker that is kept for another is passed over.
        """
        fitting = [
            name
            for name in self.able(wants, without)
            if self._reserved.get(name, who) == who and self._fits(name, demand)
        ]
        if not fitting:
            return None
        free = self._free
        return min(fitting, key=lambda name: (liking(self.workers[name], wants), -free[name].get("cpu", 0)))

    def reserve(self, wants: Wants, without: Set[str], who: Hashable) -> None:
        """Keep one worker for a job that others have overtaken too often: what becomes free there is not given away."""
        if who in self._reserved.values():
            return
        able = [name for name in self.able(wants, without) if name not in self._reserved]
        if able:
            chosen = max(able, key=lambda name: self._free[name].get("cpu", 0))
            self._reserved[chosen] = who

    def hold(self, name: str, demand: Demand, who: Hashable = None) -> None:
        """Write down that a job began on a worker."""
        for pool, amount in clamped(demand, self.workers[name].pools):
            self._free[name][pool] -= amount
        self.let_go(who)

    def let_go(self, who: Hashable) -> None:
        """Keep no worker for it any more."""
        self._reserved = {worker: kept for worker, kept in self._reserved.items() if kept != who}

    def give_back(self, name: str, demand: Demand) -> None:
        """Write down that it ended; a worker that is gone holds nothing."""
        if name in self.workers:
            for pool, amount in clamped(demand, self.workers[name].pools):
                self._free[name][pool] += amount

    def did_well(self, name: str) -> None:
        """Forget a worker's troubles: it has done something."""
        self._troubles.pop(name, None)

    def had_trouble(self, name: str, why: str) -> bool:
        """Count a trouble of the worker's own; returns whether it is set aside for it now.

        The last worker is not: its trouble becomes the verdict of what it is given.
        """
        troubles = self._troubles.setdefault(name, [])
        troubles.append(why)
        if len(troubles) < SET_ASIDE_AFTER or name not in self.workers or len(self.workers) == 1:
            return False
        self.set_aside(name, f"{len(troubles)} attempts in a row came to nothing there, the last: {why}")
        return True

    def nobody(self, wants: Wants) -> tuple[tuple[str, str], ...]:
        """Return why each worker cannot do a job, by worker, those that were set aside among them."""
        here = ((worker.host, lacking(worker, wants)) for worker in self.workers.values())
        return (*((host, why) for host, why in here if why), *self.aside.items())

    def _fits(self, name: str, demand: Demand) -> bool:
        free, pools = self._free[name], self.workers[name].pools
        return all(free[pool] >= amount for pool, amount in clamped(demand, pools))


def lower_bound(lasting: Iterable[float], lanes: int) -> float:
    """Return the seconds less than which nobody could take for these on so many equal lanes."""
    known = tuple(lasting)
    return max(sum(known) / lanes, max(known, default=0.0))
