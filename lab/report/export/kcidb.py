"""A run as KCIDB's JSON, version 5: checkouts, builds, tests (boots), issues, incidents.

An attempt is a build; its boots together are one test, "boot". What the boot's checks found belongs to the test, all else to
the build. Outcomes are those of attempts, so that a known fault is FAIL there as it is for everybody else; what the matrix
expects is in misc. Only the checkout has a time, the run's: when each step began is not recorded. Source:
kcidb_io/schema/v05_03.py; https://docs.kernelci.org, "KCIDB".
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lab.model import AttemptResult, Cell, Finding, GitSource, Outcome, Result, Severity, StepResult
from lab.report.export.told import Told, bounded, fault_of
from lab.report.plain import plain
from lab.report.text import source_of

VERSION = {"major": 5, "minor": 3}
BOOT_FAMILY = "boot."
BOOT_STEP = "boot"
TOOLS = frozenset({"build.toolchain-crash"})
"""Findings that are the toolchain's fault; ERROR findings are the harness', all others the code's."""
COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
TAG = re.compile(r"v[0-9][0-9A-Za-z._-]{0,60}")
ORIGIN = re.compile(r"[a-z0-9_]+")
CHARS_AT_MOST = 2000
STATUS = {
    Outcome.PASS: "PASS",
    Outcome.FAIL: "FAIL",
    Outcome.ERROR: "ERROR",
    Outcome.MISS: "MISS",
    Outcome.SKIP: "SKIP",
    Outcome.XFAIL: "FAIL",
    Outcome.XPASS: "PASS",
}
"""Ours -> KCIDB's, which knows no expectations: a fault that is expected is there."""


@dataclass(slots=True)
class Objects:
    """What is gathered for one document, by id, in the order of its first mention."""

    origin: str
    checkouts: dict[str, dict[str, Any]] = field(default_factory=dict)
    builds: list[dict[str, Any]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    issues: dict[str, dict[str, Any]] = field(default_factory=dict)
    incidents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def named(self, *parts: object) -> str:
        """Return an id of ours."""
        return f"{self.origin}:{'/'.join(str(part) for part in parts)}"


def kcidb(told: Told, origin: str = "kbuild_lab") -> dict[str, Any]:
    """Return the document. origin: KCIDB's name of this lab, lower-case letters, digits and _; ValueError for another."""
    if not ORIGIN.fullmatch(origin):
        raise ValueError(f"{origin!r} cannot be an origin of KCIDB: lower-case letters, digits and _ only")
    objects = Objects(origin)
    for cell, result in told.cells():
        attempts = result.attempts or (None,)
        for attempt in attempts:
            add_attempt(objects, told, cell, result, attempt)
    parts = {
        "checkouts": list(objects.checkouts.values()),
        "builds": objects.builds,
        "tests": objects.tests,
        "issues": list(objects.issues.values()),
        "incidents": list(objects.incidents.values()),
    }
    return {"version": VERSION, **{name: rows for name, rows in parts.items() if rows}}


def add_attempt(objects: Objects, told: Told, cell: Cell | None, result: Result, attempt: AttemptResult | None) -> None:
    """Add one execution: its checkout, its build, its boot, and what was found. attempt: None if there was none."""
    record = told.record(attempt) if attempt else {}
    checkout = add_checkout(objects, told, cell, record)
    run, number = told.facts.run, attempt.number if attempt else 0
    build = build_row(objects, told, cell, result, attempt, record) | {
        "id": objects.named(run, result.cell, number),
        "checkout_id": checkout,
    }
    objects.builds.append(build)
    boots = [step for step in attempt.steps if step.name.startswith(BOOT_STEP)] if attempt else []
    wanted = cell is not None and cell.boot is not None
    test = None
    if attempt and (boots or (wanted and build["status"] == "PASS")):
        test = test_row(told, attempt, boots, record) | {
            "id": objects.named(run, result.cell, number, BOOT_STEP),
            "build_id": build["id"],
            "origin": objects.origin,
        }
        objects.tests.append(test)
    for finding in attempt.findings if attempt else result.findings:
        for one in fault_of(finding):
            at = test if test is not None and one.id.startswith(BOOT_FAMILY) else build
            add_incident(objects, one, at, "test_id" if at is test else "build_id")


def add_checkout(objects: Objects, told: Told, cell: Cell | None, record: Mapping[str, Any]) -> str:
    """Add what was built, once for each source with its patches, and return its id."""
    axes = dict(cell.axes) if cell else {}
    hashes = (
        [hashlib.sha256(patch.text.encode("utf-8", "surrogatepass")).hexdigest() for patch in cell.patches]
        if cell
        else []
    )
    patchset = hashlib.sha256("".join(f"{one}\n" for one in hashes).encode()).hexdigest() if hashes else ""
    origin = str(record.get("source_origin") or axes.get("source", ""))
    key = hashlib.sha256(f"{axes.get('source', '')}\n{record.get('source_key', '')}\n{patchset}".encode()).hexdigest()[
        :16
    ]
    name = objects.named(told.facts.run, "checkout", key)
    row: dict[str, Any] = {
        "id": name,
        "origin": objects.origin,
        "patchset_hash": patchset,
        "comment": words(origin),
        "start_time": utc(told.facts.started_at_s),
        "misc": {"source": axes.get("source", ""), "patches": axes.get("patches", "")},
    }
    if record.get("kernel_version"):
        row["misc"]["kernel_version"] = words(str(record["kernel_version"]))
        row["valid"] = True
    commit = next((word for word in origin.split() if COMMIT.fullmatch(word)), "")
    if commit and cell and isinstance(cell.source, GitSource):
        row["git_commit_hash"] = commit
        if TAG.fullmatch(cell.source.rev):
            row["git_commit_name"] = cell.source.rev
        if cell.source.repository.startswith("https://"):
            row["git_repository_url"] = cell.source.repository
    objects.checkouts.setdefault(name, row)
    return name


def build_row(
    objects: Objects,
    told: Told,
    cell: Cell | None,
    result: Result,
    attempt: AttemptResult | None,
    record: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what is said of a build, without its ids."""
    axes = dict(cell.axes) if cell else {}
    steps = [step for step in attempt.steps if not step.name.startswith(BOOT_STEP)] if attempt else []
    findings = [one for one in attempt.findings if not is_boot(one)] if attempt else []
    build = next((step for step in reversed(steps) if step.name == "build"), None)
    row: dict[str, Any] = {
        "origin": objects.origin,
        "architecture": re.sub(r"[^a-z0-9_]", "_", cell.arch) if cell else "",
        "compiler": words(cell.toolchain) if cell else "",
        "config_name": words(axes.get("kconfig", "")),
        "command": words(shlex.join(build.argv)) if build else "",
        "comment": words(attempt.reason if attempt else result.reason),
        "duration": round(sum(step.seconds for step in steps), 3),
        "status": build_status(result, attempt, steps, findings),
        "log_excerpt": bounded(told.excerpt(attempt, next(iter(findings), None))),
        "misc": misc(cell, result, attempt, record),
    }
    return {name: value for name, value in row.items() if value != ""}


def build_status(
    result: Result, attempt: AttemptResult | None, steps: Sequence[StepResult], findings: Sequence[Finding]
) -> str:
    """Return KCIDB's word for the build alone: that of the attempt, unless only its boot is to blame."""
    if attempt is None:
        return STATUS[result.outcome]
    severities = {finding.severity for finding in findings}
    if Severity.FAIL in severities and attempt.outcome is not Outcome.ERROR:
        return "FAIL"
    booted = len(steps) < len(attempt.steps)
    built = bool(steps) and all(step.ok for step in steps)
    if built and (booted or attempt.outcome is Outcome.PASS) and Severity.ERROR not in severities:
        return "PASS"
    return STATUS[attempt.outcome]


def test_row(
    told: Told, attempt: AttemptResult, boots: Sequence[StepResult], record: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is said of an attempt's boots together, without ids. boots: () if a boot was asked for and never begun."""
    found = next((one for one in attempt.findings if is_boot(one) and one.decides), None)
    decided = next((part for one in attempt.findings for part in one.joined if is_boot(part) and part.decides), None)
    first = found or decided
    outcome = Outcome.MISS if not boots else attempt.outcome
    if boots and attempt.outcome is Outcome.FAIL and first is None:
        outcome = Outcome.PASS  # the build is to blame, and its kernel booted
    row = {
        "path": BOOT_STEP,
        "environment": {
            "comment": words(f"qemu {record.get('machine', '') or attempt.facts.get('machine', '')}".strip())
        },
        "status": STATUS[outcome],
        "duration": round(sum(step.seconds for step in boots), 3),
        "comment": words(first.message if first else attempt.reason),
        "log_excerpt": bounded(told.excerpt(attempt, first)),
        "misc": {"boots": len(boots), "accel": str(attempt.facts.get("accel", ""))},
    }
    return {name: value for name, value in row.items() if value != ""}


def add_incident(objects: Objects, finding: Finding, at: Mapping[str, Any], key: str) -> None:
    """Add that a fault was seen in a build or a test, and the fault itself if it is new."""
    signature = f"{finding.id}\n{finding.blame}\n{finding.function}"
    short = hashlib.sha256(signature.encode("utf-8", "replace")).hexdigest()[:16]
    name = objects.named(short)
    objects.issues.setdefault(
        name,
        {
            "id": name,
            "version": 1,
            "origin": objects.origin,
            "categories": [".".join(re.findall(r"[A-Za-z0-9_-]+", finding.id))],
            "culprit": culprit(finding),
            "comment": words(f"{finding.id} {finding.blame} {finding.title}"),
            "report_subject": words(f"{finding.title}: {finding.blame}" if finding.blame else finding.title),
            "misc": {
                "finding": words(finding.id),
                "blame": words(finding.blame),
                "function": words(finding.function),
                "source": words(source_of(finding)),
            },
        },
    )
    row = {
        "id": f"{at['id']}/{short}",
        "origin": objects.origin,
        "issue_id": name,
        "issue_version": 1,
        key: at["id"],
        "present": True,
        "comment": words(finding.message),
        "misc": {"because": [words(reason) for reason in finding.because[:20]]},
    }
    objects.incidents.setdefault(row["id"], row)  # findings that differ only in their place are one issue here


def culprit(finding: Finding) -> dict[str, bool]:
    """Return which layer is responsible."""
    harness = finding.severity is Severity.ERROR
    tool = finding.id in TOOLS
    return {"code": not harness and not tool, "tool": tool and not harness, "harness": harness}


def misc(cell: Cell | None, result: Result, attempt: AttemptResult | None, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what KCIDB has no place for."""
    found: dict[str, Any] = {
        "cell": result.cell,
        "axes": dict(cell.axes) if cell else {},
        "verdict": str(result.outcome),
    }
    if cell and cell.expect:
        found["expected"] = {"outcome": str(cell.expect.outcome), "findings": list(cell.expect.findings)}
    if attempt and "granularity_ns" in attempt.facts:
        found["granularity_ns"] = attempt.facts["granularity_ns"]
    if isinstance(image := record.get("image"), Mapping):
        found["image"] = {"name": words(str(image.get("name", ""))), "id": words(str(image.get("id", "")))}
    if result.rate is not None:
        rate = result.rate
        found["rate"] = {"failures": rate.failures, "trials": rate.trials, "low": rate.low, "high": rate.high}
    if result.amplified:
        found["amplified"] = result.amplified
    return found


def is_boot(finding: Finding) -> bool:
    """Whether a finding is about a boot."""
    return finding.id.startswith(BOOT_FAMILY)


def words(text: str) -> str:
    """Return text that KCIDB takes: without NUL and half surrogates, of bearable length."""
    return plain(text)[:CHARS_AT_MOST]


def utc(at_s: float) -> str:
    """Return a time as RFC 3339 has it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
