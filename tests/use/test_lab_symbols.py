"""`lab symbols`: which names need a position, in livepatch's order, and of which file they are."""

import json
import lzma
import sys
from pathlib import Path

import pytest

from lab import cli
from lab.errors import ExitCode, UsageError
from lab.use import symbols

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
import hostile_files as files

LOCAL_FUNC, FILE, GLOBAL_FUNC = 0x02, 0x04, 0x12
ABSOLUTE = 0xFFF1


def module():
    """Two files with a function of one name each, the later one at the lower address; and one that is thrown away."""
    sections = [files.Section(".text", b"\x90" * 64, flags=6), files.Section(".init.text", b"\x90" * 64, flags=6)]
    rows = [
        ("a.c", FILE, ABSOLUTE, 0), ("same", LOCAL_FUNC, 1, 32), ("b.c", FILE, ABSOLUTE, 0), ("same", LOCAL_FUNC, 1, 0),
        ("same", LOCAL_FUNC, 2, 0), ("only", GLOBAL_FUNC, 1, 48), ("needed", 0x10, 0, 0),
    ]  # fmt: skip
    return files.elf(sections, rows)


def vmlinux():
    """A kernel without a table of its own: its symbols are ordered by address."""
    sections = [files.Section(".text", b"\x90" * 64, flags=6, addr=0x1000)]
    rows = [
        ("b.c", FILE, ABSOLUTE, 0), ("state_show", LOCAL_FUNC, 1, 0x1020), ("a.c", FILE, ABSOLUTE, 0),
        ("state_show", LOCAL_FUNC, 1, 0x1000), ("start", GLOBAL_FUNC, 1, 0x1010),
    ]  # fmt: skip
    return files.elf(sections, rows, kind=2)


@pytest.fixture
def out(tmp_path):
    root = tmp_path / "out"
    (root / "lib").mkdir(parents=True)
    (root / ".config").write_text("CONFIG_MODULES=y\n")
    (root / "vmlinux").write_bytes(vmlinux())
    (root / "lib/two-parts.ko").write_bytes(module())
    (root / "modules.order").write_text("lib/two-parts.ko\n")
    return root


def rows(found):
    return [
        (row.object, row.symbol.name, row.symbol.position, row.symbol.count, row.symbol.address, row.symbol.file)
        for row in found.rows
    ]


def test_duplicates_of_every_object_in_the_order_that_livepatch_counts(out):
    found = symbols.listed(symbols.Request(path=out, duplicates=True))
    assert rows(found) == [
        ("vmlinux", "state_show", 1, 2, 0x1000, "a.c"),
        ("vmlinux", "state_show", 2, 2, 0x1020, "b.c"),
        # a module's are counted in the order of its symbol table, and what .init held is gone by then
        ("lib/two-parts.ko", "same", 1, 2, 32, "a.c"),
        ("lib/two-parts.ko", "same", 2, 2, 0, "b.c"),
    ]


def test_a_kernels_own_table_decides_the_order(tmp_path):
    path = tmp_path / "vmlinux"
    path.write_bytes(files.vmlinux())
    found = symbols.listed(symbols.Request(path=path))
    assert found.sources == {"vmlinux": "kallsyms table"}
    assert [row.symbol.name for row in found.rows[:4]] == ["_stext", "_text", "name_0", "name_1"]


@pytest.mark.parametrize("name", ["two_parts", "two-parts", "lib/two-parts.ko", "two-parts.ko"])
def test_a_module_is_named_as_people_name_it(out, name):
    found = symbols.listed(symbols.Request(path=out, object=name))
    assert [row[1] for row in rows(found)] == ["same", "same", "only"]


def test_an_unknown_module_is_told_with_what_there_is(out):
    with pytest.raises(UsageError, match="known: two_parts"):
        symbols.listed(symbols.Request(path=out, object="three_parts"))


def test_one_packed_module_reads_like_the_plain_one(tmp_path):
    path = tmp_path / "x.ko.xz"
    path.write_bytes(lzma.compress(module()))
    found = symbols.listed(symbols.Request(path=path, duplicates=True))
    assert [(row[0], row[2]) for row in rows(found)] == [("x.ko", 1), ("x.ko", 2)]


def test_the_limit_bounds_the_rows_and_not_the_count(out):
    found = symbols.listed(symbols.Request(path=out, duplicates=True, limit=3))
    assert (len(found.rows), found.total) == (3, 4)


def test_a_distribution_kernel_is_listed_from_its_image(tmp_path):
    root = files.distribution(tmp_path / "root")
    found = symbols.listed(symbols.Request(path=root, name="name_7"))
    assert rows(found) == [("vmlinux", "name_7", 1, 1, 0xFFFFFFFF81000070, "")]


def test_the_command_prints_a_table_and_the_contract(out, capsys):
    assert cli.exit_code_of(["symbols", str(out), "--duplicates"]) == 0
    printed = capsys.readouterr().out
    assert "vmlinux           state_show    1 of 2" in printed
    assert "4 symbols whose names need a position in 2 objects" in printed
    assert cli.exit_code_of(["symbols", str(out), "--duplicates", "--json", "--limit", "1"]) == 0
    contract = json.loads(capsys.readouterr().out)
    assert contract["symbols"] == [
        {
            "object": "vmlinux",
            "name": "state_show",
            "position": 1,
            "count": 2,
            "address": 4096,
            "type": "t",
            "file": "a.c",
        }
    ]
    assert (contract["total"], contract["exit_code"]) == (4, 0)
    assert {"object": "vmlinux", "order": "ELF symbol table"} in contract["objects"]


def test_what_cannot_be_read_is_said_and_not_judged(tmp_path, capsys):
    path = tmp_path / "x.ko"
    path.write_bytes(b"some text\n" * 9)
    assert cli.exit_code_of(["symbols", str(path)]) == ExitCode.UNTESTABLE
    assert "cannot read x.ko: it is not an ELF file" in capsys.readouterr().out
    assert cli.exit_code_of(["symbols", str(tmp_path / "none")]) == ExitCode.USAGE
