"""The filesystem under an output directory: made, mounted, measured, taken away again.

Whoever may mount does it directly; otherwise a helper container of the engine does it, which needs the scratch folder to lie
on a mount that propagates (as `/` does under systemd). Both run the same script, lab/data/bin/mount-output.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import proc
from lab.environment import coarse, seeing
from lab.environment.engine import Engine, Mount, Place
from lab.environment.owner import owner_is_alive
from lab.environment.writeback import Writeback, room
from lab.errors import EnvironmentFault
from lab.model import Step
from lab.settings import Settings
from lab.tables import Filesystem, FilesystemKind

MOUNT_DEADLINE_S = 60.0
MKFS_DEADLINE_S = 120.0
TICKS_WANTED = 3  # changes of the clock seen before its step is believed
STEPS_NS = (
    1,
    10,
    100,
    1_000,
    1_000_000,
    10_000_000,
    *(s * 10**9 for s in (1, 2, 4, 10, 60)),
)  # stored ones, told apart
TICK_PATIENCE_S = 2.5  # longest wait for them: coarse clocks step once a second, or every two


@dataclass(frozen=True, slots=True, kw_only=True)
class Granularity:
    """What stat() can tell apart on a filesystem, as measured.

    stored_ns: what an explicit time is rounded down to. tick_ns: smallest step between the times of files that were really
    written one after the other (the kernel stamps with its coarse clock, ktime_get_coarse_real_ts64). effective: the larger.
    """

    stored_ns: int
    tick_ns: int

    @property
    def effective_ns(self) -> int:
        """Two writes closer together than this may carry the same time."""
        return max(self.stored_ns, self.tick_ns)


class Scratch:
    """A folder for one attempt, locked while its lab lives.

    out: mount point; base: mount point of what an overlay or a FUSE layer lies on; lab: what /lab shows; disk.img: of a loop
    device. watched: where the order of writes is seen, with the same paths as under out.
    """

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder, self._lock = folder, lock
        self.out = folder / "out"
        self.base = folder / "base"
        self.lab = folder / "lab"
        self.watched = self.out
        self.writeback: Writeback | None = None  # of the filesystem in an image, while it is mounted

    @property
    def owner(self) -> str:
        """The owner of every container that works for it (lab.environment.owner)."""
        return str(self.folder)

    def check_kept(self) -> None:
        """Raise EnvironmentFault if something that was written to the output is lost, which only an image's filesystem does."""
        if self.writeback is not None:
            self.writeback.check()


@contextlib.contextmanager
def scratch(name: str, settings: Settings, engine: Engine, image: str) -> Iterator[Scratch]:
    """Make a scratch folder, and take it away with all that was mounted in it; `image` serves a mount helper."""
    folder = settings.work / name
    folder.mkdir(parents=True)
    lock = os.open(folder / "owner", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    made = Scratch(folder, lock)
    for path in (made.out, made.lab):
        path.mkdir()
    try:
        yield made
    finally:
        try:
            take_away(folder, settings, engine, image)
        finally:
            os.close(lock)


@contextlib.contextmanager
def mounted(
    row: Filesystem, place: Scratch, settings: Settings, engine: Engine, image: str, base: Filesystem | None = None
) -> Iterator[Granularity]:
    """Lay the row's filesystem under place.out and yield its measured granularity. base: the row it lies on.

    Raises EnvironmentFault when it cannot be made or mounted, or when what is measured contradicts the row's promise.
    """
    for one in (row, base):
        if one is not None and (lacking := obstacle(one)) is not None:
            raise lacking
    with contextlib.ExitStack() as stack:
        if base is not None:
            place.base.mkdir()
            _mount(base, place, "base", settings, engine, image)
            _watch(base, place, place.base, stack)
        if row.kind is FilesystemKind.COARSE:
            place.watched = place.base  # a FUSE mount has no f_fsid, and fanotify refuses it (fanotify_mark(2), ENODEV)
            stack.enter_context(coarse.shown(row, place.folder, settings, engine, image))
        else:
            _mount(row, place, "out", settings, engine, image)
            _watch(row, place, place.out, stack)
        seeing.check(place.out, place.owner, settings, engine, image)
        yield _measured(row, place.out)


def _watch(row: Filesystem, place: Scratch, mounted_on: Path, stack: contextlib.ExitStack) -> None:
    """From now on what is lost of the writes to an image's filesystem can be asked for."""
    if row.kind is FilesystemKind.LOOP:
        place.writeback = Writeback(mounted_on, place.folder / "disk.img")
        stack.callback(place.writeback.close)


def _measured(row: Filesystem, out: Path) -> Granularity:
    """Measure a mounted row, and hold its promise against that."""
    measured = measure(out)
    if not row.granularity_ns_min <= measured.effective_ns <= row.granularity_ns_max:
        raise EnvironmentFault(
            f"filesystem {row.name!r} does not keep time as its row promises",
            finding="infra.filesystem",
            facts=(
                ("measured", f"{measured.effective_ns} ns"),
                ("promised", f"{row.granularity_ns_min} … {row.granularity_ns_max} ns"),
            ),
        )
    return measured


def obstacle(
    row: Filesystem, kernel: Path = Path("/proc/filesystems"), fuse: Path = coarse.DEVICE
) -> EnvironmentFault | None:
    """Return why a row cannot be mounted on this machine at all, None if nothing speaks against it.

    Asked before anything is built. A type that the kernel would load as a module counts as known. Source: proc(5),
    "filesystems"; modules.dep(5); get_fs_type() of fs/filesystems.c asks for "fs-TYPE".
    """
    known = [line.split()[-1] for line in kernel.read_text().splitlines() if line.strip()]
    if row.fstype not in known and not _as_module(row.fstype):
        return EnvironmentFault(
            f"this machine's kernel has no filesystem of type {row.fstype!r}",
            finding="infra.mount",
            facts=(("row", row.name), ("known", ", ".join(known))),
            hint="`lab doctor` lists the rows that mount here",
        )
    if row.kind is FilesystemKind.LOOP and not _has_loop():
        return EnvironmentFault(
            f"filesystem {row.name!r} needs a loop device, and this machine has none",
            finding="infra.mount",
            facts=(("asked", "/dev/loop-control, /proc/misc"),),
            hint="`lab doctor --fix` loads the loop driver",
        )
    if row.kind is FilesystemKind.COARSE and not fuse.exists():
        return EnvironmentFault(
            f"filesystem {row.name!r} needs FUSE, and this machine has no {str(fuse)!r}",
            finding="infra.mount",
            facts=(("asked", str(fuse)),),
            hint="`lab doctor --fix` loads the driver",
        )
    return None


def _has_loop() -> bool:
    """Whether the loop driver is there, or comes when its node is opened; mount-output makes a node that lacks."""
    return Path("/dev/loop-control").exists() or "loop-control" in Path("/proc/misc").read_text().split()


def _as_module(fstype: str) -> bool:
    """Whether a module of the running kernel promises the type. Source: modules.alias of depmod(8)."""
    try:
        text = Path("/lib/modules", os.uname().release, "modules.alias").read_text(errors="replace")
    except OSError:
        return False
    return f"\nalias fs-{fstype} " in text


def _mount(row: Filesystem, place: Scratch, where: str, settings: Settings, engine: Engine, image: str) -> None:
    """Mount one row on a folder of the scratch folder. where: "out", or "base" for what an overlay lies on."""
    options, device = ",".join(row.mount_options), "none"
    match row.kind:
        case FilesystemKind.LOOP:
            device = "disk.img"
            _make_image(row, place, settings, engine, image)
        case FilesystemKind.OVERLAY:
            device = "base"
        case FilesystemKind.TMPFS:
            options = ",".join(filter(None, [f"size={row.size_mib}m", "mode=0755", options]))
    words = ("mount", row.fstype, options or "defaults", device, where, f"{settings.uid}:{settings.gid}")
    _mount_script(words, place.folder, settings, engine, image)


def measure(folder: Path) -> Granularity:
    """Measure the timestamp granularity of a writable folder; leaves nothing in it. Takes up to 2.5 s on a coarse clock.

    A clock that stores whole seconds needs no waiting: the stored granularity is then what counts.
    """
    probe = folder / ".lab-granularity"
    try:
        probe.touch()
        stored = _stored_ns(probe)
        tick = stored if stored >= 1_000_000_000 else _tick_ns(probe)
    finally:
        probe.unlink(missing_ok=True)
    return Granularity(stored_ns=stored, tick_ns=tick)


def _stored_ns(probe: Path) -> int:
    """Set times that no coarse filesystem can hold and see what is left of them."""
    wanted = 1_699_999_979_123_456_789  # the last second of a minute: no two steps leave the same
    os.utime(probe, ns=(0, wanted))
    got = probe.stat().st_mtime_ns
    return next((step for step in STEPS_NS if got == wanted // step * step), STEPS_NS[-1])


def _tick_ns(probe: Path) -> int:
    """Write again and again; the smallest step that the file's time makes is the clock's."""
    until = time.monotonic() + TICK_PATIENCE_S
    seen: list[int] = []
    while time.monotonic() < until and len(seen) <= TICKS_WANTED:
        with probe.open("w") as out:
            out.write("x")
        now = probe.stat().st_mtime_ns
        if not seen or now != seen[-1]:
            seen.append(now)
    steps = [later - earlier for earlier, later in itertools.pairwise(seen) if later > earlier]
    return min(steps) if steps else int(TICK_PATIENCE_S * 1e9)


def _make_image(row: Filesystem, place: Scratch, settings: Settings, engine: Engine, image: str) -> None:
    """Make a sparse image file and let the image's own mkfs fill it; that needs no privilege."""
    disk = place.folder / "disk.img"
    with disk.open("wb") as out:
        out.truncate(row.size_mib << 20)
    with contextlib.suppress(PermissionError):
        os.chown(disk, settings.uid, settings.gid)
    step = Step(
        name="mkfs",
        argv=(*row.mkfs, "/disk.img"),
        workdir="/",
        deadline_s=MKFS_DEADLINE_S,
        log="mkfs.txt",
        environment=(("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),),
    )
    where = Place(
        image=image,
        owner=place.owner,
        user=f"{settings.uid}:{settings.gid}",
        mounts=(Mount(host=disk, inside="/disk.img", writable=True),),
    )
    if not engine.execute(step, where, place.folder / "mkfs.txt").ok:
        raise _no_filesystem(row.name, disk, place.folder / "mkfs.txt")


def _mount_script(words: tuple[str, ...], folder: Path, settings: Settings, engine: Engine, image: str) -> None:
    script = settings.data / "bin" / "mount-output"
    if settings.may_mount:
        done = proc.run([str(script), *words], deadline_s=MOUNT_DEADLINE_S, workdir=folder)
        if not done.ok:
            raise _no_mount(words, done.last_line)
        return
    log = folder / "mount.txt"
    step = Step(
        name="mount", argv=("/lab/mount-output", *words), workdir="/scratch", deadline_s=MOUNT_DEADLINE_S, log=log.name,
        environment=(("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),),
    )  # fmt: skip
    helper = Place(
        image=image,
        owner=str(folder),
        user="0:0",
        mounts=(
            Mount(host=folder, inside="/scratch", writable=True, shared=True),
            Mount(host=script, inside="/lab/mount-output"),
        ),
        # without DAC_READ_SEARCH an overlay has no file handles (fs/overlayfs/util.c, ovl_can_decode_fh())
        capabilities=("SYS_ADMIN", "MKNOD", "CHOWN", "FOWNER", "DAC_OVERRIDE", "DAC_READ_SEARCH"),
        device_rules=("b 7:* rmw", "c 10:237 rmw"),  # loop devices and their control node
        unconfined=True,
    )
    if not engine.execute(step, helper, log).ok:
        raise _no_mount(words, log.read_text(errors="replace").strip().splitlines()[-1:] or [""])


def _no_mount(words: tuple[str, ...], said: str | list[str]) -> EnvironmentFault:
    text = said if isinstance(said, str) else said[0]
    return EnvironmentFault(
        f"cannot {words[0]} a filesystem of type {words[1]!r}" if words[0] == "mount" else "cannot unmount",
        finding="infra.mount",
        facts=(("said", text),),
        hint="`lab doctor` shows what mounting needs here",
    )


def _no_filesystem(name: str, disk: Path, log: Path) -> EnvironmentFault:
    """Return why an image got no filesystem. log: what mkfs said."""
    said = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
    free, full = room(disk)
    return EnvironmentFault(
        f"cannot make filesystem {name!r}" + (": the disk that is to hold its image is full" if full else ""),
        finding="infra.disk-full" if full else "infra.filesystem",
        facts=(*(("said", line) for line in said), ("free", f"{free} bytes")),
        hint="`lab clean` makes room; LAB_CACHE names a folder on another disk" if full else "",
    )


# ------------------------------------------------------------------------------------------------------------ sweeping


def take_away(folder: Path, settings: Settings, engine: Engine | None, image: str) -> None:
    """Unmount whatever lies under a scratch folder and remove it. The caller holds its lock."""
    for mountpoint in mounts_below(folder):
        inside = os.path.relpath(mountpoint, folder)
        if settings.may_mount or engine is None:
            proc.run(
                [str(settings.data / "bin" / "mount-output"), "unmount", str(mountpoint)], deadline_s=MOUNT_DEADLINE_S
            )
        else:
            _mount_script(("unmount", inside), folder, settings, engine, image)
    if mounts_below(folder):
        raise EnvironmentFault(
            "cannot unmount a scratch folder",
            finding="infra.mount",
            facts=(("mount point", str(mounts_below(folder)[0])),),
        )
    for device in loops_below(folder):
        proc.run(["losetup", "--detach", device], deadline_s=MOUNT_DEADLINE_S)
    shutil.rmtree(folder, ignore_errors=True)


def loops_below(folder: Path) -> tuple[str, ...]:
    """Return loop devices whose backing file lies below a folder and that no mount holds any more.

    A mount's own device goes with it (autoclear); one is left over when its lab was killed between making and mounting it.
    Source: Documentation/ABI/testing/sysfs-block-loop.
    """
    found = []
    for note in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if Path(note.read_text(errors="surrogateescape").rstrip("\n")).is_relative_to(folder):
                found.append(f"/dev/{note.parent.parent.name}")
    return tuple(found)


def mounts_below(folder: Path) -> tuple[Path, ...]:
    """Return mount points below a folder, the deepest and latest first. Source: proc(5), /proc/pid/mountinfo, field 5."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        text = line.split(" ")[4].encode("latin-1", "surrogateescape").decode("unicode_escape")  # \040 is a space
        path = Path(text)
        if path != folder and path.is_relative_to(folder.resolve()):
            found.append(path)
    latest_first = found[::-1]  # an overlay before its base; sorting keeps their order
    return tuple(sorted(latest_first, key=lambda path: -len(path.parts)))


def dead(settings: Settings) -> tuple[Path, ...]:
    """Return scratch folders that a killed lab left behind."""
    root = settings.work
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return tuple(folder for folder in folders if not owner_is_alive(str(folder)))
