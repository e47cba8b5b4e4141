"""Rows and artefacts to qemu command lines: a boot of a kernel, and the probe that tells whether KVM really runs a guest.

The machine is bare on purpose: no defaults, no display, no network, no monitor; its serial port is qemu's standard
output. A guest's reset ends qemu (-no-reboot), so panic=-1 ends the step at once and nothing is waited for. What qemu has to
tell of the guest it tells by QMP, and only to whom it has greeted: the guest is held until then. A triple fault, to QMP a
reset like any other, stands in a log of its own.

No -seed and no -icount: the kernel mixes the time stamp counter into its randomness, so neither makes two boots equal,
and the second costs speed.

Source: qemu-system(1), 7.2; qemu, docs/interop/qmp-spec.rst; Documentation/admin-guide/kernel-parameters.txt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lab.model import Boot, Step
from lab.tables import Arch, Machine

CONSOLE_LOG = "console.txt"
PROBE_LOG = "probe.txt"
QMP_LOG = "qmp.jsonl"
QEMU_LOG = "qemu.txt"
DEVICE_TREE = "machine.dtb"
SOCKET = "qmp"  # in the folder that qemu may write to
HELD = "-S"  # the guest's first instruction waits for QMP's "cont": an event before the greeting is told to nobody
CONSOLE_BYTES = 36 << 20
ENVIRONMENT = (("HOME", "/tmp"), ("LC_ALL", "C"), ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("TZ", "UTC"))

# Before the parameters of the row and of the matrix; one of theirs with the same key takes the place of ours.
#   panic=-1    reset at once, which -no-reboot turns into qemu's end
#   oops=panic  an oops while loading kills insmod inside the kernel with locks held: the next insmod would hang for ever
#   loglevel=7  all but debug messages, whatever CONSOLE_LOGLEVEL_DEFAULT says
DEFAULT_APPEND = ("panic=-1", "oops=panic", "loglevel=7")


class Accel(StrEnum):
    """What runs the guest's instructions. TCG is the reference; KVM only where a probe has been seen to run."""

    TCG = "tcg"
    KVM = "kvm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A guest that proves that it ran: it prints `says` on the serial port and makes qemu exit with `status`.

    image: a disk image to boot. devices: what it needs, each the value of one -device.
    """

    image: bytes
    says: str
    status: int
    devices: tuple[str, ...]


def boot_step(
    arch: Arch,
    machine: Machine,
    boot: Boot,
    *,
    kernel: str,
    initramfs: str,
    told: str,
    device_tree: str = "",
    accel: Accel = Accel.TCG,
    append: tuple[str, ...] = (),
    deadline_s: float,
    silence_s: float = 0.0,
) -> Step:
    """Return the Step that boots a kernel. kernel, initramfs, device_tree: paths inside the place.

    told: a folder there that qemu may write to: SOCKET and QEMU_LOG. append: kernel parameters on top of those of the
    machine and of `boot`. silence_s: without a word for so long the guest is ended, 0: only at its deadline.
    """
    wanted = (*machine.append, *boot.append, *append)
    argv = (
        *_bare(machine, accel, max(machine.memory_mib, boot.memory_mib)),
        *(word for device in machine.devices for word in ("-device", device)),
        *("-action", f"panic={machine.on_panic}"),
        *("-qmp", f"unix:{told}/{SOCKET},server=on,wait=off", HELD),
        *("-d", "cpu_reset", "-D", f"{told}/{QEMU_LOG}"),
        *("-kernel", kernel, "-initrd", initramfs),
        *(("-dtb", device_tree) if device_tree else ()),
        *("-append", " ".join(command_line(machine.console or arch.console, wanted))),
    )
    return Step(
        name="boot",
        argv=argv,
        workdir="/tmp",
        deadline_s=deadline_s,
        log=CONSOLE_LOG,
        environment=ENVIRONMENT,
        log_bytes=CONSOLE_BYTES,
        silence_s=silence_s,
    )


def unheld(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the command line of a boot step for a machine where nobody speaks QMP: its guest runs at once."""
    return tuple(word for word in argv if word != HELD)


def command_line(console: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the kernel's parameters: the console, our defaults as far as nobody set them, then what is wanted.

    More than one console= is meant as said (the last one becomes /dev/console), so ours stays and comes first.
    """
    taken = {parameter.partition("=")[0] for parameter in wanted}
    ours = (parameter for parameter in DEFAULT_APPEND if parameter.partition("=")[0] not in taken)
    return (f"console={console}", *ours, *wanted)


def _bare(machine: Machine, accel: Accel, memory_mib: int) -> tuple[str, ...]:
    """Return the part of a command line that is the same for every guest."""
    # "max" under TCG is every feature that TCG knows; KVM can give no more than the host has
    cpu = machine.cpu if accel is Accel.TCG else "host"
    return (
        machine.qemu_system,
        *("-nodefaults", "-no-user-config", "-no-reboot"),
        *("-machine", machine.machine, "-accel", accel.value, "-cpu", cpu),
        *("-m", f"{memory_mib}M", "-smp", "1"),
        *("-display", "none", "-monitor", "none"),
        # signal=off: what arrives on standard input is never a signal to qemu
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
    )


# ---------------------------------------------------------------------------------------------------------------- probe


def probe_of(arch: Arch) -> Probe | None:
    """Return the guest that proves that this architecture's machines run, None if there is none for it."""
    return PROBES.get(arch.kernel_srcarch)


def probe_image(arch: Arch) -> bytes | None:
    """Return the disk image of the probe, None if there is none for this architecture."""
    probe = probe_of(arch)
    return probe.image if probe else None


def probe_step(arch: Arch, machine: Machine, *, image: str, accel: Accel, deadline_s: float = 10.0) -> Step | None:
    """Return the Step that boots the probe (image: path of probe_image() inside the place), None if there is none.

    The step proves nothing by ending well: ask probe_ran(). Where KVM does not work, it hangs in the firmware with a
    busy processor or fails an assertion of qemu.
    """
    probe = probe_of(arch)
    if probe is None:
        return None
    argv = (
        *_bare(machine, accel, 32),
        *(word for device in probe.devices for word in ("-device", device)),
        # a comma in an option's value is written twice
        *("-drive", f"if=none,id=probe,format=raw,readonly=on,file={image.replace(',', ',,')}"),
        *("-device", "virtio-blk-pci,drive=probe,bootindex=0"),
    )
    return Step(name="probe", argv=argv, workdir="/tmp", deadline_s=deadline_s, log=PROBE_LOG, environment=ENVIRONMENT)


def probe_ran(arch: Arch, *, status: int, output: str) -> bool:
    """Return whether a probe's exit status and output prove that the guest ran."""
    probe = probe_of(arch)
    return probe is not None and status == probe.status and probe.says in output.splitlines()


def _x86_probe() -> Probe:
    """A boot sector that goes from real mode to 64-bit mode, computes for a while and only then speaks.

    Firmware, real mode, paging and plain code at speed are all proved by it. Nested KVM without unrestricted guests has
    been seen to pass a probe in real mode in 3.5 s, its processor emulated by the host's kernel, and then to hang in a
    kernel's first instructions; the loop takes it minutes, and TCG 0.1 s.

    Source: Intel SDM volume 2 (opcodes), volume 3 10.8.5 (entering 64-bit mode); 16550 (line status at +5, bit 5:
    transmitter empty); qemu hw/misc/debugexit.c (a byte v written to the port makes qemu exit with 2v+1).
    """
    says, value = "lab-probe: a guest ran", 42
    code = bytes.fromhex("".join(line.partition(";")[0] for line in _X86_PROBE.splitlines()))
    sector = (code + f"{says}\r\n".encode() + b"\0").ljust(510, b"\0") + b"\x55\xaa"
    return Probe(
        # 1 MiB: SeaBIOS reads by cylinder, head and sector, and a smaller disk has no whole cylinder
        image=sector.ljust(1 << 20, b"\0"),
        says=says,
        status=2 * value + 1,
        devices=("isa-debug-exit,iobase=0x501,iosize=2",),
    )


# Loaded at 0x7c00. Page tables: 0x1000 (level 4), 0x2000 (level 3), 0x3000 (one entry: the first 2 MiB, as they are).
_X86_PROBE = """
FA 31C0 8ED8 8EC0 FC    ; 7c00 cli; xor ax,ax; mov ds,ax; mov es,ax; cld
66 31C0                 ; 7c08 xor eax,eax
66 BF00100000 0F22DF    ; 7c0b mov edi,0x1000; mov cr3,edi
B9000C 66F3AB           ; 7c14 mov cx,0xc00; rep stosd
C70600100320            ; 7c1a mov word [0x1000],0x2003      present, writable
C70600200330            ; 7c20 mov word [0x2000],0x3003
C606003083              ; 7c26 mov byte [0x3000],0x83        and large
66 B820000000 0F22E0    ; 7c2b mov eax,0x20; mov cr4,eax     PAE
66 B9800000C0           ; 7c34 mov ecx,0xc0000080            EFER
0F32 80CC01 0F30        ; 7c3a rdmsr; or ah,1; wrmsr         LME
0F0116967C              ; 7c41 lgdt [0x7c96]
0F20C0                  ; 7c46 mov eax,cr0
66 0D01000080 0F22C0    ; 7c49 or eax,0x80000001; mov cr0,eax   PG, PE
EA577C0800              ; 7c52 jmp 8:0x7c57
B980F0FA02              ; 7c57 mov ecx,50000000              64-bit code from here
FFC9 75FC               ; 7c5c dec ecx; jnz 0x7c5c
BE9C7C0000              ; 7c60 mov esi,0x7c9c                text
AC 84C0 7412            ; 7c65 lodsb; test al,al; jz 0x7c7c
88C4 66BAFD03           ; 7c6a mov ah,al; mov dx,0x3fd
EC A820 74FB            ; 7c70 in al,dx; test al,0x20; jz 0x7c70
88E0 B2F8 EE EBE9       ; 7c75 mov al,ah; mov dl,0xf8; out dx,al; jmp 0x7c65
66BA0105 B02A EE        ; 7c7c mov dx,0x501; mov al,42; out dx,al
F4 EBFD                 ; 7c83 hlt; jmp 0x7c83
0000000000000000        ; 7c86 descriptors: none,
0000000000 9A2000       ; 7c8e 64-bit code
0F00 867C0000           ; 7c96 their limit and address
"""

PROBES = {"x86": _x86_probe()}
