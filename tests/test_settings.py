"""Sizes and times as people write them."""

import pytest

from lab.errors import UsageError
from lab.settings import bytes_of, seconds_of


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("50G", 50 << 30), ("1T", 1 << 40), ("500MiB", 500 << 20)])
def test_a_size_has_a_unit_or_is_bytes(text, size):
    assert bytes_of(text, "X") == size


@pytest.mark.parametrize(("text", "seconds"), [("7d", 604_800), ("12h", 43_200), ("90s", 90), ("2w", 1_209_600)])
def test_a_time_has_a_unit(text, seconds):
    assert seconds_of(text, "X") == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7 days", "1e9s"])
def test_what_is_no_time_is_told_with_its_name(text):
    with pytest.raises(UsageError, match="--older-than must be a time such as 7d"):
        seconds_of(text, "--older-than")


@pytest.mark.parametrize("text", ["G", "-1G", "1.5G", "50X"])
def test_what_is_no_size_is_told_with_its_name(text):
    with pytest.raises(UsageError, match="LAB_CACHE_BUDGET must be a size"):
        bytes_of(text, "LAB_CACHE_BUDGET")
