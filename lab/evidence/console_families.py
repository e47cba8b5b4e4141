"""Functions of the kernel that stand in call traces and are not to blame, by families.

Each family is a text of patterns, one whole name each, with the kernel's files beside it. A name belongs to a family for what
the function is (it prints the report, it takes a lock, it copies memory for its caller), not for where it was seen.
"""

from __future__ import annotations

import re


def family(text: str) -> re.Pattern[str]:
    """Compile patterns of function names, each a whole name, from a text with comments."""
    patterns = " ".join(line for line in text.splitlines() if not line.lstrip().startswith("#")).split()
    return re.compile(f"(?:{'|'.join(patterns)})$")


REPORTERS = family(
    r"""
    # who prints: lib/dump_stack.c, kernel/panic.c, lib/bug.c
    _*dump_(?:stack|backtrace)\w* show_(?:stack|regs|trace\w*) unwind_backtrace walk_stackframe stack_dump print_\w+
    end_report report_\w+ \w+_panic panic\w* vpanic __stack_chk_\w+ check_panic_on_warn
    warn_(?:slowpath\w*|alloc\w*|bogus\w*) _*WARN\w* __warn\w* _*die\w* oops_\w+ bust_spinlocks \w+_bad_stack\w*
    _*bad_stack add_taint make_task_dead rewind_stack\w* fortify_\w+ __fortify_\w+ _*printk\w* vprintk\w* console_\w+
    _*dev_\w*printk\w* dev_vprintk_emit _dev_\w+ __netdev_printk
    netdev_(?:printk|emerg|alert|crit|err|warn|notice|info) __show_\w+ sched_show\w* show_(?:one_cpu|cpu|workqueue)_\w+
    trigger_\w+backtrace\w* dump_cpu_task show_state\w* nmi_cpu_backtrace\w* arch_trigger\w* nmi_trigger\w* __bug_\w+
    report_cfi_\w+ handle_cfi_\w+ __cfi_\w+ cfi_\w+
    # the sanitizers: mm/kasan, mm/kmsan, kernel/kcsan, mm/kfence, lib/ubsan.c
    \w*kasan\w* __asan_\w+ __(?:ubsan|kcsan|hw?asan|tsan|sanitizer)\w* ubsan_\w+ \w*kmsan\w* _*msan_\w+ \w*kcsan\w*
    __kfence_\w+ kfence_\w+ check_memory_region\w* check_region_inline kmemleak_\w+ create_object\w* __create_object\w*
    __alloc_object object_err object_error set_freepointer
    # who finds its own structures damaged: mm/slub.c, mm/page_alloc.c, lib/ref_tracker.c, fs/proc
    bad_page\w* free_page_is_bad\w* check_(?:free|new)_page\w* ref_tracker_\w+ slab_(?:err|bug|fix|pad_check)\w*
    check_bytes_and_report check_object free_debug_processing alloc_debug_processing free_to_partial_list
    free_consistency_checks alloc_consistency_checks on_freelist print_trailer
    # who catches: arch/*/kernel/traps.c, arch/*/mm/fault.c, arch/*/entry
    (?:\w+_)?(?:page_fault|bad_area|do_trap|do_error_trap|do_invalid_op|vmalloc_fault|kernelmode_fixup_or_oops)\w*
    exc_\w+ asm_exc_\w+ asm_\w+ _*do_kernel_fault
    do_(?:tag_check_fault|tag_recovery|mem_abort|sp_pc_abort|translation_fault)
    do_(?:bad|DataAbort|PrefetchAbort|sect_fault|alignment\w*|bug|int3|int|debug|nmi|trap\w*|undefinstr|serror|el\w+)
    do_(?:general_protection|divide_error|stack_segment|double_fault|invalid_op|device_not_available|machine_check)\w*
    __do_\w*fault do_user_addr_fault handle_(?:bug|page_fault|ubsan_\w+|invalid_op|stack_overflow) el[01][ht]?_\w+
    arm64_serror_panic __(?:dabt|und|pabt)_(?:svc|usr|invalid) __bad_(?:area|mode)\w* bad_mode bad_el\w+ invalid_op
    general_protection double_fault df_debug stack_segment divide_error int3 segment_not_present
    (?:double_)?error_(?:code|entry) ret_from_exception no_context fault_(?:in_kernel_space|from_pkey)
    fixup_(?:bug|exception) program_check\w* arm_notify_die arm64_notify_die brk_handler call_(?:break|undef|step)_hook
    (?:early_)?brk\w+ bug_(?:brk_)?handler bug_brk_handler undefinstr_handler pgm_check_handler _*do_pgm_check
    do_dat_exception illegal_op monitor_event_exception do_protection_exception data_access\w* instruction_access\w*
    hash_fault do_hash_fault alignment_exception emulation_assist _exception\w* user_single_step_report
    handle_(?:exception|tlb[lsm]\w*|ri|bp|tr|ade\w*|reserved|sys) do_trap_\w+ tlb_do_page_fault_\d+ trap_init
    do_(?:bp|ri|ale|ade|be|cpu|watch|fpe|reserved) restore_exception_\w+ handle_kernel_\w+fault \w*spurious_\w*fault\w*
    math_error
    # lockdep and the other debugging of locks: kernel/locking/, kernel/rcu/, lib/debugobjects.c, kernel/sched/core.c
    \w*lockdep_\w+ \w*lock_(?:is_)?held\w*
    (?:lock|seqcount)_(?:acquire|release|downgrade|set_class|set_subclass|\w*pin_lock)\w*
    __lock_(?:acquire|release|downgrade|set_class|pin|unpin)\w* validate_chain\w* mark_(?:lock|usage|held|irqflags)\w*
    check_\w*(?:irq|deadlock|usage|prev|unlock|noncircular|chain_key|preempt|wait_context|flags|redundant|path)\w*
    register_lock_class reacquire_held_locks find_held_lock look_up_lock_class assign_lock_key valid_state hlock_class
    match_held_lock graph_(?:lock|unlock) static_obj zap_class \w*usage_match\w* __bfs\w* lookup_chain_cache\w*
    add_chain_\w+ save_trace save_stack\w* stack_trace_\w+ stack_depot\w* depot_\w+
    debug_(?:object|check|lockdep|work|timer|hrtimer|rcu|print|mutex|rt_mutex|spin|locks|show|smp)\w*
    debug_(?:rwsem|exception|kmap|percpu|dma|deactivate|activate)\w* __debug_\w+ lookup_object\w* __debug_object\w*
    _*this_cpu_preempt_check __this_cpu_\w+ _*might_(?:sleep|fault|resched|alloc)\w* __cant_(?:sleep|migrate)
    __schedule_bug __bug\w* spin_(?:bug|dump) rwlock_bug _*refcount_\w+ kref_\w+ __kref_\w+
    _*rcu_(?:lockdep|lock_acquire|lock_release)\w*
    # tracing, fault injection and coverage: kernel/trace, lib/fault-inject.c, kernel/kcov.c
    perf_trace_\w+ perf_(?:event_)?tp_event\w* ftrace_(?:call|caller|regs_call|regs_caller|graph_\w+|ops_\w+|stub\w*)
    (?:trace|tracer)_(?:hardirqs|softirqs|preempt|irq|event|graph|call|return|function|contention|lock)\w*
    trace_\w+_(?:on|off)\w* trace_raw_output\w* __trace_\w+ __traceiter_\w+ __bpf_trace_\w+ should_fail\w* fail_dump
    fault_create_debugfs_attr kcov_\w+ write_comp_data
    """
)
HELPERS = family(
    r"""
    # locks: kernel/locking, include/linux/spinlock_api_smp.h, include/linux/seqlock.h, kernel/rcu
    _*(?:raw_)?(?:spin|read|write|rwlock|rw|local|bit_spin|arch_spin|queued_spin|queued_read|queued_write|ticket_spin|rt_spin)_\w*(?:lock|unlock)\w*
    do_raw_\w+ raw_spin_rq_\w+ _*(?:down|up)(?:_\w+)? __(?:down|up)_\w+ _*percpu_(?:down|up)_\w+ percpu_is_\w+
    _*(?:mutex|ww_mutex|rt_mutex|rtmutex|rwsem|rwbase|percpu|rt_read|rt_write)_\w*(?:lock|read|write|trylock|slowpath|slow|killable|interruptible|waiter|down|up|spin|mark|wake|handoff|owner|count)\w*
    _*mutex_\w+ _*ww_mutex_\w+ _*rt_mutex_\w+ _*rwsem_\w+ _*(?:un)?lock_(?:page|folio|buffer|two_nondirectories)\w*
    (?:un)?lock_page\w* _*folio_(?:un)?(?:try)?lock\w* folio_end_(?:read|writeback)\w* end_page_writeback bit_spin_\w+
    _atomic_dec_and_\w+ __seqprop\w* (?:do_|raw_)?(?:read|write)_seq\w+ csd_(?:un)?lock\w* osq_(?:un)?lock\w*
    lock_timer_base release_sock lock_sock\w* __lock_sock __release_sock sock_owned_\w+
    rcu_(?:read|is_watching|dynticks|preempt|note|check|lock)\w* _*rcu_read_\w+ _*srcu_read_\w+ percpu_ref_\w+
    __ref_\w+ console_(?:un)?lock lockref_\w+ pv_\w+ native_queued_\w+
    # memory and strings: lib/string.c, arch/*/lib/, lib/vsprintf.c, lib/hexdump.c
    _*(?:pi_|__pi_)?mem(?:cpy|set|move|cmp|chr|scan|dup|zero|32|copy)\w*
    _*str\w*(?:cpy|cmp|len|cat|chr|str|dup|spn|pbrk|sep|scan)\w* sized_str\w+ sysfs_streq nla_(?:mem|str)\w+
    skip_spaces string\w* hex_\w+ number pointer v?s[nc]*printf \w*vs\w*printf ptr_to_id ip[46]?_addr_string\w*
    ip[46]?_string mac_address_string uuid_string bitmap_string dentry_name format_decode widen_string
    special_hex_number seq_(?:printf|vprintf|puts|putc|write|escape\w*|put_\w+) __memory_\w+ memory_is_\w+
    read_word_at_a_time _*(?:read|write)_once\w* __phys_addr\w* __virt_addr_valid __pa_\w+ virt_to_\w+
    (?:__)?page_to_\w+ clear_(?:page|user|huge)\w* copy_(?:page|user_highpage|highpage)\w* __clear_user\w* _*rep_\w+
    __arch_\w+user\w*
    # allocators: mm/slab*.c, mm/page_alloc.c, mm/vmalloc.c, mm/percpu.c, mm/util.c
    _*k(?:v|re|m|z|c|vm|vz|vc|vre)*alloc(?:_\w+)? _*k?v?m?[mzc]alloc\w* _*kmem\w+ _*kmalloc\w+ k?v?asprintf\w*
    kvasprintf\w* _*kv?z?free(?:_sensitive)? _*vfree(?:_atomic)? kvfree_sensitive
    kfree_(?:skb\w*|const|sensitive|link|bulk)
    _*free_(?:pages?|percpu|large_kmalloc|frozen_pages|the_page|unref_\w+|one_page)\w*
    _*(?:____|__)?slab_(?:alloc|free|post_alloc|pre_alloc)\w* ___slab_alloc new_slab\w* allocate_slab discard_slab
    do_slab_free _*cache_(?:alloc|free|grow|flusharray|reap|init_objs|from_obj)\w* ____cache_alloc\w* fallback_alloc
    kmem_getpages alternate_node_alloc free_block(?:_list)? memdup_\w+ kstr\w*dup\w* kmemdup\w* _*vunmap\w*
    _*vmalloc\w* vz\w*alloc\w* vmap __vmap_\w+ __vfree\w* remove_vm_area
    _*alloc_(?:page|pages|frozen|percpu|contig|slab|swap)\w* _*folio_alloc\w* (?:vma_)?alloc_(?:pages?|folio)\w*
    filemap_alloc_folio\w* _*get_free_\w+ get_zeroed_page\w* get_page_from\w+ prep_(?:new_page|compound_page)
    post_alloc_hook free_pcp\w* free_pcppages_bulk __free_one_page pcpu_\w+ dma_pool_\w+ quarantine_\w+ qlink_\w+
    qlist_\w+ dev_?m_k\w*alloc\w* devm_k\w+ ___cache_free __cache_free rmqueue\w* should_fail(?:slab|_alloc_page)
    # to and from user space: mm/usercopy.c, lib/usercopy.c, lib/iov_iter.c, arch/*/lib/
    _*copy_(?:to|from|in)_\w+ _copy_\w+ _*(?:arch_)?copy_\w*user\w* copyin\w* copyout\w* copy_mc\w* simple_copy_\w+
    check_copy_size __check_object_size
    check_(?:heap_object|bogus_address|page_span|stack_object|kernel_text_object)\w* _*check_heap_object usercopy_\w+
    _*(?:put|get)_user\w* _*(?:un)?safe_\w+_user\w* strn(?:cpy_from|len)_user instrument_\w+ import_(?:iovec|ubuf)
    iterate_(?:and_advance|bvec|iovec|kvec|xarray)\w* (?:__)?arch_(?:copy|clear)_\w+ fault_in_\w+
    copy_(?:struct|sockptr)\w* user_access_\w+ raw_copy_\w+ memcpy_(?:to|from)_\w+ memcpy_and_pad
    # data structures that were handed in: lib/list_debug.c, lib/rbtree.c, lib/bitmap.c, lib/find_bit.c, lib/llist.c
    _*list_(?:add|del|replace|move|splice|empty|cut|swap|bulk|rotate)\w* _*hlist_\w+ _*llist_\w+ plist_\w+ klist_\w+
    _*rb_(?:insert|erase|first|last|next|prev|replace|link|rotate|augment|change|set)\w* interval_tree_\w+
    timerqueue_add _*(?:find_(?:first|next|last|nth)\w*_bit\w*|_find_\w+) bitmap_\w+ __bitmap_\w+
    (?:arch_)?(?:test|set|clear|change)_bit\w* (?:arch_|__)?(?:test|set|clear|change)_and_\w+bit\w* const_test_bit
    variable_test_bit constant_test_bit \w*test_bit
    (?:arch_|raw_)?atomic(?:64|_long)?_(?:read|set|add|sub|inc|dec|and|or|xor|andnot|xchg|cmpxchg|fetch|try|cond)\w*
    arch_atomic\w* raw_atomic\w* arch_(?:xchg|cmpxchg)\w* xchg_\w+ _*cmpxchg\w* _*percpu_counter\w+ _*sw_hweight\d+
    hweight\w*
    # sums: lib/crc*, crypto/crc32c.c; the buffer came from the caller
    _*crc\w+ chksum_\w+ crypto_shash_\w+ \w*crc32c?_\w*(?:update|le|be|arch|generic|intel|pcl)\w*
    # buffers of the network: net/core/skbuff.c, whose caller did not make room
    _*skb_(?:put|push|pull|over_panic|under_panic|trim)(?:_\w+)? skb_panic skb_put_\w+ __skb_(?:put|push|pull|trim)\w*
    ___?pskb_trim pskb_trim\w*
    # calls through a thunk
    __x86_indirect_\w+ __x86_return_\w+ _*srso_\w+ retbleed_\w+ __kprobes_\w+ kprobe_\w*handler \w*_thunk
    # work, timers, waiting, threads: the object given to them was bad, they are innocent
    _*queue_(?:work|delayed_work|rcu_work)\w* _*queue_delayed\w* insert_(?:work|wq_barrier)
    _*flush_(?:work|delayed_work) _*cancel_\w*work\w* _*mod_delayed_work\w*
    (?:start|_*flush|drain|destroy|__drain)_work(?:queue)? _*(?:flush|drain|destroy)_workqueue
    schedule_(?:work|delayed_work)\w* try_to_grab_pending get_work_pool\w* mark_work_canceling work_grab_pending
    _*(?:del|mod|add|init|try_to_del|delete)_?timer\w* _*timer_(?:delete|shutdown|reduce|init|fixup|debug)\w*
    detach_(?:if_pending|timer) internal_add_timer enqueue_timer calc_wheel_index
    _*hrtimer_(?:cancel|start|init|try_to_cancel|active|reprogram)\w* hrtimer_setup try_to_wake_up wake_up\w*
    __wake_up\w* _*wake_up\w* default_wake_function autoremove_wake_function swake_up\w* __swait\w*
    complete(?:_all|_with_flags|_on_current_cpu)? swake_\w+ (?:do_|_*)wait_for_\w+ (?:finish|prepare_to|init)_wait\w*
    (?:add|_*remove)_wait_queue_\w+ (?:work|timer|hrtimer|rcuhead)_is_static\w* kill_fasync\w* send_sigio
    kthread_(?:stop|park|insert_work\w*|queue_\w*work|flush_work\w*|cancel\w*)
    _*tasklet_(?:kill|schedule\w*|hi_schedule\w*|disable\w*|unlock_wait) irq_work_\w+ _*synchronize_\w+
    smp_call_function\w* generic_exec_single on_each_cpu\w*
    # objects handed in by their owner, freed too often or too early: fs/, net/core/sock.c, drivers/base, drivers/usb/core
    _*(?:fast_|retain_|lockref_)?dput\w* iput\w* ihold igrab sk_stop_timer\w* sk_reset_timer
    sysfs_(?:remove|create|delete)\w* device_remove_(?:file|group|bin_file|attrs)\w* kernfs_remove_by\w* consume_skb\w*
    put_page\w* _*folio_put\w*
    usb_(?:kill|submit|poison|hcd_submit|hcd_unlink|control|bulk|interrupt|start_wait|internal_control|unlink|alloc_urb)_\w+
    usb_(?:bulk|interrupt|control)_msg\w* usb_start_wait_urb usb_submit_urb usb_kill_urb usb_unlink_urb usb_poison_urb
    usb_anchor_\w+ (?:usb_)?unanchor_urb usb_unanchor_urb
    """
)
# What may sleep for its caller in the plainest way: a lock, an allocation, a copy to user space.
SLEEPERS = family(
    r"""
    _*(?:ww_|rt_)?mutex_\w+ _*down(?:_\w+)? rt_(?:spin|read|write|mutex)\w* __rt_\w+ rwsem_\w+ rwbase_\w+
    _*percpu_down\w* _*k(?:v|re|m|z|c)*alloc(?:_\w+)? _*kmem\w+ _*kmalloc\w+ _*slab_\w+ ___slab_alloc _*alloc_pages\w*
    kmemdup\w* kstrdup\w* _*copy_(?:to|from|in)_user\w* _copy_(?:to|from)_user\w* _*(?:get|put)_user\w*
    strncpy_from_user strnlen_user fault_in_\w+ _*wait_for_\w+ do_wait_for_\w+ _*might_\w+ should_fail\w* might_alloc
    fs_reclaim_\w+ _*prepare_alloc_pages
    """
)
# Where a system call enters: what stands above is the system call, or the work on the way back.
SYSCALL_ENTRY = family(
    r"""
    do_syscall_\w+ _*do_fast_syscall_\w+ do_int80_\w+ sysenter_dispatch tracesys_\w+ el0_svc_(?:handler|common)\w*
    _*invoke_syscall\w* ret_fast_syscall system_call_(?:exception|fastpath) entry_SYSCALL_\w+ do_trap_ecall_u\w*
    do_el0_svc
    """
)
# What takes a lock for its caller; lockdep's "at:" is blamed unless it is one of these.
LOCKS = family(
    r"""
    _*raw_(?:spin|read|write)_\w*lock\w* _*(?:spin|read|write)_(?:try|un)?lock\w* do_raw_\w+
    _*(?:ww_|rt_)?mutex_\w*(?:lock|common)\w* lock_acquire\w* lock_release\w* rcu_lock_\w+ rcu_read_\w+ srcu_\w+
    _*down_(?:read|write)\w* _*up_(?:read|write)\w* _*might_(?:fault|sleep|alloc)\w*
    """
)
CONTRACTS = family(
    r"""
    # A WARN() inside of these says that the caller broke their rules; memory that they find damaged is another matter.
    # lib/kobject*.c, drivers/base, fs/proc/generic.c, fs/sysfs, fs/inode.c
    _*kobject_\w+ kobj_\w+ kset_\w+ add_uevent_var
    device_(?:add|del|unregister|register|create|initialize|destroy|for_each_child)\w* (?:get|put)_device
    get_device_parent kernfs_remove_by\w* sysfs_\w+ internal_create_group _*proc_(?:register|create|mkdir)\w*
    remove_proc_\w+ (?:drop|inc|clear|set)_nlink _*call_rcu\w*
    """
)
ENTRY = family(
    r"""
    # the ways into the kernel: arch/*/entry, kernel/entry, kernel/kthread.c, kernel/workqueue.c, kernel/softirq.c, init/main.c
    entry_\w+ do_syscall\w* do_(?:fast|int80)\w* (?:\w+_)?sysenter\w* tracesys\w* (?:stub|int)_ret\w+ _*ret_from_\w+
    ret_(?:fast|slow)_syscall _*sys_(?:trace|call)\w* el0t?_\w+ do_el0_svc\w* (?:__)?invoke_syscall\w* __sys_trace\w*
    syscall_\w+ system_call\w* sysret_\w+ sysc_\w+ do_trap_ecall\w* kthread worker_thread process_one_work
    process_scheduled_works rescuer_thread retint_\w+ \w*apic_timer\w* common_interrupt\w* call_function\w*
    \w*irq_exit\w* irqentry_\w+ __irq_(?:svc|usr)
    (?:smp_|reschedule_|local_|hrtimer_|apic_|x86_|spurious_|error_|thermal_|threshold_|timer_|decrementer_|el[01]_)\w*interrupt
    interrupt_(?:entry|return)\w* do_IRQ do_irq\w* handle_IRQ\w* handle_(?:domain|arch)_irq\w* generic_handle_\w*irq\w*
    handle_irq_event\w* handle_(?:edge|level|fasteoi|simple|percpu|nested|bad|untracked)_\w*irq\w* gic_\w+
    (?:call|do)_on_irq_stack\w* do_interrupt_handler \w*soft_?irq\w* run_ksoftirqd smpboot_thread_fn start_secondary
    do_idle secondary_startup\w* cpu_startup_entry rest_init start_kernel x86_64_start\w* common_startup\w*
    fast_exception\w* sysvec_\w+ swapper\w* default_idle\w* cpuidle_\w+ arch_cpu_idle\w* cpu_idle\w* native_safe_halt
    (?:exit|prepare_exit)_to_user\w* exit_to_\w+ task_work_run ____fput
    """
)
SCHEDULER = family(
    r"""
    # where a task waits: kernel/sched/, kernel/locking/, mm/filemap.c; the next frame says what for
    (?:io_|freezable_|__)*schedule\w* _*sched_\w+ context_switch __switch_to\w* preempt_\w+ \w*wait\w* \w*completion\w*
    out_of_line_\w+ \w*_(?:slow)?lock(?:_\w+|ed)? _*(?:down|up)(?:_\w+)? \w*rwsem\w* \w*mutex\w* rwbase_\w+ percpu_\w+
    __refrigerator _*flush_(?:work|delayed\w*|workqueue) _*cancel_(?:delayed_)?work\w* drain_workqueue io_\w*sleep\w*
    m?sleep\w* usleep\w* kthread_(?:stop|park|flush\w*) (?:filemap_)?write_and_wait\w* do_read_cache_\w+ rcu_barrier\w*
    """
)
STALL_NOISE = family(
    r"""
    # the interrupt that found the stall, and what prints it
    nmi_\w+ arch_trigger\w* trigger_\w+ rcu_\w+ tick_\w+ update_process_times _*hrtimer\w* \w*apic\w*interrupt
    native_\w+ arch_(?:local|safe)\w* _*softirqentry\w* _*do_softirq invoke_softirq __local_bh\w* irq_\w+ run_ksoftirqd
    arch_timer\w* handle_\w*irq\w* generic_handle\w* gic_\w+ __handle_domain\w* cpu_relax delay_\w+
    _*(?:const_)?u?delay _*pv_\w+ queued_\w+ kvm_wait check_cpu_stall sched_clock\w* sched_show\w* lapic\w* do_IRQ
    call_console\w* io_serial\w* serial\w* uart_\w+ _*schedule\w* preempt_\w+ wait_for_xmitr prepare_to_\w+
    """
)
# Callers below which the work of one handler starts: the frame above them is what was being done.
ANCHORS = family(
    r"""
    _*vfs_(?:read|write|ioctl|iter\w*|mount|fsync\w*|open|readv|writev|fallocate|statx?|getattr|unlink|rename|mkdir|rmdir|create)
    do_vfs_ioctl call_(?:read|write)_iter new_sync_(?:read|write) do_iter_\w+ do_loop_readv\w* _*fput call_mmap
    mmap_region sock_(?:send|recv)msg\w* sock_common_\w+ _*sys_[gs]etsockopt process_one_work call_timer_fn
    expire_timers _*netif_receive_skb\w* deliver_skb netlink_(?:rcv_skb|dump) nfnetlink_rcv\w* rtnetlink_rcv_msg
    genl_(?:rcv|family_rcv)\w* tasklet_action\w* kthread
    (?:__(?:x64|ia32|arm64|riscv|s390x?|se|do)_)?_*(?:compat_)?(?:sys|SyS|SYSC)_(?:ioctl|connect|socketpair|listen|accept4?)
    sock_(?:ioctl|do_ioctl|release|mmap) compat_sock_ioctl _*sock_release sk_common_release do_dentry_open _*do_fault
    handle_mm_fault task_work_run blkdev_ioctl blkdev_driver_ioctl \w+_compat_ioctl _*do_softirq\w* handle_softirqs
    run_timer_softirq hrtimer_run_softirq run_ksoftirqd do_one_initcall exit_to_usermode_loop
    """
)
