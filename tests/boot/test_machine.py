import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lab import tables
from lab.boot.machine import (
    HELD,
    PROBES,
    Accel,
    boot_step,
    command_line,
    probe_image,
    probe_of,
    probe_ran,
    probe_step,
    unheld,
)
from lab.model import Boot

TABLES = tables.load(images=Path(__file__).parents[2] / "images")
ARCH = TABLES.arch["x86_64"]
MACHINE = ARCH.machines[0]


def argv(machine: tables.Machine = MACHINE, **options) -> tuple[str, ...]:
    paths = {"kernel": "/boot-in/kernel", "initramfs": "/boot-in/initramfs", "told": "/boot-out"}
    return boot_step(ARCH, machine, Boot(), **paths, deadline_s=33.0, **options).argv


def after(words: tuple[str, ...], option: str) -> list[str]:
    return [words[at + 1] for at, word in enumerate(words) if word == option]


def test_the_guest_gets_nothing_that_nobody_asked_for():
    assert {"-nodefaults", "-no-user-config", "-no-reboot"} < set(argv())
    assert after(argv(), "-display") == ["none"]


def test_qemu_itself_is_fenced_in():
    assert after(argv(), "-sandbox") == ["on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]


def test_the_serial_port_is_qemus_standard_output():
    assert after(argv(), "-serial") == ["chardev:console"]
    assert after(argv(), "-chardev") == ["stdio,id=console,signal=off"]


def test_the_rows_devices_and_parameters_are_used():
    machine = replace(MACHINE, devices=("pvpanic", "i6300esb"), append=("earlycon=uart8250,io,0x3f8",))
    assert after(argv(machine=machine), "-device") == ["pvpanic", "i6300esb"]
    assert "earlycon=uart8250,io,0x3f8" in after(argv(machine=machine), "-append")[0].split()


def test_an_oops_or_a_panic_ends_the_guest_unless_the_cell_says_otherwise():
    assert command_line("ttyS0", ()) == ("console=ttyS0", "panic=-1", "oops=panic", "loglevel=7")
    assert command_line("ttyS0", ("panic=10", "quiet")) == (
        "console=ttyS0",
        "oops=panic",
        "loglevel=7",
        "panic=10",
        "quiet",
    )


def test_the_larger_of_two_memories_is_used():
    small, large = replace(MACHINE, memory_mib=64), replace(MACHINE, memory_mib=512)
    assert after(argv(machine=small), "-m") == ["256M"]
    assert after(argv(machine=large), "-m") == ["512M"]


def test_kvm_takes_the_hosts_processor_and_tcg_the_rows():
    assert (after(argv(), "-accel"), after(argv(), "-cpu")) == (["tcg"], [MACHINE.cpu])
    kvm = argv(accel=Accel.KVM)
    assert (after(kvm, "-accel"), after(kvm, "-cpu")) == (["kvm"], ["host"])


def test_the_deadline_is_the_steps():
    step = boot_step(ARCH, MACHINE, Boot(), kernel="k", initramfs="i", told="t", deadline_s=5.0, silence_s=2.0)
    assert (step.deadline_s, step.silence_s) == (5.0, 2.0)


def test_qemu_is_asked_where_the_lab_listens():
    assert after(argv(), "-qmp") == ["unix:/boot-out/qmp,server=on,wait=off"]
    assert after(argv(), "-D") == ["/boot-out/qemu.txt"]


def test_a_guest_waits_for_who_listens_and_runs_at_once_where_nobody_does():
    assert HELD in argv()
    assert HELD not in unheld(argv())
    assert len(unheld(argv())) == len(argv()) - 1


def test_a_row_may_have_a_console_a_device_tree_and_a_way_with_panics_of_its_own():
    machine = replace(MACHINE, console="ttyAMA1", on_panic=tables.OnPanic.SHUTDOWN)
    words = argv(machine=machine, device_tree="/boot-in/machine.dtb")
    assert "console=ttyAMA1" in after(words, "-append")[0].split()
    assert after(words, "-dtb") == ["/boot-in/machine.dtb"]
    assert after(words, "-action") == ["panic=shutdown"]
    assert "-dtb" not in argv()


def test_a_machine_with_pvpanic_lets_its_guest_say_the_rest():
    for arch in TABLES.arch.values():
        for machine in arch.machines:
            told = any(device.startswith("pvpanic") for device in machine.devices)
            assert (machine.on_panic is tables.OnPanic.NONE) == told, (arch.name, machine.name)


# -------------------------------------------------------------------------------------------------------------- probe


def test_the_probe_is_a_boot_sector():
    image = probe_image(ARCH)
    assert image is not None
    assert (image[510:512], len(image)) == (b"\x55\xaa", 1 << 20)


def test_a_comma_in_the_probes_path_is_not_an_option():
    step = probe_step(ARCH, MACHINE, image="/a,b.img", accel=Accel.TCG)
    assert step is not None
    assert after(step.argv, "-drive")[0].endswith("file=/a,,b.img")


def test_an_architecture_without_a_probe_has_none():
    other = replace(ARCH, kernel_srcarch="hexagon")
    assert probe_image(other) is None
    assert probe_step(other, MACHINE, image="p", accel=Accel.KVM) is None
    assert not probe_ran(other, status=85, output="lab-probe: a guest ran\n")


@pytest.mark.parametrize(
    ("status", "output"),
    [(0, "lab-probe: a guest ran\n"), (85, ""), (85, "SeaBIOS\n"), (137, "lab-probe: a guest ran\n")],
    ids=["exited 0", "silent", "firmware only", "killed"],
)
def test_half_a_proof_is_none(status, output):
    assert not probe_ran(ARCH, status=status, output=output)


@pytest.mark.qemu
def test_the_probe_really_runs_under_tcg(tmp_path):
    done = run_probe(tmp_path, probe_image(ARCH) or b"")
    assert probe_ran(ARCH, status=done.returncode, output=done.stdout), done


@pytest.mark.qemu
def test_a_probe_that_hangs_proves_nothing(tmp_path):
    # jmp to itself where its first instruction is: firmware runs, the guest does not
    image = b"\xeb\xfe" + (probe_image(ARCH) or b"")[2:]
    with pytest.raises(subprocess.TimeoutExpired) as hung:
        run_probe(tmp_path, image, deadline_s=2.0)
    assert not probe_ran(ARCH, status=-1, output=(hung.value.stdout or b"").decode())


def run_probe(folder: Path, image: bytes, deadline_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    if shutil.which(MACHINE.qemu_system) is None:
        pytest.skip(f"no {MACHINE.qemu_system} here")
    (folder / "probe.img").write_bytes(image)
    step = probe_step(ARCH, MACHINE, image=str(folder / "probe.img"), accel=Accel.TCG)
    assert step is not None
    return subprocess.run(
        step.argv,
        env=dict(step.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=deadline_s,
        check=False,
    )


def test_the_probes_text_lies_where_its_code_looks_for_it():
    probe = probe_of(ARCH)
    assert probe is PROBES["x86"]
    address = int.from_bytes(probe.image[0x61:0x65], "little")  # operand of "mov esi,text" at 0x60
    assert probe.image[address - 0x7C00 :].startswith(probe.says.encode())
