from hypothesis import given
from hypothesis import strategies as st

from lab.results import journal
from lab.results.journal import Entry

ONE = Entry(place="a" * 40, number=1, verdict="failed", seconds=1.5, reason="seen: 'x'\nand more", at="now")
TWO = Entry(place="b" * 40, number=2, verdict="sound", build_s=7.0, identity="k")


def test_what_is_appended_is_read(tmp_path):
    path = tmp_path / journal.NAME
    for entry in (ONE, TWO):
        journal.append(path, entry)
    assert journal.read(path) == (ONE, TWO)
    assert path.read_text().count("\n") == 2


def test_no_journal_is_an_empty_one(tmp_path):
    assert journal.read(tmp_path / journal.NAME) == ()


@given(st.integers(1, 60))
def test_a_torn_last_line_is_as_if_it_was_never_written(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("torn") / journal.NAME
    journal.append(path, ONE)
    journal.append(path, TWO)
    path.write_bytes(path.read_bytes()[:-cut])
    assert journal.read(path) in ((ONE,), (ONE, TWO))
    journal.append(path, TWO)
    assert journal.read(path)[-1] == TWO
    assert journal.read(path)[0] == ONE


def test_lines_that_are_no_entries_are_passed_over(tmp_path):
    path = tmp_path / journal.NAME
    lines = ["[]", "3", '{"place": 1}', '{"place": "x", "number": 1, "verdict": "maybe"}', "[" * 90_000, "\udcff"]
    path.write_bytes("\n".join(lines).encode(errors="surrogateescape") + b"\n\x00\n")
    journal.append(path, ONE)
    journal.append(path, Entry(place="x", number=0, verdict="good"))
    assert [entry.verdict for entry in journal.read(path)] == ["failed", "good"]
