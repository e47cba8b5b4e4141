"""Results for a terminal, a pipe or a CI log: the table of verdicts, findings, cells. Readable without colour.

Everything returns text that ends in a newline and holds no control characters but, if asked for, colours of ours. Lines are
not wrapped: one cell is one line, so that grep works; a terminal wraps by itself.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lab.model import AttemptResult, Cell, Finding, NotApplicable, Outcome, Result, Severity, Span
from lab.report.document import totals
from lab.report.judged import Judged
from lab.report.plain import duration, one_line, place, plain
from lab.results.verdict import most_telling_first, rate_words

STYLES: Mapping[str, str] = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.ERROR: "bold magenta",
    Outcome.MISS: "yellow",
    Outcome.SKIP: "dim",
    Outcome.XFAIL: "cyan",
    Outcome.XPASS: "bold yellow",
}
SEVERITY_WORDS = {
    Severity.ERROR: ("ERROR", STYLES[Outcome.ERROR]),
    Severity.FAIL: ("FAIL", STYLES[Outcome.FAIL]),
    Severity.WARNING: ("WARNING", "yellow"),
    Severity.NOTE: ("NOTE", "dim"),
}
FACTS_AT_MOST = 8
MESSAGE_LINES_AT_MOST = 20
JOINED_AT_MOST = 12
RATES_AT_MOST = 6


def run_text(results: Iterable[Result], *, folder: Path | None = None, report: str = "", colour: bool = False) -> str:
    """Return the table of verdicts, the proof under each that is no PASS, and a closing line.

    folder: of the run, so that proofs read as paths from here; without it they start at the cell. report: path of the report.
    """
    cells = list(results)
    rows = [("outcome", "cell", "time", "reason"), *((*head(result), one_line(result.reason)) for result in cells)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [Text("  ".join(word.ljust(width) for word, width in zip(rows[0], widths, strict=False)), "bold")]
    lines[0].append("  reason")
    for result, row in zip(cells, rows[1:], strict=True):
        line = Text().append(row[0].ljust(widths[0]), STYLES[result.outcome])
        line.append(f"  {row[1].ljust(widths[1])}  {row[2].rjust(widths[2])}  ")
        line.append(row[3], "dim" if result.outcome is Outcome.PASS else "")
        proof = proof_of(result, folder)
        for told in (
            *([f"proof  {proof}"] if proof else []),
            *facts_of(result),
            *amplified_of(result),
            *repeats_of(result),
        ):
            line.append(f"\n{' ' * (sum(widths) + 6)}{told}")
        lines.append(line)
    return printed([*lines, closing(cells, report)], colour=colour)


def head(result: Result) -> tuple[str, str, str]:
    """Return outcome, cell and time of a result."""
    return str(result.outcome), one_line(result.cell), duration(result.seconds) if result.seconds else ""


def closing(results: Sequence[Result], report: str) -> Text:
    """Return the last line: how many of each, and where to read on."""
    counted = ", ".join(f"{number} {outcome}" for outcome, number in totals(results).items())
    cells = f"{len(results)} cell{'' if len(results) == 1 else 's'}"
    line = Text().append(f"\n{cells}: {counted}" if counted else f"\n{cells}", "bold")
    if report:
        line.append(f"\nreport: {one_line(report)}")
    return line


def proof_of(result: Result, folder: Path | None) -> str:
    """Return file and line of the finding that decided a result, "" for a PASS or if no file proves it."""
    if result.outcome in (Outcome.PASS, Outcome.XPASS):
        return ""
    wanted = Outcome.FAIL if result.outcome is Outcome.XFAIL else result.outcome
    attempts = sorted(result.attempts, key=lambda attempt: attempt.outcome is not wanted)
    for attempt in attempts:
        for finding in most_telling_first(attempt.findings):
            if finding.where.file:
                return place_in(attempt, finding.where, folder)
    return ""


def facts_of(result: Result) -> list[str]:
    """Return what is known of the trouble of the lab or of the request that made a cell an ERROR, and what to do about it."""
    if result.outcome is not Outcome.ERROR:
        return []
    of_attempts = (finding for attempt in result.attempts for finding in attempt.findings)
    told = next((finding for finding in (*result.findings, *of_attempts) if "error" in finding.data), None)
    if told is None or "traceback" in told.data:
        return []
    hint = [f"hint: {told.data['hint']}"] if told.data.get("hint") else []
    return [one_line(text) for text in (*told.because[:FACTS_AT_MOST], *hint)]


def amplified_of(result: Result) -> list[str]:
    """Return what made races likelier in a cell, and how often its attempts waited for that; [] if nothing did."""
    if not result.amplified:
        return []
    waits: Counter[str] = Counter()
    for attempt in result.attempts:
        told = attempt.facts.get("amplified")
        waits.update(dict.fromkeys(waits_of(told), 0) | waits_of(told))
    words = [f"{name} {often(count)}" for name, count in waits.items() if count or not name.startswith("missed")]
    counted = f"; waited: {', '.join(words)}" if words else ""
    return [f"amplified  {one_line(result.amplified + counted)}"]


def often(count: int) -> str:
    """Return "never", "1 time", "7 times"."""
    return f"{count} time{'' if count == 1 else 's'}" if count else "never"


def waits_of(fact: object) -> dict[str, int]:
    """Return the numbers of waits that an attempt's fact has."""
    found = fact.get("waits") if isinstance(fact, dict) else None
    return (
        {str(name): count for name, count in found.items() if isinstance(count, int)} if isinstance(found, dict) else {}
    )


def repeats_of(result: Result) -> list[str]:
    """Return how often each fault of a repeated cell was found, and what failing attempts had that others had not."""
    if result.rate is None or result.rate.trials < 2:
        return []
    rows = [
        f"rate   {one_line(f'{rate_words(one.rate, amplified=bool(result.amplified))}  {one.id}  {one.blame}')}".rstrip()
        for one in result.rates[:RATES_AT_MOST]
    ]
    if len(result.rates) > RATES_AT_MOST:
        rows.append(f"rate   … and {len(result.rates) - RATES_AT_MOST} more faults")
    return [*rows, *(f"differs  {one_line(words)}" for words in result.differences)]


def place_in(attempt: AttemptResult, where: Span, folder: Path | None) -> str:
    """Return a place with its attempt's folder before it, unless the file is known to be elsewhere (in O=, which is gone)."""
    if folder is None:
        return place(where, attempt.folder)
    inside = folder / attempt.folder
    try:
        here = (inside / where.file).is_file()
    except (OSError, ValueError):
        here = False
    return place(where, str(inside)) if here else place(where)


def judged_text(judged: Judged, *, colour: bool = False) -> str:
    """Return findings, what could not be looked at, and the outcome."""
    lines = [*findings_lines(judged.findings), *gap_lines(judged.not_applicable)]
    outcome = Text().append(str(judged.outcome), STYLES[judged.outcome])
    outcome.append(f"  {one_line(judged.reason)}")
    return printed([*lines, outcome], colour=colour)


def findings_text(findings: Iterable[Finding], *, colour: bool = False) -> str:
    """Return findings as docs show them: fault, proof, likely cause."""
    return printed(list(findings_lines(findings)), colour=colour)


def findings_lines(findings: Iterable[Finding]) -> Iterator[Text]:
    """Yield one Text of several lines for each finding."""
    for finding in findings:
        word, style = SEVERITY_WORDS[finding.severity]
        text = Text().append(word, style)
        text.append(f" {one_line(finding.id)}", "bold")
        text.append(f"  {one_line(finding.blame)}" if finding.blame else "")
        text.append(f"  {one_line(finding.function)}()" if finding.function else "")
        text.append(f" at {source}" if finding.function and (source := source_of(finding)) else "")
        message = plain(finding.message or finding.title)[:8000].split("\n")
        for line in message[:MESSAGE_LINES_AT_MOST]:
            text.append(f"\n  {line}")
        if len(message) > MESSAGE_LINES_AT_MOST:
            text.append(f"\n  … {len(message) - MESSAGE_LINES_AT_MOST} more lines", "dim")
        for reason in finding.because:
            text.append(f"\n  because  {one_line(reason)}")
        if finding.where.file:
            text.append(f"\n  proof    {place(finding.where)}")
        for part in finding.joined[:JOINED_AT_MOST]:
            text.append(f"\n  {joined_line(part)}")
        if len(finding.joined) > JOINED_AT_MOST:
            text.append(f"\n  … {len(finding.joined) - JOINED_AT_MOST} more of the same fault", "dim")
        yield text


def source_of(finding: Finding) -> str:
    """Return "fs/autofs/waitq.c:532", where the guilty function stands, its source alone, or "" if that is not known."""
    where = finding.data.get("place")
    return one_line(where) if isinstance(where, str) else ""


def joined_line(part: Finding) -> str:
    """Return one line on a finding that is told with another: what it led to, or what else was said of it."""
    word = "led to  " if part.decides else "also    "
    subject = f"  {one_line(part.blame)}" if part.blame and part.blame not in part.message else ""
    places = ", ".join(filter(None, (source_of(part), place(part.where))))
    proof = f"  ({places})" if places else ""
    return f"{word} {one_line(part.id)}{subject}  {one_line(part.message or part.title)}{proof}"


def gap_lines(gaps: Iterable[NotApplicable]) -> Iterator[Text]:
    """Yield one line for each check that could not look."""
    for gap in gaps:
        yield Text(f"not applicable  {one_line(gap.check)}: {one_line(gap.because)}", "dim")


def cells_text(cells: Iterable[Cell], *, colour: bool = False) -> str:
    """Return the cells, one a line, with the axes in which they differ."""
    some = list(cells)
    differing = differing_axes(some)
    width = max((len(cell.id) for cell in some), default=0)
    lines = []
    for cell in some:
        axes = "  ".join(one_line(f"{axis}={text}") for axis, text in cell.axes if axis in differing)
        line = Text().append(cell.id.ljust(width), "bold").append(f"  {axes}")
        lines.append(line.append(f"  SKIP: {one_line(cell.impossible)}", "dim") if cell.impossible else line)
    return printed(lines, colour=colour)


def differing_axes(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return the axes that have more than one value over these cells, in the order of the first cell."""
    values: dict[str, set[str]] = {}
    for cell in cells:
        for axis, text in cell.axes:
            values.setdefault(axis, set()).add(text)
    return tuple(axis for axis, some in values.items() if len(some) > 1)


def printed(lines: Iterable[Text], *, colour: bool) -> str:
    """Return what a console prints, with colours or without; nothing is wrapped, read from the environment or marked up."""
    console = Console(
        file=io.StringIO(),
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        highlight=False,
        markup=False,
        emoji=False,
        width=10_000,
        legacy_windows=False,
        _environ={},
    )
    with console.capture() as capture:
        for line in lines:
            line.rstrip()
            console.print(line, soft_wrap=True)
    return capture.get()
