"""Who could have been overlooked by make: pairs of an object and a dependency that was written after it.

Two sources: the order of writes, seen while the build ran, and what is left on disk. On a coarse clock a healthy build is
full of equal times (input written, output made, same second); only a dependency written *after* its output is a pair here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from lab.evidence.autoksyms import LIST, Round, StaleExport
from lab.evidence.commands import Command, table_of
from lab.evidence.mtimes import is_coarse, tick, tick_ns


class Pair(NamedTuple):
    """hit: both times are in one tick, so make could not see it. apart_ns: from object to dependency, None if unknown.

    The times are the files' own where those still exist, else when the write was seen (ns since the epoch).
    """

    object: str
    dependency: str
    object_time_ns: int
    dependency_time_ns: int
    apart_ns: int | None
    hit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What was seen of each file. times: path -> mtime, ns. changes: path -> times when a write was seen, ascending."""

    times: Mapping[str, int]
    changes: Mapping[str, Sequence[int]]
    granularity_ns: int

    def tick(self, time_ns: int) -> int:
        """Return the tick of a time; see mtimes.tick()."""
        return tick(time_ns, self.granularity_ns)

    def last_before(self, path: str, time_ns: int) -> int | None:
        """Return when the newest write before a time was seen."""
        seen = self.changes.get(path, ())
        position = bisect_left(seen, time_ns)
        return seen[position - 1] if position else None

    def left_by(self, path: str, seen_ns: int) -> int | None:
        """Return the file's own time if the write seen then is its last, None if it was written again.

        A time later than the write that left it shows that a later write was not seen (the watcher was overrun, or had gone).
        """
        seen, time_ns = self.changes.get(path, ()), self.times.get(path)
        if time_ns is None or time_ns > seen_ns or bisect_right(seen, seen_ns) < len(seen):
            return None
        return time_ns


def best_first(pairs: Iterable[Pair], stale: Iterable[StaleExport] = ()) -> tuple[Pair, ...]:
    """Return the pairs, most telling first: of objects that are stale, overlooked by make, least apart."""
    wrong = {(one.object, one.dependency) for one in stale if one.hidden}
    objects = {one.object for one in stale if one.hidden}

    def order(pair: Pair) -> tuple[bool, bool, bool, float, str, str]:
        apart = float("inf") if pair.apart_ns is None else pair.apart_ns
        named = (pair.object, pair.dependency)
        return (named not in wrong, pair.object not in objects, not pair.hit, apart, *named)

    return tuple(sorted(pairs, key=order))


def round_pairs(
    rounds: Iterable[Round], exporters: Mapping[str, Sequence[str]], clock: Clock, *, guarded: bool
) -> list[Pair]:
    """Return a Pair for each dependency file touched and each object made before it that it should have had remade.

    guarded: the round waited for a later tick. Then only exact times may contradict it: what the watcher saw can be late by
    enough to move a write into the next second.
    """
    pairs = []
    for round_ in rounds:
        for touch in round_.touches:
            seen_ns = touch.last_ns if guarded else touch.first_ns
            exact = clock.left_by(touch.path, touch.last_ns)
            for name in exporters.get(touch.path, ()):
                before_ns = clock.last_before(name, touch.first_ns)
                if before_ns is None:
                    continue
                mine = clock.left_by(name, before_ns)
                pair = Pair(name, touch.path, mine or before_ns, exact or seen_ns, seen_ns - before_ns, False)
                known = mine is not None and exact is not None
                hit = _overlooked(pair, clock) and (known or (not guarded and is_coarse(clock.granularity_ns)))
                pairs.append(pair._replace(hit=hit))
    return pairs


def at_risk(pairs: Iterable[Pair], granularity_ns: int, *, ordered: bool) -> list[Pair]:
    """Return the hits and, where nothing ordered the writes and the clock is coarse, the pairs less than a tick apart.

    If none is that close, the nearest one stands for the race that the script runs in every build.
    """
    known = list(pairs)
    hits = [pair for pair in known if pair.hit]
    if ordered or not is_coarse(granularity_ns) or not known:
        return hits
    near = [pair for pair in known if pair.hit or (pair.apart_ns or 0) < granularity_ns]
    return near or [min(known, key=lambda pair: pair.apart_ns or 0)]


def _overlooked(pair: Pair, clock: Clock) -> bool:
    return clock.tick(pair.dependency_time_ns) <= clock.tick(pair.object_time_ns)


class Dependencies:
    """The dependencies of all objects, by name: what the passes below ask, without a walk through every object's list.

    commands: of one tree, those that have any. holders: name of a known file -> the runs (see lab.evidence.runs) that have it.
    """

    def __init__(self, commands: Iterable[Command], known: Collection[str]) -> None:
        self.commands = tuple(command for command in commands if command.runs or command.ksyms)
        self.table = table_of(self.commands)
        self.holders: dict[str, list[int]] = {}
        names = dict.fromkeys(known).keys()
        for run, listed in enumerate(self.table):
            for name in names & listed:
                self.holders.setdefault(name, []).append(run)

    def named(self, runs: Iterable[int], names: KeysView[str]) -> set[str]:
        """Return which of the names are in these runs."""
        return {name for run in runs for name in names & self.table[run]}

    def older_than(
        self, times: Mapping[str, int], judged: Iterable[tuple[Command, int]]
    ) -> Iterator[tuple[Command, int, set[int]]]:
        """Yield the commands whose own time is before that of a dependency, with that time and the runs that hold one.

        times: of dependencies; the same clock as the commands' own. The last command comes first: what is newer than the
        commands so far grows, and most often nothing of it is in the next one's list.
        """
        pending = sorted(times.items(), key=itemgetter(1))
        newer: set[int] = set()
        for command, mine in sorted(judged, key=itemgetter(1), reverse=True):
            while pending and pending[-1][1] > mine:
                newer.update(self.holders[pending.pop()[0]])
            if newer and not newer.isdisjoint(command.runs):
                yield command, mine, newer.intersection(command.runs)


def dependency_pairs(
    given: Dependencies, objects: Mapping[str, object], clock: Clock, *, stepped_back: bool = False
) -> list[Pair]:
    """Return hits among ordinary dependencies: written after the object, last of all, and not newer than it on disk.

    Only final states, whose times are exact, are judged; an object that was made again afterwards is in order. stepped_back:
    the clock was set back meanwhile, so what was written later can be dated earlier.
    """
    changes = clock.changes
    judged = [command for command in given.commands if command.target in objects and changes.get(command.target)]
    first_ns = min((changes[command.target][-1] for command in judged), default=0)
    late = {name: seen[-1] for name in given.holders if (seen := changes.get(name)) and seen[-1] > first_ns}
    pairs = []
    for command, seen_ns, runs in given.older_than(late, ((one, changes[one.target][-1]) for one in judged)):
        target_time = clock.left_by(command.target, seen_ns)
        if target_time is None:
            continue
        for name in given.named(runs, late.keys()):
            last_ns = late[name]
            time_ns = clock.left_by(name, last_ns)
            if last_ns > seen_ns and time_ns is not None and name != command.target:
                pair = Pair(command.target, name, target_time, time_ns, last_ns - seen_ns, True)
                # A write seen later that left an older time (chmod, a file opened and not changed) is no change.
                ticks = clock.tick(time_ns), clock.tick(target_time)
                if ticks[0] == ticks[1] or (stepped_back and ticks[0] < ticks[1]):
                    pairs.append(pair)
    return pairs


def disk_pairs(
    exporters: Mapping[str, Sequence[str]],
    times: Mapping[str, int],
    granularity_ns: int,
    stale: Iterable[StaleExport],
    *,
    reach_ticks: int,
) -> list[Pair]:
    """Return the pairs that only what is on disk shows: dependency files within `reach_ticks` of the list of their round.

    The list keeps the time at which it was written, before the first dependency file was touched; the guard makes every
    dependency file strictly newer than that. hit: the object was overlooked, as its content says.
    """
    list_ns = times.get(LIST)
    if list_ns is None:
        return []
    overlooked = {one.object for one in stale if one.hidden}
    pairs = []
    for name, objects in exporters.items():
        time_ns = times.get(name)
        if time_ns is None or not 0 <= tick(time_ns, granularity_ns) - tick(list_ns, granularity_ns) <= reach_ticks:
            continue
        for target in objects:
            mine = times.get(target)
            if mine is not None:
                apart_ns = time_ns - mine if mine <= time_ns else None
                same = tick(mine, granularity_ns) == tick(time_ns, granularity_ns)
                pairs.append(Pair(target, name, mine, time_ns, apart_ns, same and target in overlooked))
    return pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """When the build was done with its objects. time_ns: the mtime of what was linked from them.

    seen_ns: when its last write was seen, None without a record of writes.
    """

    time_ns: int
    seen_ns: int | None = None


def newer_inputs(
    given: Dependencies, linked: Mapping[str, str], times: Mapping[str, int], clock: Clock, end: End
) -> dict[str, list[str]]:
    """Return input -> linked objects that are strictly older than it although the build went on and ended after it.

    linked: object -> what it is part of; other objects may be left over from an older configuration. times: of the tree and
    of its sources. What was changed later than the end was changed after the build; without a record of writes also what was
    changed in its tick.
    """
    length_ns = tick_ns(clock.granularity_ns)
    last = end.time_ns // length_ns
    judged = [
        (command, times[command.target] // length_ns)
        for command in given.commands
        if linked.get(command.target) and command.target in times
    ]
    oldest = min((mine for _, mine in judged), default=last)
    ticks = {name: tick for name in given.holders if name in times and (tick := times[name] // length_ns) > oldest}
    early = {name: tick for name, tick in ticks.items() if tick < last or _seen_before(name, end, clock)}
    found: dict[str, list[str]] = {}
    for command, mine, runs in given.older_than(early, judged):
        for name in given.named(runs, early.keys()):
            if mine < early[name]:
                found.setdefault(name, []).append(command.target)
    return found


def _seen_before(path: str, end: End, clock: Clock) -> bool:
    """Whether the record shows a file's last write before the end, its time being that of this write."""
    seen = clock.changes.get(path)
    if not seen or end.seen_ns is None:
        return False
    return seen[-1] < end.seen_ns and clock.left_by(path, seen[-1]) is not None


class Ties(NamedTuple):
    """How many pairs of a linked object and an input share a tick, and of how many objects."""

    pairs: int
    objects: int


def ties(given: Dependencies, linked: Mapping[str, str], times: Mapping[str, int], granularity_ns: int) -> Ties:
    """Count what mtimes cannot put in order: inputs in the tick of the object that was made from them. Exports' files count.

    On a clock of whole seconds a healthy build is full of them, the input having been written first.
    """
    length_ns = tick_ns(granularity_ns)
    ticks = {name: times[name] // length_ns for name in given.holders if name in times}
    holders: dict[int, set[int]] = {}
    for name, its in ticks.items():
        holders.setdefault(its, set()).update(given.holders[name])
    pairs = objects = 0
    for command in given.commands:
        if not linked.get(command.target) or command.target not in times:
            continue
        mine = times[command.target] // length_ns
        runs = holders.get(mine, set()).intersection(command.runs)
        count = sum(ticks[name] == mine for name in given.named(runs, ticks.keys()))
        count += sum(times[name] // length_ns == mine for name in times.keys() & command.ksyms)
        pairs += count
        objects += count > 0
    return Ties(pairs, objects)
