"""What one row says of another: every name known, every kind where it belongs."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping

from lab.model import Emulation, Lto
from lab.tables.files import Files
from lab.tables.rows import (
    BASED,
    Arch,
    Filesystem,
    FilesystemKind,
    Fix,
    Image,
    Kernel,
    Named,
    Purpose,
    Tables,
    Toolchain,
    ToolchainFamily,
)

# Debian Policy 5.6.7, "Package", and what a folder, an image and a cell may be called.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_PLACE = re.compile(r"(?:/[A-Za-z0-9_.+-]+)+")


def cross_check(tables: Tables, files: Files) -> None:
    """Complain about every row that names what is not there, or what does not go with it."""
    for rows in (tables.arch, tables.toolchain, tables.filesystem, tables.image, tables.kernel, tables.fix):
        for row in rows.values():
            if not _NAME.fullmatch(row.name):
                files.complain(row, f"name {row.name!r} must consist of a-z, 0-9, '_', '.' and '-'")
    _check_aliases(tables.arch, files)
    _check_aliases(tables.toolchain, files)
    for arch in tables.arch.values():
        _check_arch(arch, tables, files)
    for toolchain in tables.toolchain.values():
        _check_toolchain(toolchain, tables, files)
    for filesystem in tables.filesystem.values():
        _check_filesystem(filesystem, tables, files)
    for image in tables.image.values():
        _check_image(image, tables, files)
    for kernel in tables.kernel.values():
        _check_kernel(kernel, tables, files)
    for fix in tables.fix.values():
        _check_fix(fix, tables, files)
    for (name, of_arch), notes in files.fragments.items():
        if name not in tables.kconfig or of_arch not in tables.arch:
            notes.add(1, 1, f"a fragment for one architecture belongs to {name}.config and to a row of arch.yaml")


def _check_aliases(rows: Mapping[str, Named], files: Files) -> None:
    owners = {name: name for name in rows}
    for row in rows.values():
        for alias in row.aliases:
            if owners.setdefault(alias, row.name) != row.name:
                files.complain(row, f"alias {alias!r} already belongs to {owners[alias]!r}")


def _check_arch(arch: Arch, tables: Tables, files: Files) -> None:
    guest = tables.image.get(arch.guest)
    if guest is None:
        files.complain(arch, f"arch {arch.name!r} names an unknown image {arch.guest!r}")
    elif guest.purpose is not Purpose.GUEST or guest.debian_arch != arch.debian_arch:
        files.complain(arch, f"arch {arch.name!r} names {arch.guest!r}, which is no image for its guests")
    if not re.fullmatch(r"(none|[0-9]+\.[0-9]+)?", arch.lto_since):
        files.complain(arch, f"arch {arch.name!r}: lto_since must be a kernel version such as '5.12', or 'none'")
    if not arch.machines:
        files.complain(arch, f"arch {arch.name!r} has no machine")
    for machine in arch.machines:
        image = tables.image.get(machine.image)
        if image is None:
            files.complain(arch, f"machine {machine.name!r} names an unknown image {machine.image!r}")
        elif image.purpose is not Purpose.BOOT:
            files.complain(arch, f"machine {machine.name!r} names {machine.image!r}, which is no image for booting")
    if len({machine.name for machine in arch.machines}) < len(arch.machines):
        files.complain(arch, f"arch {arch.name!r} has two machines of one name")


def _check_toolchain(toolchain: Toolchain, tables: Tables, files: Files) -> None:
    for key, name in toolchain.images.items():
        emulation, _, arch_name = key.partition("/")
        arch, image = tables.arch.get(arch_name), tables.image.get(name)
        if emulation not in list(Emulation) or arch is None:
            files.complain(toolchain, f"images key {key!r} must read EMULATION/ARCH, such as 'native/x86_64'")
        elif image is None:
            files.complain(toolchain, f"images.{key} names an unknown image {name!r}")
        elif image.purpose is not Purpose.BUILD:
            files.complain(toolchain, f"images.{key} names {name!r}, which is no image for building")
        elif emulation == Emulation.ACCELERATED and not image.tools:
            files.complain(toolchain, f"images.{key} names {name!r}, which has no native tools")
        elif emulation != Emulation.CROSS and image.debian_arch != arch.debian_arch:
            files.complain(toolchain, f"images.{key} names {name!r}, an image for {image.debian_arch}")
    if Lto.NONE not in toolchain.lto or (toolchain.family is ToolchainFamily.GCC and len(toolchain.lto) > 1):
        files.complain(toolchain, f"toolchain {toolchain.name!r}: lto must have 'none', and with gcc nothing else")


def _check_filesystem(filesystem: Filesystem, tables: Tables, files: Files) -> None:
    if (filesystem.kind is FilesystemKind.LOOP) != bool(filesystem.mkfs):
        files.complain(filesystem, f"filesystem {filesystem.name!r}: kind 'loop' needs mkfs, and no other kind has it")
    base = tables.filesystem.get(filesystem.base)
    if filesystem.kind not in BASED:
        if filesystem.base:
            files.complain(filesystem, f"filesystem {filesystem.name!r}: only kinds 'overlay' and 'coarse' have a base")
        if not filesystem.size_mib:
            files.complain(filesystem, f"filesystem {filesystem.name!r} lacks 'size_mib'")
    elif base is None or base.kind in BASED:
        files.complain(
            filesystem, f"filesystem {filesystem.name!r}: base {filesystem.base!r} must be a row without base"
        )
    if filesystem.granularity_ns_min > filesystem.granularity_ns_max:
        files.complain(filesystem, f"filesystem {filesystem.name!r}: granularity_ns_min exceeds granularity_ns_max")
    elif filesystem.kind is FilesystemKind.COARSE and filesystem.granularity_ns_min != filesystem.granularity_ns_max:
        files.complain(
            filesystem, f"filesystem {filesystem.name!r}: kind 'coarse' has one step, as granularity_ns_min and _max"
        )


def _is_day(text: str) -> bool:
    try:
        return datetime.datetime.strptime(text, "%Y%m%d").strftime("%Y%m%d") == text  # noqa: DTZ007 (a day has no zone)
    except ValueError:
        return False


def _check_image(image: Image, tables: Tables, files: Files) -> None:
    if not image.packages:
        files.complain(image, f"image {image.name!r} has no packages")
    for package in image.packages:
        if not _PACKAGE.fullmatch(package):
            files.complain(image, f"{package!r} is no name of a Debian package")
    if image.snapshot and not _is_day(image.snapshot):
        files.complain(image, f"image {image.name!r}: snapshot must be a day as YYYYMMDD, not {image.snapshot!r}")
    for path in (*image.folders, *image.over):
        if not _PLACE.fullmatch(path) or ".." in path.split("/"):
            files.complain(image, f"{path!r} is no absolute path of plain names")
    tools = tables.image.get(image.tools)
    if image.tools and (tools is None or tools.purpose is not Purpose.TOOLS):
        files.complain(image, f"tools {image.tools!r} is no image of native tools")
    if (image.purpose is Purpose.TOOLS) != bool(image.over):
        files.complain(image, "purpose 'tools' needs 'over', and no other purpose has it")


_RELEASE = re.compile(r"(?:[0-9]+\.[0-9]+)?")
_DAY = re.compile(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2})?")


def _check_kernel(kernel: Kernel, tables: Tables, files: Files) -> None:
    for name in kernel.toolchains:
        if name not in tables.toolchain:
            files.complain(kernel, f"kernel {kernel.name!r} names an unknown toolchain {name!r}")
    if not _DAY.fullmatch(kernel.released) or not _RELEASE.fullmatch(kernel.name):
        files.complain(
            kernel, f"kernel {kernel.name!r}: its name must be a release, and 'released' a day as YYYY-MM-DD"
        )


def _check_fix(fix: Fix, tables: Tables, files: Files) -> None:
    releases = [fix.version, fix.since, fix.until, *(one for undo in fix.undo for one in (undo.since, undo.until))]
    if not all(_RELEASE.fullmatch(one) for one in releases) or not _DAY.fullmatch(fix.released):
        files.complain(
            fix, f"fix {fix.name!r}: version, since and until must be releases, and 'released' a day as YYYY-MM-DD"
        )
    for undo in fix.undo:
        if undo.patch not in tables.patch:
            files.complain(fix, f"fix {fix.name!r} names an unknown patch {undo.patch!r}")
    for item in (*fix.kconfig, *(one for undo in fix.undo for one in undo.kconfig)):
        if item.startswith("lab:") and item.removeprefix("lab:") not in tables.kconfig:
            files.complain(fix, f"fix {fix.name!r} names an unknown fragment {item!r}")
