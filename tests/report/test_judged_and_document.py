"""Findings alone to an outcome, and everything to JSON by contract."""

import json
import math
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import ExitCode
from lab.model import AttemptResult, Ending, Finding, NotApplicable, Outcome, Result, Severity, Span, StepResult
from lab.report.document import (
    AttemptDocument,
    CellDocument,
    JudgedDocument,
    ListDocument,
    RunDocument,
    findings_of,
    judged_document,
    list_document,
    printed_json,
    run_document,
)
from lab.report.judged import judged
from lab.results.signature import Signature
from lab.results.store import RunFacts

CHECKS = ("build", "modpost")


def finding(identity="modpost.undefined", severity=Severity.FAIL, **changes):
    base = {"title": "t", "message": "m", "where": Span(file="build.txt", first=4181, last=4181)}
    return Finding(**{"id": identity, "severity": severity, **base, **changes})


def keys(document):
    return list(document)


def keys_of(contract):
    return list(get_type_hints(contract))


def gap(check):
    return NotApplicable(check=check, because="there is no build.txt")


@pytest.mark.parametrize(
    ("findings", "gaps", "outcome", "code"),
    [
        ([], [], Outcome.PASS, ExitCode.AS_EXPECTED),
        ([], ["build"], Outcome.PASS, ExitCode.AS_EXPECTED),
        ([], ["build", "modpost"], Outcome.SKIP, ExitCode.UNTESTABLE),
        ([Severity.NOTE, Severity.WARNING], [], Outcome.PASS, ExitCode.AS_EXPECTED),
        ([Severity.FAIL], ["build"], Outcome.FAIL, ExitCode.KERNEL_FAULT),
        ([Severity.FAIL, Severity.ERROR], [], Outcome.ERROR, ExitCode.LAB_FAULT),
    ],
)
def test_findings_alone_make_an_outcome(findings, gaps, outcome, code):
    verdict = judged([finding(severity=severity) for severity in findings], [gap(name) for name in gaps], CHECKS)
    assert (verdict.outcome, verdict.exit_code) == (outcome, code)
    assert verdict.reason


@pytest.mark.parametrize(
    ("checks", "gaps", "outcome"),
    [
        ({"times": ("times.tie", "times.stale")}, ["times.tie"], Outcome.PASS),
        ({"times": ("times.tie", "times.stale")}, ["times.tie", "times.stale"], Outcome.SKIP),
        ({"times": ("times.tie", "times.stale")}, ["times"], Outcome.SKIP),
        (("times",), ["times.tie"], Outcome.SKIP),
    ],
)
def test_a_check_that_was_blind_in_part_has_looked_only_if_a_part_is_left(checks, gaps, outcome):
    assert judged([], [gap(name) for name in gaps], checks).outcome is outcome


def test_the_most_telling_finding_comes_first():
    some = [finding("build.failed"), finding("timestamps.note", Severity.NOTE), finding(), finding("a", Severity.ERROR)]
    told = judged(some, [], CHECKS).findings
    assert [each.id for each in told] == ["a", "modpost.undefined", "build.failed", "timestamps.note"]


def test_the_judged_document_has_every_key_of_the_contract():
    document = judged_document(judged([finding(because=("b",), data={"k": [1]})], [gap("kallsyms")], CHECKS))
    assert keys(document) == keys_of(JudgedDocument)
    assert document["findings"][0] == {
        "id": "modpost.undefined",
        "severity": "fail",
        "title": "t",
        "message": "m",
        "blame": "",
        "function": "",
        "where": {"file": "build.txt", "first": 4181, "last": 4181},
        "because": ["b"],
        "data": {"k": [1]},
        "joined": [],
        "signature": Signature(id="modpost.undefined", title="t").key,
    }
    assert document["not_applicable"] == [{"check": "kallsyms", "because": "there is no build.txt", "natural": False}]


def test_the_list_document_is_there_without_cells():
    document = list_document([])
    assert keys(document) == keys_of(ListDocument)
    assert document == {"schema_version": 1, "cells": []}


def attempt(number, *findings):
    return AttemptResult(
        number=number,
        outcome=Outcome.FAIL,
        reason="r",
        findings=findings,
        not_applicable=(gap("kallsyms"),),
        steps=(StepResult(name="build", ending=Ending.EXITED, status=2, seconds=1.0, argv=("make",)),),
        folder=f"cell/{number}",
    )


def test_the_run_document_has_every_key_of_the_contract():
    facts = RunFacts(run="r", matrix="m", matrix_sha256="", cells=(), started_at_s=0.0, lab_version="0")
    result = Result(
        cell="cell", outcome=Outcome.FAIL, reason="r", attempts=(attempt(1, finding()), attempt(2, finding()))
    )
    document = run_document(facts, {"cell": result}, folder="results/r")
    assert keys(document) == keys_of(RunDocument)
    assert keys(document["cells"][0]) == keys_of(CellDocument)
    assert keys(document["cells"][0]["attempt_results"][0]) == keys_of(AttemptDocument)
    assert document["exit_code"] == 1
    assert document["totals"] == {"FAIL": 1}
    assert document["cells"][0]["attempts"] == 2
    assert document["started_at"] == "1970-01-01T00:00:00+00:00"


def test_a_fault_of_several_attempts_is_told_once_and_two_of_one_attempt_twice():
    here, there = finding(where=Span(file="a")), finding(where=Span(file="b"))
    result = Result(cell="c", outcome=Outcome.FAIL, reason="", attempts=(attempt(1, here, there), attempt(2, here)))
    assert findings_of(result) == (here, there)


@given(st.text(alphabet=st.characters()), st.floats())
def test_printed_json_is_ascii_and_every_parser_takes_it(text, number):
    printed = printed_json({"text": text, "number": number})
    printed.encode("ascii")
    assert "\x7f" not in printed
    back = json.loads(printed, parse_constant=pytest.fail)
    back["text"].encode()
    assert back["number"] == number or (back["number"] is None and not math.isfinite(number))
