"""A kernel that somebody gives to be booted: packages unpacked, its image, its architecture, its modules."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.boot.initramfs import ModuleFile
from lab.errors import UsageError, machine_fault
from lab.evidence import bootable, deb, image_format, kernel_image, unpack
from lab.evidence.bootable import Bootable
from lab.evidence.elf import UnreadableError
from lab.evidence.shape import Shape
from lab.evidence.text import opened
from lab.model import Boot, Program
from lab.report import reproduce
from lab.tables import Arch, Machine, Tables
from lab.use import guest as guests
from lab.use import shards


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A kernel that is to be booted. image: the file it comes from. modules: all; chosen: those to be loaded."""

    found: Bootable
    arch: Arch
    machine: Machine
    image: Path
    modules: tuple[ModuleFile, ...]
    chosen: tuple[ModuleFile, ...]
    device_tree: Path | None = None
    system_map: Path | None = None
    packages: tuple[reproduce.PackageRecipe, ...] = field(default=())


def look(
    paths: Sequence[Path],
    release: str,
    boot: Boot,
    choose: Callable[[Sequence[ModuleFile]], Sequence[ModuleFile]],
    tables: Tables,
    scratch: Path,
    say: Callable[[str], None],
) -> Given:
    """Find out what is to be booted. Raises UsageError, with what is known.

    paths: one folder, or packages of one kernel, which are unpacked into scratch. release: which of several kernels.
    choose: what is taken of the modules that `boot` means.
    """
    root, packages = _root(paths, scratch / "packages", say)
    found = bootable.of_folder(root, release)
    arch = architecture(found, tables)
    machine = arch.machine_named(boot.machine)
    if machine is None:
        known = ", ".join(one.name for one in arch.machines)
        raise UsageError(f"{arch.name} has no machine {boot.machine!r}", facts=(("known", known),))
    modules = shards.module_files(found.modules)
    chosen = choose(shards.selected(modules, boot.modules))
    say(f"{found.release or root.name}: {arch.name}, {len(chosen)} of {len(modules)} modules")
    return Given(
        found=found, arch=arch, machine=machine, image=_image(found, arch), modules=modules, chosen=tuple(chosen),
        device_tree=guests.device_tree(machine, found.root), system_map=found.system_map, packages=packages,
    )  # fmt: skip


def check_paths(paths: Sequence[Path]) -> None:
    """Raise UsageError unless the paths are one folder, or packages."""
    if len(paths) == 1 and paths[0].is_dir():
        return
    for path in paths:
        try:
            good = not path.is_dir() and deb.is_deb(path)
        except OSError as error:
            raise UsageError(f"cannot read '{path}': {error.strerror or error}") from error
        if not good:
            raise UsageError(
                f"'{path}' is {'a folder beside others' if path.is_dir() else 'neither a folder nor a Debian package'}",
                hint="give one folder (O=, evidence, unpacked packages), or the .deb files of one kernel",
            )


def _root(
    paths: Sequence[Path], folder: Path, say: Callable[[str], None]
) -> tuple[Path, tuple[reproduce.PackageRecipe, ...]]:
    """Return the folder that is meant: the one that is given, or where the packages were unpacked."""
    check_paths(paths)
    if paths[0].is_dir():
        return paths[0], ()
    return folder, tuple(_unpacked(path, folder, say) for path in paths)


def _unpacked(path: Path, folder: Path, say: Callable[[str], None]) -> reproduce.PackageRecipe:
    say(f"unpacking {path.name}")
    try:
        got = deb.unpack(path, folder)
        package = reproduce.PackageRecipe(path=str(path.absolute()), sha256=sha256_of(path))
    except UnreadableError as error:
        raise UsageError(f"cannot unpack '{path}'", facts=(("because", str(error)),)) from error
    except OSError as error:
        raise machine_fault(f"unpack '{path}'", error) from error
    if not got.files:
        raise UsageError(f"'{path}' holds no kernel and no modules", facts=(("looked for", ", ".join(deb.WANTED)),))
    return package


def architecture(found: Bootable, tables: Tables) -> Arch:
    """Return the row that everything in the folder fits. Raises UsageError with what is known if that is not exactly one."""
    fitting = [row for row in tables.arch.values() if all(_fits(claim, row) for claim in found.claims)]
    if found.claims and len(fitting) == 1:
        return fitting[0]
    facts = [(claim.source, claim.words()) for claim in found.claims]
    facts += [(name, f"cannot be read: {why}") for name, why in found.unreadable]
    if not found.claims:
        raise UsageError(
            f"nothing in '{found.root}' says which architecture it is for",
            facts=tuple(facts),
            hint="a vmlinux, a module, a boot image or the .config would",
        )
    if fitting:
        facts.append(("could be", ", ".join(row.name for row in fitting)))
        raise UsageError(f"what is in '{found.root}' leaves open which architecture it is for", facts=tuple(facts))
    together = any(_fits(claim, row) for row in tables.arch.values() for claim in found.claims)
    what = "speaks of different architectures" if together else "is for an architecture that the lab has no machine for"
    facts.append(("known", ", ".join(tables.arch)))
    raise UsageError(f"what is in '{found.root}' {what}", facts=tuple(facts))


def _fits(claim: image_format.Claim, row: Arch) -> bool:
    return (
        claim.machine in ("", row.elf_machine)
        and claim.kernel_arch in ("", row.kernel_arch, row.kernel_srcarch)
        and claim.bits in (0, row.bits)
        and claim.byte_order in ("", "<" if row.little_endian else ">")
    )


def _image(found: Bootable, arch: Arch) -> Path:
    if found.image is not None:
        return found.image
    path = found.root / arch.image_path
    if found.shape is Shape.OUTPUT and path.is_file() and path.resolve().is_relative_to(found.root.resolve()):
        return path
    lacking = {
        Shape.OUTPUT: (f"no {arch.image_path}", f"make {arch.image_target}"),
        Shape.ATTEMPT: (f"no {bootable.KERNEL}", "only what was booted is kept there; boot what the build left in O="),
        Shape.DISTRIBUTION: ("no boot/vmlinuz-RELEASE", "add the package that has the kernel itself"),
    }[found.shape]
    raise UsageError(f"there is {lacking[0]} in '{found.root}'", hint=lacking[1])


# ------------------------------------------------------------------------------------------------------ for the guest


def needs_unpacking(given: Given) -> bool:
    """Whether qemu must be given what the image holds: an attempt's is packed for keeping, and where make's own target is
    the bare Image, qemu unpacks at most gzip.
    """
    bare = given.arch.image_target == "Image"
    return given.found.shape is Shape.ATTEMPT or (bare and not image_format.is_bare(given.image))


def plain_image(given: Given, target: Path) -> None:
    """Write what qemu boots. Raises UsageError if the image cannot be unpacked."""
    if not needs_unpacking(given):
        shutil.copyfile(given.image, target, follow_symlinks=False)
        return
    try:
        if given.found.shape is Shape.ATTEMPT:
            with opened(given.image) as packed, target.open("wb") as out:
                unpack.plain_copy(packed, given.image.stat().st_size, out)
        else:
            with kernel_image.unpacked(given.image) as plain, target.open("wb") as out:
                shutil.copyfileobj(plain, out, 1 << 20)
    except (UnreadableError, *unpack.DAMAGED) as error:
        raise UsageError(f"cannot unpack the kernel '{given.image}'", facts=(("because", str(error)),)) from error


def plain_modules(modules: Iterable[ModuleFile], folder: Path) -> tuple[ModuleFile, ...]:
    """Return the modules with files that are not packed; a damaged one stays as it is, and the kernel will say so."""
    folder.mkdir()
    return tuple(_plain_module(module, folder / f"{number}.ko") for number, module in enumerate(modules))


def _plain_module(module: ModuleFile, target: Path) -> ModuleFile:
    assert isinstance(module.data, Path), "they are files"
    try:
        with opened(module.data) as packed, target.open("wb") as out:
            is_packed = unpack.plain_copy(packed, os.fstat(packed.fileno()).st_size, out)
    except unpack.DAMAGED:
        is_packed = False
    if not is_packed:
        target.unlink(missing_ok=True)
    return replace(module, data=target) if is_packed else module


def below(root: Path, module: ModuleFile) -> str:
    """Return where a module's file lies in a folder."""
    assert isinstance(module.data, Path), "they are files"
    return module.data.relative_to(root).as_posix()


def sha256_of(path: Path) -> str:
    """Return the hash of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def program(path: Path) -> Program:
    """Return a user's script or static program. Raises UsageError if it is not there, or neither of both."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
        digest = sha256_of(path)
    except OSError as error:
        raise UsageError(f"cannot read the program '{path}': {error.strerror}") from error
    if not head.startswith((b"#!", b"\x7fELF")):
        hint = "a script begins with '#!/bin/sh'; a program is linked statically, for the guest's architecture"
        raise UsageError(f"'{path}' is neither a script nor an ELF file", hint=hint)
    return Program(name=path.name, path=str(path.absolute()), sha256=digest)
