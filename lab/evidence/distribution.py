"""A distribution's kernel, unpacked from its packages (`dpkg-deb -x`, `rpm2cpio`) or installed: where its pieces are.

    boot/{vmlinuz,vmlinux,config,System.map}-RELEASE        lib/modules/RELEASE/{kernel,updates,extra,…}/**.ko[.xz|.zst|.gz]
    usr/src/linux-headers-RELEASE/Module.symvers            lib/modules/RELEASE/{vmlinuz,config,System.map}
    usr/lib/debug/{boot/vmlinux-RELEASE,lib/modules/RELEASE/vmlinux}

lib may be usr/lib. Packages may lie over one another, or each in a folder of its own beside the others.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import UsageError
from lab.evidence.text import clean, text_of

MAX_FOLDERS = 1000  # packages beside one another
MAX_MODULES = 100_000
MODULE_SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")
_RELEASE = re.compile(r"\d[\w.+~-]{0,127}")
_LIBRARIES = ("lib/modules", "usr/lib/modules")
_BOOT = {"image": ("vmlinuz-", "vmlinux-"), "config": ("config-",), "system_map": ("System.map-",)}
_BESIDE_MODULES = {"image": ("vmlinuz",), "config": ("config",), "system_map": ("System.map",)}
_MAP_LINE = re.compile(r"[0-9a-f]{8,16} [A-Za-z] \S+$")
LEAST_MAP_SYMBOLS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """The pieces of one kernel, None for what is not there. modules: the folders lib/modules/RELEASE."""

    release: str
    image: Path | None = None
    config: Path | None = None
    system_map: Path | None = None
    symvers: Path | None = None
    debug: Path | None = None
    modules: tuple[Path, ...] = field(default=())


def kernels(root: Path) -> dict[str, Kernel]:
    """Return release -> kernel, of a folder that packages were unpacked to, or that holds such folders; {} if it is none.

    Nothing is opened and no link is followed. Headers or debugging symbols alone are no kernel.
    """
    found: dict[str, dict[str, Path]] = {}
    modules: dict[str, list[Path]] = {}
    for place in (root, *_folders(root)):
        _of_package(place, found, modules)
    return {
        release: Kernel(release=release, modules=tuple(modules.get(release, ())), **found.get(release, {}))
        for release in sorted({*found, *modules})
        if release in modules or "image" in found[release]
    }


def _of_package(place: Path, found: dict[str, dict[str, Path]], modules: dict[str, list[Path]]) -> None:
    def note(release: str, piece: str, path: Path) -> None:
        if _RELEASE.fullmatch(release) and path.is_file() and not path.is_symlink():
            found.setdefault(release, {}).setdefault(piece, path)

    for name in _names(_real(place, "boot")):
        for piece, prefixes in _BOOT.items():
            for prefix in prefixes:
                if name.startswith(prefix):
                    note(name.removeprefix(prefix), piece, place / "boot" / name)
    for library in _LIBRARIES:
        for folder in _folders(_real(place, library)):
            if not _RELEASE.fullmatch(folder.name):
                continue
            if _folders(folder):
                modules.setdefault(folder.name, []).append(folder)
            for piece, names in _BESIDE_MODULES.items():
                for name in names:
                    note(folder.name, piece, folder / name)
    for folder in _folders(_real(place, "usr/src")):
        if folder.name.startswith("linux-headers-"):
            note(folder.name.removeprefix("linux-headers-"), "symvers", folder / "Module.symvers")
    for folder in _folders(_real(place, "usr/src/kernels")):
        note(folder.name, "symvers", folder / "Module.symvers")
    for name in _names(_real(place, "usr/lib/debug/boot")):
        note(name.removeprefix("vmlinux-"), "debug", place / "usr/lib/debug/boot" / name)
    for folder in _folders(_real(place, "usr/lib/debug/lib/modules")):
        note(folder.name, "debug", folder / "vmlinux")


def _real(place: Path, name: str) -> Path | None:
    """Return a folder below a place, None if there is none or if a link leads there."""
    path = place
    for part in name.split("/"):
        path = path / part
        if path.is_symlink() or not path.is_dir():
            return None
    return path


def _folders(root: Path | None) -> tuple[Path, ...]:
    """Return the folders in a folder, by name, links left out."""
    try:
        if root is None:
            return ()
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return ()
    return tuple(root / name for name in names[:MAX_FOLDERS])


def _names(folder: Path | None) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())[:MAX_FOLDERS] if folder is not None else []
    except OSError:
        return []


def found(given: Path, release: str = "") -> tuple[Path, Kernel] | None:
    """Return where the packages were unpacked and the kernel that is meant; None if the folder holds none.

    given: that place, or a folder inside it: lib/modules/RELEASE (which names the kernel), lib/modules, boot.
    Raises UsageError if there are several and none is named, or the one that is named is not there.
    """
    given = given.absolute()
    for parent, named in _readings(given):
        known = kernels(parent)
        if not known:
            continue
        wanted = release or named
        if wanted and wanted in known:
            return parent, known[wanted]
        if len(known) == 1 and not wanted:
            return parent, next(iter(known.values()))
        listed = ", ".join(clean(one) for one in list(known)[:20]) + (", …" if len(known) > 20 else "")
        if wanted:
            raise UsageError(f"no kernel {clean(wanted)!r} in '{given}'", facts=(("known", listed),))
        raise UsageError(
            f"'{given}' holds {len(known)} kernels", facts=(("they are", listed),), hint="name one: --release RELEASE"
        )
    return None


def _readings(given: Path) -> list[tuple[Path, str]]:
    """Return (where packages may have been unpacked, release that the folder given names) in the order of trial."""
    parts = given.parts
    rows = []
    if parts[-3:-1] == ("lib", "modules"):
        up = given.parents[2]
        rows += [(up.parent, parts[-1])] if up.name == "usr" else []
        rows.append((up, parts[-1]))
    elif parts[-2:] == ("lib", "modules"):
        up = given.parents[1]
        rows += [(up.parent, "")] if up.name == "usr" else []
        rows.append((up, ""))
    elif parts[-1:] == ("boot",):
        rows.append((given.parent, ""))
    return [*rows, (given, "")]


def module_files(kernel: Kernel) -> dict[str, Path]:
    """Return module -> file. The name is that of the build: "net/key/af_key.ko" for kernel/net/key/af_key.ko.xz.

    What is not below kernel/ (updates/dkms/x.ko) keeps its whole path. No link is followed.
    """
    files: dict[str, Path] = {}
    for folder in kernel.modules:
        for place, folders, names in os.walk(folder):
            folders[:] = sorted(one for one in folders if one not in ("build", "source"))
            for name in sorted(names):
                path = Path(place, name)
                if name.endswith(MODULE_SUFFIXES) and not path.is_symlink() and len(files) < MAX_MODULES:
                    files.setdefault(module_name(path.relative_to(folder).as_posix()), path)
    return files


def module_name(path: str) -> str:
    """Return a module's path as the build knew it, from the one below lib/modules/RELEASE."""
    base = path.removesuffix(".xz").removesuffix(".zst").removesuffix(".gz")
    return base.removeprefix("kernel/")


def is_of_kernel(module: Path) -> bool:
    """Whether a module was installed by the kernel's own build, not by somebody else (updates/, extra/, weak-updates/)."""
    parts = module.parts
    at = max((index for index, part in enumerate(parts) if part == "modules"), default=-1)
    return at < 0 or parts[at + 2 : at + 3] == ("kernel",)


def is_stub(system_map: Path) -> bool:
    """Whether a System.map holds no symbols but a hint where they are, as Debian's does."""
    lines = (text_of(system_map, 1 << 16) or "").splitlines()
    return len(lines) < LEAST_MAP_SYMBOLS or not all(_MAP_LINE.match(line) for line in lines[: LEAST_MAP_SYMBOLS - 1])
