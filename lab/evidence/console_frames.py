"""Frames out of the lines of a crash report, and which of them is to blame.

The top of a call trace is the reporter (dump_stack, kasan_report), then the helper that was misused (memcpy, kfree,
_raw_spin_lock), then the function that misused it: that one is the guilty one. The patterns below name reporters and
helpers; they are families of the kernel's own functions, not a list of every name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lab.evidence.console_rows import Where

OFFSET = r"\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?"
ADDRESS = r"\[(?:<[^>]*>|[0-9a-f]{8,16})\]"  # powerpc prints stack pointer and address without <>
FRAME = re.compile(
    rf"\s*\(?(?:{ADDRESS}\s*)*(?P<unsure>\? )?(?:{ADDRESS}\s*)?\(?(?P<f>[A-Za-z_][\w.$]*){OFFSET}\)?"
    r"(?: \[(?P<module>[\w-]+)\])?"
)
INLINE = re.compile(
    r"\s*(?:\[<\s*inline\s*>\]\s*(?P<f>[A-Za-z_][\w.]*)|(?P<g>[A-Za-z_][\w.]*) \S+:\d+ \[inline\]"
    r"|(?P<h>[A-Za-z_]\w*) \[inline\])"
)
ARM_FRAME = re.compile(rf"\s*(?:\[<[0-9a-f]+>\] )?\(?(?P<f>[A-Za-z_][\w.$]*)(?:{OFFSET})?\)? from (?:\[<|\(?\w+\+0x)")
POINTER = re.compile(
    r"\s*(?:RIP|EIP|IP|pc|PC|epc|NIP|Krnl PSW|[RE]IP is|PC is)(?: at)?\s*:?\s*(?:\[?[0-9a-f]{8,16}\]?:? ?|[0-9a-f]{4}:)*"
    rf"(?:\[<[^>]*>\]\s*)*\(?(?P<f>[A-Za-z_][\w.$]*){OFFSET}"
)
TRACE_START = re.compile(r"\s*(?:Call [Tt]race:|[Bb]acktrace:|stack backtrace:|Call Trace )")
TRACE_STOP = re.compile(
    r"\s*(?:(?:Last potentially related|Allocated by task|Freed by task|Allocated:|Freed:|Uninit was (?:created|stored)"
    r"|Object at |The buggy address|Memory state around|Local variable|Bytes \d+-|kfence-#\d+|allocated by task"
    r"|freed by task|Kernel Offset|Showing all locks|Sending NMI|Reported by Kernel|Dumping ftrace).*|INFO: task .*)"
)
AT = re.compile(rf".*(?:, at:|\bat:) (?:\[<[^>]*>\] ?)*(?P<f>[A-Za-z_][\w.$]*){OFFSET}")
IRQ_START, IRQ_END = re.compile(r"\s*<(?:IRQ|NMI|#DF|ENTRY_TRAMPOLINE)>"), re.compile(r"\s*</(?:IRQ|NMI|#DF)>")
MODULES = re.compile(r"\s*Modules linked in:(?P<modules>.*)")
TAINTED = re.compile(r".*\b(?:Tainted: (?P<flags>[A-Z](?: +[A-Z](?![\w.]))*)|Not tainted)")


def _family(text: str) -> re.Pattern[str]:
    """Compile patterns of function names, each a whole name, from a text with comments."""
    patterns = " ".join(line for line in text.splitlines() if not line.lstrip().startswith("#")).split()
    return re.compile(f"(?:{'|'.join(patterns)})$")


REPORTERS = _family(
    r"""
    # who prints: lib/dump_stack.c, kernel/panic.c, the sanitizers
    _*dump_(?:stack|backtrace)\w* show_(?:stack|regs|trace\w*) unwind_backtrace walk_stackframe stack_dump print_\w+ \w*kasan\w*
    __asan_\w+ __(?:ubsan|kcsan|hw?asan|tsan|sanitizer)\w* ubsan_\w+ \w*kmsan\w* _*msan_\w+ \w*kcsan\w* kfence_\w+
    check_memory_region\w* check_region_inline end_report report_\w+ \w+_panic panic\w* check_panic_on_warn
    warn_(?:slowpath\w*|alloc\w*|bogus\w*) __warn\w* _*die\w* oops_\w+ bust_spinlocks _*bad_stack handle_bad_stack
    bad_page\w* free_page_is_bad\w* check_(?:free|new)_page\w* ref_tracker_\w+
    fortify_\w+
    # who catches: arch/*/kernel/traps.c, arch/*/mm/fault.c
    (?:\w+_)?(?:page_fault|bad_area|do_trap|do_error_trap|do_invalid_op|vmalloc_fault)\w* exc_\w+ asm_\w+
    _*do_kernel_fault do_(?:tag_check_fault|mem_abort|DataAbort|PrefetchAbort|translation_fault|bug|int3)
    do_general_protection\w* __do_\w*fault handle_(?:bug|page_fault) el[01]t?\d*_\w+ __(?:dabt|und|pabt)_svc
    invalid_op general_protection error_(?:code|entry) ret_from_exception no_context fault_\w+ fixup_\w+ bad_mode
    fixup_bug program_check\w* interrupt_return\w* ret_from_kernel_thread do_undefinstr
    arm_notify_die brk_handler call_break_hook bug_handler early_brk64
    pgm_check_handler _*do_pgm_check do_dat_exception illegal_op monitor_event_exception
    # lockdep and the other debugging of locks: kernel/locking/, kernel/rcu/, lib/debugobjects.c
    \w*lockdep_\w+ \w*lock_(?:is_)?held\w* (?:lock|seqcount)_(?:acquire|release|downgrade|set_class|\w*pin_lock)\w*
    __lock_(?:acquire|release)\w* validate_chain mark_(?:lock|usage|held)\w* perf_trace_\w+ zap_class
    check_\w*(?:irq|deadlock|usage|prev|unlock|noncircular|chain_key|preempt|wait_context|flags)\w*
    register_lock_class reacquire_held_locks find_held_lock look_up_lock_class assign_lock_key valid_state
    save_trace debug_\w+ _*this_cpu_preempt_check _*might_(?:sleep|fault|resched)\w* __schedule_bug __bug\w*
    refcount_\w+ __?refcount_\w+ kref_\w+ spin_(?:bug|dump) rwlock_bug save_stack\w* stack_trace_\w+ ftrace_\w+
    trace_\w+ stack_depot\w* depot_\w+ _*printk\w* vprintk\w* console_\w+ create_object _*dev_\w*printk\w*
    dev_vprintk_emit _dev_\w+ add_taint
    """
)
HELPERS = _family(
    r"""
    # locks
    _*(?:raw_)?(?:spin|read|write|rwlock|rw)_\w*(?:lock|unlock)\w* do_raw_\w+ _*(?:down|up)(?:_\w+)?
    _*(?:mutex|ww_mutex|rt_mutex|rwsem|percpu)_\w*(?:lock|read|write|trylock|slowpath|killable|interruptible|waiter|down|up)\w*
    _atomic_dec_and_\w+ __seqprop\w* csd_lock\w* osq_\w+ rcu_(?:read|is_watching|dynticks)\w* _*rcu_read_\w+ percpu_ref_\w+
    _*percpu_counter\w+ lock_timer_base unlock_page lock_page\w*
    # memory and strings: lib/, mm/slab*.c, mm/page_alloc.c, mm/usercopy.c
    _*mem(?:cpy|set|move|cmp|chr|scan|dup)\w* _*str\w*(?:cpy|cmp|len|cat|chr|str|dup)\w* _*k?v?m?[mzc]alloc\w*
    _*k\w*alloc\w* _*kmem\w+ k?v?asprintf\w* kvasprintf\w* read_word_at_a_time _*(?:put|get)_user\w* should_fail\w*
    _*k?vz?free\w* _*kz?free\w* _*slab_\w+ new_slab\w* allocate_slab _*cache_\w+
    do_slab_free _*vunmap\w* _*vmalloc\w* vz\w*alloc\w* _*alloc_(?:page|frozen|percpu)\w* _*get_free_\w+
    get_page_from\w+ prep_new_page post_alloc_hook idr_\w+ radix_tree_\w+ _*rb_\w+
    _*list_(?:add|del|replace|move|splice)\w* _*hlist_\w+
    _*(?:skb_(?:put|push|pull|over_panic|under_panic))\w* csum_\w+ crc\w+
    _*(?:find_(?:first|next)\w*_bit\w*|_find_\w+) (?:arch_)?(?:test|set|clear|change)_\w*bit\w* _*constant_test_bit
    (?:arch_|raw_)?atomic\w* _*(?:read|write)_once\w* instrument_\w+ __phys_addr\w* virt_to_\w+
    _*copy_(?:to|from)_\w+ _copy_\w+ copyin copyout simple_copy_\w+ check_copy_size __check_object_size usercopy_\w+
    string\w* hex_\w+ number pointer v?s[nc]*printf seq_(?:printf|vprintf|puts) __x86_indirect_\w+ __x86_return_\w+
    __memory_\w+
    # work, timers, waiting, devices: the object given to them was bad, they are innocent
    _*queue_work\w* _*queue_delayed\w* insert_work _*flush_work _*cancel_\w*work\w*
    _*(?:flush|drain|destroy)_workqueue try_to_grab_pending
    _*(?:del|mod|add|init|try_to_del)_?timer\w* _*timer_delete\w* detach_\w+ try_to_wake_up _*wake_up\w*
    complete\w* (?:do_|_*)wait_for_\w+ (?:finish|prepare_to)_wait\w* (?:work|timer)_is_static\w* kill_fasync\w*
    _*kobject_\w+ device_(?:add|del|unregister|register|create|initialize|remove_file)\w* (?:get|put)_device
    get_device_parent device_(?:destroy|for_each_child) hwrng_unregister i2c_del_adapter unregister_netdev\w*
    rollback_registered\w* tty_unregister_device
    _*(?:fast_)?dput iput sk_stop_timer\w* sk_reset_timer
    add_uevent_var sysfs_(?:remove|create)\w* kernfs_remove_by\w* proc_(?:register|create|mkdir)\w* _*proc_create
    drop_nlink fast_dput kthread_(?:stop|insert_work\w*|queue_work) usb_(?:kill|submit|poison|hcd_submit|control)_\w+
    smp_call_function\w* crypto_\w+_update release_sock lock_sock_nested _*lock_sock\w*
    """
)
ENTRY = _family(
    r"""
    # the ways into the kernel
    entry_\w+ do_syscall\w* do_(?:fast|int80)\w* _*ret_from_\w+ el0t?_\w+ invoke_syscall __sys_trace\w* syscall_\w+
    kthread worker_thread process_one_work process_scheduled_works retint_\w+ \w*apic_timer\w* common_interrupt
    call_function\w* irq_exit\w* __irq_svc \w+_interrupt start_secondary do_idle secondary_startup\w*
    cpu_startup_entry rest_init start_kernel x86_64_start\w* common_startup\w* system_call\w* fast_exception\w*
    sysvec_\w+ ret_fast_syscall swapper\w* _*do_softirq\w*
    """
)
SCHEDULER = _family(
    r"""
    # where a task waits: kernel/sched/, mm/filemap.c; the next frame says what for
    (?:io_|freezable_)?schedule\w* __schedule\w* context_switch (?:do_|_*)wait_for_\w+ \w*wait_(?:on|event|woken)\w*
    __wait_\w+ bit_wait\w* out_of_line_wait\w* preempt_schedule\w* _*down(?:_\w+)? _*rwsem_\w+ _*mutex_lock\w*
    _*rt_mutex\w* __switch_to __refrigerator _*percpu_down\w* _*flush_(?:work|delayed)\w* _*cancel_work_sync
    _*folio_(?:wait|lock)\w* _*lock_page\w* rq_qos_wait io_wait\w* m?sleep\w* usleep\w* _*filemap_\w*fdatawait\w*
    filemap_write_and_wait\w* kthread_stop kthread_park do_read_cache_\w+
    \w+_(?:slow)?lock(?:_(?:slow\w*|killable|interruptible|nested|common))? \w*completion\w* \w*_wait(?:_\w+)?
    """
)
STALL_NOISE = _family(
    r"""
    # the interrupt that found the stall, and what prints it
    nmi_\w+ arch_trigger\w* trigger_\w+ rcu_\w+ tick_\w+ update_process_times _*hrtimer\w* \w*apic\w*interrupt
    native_\w+ arch_(?:local|safe)\w* _*softirqentry\w* _*do_softirq\w* invoke_softirq __local_bh\w* irq_\w+
    run_ksoftirqd arch_timer\w* handle_\w*irq\w* generic_handle\w* gic_\w+ __handle_domain\w* cpu_relax delay_\w+
    _*(?:const_)?u?delay _*pv_\w+ queued_\w+ kvm_wait check_cpu_stall sched_clock\w* sched_show\w* lapic\w* do_IRQ
    call_console\w* io_serial\w* serial\w* uart_\w+ _*schedule\w* preempt_\w+ wait_for_xmitr prepare_to_\w+
    """
)
# Callers below which the work of one handler starts: the frame above them is what was being done.
ANCHORS = _family(
    r"""
    _*vfs_(?:read|write|ioctl|iter\w*|mount|fsync\w*|open|readv|writev|fallocate|statx?|getattr|unlink|rename|mkdir|rmdir|create)
    do_vfs_ioctl call_(?:read|write)_iter new_sync_(?:read|write) do_iter_\w+ do_loop_readv\w* _*fput call_mmap
    mmap_region sock_(?:send|recv)msg\w* sock_common_\w+ _*sys_[gs]etsockopt process_one_work call_timer_fn
    expire_timers _*netif_receive_skb\w* deliver_skb netlink_(?:rcv_skb|dump) nfnetlink_rcv\w* rtnetlink_rcv_msg
    genl_(?:rcv|family_rcv)\w* tasklet_action\w* kthread
    (?:__(?:x64|ia32|arm64|riscv|s390x?|se|do)_)?_*(?:compat_)?(?:sys|SyS|SYSC)_(?:ioctl|connect|socketpair|listen|accept4?)
    sock_(?:ioctl|do_ioctl|release|mmap) compat_sock_ioctl _*sock_release sk_common_release do_dentry_open
    _*do_fault handle_mm_fault task_work_run blkdev_ioctl blkdev_driver_ioctl
    """
)
SMP_CALL = re.compile(r"smp_call_function(?!\w*_interrupt$)")
AWAITED = re.compile(r"_*(?:(?P<lock>rtnl_lock\w*)|synchronize_(?:s?rcu|net|sched)\w*)$")
SYSCALL = re.compile(r"(?:__(?:x64|ia32|arm64|riscv|s390x?|se|do)_)?(?:SyS|SYSC|sys|ksys|compat_sys)_\w+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One function of a call trace. sure: without the "? " of a frame that the unwinder only guessed."""

    function: str
    module: str = ""
    sure: bool = True


def plain(name: str) -> str:
    """Take off what the compiler added to a function's name: .constprop.0, .part.1, .isra.2, .cold, .llvm.123."""
    return re.sub(r"\.(?:constprop|part|isra|cold|llvm|lto_priv|localalias|clone|ipa|old)\b.*", "", name)


def frame(line: str) -> Frame | None:
    """Read a line of a call trace, x86, arm, arm64, riscv or ppc; None if it is none."""
    if match := ARM_FRAME.match(line):
        return Frame(function=plain(match["f"]))
    if match := FRAME.match(line):
        return Frame(function=plain(match["f"]), module=match["module"] or "", sure=not match["unsure"])
    if match := INLINE.match(line):
        return Frame(function=plain(match["f"] or match["g"] or match["h"]))
    return None


def pointer(lines: Iterable[str]) -> Frame | None:
    """Return the function at the instruction pointer of the kernel: the first one that the report names."""
    for line in lines:
        match = POINTER.match(line)
        if match and "0033:" not in line[:20]:
            return Frame(function=plain(match["f"]), module=module_of(line))
    return None


def module_of(line: str) -> str:
    """Return the module that a frame's line names, or ""."""
    match = re.search(r"\[(\w[\w-]*)\]\)?\s*$", line)  # s390 has both in parentheses
    return match[1] if match and match[1] != "inline" else ""


def traces(lines: Sequence[str]) -> Iterator[list[Frame]]:
    """Yield the call traces of a report in order, each cut where the trace of something else (an allocation) begins."""
    current: list[Frame] = []
    gap = 0
    for line in lines:
        found = frame(line)
        if found:
            current.append(found)
            gap = 0
            continue
        gap += 1
        if current and (TRACE_STOP.match(line) or TRACE_START.match(line) or (gap > 12)):
            yield current
            current, gap = [], 0
    if current:
        yield current


def guilty(where: Where, head_function: str, lines: Sequence[str]) -> Frame | None:
    """Return the frame to blame, or None if the report does not name one (damaged, cut)."""
    found = list(traces(lines[1:]))
    if where is Where.NONE:
        return None
    head_function = plain(head_function)
    if where is Where.HEAD and head_function and not skipped(head_function):
        return Frame(function=head_function)
    at = _first_at(lines) if where is Where.LOCK else None
    if at and not skipped(at.function):
        return at
    if where in (Where.HUNG, Where.STALL):
        return _hung(found) if where is Where.HUNG else _stalled(lines, found)
    if where is Where.TRACE and (here := pointer(lines)) and not skipped(here.function):
        return here
    for trace in found[:2]:
        for unsure in (False, True):
            for one in trace:
                asleep = where is Where.SLEEP and SCHEDULER.match(one.function)
                if (one.sure or unsure) and not skipped(one.function) and not asleep:
                    return one
    if head_function and not skipped(head_function):
        return Frame(function=head_function)
    # Naming a helper (memset, __lock_acquire) would blame the innocent; only the function that took a lock is a hint.
    here = at or (_first_at(lines) if where is Where.STACK else None) or pointer(lines)
    return here if at or (here and not skipped(here.function)) else None


def skipped(function: str) -> bool:
    """Whether a function is a reporter, a helper or the way into the kernel, never the guilty one."""
    return bool(REPORTERS.match(function) or HELPERS.match(function) or ENTRY.match(function))


def _first_at(lines: Sequence[str]) -> Frame | None:
    for line in lines[1:]:
        if match := AT.match(line):
            return Frame(function=plain(match["f"]))
        if line.lstrip().startswith(("stack backtrace", "Call Trace")):
            return None
    return None


def _hung(found: list[list[Frame]]) -> Frame | None:
    for trace in found[:1]:
        for one in trace:  # whoever waits for one of these is a victim: name what it waits for
            if one.sure and (match := AWAITED.match(one.function)):
                return Frame(function="rtnl_lock" if match["lock"] else "synchronize_rcu")
        for one in trace:
            if one.sure and not (SCHEDULER.match(one.function) or skipped(one.function)):
                return one
    return None


def _stalled(lines: Sequence[str], found: list[list[Frame]]) -> Frame | None:
    """Return the handler that was running: the frame above the first anchor, below the noise of the interrupt."""
    useful = [
        one for trace in found[:2] for one in trace
        if one.sure and not (STALL_NOISE.match(one.function) or REPORTERS.match(one.function))
    ]  # fmt: skip
    waiting = next((one for one in useful if SMP_CALL.match(one.function)), None)
    if waiting:  # it waits for another CPU, and that is all that the report can know
        return Frame(function="smp_call_function")
    for above, one in pairwise(useful):
        if ANCHORS.match(one.function) and not (ANCHORS.match(above.function) or skipped(above.function)):
            return above
    call = next((one for one in useful if SYSCALL.match(one.function)), None)
    if call:
        return call
    at = pointer(lines)
    if at and not (STALL_NOISE.match(at.function) or skipped(at.function)):
        return at
    return next((one for one in useful if not skipped(one.function)), None)
