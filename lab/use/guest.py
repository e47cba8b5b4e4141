"""A guest: a kernel that is booted under qemu, in a container of ours, with modules in an initramfs of ours.

Attempts boot what they built, `lab boot` what it is given: what both need stands here.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab.boot import initramfs, machine, shards
from lab.environment import guest_events
from lab.environment.engine import Mount, Place
from lab.environment.image import BuiltImage
from lab.errors import EnvironmentFault, Untestable, UsageError, machine_fault
from lab.evidence import boots, image_length
from lab.model import Boot, Deadlines, Program, Step, StepResult
from lab.report.reproduce import BootRecipe
from lab.tables import Arch, Machine
from lab.use import record as records
from lab.use.bench import Bench, give_to_build

BOOT_IN = "/boot-in"  # inside the boot container
BUSYBOX = "/bin/busybox"  # inside the guest's image
PROGRAM_BYTES = 64 << 20
SHOWN = "boot-in"  # in the scratch folder: what the container sees as BOOT_IN
BOOT_OUT = "/boot-out"  # inside the boot container: where qemu may write
TOLD = "boot-out"  # in the scratch folder: what the container sees as BOOT_OUT
FILE_MIB = 64  # of a file there: a guest can make qemu note one reset of a processor after the other
QEMU_LOG_BYTES = 1 << 20  # of what qemu noted is kept
NOT_WHOLE = "infra.boot-image"


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
    tasks: initramfs.Tasks = initramfs.LOAD_ONLY

    def place(self, bench: Bench, scratch: Path, owner: str) -> Place:
        """Return where the step runs. scratch: the folder that lay_out() filled."""
        settings = bench.settings
        kvm = Path("/dev/kvm")
        use_kvm = bench.accel is machine.Accel.KVM and kvm.exists()
        return Place(
            image=self.qemu.id,
            owner=owner,
            mounts=(
                Mount(host=scratch / SHOWN, inside=BOOT_IN),
                Mount(host=scratch / TOLD, inside=BOOT_OUT, writable=True),
            ),
            file_mib=FILE_MIB,
            user=f"{settings.uid}:{settings.gid}",
            memory_mib=self.boot.memory_mib + records.QEMU_MIB,
            devices=("/dev/kvm:/dev/kvm:rw",) if use_kvm else (),
            groups=(str(kvm.stat().st_gid),) if use_kvm else (),
        )


def guest(
    bench: Bench, arch: Arch, boot: Boot, *, qemu: BuiltImage, busybox: BuiltImage, deadlines: Deadlines
) -> Guest:
    """Decide how a kernel is booted; nothing runs yet."""
    row = arch.machine_named(boot.machine)
    assert row is not None, "who asks knows the machines"
    step = machine.boot_step(
        arch,
        row,
        boot,
        kernel=f"{BOOT_IN}/kernel",
        initramfs=f"{BOOT_IN}/initramfs",
        told=BOOT_OUT,
        device_tree=f"{BOOT_IN}/{machine.DEVICE_TREE}" if row.device_tree else "",
        accel=bench.accel,
        append=shards.parameters(boot),
        deadline_s=deadlines.boot_s,
        silence_s=deadlines.silence_s,
    )
    init = (bench.settings.data / "boot" / "init").read_text()
    tasks = initramfs.Tasks(twice=boot.modules.twice, unload=boot.modules.unload, program=_program(boot.run))
    return Guest(arch=arch, machine=row, boot=boot, qemu=qemu, busybox=busybox, init=init, step=step, tasks=tasks)


def on_demand(bench: Bench, modules: Sequence[initramfs.ModuleFile]) -> initramfs.OnDemand:
    """Return what a guest's kernel may ask for, of all the modules that there are, and the script that it asks."""
    script = (bench.settings.data / "boot" / "modprobe").read_text()
    return initramfs.OnDemand(modules=shards.on_demand(modules), script=script)


def device_tree(row: Machine, root: Path) -> Path | None:
    """Return the device tree that a machine needs, of a build (O=) or of what an attempt kept; None if it needs none.

    Raises Untestable if it is not there.
    """
    if not row.device_tree:
        return None
    for path in (*row.device_tree, machine.DEVICE_TREE):
        if (root / path).is_file() and not (root / path).is_symlink():
            return root / path
    raise Untestable(
        f"machine {row.name!r} needs a device tree, and the build made none",
        facts=tuple(("looked for", path) for path in row.device_tree),
        hint="the configuration must have the board (docs/matrix.md, boot)",
    )


def _program(run: Program | None) -> tuple[str, bytes] | None:
    """Return the user's program as it is packed. Raises UsageError if it is no longer what the matrix named."""
    if run is None:
        return None
    try:
        with Path(run.path).open("rb") as file:
            data = file.read(PROGRAM_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the program {run.path!r}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != run.sha256:
        raise UsageError(
            f"the program {run.path!r} has changed since it was asked for", facts=(("sha256", run.sha256),)
        )
    return run.name, data


def lay_out(
    bench: Bench,
    wanted: Guest,
    kernel: Path,
    modules: Sequence[initramfs.ModuleFile],
    scratch: Path,
    device_tree: Path | None = None,
    system_map: Path | None = None,
    asked: initramfs.OnDemand = initramfs.NOTHING,
) -> tuple[initramfs.ModuleFile, ...]:
    """Put what is booted where the container will see it; return the modules in the order in which they are loaded.

    system_map: of the kernel, if there is one. asked: what is loaded only if the kernel asks for it. What an earlier boot left
    there is replaced. Raises EnvironmentFault where there is no room, or half a kernel.
    """
    shown = scratch / SHOWN
    _check_kernel(kernel, system_map)
    order = initramfs.load_order(modules).modules
    busybox = bench.engine.read_file(wanted.busybox.id, BUSYBOX)
    try:
        shown.mkdir(exist_ok=True)
        shutil.copyfile(kernel, shown / "kernel")
        if device_tree is not None:
            shutil.copyfile(device_tree, shown / machine.DEVICE_TREE)
        with (shown / "initramfs").open("wb") as out:
            entries = initramfs.entries(busybox, order, wanted.init, tasks=wanted.tasks, on_demand=asked)
            initramfs.write_archive(entries, out)
    except OSError as error:
        raise machine_fault("lay out what is to be booted", error, facts=(("folder", str(shown)),)) from error
    return order


def numbered(wanted: Guest, number: int, memory_mib: int) -> Guest:
    """Return the guest of one of several boots, with the memory that its initramfs needs."""
    memory = max(memory_mib, wanted.boot.memory_mib)
    argv = list(wanted.step.argv)
    at = argv.index("-m") + 1
    argv[at] = f"{max(memory, int(argv[at].removesuffix('M')))}M"
    step = replace(
        wanted.step,
        name=boots.numbered(boots.STEP, number),
        log=boots.numbered(boots.CONSOLE, number),
        argv=tuple(argv),
    )
    return replace(wanted, step=step, boot=replace(wanted.boot, memory_mib=memory))


def run(
    bench: Bench,
    wanted: Guest,
    scratch: Path,
    folder: Path,
    *,
    owner: str,
    on_line: Callable[[str], None] = lambda line: None,
) -> StepResult:
    """Boot what lay_out() put into `scratch`; the console, and what qemu told and noted, become files of `folder`.

    Raises EnvironmentFault if the files are not whole or the container cannot be made; never for what becomes of the guest.
    """
    _check_whole(scratch / SHOWN)
    told = scratch / TOLD
    told.mkdir(exist_ok=True)
    give_to_build(told, bench.settings)
    place = wanted.place(bench, scratch, owner)
    events, notes = (boots.of_step(wanted.step.name, name) for name in (machine.QMP_LOG, machine.QEMU_LOG))
    held = machine.HELD in wanted.step.argv
    with guest_events.followed(told / machine.SOCKET, folder / events, deadline_s=wanted.step.deadline_s, held=held):
        result = bench.engine.execute(wanted.step, place, folder / wanted.step.log, on_line=on_line, stop=bench.stop)
    guest_events.kept(told / machine.QEMU_LOG, folder / notes, QEMU_LOG_BYTES)
    return result


def _check_whole(shown: Path) -> None:
    """Raise EnvironmentFault unless kernel and initramfs are all there: a kernel cannot be judged by half of its files."""
    _check_kernel(shown / "kernel")
    try:
        whole = initramfs.is_whole(shown / "initramfs")
    except OSError as error:
        raise EnvironmentFault(f"cannot read the initramfs: {error.strerror}", finding=NOT_WHOLE) from error
    if not whole:
        raise EnvironmentFault("the initramfs is not whole: it has no end", finding=NOT_WHOLE)


def _check_kernel(kernel: Path, system_map: Path | None = None) -> None:
    try:
        missing = image_length.missing_bytes(kernel, system_map)
    except OSError as error:
        raise EnvironmentFault(f"cannot read the kernel image: {error.strerror}", finding=NOT_WHOLE) from error
    if missing:
        raise EnvironmentFault(
            "the kernel image is not whole",
            finding=NOT_WHOLE,
            facts=(("missing", f"{missing} bytes"),),
        )


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
        device_trees=wanted.machine.device_tree,
        options=wanted.tasks.lines(),
        program=wanted.boot.run,
    )
