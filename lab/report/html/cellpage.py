"""The page of a cell: verdict and reason, proof, what differs from the last good run, environment, console, again."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from jinja2 import Environment
from markupsafe import Markup, escape

from lab.report.html.explained import ids_of, links
from lab.report.html.history import Detail, History, Night
from lab.report.html.overview import MEANINGS
from lab.report.page import LINE_CHARS_AT_MOST, CellView, cell_view, inner, link, open_regular
from lab.report.plain import duration, one_line, plain
from lab.results.disk import FOLDER_NAME

CONSOLE_LINES_AT_MOST = 60
CONSOLE_BYTES_AT_MOST = 16384
STRIP_NIGHTS = 60


def cell_page(
    history: History, nights: Sequence[Night], detail: Detail | None, folder: Path, templates: Environment
) -> str:
    """Return the page. folder: absolute, where the page will lie, so that its links to the evidence hold."""
    last, good = history.last, history.last_good
    view = cell_view(1, detail.result, detail.cell, (), detail.folder) if detail else None
    told = ids_of(proof.finding for proof in view.proofs) if view else ()
    console, console_href = console_tail(view, detail.folder) if view and detail else ("", "")
    return templates.get_template("site/cell.html").render(
        history=history,
        night=nights[last],
        since=since_words(history, nights),
        good=f"{nights[good].at}, {nights[good].run}" if good is not None else "",
        strip=strip(history, nights),
        cell=view,
        pages=links(told, "../../explain/{}.html"),
        base=evidence_base(detail.folder, folder) if detail else "",
        differs=detail.differs if detail else (),
        console=console,
        console_lines=console.count("\n") + 1,
        console_href=console_href,
        commands=commands(history, detail.folder.name if detail else nights[last].run, view),
        nights=night_rows(history, nights),
    )


def since_words(history: History, nights: Sequence[Night]) -> str:
    """Return since when the newest outcome holds without another in between: "since 2026-11-25 01:00, 4 nights"."""
    outcome, first, count = history.now.outcome, history.last, 0
    for index in range(history.last, -1, -1):
        verdict = history.verdicts[index]
        if verdict is None:
            continue
        if verdict.outcome is not outcome:
            break
        first, count = index, count + 1
    if first == history.last:
        return f"on {nights[first].at}"
    whole = all(one is None or one.outcome is outcome for one in history.verdicts)
    return f"{'in all' if whole else 'since ' + nights[first].at + ','} {count} nights"


def strip(history: History, nights: Sequence[Night]) -> Markup:
    """Return the nights as a row of signs, oldest first."""
    parts = [
        f'<i class="{one.outcome.lower()}" title="{night.at}: {one.outcome}">{MEANINGS[one.outcome][0]}</i>'
        if one is not None
        else f'<i class="none" title="{night.at}: not run">·</i>'
        for night, one in list(zip(nights, history.verdicts, strict=True))[-STRIP_NIGHTS:]
    ]
    said = " ".join(one.outcome for one in history.verdicts if one)
    return Markup(f'<span class="strip" role="img" aria-label="nights, oldest first: {said}">{"".join(parts)}</span>')


def night_rows(history: History, nights: Sequence[Night]) -> Markup:
    """Return the rows of the table of all nights, newest first; "" if there was only one. It is most of a page."""
    judged = [(night, one) for night, one in zip(nights, history.verdicts, strict=True) if one is not None]
    if len(judged) < 2:
        return Markup("")
    rows = (
        f'<tr><td class="number">{night.at}</td><td><span class="badge {one.outcome.lower()}">{one.outcome}</span></td>'
        f'<td class="number">{duration(one.seconds) if one.seconds else ""}</td>'
        f'<td class="reason">{escaped(one.reason)}</td></tr>'
        for night, one in reversed(judged)
    )
    return Markup("\n".join(rows))


@lru_cache(maxsize=4096)
def escaped(text: str) -> str:
    """Return text of strangers as HTML, in one line."""
    return str(escape(one_line(text)))


@lru_cache(maxsize=4096)
def evidence_base(run: Path, page: Path) -> str:
    """Return the link from a page's folder to a run's folder, to which links inside the run are appended."""
    relative = os.path.relpath(run.absolute(), page)
    return quote(relative.encode("utf-8", "surrogateescape"), safe="/._-+") + "/"


def console_tail(view: CellView, folder: Path) -> tuple[str, str]:
    """Return the last lines of the newest attempt's console, made harmless, and a link to it; "" if there is none."""
    for attempt in reversed(view.attempts):
        name = inner(attempt.result.folder, "console.txt")
        descriptor = open_regular(folder, name) if name else None
        if descriptor is None:
            continue
        with open(descriptor, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - CONSOLE_BYTES_AT_MOST))
            raw = file.read(CONSOLE_BYTES_AT_MOST)
        unix = re.sub(rb"\r+\n", b"\n", raw) if b"\r" in raw else raw
        lines = unix.decode("utf-8", "replace").rstrip("\r\n").split("\n")
        whole = lines if size <= CONSOLE_BYTES_AT_MOST else lines[1:] or lines
        shown = plain("\n".join(whole[-CONSOLE_LINES_AT_MOST:])).split("\n")
        return "\n".join(line[:LINE_CHARS_AT_MOST] for line in shown), link(name)
    return "", ""


def commands(history: History, name: str, view: CellView | None) -> tuple[str, ...]:
    """Return what makes the newest run's attempts again, with the lab and without it. Names are harmless by their pattern."""
    run, cell = f"results/{name}", history.cell
    rows = ["# with the lab and the matrix", f"lab run MATRIX.yaml --cell {cell}"]
    for attempt in view.attempts[:1] if view else ():
        if FOLDER_NAME.fullmatch(name) and PurePosixPath(attempt.result.folder).parts[:1] == (cell,):
            where = one_line(f"{run}/{attempt.result.folder}")
            rows += ["# without the lab: sh, docker, root", f"{where}/reproduce.sh"]
            rows += ["# as one file for another machine", f"lab bundle {where}"]
            rows += ["# judge the same evidence with today's checks", f"lab check {where}"]
    return tuple(rows)
