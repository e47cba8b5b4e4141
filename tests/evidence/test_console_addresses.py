"""What lines of a console name as places in the code, in every layout that kernels print."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.evidence.console import said_by
from lab.evidence.console_addresses import KernelOffset, kernel_offset, spots

CORPUS = Path(__file__).parents[2] / "../shared/corpora/console"
POINTER = "pointer"


def read(line):
    """Return (name, address, whether an instruction pointer) of each place."""
    return [
        (spot.name, f"{spot.address:x}" if spot.address else "", POINTER if spot.exact else "") for spot in spots(line)
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        # x86: arch/x86/kernel/dumpstack.c, before and after 4.10
        ("RIP: 0010:[<ffffffff82d4e304>]  [<ffffffff82d4e304>] __memset+0x24/0x30",
         [("__memset+0x24/0x30", "ffffffff82d4e304", POINTER)]),
        ("RIP: 0010:__static_call_init+0x12f/0x229", [("__static_call_init+0x12f/0x229", "", POINTER)]),
        ("RIP: 0010:autofs_wait+0x1/0x2 [autofs4]", [("autofs_wait+0x1/0x2 [autofs4]", "", POINTER)]),
        ("RIP: 0010:0xffffffffa02f1c8c", [("0xffffffffa02f1c8c", "ffffffffa02f1c8c", POINTER)]),
        ("EIP is at foo+0x12/0x34 [bar]", [("foo+0x12/0x34 [bar]", "", POINTER)]),
        ("EIP: 0060:[<c0101234>]    Not tainted", [("0xc0101234", "c0101234", POINTER)]),
        ("EIP: foo+0x12/0x34", [("foo+0x12/0x34", "", POINTER)]),
        (" ? foo.isra.0+0x12/0x34 [mod]", [("foo.isra.0+0x12/0x34 [mod]", "", "")]),
        (" [<ffffffff81234567>] ? foo+0x1/0x2", [("foo+0x1/0x2", "ffffffff81234567", "")]),
        (" foo+0x1/0x2 [mod 0123456789abcdef0123456789abcdef01234567]", [("foo+0x1/0x2 [mod]", "", "")]),
        (" 0xffffffffa02f1c8c", [("0xffffffffa02f1c8c", "ffffffffa02f1c8c", "")]),
        # arm: arch/arm/kernel/{process,traps}.c
        ("PC is at foo+0x10/0x20", [("foo+0x10/0x20", "", POINTER)]),
        ("LR is at bar+0x10/0x20", [("bar+0x10/0x20", "", "")]),
        ("pc : [<80260410>]    lr : [<82c00000>]    psr: 60000093",
         [("0x80260410", "80260410", POINTER), ("0x82c00000", "82c00000", "")]),
        ("[<c0016e5c>] (unwind_backtrace+0x0/0xf8) from [<c0012d54>] (show_stack+0x10/0x14)",
         [("unwind_backtrace+0x0/0xf8", "c0016e5c", ""), ("show_stack+0x10/0x14", "c0012d54", "")]),
        (" unwind_backtrace from show_stack+0x10/0x14", [("show_stack+0x10/0x14", "", "")]),
        # arm64, riscv, powerpc, s390, mips
        ("pc : foo+0x10/0x20 [mod]", [("foo+0x10/0x20 [mod]", "", POINTER)]),
        ("lr : bar+0x10/0x20", [("bar+0x10/0x20", "", "")]),
        ("epc : foo+0x12/0x34 ra : bar+0x12/0x34 [m]", [("foo+0x12/0x34", "", POINTER), ("bar+0x12/0x34 [m]", "", "")]),
        ("[<ffffffff80006c12>] foo+0x12/0x34", [("foo+0x12/0x34", "ffffffff80006c12", "")]),
        ("NIP [c000000000123456] foo+0x12/0x34", [("foo+0x12/0x34", "c000000000123456", POINTER)]),
        ("LR [c000000000123456] foo+0x12/0x34", [("foo+0x12/0x34", "c000000000123456", "")]),
        ("[c00000007ffc7a10] [c000000000123456] foo+0x12/0x34 (unreliable)", [("foo+0x12/0x34", "c000000000123456", "")]),
        ("Krnl PSW : 0704c00180000000 000000000012ab34 (foo+0x12/0x34)", [("foo+0x12/0x34", "", POINTER)]),
        ("([<000000000012ab34>] foo+0x12/0x34 [mod])", [("foo+0x12/0x34 [mod]", "12ab34", "")]),
        ("epc   : ffffffff80100380 foo+0x10/0x20", [("foo+0x10/0x20", "", POINTER)]),
        # heads: where WARN() stands, and who called a sanitizer
        ("WARNING: CPU: 0 PID: 1 at fs/file.c:12 foo+0x12/0x34", [("foo+0x12/0x34", "", POINTER)]),
        ("WARNING: fs/file.c:12 at foo+0x12/0x34, CPU#0: a/1", [("foo+0x12/0x34", "", POINTER)]),
        ("BUG: KASAN: slab-use-after-free in foo+0x12/0x34", [("foo+0x12/0x34", "", "")]),
        # of user space, or no places in the code at all
        ("RIP: 0033:0x00007f1234567890", []),
        ("RIP: 0033:foo+0x12/0x34", []),
        ("RAX: ff110000002ecec8 RBX: ffffffffa00050dc RCX: 0000000000000000", []),
        ("BUG: unable to handle page fault for address: ffffffffa02f1c8c", []),
        ("Read of size 8 at addr ffff888101234567 by task 0x1234567890ab", []),
        ("[ffff888101234567] address between user and kernel address ranges", []),
        ("[    0.1] usb 1-1: reset at 0xdeadbeef0 again", []),
    ],
)  # fmt: skip
def test_a_line_of_each_layout(line, found):
    assert read(line) == found


def test_the_text_of_a_place_is_where_it_says():
    line = " [<ffffffff81234567>] ? foo+0x1/0x2 [mod]"
    (spot,) = spots(line)
    assert line[spot.start : spot.end] == "foo+0x1/0x2"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("Kernel Offset: disabled", KernelOffset(offset=0)),
        ("Kernel Offset: 0x1c000000 from 0xffffffff81000000 (relocation range: 0xffffffff80000000-0xffffffffbfffffff)",
         KernelOffset(offset=0x1C000000, base=0xFFFFFFFF81000000)),
        ("Kernel Offset: 0x2b7d4e800000 from 0xffff800008000000", KernelOffset(offset=0x2B7D4E800000, base=0xFFFF800008000000)),
        ("Kernel Offset: x", None),
        ("Memory Limit: none", None),
    ],
)  # fmt: skip
def test_how_far_the_kernel_was_moved(line, found):
    assert kernel_offset(line) == found


@given(st.text(max_size=300))
def test_whatever_a_line_holds_nothing_is_raised(line):
    assert len(spots(line)) <= 8
    kernel_offset(line)


@pytest.mark.parametrize(
    "piece", ["[<", "(", "0x", "a+0x1/", "[<00000000", "RIP: ", "? ", "[<ffffffff81234567>] ", "a+0x1/0x2 "]
)
def test_a_line_that_repeats_itself_is_read_once(piece):
    spots(piece * (1000 // len(piece)))


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of consoles is not here")
def test_every_real_report_with_a_trace_names_places_and_a_kernel_without_a_fault_few():
    for path in sorted(CORPUS.glob("*.txt")):
        head, _, text = path.read_text(errors="replace").partition("\n\n")
        found = [spot for line in text.encode().split(b"\n") for spot in spots(said_by(line)[1])]
        if "Call Trace:" in text and "TITLE:" in head:
            assert found or "+0x" not in text, path.name
