"""Functions by name and by address: what the kernel prints as their size, aliases, sections of modules, sources."""

import pytest
from code_elf import ET_REL, HIDDEN, LOCAL, WEAK, Symbol, elf, file, function, static

from lab.evidence import functions, symbols
from lab.evidence.elf import Elf

BASE = 0xFFFFFFFF81000000
EM_ARM = 40


def read(tmp_path, rows, **more):
    path = tmp_path / "x.elf"
    path.write_bytes(elf(rows, **more))
    with path.open("rb") as opened:
        found = functions.of_elf(Elf(opened))
    assert found is not None
    return found


@pytest.fixture
def kernel(tmp_path):
    rows = [
        file("fork.c"), static("copy", BASE + 0x100, 0x2D), file("exit.c"), static("copy", BASE + 0x200, 0x40),
        function("fork", BASE, 0xF8), function("exit", BASE + 0x130, 0x30),
        Symbol("__x64_sys_exit", ".text", BASE + 0x130, 0x30), Symbol("sys_weak", ".text", BASE + 0x130, 0x30, bind=WEAK),
        Symbol("data", ".text", BASE + 0x300, 8, kind=1),
    ]  # fmt: skip
    return read(tmp_path, rows)


def test_the_size_that_the_kernel_prints_is_the_way_to_the_next_symbol(kernel):
    (fork,) = kernel.named("fork")
    assert (fork.size, fork.rooms[0]) == (0xF8, 0x100)
    assert [fork.misfit(size) for size in (0xF8, 0x100, 0, 0xF0)] == [0, 0, 0, None]


def test_a_symbol_that_the_kernel_s_own_table_leaves_out_may_stand_between(kernel):
    (fork,) = kernel.named("fork")
    assert fork.misfit(0x130) == 1


def test_functions_of_one_name_have_their_own_sources(kernel):
    assert [(one.address - BASE, one.file, one.local) for one in kernel.named("copy")] == [
        (0x100, "fork.c", True), (0x200, "exit.c", True),
    ]  # fmt: skip
    assert kernel.named("nothing") == ()


def test_an_address_has_the_name_that_the_kernel_would_print(kernel):
    found = kernel.at(BASE + 0x13F)
    assert (found.name, found.address - BASE) == ("exit", 0x130)
    assert kernel.at(BASE - 1) is None
    assert kernel.at(BASE + 0x90000) is None
    assert kernel.at(-5) is None
    assert kernel.at(1 << 80) is None


def test_what_a_linker_made_local_has_no_source(tmp_path):
    """lld leaves it hidden and puts it behind the last source; GNU ld puts a nameless source before it."""
    rows = [
        file("usercopy.c"), static("own", BASE, 16),
        Symbol("by_lld", ".text", BASE + 16, 16, bind=LOCAL, visibility=HIDDEN),
        file(""), static("by_gnu", BASE + 32, 16), function("global", BASE + 48, 16),
    ]  # fmt: skip
    found = read(tmp_path, rows)
    told = {
        name: (found.named(name)[0].file, found.named(name)[0].local) for name in ("own", "by_lld", "by_gnu", "global")
    }
    assert told == {"own": ("usercopy.c", True), "by_lld": ("", False), "by_gnu": ("", False), "global": ("", False)}


def test_a_module_s_addresses_are_offsets_in_its_sections(tmp_path):
    rows = [function("a", 0, 8), function("init_module", 0, 8, ".init.text"), function("b", 8, 8)]
    found = read(tmp_path, rows, kind=ET_REL)
    assert found.relocatable
    assert found.at(4, ".init.text").name == "init_module"
    assert found.at(4, ".text").name == "a"
    assert found.at(4, ".exit.text") is None
    (last,) = found.named("b")
    assert last.rooms == ()
    assert last.misfit(0x1000) == 2  # the loaded module ends somewhere behind it
    assert last.misfit(4) is None


@pytest.mark.parametrize("little", [True, False])
def test_thumb_functions_lie_where_they_lie_and_marks_are_none(tmp_path, little):
    rows = [
        function("f", 0x101, 8), Symbol("$t", ".text", 0x100, 0, kind=0, bind=LOCAL),
        Symbol(".L1", ".text", 0x104, 0, kind=0, bind=LOCAL),
    ]  # fmt: skip
    found = read(tmp_path, rows, machine=EM_ARM, is_64=False, little=little)
    assert [(one.name, one.address) for one in (found.at(0x104),)] == [("f", 0x100)]
    assert len(found) == 1


def test_a_map_knows_functions_but_neither_sizes_nor_sources():
    listing = symbols.parsed(
        b"ffffffff81000000 T a\nffffffff81000010 t b\nffffffff81000020 D data\nffffffff81000030 W c\n"
    )
    found = functions.of_listing(listing)
    assert [found.named(name)[0].rooms[:1] for name in ("a", "b")] == [(0x10,), (0x20,)]
    assert found.named("data") == ()
    assert found.at(0xFFFFFFFF81000018).name == "b"


def test_what_clang_appended_is_found_by_what_the_kernel_prints(tmp_path):
    found = read(tmp_path, [static("probe.llvm.123", BASE, 8), static("prober", BASE + 8, 8)])
    assert [one.name for one in found.beginning("probe")] == ["probe.llvm.123"]


def test_neighbours_end_with_the_section(tmp_path):
    rows = [function("a", 0, 8), function("b", 8, 8), function("c", 0, 8, ".init.text")]
    found = read(tmp_path, rows, kind=ET_REL)
    before, behind = found.beside(found.named("b")[0], lambda one: True)
    assert (before.name, behind) == ("a", None)
