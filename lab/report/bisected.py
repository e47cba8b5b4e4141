"""What a bisection came to: words, the JSON contract of `lab bisect`, and a mail in the manner of the kernel's lists."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

from lab.report.document import SCHEMA_VERSION
from lab.report.plain import duration, one_line
from lab.results.bisections import Question
from lab.results.journal import Entry

COLUMNS = 75
SHORT = 12
TOLD_AT_MOST = 40
ENDINGS = {
    "culprit": "found",
    "narrowed": "narrowed, not decided",
    "unresolved": "unresolved",
    "not confirmed": "not confirmed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """A place and its tests: k failures in n. chance: that it has the fault, None where that is not asked."""

    name: str
    failures: int
    tests: int
    skipped: bool = False
    chance: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is reported. ending: see plan.search.Ending. commits: of the answer, with their subjects as far as they were read.

    reverted: the bad end without the culprit, None if it was not tested. why: of what was not confirmed.
    """

    question: Question
    ending: str
    commits: tuple[str, ...]
    subjects: tuple[str, ...]
    confidence: float
    tested: tuple[Tested, ...]
    good_end: Tested
    bad_end: Tested
    reverted: Tested | None
    rate: float
    builds: int
    tests: int
    spent_s: float
    why: str = ""
    finished: bool = True


def words(outcome: Outcome, *, folder: str) -> str:
    """Return the outcome for people."""
    return "\n".join(one_line(line, at_most=240) if line.strip() else "" for line in _lines(outcome, folder))


def _lines(outcome: Outcome, folder: str) -> Iterator[str]:
    question = outcome.question
    yield final_words(outcome)
    for name, subject in zip(outcome.commits, (*outcome.subjects, *[""] * len(outcome.commits)), strict=False):
        yield f"  {name[:SHORT]} {subject}"
        if len(outcome.commits) > TOLD_AT_MOST:
            yield f"  … and {len(outcome.commits) - 1} more"
            break
    yield from end_words(outcome)
    for one in outcome.tested:
        yield f"  {tested_words(one)}"
    yield f"{outcome.builds} builds and {outcome.tests} tests in {duration(outcome.spent_s)}; of {question.cell}"
    yield from backport_words(question)
    if question.amplified:
        yield f"amplified ({question.amplified}): these are not natural rates"
    yield folder


def backport_words(question: Question) -> Iterator[str]:
    """Yield a line for each patch that commits are tested with."""
    for one in question.backports:
        because = f": {one.because}" if one.because else ""
        yield f"with {one.patch.name} on {len(one.commits)} of {len(question.commits)} commits{because}"


def final_words(outcome: Outcome) -> str:
    """Return the answer in one line."""
    said = f"{ENDINGS[outcome.ending]}"
    if outcome.why:
        return f"{said}: {outcome.why}"
    if outcome.ending == "culprit" and len(outcome.commits) == 1:
        return f"{said}: {outcome.commits[0][:SHORT]}, confidence {outcome.confidence:.3f}"
    held = f"{len(outcome.commits)} commits hold a confidence of {outcome.confidence:.3f}"
    rest = "; no test can part them" if outcome.ending == "culprit" else ""
    return f"{said}: {held}{rest}"


def end_words(outcome: Outcome) -> Iterator[str]:
    """Yield a line for each end, and for the bad end without the culprit."""
    question = outcome.question
    yield f"{question.new} end {tested_words(outcome.bad_end)}"
    yield f"{question.old} end {tested_words(outcome.good_end)}"
    if outcome.reverted is not None:
        yield f"{question.new} end without the culprit: {tested_words(outcome.reverted)}"


def tested_words(one: Tested) -> str:
    """Return "1a2b3c4d5e6f 3/20 failed"."""
    if one.skipped and not one.tests:
        return f"{one.name[:SHORT]} cannot be tested{': ' + one.note if one.note else ''}"
    return f"{one.name[:SHORT]} {one.failures}/{one.tests} failed"


def entry_words(entry: Entry) -> str:
    """Return a line of the journal for people."""
    number = f"test {entry.number}" if entry.number else "marked"
    took = f"  build {duration(entry.build_s)}" * (entry.build_s > 0) + f"  {duration(entry.seconds)}" * (
        entry.seconds > 0
    )
    reason = f"  ({entry.reason})" if entry.reason and entry.verdict not in ("failed", "sound") else ""
    return one_line(f"{entry.at}  {entry.place[:19]}  {number}: {entry.verdict}{took}{reason}", at_most=240)


def document(outcome: Outcome, *, folder: str, exit_code: int) -> dict[str, Any]:
    """Return the contract of `lab bisect`."""

    def tested(one: Tested | None) -> dict[str, Any] | None:
        if one is None:
            return None
        told = {"commit": one.name, "failures": one.failures, "tests": one.tests, "skipped": one.skipped}
        return {**told, "has_fault": None if one.chance is None else round(one.chance, 6)}

    question = outcome.question
    return {
        "schema_version": SCHEMA_VERSION,
        "ending": outcome.ending,
        "why": outcome.why,
        "culprits": [
            {"commit": name, "subject": outcome.subjects[number] if number < len(outcome.subjects) else ""}
            for number, name in enumerate(outcome.commits)
        ],
        "confidence": round(outcome.confidence, 6),
        "asked_confidence": question.confidence,
        "finding": list(question.findings),
        "cell": question.cell,
        "good": question.good,
        "bad": question.bad,
        "commits": len(question.commits),
        "backports": [
            {"patch": one.patch.name, "commits": len(one.commits), "good": one.good, "because": one.because}
            for one in question.backports
        ],
        "rate": round(outcome.rate, 6),
        "good_end": tested(outcome.good_end),
        "bad_end": tested(outcome.bad_end),
        "reverted": tested(outcome.reverted),
        "tested": [tested(one) for one in outcome.tested],
        "builds": outcome.builds,
        "tests": outcome.tests,
        "seconds": round(outcome.spent_s, 3),
        "finished": outcome.finished,
        "folder": folder,
        "exit_code": exit_code,
    }


def mail(outcome: Outcome) -> bytes:
    """Return a mail about the culprit, to be read, completed and sent by somebody; it has no recipient and is never sent here.

    Source: Documentation/process/submitting-patches.rst, "Fixes:"; Documentation/process/handling-regressions.rst, regzbot.
    """
    message = EmailMessage()
    what = ", ".join(outcome.question.findings) or "a failure"
    first = outcome.subjects[0] if outcome.subjects else ""
    message["Subject"] = one_line(
        f"[REGRESSION] {what}, bisected to {outcome.commits[0][:SHORT]} ({first})", at_most=200
    )
    message.set_content("\n".join(_mail_lines(outcome, what)) + "\n")
    return message.as_bytes()


def _mail_lines(outcome: Outcome, what: str) -> Iterator[str]:
    question = outcome.question
    sure = f"with a confidence of {100 * outcome.confidence:.1f} %"
    yield from _wrapped(
        f"{what} was bisected to the commit below, {sure}; it shows itself in {outcome.rate:.0%} of the tests."
    )
    yield ""
    yield f"  {outcome.commits[0]}"
    yield f"  {outcome.subjects[0] if outcome.subjects else ''}"
    yield ""
    yield "Failures in tests:"
    yield ""
    for line in end_words(outcome):
        yield f"  {line}"
    for one in outcome.tested[:TOLD_AT_MOST]:
        yield f"  {tested_words(one)}"
    yield ""
    for line in backport_words(question):
        yield from _wrapped(f"Built {line}")
        yield ""
    if question.amplified:
        yield from _wrapped(f"Races were made likelier for this ({question.amplified}): these are not natural rates.")
        yield ""
    yield f"Environment: {question.cell}"
    yield ""
    if not question.mended:
        subject = outcome.subjects[0] if outcome.subjects else ""
        yield f'Fixes: {outcome.commits[0][:SHORT]} ("{subject}")'
        yield ""
        yield f"#regzbot introduced: {outcome.commits[0]}"


def _wrapped(text: str) -> Sequence[str]:
    return textwrap.wrap(text, COLUMNS)
