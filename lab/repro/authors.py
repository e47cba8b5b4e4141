"""Who wrote which line: attributions ("On …, NAME wrote:"), headers of forwarded mails, the header at the top."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lab.repro import dates
from lab.repro.facts import Line
from lab.repro.people import name_of, person

WROTE = re.compile(
    rf"(?:> )?(?:On|At|Le|Am) (?P<date>(?:\w{{2,9}},? )?{dates.DATE}(?: \([A-Z]{{2,5}}\))?),?(?: at \S{{1,12}}(?: [AP]M)?)?,? "
    r"(?P<name>[^\n]{1,120}?)\s+(?:wrote|writes|said|a écrit|schrieb) ?:\s*$"
)
WROTE_AT = re.compile(r"\((?P<date>\d{4}/\d\d/\d\d) \d{1,2}:\d\d\), (?P<name>[^\n]{2,80}?) wrote:\s*$")
WROTE_BARE = re.compile(r"(?P<name>[A-Z\"'][^\n:]{1,100}?)(?: \([\d/-]{6,12}\))? (?:wrote|writes|said):\s*$")
FROM_DATE = re.compile(rf"From: (?P<name>[^\n]{{1,160}}?)\s+(?:Date|Sent): (?P<date>{dates.DATE})\s*$")
COMMENTED = re.compile(  # GitHub, Bugzilla, Launchpad, Debian
    rf"@?(?P<name>[\w][\w .-]{{0,40}}?) (?:commented|opened this issue|wrote)(?: on)? (?P<date>{dates.DATE})"
    rf"|(?:Comment|Description) (?:#?\d{{1,4}} )?(?P<who>[\w][\w .'-]{{1,50}}?) (?P<day>{dates.DATE})"
    rf"|@?(?P<one>[\w][\w.-]{{0,40}}) (?:[·•|–—] (?:[a-z]{{2,20}} [·•|–—] )?)(?P<when>{dates.DATE})\s*$"
)
FORWARDED = re.compile(
    r"-{2,14} ?(?:Original|Forwarded) [Mm]essage ?(?:from .{1,80}? )?-{2,14}|Begin forwarded message:|-{5,} Forwarded"
)
FIELD = re.compile(
    r"[ *•-]{0,3}\**(?P<name>From|Subject|Date|Sent|To|CC|Cc|Message-ID|Reply-To|Organization)\**:\**\s+(?P<value>.*)"
)
FIELDS_NEAR = 14  # lines within which a forwarded mail's header begins and ends


@dataclass(frozen=True, slots=True)
class Voice:
    """Somebody's words begin: name ("" if not said), ISO date ("" if not said), and from which line, at which level.

    forwarded: a whole mail begins there, with its header.
    """

    name: str
    date: str
    line: int  # index
    level: int
    forwarded: bool = False
    said: int = 0  # index of the line that says it


def voices(lines: Sequence[Line]) -> Iterator[Voice]:
    """Yield every place where the text says whose words follow, in order."""
    index = 0
    while index < len(lines):
        found = _voice(lines, index)
        if found:
            voice, used = found
            yield voice
            index += used
        else:
            index += 1


def attributed(lines: Sequence[Line], author: str) -> tuple[Line, ...]:
    """Return the lines with their writers. author: of what is not quoted, "" if not known."""
    known: dict[int, str] = {0: author}
    coming = list(voices(lines))
    told: list[Line] = []
    next_one = 0
    for index, line in enumerate(lines):
        while next_one < len(coming) and coming[next_one].line <= index:
            voice = coming[next_one]
            known = {level: name for level, name in known.items() if level < voice.level} | {voice.level: voice.name}
            next_one += 1
        told += _signed_off(replace(line, by=known.get(line.level, "")), author)
    return tuple(told)


def _signed_off(line: Line, author: str) -> Iterator[Line]:
    """Yield a quoted line, and apart from it what was written below a signature that a page ran together with it."""
    first = line.by.split(" ")[0] if line.level and line.by else ""
    if not first or not re.match(re.escape(first) + r" [A-Z]\w* \w", line.text[:120]):
        yield line
        return
    yield replace(line, text=first)
    skip = len(first) + 1
    yield replace(line, text=line.text[skip:], column=line.column + skip, level=0, by=author, uncertain=True)


def _voice(lines: Sequence[Line], index: int) -> tuple[Voice, int] | None:
    """Return whose words begin after a line, and how many lines said so."""
    line = lines[index]
    head = line.text[:400]
    if FORWARDED.match(head.strip()):
        return _forwarded(lines, index)
    for more in (0, 1, 2):
        if index + more >= len(lines) or lines[index + more].level != line.level:
            break
        text = " ".join(one.text.strip() for one in lines[index : index + more + 1])[:400]
        if found := (
            WROTE.match(text)
            or WROTE_AT.match(text)
            or FROM_DATE.match(text)
            or (WROTE_BARE.match(text) if more == 0 else None)
        ):
            deeper = _next_level(lines, index + more + 1)
            if deeper <= line.level:
                return None
            name = name_of(
                person(re.sub(r"^.*? - ", "", found["name"]) if found["name"].startswith("- ") else found["name"])
            )
            date = dates.iso(found.groupdict().get("date") or "")
            return Voice(name, date, index + more + 1, line.level + 1, said=index), more + 1
        if not re.match(r"(?:On|At|Le|Am|From:) ", head):
            break
    if found := COMMENTED.match(head):
        name, date = found["name"] or found["who"] or found["one"], found["date"] or found["day"] or found["when"]
        return Voice(name, dates.iso(date), index, line.level, said=index), 1
    return None


def _next_level(lines: Sequence[Line], index: int) -> int:
    """Return the level of the next line with text."""
    for line in lines[index : index + 4]:
        if line.text.strip():
            return line.level
    return 0


def _forwarded(lines: Sequence[Line], index: int) -> tuple[Voice, int] | None:
    """Return the writer of a forwarded mail, from the header below its mark."""
    name = date = ""
    level, end = lines[index].level, index + 1
    for offset, line in enumerate(lines[index + 1 : index + 1 + FIELDS_NEAR], start=1):
        found = FIELD.match(line.text[:400])
        if not found and not line.text.strip() and end > index + 1:
            break
        if not found:
            continue
        end = index + offset + 1
        if found["name"] == "From":
            name = name_of(person(found["value"]))
        elif found["name"] in ("Date", "Sent"):
            date = dates.of_header(found["value"])
    return Voice(name, date, index + 1, level, forwarded=True, said=index), 1
