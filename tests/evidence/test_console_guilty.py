"""Who is innocent in a call trace. The names are the kernel's own, of 4.4 to 7.2 and several architectures."""

import pytest

from lab.evidence.console_families import CONTRACTS, ENTRY, HELPERS, REPORTERS, SCHEDULER, family
from lab.evidence.console_frames import plain
from lab.evidence.console_guilty import skipped

INNOCENT = """
dump_stack dump_stack_lvl __dump_stack show_stack dump_backtrace print_report kasan_report __kasan_report
kasan_report_invalid_free __asan_report_load8_noabort __asan_load8 __hwasan_tag_memory check_memory_region
kmsan_report __msan_warning kcsan_report kfence_report_error __ubsan_handle_out_of_bounds ubsan_epilogue panic __warn
warn_slowpath_fmt report_bug fixup_bug __stack_chk_fail exc_page_fault asm_exc_page_fault do_page_fault
__do_page_fault do_user_addr_fault bad_area_nosemaphore no_context do_trap do_error_trap do_invalid_op invalid_op
exc_general_protection die_kernel_fault __do_kernel_fault do_mem_abort do_translation_fault el1h_64_sync el1_abort
el1_sync do_DataAbort __dabt_svc do_PrefetchAbort bug_handler brk_handler program_check_exception data_access_common
__do_pgm_check pgm_check_handler do_trap_ecall_u handle_bug fortify_panic nmi_cpu_backtrace trigger_all_cpu_backtrace
lock_acquire __lock_acquire lock_release register_lock_class validate_chain lockdep_rcu_suspicious
reacquire_held_locks _raw_spin_lock _raw_spin_lock_irqsave __raw_spin_lock_bh do_raw_spin_lock
queued_spin_lock_slowpath native_queued_spin_lock_slowpath _raw_write_lock_irq do_raw_read_lock mutex_lock
mutex_lock_nested __mutex_lock mutex_unlock __mutex_unlock_slowpath mutex_optimistic_spin ww_mutex_lock rt_spin_lock
rt_mutex_slowlock down_read down_write down_write_killable up_read down_trylock rwsem_down_write_slowpath
percpu_down_read __percpu_down_read osq_lock rcu_read_lock srcu_read_lock refcount_warn_saturate refcount_dec_and_test
kref_put __might_sleep __might_resched __might_fault debug_object_activate debug_print_object debug_check_no_obj_freed
check_preemption_disabled __this_cpu_preempt_check perf_trace_lock_acquire __list_del_entry_valid
__list_add_valid_or_report rb_erase rb_insert_color _find_next_bit find_first_bit atomic_dec_and_test memcpy __memcpy
memset_erms memmove __pi_memcpy memcmp strlen strncpy strscpy strnlen kstrdup kmemdup vsnprintf string_nocheck pointer
kmalloc __kmalloc kmalloc_trace __kmalloc_node_track_caller_noprof kmem_cache_alloc kmem_cache_free kfree kvfree vfree
krealloc kvmalloc_node ___slab_alloc new_slab allocate_slab alloc_pages __alloc_pages_noprof get_page_from_freelist
__vmalloc_node_range pcpu_alloc _copy_from_user copy_from_user __copy_user_nocache _copy_to_iter copyout __get_user_4
__put_user_8 strncpy_from_user __check_object_size usercopy_abort crc32c_le crc16 kfree_skb skb_put skb_over_panic
skb_pull_rcsum queue_work_on __queue_work cancel_work_sync __cancel_work_timer __flush_work del_timer_sync
timer_delete_sync mod_timer try_to_wake_up complete wait_for_completion finish_wait prepare_to_wait kthread_stop dput
iput do_syscall_64 entry_SYSCALL_64_after_hwframe do_fast_syscall_32 invoke_syscall el0_svc_common el0t_64_sync
ret_fast_syscall system_call_exception kthread worker_thread process_one_work ret_from_fork irq_exit
sysvec_apic_timer_interrupt apic_timer_interrupt handle_softirqs __do_softirq common_interrupt start_kernel rest_init
"""
# Functions that developers do find named in reports, though their names look like those above.
GUILTY = """
__run_timers __unwind_start unwind_next_frame timerqueue_del remove_wait_queue schedule_tail pskb_expand_head
__alloc_skb skb_clone skb_release_data __kernfs_remove unregister_netdevice_many rollback_registered_many usb_free_urb
usb_hcd_link_urb_to_ep iov_iter_revert mempool_alloc_noprof shash_ahash_update crypto_alg_lookup atomic_open
complete_walk complete_signal detach_mounts detach_tasks fault_dirty_shared_page fixup_owner cache_clean key_alloc
list_lru_add copy_process copy_mm copy_net_ns strp_data_ready timer_foo_setup trace_seq_foo
lock_metapage rb_alloc_foo kernfs_get call_fib_notifier e1000_interrupt kvm_alloc_foo get_device_foo
find_uprobe read_cache_folio write_cache_pages mark_buffer_dirty d_splice_alias path_openat __fput do_dentry_open
security_file_open exit_mmap wb_workfn net_rx_action rcu_core __rmqueue_pcplist __page_table_check_zero
"""
CHECKERS = "kobject_put put_device device_add add_uevent_var drop_nlink proc_create_data"
WAITING = """
__schedule schedule schedule_timeout io_schedule wait_for_completion_killable mutex_lock_nested down_write
rwsem_read_trylock folio_wait_bit_common __lock_page bit_wait_io jbd2_log_wait_commit __wait_on_freeing_inode
rt_mutex_slowlock_block msleep
"""


@pytest.mark.parametrize("name", INNOCENT.split())
def test_reporters_helpers_and_ways_into_the_kernel_are_never_blamed(name):
    assert skipped(name)


@pytest.mark.parametrize("name", GUILTY.split())
def test_what_only_looks_like_a_helper_can_be_blamed(name):
    assert not skipped(name)


@pytest.mark.parametrize("name", CHECKERS.split())
def test_who_checks_rules_for_its_callers_is_innocent_of_what_they_break_but_not_of_bad_memory(name):
    assert skipped(name, contract=True)
    assert not skipped(name)


@pytest.mark.parametrize("name", WAITING.split())
def test_where_a_task_waits_is_not_what_hangs(name):
    assert SCHEDULER.match(name)


@pytest.mark.parametrize("table", [REPORTERS, HELPERS, ENTRY, CONTRACTS, SCHEDULER])
def test_a_family_matches_whole_names_and_few_of_all(table):
    assert not table.match("ext4_lookup")
    assert not table.match("")


def test_a_family_is_read_from_a_text_with_comments():
    assert family("# a comment\n foo\\w* bar\n").match("foo_1")


@pytest.mark.parametrize(
    ("name", "told"),
    [("foo.constprop.0", "foo"), ("foo.isra.0.cold", "foo"), ("foo.part.12", "foo"), ("foo.llvm.123", "foo"),
     ("foo.123", "foo"), ("foo.kcfi", "foo"), ("foo.cfi_jt", "foo"), ("foo_2", "foo_2")],
)  # fmt: skip
def test_what_the_compiler_added_to_a_name_is_taken_off(name, told):
    assert plain(name) == told
