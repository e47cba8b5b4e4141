"""The order by name that kallsyms_lookup_name() relies on."""

import numpy as np
import pytest

from lab.evidence.kallsyms_order import first_fall
from lab.evidence.symbols import Texts


def texts(names):
    block = "".join(names).encode()
    lengths = np.array([len(name.encode()) for name in names], np.int64)
    return Texts(block=np.frombuffer(block, np.uint8), starts=np.cumsum(lengths) - lengths, lengths=lengths)


NAMES = ["zap", "abort", "abort_all", "_start", "Zap", "do_something_long_1", "do_something_long_2", "abort", "é"]


def in_order(names):
    return np.array(sorted(range(len(names)), key=lambda one: names[one].encode()), np.int64)


def test_an_order_by_bytes_has_no_fall():
    assert first_fall(texts(NAMES), in_order(NAMES)) is None


@pytest.mark.parametrize("at", range(len(NAMES) - 1))
def test_two_names_that_changed_places_are_told(at):
    order = in_order(NAMES)
    order[at], order[at + 1] = order[at + 1], order[at]
    fall = first_fall(texts(NAMES), order)
    if NAMES[order[at]] == NAMES[order[at + 1]]:
        assert fall is None
    else:
        assert fall == (int(order[at]), int(order[at + 1]))


def test_names_with_a_dot_may_be_sorted_without_what_follows_it():
    """6.2 to 6.5 with LTO_CLANG: foo.llvm.1 counts as foo."""
    names = ["foo.llvm.1", "foo", "foo_bar", "foo0"]
    assert first_fall(texts(names), np.array([1, 0, 3, 2], np.int64)) is None
    assert first_fall(texts(names), np.array([1, 3, 0, 2], np.int64)) is None


@pytest.mark.parametrize("names", [[], ["one"], ["a.b"]])
def test_few_names_have_no_fall(names):
    assert first_fall(texts(names), np.arange(len(names))) is None
