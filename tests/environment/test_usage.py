"""What a step uses, as the engine tells it: version 1 and 2 of cgroups, without the page cache, and whatever it answers."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.environment import usage

MIB = 1 << 20


def stats(cpu_ns, held, **parts):
    return {"cpu_stats": {"cpu_usage": {"total_usage": cpu_ns}}, "memory_stats": {"usage": held, "stats": parts}}


@pytest.mark.parametrize("prefix", ["total_", ""], ids=["cgroup 1", "cgroup 2"])
def test_the_page_cache_is_no_need_and_the_most_counts(prefix):
    seen = usage.Usage()
    cached = {f"{prefix}inactive_file": 300 * MIB, f"{prefix}active_file": 100 * MIB}
    seen.see(stats(1_500_000_000, 900 * MIB, **cached))
    seen.see(stats(2_500_000_000, 500 * MIB, **cached))
    assert seen == usage.Usage(peak_mib=500, cpu_s=2.5)


def test_a_container_that_is_gone_says_nothing():
    seen = usage.Usage()
    seen.see({"cpu_stats": {"cpu_usage": {}}, "memory_stats": {}})
    assert seen == usage.Usage()


NAMES = st.sampled_from(["cpu_stats", "cpu_usage", "total_usage", "memory_stats", "stats", "usage"])
LEAVES = st.none() | st.integers() | st.text(max_size=5)


@given(st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner), max_leaves=8))
def test_whatever_is_answered_raises_nothing(answer):
    usage.Usage().see(answer)


def test_who_asks_stops_with_the_step_and_trouble_in_asking_is_no_matter(monkeypatch):
    monkeypatch.setattr(usage, "FIRST_S", 0.01)
    asked = threading.Event()

    def ask():
        asked.set()
        raise ConnectionError

    with usage.watched(ask, (OSError,)) as seen:
        assert asked.wait(10)
    assert seen == usage.Usage()
    assert not [thread for thread in threading.enumerate() if thread.name == "usage"]
