"""What the wrappers of an amplified build noted, from a file that the build could write as well."""

import os

from lab.evidence.amplified import waits

EXPECTED = ("slow touch", "align ccache", "missed ccache")


def test_waits_are_counted_and_what_never_came_is_named(tmp_path):
    (tmp_path / "notes").write_text("slow touch\nslow touch\nalign ccache 2300000\n")
    assert waits(tmp_path / "notes", EXPECTED) == {"slow touch": 2, "align ccache": 1, "missed ccache": 0}


def test_lines_of_another_form_or_of_another_tool_count_for_nothing(tmp_path):
    lines = [
        b"slow ld",
        b"align ccache",
        b"slow touch x",
        b"\xff\xfe",
        b"",
        b"align ccache " + b"9" * 40,
        b"slow touch",
    ]
    (tmp_path / "notes").write_bytes(b"\n".join(lines))
    assert waits(tmp_path / "notes", EXPECTED) == {"slow touch": 1, "align ccache": 1, "missed ccache": 0}


def test_no_file_or_a_pipe_in_its_place_is_nothing_noted(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert waits(None, EXPECTED) == waits(tmp_path / "none", EXPECTED) == waits(tmp_path / "pipe", EXPECTED)
    assert set(waits(None, EXPECTED).values()) == {0}
