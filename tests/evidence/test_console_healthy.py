"""Consoles on which nothing crashed, though many words of crashes are on them. The lines are made by hand."""

import pytest

from lab.checks import boot
from lab.evidence import console

KERNEL = """\
Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro console=ttyS0 panic=-1 oops=panic panic_on_warn=1 crashkernel=256M
Kernel command line: console=ttyS0,115200 softlockup_panic=1 hung_task_panic=1 nmi_watchdog=panic
Unknown kernel command line parameters "panic_on_warn BOOT_IMAGE=/vmlinuz", will be passed to user space.
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[Firmware Bug]: TSC_DEADLINE disabled due to Errata; please update microcode to version: 0x52 (or later)
ACPI BIOS Error (bug): Could not resolve symbol [_SB.PCI0.XHC.RHUB.HS11], AE_NOT_FOUND (20220331/dswload2-162)
ACPI BIOS Warning (bug): Optional FADT field Pm2ControlBlock has valid Length but zero Address
Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible via Spectre v2 BHB attacks!
Speculative Return Stack Overflow: WARNING: See https://kernel.org/doc/html/latest/admin-guide/hw-vuln/srso.html for more
Speculative Return Stack Overflow: WARNING: kernel not compiled with CPU_SRSO.
MDS CPU bug present and SMT on, data leak possible. See https://www.kernel.org/doc/html/latest/admin-guide/hw-vuln/mds.html
WARNING: workqueue cpumask: online intersect > possible intersect
Freeing SMP alternatives memory: 36K
rcu: Hierarchical RCU implementation.
rcu: RCU lockdep checking is enabled.
Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar
... MAX_LOCKDEP_SUBCLASSES:  8
                                 | spin |wlock |rlock |mutex | wsem | rsem |
                     A-A deadlock:  ok  |  ok  |  ok  |  ok  |  ok  |  ok  |
Good, all 361 testcases passed! |
INFO: lockdep is turned off.
INFO: NMI handler (perf_event_nmi_handler) took too long to run: 1.356 msecs
INFO: Stall ended before state dump start
perf: interrupt took too long (2508 > 2500), lowering kernel.perf_event_max_sample_rate to 79000
NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.
NMI watchdog: Perf NMI watchdog permanently disabled
softdog: initialized. soft_noboot=0 soft_margin=60 sec soft_panic=0 (nowayout=0)
clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable because the skew is too large:
watchdog: watchdog0: watchdog did not stop!
kasan: KernelAddressSanitizer initialized (generic)
kcsan: enabled early
kcsan: selftest: 3/3 tests passed
kfence: initialized - using 2097152 bytes for 255 objects at 0x(____ptrval____)-0x(____ptrval____)
kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)
kmemleak: Automatic memory scanning thread started
x86/mm: Checked W+X mappings: passed, no W+X pages found.
APIC base relocation is unsupported by KVM
pci 0000:00:02.0: BAR 0: error updating (0xc0000008 != 0xffffffff)
EXT4-fs (sda1): INFO: recovery required on readonly filesystem
EXT4-fs (sda1): warning: mounting fs with errors, running e2fsck is recommended
EXT4-fs error (device sda1): ext4_lookup:1851: inode #2: comm ls: deleted inode referenced: 12
EXT4-fs (sda1): Remounting filesystem read-only
XFS (sda2): Metadata corruption detected at xfs_agf_read_verify+0x110/0x120 [xfs], xfs_agf block 0x1
BTRFS error (device sda3): parent transid verify failed on 12345 wanted 5 found 6
Buffer I/O error on dev sdb, logical block 0, async page read
blk_update_request: I/O error, dev fd0, sector 0 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0
ata1.00: exception Emask 0x0 SAct 0x0 SErr 0x0 action 0x6 frozen
Out of memory: Killed process 1234 (stress) total-vm:8192kB, anon-rss:4096kB, file-rss:0kB, shmem-rss:0kB
stress invoked oom-killer: gfp_mask=0x100cca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0
traps: a.out[123] general protection fault ip:401136 sp:7ffd error:0 in a.out[401000+1000]
traps: a.out[123] trap divide error ip:401136 sp:7ffd error:0 in a.out[401000+1000]
traps: a.out[123] trap invalid opcode ip:401136 sp:7ffd error:0 in a.out[401000+1000]
a.out[12]: segfault at 0 ip 0000000000401136 sp 00007ffd error 6 in a.out[401000+1000] likely on CPU 0 (core 0, socket 0)
a.out[12]: unhandled level 2 translation fault (11) at 0x00000000, esr 0x92000006, in a.out[400000+1000]
audit: type=1400 audit(1700000000.1:2): apparmor="DENIED" operation="open" name="/panic" comm="BUG" pid=12
nvidia: module license 'NVIDIA' taints kernel.
Disabling lock debugging due to kernel taint
frob: module verification failed: signature and/or required key missing - tainting kernel
frob: loading out-of-tree module taints kernel.
frob: unknown parameter 'x' ignored
livepatch: enabling patch 'frob'
mce: [Hardware Error]: Machine check events logged
EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Channel#0_DIMM#0
usb 1-1: device descriptor read/64, error -71
drm: DEBUG: nothing to see; BUGS: none; DEBUG_LOCKS is on
[drm:sde_dbg_init:3432] evtlog_status: enable:0, panic:1, dump:2
[camera][msm_init::526][BIN_INFO::0x0008]
TCP: request_sock_TCP: Possible SYN flooding on port 80. Sending cookies.
random: crng init done
Warning: unable to open an initial console.
Run /sbin/init as init process
pstore: Using crash dump compression: deflate
sysrq: Show Blocked State
sysrq: HELP : loglevel(0-9) reboot(b) crash(c) terminate-all-tasks(e) show-backtrace-all-active-cpus(l)
systemd[1]: Failed to start Load Kernel Modules.
systemd[1]: frob.service: Main process exited, code=dumped, status=11/SEGV
systemd[1]: BUG: frobbing is not implemented
systemd-journald[123]: Received client request to flush runtime journal.
dracut-initqueue[321]: WARNING: at least one disk is missing
"""
PROGRAMS = """\
Welcome to Debian GNU/Linux 12 (bookworm)!
[  OK  ] Started udev Kernel Device Manager.
[FAILED] Failed to start Load Kernel Modules.
debian login: root
WARNING: /etc/ssh/moduli does not exist, using fixed modulus
WARNING: at least one of these must be set
WARNING: at /etc/frob.conf:12 unknown key
WARNING: CPU count is 1, PID file is missing
WARNING: apt does not have a stable CLI interface. Use with caution in scripts.
WARNING: All config files need .conf: /etc/modprobe.d/x
INFO: task 12 of 40 is done
INFO: rcutorture will be started
INFO: possible upgrade found
INFO: ltp-pan reported all tests PASS
BUGS: see https://bugs.debian.org/
DEBUG: x = 1
debug: BUG 1234 is fixed, see Bugzilla
no lockdep problems, no BUG seen
tst_test.c:1560: TINFO: Timeout per run is 0h 05m 00s
kmsg01.c:393: TPASS: TESTCASE PANIC: read a panic message
<<<test_start>>> tag=oom01 stime=1700000000 cmdline="oom01"
Testing general protection of frobs
gcc: fatal error: no input files
fatal: not a git repository (or any of the parent directories): .git
panic: is what I do when nothing works
Oops, that was wrong
Oops: try again
issue [#12]: repaired
Merge pull request [#12]
Fix the frob in kernel code [#12]
ERROR: deadlock detected
java: stack overflow at Frob.main
inconsistent lock states are bad
insmod: ERROR: could not insert module frob.ko: No such device
modprobe: FATAL: Module frob not found in directory /lib/modules/6.1.0
frob: Unknown symbol of the zodiac
cat: version magic: No such file
Total relocation entries: 12
net.ipv4.conf.all.rp_filter = 1
kernel.panic = 10
kernel.panic_on_oops = 1
kernel.hung_task_panic = 0
ok 1 - not a test, as no version line was seen
Rebooting.
"""
FIRMWARE = """\
SeaBIOS (version 1.16.2-debian-1.16.2-1)
iPXE (https://ipxe.org) 00:02.0 CA00 PCI2.10 PnP PMM+06FD1180+06F31180 CA00
Booting from ROM..
U-Boot 2023.01 (Jan 01 2023 - 00:00:00 +0000)
DRAM:  512 MiB
Loading Environment from Flash... *** Warning - bad CRC, using default environment
OpenSBI v1.3
BdsDxe: loading Boot0001 "UEFI QEMU HARDDISK QM00001 " from PciRoot(0x0)/Pci(0x1,0x1)/Ata(Primary,Master,0x0)
BdsDxe: starting Boot0001 "UEFI QEMU HARDDISK QM00001 " from PciRoot(0x0)/Pci(0x1,0x1)/Ata(Primary,Master,0x0)
EFI stub: Booting Linux Kernel...
EFI stub: UEFI Secure Boot is enabled.
Decompressing Linux... Parsing ELF... done.
Booting the kernel.
"""
BANNER = "[    0.000000] Linux version 6.12.0 (user@host) (gcc) #1 SMP\n"
PREFIXES = ["[   12.345678] ", "[   12.345678][    T1] ", "<4>[   12.345678] ", "Nov 21 02:00:00 host kernel: ", ""]


def found(text):
    return [finding.title for finding in boot.log_findings(console.read_text(text), "console.txt")]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_healthy_kernel_s_words_are_no_crash(prefix):
    assert found(BANNER + "".join(f"{prefix}{line}\n" for line in KERNEL.splitlines())) == []


@pytest.mark.parametrize("line", KERNEL.splitlines() + PROGRAMS.splitlines())
def test_no_line_of_a_healthy_console_is_a_crash_by_itself(line):
    assert found(f"{line}\n") == []


def test_programs_words_are_no_crash():
    assert found(BANNER + PROGRAMS) == []


def test_firmware_before_the_kernel_is_no_reboot():
    assert found(FIRMWARE + BANNER + PROGRAMS) == []


def test_a_reboot_that_was_asked_for_is_none_that_nobody_asked_for():
    down = "[   60.000000] reboot: Restarting system\n"
    assert found(FIRMWARE + BANNER + PROGRAMS + down + FIRMWARE + BANNER + PROGRAMS) == []


def test_a_reboot_that_was_asked_for_does_not_excuse_the_next_one():
    down = "[   60.000000] reboot: Restarting system\n"
    assert found(BANNER + down + BANNER + PROGRAMS + BANNER) == ["unexpected kernel reboot"]


def test_a_kernel_that_starts_again_in_the_middle_is_a_reboot():
    running = "[  433.233894] usb 1-1: new high-speed USB device\n"
    assert found(running + BANNER) == ["unexpected kernel reboot"]
    assert found(BANNER + running + "Booting the kernel.\n") == ["unexpected kernel reboot"]


@pytest.mark.parametrize(
    "before", ["executing program 0:", "debian login: root", "mmap(&(0x7f0000000000/0x1000)=nil, 0x1000)"]
)
def test_a_machine_that_starts_after_a_program_ran_is_a_reboot(before):
    assert found(f"{before}\n{FIRMWARE}{BANNER}") == ["unexpected kernel reboot"]


def test_words_of_who_starts_the_machine_are_none_of_a_system_that_ran():
    assert found(f"+ make run\nstarting qemu, please wait\n{FIRMWARE}{BANNER}{PROGRAMS}") == []


def test_words_of_a_start_within_another_line_are_none():
    assert (
        found(BANNER + "[    9.000000] fuse: Unknown parameter 'Decompressing Linux... done. Booting the kernel.  '\n")
        == []
    )
