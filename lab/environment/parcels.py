"""Evidence on its way from one machine to another: a folder as one packed file, checked before anything of it is used.

The folder holds what a stranger's build left, and who packed it is another machine: only regular files and folders travel,
names stay below the folder, and what unpacks to too much is refused. A parcel goes with the answer, or through a store that
both machines reach (any URL that fsspec knows: a shared directory, s3, sftp …).
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import uuid
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import zstandard

from lab.errors import EnvironmentFault, LabError, UsageError

FILES_AT_MOST = 200_000
BYTES_AT_MOST = 64 << 30
ANSWER_AT_MOST = 256 << 20  # what goes with an answer, through the memory of three processes
BROKEN = (OSError, zstandard.ZstdError, tarfile.TarError, EOFError, ValueError)


def packed(folder: Path, target: Path) -> str:
    """Pack the regular files of a folder into a new file; return its sha256. Links, sockets and devices stay behind."""
    with (
        target.open("xb") as raw,
        zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as out,
    ):
        for path in sorted(Path(root, name) for root, _, names in os.walk(folder) for name in names):
            if path.is_file() and not path.is_symlink():
                out.add(path, str(path.relative_to(folder)), recursive=False)
    with target.open("rb") as whole:
        return hashlib.file_digest(whole, "sha256").hexdigest()


def unpacked(parcel: BinaryIO, folder: Path) -> None:
    """Unpack a parcel into a folder that appears only when it is whole. Raises EnvironmentFault if it is no sound parcel."""
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        with zstandard.ZstdDecompressor().stream_reader(parcel) as stream:
            _unpack(io.BufferedReader(stream), new)
        new.replace(folder)
    except BROKEN as error:
        raise EnvironmentFault(
            f"evidence of another machine cannot be unpacked: {error}", finding="infra.host"
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _unpack(stream: Any, folder: Path) -> None:
    total = count = 0
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if not member.isreg() or path.is_absolute() or ".." in path.parts or "\0" in member.name:
                raise ValueError(f"it has a member that none of ours has: {member.name[:120]!r}")
            total, count = total + member.size, count + 1
            if total > BYTES_AT_MOST or count > FILES_AT_MOST:
                raise ValueError("it is larger than one of ours can be")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            assert content is not None, "a regular file has content"
            with target.open("xb") as out:
                shutil.copyfileobj(content, out, 1 << 20)
            target.chmod(0o755 if member.mode & 0o100 else 0o644)


class Depot:
    """A store that several machines reach, by URL. Files appear whole: written under another name, then moved."""

    def __init__(self, url: str) -> None:
        try:
            import fsspec.core  # comes with the extra `fleet`, and takes its time

            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError, OSError) as error:
            raise UsageError(f"no store that fsspec knows: {url!r}", facts=(("said", str(error)),)) from error
        self.url = url

    def put(self, local: Path, name: str) -> None:
        """Let a file appear under a name. Raises EnvironmentFault."""
        final, temporary = f"{self._root}/{name}", f"{self._root}/{name}.{uuid.uuid4().hex}.tmp"
        with _store_trouble(f"put {name!r} into", self.url):
            self._files.makedirs(final.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(local), temporary)
            self._files.mv(temporary, final)

    def fetch(self, name: str, local: Path, sha256: str) -> None:
        """Fetch a file, and take it out of the store. Raises EnvironmentFault if it is not there, or not what was put."""
        self.copy(name, local, sha256)
        self.remove(name)

    def copy(self, name: str, local: Path, sha256: str) -> None:
        """Fetch a file that stays. Raises EnvironmentFault if it is not there, or not what was put."""
        with _store_trouble(f"fetch {name!r} from", self.url):
            self._files.get_file(f"{self._root}/{name}", str(local))
            with local.open("rb") as whole:
                found = hashlib.file_digest(whole, "sha256").hexdigest()
            if found != sha256:
                raise EnvironmentFault(f"{name!r} in {self.url!r} is not what was put there", finding="infra.io-error")

    def remove(self, name: str) -> None:
        """Take a file out of the store. Raises EnvironmentFault."""
        with _store_trouble(f"remove {name!r} from", self.url):
            self._files.rm_file(f"{self._root}/{name}")


class _store_trouble:  # noqa: N801 (a context manager reads as a word)
    """Turn whatever a store raises into an EnvironmentFault: fsspec's backends have errors of their own, of many kinds."""

    def __init__(self, doing: str, url: str) -> None:
        self._doing, self._url = doing, url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, LabError):
            message = f"cannot {self._doing} the store {self._url!r}"
            raise EnvironmentFault(message, finding="infra.io-error", facts=(("said", str(error)[:300]),)) from error
