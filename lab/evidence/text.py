"""Reading other people's text files without trusting them: bounded size, bounded lines, no symbolic links."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

MAX_LINE_BYTES = 1 << 16
MAX_TEXT_BYTES = 64 << 20


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; OSError for anything else (a link, a pipe, a device: those could block or lead away)."""
    # O_NONBLOCK: a FIFO in a stranger's directory must not stop us before fstat() can tell what it is.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"not a regular file: {path}")
        yield file


def bytes_of(file: BinaryIO, limit: int) -> bytes:
    """Return an open file from its beginning, at most `limit` bytes. Memory is taken for what is there, not for the limit."""
    size = min(os.fstat(file.fileno()).st_size, limit)
    file.seek(0)
    return file.read(size) if size else b""


def text_of(path: Path | None, limit: int = MAX_TEXT_BYTES) -> str | None:
    """Return at most `limit` bytes of the file as text (not UTF-8: surrogates), or None if there is none to read."""
    if path is None:
        return None
    try:
        with opened(path) as file:
            return bytes_of(file, limit).decode("utf-8", "surrogateescape")
    except OSError:
        return None


def numbered_lines(path: Path | None) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line without its newline). A line longer than MAX_LINE_BYTES is cut; no file, no lines."""
    if path is None:
        return
    try:
        with opened(path) as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                complete = line.endswith(b"\n")
                yield number, line.rstrip(b"\r\n")
                while not complete and (rest := file.readline(MAX_LINE_BYTES)):
                    complete = rest.endswith(b"\n")
    except OSError:
        return


def cut_off(path: Path | None) -> bool:
    """Whether a file of lines ends within one: whoever wrote or copied it did not get to its end."""
    try:
        with opened(path) if path is not None else nullcontext() as file:
            if file is None or not file.seek(0, os.SEEK_END):
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False


def clean(text: str) -> str:
    """Return text that can be printed and encoded: control characters, stray bytes and terminal escapes become U+FFFD."""
    return "".join("\ufffd" if ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 else c for c in text)


def json_rows(path: Path | None, line_limit: int) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a .jsonl file. Lines that are not one, or longer than `line_limit` bytes, are passed over."""
    if path is None:
        return
    try:
        with opened(path) as file:
            while line := file.readline(line_limit):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(row, dict):
                    yield row
    except OSError:
        return
