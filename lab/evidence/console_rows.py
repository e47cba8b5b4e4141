"""What a row of the table of crash reports is (lab.evidence.console_heads), and how titles are written.

Titles are in syzbot's manner, because kernel developers search for those: no number or address that varies from run to run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Category(StrEnum):
    """Kinds of crash; the values end the finding ids (boot.<value>)."""

    PANIC = "panic"
    OOPS = "oops"
    BUG = "bug"
    WARNING = "warning"
    LOCKUP = "lockup"
    LOCKDEP = "lockdep"
    ATOMIC_SLEEP = "atomic-sleep"
    KASAN = "kasan"
    KMSAN = "kmsan"
    KCSAN = "kcsan"
    KFENCE = "kfence"
    UBSAN = "ubsan"
    LEAK = "leak"
    MEMORY = "memory"
    REBOOT = "reboot"
    TEST_PROGRAM = "test-program"


class Where(StrEnum):
    """Where the guilty function is looked for, first choice; the trace is always the second."""

    NAMED = "named"  # the head names it (group f), a helper or not
    HEAD = "head"  # the head names it, and if that is a helper, the trace does
    TRACE = "trace"  # instruction pointer, then call trace
    STACK = "stack"  # call trace only: the instruction pointer is the reporter's
    SLEEP = "sleep"  # the trace below the scheduler's way to sleep
    MAY_SLEEP = "may sleep"  # the trace: who sleeps, also if it is a helper
    LOCK = "lock"  # the first "at: f" that lockdep prints
    HUNG = "hung"  # the trace below the scheduler
    STALL = "stall"  # the handler that was running: the trace up to its system call, work or timer
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of report, told by its first line.

    needle: what that line contains, a fast first test. head: searched in the line without time stamp. title: {f} is the guilty
    function, {1} the first group of head, {d} the group d of detail. detail: looked for in the lines below. without: the title
    if detail is nowhere. innocent: functions that this kind of report never blames, on top of the usual ones.
    """

    needle: str
    head: re.Pattern[str]
    category: Category
    title: str
    where: Where = Where.TRACE
    detail: re.Pattern[str] | None = None
    without: str = ""
    innocent: re.Pattern[str] | None = None


SYMBOL = re.compile(r"([A-Za-z_][\w.$]*)\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?")
SOURCE_LINE = re.compile(r"([\w./-]+\.[chS]):\d+")
LONG_HEX = re.compile(r"(?<![\w.])(?:0x[0-9a-f]+|[0-9a-f]{8,16})(?![\w.])")
NUMBER = re.compile(r"(?<![A-Za-z0-9_])(?<![A-Za-z]-)\d+")  # not of "kmalloc-64"


def normal(text: str) -> str:
    """Return a text without what varies from run to run: offsets, lines, addresses, numbers that are not part of a name."""
    text = SYMBOL.sub(r"\1", text)
    text = SOURCE_LINE.sub(r"\1:LINE", text)
    text = LONG_HEX.sub("ADDR", text)
    return " ".join(NUMBER.sub("NUM", text).removesuffix("...").split())
