"""The first lines of kernel crash reports, as a table: what kind of crash, its title, and where its function stands.

Titles are in syzbot's manner, because kernel developers search for those. `{f}` is the guilty function, `{1}` the first
group of the pattern. Order matters: the first row that matches counts, so special cases stand above general ones.
Sources of the texts: the kernel file that each row names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Category(StrEnum):
    """Kinds of crash; the values end the finding ids (boot.<value>)."""

    PANIC = "panic"
    OOPS = "oops"
    BUG = "bug"
    WARNING = "warning"
    LOCKUP = "lockup"
    LOCKDEP = "lockdep"
    ATOMIC_SLEEP = "atomic-sleep"
    KASAN = "kasan"
    KMSAN = "kmsan"
    KCSAN = "kcsan"
    KFENCE = "kfence"
    UBSAN = "ubsan"
    LEAK = "leak"
    MEMORY = "memory"
    REBOOT = "reboot"
    TEST_PROGRAM = "test-program"


class Where(StrEnum):
    """Where the guilty function is looked for, first choice; the trace is always the second."""

    HEAD = "head"  # the head names it (group f)
    TRACE = "trace"  # instruction pointer, then call trace
    STACK = "stack"  # call trace only: the instruction pointer is the reporter's
    SLEEP = "sleep"  # the trace below the scheduler's way to sleep
    LOCK = "lock"  # the first "at: f" that lockdep prints
    HUNG = "hung"  # the trace below the scheduler
    STALL = "stall"  # the handler that was running: the trace up to its system call, work or timer
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """head: matched against a whole line without time stamp. detail: looked for in the lines below, fills {d}."""

    head: re.Pattern[str]
    category: Category
    title: str
    where: Where = Where.TRACE
    detail: re.Pattern[str] | None = None


F = r"(?P<f>[\w.$]+)"
KASAN_ACCESS = re.compile(r"(?P<d>Read|Write) (?:of size|at addr)")


def _row(
    head: str, category: Category, title: str, where: Where = Where.TRACE, detail: re.Pattern[str] | None = None
) -> Row:
    return Row(head=re.compile(head), category=category, title=title, where=where, detail=detail)


W, L, C = Category.WARNING, Category.LOCKDEP, Category
ROWS: tuple[Row, ...] = (
    # mm/kasan/report.c
    _row(rf".*BUG: KASAN: double-free or invalid-free in {F}", C.KASAN, "KASAN: invalid-free in {f}", Where.STACK),
    _row(rf".*BUG: KASAN: (double-free|invalid-free) in {F}", C.KASAN, "KASAN: {1} in {f}", Where.STACK),
    _row(rf".*BUG: KASAN: ([\w -]+?) in {F}", C.KASAN, "KASAN: {1} {d} in {f}", Where.STACK, KASAN_ACCESS),
    _row(r".*BUG: KASAN: ([\w-]+) on address", C.KASAN, "KASAN: {1} {d} in {f}", Where.STACK, KASAN_ACCESS),
    _row(r".*BUG: KASAN: (.+)", C.KASAN, "KASAN: {1}", Where.STACK),
    # mm/kmsan/report.c, kernel/kcsan/report.c, mm/kfence/report.c
    _row(rf".*BUG: KMSAN: ([\w -]+?) in {F}", C.KMSAN, "KMSAN: {1} in {f}", Where.STACK),
    _row(r".*BUG: KCSAN: ([\w-]+) in (\S+) / (\S+)", C.KCSAN, "KCSAN: {1} in {2} / {3}", Where.HEAD),
    _row(rf".*BUG: KCSAN: ([\w -]+|assert: race) in {F}", C.KCSAN, "KCSAN: {1} in {f}", Where.HEAD),
    _row(rf".*BUG: KFENCE: ([\w -]+?) in {F}", C.KFENCE, "KFENCE: {1} in {f}", Where.STACK),
    # mm/kmemleak.c with the report of a test, not the kernel's own "kmemleak: 1 new suspected"
    _row(r".*BUG: memory leak", C.LEAK, "memory leak in {f}", Where.STACK),
    # lib/ubsan.c, before and after 5.16
    _row(r".*UBSAN: [Uu]ndefined behaviou?r in", C.UBSAN, "UBSAN: undefined-behaviour in {f}", Where.STACK),
    _row(r".*UBSAN: ([\w-]+) in", C.UBSAN, "UBSAN: {1} in {f}", Where.STACK),
    # arch/*/mm/fault.c
    _row(
        r".*[Uu]nable to handle kernel NULL pointer dereference|.*BUG: [kK]ernel NULL pointer dereference",
        C.OOPS, "BUG: unable to handle kernel NULL pointer dereference in {f}",
    ),
    _row(r".*[Uu]nable to handle kernel access to user memory", C.OOPS,
         "BUG: unable to handle kernel access to user memory in {f}"),
    _row(
        r".*[Uu]nable to handle (?:kernel paging request|page fault for address|kernel \S+.* at virtual address)"
        r"|.*BUG: Unable to handle kernel (?:data|instruction)|.*[Uu]nable to handle kernel pointer dereference in virtual",
        C.OOPS, "BUG: unable to handle kernel paging request in {f}",
    ),
    # kernel/watchdog.c, kernel/workqueue.c, kernel/rcu/tree_stall.h, kernel/hung_task.c
    _row(r".*BUG: soft lockup - CPU", C.LOCKUP, "BUG: soft lockup in {f}", Where.STALL),
    _row(r".*(?:Watchdog detected hard LOCKUP|NMI watchdog: Watchdog detected hard)", C.LOCKUP,
         "BUG: hard lockup in {f}", Where.STALL),
    _row(r".*BUG: workqueue leaked (?:lock or )?atomic", C.ATOMIC_SLEEP, "BUG: workqueue leaked lock or atomic in {d}",
         Where.NONE, re.compile(r"last function: (?P<d>[\w.]+)")),
    _row(r".*BUG: workqueue lockup", C.LOCKUP, "BUG: workqueue lockup", Where.NONE),
    _row(r".*INFO: rcu\w* (?:self-)?detected (?:expedited )?stalls?", C.LOCKUP, "INFO: rcu detected stall in {f}",
         Where.STALL),
    _row(r".*INFO: task .* blocked (?:in I/O wait )?for more than \d+ seconds", C.LOCKUP, "INFO: task hung in {f}", Where.HUNG),
    _row(r".*INFO: task .* can't die for more than \d+ seconds", C.LOCKUP, "INFO: task can't die in {f}", Where.HUNG),
    # lib/list_debug.c, lib/bug.c
    _row(r".*kernel BUG at (?:\S*/)?lib/list_debug\.c", C.BUG, "BUG: corrupted list in {f}"),
    _row(r".*kernel BUG at mm/usercopy\.c", C.BUG, "BUG: bad usercopy in {f}", Where.STACK),
    _row(r".*[kK]ernel BUG at ([\w./+-]+)[!:]", C.BUG, "kernel BUG in {f}"),
    _row(r".*[kK]ernel bug detected ?\[#", C.BUG, "kernel BUG in {f}"),  # arch/mips, arch/loongarch
    _row(rf".*BUG: failure at [^\s/]+(?:/[^\s/:]+)*:\d+/{F}\(\)!", C.BUG, "kernel BUG in {f}", Where.HEAD),
    _row(rf".*[kK]ernel BUG at {F}\+0x", C.BUG, "kernel BUG in {f}", Where.HEAD),
    # kernel/locking/lockdep.c, 4.9 says INFO and 4.15 WARNING
    _row(
        r".*(?:WARNING|INFO): (?:SOFT|HARD)IRQ-\S+ -> (?:SOFT|HARD)IRQ|.*WARNING: \S+-safe -> \S+-unsafe lock order",
        L, "possible deadlock in {f}", Where.STACK,  # the lock is taken in the open; the first trace is of the interrupt
    ),
    _row(
        r".*(?:INFO|WARNING): possible (?:circular locking dependency|recursive locking|irq lock inversion)"
        r"|.*\[ INFO: possible .* detected|.*DEADLOCK detected",
        L, "possible deadlock in {f}", Where.LOCK,
    ),
    _row(r".*(?:INFO|WARNING|\[): inconsistent lock state", L, "inconsistent lock state in {f}", Where.LOCK),
    _row(r".*\[ INFO: inconsistent lock state \]", L, "inconsistent lock state in {f}", Where.LOCK),
    _row(r".*\[? ?BUG: Invalid wait context", L, "BUG: Invalid wait context in {f}", Where.LOCK),
    _row(r".*(WARNING|BUG|INFO): bad unlock balance", L, "{1}: bad unlock balance in {f}", Where.STACK),
    _row(r".*(WARNING|BUG|INFO): held lock freed", L, "{1}: held lock freed in {f}", Where.LOCK),
    _row(r".*(WARNING|BUG|INFO): [Nn]ested lock was not taken", L, "{1}: nested lock was not taken in {f}", Where.STACK),
    _row(r".*(WARNING|BUG|INFO): .*still has locks held", L, "{1}: still has locks held in {f}", Where.LOCK),
    _row(r".*(WARNING|BUG|INFO): lock held (when returning to user space|at task exit)", L,
         "{1}: lock held {2} in {f}", Where.LOCK),
    _row(r".*(?:WARNING|INFO|\[): ?suspicious RCU usage", L, "WARNING: suspicious RCU usage in {f}", Where.STACK),
    _row(r".*INFO: trying to register non-static key", L, "INFO: trying to register non-static key in {f}", Where.STACK),
    _row(r".*BUG: (MAX_\w+) too low!", L, "BUG: {1} too low!", Where.NONE),
    _row(r".*BUG: (spinlock|rwlock) ([\w ]+?)(?: on CPU|,|$)", L, "BUG: {1} {2} in {f}", Where.STACK),
    # kernel/sched/core.c, lib/smp_processor_id.c
    _row(r".*BUG: scheduling while atomic", C.ATOMIC_SLEEP, "BUG: scheduling while atomic in {f}", Where.SLEEP),
    _row(r".*BUG: sleeping function called from invalid context", C.ATOMIC_SLEEP,
         "BUG: sleeping function called from invalid context in {f}", Where.STACK),
    _row(r".*BUG: using (\w+\(\)) in preemptible", L, "BUG: using {1} in preemptible code in {f}", Where.STACK),
    # mm/, fs/dcache.c, arch/x86/mm/fault.c
    _row(r".*BUG: Bad page (state|map)", C.MEMORY, "BUG: Bad page {1} in {f}", Where.STACK),
    _row(r".*BUG: Bad rss-counter state", C.MEMORY, "BUG: Bad rss-counter state", Where.NONE),
    _row(r".*BUG: non-zero (\w+) on freeing mm", C.MEMORY, "BUG: non-zero {1} on freeing mm", Where.NONE),
    _row(r".*BUG: Dentry .*still in use \(\d+\) (\[[^\]]*\])", C.BUG, "BUG: Dentry still in use {1}", Where.NONE),
    _row(r".*BUG: (?:\w+ )?stack guard page was hit", C.OOPS, "BUG: stack guard page was hit in {f}"),
    _row(r".*(?:kernel stack overflow|Insufficient stack space to handle exception)", C.OOPS,
         "kernel stack overflow in {f}"),
    _row(r".*INFO: (Freed|Allocated) in (\w+)\+0x\S+ age=", C.MEMORY, "INFO: {1} in {2} age=NUM cpu=NUM pid=NUM",
         Where.NONE),
    _row(r"(?:.*\W)?BUG (\S+) \((?:Not tainted|Tainted: [^)]*)\): (.*)", C.MEMORY,
         "slab corruption in cache {1}: {2}", Where.NONE),
    # traps: arch/x86/kernel/traps.c, double_fault; arch/*/kernel/traps.c
    _row(r".*PANIC: double fault", C.PANIC, "PANIC: double fault in {f}"),
    _row(r".*general protection fault(?! ip:)", C.OOPS, "general protection fault in {f}"),
    _row(r".*stack segment: \d+ \[#", C.OOPS, "stack segment fault in {f}"),
    _row(r".*divide error: \d+ \[#", C.OOPS, "divide error in {f}"),
    _row(r".*double fault: \d+ \[#", C.OOPS, "double fault in {f}"),
    _row(r".*invalid opcode: \d+ \[#", C.OOPS, "invalid opcode in {f}"),
    _row(r".*Internal error: (Oops - BUG)", C.BUG, "kernel BUG in {f}"),
    _row(r".*Internal error: (.*?): [0-9a-f]+ \[#", C.OOPS, "Internal error in {f}"),
    _row(r".*\bOops(?:(?:: | - ).*)? ?\[#\d+\]", C.OOPS, "Oops in {f}"),  # arch/riscv: "Oops - illegal instruction [#1]"
    _row(r"([A-Za-z][\w -]{2,60}): [0-9a-f]{4} ilc:\d \[#\d+\]", C.OOPS, "{1} in {f}"),  # arch/s390/kernel/dumpstack.c, die()
    _row(r".*unexpected static_call insn opcode", C.BUG, "unexpected static_call insn opcode in {f}"),
    # WARN(): kernel/panic.c; the file tells what helper warned
    _row(r".*WARNING: .*lib/debugobjects\.c", W, "WARNING: ODEBUG bug in {f}", Where.STACK),
    _row(r".*WARNING: .*mm/usercopy\.c", W, "WARNING: bad usercopy in {f}", Where.STACK),
    _row(r".*WARNING: .*lib/kobject\.c", W, "WARNING: kobject bug in {f}", Where.STACK),
    _row(r".*WARNING: .*fs/proc/generic\.c", W, "WARNING: proc registration bug in {f}", Where.STACK),
    _row(r".*WARNING: .*lib/refcount\.c", W, "WARNING: refcount bug in {f}", Where.STACK),
    _row(r".*WARNING: .*kernel/locking/lockdep\.c.*lock_", L, "WARNING: locking bug in {f}", Where.STACK),
    _row(r".*WARNING: .*mm/\w+\.c.*\bk\w*alloc", W, "WARNING: kmalloc bug in {f}", Where.STACK),
    _row(r".*WARNING: .*mm/vmalloc\.c.*__vmalloc_node", W, "WARNING: zero-size vmalloc in {f}", Where.STACK),
    _row(r".*WARNING: kernel stack (regs|frame pointer) .* has bad '?(\S+?)'? value", W,
         "WARNING: kernel stack {1} has bad '{2}' value", Where.NONE),
    _row(r".*WARNING: .*\busb_submit_urb\b", W, "WARNING in {f}/usb_submit_urb", Where.STACK),
    _row(rf".*WARNING: (?:CPU: \d+ PID: \d+ )?at \S+:\d+ (?:\[<\w+>\] )?{F}\+0x", W, "WARNING in {f}", Where.HEAD),
    _row(rf".*WARNING: \S+:\d+ at {F}\+0x", W, "WARNING in {f}", Where.HEAD),  # 7.2, kernel/panic.c
    _row(r".*WARNING: (?:(?:CPU: \d+ PID: \d+ )?at \S+:\d+|\S+:\d+ at (?:0x)?[0-9a-f]{8})", W, "WARNING in {f}", Where.TRACE),
    # single lines
    _row(r".*unregister_netdevice: waiting for \S+ to become free", C.BUG,
         "unregister_netdevice: waiting for DEV to become free", Where.NONE),
    _row(r".*VFS: Close: file count is (?:zero|0)", C.BUG, "VFS: Close: file count is zero (use-after-free)", Where.NONE),
    _row(r".*VFS: Busy inodes after unmount", C.BUG, "VFS: Busy inodes after unmount (use-after-free)", Where.NONE),
    # kernel/panic.c and who calls it
    _row(rf".*Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: {F}\+0x", C.PANIC,
         "kernel panic: stack is corrupted in {f}", Where.HEAD),
    _row(r".*Kernel panic - not syncing: corrupted stack end detected", C.PANIC,
         "kernel panic: corrupted stack end in {f}", Where.STALL),
    _row(r".*Kernel panic - not syncing: VFS: Unable to mount root fs on", C.PANIC,
         "kernel panic: VFS: Unable to mount root fs on unknown-block(NUM,NUM)", Where.NONE),
    _row(r".*Kernel panic - not syncing: (Couldn't open N_TTY ldisc) for", C.PANIC, "kernel panic: {1}", Where.NONE),
    _row(r".*Kernel panic - not syncing: Attempted to kill init!", C.PANIC, "kernel panic: Attempted to kill init!",
         Where.NONE),
    _row(r".*Kernel panic - not syncing: (.*?)(?: \.\.\.)?$", C.PANIC, "kernel panic: {1}", Where.NONE),
    _row(r".*\btrusty: panic.*(ASSERT FAILED).*?(?: at \(.*?\))?(: .*)", C.PANIC, "trusty: {1}{2}", Where.NONE),
    # the program that exercises the kernel, often in want of what the kernel took from it: it may be all that is said
    _row(r".*\b(SYZ(?:FAIL|FATAL): .{1,200})", C.TEST_PROGRAM, "{1}", Where.NONE),
    _row(r"(?:fatal error: (?:runtime|unexpected signal|concurrent map|all goroutines|stack overflow|morestack|sync:)"
         r"|panic: runtime error:)", C.TEST_PROGRAM, "go runtime error", Where.NONE),
    # any other BUG of the kernel's own printk; a head whose rest was lost
    _row(r"(BUG|WARNING):\s*$", C.BUG, "{1}: corrupted", Where.NONE),
    _row(r"BUG: (?!executor)([\w ()-]{4,80})", C.BUG, "BUG: {1}", Where.NONE),
)  # fmt: skip

# What every row's head contains, for a fast first test of a line.
NEEDLES = (
    b"BUG", b"WARNING: ", b"INFO: ", b"nable to handle", b"UBSAN", b"LOCKUP", b"general protection", b"segment: ",
    b"divide error", b"invalid opcode", b"Internal error", b"Oops", b"panic", b"PANIC", b"stack overflow",
    b"Insufficient stack", b"unregister_netdevice", b"VFS: ", b"static_call insn", b"inconsistent lock", b"suspicious RCU",
    b"DEADLOCK", b"ernel bug detected", b"double fault", b"SYZFAIL", b"SYZFATAL", b"fatal error: ", b" ilc:",
)  # fmt: skip

# Lines that look like heads and are none.
HARMLESS = re.compile(
    r"(?!.*Kernel panic - not).*(?:INFO: NMI handler|INFO: Stall ended|INFO: lockdep is turned off|INFO: recovery"
    r"|_INFO::|INFO: (?:no syscalls|sys_)|BUG: no syscalls|took too long|WARNING: /etc|WARNING: workqueue cpumask"
    r"|Spectre V2 : WARNING|Speculative Return|panic=|panic_on|soft_panic|panic:\d|BUG: executor|DEBUG:|Command line:"
    r"|WARNING: See|\bpanic timeout|crashkernel)"
)
FOLLOWERS = re.compile(  # heads that only continue a report which is still open
    r".*(?:\bOops\b.*\[#|invalid opcode: |Internal error: |general protection fault.*\[#|PANIC: double fault|kernel BUG at"
    r"| ilc:\d \[#)"
)
OWN_PANIC = re.compile(r"panic_on_warn|kernel: panic_on|panic_on")
"""Reasons of a panic that end a WARNING's story; another reason after a WARNING is a story of its own."""
PANIC = re.compile(r".*Kernel panic - not syncing: (?P<reason>.*)")
ALL_CPUS = re.compile(r"Sending NMI|NMI backtrace for cpu|Kernel panic - not syncing")
"""From here on other CPUs speak for the report, each in its own name."""
END = re.compile(r".*(?:---\[ end (?:trace|Kernel panic)|Rebooting in \d+ seconds)")
