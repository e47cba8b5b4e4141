"""Which source a symbol table names for the symbols that livepatch counts."""

from code_elf import HIDDEN, LOCAL, Symbol, elf, file, static

from lab.evidence import positions
from lab.evidence.elf import Elf

BASE = 0xFFFFFFFF81000000


def test_livepatch_positions_name_no_source_for_what_a_linker_made_local(tmp_path):
    rows = [
        file("usercopy.c"), static("own", BASE, 16),
        Symbol("by_lld", ".text", BASE + 16, 16, bind=LOCAL, visibility=HIDDEN),
        file(""), static("by_gnu", BASE + 32, 16),
    ]  # fmt: skip
    (tmp_path / "vmlinux").write_bytes(elf(rows))
    with (tmp_path / "vmlinux").open("rb") as opened:
        found = positions.of_vmlinux(Elf(opened))
    assert {one.name: one.file for one in found.rows(duplicates=False)} == {
        "own": "usercopy.c",
        "by_lld": "",
        "by_gnu": "",
    }
