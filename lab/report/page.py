"""One HTML page of a run: static, self-contained, without scripts, opened from the disk.

Every word in it that comes from a log, a matrix or a file name is made harmless (lab.report.plain) and escaped (Jinja2).
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lab.model import AttemptResult, Cell, Finding, Outcome, Result, Severity, Span
from lab.report.document import findings_of, totals
from lab.report.html.explained import explanation, ids_of, known, links
from lab.report.plain import duration, one_line, place, plain
from lab.report.text import differing_axes, source_of
from lab.results.disk import write_bytes
from lab.results.signature import signature
from lab.results.store import RunFacts
from lab.results.verdict import rate_words

TEMPLATES = Path(__file__).parent / "templates"
CONTEXT_LINES = 3
EXCERPT_LINES_AT_MOST = 24
LINE_CHARS_AT_MOST = 400
SCAN_AT_MOST_BYTES = 64 << 20
FINDINGS_AT_MOST = 50
JOINED_AT_MOST = 12
FILES_AT_MOST = 60
FACT_CHARS_AT_MOST = 300
UNITS = ((10**9, "s"), (10**6, "ms"), (10**3, "µs"), (1, "ns"))
UNEXPECTED = (Outcome.FAIL, Outcome.XPASS, Outcome.ERROR, Outcome.MISS)
QUIET = (Outcome.PASS, Outcome.SKIP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of an excerpt. number counts from 1; proof: whether the finding points at it."""

    number: int
    text: str
    proof: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A finding with what proves it. href: relative to the page, "" if the file is not there. joined: told with it.

    source: "fs/autofs/waitq.c:532", where the guilty function stands, "" if that is not known. key: of its signature, for a
    file of known issues; "" for what is no fault of the kernel's.
    """

    finding: Finding
    source: str
    place: str
    href: str
    lines: tuple[Line, ...]
    joined: tuple[Proof, ...] = ()
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A piece of evidence. href: relative to the page."""

    name: str
    href: str
    size: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """An attempt and what lies in its folder."""

    result: AttemptResult
    files: tuple[File, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellView:
    """A cell as the page shows it.

    rates: of a cell that was executed several times, (how often, what): all failures, then each fault.
    number: its row in the table, from 1. axes: texts of the run's differing axes; environment: all of them.
    granularity: what file times could tell apart, as measured; of several attempts the coarsest.
    """

    number: int
    result: Result
    axes: tuple[str, ...]
    granularity: str
    environment: tuple[tuple[str, str], ...]
    expected: str
    proofs: tuple[Proof, ...]
    untold: int
    attempts: tuple[AttemptView, ...]
    rates: tuple[tuple[str, str], ...] = ()


def html(facts: RunFacts, results: Mapping[str, Result], folder: Path, summary: Sequence[str] = ()) -> str:
    """Return the page of a run, to be written into the run's folder, so that its links hold.

    folder: of the run; evidence that is missing, too big or no plain file is left out. Results are shown in their order.
    summary: lines on all of them together, the first of which is the answer.
    """
    cells = {cell.id: cell for cell in facts.cells}
    shown = [cells[name] for name in results if name in cells]
    axes = differing_axes(shown)
    views = [
        cell_view(number, result, cells.get(result.cell), axes, folder)
        for number, result in enumerate(results.values(), 1)
    ]
    told = ids_of(found.finding for view in views for found in view.proofs)
    return (
        environment()
        .get_template("run.html")
        .render(
            facts=facts,
            pages=links(told, "#explain-{}"),
            explained={one: explanation(one) for one in sorted(told) if one in known()},
            summary=[one_line(line, at_most=2000) for line in summary],
            started=datetime.fromtimestamp(facts.started_at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            axes=axes,
            totals=totals(results.values()),
            cells=views,
            unexpected=[view for view in views if view.result.outcome in UNEXPECTED],
            told=sorted(views, key=lambda view: (view.result.outcome not in UNEXPECTED, view.result.outcome in QUIET)),
        )
    )


def write_page(facts: RunFacts, results: Mapping[str, Result], folder: Path, summary: Sequence[str] = ()) -> Path:
    """Write the page into the run's folder and return its path. Raises EnvironmentFault if the disk does not take it."""
    path = folder / "report.html"
    write_bytes(path, html(facts, results, folder, summary).encode())
    return path


def environment() -> Environment:
    """Return the templates' surroundings: everything is escaped, whatever is undefined is an error of ours."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # our templates do not change under us: a look at each for every page of ten thousand
        finalize=harmless,
    )
    made.filters["duration"] = duration
    return made


def harmless(value: Any) -> Any:
    """Return what a template may print. Markup is the output of our own macros, whose parts went through here."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def cell_view(number: int, result: Result, cell: Cell | None, axes: tuple[str, ...], folder: Path) -> CellView:
    """Gather what the page shows of a cell."""
    texts = dict(cell.axes) if cell else {}
    found = findings_of(result)
    expected = ""
    if cell and cell.expect:
        named = ", ".join(cell.expect.findings)
        expected = f"{cell.expect.outcome} {named}".strip() + (
            f": {cell.expect.because}" if cell.expect.because else ""
        )
    return CellView(
        number=number,
        result=result,
        axes=tuple(texts.get(axis, "") for axis in axes),
        granularity=granularity_text(result.attempts),
        environment=tuple(texts.items()),
        expected=expected,
        proofs=tuple(proof(finding, result, folder) for finding in found[:FINDINGS_AT_MOST]),
        untold=max(0, len(found) - FINDINGS_AT_MOST),
        attempts=tuple(attempt_view(attempt, folder) for attempt in result.attempts),
        rates=tuple(rate_rows(result)),
    )


def rate_rows(result: Result) -> Iterator[tuple[str, str]]:
    """Yield how often a cell failed, and each fault of it, if it was judged more than once."""
    if result.rate is None or result.rate.trials < 2:
        return
    amplified = bool(result.amplified)
    yield rate_words(result.rate, amplified=amplified), "failed"
    for one in result.rates[:FINDINGS_AT_MOST]:
        yield rate_words(one.rate, amplified=amplified), f"{one.id} {one.blame}".strip()


def granularity_text(attempts: Iterable[AttemptResult]) -> str:
    """Return "1 s", "4 ms" or "13 µs"; "" if nothing was measured."""
    measured = [attempt.facts.get("granularity_ns") for attempt in attempts]
    longest = max((one for one in measured if isinstance(one, int) and 0 < one <= 10**12), default=0)
    unit, name = next(((unit, name) for unit, name in UNITS if longest >= unit), (1, ""))
    return f"{longest / unit:.3g} {name}" if longest else ""


def attempt_view(attempt: AttemptResult, folder: Path) -> AttemptView:
    """Gather what the page shows of an attempt."""
    facts = tuple((name, fact_text(fact)) for name, fact in islice(attempt.facts.items(), 100))
    return AttemptView(result=attempt, files=tuple(files_of(attempt, folder)), facts=facts)


def fact_text(fact: Any) -> str:
    """Return a measured fact in one line."""
    return one_line(fact if isinstance(fact, str) else json.dumps(fact, default=str), at_most=FACT_CHARS_AT_MOST)


def proof(finding: Finding, result: Result, folder: Path) -> Proof:
    """Return a finding with the lines that prove it, from the first attempt that tells it."""
    attempt = next((each for each in result.attempts if finding in each.findings), None)
    return proof_in(attempt.folder if attempt else "", finding, folder)


def proof_in(inside: str, finding: Finding, folder: Path) -> Proof:
    """Return a finding of the attempt whose folder is `inside`, and what is told with it, with the lines that prove them."""
    name = inner(inside, finding.where.file)
    lines = excerpt(folder, name, finding.where) if name else ()
    href = link(name) if name and open_regular(folder, name, close=True) is not None else ""
    joined = tuple(proof_in(inside, part, folder) for part in finding.joined[:JOINED_AT_MOST])
    key = signature(finding).key if finding.severity is Severity.FAIL else ""
    return Proof(
        finding=finding, source=source_of(finding), place=place(finding.where), href=href, lines=lines, joined=joined, key=key
    )  # fmt: skip


def inner(attempt: str, file: str) -> str:
    """Return a file's path below the run's folder, or "" if it leaves the attempt: findings may quote strangers."""
    path = PurePosixPath(attempt) / file
    if not attempt or not file or "\0" in file or ".." in path.parts or path.is_absolute():
        return ""
    return str(path)


def open_regular(folder: Path, name: str, *, close: bool = False) -> int | None:
    """Return a descriptor of a regular file below folder that no symlink leads out of, or None. close: only ask."""
    try:
        path = os.path.realpath(f"{folder}/{name}", strict=True)
        if not path.startswith(f"{real(folder)}/"):
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError, RuntimeError):
        return None
    if close or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        os.close(descriptor)
        return 0 if regular else None
    return descriptor


@lru_cache(maxsize=64)
def real(folder: Path) -> str:
    """Return where a run's folder is; asked for each file of each of its cells."""
    return os.path.realpath(folder).rstrip("/")


def excerpt(folder: Path, name: str, where: Span) -> tuple[Line, ...]:
    """Return the lines a finding points at, with some around them; none if it points at a whole file or a binary one."""
    if where.first <= 0:
        return ()
    descriptor = open_regular(folder, name)
    if descriptor is None:
        return ()
    begin = max(1, where.first - CONTEXT_LINES)
    last = max(where.first, where.last)
    end = min(last + CONTEXT_LINES, begin + EXCERPT_LINES_AT_MOST - 1)
    with open(descriptor, "rb") as file:
        raw = list(islice(numbered(file), begin - 1, end))
    if any(b"\0" in line for _, line in raw):
        return ()
    lines = ((number, line.rstrip(b"\r\n").decode("utf-8", "replace")) for number, line in raw)
    return tuple(Line(number=number, text=cut(text), proof=where.first <= number <= last) for number, text in lines)


def numbered(file: Any) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of at most SCAN_AT_MOST_BYTES; of a line without end only its beginning is kept."""
    left = SCAN_AT_MOST_BYTES
    number = 0
    while left > 0 and (line := file.readline(65536)):
        left -= len(line)
        number += 1
        yield number, line
        while not line.endswith(b"\n") and left > 0 and (line := file.readline(65536)):
            left -= len(line)


def cut(text: str) -> str:
    """Return a line of bearable length."""
    text = plain(text)
    return text if len(text) <= LINE_CHARS_AT_MOST else text[: LINE_CHARS_AT_MOST - 1] + "…"


def files_of(attempt: AttemptResult, folder: Path) -> Iterator[File]:
    """Yield the plain files that lie directly in an attempt's folder, by name."""
    where = inner(attempt.folder, ".")
    try:
        entries = sorted(os.scandir(folder / where), key=lambda entry: entry.name) if where else []
    except OSError:
        return
    for entry in [entry for entry in entries if entry.is_file(follow_symlinks=False)][:FILES_AT_MOST]:
        name = f"{where}/{entry.name}"
        yield File(name=entry.name, href=link(name), size=size_text(entry.stat(follow_symlinks=False).st_size))


def link(name: str) -> str:
    """Return a relative link that no name can turn into another scheme or host."""
    return "./" + quote(name.encode("utf-8", "surrogateescape"), safe="/._-+")


def size_text(size_bytes: int) -> str:
    """Return a size for people."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    return f"{size_bytes / 1024:.0f} KiB" if size_bytes < 1 << 20 else f"{size_bytes / (1 << 20):.1f} MiB"
