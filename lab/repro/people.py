"""Names and addresses as people and archives write them: plain, "at", masked."""

from __future__ import annotations

import re

AT = r"(?:@| at | \(at\) | \[at\] |\(at\)|\[at\]| \(\) )"
HOST = r"[\w-]{1,60}(?:(?:\.| ! | dot | \[dot\] )[\w-]{1,60}){0,6}"
ADDRESS = rf"[\w.+%~=-]{{1,80}}{AT}{HOST}"
BARE = re.compile(rf"(?<![\w.]){ADDRESS}(?![\w@])")
ANGLED = re.compile(r"<([^<>\n]{0,120})>")
MASKED = re.compile(r"x{4,}|\.\.\.|\u2026", re.I)


def address_of(text: str) -> str:
    """Return an address with its "at" put right, "" if there is none or an archive has masked it."""
    text = text.strip()
    if not text or MASKED.search(text):
        return ""
    text = re.sub(r" at | ?[\[(]at[\])] ?| \(\) ", "@", text, count=1) if "@" not in text else text
    text = re.sub(r" ! | dot | \[dot\] ", ".", text)
    return text if re.fullmatch(r"[\w.+%~=-]{1,80}@[\w.-]{1,120}", text) else ""


def person(text: str) -> str:
    """Return "Name <address>", or what there is of the two, "" for neither. A masked address is none."""
    text = " ".join(text[:300].split())
    angled = ANGLED.search(text)
    found = angled or BARE.search(text)
    address = address_of(angled[1] if angled else found[0]) if found else ""
    name = text[: found.start()] if found else text
    if found and not name.strip(" \"'"):  # "someone@example.org (Some One)"
        name = text[found.end() :].strip(" ()")
    name = re.sub(r"[\[(][^\])]{0,80}[\])]|,? via .*$|\S*(?:@| at$).*$", "", name).strip(" ,.;:-'\"()")
    return f"{name} <{address}>" if name and address else name or address


def name_of(someone: str) -> str:
    """Return the name in "Name <address>", or the address alone if that is all there is."""
    return someone.partition(" <")[0]
