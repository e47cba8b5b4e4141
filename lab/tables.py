"""The tables: lab/data/*.yaml and images/*.yaml as frozen typed rows, cross-checked; all mistakes at once.

A row says whose name each of its names is, because no two projects agree: arm64 (TuxMake, kernel, Debian) is aarch64
for GNU and qemu. Nothing else in the lab knows an architecture, a compiler, a filesystem or an image; a new one is a
new row.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from lab import yamltext
from lab.errors import TableError
from lab.model import Emulation, Lto
from lab.yamltext import Node, Notes

DATA = Path(__file__).parent / "data"
# Debian Policy 5.6.7, "Package", and what a folder, an image and a cell may be called.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_PLACE = re.compile(r"(?:/[A-Za-z0-9_.+-]+)+")


class FilesystemKind(StrEnum):
    """How an output directory comes to lie on a filesystem."""

    TMPFS = "tmpfs"  # mounted as it is
    LOOP = "loop"  # an image file, made by mkfs, on a loop device
    OVERLAY = "overlay"  # overlayfs, with its upper and work folder on another row's filesystem
    COARSE = "coarse"  # FUSE: another row's filesystem with its times rounded down, by lab/data/bin/coarse-times


BASED = (FilesystemKind.OVERLAY, FilesystemKind.COARSE)  # kinds that lie on another row


class Purpose(StrEnum):
    """What an image is for."""

    BUILD = "build"  # compilers and what kbuild calls
    BOOT = "boot"  # qemu-system
    GUEST = "guest"  # what a guest runs: /bin/busybox, static; of the guest's architecture, unpacked and never run here
    MOUNT = "mount"  # mkfs, mount and the write recorder, for the host's own architecture
    TOOLS = "tools"  # native programs that stand in for those of a foreign image; only its files are used


class ToolchainFamily(StrEnum):
    """How kbuild is told: CC=gcc, CC=clang with GNU binutils, LLVM=1. Source: Documentation/kbuild/llvm.rst."""

    GCC = "gcc"
    CLANG = "clang"
    LLVM = "llvm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine that qemu can be. The first of an architecture is its default."""

    name: str  # ours
    qemu_system: str  # the program: qemu-system-x86_64
    machine: str  # qemu's -machine
    cpu: str  # qemu's -cpu under TCG; "max" has every feature TCG knows
    image: str  # the row of images/ that holds the program
    devices: tuple[str, ...] = ()  # each the value of one -device: pvpanic
    append: tuple[str, ...] = ()  # kernel parameters this machine needs, without console=
    memory_mib: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """One architecture."""

    name: str  # TuxMake's
    aliases: tuple[str, ...] = ()  # what else people call it
    kernel_arch: str  # make's ARCH=
    kernel_srcarch: str  # the folder under arch/
    debian_arch: str  # dpkg's
    uname_machine: str  # uname -m
    runs_on: tuple[str, ...] = ()  # uname -m of further machines whose kernel runs its programs by itself
    gnu_triplet: str  # prefix of cross tools, without the last dash
    qemu_user: str  # the program: qemu-x86_64
    elf_machine: str  # e_machine, by pyelftools' name: EM_X86_64
    bits: int
    little_endian: bool
    image_target: str  # make's target for what qemu boots
    image_path: str  # what it makes, relative to O=
    console: str  # first serial port, for console=
    guest: str  # the row of images/ whose busybox is put into the initramfs
    machines: tuple[Machine, ...]
    # first kernel (5.12) whose arch/<srcarch>/Kconfig selects ARCH_SUPPORTS_LTO_CLANG; "none": none so far; "": ask the tree
    lto_since: str = ""

    def machine_named(self, name: str) -> Machine | None:
        """Return a machine by name ("" is the first), or None."""
        return next((machine for machine in self.machines if name in ("", machine.name)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """One compiler and what goes with it."""

    name: str  # TuxMake's: gcc-12, clang-19, llvm-19
    aliases: tuple[str, ...] = ()
    family: ToolchainFamily
    version: str  # as in the package's name; the full one is measured
    cc: str  # CC=, without cross prefix and ccache
    hostcc: str  # HOSTCC=, without ccache
    variables: tuple[tuple[str, str], ...] = ()  # further variables on make's command line: ("LLVM", "-19")
    lto: tuple[Lto, ...] = (Lto.NONE,)
    images: Mapping[str, str] = field(hash=False)  # "native/x86_64" (emulation, Arch.name) -> Image.name

    def image_for(self, emulation: Emulation, arch: str) -> str | None:
        """Return the name of the image that builds for an architecture (Arch.name) this way, or None."""
        return self.images.get(f"{emulation.value}/{arch}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filesystem:
    """Where the output directory of a build lies.

    granularity_ns: what stat() can tell apart, as promised; the measured one counts and must lie within min … max.
    """

    name: str
    kind: FilesystemKind
    fstype: str  # mount -t
    base: str = ""  # overlay: the row of its upper and work folder; coarse: the row whose times are rounded
    mkfs: tuple[str, ...] = ()  # argv; the image file's path is appended
    mount_options: tuple[str, ...] = ()  # mount -o
    size_mib: int = 0  # tmpfs: size=; loop: apparent size of a sparse file; overlay, coarse: its base's counts
    granularity_ns_min: int  # coarse: min and max are the step that times are rounded down to
    granularity_ns_max: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One container image, as defined; what was built from it is the environment's to know."""

    name: str  # the file's stem
    purpose: Purpose
    suite: str  # Debian's: bookworm
    debian_arch: str  # dpkg's
    packages: tuple[str, ...]
    note: str = ""
    snapshot: str = ""  # YYYYMMDD: packages as the archive had them that day, from LAB_SNAPSHOT; "" is today
    folders: tuple[str, ...] = ()  # empty ones to make: a read-only root has no other way to get a mount point
    tools: str = ""  # a foreign image: the row whose programs stand in for its own with `emulation: accelerated`
    over: tuple[str, ...] = ()  # such a row: its files and folders that are mounted over those of the same path


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """All rows by canonical name, in the order of the files."""

    arch: Mapping[str, Arch]
    toolchain: Mapping[str, Toolchain]
    filesystem: Mapping[str, Filesystem]
    image: Mapping[str, Image]
    kconfig: Mapping[str, str]  # what a matrix calls lab:<name>, as the text of lab/data/kconfig/<name>.config
    kconfig_further: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict
    )  # name -> Arch.name -> <name>.<arch>.config

    def arch_named(self, name: str) -> Arch | None:
        """Return a row by its name or an alias, or None."""
        return _named(self.arch, name)

    def toolchain_named(self, name: str) -> Toolchain | None:
        """Return a row by its name or an alias, or None."""
        return _named(self.toolchain, name)

    def filesystem_named(self, name: str) -> Filesystem | None:
        """Return a row by its name, or None."""
        return self.filesystem.get(name)

    def base_of(self, filesystem: Filesystem) -> Filesystem | None:
        """Return the row that a filesystem lies on (overlay, coarse), None for any other kind."""
        return self.filesystem.get(filesystem.base)

    def uses_loop(self, filesystem: Filesystem) -> bool:
        """Whether a loop device and mkfs are needed."""
        return FilesystemKind.LOOP in (filesystem.kind, (self.base_of(filesystem) or filesystem).kind)

    def mount_image(self, uname_machine: str) -> str | None:
        """Return the name of the image with mkfs and the mount helper for a host (uname -m), None if no row has it."""
        native = [arch.debian_arch for arch in self.arch.values() if arch.uname_machine == uname_machine]
        rows = (image for image in self.image.values() if image.purpose is Purpose.MOUNT)
        return next((image.name for image in rows if image.debian_arch in native), None)


def load(*, images: Path, data: Path | None = None) -> Tables:
    """Return the tables of a data folder (default: the lab's own) and of a folder of image definitions.

    Raises TableError with every mistake of every file, each as file:line:column.
    """
    files = _Files(images=images, data=data or DATA)
    tables = Tables(
        arch=files.rows("arch", Arch),
        toolchain=files.rows("toolchain", Toolchain),
        filesystem=files.rows("filesystem", Filesystem),
        image=files.images(),
        kconfig=files.kconfig(),
        kconfig_further=files.kconfig_further(),
    )
    if not files.broken:  # a row that could not be read would show again as an unknown name
        _cross_check(tables, files)
    yamltext.finish(TableError, *files.notes)
    return tables


# --------------------------------------------------------------------------------------------------------- file to rows

Row = TypeVar("Row", Arch, Toolchain, Filesystem, Image)
ONE = (1, 2**40)
BOUNDS = {"bits": (32, 64), "granularity_ns_min": (0, 10**10), "granularity_ns_max": (1, 10**10)}


class _Files:
    """The files being read: their complaints, and where each row stands."""

    def __init__(self, *, images: Path, data: Path) -> None:
        self.folder_images, self.folder_data = images, data
        self.notes: list[Notes] = []
        self.places: dict[tuple[type, str], tuple[Notes, Node]] = {}
        self.fragments: dict[tuple[str, str], Notes] = {}  # of kconfig_further

    @property
    def broken(self) -> bool:
        return any(self.notes)

    def rows(self, stem: str, cls: type[Row]) -> dict[str, Row]:
        root, notes = self.root(self.folder_data / f"{stem}.yaml")
        rows: dict[str, Row] = {}
        for name, (key, node) in ((root and yamltext.entries(root, stem, (), notes)) or {}).items():
            self.places[cls, name] = (notes, key)
            row = _record(node, f"{stem} {name!r}", cls, notes, name=name)
            if row is not None:
                rows[name] = row
        return rows

    def images(self) -> dict[str, Image]:
        rows: dict[str, Image] = {}
        for path in sorted(self.folder_images.glob("*.yaml")):
            root, notes = self.root(path)
            if root is not None:
                self.places[Image, path.stem] = (notes, root)
                row = _record(root, "image", Image, notes, name=path.stem)
                if row is not None:
                    rows[row.name] = row
        return rows

    def kconfig(self) -> dict[str, str]:
        paths = sorted((self.folder_data / "kconfig").glob("*.config"))
        texts = {path.stem: self.text(path)[0] for path in paths if "." not in path.stem}
        return {name: text for name, text in texts.items() if text is not None}

    def kconfig_further(self) -> dict[str, dict[str, str]]:
        rows: dict[str, dict[str, str]] = {}
        for path in sorted((self.folder_data / "kconfig").glob("*.*.config")):
            name, _, arch = path.stem.partition(".")
            text, notes = self.text(path)
            if text is not None:
                rows.setdefault(name, {})[arch] = text
                self.fragments[name, arch] = notes
        return rows

    def root(self, path: Path) -> tuple[Node | None, Notes]:
        text, notes = self.text(path)
        return (yamltext.parse(text, notes) if text is not None else None), notes

    def text(self, path: Path) -> tuple[str | None, Notes]:
        notes = Notes(str(path))
        self.notes.append(notes)
        try:
            return yamltext.decode(path.read_bytes(), notes), notes
        except OSError as error:
            notes.add(1, 1, f"cannot read the table: {error.strerror}")
            return None, notes

    def complain(self, row: Arch | Toolchain | Filesystem | Image, message: str) -> None:
        notes, node = self.places[type(row), row.name]
        notes.at(node, message)


Record = TypeVar("Record")


def _record(node: Node, what: str, cls: type[Record], notes: Notes, **given: str) -> Record | None:
    """Return a mapping as a dataclass, each value typed by its field; None after a complaint."""
    hints = get_type_hints(cls)
    wanted = [one for one in fields(cls) if one.name not in given]  # type: ignore[arg-type]
    found = yamltext.entries(node, what, [one.name for one in wanted], notes)
    if found is None:
        return None
    values: dict[str, Any] = dict(given)
    complete = True
    for one in wanted:
        if one.name in found:
            value = _value(found[one.name][1], one.name, hints[one.name], notes)
            complete = complete and value is not None
            values[one.name] = value
        elif one.default is MISSING:
            notes.at(node, f"{what} lacks {one.name!r}")
            complete = False
    return cls(**values) if complete else None


def _value(node: Node, name: str, hint: Any, notes: Notes) -> Any:
    if hint is str:
        return yamltext.text(node, name, notes)
    if hint is bool:
        return yamltext.switch(node, name, notes)
    if hint is int:
        low, high = BOUNDS.get(name, ONE)
        return yamltext.whole(node, name, notes, low=low, high=high)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return yamltext.word(node, name, hint, notes)
    if get_origin(hint) is Mapping:
        return _pairs(node, name, notes)
    inner = get_args(hint)[0]
    if inner is str:
        return yamltext.texts(node, name, notes)
    if get_origin(inner) is tuple:
        pairs = _pairs(node, name, notes)
        return None if pairs is None else tuple(pairs.items())
    return _values(node, name, inner, notes)


def _values(node: Node, name: str, inner: type, notes: Notes) -> tuple[Any, ...] | None:
    nodes = yamltext.items(node, name, notes)
    if nodes is None:
        return None
    found: list[Any]
    if issubclass(inner, StrEnum):
        found = [yamltext.word(one, f"item of {name}", inner, notes) for one in nodes]
    else:
        found = [_record(one, f"item of {name}", inner, notes) for one in nodes]
    return None if None in found else tuple(found)


def _pairs(node: Node, name: str, notes: Notes) -> dict[str, str] | None:
    found = yamltext.entries(node, name, (), notes)
    if found is None:
        return None
    values = {key: yamltext.text(value, f"{name}.{key}", notes) for key, (_, value) in found.items()}
    return {key: value for key, value in values.items() if value is not None}


# --------------------------------------------------------------------------------------------------------- cross-checks

Named = TypeVar("Named", Arch, Toolchain)


def _named(rows: Mapping[str, Named], name: str) -> Named | None:
    return rows.get(name) or next((row for row in rows.values() if name in row.aliases), None)


def _cross_check(tables: Tables, files: _Files) -> None:
    for rows in (tables.arch, tables.toolchain, tables.filesystem, tables.image):
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
    for (name, of_arch), notes in files.fragments.items():
        if name not in tables.kconfig or of_arch not in tables.arch:
            notes.add(1, 1, f"a fragment for one architecture belongs to {name}.config and to a row of arch.yaml")


def _check_aliases(rows: Mapping[str, Named], files: _Files) -> None:
    owners = {name: name for name in rows}
    for row in rows.values():
        for alias in row.aliases:
            if owners.setdefault(alias, row.name) != row.name:
                files.complain(row, f"alias {alias!r} already belongs to {owners[alias]!r}")


def _check_arch(arch: Arch, tables: Tables, files: _Files) -> None:
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


def _check_toolchain(toolchain: Toolchain, tables: Tables, files: _Files) -> None:
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


def _check_filesystem(filesystem: Filesystem, tables: Tables, files: _Files) -> None:
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


def _check_image(image: Image, tables: Tables, files: _Files) -> None:
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
