"""Files that are whole or not there, and folders of an attempt: the store's hands, without knowing what it keeps."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab import errors
from lab.errors import EnvironmentFault, LabError

READ_AT_MOST_BYTES = 256 << 20
ASIDE_AT_MOST = 3
"""Folders kept of one attempt's earlier tries: a run that dies again and again must not fill the disk."""

FOLDER_NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,119}")


def read_bytes(path: Path) -> bytes | None:
    """Return the bytes of a regular file, or None. A FIFO or device in its place neither blocks nor is read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > READ_AT_MOST_BYTES:
                return None
            return file.read(READ_AT_MOST_BYTES)
    except OSError:
        return None


def write_bytes(path: Path, raw: bytes) -> None:
    """Let a file appear, whole, also if the machine dies now: temporary file beside it, sync, rename, sync of the folder.

    Raises EnvironmentFault, infra.disk-full if that is why; the old file, if any, is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise disk_fault(error, path) from error


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_fault(error: OSError, path: Path) -> EnvironmentFault:
    """Return what an OSError on the results folder means."""
    hint = "free some space, or name another results folder"
    return errors.machine_fault(f"write '{path}'", error, otherwise="infra.filesystem", hint=hint)


def attempt_folders(cell_folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield (number, folder) of a cell's attempts, in order; what was set aside is not among them."""
    try:
        names = [entry.name for entry in os.scandir(cell_folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for number in sorted(int(name) for name in names if re.fullmatch(r"[1-9][0-9]{0,8}", name)):
        yield number, cell_folder / str(number)


def set_aside(path: Path) -> Path:
    """Rename what is in the way to NAME.aside-N, N one more than the largest there is, and return its new place."""
    place = path.with_name(f"{path.name}.aside-{max([0, *aside_numbers(path)]) + 1}")
    try:
        path.rename(place)
    except OSError as error:
        raise disk_fault(error, path) from error
    return place


def aside_numbers(path: Path) -> Sequence[int]:
    """Return the N of every NAME.aside-N, ascending."""
    pattern = re.compile(re.escape(path.name) + r"\.aside-([0-9]{1,9})")
    return sorted(int(found[1]) for entry in os.scandir(path.parent) if (found := pattern.fullmatch(entry.name)))


def thin_out(path: Path) -> None:
    """Remove the oldest folders set aside from a place, but for ASIDE_AT_MOST."""
    for number in aside_numbers(path)[:-ASIDE_AT_MOST]:
        shutil.rmtree(path.with_name(f"{path.name}.aside-{number}"), ignore_errors=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what write_bytes() left in a run's folder when its process was killed. The lock is held."""
    for path in [*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")]:
        with contextlib.suppress(OSError):
            path.unlink()


def checked(name: str) -> str:
    """Return a name that is one folder and nothing else. Raises LabError: cell ids are made by us."""
    if not FOLDER_NAME.fullmatch(name):
        raise LabError(f"'{name}' cannot be the name of a folder")
    return name


def mtime_ns(path: Path) -> int:
    """Return when a file was changed, 0 if it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
