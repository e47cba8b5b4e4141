"""One file → its documents, and those → lines without quote marks, each with who wrote it."""

from __future__ import annotations

from lab.repro import mime
from lab.repro.intake import GZIP, MBOX, Budget, Document, Kind, decoded, document, is_mail, unpacked


def documents(file: str, data: bytes, budget: Budget | None = None) -> tuple[Document, ...]:
    """Return the documents of one file: a mail's body and attachments, every mail of an mbox, or the file itself.

    file: as its owner calls it. data: at most BYTES_MAX of it are read. Whatever the bytes are, nothing is raised.
    """
    budget = budget or Budget()
    data = budget.take(data, file)
    if data.startswith(GZIP):
        inner = unpacked(data, budget, file)
        if inner is None:
            return (Document(file=file, kind=Kind.BINARY, left_out="a gzip file that cannot be unpacked"),)
        data = inner
    text = decoded(data)
    if text is None:
        return (Document(file=file, kind=Kind.BINARY, left_out=f"no text ({len(data)} bytes)"),)
    rows = text[: 1 << 20].split("\n")
    if MBOX.match(rows[0]) and is_mail(rows[1:]):
        return tuple(mime.mbox(file, data, budget))
    if is_mail(rows):
        return tuple(mime.message(file, mime.rows_of(data, budget, file), 1, budget, number=1))
    return (document(file, text),)
