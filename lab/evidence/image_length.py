"""Whether a kernel image is all there: what its own header says of its length, or its System.map.

Sources: Documentation/arch/x86/boot.rst (setup_sects, syssize); arch/arm/boot/compressed/head.S (zImage: start and end);
the PE format, section headers (kernels with an EFI stub); elf(5); arch/arm64/kernel/vmlinux.lds.S (_text, _edata).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from lab.evidence.kept_passes import listing_of
from lab.evidence.text import bytes_of, opened

HEAD_BYTES = 16 << 10
SECTOR, PARAGRAPH = 512, 16
ARM_MAGIC = 0x016F2818
ARM64_MAGIC = b"ARM\x64"  # at 56
ALIGNED = 64 << 10  # SEGMENT_ALIGN: what may lie between the last byte of a bare Image and _edata


def missing_bytes(path: Path, system_map: Path | None = None) -> int | None:
    """Return how many bytes an image has less than its header promises, 0 if it is whole; None if its format does not say.

    system_map: of the same link; an arm64 Image without an EFI stub says only with it how long it is. Raises OSError if the
    image cannot be read, or is no regular file.
    """
    with opened(path) as file:
        size, head = os.fstat(file.fileno()).st_size, bytes_of(file, HEAD_BYTES)
    try:
        promised = next((length for form in _FORMS if (length := form(head)) is not None), None)
    except struct.error:  # the header itself is cut
        return 1
    if promised is None and head[56:60] == ARM64_MAGIC and system_map is not None:
        promised = _mapped(system_map)
    return None if promised is None else max(0, promised - size)


def _mapped(system_map: Path) -> int | None:
    """Return the least length of an Image by its map."""
    listing = listing_of(system_map)
    first, last = (listing.find("_text"), listing.find("_edata")) if listing is not None else (None, None)
    return None if first is None or last is None else last - first - ALIGNED


def _x86(head: bytes) -> int | None:
    """Return the length of a bzImage: the real-mode part in sectors, with the boot sector, and the rest in paragraphs."""
    if head[0x202:0x206] != b"HdrS":
        return None
    sectors, paragraphs = head[0x1F1] or 4, struct.unpack_from("<I", head, 0x1F4)[0]
    return int((sectors + 1) * SECTOR + paragraphs * PARAGRAPH)


def _arm(head: bytes) -> int | None:
    """Return the length of a zImage, of either byte order."""
    for order in "<>":
        if head[0x24:0x28] == struct.pack(f"{order}I", ARM_MAGIC):
            start, end = struct.unpack_from(f"{order}II", head, 0x28)
            return int(end - start)
    return None


def _pe(head: bytes) -> int | None:
    """Return where the last section of a PE file ends: Image and vmlinuz.efi with an EFI stub."""
    if head[:2] != b"MZ":
        return None
    at = struct.unpack_from("<I", head, 0x3C)[0]
    if head[at : at + 4] != b"PE\0\0":
        return None
    sections, optional = struct.unpack_from("<H", head, at + 6)[0], struct.unpack_from("<H", head, at + 20)[0]
    table = at + 24 + optional
    ends = [sum(struct.unpack_from("<II", head, table + 40 * number + 16)) for number in range(min(sections, 96))]
    return max(ends, default=None)


def _elf(head: bytes) -> int | None:
    """Return where the section headers of an ELF file end: linkers write them last."""
    if head[:4] != b"\x7fELF" or len(head) < 64:
        return None
    order = "<" if head[5] == 1 else ">"
    wide = head[4] == 2
    offset = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", head, 40 if wide else 32)[0]
    entry, number = struct.unpack_from(f"{order}HH", head, 58 if wide else 46)
    return int(offset + entry * number)


_FORMS = (_x86, _arm, _pe, _elf)
