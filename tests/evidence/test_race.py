"""The passes over dependencies, against what they promise written down as loops over every name of every object."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.evidence import commands, race
from lab.evidence.mtimes import is_coarse

NAMES = [*"abcdefgh", "include/ksym/p", "include/ksym/q", "gone"]
OBJECTS = ["x.o", "y.o", "z.o", "a"]  # "a" is made, too, and others depend on it
SECOND = 1_000_000_000
TIMES = st.integers(0, 12).map(lambda number: number * SECOND // 3)


@st.composite
def trees(draw):
    """A few objects with their runs in one table, and what is known of the times of all files."""
    table = [tuple(run) for run in draw(st.lists(st.lists(st.sampled_from(NAMES), max_size=4), min_size=1, max_size=6))]
    numbers = st.integers(0, len(table) - 1)
    made = tuple(
        commands.Command(
            file=f".{target}.cmd",
            target=target,
            command="gcc",
            runs=tuple(draw(st.lists(numbers, max_size=5))),
            ksyms=tuple(draw(st.sets(st.sampled_from(NAMES[8:])))),
            table=table,
        )
        for target in OBJECTS
    )
    files = [*NAMES[:-1], *OBJECTS]
    times = {name: draw(TIMES) for name in files if draw(st.integers(0, 5))}
    changes = {name: sorted(draw(st.lists(TIMES, min_size=1, max_size=3))) for name in files if draw(st.booleans())}
    linked = {name: draw(st.sampled_from(["vmlinux", "x.ko", ""])) for name in OBJECTS if draw(st.integers(0, 4))}
    granularity_ns = draw(st.sampled_from([1, SECOND, 2 * SECOND]))
    return made, times, linked, race.Clock(times=times, changes=changes, granularity_ns=granularity_ns)


def ticks(clock, time_ns):
    return time_ns // clock.granularity_ns if is_coarse(clock.granularity_ns) else time_ns


@given(trees(), TIMES, st.none() | TIMES)
def test_inputs_newer_than_their_objects_are_all_found(tree, end_ns, seen_ns):
    made, times, linked, clock = tree
    end = race.End(time_ns=end_ns, seen_ns=seen_ns)
    wanted = {}
    for one in made:
        if not linked.get(one.target) or one.target not in times:
            continue
        for name in set(one.deps) & times.keys():
            seen = clock.changes.get(name)
            before = seen and seen_ns is not None and seen[-1] < seen_ns and times[name] <= seen[-1]
            its, last = ticks(clock, times[name]), ticks(clock, end_ns)
            if its > ticks(clock, times[one.target]) and (its < last or before):
                wanted.setdefault(name, set()).add(one.target)
    found = race.newer_inputs(race.Dependencies(made, times), linked, times, clock, end)
    assert {name: set(targets) for name, targets in found.items()} == wanted
    assert all(len(targets) == len(set(targets)) for targets in found.values())


def test_what_is_listed_beside_a_newer_input_is_not_newer():
    table = [("a", "b")]
    made = [commands.Command(file="", target=target, command="", runs=(0,), table=table) for target in ("x.o", "y.o")]
    times = {"x.o": 0, "a": SECOND, "y.o": 2 * SECOND, "b": 3 * SECOND}
    clock = race.Clock(times=times, changes={}, granularity_ns=SECOND)
    linked = {"x.o": "vmlinux", "y.o": "vmlinux"}
    found = race.newer_inputs(race.Dependencies(made, times), linked, times, clock, race.End(time_ns=9 * SECOND))
    assert found == {"a": ["x.o"], "b": ["y.o", "x.o"]}


@given(trees(), st.booleans())
def test_inputs_written_after_their_objects_in_one_tick_are_all_found(tree, stepped_back):
    made, times, linked, clock = tree
    wanted = set()
    for one in made:
        mine = clock.changes.get(one.target)
        if one.target not in linked or not mine or clock.left_by(one.target, mine[-1]) is None:
            continue
        for name in set(one.deps) - {one.target}:
            its = clock.changes.get(name)
            if not its or its[-1] <= mine[-1] or clock.left_by(name, its[-1]) is None:
                continue
            both = ticks(clock, times[name]), ticks(clock, times[one.target])
            if both[0] == both[1] or (stepped_back and both[0] < both[1]):
                wanted.add(race.Pair(one.target, name, times[one.target], times[name], its[-1] - mine[-1], True))
    found = race.dependency_pairs(race.Dependencies(made, times), linked, clock, stepped_back=stepped_back)
    assert set(found) == wanted
    assert len(found) == len(wanted)


@given(trees())
def test_each_input_in_the_tick_of_its_object_counts_once(tree):
    made, times, linked, clock = tree
    counts = []
    for one in made:
        if linked.get(one.target) and one.target in times:
            mine = ticks(clock, times[one.target])
            inputs = (set(one.deps), set(one.ksyms))
            counts.append(sum(ticks(clock, times[name]) == mine for names in inputs for name in names & times.keys()))
    found = race.ties(race.Dependencies(made, times), linked, times, clock.granularity_ns)
    assert found == (sum(counts), sum(count > 0 for count in counts))


def test_commands_of_two_trees_are_refused():
    """Their runs have the same numbers and other names."""
    two = [commands.parse_command(".x.o.cmd", "cmd_x.o := gcc\n\ndeps_x.o := \\\n  a.h \\\n\n") for _ in range(2)]
    race.Dependencies(two[:1], ["a.h"])
    with pytest.raises(ValueError, match="several trees"):
        race.Dependencies(two, ["a.h"])
