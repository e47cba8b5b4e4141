"""Mails: header fields, the parts of a body, their encodings. Lines keep their numbers in the file wherever they have one.

The standard library's parser forgets where a line stood, and recurses as deep as a stranger's boundaries nest; so
parts are split
here, and only fields and encodings are left to it. Source: RFC 5322, 2045 to 2047, 3676; mbox: RFC 4155.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Sequence
from email.errors import MessageError
from email.header import decode_header
from email.message import Message

from lab.repro.facts import Line
from lab.repro.intake import (
    GZIP,
    LINE_MAX,
    LINES_MAX,
    Budget,
    Document,
    Header,
    Kind,
    as_text,
    decoded,
    document,
    unpacked,
    without_tags,
)

DEPTH_MAX = 8
ROWS_MAX = 400_000
FIELD_MAX = 4000
FIELDS_MAX = 400
FROM_LINE = re.compile(rb"From \S{1,200} {1,3}[A-Z][a-z]{2} [A-Z][a-z]{2} +\d")
FIELD = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]{0,60}):[ \t]*(.*)")
Numbered = tuple[int, bytes]  # line of the file, from 1, and its bytes without newline


def mbox(file: str, data: bytes, budget: Budget) -> Iterator[Document]:
    """Yield the documents of every mail of an mbox, in order."""
    rows = rows_of(data, budget, file)
    starts = [
        index
        for index, row in enumerate(rows)
        if FROM_LINE.match(row[:300]) and index + 1 < len(rows) and FIELD.match(rows[index + 1][:200])
    ][: budget.parts]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(rows)], strict=True), start=1):
        body = [row[1:] if row[:6] == b">From " else row for row in rows[start + 1 : end]]
        yield from message(file, body, start + 2, budget, number=number)


def rows_of(data: bytes, budget: Budget, file: str) -> list[bytes]:
    """Return the lines of a mail's or mbox' bytes, at most ROWS_MAX."""
    rows = data.split(b"\n", ROWS_MAX)
    if len(rows) > ROWS_MAX:
        budget.told.append(f"{file}: what follows line {ROWS_MAX}")
    return rows[:ROWS_MAX]


def message(
    file: str, rows: Sequence[bytes], first: int, budget: Budget, *, number: int, part: str = "", depth: int = 0
) -> Iterator[Document]:
    """Yield the documents of one mail. first: the number of its first line. number: which mail it is, from 1."""
    numbered = [(first + index, row.rstrip(b"\r")) for index, row in enumerate(rows)]
    headers, body = header_of(numbered)
    found = list(_parts(file, headers, body, budget, number, part, depth))
    texts = [one for one in found if one.kind is Kind.MAIL]
    if not texts:
        texts = [Document(file=file, kind=Kind.MAIL, part=part, message=number)]
    main = texts[0]
    yield Document(
        file=file, kind=Kind.MAIL, lines=main.lines, headers=headers, part=main.part, message=number, flowed=main.flowed,
        left_out=main.left_out,
    )  # fmt: skip
    yield from (one for one in found if one is not main)


def header_of(rows: Sequence[Numbered]) -> tuple[tuple[Header, ...], Sequence[Numbered]]:
    """Return the fields of a header and the lines behind it. What is no field is passed over."""
    fields: list[tuple[str, bytes, int]] = []
    end = len(rows)
    for index, (at, row) in enumerate(rows):
        if not row.strip():
            end = index + 1
            break
        if row[:1] in b" \t" and fields:
            name, value, start = fields[-1]
            fields[-1] = (name, (value + b" " + row.strip())[:FIELD_MAX], start)
        elif (match := FIELD.match(row[:FIELD_MAX])) and len(fields) < FIELDS_MAX:
            fields.append((match[1].decode("ascii").lower(), match[2], at))
    return tuple(Header(name=name, value=words(value), at=at) for name, value, at in fields), rows[end:]


def words(value: bytes) -> str:
    """Return a field's value with its encoded words (RFC 2047) decoded; as it is where that fails."""
    text = value.decode("utf-8", "replace")
    if "=?" not in text:
        return text
    try:
        pieces = decode_header(text)
    except (MessageError, ValueError):
        return text
    return "".join(one if isinstance(one, str) else as_text(one, charset or "utf-8") for one, charset in pieces)


def _parts(
    file: str, headers: Sequence[Header], rows: Sequence[Numbered], budget: Budget, number: int, part: str, depth: int
) -> Iterator[Document]:
    """Yield the documents of a body. Its texts are of kind MAIL."""
    known = _Content(headers)
    if budget.parts <= 0 or depth > DEPTH_MAX:
        budget.told.append(f"{file}: parts of mail {number} beyond a depth of {DEPTH_MAX} or too many of them")
        return
    budget.parts -= 1
    if known.boundary and known.type.startswith("multipart/"):
        inner = list(_split(rows, known.boundary))
        if not inner:  # a boundary that never comes: what is there is text
            yield _text(file, rows, known, number, part, budget)
            return
        found: list[Document] = []
        for one in inner:
            fields, body = header_of(one)
            found += _parts(file, fields, body, budget, number, part, depth + 1)
        yield from _chosen(found) if known.type == "multipart/alternative" else found
    elif known.type == "message/rfc822":
        first = rows[0][0] if rows else 1
        yield from message(file, [row for _, row in rows], first, budget, number=number, part=part, depth=depth + 1)
    elif known.type in ("text/plain", "text/html", "") and not known.name:
        yield _text(file, rows, known, number, part, budget)
    else:
        yield from _attachment(file, rows, known, number, budget)


class _Content:
    """What a part's header says of it. Nothing of it is believed."""

    def __init__(self, headers: Sequence[Header]) -> None:
        fields = Message()
        for name in ("content-type", "content-transfer-encoding", "content-disposition"):
            value = next((one.value for one in headers if one.name == name), "")
            if value:
                fields[name] = " ".join(value[:FIELD_MAX].split())
        self.type = fields.get_content_type().lower() if fields["content-type"] else "text/plain"
        self.encoding = str(fields["content-transfer-encoding"] or "").strip().lower()[:40]
        self.boundary = self._parameter(fields, "boundary")[:200].rstrip().encode("utf-8", "replace")
        self.charset = self._parameter(fields, "charset")[:40] or "utf-8"
        self.flowed = self._parameter(fields, "format").lower() == "flowed"
        attached = str(fields["content-disposition"] or "").lower().startswith("attachment")
        name = self._parameter(fields, "filename", "content-disposition") or self._parameter(fields, "name")
        self.name = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in name[:80])
        self.name = self.name or ("attachment" if attached else "")

    @staticmethod
    def _parameter(fields: Message, name: str, header: str = "content-type") -> str:
        try:
            value = fields.get_param(name, "", header)
        except (ValueError, LookupError, TypeError):
            return ""
        if isinstance(value, tuple):  # RFC 2231: charset, language, value
            value = value[2]
        return str(value or "")


def _split(rows: Sequence[Numbered], boundary: bytes) -> Iterator[Sequence[Numbered]]:
    """Yield the lines of each part between a multipart's boundaries."""
    start = -1
    for index, (_, row) in enumerate(rows):
        if not row.startswith(b"--" + boundary):
            continue
        rest = row[2 + len(boundary) :].strip()
        if rest not in (b"", b"--"):
            continue
        if start >= 0:
            yield rows[start:index]
        start = index + 1 if not rest else -1
        if rest:
            return
    if start >= 0:
        yield rows[start:]


def _chosen(found: Sequence[Document]) -> Iterator[Document]:
    """Yield one of the alternatives: the first text, which senders put before HTML, and whatever is no text."""
    texts = [one for one in found if one.kind is Kind.MAIL]
    best = next((one for one in texts if any(line.text.strip() for line in one.lines)), None)
    yield from (one for one in found if one is best or one.kind is not Kind.MAIL)


def _text(file: str, rows: Sequence[Numbered], known: _Content, number: int, part: str, budget: Budget) -> Document:
    if known.encoding == "base64":
        data = budget.take(_base64(rows), f"{file}, mail {number}")
        text = decoded(as_text(data, known.charset).encode()) or ""
        numbered = list(enumerate(text.split("\n", LINES_MAX), start=1))
        part = part or f"mail {number}, decoded"
    elif known.encoding == "quoted-printable":
        numbered = [(at, as_text(row, known.charset).replace("\0", "\ufffd")) for at, row in _quoted_printable(rows)]
    else:
        numbered = [(at, as_text(row, known.charset).replace("\0", "\ufffd")) for at, row in rows]
    if known.type == "text/html":
        joined = without_tags("\n".join(row for _, row in numbered)).split("\n")
        numbered = [(at, row) for (at, _), row in zip(numbered, joined, strict=False)]
    left_out = f"{len(numbered) - LINES_MAX} lines" if len(numbered) > LINES_MAX else ""
    lines = tuple(Line(text=row[:LINE_MAX], at=at) for at, row in numbered[:LINES_MAX])
    return Document(
        file=file, kind=Kind.MAIL, lines=lines, part=part, message=number, flowed=known.flowed, left_out=left_out
    )


def _attachment(
    file: str, rows: Sequence[Numbered], known: _Content, number: int, budget: Budget
) -> Iterator[Document]:
    """Yield an attachment as the file that it is."""
    name = known.name or known.type
    what = f"attachment {name}"
    plain = known.encoding not in ("base64", "quoted-printable")
    if known.encoding == "base64":
        data = _base64(rows)
    elif known.encoding == "quoted-printable":
        data = b"\n".join(row for _, row in _quoted_printable(rows))
    else:
        data = b"\n".join(row for _, row in rows)
    data = budget.take(data, f"{file}, {what}")
    if data.startswith(GZIP):
        inner, plain = unpacked(data, budget, f"{file}, {what}"), False
        if inner is None:
            yield Document(file=file, kind=Kind.BINARY, part=what, left_out="cannot be unpacked", message=number)
            return
        data = inner
    text = decoded(as_text(data, known.charset).encode())
    if text is None:
        yield Document(file=file, kind=Kind.BINARY, part=what, left_out="no text", message=number)
        return
    one = document(file, text, what, number)
    if plain and rows:  # its lines are lines of the file
        shift = rows[0][0] - 1
        lines = tuple(Line(text=line.text, at=line.at + shift) for line in one.lines)
        one = Document(
            file=file, kind=one.kind, lines=lines, data=one.data, message=number, left_out=one.left_out, part=""
        )
    yield one


def _base64(rows: Sequence[Numbered]) -> bytes:
    try:
        return binascii.a2b_base64(b"".join(row for _, row in rows))
    except binascii.Error:
        return b""


def _quoted_printable(rows: Sequence[Numbered]) -> Iterator[Numbered]:
    """Yield decoded lines; one that was broken softly has the number of its first piece."""
    at, pieces = 0, b""
    for number, row in rows:
        soft = row.rstrip(b" \t").endswith(b"=")
        text = binascii.a2b_qp(row.rstrip(b" \t")[:-1] if soft else row)
        at, pieces = (at or number), pieces + text
        if not soft or len(pieces) > 1 << 20:
            yield at, pieces
            at, pieces = 0, b""
    if pieces:
        yield at, pieces
