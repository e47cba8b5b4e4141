"""The first lines of kernel crash reports, as a table: what kind of crash, its title, and where its function stands.

Order matters: the first row that fits counts, so special cases stand above general ones. The kernel files that print the
texts are named above the rows; texts are those of 4.4 to 7.2.
"""

from __future__ import annotations

import re

from lab.evidence.console_families import family
from lab.evidence.console_rows import Category, Row, Where

F = r"(?P<f>[A-Za-z_][\w.$]*)"
ACCESS = re.compile(r"(?P<d>Read|Write) (?:of size|at addr)")
LAST_FUNCTION = re.compile(r"last function: (?P<d>[\w.]+)")
LIST = family(r"__list_\w+ list_\w+")
LEAK = family(r"idr_(?:get|alloc)\w* ida_\w+ radix_tree_(?:node|extend|preload)\w* xas_\w+ _*xa_\w+ mas_\w+ mt_\w+")
STOPPED = family(r"""
    _*(?:hr)?timer_\w+ _*(?:del|mod|add|init|call|run|expire|start|delete|destroy)_(?:hr)?timers?\w* run_timer_\w+
    _*(?:init|cancel|destroy|queue|flush|mod)_\w*work\w* work_\w+ rcu_\w+ \w*call_rcu\w* percpu_\w+
    """)
URB = family(r"usb_\w+")
W, L, C = Category.WARNING, Category.LOCKDEP, Category


def _row(
    needle: str, head: str, category: Category, title: str, where: Where = Where.TRACE,
    *, detail: re.Pattern[str] | None = None, without: str = "", innocent: re.Pattern[str] | None = None,
) -> Row:  # fmt: skip
    return Row(
        needle=needle, head=re.compile(head), category=category, title=title, where=where, detail=detail,
        without=without, innocent=innocent,
    )  # fmt: skip


SANITIZERS = (
    # mm/kasan/report.c; 4.0 wrote KASan, 4.9 said where the address was in the same line
    _row("BUG: KAS", rf"BUG: KAS[Aa][Nn]: double-free or invalid-free in {F}", C.KASAN, "KASAN: invalid-free in {f}",
         Where.STACK),
    _row("BUG: KAS", rf"BUG: KAS[Aa][Nn]: (double-free|invalid-free) in {F}", C.KASAN, "KASAN: {1} in {f}",
         Where.STACK),
    _row("BUG: KAS", rf"BUG: KAS[Aa][Nn]: ([\w -]+?) in {F}(?:\+\S+)?(?: \[\w+\])?( at addr \S+)?", C.KASAN,
         "KASAN: {1} {d} in {f}",
         Where.STACK, detail=ACCESS, without="KASAN: {1} in {h} {3}"),
    _row("BUG: KAS", r"BUG: KAS[Aa][Nn]: ([\w-]+) on address", C.KASAN, "KASAN: {1} {d} in {f}", Where.STACK,
         detail=ACCESS),
    _row("BUG: KAS", r"BUG: KAS[Aa][Nn]: (.+)", C.KASAN, "KASAN: {1}", Where.STACK),
    # mm/kmsan/report.c, kernel/kcsan/report.c, mm/kfence/report.c
    _row("BUG: KMSAN", rf"BUG: KMSAN: ([\w -]+?) in {F}", C.KMSAN, "KMSAN: {1} in {f}", Where.STACK),
    _row("BUG: KCSAN", rf"BUG: KCSAN: ([\w-]+) in {F}\S* / ([\w.$]+)", C.KCSAN, "KCSAN: {1} in {f} / {3}", Where.NAMED),
    _row("BUG: KCSAN", rf"BUG: KCSAN: ([\w -]+|assert: race) in {F}", C.KCSAN, "KCSAN: {1} in {f}", Where.NAMED),
    _row("BUG: KFENCE", rf"BUG: KFENCE: ([\w -]+?) in {F}", C.KFENCE, "KFENCE: {1} in {f}", Where.STACK),
    # mm/kmemleak.c: a test's "BUG: memory leak", a leak as it is printed, and the count of new ones
    _row("BUG: memory leak", r"BUG: memory leak", C.LEAK, "memory leak in {f}", Where.STACK, innocent=LEAK),
    _row("unreferenced object", r"unreferenced object (?:\(percpu\) )?0x[0-9a-f]{8,16} \(size ", C.LEAK,
         "memory leak in {f}",
         Where.STACK, innocent=LEAK),
    _row("suspected memory leak", r"kmemleak: \d+ new suspected memory leaks?", C.LEAK,
         "kmemleak: new suspected memory leaks",
         Where.NONE),
    # lib/ubsan.c: before 5.16, after it, and as a trap
    _row("UBSAN", r"UBSAN: [Uu]ndefined behaviou?r in", C.UBSAN, "UBSAN: undefined-behaviour in {f}", Where.STACK),
    _row("UBSAN", rf"UBSAN: ([\w -]+) at {F}\+0x", C.UBSAN, "UBSAN: {1} in {f}", Where.HEAD),
    _row("UBSAN", r"UBSAN: ([\w-]+) in ", C.UBSAN, "UBSAN: {1} in {f}", Where.STACK),
    _row("UBSAN", r"Internal error: UBSAN: ([\w -]+): ", C.UBSAN, "UBSAN: {1} in {f}"),
)  # fmt: skip
MEMORY_FAULTS = (
    # arch/*/mm/fault.c
    _row("NULL pointer", r"[Uu]nable to handle kernel NULL pointer dereference|BUG: [kK]ernel NULL pointer dereference",
         C.OOPS, "BUG: unable to handle kernel NULL pointer dereference in {f}"),
    _row("nable to handle", r"[Uu]nable to handle kernel (?:access to|execution of) user memory", C.OOPS,
         "BUG: unable to handle kernel access to user memory in {f}"),
    _row("nable to handle",
         r"[Uu]nable to handle (?:kernel paging request|page fault for address|kernel \S+.* at virtual address)"
         r"|nable to handle kernel ",
         C.OOPS, "BUG: unable to handle kernel paging request in {f}"),
    _row("stack guard page", r"BUG: (?:\w+ )?stack guard page was hit", C.OOPS, "BUG: stack guard page was hit in {f}",
         Where.STALL),
    _row("stack overflow", r"kernel stack overflow|Kernel stack overflow", C.OOPS, "kernel stack overflow in {f}",
         Where.STALL),
    _row("nsufficient stack", r"Insufficient stack space to handle exception", C.OOPS, "kernel stack overflow in {f}",
         Where.STALL),
)  # fmt: skip
STALLS = (
    # kernel/watchdog.c, arch/powerpc/kernel/watchdog.c, kernel/workqueue.c, kernel/rcu/, kernel/hung_task.c
    _row("soft lockup", r"BUG: soft lockup", C.LOCKUP, "BUG: soft lockup in {f}", Where.STALL),
    _row("LOCKUP",
         r"(?:Watchdog detected|self-detected|CPU:? ?\d+ detected|CPU:? ?\d+) [hH]ard LOCKUP|detected hard LOCKUP",
         C.LOCKUP,
         "BUG: hard lockup in {f}", Where.STALL),
    _row("BUG: workqueue leaked", r"BUG: workqueue leaked lock or atomic", C.ATOMIC_SLEEP,
         "BUG: workqueue leaked lock or atomic in {d}", Where.NONE, detail=LAST_FUNCTION),
    _row("BUG: workqueue lockup", r"BUG: workqueue lockup", C.LOCKUP, "BUG: workqueue lockup", Where.NONE),
    _row("INFO: rcu", r"INFO: rcu\w* (?:self-)?detected (?:expedited )?stalls?", C.LOCKUP,
         "INFO: rcu detected stall in {f}",
         Where.STALL),
    _row("INFO: task ", r"INFO: task \S.*:\d+ blocked (?:in I/O wait )?for", C.LOCKUP,
         "INFO: task hung in {f}",
         Where.HUNG),
    _row("INFO: task ", r"INFO: task \S.*:\d+ can't die for", C.LOCKUP, "INFO: task can't die in {f}",
         Where.HUNG),
)  # fmt: skip
BUGS = (
    # lib/list_debug.c, mm/usercopy.c, lib/bug.c, include/asm-generic/bug.h, arch/mips, arch/loongarch, arch/riscv
    _row("ernel BUG at", r"[kK]ernel BUG at (?:\S*/)?lib/list_debug\.c", C.BUG, "BUG: corrupted list in {f}",
         innocent=LIST),
    _row("ernel BUG at", r"[kK]ernel BUG at (?:\S*/)?mm/usercopy\.c", C.BUG, "BUG: bad usercopy in {f}", Where.STACK),
    _row("ernel BUG at", r"[kK]ernel BUG at ([\w./+-]+\.\w+)[!:]", C.BUG, "kernel BUG in {f}"),
    _row("ernel BUG at", rf"[kK]ernel BUG at {F}\+0x", C.BUG, "kernel BUG in {f}", Where.HEAD),
    _row("ernel BUG at", r"[kK]ernel BUG at ", C.BUG, "kernel BUG in {f}"),
    _row("BUG: failure at", rf"BUG: failure at [^\s/]+(?:/[^\s/:]+)*:\d+/{F}\(\)!", C.BUG, "kernel BUG in {f}",
         Where.HEAD),
    _row("[#", r"[kK]ernel (?:bug detected|BUG) ?\[#", C.BUG, "kernel BUG in {f}"),
)  # fmt: skip
LOCKS = (
    # kernel/locking/lockdep.c: 4.9 says INFO, 4.15 WARNING
    _row("RQ-",
         r"(?:WARNING|INFO): (?:SOFT|HARD)IRQ-\S+ -> (?:SOFT|HARD)IRQ|(?:WARNING|INFO): \S+-safe -> \S+-unsafe lock order",
         L, "possible deadlock in {f}", Where.STACK),
         # the lock is taken in the open; the first trace is of the interrupt
    _row(": possible ",
         r"(?:INFO|WARNING): possible (?:circular locking|recursive locking|irq lock inversion|\w+ deadlock)",
         L, "possible deadlock in {f}", Where.LOCK),
    _row("lock",
         r"\[ INFO: possible .* detected|BUG: circular locking deadlock|WARNING: circular locking deadlock",
         L, "possible deadlock in {f}", Where.LOCK),
    _row("inconsistent lock state",
         r"(?:INFO|WARNING|\[): ?inconsistent lock state|^\[? ?inconsistent lock state ?\]?$", L,
         "inconsistent lock state in {f}", Where.LOCK),
    _row("Invalid wait context", r"BUG: Invalid wait context", L, "BUG: Invalid wait context in {f}", Where.LOCK),
    _row("bad unlock balance", r"(WARNING|BUG|INFO): bad unlock balance", L, "{1}: bad unlock balance in {f}",
         Where.LOCK),
    _row("bad contention", r"(WARNING|BUG|INFO): bad contention detected", L, "{1}: bad contention in {f}", Where.LOCK),
    _row("held lock freed", r"(WARNING|BUG|INFO): held lock freed", L, "{1}: held lock freed in {f}", Where.LOCK),
    _row("ested lock was not", r"(WARNING|BUG|INFO): [Nn]ested lock was not taken", L,
         "{1}: nested lock was not taken in {f}",
         Where.STACK),
    _row("has locks held", r"(WARNING|BUG|INFO): .*still has locks held", L, "{1}: still has locks held in {f}",
         Where.LOCK),
    _row("lock held ", r"(WARNING|BUG|INFO): (?:.*, )?lock held (when returning to user space|at task exit)", L,
         "{1}: lock held {2} in {f}", Where.LOCK),
    _row("suspicious RCU usage", r"(?:WARNING|INFO|\[): ?suspicious RCU usage|^\[? ?suspicious RCU usage[.!]? ?\]?$", L,
         "WARNING: suspicious RCU usage in {f}", Where.STACK),
    _row("non-static key", r"INFO: trying to register non-static key", L,
         "INFO: trying to register non-static key in {f}",
         Where.STACK),
    _row("too low!", r"BUG: (MAX_\w+) too low!", L, "BUG: {1} too low!", Where.NONE),
    _row("invalid subclass", r"BUG: looking up invalid subclass", L, "BUG: looking up invalid subclass in {f}",
         Where.STACK),
    # kernel/locking/spinlock_debug.c
    _row("BUG: ", r"BUG: (spinlock|rwlock)[ -]([\w ]+?)(?: on CPU|,|$)", L, "BUG: {1} {2} in {f}", Where.STACK),
    # kernel/sched/core.c, lib/smp_processor_id.c
    _row("scheduling while atomic", r"BUG: scheduling while atomic", C.ATOMIC_SLEEP,
         "BUG: scheduling while atomic in {f}",
         Where.SLEEP),
    _row("sleeping function called", r"BUG: sleeping function called from invalid context", C.ATOMIC_SLEEP,
         "BUG: sleeping function called from invalid context in {f}", Where.MAY_SLEEP),
    _row("BUG: assuming ", r"BUG: assuming (atomic|non migratable) context at", C.ATOMIC_SLEEP,
         "BUG: assuming {1} context in {f}",
         Where.STACK),
    _row("in preemptible", r"BUG: using (\w+\(\)) in preemptible", L, "BUG: using {1} in preemptible code in {f}",
         Where.STACK),
)  # fmt: skip
DAMAGE = (
    # mm/page_alloc.c, mm/memory.c, kernel/fork.c, fs/dcache.c, mm/slub.c, mm/slab.c
    _row("BUG: Bad page map", r"BUG: Bad page map", C.MEMORY, "BUG: Bad page map", Where.NONE),
    _row("BUG: Bad page", r"BUG: Bad page (state|cache|table)", C.MEMORY, "BUG: Bad page {1} in {f}", Where.STACK),
    _row("BUG: Bad rss", r"BUG: Bad rss-counter state", C.MEMORY, "BUG: Bad rss-counter state", Where.NONE),
    _row("on freeing mm", r"BUG: non-zero (\w+) on freeing mm", C.MEMORY, "BUG: non-zero {1} on freeing mm: NUM",
         Where.NONE),
    _row("still in use", r"BUG: Dentry .*still in use \(-?\d+\) (\[[^\]]*\])", C.BUG, "BUG: Dentry still in use {1}",
         Where.NONE),
    _row(" age=", r"INFO: (Freed|Allocated) in ([\w.$]+)\+0x\S+ age=", C.MEMORY,
         "INFO: {1} in {2} age=NUM cpu=NUM pid=NUM",
         Where.NONE),
    _row("BUG ", r"(?:^|\W)BUG (\S+) \((?:Not tainted|Tainted: [^)]*|[GP ]+)\): (.*)", C.MEMORY,
         "slab corruption in cache {1}: {2}", Where.NONE),
    _row("lab corruption", r"[Ss]lab corruption(?: \([^)]*\))?: (\S+) start=", C.MEMORY, "slab corruption in cache {1}",
         Where.NONE),
    _row("slab error in", rf"slab error in {F}\(\): cache [`'](.*?)': (.*)", C.MEMORY,
         "slab corruption in cache {2}: {3}", Where.NONE),
    _row("double free", r"slab: double free detected in cache '(.*?)'", C.MEMORY,
         "slab corruption in cache {1}: double free",
         Where.NONE),
    _row("INFO: Slab 0x", r"(INFO: Slab 0x[0-9a-f]+ objects=.*)", C.MEMORY, "{1}", Where.NONE),
    _row("INFO: Object 0x", r"(INFO: Object 0x[0-9a-f]+ @offset=.*)", C.MEMORY, "{1}", Where.NONE),
    _row("pagealloc: ", r"pagealloc: (memory corruption|single bit error)", C.MEMORY, "pagealloc: {1}", Where.NONE),
)  # fmt: skip
TRAPS = (
    # arch/x86/kernel/traps.c, arch/*/kernel/traps.c: die() numbers its reports [#1], so that a cut line may lack that
    _row("PANIC: double fault", r"PANIC: double fault", C.PANIC, "PANIC: double fault in {f}"),
    _row("general protection", r"general protection fault(?! ip:)", C.OOPS, "general protection fault in {f}"),
    _row("stack segment", r"stack segment: \d+ \[#", C.OOPS, "stack segment fault in {f}"),
    _row("divide error", r"divide error: \d+ (?:\[#|[A-Z])", C.OOPS, "divide error in {f}"),
    _row("double fault", r"double fault: \d+ \[#", C.OOPS, "double fault in {f}"),
    _row("invalid opcode", r"invalid opcode: \d+ (?:\[#|[A-Z])", C.OOPS, "invalid opcode in {f}"),
    _row("Internal error: ", r"Internal error: Oops - BUG", C.BUG, "kernel BUG in {f}"),
    _row("Internal error: ", r"Internal error: .*?: [0-9a-f]+ \[#", C.OOPS, "Internal error in {f}"),
    _row("Oops", r"\bOops(?:(?:: | - ).*)? ?\[#\d+\]|\bOops: [0-9a-f]{4,8}\b", C.OOPS, "Oops in {f}"),
    # arch/s390/kernel/dumpstack.c: "illegal operation: 0001 ilc:1 [#1]"
    _row("[#", r"(?:^|: )([A-Za-z][\w -]{2,60}): [0-9a-f]{4} ilc:\d \[#\d+\]", C.OOPS, "{1} in {f}"),
    # x86's other traps, mips' and loongarch's: "Reserved instruction in kernel code[#1]:"
    _row("[#", r"^(?:\w+: )?([A-Za-z][\w ,()/-]{2,60}?)(?:: [0-9a-f]{4,16} \[#\d+\](?:$| [A-Z])|\[#\d+\]:$)", C.OOPS,
         "{1} in {f}"),
    _row("static_call insn", r"unexpected static_call insn opcode", C.BUG, "unexpected static_call insn opcode in {f}"),
)  # fmt: skip
SOURCE = r"\S+\.(?:[chS]|rs|inc):\d+"
AT = rf"(?:(?:CPU: \d+ PID: \d+ )?at {SOURCE}|{SOURCE} at)"
WARNINGS = (
    # WARN(): kernel/panic.c; the file tells what helper warned. 7.2 has "WARNING: file:line at function, CPU#0: task/pid"
    _row("WARNING: ", r"WARNING: .*lib/debugobjects\.c", W, "WARNING: ODEBUG bug in {f}", Where.STACK,
         innocent=STOPPED),
    _row("WARNING: ", r"WARNING: .*mm/usercopy\.c", W, "WARNING: bad usercopy in {f}", Where.STACK),
    _row("WARNING: ", r"WARNING: .*lib/kobject\.c", W, "WARNING: kobject bug in {f}", Where.STACK),
    _row("WARNING: ", r"WARNING: .*fs/proc/generic\.c", W, "WARNING: proc registration bug in {f}", Where.STACK),
    _row("WARNING: ", r"WARNING: .*lib/refcount\.c", W, "WARNING: refcount bug in {f}", Where.STACK),
    _row("WARNING: ", r"WARNING: .*kernel/locking/lockdep\.c.*lock_", L, "WARNING: locking bug in {f}", Where.STACK),
    _row("WARNING: ", r"WARNING: .*mm/\w+\.c.*\bk\w*alloc", W, "WARNING: kmalloc bug in {f}", Where.STACK),
    _row("WARNING: ", r"WARNING: .*mm/vmalloc\.c.*__vmalloc_node", W, "WARNING: zero-size vmalloc in {f}", Where.STACK),
    _row("WARNING: ", rf"WARNING: {AT}.*\busb_submit_urb\b", W, "WARNING in {f}/usb_submit_urb", Where.STACK,
         innocent=URB),
    _row("WARNING: ", rf"WARNING: (?:CPU: \d+ PID: \d+ )?at {SOURCE} (?:\[<\w+>\] )?{F}\+0x", W, "WARNING in {f}",
         Where.HEAD),
    _row("WARNING: ", rf"WARNING: {SOURCE} at {F}(?:\+0x|, CPU#| \()", W, "WARNING in {f}", Where.HEAD),
    _row("WARNING: ", rf"WARNING: {AT}", W, "WARNING in {f}"),
    # without CONFIG_DEBUG_BUGVERBOSE there is no file; a line may be cut
    _row("WARNING: ", rf"WARNING: (?:CPU: \d+ PID: \d+ )?at {F}\+0x", W, "WARNING in {f}", Where.HEAD),
    _row("WARNING: CPU: ", r"WARNING: CPU: \d+ PID: \d+", W, "WARNING in {f}"),
    # arch/x86/kernel/unwind_frame.c, unwind_orc.c, dumpstack_64.c
    _row("WARNING: kernel stack", r"WARNING: kernel stack (regs|frame pointer) .* has bad '(\S+?)' value", W,
         "WARNING: kernel stack {1} has bad '{2}' value", Where.NONE),
    _row("WARNING: kernel stack", r"WARNING: kernel stack (regs|frame pointer) .* has bad value", W,
         "WARNING: kernel stack {1} has bad value", Where.NONE),
    _row("WARNING: ",
         r"(WARNING: (?:can't access (?:iret )?registers|missing \w+ value|unknown \S+ (?:base reg|entry type)"
         r"|bad BP value|stack going in the wrong direction|stack recursion).*)", W, "{1}", Where.NONE),
)  # fmt: skip
LINES = (
    # net/core/dev.c, fs/open.c, fs/super.c
    _row("unregister_netdevice", r"unregister_netdevice: waiting for \S+", C.BUG,
         "unregister_netdevice: waiting for DEV to become free", Where.NONE),
    _row("VFS: Close", r"VFS: Close: file count is (?:zero|0)", C.BUG,
         "VFS: Close: file count is zero (use-after-free)", Where.NONE),
    _row("VFS: Busy", r"VFS: Busy inodes after unmount", C.BUG, "VFS: Busy inodes after unmount (use-after-free)",
         Where.NONE),
)  # fmt: skip
PANICS = (
    # kernel/panic.c and who calls it
    _row("ernel panic - not", rf"Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: {F}\+0x",
         C.PANIC,
         "kernel panic: stack is corrupted in {f}", Where.HEAD),
    _row("ernel panic - not", r"Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in", C.PANIC,
         "kernel panic: stack is corrupted in {f}", Where.STACK),
    _row("ernel panic - not", r"Kernel panic - not syncing: corrupted stack end detected", C.PANIC,
         "kernel panic: corrupted stack end in {f}", Where.STALL),
    _row("ernel panic - not", r"Kernel panic - not syncing: VFS: Unable to mount root fs on", C.PANIC,
         "kernel panic: VFS: Unable to mount root fs on unknown-block(NUM,NUM)", Where.NONE),
    _row("ernel panic - not", r"Kernel panic - not syncing: (Couldn't open N_TTY ldisc) for", C.PANIC,
         "kernel panic: {1}", Where.NONE),
    _row("ernel panic - not", r"Kernel panic - not syncing: Attempted to kill init!", C.PANIC,
         "kernel panic: Attempted to kill init!",
         Where.NONE),
    _row("ernel panic - not", r"Kernel panic - not syncing: (?:kernel: )?(.*?)(?: ?\.\.\.)?$", C.PANIC,
         "kernel panic: {1}", Where.NONE),
    _row("trusty: panic", r"\btrusty: panic.*(ASSERT FAILED).*?(?: at \(.*?\))?(: .*)", C.PANIC, "trusty: {1}{2}",
         Where.NONE),
)  # fmt: skip
REST = (
    # the program that exercises the kernel, often in want of what the kernel took from it: it may be all that is said
    _row("SYZF", r"\b(SYZ(?:FAIL|FATAL): .{1,200})", C.TEST_PROGRAM, "{1}", Where.NONE),
    _row("fatal error: ",
         r"^fatal error: (?:runtime|unexpected signal|concurrent map|all goroutines|stack overflow|morestack|sync:)",
         C.TEST_PROGRAM, "go runtime error", Where.NONE),
    _row("panic: ", r"^panic: (?:runtime error:|.* \[recovered\])", C.TEST_PROGRAM, "go runtime error", Where.NONE),
    _row("goroutine ", r"^goroutine \d+ \[\w[\w ,]*\]:$", C.TEST_PROGRAM, "go runtime error", Where.NONE),
    # any other BUG of the kernel's own printk; a head whose rest was lost
    _row("BUG", r"^(BUG|WARNING):\s*$", C.BUG, "{1}: corrupted", Where.NONE),
    _row("WARNING: ", r"^(WARNING):\s*$", C.BUG, "{1}: corrupted", Where.NONE),
    _row("BUG: ", r"^(?!\S+\[\d+\]:)(?:[\w ./-]{1,40}: )?\[? ?(BUG: \S.{2,120})", C.BUG, "{1}", Where.NONE),
)  # fmt: skip
ROWS = (
    *SANITIZERS, *MEMORY_FAULTS, *STALLS, *BUGS, *LOCKS, *DAMAGE, *TRAPS, *WARNINGS, *LINES, *PANICS, *REST,
)  # fmt: skip


# What a head contains, for a fast first test of many lines at once: each costs time, so that there are few.
NEEDLES = (
    b"BUG", b"WARNING: ", b"INFO: ", b"[#", b"nable to handle", b"UBSAN", b"LOCKUP", b"general protection", b"panic",
    b"PANIC: ", b"stack overflow", b"nsufficient stack", b"unregister_netdevice", b"VFS: ", b"static_call insn",
    b"inconsistent lock", b"suspicious RCU", b"SYZF", b"fatal error: ", b"goroutine ", b"unreferenced object",
    b"suspected memory leak", b"lab corruption", b"slab error in", b"double free detected", b"pagealloc: ",
)  # fmt: skip

# Lines that look like heads and are none.
HARMLESS = re.compile(
    r"(?!.*Kernel panic - not).*(?:INFO: NMI handler|INFO: Stall ended|INFO: lockdep is turned off|INFO: recovery"
    r"|_INFO::|INFO: (?:no syscalls|sys_)|BUG: no syscalls|took too long|WARNING: /etc|WARNING: workqueue cpumask"
    r"|Spectre V2 : WARNING|Speculative Return|panic=|panic_on|soft_panic|panic:\d|BUG: executor|DEBUG:|Command line:"
    r"|WARNING: See|\bpanic timeout|crashkernel)"
)
FOLLOWERS = re.compile(  # heads that only continue a report which is still open
    r".*(?:\[#\d+\]|PANIC: double fault|kernel BUG at|unreferenced object 0x)"
)
OWN_PANIC = re.compile(r"panic_on_warn|kernel: panic_on|panic_on")
"""Reasons of a panic that end a WARNING's story; another reason after a WARNING is a story of its own."""
PANIC = re.compile(r".*Kernel panic - not syncing: (?P<reason>.*)")
ALL_CPUS = re.compile(r"Sending NMI|NMI backtrace for cpu|Kernel panic - not syncing")
"""From here on other CPUs speak for the report, each in its own name."""
END = re.compile(r".*(?:---\[ end (?:trace|Kernel panic)|Rebooting in \d+ seconds)")
