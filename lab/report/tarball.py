"""Tar files that are the same byte for byte from the same members, and the careful reading of such files from strangers.

Written: ustar, sorted, one folder, no owner, one time for all, regular files only; so nothing else is read. Every member but
the list itself is in MANIFEST with its sha256, in the format of sha256sum(1).

Source: POSIX.1-2017, pax, "ustar Interchange Format"; sha256sum(1).
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lab.errors import UsageError

MANIFEST = "MANIFEST"
EPOCH = 1_600_000_000  # tar(1) warns of a time of 0
MEMBERS_AT_MOST = 5000
MEMBER_BYTES_AT_MOST = (8 << 30) - 1  # eleven octal digits
MANIFEST_BYTES_AT_MOST = 1 << 20
_BLOCK = 512
_CHUNK = 1 << 20
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_LINE = re.compile(r"([0-9a-f]{64})  (\S{1,200})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of the archive. path: below the archive's folder, without "." and "..". data: a Path is read when written."""

    path: str
    data: bytes | Path
    executable: bool = False


def write_tar(top: str, members: Iterable[Member], out: BinaryIO) -> int:
    """Write members and their MANIFEST as folder `top`, sorted by path, MANIFEST first; return how many.

    Raises UsageError for a path that no archive of ours may have, or data of 8 GiB or more; OSError if data cannot be read.
    """
    wanted = {member.path: member for member in members}
    ordered = [wanted[path] for path in sorted(wanted)]
    for member in ordered:
        if not _PATH.fullmatch(member.path) or len(member.path) > 90:
            raise UsageError(f"no path for an archive: {member.path!r}")
    listed = "".join(f"{_sha256(member.data)}  {member.path}\n" for member in ordered).encode()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for member in (Member(path=MANIFEST, data=listed), *ordered):
            _add(archive, f"{top}/{member.path}", member)
    return len(ordered) + 1


def _add(archive: tarfile.TarFile, name: str, member: Member) -> None:
    with ExitStack() as stack:
        data = member.data
        stream: BinaryIO = stack.enter_context(data.open("rb")) if isinstance(data, Path) else io.BytesIO(data)
        info = tarfile.TarInfo(name)
        info.size = data.stat().st_size if isinstance(data, Path) else len(data)
        if info.size > MEMBER_BYTES_AT_MOST:
            raise UsageError(f"too large for an archive: {member.path!r}")
        info.mode, info.mtime = 0o755 if member.executable else 0o644, EPOCH
        archive.addfile(info, stream)


def _sha256(data: bytes | Path) -> str:
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --------------------------------------------------------------------------------------------------------------- reading


def unpack_tar(
    top: str, archive: BinaryIO, folder: Path, limit_of: Callable[[str], int | None], total_at_most: int
) -> tuple[str, ...]:
    """Unpack what write_tar() wrote into an existing, empty folder; return the paths of the members but MANIFEST.

    limit_of: path -> bytes that it may have, None for a path that may not be there at all; MANIFEST need not be asked for.
    Everything but a regular file of a known path below `top` is refused: links, devices, folders, extensions of the format,
    doubles; so is a member that is not in MANIFEST, one of MANIFEST that is not there, and a sha256 that differs. Raises
    UsageError; what was written before stays in `folder`.
    """
    hashes: dict[str, str] = {}
    total = 0
    while (header := _header(archive)) is not None:
        path = header.name.removeprefix(f"{top}/")
        limit = MANIFEST_BYTES_AT_MOST if path == MANIFEST else limit_of(path)
        if header.name == path or limit is None or not _PATH.fullmatch(path) or path in hashes:
            raise _refused(f"has a member that none of ours has: {header.name[:120]!r}")
        total += header.size
        if not 0 <= header.size <= limit or total > total_at_most or len(hashes) >= MEMBERS_AT_MOST:
            raise _refused(f"is larger than one of ours can be, at {path!r}")
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            hashes[path] = _copied(archive, header.size, target)
        except (FileExistsError, NotADirectoryError) as error:
            raise _refused(f"has a member inside of another one: {path!r}") from error
    _compare(hashes, folder)
    return tuple(sorted(hashes.keys() - {MANIFEST}))


def _header(archive: BinaryIO) -> tarfile.TarInfo | None:
    """Return the next header; None at the end."""
    block = archive.read(_BLOCK)
    if len(block) == _BLOCK and not block.strip(b"\0"):
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeError) as error:
        raise _refused("is damaged, or no tar file") from error
    if info.type != tarfile.REGTYPE:
        raise _refused(f"has a member that is no regular file: {info.name[:120]!r}")
    return info


def _copied(archive: BinaryIO, size: int, target: Path) -> str:
    """Copy a member into a new file; return its sha256."""
    digest = hashlib.sha256()
    with target.open("xb") as out:
        left = size
        while left:
            chunk = archive.read(min(left, _CHUNK))
            if not chunk:
                raise _refused("ends in the middle of a member")
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
    archive.read(-size % _BLOCK)
    return digest.hexdigest()


def _compare(hashes: dict[str, str], folder: Path) -> None:
    if MANIFEST not in hashes:
        raise _refused(f"has no {MANIFEST}")
    listed: dict[str, str] = {}
    for line in (folder / MANIFEST).read_text("ascii", "replace").splitlines():
        found = _LINE.fullmatch(line)
        if found is None or found[2] in listed:
            raise _refused(f"has a {MANIFEST} that cannot be read")
        listed[found[2]] = found[1]
    there = {path: digest for path, digest in hashes.items() if path != MANIFEST}
    if listed.keys() != there.keys():
        odd = sorted(listed.keys() ^ there.keys())[0]
        raise _refused(f"has members that {MANIFEST} does not list, or the other way round: {odd[:120]!r}")
    changed = [path for path, digest in there.items() if listed[path] != digest]
    if changed:
        raise _refused(f"is not what {MANIFEST} says: {changed[0]!r} has another sha256")


def _refused(why: str) -> UsageError:
    return UsageError(
        f"the bundle {why}", hint="fetch it again, or ask who made it: `lab bundle` writes none like that"
    )
