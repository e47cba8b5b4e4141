"""One crash report while its lines are collected, and what it comes to: title, guilty function, trace, modules, taint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from lab.evidence import console_heads as heads
from lab.evidence.console_frames import MODULES, TAINTED, Frame, frame, traces
from lab.evidence.console_guilty import guilty
from lab.evidence.console_rows import Category, Row, normal

REPORT_LINES = 400
TITLE_LIMIT = 300
ROOTS = tuple(needle.decode() for needle in heads.NEEDLES)
SAME_LINES = 20
"""Two CPUs that run into the same trouble print their heads within so many lines, before either prints its trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """One crash report. at, last: lines of the console, from 1. function, module: "" if the report does not say.

    modules: linked in, at most 500. loading: the one that was being loaded, marked "(+)", or "". tainted: the flags, "" if not
    tainted or not said. panic: the reason, if it ended in one. text: the first line; excerpt: the report's first lines.
    """

    category: Category
    title: str
    at: int
    last: int
    text: str
    function: str = ""
    module: str = ""
    panic: str = ""
    modules: tuple[str, ...] = ()
    loading: str = ""
    tainted: str = ""
    trace: tuple[Frame, ...] = ()
    excerpt: tuple[str, ...] = ()


@lru_cache(maxsize=256)
def rows_of(roots: tuple[str, ...]) -> tuple[Row, ...]:
    """Return the rows, in order, whose needle a text with these roots may contain."""
    return tuple(row for row in heads.ROWS if all(root in roots for root in ROOTS if root in row.needle))


def head(text: str) -> tuple[Row | None, re.Match[str] | None]:
    """Return the row whose head this line is, and the match."""
    for row in rows_of(tuple(root for root in ROOTS if root in text)):
        if row.needle in text and (match := row.head.search(text)):
            return (None, None) if heads.HARMLESS.match(text) else (row, match)
    return None, None


class Report:
    """A report that is being collected."""

    def __init__(self, row: Row, match: re.Match[str], text: str, at: int, caller: str) -> None:
        self.row, self.match, self.at, self.last, self.caller = row, match, at, at, caller
        self.lines = [text]
        self.panic = ""
        self.ended = self.all_cpus = False

    def add(self, text: str, at: int) -> None:
        """Take a line below the head."""
        self.last = at
        if len(self.lines) < REPORT_LINES:
            self.lines.append(text)
        if "panic" in text and (found := heads.PANIC.match(text)):
            self.panic = self.panic or found["reason"]
        if "NMI" in text or "panic" in text:
            self.all_cpus = self.all_cpus or heads.ALL_CPUS.search(text) is not None
        if at - self.at > REPORT_LINES or (("end" in text or "Rebooting" in text) and heads.END.match(text)):
            self.ended = True

    def hears(self, caller: str) -> bool:
        """Whether a line of another caller belongs here: each CPU answers a request for its trace in its own name."""
        return not caller or not self.caller or (self.all_cpus and caller.startswith("C"))

    def continues(self, row: Row, text: str, at: int) -> bool:
        """Whether another head belongs to this report: its oops line, its panic, or the same trouble of another CPU."""
        if row.category is Category.TEST_PROGRAM:
            return True
        if self.row.category is Category.TEST_PROGRAM:
            return False
        if panic := heads.PANIC.match(text):
            return self.row.category is not Category.WARNING or bool(heads.OWN_PANIC.search(panic["reason"]))
        if heads.FOLLOWERS.match(text):
            return True
        return row is self.row and at - self.at < SAME_LINES and not any(frame(line) for line in self.lines[1:])

    def crash(self) -> Crash:
        """Say what the report is about."""
        named = {name: value for name, value in self.match.groupdict().items() if value}
        blamed = guilty(self.row, named.get("f", ""), self.lines)
        trace = next(iter(traces(self.lines[1:])), [])
        modules, loading, tainted = self._state()
        return Crash(
            category=self.row.category, title=self._title(blamed.function if blamed else "corrupted"), at=self.at,
            last=self.last, text=self.lines[0], function=blamed.function if blamed else "",
            module=blamed.module if blamed else "", panic=self.panic, modules=modules, loading=loading, tainted=tainted,
            trace=tuple(trace[:64]), excerpt=tuple(self.lines[:40]),
        )  # fmt: skip

    def _title(self, function: str) -> str:
        words = [normal(value or "") for value in self.match.groups()]
        title, detail = self.row.title, ""
        if self.row.detail:
            found = next((hit for line in self.lines if (hit := self.row.detail.search(line))), None)
            detail = found["d"] if found else ""
            title = self.row.title if found or not self.row.without else self.row.without
        if self.row.category is Category.TEST_PROGRAM:
            words = [re.sub(r"\d+", "NUM", word) for word in words]
        written = title.format("", *words, f=function, d=detail, h=self.match.groupdict().get("f") or function)
        return " ".join(written.split())[:TITLE_LIMIT]

    def _state(self) -> tuple[tuple[str, ...], str, str]:
        """Return the modules, the one that was being loaded, and the taint. Source: kernel/module, print_modules()."""
        modules: tuple[str, ...] = ()
        loading = tainted = ""
        for line in self.lines:
            if not modules and (found := MODULES.match(line)):
                named = found["modules"].split()[:500]
                modules = tuple(name.partition("(")[0] for name in named)
                loading = next((name.partition("(")[0] for name in named if "+" in name.partition("(")[2]), "")
            if not tainted and (found := TAINTED.match(line)):
                tainted = " ".join((found["flags"] or "").split())
        return modules, loading, tainted
