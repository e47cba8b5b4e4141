"""The pages of the finding ids: lab/data/explain/<id>.md, what `lab explain ID` prints."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from lab.errors import UsageError

PAGES = Path(__file__).parent.parent / "data" / "explain"


def ids(folder: Path = PAGES) -> tuple[str, ...]:
    """Return the ids that have a page, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.md")))


def page(finding_id: str, folder: Path = PAGES) -> str:
    """Return the page of a finding id, Markdown. Raises UsageError, with the ids that were perhaps meant."""
    known = ids(folder)
    if finding_id in known:
        return (folder / f"{finding_id}.md").read_text(encoding="utf-8")
    family = [other for other in known if finding_id and other.startswith(f"{finding_id.rstrip('.')}.")]
    close = get_close_matches(finding_id, known, n=3, cutoff=0.5)
    meant = list(dict.fromkeys([*family, *close]))
    hint = f"did you mean {' or '.join(repr(other) for other in meant)}?" if meant else "lab explain lists all"
    raise UsageError(f"no finding is called {finding_id[:80]!r}", facts=(("known", ", ".join(known)),), hint=hint)
