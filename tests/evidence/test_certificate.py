"""The share of clock phases, held against asking each phase."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.evidence.certificate import Gap, lines, share

GAPS = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 1500)).map(
        lambda pair: Gap(object=f"{pair}.o", dependency="d", made_ns=pair[0], touched_ns=pair[0] + pair[1])
    ),
    max_size=6,
)


def overlooked(gap, granularity, phase, delay):
    return (gap.made_ns + phase) // granularity == (gap.touched_ns + delay + phase) // granularity


@given(GAPS, st.integers(1, 400), st.integers(0, 50))
def test_it_is_the_share_of_phases_that_overlook_an_object(gaps, granularity, delay):
    wrong = sum(any(overlooked(gap, granularity, phase, delay) for gap in gaps) for phase in range(granularity))
    assert share(gaps, granularity, delay_ns=delay) == pytest.approx(wrong / granularity)


@given(GAPS, st.integers(1, 400))
def test_so_much_delay_is_enough_and_a_little_less_is_not(gaps, granularity):
    (line,) = lines(gaps, [granularity])
    assert share(gaps, granularity, delay_ns=line.enough_ns) == 0.0
    if line.enough_ns:
        assert share(gaps, granularity, delay_ns=line.enough_ns - 1) > 0.0
    assert (line.enough_ns > 0) == (line.share > 0)


@given(GAPS, st.integers(1, 200))
def test_a_clock_twice_as_coarse_is_never_safer(gaps, granularity):
    """A tick of 2g is two of g, in each of its phases."""
    assert share(gaps, 2 * granularity) >= share(gaps, granularity) - 1e-9


def test_without_a_gap_nothing_can_be_overlooked():
    assert [line.share for line in lines([], [10, 20])] == [0.0, 0.0]
