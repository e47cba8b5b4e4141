"""Answers of the index, as text and as the JSON contracts of `lab index …`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lab.report.document import SCHEMA_VERSION, rate_document
from lab.report.nightly import signature_document, signature_words
from lab.report.plain import one_line
from lab.results.questions import CellRate, CellRun, Known
from lab.results.verdict import rate_words


def cell_runs_document(rows: Iterable[CellRun]) -> dict[str, Any]:
    """Return the contract of `lab index cell` and `lab index not-judged`."""
    listed = [
        {"run": one.run, "day": one.day, "cell": one.cell, "outcome": one.outcome, "reason": one.reason,
         "judged": one.judged, "lost": one.lost, "carried": one.carried}
        for one in rows
    ]  # fmt: skip
    return {"schema_version": SCHEMA_VERSION, "results": listed}


def cell_runs_text(contract: Mapping[str, Any]) -> str:
    """Return a line for each result of a cell."""
    rows = contract["results"]
    lines = []
    for one in rows:
        carried = " (as judged before)" if one["carried"] else ""
        words = f"{one_line(one['cell'])}  {one_line(one['run'])}{carried}: {one_line(one['reason'])}"
        lines.append(f"{one['day']}  {one['outcome']:5}  {words}")
    return "\n".join(lines) or "nothing"


def findings_document(rows: Iterable[Known]) -> dict[str, Any]:
    """Return the contract of `lab index findings`."""
    listed = [
        {"signature": signature_document(one.signature), "first_day": one.first_day, "first_run": one.first_run,
         "last_day": one.last_day, "last_run": one.last_run, "cells": one.cells, "results": one.runs}
        for one in rows
    ]  # fmt: skip
    return {"schema_version": SCHEMA_VERSION, "findings": listed}


def findings_text(contract: Mapping[str, Any]) -> str:
    """Return a line for each fault."""
    lines = [
        f"{one['signature']['key']}  {one['first_day']} to {one['last_day']}  in {one['results']} results of"
        f" {one['cells']} cells  {signature_words(one['signature'])}"
        for one in contract["findings"]
    ]
    return "\n".join(lines) or "nothing"


def rates_document(rows: Iterable[CellRate], runs: Iterable[str]) -> dict[str, Any]:
    """Return the contract of `lab index rates`."""
    listed = [
        {"cell": one.cell, "signature": signature_document(one.signature), "rate": rate_document(one.rate),
         "words": rate_words(one.rate)}
        for one in rows
    ]  # fmt: skip
    return {"schema_version": SCHEMA_VERSION, "runs": list(runs), "rates": listed}


def rates_text(contract: Mapping[str, Any]) -> str:
    """Return a line for each fault in each cell."""
    lines = [
        f"{one['words']:24}  {one_line(one['cell'])}  {signature_words(one['signature'])}" for one in contract["rates"]
    ]
    return "\n".join([*lines, f"over {len(contract['runs'])} runs"])
