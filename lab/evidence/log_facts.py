"""What a kbuild log can say, as typed facts; lab.evidence.log reads them, nothing here does I/O.

Every fact knows its line (`at`, counted from 1) and its text, free of colours and cut to TEXT_LIMIT characters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

TEXT_LIMIT = 2000
"""Characters kept of one line: a linker can print a mangled name of a megabyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """at: line of the log, from 1. text: the whole line, cleaned."""

    at: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerError(Fact):
    """A compiler, assembler, dtc or rustc error with a place.

    file, row, column: as printed (row or column 0: not said). source: the translation unit when the include stack tells
    it ("kernel/bounds.c" for an error in a header), else file when that is a source, else "".
    """

    file: str
    row: int
    column: int
    message: str
    source: str


class LinkKind(StrEnum):
    """What a linker complains about."""

    UNDEFINED = "undefined"
    MULTIPLE = "multiple"
    RANGE = "range"
    DISCARDED = "discarded"
    OVERLAP = "overlap"
    ORPHAN = "orphan"
    ASSERTION = "assertion"
    SPACE = "space"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkerError(Fact):
    """GNU ld's or lld's complaint. symbol: "" if it is not about one. object, source, row, function: where it was seen."""

    kind: LinkKind
    symbol: str
    message: str
    object: str = ""
    source: str = ""
    row: int = 0
    function: str = ""


class ModpostKind(StrEnum):
    """The forms of modpost's lines that a check tells apart; the values end the finding ids."""

    UNDEFINED = "undefined"
    NAMESPACE = "namespace"
    SECTION_MISMATCH = "section-mismatch"
    LICENSE = "license"
    EXPORTED_TWICE = "exported-twice"
    VERSION = "version"
    EXPORT = "export"
    OTHER = "other"
    MISSING_INPUT = "missing-input"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModpostLine(Fact):
    """One line of modpost. fatal: ERROR or FATAL, not WARNING. module: as printed: "fs/xfs/xfs.ko", "x.o" or a bare name.

    previous: who exported a symbol first ("vmlinux", "fs/a.ko"). reference: of a section mismatch: symbol and section it comes
    from, symbol and section it goes to, "" where not said; () if it names none.
    Source: scripts/mod/modpost.c, check_exports(), check_sec_ref(), merror(), warn(), fatal().
    """

    kind: ModpostKind
    fatal: bool
    message: str
    symbol: str = ""
    module: str = ""
    namespace: str = ""
    previous: str = ""
    reference: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjtoolLine(Fact):
    """`<object>: warning: objtool: <message>`; function when the message names one, offset when it starts with a position.

    trace: a line of the backtrace below a warning, no warning of its own.

    Source: tools/objtool/include/objtool/warn.h, WARN(), WARN_FUNC(), ERROR().
    """

    object: str
    fatal: bool
    message: str
    function: str = ""
    offset: int = 0
    trace: bool = False

    @property
    def lacks_key(self) -> bool:
        """Whether objtool found no key of a static call, and left the object half-written. Source: tools/objtool/check.c."""
        return "can't find static_call_key symbol" in self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjtoolCall(Fact):
    """A call of objtool that make V=1 printed. text: the call alone. flags: all words before the object, "orc generate" too."""

    object: str
    flags: tuple[str, ...]


class KlpKind(StrEnum):
    """What is wrong with a livepatch module; the values end the finding ids (livepatch.<value>)."""

    CONFLICT = "conflict"
    POSITION = "position"
    SYMBOL = "symbol"
    FORMAT = "format"


@dataclass(frozen=True, slots=True, kw_only=True)
class KlpLine(Fact):
    """A line of klp-convert or of objtool klp. object: "vmlinux" or a module. positions: as wanted, () if not said.

    harmless: a conflict that is none (another object, or the same position twice). consequence: repeats that it failed.
    """

    kind: KlpKind
    message: str
    object: str = ""
    symbol: str = ""
    positions: tuple[int, ...] = ()
    harmless: bool = False
    consequence: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BtfLine(Fact):
    """A line on BTF. fatal: not a mere warning of resolve_btfids. consequence: only says that it failed."""

    fatal: bool
    message: str
    symbol: str = ""
    consequence: bool = False


class ConfigKind(StrEnum):
    """What Kconfig warns of; the values end the finding ids (config.<value>)."""

    UNMET = "unmet-dependency"
    INVALID = "invalid-value"
    DROPPED = "not-honoured"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigLine(Fact):
    """A warning of Kconfig about a symbol (without CONFIG_). file, row: of the configuration, "" and 0 if not said."""

    kind: ConfigKind
    symbol: str
    value: str = ""
    file: str = ""
    row: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanSection(Fact):
    """A section that no rule of the linker script places, in a link that went on. object: as the linker names it."""

    section: str
    object: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KallsymsLine(Fact):
    """The kallsyms step's own complaint. inconsistent: the two symbol tables differ (scripts/link-vmlinux.sh)."""

    inconsistent: bool
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KsymsSummary(Fact):
    """`KSYMS symbols: before=0, after=65, changed=65`. Source: scripts/adjust_autoksyms.sh (4.7 to 6.4)."""

    before: int
    after: int
    changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KconfigError(Fact):
    """A Kconfig file that does not parse, or a configuration that is not there. row: line in file, 0 if not said."""

    file: str
    row: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolError(Fact):
    """An error without a place in a source: a compiler driver's, a script's, pahole's. tool: "" if it did not say."""

    tool: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCrash(Fact):
    """A compiler, assembler or linker that broke, which may also be the machine's doing: test infrastructure first."""

    tool: str
    message: str
    source: str = ""


class InfraKind(StrEnum):
    """Troubles of the machine; the values end the finding ids (infra.<value>)."""

    DISK_FULL = "disk-full"
    READ_ONLY = "read-only"
    OUT_OF_MEMORY = "out-of-memory"
    KILLED = "compiler-killed"
    EMULATOR = "emulator-crash"
    MISSING_TOOL = "missing-tool"
    CLOCK = "clock"
    INTERRUPTED = "interrupted"
    IO_ERROR = "io-error"
    ENGINE = "engine-lost"
    CCACHE = "ccache"
    NETWORK = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class InfraLine(Fact):
    """A line that speaks of the machine. subject: the file, tool or program it is about, or ""."""

    kind: InfraKind
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeFailure(Fact):
    """One `make[N]: *** …`.

    level: N, 0 for `make:`, -1 for `Makefile:12: ***` which does not say. script: "scripts/Makefile.build:244" as printed.
    target: as printed, "" where make names none. status: exit status of the recipe, -1 if a signal or not said.
    reason: "Error 1", "Killed", "No rule to make target 'Image'.  Stop.". echo: a level above repeats a failure below.
    excerpt: the lines before it, newest last, at most EXCERPT_LINES.
    """

    level: int
    script: str
    target: str
    status: int
    reason: str
    needed_by: str = ""
    echo: bool = False
    excerpt: tuple[str, ...] = ()


Complaint = (
    CompilerError
    | LinkerError
    | ModpostLine
    | ObjtoolLine
    | KlpLine
    | BtfLine
    | KallsymsLine
    | KconfigError
    | ToolError
    | ToolCrash
    | InfraLine
)
"""Facts that can be the cause of a MakeFailure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildLog:
    """Everything that one log says, each kind in log order.

    lines: how many there were. left_out: facts beyond the bound of their kind (see lab.evidence.log.FACTS_LIMIT).
    tail: the last lines, cleaned, newest last: what to show of a build that stopped without a word.
    """

    lines: int = 0
    compiler: tuple[CompilerError, ...] = ()
    linker: tuple[LinkerError, ...] = ()
    modpost: tuple[ModpostLine, ...] = ()
    objtool: tuple[ObjtoolLine, ...] = ()
    objtool_calls: tuple[ObjtoolCall, ...] = ()
    klp: tuple[KlpLine, ...] = ()
    btf: tuple[BtfLine, ...] = ()
    config: tuple[ConfigLine, ...] = ()
    orphans: tuple[OrphanSection, ...] = ()
    kallsyms: tuple[KallsymsLine, ...] = ()
    ksyms: tuple[KsymsSummary, ...] = ()
    kconfig: tuple[KconfigError, ...] = ()
    tools: tuple[ToolError, ...] = ()
    crashes: tuple[ToolCrash, ...] = ()
    infra: tuple[InfraLine, ...] = ()
    make: tuple[MakeFailure, ...] = ()
    tail: tuple[str, ...] = field(default=())
    left_out: int = 0

    @property
    def failures(self) -> tuple[MakeFailure, ...]:
        """The failures that are not echoes of a deeper one: what really failed, in log order."""
        return tuple(failure for failure in self.make if not failure.echo)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to read in it: no line, or blank ones only (a file of zeros is one such line)."""
        return self.lines <= len(self.tail) and not any(line.strip() for line in self.tail)

    @property
    def failed(self) -> bool:
        """Whether make gave up on anything."""
        return bool(self.make)
