"""What `lab repro` found, chose and ran: the JSON contract, and tables of it for a terminal."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.report.plain import one_line

FACTS_AT_MOST = 60  # rows of the table; --json has all
FIRST = (
    "from", "subject", "date", "message-id", "kernel-version", "kernel-tree", "architecture", "board", "compiler", "lto",
    "linker", "binutils", "cross-prefix", "distribution", "filesystem", "timestamps", "jobs", "rate", "finding",
    "config-symbol", "config-base", "build-command",
)  # fmt: skip
SAME_AT_MOST = 6  # values of one field
TOLD = ("filesystem", "outcome", "with", "role")  # what else a fact says, in its row


def repro_text(contract: Mapping[str, Any], *, colour: bool) -> str:
    """Return the facts, what was chosen and why, what was not matched, and the files. contract: docs/json.md, "lab repro"."""
    parts = [
        _sources(contract["sources"]),
        _table(("field", "value", "certainty", "where", "by", "because"), _fact_rows(contract["facts"]), colour=colour),
        _table(("chosen", "value", "because"), _choice_rows(contract["choices"]), colour=colour),
        _table(("patch", "from", "result"), _patch_rows(contract["patches"]), colour=colour),
        _gaps(contract["not_matched"]),
        "\n".join(f"wrote    {one_line(name)}" for name in contract["written"]),
    ]
    parts.append(_next(contract["written"]) if contract["run"] is None else _run(contract["run"], colour=colour))
    return "\n\n".join(part for part in parts if part)


def percent(rate: Mapping[str, Any]) -> str:
    """Return a rate with its interval: "7/20 (18–57 %)", "0/0" where nothing was judged."""
    if not rate["trials"]:
        return "0/0"
    return f"{rate['failures']}/{rate['trials']} ({100 * rate['low']:.0f}–{100 * rate['high']:.0f} %)"


def _where(place: Mapping[str, Any] | None) -> str:
    if place is None:
        return ""
    part = f" ({place['part']})" if place["part"] else ""
    return one_line(f"{place['file']}{part}:{place['line']}:{place['first']}", at_most=80)


def _sources(rows: Iterable[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        part = f" ({row['part']})" if row["part"] else ""
        left = f"; left out: {row['left_out']}" if row["left_out"] else ""
        lines.append(one_line(f"read     {row['file']}{part}: {row['kind']}, {row['lines']} lines{left}"))
    return "\n".join(lines)


def _fact_rows(facts: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the facts that count, then further candidates; of fields with many values the first few."""
    rows: list[tuple[str, ...]] = []
    often: dict[str, int] = {}
    values: dict[str, set[str]] = {}
    for fact in facts:
        values.setdefault(fact["field"], set()).add(fact["value"])
    order = {name: index for index, name in enumerate(dict.fromkeys([*FIRST, *(fact["field"] for fact in facts)]))}
    for fact in sorted(facts, key=lambda fact: (not fact["chosen"], order[fact["field"]])):
        field = fact["field"]
        often[field] = often.get(field, 0) + 1
        if often[field] > SAME_AT_MOST or len(rows) >= FACTS_AT_MOST:
            continue
        taken = f"taken: {fact['chosen_by']}" if fact["chosen"] and len(values[field]) > 1 else ""
        more = "".join(f" [{key} {value}]" for key, value in fact["data"].items() if key in TOLD)
        rows.append(
            (
                f"{'* ' if fact['chosen'] else '  '}{field}",
                one_line(fact["value"] + more, at_most=80),
                fact["certainty"],
                _where(fact["place"]),
                one_line(fact["by"], at_most=24),
                one_line("; ".join(filter(None, (fact["because"], taken))), at_most=160),
            )
        )
    for field, count in often.items():
        if count > SAME_AT_MOST:
            rows.append((f"  {field}", f"… {count - SAME_AT_MOST} more", "", "", "", ""))
    return rows


def _choice_rows(choices: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            one["axis"],
            one_line(one["value"], at_most=60),
            one_line(one["because"], at_most=150) + _bracketed(one["place"]),
        )
        for one in choices
    ]


def _bracketed(place: Mapping[str, Any] | None) -> str:
    return f"  [{_where(place)}]" if place else ""


def _patch_rows(patches: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for one in patches:
        result = (
            f"{one['sureness']}: {'; '.join(one['notes']) or 'as it is'}"
            if one["sureness"]
            else f"not used: {one['why']}"
        )
        rows.append(
            (one_line(", ".join(one["files"]), at_most=60), _where(one["place"]), one_line(result, at_most=220))
        )
    return rows


def _gaps(gaps: Iterable[Mapping[str, Any]]) -> str:
    lines = [
        f"not matched  {one_line(one['what'])}: {one_line(one['because'])}{_bracketed(one['place'])}" for one in gaps
    ]
    return "\n".join(lines)


def _next(written: Sequence[str]) -> str:
    """Return the commands that go on from the files: to run them, and to compare with the report's own patch."""
    if not written:
        return ""
    matrix, *patches = (shlex.quote(one_line(name)) for name in written)
    lines = [f"next     lab run {matrix}"]
    lines += [
        f"next     lab try {matrix} --cell '*-as-reported' --patch {name}"
        for name in patches
        if name.rstrip("'").endswith(".from-report.patch")
    ]
    return "\n".join(lines)


def _run(run: Mapping[str, Any], *, colour: bool) -> str:
    rows = []
    for arm in run["arms"]:
        rates = ", ".join(f"{one_line(id_)} {percent(rate)}" for id_, rate in arm["rates"].items())
        rows.append((arm["arm"], arm["outcome"], str(arm["judged"]), rates, one_line(arm["reason"], at_most=120)))
    table = _table(("arm", "outcome", "judged", "findings", "reason"), rows, colour=colour)
    told = run["reproduced"]
    word = (
        "could not be judged"
        if not told["trials"]
        else f"reproduced {percent(told)}"
        if told["failures"]
        else f"not reproduced {percent(told)}"
    )
    counted = ", ".join(one_line(id_) for id_ in next((arm["rates"] for arm in run["arms"]), ()))
    return f"{table}\n\n{word}, counting any of {counted}\nresults: {one_line(run['folder'])}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, colour: bool) -> str:
    if not rows:
        return ""
    table = Table(box=None, pad_edge=False, header_style="bold" if colour else "")
    for name in head:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(
        file=io.StringIO(), force_terminal=colour, color_system="standard" if colour else None, no_color=not colour,
        highlight=False, markup=False, emoji=False, width=10_000, legacy_windows=False, _environ={},
    )  # fmt: skip
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
