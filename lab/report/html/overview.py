"""The overview: one page with all its data inside, and the plain list for readers without scripts."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from lab.model import Outcome
from lab.report.html.explained import known
from lab.report.html.history import ORDER, UNEXPECTED, History, Night, Site
from lab.report.page import TEMPLATES
from lab.report.plain import one_line
from lab.results.signature import Signature

ASSETS = TEMPLATES / "site"
REASON_CHARS_AT_MOST = 300
VALUES_AT_MOST = 60
MEANINGS: dict[Outcome, tuple[str, str]] = {
    Outcome.FAIL: ("✗", "the kernel's fault"),
    Outcome.XPASS: ("‼", "passed, though a fault is expected"),
    Outcome.ERROR: ("!", "the lab's or the machine's trouble: not judged"),
    Outcome.MISS: ("?", "never ran"),
    Outcome.XFAIL: ("≈", "fails as the matrix expects"),
    Outcome.PASS: ("✓", "built, booted, nothing found"),
    Outcome.SKIP: ("–", "there can be no such kernel"),
}
"""Outcome -> the sign that stands for it, what it means. The signs are those of app.js."""


@dataclass(slots=True)
class Numbered:
    """Values in the order of their first use, with their numbers: what repeats is written once."""

    numbers: dict[Any, int] = field(default_factory=dict)

    def __call__(self, value: Any) -> int:
        """Return the number of a value, a new one if it was not seen before."""
        return self.numbers.setdefault(value, len(self.numbers))


def index_page(site: Site, lab_version: str, css: str, templates: Environment) -> str:
    """Return index.html. Its scripts are named by their hashes, so that the browser runs these and no others."""
    chartist, app = script("chartist.js"), script("app.js")
    newest = max((night.at for nights in site.nights.values() for night in nights), default="")
    runs = sum(len(nights) for nights in site.nights.values())
    what = ", ".join(
        f"{count:,} {one if count == 1 else several}"
        for count, one, several in (
            (len(site.histories), "cell", "cells"),
            (len(site.nights), "matrix", "matrices"),
            (runs, "run", "runs"),
        )
    )
    return templates.get_template("site/index.html").render(
        title=site.title,
        subtitle=f"{what}; the newest began {newest} UTC" if runs else "no runs yet",
        notes=site.notes,
        legend=[(sign, str(outcome), words) for outcome, (sign, words) in MEANINGS.items()],
        lab_version=lab_version,
        css=Markup(css),
        data=Markup(inline_json(payload(site))),
        chartist=Markup(chartist),
        app=Markup(app),
        script_hashes=Markup(" ".join(f"'{hash_of(text)}'" for text in (chartist, app))),
    )


def script(name: str) -> str:
    """Return one of our scripts, as it stands in the page."""
    return (ASSETS / name).read_text(encoding="utf-8")


def hash_of(text: str) -> str:
    """Return what a Content-Security-Policy calls a script. Source: CSP Level 3, hash-source."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def inline_json(value: Any) -> str:
    """Return JSON that can stand in a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def payload(site: Site) -> dict[str, Any]:
    """Return what app.js reads. cells: [id, matrix, axis values, history, reason, seconds, signatures, note, changed]."""
    matrices, reasons, signatures = list(site.nights), Numbered(), Numbered()
    days = sorted({night.at[:10] for nights in site.nights.values() for night in nights})
    axes = axes_of(site.histories)
    cells = []
    by_day: dict[int, list[int]] = {}
    messages: dict[int, str] = {}
    for history in site.histories:
        now = history.now
        texts = dict(history.axes) | {"matrix": history.matrix}
        found = [signatures(one) for one in now.found]
        cells.append([
            history.cell,
            matrices.index(history.matrix),
            [values.numbers.get(texts[name], -1) if name in texts else -1 for name, values in axes.items()],
            letters(history),
            reasons(one_line(now.reason, at_most=REASON_CHARS_AT_MOST)),
            round(now.seconds, 1),
            found,
            one_line(history.note, at_most=40),
            int(history.changed),
        ])  # fmt: skip
        for one in found[:1]:
            messages.setdefault(one, one_line(now.reason, at_most=REASON_CHARS_AT_MOST))
        count_days(history, site.nights[history.matrix], days, signatures, by_day)
    rows, cols = chosen_axes(axes)
    return {
        "outcomes": [str(outcome) for outcome in ORDER],
        "meanings": [MEANINGS[outcome][1] for outcome in ORDER],
        "unexpected": [number for number, outcome in enumerate(ORDER) if outcome in UNEXPECTED],
        "matrices": [
            {"name": name, "folder": name, "nights": [[night.run, night.at] for night in nights]}
            for name, nights in site.nights.items()
        ],
        "days": days,
        "axes": [[name, [one_line(value, at_most=120) for value in values.numbers]] for name, values in axes.items()],
        "rows": rows,
        "cols": cols,
        "reasons": list(reasons.numbers),
        "signatures": [
            signature_row(one, by_day.get(number, [0] * len(days)), messages.get(number, ""))
            for one, number in signatures.numbers.items()
        ],
        "cells": cells,
    }


def signature_row(one: Signature, days: list[int], message: str) -> dict[str, Any]:
    """Return what is said of a fault, whoever has it. key: names it in a URL, and in a file of known issues."""
    return {
        "id": one_line(one.id, at_most=80),
        "blame": one_line(one.blame, at_most=200),
        "function": one_line(one.function, at_most=200),
        "key": one.key,
        "message": message or one_line(one.title, at_most=REASON_CHARS_AT_MOST),
        "page": one.id in known(),
        "days": days,
    }


def count_days(
    history: History, nights: Sequence[Night], days: Sequence[str], signatures: Numbered, by_day: dict[int, list[int]]
) -> None:
    """Add to by_day[signature][day] each day on which this cell has it; of a day's runs the last counts."""
    found = {night.at[:10]: verdict.found for night, verdict in zip(nights, history.verdicts, strict=True) if verdict}
    for day, some in found.items():
        for one in some:
            by_day.setdefault(signatures(one), [0] * len(days))[days.index(day)] += 1


def letters(history: History) -> str:
    """Return a digit for each night, the outcome's place in ORDER, or "." where there was no verdict."""
    return "".join("." if one is None else DIGITS[one.outcome] for one in history.verdicts)


DIGITS = {outcome: str(number) for number, outcome in enumerate(ORDER)}


def axes_of(histories: Iterable[History]) -> dict[str, Numbered]:
    """Return the axes that differ between cells, the matrix first, each with its values in the order of the cells."""
    axes: dict[str, Numbered] = {"matrix": Numbered()}
    for history in histories:
        axes["matrix"](history.matrix)
        for name, text in history.axes:
            axes.setdefault(name, Numbered())(text)
    differing = {name: values for name, values in axes.items() if len(values.numbers) > 1}
    return differing or {"matrix": axes["matrix"]}


def chosen_axes(axes: dict[str, Numbered]) -> tuple[int, int]:
    """Return the numbers of the axes that the grid has at first: of those that fit on a screen the two with most values."""
    fitting = [number for number, values in enumerate(axes.values()) if len(values.numbers) <= VALUES_AT_MOST]
    sizes = [len(values.numbers) for values in axes.values()]
    longest = sorted(fitting, key=lambda number: -sizes[number]) or [0]
    return longest[0], longest[1] if len(longest) > 1 else longest[0]
