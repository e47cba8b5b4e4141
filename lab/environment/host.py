"""What the host can do and what it lacks: each capability is tried, not guessed, and says how to get it.

`lab doctor` prints this, `lab doctor --fix` runs the fixes, and make's set-up is the same call.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import proc
from lab.environment import archive, coarse, engine
from lab.errors import EnvironmentFault, LabError
from lab.settings import Settings

DISK_WANTED_GIB = 15
MEMORY_WANTED_MIB = 2048
BINFMT = Path("/proc/sys/fs/binfmt_misc")
# handler of binfmt-support -> what it is for; x86 hosts need them for ARM cells built under qemu-user
HANDLERS = (("qemu-arm", "armhf"), ("qemu-aarch64", "arm64"))
APT_DEADLINE_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """One command that changes the host. why: for the line that is printed before it runs. detached: it stays running."""

    argv: tuple[str, ...]
    why: str
    detached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One thing the lab uses. ok: None if it could not be tried. needed: without it no cell can run.

    detail: what was found, or what lacks. fixes: in order; empty if only a person can help, then hint says how.
    """

    name: str
    ok: bool | None
    needed: bool
    detail: str
    fixes: tuple[Fix, ...] = ()
    hint: str = ""


def examine(settings: Settings) -> tuple[Capability, ...]:
    """Try everything that needs no image and return what was found, in the order in which fixes must run."""
    return tuple(
        probe(settings)
        for probe in (_tools, _mirror, _engine, _mounts, _loops, _fuse, _write_order, _binfmt, _disk, _memory)
    )


def apply(fix: Fix, settings: Settings) -> None:
    """Run one fix. Raises EnvironmentFault with the command's last words if it fails."""
    as_root = () if os.geteuid() == 0 else ("sudo", "-n")
    environment = {**dict(settings.environment), "DEBIAN_FRONTEND": "noninteractive"}
    if fix.detached:
        settings.cache.mkdir(parents=True, exist_ok=True)
        log = (settings.cache / f"{Path(fix.argv[0]).name}.log").open("ab")
        proc.start([*as_root, "setsid", "--fork", *fix.argv], environment=environment, output=log)
        log.close()
        return
    proc.checked([*as_root, *fix.argv], deadline_s=APT_DEADLINE_S, what=fix.why, environment=environment)


def _install(packages: tuple[str, ...], why: str) -> tuple[Fix, ...]:
    return (
        Fix(argv=("apt-get", "update", "-q"), why="read the package lists"),
        Fix(argv=("apt-get", "install", "-y", "-q", "--no-install-recommends", *packages), why=why),
    )


def _tools(settings: Settings) -> Capability:
    """Look for the host programs the lab starts itself. Program -> package that has it."""
    wanted = {
        "mmdebstrap": "mmdebstrap",
        "arch-test": "arch-test",
        "dpkg-deb": "dpkg",
        "patch": "patch",
        "xz": "xz-utils",
        "tar": "tar",
        "losetup": "mount",
    }
    lacking = sorted({package for program, package in wanted.items() if not _has(program)})
    if not archive.KEYRING.exists():
        lacking.append("debian-archive-keyring")
    return Capability(
        name="tools",
        ok=not lacking,
        needed=True,
        detail=f"lacks {', '.join(lacking)}" if lacking else "mmdebstrap, dpkg-deb, patch, tar, xz",
        fixes=_install(tuple(lacking), "install what makes images and unpacks sources") if lacking else (),
    )


def _mirror(settings: Settings) -> Capability:
    """Read a suite's index from the mirror: proves name resolution, transport and signature at once."""
    try:
        suite = archive.newest_suite("linux-source", settings) if not settings.mirror else "bookworm"
        archive.refresh(suite, settings)
    except LabError as error:
        return Capability(
            name="mirror",
            ok=False,
            needed=True,
            detail=_line(error),
            hint="set LAB_MIRROR, or mend the machine's apt sources",
        )
    return Capability(name="mirror", ok=True, needed=True, detail=f"index of {suite} read, signature good")


def _engine(settings: Settings) -> Capability:
    """Ask the engine for its version; where none answers, install and start Docker's."""
    try:
        with engine.connect(settings) as found:
            version, url = found.version, found.url
    except EnvironmentFault as error:
        fixes: tuple[Fix, ...] = ()
        if not settings.engine:
            install = () if _has("dockerd") else _install(("docker.io",), "install a container engine")
            fixes = (*install, _start_engine())
        return Capability(
            name="engine", ok=False, needed=True, detail=_line(error), fixes=fixes, hint="or set DOCKER_HOST"
        )
    name = next((part.get("Name", "") for part in version.get("Components", []) if part.get("Name")), "engine")
    return Capability(
        name="engine",
        ok=True,
        needed=True,
        detail=f"{name} {version.get('Version')}, API {version.get('ApiVersion')}, {url}",
    )


def _start_engine() -> Fix:
    if Path("/run/systemd/system").is_dir():
        return Fix(argv=("systemctl", "start", "docker"), why="start the container engine")
    return Fix(argv=("dockerd",), why="start the container engine (dockerd, in the background)", detached=True)


def _mounts(settings: Settings) -> Capability:
    """Mount a small tmpfs and take it away again."""
    if not settings.may_mount:
        return Capability(
            name="mounts",
            ok=None,
            needed=True,
            detail="this user may not mount: a helper container will, if the cache lies on a shared mount",
            hint=f"findmnt -o PROPAGATION -T {settings.cache} must say shared",
        )
    script = str(settings.data / "bin" / "mount-output")
    with tempfile.TemporaryDirectory() as folder:
        words = ("mount", "tmpfs", "size=1m", "none", folder, f"{settings.uid}:{settings.gid}")
        done = proc.run([script, *words], deadline_s=30)
        if done.ok:
            proc.run([script, "unmount", folder], deadline_s=30)
    return Capability(
        name="mounts", ok=done.ok, needed=True, detail="tmpfs mounts and unmounts" if done.ok else done.last_line
    )


def _loops(settings: Settings) -> Capability:
    """Ask for a free loop device; filesystems that lie on one need it."""
    if not Path("/dev/loop-control").exists():
        fix = Fix(argv=("modprobe", "loop"), why="load the loop driver")
        return Capability(name="loop", ok=False, needed=True, detail="no /dev/loop-control", fixes=(fix,))
    if not settings.may_mount:
        return Capability(
            name="loop", ok=None, needed=True, detail="/dev/loop-control is there; the helper container uses it"
        )
    done = proc.run(["losetup", "--find"], deadline_s=30)
    return Capability(
        name="loop", ok=done.ok, needed=True, detail=f"next is {done.last_line}" if done.ok else done.last_line
    )


def _fuse(settings: Settings) -> Capability:
    """Look for FUSE's device; rows of kind `coarse` need it."""
    there = coarse.DEVICE.exists()
    fix = Fix(argv=("modprobe", "fuse"), why="load FUSE")
    return Capability(
        name="fuse",
        ok=there,
        needed=False,
        detail=f"{coarse.DEVICE} is there" if there else f"no {coarse.DEVICE}",
        fixes=() if there else (fix,),
        hint="" if there else "without it, no filesystem with steps of two seconds",
    )


def _write_order(settings: Settings) -> Capability:
    """Start the recorder on a real mount and see it listen."""
    if not settings.may_mount:
        return Capability(name="write order", ok=None, needed=False, detail="recorded by a helper container")
    with tempfile.TemporaryDirectory() as folder:
        script = str(settings.data / "bin" / "record-writes")
        done = proc.run(["timeout", "1", script, folder, f"{folder}/writes"], deadline_s=10)
    works = "ready" in done.output
    return Capability(
        name="write order",
        ok=works,
        needed=False,
        detail="fanotify listens" if works else done.last_line,
        hint="" if works else "without it, timestamp races of lucky builds cannot be seen",
    )


def _binfmt(settings: Settings) -> Capability:
    """Look for the kernel's handlers of foreign programs."""
    handlers = {path.name: path for path in BINFMT.glob("qemu-*")} if BINFMT.is_dir() else {}
    enabled = [name for name, _ in HANDLERS if name in handlers and "enabled" in _text(handlers[name])]
    lacking = [name for name, _ in HANDLERS if name not in enabled]
    shown = ", ".join(f"{arch} by {name}" if name in enabled else f"{arch} not" for name, arch in HANDLERS)
    fixes: tuple[Fix, ...] = ()
    if lacking:
        mount = Fix(argv=("mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)), why="mount binfmt_misc")
        needs_mount = not (BINFMT / "register").exists()
        enable = (("update-binfmts", "--enable", name) for name in lacking)
        fixes = (
            *((mount,) if needs_mount else ()),
            *(() if _has("qemu-arm-static") and _has("update-binfmts") else _install(
                ("qemu-user-static", "binfmt-support"), "install emulators of foreign programs")),
            *(Fix(argv=argv, why=f"register {argv[2]}") for argv in enable),
        )  # fmt: skip
    return Capability(name="binfmt", ok=not lacking, needed=False, detail=shown, fixes=fixes)


def _disk(settings: Settings) -> Capability:
    """Measure what is free where the cache will lie."""
    folder = settings.cache
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free >> 30
    return Capability(
        name="disk",
        ok=free >= DISK_WANTED_GIB,
        needed=True,
        detail=f"{free} GiB free at the cache, {DISK_WANTED_GIB} wanted",
        hint="" if free >= DISK_WANTED_GIB else "`lab clean --caches`, or set LAB_CACHE to a larger disk",
    )


def _memory(settings: Settings) -> Capability:
    return Capability(
        name="memory",
        ok=settings.memory_mib >= MEMORY_WANTED_MIB,
        needed=True,
        detail=f"{settings.memory_mib} MiB, {settings.cores} cores",
    )


def _has(program: str) -> bool:
    return shutil.which(program, path=proc.CLEAN["PATH"]) is not None


def _line(error: LabError) -> str:
    return "; ".join([error.message, *(f"{label}: {text}" for label, text in error.facts[:2])])


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
