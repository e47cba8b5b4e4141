"""The JSON contracts of `lab list`, `lab check`, `lab log` and `lab run`. Keys are added, never renamed or removed.

schema_version changes only if that promise has to be broken. Texts are as they were found, not made harmless for terminals:
JSON escapes them, and whoever shows them must do what lab.report.plain does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypedDict

from lab.model import AttemptResult, Cell, Finding, NotApplicable, Rate, Result
from lab.report.judged import Judged
from lab.results.signature import signature
from lab.results.store import RunFacts, finite
from lab.results.verdict import exit_code, most_telling_first

SCHEMA_VERSION = 1
SURROGATE = re.compile("[\ud800-\udfff]")
NOT_ASCII = re.compile("[^\x00-\x7e]")


class Where(TypedDict):
    """The place that proves it; first = last = 0 is the whole file."""

    file: str
    first: int
    last: int


class FindingDocument(TypedDict):
    """One fault; lab.model.Finding. signature: its key, the same in every run (lab.results.signature)."""

    id: str
    severity: str
    title: str
    message: str
    blame: str
    function: str
    where: Where
    because: list[str]
    data: dict[str, Any]
    joined: list[FindingDocument]
    signature: str


class Gap(TypedDict):
    """A check that could not look, and why."""

    check: str
    because: str
    natural: bool


class JudgedDocument(TypedDict):
    """What `lab check --json` and `lab log --json` print."""

    schema_version: int
    outcome: str
    reason: str
    findings: list[FindingDocument]
    not_applicable: list[Gap]


class AttemptDocument(TypedDict):
    """One execution. folder: relative to the run's. findings: ids only, they are told in the cell."""

    number: int
    outcome: str
    reason: str
    seconds: float
    folder: str
    findings: list[str]
    not_applicable: list[Gap]
    steps: list[dict[str, Any]]
    facts: dict[str, Any]


class RateDocument(TypedDict):
    """How often, of judged attempts, with Wilson's interval."""

    failures: int
    trials: int
    low: float
    high: float
    confidence: float


class FindingRateDocument(TypedDict):
    """How often one fault was found."""

    id: str
    blame: str
    function: str
    rate: RateDocument


class CellDocument(TypedDict):
    """The verdict on a cell. attempts: how many were executed. findings: of all attempts, each fault once.

    flaky: some attempts failed and others did not. rate: None for a cell that was to be executed once. amplified: what made
    races likelier, "" if nothing did; rates are then none that come by nature.
    """

    id: str
    outcome: str
    reason: str
    attempts: int
    findings: list[FindingDocument]
    untestable: bool
    seconds: float
    axes: dict[str, str]
    attempt_results: list[AttemptDocument]
    flaky: bool
    rate: RateDocument | None
    rates: list[FindingRateDocument]
    differences: list[str]
    amplified: str


class RunDocument(TypedDict):
    """What `lab run --json` prints. totals: outcome -> cells. folder: of the run, as it was asked for."""

    schema_version: int
    run: str
    matrix: str
    lab_version: str
    started_at: str
    folder: str
    exit_code: int
    totals: dict[str, int]
    cells: list[CellDocument]


class ListedCell(TypedDict):
    """A cell before it is run. impossible: why it will be SKIP, as far as that is known already, else ""."""

    id: str
    axes: dict[str, str]
    impossible: str


class ListDocument(TypedDict):
    """What `lab list --json` prints."""

    schema_version: int
    cells: list[ListedCell]


def list_document(cells: Iterable[Cell]) -> ListDocument:
    """Return the contract of `lab list`."""
    listed: list[ListedCell] = [
        {"id": cell.id, "axes": dict(cell.axes), "impossible": cell.impossible} for cell in cells
    ]
    return {"schema_version": SCHEMA_VERSION, "cells": listed}


def judged_document(judged: Judged) -> JudgedDocument:
    """Return the contract of `lab check` and `lab log`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "outcome": str(judged.outcome),
        "reason": judged.reason,
        "findings": [finding_document(finding) for finding in judged.findings],
        "not_applicable": gaps(judged.not_applicable),
    }


def run_document(facts: RunFacts, results: Mapping[str, Result], *, folder: str) -> RunDocument:
    """Return the contract of `lab run`, in the order of the results. A cell of `facts` without a result is not in it."""
    axes = {cell.id: dict(cell.axes) for cell in facts.cells}
    return {
        "schema_version": SCHEMA_VERSION,
        "run": facts.run,
        "matrix": facts.matrix,
        "lab_version": facts.lab_version,
        "started_at": datetime.fromtimestamp(facts.started_at_s, UTC).isoformat(timespec="seconds"),
        "folder": folder,
        "exit_code": int(exit_code(results.values())),
        "totals": totals(results.values()),
        "cells": [cell_document(result, axes.get(result.cell, {})) for result in results.values()],
    }


def cell_document(result: Result, axes: dict[str, str]) -> CellDocument:
    """Return the part of one cell."""
    return {
        "id": result.cell,
        "outcome": str(result.outcome),
        "reason": result.reason,
        "attempts": len(result.attempts),
        "findings": [finding_document(finding) for finding in findings_of(result)],
        "untestable": result.untestable,
        "seconds": result.seconds,
        "axes": axes,
        "attempt_results": [attempt_document(attempt) for attempt in result.attempts],
        "flaky": result.flaky,
        "rate": None if result.rate is None else rate_document(result.rate),
        "rates": [
            {"id": one.id, "blame": one.blame, "function": one.function, "rate": rate_document(one.rate)}
            for one in result.rates
        ],
        "differences": list(result.differences),
        "amplified": result.amplified,
    }


def rate_document(rate: Rate) -> RateDocument:
    """Return the part of one rate."""
    return {
        "failures": rate.failures,
        "trials": rate.trials,
        "low": round(rate.low, 4),
        "high": round(rate.high, 4),
        "confidence": rate.confidence,
    }


def findings_of(result: Result) -> tuple[Finding, ...]:
    """Return every fault of a cell once, by id, blame and function, as its first attempt tells it; most telling first."""
    told: list[Finding] = []
    known: set[tuple[str, str, str]] = set()
    for findings in (result.findings, *(attempt.findings for attempt in result.attempts)):
        # Within one attempt, findings that differ only in their place are different faults.
        new = [finding for finding in findings if (finding.id, finding.blame, finding.function) not in known]
        known |= {(finding.id, finding.blame, finding.function) for finding in new}
        told += new
    return most_telling_first(told)


def attempt_document(attempt: AttemptResult) -> AttemptDocument:
    """Return the part of one attempt."""
    return {
        "number": attempt.number,
        "outcome": str(attempt.outcome),
        "reason": attempt.reason,
        "seconds": attempt.seconds,
        "folder": attempt.folder,
        "findings": [finding.id for finding in attempt.findings],
        "not_applicable": gaps(attempt.not_applicable),
        "steps": [asdict(step) | {"argv": list(step.argv)} for step in attempt.steps],
        "facts": attempt.facts,
    }


def finding_document(finding: Finding) -> FindingDocument:
    """Return the part of one finding."""
    return {
        "id": finding.id,
        "severity": str(finding.severity),
        "title": finding.title,
        "message": finding.message,
        "blame": finding.blame,
        "function": finding.function,
        "where": {"file": finding.where.file, "first": finding.where.first, "last": finding.where.last},
        "because": list(finding.because),
        "data": finding.data,
        "joined": [finding_document(part) for part in finding.joined],
        "signature": signature(finding).key,
    }


def gaps(some: Iterable[NotApplicable]) -> list[Gap]:
    """Return the checks that could not look."""
    return [{"check": gap.check, "because": gap.because, "natural": gap.natural} for gap in some]


def totals(results: Iterable[Result]) -> dict[str, int]:
    """Return outcome -> number of cells, only those that occur, in the order of their first cell."""
    count: dict[str, int] = {}
    for result in results:
        count[str(result.outcome)] = count.get(str(result.outcome), 0) + 1
    return count


def printed_json(document: Mapping[str, Any]) -> str:
    """Return a document as text that every JSON parser and every terminal takes: ASCII, no NaN, no half surrogates."""
    try:
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(finite(document), indent=2, ensure_ascii=False, allow_nan=False, default=str)
    return NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], SURROGATE.sub("\ufffd", text))
