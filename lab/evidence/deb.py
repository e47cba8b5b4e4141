"""A Debian package (.deb) of a stranger, unpacked without its scripts, without links and without trusting a length.

Only a kernel's own files are taken: what lies below boot/ and lib/modules/ (or usr/lib/modules/).
Source: deb(5); ar.h; tar(5).
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lab.evidence.elf import UnreadableError
from lab.evidence.text import opened
from lab.evidence.unpack import DAMAGED, FORMS, PIECE_BYTES, Pieces, TooLargeError, limit_for

AR_MAGIC = b"!<arch>\n"
WANTED = ("boot/", "lib/modules/", "usr/lib/modules/")
MAX_MEMBERS = 16  # of the ar archive: deb(5) has three, and room for a few more
MAX_FILES = 100_000
MAX_DEPTH = 40
HEADERS_BYTES = 1 << 20  # between two files: their headers, long names and padding


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What a package gave. files, bytes: how much. left_out: members that are no regular files or have no good path."""

    files: int
    bytes: int
    left_out: int


def is_deb(path: Path) -> bool:
    """Whether a file looks like a Debian package. Raises OSError if it cannot be read."""
    with opened(path) as file:
        return file.read(len(AR_MAGIC) + 13) == AR_MAGIC + b"debian-binary"


def unpack(path: Path, folder: Path) -> Unpacked:
    """Unpack a kernel's files into a folder, which has no links in it; files that are there already stay.

    Raises UnreadableError for whatever is wrong with the package, OSError if the folder cannot be written.
    """
    try:
        with opened(path) as file:
            offset, size = _data_member(file)
            file.seek(offset)
            source = _Bounded(_plain(file, size), limit_for(size))
            return _unpack(source, folder)
    except tarfile.TarError as error:
        raise UnreadableError(f"its data are no tar archive: {error}") from error
    except TooLargeError as error:
        raise UnreadableError(str(error)) from error


def _data_member(file: BinaryIO) -> tuple[int, int]:
    """Return offset and size of data.tar.*."""
    total = os.fstat(file.fileno()).st_size
    if file.read(len(AR_MAGIC)) != AR_MAGIC:
        raise UnreadableError("it is no ar archive")
    at = len(AR_MAGIC)
    for _ in range(MAX_MEMBERS):
        file.seek(at)
        header = file.read(60)
        if len(header) < 60 or header[58:] != b"`\n":
            break
        name, digits = header[:16].decode("latin-1").rstrip(" /"), header[48:58].strip()
        size = int(digits) if digits.isdigit() else -1
        if size < 0 or at + 60 + size > total:
            raise UnreadableError(f"its member {name!r} reaches beyond the file ({total} bytes)")
        if name.startswith("data.tar"):
            return at + 60, size
        at += 60 + size + size % 2
    raise UnreadableError("it has no data.tar")


def _plain(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the tar archive, whatever it is packed with."""
    first = file.read(6)
    file.seek(-len(first), io.SEEK_CUR)
    form: Pieces = next((form for magic, form in FORMS if first.startswith(magic)), lambda pieces: pieces)
    return form(_pieces(file, size))


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    left = size
    while left and (piece := file.read(min(left, PIECE_BYTES))):
        left -= len(piece)
        yield piece


class _Bounded(io.RawIOBase):
    """Pieces as a file for tarfile, which would read a long name of any length into memory: `allow` bounds what it may ask."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        self._pieces, self._left = pieces, limit
        self._held, self._at, self._allowed = b"", 0, 0

    def allow(self, size: int) -> None:
        """Let so many bytes be read from now on."""
        self._allowed = size

    def readable(self) -> bool:
        """Say yes."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, none at the end. Raises TooLargeError, UnreadableError."""
        if self._at >= len(self._held):
            try:
                self._held, self._at = next(self._pieces, b""), 0
            except DAMAGED as error:
                raise UnreadableError(f"damaged packed data: {error}") from error
        wanted = len(self._held) if size is None or size < 0 else size
        piece = self._held[self._at : self._at + wanted]
        self._at += len(piece)
        self._left -= len(piece)
        self._allowed -= len(piece)
        if self._left < 0 or self._allowed < 0:
            raise TooLargeError("it unpacks to more than its packed size, or its headers, allow")
        return piece


def _unpack(source: _Bounded, folder: Path) -> Unpacked:
    files = total = left_out = 0
    source.allow(HEADERS_BYTES)
    with tarfile.open(fileobj=source, mode="r|") as archive:
        while member := archive.next():
            path = _path(member.name)
            source.allow(max(0, member.size) + HEADERS_BYTES)
            stream = archive.extractfile(member) if member.isreg() and path is not None else None
            if stream is None or path is None:
                left_out += not member.isdir()
                continue
            if files >= MAX_FILES:
                raise UnreadableError(f"it has more than {MAX_FILES} files")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                with target.open("xb") as out:
                    shutil.copyfileobj(stream, out, PIECE_BYTES)
                files, total = files + 1, total + member.size
    return Unpacked(files=files, bytes=total, left_out=left_out)


def _path(name: str) -> str | None:
    """Return a member's path below the folder, None for one that is not wanted or leads elsewhere."""
    parts = name.removeprefix("./").split("/")
    if any(part in ("", ".", "..") or "\0" in part or len(part.encode("utf-8", "replace")) > 255 for part in parts):
        return None
    path = "/".join(parts)
    return path if path.startswith(WANTED) and len(parts) <= MAX_DEPTH else None
