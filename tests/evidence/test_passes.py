"""Two link passes compared: the cause apart from what it pushed along."""

import pytest

from lab.evidence import kept_passes, passes, symbols
from lab.evidence.passes import Change, Convergence


def listing(text):
    return symbols.parsed("".join(f"{line.strip()}\n" for line in text.strip().splitlines()).encode())


# The three passes of Russell King's mail of 25 March 2012, shortened.
FIRST = """
    c0008000 T _text
    c03bd408 t __irf_start
    c03bd608 t __irf_end
    c03be000 A __data_loc
    c03be000 A __init_end
    c03be000 D __per_cpu_start
    c03be000 D _data
    c03c0000 D __nosave_begin"""
SECOND = """
    c0008000 T _text
    c0352900 R kallsyms_names
    c03acd00 R kallsyms_markers
    c0438408 t __irf_start
    c0438608 t __irf_end
    c0439000 A __init_end
    c0439000 T __per_cpu_start
    c043a000 A __data_loc
    c043a000 D _data
    c043c000 D __nosave_begin"""
THIRD = SECOND.replace("c03acd00", "c03accf0")


def test_the_symbol_that_changed_is_told_apart_from_those_that_were_pushed():
    found = passes.diverged(listing(FIRST), listing(SECOND))
    changes = {event.symbol: event.change for event in found.events}
    assert changes["__per_cpu_start"] is Change.TYPE
    assert changes["__data_loc"] is Change.ORDER
    assert found.named
    assert found.root.symbol == "__per_cpu_start"
    assert found.root.before[1] == "D"
    assert found.root.after[1] == "T"
    assert found.pushed > 0


def test_passes_with_the_same_names_differ_by_their_tables_alone():
    found = passes.diverged(listing(SECOND), listing(THIRD))
    assert not found.named
    assert not found.events
    assert ("kallsyms_names", 369664, 369648) in found.tables


def test_equal_passes_are_the_same():
    assert passes.diverged(listing(SECOND), listing(SECOND)).same


def test_a_symbol_of_one_pass_only():
    more = SECOND.replace("c0438408 t __irf_start", "c0438400 t only_here\n    c0438408 t __irf_start")
    added = passes.diverged(listing(SECOND), listing(more))
    removed = passes.diverged(listing(more), listing(SECOND))
    assert [(event.symbol, event.change) for event in added.events] == [("only_here", Change.ADDED)]
    assert [(event.symbol, event.change) for event in removed.events] == [("only_here", Change.REMOVED)]
    assert added.events[0].after == (0xC0438400, "t", "_text")


@pytest.mark.parametrize("name", ["__ThumbV7PILongThunk_memcpy", "__memcpy_veneer", "memcpy_from_thumb"])
def test_what_a_linker_inserts_is_known(name):
    more = SECOND.replace("c0438408 t __irf_start", f"c0438400 t {name}\n    c0438408 t __irf_start")
    assert passes.diverged(listing(SECOND), listing(more)).root.inserted


def test_static_functions_of_one_name_are_not_mixed_up():
    before = "c0000000 t probe\nc0000100 t probe\nc0000200 T other"
    after = "c0000000 t probe\nc0000080 t probe\nc0000180 T other"
    found = passes.diverged(listing(before), listing(after))
    assert [(event.symbol, event.change) for event in found.events] == [("probe", Change.DISTANCE)]
    assert (found.pushed, found.shifts) == (1, (-0x80,))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([FIRST], Convergence.UNKNOWN),
        ([FIRST, SECOND], Convergence.UNKNOWN),
        ([FIRST, SECOND, THIRD], Convergence.SETTLES),
        ([FIRST, FIRST, SECOND], Convergence.FINAL_ONLY),
        ([FIRST, SECOND, FIRST, SECOND], Convergence.OSCILLATES),
    ],
)
def test_what_one_more_pass_would_do(order, expected):
    assert passes.convergence([listing(one) for one in order]) is expected


def test_a_map_that_an_earlier_build_left_is_no_pass(tmp_path):
    times = {}
    for number, text in ((1, FIRST), (2, SECOND), (3, FIRST)):
        path = tmp_path / f".tmp_vmlinux{number}.syms"
        path.write_text("".join(f"{line.strip()}\n" for line in text.strip().splitlines()))
        times[path] = number if number < 3 else 0
    final = tmp_path / "System.map"
    final.write_text((tmp_path / ".tmp_vmlinux2.syms").read_text())
    times[final] = 5
    found = kept_passes.read_passes(list(times)[:3], final, times.__getitem__)
    assert [one.name for one in found] == [".tmp_vmlinux1.syms", ".tmp_vmlinux2.syms", "System.map"]


def test_a_system_map_of_an_earlier_build_is_no_final_link(tmp_path):
    path, final = tmp_path / ".tmp_vmlinux1.syms", tmp_path / "System.map"
    for one in (path, final):
        one.write_text("c0000000 T _text\n")
    found = kept_passes.read_passes([path], final, {path: 7, final: 3}.__getitem__)
    assert [one.name for one in found] == [".tmp_vmlinux1.syms"]


@pytest.mark.parametrize("text", ["garbage\n", "c0000000 T\n", "c000 T _text\n", "c0000000 T a\nzzzzzzzz T b\n"])
def test_a_map_of_another_form_is_left_out(tmp_path, text):
    path = tmp_path / ".tmp_vmlinux1.syms"
    path.write_text(text)
    assert kept_passes.read_passes([path], None, lambda _: 1) == ()
