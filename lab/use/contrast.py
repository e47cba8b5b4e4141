"""`lab diff A B`: what differs between two attempts; and for flaky cells, what failing attempts have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.errors import ExitCode
from lab.evidence import contrast
from lab.evidence.bundle import Evidence
from lab.evidence.contrast import Contrast, Tie
from lab.model import AttemptResult, Outcome

ATTEMPTS_LIMIT = 20  # of each kind whose logs are read
LINES_LIMIT = 8


def folders(a: Path, b: Path) -> Contrast:
    """Compare two evidence folders or output directories. Raises UsageError if either is none."""
    return contrast.contrast(Evidence(a), Evidence(b))


def words(tie: Tie) -> str:
    """Return one line on a tie."""
    return contrast.tie_words(tie)


def exit_code(found: Contrast) -> ExitCode:
    """Return 0 where nothing differs, 1 where something does, 125 where nothing could be compared."""
    if not found.same:
        return ExitCode.KERNEL_FAULT
    return ExitCode.UNTESTABLE if found.made is None and found.config is None else ExitCode.AS_EXPECTED


def differences(attempts: Sequence[AttemptResult], folder: Path) -> tuple[str, ...]:
    """Return what every failing attempt made more or less often than every other one, a line each; () if none failed or all.

    folder: of the run.
    """
    kinds = [
        [attempt for attempt in attempts if attempt.outcome is outcome and attempt.folder][:ATTEMPTS_LIMIT]
        for outcome in (Outcome.FAIL, Outcome.PASS)
    ]
    if not all(kinds):
        return ()
    failing, others = ([contrast.made(folder / one.folder / "build.txt") for one in kind] for kind in kinds)
    found = contrast.separating(failing, others)
    words = contrast.sentences(found[:LINES_LIMIT], len(failing), len(others))
    more = len(found) - LINES_LIMIT
    return (*words, f"and {more} more files") if more > 0 else words
