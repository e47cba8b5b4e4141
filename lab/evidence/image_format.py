"""What a boot image, a vmlinux, a module or a .config says of the architecture that it is for. Names are never believed.

Source: Documentation/arch/x86/boot.rst; arch/arm64/include/asm/image.h; arch/riscv/include/asm/image.h;
arch/arm/boot/compressed/head.S; arch/s390/boot/head.S; drivers/firmware/efi/libstub/zboot-header.S.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.evidence import kernel_image
from lab.evidence.elf import Elf, UnreadableError, machine_name, open_elf
from lab.evidence.text import opened, text_of

HEAD_BYTES = 0x10010
_CONFIG_HEAD = re.compile(r"^# (?:Linux|User Mode Linux)/([a-z0-9_]{1,20}) \S{1,100} Kernel Configuration$", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one file says. source: the file, for people. machine: pyelftools' name of e_machine. kernel_arch: make's ARCH=.

    "" and 0: it does not say. byte_order: "<" or ">".
    """

    source: str
    machine: str = ""
    kernel_arch: str = ""
    bits: int = 0
    byte_order: str = ""

    def words(self) -> str:
        """Return it for people: "EM_X86_64, 64 bits, little endian"."""
        order = {"<": "little endian", ">": "big endian"}.get(self.byte_order, "")
        parts = (self.machine, self.kernel_arch, f"{self.bits} bits" if self.bits else "", order)
        return ", ".join(part for part in parts if part) or "nothing"


def of_elf(path: Path, source: str) -> Claim:
    """Return what an ELF file (packed or not) says. Raises UnreadableError."""
    with open_elf(path) as elf:
        return _of_elf(elf, source)


def _of_elf(elf: Elf, source: str) -> Claim:
    machine = machine_name(elf.machine)
    return Claim(source=source, machine=machine, bits=64 if elf.is_64 else 32, byte_order=elf.byte_order)


def of_config(path: Path, source: str) -> Claim | None:
    """Return what a .config says: the architecture in its head, 64BIT, CPU_BIG_ENDIAN; None if it is none."""
    text = text_of(path) or ""
    head = _CONFIG_HEAD.search(text[:4096])
    if head is None:
        return None
    bits = 64 if "\nCONFIG_64BIT=y\n" in text else 32
    order = ">" if "\nCONFIG_CPU_BIG_ENDIAN=y\n" in text else "<"
    return Claim(source=source, kernel_arch=head[1], bits=bits, byte_order=order)


def of_image(path: Path, source: str) -> Claim | None:
    """Return what a boot image's own header says; None if it is of no known kind. Raises UnreadableError."""
    try:
        with opened(path) as file:
            head = file.read(HEAD_BYTES)
            if head.startswith(b"\x7fELF"):
                return _of_elf(Elf(file), source)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
    if head.startswith(b"\x1f\x8b\x08") or head[:2] + head[4:8] == b"MZzimg":
        with kernel_image.unpacked(path) as plain:
            head = plain.read(HEAD_BYTES)
    return next((claim for reader in _READERS if (claim := reader(head, source)) is not None), None)


def is_bare(path: Path) -> bool:
    """Whether an image lies as the kernel does in memory (an Image of arm64 or riscv), so that nothing needs to unpack it."""
    try:
        with opened(path) as file:
            head = file.read(64)
    except OSError:
        return False
    return head[56:60] in (b"ARM\x64", b"RSC\x05")


def _x86(head: bytes, source: str) -> Claim | None:
    if head[0x1FE:0x200] != b"\x55\xaa" or head[0x202:0x206] != b"HdrS":
        return None
    version, flags = int.from_bytes(head[0x206:0x208], "little"), int.from_bytes(head[0x236:0x238], "little")
    if version < 0x20C:  # from 2.12 (3.8) on the header says whether there is a 64-bit entry point
        return Claim(source=source, kernel_arch="x86", byte_order="<")
    machine, bits = ("EM_X86_64", 64) if flags & 1 else ("EM_386", 32)
    return Claim(source=source, machine=machine, bits=bits, byte_order="<")


def _arm64(head: bytes, source: str) -> Claim | None:
    if head[56:60] != b"ARM\x64":
        return None
    flags = int.from_bytes(head[24:32], "little")
    return Claim(source=source, machine="EM_AARCH64", bits=64, byte_order=">" if flags & 1 else "<")


def _riscv(head: bytes, source: str) -> Claim | None:
    return Claim(source=source, machine="EM_RISCV", byte_order="<") if head[56:60] == b"RSC\x05" else None


def _arm(head: bytes, source: str) -> Claim | None:
    order = {b"\x18\x28\x6f\x01": "<", b"\x01\x6f\x28\x18": ">"}.get(head[0x24:0x28])
    return Claim(source=source, machine="EM_ARM", bits=32, byte_order=order) if order else None


def _s390(head: bytes, source: str) -> Claim | None:
    return (
        Claim(source=source, machine="EM_S390", bits=64, byte_order=">") if head[0x10008:0x1000E] == b"S390EP" else None
    )


_READERS: tuple[Callable[[bytes, str], Claim | None], ...] = (_arm64, _riscv, _arm, _x86, _s390)
