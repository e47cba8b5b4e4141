"""What stands above a text: a mail's own header, or what an archive, a tracker or a patch collector prints instead of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from lab.repro import dates
from lab.repro.facts import VALUE_MAX, Certainty, Fact, Field, Line, Place
from lab.repro.intake import Document, Header
from lab.repro.people import ADDRESS, address_of, name_of, person

TOP_LINES = 70
NAMES = (
    "Return-Path", "Received", "Delivered-To", "X-Spam-Checker-Version", "X-Spam-Level", "X-Spam-Status",
    "X-Google-Smtp-Source",
    "X-Received", "ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", "DKIM-Signature", "Authentication-Results",
    "X-Mailing-List", "X-Mailer", "X-Google-DKIM-Signature", "X-Gm-Message-State", "From", "To", "Cc", "CC", "Subject", "Date",
    "Message-ID", "Message-Id", "In-Reply-To", "References", "MIME-Version", "Mime-Version", "Content-Type", "Content-Language",
    "Content-Transfer-Encoding", "Content-Disposition", "Content-Length", "Lines", "User-Agent", "Organization", "Sender",
    "Precedence", "List-ID", "List-Id", "Reply-To", "Newsgroups", "List", "Xref", "Original-Received", "Autocrypt",
    "List-Unsubscribe", "List-Subscribe", "X-Virus-Scanned", "X-Authority-Analysis", "Archived-At", "Envelope-To",
)  # fmt: skip
ONCE = frozenset({"From", "Subject", "Date", "To", "Message-ID", "Message-Id"})
RUN_TOGETHER = re.compile(rf"(?<!\S)(?P<name>{'|'.join(map(re.escape, NAMES))}):(?=\s|$)")
GAP_MAX = 4000  # characters between two fields: a signature of DKIM is long
# How the value of a field ends when nothing marks its end; of others the text goes on until something that begins a line.
ENDS = {
    "To": None, "Cc": None, "CC": None, "From": None, "Date": None, "Message-ID": r"\s*(?:<[^<>\s]{1,200}>|\S+@\S+)?",
    "Message-Id": r"\s*(?:<[^<>\s]{1,200}>|\S+@\S+)?", "In-Reply-To": r"\s*(?:<[^<>\s]{1,200}>)?",
    "References": r"\s*(?:<[^<>\s]{1,200}>\s*){0,80}", "MIME-Version": r"\s*[\d.]+(?: \([^)]*\))?",
    "Mime-Version": r"\s*[\d.]+(?: \([^)]*\))?",
    "Content-Type": r"\s*[\w/+.-]+(?:;\s*[\w*-]+=\"?[^\s\";]+\"?)*", "Content-Language": r"\s*\S+",
    "Content-Transfer-Encoding": r"\s*\S+", "Content-Disposition": r"\s*[\w-]+", "Content-Length": r"\s*\d+",
    "Lines": r"\s*\d+",
    "Sender": r"\s*\S+@\S+", "List-ID": r"\s*(?:<[^<>\s]{1,200}>)?", "List-Id": r"\s*(?:<[^<>\s]{1,200}>)?",
    "X-Mailing-List": r"\s*\S+@\S+", "Precedence": r"\s*\w+", "Reply-To": r"\s*\S+@\S+",
    "Return-Path": r"\s*(?:<[^<>]{0,200}>)?",
}  # fmt: skip
ADDRESSES = re.compile(
    rf"\s*(?:(?:\"?[^\s,<>:@\"][^,<>:@\"]{{0,60}}\"? ?)?(?:<{ADDRESS}>|{ADDRESS})|[^\s,<>:@][^,<>:@]{{0,60}})(?:\s*,)?"
)
ONE_FIELD = re.compile(
    r"[ \t*•|-]{0,4}\**(?P<name>From|Subject|Date|Sent|To|CC|Cc|Message-ID|Message-Id|In-Reply-To|In-reply-to|References|List"
    r"|Message ID|Submitter|Reported by|Reported|Author|Title|Newsgroups)\**:?\**(?:\t|:\s|\s{2,}|(?<=:)$)[ \t]*(?P<value>.*)"
)
PIPERMAIL = re.compile(rf"(?P<who>[^\s<>][^<>\n]{{1,80}}?) (?P<address>{ADDRESS}|\S+ at)\s*$")
DIFF = re.compile(r"diff --git |--- (?:a/|\S+/\S+\s*$)|Index: \S+/\S")
LINE_OF_DATE = re.compile(rf"\s*{dates.DATE}\s*$")
MARKDOWN_TITLE = re.compile(r"#{1,2} (?P<title>\S.*\S)")
GLUED = re.compile(
    r"(?P<name>From|Subject|Date)(?P<value>[A-Z0-9\"'\[(].*)"
)  # lkml.org: a table's cells without their edges
OPENED = re.compile(
    rf"(?P<who>[\w][\w.-]{{0,40}}) (?:opened this issue|commented)(?: on)? (?P<day>{dates.DATE})"
    rf"|Reported(?: by)?:?\s+(?P<date>{dates.DATE}) by (?P<by>[^\n<]{{2,60}})"
    rf"|Reported by:? (?P<reporter>[^\n]{{2,120}})"
    rf"|^@?(?P<one>[\w][\w.-]{{0,40}}) (?:[·•|–—] (?:[a-z]{{2,20}} [·•|–—] )?)(?P<when>{dates.DATE})\s*$"
)
LIST_WORDS = re.compile(r"linux-|lists?\.|@vger\.|live-patching|googlegroups|@lists|-devel|-users|netdev")


@dataclass(slots=True)
class Heading:
    """What was found. author: of what is not quoted, "" if not known. used: indices of lines that belong to it."""

    facts: list[Fact] = field(default_factory=list)
    author: str = ""
    date: str = ""
    used: set[int] = field(default_factory=set)
    subject: Line | None = None

    def take(self, name: str, value: str, place: Place) -> None:
        """Note a field that has a meaning here; the first of a name counts."""
        value = " ".join(value.split())[:VALUE_MAX]
        name = name.lower().replace(" ", "-")
        if not value:
            return
        if name in ("from", "submitter", "author") and not self.author:
            someone = person(value)
            self.author = name_of(someone)
            self._note(Field.FROM, someone, place)
        elif name in ("subject", "title") and self.subject is None:
            self.subject = Line(text=value, at=place.line, column=place.first)
            self._note(Field.SUBJECT, value, place)
        elif name in ("date", "sent") and not self.date:
            self.date = dates.of_header(value) or dates.iso(value)
            self._note(Field.DATE, self.date, place)
        elif name == "message-id":
            self._note(Field.MESSAGE_ID, identity(value), place)
        elif name == "in-reply-to":
            self._note(Field.IN_REPLY_TO, identity(value), place)
        elif name in ("to", "cc", "list", "newsgroups", "x-mailing-list"):
            for one in value.split(","):
                someone = address_of(person(one).rpartition("<")[2].rstrip(">")) or one.strip()
                if LIST_WORDS.search(someone):
                    self._note(Field.LIST, someone, place)

    def _note(self, what: Field, value: str, place: Place) -> None:
        if value:
            self.facts.append(Fact(field=what, value=value, place=place, by=self.author))


def identity(value: str) -> str:
    """Return a message id without its brackets, an archive's " () " and " ! " put right; "" if it is none."""
    text = value.strip().split(">")[0].lstrip("<").replace(" () ", "@").replace(" ! ", ".").split(" ")[0]
    return text if re.fullmatch(r"[^\s<>]{3,250}", text) and ("@" in text or "." in text) and "xxxx" not in text else ""


def of(document: Document, lines: Sequence[Line]) -> Heading:
    """Return the heading of a document. lines: its own, without quote marks."""
    heading = Heading()
    if document.headers:
        _of_mail(document, document.headers, heading)
    elif (lines and len(lines[0].text) > 300) or (lines and _starts_together(lines)):
        _run_together(document, lines, heading)
    else:
        _of_page(document, lines, heading)
    return heading


def _place(document: Document, line: Line, start: int, text: str) -> Place:
    first = line.column + start
    return Place(
        file=document.file,
        part=document.part,
        line=line.at,
        first=first,
        last=first + max(0, len(text) - 1),
        text=text[:160],
    )


def _of_mail(document: Document, headers: Sequence[Header], heading: Heading) -> None:
    for one in headers:
        place = Place(file=document.file, line=one.at, first=1, last=1, text=f"{one.name}: {one.value}"[:160])
        heading.take(one.name, one.value, place)


# ------------------------------------------------------------------------------------------------- a page with its lines


def _of_page(document: Document, lines: Sequence[Line], heading: Heading) -> None:
    end = next((index for index, line in enumerate(lines[:TOP_LINES]) if DIFF.match(line.text[:200])), TOP_LINES)
    top = [(index, line) for index, line in enumerate(lines[:end]) if line.level == 0]
    named = [(index, line, found) for index, line in top if (found := ONE_FIELD.match(line.text[:1000]))]
    quoted_at = next((index for index, line in enumerate(lines) if line.level > 0), len(lines))
    forwarded = next(
        (index for index, line in top if re.match(r"-{2,14} ?(?:Original|Forwarded)", line.text)), len(lines)
    )
    named = [one for one in named if one[0] < min(quoted_at, forwarded)]
    for index, line, found in named or _glued(top):
        start = found.start("value")
        heading.take(found["name"], found["value"], _place(document, line, start, found["value"]))
        heading.used.add(index)
    _bare(document, top, heading)


def _glued(top: Sequence[tuple[int, Line]]) -> list[tuple[int, Line, re.Match[str]]]:
    """Return fields whose names run into their values: several in a row with a date among them, or a first line's subject."""
    found = [(index, line, field) for index, line in top if (field := GLUED.match(line.text[:1000]))]
    dated = any(field["name"] == "Date" and LINE_OF_DATE.match(field["value"][:80]) for _, _, field in found)
    names = {field["name"] for _, _, field in found}
    if dated and len(names) > 1:
        return found[: len(names)]
    first = next((index for index, line in top if line.text.strip()), -1)
    return [one for one in found[:1] if one[0] == first and re.match(r"SubjectRe: |Subject\[", one[1].text)]


def _bare(document: Document, top: Sequence[tuple[int, Line]], heading: Heading) -> None:
    """Find what stands without a name: a writer above a date (pipermail, patchwork), a tracker's "opened this issue", the title
    in the first line."""
    told = [(index, line) for index, line in top if line.text.strip()]
    if not told:
        return
    for before, (index, line), (below, date) in zip([None, *told], told, told[1:], strict=False):
        pipermail = index <= 8 and PIPERMAIL.match(line.text[:300]) is not None
        patchwork = before is not None and before[1].text.strip() == "Commit Message" and len(line.text) < 60
        if (
            not heading.author
            and below == index + 1
            and (pipermail or patchwork)
            and LINE_OF_DATE.match(date.text[:80])
        ):
            heading.take("from", line.text, _place(document, line, 0, line.text.strip()))
            heading.take("date", date.text, _place(document, date, 0, date.text.strip()))
            heading.used.update((index, below))
    for _, line in told[:TOP_LINES]:
        if found := OPENED.search(line.text[:400]):
            who = found["who"] or found["by"] or found["reporter"] or found["one"]
            if not heading.author:
                heading.take("from", who, _place(document, line, found.start(), found[0]))
            if not heading.date and (day := found["day"] or found["date"] or found["when"]):
                heading.take("date", day, _place(document, line, found.start(), found[0]))
    for index, line in told[:6]:
        if heading.subject is None and heading.author and (title := MARKDOWN_TITLE.match(line.text[:300])):
            heading.take("subject", title["title"], _place(document, line, title.start("title"), title["title"]))
            heading.used.add(index)
    index, line = told[0]
    if heading.subject is None and heading.author and len(line.text) < 200 and index not in heading.used:
        heading.take("subject", line.text, _place(document, line, 0, line.text.strip()))
        heading.used.add(index)


# ------------------------------------------------------------------------------------------- a header run together


def _starts_together(lines: Sequence[Line]) -> bool:
    return len(list(RUN_TOGETHER.finditer(lines[0].text[:400]))) >= 2


def _run_together(document: Document, lines: Sequence[Line], heading: Heading) -> None:
    """Take the fields from a first line that holds the whole header and the beginning of the text."""
    line = lines[0]
    found = list(_chain(line.text))
    told = {one["name"] for one in found}
    if len(told) < 2 or (told <= {"From", "Date"} and len(lines) > 1 and lines[1].level > 0):
        return  # "From: … Date: …" before a quotation is how some people attribute it
    for one, following in zip(found, [*found[1:], None], strict=True):
        end = following.start() if following else one.end() + _end_of(one["name"], line.text[one.end() :])
        value = line.text[one.end() : end].strip()
        heading.take(one["name"], value, _place(document, line, one.end() + 1, value))
    heading.used.add(0)


def _chain(text: str) -> Iterator[re.Match[str]]:
    """Yield the fields at the beginning of a text, until one comes again or is too far away."""
    seen: set[str] = set()
    last = 0
    for found in RUN_TOGETHER.finditer(text[:60_000]):
        if found.start() - last > GAP_MAX or (found["name"] in seen & ONCE) or (not seen and found.start() > 120):
            return
        if (
            {"From", "Subject", "Date"} <= seen
            and found.start() - last > 400
            and found["name"] in ("From", "Subject", "Date")
        ):
            return
        seen.add(found["name"])
        last = found.end()
        yield found


def _end_of(name: str, text: str) -> int:
    """Return how long the value of the last field is."""
    pattern = ENDS.get(name, r"\s*\S*")
    if pattern is not None:
        found = re.match(pattern, text[:2000])
        return found.end() if found else 0
    if name == "Date":
        found = re.match(rf"\s*{dates.DATE}(?: \([A-Z]{{2,5}}\))?", text[:120])
        return found.end() if found else 0
    at = 0
    for _ in range(60):
        found = ADDRESSES.match(text, at, at + 400)
        if not found or found.end() == at or ("@" not in found[0] and not found[0].rstrip().endswith(",")):
            return at
        at = found.end()
        if not found[0].rstrip().endswith(","):
            return at
    return at


def rest_of(lines: Sequence[Line], heading: Heading) -> tuple[Line, ...]:
    """Return the lines below a heading: without those that belong to it, and the text that followed a run-together header."""
    kept = []
    for index, line in enumerate(lines):
        if index not in heading.used:
            kept.append(line)
        elif index == 0 and len(line.text) > 300 and (cut := _text_begins(line.text)):
            kept.append(replace(line, text=line.text[cut:], column=line.column + cut))
    return tuple(kept)


def _text_begins(text: str) -> int:
    found = list(_chain(text))
    if not found:
        return 0
    end = found[-1].end() + _end_of(found[-1]["name"], text[found[-1].end() :])
    return end + len(text[end:]) - len(text[end:].lstrip())


SIGNATURE = re.compile(r"(?:^|[.!?)] |^-+ ?)(?P<name>[A-Z][\w.'-]{1,20}(?: [A-Z][\w.'-]{1,20}){0,2})\.?(?: -- .*)?$")


def signed(lines: Sequence[Line], people: Sequence[str]) -> tuple[str, Line] | None:
    """Return who signed the text that is not quoted: the one person it names whose name begins with the signature. The line
    returned is that of the signature alone."""
    own = [line for line in lines if line.level == 0 and line.text.strip() and not line.patch]
    for line in reversed(own[-14:]):
        told = line.text.partition(" -- ")[0].rstrip()
        found = SIGNATURE.search(told, max(0, len(told) - 200))
        if not found:
            continue
        full = {one for one in people if one == found["name"] or one.startswith(found["name"])}
        if len(full) == 1:
            return full.pop(), replace(line, text=found["name"], column=line.column + found.start("name"))
    return None


def forwarded(document: Document, lines: Sequence[Line], start: int) -> list[Fact]:
    """Return subject, writer and lists of a mail that is forwarded whole. start: index of its header's first line."""
    heading = Heading()
    fields: list[tuple[str, str, Line]] = []
    for line in lines[start : start + TOP_LINES]:
        found = ONE_FIELD.match(line.text[:1000])
        if found:
            fields.append((found["name"], found["value"], line))
        elif fields and not line.text.strip():
            break
        elif fields and (fields[-1][1].rstrip().endswith((",", ">")) or line.text.lstrip().startswith("<")):
            name, value, first = fields.pop()
            fields.append((name, f"{value} {line.text}", first))
    for name, value, line in sorted(fields, key=lambda one: one[0] != "From"):
        if name != "Date":
            heading.take(name, value, _place(document, line, 0, line.text.strip()))
    return heading.facts


def implied_author(document: Document, name: str, line: Line) -> Fact:
    """Return the fact that a text is signed by somebody."""
    return Fact(
        field=Field.FROM, value=name, place=_place(document, line, 0, line.text),
        certainty=Certainty.IMPLIED, rule="signature", by=name,
    )  # fmt: skip
