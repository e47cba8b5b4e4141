"""The table of back-ports: what is read, and what is told of mistakes."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import tables
from lab.errors import LabError, Mistakes, UsageError
from lab.matrix.backports import Backport, read
from lab.model import Patch

ROOT = Path(__file__).parent.parent.parent
TABLES = tables.load(images=ROOT / "images")
DIFF = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"


@pytest.fixture
def table(tmp_path):
    """Write a table beside two patches and a file that is none; returns its path."""
    for name, text in (("a.patch", DIFF), ("more/b.patch", DIFF), ("notes.txt", "nothing\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def table(text):
        (tmp_path / "t.yaml").write_text(text)
        return tmp_path / "t.yaml"

    return table


def test_rows_are_read_in_order(table):
    path = table(
        "version: 1\nbackports:\n"
        "  - {patch: a.patch, since: v5.4, until: 1d489151e9f9, because: binutils 2.37}\n"
        "  - patch: more/b.patch\n"
    )
    assert read(path, TABLES) == (
        Backport(
            patch=Patch(name="a", text=DIFF), since="v5.4", until="1d489151e9f9", because="binutils 2.37",
            place=f"{path}:3:5",
        ),
        Backport(patch=Patch(name="b", text=DIFF), place=f"{path}:4:5"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version: 1\n", ":1:1: the table of back-ports lacks 'backports'"),
        ("backports: []\n", ":1:1: the table of back-ports lacks 'version'"),
        ("version: 2\nbackports: []\n", ":1:10: version"),
        ("version: 1\nbackports: [{since: v5.4}]\n", ":2:13: back-port lacks 'patch'"),
        ("version: 1\nbackports: [{patch: a.patch, sinse: v5.4}]\n", "did you mean 'since'?"),
        ("version: 1\nbackports: [{patch: c.patch}]\n", ":2:21: no file 'c.patch' beside"),
        ("version: 1\nbackports: [{patch: ../../etc/passwd}]\n", "lies outside"),
        ("version: 1\nbackports: [{patch: notes.txt}]\n", "is no unified diff"),
        ("version: 1\nbackports: [{patch: a.patch, since: --all}]\n", ":2:37: since must be one commit or tag"),
        ("version: 1\nbackports: [{patch: a.patch, until: v1..v2}]\n", ":2:37: until must be one commit or tag"),
        (f"version: 1\nbackports: [{', '.join(['{patch: a.patch}'] * 201)}]\n", "more than 200 backports"),
        ("- nothing\n", "the table of back-ports"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_places(table, text, told):
    with pytest.raises(Mistakes) as caught:
        read(table(text), TABLES)
    assert told in "\n".join(caught.value.mistakes)


def test_every_mistake_is_told_at_once(table):
    with pytest.raises(Mistakes) as caught:
        read(table("version: 1\nbackports: [{patch: c.patch}, {since: v1}, 7]\n"), TABLES)
    assert len(caught.value.mistakes) == 3


def test_a_table_that_is_not_there_is_one_error(tmp_path):
    with pytest.raises(UsageError, match="cannot read the table of back-ports"):
        read(tmp_path / "t.yaml", TABLES)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: f"version: 1\nbackports: [{text}]\n".encode()))
def test_strange_bytes_are_read_or_refused_and_nothing_else(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "strange.yaml"
    path.write_bytes(data)
    with contextlib.suppress(LabError):
        read(path, TABLES)
