"""What this machine lacks and how to get it: `lab doctor`, and with --fix, get it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab.boot import machine
from lab.environment import engine as engines
from lab.environment import filesystem, host, image
from lab.environment.engine import Engine, Mount, Place
from lab.environment.host import Capability
from lab.errors import LabError
from lab.events import Note, Sink
from lab.model import Ending
from lab.settings import Settings
from lab.tables import Arch, Purpose, Tables
from lab.use.guest import BOOT_IN

ENGINE_STARTS_WITHIN_S = 30.0
KVM = Path("/dev/kvm")
ROUNDS = 3  # a fix may uncover the next lack: the engine is installed, then started, then asked


def examine(settings: Settings, tables: Tables) -> tuple[Capability, ...]:
    """Return every capability, the host's and those that need the engine."""
    found = host.examine(settings)
    return (*found, *_with_engine(settings, tables))


def fix(settings: Settings, tables: Tables, sink: Sink) -> tuple[Capability, ...]:
    """Run the fixes of what lacks, each announced before it runs, and return what is true afterwards.

    A fix that fails is told and leaves its capability lacking; nothing that works is touched, so a second call does nothing.
    """
    tried: set[tuple[str, ...]] = set()
    for _ in range(ROUNDS):
        wanted = [one for capability in host.examine(settings) if capability.ok is False for one in capability.fixes]
        fresh = [one for one in wanted if one.argv not in tried]
        if not fresh:
            break
        for one in fresh:
            if one.argv in tried:
                continue
            tried.add(one.argv)
            sink(Note(text=f"host: {one.why}: {' '.join(one.argv)}", at_s=time.time()))
            try:
                host.apply(one, settings)
            except LabError as error:
                sink(Note(text=f"host: {error}", at_s=time.time()))
            if one.detached or one.argv[0] == "systemctl":
                _wait_until(lambda: _answers(settings))
    return examine(settings, tables)


def kvm_works(engine: Engine, boot_image: str, settings: Settings, arch: Arch) -> tuple[bool, str]:
    """Boot the probe guest under KVM and say whether it really ran, and what was seen."""
    if arch.uname_machine != os.uname().machine:
        return False, f"this host does not run {arch.name} natively"
    if not KVM.exists():
        return False, f"no {KVM}"
    settings.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kvm-", dir=settings.cache) as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        step = machine.probe_step(arch, arch.machines[0], image=f"{BOOT_IN}/probe.img", accel=machine.Accel.KVM)
        if step is None:
            return False, f"there is no probe guest for {arch.name}"
        (folder / "probe.img").write_bytes(machine.probe_image(arch) or b"")
        place = Place(
            image=boot_image,
            user=f"{settings.uid}:{settings.gid}",
            mounts=(Mount(host=folder, inside=BOOT_IN),),
            devices=(f"{KVM}:{KVM}:rw",),
            groups=(str(KVM.stat().st_gid),),
        )
        log = folder / step.log
        result = engine.execute(step, place, log)
        said = log.read_text(errors="replace") if log.exists() else ""
    if result.ending is Ending.EXITED and machine.probe_ran(arch, status=result.status, output=said):
        return True, "a guest ran"
    hung = result.ending is Ending.DEADLINE
    how = f"the probe guest hung for {step.deadline_s:.0f} s" if hung else "the probe guest did not run"
    return False, ": ".join([how, *(line.strip() for line in said.splitlines() if line.strip())][:2])


def kvm_of_this_machine(engine: Engine, settings: Settings, tables: Tables, sink: Sink) -> tuple[bool, str]:
    """Say whether guests of this machine's own architecture run under KVM, by running one, and what was seen.

    The image that boots is made if it is not there, but only where there is something to try. Raises EnvironmentFault.
    """
    native = next((row for row in tables.arch.values() if row.uname_machine == os.uname().machine), None)
    if native is None or not KVM.exists():
        return False, "no row for this host" if native is None else f"no {KVM}"
    booter = tables.image[native.machines[0].image]
    built = image.prepare(booter, engine, settings, lambda text: sink(Note(text=text, at_s=time.time())))
    return kvm_works(engine, built.id, settings, native)


def acceleration(asked: str, arch: Arch, qemu: str, engine: Engine, settings: Settings, sink: Sink) -> machine.Accel:
    """Return what was asked for, or with "auto" KVM if it works; a foreign architecture never runs under KVM.

    qemu: id of the image that boots.
    """
    if asked != "auto":
        return machine.Accel(asked) if arch.uname_machine == os.uname().machine else machine.Accel.TCG
    works, why = kvm_works(engine, qemu, settings, arch)
    sink(Note(at_s=time.time(), text=f"{arch.name} guests run under {'KVM' if works else 'TCG'}: {why}"))
    return machine.Accel.KVM if works else machine.Accel.TCG


def filesystems(engine: Engine, settings: Settings, tables: Tables) -> Capability:
    """Mount every row of the filesystems, and say which of them mount here; a row whose image is not built is not tried."""
    name = tables.mount_image(os.uname().machine)
    built = image.find(tables.image[name], engine) if name else None
    fine, lacking, untried = [], [], []
    for row in tables.filesystem.values():
        base = tables.base_of(row)
        why = next(filter(None, (filesystem.obstacle(one) for one in (row, base) if one)), None)
        if why is None and built is None and (tables.uses_loop(row) or not settings.may_mount):
            untried.append(row.name)
            continue
        try:
            if why is not None:
                raise why
            helper, scratch = built.id if built else "", f"doctor-{row.name}-{os.getpid()}"
            with (
                filesystem.scratch(scratch, settings, engine, helper) as place,
                filesystem.mounted(row, place, settings, engine, helper, base),
            ):
                fine.append(row.name)
        except LabError as error:
            lacking.append(f"not {row.name}: {error.message}")
    later = [f"{', '.join(untried)} not tried: the image {name} is not built yet"] if untried else []
    return Capability(
        name="filesystems",
        ok=False if lacking else None if untried else True,
        needed=False,
        detail="; ".join([f"{', '.join(fine) or 'none'} mount here", *lacking, *later]),
        hint="cells on such a filesystem are ERROR here" if lacking else "",
    )


def _with_engine(settings: Settings, tables: Tables) -> tuple[Capability, ...]:
    """Look at images, qemu and KVM; without an engine nothing can be said of them."""
    try:
        with engines.connect(settings) as engine:
            return (*_of_engine(engine, settings, tables), filesystems(engine, settings, tables))
    except LabError:
        return ()


def _of_engine(engine: Engine, settings: Settings, tables: Tables) -> tuple[Capability, ...]:
    rows = [(row, image.find(row, engine)) for row in tables.image.values()]
    images = Capability(
        name="images",
        ok=None if any(built is None for _, built in rows) else True,
        needed=False,
        detail=", ".join(
            f"{row.name} {'is built' if built else 'is built when a cell needs it'}" for row, built in rows
        ),
    )
    native = next((row for row in tables.arch.values() if row.uname_machine == os.uname().machine), None)
    boots = [native.machines[0].image] if native else [row.name for row, _ in rows if row.purpose is Purpose.BOOT]
    booter = next((built for row, built in rows if row.name in boots and built), None)
    if booter is None:
        unknown = "not tried: the boot image is not built yet (`lab image build NAME`)"
        return (
            images,
            *(Capability(name=name, ok=None, needed=False, detail=unknown) for name in ("qemu-system", "kvm")),
        )
    version = next((text for name, text in booter.packages.items() if name.startswith("qemu-system-")), "")
    works, detail = kvm_works(engine, booter.id, settings, native) if native else (False, "no row for this host")
    return (
        images,
        Capability(name="qemu-system", ok=bool(version), needed=True, detail=f"{version} in {booter.name}"),
        Capability(
            name="kvm",
            ok=works,
            needed=False,
            detail=detail,
            hint="" if works else "guests are emulated (TCG): slower, same verdicts",
        ),
    )


def _answers(settings: Settings) -> bool:
    try:
        engines.connect(settings).close()
    except LabError:
        return False
    return True


def _wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + ENGINE_STARTS_WITHIN_S
    while not happened() and time.monotonic() < until:
        time.sleep(0.5)
