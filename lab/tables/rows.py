"""The rows of the tables: architectures, toolchains, filesystems, images.

A row says whose name each of its names is, because no two projects agree: arm64 (TuxMake, kernel, Debian) is aarch64
for GNU and qemu. Nothing else in the lab knows an architecture, a compiler, a filesystem or an image; a new one is a
new row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from lab.model import Emulation, Lto


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
    LINES = "lines"  # addr2line, for the host's own architecture
    TOOLS = "tools"  # native programs that stand in for those of a foreign image; only its files are used


class ToolchainFamily(StrEnum):
    """How kbuild is told: CC=gcc, CC=clang with GNU binutils, LLVM=1. Source: Documentation/kbuild/llvm.rst."""

    GCC = "gcc"
    CLANG = "clang"
    LLVM = "llvm"


class OnPanic(StrEnum):
    """What qemu does when the guest told of its panic: -action panic=. Source: qemu, qapi/run-state.json, PanicAction."""

    SHUTDOWN = "shutdown"
    NONE = "none"  # for guests that go on to say the rest and to reset themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine that qemu can be. The first of an architecture is its default."""

    name: str  # ours
    qemu_system: str  # the program: qemu-system-x86_64
    machine: str  # qemu's -machine
    cpu: str  # qemu's -cpu under TCG; "max" has every feature TCG knows
    image: str  # the row of images/ that holds the program
    devices: tuple[str, ...] = ()  # each the value of one -device: pvpanic
    on_panic: OnPanic = OnPanic.SHUTDOWN
    console: str = ""  # for console=, "" is the architecture's
    device_tree: tuple[str, ...] = ()  # where a build may have put the one it needs, relative to O=; the first counts
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
class Kernel:
    """One kernel source that reports are tried on. name: its release."""

    name: str
    package: str  # Debian's, of its source
    suite: str  # that has it
    toolchains: tuple[str, ...]  # rows of toolchain.yaml that build it, its own suite's first
    released: str = ""  # the day of the release, YYYY-MM-DD; "" if nobody knows


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """A patch that brings a fault back in releases since … until (half-open). kconfig: what these releases need besides."""

    since: str
    until: str
    patch: str  # lab/data/patches/<patch>.patch
    kconfig: tuple[str, ...] = ()
    note: str = ""  # in what it is not the fault of the report


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """One fault that was reported and mended."""

    name: str
    findings: tuple[str, ...]  # what a report of it shows, any of them
    mended: str  # a sentence: what the fix does
    cause: str  # the finding that the lab has for it
    undo: tuple[Undo, ...]
    symbols: tuple[str, ...] = ()  # any of these must be on; () asks for none
    archs: tuple[str, ...] = ()  # as the kernel calls them; () is all
    commit: str = ""  # of the fix; "" if there is none
    subject: str = ""
    version: str = ""  # the first release that has it
    released: str = ""  # when that was, YYYY-MM-DD
    since: str = ""  # the first release that has the mechanism
    until: str = ""  # the first one that has it no more
    whole_seconds: bool = False  # it needs a filesystem with such file times
    kconfig: tuple[str, ...] = ()  # in what configuration it shows, on top of tinyconfig and lab:boot


Named = TypeVar("Named", Arch, Toolchain)


def _named(rows: Mapping[str, Named], name: str) -> Named | None:
    return rows.get(name) or next((row for row in rows.values() if name in row.aliases), None)


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
    kernel: Mapping[str, Kernel] = field(default_factory=dict)
    fix: Mapping[str, Fix] = field(default_factory=dict)
    patch: Mapping[str, str] = field(default_factory=dict)  # the texts of lab/data/patches/<name>.patch

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
        return self._native_image(Purpose.MOUNT, uname_machine)

    def lines_image(self, uname_machine: str) -> str | None:
        """Return the name of the image with addr2line for a host (uname -m), None if no row has it."""
        return self._native_image(Purpose.LINES, uname_machine)

    def _native_image(self, purpose: Purpose, uname_machine: str) -> str | None:
        native = [arch.debian_arch for arch in self.arch.values() if arch.uname_machine == uname_machine]
        rows = (image for image in self.image.values() if image.purpose is purpose)
        return next((image.name for image in rows if image.debian_arch in native), None)
