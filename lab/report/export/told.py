"""A run as the exports take it: verdicts, and a way to the lines and records behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lab.model import AttemptResult, Cell, Finding, Result
from lab.report.document import findings_of
from lab.report.page import Line
from lab.report.plain import plain
from lab.results.store import RunFacts

EXCERPT_AT_MOST_BYTES = 16384
"""Of KCIDB's log_excerpt, and of what JUnit and a mail quote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A run. lines: those that a finding of an attempt points at, with some around; record: an attempt's record.json, or {}."""

    facts: RunFacts
    results: Mapping[str, Result]
    lines: Callable[[AttemptResult, Finding], tuple[Line, ...]]
    record: Callable[[AttemptResult], Mapping[str, Any]]

    def cells(self) -> Iterator[tuple[Cell | None, Result]]:
        """Yield every verdict with the cell that it is about."""
        known = {cell.id: cell for cell in self.facts.cells}
        for name, result in self.results.items():
            yield known.get(name), result

    def telling(self, result: Result) -> tuple[AttemptResult | None, Finding | None]:
        """Return a cell's most telling finding, and the first attempt that has it; None for what there is not."""
        found = next(iter(findings_of(result)), None)
        attempt = next((one for one in result.attempts if found in one.findings), None)
        return attempt or next(iter(result.attempts), None), found

    def excerpt(self, attempt: AttemptResult | None, finding: Finding | None) -> str:
        """Return the lines of a finding as one text, at most EXCERPT_AT_MOST_BYTES of UTF-8; "" if it points at none."""
        if attempt is None or finding is None:
            return ""
        return bounded(plain("\n".join(line.text for line in self.lines(attempt, finding))))


def bounded(text: str, at_most: int = EXCERPT_AT_MOST_BYTES) -> str:
    """Return text whose UTF-8 has at most so many bytes, cut between characters."""
    return text.encode("utf-8", "replace")[:at_most].decode("utf-8", "ignore")


def fault_of(finding: Finding) -> tuple[Finding, ...]:
    """Return a finding and all that is told with it that decides."""
    return tuple(one for one in (finding, *finding.joined) if one.decides)
