"""What changed from one run to another: `lab diff RUN RUN`."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import UsageError
from lab.results import nights
from lab.results.comparison import Comparison, Night, comparison
from lab.results.known import KnownIssue, Sorted, read, sorted_out
from lab.results.news import News, news

KNOWN_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Two runs compared. a, b: their folders; before, after: what they saw."""

    a: Path
    b: Path
    before: Night
    after: Night
    comparison: Comparison
    told: Sorted
    news: News


def run_folder(text: str, results: Path) -> Path | None:
    """Return the folder of a run that is named by its folder or, under results/, by its name; None if it is no run."""
    for path in (Path(text), results / text):
        if (path / "run.json").is_file():
            return path.resolve()
    return None


def between(a: Path, b: Path, issues: Sequence[KnownIssue], today: datetime.date) -> Changes:
    """Compare two runs, by cell and signature. Of a night, its further attempts count as well."""
    before, after = (nights.seen(folder.parent, folder.name) for folder in (a, b))
    for folder, seen in ((a, before), (b, after)):
        if not seen:
            raise UsageError(f"run '{folder.name}' has no cell that can be read")
    found = comparison([before], after)
    told = sorted_out(
        found.differences, issues, today, {(one.cell, f.signature) for one in before.values() for f in one.faults}
    )
    return Changes(
        a=a, b=b, before=before, after=after, comparison=found, told=told, news=news(found, told, after)
    )  # fmt: skip


def known_issues(path: Path | None) -> tuple[KnownIssue, ...]:
    """Return the issues of a file, () without one. Raises UsageError if it cannot be read, Mistakes for what is in it."""
    if path is None:
        return ()
    try:
        with path.open("rb") as file:
            data = file.read(KNOWN_BYTES_MAX)
    except OSError as error:
        raise UsageError(f"cannot read the known issues '{path}': {error.strerror}") from error
    return read(data, str(path))
