"""Symbols as nm lists them: held against nm itself where there is one."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lab.evidence import symbols
from lab.evidence.elf import UnreadableError, open_elf

SOURCE = """
static int counter; int shared = 3; const char text[] = "x"; __attribute__((weak)) void soft(void) {}
static void inner(void) { counter++; } void outer(void) { inner(); } extern void elsewhere(void);
void user(void) { elsewhere(); } __attribute__((weak)) int soft_data = 1;
__attribute__((section(".init.text"))) void begin(void) {} __attribute__((section(".init.data"))) int data = 1;
"""


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("nm")), reason="needs gcc and nm")
def test_an_object_gives_what_nm_gives(tmp_path):
    (tmp_path / "a.c").write_text(SOURCE)
    subprocess.run(["gcc", "-O0", "-c", "a.c"], cwd=tmp_path, check=True)
    said = subprocess.run(["nm", "-n", "a.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    expected = [line for line in said.splitlines() if not line.startswith(" ")]
    with open_elf(tmp_path / "a.o") as elf:
        found = symbols.of_elf(elf)
    shown = [f"{int(found.values[i]):016x} {chr(found.letters[i])} {found.names.text(i)}" for i in range(len(found))]
    assert shown == expected
    assert found.find("outer") is not None
    assert found.find("nowhere") is None


def test_a_map_is_read_as_it_stands():
    found = symbols.parsed(b"c0008000 T _text\nc0008000 t a\nc0009ABC D \xff_name\n")
    assert found.values.tolist() == [0xC0008000, 0xC0008000, 0xC0009ABC]
    assert bytes(found.letters) == b"TtD"
    assert found.names.raw(2) == b"\xff_name"
    assert found.index("a") == 1


def test_a_last_line_that_is_cut_off_is_left_out():
    assert len(symbols.parsed(b"c0008000 T _text\nc0009000 T _cu")) == 1


@pytest.mark.parametrize(
    ("text", "line"), [(b"c0008000 T _text\nc000900g T b\n", 2), (b"hello\n", 1), (b"c0008000TT_text\n", 1)]
)
def test_another_form_is_told_with_its_line(text, line):
    with pytest.raises(UnreadableError, match=f"line {line} "):
        symbols.parsed(text)


def test_equal_names_have_equal_keys_and_others_do_not():
    names = [b"a", b"b", b"ab", b"ba", b"aa", b"", b"a" * 5000, b"a" * 5001]
    text = b"".join(b"c0000000 T %s\n" % (name or b"-") for name in names)
    keys = symbols.parsed(text + text).names.keys().tolist()
    assert keys[: len(names)] == keys[len(names) :]
    assert len(set(keys[:6])) == 6


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UnreadableError):
        symbols.of_map(Path(tmp_path / "none"))
