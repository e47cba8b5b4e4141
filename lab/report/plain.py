"""Text of strangers, made harmless: what a log, a file name or a console says is shown, never obeyed."""

from __future__ import annotations

import re

from lab.model import Span

# Colours, cursor movements and hyperlinks that compilers and consoles print: dropped, they carry no words.
ESCAPES = re.compile(r"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]|\x1b\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)")

# C0 and C1 controls but tab and newline; marks that turn, hide or join text (Unicode TR 36, "Trojan Source"); separators
# that some viewers take for newlines; half surrogates, which no UTF-8 stream takes; noncharacters.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ufffe\uffff\U000e0000-\U000e007f]"
)


def plain(text: str) -> str:
    """Return text with escape sequences dropped and everything else that is not plain made visible; tabs are expanded."""
    if text.isascii() and (text.isprintable() or text.replace("\n", "").isprintable()):
        return text  # most of what pages are made of: pages of ten thousand cells have millions of such words
    text = ESCAPES.sub("", text).replace("\r\n", "\n")
    return UNSAFE.sub(visible, text).expandtabs(8)


def visible(found: re.Match[str]) -> str:
    """Return how a character is shown that must not be obeyed: a control picture or its number."""
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<U+{code:04X}>"


def one_line(text: str, *, at_most: int = 600) -> str:
    """Return plain text in one line, cut with an ellipsis at a length in characters."""
    joined = " ".join(plain(text[: 8 * at_most]).split())
    return joined if len(joined) <= at_most and len(text) <= 8 * at_most else joined[: at_most - 1] + "…"


def duration(seconds: float) -> str:
    """Return seconds for people: "3.2 s", "42 s", "1 min 42 s", "2 h 05 min"."""
    if not 0 <= seconds < 1e9:
        return "?"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def place(where: Span, folder: str = "") -> str:
    """Return "folder/file:first-last", as editors and greps understand it; "" if there is no file."""
    if not where.file:
        return ""
    file = one_line(f"{folder}/{where.file}" if folder else where.file)
    if where.first <= 0:
        return file
    return f"{file}:{where.first}" if where.last <= where.first else f"{file}:{where.first}-{where.last}"
