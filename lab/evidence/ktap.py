"""Results of tests in KTAP or TAP lines, as KUnit and kselftest print them: Reader takes lines, log() gives a TapLog.

Read: "KTAP version 1", "TAP version 13" and 14, plans before, after and without, "# Subtest:" of KUnit before 5.18, nesting by
indentation and by the "# " that kselftest's runner puts before what a test printed, "# SKIP", "# TODO", "# XFAIL", "# TIMEOUT",
"# ERROR", "Bail out!", and results that the kernel's own lines stand between or are glued to. Nothing is read before a version
line, a subtest or a plan was seen, so that other text that begins with "ok" is no result.

Sources: Documentation/dev-tools/ktap.rst, lib/kunit/test.c, tools/testing/selftests/kselftest/runner.sh, TAP 13 and 14.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

RESULTS_LIMIT = 5000
FAILED_LIMIT = 500
DEPTH_LIMIT = 16
PLAN_LIMIT = 1_000_000
NAME_LIMIT = 200
DIAGNOSTIC_LINES = 12


class TestOutcome(StrEnum):
    """What became of one test. XFAIL: it failed and was expected to ("# TODO", "# XFAIL")."""

    __test__ = False  # no test case, whatever pytest thinks of its name
    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"
    XFAIL = "xfail"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """One test that has no tests below it. name: from the outermost suite to itself. at: its line of the console, from 1.

    reason: what follows the directive ("# SKIP no such device"). diagnostics: what it printed last, of failed tests only.
    """

    __test__ = False
    name: tuple[str, ...]
    outcome: TestOutcome
    at: int
    reason: str = ""
    diagnostics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A suite that did not run all that its plan announced. planned: 0 if it bailed out without one. last: its last line."""

    name: tuple[str, ...]
    planned: int
    seen: int
    at: int
    last: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TapLog:
    """All results of a console. passed … xfailed count single tests; suites and other echoes of them are not counted.

    results: at most RESULTS_LIMIT; failures: at most FAILED_LIMIT, in order. at, last: lines of the first and last result.
    """

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    xfailed: int = 0
    at: int = 0
    last: int = 0
    results: tuple[TestResult, ...] = ()
    failures: tuple[TestResult, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()

    @property
    def total(self) -> int:
        """How many tests gave a result."""
        return self.passed + self.failed + self.skipped + self.xfailed


VERSION = re.compile(r"K?TAP version \d+\s*$")
SUBTEST = re.compile(r"# ?Subtest: (?P<name>.*)")
PLAN = re.compile(r"1\.\.(?P<count>\d{1,9})\s*(?:# ?(?P<skip>(?i:skip)\w*)\s*(?P<reason>.*))?$")
# a number, or the dash of TAP 13: other text may begin with "ok", too
RESULT = re.compile(
    r"(?P<not>not )?ok(?: (?P<number>\d{1,9})(?!\S)(?: -(?!\S))?| -(?!\S)) ?(?P<name>.*?)"
    r"(?:(?<=\s)# *(?:(?P<directive>(?i:SKIP|TODO|XFAIL|TIMEOUT|ERROR))\w*:?\s*)?(?P<reason>.*))?$"
)
BAIL_OUT = re.compile(r"Bail out!\s*(?P<reason>.*)", re.IGNORECASE)
# what kselftest's runner puts before a test's lines, and how it announces a test
PRINTED = re.compile(r"# +(?=K?TAP version|1\.\.\d|(?:not )?ok |Bail out!|# )")
ANNOUNCED = re.compile(r"# (selftests: .*)")
GLUED = re.compile(r"(?:<\d>)?\[ *\d+\.\d{6}\].*$")  # a line of the kernel in the middle of one of the test's
TELLING = ("ok ", "1..", "TAP version", "Subtest:", "ail out!")
DIRECTIVES = {"SKIP": TestOutcome.SKIP, "TODO": TestOutcome.XFAIL, "XFAIL": TestOutcome.XFAIL}
NEEDLES = (b"TAP version ", b"# Subtest: ")
WORDS = (*(word.encode() for word in TELLING), b"# selftests: ")
"""What a line contains that take() must see; others may be passed over."""


@dataclass(slots=True)
class _Level:
    """One level of nesting that is open. indent: columns before its lines; the "# " of kselftest counts, too."""

    indent: int
    at: int
    last: int = 0
    name: str = ""
    planned: int | None = None
    seen: int = 0
    failed: bool = False
    bailed: str | None = None
    reason: str = ""
    results: list[TestResult] = field(default_factory=list)
    failures: list[TestResult] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)

    def complete(self) -> bool:
        """Whether all that its plan announced was seen."""
        return self.planned is not None and self.seen >= self.planned

    def adopt(self, below: _Level, name: str) -> None:
        """Take over what a level below it found, under the name of the test that it was."""
        path = (name,) if name else ()
        for result in below.results[: max(0, RESULTS_LIMIT - len(self.results))]:
            self.results.append(replace(result, name=path + result.name))
        for result in below.failures[: max(0, FAILED_LIMIT - len(self.failures))]:
            self.failures.append(replace(result, name=path + result.name))
        for one in below.unfinished[: max(0, FAILED_LIMIT - len(self.unfinished))]:
            self.unfinished.append(replace(one, name=path + one.name))

    def judge(self) -> None:
        """Note if it ended before its plan."""
        if self.bailed is None and (self.planned is None or self.complete()):
            return
        reason = f"bailed out: {self.bailed}".rstrip(": ") if self.bailed is not None else self.reason
        one = Unfinished(
            name=(), planned=self.planned or 0, seen=self.seen, at=self.at, last=max(self.last, self.at), reason=reason
        )
        if len(self.unfinished) < FAILED_LIMIT:
            self.unfinished.append(one)


class Reader:
    """A state machine over the lines of one writer. Memory is bounded by the limits above, whatever arrives."""

    def __init__(self, cleaned: Callable[[bytes], str] = bytes.decode) -> None:
        self.cleaned = cleaned
        self.levels: list[_Level] = []
        self.done = _Level(indent=-1, at=0)
        self.counts = dict.fromkeys(TestOutcome, 0)
        self.first = self.last = 0
        self.running = ""
        self.diagnostics: deque[str | bytes] = deque(maxlen=DIAGNOSTIC_LINES)

    @property
    def active(self) -> bool:
        """Whether a stream has begun and has not reached its plan, so that its lines count."""
        return bool(self.levels)

    def take(self, line: str, at: int) -> bool:
        """Read a line without printk's time; say whether it was one of the test's. at: its number."""
        if any(word in line for word in TELLING) and self._read(line, at):
            return True
        if self.levels and (text := line.strip()):
            self.diagnostics.append(text[:NAME_LIMIT])
            if found := ANNOUNCED.match(text):
                self.running = _name(found[1])
        return False

    def pass_over(self, line: bytes) -> None:
        """Remember a raw line without any of WORDS: it is read, by cleaned, only if the test that printed it fails."""
        if self.levels:
            self.diagnostics.append(line)

    def end(self) -> None:
        """Close every level: the machine has started again, or nothing more comes."""
        self._end(-1)

    def log(self) -> TapLog:
        """Return what was read; levels that are still open end here."""
        self.end()
        return TapLog(
            passed=self.counts[TestOutcome.PASS], failed=self.counts[TestOutcome.FAIL],
            skipped=self.counts[TestOutcome.SKIP], xfailed=self.counts[TestOutcome.XFAIL], at=self.first, last=self.last,
            results=tuple(self.done.results), failures=tuple(self.done.failures), unfinished=tuple(self.done.unfinished),
        )  # fmt: skip

    def _read(self, line: str, at: int) -> bool:
        text, indent, printed = _bare(line)
        if VERSION.match(text):
            self._version(indent, at)
            return True
        if found := SUBTEST.match(text):
            self._subtest(indent, at, _name(found["name"]))
            return True
        if not self.active:
            return False
        if found := PLAN.match(text):
            self._plan(indent, at, found)
            return True
        if printed and not any(level.indent == indent for level in self.levels):
            return False  # a remark that begins like a result
        if found := RESULT.match(text):
            self._result(indent, at, found)
            return True
        if found := BAIL_OUT.match(text):
            self.levels[-1].bailed = found["reason"].strip()[:NAME_LIMIT]
            self.levels[-1].last = at
            self._end(-1)
            return True
        return False

    def _version(self, indent: int, at: int) -> None:
        top = self.levels[-1] if self.levels else None
        only_named = top is not None and top.indent == indent and not top.seen and top.planned is None
        if not only_named:
            self._end(indent - 1)
        self._level(indent, at)

    def _subtest(self, indent: int, at: int, name: str) -> None:
        top = self.levels[-1] if self.levels else None
        if top is not None and top.indent == indent and (top.seen or top.planned is not None):
            self._end(indent - 1)  # the result line of the one before was lost
        self._level(indent, at).name = name

    def _level(self, indent: int, at: int) -> _Level:
        """Return the level of that indent, opened if need be; deeper ones have been closed by who asks."""
        if self.levels and self.levels[-1].indent >= indent:
            return next((level for level in reversed(self.levels) if level.indent <= indent), self.levels[0])
        if len(self.levels) >= DEPTH_LIMIT:
            return self.levels[-1]
        name = self.running if self.levels else ""  # a result line may follow that says the same
        self.levels.append(_Level(indent=indent, at=at, last=at, name=name))
        return self.levels[-1]

    def _plan(self, indent: int, at: int, found: re.Match[str]) -> None:
        self._end(indent)
        level = self._level(indent, at)
        if level.planned is not None and level.seen:  # another suite begins, and its version line was lost
            self._end(indent - 1)
            level = self._level(indent, at)
        level.planned = min(int(found["count"]), PLAN_LIMIT)
        level.last = at
        if found["skip"]:
            self._single(level, level.name or "all", TestOutcome.SKIP, at, found["reason"] or "")
        if level.complete() and len(self.levels) == 1:
            self._end(-1)

    def _result(self, indent: int, at: int, found: re.Match[str]) -> None:
        below = self._popped(indent)
        level = self._level(indent, at)
        level.seen += 1
        level.last = self.last = at
        self.first = self.first or at
        outcome, reason = _outcome(found), _reason(found)
        name = _name(found["name"]) or reason or f"test {found['number']}"
        if below is not None:
            level.adopt(below, name)
        echo = below is not None and (below.seen > 0 or below.unfinished)
        if not echo or (outcome is TestOutcome.FAIL and below and not (below.failed or below.unfinished)):
            self._single(level, name, outcome, at, reason)
        level.failed = level.failed or outcome is TestOutcome.FAIL
        self.diagnostics.clear()
        if indent <= self.levels[0].indent:
            self.running = ""
        if level.complete() and len(self.levels) == 1:
            self._end(-1)

    def _single(self, level: _Level, name: str, outcome: TestOutcome, at: int, reason: str) -> None:
        """Keep the result of a test that no result below it explains."""
        self.counts[outcome] += 1
        self.first, self.last = self.first or at, at
        failed = outcome is TestOutcome.FAIL
        result = TestResult(
            name=(name,), outcome=outcome, at=at, reason=GLUED.sub("", reason).strip()[:NAME_LIMIT],
            diagnostics=self._printed() if failed else (),
        )  # fmt: skip
        if len(level.results) < RESULTS_LIMIT:
            level.results.append(result)
        if failed and len(level.failures) < FAILED_LIMIT:
            level.failures.append(result)

    def _printed(self) -> tuple[str, ...]:
        texts = (self.cleaned(line) if isinstance(line, bytes) else line for line in self.diagnostics)
        return tuple(text.strip()[:NAME_LIMIT] for text in texts if text.strip())

    def _popped(self, indent: int) -> _Level | None:
        """Close the levels deeper than an indent, each into the one above it; return the outermost of them."""
        closed: _Level | None = None
        while self.levels and self.levels[-1].indent > indent:
            level = self.levels.pop()
            if closed is not None:
                level.adopt(closed, closed.name)
            if closed is None or not closed.unfinished:  # else it is an echo of the one below
                level.reason = f"while running {self.running}" if self.running and not self.levels else ""
                level.judge()
            closed = level
        return closed

    def _end(self, indent: int) -> None:
        """Close the levels deeper than an indent for which no result line came."""
        closed = self._popped(indent)
        if closed is not None:
            (self.levels[-1] if self.levels else self.done).adopt(closed, closed.name)


def _bare(line: str) -> tuple[str, int, bool]:
    """Return a line without what nests it, how many columns that was, and whether a runner put a "# " before it."""
    text = line.expandtabs(4).rstrip()
    bare = text.lstrip(" ")
    printed = False
    while found := PRINTED.match(bare):
        bare = bare[found.end() :]
        printed = True
    return bare, len(text) - len(bare), printed


def _name(text: str) -> str:
    return GLUED.sub("", text).strip()[:NAME_LIMIT]


def _reason(found: re.Match[str]) -> str:
    """Return what follows the directive, and the directive where the outcome does not say it."""
    said = (found["reason"] or "").strip()[:NAME_LIMIT]
    directive = (found["directive"] or "").upper()
    return f"{directive} {said}".strip() if directive in ("TIMEOUT", "ERROR") else said


def _outcome(found: re.Match[str]) -> TestOutcome:
    directive = (found["directive"] or "").upper()
    if directive in DIRECTIVES and (found["not"] or directive != "TODO"):
        return DIRECTIVES[directive]
    return TestOutcome.FAIL if found["not"] else TestOutcome.PASS


def together(logs: Iterable[TapLog]) -> TapLog:
    """Return the logs of several writers of one console as one, what they found in the console's order."""
    every = [log for log in logs if log.total or log.unfinished]
    return TapLog(
        passed=sum(log.passed for log in every), failed=sum(log.failed for log in every),
        skipped=sum(log.skipped for log in every), xfailed=sum(log.xfailed for log in every),
        at=min((log.at for log in every if log.at), default=0), last=max((log.last for log in every), default=0),
        results=tuple(sorted((one for log in every for one in log.results), key=lambda one: one.at)),
        failures=tuple(sorted((one for log in every for one in log.failures), key=lambda one: one.at)),
        unfinished=tuple(sorted((one for log in every for one in log.unfinished), key=lambda one: one.at)),
    )  # fmt: skip
