"""Bytes of a file → documents: what kind each is, its lines with their numbers, its attachments. Bounded in every direction.

A stranger wrote the bytes: nothing is trusted (sizes, encodings, MIME's nesting), nothing is opened, names are only shown.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from lab.repro.facts import Line

BYTES_MAX = 64 << 20
LINES_MAX = 60_000  # that are looked at for facts; the readers of logs see all
LINE_MAX = 1 << 20
SNIFF_LINES = 4000
GZIP = b"\x1f\x8b"


class Kind(StrEnum):
    """What a document is."""

    MAIL = "mail"
    PAGE = "page"  # text about a report: a web archive's, an issue's, a bug tracker's
    BUILD_LOG = "build log"
    CONSOLE = "console"
    CONFIG = "config"
    BINARY = "binary"


LOGS = (Kind.BUILD_LOG, Kind.CONSOLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A field of a mail's header. name: in lower case. at: its line."""

    name: str
    value: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text of a report. file: as its owner calls it. part: "" if line numbers count in the file, else what was decoded.

    lines: in order, at most LINES_MAX. data: the whole of a log, for its reader; b"" otherwise.
    message: which mail of an mbox it belongs to, from 1; 0 if it is no mail. flowed: RFC 3676. left_out: what was not read.
    """

    file: str
    kind: Kind
    lines: tuple[Line, ...] = ()
    headers: tuple[Header, ...] = ()
    part: str = ""
    data: bytes = b""
    message: int = 0
    flowed: bool = False
    left_out: str = ""


@dataclass(slots=True)
class Budget:
    """What may still be decoded of one file; every attachment takes from it."""

    room: int = BYTES_MAX
    parts: int = 200
    told: list[str] = field(default_factory=list)

    def take(self, data: bytes, what: str) -> bytes:
        """Return as much of the data as there is room for."""
        kept = data[: max(0, self.room)]
        self.room -= len(kept)
        if len(kept) < len(data):
            self.told.append(f"{what}: {len(data) - len(kept)} bytes")
        return kept


def unpacked(data: bytes, budget: Budget, what: str) -> bytes | None:
    """Return what a gzip file holds, as much as there is room for, or None if it is damaged from its beginning."""
    engine = zlib.decompressobj(wbits=31)
    room = max(1, min(budget.room, BYTES_MAX))
    try:
        text = engine.decompress(data, room)
    except zlib.error:
        return None
    if engine.unconsumed_tail:
        budget.told.append(f"{what}: what it unpacks to beyond {room} bytes")
    return budget.take(text, what)


# Python knows more codecs than mails have: some are slow on purpose-made input (idna), some warn (unicode_escape).
CHARSETS = re.compile(
    r"utf-?(?:8|16(?:[lb]e)?)|us-ascii|ascii|iso-?8859-\d{1,2}|(?:windows|cp)-?125\d|koi8-[ru]|gb2312|gbk|gb18030|big5"
    r"|euc-(?:jp|kr)|shift_jis|iso-2022-(?:jp|kr)",
    re.I,
)


def as_text(data: bytes, charset: str) -> str:
    """Return bytes in a charset as text; as UTF-8 if the charset is none of a mail's. What does not fit becomes U+FFFD."""
    if not CHARSETS.fullmatch(charset) or charset.lower() in ("us-ascii", "ascii"):
        return data.decode("utf-8", "replace")
    try:
        return data.decode(charset, "replace")
    except LookupError:
        return data.decode("utf-8", "replace")


def decoded(data: bytes) -> str | None:
    """Return bytes as text, None if they are none. Lines end with "\\n"; a NUL becomes U+FFFD."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = as_text(data, "utf-16")
    else:
        head = data[: 1 << 16]
        strange = sum(head.count(bytes((code,))) for code in (*range(8), *range(14, 27), 28, 29, 30, 31))
        if strange * 50 > len(head):
            return None
        text = data.decode("utf-8", "replace")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\0", "\ufffd")


def lines_of(text: str) -> tuple[tuple[Line, ...], str]:
    """Return the lines of a text, and what was left out of them."""
    text = text.removesuffix("\n")
    rows = text.split("\n", LINES_MAX)
    if len(rows) <= LINES_MAX:
        longest = max(map(len, rows))
        left_out = f"what lines have beyond {LINE_MAX} characters" if longest > LINE_MAX else ""
        return tuple(Line(text=row[:LINE_MAX], at=at) for at, row in enumerate(rows, start=1)), left_out
    # a log says what it builds at its beginning and what went wrong at its end
    half = LINES_MAX // 2
    last = text.rsplit("\n", half)[1:]
    first = text.count("\n") + 2 - len(last)
    kept = [*enumerate(rows[:half], start=1), *enumerate(last, start=first)]
    return tuple(Line(text=row[:LINE_MAX], at=at) for at, row in kept), f"lines {half + 1} to {first - 1}"


# ---------------------------------------------------------------------------------------------------------- what it is

CONFIG_LINE = re.compile(r"(?:# )?CONFIG_[A-Za-z0-9_]{1,200}(?:=| is not set)")
TIMED = re.compile(r"(?:<\d{1,3}>)?\[ {0,8}\d{1,6}\.\d{6}\]")
PROGRESS = re.compile(
    r"  (?:\[M\] )?[A-Z][A-Z0-9_]{1,10}(?: \[M\])? +[\w./-]|g?make(?:\[\d+\])?: |(?:\S+-)?(?:gcc"
    r"|clang)(?:-[\d.]+)? -|  [A-Z]+ +\S"
)
HEADER = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,60}):(?:[ \t]|$)")
MAIL_HEADERS = frozenset(
    [
        "from",
        "to",
        "cc",
        "date",
        "subject",
        "message-id",
        "received",
        "return-path",
        "delivered-to",
        "mime-version",
        "content-type",
        "x-mailer",
        "user-agent",
        "in-reply-to",
        "references",
        "sender",
        "reply-to",
        "list-id",
        "x-mailing-list",
        "dkim-signature",
    ]
)
MBOX = re.compile(r"From \S{1,200} {1,3}[A-Z][a-z]{2} [A-Z][a-z]{2} +\d")


def is_mail(rows: Sequence[str]) -> bool:
    """Whether lines begin with a mail's header: some of its fields, each in a line of its own, then an empty line."""
    names = []
    for row in rows[:400]:
        if match := HEADER.match(row):
            names.append(match[1].lower())
        elif not row.strip():
            break
        elif not row.startswith((" ", "\t")):
            return False
    known = MAIL_HEADERS.intersection(names)
    return "from" in known and len(known) >= 3 and len(known) * 2 >= min(len(names), 8) and len(rows) > len(names)


def kind_of(rows: Sequence[str]) -> Kind:
    """Return what lines are, by their beginning; PAGE is what is nothing else."""
    told = [row for row in rows[:SNIFF_LINES] if row.strip()]
    if not told:
        return Kind.PAGE
    if sum(CONFIG_LINE.match(row) is not None for row in told) >= max(3, 0.5 * len(told)):
        return Kind.CONFIG
    timed = sum(TIMED.match(row[:40]) is not None for row in told)
    if timed > 0.4 * len(told) or any(row.startswith("Linux version ") for row in told[:40]):
        return Kind.CONSOLE
    quoted = sum(row.startswith(">") for row in told)
    progress = sum(PROGRESS.match(row[:200]) is not None for row in told)
    if progress >= max(2, 0.3 * len(told)) and quoted * 10 < len(told):
        return Kind.BUILD_LOG
    return Kind.PAGE


# HTML of a saved page: tags go, their line breaks stay, so that lines keep their numbers.
IS_HTML = re.compile(r"\s*(?:<!DOCTYPE html|<html|<head|<\?xml)", re.I)
HIDDEN = re.compile(r"<(script|style)\b[^<>]{0,500}>[^<]{0,200000}</\1>", re.I)
TAG = re.compile(r"</?[A-Za-z!][^<>]{0,4000}>")
ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&#x27;": "'", "&nbsp;": " ", "&amp;": "&"}


def without_tags(text: str) -> str:
    """Return the text of an HTML page. An "<address@host>" that was not escaped is no tag and stays."""
    for pattern in (HIDDEN, TAG):
        text = pattern.sub(lambda found: "\n" * found[0].count("\n"), text)
    for entity, character in ENTITIES.items():
        text = text.replace(entity, character)
    return text


def document(file: str, text: str, part: str = "", message: int = 0) -> Document:
    """Return one document of a text that is no mail."""
    if IS_HTML.match(text[:400]):
        text = without_tags(text)
    lines, left_out = lines_of(text)
    kind = kind_of([line.text for line in lines[:SNIFF_LINES]])
    data = text.encode("utf-8", "replace") if kind in LOGS else b""
    return Document(file=file, kind=kind, lines=lines, part=part, data=data, message=message, left_out=left_out)
