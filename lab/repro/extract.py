"""Files of a report → everything that it says: facts, whole configurations, diffs. The one way through lab.repro's readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from lab.repro import (
    authors,
    behaviour,
    building,
    environment,
    findings,
    flattened,
    headings,
    intake,
    patches,
    quoting,
    reading,
)
from lab.repro.behaviour import reporter_of
from lab.repro.building import ConfigFile
from lab.repro.facts import Block, Certainty, Fact, Field, Line, block, unique
from lab.repro.intake import LOGS, Document, Kind
from lab.repro.patches import Diff
from lab.repro.people import name_of

BLOCK_LINES_MAX = 400
TEXT_MAX = 1 << 20  # characters of one mail or page that are read; what it attaches is read apart
LOG_HEAD, LOG_TAIL = 3000, 1000  # lines of a log in which versions, commands and the like are looked for
LINE_MAX = 4000
FACTS_MAX = 5000
# Of a whole .config only these are facts by themselves: what decides how kbuild works. The rest is there to be looked up.
TELLING = frozenset(
    [
        "64BIT",
        "CC_VERSION_TEXT",
        "GCC_VERSION",
        "CLANG_VERSION",
        "LD_IS_LLD",
        "LTO_NONE",
        "LTO_CLANG",
        "LTO_CLANG_THIN",
        "LTO_CLANG_FULL",
        "CFI_CLANG",
        "MODULES",
        "MODVERSIONS",
        "TRIM_UNUSED_KSYMS",
        "UNUSED_SYMBOLS",
        "KALLSYMS",
        "KALLSYMS_ALL",
        "LIVEPATCH",
        "DEBUG_INFO_BTF",
        "X86_KERNEL_IBT",
        "UNWINDER_ORC",
        "UNWINDER_FRAME_POINTER",
        "STACK_VALIDATION",
        "OBJTOOL",
        "OBJTOOL_WERROR",
        "PREEMPT_DYNAMIC",
        "SMP",
        "DEBUG_SECTION_MISMATCH",
        "SECTION_MISMATCH_WARN_ONLY",
        "WERROR",
        "RUST",
        "LD_DEAD_CODE_DATA_ELIMINATION",
        "GCOV_KERNEL",
        "KASAN",
        "KCSAN",
        "COMPILE_TEST",
        "CC_OPTIMIZE_FOR_SIZE",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One document as it was read: what it is, and what was left out of it."""

    file: str
    part: str
    kind: str
    lines: int
    left_out: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was read. facts: each once, in the order of the files. reporter: "" if not known."""

    sources: tuple[Source, ...]
    facts: tuple[Fact, ...]
    configs: tuple[ConfigFile, ...] = ()
    diffs: tuple[Diff, ...] = ()
    reporter: str = ""

    def of(self, *fields: Field) -> tuple[Fact, ...]:
        """Return the facts of some fields."""
        return tuple(fact for fact in self.facts if fact.field in fields)


def report(files: Iterable[tuple[str, bytes]]) -> Report:
    """Return what files say. (name as shown, bytes). Whatever the bytes are, nothing is raised."""
    sources: list[Source] = []
    facts: list[Fact] = []
    configs: list[ConfigFile] = []
    diffs: list[Diff] = []
    for file, data in files:
        budget = intake.Budget()
        writers: dict[int, str] = {}  # of an mbox' mails: what they attach is theirs
        for document in reading.documents(file, data, budget):
            sources.append(
                Source(
                    file=file,
                    part=document.part,
                    kind=document.kind,
                    lines=len(document.lines),
                    left_out=document.left_out,
                )
            )
            if document.kind is Kind.CONFIG:
                configs.append(building.config_file(file, document.part, document.lines))
                facts += (
                    replace(fact, by=writers.get(document.message, "")) for fact in _of_config(configs[-1], document)
                )
            elif document.kind in LOGS:
                facts += (replace(fact, by=writers.get(document.message, "")) for fact in _of_log(document))
            elif document.kind is not Kind.BINARY:
                if sum(len(line.text) + 1 for line in document.lines) > TEXT_MAX:
                    budget.told.append(f"{file}: text beyond {TEXT_MAX} characters")
                told, found = _of_text(document, writers.get(document.message, ""))
                if document.kind is Kind.MAIL and (
                    writer := next((fact.by for fact in told if fact.field is Field.FROM), "")
                ):
                    writers.setdefault(document.message, writer)
                facts += told
                diffs += found
        if budget.told:
            sources.append(Source(file=file, part="", kind="left out", lines=0, left_out="; ".join(budget.told[:10])))
    facts += [patch_fact(diff) for diff in diffs]
    known = unique(facts)[:FACTS_MAX]
    return Report(
        sources=tuple(sources), facts=known, configs=tuple(configs), diffs=tuple(diffs), reporter=_reporter(known)
    )


def _reporter(facts: Sequence[Fact]) -> str:
    """Return who reported: whom a tag names, else the writer of the first mail."""
    tagged = reporter_of(facts)
    first = next((fact for fact in facts if fact.field is Field.FROM), None)
    return tagged or (name_of(first.value) if first else "")


# ------------------------------------------------------------------------------------------------------ what people wrote


def _of_text(document: Document, writer: str) -> tuple[list[Fact], list[Diff]]:
    """Return the facts and the diffs of a mail or page. writer: of the mail that it is attached to, "" if not known."""
    document = _bounded(document)
    loose = flattened.is_flat(document.lines)
    lines = quoting.unquoted(document.lines)
    heading = headings.of(document, lines)
    facts = list(heading.facts)
    own = authors.attributed(headings.rest_of(lines, heading), heading.author or writer)
    if not heading.author and not writer and (signer := _signer(document, own, facts)):
        own = authors.attributed(headings.rest_of(lines, heading), signer)
    diffs = list(_diffs(document, own, loose, heading.subject.text if heading.subject else ""))
    inside = frozenset(index for diff in diffs for index in diff.inside)
    told = _without_footer([replace(line, patch=index in inside) for index, line in enumerate(own)])
    if heading.subject:
        facts += _of_blocks([block(document.file, document.part, [replace(heading.subject, by=heading.author)])])
    facts += _of_blocks(_blocks(document, told))
    facts += findings.of_lines(document.file, document.part, [line for line in told if not line.patch])
    facts += _quoted_dates(document, own, dated=bool(heading.date))
    return facts, diffs


def _bounded(document: Document) -> Document:
    """Return a document with at most TEXT_MAX characters of text."""
    room, kept = TEXT_MAX, []
    for line in document.lines:
        if room <= 0:
            break
        kept.append(replace(line, text=line.text[:room]) if len(line.text) > room else line)
        room -= len(line.text) + 1
    return replace(document, lines=tuple(kept)) if room <= 0 else document


def _signer(document: Document, lines: Sequence[Line], facts: list[Fact]) -> str:
    """Return who signed a text whose header is lost, and note it."""
    people = {line.by for line in lines if line.by}
    for one in _blocks(document, [line for line in lines if line.level == 0]):
        people |= {name_of(fact.value) for fact in behaviour.people(one)}
    signed = headings.signed(lines, sorted(people))
    if not signed:
        return ""
    facts.append(headings.implied_author(document, *signed))
    return signed[0]


def _diffs(document: Document, lines: Sequence[Line], loose: bool, subject: str) -> Iterator[Diff]:
    """Yield the diffs of a text. RFC 3676's stuffing (a space before every line) is taken off where a mail says that
    it is there."""
    if document.flowed:
        lines = [
            replace(line, text=line.text[1:], column=line.column + 1) if line.text.startswith(" ") else line
            for line in lines
        ]
    yield from patches.found(
        document.file, document.part, lines, loose=loose, subject=subject, message=document.message
    )


def _without_footer(lines: Sequence[Line]) -> list[Line]:
    """Return lines up to what a list's software appends; a page that runs lines together has it within one."""
    kept = []
    for line in lines:
        cut = line.text.find("-- To unsubscribe from this list")
        if cut >= 0:
            kept.append(replace(line, text=line.text[:cut].rstrip()))
            break
        if line.text.startswith(
            ("To unsubscribe from this list", "More information about the ", "_______________________________________")
        ):
            break
        kept.append(line)
    return kept


def _blocks(document: Document, lines: Sequence[Line]) -> Iterator[Block]:
    """Yield the lines of each writer at each depth together; diffs are no words of theirs."""
    for (patch, _, _), some in groupby(lines, key=lambda line: (line.patch, line.level, line.by)):
        group = [replace(line, text=line.text[:LINE_MAX]) if len(line.text) > 4 * LINE_MAX else line for line in some]
        for start in range(0, len(group) if not patch else 0, BLOCK_LINES_MAX):
            yield block(document.file, document.part, group[start : start + BLOCK_LINES_MAX])


EXTRACTORS = (environment.facts, building.facts, behaviour.facts, findings.named)


def _of_blocks(blocks: Iterable[Block]) -> Iterator[Fact]:
    for one in blocks:
        found = [fact for extractor in EXTRACTORS for fact in extractor(one)]
        yield from sorted(found, key=lambda fact: (fact.place.line, fact.place.first))


def _quoted_dates(document: Document, lines: Sequence[Line], *, dated: bool) -> Iterator[Fact]:
    """Yield the dates and writers of quoted and forwarded mails; the newest date is the earliest that an undated
    answer can have."""
    voices = [voice for voice in authors.voices(lines) if voice.name or voice.date]
    for voice in voices:
        line = lines[voice.said]
        place = block(document.file, document.part, [line]).place(0, len(line.text))
        if voice.forwarded:
            yield from headings.forwarded(document, lines, voice.line)
        if voice.name:
            yield Fact(
                field=Field.PERSON, value=voice.name, place=place, by=voice.name, level=voice.level,
                data=(("role", "quoted" if voice.level else "writer"),),
            )  # fmt: skip
        if voice.date:
            certainty = Certainty.STATED if dated or voice.level else Certainty.IMPLIED
            yield Fact(
                field=Field.DATE, value=voice.date, place=place, by=voice.name, level=max(1, voice.level), certainty=certainty,
                data=(("of", "quotation"),),
            )  # fmt: skip


# ------------------------------------------------------------------------------------------------- logs, configurations


def _of_log(document: Document) -> Iterator[Fact]:
    lines = [
        replace(line, text=line.text[:LINE_MAX])
        for line in (*document.lines[:LOG_HEAD], *document.lines[LOG_HEAD:][-LOG_TAIL:])
    ]
    for one in _blocks(document, lines):
        for extractor in (environment.facts, building.facts):
            yield from extractor(one)
    yield from findings.of_log(document.file, document.part, document.data, of_console=document.kind is Kind.CONSOLE)


def _of_config(config: ConfigFile, document: Document) -> Iterator[Fact]:
    """Yield the telling symbols of a configuration, and what its head says of the kernel and the compiler."""
    head = [line for line in document.lines[:40] if line.text.startswith(("#", "CONFIG_"))]
    for one in _blocks(document, head):
        yield from environment.facts(one)
    for name in config.symbols:
        if name in TELLING:
            value, _ = config.symbols[name]
            yield Fact(field=Field.CONFIG, value=f"CONFIG_{name}={value}"[:400], place=config.place(name))


def patch_fact(diff: Diff) -> Fact:
    """Return the fact that a report contains a diff."""
    names = [one.new if one.new != patches.NOWHERE else one.old for one in diff.files]
    inner = [patches.inner(name, 1) or name for name in names]
    shown = ", ".join(inner[:4]) + (f" and {len(inner) - 4} more" if len(inner) > 4 else "")
    hunks = sum(len(one.hunks) for one in diff.files)
    return Fact(
        field=Field.PATCH, value=shown[:400], place=diff.place, by=diff.by, level=diff.level,
        data=(("hunks", str(hunks)), ("subject", diff.subject[:160])),
    )  # fmt: skip
