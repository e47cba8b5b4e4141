"""Known issues: a YAML file of patterns for signatures, each with its owner, its links and the day until which it is excused.

    version: 1
    issues:
      - name: mcb-tie                      # unique, for people
        finding: timestamps.tie            # shell patterns; at least one of finding, blame, function, title, signature
        blame: drivers/mcb/*
        cells: "*-ext4-128*"               # one or a list; default: all cells
        links: https://…                   # one or a list
        owner: Jane Doe <jane@example.org>
        until: 2027-01-31                  # the last day; without it: until it is removed
        because: fixed in next, not yet in stable

A known issue is shown apart and never dropped. One whose day is over is reported and excuses nothing; one that fits nothing
that was seen in all the nights that are compared is reported as well. Every mistake of a file is told at once, with its place.
"""

from __future__ import annotations

import datetime
import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab import yamltext
from lab.errors import Mistakes
from lab.results.comparison import Difference
from lab.results.signature import Signature
from lab.yamltext import Node, Notes, quoted

PATTERNS = ("finding", "blame", "function", "title")
KEYS = ("name", *PATTERNS, "signature", "cells", "links", "owner", "until", "because")
ISSUES_AT_MOST = 2000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
_KEY = re.compile(r"[0-9a-f]{12}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownIssue:
    """One known issue. patterns: (part of a signature, shell pattern). signature: a key, or "". cells: patterns, () for all.

    until: the last day on which it excuses what fits, None for always. place: "file:line" where it stands.
    """

    name: str
    patterns: tuple[tuple[str, str], ...] = ()
    signature: str = ""
    cells: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    owner: str = ""
    until: datetime.date | None = None
    because: str = ""
    place: str = ""

    def fits(self, cell: str, seen: Signature) -> bool:
        """Whether a fault in a cell is this one."""
        if self.signature and self.signature != seen.key:
            return False
        if self.cells and not any(fnmatch.fnmatchcase(cell, pattern) for pattern in self.cells):
            return False
        parts = {"finding": seen.id, "blame": seen.blame, "function": seen.function, "title": seen.title}
        return all(fnmatch.fnmatchcase(parts[part], pattern) for part, pattern in self.patterns)

    def expired(self, today: datetime.date) -> bool:
        """Whether its day is over."""
        return self.until is not None and today > self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """Differences with the known ones apart. known: by issue, in the order of the file. expired: issues whose day is over, with
    what they would have excused, which is among `rest`. unmatched: issues that fit nothing at all."""

    rest: tuple[Difference, ...]
    known: tuple[tuple[KnownIssue, tuple[Difference, ...]], ...]
    expired: tuple[tuple[KnownIssue, tuple[Difference, ...]], ...]
    unmatched: tuple[KnownIssue, ...]


def sorted_out(
    differences: Sequence[Difference],
    issues: Sequence[KnownIssue],
    today: datetime.date,
    seen: Iterable[tuple[str, Signature]] = (),
) -> Sorted:
    """Return the differences with the known ones apart; each belongs to the first issue in force that fits it.

    seen: (cell, signature) of further nights, so that an issue that only comes now and then is not called unmatched.
    """
    of_issue: dict[str, list[Difference]] = {}
    late: dict[str, list[Difference]] = {}
    rest = []
    for one in differences:
        fitting = [issue for issue in issues if issue.fits(one.cell, one.fault.signature)]
        excusing = next((issue for issue in fitting if not issue.expired(today)), None)
        if excusing is not None:
            of_issue.setdefault(excusing.name, []).append(one)
            continue
        rest.append(one)
        for issue in fitting:
            late.setdefault(issue.name, []).append(one)
    everything = {*seen, *((one.cell, one.fault.signature) for one in differences)}
    return Sorted(
        rest=tuple(rest),
        known=tuple((issue, tuple(of_issue[issue.name])) for issue in issues if issue.name in of_issue),
        expired=tuple((issue, tuple(late.get(issue.name, ()))) for issue in issues if issue.expired(today)),
        unmatched=tuple(issue for issue in issues if not any(issue.fits(cell, key) for cell, key in everything)),
    )


# ------------------------------------------------------------------------------------------------------------ reading


def read(data: bytes, name: str) -> tuple[KnownIssue, ...]:
    """Return the issues of a file. name: as its owner would write it. Raises Mistakes, with all of them."""
    notes = Notes(name)
    text = yamltext.decode(data, notes)
    root = yamltext.parse(text, notes) if text is not None else None
    issues = _issues(root, notes) if root is not None else ()
    yamltext.finish(Mistakes, notes)
    return issues


def _issues(root: Node, notes: Notes) -> tuple[KnownIssue, ...]:
    read_in: dict[str, KnownIssue] = {}
    for node in yamltext.rows(root, "file of known issues", "issues", notes, at_most=ISSUES_AT_MOST):
        issue = _issue(node, notes)
        if issue is not None and issue.name in read_in:
            notes.at(node, f"issue {quoted(issue.name)} is there twice", hint=f"first at {read_in[issue.name].place}")
        elif issue is not None:
            read_in[issue.name] = issue
    return tuple(read_in.values())


def _issue(node: Node, notes: Notes) -> KnownIssue | None:
    found = yamltext.entries(node, "issue", KEYS, notes)
    if found is None:
        return None
    if "name" not in found:
        notes.at(node, "issue lacks 'name'", hint="a short word that people call it by")
        return None
    told: dict[str, str] = {}
    for key in ("name", *PATTERNS, "signature", "owner", "until", "because"):
        if key in found and (written := yamltext.text(found[key][1], key, notes)) is not None:
            told[key] = written
    lists = {key: yamltext.texts(found[key][1], key, notes) or () for key in ("cells", "links") if key in found}
    if "name" in told and not _NAME.fullmatch(told["name"]):
        notes.at(
            found["name"][1], f"name {quoted(told['name'])} must be one word of letters, digits, '.', '_', '+', '-'"
        )
    if "signature" in told and not _KEY.fullmatch(told["signature"]):
        notes.at(found["signature"][1], f"signature {quoted(told['signature'])} must be twelve hex digits")
    if not {"signature", *PATTERNS} & found.keys():
        notes.at(node, "issue fits everything", known=f"at least one of {', '.join((*PATTERNS, 'signature'))}")
    until = _day(found["until"][1], told["until"], notes) if "until" in told else None
    return KnownIssue(
        name=told.get("name", ""),
        patterns=tuple((part, told[part]) for part in PATTERNS if part in told),
        signature=told.get("signature", ""),
        cells=lists.get("cells", ()),
        links=lists.get("links", ()),
        owner=told.get("owner", ""),
        until=until,
        because=told.get("because", ""),
        place=f"{notes.name}:{node.line}",
    )


def _day(node: Node, written: str, notes: Notes) -> datetime.date | None:
    try:
        if not _DATE.fullmatch(written):
            raise ValueError
        return datetime.date.fromisoformat(written)
    except ValueError:
        notes.at(node, f"until must be a day such as 2027-01-31, not {quoted(written)}")
        return None
