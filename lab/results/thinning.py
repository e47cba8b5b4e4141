"""Evidence of finished attempts that is taken away by a rule, in place. What it was is written down first: evidence.json."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from lab.model import AttemptResult
from lab.results import store
from lab.results.disk import attempt_folders
from lab.results.objects import files_of
from lab.results.retention import Keep, kept

NAME = "evidence.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What evidence.json says: the last rule that was applied, and what is not there any more by it or an earlier one."""

    keep: str
    dropped: tuple[str, ...]


def thin(folder: Path, keep: Keep) -> tuple[int, int]:
    """Take away what a rule does not keep of a run's finished attempts; return (files, bytes). The run's lock is held.

    An attempt that is not finished is left alone. Removing twice what a killed call began to remove is harmless.
    """
    files, size = 0, 0
    for cell in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
        for _, attempt in attempt_folders(cell):
            result = store.read(AttemptResult, attempt / "result.json")
            if result is None:
                continue
            there = dict(files_of(attempt))
            dropped = sorted(set(there) - kept(keep, result, there))
            if not dropped:
                continue
            before = store.read(Evidence, attempt / NAME)
            gone = {*dropped, *(before.dropped if before else ())}
            store.write(attempt / NAME, Evidence(keep=keep, dropped=tuple(sorted(gone))))
            for name in dropped:
                size += there[name].stat().st_size
                there[name].unlink()
                files += 1
            _remove_empty(attempt)
    return files, size


def _remove_empty(folder: Path) -> None:
    for path in sorted((path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir()
