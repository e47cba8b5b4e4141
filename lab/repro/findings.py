"""The faults that a report shows, under the ids that the lab's own checks give them: its readers of logs read what
was quoted."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from lab.checks import boot, build, link, objtool
from lab.evidence import console, log
from lab.evidence.log_facts import BuildLog
from lab.model import Finding, Severity, Span
from lab.repro.environment import held_against, row
from lab.repro.facts import Block, Certainty, Fact, Field, Line, Place

FINDINGS_MAX = 400
GENERAL = ("build.failed", "build.make")  # told only where nothing says why

NAMED = (
    row(Field.FINDING, r"\binconsistent kallsyms data\b", "kallsyms.inconsistent", "named-fault", any_case=True),
    row(Field.FINDING, r"\bcan't find static_call_key\b", "objtool.warning", "named-fault"),
    row(Field.FINDING, r"(?:no longer contains?|without|lacks?|misses"
        r"|missing) [\"'`]?--module\b", "objtool.flags", "named-fault"),
    row(Field.FINDING, r"\bConflicting KLP_SYMPOS definition\b", "livepatch.conflict", "named-fault"),
    row(Field.FINDING, r"\bkernel (?:then )?(?:panics?|panicked)\b(?! - not)|\bpanics? (?:on|at|during|after"
        r"|while) (?:boot|load)", "boot.panic",
        "named-fault", any_case=True),
    row(Field.FINDING, r"\bkernel (?:oops(?:es|ed)?)\b|\boops(?:es)? (?:on|at|during|after|while"
        r"|when) ", "boot.oops", "named-fault", any_case=True),
    row(Field.FINDING, r"\bsection mismatch(?:es)?\b", "modpost.section-mismatch", "named-fault", any_case=True),
    row(Field.FINDING, r"\bundefined symbols?\b[^.\n]{0,60}\bmodpost\b|\bmodpost\b[^.\n]{0,60}\bundefined symbols?\b",
        "modpost.undefined", "named-fault", any_case=True),
    row(Field.FINDING, r"\bexported twice\b", "modpost.exported-twice", "named-fault"),
    row(Field.FINDING, r"\binternal compiler error\b", "build.toolchain-crash", "named-fault"),
    row(Field.FINDING, r"\borphan sections?\b", "link.orphan-section", "named-fault", any_case=True),
    row(Field.FINDING, r"\bFailed to generate BTF\b", "btf.failed", "named-fault"),
    row(Field.FINDING, r"\b(?:timestamp races?|got the same time ?stamps?|same mtime|identical time ?stamps?)\b",
        "timestamps.tie", "named-fault", any_case=True),
)  # fmt: skip


def named(block: Block) -> Iterator[Fact]:
    """Yield faults that are called by their name."""
    for one in held_against(block, NAMED):
        yield Fact(
            field=one.field, value=one.value, place=one.place, certainty=Certainty.IMPLIED, rule=one.rule, by=one.by,
            level=one.level, data=(("id", one.value),),
        )  # fmt: skip


def of_lines(file: str, part: str, lines: Sequence[Line]) -> Iterator[Fact]:
    """Yield the faults whose lines a text quotes, each once, with its place."""
    # people indent what they quote: lines that say nothing as they are may say something without that;
    # lld's ">>> referenced by" belongs to the line before, however that is indented
    texts = [line.text.lstrip() if line.text.lstrip().startswith(">>> ") else line.text for line in lines]
    found = _read(texts, file)
    bare = [text.lstrip() for text in texts]
    if bare != texts:
        told = {finding.where.first for finding in found}
        found += [
            one for one in _read(bare, file) if one.where.first not in told and texts[one.where.first - 1][:1].isspace()
        ]
        found = sorted(_telling(found), key=lambda finding: finding.where.first)
    for finding in found[:FINDINGS_MAX]:
        index = finding.where.first - 1
        if 0 <= index < len(lines):
            line = lines[index]
            shown = line.text.strip()
            first = line.column + len(line.text) - len(line.text.lstrip())
            place = Place(
                file=file,
                part=part,
                line=line.at,
                first=first,
                last=first + max(0, len(shown) - 1),
                text=" ".join(shown[:160].split()),
            )
            yield _fact(finding, place, line.by, line.level)


def _read(texts: Sequence[str], file: str) -> list[Finding]:
    return [*_findings(log.read_lines(texts), file), *boot.log_findings(console.read_lines(texts), file)]


def of_log(file: str, part: str, data: bytes, *, of_console: bool) -> Iterator[Fact]:
    """Yield the faults of a whole log."""
    lines = (line for batch in log.split_lines(io.BytesIO(data)) for line in batch)
    whole = boot.log_findings(console.read_lines(lines), file) if of_console else _findings(log.read_lines(lines), file)
    found = list(whole)
    for finding in found[:FINDINGS_MAX]:
        said = str(finding.data.get("text") or finding.message)
        place = Place(
            file=file,
            part=part,
            line=finding.where.first,
            first=1,
            last=max(1, min(len(said), 400)),
            text=" ".join(said[:160].split()),
        )
        yield _fact(finding, place, "", 0)


def _findings(read: BuildLog, file: str) -> list[Finding]:
    """Return the findings of what a text quotes of a build's log. One that only says that something failed tells less
    than others."""
    found = [*build.log_findings(read, file), *link.log_findings(read, file), *objtool.log_findings(read, file)]
    told = {finding.where.first for finding in found}
    found += [
        _alone("kallsyms.inconsistent", line.at, line.text, file)
        for line in read.kallsyms
        if line.inconsistent and line.at not in told
    ]
    found += [
        _alone(f"livepatch.{line.kind}", line.at, line.text, file, object=line.object, symbol=line.symbol)
        for line in read.klp
        if not line.consequence and not line.harmless and line.at not in told
    ]
    return _telling(found)


def _telling(found: list[Finding]) -> list[Finding]:
    return [one for one in found if one.id not in GENERAL and one.severity is not Severity.NOTE] or found


def _alone(id_: str, at: int, text: str, file: str, **data: str) -> Finding:
    return Finding(
        id=id_,
        severity=Severity.FAIL,
        title=text,
        message=text,
        where=Span(file=file, first=at, last=at),
        data=dict(data),
    )


_SUBJECTS = ("symbol", "module", "object", "file", "function")


def _fact(finding: Finding, place: Place, by: str, level: int) -> Fact:
    data = [("id", finding.id), ("severity", str(finding.severity))]
    data += [(name, str(finding.data[name])) for name in _SUBJECTS if finding.data.get(name)]
    if finding.blame and "module" not in dict(data):
        data.append(("blame", finding.blame))
    subject = " ".join(value for name, value in data if name in ("symbol", "module", "object"))
    value = f"{finding.id} {subject or finding.blame}".strip()
    return Fact(field=Field.FINDING, value=value[:400], place=place, by=by, level=level, data=tuple(data))
