"""A run as Markdown, for the summary pages of CI services: verdicts first, then what is to be looked at, with its proof.

Everything of strangers stands in code, in fences longer than any it contains, or has its marks escaped; no HTML, link or
mention of theirs comes through. GitHub takes 1 MiB of summary for each step: cells and lines are bounded.
Source: GitHub Flavored Markdown, 2.4 and 4.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lab.model import Result
from lab.report.document import totals
from lab.report.export.told import Told
from lab.report.html.history import UNEXPECTED, rank
from lab.report.plain import duration, one_line, place, plain

ROWS_AT_MOST = 500
STORIES_AT_MOST = 20
MARKS = re.compile(r"([\\`*_{}\[\]<>#|~&!])|^([-+=]|[0-9]+[.)])")
TURNED = re.compile(r"@|://|www\.")  # mentions and links are made of text that no backslash protects, but never of code


def markdown(told: Told) -> str:
    """Return the summary."""
    results = sorted(told.results.values(), key=lambda result: rank(result.outcome))
    counted = ", ".join(f"**{number}** {outcome}" for outcome, number in totals(results).items())
    lines = [
        f"## {escaped(told.facts.run)}",
        "",
        f"{counted or 'no cell has a result'}; matrix {code(told.facts.matrix)}",
        "",
    ]
    if results:
        lines += ["| outcome | cell | time | reason |", "| --- | --- | --- | --- |"]
        lines += [row(result) for result in results[:ROWS_AT_MOST]]
        if len(results) > ROWS_AT_MOST:
            lines.append(f"| … | and {len(results) - ROWS_AT_MOST} more | | |")
    bad = [result for result in results if result.outcome in UNEXPECTED]
    for result in bad[:STORIES_AT_MOST]:
        lines += ["", *story(told, result)]
    if len(bad) > STORIES_AT_MOST:
        lines += ["", f"… and {len(bad) - STORIES_AT_MOST} more cells that are not as expected"]
    return "\n".join(lines) + "\n"


def row(result: Result) -> str:
    """Return one line of the table."""
    time = duration(result.seconds) if result.seconds else ""
    return f"| {result.outcome} | {code(result.cell)} | {time} | {escaped(one_line(result.reason, at_most=200))} |"


def story(told: Told, result: Result) -> Iterator[str]:
    """Yield what was found in a cell."""
    yield f"### {result.outcome} {code(result.cell)}"
    yield ""
    yield escaped(one_line(result.reason))
    attempt, finding = told.telling(result)
    if finding is None:
        return
    for reason in finding.because:
        yield f"- because {escaped(one_line(reason))}"
    if finding.where.file:
        yield ""
        yield f"proof: {code(place(finding.where, attempt.folder if attempt else ''))}"
    if excerpt := told.excerpt(attempt, finding):
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", excerpt)), default=0))
        yield ""
        yield f"{fence}text\n{plain(excerpt)}\n{fence}"
    yield ""
    yield f"`lab explain {finding.id}` says what this means." if re.fullmatch(r"[a-z0-9.-]+", finding.id) else ""


def escaped(text: str) -> str:
    """Return text in which nothing is markup, a mention, or a link."""
    flat = " ".join(plain(text).split())
    if TURNED.search(flat):
        return code(flat.replace("`", "'"))
    return MARKS.sub(lambda found: "\\" + found[0] if found[1] else found[0][:-1] + "\\" + found[0][-1], flat)


def code(text: str) -> str:
    """Return text as code in a line, also of a table: there a pipe must be escaped even in code (GFM 4.10)."""
    flat = one_line(text).replace("`", "'").replace("|", "\\|")
    return f"`{flat}`" if flat else ""
