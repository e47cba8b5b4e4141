"""Names of files as text that fits on one line of a .tsv: escape() and its inverse.

A path is a str as os.fsdecode() gives it: bytes that are not UTF-8 are lone surrogates U+DC80 … U+DCFF.
"""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[\\\x00-\x1f\x7f\udc80-\udcff\u0085\u2028\u2029]")
_SHORT = {"\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_LONG = {"n": "\n", "t": "\t", "\\": "\\"}
_ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([nt\\]))")


def escape(path: str) -> str:
    r"""Return the path with \\, \n, \t and \xHH for bytes that are not text; has no newline, tab or lone surrogate."""
    return _SPECIAL.sub(_escaped, path)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT:
        return _SHORT[character]
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def unescape(text: str) -> str:
    r"""Return the path that escape() was given. An unknown escape stays as it is: a stranger may have written it."""
    if "\\" not in text:
        return text
    raw = bytearray()
    position = 0
    for match in _ESCAPED.finditer(text):
        raw += text[position : match.start()].encode("utf-8", "surrogateescape")
        raw += bytes([int(match[1], 16)]) if match[1] else _LONG[match[2]].encode()
        position = match.end()
    raw += text[position:].encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "surrogateescape")
