"""Compressed files of strangers, unpacked as a stream and bounded: gzip, xz, lzma, zstd, lz4 (legacy frame), bzip2.

A bomb is told by its ratio: real kernels and modules unpack to three to twenty times their size.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import lz4.block
import zstandard

MAX_UNPACKED_BYTES = 4 << 30
MAX_RATIO = 100
FREE_BYTES = 64 << 20  # so much may come of any file, however small
MAX_DICTIONARY_BYTES = 160 << 20  # `zstd --ultra -22` of the kernel's own Makefile needs 128 MiB, `xz -9` 65
PIECE_BYTES = 1 << 18
_LZ4_BLOCK = 8 << 20

DAMAGED = (
    OSError, EOFError, ValueError, MemoryError, zlib.error, lzma.LZMAError, zstandard.ZstdError, lz4.block.LZ4BlockError,
)  # fmt: skip
Pieces = Callable[[Iterator[bytes]], Iterator[bytes]]


class TooLargeError(ValueError):
    """More came out than is allowed. str() says how much."""


def limit_for(packed_bytes: int) -> int:
    """Return how many bytes may come of so many packed ones."""
    return min(MAX_UNPACKED_BYTES, max(FREE_BYTES, MAX_RATIO * packed_bytes))


def pieces_of(source: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield what a read function gives, until it gives nothing."""
    while piece := source(PIECE_BYTES):
        yield piece


def unpack(form: Pieces, packed: Iterator[bytes], plain: BinaryIO, limit: int) -> int:
    """Write what a format's stream unpacks to; return its bytes. Raises TooLargeError, or one of DAMAGED."""
    total = 0
    for piece in form(packed):
        total += len(piece)
        if total > limit:
            raise TooLargeError(f"it unpacks to more than {limit} bytes")
        plain.write(piece)
    plain.flush()
    return total


def plain_copy(packed: BinaryIO, size: int, target: BinaryIO) -> bool:
    """Write what a packed file (of FILE_FORMS) of so many bytes holds; return False, with nothing written, if it is not packed.

    Raises TooLargeError, or one of DAMAGED.
    """
    first = packed.read(8)
    packed.seek(0)
    form = next((form for magic, form in FILE_FORMS if first.startswith(magic)), None)
    if form is None:
        return False
    unpack(form, pieces_of(packed.read), target, limit_for(size))
    return True


def _xz(packed: Iterator[bytes]) -> Iterator[bytes]:
    yield from _stepwise(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_DICTIONARY_BYTES), packed)


def _lzma(packed: Iterator[bytes]) -> Iterator[bytes]:
    yield from _stepwise(lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MAX_DICTIONARY_BYTES), packed)


def _bzip2(packed: Iterator[bytes]) -> Iterator[bytes]:
    yield from _stepwise(bz2.BZ2Decompressor(), packed)


def _stepwise(decompressor: lzma.LZMADecompressor | bz2.BZ2Decompressor, packed: Iterator[bytes]) -> Iterator[bytes]:
    for piece in packed:
        data = piece
        while not decompressor.eof:
            yield decompressor.decompress(data, PIECE_BYTES * 4)
            data = b""
            if decompressor.needs_input:
                break
        if decompressor.eof:
            return
    raise EOFError("the packed data end early")


def _gzip(packed: Iterator[bytes]) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(wbits=31)
    for piece in packed:
        data = piece
        while data and not decompressor.eof:
            yield decompressor.decompress(data, PIECE_BYTES * 4)
            data = decompressor.unconsumed_tail
        if decompressor.eof:
            return
    raise EOFError("the packed data end early")


def _zstd(packed: Iterator[bytes]) -> Iterator[bytes]:
    # one frame: what follows it in a boot image is the rest of the decompressor
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj(
        write_size=PIECE_BYTES * 4, read_across_frames=False
    )
    for piece in packed:
        # one call may give all that a piece holds, at a ratio of many thousands: small pieces bound it
        for at in range(0, len(piece), 1 << 10):
            yield decompressor.decompress(piece[at : at + (1 << 10)])
            if decompressor.eof:
                return
    raise EOFError("the packed data end early")


def _lz4(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack the legacy frame: blocks of 8 MiB, each after its length, and no end mark. Source: lz4, lz4_Frame_format.md."""
    held = bytearray()

    def more(size: int) -> bool:
        while len(held) < size:
            piece = next(packed, b"")
            if not piece:
                return False
            held.extend(piece)
        return True

    if not more(4):
        raise EOFError("the packed data end early")
    del held[:4]
    while more(4):
        length = int.from_bytes(held[:4], "little")
        if not 0 < length <= _LZ4_BLOCK + _LZ4_BLOCK // 255 + 16 or not more(4 + length):
            return  # arch/x86 puts the unpacked size there; what follows is no block
        piece = lz4.block.decompress(bytes(held[4 : 4 + length]), uncompressed_size=_LZ4_BLOCK)
        yield piece
        if len(piece) < _LZ4_BLOCK:
            return
        del held[: 4 + length]


FORMS: tuple[tuple[bytes, Pieces], ...] = (
    (b"\x1f\x8b\x08", _gzip),
    (b"\xfd7zXZ\x00", _xz),
    (b"(\xb5/\xfd", _zstd),
    (b"\x02!L\x18", _lz4),
    (b"BZh", _bzip2),
    (b"\x5d\x00\x00", _lzma),
)
FILE_FORMS: tuple[tuple[bytes, Pieces], ...] = FORMS[:3]  # what kmod takes: MODULE_COMPRESS_{GZIP,XZ,ZSTD}
