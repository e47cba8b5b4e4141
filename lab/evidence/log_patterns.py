"""One line of a kbuild log -> at most a few facts: the texts of compilers, linkers, make, modpost and the machine.

Everything is anchored or specific enough that the quoted command lines of `make V=1` and the source lines that compilers
quote do not match. Texts and their sources: docs/architecture.md names the collection; each row cites its program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.evidence.log_facts import (
    CompilerError,
    Fact,
    LinkerError,
    LinkKind,
    ToolError,
)
from lab.evidence.log_machine import infra_line, tool_crash
from lab.evidence.log_modpost import modpost_line
from lab.evidence.log_texts import (
    btf_line,
    config_line,
    kallsyms_line,
    kconfig_error,
    klp_line,
    ksyms_summary,
    objtool_line,
    orphan_section,
)

QUOTE = "[`'\"‘’“”]"  # GCC and GNU ld quote with typographic signs in a UTF-8 locale, with `' in C


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a line may look back at. before(n): the n cleaned lines above it, newest last. link: object and function of
    ld's last "in function" line."""

    before: Callable[[int], Sequence[str]]
    link: tuple[str, str] = ("", "")


Recogniser = Callable[[str, int, Context], Fact | None]

# ---------------------------------------------------------------------------------------------------- not diagnostics

# A command line: `+ cmd` of `sh -x`, kbuild's V=1 lines, tools called with options. gcc's own messages say `gcc: …`.
COMMAND = re.compile(
    r"\s*(?:\++ |set -e|\(?\{? ?(?:echo|printf|cat|if|test|for|mkdir|rm|ln|cd|trap) "
    r"|(?:ccache |sccache |distcc )*\S*(?:gcc|g\+\+|clang|cc|ld(?:\.lld|\.bfd)?|ar|objcopy|nm|as|rustc|sh|make)(?:-[\d.]+)?"
    r" +[-@{.\w/(])"
)
QUOTED_SOURCE = re.compile(r"\s*\d* ?\|(?: |$)")  # "  123 |   perror("error: …");" under a gcc or clang diagnostic

# ------------------------------------------------------------------------------------------------------------ compiler

COMPILER = re.compile(
    r"(?P<file>\{standard input\}|<\w[\w -]*>|[^\s:][^:]{0,500}):(?P<row>\d+)(?:[:.](?P<column>\d+)(?:-[\d.]+)?)?: "
    r"(?P<kind>fatal error|error|Error|Fatal error|ERROR(?: \(\w+\))?"
    # gcc's and make's words in German, French, Spanish and Italian: kbuild leaves LC_MESSAGES alone
    r"|(?:[Ss]chwerwiegender )?Fehler|erreur(?: fatale)?|error fatal|errore(?: fatale)?): (?P<message>.*)"
)
# scripts/dtc: srcpos_verror() prints "Error: file:row.column-end text", the checks "file:row.column: ERROR (name): …"
DTC = re.compile(
    r"(?:Error|FATAL ERROR): (?P<file>[^\s:]+):(?P<row>\d+)(?:\.(?P<column>\d+))?(?:-[\d.]+)?:? (?P<message>.*)"
)
RUST = re.compile(r"error(?:\[E\d+\])?: (?P<message>.*)")
RUST_LINES = 4  # of a message, above its place
RUST_PLACE = re.compile(r"\s*--> (?P<file>[^\s:]+):(?P<row>\d+):(?P<column>\d+)")
SOURCE_SUFFIXES = (".c", ".S", ".s", ".cc", ".cpp", ".rs", ".dts", ".dtso", ".y", ".l", ".pl", ".py", ".lds")
INCLUDED_FROM = re.compile(r"(?:In file included|\s+) from (?P<file>[^\s:]+):\d+")
# gcc on a macro of a header that the command line forces in, such as BUILD_BUG_ON(): the stack's root is no source
FORCED_IN = "In file included from <command-line>"
INLINED_AT = re.compile(r"\s+inlined from .* at (?P<file>[^\s:]+):\d+")
STACK_LINES = 64


def translation_unit(file: str, context: Context) -> str:
    """Return the source that was being compiled: file itself, or for a header the root of its include stack, or ""."""
    if file.endswith(SOURCE_SUFFIXES):
        return file
    for line in reversed(context.before(STACK_LINES)):
        # gcc: one head, then "from" lines up to the root. clang: a head for each level, the root first.
        match = INCLUDED_FROM.match(line) or INLINED_AT.match(line)
        if match and match["file"].endswith(SOURCE_SUFFIXES):
            return match["file"]
        if line.startswith(FORCED_IN):
            return ""
    return ""


def compiler_error(text: str, at: int, context: Context) -> Fact | None:
    """An error with a place, of gcc, clang, gas or dtc; a place inside the compiler itself is a crash."""
    match = COMPILER.match(text) or DTC.match(text)
    if not match:
        return None
    file, row, column = match["file"], int(match["row"][:9]), int((match["column"] or "0")[:9])
    source = translation_unit(file, context)
    return CompilerError(at=at, text=text, file=file, row=row, column=column, message=match["message"], source=source)


def rust_error(text: str, at: int, context: Context) -> Fact | None:
    """The place of rustc's error, which stands on the line below the message."""
    place = RUST_PLACE.match(text)
    for back, above in enumerate(reversed(context.before(RUST_LINES)), start=1) if place else ():
        if place and (message := RUST.match(above)):
            return CompilerError(
                at=at - back, text=above, file=place["file"], row=int(place["row"][:9]), column=int(place["column"][:9]),
                message=message["message"], source=place["file"],
            )  # fmt: skip
        if not above or above.startswith("warning") or RUST_PLACE.match(above):
            return None
    return None


# ------------------------------------------------------------------------------------------------------------- linker

LD = r"(?:\S*ld(?:\.lld|\.bfd|\.gold)?(?:-[\d.]+)?: )"
IN_FUNCTION = re.compile(rf"{LD}?(?P<object>\S+): [Ii]n function {QUOTE}(?P<function>[^'’\"]+){QUOTE}:")
UNDEFINED = re.compile(rf"{LD}?(?P<place>\S.*?): undefined reference to {QUOTE}(?P<symbol>[^'’\"]+){QUOTE}$")
MULTIPLE = re.compile(
    rf"{LD}?(?P<place>\S.*?): (?P<message>multiple definition of {QUOTE}(?P<symbol>[^'’\"]+){QUOTE}(?:; .*|$))"
)
RANGE = re.compile(
    rf"{LD}?(?:error: )?(?P<place>\S.*?): (?P<message>relocation truncated to fit: .*|.*relocation \S+ out of range.*)$"
)
# "against symbol `x' defined in …", "against `x'"; lld: "…; references 'x'"
RANGE_SYMBOL = re.compile(
    rf".*?(?:against (?:undefined )?(?:symbol )?|references )(?:section )?{QUOTE}?(?P<symbol>[^\s'’\"]+)"
)
# GNU ld: "`f' referenced in section `.text' of a.o: defined in discarded section `.exit.text' of b.o"
DISCARDED = re.compile(
    rf"{LD}?(?P<message>{QUOTE}(?P<symbol>[^'’\"]+){QUOTE} referenced in section .* of (?P<object>\S+?): defined in discarded"
    r" .*)"
)
# The asserts of arch/*/kernel/vmlinux.lds.S say only their sentence; it is the kernel's, so the families are listed.
LD_KINDS: tuple[tuple[LinkKind, re.Pattern[str]], ...] = (
    (
        LinkKind.OVERLAP,
        re.compile(r"(?i)section \S+ (?:LMA |VMA |file range |virtual address range |load address range )?.*overlap"),
    ),
    (LinkKind.ORPHAN, re.compile(r".*(?:unplaced orphan section|\) is being placed in )")),
    (
        LinkKind.SPACE,
        re.compile(r".*(?:will not fit in region|region .* overflowed by|too large for (?:region|field))"),
    ),
    (LinkKind.DISCARDED, re.compile(r"relocation refers to a (?:symbol in a )?discarded (?:section|symbol)")),
    (
        LinkKind.ASSERTION,
        re.compile(
            r".*(?:kernel image bigger than|per-CPU data too large|[Uu]nexpected (?:GOT|run-time|RELRO)|missing CPU support"
            r"|no machine record defined|too (?:big|large)\b(?! for)|misaligned|not (?:cacheline-|page )?aligned"
            r"|must (?:follow|be|fit|not)|not at start of|not in second half|Gap in |cacheline apart|assertion failed"
            r"|is not at|overflow(?:ed|s)?\b)"
        ),
    ),
)
LLD = re.compile(rf"{LD}error: (?P<message>.*)")
LLD_SYMBOL = re.compile(r"(?P<kind>undefined(?: \w+)? symbol|duplicate symbol): (?P<symbol>\S+)")
GNU_OTHER = re.compile(
    rf"{LD}(?!warning: |note: |.*: (?:warning: |in function |undefined reference)|.*more undefined references)(?P<message>.+)"
)
LD_CONSEQUENCE = re.compile(
    r"final link failed|linker command failed|ld returned \d+ exit status|skipping incompatible"
)
PLACE = re.compile(r"(?P<file>[^\s:()]+)(?::(?P<row>\d+|\([^)]*\)))?")


def _place(place: str, link: tuple[str, str]) -> tuple[str, str, int]:
    """Object, source and row of "x.o:file.c:12", "file.c:(.text+0x1e6)" or "/src/file.c:86"; ld's last object helps."""
    obj, source, row = "", "", 0
    for part in PLACE.finditer(place):
        name = part["file"]
        if name.endswith((".o", ".a", ".ko")):
            obj = name
        elif name.endswith(SOURCE_SUFFIXES):
            source = name
            row = int(part["row"][:9]) if (part["row"] or "").isdigit() else 0
    obj = obj or link[0]
    folder, _, stem = obj.rpartition("/")
    same = stem.rpartition(".")[0] == source.rpartition(".")[0]
    if source and "/" not in source and folder and same:  # ld prints the bare name of the source of a known object
        source = f"{folder}/{source}"
    return obj, source, row


def linker_error(text: str, at: int, context: Context) -> Fact | None:
    """A complaint of GNU ld (or gold) or lld; mere consequences ("ld returned 1 exit status") are None."""
    for pattern, kind in ((UNDEFINED, LinkKind.UNDEFINED), (MULTIPLE, LinkKind.MULTIPLE)):
        if match := pattern.match(text):
            obj, source, row = _place(match["place"], context.link)
            message = match.groupdict().get("message") or f"undefined reference to `{match['symbol']}'"
            return LinkerError(
                at=at, text=text, kind=kind, symbol=match["symbol"], message=message, object=obj, source=source, row=row,
                function=context.link[1],
            )  # fmt: skip
    if match := RANGE.match(text):
        obj, source, row = _place(match["place"], context.link)
        symbol = RANGE_SYMBOL.match(match["message"])
        return LinkerError(
            at=at, text=text, kind=LinkKind.RANGE, symbol=symbol["symbol"] if symbol else "", message=match["message"],
            object=obj, source=source, row=row, function=context.link[1],
        )  # fmt: skip
    if match := DISCARDED.match(text):
        return LinkerError(
            at=at,
            text=text,
            kind=LinkKind.DISCARDED,
            symbol=match["symbol"],
            message=match["message"],
            object=match["object"],
        )
    if match := LLD.match(text):
        symbol = LLD_SYMBOL.match(match["message"])
        word = symbol["kind"] if symbol else ""
        kind = LinkKind.UNDEFINED if "undefined" in word else LinkKind.MULTIPLE if word else _kind(match["message"])
        return LinkerError(
            at=at, text=text, kind=kind, symbol=symbol["symbol"] if symbol else "", message=match["message"]
        )
    match = GNU_OTHER.match(text)
    if match and not LD_CONSEQUENCE.search(text):
        return LinkerError(at=at, text=text, kind=_kind(match["message"]), symbol="", message=match["message"])
    return None


def _kind(message: str) -> LinkKind:
    return next((kind for kind, pattern in LD_KINDS if pattern.match(message)), LinkKind.OTHER)


# -------------------------------------------------------------------------------------------------------- other tools

TOOL_ERROR = re.compile(
    r"(?P<tool>[\w.+/-]+(?: \w+)?): (?:\d+: |line \d+: )?(?:fatal )?(?:error|ERROR|Error|fatal|FATAL)"
    r"(?:\[\w+\]| \(\w+\))?: (?P<message>.*)"
)
BARE_ERROR = re.compile(r"(?:fatal |FATAL )?(?:error|ERROR|Error|FATAL|fatal)(?:\[\w+\])?: (?P<message>.*)")
BTF = re.compile(
    r"(?P<message>BTF: .*pahole.*|FAILED:? .*|Cannot find symbol for section \d+: .*"
    r"|Traceback \(most recent call last\):|unrecognized ELF data encoding.*)"
)
CONSEQUENCE = re.compile(
    r"linker command failed with exit code|ld returned \d+ exit status|Recipe .* failed|Build failed"
    r"|aborting due to (?:\d+ )?previous error|could not compile|Unable to parse input tree|Syntax error parsing input tree"
    r"|Input tree has errors, aborting"
)


def tool_error(text: str, at: int, context: Context) -> Fact | None:
    """An error that names no place: of a compiler's driver, a script, pahole or recordmcount; no mere consequence."""
    if CONSEQUENCE.search(text):
        return None
    match = TOOL_ERROR.match(text) or BARE_ERROR.match(text) or BTF.match(text)
    if not match or text.startswith("make"):
        return None
    return ToolError(at=at, text=text, tool=match.groupdict().get("tool") or "", message=match["message"])


RECOGNISERS: tuple[Recogniser, ...] = (
    # The order is that of docs: disk, memory and signals before the crashes that they cause, crashes before errors.
    infra_line, ksyms_summary, modpost_line, klp_line, objtool_line, kallsyms_line, btf_line, tool_crash, config_line,
    kconfig_error, orphan_section, compiler_error, rust_error, linker_error, tool_error,
)  # fmt: skip
