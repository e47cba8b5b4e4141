"""A store of finished attempts at any fsspec URL: files by content, each once and compressed, and a manifest for each attempt.

    <root>/objects/ab/ab12….zst                 a file's content, by its sha256, packed with zstd
    <root>/runs/<run>/run.json                  manifest of the run's own files
    <root>/runs/<run>/<cell>/cell.json          … of the verdict on a cell
    <root>/runs/<run>/<cell>/<attempt>.json     … of an attempt: its files, and those that its rule did not keep

Objects are written before the manifest that names them, so that what has a manifest is whole; writing one twice is harmless,
and several processes may. The truth stays in the folders under results/: this is a copy that survives them. Nothing that comes
back is trusted: names stay within their folder, sizes are bounded, and each file is what its sha256 says or is not written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import zstandard

from lab.errors import MACHINES, EnvironmentFault, UsageError
from lab.model import AttemptResult
from lab.results import store
from lab.results.disk import attempt_folders, checked
from lab.results.retention import Keep, kept

LEVEL = 3
FILE_BYTES_MAX = 8 << 30
FILES_AT_MOST = 200_000
BLOCK = 1 << 20
OF_RUN = ("run.json", "history.json", "night.json", "seen.json", "trial.json", "report.html")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of a manifest. path: relative to its folder. executable: for its owner."""

    path: str
    sha256: str
    bytes: int
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the store has of a folder. dropped: what was there and the rule did not keep."""

    keep: str
    files: tuple[StoredFile, ...]
    dropped: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Moved:
    """What was written. objects: new ones; shared: files whose content was there; packed_bytes: of the new objects."""

    attempts: int = 0
    objects: int = 0
    shared: int = 0
    bytes: int = 0
    packed_bytes: int = 0


class Objects:
    """The store at a URL."""

    def __init__(self, url: str) -> None:
        try:
            self.fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            words = " ".join(str(error).split())
            raise UsageError(
                f"no store can be at that URL: {words}", hint="such as file:///srv/store or s3://bucket/lab"
            ) from error
        self.root = str(root).rstrip("/")

    def put_run(self, folder: Path, keep: Keep) -> Moved:
        """Copy a run's finished attempts into the store. Those that are there already with this rule are not read again."""
        moved = Moved()
        with _told():
            for cell in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
                for number, attempt in attempt_folders(cell):
                    result = store.read(AttemptResult, attempt / "result.json")
                    if result is not None:
                        name = f"runs/{checked(folder.name)}/{checked(cell.name)}/{number}.json"
                        self._put(attempt, name, keep, result, moved)
                self._put_some(
                    cell, ("result.json",), f"runs/{checked(folder.name)}/{checked(cell.name)}/cell.json", moved
                )
            self._put_some(folder, OF_RUN, f"runs/{checked(folder.name)}/run.json", moved)
        return moved

    def _put(self, folder: Path, name: str, keep: Keep, result: AttemptResult, moved: Moved) -> None:
        there = dict(files_of(folder))
        before = self._manifest(name)
        if before is not None and before.keep == keep and _same_result(before, there["result.json"]):
            return
        chosen = kept(keep, result, there)
        files = tuple(self._stored(there[path], path, moved) for path in sorted(chosen))
        self._write(name, Manifest(keep=keep, files=files, dropped=tuple(sorted(set(there) - chosen))))
        moved.attempts += 1

    def _put_some(self, folder: Path, names: tuple[str, ...], name: str, moved: Moved) -> None:
        files = tuple(self._stored(folder / one, one, moved) for one in names if (folder / one).is_file())
        if files:
            self._write(name, Manifest(keep=Keep.ALL, files=files))

    def _stored(self, path: Path, name: str, moved: Moved) -> StoredFile:
        """Let a file's content be in the store, and return what a manifest says of it."""
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            place = self._place(digest)
            if self.fs.exists(place):
                moved.shared += 1
            else:
                self._pack(file, place, moved)
        moved.bytes += facts.st_size
        return StoredFile(path=name, sha256=digest, bytes=facts.st_size, executable=bool(facts.st_mode & 0o100))

    def _pack(self, file: BinaryIO, place: str, moved: Moved) -> None:
        with tempfile.NamedTemporaryFile(prefix="lab-store-") as packed:
            zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).copy_stream(file, packed)
            packed.flush()
            moved.objects, moved.packed_bytes = moved.objects + 1, moved.packed_bytes + packed.tell()
            self._appear(place, lambda there: self.fs.put_file(packed.name, there))

    def _write(self, name: str, manifest: Manifest) -> None:
        self._appear(f"{self.root}/{name}", lambda there: self.fs.pipe_file(there, store.encoded(manifest)))

    def _appear(self, place: str, act: Any) -> None:
        """Write a file that is whole when it has its name. What writes to a service appears as a whole by itself."""
        if "file" not in _protocols(self.fs):
            act(place)
            return
        temporary = f"{place}.{os.getpid()}.tmp"
        self.fs.makedirs(place.rpartition("/")[0], exist_ok=True)
        try:
            act(temporary)
            os.replace(temporary, place)  # noqa: PTH105 the paths are fsspec's
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _place(self, digest: str) -> str:
        return f"{self.root}/objects/{digest[:2]}/{digest}.zst"

    # ------------------------------------------------------------------------------------------------------------ back

    def runs(self) -> tuple[str, ...]:
        """Return the names of the runs that are in the store."""
        with _told():
            found = self.fs.glob(f"{self.root}/runs/*/run.json")
        return tuple(sorted(str(path).split("/")[-2] for path in found))

    def get_run(self, run: str, results: Path) -> int:
        """Bring a run back to results/, and return how many attempts. What is there is left as it is.

        Raises UsageError if the store does not have it, EnvironmentFault if something in it is not what it should be.
        """
        base = f"{self.root}/runs/{checked(run)}"
        with _told():
            names = sorted(str(path) for path in self.fs.glob(f"{base}/*/*.json"))
            if not self.fs.exists(f"{base}/run.json"):
                raise UsageError(
                    f"the store has no run {run!r}", facts=(("it has", ", ".join(self.runs()[:20]) or "none"),)
                )
            count = 0
            for cell, number in ((name.split("/")[-2], name.split("/")[-1].removesuffix(".json")) for name in names):
                target = results / run / checked(cell) / checked(number)
                if number != "cell" and not (target / "result.json").exists():
                    self._get(f"{base}/{cell}/{number}.json", target)
                    count += 1
            for cell in (name.split("/")[-2] for name in names if name.endswith("/cell.json")):
                self._get(f"{base}/{cell}/cell.json", results / run / checked(cell))
            self._get(f"{base}/run.json", results / run)
        return count

    def _get(self, name: str, target: Path) -> None:
        """Write the files of a manifest, result.json last: it makes an attempt finished."""
        manifest = self._read(name)
        if manifest is None:
            raise EnvironmentFault(f"'{name}' of the store cannot be read", finding="infra.filesystem")
        for file in sorted(manifest.files, key=lambda one: one.path == "result.json"):
            path = target / _relative(file.path)
            if not path.exists():
                self._unpack(file, path)

    def _unpack(self, file: StoredFile, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with self.fs.open(self._place(file.sha256), "rb") as packed, temporary.open("wb") as plain:
                reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed)
                while block := reader.read(BLOCK):
                    size += len(block)
                    if size > min(file.bytes, FILE_BYTES_MAX):
                        break
                    digest.update(block)
                    plain.write(block)
            if size != file.bytes or digest.hexdigest() != file.sha256:
                raise EnvironmentFault(f"'{file.path}' in the store is not what it was", finding="infra.filesystem")
            temporary.chmod(0o755 if file.executable else 0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _manifest(self, name: str) -> Manifest | None:
        return self._read(f"{self.root}/{name}") if self.fs.exists(f"{self.root}/{name}") else None

    def _read(self, place: str) -> Manifest | None:
        manifest = store.decoded(Manifest, self.fs.cat_file(place))
        if manifest is None or len(manifest.files) > FILES_AT_MOST:
            return None
        return manifest if all(_SHA256.fullmatch(file.sha256) for file in manifest.files) else None


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (path relative to the folder, path) of every regular file below it, without following links."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if not name.endswith(".tmp") and not path.is_symlink() and path.is_file():
                yield str(path.relative_to(folder)), path


def _same_result(before: Manifest, result: Path) -> bool:
    digest = hashlib.sha256(result.read_bytes()).hexdigest()
    return any(file.path == "result.json" and file.sha256 == digest for file in before.files)


def _relative(path: str) -> str:
    """Return a path of a manifest, if it stays within its folder. Raises EnvironmentFault."""
    if not path or path.startswith("/") or "\0" in path or ".." in path.split("/") or posixpath.normpath(path) != path:
        raise EnvironmentFault(f"the store names a file {path[:80]!r}", finding="infra.filesystem")
    return path


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what the store's filesystem complains about into an EnvironmentFault: the folders have it all."""
    try:
        yield
    except (OSError, zstandard.ZstdError) as error:
        finding = MACHINES.get(getattr(error, "errno", None) or 0, "infra.filesystem")
        raise EnvironmentFault(f"the store: {' '.join(str(error).split())[:300]}", finding=finding) from error
