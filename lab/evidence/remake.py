"""What a second make did with nothing changed: remake.txt is its log (V=2), remake.json how it ended and what it wrote.

kbuild tells each target that it makes with its reason: "  CC      init/main.o - due to: include/linux/init.h". What a finished
build does every time stands in ALWAYS: seen with linux 5.10, 6.1 and 7.2 on x86_64; of others only their Makefiles were read.
Source: scripts/Kbuild.include, "why - tell why a target got built".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lab.evidence.steps import step_of
from lab.evidence.text import numbered_lines, text_of
from lab.model import StepResult

NAME, LOG = "remake.json", "remake.txt"
MAX_ROWS = 20_000

# tool, target, why it comes every time
ALWAYS: tuple[tuple[str, str, str], ...] = (
    ("CHK", r".*", "filechk compares; it says UPD if the file changed (scripts/Kbuild.include)"),
    ("CALL", r".*", "scripts that only look: checksyscalls.sh, check-atomics.sh (Kbuild)"),
    ("DESCEND", r".*", "the make of tools/ is always asked (tools/scripts/Makefile.include)"),
    ("GEN", r"(?:\./)?Makefile", "outputmakefile is PHONY (Makefile)"),
)
# path, what writes it
ALWAYS_WRITTEN: tuple[tuple[str, str], ...] = (
    (r"Makefile|\.gitignore|source", "outputmakefile"),
    (r"(?:.*/)?\.missing-syscalls\.d", "checksyscalls.sh has the compiler write it"),
    (r"(?:.*/)?\.tmp_[^/]*|.*\.tmp|(?:.*/)?\.[^/]*\.d", "temporary"),
    (r"\.lab-.*|remake\.(?:txt|json)", "the lab's own"),
)

_LINE = re.compile(r"  ([A-Z][A-Z0-9_+-]{0,15})(?: \[[A-Z]{1,3}\])? +(\S*[^\s:])(?: +- due to(:?) (.{1,4000}))?$")
_ALWAYS = tuple((tool, re.compile(target)) for tool, target, _ in ALWAYS)
_WRITTEN = re.compile("|".join(f"(?:{path})" for path, _ in ALWAYS_WRITTEN))
PHONY = "target is PHONY"


class Rebuilt(NamedTuple):
    """A target that was made again. line: of remake.txt, from 1. newer: the inputs that make took for newer. reason: else why.

    Both are empty where the rule tells no reason (scripts/link-vmlinux.sh, tools/).
    """

    line: int
    tool: str
    target: str
    newer: tuple[str, ...] = ()
    reason: str = ""


class Written(NamedTuple):
    """A file whose time is another since. before_ns, after_ns: mtimes, None where there was no such file."""

    path: str
    before_ns: int | None
    after_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What remake.json says. first: how the build ended. again: how the second make did."""

    first: StepResult
    again: StepResult
    written: tuple[Written, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Remake:
    """What a second make did, without what it always does. made: None if only its log is there."""

    made: Made | None
    rebuilt: tuple[Rebuilt, ...]
    written: tuple[Written, ...]


def changed(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[Written, ...]:
    """Return what differs between the times of a tree before and after, by path; at most MAX_ROWS."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return tuple(Written(name, before.get(name), after.get(name)) for name in names[:MAX_ROWS])


def read(made: Path | None, log: Path | None) -> Remake | None:
    """Return what is known of a second make, None if there was none. made: remake.json; log: remake.txt."""
    known = _made(text_of(made))
    if known is None and log is None:
        return None
    written = known.written if known is not None else ()
    return Remake(
        made=known,
        rebuilt=tuple(rebuilt(log)),
        written=tuple(one for one in written if not _WRITTEN.fullmatch(one.path)),
    )


def rebuilt(log: Path | None) -> list[Rebuilt]:
    """Return the targets that a log of make V=2 says were made, but those that always are; at most MAX_ROWS."""
    found: list[Rebuilt] = []
    for number, raw in numbered_lines(log):
        match = _LINE.match(raw.decode("utf-8", "surrogateescape"))
        if match is None or match[4] == PHONY or _is_usual(match[1], match[2]):
            continue
        newer = tuple(match[4].split()) if match[3] else ()
        found.append(Rebuilt(number, match[1], match[2], newer, "" if newer else match[4] or ""))
        if len(found) >= MAX_ROWS:
            break
    return found


def _is_usual(tool: str, target: str) -> bool:
    return any(tool == usual and pattern.fullmatch(target) for usual, pattern in _ALWAYS)


def _made(text: str | None) -> Made | None:
    try:
        value = json.loads(text) if text is not None else None
        if not isinstance(value, dict):
            return None
        rows = value.get("written", [])
        first, again = step_of(value["first"]), step_of(value["again"])
        if first is None or again is None:
            return None
        return Made(first=first, again=again, written=tuple(map(_row, rows[:MAX_ROWS])))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def _row(row: Any) -> Written:
    path, before, after = row if isinstance(row, list) else (row["path"], row["before_ns"], row["after_ns"])
    return Written(str(path), *(None if time is None else int(time) for time in (before, after)))
