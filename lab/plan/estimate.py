"""How long a plan will take: the schedule's own queue, run against a clock that nobody has to wait for. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import median

from lab.plan.jobs import Job, JobKind
from lab.plan.schedule import UNKNOWN_DURATION_S, Order, Ready, sorted_by_needs

THREADS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a plan comes to. seconds: from the first start to the last end.

    bound_s: less than which no order of these jobs could take: its longest way, or the fullest pool at work without a break.
    attempts, guessed: how many there are, and of how many nothing like them was run before; these count as guess_s each.
    busy: by pool, amount times seconds, as a share of what the pool could give in `seconds`.
    """

    seconds: float
    bound_s: float
    attempts: int
    guessed: int
    guess_s: float
    busy: tuple[tuple[str, float], ...]


def estimate(
    jobs: Sequence[Job],
    *,
    pools: Mapping[str, int],
    durations: Mapping[str, float],
    failed_before: Set[str] = frozenset(),
) -> Estimate:
    """Return what work_off() would come to with these durations, by key; those that are missing are guessed.

    An attempt that was never run counts as its cell's other attempts do, else as the median of those of this plan.
    """
    order = Order.of(jobs, durations, failed_before)
    known = known_durations(jobs, durations)
    attempts = [job for job in jobs if job.kind is JobKind.ATTEMPT]
    usual = [known[job.key] for job in attempts if job.key in known] or list(known.values())
    guess_s = median(usual) if usual else UNKNOWN_DURATION_S
    lasting = {job.key: known.get(job.key, guess_s) for job in jobs}
    seconds = makespan(jobs, Ready(pools=pools, order=order), lasting)
    used = load(jobs, pools, lasting)
    return Estimate(
        seconds=seconds,
        bound_s=max([longest_way(jobs, lasting), *(used[pool] / pools[pool] for pool in used if pools[pool])]),
        attempts=len(attempts),
        guessed=sum(job.key not in known for job in attempts),
        guess_s=guess_s,
        busy=tuple((pool, used[pool] / (pools[pool] * seconds)) for pool in sorted(used) if pools[pool] and seconds),
    )


def known_durations(jobs: Sequence[Job], durations: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of Jobs that were done before, and of attempts of cells of which another was."""
    of_cell: dict[str, list[float]] = {}
    for key, seconds in durations.items():
        kind, _, rest = key.partition(":")
        if kind == "attempt":
            of_cell.setdefault(rest.rpartition(":")[0], []).append(seconds)
    usual = {cell: median(all_s) for cell, all_s in of_cell.items()}
    known = {job.key: durations.get(job.key, usual.get(job.cell) if job.cell else None) for job in jobs}
    return {key: seconds for key, seconds in known.items() if seconds is not None}


def makespan(jobs: Sequence[Job], ready: Ready, lasting: Mapping[str, float], threads: int = THREADS) -> float:
    """Return the seconds from the first start to the last end, all in the order that `ready` gives."""
    waiting = {job.key: set(job.needs) for job in jobs}
    wanted_by: dict[str, list[Job]] = {}
    for job in jobs:
        for need in waiting[job.key]:
            wanted_by.setdefault(need, []).append(job)
        if not job.needs:
            ready.add(job)
    running: list[tuple[float, int, Job]] = []
    now_s, begun = 0.0, 0
    while True:
        while len(running) < threads and (taken := ready.take()):
            begun += 1
            heapq.heappush(running, (now_s + lasting[taken.key], begun, taken))
        if not running:
            return now_s
        now_s, _, ended = heapq.heappop(running)
        ready.give_back(ended)
        for behind in wanted_by.get(ended.key, ()):
            waiting[behind.key].discard(ended.key)
            if not waiting[behind.key]:
                ready.add(behind)


def load(jobs: Sequence[Job], pools: Mapping[str, int], lasting: Mapping[str, float]) -> dict[str, float]:
    """Return amount times seconds of each pool; a demand beyond a pool is clamped to it, as in the schedule."""
    used = dict.fromkeys(pools, 0.0)
    for job in jobs:
        for pool, amount in job.demand:
            if pool in used:
                used[pool] += min(amount, pools[pool]) * lasting[job.key]
    return used


def longest_way(jobs: Sequence[Job], lasting: Mapping[str, float]) -> float:
    """Return the seconds of the longest chain of Jobs that need one another; 0 for none."""
    by_key = {job.key: job for job in jobs}
    end_s: dict[str, float] = {}
    for key in sorted_by_needs(jobs):
        end_s[key] = lasting[key] + max((end_s[need] for need in by_key[key].needs), default=0.0)
    return max(end_s.values(), default=0.0)
