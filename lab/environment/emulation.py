"""Foreign programs: whether this host's kernel runs them, and native programs in place of a foreign image's hot ones.

`emulated`: all programs of the container are foreign; the kernel hands each to qemu-user (binfmt_misc). `accelerated`: the same
container, with the files and folders that its row of tools names mounted over those of the same path: compiler, binutils,
make, shells, small tools, their loader and libraries. Libraries and headers to link with stay the foreign ones, so what
HOSTCC makes is foreign and runs emulated: there native builds differ from cross builds.

Source: Documentation/admin-guide/binfmt-misc.rst; ld.so(8), which passes over libraries of another ELF class or machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
from pathlib import Path

from lab import proc
from lab.environment.engine import Engine, Mount
from lab.environment.image import BuiltImage, Say
from lab.errors import EnvironmentFault
from lab.model import Emulation
from lab.settings import Settings
from lab.tables import Arch, Image

BINFMT = Path("/proc/sys/fs/binfmt_misc")
UNPACK_DEADLINE_S = 600.0
# Since Debian 12 /bin, /sbin and /lib* are links into /usr, and files lie there only. Source: dpkg-buildpackage, "usrmerge".
_MERGED = re.compile(r"/(?:bin|sbin|lib[a-z0-9]*)(?=/|$)")
# "1:2.40-2+b1" -> "2.40": what upstream calls the version, without Debian's epoch and revision. Source: deb-version(7)
_UPSTREAM = re.compile(r"(?:[0-9]+:)?(.+?)(?:-[^-]*)?")


def runs_natively(arch: Arch, machine: str) -> bool:
    """Whether a kernel runs programs of an architecture by itself. machine: of the host, as uname -m."""
    return machine == arch.uname_machine or machine in arch.runs_on


def obstacle(arch: Arch, how: Emulation, *, machine: str, binfmt: Path = BINFMT) -> EnvironmentFault | None:
    """Return why this host cannot run the programs of a cell's container, None if it can. machine: of the host, as uname -m.

    The handler must be enabled and hold its interpreter open (flag F): in a container there is no file of that name.
    """
    if how is Emulation.CROSS or runs_natively(arch, machine):
        return None
    if how is Emulation.NATIVE:  # a handler would run it, too, and nobody would know that it was emulated
        return EnvironmentFault(
            f"this machine does not run programs of {arch.name!r} by itself",
            finding="infra.binfmt",
            facts=(("uname -m", machine), ("runs on", ", ".join((arch.uname_machine, *arch.runs_on)))),
            hint="`emulation: cross` or `emulated` builds for another machine (docs/matrix.md)",
        )
    handler = binfmt / arch.qemu_user
    try:
        lines = handler.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    if "enabled" in lines and "F" in flags:
        return None
    seen = "is not registered" if not lines else "is disabled" if "enabled" not in lines else "lacks the flag F"
    return EnvironmentFault(
        f"this machine does not run programs of {arch.name!r}: binfmt handler {arch.qemu_user!r} {seen}",
        finding="infra.binfmt",
        facts=(("looked at", str(handler)),),
        hint="`lab doctor --fix` installs qemu-user and registers its handlers",
    )


def folder_of(row: Image, built: BuiltImage, settings: Settings) -> Path:
    """Return where unpack() puts the tools of a row: another image or another list is another folder."""
    listed = hashlib.sha256("\n".join((built.id, *row.over)).encode()).hexdigest()[:12]
    return settings.cache / "tools" / f"{row.name}-{listed}"


def unpack(row: Image, built: BuiltImage, engine: Engine, settings: Settings, say: Say = lambda text: None) -> Path:
    """Return the folder with the files of a row's `over`, copied out of the image unless that was done before.

    Two labs that want it at once do it once. Raises EnvironmentFault if the engine or the disk fails.
    """
    folder = folder_of(row, built, settings)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (settings.cache / f"tools-{row.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder
        say("copying native tools out of the image")
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as scratch:
            archive, fresh = Path(scratch) / "root.tar", Path(scratch) / "root"
            fresh.mkdir(mode=0o755)
            engine.export(built.id, archive)
            names = [_real(path).lstrip("/") for path in row.over]
            argv = ["tar", "-x", "--no-same-owner", "-f", str(archive), "-C", str(fresh), "--", *names]
            done = proc.run(argv, deadline_s=UNPACK_DEADLINE_S)
            if not done.ok:
                raise EnvironmentFault(
                    f"cannot unpack the tools of image {row.name!r}",
                    finding="infra.image",
                    facts=(("tar", done.last_line),),
                )
            fresh.rename(folder)
    return folder


def mounts(row: Image, folder: Path) -> tuple[Mount, ...]:
    """Return what is mounted over a foreign container's own files, read-only. folder: of unpack()."""
    return tuple(Mount(host=folder / _real(path).lstrip("/"), inside=path) for path in row.over)


def unequal_versions(foreign: BuiltImage, tools: BuiltImage) -> tuple[tuple[str, str, str], ...]:
    """Return (package, foreign version, native version) of what both images have in different upstream versions.

    Of an image that notes it only what the tools need is held together: neither apt nor time zones compile anything. A cross
    tool's package carries the name of its target at the end: gcc-12-arm-linux-gnueabihf stands in for gcc-12.
    """
    found = []
    for name in sorted(tools.needed or tools.packages):
        version = tools.packages[name]
        own = name if name in foreign.packages else re.sub(r"-[a-z0-9_]+-linux-gnu[a-z0-9]*$", "", name)
        other = foreign.packages.get(own)
        if other is not None and _upstream(other) != _upstream(version):
            found.append((own, other, version))
    return tuple(found)


def check_versions(foreign: BuiltImage, tools: BuiltImage) -> None:
    """Raise EnvironmentFault if the native tools are not of the versions that they stand in for."""
    unequal = unequal_versions(foreign, tools)
    if unequal:
        raise EnvironmentFault(
            f"the native tools of {tools.name!r} are of other versions than those of {foreign.name!r}",
            finding="infra.image",
            facts=tuple((name, f"{own}, native {native}") for name, own, native in unequal[:5]),
            # `lab image prune` leaves them alone: their definitions are what they were
            hint=f"build both again: docker rmi {foreign.tag} {tools.tag}; lab image build {foreign.name} {tools.name}",
        )


def _upstream(version: str) -> str:
    match = _UPSTREAM.fullmatch(version)
    return match[1] if match else version


def _real(path: str) -> str:
    """Return where a path really lies on a merged root: /lib64 is /usr/lib64."""
    return f"/usr{path}" if _MERGED.match(path) else path


def host_machine() -> str:
    """Return what uname -m says here."""
    return os.uname().machine
