"""Pages that ran the lines of a mail together: where lines began, as far as the text itself tells.

Web archives that are saved as text often keep no line break at all. What quotes, logs, diffs and headers look like is
known, and
each begins a line; prose between them stays one line. Nothing is added and nothing is lost: a line is a stretch of the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lab.repro.facts import Line

LONG_LINE = 250  # characters: mailers wrap before, and what prose they do not wrap has none of these marks in it
FLAT_MEAN = 250  # characters a line, over the whole document
FLAT_MAX = 1 << 20  # of one line; the rest of it is left as it is
COMMAND = re.compile(r"\s*(?:\S*/)?(?:[\w.]+-)*(?:gcc|g\+\+|clang|ld|ar|nm|sh|make|echo|set|if|mkdir|cc1)(?:-[\d.]+)? ")

PATH = r"[\w./+@~-]{1,300}"
# Whole lines of logs, diffs and tags that tell their own end. Each is anchored by words that prose hardly has.
WHOLE = (
    r'(?:ERROR|WARNING): (?:modpost: )?"[^"\s]{1,200}" \[[^\]\s]{1,300}\] undefined!',
    r"make(?:\[\d{1,3}\])?: \*\*\* \[[^\]]{1,400}\] (?:Error \d{1,3}|Killed|Terminated|Segmentation fault|Bus error)",
    r"make(?:\[\d{1,3}\])?: \*\*\* No rule to make target [`'][^']{1,300}'(?:, needed by [`'][^']{1,300}')?\.(?: {1,2}Stop\.)?",
    r"make(?:\[\d{1,3}\])?: \*\*\* Waiting for unfinished jobs\.{2,4}",
    r"make(?:\[\d{1,3}\])?: (?:Entering|Leaving) directory [`'][^']{1,400}'",
    r"Building modules, stage 2\.",
    r"MODPOST (?:\d{1,6} modules(?: \(\d{1,6}\))?|(?:vmlinux|modules|Module)[\w.-]{0,40})",
    rf"Kernel: {PATH} is ready(?: {{1,2}}\(#\d{{1,6}}\))?",
    r"KSYMS {1,3}symbols: before=\d{1,9}, after=\d{1,9}, changed=\d{1,9}",
    r"(?:CC|LD|AS|AR|CPP|HOSTCC|HOSTLD|CHK|UPD|GEN|EXPORTS|OBJCOPY|LTO|VDSO|SYSMAP|SORTTAB|NM|KSYMS?|LINK|CALL|SHIPPED|KLP"
    rf"|XZKERN|RUSTC|LDS|BTF|BTFIDS|LEX|YACC|WRAP|MKREGTABLE|MODINFO)(?: {{1,2}}\[M\])? {{1,8}}{PATH}[./]{PATH}(?: <-{{1,8}})?",
    r"Inconsistent kallsyms data(?= Try| This is a bug| make| >|$)",
    r"This is a bug - please report about it",
    r'Try "?make KALLSYMS_EXTRA_PASS=1"? as a workaround',
    r"[-dl][rwxsStT-]{9}[.+@]? {1,4}\d{1,6} \S{1,60} {1,8}\S{1,60} {1,12}\d{1,15} \d{4}-\d\d-\d\d "
    r"\d\d:\d\d:\d\d\.\d{9} [+-]\d{4} "
    rf"{PATH}",
    r"diff --git [^\s]{1,300} [^\s]{1,300}",
    r"index [0-9a-f]{7,40}\.\.[0-9a-f]{7,40}(?: \d{6})?(?= )",
    r"(?:new file|deleted file|old|new) mode \d{6}",
    r"--- (?:a/[^\s]{1,300}|/dev/null)",
    r"\+\+\+ (?:b/[^\s]{1,300}|/dev/null)",
    r"(?:Signed-off|Reported|Tested|Reviewed|Acked|Suggested|Debugged|Co-developed|Reported-and-tested)-by: "
    r"[^<>\n:]{1,80}<[^<>\s]{1,120}>",
    r"Fixes: [0-9a-f]{8,40} \(\"[^\"]{1,200}\"\)",
    r"(?:Link|Closes): https?://[^\s]{1,300}",
    r"-{2,12} ?(?:>8|8<)(?: ?-{1,40})?",
    r"-{4,12} ?(?:Original|Forwarded) [Mm]essage ?-{4,12}",
)
# Lines whose end is not told: they go on to whatever begins next.
BEGINNINGS = (
    r"(?:ERROR|WARNING|FATAL): modpost: ",
    rf"{PATH}\.k?o: (?:warning|error): objtool: ",
    r"klp-convert: ",
    rf"{PATH}\.(?:c|h|S|rs|lds|dts):\d{{1,7}}:\d{{1,5}}: (?:fatal error|error|warning|note): ",
    r"(?:\S{1,60}-)?ld(?:\.lld|\.bfd|\.gold)?: ",
    r"\[ {0,8}\d{1,6}\.\d{6}\] ",
    r"@@ -\d{1,9}(?:,\d{1,9})? \+\d{1,9}(?:,\d{1,9})? @@",
    r"\(\d{4}/\d\d/\d\d \d{1,2}:\d\d\), [^\n>]{2,60}? wrote:",
    r"On (?:[A-Z][a-z]{2,8},?|\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4},?|\d{1,2}(?:st|nd|rd|th)? [A-Z][a-z]{2,8}) [^\n<>]{2,80}?"
    r"(?:<[^<>\n]{0,80}> )?(?:wrote|writes):",
    r"(?:[A-Z][\w.'-]{1,20} ){1,4}(?:wrote|writes):(?= >)",
)
MARKS = re.compile(rf"(?<!\S)(?:(?P<whole>{'|'.join(WHOLE)})|(?P<begin>{'|'.join(BEGINNINGS)}))")


def is_flat(lines: Sequence[Line]) -> bool:
    """Whether a document's lines were run together."""
    longest = max((len(line.text) for line in lines), default=0)
    if longest < LONG_LINE:
        return False
    told = [len(line.text) for line in lines if line.text.strip()]
    return sum(told) >= FLAT_MEAN * len(told)


def split(line: Line) -> Iterator[Line]:
    """Yield the stretches of a long line that were lines, in order; a short one, or a command, as it is.

    What a quote mark begins is left to lab.repro.quoting.
    """
    if len(line.text) < LONG_LINE or COMMAND.match(line.text[:200]):
        yield line
        return
    at = 0
    for found in MARKS.finditer(line.text[:FLAT_MAX]):
        yield from _stretch(line, at, found.start())
        if found["whole"]:
            yield from _stretch(line, found.start(), found.end())
            at = found.end()
        else:
            at = found.start()
    yield from _stretch(line, at, len(line.text))


def _stretch(line: Line, start: int, end: int) -> Iterator[Line]:
    """Yield the part of a line without the spaces around it, if there is anything else in it."""
    text = line.text[start:end]
    told = text.strip()
    if told:
        yield replace(line, text=told, column=line.column + start + len(text) - len(text.lstrip()))
