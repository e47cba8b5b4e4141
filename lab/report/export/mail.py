"""A cell's fault as a mail in the layout of the 0-day robot, for a person to read, complete and send; nothing here sends.

Subject "[tree] symptom"; tree, commit, configuration, compiler, how to do it again; then the log, lines that prove the fault
marked with ">>". Regzbot is only told what a person has said: the range comes from the caller. Source: the robot's reports on
lore.kernel.org/oe-kbuild-all; Documentation/process/handling-regressions.rst and docs of regzbot; RFC 5322.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from email.utils import format_datetime

from lab.model import Cell, Finding, Result
from lab.report.export.told import Told
from lab.report.plain import one_line, plain
from lab.results.verdict import rate_words

COLUMNS = 75
RANGE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/-]{0,99}(?:\.\.[0-9A-Za-z][0-9A-Za-z._/-]{0,99})?")
REGRESSIONS = "regressions@lists.linux.dev"
LINES_AT_MOST = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What only a person knows. introduced: a commit or a range A..B for regzbot, "": no word to it. tree: "tree:branch"."""

    sender: str
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    tree: str = ""
    introduced: str = ""
    link: str = ""


def mail(told: Told, cell: Cell | None, result: Result, envelope: Envelope) -> bytes:
    """Return the mail, as a file that `git send-email` takes. Raises ValueError for a range or an address of another form."""
    attempt, finding = told.telling(result)
    if envelope.introduced and not RANGE.fullmatch(envelope.introduced):
        raise ValueError(f"{envelope.introduced!r} is neither a commit nor a range A..B")
    symptom = symptom_of(result, finding)
    message = EmailMessage(policy=default.clone(max_line_length=998))
    message["Subject"] = f"[{tree_of(told, cell, envelope)}] {symptom}"
    message["From"] = address(envelope.sender)
    cc = (*envelope.cc, *((REGRESSIONS,) if envelope.introduced and REGRESSIONS not in envelope.cc else ()))
    for name, some in (("To", envelope.to), ("Cc", cc)):
        if some:
            message[name] = ", ".join(address(one) for one in some)
    message["Date"] = format_datetime(datetime.fromtimestamp(told.facts.started_at_s, UTC))
    record = told.record(attempt) if attempt else {}
    axes = dict(cell.axes) if cell else {}
    build = next((step for step in attempt.steps if step.name == "build"), None) if attempt else None
    head = [
        ("tree", tree_of(told, cell, envelope)),
        ("commit", one_line(str(record.get("source_origin") or axes.get("source", "unknown")))),
        ("config", one_line(f"{axes.get('arch', '')}-{axes.get('kconfig', '')}".strip("-"))),
        ("compiler", one_line(axes.get("toolchain", ""))),
        ("filesystem", one_line(axes.get("filesystem", ""))),
        ("command", one_line(shlex.join(build.argv)) if build else ""),
        ("rate", f"failed in {rate_words(result.rate, amplified=bool(result.amplified))}" if result.rate else ""),
    ]
    lines = ["Hi,", "", *wrapped(f"kbuild-lab found this: {symptom}"), ""]
    lines += [f"{name + ':':<12}{text}" for name, text in head if text]
    lines += ["reproduce:  the attached or linked reproduce.sh (sh, docker, root)", ""]
    lines += tags(envelope)
    lines += body(told, result, finding)
    lines += regzbot(envelope, symptom)
    message.set_content("\n".join(lines) + "\n", charset="utf-8", cte="8bit")
    return message.as_bytes()


def symptom_of(result: Result, finding: Finding | None) -> str:
    """Return the fault in a few words."""
    if finding is None:
        return one_line(result.reason, at_most=90)
    return one_line(f"{finding.blame}: {finding.title}" if finding.blame else finding.title, at_most=90)


def tree_of(told: Told, cell: Cell | None, envelope: Envelope) -> str:
    """Return what stands in the subject's brackets."""
    return one_line(envelope.tree or (dict(cell.axes).get("source", "") if cell else "") or told.facts.run, at_most=60)


def address(text: str) -> str:
    """Return an address that is one line. Raises ValueError if it cannot be one."""
    if not re.fullmatch(r"[^\x00-\x1f\x7f,;]*[^\s@<>]+@[^\s@<>]+>?", text):
        raise ValueError(f"{text!r} is no mail address")
    return text


def tags(envelope: Envelope) -> list[str]:
    """Return the tags that a fix should have."""
    rows = [f"| Reported-by: {address(envelope.sender)}"]
    if envelope.link:
        rows.append(f"| Closes: {one_line(envelope.link)}")
    return ["If you fix this in a separate patch/commit, kindly add following tags", *rows, ""]


def body(told: Told, result: Result, finding: Finding | None) -> list[str]:
    """Return what was found: message, reasons, the log's lines with their marks."""
    if finding is None:
        return [*wrapped(result.reason), ""]
    attempt = next((one for one in result.attempts if finding in one.findings), None)
    lines = [*wrapped(f"{finding.id}: {finding.message}"), ""]
    for reason in finding.because:
        lines += wrapped(f"because {reason}", indent="  ")
    some = told.lines(attempt, finding)[:LINES_AT_MOST] if attempt else ()
    if some:
        lines += ["", f"{one_line(finding.where.file)} (what proves it is prefixed by >>):", ""]
        lines += [f"{'>>' if line.proof else '  '} {plain(line.text)}".rstrip() for line in some]
    return [*lines, ""]


def regzbot(envelope: Envelope, symptom: str) -> list[str]:
    """Return the lines that regzbot reads, each between empty lines; none without a range, which only a person can know."""
    if not envelope.introduced:
        return []
    rows = [f"#regzbot introduced: {envelope.introduced}", f"#regzbot title: {symptom}"]
    if envelope.link:
        rows.append(f"#regzbot link: {one_line(envelope.link)}")
    return [line for row in rows for line in (row, "")]


def wrapped(text: str, indent: str = "") -> list[str]:
    """Return prose in lines of COLUMNS; words are not broken, so that paths stay whole."""
    return textwrap.wrap(
        one_line(text, at_most=2000), COLUMNS, initial_indent=indent, subsequent_indent=indent + ("  " if indent else ""),
        break_long_words=False, break_on_hyphens=False,
    ) or [""]  # fmt: skip
