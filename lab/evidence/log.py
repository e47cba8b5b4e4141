"""Read a kbuild log, once, forwards, in bounded memory: read(path) or read_lines(lines) gives a BuildLog.

A healthy log is a million lines of `  CC      foo.o`; they are told from diagnostics by two substring tests each, and only
what remains is decoded and shown to the recognisers. Two facts carry that: kbuild's progress lines start with two spaces
and a capital, and nearly every diagnostic of every tool contains ": " (the few that do not are short and listed).

Endured: CR, ANSI colours, GCC's UTF-8 quotes, undecodable bytes, lines of a gigabyte, time stamps that a CI puts before
every line, a half-written last line, -j interleaving of whole lines. Not promised: to unscramble characters of two
writers within one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from lab.errors import LabError
from lab.evidence.log_facts import (
    TEXT_LIMIT,
    BtfLine,
    BuildLog,
    CompilerError,
    ConfigLine,
    Fact,
    InfraKind,
    InfraLine,
    KallsymsLine,
    KconfigError,
    KlpLine,
    KsymsSummary,
    LinkerError,
    LinkKind,
    MakeFailure,
    ModpostLine,
    ObjtoolCall,
    ObjtoolLine,
    OrphanSection,
    ToolCrash,
    ToolError,
)
from lab.evidence.log_machine import infra_line
from lab.evidence.log_patterns import COMMAND, IN_FUNCTION, QUOTED_SOURCE, RECOGNISERS, Context
from lab.evidence.log_texts import CALL, objtool_call

CHUNK_BYTES = 1 << 20
LINE_BYTES = 1 << 16
BATCH_LINES = 4096
FACTS_LIMIT = 2000
CALLS_LIMIT = 50_000  # an allmodconfig has half as many objects
RECENT_LINES = 64
EXCERPT_LINES = 30
EXCERPTS = 50

# ------------------------------------------------------------------------------------------------------------ prefilter

NEEDLES = tuple(
    b"rror: |ERROR|FATAL|WARNING: |*** |*** [|modpost|Section mismatch|undefined reference|multiple definition|first defined"
    b"|n function|objtool|o space left|ead-only file|quota exceeded|I/O error|output error|file handle|xhausted|emory|illed"
    b"|bad_alloc|temporarily unavail|uncaught target|Exec format|nsupported syscall|qemu|ot found|No such file|Kconfig|"
    b"odification time|Fehler: |erreur|error fatal: "
    b"|lock skew|bug report|nternal error|ssertion|ymbols: before=|relocation |ld: |.lld|rror (|BTF|FAILED|kallsyms|egmentation"
    b"|Bus error|Illegal instr|Abort|lease install|not supported|Docker|deadline exceeded|Can't |Cannot find|fatal:|overlaps"
    b"|ld-|unable to execute|Dumping|cannot find -l|klp|btfids|nvalid for |unmet direct|orphan section|is being placed in"
    b"|ame resolution|esolve host|unreachable|tion timed out|unknown C compiler|unknown linker|unknown assembler|alloc failed"
    b"|needs cleaning|endpoint is not|memory|signal: 9|discarded section".split(b"|")
)
# of the compilers' warnings, which may be most of a log, only these say more than that
WARNING_NEEDLES = tuple(
    b"objtool|modpost|odification time|lock skew|nvalid for |orphan section|is being placed in|unmet|Kconfig".split(
        b"|"
    )
)
# diagnostics without ": "
PLAIN = re.compile(
    rb"\s*--> |>>> |\*\*\* |Inconsistent kallsyms|No valid symbol|Failed to |FAILED |Killed|Bus error|Segmentation fault"
    rb"|Illegal instr|Aborted|Unsupported|PLEASE submit|Can't |Cannot |Traceback |Symbol |Value requested for |Out of memory"
    rb"|Read error or end|gold linker |Encountered error|\x1b\["
)
PLAIN_BYTES = 256


def interesting(line: bytes) -> bool:
    """Whether a line may be a diagnostic; wrong only on the side of yes."""
    if line[:1] == b" " and line[:12].lstrip(b" 0123456789")[:1] == b"|":  # a compiler's quoted source line
        return False
    if b": " in line:
        if b": note: " in line or (b": warning: " in line and line.endswith(b"]") and b" [-W" in line):
            return False
        if b": warning: " in line and not line.startswith(b"warning"):
            return any(needle in line for needle in WARNING_NEEDLES)
        return any(needle in line for needle in NEEDLES)
    if line[:2] == b"  " and line[2:3].isupper():
        return False
    if CALL in line:
        return True
    return len(line) < PLAIN_BYTES and (b"rror" in line or b"o space left" in line or PLAIN.match(line) is not None)


# ------------------------------------------------------------------------------------------------------- one line, clean

ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# 2024-05-01T10:00:00.123456Z (GitHub, GitLab), [2024-05-01 10:00:00], 10:00:00.123, [   12.345678]
TIME_STAMP = re.compile(
    r"(?:\[? ?(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]?|\[ *\d+\.\d{3,9}\])(?: |$)"
)


def clean(line: bytes) -> str:
    """Decode a line and take off what is not its text: colours, CR (what it overwrote is gone), a CI's time stamp."""
    text = line[:LINE_BYTES].decode("utf-8", "replace")
    if "\x1b" in text:
        text = ANSI.sub("", text)
    text = text.rstrip("\r\n")
    if "\r" in text:
        text = text.rpartition("\r")[2]
    text = CONTROL.sub("", text)[:TEXT_LIMIT]
    stamp = TIME_STAMP.match(text)
    return text[stamp.end() :] if stamp else text


# ----------------------------------------------------------------------------------------------------------------- make

MAKE = re.compile(r"(?:\^C)?(?:\S*/)?g?make(?:-\d[\d.]*)?(?:\[(?P<level>\d{1,4})\])?: \*\*\* (?P<body>.*)")
MAKE_RECIPE = re.compile(
    r"\[(?:(?P<script>[^\]]+?:\d+|<builtin>): )?(?P<target>.+)\] (?P<reason>\S+ (?P<status>\d{1,3})|[A-Z][\w ]+?)"
    r"(?: \(core dumped\))?(?P<ignored> \(ignored\))?$"
)
MAKE_NO_RULE = re.compile(
    r"(?P<reason>No rule to make target [`'](?P<missing>.+?)'(?:, needed by [`'](?P<needed_by>.+?)')?\..*)"
)
MAKE_STOP = re.compile(r"(?P<reason>.*?Stop\.)\s*$")
MAKEFILE_STOP = re.compile(r"(?P<script>[^\s:*][^:*]*:\d+): \*\*\* (?P<reason>.*)")
SIGNALS = {
    "Killed": InfraKind.KILLED, "Interrupt": InfraKind.INTERRUPTED, "Terminated": InfraKind.INTERRUPTED,
    "Hangup": InfraKind.INTERRUPTED,
}  # fmt: skip
# shells report a child that a signal ended as 128 + signal
STATUSES = {137: InfraKind.KILLED, 130: InfraKind.INTERRUPTED, 143: InfraKind.INTERRUPTED}
DEATHS = ("Segmentation fault", "Bus error", "Illegal instruction", "Aborted")


def make_failure(text: str, at: int) -> MakeFailure | None:
    """Read one `*** ` line of make, any version: with or without script, signal names, missing rules, $(error …)."""
    match = MAKE.match(text)
    if match:
        level, body = int(match["level"] or 0), match["body"]
        if recipe := MAKE_RECIPE.match(body):
            if recipe["ignored"]:
                return None
            return MakeFailure(
                at=at, text=text, level=level, script=recipe["script"] or "", target=recipe["target"],
                status=int(recipe["status"] or -1), reason=recipe["reason"],
            )  # fmt: skip
        if rule := MAKE_NO_RULE.match(body):
            return MakeFailure(
                at=at, text=text, level=level, script="", target=rule["missing"], status=2, reason=rule["reason"],
                needed_by=rule["needed_by"] or "",
            )  # fmt: skip
        if stop := MAKE_STOP.match(body):
            return MakeFailure(at=at, text=text, level=level, script="", target="", status=2, reason=stop["reason"])
        return None
    if stop := MAKEFILE_STOP.match(text):
        return MakeFailure(
            at=at, text=text, level=-1, script=stop["script"], target="", status=2, reason=stop["reason"]
        )
    return None


# tools/build links its own foo-in.o by calling make below; objects are otherwise never made by a make below.
OBJECT = re.compile(r"(?<!-in)\.(?:o|ko|s|i|dtb|dtbo|so|lds)$")
# an out-of-tree module's own makefile calls the kernel's below its .ko
OWN_KO = re.compile(r"(?!(?:\S*/)?scripts/)\S*akefile:\d+$")


def mark_echoes(failures: tuple[MakeFailure, ...]) -> tuple[MakeFailure, ...]:
    """Mark what the levels above repeat: `Error 2`, make's own status, at a level above one that has failed before.

    The depth decides, not the text: two objects can fail alike. Known limit: a script that exits with 2 at an upper level
    after something deeper has failed counts as an echo, unless it made an object.
    """
    marked: list[MakeFailure] = []
    deepest = -1
    for failure in failures:
        repeated = failure.status == 2 and failure.reason.endswith(" 2") and failure.level >= 0
        own = failure.target.endswith(".ko") and OWN_KO.match(failure.script)
        echo = repeated and failure.level < deepest and bool(own or not OBJECT.search(failure.target))
        marked.append(replace(failure, echo=True) if echo else failure)
        deepest = max(deepest, failure.level if failure.level >= 0 else 1000)
    return tuple(marked)


# --------------------------------------------------------------------------------------------------------------- reading


F = TypeVar("F", bound=Fact)


class _Reader:
    """The state of one reading. window: the chunk of lines being read, after the last lines of the chunk before it."""

    def __init__(self) -> None:
        self.at = 0
        self.window: list[bytes] = []
        self.index = 0
        self.link = ("", "")
        self.facts: dict[type[Fact], list[Fact]] = {}
        self.left_out = 0

    def take(self, lines: list[bytes]) -> None:
        """Read the next lines."""
        above = self.window[-RECENT_LINES:]
        self.window = above + lines
        first = self.at
        # this is the one loop over healthy lines
        for index in [i for i, line in enumerate(lines) if b": " in line or not b"  A" <= line[:3] < b"  ["]:
            line = lines[index]
            if interesting(line):
                self.at, self.index = first + index + 1, len(above) + index
                self.look(line)
        self.at, self.index = first + len(lines), len(self.window)

    def keep(self, fact: Fact) -> None:
        kept = self.facts.setdefault(type(fact), [])
        if len(kept) < (CALLS_LIMIT if isinstance(fact, ObjtoolCall) else FACTS_LIMIT):
            kept.append(fact)
        else:
            self.left_out += 1

    def before(self, lines: int) -> tuple[str, ...]:
        """Return the cleaned lines before the present one."""
        newest = self.window[max(0, self.index - lines) : self.index]
        return tuple(clean(line)[:500] for line in newest)

    def look(self, line: bytes) -> None:
        """Show an interesting line to make's patterns and the recognisers; the first that knows it keeps its fact."""
        if CALL in line and (call := objtool_call(line, self.at)):
            self.keep(call)
            if b": " not in line:
                return  # else it may be a shell's word on the call that died
        text = clean(line)
        if not text or QUOTED_SOURCE.match(text):
            return
        if failure := make_failure(text, self.at):
            self._keep_failure(failure)
            return
        if COMMAND.match(text) and not MAKE.match(text):
            return
        if place := IN_FUNCTION.match(text):
            self.link = (place["object"], place["function"])
            return
        if text.startswith(">>> "):
            self._continue_lld(text)
            return
        context = Context(before=self.before, link=self.link)
        for recognise in RECOGNISERS:
            if fact := recognise(text, self.at, context):
                self.keep(fact)
                return

    def _keep_failure(self, failure: MakeFailure) -> None:
        made = self.facts.get(MakeFailure, [])
        excerpt = self.before(EXCERPT_LINES) if len(made) < EXCERPTS else ()
        self.keep(replace(failure, excerpt=excerpt))
        if failure.reason.endswith("Stop.") and (cause := infra_line(failure.text, failure.at, None)):
            self.keep(cause)  # $(error … please install libelf-dev), wait: No child processes
        kind = SIGNALS.get(failure.reason) or STATUSES.get(failure.status)
        if kind:
            self.keep(InfraLine(at=failure.at, text=failure.text, kind=kind, subject=failure.target))
        elif failure.reason.startswith(DEATHS) or failure.status in (132, 134, 135, 139):
            self.keep(
                ToolCrash(at=failure.at, text=failure.text, tool="", message=f"{failure.target}: {failure.reason}")
            )

    def _continue_lld(self, text: str) -> None:
        """Take source and object for lld's last error from its `>>> referenced by` lines."""
        errors = self.facts.get(LinkerError, [])
        last = errors[-1] if errors else None
        if not isinstance(last, LinkerError) or last.kind is LinkKind.OTHER or self.at - last.at > 4 or last.object:
            return
        if place := re.search(r"(?:referenced by|defined at) (\S+?):(\d{1,9})(?: \((.*?):\d+\))?", text):
            errors[-1] = replace(last, source=place[3] or place[1], row=int(place[2]))
        elif place := re.search(
            r"(\S+\.o|lto\.tmp|ld-temp\.o):\((?:function )?([^):]+)", text
        ):  # LTO has no other name for it
            section = place[2].startswith(".")
            errors[-1] = replace(last, object=place[1], function=last.function if section else place[2])
        elif place := re.search(r"(\S+\.o):?\(", text):
            errors[-1] = replace(last, object=place[1])

    def _kept(self, kind: type[F]) -> tuple[F, ...]:
        return tuple(fact for fact in self.facts.get(kind, ()) if isinstance(fact, kind))

    def log(self) -> BuildLog:
        """Return what was read."""
        return BuildLog(
            lines=self.at,
            compiler=self._kept(CompilerError),
            linker=self._kept(LinkerError),
            modpost=self._kept(ModpostLine),
            objtool=self._kept(ObjtoolLine),
            objtool_calls=self._kept(ObjtoolCall),
            klp=self._kept(KlpLine),
            btf=self._kept(BtfLine),
            config=self._kept(ConfigLine),
            orphans=self._kept(OrphanSection),
            kallsyms=self._kept(KallsymsLine),
            ksyms=self._kept(KsymsSummary),
            kconfig=self._kept(KconfigError),
            tools=self._kept(ToolError),
            crashes=self._kept(ToolCrash),
            infra=self._kept(InfraLine),
            make=mark_echoes(self._kept(MakeFailure)),
            tail=self.before(EXCERPT_LINES),
            left_out=self.left_out,
        )


def split_lines(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Yield lists of lines without newline; a line much longer than LINE_BYTES loses its middle: memory stays bounded."""
    rest = b""
    while chunk := stream.read(CHUNK_BYTES):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        if len(rest) > LINE_BYTES:
            rest = rest[:LINE_BYTES]
        yield lines
    if rest:
        yield [rest]


def file_batches(path: Path, what: str) -> Iterator[list[bytes]]:
    """Yield the lines of a file in batches. Raises LabError if it cannot be opened. what: for that message."""
    try:
        with path.open("rb") as stream:
            yield from split_lines(stream)
    except OSError as error:
        raise LabError(f"cannot read the {what} {path.name!r}", facts=(("because", str(error.strerror)),)) from error


def line_batches(lines: Iterable[str | bytes]) -> Iterator[list[bytes]]:
    """Yield lines, with or without their newline, in batches, each cut at LINE_BYTES."""
    encoded = (line.encode("utf-8", "replace") if isinstance(line, str) else line for line in lines)
    bounded = (line[:LINE_BYTES].rstrip(b"\n") for line in encoded)
    while batch := list(islice(bounded, BATCH_LINES)):
        yield batch


def read(path: Path) -> BuildLog:
    """Read a log file. Raises LabError if it cannot be opened; whatever its bytes are, reading them raises nothing."""
    reader = _Reader()
    for lines in file_batches(path, "build log"):
        reader.take(lines)
    return reader.log()


def read_lines(lines: Iterable[str | bytes]) -> BuildLog:
    """Read a log from lines, with or without their newline."""
    reader = _Reader()
    for batch in line_batches(lines):
        reader.take(batch)
    return reader.log()


def read_text(text: str) -> BuildLog:
    """Read a log that is already in memory."""
    return read_lines(text.removesuffix("\n").split("\n") if text else ())
