import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.boot.initramfs import ModuleFile
from lab.boot.shards import Shard, chosen, fits, needing, on_demand, part, rest, sample, shards
from lab.errors import UsageError


def module(path: str, *depends: str, size: int = 1) -> ModuleFile:
    return ModuleFile(path=path, data=b"x" * size, depends=depends)


def paths(modules) -> list[str]:
    return [one.path for one in modules]


@st.composite
def sets_of_modules(draw):
    """Any graph of modules, circles included."""
    needs = draw(st.lists(st.lists(st.integers(0, 45), max_size=3), max_size=40))
    sizes = draw(st.lists(st.integers(0, 9), min_size=len(needs), max_size=len(needs)))
    return [
        module(f"d{n % 3}/m{n}.ko", *(f"m{k}" for k in needed), size=size)
        for n, (needed, size) in enumerate(zip(needs, sizes, strict=True))
    ]


def directly_needed(one: ModuleFile, modules) -> set[str]:
    return {other.path for other in modules if other.name in one.depends and other is not one}


def is_closed(some, among) -> bool:
    held = set(paths(some))
    return all(directly_needed(one, among) <= held for one in some)


# ------------------------------------------------------------------------------------------------------------- planning


@given(sets_of_modules(), st.integers(1, 12), st.integers(1, 60))
def test_shards_hold_every_module_once_as_their_own_and_what_it_needs(modules, most, most_bytes):
    made = shards(modules, most=most, most_bytes=most_bytes)
    owned = [path for shard in made for path in shard.own]
    assert sorted(owned) == sorted(paths(modules))
    for shard in made:
        held = paths(shard.modules)
        assert len(held) == len(set(held))
        assert shard.own <= set(held)
        assert is_closed(shard.modules, modules)


@given(sets_of_modules(), st.integers(1, 12), st.integers(1, 60))
def test_a_shard_is_within_its_bounds_unless_one_module_alone_is_beyond_them(modules, most, most_bytes):
    for shard in shards(modules, most=most, most_bytes=most_bytes):
        beyond = len(shard.modules) > most or sum(one.bytes for one in shard.modules) > most_bytes
        alone = [one for one in shard.modules if closure_of(one, modules) == set(paths(shard.modules))]
        assert not beyond or alone


def closure_of(one: ModuleFile, modules) -> set[str]:
    by_path = {other.path: other for other in modules}
    reached, waiting = set(), [one.path]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += directly_needed(by_path[path], modules)
    return reached


@given(sets_of_modules(), st.integers(1, 12))
def test_in_a_shard_a_module_comes_after_those_it_needs(modules, most):
    for shard in shards(modules, most=most):
        at = {path: index for index, path in enumerate(paths(shard.modules))}
        for one in shard.modules:
            for needed in directly_needed(one, modules):
                circle = one.path in closure_of(next(m for m in modules if m.path == needed), modules)
                assert circle or at[needed] < at[one.path]


@given(sets_of_modules(), st.integers(1, 12))
def test_the_same_modules_give_the_same_shards(modules, most):
    assert shards(modules, most=most) == shards(list(modules), most=most)


def test_no_modules_are_one_boot_that_loads_none():
    assert shards([], most=10) == (Shard(modules=(), own=frozenset()),)


def test_a_module_that_several_boots_need_is_loaded_in_each_and_the_own_of_one():
    made = shards([module("core.ko"), module("a.ko", "core"), module("b.ko", "core")], most=2)
    assert [paths(one.modules) for one in made] == [["core.ko", "a.ko"], ["core.ko", "b.ko"]]
    assert [sorted(one.own) for one in made] == [["a.ko", "core.ko"], ["b.ko"]]
    assert made[1].borrowed == ("core.ko",)


def test_four_thousand_modules_are_split_by_number_and_by_bytes():
    many = [module(f"m{n}.ko", *([f"m{n - 1}"] if n % 3 else []), size=10) for n in range(4000)]
    assert max(len(one.modules) for one in shards(many, most=200)) <= 200
    assert max(sum(m.bytes for m in one.modules) for one in shards(many, most=200, most_bytes=500)) <= 500


# ---------------------------------------------------------------------------------------------------------- after a crash


@given(sets_of_modules(), st.data())
def test_what_is_left_after_a_crash_was_not_tried_and_needs_no_culprit(modules, data):
    (shard,) = shards(modules, most=1000)
    tried = set(data.draw(st.lists(st.sampled_from(paths(modules))))) if modules else set()
    culprits = set(data.draw(st.lists(st.sampled_from(paths(modules)), max_size=2))) if modules else set()
    left = rest(shard, tried=tried, culprits=culprits)
    barred = {one.path for one in modules if closure_of(one, modules) & culprits}
    assert (left.own if left else frozenset()) == set(paths(modules)) - tried - barred
    if left:
        assert is_closed(left.modules, modules)
        assert not barred & set(paths(left.modules))


def test_what_was_loaded_before_the_crash_comes_again_if_it_is_needed():
    (shard,) = shards([module("core.ko"), module("bad.ko"), module("late.ko", "core"), module("of.ko", "bad")], most=9)
    left = rest(shard, tried={"core.ko"}, culprits={"bad.ko"})
    assert (paths(left.modules), left.own, left.borrowed) == (["core.ko", "late.ko"], {"late.ko"}, ("core.ko",))


def test_nothing_is_left_if_all_was_tried():
    (shard,) = shards([module("a.ko"), module("bad.ko")], most=9)
    assert rest(shard, tried={"a.ko"}, culprits={"bad.ko"}) is None


def test_whatever_needs_a_culprit_is_known_also_through_others():
    modules = [module("a.ko"), module("b.ko", "a"), module("c.ko", "b"), module("d.ko")]
    assert needing(modules, {"a.ko"}) == {"a.ko", "b.ko", "c.ko"}


# ---------------------------------------------------------------------------------------------------------------- choice


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("mcb_lpc", True), ("mcb-lpc", True), ("mcb-lpc.ko", True), ("mcb*", True), ("*", True), ("lpc", False),
        ("drivers/mcb/*", True), ("drivers/*", True), ("drivers/mcb/mcb-lpc.ko", True), ("mcb/*", False), ("MCB*", False),
        ("mcb[-]lpc", True), ("mcb?lpc", True), ("m[a-d]b-lpc", True),
    ],
)  # fmt: skip
def test_a_pattern_means_a_name_or_with_a_slash_a_path(pattern, fitting):
    assert fits(module("drivers/mcb/mcb-lpc.ko"), pattern) is fitting


def test_what_a_chosen_module_needs_comes_with_it_and_in_the_old_order():
    modules = [module("z/core.ko"), module("b.ko"), module("a.ko", "core")]
    assert paths(chosen(modules, ["a"], [])) == ["z/core.ko", "a.ko"]


def test_what_needs_a_skipped_module_is_left_out_too():
    modules = [module("core.ko"), module("a.ko", "core"), module("b.ko")]
    assert paths(chosen(modules, [], ["core"])) == ["b.ko"]
    assert paths(chosen(modules, ["a", "b"], ["core"])) == ["b.ko"]


def test_a_name_that_means_nothing_is_no_silent_success():
    with pytest.raises(UsageError, match="autofs5"):
        chosen([module("fs/autofs/autofs4.ko")], ["autofs5"], [])


def test_skipping_what_is_not_there_is_no_mistake():
    assert paths(chosen([module("a.ko")], [], ["b"])) == ["a.ko"]


@given(sets_of_modules(), st.integers(0, 50), st.randoms())
def test_a_sample_is_closed_has_its_size_and_does_not_depend_on_the_order(modules, number, chance: random.Random):
    taken = sample(modules, number)
    assert is_closed(taken, modules)
    assert len(taken) <= number
    shuffled = list(modules)
    chance.shuffle(shuffled)
    assert set(paths(sample(shuffled, number))) == set(paths(taken))


def test_a_sample_of_independent_modules_is_exactly_as_large_as_asked():
    assert len(sample([module(f"m{n}.ko") for n in range(500)], 200)) == 200


@given(sets_of_modules(), st.integers(1, 9))
def test_the_parts_together_are_everything(modules, of):
    parts = [part(modules, number, of) for number in range(1, of + 1)]
    assert {path for one in parts for path in paths(one)} == set(paths(modules))
    assert all(is_closed(one, modules) for one in parts)


# -------------------------------------------------------------------------------------------------------------- on demand


def test_what_the_kernel_may_ask_for_are_algorithms_and_what_they_need():
    modules = [
        ModuleFile(path="lib/a.ko", data=b""),
        ModuleFile(path="crypto/sha3_generic.ko", data=b"", depends=("a",), aliases=("sha3-256", "crypto-sha3-256")),
        ModuleFile(path="drivers/crypto/ccp/ccp-crypto.ko", data=b"", aliases=("crypto-aes",)),
        ModuleFile(path="net/x.ko", data=b"", aliases=("net-pf-1",)),
    ]
    assert paths(on_demand(modules)) == ["lib/a.ko", "crypto/sha3_generic.ko"]
