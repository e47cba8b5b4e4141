"""A guest: a kernel that is booted under qemu, in a container of ours, with modules in an initramfs of ours.

Attempts boot what they built, `lab boot` what it is given: what both need stands here.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.boot import initramfs, machine
from lab.environment.engine import Mount, Place
from lab.environment.image import BuiltImage
from lab.model import Boot, Step
from lab.report.reproduce import BootRecipe
from lab.tables import Arch, Machine
from lab.use import record as records
from lab.use.bench import Bench

BOOT_IN = "/boot-in"  # inside the boot container
BUSYBOX = "/bin/busybox"  # inside the guest's image
SHOWN = "boot-in"  # in the scratch folder: what the container sees as BOOT_IN


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """What is booted and how. qemu, busybox: the images that hold qemu-system and what the guest runs. init: its script."""

    arch: Arch
    machine: Machine
    boot: Boot
    qemu: BuiltImage
    busybox: BuiltImage
    init: str
    step: Step

    def place(self, bench: Bench, scratch: Path, owner: str) -> Place:
        """Return where the step runs. scratch: the folder that lay_out() filled."""
        settings = bench.settings
        kvm = Path("/dev/kvm")
        use_kvm = bench.accel is machine.Accel.KVM and kvm.exists()
        return Place(
            image=self.qemu.id,
            owner=owner,
            mounts=(Mount(host=scratch / SHOWN, inside=BOOT_IN),),
            user=f"{settings.uid}:{settings.gid}",
            memory_mib=self.boot.memory_mib + 1024,
            devices=("/dev/kvm:/dev/kvm:rw",) if use_kvm else (),
            groups=(str(kvm.stat().st_gid),) if use_kvm else (),
        )


def guest(bench: Bench, arch: Arch, boot: Boot, *, qemu: BuiltImage, busybox: BuiltImage, deadline_s: float) -> Guest:
    """Decide how a kernel is booted; nothing runs yet."""
    row = arch.machine_named(boot.machine)
    assert row is not None, "who asks knows the machines"
    step = machine.boot_step(
        arch,
        row,
        boot,
        kernel=f"{BOOT_IN}/kernel",
        initramfs=f"{BOOT_IN}/initramfs",
        accel=bench.accel,
        deadline_s=deadline_s,
    )
    init = (bench.settings.data / "boot" / "init").read_text()
    return Guest(arch=arch, machine=row, boot=boot, qemu=qemu, busybox=busybox, init=init, step=step)


def lay_out(
    bench: Bench, wanted: Guest, kernel: Path, modules: Sequence[initramfs.ModuleFile], scratch: Path
) -> tuple[initramfs.ModuleFile, ...]:
    """Put kernel and initramfs where the container will see them; return the modules in the order in which they are loaded."""
    shown = scratch / SHOWN
    shown.mkdir()
    shutil.copyfile(kernel, shown / "kernel")
    order = initramfs.load_order(modules).modules
    busybox = bench.engine.read_file(wanted.busybox.id, BUSYBOX)
    with (shown / "initramfs").open("xb") as out:
        initramfs.write_archive(initramfs.entries(busybox, order, wanted.init), out)
    return order


def recipe(bench: Bench, wanted: Guest, scratch: Path) -> BootRecipe:
    """Return what it takes to boot the same again, for the record."""
    images = bench.tables.image
    return records.boot_recipe(
        records.image_recipe(images[wanted.qemu.name], wanted.qemu),
        records.image_recipe(images[wanted.busybox.name], wanted.busybox),
        wanted.place(bench, scratch, ""),
        wanted.step,
        kernel=wanted.arch.image_path,
        init=wanted.init,
        kvm=bench.accel is machine.Accel.KVM,
    )
