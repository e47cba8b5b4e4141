"""The table inside a kernel against its symbols: which of them it must have."""

import pytest

from lab.evidence import kallsyms, symbols
from lab.evidence.kallsyms_table import Addressing, KallsymsTable

MAP = """\
00001000 T _text
00001000 T _stext
00001010 t helper
00001020 T main
00002000 R _etext
00002010 r __func__.0
00002020 D jiffies
00002030 D __start___jump_table
00002040 D __stop___jump_table
00003000 T _sinittext
00003010 t setup
00003020 T _einittext
"""
TEXT = ("_text", "_stext", "helper", "main", "_sinittext", "setup")


def compared(*names):
    """Compare the kernel of MAP with a table that has these names only."""
    kept = "".join(line + "\n" for line in MAP.splitlines() if line.split()[2] in names)
    listing = symbols.parsed(kept.encode())
    table = KallsymsTable(listing=listing, addressing=Addressing.ABSOLUTE, base=0, seqs=None)
    return kallsyms.compared(symbols.parsed(MAP.encode()), table)


@pytest.mark.parametrize("bounds", [(), ("__start___jump_table", "__stop___jump_table")], ids=["6.1", "6.12"])
def test_without_kallsyms_all_only_text_must_be_there(bounds):
    assert compared(*TEXT, *bounds).lacking == ()


def test_a_function_that_the_table_lacks_is_told():
    found = compared(*(name for name in TEXT if name != "helper"))
    assert [one.symbol for one in found.lacking] == ["helper"]


def test_with_kallsyms_all_data_must_be_there():
    found = compared(*TEXT, "__func__.0", "_etext", "_einittext")
    assert [one.symbol for one in found.lacking] == ["jiffies", "__start___jump_table", "__stop___jump_table"]
