"""What changed between nights or runs, as text and as the JSON contracts of `lab nightly` and `lab diff RUN RUN`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lab.model import Rate
from lab.report.document import SCHEMA_VERSION, rate_document
from lab.report.plain import one_line
from lab.results.comparison import Change, Comparison, Difference, Night
from lab.results.known import KnownIssue, Sorted
from lab.results.news import News
from lab.results.nights import NightFacts
from lab.results.signature import Signature
from lab.results.verdict import interval_words

SHOWN_AT_MOST = 200
HEADINGS = {
    Change.NEW: "NEW",
    Change.FIRST: "FIRST",
    Change.UNPROVEN: "UNPROVEN",
    Change.FLAKY: "FLAKY",
    Change.FIXED: "FIXED",
    Change.GONE: "GONE",
    Change.STILL: "STILL",
    Change.UNJUDGED: "UNKNOWN",
}
ORDER = tuple(HEADINGS)
WIDTH = 10


def comparison_document(found: Comparison, told: Sorted, news: News) -> dict[str, Any]:
    """Return the part that `lab nightly` and `lab diff RUN RUN` share; docs/json.md."""
    known = {(id(one)): issue.name for issue, excused in told.known for one in excused}
    rows = sorted(found.differences, key=lambda one: ORDER.index(one.change))
    return {
        "differences": [difference_document(one, known.get(id(one), "")) for one in rows],
        "not_judged": [
            {"cell": one.cell, "outcome": str(one.outcome), "reason": one.reason, "new": one.new}
            for one in found.unjudged
        ],
        "cells_added": list(found.added),
        "cells_removed": list(found.removed),
        "unexpected_passes": list(found.unexpected),
        "known_issues": [issue_document(issue, excused) for issue, excused in told.known],
        "known_expired": [issue_document(issue, excused) for issue, excused in told.expired],
        "known_unmatched": [issue_document(issue, ()) for issue in told.unmatched],
        "claims": len(news.claimed) + len(news.unexpected),
        "unproven": len(news.unproven),
    }


def difference_document(one: Difference, known: str = "") -> dict[str, Any]:
    """Return the part of one fault in one cell. known: the issue that excuses it."""
    return {
        "cell": one.cell,
        "change": str(one.change),
        "signature": signature_document(one.fault.signature),
        "message": one.fault.message,
        "before": rate_document(one.before),
        "now": rate_document(one.now),
        "tonight": rate_document(one.tonight),
        "since": one.since,
        "rate_changed": one.rate_changed,
        "more": one.more,
        "expected": one.expected,
        "crash_retried": one.fault.crash_retried,
        "known": known,
        "folder": one.fault.folder,
    }


def signature_document(key: Signature) -> dict[str, str]:
    """Return a signature with its key."""
    return {"key": key.key, "id": key.id, "blame": key.blame, "function": key.function, "title": key.title}


def issue_document(issue: KnownIssue, excused: Iterable[Difference]) -> dict[str, Any]:
    """Return a known issue with what it fits."""
    return {
        "name": issue.name,
        "owner": issue.owner,
        "links": list(issue.links),
        "until": issue.until.isoformat() if issue.until else None,
        "because": issue.because,
        "place": issue.place,
        "fits": [{"cell": one.cell, "signature": one.fault.signature.key} for one in excused],
    }


def night_document(
    run: str, night: NightFacts, tonight: Night, previous: Sequence[str], shared: Mapping[str, Any], *, folder: str,
    exit_code: int,
) -> dict[str, Any]:  # fmt: skip
    """Return the contract of `lab nightly`. shared: comparison_document()."""
    return {
        "schema_version": SCHEMA_VERSION,
        "exit_code": exit_code,
        "run": run,
        "matrix": night.matrix,
        "day": night.day,
        "folder": folder,
        "finished": night.finished,
        "previous": list(previous),
        "further": list(night.further),
        "revisions": {one.source: one.revision for one in night.revisions},
        "cells": [
            {"id": one.cell, "outcome": str(one.outcome), "reason": one.reason, "judged": one.judged, "lost": one.lost,
             "carried": one.carried, "run": one.run}
            for one in tonight.values()
        ],
        **shared,
    }  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- text


def night_text(contract: Mapping[str, Any]) -> str:
    """Return what a night says, what is new first. contract: night_document()."""
    cells = contract["cells"]
    carried = sum(cell["carried"] for cell in cells)
    head = f"{one_line(contract['matrix'])}, night of {contract['day']}: {one_line(contract['folder'])}"
    previous = contract["previous"]
    against = f"compared with {_count(len(previous), 'night')}" if previous else "no earlier night"
    done = f"{_count(len(cells), 'cell')}: {len(cells) - carried} executed, {carried} as judged before; {against}"
    moved = [f"{one_line(name)} is {one_line(what)}" for name, what in contract["revisions"].items()]
    lines = [head, done, *moved, "", *comparison_lines(contract)]
    if not contract["finished"]:
        lines.append("broken off: the same call on the same day goes on")
    return "\n".join(lines)


def diff_text(contract: Mapping[str, Any]) -> str:
    """Return what changed from one run to another."""
    return "\n".join(comparison_lines(contract))


def comparison_lines(contract: Mapping[str, Any]) -> list[str]:
    """Return what changed, one or two lines each; the known ones apart."""
    rows = contract["differences"]
    lines: list[str] = []
    for row in [row for row in rows if not row["known"]][:SHOWN_AT_MOST]:
        lines += _difference(row)
    lines += [
        f"{'XPASS':{WIDTH}} {one_line(cell)} passes, which the matrix does not expect"
        for cell in contract["unexpected_passes"]
    ]
    for one in contract["not_judged"][:SHOWN_AT_MOST]:
        new = "" if one["new"] else " (as the night before)"
        lines.append(f"{'NOT JUDGED':{WIDTH}} {one_line(one['cell'])} {one['outcome']}{new}: {one_line(one['reason'])}")
    lines += [f"{'ADDED':{WIDTH}} {one_line(cell)}" for cell in contract["cells_added"]]
    lines += [f"{'REMOVED':{WIDTH}} {one_line(cell)}" for cell in contract["cells_removed"]]
    if not lines:
        lines = ["nothing new, nothing wrong" if not rows else "nothing but known issues"]
    if len(rows) > SHOWN_AT_MOST:
        lines.append(f"and more: {len(rows)} in all (--json has them)")
    return [*lines, *_known(contract), "", closing(contract)]


def _difference(row: Mapping[str, Any]) -> Iterator[str]:
    words = signature_words(row["signature"])
    expected = " (expected)" if row["expected"] else ""
    yield f"{HEADINGS[Change(row['change'])]:{WIDTH}} {one_line(row['cell'])}  {words}{expected}"
    yield f"{'':{WIDTH}} {rate_line(row)}  [{row['signature']['key']}]"
    if row["tonight"]["failures"] and row["folder"]:
        yield f"{'':{WIDTH}} see {one_line(row['folder'])}"


def signature_words(key: Mapping[str, str]) -> str:
    """Return a signature's document in one line."""
    return one_line(
        Signature(id=key["id"], blame=key["blame"], function=key["function"], title=key["title"]).words(), at_most=200
    )


def rate_line(row: Mapping[str, Any]) -> str:
    """Return the numbers of a difference's document, and what they prove."""
    before, now, tonight = (_rate(row[key]) for key in ("before", "now", "tonight"))
    words = {
        Change.NEW: f"in {now} since {one_line(row['since'])}; before in {before}",
        Change.FIRST: f"in {now}; nothing is known from before",
        Change.UNPROVEN: f"in {now} since {one_line(row['since'])}, before in {before}: it may be chance",
        Change.FIXED: f"in {now}; before in {before}",
        Change.GONE: f"not seen in {_trials(row['now'])}, before in {before}: it may be chance",
        Change.STILL: f"in {now}",
        Change.FLAKY: f"tonight in {tonight}, before in {before}: {_moved(row)}",
        Change.UNJUDGED: f"was in {before}; the cell was not judged",
    }[Change(row["change"])]
    if row["more"]:
        words += f"; {_count(row['more'], 'more attempt')} like it would prove it"
    if row["crash_retried"]:
        words += f"; {row['crash_retried']} of them did not come again when the attempt was repeated"
    return words


def _moved(row: Mapping[str, Any]) -> str:
    if row["rate_changed"]:
        return "its rate rose" if row["rate_changed"] > 0 else "its rate fell"
    if not row["before"]["failures"]:
        return "it comes and goes; that it is new is not proven"
    return "its rate did not change significantly"


def _rate(row: Mapping[str, Any]) -> str:
    rate = Rate(
        failures=row["failures"], trials=row["trials"], low=row["low"], high=row["high"], confidence=row["confidence"]
    )
    return f"{rate.failures} of {rate.trials} ({interval_words(rate)})" if rate.trials else "no attempt"


def _trials(row: Mapping[str, Any]) -> str:
    return _count(row["trials"], "attempt")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _known(contract: Mapping[str, Any]) -> Iterator[str]:
    of_issue: dict[str, list[Mapping[str, Any]]] = {}
    for row in contract["differences"]:
        if row["known"]:
            of_issue.setdefault(row["known"], []).append(row)
    if contract["known_issues"]:
        yield ""
        yield "known issues:"
    for issue in contract["known_issues"]:
        yield f"  {_issue(issue)}"
        for row in of_issue.get(issue["name"], ()):
            yield f"    {row['change']} in {one_line(row['cell'])}: {signature_words(row['signature'])}; {rate_line(row)}"
    for issue in contract["known_expired"]:
        fits = f"fits {len(issue['fits'])} of the above" if issue["fits"] else "fits nothing of the above"
        yield f"expired: {_issue(issue)}; {fits} ({one_line(issue['place'])})"
    for issue in contract["known_unmatched"]:
        yield f"never seen: {_issue(issue)} ({one_line(issue['place'])})"


def _issue(issue: Mapping[str, Any]) -> str:
    until = f"until {issue['until']}" if issue["until"] else ""
    facts = ", ".join(filter(None, [one_line(issue["owner"]), until, *map(one_line, issue["links"])]))
    because = f": {one_line(issue['because'])}" if issue["because"] else ""
    return f"{issue['name']}{f' ({facts})' if facts else ''}{because}"


def closing(contract: Mapping[str, Any]) -> str:
    """Return the last line of a night or a comparison: how much of what, and how it ends."""
    count: dict[str, int] = {}
    for row in contract["differences"]:
        heading = HEADINGS[Change(row["change"])].lower() if not row["known"] else "known"
        count[heading] = count.get(heading, 0) + 1
    count["not judged"] = len(contract["not_judged"])
    words = ", ".join(f"{number} {what}" for what, number in count.items() if number) or "no fault"
    return f"{words}; exit code {contract['exit_code']}"
