"""Known issues: read with every mistake at once, fitted to signatures, expired by their day."""

import contextlib
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import Mistakes
from lab.results.known import read
from lab.results.signature import Signature

GOOD = b"""\
version: 1
issues:
  - name: mcb-tie
    finding: timestamps.*
    blame: drivers/mcb/*
    cells: ["*-ext4-128*", "*-fuse-*"]
    links: https://example.org/1
    owner: Jane Doe <jane@example.org>
    until: 2027-01-31
    because: fixed in next
  - {name: by-key, signature: 0123456789ab}
"""
TIE = Signature(id="timestamps.tie", blame="drivers/mcb/mcb-core.o", title="make could not see it")


def test_a_file_is_read_whole():
    first, second = read(GOOD, "known.yaml")
    assert (first.name, first.owner, first.until) == (
        "mcb-tie",
        "Jane Doe <jane@example.org>",
        datetime.date(2027, 1, 31),
    )
    assert first.patterns == (("finding", "timestamps.*"), ("blame", "drivers/mcb/*"))
    assert (first.links, first.because, first.place) == (("https://example.org/1",), "fixed in next", "known.yaml:3")
    assert second.signature == "0123456789ab"


def test_it_fits_by_all_that_it_says():
    first, second = read(GOOD, "known.yaml")
    assert first.fits("x86_64-gcc-12-ext4-128", TIE)
    assert not first.fits("x86_64-gcc-12-tmpfs", TIE)
    assert not first.fits("x86_64-gcc-12-ext4-128", Signature(id="timestamps.tie", blame="fs/x.o"))
    assert not first.fits("x86_64-gcc-12-ext4-128", Signature(id="modpost.undefined", blame="drivers/mcb/x.o"))
    assert not second.fits("any", TIE)
    (by_key,) = read(f"version: 1\nissues: [{{name: k, signature: {TIE.key}}}]\n".encode(), "k.yaml")
    assert by_key.fits("any", TIE)


def test_the_last_day_still_counts():
    first, second = read(GOOD, "known.yaml")
    assert not first.expired(datetime.date(2027, 1, 31))
    assert first.expired(datetime.date(2027, 2, 1))
    assert not second.expired(datetime.date(2999, 1, 1))


def test_every_mistake_is_told_with_its_place():
    wrong = b"""\
version: 2
issues:
  - {finding: a.b}
  - {name: everything, owner: me}
  - {name: day, finding: a.b, until: 31.1.2027}
  - {name: day, finding: a.b}
  - {name: key, signature: abc}
  - {name: odd, findings: a.b}
  - [list]
"""
    with pytest.raises(Mistakes) as caught:
        read(wrong, "known.yaml")
    told = "\n".join(caught.value.mistakes)
    for words in (
        "known.yaml:1:10: version must be a whole number from 1 to 1",
        "known.yaml:3:5: issue lacks 'name'",
        "known.yaml:4:5: issue fits everything",
        "known.yaml:5:38: until must be a day such as 2027-01-31",
        "known.yaml:6:5: issue 'day' is there twice",
        "known.yaml:7:28: signature 'abc' must be twelve hex digits",
        "known.yaml:8:17: unknown key of issue 'findings'",
        "did you mean 'finding'?",
        "known.yaml:9:5: issue must be a mapping",
    ):
        assert words in told, told


@pytest.mark.parametrize(
    "data", [b"", b"version: 1\n", b"issues: []\n", b"- 1\n", b"\xff", b"version: 1\nissues: no\n"]
)
def test_what_is_no_such_file_is_refused(data):
    with pytest.raises(Mistakes, match=r"known\.yaml:"):
        read(data, "known.yaml")


@given(st.binary(max_size=200))
def test_strange_bytes_are_read_or_refused_and_nothing_else(data):
    with contextlib.suppress(Mistakes):
        read(b"version: 1\nissues:\n  - {name: x, finding: " + data + b"}\n", "known.yaml")
