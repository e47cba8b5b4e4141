"""TRIM_UNUSED_KSYMS as it was done from 4.7 to 6.4: a list of used symbols, one dependency file a symbol, and make run again.

adjust_autoksyms.sh writes the new list (autoksyms.h.tmpnew), touches the dependency file of every symbol that came or went,
moves the list into place and starts make again. make rebuilds an object only if a dependency file is *newer*; with
times of one second an object made in that same second stays as it is, without its exports.
Source: scripts/adjust_autoksyms.sh; 23121ca2b56b (4.7), guard 825d48758308 (4.17), removed by 5e9e95cc9148 (6.5).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lab.evidence.commands import KSYM_FOLDERS, Command
from lab.evidence.mtimes import tick
from lab.evidence.objects import ObjectFacts
from lab.evidence.text import cut_off, numbered_lines
from lab.evidence.writes import Write

LIST = "include/generated/autoksyms.h"
NEW_LIST = LIST + ".tmpnew"
SCRIPT = "scripts/adjust_autoksyms.sh"

_GUARD = re.compile(r"^[^#\n]*\b(?:while|until)\b[^#\n]*-nt\s+[\"']?\$\{?new_ksyms_file\b", re.M)
_COMPILED = re.compile(rb"(?:^|\s)(?:CC|AS)(?: \[M\])?\s+([\w./+-]+\.o)\b")
_COMPILER = re.compile(rb"\s-o ([\w./+-]+\.o)\b")  # of V=1, in a line that has " -c "
# Host programs outside of scripts/ and tools/ are removed by `make clean`; scripts/basic/fixdep by mrproper. Source: Makefile.
_CLEANED = re.compile(
    rb"(?:^|\s)HOSTCC\s+(?:scripts/basic/fixdep|(?!scripts/|tools/|/)\S+/)|(?:^|\s)CLEAN\s+\S"
    rb"|\s-o (?:scripts/basic/fixdep|usr/gen_init_cpio|lib/gen_crc32table|arch/\w+/tools/\w+)\s"
)
# 5.10 says so; 4.14 makes an empty list without a word (touch)
_LISTED = re.compile(
    rb"(?:^|\s)GEN\s+include/generated/autoksyms\.h|gen_autoksyms\.sh\s+include/generated/autoksyms\.h\s*$"
)
_TOUCH = re.compile(r"^[^#\n]*\btouch\b", re.M)


class StaleExport(NamedTuple):
    """An object whose exports contradict the list.

    missing, superfluous: symbols; dependency: the dependency file of the first of them, "" if unknown. times: mtimes in ns,
    None if unknown. hidden: make cannot see that the object must be made again, its dependency file not being newer.
    """

    object: str
    missing: tuple[str, ...]
    superfluous: tuple[str, ...]
    dependency: str
    object_time_ns: int | None
    dependency_time_ns: int | None
    hidden: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """The dependency file of one symbol in one round. times: when seen, ns. count: how often it was written."""

    path: str
    first_ns: int
    last_ns: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One run of adjust_autoksyms.sh that touched something. list_ns: the new list was complete. All times as seen, ns."""

    list_ns: int
    touches: tuple[Touch, ...]


class Start(NamedTuple):
    """What a build log shows before the first summary of adjust_autoksyms.sh.

    compiled: objects. cleaned: `make clean` ran, or host programs that it removes were made. listed: the list was made anew.
    """

    compiled: frozenset[str]
    cleaned: bool
    listed: bool


def read_list(path: Path | None) -> frozenset[str] | None:
    """Return the symbols that autoksyms.h lists, None if there is no such file, or only the beginning of it."""
    if path is None or cut_off(path):
        return None
    prefix, found = b"#define __KSYM_", set()
    for _, line in numbered_lines(path):
        if line.startswith(prefix):
            found.add(line[len(prefix) :].split(b" ")[0].decode("utf-8", "surrogateescape"))
    return frozenset(found)


def start_of(path: Path | None, at: int) -> Start:
    """Read a build log up to the line `at`, of V=0 or V=1."""
    compiled: set[str] = set()
    cleaned = listed = False
    for number, line in numbered_lines(path):
        if number >= at:
            break
        if match := _COMPILED.search(line) or (_COMPILER.search(line) if b" -c " in line else None):
            name = match[1].decode("ascii").replace("/.tmp_", "/")  # genksyms: .tmp_X.o becomes X.o
            compiled.add(name.removeprefix("./"))
        cleaned = cleaned or _CLEANED.search(line) is not None
        listed = listed or _LISTED.search(line) is not None
    return Start(frozenset(compiled), cleaned, listed)


def has_guard(script: str) -> bool:
    """Whether adjust_autoksyms.sh touches a dependency file until it is newer than the new list (825d48758308)."""
    return _GUARD.search(script) is not None


def touch_line(script: str) -> int:
    """Return the line (from 1) that touches the dependency file, 0 if there is none."""
    match = _TOUCH.search(script)
    return script.count("\n", 0, match.end()) + 1 if match else 0


def dependency_names(symbol: str) -> tuple[str, ...]:
    """Return the names that the symbol's dependency file may have, over the versions.

    Since 5.16 or so include/ksym/__put_user_4; before, put/user/4.h: lower case, "/" for "_" (runs of "/" are one: paths here
    are normalised).
    """
    slashed = re.sub("/+", "/", symbol.lower().replace("_", "/")).strip("/")
    return tuple(folder + name for folder in KSYM_FOLDERS for name in (symbol, f"{slashed}.h"))


def dependency_of(symbol: str, files: Container[str]) -> str:
    """Return which of the given files is the dependency file of the symbol, "" if none is."""
    return next((name for name in dependency_names(symbol) if name in files), "")


def exporters_by_dependency(commands: Iterable[Command]) -> dict[str, list[str]]:
    """Return dependency file -> objects that must be made again when it is newer."""
    objects: dict[str, list[str]] = {}
    for command in commands:
        for name in command.ksyms:
            objects.setdefault(name, []).append(command.target)
    return objects


def stale_exports(
    commands: Iterable[Command],
    objects: Mapping[str, ObjectFacts],
    listed: frozenset[str] | None,
    times: Mapping[str, int],
    granularity_ns: int,
) -> tuple[StaleExport, ...]:
    """Return the objects whose exports (`__ksymtab_S`) are not those of their markers that the list has; sorted by path.

    Judged are objects whose .cmd names dependency files. Before 5.1 there are no markers: there, a symbol could be exported if
    the object defines it and its dependency file is named.
    """
    if listed is None:
        return ()
    found = []
    for command in commands:
        facts = objects.get(command.target)
        if not command.ksyms or facts is None or facts.unreadable:
            continue
        could = facts.markers or tuple(s for s in facts.defines if dependency_of(s, command.ksyms))
        wanted, has = listed.intersection(could), set(facts.ksymtab)
        missing, superfluous = tuple(sorted(wanted - has)), tuple(sorted(has - listed))
        if missing or superfluous:
            found.append(_stale(command, missing, superfluous, times, granularity_ns))
    return tuple(sorted(found))


def _stale(
    command: Command,
    missing: tuple[str, ...],
    superfluous: tuple[str, ...],
    times: Mapping[str, int],
    granularity_ns: int,
) -> StaleExport:
    dependency = next((d for s in (*missing, *superfluous) if (d := dependency_of(s, command.ksyms))), "")
    mine, its = times.get(command.target), times.get(dependency)
    hidden = mine is None or its is None or tick(its, granularity_ns) <= tick(mine, granularity_ns)
    return StaleExport(command.target, missing, superfluous, dependency, mine, its, hidden)


def rounds(writes: Iterable[Write]) -> tuple[Round, ...]:
    """Return the rounds of adjust_autoksyms.sh that the record of writes shows, in order; only those that touched a file."""
    found: list[Round] = []
    list_ns: int | None = None
    touched: dict[str, list[int]] = {}
    for event in writes:
        if (event.path == NEW_LIST and "C" in event.letters) or (event.path == LIST and "M" in event.letters):
            _close(found, list_ns, touched)
            list_ns, touched = (event.time_ns if event.path == NEW_LIST else None), {}
        elif event.path == NEW_LIST and "W" in event.letters and not touched:
            list_ns = event.time_ns
        elif list_ns is not None and event.path.startswith(KSYM_FOLDERS):
            if event.letters == "C" and event.path not in touched:
                continue  # created, its times are set by the event that follows
            touched.setdefault(event.path, []).append(event.time_ns)
    _close(found, list_ns, touched)
    return tuple(found)


def _close(found: list[Round], list_ns: int | None, touched: Mapping[str, list[int]]) -> None:
    if list_ns is not None and touched:
        touches = (Touch(path=p, first_ns=t[0], last_ns=t[-1], count=len(t)) for p, t in touched.items())
        found.append(Round(list_ns=list_ns, touches=tuple(touches)))


def waited(round_: Round, granularity_ns: int) -> bool:
    """Whether the round shows a guard at work: a file touched again and again until it was in a later tick than the list."""
    last = tick(round_.list_ns, granularity_ns)
    return any(touch.count > 2 for touch in round_.touches) and all(
        tick(touch.last_ns, granularity_ns) > last for touch in round_.touches
    )
