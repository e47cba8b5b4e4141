"""Which function a crash report blames.

The top of a call trace is the reporter (dump_stack, kasan_report), then the helper that was misused (memcpy, kfree,
_raw_spin_lock), then the function that misused it: that one is the guilty one. lab.evidence.console_families says who is what.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from lab.evidence.console_families import (
    ANCHORS,
    CONTRACTS,
    ENTRY,
    HELPERS,
    LOCKS,
    REPORTERS,
    SCHEDULER,
    SLEEPERS,
    STALL_NOISE,
    SYSCALL_ENTRY,
)
from lab.evidence.console_frames import OFFSET, Frame, plain, pointer, traces
from lab.evidence.console_rows import Category, Row, Where

AT = re.compile(rf".*(?:, at:|\bat:) (?:\[<[^>]*>\] ?)*(?P<f>[A-Za-z_][\w.$]*){OFFSET}")
AT_NEXT = re.compile(rf"\s*(?:\[<[^>]*>\] ?)+(?P<f>[A-Za-z_][\w.$]*){OFFSET}")
SMP_CALL = re.compile(r"smp_call_function(?!\w*_interrupt$)")
AWAITED = re.compile(r"_*(?:(?P<lock>rtnl_lock\w*)|synchronize_(?:s?rcu|net|sched)\w*)$")
SYSCALL = re.compile(r"(?:__(?:x64|ia32|arm64|riscv|s390x?|se|do)_)?(?:SyS|SYSC|sys|ksys|compat_sys)_\w+$")


def guilty(row: Row, head_function: str, lines: Sequence[str]) -> Frame | None:
    """Return the frame to blame, or None if the report does not name one (damaged, cut)."""
    if row.where is Where.NONE:
        return None
    found = list(traces(lines[1:]))
    contract = row.category is Category.WARNING
    head_function = plain(head_function)
    if row.where is Where.NAMED and head_function:
        return Frame(function=head_function)
    if row.where is Where.HEAD and head_function and not skipped(head_function, contract=contract):
        return Frame(function=head_function)
    at = _first_at(lines) if row.where is Where.LOCK else None
    if at and not (LOCKS.match(at.function) or ENTRY.match(at.function)):
        return at
    if row.where in (Where.HUNG, Where.STALL):
        return _hung(found) if row.where is Where.HUNG else _stalled(lines, found)
    if row.where is Where.TRACE and (here := pointer(lines)) and not skipped(here.function):
        return here
    for sure in (True, False):
        if one := _first_of(found, row, contract=contract, sure=sure):
            return one
        if head_function and not skipped(head_function, contract=contract):
            return Frame(function=head_function)
    # Naming a helper (memset, __lock_acquire) would blame the innocent; only the function that took a lock is a hint.
    here = at or (_first_at(lines) if row.where is Where.STACK else None) or pointer(lines)
    return here if at or (here and not skipped(here.function)) else None


def _first_of(found: Sequence[list[Frame]], row: Row, *, contract: bool, sure: bool) -> Frame | None:
    """Return the first frame of the traces that may be blamed. sure: only of those that the unwinder did not guess."""
    for trace in found[:2]:
        for one in trace:
            if (one.sure or not sure) and not _innocent(one.function, row, contract=contract):
                return one
    return None


def _innocent(function: str, row: Row, *, contract: bool) -> bool:
    """Whether a report of this kind does not blame a function."""
    if row.innocent and row.innocent.match(function):
        return True
    if row.where is Where.MAY_SLEEP:  # whoever sleeps is to be named, be it a helper
        return bool(REPORTERS.match(function) or SLEEPERS.match(function) or ENTRY.match(function))
    asleep = row.where is Where.SLEEP and SCHEDULER.match(function)
    return bool(asleep) or skipped(function, contract=contract)


def skipped(function: str, *, contract: bool = False) -> bool:
    """Whether a function is a reporter, a helper or the way into the kernel, never the guilty one.

    contract: the kernel found a rule broken (a WARN), so that whoever checks rules for its callers is innocent, too.
    """
    if contract and CONTRACTS.match(function):
        return True
    return bool(REPORTERS.match(function) or HELPERS.match(function) or ENTRY.match(function))


def _first_at(lines: Sequence[str]) -> Frame | None:
    """Return the function that lockdep's first "at:" names, on the same line or, of an unlock, on the next one."""
    for number, line in enumerate(lines[1:], start=1):
        if match := AT.match(line):
            return Frame(function=plain(match["f"]))
        if line.rstrip().endswith(" at:") and number + 1 < len(lines) and (match := AT_NEXT.match(lines[number + 1])):
            return Frame(function=plain(match["f"]))
        if line.lstrip().startswith(("stack backtrace", "Call Trace", "Call trace")):
            return None
    return None


def _hung(found: list[list[Frame]]) -> Frame | None:
    for trace in found[:1]:
        for one in trace:  # whoever waits for one of these is a victim: name what it waits for
            if one.sure and (match := AWAITED.match(one.function)):
                return Frame(function="rtnl_lock" if match["lock"] else "synchronize_rcu")
        for one in trace:
            if one.sure and not (
                SCHEDULER.match(one.function) or HELPERS.match(one.function) or ENTRY.match(one.function)
            ):
                return one
    return None


def _stalled(lines: Sequence[str], found: list[list[Frame]]) -> Frame | None:
    """Return the handler that was running: the frame above the first anchor, below the noise of the interrupt."""
    useful = [
        one for trace in found[:2] for one in trace
        if one.sure and not (_noise(one.function) or REPORTERS.match(one.function))
    ]  # fmt: skip
    waiting = next((one for one in useful if SMP_CALL.match(one.function)), None)
    if waiting:  # it waits for another CPU, and that is all that the report can know
        return Frame(function="smp_call_function")
    for above, one in pairwise(useful):
        if ANCHORS.match(one.function) and not (ANCHORS.match(above.function) or skipped(above.function)):
            return above
    for above, one in pairwise(useful):
        if SYSCALL.match(above.function) or SYSCALL_ENTRY.match(one.function):
            return above
    at = pointer(lines)
    if at and not (_noise(at.function) or skipped(at.function)):
        return at
    unskipped = (one for one in useful if not (skipped(one.function) or ANCHORS.match(one.function)))
    return next(unskipped, None) or next(
        (above for above, one in pairwise(useful) if ANCHORS.match(one.function)), None
    )


def _noise(function: str) -> bool:
    return bool(STALL_NOISE.match(function) and not ANCHORS.match(function))
