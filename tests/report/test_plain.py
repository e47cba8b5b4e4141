"""Text of strangers: shown, never obeyed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.model import Span
from lab.report.plain import duration, one_line, place, plain


@given(st.text(alphabet=st.characters()))
def test_no_control_character_survives(text):
    left = {char for char in plain(text) if unicodedata.category(char) in ("Cc", "Cs")} - {"\n"}
    assert left == set()


@given(st.text(alphabet=st.characters(), max_size=300))
def test_one_line_is_one_line_and_can_be_encoded(text):
    line = one_line(text, at_most=50)
    assert len(line) <= 50
    assert len(line.splitlines()) <= 1
    line.encode()


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[01;31merror:\x1b[0m x", "error: x"),
        ("\x1b]8;;file:///etc\x07warning\x1b]8;;\x07", "warning"),
        ("a\x1bb", "a␛b"),
        ("progress\rdone", "progress␍done"),
        ("user\u202etxt.exe", "user<U+202E>txt.exe"),
        ("\udc80", "<U+DC80>"),
        ("a\tb", "a       b"),
        ("\x7f\x9b31m", "␡<U+009B>31m"),
    ],
)
def test_hostile_text_is_shown(hostile, shown):
    assert plain(hostile) == shown


def test_a_huge_line_costs_little_and_says_that_it_was_cut():
    assert one_line("x" * 50_000_000).endswith("x…")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (3.21, "3.2 s"),
        (59.4, "59 s"),
        (102, "1 min 42 s"),
        (7500, "2 h 05 min"),
        (-1, "?"),
        (1e300, "?"),
    ],
)
def test_durations_are_for_people(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        (Span(file="build.txt", first=7, last=7), "build.txt:7"),
        (Span(file="build.txt", first=7), "build.txt:7"),
        (Span(file="build.txt", first=7, last=9), "build.txt:7-9"),
        (Span(file="vmlinux"), "vmlinux"),
        (Span(file=""), ""),
    ],
)
def test_places_read_as_editors_take_them(where, shown):
    assert place(where) == shown
