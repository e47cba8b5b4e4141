"""Consoles in the layouts of other architectures, of several CPUs at once, and behind the prefixes that collectors add.

The texts are made by hand after arch/*/kernel/traps.c, arch/*/mm/fault.c and kernel/printk/ of 4.14 to 7.2.
"""

import pytest

from lab.checks import boot
from lab.evidence import console
from lab.evidence.console_rows import Category
from lab.model import Severity

INTERLEAVED = """\
[   10.000001][  T101] BUG: KASAN: slab-use-after-free in foo_read+0x1/0x2
[   10.000002][  T101] Read of size 8 at addr ffff888012345678 by task a/101
[   10.000003][  T202] general protection fault, probably for non-canonical address 0xdffffc0000000000: 0000 [#1] PREEMPT SMP
[   10.000004][  T101] Call Trace:
[   10.000005][  T202] RIP: 0010:bar_write+0x1/0x2
[   10.000006][  T101]  dump_stack_lvl+0x1/0x2
[   10.000007][  T202] Call Trace:
[   10.000008][  T101]  kasan_report+0x1/0x2
[   10.000009][  T202]  bar_ioctl+0x1/0x2
[   10.000010][  T101]  foo_read+0x1/0x2
[   10.000011][  T101] ---[ end trace 0000000000000000 ]---
[   10.000012][  T202] ---[ end trace 0000000000000000 ]---
"""


def crashes(text):
    return console.read_text(text).crashes


def test_reports_of_two_tasks_that_print_at_once_are_told_apart():
    assert [crash.title for crash in crashes(INTERLEAVED)] == [
        "KASAN: slab-use-after-free Read in foo_read",
        "general protection fault in bar_write",
    ]


def test_the_frames_of_another_task_do_not_get_into_a_trace():
    first, second = crashes(INTERLEAVED)
    assert [frame.function for frame in first.trace] == ["dump_stack_lvl", "kasan_report", "foo_read"]
    assert [frame.function for frame in second.trace] == ["bar_ioctl"]


def test_the_panic_of_another_cpu_ends_the_story_of_an_open_oops():
    text = (
        "[    1.0000][  T1] BUG: unable to handle page fault for address: ffff\n[    1.0000][  T1] RIP: 0010:foo+0x1/0x2\n"
        "[    1.0001][  C1] Kernel panic - not syncing: Fatal exception in interrupt\n"
    )
    (crash,) = crashes(text)
    assert (crash.function, crash.panic) == ("foo", "Fatal exception in interrupt")


def test_a_caller_that_falls_silent_does_not_slow_the_rest_of_a_flood():
    reader = console._Reader()
    reader.take([b"[    1.0000][  T1] WARNING: CPU: 0 PID: 1 at a/b.c:1 foo+0x1/0x2"])
    reader.take([b"[    2.0000][  T2] chatter"] * 10_000)
    assert reader.reports == []


@pytest.mark.parametrize(
    ("text", "title", "category"),
    [
        pytest.param(
            "8<--- cut here ---\nUnable to handle kernel NULL pointer dereference at virtual address 00000000 when read\n"
            "[00000000] *pgd=00000000\nInternal error: Oops: 5 [#1] SMP ARM\nPC is at foo+0x1c/0x58\nLR is at bar+0x1/0x2\n",
            "BUG: unable to handle kernel NULL pointer dereference in foo", Category.OOPS, id="arm",
        ),
        pytest.param(
            "Internal error: : 1008 [#1] SMP ARM\nPC is at foo+0x1c/0x58\n",
            "Internal error in foo", Category.OOPS, id="arm, an abort without a name",
        ),
        pytest.param(
            "WARNING: CPU: 0 PID: 1 at fs/x.c:3 foo_fix+0x1/0x2\n[<c010d0a8>] (unwind_backtrace) from [<c0109d48>]"
            " (show_stack+0x10/0x14)\n[<c0109d48>] (show_stack) from [<c09d4f4c>] (dump_stack_lvl+0x40/0x4c)\n"
            "[<c09d4f4c>] (dump_stack_lvl) from [<c0345678>] (foo+0x1/0x2)\n"
            "[<c0345678>] (foo) from [<c0345699>] (bar+0x1/0x2)\n",
            "WARNING in foo_fix", Category.WARNING, id="arm, a warning",
        ),
        pytest.param(
            "Unable to handle kernel paging request at virtual address dead000000000100\n"
            "Internal error: Oops: 0000000096000004 [#1] PREEMPT SMP\npc : foo+0x1c/0x58\nlr : bar+0x1/0x2\n",
            "BUG: unable to handle kernel paging request in foo", Category.OOPS, id="arm64",
        ),
        pytest.param(
            "kernel BUG at fs/x.c:12!\nInternal error: Oops - BUG: 00000000f2000800 [#1] SMP\npc : foo+0x1c/0x58\n",
            "kernel BUG in foo", Category.BUG, id="arm64, BUG()",
        ),
        pytest.param(
            "Unable to handle kernel paging request at virtual address dead000000000100\nOops [#1]\nepc : foo+0x1c/0x58\n"
            " ra : bar+0x1/0x2\n[<ffffffff80001234>] foo+0x1c/0x58\n",
            "BUG: unable to handle kernel paging request in foo", Category.OOPS, id="riscv",
        ),
        pytest.param(
            "BUG: Kernel NULL pointer dereference on read at 0x00000000\nFaulting instruction address: 0xc000000000123456\n"
            "Oops: Kernel access of bad area, sig: 11 [#1]\nNIP [c000000000123456] foo+0x1c/0x58\n"
            "LR [c000000000123400] bar+0x1/0x2\n",
            "BUG: unable to handle kernel NULL pointer dereference in foo", Category.OOPS, id="powerpc",
        ),
        pytest.param(
            "BUG: Unable to handle kernel data access on write at 0xc00800\nOops: Kernel access of bad area, sig: 11 [#1]\n"
            "NIP [c000000000123456] foo+0x1c/0x58\nCall Trace:\n"
            "[c000000003a07c40] [c000000000123456] foo+0x1c/0x58 (unreliable)\n",
            "BUG: unable to handle kernel paging request in foo", Category.OOPS, id="powerpc, data access",
        ),
        pytest.param(
            "WARNING: kernel/x.c:1 at 0xc000000000123456, CPU#0: a/1\nCall Trace:\n"
            "[c000000003a07c40] [c000000000123456] foo+0x1c/0x58 (unreliable)\n"
            "[c000000003a07c80] [c000000000123499] bar+0x1/0x2\n",
            "WARNING in foo", Category.WARNING, id="powerpc, a trace of two addresses",
        ),
        pytest.param(
            "Unable to handle kernel pointer dereference in virtual kernel address space\nFailing address: 0000000000000000\n"
            "Oops: 0004 ilc:2 [#1] SMP\nKrnl PSW : 0704c00180000000 000000000010b6a2 (foo+0x12/0x34)\n"
            "Call Trace:\n ([<000000000010b6a2>] foo+0x12/0x34)\n  [<000000000010b7a2>] bar+0x1/0x2\n",
            "BUG: unable to handle kernel paging request in foo", Category.OOPS, id="s390",
        ),
        pytest.param(
            "Kernel bug detected[#1]:\nepc   : 80123456 foo+0x12/0x34\nra    : 80123400 bar+0x1/0x2\n",
            "kernel BUG in foo", Category.BUG, id="mips",
        ),
        pytest.param(
            "BUG: kernel NULL pointer dereference, address: 0\nRIP: 0010:memcpy_orig (arch/x86/lib/memcpy_64.S:71)\n"
            "Call Trace:\n <TASK>\n ? __die (arch/x86/kernel/dumpstack.c:421 (discriminator 1))\n"
            " foo (fs/x.c:12 (discriminator 4)) frob\n bar (fs/y.c:3)\n </TASK>\n",
            "BUG: unable to handle kernel NULL pointer dereference in foo", Category.OOPS, id="after decode_stacktrace.sh",
        ),
        pytest.param(
            "kernel BUG at fs/x.c:12!\nRIP: 0010:foo_inlined fs/x.c:12 [inline]\nRIP: 0010:foo+0x12/0x34 fs/x.c:14\n",
            "kernel BUG in foo", Category.BUG, id="after syzkaller's symbolizer",
        ),
        pytest.param(
            "Unable to handle kernel NULL pointer dereference\ntsk->{mm,active_mm}->context = 0000000000000001\n"
            "a(12): Oops [#1]\nTSTATE: 0000 TPC: 00000000004a5c40 TNPC: 00000000004a5c44 Y: 00000000    Not tainted\n"
            "TPC: <foo+0x1/0x2>\nI7: <bar+0x1/0x2>\nCall Trace:\n [00000000004a5c40] bar+0x1/0x2\n",
            "BUG: unable to handle kernel NULL pointer dereference in foo", Category.OOPS, id="sparc",
        ),
        pytest.param(
            "general protection fault: 0000 [#1] SMP\nRIP: 0033:0x7f1234\nRIP: 0010:foo+0x1/0x2 [frob 0123456789abcdef0123]\n",
            "general protection fault in foo", Category.OOPS, id="a user's pointer before the kernel's, a build id",
        ),
        pytest.param(
            "Oops[#1]:\npc 9000000000223344 foo+0x1/0x2 ra 9000000000223300\nCall Trace:\n[<9000000000223344>] foo+0x1/0x2\n",
            "Oops in foo", Category.OOPS, id="loongarch",
        ),
        pytest.param(
            "BUG: unable to handle kernel NULL pointer dereference at 00000004\nIP: [<c1234567>] foo+0x1/0x2\n"
            "Oops: 0000 [#1] SMP\nEIP is at foo+0x1/0x2\n",
            "BUG: unable to handle kernel NULL pointer dereference in foo", Category.OOPS, id="x86-32",
        ),
        pytest.param(
            "BUG: failure at fs/ext4/inode.c:12/foo()!\n", "kernel BUG in foo", Category.BUG, id="BUG() without a trap"
        ),
        pytest.param(
            "Oops: double fault: 0000 [#1] SMP\nRIP: 0010:foo+0x1/0x2\n",
            "double fault in foo", Category.OOPS, id="x86 of 6.10",
        ),
        pytest.param(
            "kernel BUG at mm/usercopy.c:99!\ninvalid opcode: 0000 [#1]\nRIP: 0010:usercopy_abort+0x1/0x2\nCall Trace:\n"
            " __check_object_size+0x1/0x2\n foo+0x1/0x2\n",
            "BUG: bad usercopy in foo", Category.BUG, id="a bad copy to user space",
        ),
        pytest.param(
            "BUG: workqueue leaked lock or atomic: kworker/0:1/0x00000001/12\n     last function: foo_work\n",
            "BUG: workqueue leaked lock or atomic in foo_work", Category.ATOMIC_SLEEP, id="a work item that leaks a lock",
        ),
        pytest.param(
            "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected\na/1 is trying to acquire:\n"
            "ffff (&x){+.+.}, at: kfree+0x1/0x2\n"
            "... which became HARDIRQ-irq-safe at:\n  lock_acquire+0x1/0x2\n  _raw_spin_lock+0x1/0x2\n  foo_irq+0x1/0x2\n",
            "possible deadlock in foo_irq", Category.LOCKDEP, id="a lock order against interrupts",
        ),
        pytest.param(
            "WARNING: possible circular locking dependency detected\na/1 is trying to acquire lock:\n"
            "ffff (&x){+.+.}, at: flush_workqueue+0x1/0x2\nCall Trace:\n lock_acquire+0x1/0x2\n flush_workqueue+0x1/0x2\n"
            " destroy_workqueue+0x1/0x2\n foo_exit+0x1/0x2\n",
            "possible deadlock in flush_workqueue", Category.LOCKDEP, id="lockdep names who takes the lock, also of a helper",
        ),
        pytest.param(
            "INFO: task a:1 blocked for more than 143 seconds.\nCall Trace:\n __schedule+0x1/0x2\n schedule_timeout+0x1/0x2\n"
            " wait_for_completion+0x1/0x2\n __synchronize_srcu+0x1/0x2\n foo+0x1/0x2\n",
            "INFO: task hung in synchronize_rcu", Category.LOCKUP, id="a task that waits for RCU",
        ),
        pytest.param(
            "BUG: scheduling while atomic: a/1/0x00000002\nCall Trace:\n __schedule_bug+0x1/0x2\n __schedule+0x1/0x2\n"
            " schedule+0x1/0x2\n foo+0x1/0x2\n",
            "BUG: scheduling while atomic in foo", Category.ATOMIC_SLEEP, id="the scheduler itself is innocent",
        ),
        pytest.param(
            "general protection fault: 0000 [#1] SMP\nRIP: 0010:memcpy+0x1/0x2\nRegisters lost\n",
            "general protection fault in corrupted", Category.OOPS, id="only a helper is named",
        ),
    ],
)  # fmt: skip
def test_layouts_of_other_machines_and_reports_are_read(text, title, category):
    (crash,) = crashes(text)
    assert (crash.title, crash.category) == (title, category)


@pytest.mark.parametrize(
    "prefix",
    [
        "[   12.345678] ",
        "<4>[   12.345678] ",
        "[   12.345678][    T1] ",
        "[   12.345678] [    T1] ",
        "Nov 21 02:00:00 host kernel: [   12.345678] ",
        "2024-05-01T10:00:00.123456Z <1>[   12.345678] ",
        "kern  :alert : [   12.345678] ",
        "buildroot login: [   12.345678] ",
        "Dec 14 06:35:48.545439 kernel: ",
        "2024-05-01T10:00:00.1234567Z ",
        "kern  :warn  : ",
        "2016-03-26T20:52:22.526357+00:00 host kernel: ",
        "** 93 printk messages dropped ** [   12.345678] ",
        "[   12.345678@0] ",
        "<3>[   12.345678] -(0)[1:init]",
        "[   12.345678] I[1:  swapper/1:    0] ",
        "[Sat Nov 21 02:00:00 2026] ",
        "\x1b[1;31m[   12.345678] ",
    ],
)
def test_what_a_collector_puts_before_a_line_is_taken_off(prefix):
    lines = ["WARNING: CPU: 0 PID: 1 at a/b.c:1 0xffff", "Call Trace:", " dump_stack+0x1/0x2", " foo+0x1/0x2"]
    (crash,) = crashes("".join(f"{prefix}{line}\r\n" for line in lines))
    assert crash.title == "WARNING in foo"


@pytest.mark.parametrize(
    "line",
    [
        "[    9.0] traps: a.out[123] general protection fault ip:401136 sp:7ffd error:0 in a.out[401000+1000]",
        "[    9.0] traps: a.out[123] trap divide error ip:401136 sp:7ffd error:0 in a.out[401000+1000]",
        "[    9.0] a.out[12]: segfault at 0 ip 0000000000401136 sp 00007ffd error 6 in a.out[401000+1000]",
        "[    9.0] DEBUG test (x): y",
        "[    9.0] INFO: lockdep is turned off.",
        "[    9.0] perf: interrupt took too long (2508 > 2500), lowering kernel.perf_event_max_sample_rate to 79000",
        "WARNING: /etc/ssh/moduli does not exist, using fixed modulus",
        "gcc: fatal error: no input files",
    ],
)
def test_what_is_no_crash_of_the_kernel_is_no_crash(line):
    assert crashes(line + "\n") == ()


def test_a_program_that_prints_the_kernel_s_version_does_not_reboot_it():
    text = "[    0.000000] Linux version 6.1.0\n[    0.5] Run /init\nLinux version 6.1.0 (u@h) #1 SMP\n"
    assert crashes(text) == ()


def test_a_test_program_that_gives_up_is_told_but_does_not_fail_the_kernel():
    (finding,) = boot.log_findings(console.read_text("2022/10/02 11:34:15 SYZFATAL: executor 4 failed 11 times\n"), "c")
    assert (finding.id, finding.severity) == ("boot.test-program", Severity.WARNING)
    assert finding.title == "SYZFATAL: executor NUM failed NUM times"


def test_a_test_program_s_words_do_not_end_the_kernel_s_report():
    text = (
        "[    1.0][  T1] BUG: KASAN: use-after-free in foo+0x1/0x2\n[    1.0][  T1] Read of size 8 at addr ffff\n"
        "SYZFAIL: failed to recv rpc\n[    1.0][  T1] Call Trace:\n[    1.0][  T1]  foo+0x1/0x2\n"
    )
    assert [crash.title for crash in crashes(text)] == ["KASAN: use-after-free Read in foo"]
