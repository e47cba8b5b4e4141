"""Consoles and modules of riscv64, ppc64le and s390x: firmware that talks, heads of their own, symbols of the linker's."""

from pathlib import Path

import pytest

from lab.evidence import console, exports
from lab.evidence.console_rows import Category

FIXTURES = Path(__file__).parent.parent / "fixtures/console"


def real(name: str) -> str:
    """Return a real console without the line that says where it comes from."""
    return (FIXTURES / f"{name}.txt").read_bytes().decode("utf-8", "replace").partition("\n")[2]


def test_a_console_with_nothing_but_slof_said_nothing():
    text = real("slof")
    assert "Populating /vdevice" in text
    assert not console.read_text(text).said


def test_a_console_with_nothing_but_opensbi_said_nothing():
    text = real("riscv64_no_init")
    firmware, kernel, _ = text.partition("[    0.000000] Linux version")
    assert "Boot HART MEDELEG" in firmware
    assert not console.read_text(firmware).said
    assert console.read_text(firmware + kernel).said


@pytest.mark.parametrize(
    "line",
    [
        "[    0.000000] earlycon: uart8250",
        "Linux version 6.1.192 (lab@lab)",
        "Kernel panic - not syncing: early",
        "lab-init: start modules=1",
    ],
)
def test_what_ends_the_firmware_s_pages_is_the_kernel_s(line):
    assert console.read_text(f"OpenSBI v1.1\nPlatform Name : x\n{line}\n").said


def test_a_real_riscv_console_without_an_init_is_one_panic():
    (crash,) = console.read_text(real("riscv64_no_init")).crashes
    assert crash.title == "kernel panic: Requested init /nosuch failed (error -NUM)."
    assert crash.trace[0].function == "walk_stackframe"


def test_every_report_of_a_real_s390_console_is_told_once_with_its_function():
    log = console.read_text(real("s390x_reports"))
    assert [(crash.category, crash.title, crash.module) for crash in log.crashes] == [
        (Category.OOPS, "illegal operation in lab_trap", "mousedev"),
        (Category.WARNING, "WARNING in lab_crash", ""),
        (Category.OOPS, "BUG: unable to handle kernel paging request in lab_crash", "joydev"),
        (Category.BUG, "kernel BUG in lab_bug", "evdev"),
    ]
    assert [load.outcome for load in log.loads] == ["fail"] * 3
    assert log.done == (0, 3)


def test_powerpc_s_announcement_of_a_kernel_is_no_start_of_it():
    """arch/powerpc/kernel/prom_init.c speaks without printk, before start_kernel() does."""
    text = real("ppc64le_good")
    assert "Preparing to boot Linux version" in text
    log = console.read_text(text)
    assert (log.boots, log.crashes, log.done) == (1, (), (4, 0))


def test_a_second_start_on_powerpc_is_a_reboot():
    once = real("ppc64le_good").partition("lab-init: start")[0]
    assert [crash.category for crash in console.read_text(once * 2).crashes] == [Category.REBOOT]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        pytest.param(
            "Oops - illegal instruction [#1]\nCPU: 0 PID: 1 Comm: a Not tainted 6.1.192 #1\nepc : foo+0x4/0xc [bar]\n",
            "Oops in foo", id="riscv, arch/riscv/kernel/traps.c",
        ),
        pytest.param(
            "specification exception: 0006 ilc:2 [#1] SMP\nKrnl PSW : 0704c00180000000 000000000010b6a2 (foo+0x12/0x34)\n",
            "specification exception in foo", id="s390, arch/s390/kernel/traps.c",
        ),
        pytest.param(
            "kernel BUG at a/b.c:12!\nmonitor event: 0040 ilc:2 [#1] SMP\n"
            "Krnl PSW : 0704c00180000000 000000000010b6a2 (foo+0x12/0x34)\n",
            "kernel BUG in foo", id="s390, BUG() is one report",
        ),
    ],
)  # fmt: skip
def test_the_heads_of_riscv_and_s390(text, title):
    assert [crash.title for crash in console.read_text(text).crashes] == [title]


@pytest.mark.parametrize(
    ("frames", "function"),
    [
        pytest.param(
            "[<ffffffff800039f4>] walk_stackframe+0x0/0x6a\n[<ffffffff800e64ee>] dump_stack_lvl+0x1a/0x28\n"
            "[<ffffffff8016c4c4>] foo+0x12/0x34\n[<ffffffff80002a98>] ret_from_exception+0x0/0x16\n",
            "foo", id="riscv",
        ),
        pytest.param(
            " [<000000000010b6a2>] dump_stack_lvl+0x12/0x34\n([<000000000010b7a2>] foo+0x1/0x2)\n"
            " [<000000000010b8a2>] __ret_from_fork+0x1/0x2\n",
            "foo", id="s390",
        ),
        pytest.param(
            "[c000000003a07c40] [c000000000123456] dump_stack_lvl+0x1c/0x58 (unreliable)\n"
            "[c000000003a07c80] [c000000000123499] foo+0x1/0x2\n",
            "foo", id="powerpc",
        ),
    ],
)  # fmt: skip
def test_the_trace_s_reporters_are_passed_over(frames, function):
    (crash,) = console.read_text(f"WARNING: suspicious RCU usage\nstack backtrace:\nCall Trace:\n{frames}").crashes
    assert crash.function == function


@pytest.mark.parametrize(
    "symbol", [".TOC.", "_restgpr0_14", "_savegpr1_29", "_rest32gpr_29_x", "__s390_indirect_jump_r1"]
)
def test_what_a_port_s_linker_adds_to_a_module_is_not_looked_for(symbol):
    assert exports.ignored(symbol)


@pytest.mark.parametrize("symbol", ["s390_indirect_call", "_restart", "TOC"])
def test_a_name_that_only_resembles_one_of_them_is(symbol):
    assert not exports.ignored(symbol)
