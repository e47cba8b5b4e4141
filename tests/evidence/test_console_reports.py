"""Every form of report that kernels of 4.4 to 7.2 print, made by hand after the kernel files named above each group.

A form is (first lines, functions of the call trace, title, category). The trace is put below in x86's layout.
"""

import pytest

from lab.evidence import console
from lab.evidence.console_rows import Category

C = Category
AT = "addr ffff888012345678 by task a/12"
# mm/kasan/report.c, report_generic.c, report_tags.c
KASAN = [
    (f"BUG: KASAN: {kind} in foo+0x1/0x2\n{access} of size 8 at {AT}", "dump_stack_lvl print_report kasan_report foo bar",
     f"KASAN: {kind} {access} in foo", C.KASAN)
    for kind in (
        "use-after-free", "slab-use-after-free", "slab-out-of-bounds", "stack-out-of-bounds", "global-out-of-bounds",
        "vmalloc-out-of-bounds", "alloca-out-of-bounds", "out-of-bounds", "use-after-scope", "null-ptr-deref",
        "user-memory-access", "wild-memory-access", "unknown-crash", "invalid-access",
    )
    for access in ("Read", "Write")
] + [
    (f"BUG: KASAN: double-free in kfree+0x1/0x2\nFree of {AT}", "dump_stack kasan_report_invalid_free kfree foo",
     "KASAN: double-free in foo", C.KASAN),
    ("BUG: KASAN: invalid-free in kvfree+0x1/0x2",
     "dump_stack kasan_report_invalid_free __kasan_slab_free kfree kvfree foo",
     "KASAN: invalid-free in foo", C.KASAN),
    ("BUG: KASAN: double-free or invalid-free in kfree+0x1/0x2", "dump_stack kfree foo", "KASAN: invalid-free in foo",
     C.KASAN),
    (f"BUG: KASAN: invalid-access in foo+0x1/0x2\nRead at {AT}\nPointer tag: [f5], memory tag: [fe]",
     "dump_backtrace show_stack dump_stack_lvl print_report kasan_report __do_kernel_fault do_tag_check_fault "
     "do_mem_abort"
     " el1_abort el1h_64_sync foo", "KASAN: invalid-access Read in foo", C.KASAN),
    ("BUG: KASan: use after free in foo+0x1/0x2 at addr ffff88001234\nRead of size 8 by task a/1", "kasan_report foo",
     "KASAN: use after free Read in foo", C.KASAN),
    ("BUG: KASAN: slab-out-of-bounds in foo+0x1/0x2 at addr ffff880012345678", "",
     "KASAN: slab-out-of-bounds in foo at addr ADDR", C.KASAN),
    (f"BUG: KASAN: slab-use-after-free in __lock_acquire+0x1/0x2\nRead of size 8 at {AT}",
     "dump_stack_lvl print_report kasan_report __lock_acquire lock_acquire _raw_spin_lock_irqsave finish_wait foo",
     "KASAN: slab-use-after-free Read in foo", C.KASAN),
    (f"BUG: KASAN: slab-out-of-bounds in memcpy_from_iter+0x1/0x2\nWrite of size 8 at {AT}",
     "dump_stack_lvl print_report kasan_report kasan_check_range __asan_memcpy memcpy_from_iter _copy_from_iter foo",
     "KASAN: slab-out-of-bounds Write in foo", C.KASAN),
    (f"BUG: KASAN: use-after-free in __list_del_entry_valid_or_report+0x1/0x2\nRead of size 8 at {AT}",
     "dump_stack print_report kasan_report __list_del_entry_valid_or_report foo", "KASAN: use-after-free Read in foo",
     C.KASAN),
]  # fmt: skip
# mm/kmsan/report.c, kernel/kcsan/report.c, mm/kfence/report.c, mm/kmemleak.c, lib/ubsan.c
SANITIZERS = [
    ("BUG: KMSAN: uninit-value in foo+0x1/0x2", "foo bar", "KMSAN: uninit-value in foo", C.KMSAN),
    ("BUG: KMSAN: kernel-infoleak in instrument_copy_to_user+0x1/0x2",
     "instrument_copy_to_user _copy_to_iter copyout foo bar",
     "KMSAN: kernel-infoleak in foo", C.KMSAN),
    ("BUG: KMSAN: kernel-infoleak-after-free in _copy_to_iter+0x1/0x2", "_copy_to_iter foo",
     "KMSAN: kernel-infoleak-after-free in foo", C.KMSAN),
    ("BUG: KMSAN: use-after-free in foo+0x1/0x2", "foo", "KMSAN: use-after-free in foo", C.KMSAN),
    ("BUG: KCSAN: data-race in foo / bar\n\nwrite to 0xffff of 8 bytes by task 1 on cpu 0:", "foo",
     "KCSAN: data-race in foo / bar",
     C.KCSAN),
    ("BUG: KCSAN: data-race in foo+0x1/0x2 / bar+0x1/0x2", "foo", "KCSAN: data-race in foo / bar", C.KCSAN),
    ("BUG: KCSAN: data-race in foo+0x1/0x2\n\nrace at unknown origin, with read to 0xff of 8 bytes", "foo",
     "KCSAN: data-race in foo", C.KCSAN),
    ("BUG: KCSAN: assert: race in foo / bar", "foo", "KCSAN: assert: race in foo", C.KCSAN),
    ("BUG: KFENCE: use-after-free read in foo+0x1/0x2", "foo", "KFENCE: use-after-free read in foo", C.KFENCE),
    ("BUG: KFENCE: out-of-bounds write in foo+0x1/0x2", "foo", "KFENCE: out-of-bounds write in foo", C.KFENCE),
    ("BUG: KFENCE: invalid free in kfree+0x1/0x2", "kfree foo", "KFENCE: invalid free in foo", C.KFENCE),
    ("BUG: KFENCE: memory corruption in kfree+0x1/0x2", "kfree foo", "KFENCE: memory corruption in foo", C.KFENCE),
    ("BUG: KFENCE: invalid read in foo+0x1/0x2", "foo", "KFENCE: invalid read in foo", C.KFENCE),
    ("BUG: memory leak\nunreferenced object 0xffff888112345678 (size 64):\n  backtrace:",
     "__kmem_cache_alloc_node __kmalloc_node foo", "memory leak in foo", C.LEAK),
    ("unreferenced object 0xffff888112345678 (size 64):\n  comm \"a\", pid 1\n  backtrace (crc 1234):",
     "kmalloc_trace foo",
     "memory leak in foo", C.LEAK),
    ("kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", "",
     "kmemleak: new suspected memory leaks", C.LEAK),
    ("UBSAN: Undefined behaviour in fs/x.c:1:2\nsigned integer overflow:",
     "dump_stack ubsan_epilogue handle_overflow foo",
     "UBSAN: undefined-behaviour in handle_overflow", C.UBSAN),
    *(
        (f"UBSAN: {kind} in fs/x.c:1:2", "dump_stack_lvl ubsan_epilogue __ubsan_handle_x foo", f"UBSAN: {kind} in foo",
         C.UBSAN)
        for kind in ("array-index-out-of-bounds", "shift-out-of-bounds", "signed-integer-overflow", "invalid-load",
                     "object-size-mismatch", "division-overflow", "negation-overflow", "misaligned-access",
                     "load-of-value")
    ),
    ("Internal error: UBSAN: array index out of bounds: 00000000f2005512 [#1] SMP\npc : foo+0x1/0x2", "foo",
     "UBSAN: array index out of bounds in foo", C.UBSAN),
    ("UBSAN: array index out of bounds at foo+0x1/0x2", "", "UBSAN: array index out of bounds in foo", C.UBSAN),
]  # fmt: skip
RIP = "\nOops: 0000 [#1] PREEMPT SMP\nRIP: 0010:foo+0x1/0x2"
FAULT = "BUG: unable to handle kernel paging request in foo"
NULL = "BUG: unable to handle kernel NULL pointer dereference in foo"
# arch/*/mm/fault.c, arch/*/kernel/traps.c
FAULTS = [
    ("BUG: unable to handle page fault for address: ffffed1000" + RIP, "foo", FAULT, C.OOPS),
    ("BUG: unable to handle kernel paging request at ffffed1000\nIP: [<ffffffff81234567>] foo+0x1/0x2", "foo", FAULT,
     C.OOPS),
    ("BUG: kernel NULL pointer dereference, address: 0000000000000008" + RIP, "foo", NULL, C.OOPS),
    ("BUG: unable to handle kernel NULL pointer dereference at           (null)\nIP:           (null)", "foo", NULL,
     C.OOPS),
    ("BUG: unable to handle page fault for address: ffff\nRIP: 0010:memcpy_orig+0x1/0x2", "foo", FAULT, C.OOPS),
    ("BUG: kernel NULL pointer dereference, address: 0\n#PF: supervisor instruction fetch in kernel mode\nRIP: 0010:0x0",
     "foo", NULL,
     C.OOPS),
    ("Unable to handle kernel access to user memory outside uaccess routines at virtual address 0000000000000040\n"
     "pc : foo+0x1/0x2",
     "foo", "BUG: unable to handle kernel access to user memory in foo", C.OOPS),
    ("Unable to handle kernel execute from non-executable memory at virtual address ffff\npc : foo+0x1/0x2", "foo", FAULT,
     C.OOPS),
    ("Unable to handle kernel write to read-only memory at virtual address ffff\npc : foo+0x1/0x2", "foo", FAULT, C.OOPS),
    ("BUG: Unable to handle kernel data access on read at 0xc000\nNIP [c000000000123456] foo+0x1/0x2", "foo", FAULT,
     C.OOPS),
    ("CPU 0 Unable to handle kernel paging request at virtual address 00000004, epc == 80123456, ra == 80123450\n"
     "Oops[#1]:\n"
     "epc   : 80123456 foo+0x1/0x2", "foo", FAULT, C.OOPS),
    ("CPU 1 Unable to handle kernel paging request at virtual address 0000000000000008, era == 90, ra == 90\nOops[#1]:\n"
     "pc 9000000000223344 ra 9000000000223300\n   ra: 9000000000223300 bar+0x1/0x2\n  ERA: 9000000000223344 foo+0x1/0x2",
     "foo",
     FAULT, C.OOPS),
    ("general protection fault: 0000 [#1] SMP\nRIP: 0010:foo+0x1/0x2", "foo", "general protection fault in foo", C.OOPS),
    ("general protection fault, probably for non-canonical address 0xdffffc0000000000: 0000 [#1] PREEMPT SMP\n"
     "RIP: 0010:foo+0x1/0x2",
     "foo", "general protection fault in foo", C.OOPS),
    ("Oops: general protection fault, kernel NULL pointer dereference 0x0: 0000 [#1] SMP\nRIP: 0010:foo+0x1/0x2", "foo",
     "general protection fault in foo", C.OOPS),
    ("divide error: 0000 [#1] PREEMPT SMP\nRIP: 0010:foo+0x1/0x2", "foo", "divide error in foo", C.OOPS),
    ("Oops: divide error: 0000 [#1] SMP\nRIP: 0010:foo+0x1/0x2", "foo", "divide error in foo", C.OOPS),
    ("stack segment: 0000 [#1] SMP\nRIP: 0010:foo+0x1/0x2", "foo", "stack segment fault in foo", C.OOPS),
    ("invalid opcode: 0000 [#1] SMP\nRIP: 0010:foo+0x1/0x2", "foo", "invalid opcode in foo", C.OOPS),
    ("traps: PANIC: double fault, error_code: 0x0\ndouble fault: 0000 [#1] SMP\nRIP: 0010:foo+0x1/0x2", "foo",
     "PANIC: double fault in foo", C.PANIC),
    ("alignment check: 0000 [#1] SMP\nRIP: 0010:foo+0x1/0x2", "foo", "alignment check in foo", C.OOPS),
    ("Internal error: Oops - undefined instruction: 0 [#1] SMP ARM\nPC is at foo+0x1/0x2", "foo", "Internal error in foo",
     C.OOPS),
    ("Unhandled fault: alignment exception (0x001) at 0xc0001001\nInternal error: : 1 [#1] SMP ARM\nPC is at foo+0x1/0x2",
     "foo",
     "Internal error in foo", C.OOPS),
    ("Internal error: synchronous external abort: 0000000096000210 [#1] SMP\npc : foo+0x1/0x2", "foo",
     "Internal error in foo", C.OOPS),
    ("Oops - illegal instruction [#1]\nepc : foo+0x1/0x2", "foo", "Oops in foo", C.OOPS),
    ("Oops: Exception in kernel mode, sig: 4 [#1]\nNIP [c000000000123456] foo+0x1/0x2", "foo", "Oops in foo", C.OOPS),
    ("illegal operation: 0001 ilc:1 [#1] SMP\nKrnl PSW : 0704c00180000000 000000000010b6a2 (foo+0x12/0x34)", "foo",
     "illegal operation in foo", C.OOPS),
    ("Reserved instruction in kernel code[#1]:\nepc   : 80123456 foo+0x1/0x2", "foo",
     "Reserved instruction in kernel code in foo", C.OOPS),
    ("BUG: TASK stack guard page was hit at ffffc900 (stack is ffffc900..ffffc901)\nRIP: 0010:foo+0x1/0x2", "foo",
     "BUG: stack guard page was hit in foo", C.OOPS),
    ("Insufficient stack space to handle exception!\npc : foo+0x1/0x2", "foo", "kernel stack overflow in foo", C.OOPS),
]  # fmt: skip
# lib/bug.c, lib/list_debug.c, mm/usercopy.c, lib/string_helpers.c, kernel/panic.c, lib/refcount.c, lib/kobject.c
WARN = "WARNING: CPU: 0 PID: 1 at"
BUGS = [
    ("kernel BUG at fs/x.c:12!\ninvalid opcode: 0000 [#1] SMP\nRIP: 0010:foo+0x1/0x2", "foo", "kernel BUG in foo", C.BUG),
    ("kernel BUG at ./include/linux/x.h:12!\nOops: invalid opcode: 0000 [#1] SMP\nRIP: 0010:foo+0x1/0x2", "foo",
     "kernel BUG in foo", C.BUG),
    ("kernel BUG at net/core/skbuff.c:105!\nRIP: 0010:skb_panic+0x1/0x2", "skb_over_panic skb_put foo",
     "kernel BUG in foo", C.BUG),
    ("kernel BUG at lib/string_helpers.c:1038!\nRIP: 0010:fortify_panic+0x1/0x2", "fortify_panic __fortify_panic foo",
     "kernel BUG in foo", C.BUG),
    ("kernel BUG at lib/list_debug.c:53!\nRIP: 0010:__list_del_entry_valid_or_report+0x1/0x2",
     "list_del_init kobject_put",
     "BUG: corrupted list in kobject_put", C.BUG),
    ("usercopy: Kernel memory exposure attempt detected\nkernel BUG at mm/usercopy.c:102!\n"
     "RIP: 0010:usercopy_abort+0x1/0x2",
     "__check_heap_object __check_object_size foo", "BUG: bad usercopy in foo", C.BUG),
    ("Kernel BUG at foo+0x1/0x2 [verbose debug info unavailable]", "foo", "kernel BUG in foo", C.BUG),
    ("kernel BUG at fs/x.c:12!\nKernel BUG [#1]\nepc : foo+0x1/0x2", "foo", "kernel BUG in foo", C.BUG),
    (f"{WARN} fs/x.c:1 foo+0x1/0x2", "foo", "WARNING in foo", C.WARNING),
    (f"{WARN} fs/x.c:1 foo+0x1/0x2 [frob]", "foo", "WARNING in foo", C.WARNING),
    (f"{WARN} fs/x.c:1 foo.cold+0x1/0x2()", "foo", "WARNING in foo", C.WARNING),
    ("WARNING: fs/x.c:1 at foo+0x1/0x2, CPU#0: a/12", "foo", "WARNING in foo", C.WARNING),
    ("WARNING: at fs/x.c:1 foo+0x1/0x2()", "warn_slowpath_common foo", "WARNING in foo", C.WARNING),
    (f"{WARN} foo+0x1/0x2", "foo", "WARNING in foo", C.WARNING),
    ("WARNING: CPU: 1 PID: 12", "__warn foo", "WARNING in foo", C.WARNING),
    (f"{WARN} lib/refcount.c:28 refcount_warn_saturate+0x1/0x2",
     "__warn refcount_warn_saturate kobject_put put_device foo",
     "WARNING: refcount bug in foo", C.WARNING),
    ("WARNING: lib/refcount.c:28 at refcount_warn_saturate+0x1/0x2, CPU#1: a/1", "kref_put foo",
     "WARNING: refcount bug in foo",
     C.WARNING),
    (f"{WARN} lib/kobject.c:244 kobject_add_internal+0x1/0x2", "kobject_add device_add foo",
     "WARNING: kobject bug in foo", C.WARNING),
    (f"{WARN} lib/debugobjects.c:505 debug_print_object+0x1/0x2",
     "debug_print_object debug_check_no_obj_freed kfree foo", "WARNING: ODEBUG bug in foo", C.WARNING),
    (f"{WARN} fs/proc/generic.c:376 proc_register+0x1/0x2", "proc_create_data foo",
     "WARNING: proc registration bug in foo", C.WARNING),
    (f"{WARN} mm/page_alloc.c:4829 __alloc_pages_noprof+0x1/0x2",
     "alloc_pages_mpol_noprof ___kmalloc_large_node __kmalloc_noprof foo",
     "WARNING in foo", C.WARNING),
    (f"{WARN} mm/util.c:597 kvmalloc_node+0x1/0x2", "kvmalloc foo", "WARNING: kmalloc bug in foo", C.WARNING),
    (f"{WARN} drivers/usb/core/urb.c:494 usb_submit_urb+0x1/0x2", "usb_start_wait_urb usb_bulk_msg foo",
     "WARNING in foo/usb_submit_urb", C.WARNING),
    (f"{WARN} mm/usercopy.c:75 usercopy_warn+0x1/0x2", "__check_object_size foo", "WARNING: bad usercopy in foo",
     C.WARNING),
    (f"{WARN} fs/inode.c:336 drop_nlink+0x1/0x2", "foo_unlink vfs_unlink", "WARNING in foo_unlink", C.WARNING),
    (f"{WARN} kernel/workqueue.c:3000 __flush_work+0x1/0x2", "cancel_work_sync foo", "WARNING in foo", C.WARNING),
    ("WARNING: kernel stack regs at ffffc900 in a:1 has bad 'bp' value ffff", "",
     "WARNING: kernel stack regs has bad 'bp' value",
     C.WARNING),
    ("WARNING: kernel stack frame pointer at ffffc900 in a:1 has bad value 00", "",
     "WARNING: kernel stack frame pointer has bad value",
     C.WARNING),
    ("WARNING: can't access registers at asm_common_interrupt+0x1/0x2", "",
     "WARNING: can't access registers at asm_common_interrupt",
     C.WARNING),
    ("WARNING: stack recursion on stack type 4", "", "WARNING: stack recursion on stack type NUM", C.WARNING),
]  # fmt: skip
TAKES = "a/1 is trying to acquire lock:\nffff8881 (&x->lock){+.+.}-{3:3}, at: foo+0x1/0x2"
# kernel/locking/lockdep.c, spinlock_debug.c, kernel/rcu/update.c, kernel/sched/core.c, lib/smp_processor_id.c
LOCKS = [
    (f"WARNING: possible circular locking dependency detected\n{TAKES}", "lock_acquire bar", "possible deadlock in foo",
     C.LOCKDEP),
    (f"WARNING: possible recursive locking detected\n{TAKES}", "lock_acquire bar", "possible deadlock in foo", C.LOCKDEP),
    (f"WARNING: possible irq lock inversion dependency detected\n{TAKES}", "bar", "possible deadlock in foo", C.LOCKDEP),
    (f"[ INFO: possible circular locking dependency detected ]\n{TAKES}", "bar", "possible deadlock in foo", C.LOCKDEP),
    (f"INFO: possible recursive locking detected\n{TAKES}", "bar", "possible deadlock in foo", C.LOCKDEP),
    ("WARNING: inconsistent lock state\ninconsistent {SOFTIRQ-ON-W} -> {IN-SOFTIRQ-W} usage.\n"
     "a/1 [HC0[0]:SC1[1]:HE1:SE0] takes:\n"
     "ffff (&x){+.?.}-{2:2}, at: foo+0x1/0x2", "bar", "inconsistent lock state in foo", C.LOCKDEP),
    ("WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected\na/1 is trying to acquire:\n",
     "lock_acquire _raw_spin_lock foo",
     "possible deadlock in foo", C.LOCKDEP),
    ("WARNING: suspicious RCU usage\nnet/x.c:1 suspicious rcu_dereference_protected() usage!",
     "dump_stack lockdep_rcu_suspicious foo",
     "WARNING: suspicious RCU usage in foo", C.LOCKDEP),
    ("[ INFO: suspicious RCU usage. ]", "dump_stack lockdep_rcu_suspicious foo", "WARNING: suspicious RCU usage in foo",
     C.LOCKDEP),
    ("WARNING: bad unlock balance detected!\na/1 is trying to release lock (&x) at:\n[<ffffffff81234567>] foo+0x1/0x2",
     "bar",
     "WARNING: bad unlock balance in foo", C.LOCKDEP),
    ("WARNING: bad unlock balance detected!\na/1 is trying to release lock (&x) at:\n"
     "[<ffffffff81234567>] mutex_unlock+0x1/0x2",
     "print_unlock_imbalance_bug lock_release __mutex_unlock_slowpath foo", "WARNING: bad unlock balance in foo",
     C.LOCKDEP),
    ("WARNING: held lock freed!\na/1 is freeing memory ffff-ffff, with a lock still held there!\n"
     "ffff (sk_lock-AF_INET6){+.+.}-{0:0}, at: foo+0x1/0x2", "bar", "WARNING: held lock freed in foo", C.LOCKDEP),
    ("WARNING: Nested lock was not taken", "lock_acquire foo", "WARNING: nested lock was not taken in foo", C.LOCKDEP),
    ("WARNING: a/1 still has locks held!\n #0: ffff (&x){+.+.}, at: foo+0x1/0x2", "bar",
     "WARNING: still has locks held in foo", C.LOCKDEP),
    ("WARNING: lock held when returning to user space!\n #0: ffff (&x){+.+.}, at: foo+0x1/0x2", "",
     "WARNING: lock held when returning to user space in foo", C.LOCKDEP),
    ("[ BUG: Invalid wait context ]\na/1 is trying to lock:\nffff (&x){+.+.}-{3:3}, at: foo+0x1/0x2", "bar",
     "BUG: Invalid wait context in foo", C.LOCKDEP),
    ("INFO: trying to register non-static key.", "register_lock_class __lock_acquire lock_acquire timer_delete_sync foo",
     "INFO: trying to register non-static key in foo", C.LOCKDEP),
    ("BUG: MAX_LOCKDEP_KEYS too low!", "", "BUG: MAX_LOCKDEP_KEYS too low!", C.LOCKDEP),
    ("BUG: looking up invalid subclass: 8", "look_up_lock_class foo", "BUG: looking up invalid subclass in foo",
     C.LOCKDEP),
    ("BUG: spinlock bad magic on CPU#0, a/1", "spin_dump do_raw_spin_lock foo", "BUG: spinlock bad magic in foo",
     C.LOCKDEP),
    ("BUG: spinlock recursion on CPU#1, a/1", "do_raw_spin_lock _raw_spin_lock foo", "BUG: spinlock recursion in foo",
     C.LOCKDEP),
    ("BUG: spinlock lockup suspected on CPU#1, a/1", "do_raw_spin_lock foo", "BUG: spinlock lockup suspected in foo",
     C.LOCKDEP),
    ("BUG: rwlock bad magic on CPU#0, a/1", "rwlock_bug do_raw_write_lock foo", "BUG: rwlock bad magic in foo",
     C.LOCKDEP),
    (f"{WARN} kernel/locking/lockdep.c:231 __lock_acquire+0x1/0x2", "lock_acquire _raw_spin_lock_bh lock_sock_nested foo",
     "WARNING: locking bug in foo", C.LOCKDEP),
    ("BUG: scheduling while atomic: a/1/0x00000002", "__schedule_bug __schedule schedule schedule_timeout foo",
     "BUG: scheduling while atomic in foo", C.ATOMIC_SLEEP),
    ("BUG: sleeping function called from invalid context at mm/x.c:1", "__might_resched __mutex_lock foo",
     "BUG: sleeping function called from invalid context in foo", C.ATOMIC_SLEEP),
    ("BUG: sleeping function called from invalid context at mm/vmalloc.c:1", "__might_resched vfree foo",
     "BUG: sleeping function called from invalid context in vfree", C.ATOMIC_SLEEP),
    ("BUG: assuming atomic context at net/x.c:1", "__cant_sleep foo", "BUG: assuming atomic context in foo",
     C.ATOMIC_SLEEP),
    ("BUG: assuming non migratable context at net/x.c:1", "__cant_migrate foo",
     "BUG: assuming non migratable context in foo",
     C.ATOMIC_SLEEP),
    ("BUG: using smp_processor_id() in preemptible [00000000] code: a/1\ncaller is foo+0x1/0x2",
     "check_preemption_disabled foo",
     "BUG: using smp_processor_id() in preemptible code in foo", C.LOCKDEP),
    ("BUG: using __this_cpu_add() in preemptible [00000000] code: a/1",
     "check_preemption_disabled __this_cpu_preempt_check foo",
     "BUG: using __this_cpu_add() in preemptible code in foo", C.LOCKDEP),
    ("BUG: workqueue leaked lock or atomic: kworker/0:1/0x00000001/12\n     last function: foo", "",
     "BUG: workqueue leaked lock or atomic in foo", C.ATOMIC_SLEEP),
    ("BUG: workqueue leaked atomic, lock or RCU: kworker/u9:2[12]", "",
     "BUG: workqueue leaked atomic, lock or RCU: kworker/u9:NUM[NUM]",
     C.BUG),
]  # fmt: skip
INTERRUPT = "tick_nohz_handler __hrtimer_run_queues hrtimer_interrupt sysvec_apic_timer_interrupt "
SYSCALL = " do_syscall_64 entry_SYSCALL_64_after_hwframe"
# kernel/watchdog.c, kernel/rcu/tree_stall.h, kernel/hung_task.c, kernel/workqueue.c
STALLS = [
    ("watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [a:1]\nRIP: 0010:bar+0x1/0x2",
     "bar foo_work process_one_work worker_thread kthread",
     "BUG: soft lockup in foo_work", C.LOCKUP),
    ("NMI watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [a:1]", "bar __x64_sys_foo" + SYSCALL,
     "BUG: soft lockup in __x64_sys_foo",
     C.LOCKUP),
    ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", "bar foo vfs_ioctl" + SYSCALL, "BUG: hard lockup in foo",
     C.LOCKUP),
    ("watchdog: CPU 4 self-detected hard LOCKUP @ foo+0x1/0x2", "bar foo vfs_ioctl", "BUG: hard lockup in foo", C.LOCKUP),
    *(
        (f"{head}\nNMI backtrace for cpu 1", INTERRUPT + "bar foo vfs_write ksys_write" + SYSCALL,
         "INFO: rcu detected stall in foo", C.LOCKUP)
        for head in (
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", "rcu: INFO: rcu_sched self-detected stall on CPU",
            "INFO: rcu_bh detected stalls on CPUs/tasks:",
            "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... }",
            "INFO: rcu_tasks detected stalls on tasks:",
        )
    ),
    ("rcu: INFO: rcu_sched self-detected stall on CPU", "bar do_exit exit_to_user_mode_loop" + SYSCALL,
     "INFO: rcu detected stall in exit_to_user_mode_loop", C.LOCKUP),
    ("rcu: INFO: rcu_sched self-detected stall on CPU", "bar foo_timer call_timer_fn __run_timers run_timer_softirq",
     "INFO: rcu detected stall in foo_timer", C.LOCKUP),
    ("rcu: INFO: rcu_sched self-detected stall on CPU",
     "bar foo_timer __hrtimer_run_queues hrtimer_run_softirq handle_softirqs irq_exit_rcu",
     "INFO: rcu detected stall in foo_timer", C.LOCKUP),
    *(
        (f"INFO: task a:1 {how} more than 143 seconds.", f"__schedule schedule {below} foo bar" + SYSCALL,
         "INFO: task hung in foo", C.LOCKUP)
        for how, below in (
            ("blocked for", "schedule_preempt_disabled __mutex_lock mutex_lock_nested"), ("blocked in I/O wait for",
             "io_schedule"),
            ("blocked for", "rwsem_down_write_slowpath down_write"), ("blocked for",
             "schedule_timeout wait_for_completion flush_work"),
            ("blocked for", "io_schedule folio_wait_bit_common __folio_lock"), ("blocked for",
             "percpu_rwsem_wait __percpu_down_read"),
            ("blocked for", "schedule_timeout wait_for_completion kthread_stop"), ("blocked for", "jbd2_log_wait_commit"),
        )
    ),
    ("INFO: task a:1 can't die for more than 143 seconds.", "__schedule schedule foo", "INFO: task can't die in foo",
     C.LOCKUP),
    ("INFO: task a b:12 blocked for", "__schedule schedule foo", "INFO: task hung in foo", C.LOCKUP),
    ("BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!", "", "BUG: workqueue lockup", C.LOCKUP),
]  # fmt: skip
PANIC = "Kernel panic - not syncing: "
# mm/page_alloc.c, mm/slub.c, mm/slab.c, kernel/fork.c, fs/dcache.c, fs/super.c, net/core/dev.c, kernel/panic.c, init/
REST = [
    ("BUG: Bad page state in process a  pfn:12345", "dump_stack bad_page free_unref_page foo",
     "BUG: Bad page state in foo", C.MEMORY),
    ("BUG: Bad page map in process a  pte:8000 pmd:1234", "dump_stack print_bad_pte foo", "BUG: Bad page map", C.MEMORY),
    ("BUG: Bad rss-counter state mm:00000000abcdef01 type:MM_ANONPAGES val:-1", "", "BUG: Bad rss-counter state",
     C.MEMORY),
    ("BUG: non-zero pgtables_bytes on freeing mm: -16384", "", "BUG: non-zero pgtables_bytes on freeing mm: NUM",
     C.MEMORY),
    ("BUG kmalloc-64 (Not tainted): Redzone overwritten", "", "slab corruption in cache kmalloc-64: Redzone overwritten",
     C.MEMORY),
    ("BUG foo_cache (Tainted: G    B  ): Objects remaining in foo_cache on __kmem_cache_shutdown()", "",
     "slab corruption in cache foo_cache: Objects remaining in foo_cache on __kmem_cache_shutdown()", C.MEMORY),
    ("BUG kmalloc-8 (Not tainted): Poison overwritten", "", "slab corruption in cache kmalloc-8: Poison overwritten",
     C.MEMORY),
    ("slab error in verify_redzone_free(): cache `kmalloc-64': memory outside object was overwritten", "",
     "slab corruption in cache kmalloc-64: memory outside object was overwritten", C.MEMORY),
    ("INFO: Freed in foo+0x1/0x2 age=12 cpu=0 pid=3", "", "INFO: Freed in foo age=NUM cpu=NUM pid=NUM", C.MEMORY),
    ("pagealloc: memory corruption", "", "pagealloc: memory corruption", C.MEMORY),
    ("BUG: Dentry 0000000012345678{i=1,n=a}  still in use (1) [unmount of ext4 sda1]", "",
     "BUG: Dentry still in use [unmount of ext4 sda1]", C.BUG),
    ("VFS: Busy inodes after unmount of loop0. Self-destruct in 5 seconds.  Have a nice day...", "",
     "VFS: Busy inodes after unmount (use-after-free)", C.BUG),
    ("unregister_netdevice: waiting for lo to become free. Usage count = 2", "",
     "unregister_netdevice: waiting for DEV to become free",
     C.BUG),
    ("unexpected static_call insn opcode 0xe8 at foo+0x1/0x2", "foo", "unexpected static_call insn opcode in foo", C.BUG),
    ("foo: BUG: frob is 12 of 0xffffffff81234567", "", "BUG: frob is NUM of ADDR", C.BUG),
    (PANIC + "Attempted to kill init! exitcode=0x00000100", "", "kernel panic: Attempted to kill init!", C.PANIC),
    (PANIC + "VFS: Unable to mount root fs on unknown-block(8,1)", "",
     "kernel panic: VFS: Unable to mount root fs on unknown-block(NUM,NUM)", C.PANIC),
    (PANIC + "stack-protector: Kernel stack is corrupted in: foo+0x1/0x2", "", "kernel panic: stack is corrupted in foo",
     C.PANIC),
    (PANIC + "stack-protector: Kernel stack is corrupted in: ffffffff81234567", "panic __stack_chk_fail foo",
     "kernel panic: stack is corrupted in foo", C.PANIC),
    (PANIC + "corrupted stack end detected inside scheduler", "panic __schedule foo_work process_one_work",
     "kernel panic: corrupted stack end in foo_work", C.PANIC),
    (PANIC + "panic_on_warn set ...", "", "kernel panic: panic_on_warn set", C.PANIC),
    (PANIC + "kernel: panic_on_warn set ...", "", "kernel panic: panic_on_warn set", C.PANIC),
    (PANIC + "EXT4-fs (device loop0): panic forced after error", "",
     "kernel panic: EXT4-fs (device loop0): panic forced after error",
     C.PANIC),
    (PANIC + "hung_task: blocked tasks", "", "kernel panic: hung_task: blocked tasks", C.PANIC),
    (PANIC + "sysrq triggered crash", "", "kernel panic: sysrq triggered crash", C.PANIC),
    ("SYZFAIL: failed to recv rpc", "", "SYZFAIL: failed to recv rpc", C.TEST_PROGRAM),
    ("fatal error: unexpected signal during runtime execution", "", "go runtime error", C.TEST_PROGRAM),
    ("goroutine 1 [running]:", "", "go runtime error", C.TEST_PROGRAM),
]  # fmt: skip
FORMS = [*KASAN, *SANITIZERS, *FAULTS, *BUGS, *LOCKS, *STALLS, *REST]


def report(first_lines, functions):
    frames = [f" {name}+0x1b/0x2c0" for name in functions.split()]
    return "\n".join([first_lines, *(["Call Trace:", " <TASK>", *frames, " </TASK>"] if frames else [])]) + "\n"


@pytest.mark.parametrize("form", [pytest.param(form, id=f"{form[2]} {form[0][:40]}") for form in FORMS])
@pytest.mark.parametrize("before", ["", "[   12.345678] ", "[   12.345678][  T123] ", "Nov 21 02:00:00 host kernel: "])
def test_a_form_of_report_is_one_crash_with_its_title(form, before):
    first_lines, functions, title, category = form
    text = "".join(f"{before}{line}\n" for line in report(first_lines, functions).splitlines())
    found = console.read_text("[    0.000000] Linux version 6.12.0\n" + text).crashes
    assert [(crash.title, crash.category) for crash in found] == [(title, category)]
