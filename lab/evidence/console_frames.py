"""Frames out of the lines of a crash report: call traces, the instruction pointer, the modules, the taint.

Layouts: x86 (64 and 32 bit, with and without addresses in brackets), arm, arm64, riscv, powerpc, s390, mips, loongarch, sparc,
and what scripts/decode_stacktrace.sh or syzkaller's symbolizer made of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

OFFSET = r"\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?"
ADDRESS = r"\[(?:<[^>]*>|[0-9a-f]{8,16})\]"  # powerpc prints stack pointer and address without <>
FRAME = re.compile(
    rf"\s*\(?(?:{ADDRESS}\s*)*(?P<unsure>\? )?(?:{ADDRESS}\s*)?[(<]?(?P<f>[A-Za-z_][\w.$]*){OFFSET}[)>]?"
    r"(?: \[(?P<module>[\w-]+)(?: [0-9a-f]+)?\])?"
)
INLINE = re.compile(
    r"\s*(?:\[<\s*inline\s*>\]\s*(?P<f>[A-Za-z_][\w.]*)|(?:\[<[0-9a-f]+>\] )?(?P<g>[A-Za-z_][\w.]*) \S+:\d+ \[inline\]"
    r"|(?P<h>[A-Za-z_]\w*) \[inline\])"
)
# scripts/decode_stacktrace.sh: "foo (fs/x.c:12 (discriminator 1)) module"
DECODED = re.compile(
    r"\s*(?P<unsure>\? )?(?P<f>[A-Za-z_][\w.$]*) \((?:[\w./+-]+:\d+|\?\?:\?)[^()]*(?:\([^()]*\))?\)"
    r"(?: (?P<module>\w[\w-]*))?\s*$"
)
ARM_FRAME = re.compile(rf"\s*(?:\[<[0-9a-f]+>\] )?\(?(?P<f>[A-Za-z_][\w.$]*)(?:{OFFSET})?\)? from (?:\[<|\(?\w+\+0x)")
POINTER = re.compile(
    r"\s*(?:RIP|EIP|IP|pc|PC|epc|NIP|ERA|era|TPC|Krnl PSW|[RE]IP is|PC is|pc is|IAOQ\[0\]|\[?ERET *\]?)(?: at)?\s*:?\s*"
    r"(?:\[?[0-9a-f]{8,16}(?![0-9a-f])\]?:? ?|[0-9a-f]{4}:)*+"  # a number as a whole: parts of it are parted in 2^n ways
    rf"(?:\[<[^>]*>\]\s*)*[(<]?(?P<f>[A-Za-z_][\w.$]*)(?:{OFFSET}| \([\w./+-]+:\d+)"
)
USER_MODE = re.compile(r"\s*[RE]?IP: 00(?:33|23|2b|73):")
TRACE_START = re.compile(r"\s*(?:Call [Tt]race:|[Bb]acktrace:|stack backtrace:|Call Trace |Trace:)")
TRACE_STOP = re.compile(
    r"\s*(?:(?:Last potentially related|Allocated by task|Freed by task|Allocated:|Freed:|Uninit was (?:created|stored)"
    r"|Object at |The buggy address|Memory state around|Local variable|Bytes \d+-|kfence-#\d+|allocated by task"
    r"|freed by task|Kernel Offset|Showing all locks|Sending NMI|Reported by Kernel|Dumping ftrace"
    r"|Second to last potentially).*|INFO: task .*)"
)
MODULES = re.compile(r"\s*Modules linked in:(?P<modules>.*)")
TAINTED = re.compile(r".*\b(?:Tainted: (?P<flags>[A-Z](?: +[A-Z](?![\w.]))*)|Not tainted)")
COMPILERS = re.compile(
    r"\.(?:constprop|part|isra|cold|llvm|lto_priv|localalias|clone|ipa|old|kcfi|cfi|cfi_jt)\b.*|\.\d+$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One function of a call trace. sure: without the "? " of a frame that the unwinder only guessed."""

    function: str
    module: str = ""
    sure: bool = True


def plain(name: str) -> str:
    """Take off what the compiler added to a function's name: .constprop.0, .part.1, .isra.2, .cold, .llvm.123."""
    return COMPILERS.sub("", name)


def frame(line: str) -> Frame | None:
    """Read a line of a call trace, of any architecture named above; None if it is none."""
    if match := ARM_FRAME.match(line):
        return Frame(function=plain(match["f"]))
    if match := FRAME.match(line) or DECODED.match(line):
        return Frame(function=plain(match["f"]), module=match["module"] or "", sure=not match["unsure"])
    if match := INLINE.match(line):
        return Frame(function=plain(match["f"] or match["g"] or match["h"]))
    return None


def pointer(lines: Iterable[str]) -> Frame | None:
    """Return the function at the instruction pointer of the kernel: the first one that the report names."""
    for line in lines:
        match = POINTER.match(line)
        if match and not USER_MODE.match(line):
            return Frame(function=plain(match["f"]), module=module_of(line))
    return None


def module_of(line: str) -> str:
    """Return the module that a frame's line names, or ""."""
    match = re.search(r"\[(\w[\w-]*)(?: [0-9a-f]+)?\]\)?\s*$", line)  # s390 has both in parentheses
    return match[1] if match and match[1] != "inline" else ""


def traces(lines: Sequence[str]) -> Iterator[list[Frame]]:
    """Yield the call traces of a report in order, each cut where the trace of something else (an allocation) begins."""
    current: list[Frame] = []
    gap = 0
    for line in lines:
        found = frame(line)
        if found:
            current.append(found)
            gap = 0
            continue
        gap += 1
        if current and (TRACE_STOP.match(line) or TRACE_START.match(line) or (gap > 12)):
            yield current
            current, gap = [], 0
    if current:
        yield current
