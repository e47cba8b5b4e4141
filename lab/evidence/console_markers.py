"""What our own init says on a console: which module was loaded, loaded twice, unloaded, what a user's program came to.

The contract is at the head of lab/data/boot/init; what an older init says is read as well. Each thing is named before it is
tried, so that a kernel that crashes, hangs or resets in between leaves the culprit's name.

printk does not queue behind what is in a serial port's buffer: a message may be printed into a marker, in its middle or before
its newline. The number of a module tells then which one is meant, and N of K/N what a broken `start` was to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

MARK = "lab-init: "
LOADS_LIMIT = 20_000
"""Of each stage; what comes after is not told."""
_MARKER = re.compile(
    r".*?lab-init: (?:(?P<stage>begin|twice|unload) (?P<begun>\d{1,6})/(?P<of_all>\d{1,6}) (?P<path>\S+)"
    r"|(?P<word>(?:twice-|unload-)?(?:ok|fail|kept)) (?P<ended>\d{1,6})/(?P<all>\d{1,6})(?: (?P<of>\S+))?(?: (?P<error>.*))?"
    r"|run (?P<run>.+)|ran (?P<status>\d{1,3}) (?P<ran>.+)"
    r"|start modules=(?P<modules>\d{1,6})|done ok=(?P<ok>\d{1,6}) fail=(?P<fail>\d{1,6}))"
)

_PRINTED_INTO = re.compile(r"\[ *\d{1,8}\.\d{6}\]")

LOADERS_OWN = (
    "invalid module format", "Exec format error", "ENOEXEC", "Key was rejected", "Required key not available",
    "wrong symbol version", "Unknown symbol in module", "insmod exited",
)  # fmt: skip
"""insmod's errors that no init of a module is the author of, and its death. (busybox words ENOEXEC and ESRCH itself.)"""


class Stage(StrEnum):
    """What init does with a module, as its markers call it."""

    LOAD = "begin"
    TWICE = "twice"
    UNLOAD = "unload"


DOING = {Stage.LOAD: "loading", Stage.TWICE: "loading a second time", Stage.UNLOAD: "unloading"}
_ENDS = {"twice-": Stage.TWICE, "unload-": Stage.UNLOAD}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleLoad:
    """What became of one module of the initramfs in one stage. path: as in O=. at, last: lines of the console.

    outcome: "ok", "fail", "kept" (it could not be unloaded), or "begun" if nothing followed. error: of insmod or rmmod.
    number: init's own, from 1.
    """

    path: str
    at: int
    last: int
    outcome: str
    error: str = ""
    stage: Stage = Stage.LOAD
    number: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRun:
    """What became of a user's program. status: its exit status, None if nothing followed."""

    name: str
    at: int
    last: int
    status: int | None = None


def split(text: str) -> tuple[str, str]:
    """Return a line with a marker up to the kernel's message that was printed into it, and that message, or ""."""
    found = _PRINTED_INTO.search(text, max(0, text.find(MARK)))
    return (text[: found.start()], text[found.start() :]) if found else (text, "")


class Markers:
    """The markers of one console, as they are read. announced, done: as in lab.evidence.console.ConsoleLog."""

    def __init__(self) -> None:
        self.announced: int | None = None
        self.done: tuple[int, int] | None = None
        self.programs: list[ProgramRun] = []
        self._loads: dict[Stage, list[ModuleLoad]] = {stage: [] for stage in Stage}

    def take(self, text: str, at: int) -> bool:
        """Read a line that may hold a marker; return whether it does."""
        marker = _MARKER.match(text) if MARK in text else None
        if marker is None:
            return False
        total = marker["modules"] or marker["of_all"] or marker["all"]
        if total:  # cut off, a number is smaller
            self.announced = max(int(total), self.announced or 0)
        if marker["ok"]:
            self.done = (int(marker["ok"]), int(marker["fail"]))
        elif marker["run"]:
            self._program(marker["run"], at, None)
        elif marker["ran"]:
            self._program(marker["ran"], at, int(marker["status"]))
        elif marker["stage"]:
            self._load(Stage(marker["stage"]), int(marker["begun"]), marker["path"], "begun", "", at)
        elif marker["word"]:
            prefix, _, word = marker["word"].rpartition("-")
            stage = _ENDS.get(f"{prefix}-", Stage.LOAD)
            self._load(stage, int(marker["ended"]), marker["of"] or "", word, (marker["error"] or "").strip(), at)
        return True

    def _load(self, stage: Stage, number: int, path: str, outcome: str, error: str, at: int) -> None:
        loads = self._loads[stage]
        before = loads[-1] if loads and loads[-1].outcome == "begun" and loads[-1].number == number else None
        if outcome == "begun" or before is None:
            before = None
        elif not path.startswith(before.path):
            path = before.path  # cut off
        load = ModuleLoad(path=path, at=at, last=at, outcome=outcome, error=error, stage=stage, number=number)
        if before is not None:
            loads[-1] = replace(load, at=before.at)
        elif path and len(loads) < LOADS_LIMIT:
            loads.append(load)

    def _program(self, name: str, at: int, status: int | None) -> None:
        begun = status is not None and bool(self.programs) and self.programs[-1].status is None
        first = self.programs[-1].at if begun else at
        run = ProgramRun(name=name.strip(), at=first, last=at, status=status)
        if begun:
            self.programs[-1] = run
        elif len(self.programs) < LOADS_LIMIT:
            self.programs.append(run)

    def of(self, stage: Stage) -> tuple[ModuleLoad, ...]:
        """Return what became of each module in a stage, in the console's order."""
        return tuple(self._loads[stage])


def in_order(*stages: Iterable[ModuleLoad]) -> list[ModuleLoad]:
    """Return what was done with modules, by the line where it began."""
    return sorted((load for stage in stages for load in stage), key=lambda load: load.at)
