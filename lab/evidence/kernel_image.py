"""A kernel as it is booted (bzImage, zImage, Image, s390's bzImage), unpacked to what was linked: bounded, nothing is run.

The compressed kernel lies somewhere behind the decompressor; it is found by its magic number and taken if it unpacks to
something of a kernel's size.
Source: scripts/extract-vmlinux; Documentation/arch/x86/boot.rst, payload_offset; Documentation/arch/arm64/booting.rst.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lab.evidence.elf import UnreadableError
from lab.evidence.text import bytes_of, opened
from lab.evidence.unpack import DAMAGED, FORMS, PIECE_BYTES, Pieces, TooLargeError, unpack

MAX_IMAGE_BYTES = 512 << 20
MAX_KERNEL_BYTES = 1 << 30
MAX_KERNEL_RATIO = 30
LEAST_KERNEL_BYTES = 256 << 10  # what unpacks to less is no kernel: a magic number comes by chance, too
MAX_TRIES = 32  # places that have a format's magic number
_BARE = ((56, b"ARM\x64"), (56, b"RSC\x05"))  # an Image that is not packed. Source: arm64 and riscv, image.h


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open the kernel that a boot image holds: an ELF file (x86), or the bytes as they lie in memory (arm, arm64, s390).

    Raises UnreadableError if it is none that can be unpacked; lzo cannot.
    """
    try:
        with opened(path) as file:
            data = bytes_of(file, MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
    if len(data) > MAX_IMAGE_BYTES:
        raise UnreadableError(f"it has more than {MAX_IMAGE_BYTES} bytes")
    with tempfile.TemporaryFile() as plain:
        _unpack(data, plain)
        del data
        plain.seek(0)
        yield plain


def _unpack(data: bytes, plain: BinaryIO) -> None:
    if data.startswith(b"\x7fELF") or any(data[at : at + len(magic)] == magic for at, magic in _BARE):
        plain.write(data)
        plain.flush()
        return
    limit = min(MAX_KERNEL_BYTES, max(LEAST_KERNEL_BYTES, MAX_KERNEL_RATIO * len(data)))
    too_large, left = "", 2 * limit  # of all tries together
    for offset, form in _candidates(data):
        plain.seek(0)
        plain.truncate()
        try:
            if unpack(form, _from(data, offset), plain, min(limit, left)) >= LEAST_KERNEL_BYTES:
                return
        except TooLargeError as error:
            too_large = too_large or f"; at {offset} {error}"
        except DAMAGED:
            pass
        left -= plain.tell()
        if left <= 0:
            break
    raise UnreadableError(f"no compressed kernel was found in it{too_large}")


def _from(data: bytes, offset: int) -> Iterator[bytes]:
    view = memoryview(data)
    return (bytes(view[at : at + PIECE_BYTES]) for at in range(offset, len(data), PIECE_BYTES))


def _candidates(data: bytes) -> Iterator[tuple[int, Pieces]]:
    for magic, form in FORMS:
        at = data.find(magic)
        for _ in range(MAX_TRIES):
            if at < 0:
                break
            yield at, form
            at = data.find(magic, at + 1)


def whole(plain: BinaryIO) -> bytes:
    """Return all bytes of an unpacked kernel."""
    return bytes_of(plain, MAX_KERNEL_BYTES)
