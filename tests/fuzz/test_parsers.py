"""No input makes a parser fall over: a few hundred changed files each. bench/fuzz.py does the same a hundred thousand times."""

import contextlib
import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parsers import PARSERS, mutated, seeds_of


def tried(parser, data, folder):
    """Give a parser one input; raises what it must not."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / "input"
    path.write_bytes(data)
    with contextlib.suppress(*parser.allowed):
        parser.read(path)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_what_it_begins_with_is_read(parser, tmp_path):
    for data in seeds_of(parser):
        tried(parser, data, tmp_path / "in")


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_no_change_makes_it_fall_over(parser, tmp_path):
    begin = sorted(seeds_of(parser), key=len)[:40]

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(begin), st.integers(0, 2**32))
    def changed(data, seed):
        tried(parser, mutated(data, random.Random(seed)), tmp_path / "in")

    changed()


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_noise_makes_it_fall_over_neither(parser, tmp_path):
    @settings(max_examples=100, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=600))
    def noise(data):
        tried(parser, data, tmp_path / "in")

    noise()


def test_a_parser_that_falls_over_is_seen(tmp_path):
    """The fuzzer itself can fail: an error that is not allowed comes through."""
    from parsers import Parser

    bad = Parser("bad", lambda path: path.read_bytes().decode("ascii"), lambda: iter([b"a"]))
    with pytest.raises(UnicodeDecodeError):
        tried(bad, b"\xff", tmp_path / "in")
