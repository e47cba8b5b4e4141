"""Put complaints and make failures of one log together: one Fault for each thing that failed, with what caused it.

make only names the target; compilers only name the source; with -j others speak in between. A complaint belongs to the
failure whose target carries its name (r535.c and r535.o), else to the next failure below it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import PurePosixPath

from lab.evidence.log_facts import (
    BtfLine,
    BuildLog,
    CompilerError,
    Complaint,
    InfraKind,
    InfraLine,
    KlpLine,
    LinkerError,
    MakeFailure,
    ModpostLine,
    ObjtoolLine,
    ToolCrash,
    ToolError,
)

# Headers of the host's development packages: their absence is the build machine's lack (tools/objtool wants gelf.h,
# certs/ and scripts/sign-file.c want openssl, scripts/gcc-plugins want gmp.h, menuconfig wants ncurses.h).
HOST_HEADER = re.compile(
    r"'?(?P<header>(?:gelf|libelf|gmp|mpc|gcc-plugin|ncurses|curses|dwarf|zlib)\.h|(?:openssl|elfutils|ncurses)/\S+?\.h)'?"
    r"(?:: No such file or directory| file not found)"
)

EXPLAINING = {  # what decides the outcome of a failed build wherever it stands in the log
    InfraKind.DISK_FULL,
    InfraKind.READ_ONLY,
    InfraKind.OUT_OF_MEMORY,
    InfraKind.KILLED,
    InfraKind.EMULATOR,
    InfraKind.INTERRUPTED,
    InfraKind.ENGINE,
}

NEAR_LINES = 60  # other objects that -j lets speak before make reports one that failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One failed target, or complaints that no failure followed (failure None). causes: in log order, may be empty."""

    failure: MakeFailure | None
    causes: tuple[Complaint, ...]

    @property
    def at(self) -> int:
        """The line to look at first."""
        return self.causes[0].at if self.causes else self.failure.at if self.failure else 0

    @property
    def machine(self) -> InfraLine | None:
        """The line that makes this the machine's fault and not the kernel's, or None."""
        lines = [cause for cause in self.causes if isinstance(cause, InfraLine) and explains(cause, self.failure)]
        for line in lines:
            if line.kind in EXPLAINING:
                return line
        own = [cause for cause in self.causes if kernels(cause)]
        if all(isinstance(cause, ToolCrash) for cause in own):  # what cannot be read or written breaks tools
            stored = next((line for line in lines if line.kind is InfraKind.IO_ERROR), None)
            if stored:
                return stored
        if not own:
            return next((line for line in lines if line.kind is not InfraKind.CLOCK), None) or missing_header(
                self.causes
            )
        return None


def explains(line: InfraLine, failure: MakeFailure | None) -> bool:
    """Whether a line about the machine can be why a target failed.

    A missing tool is also what a probe says in a build that goes on ("pahole: not found" under the first line), so it
    must stand near, or the recipe must have ended as a shell does that finds no program.
    """
    if line.kind is not InfraKind.MISSING_TOOL or failure is None:
        return True
    if failure.reason.startswith("No rule"):  # make tried to read a makefile that is not there, and said so
        return False
    return failure.status in (126, 127) or failure.at - line.at <= NEAR_LINES


def kernels(cause: Complaint) -> bool:
    """Whether a complaint is about what is being built, or at least not about the machine."""
    if isinstance(cause, InfraLine | ToolError):  # "clang: error: linker command failed" follows missing tools too
        return False
    if isinstance(cause, BtfLine) and cause.consequence:  # "Failed to generate BTF for vmlinux", whatever the reason
        return False
    return not (isinstance(cause, CompilerError) and HOST_HEADER.match(cause.message))


def missing_header(causes: tuple[Complaint, ...]) -> InfraLine | None:
    """Return an absent header of the host as the missing tool that it is."""
    for cause in causes:
        if isinstance(cause, CompilerError) and (match := HOST_HEADER.match(cause.message)):
            return InfraLine(at=cause.at, text=cause.text, kind=InfraKind.MISSING_TOOL, subject=match["header"])
    return None


def names(cause: Complaint) -> tuple[str, ...]:
    """Return the files that a complaint is about, best first."""
    if isinstance(cause, CompilerError):
        return tuple(name for name in (cause.source, cause.file) if name)
    if isinstance(cause, LinkerError):
        return tuple(name for name in (cause.object, cause.source) if name)
    if isinstance(cause, ObjtoolLine):
        return (cause.object,) if cause.object else ()
    if isinstance(cause, ToolCrash):
        return (cause.source,) if cause.source else ()
    return (cause.subject,) if isinstance(cause, InfraLine) and "/" in cause.subject else ()


SAME_NAMES = 50  # targets of one name (main.o) that are looked at for each complaint


def stem(path: str) -> str:
    """Return the name of a file without folder and suffixes: "r535" of "nvkm/r535.o"."""
    return path.rpartition("/")[2].split(".")[0]


def same_stem(target: str, name: str) -> bool:
    """Whether an object and a source are of one name and, as far as both say it, of one folder."""
    ours, theirs = PurePosixPath(target), PurePosixPath(name)
    if not target or not name or stem(target) != stem(name):
        return False
    folders = ours.parent.parts[::-1], theirs.parent.parts[::-1]
    return all(a == b for a, b in zip(*folders, strict=False) if a not in ("..", ".") and b not in ("..", "."))


def complaints(log: BuildLog) -> list[Complaint]:
    """Every fact that can stop a build, in log order: warnings are not among them."""
    found: list[Complaint] = [
        *log.compiler,
        *log.linker,
        *log.kallsyms,
        *log.kconfig,
        *log.tools,
        *log.crashes,
        *log.infra,
    ]
    placed = {error.at for error in log.compiler}  # rustc's message is one of a tool until its place is read
    found = [fact for fact in found if not (isinstance(fact, ToolError) and fact.at in placed)]
    found += [line for line in log.modpost if line.fatal]
    found += [line for line in log.objtool if line.fatal and not line.trace]
    found += [line for line in log.btf if line.fatal]
    found += log.klp
    return sorted(found, key=lambda fact: fact.at)


def faults(log: BuildLog) -> tuple[Fault, ...]:
    """Return what failed, in log order, each with its causes.

    Complaints without a failure after them are Faults of their own if they name a place in a source or come from modpost
    or the linker; others (a probe's "error: …" in a build that went on) are nobody's fault and left out.
    """
    failures = log.failures
    owners: dict[int, list[Complaint]] = {index: [] for index in range(len(failures))}
    loose: list[Complaint] = []
    find = _Owners(failures)
    for cause in complaints(log):
        owner = find.owner(cause)
        (owners[owner] if owner is not None else loose).append(cause)
    found = [Fault(failure=failure, causes=_ordered(failure, owners[index])) for index, failure in enumerate(failures)]
    found += [Fault(failure=None, causes=(cause,)) for cause in loose if _stands_alone(cause)]
    return tuple(sorted(found, key=lambda fault: fault.failure.at if fault.failure else fault.at))


class _Owners:
    """Finds the failure that a complaint belongs to, by name or else by position."""

    def __init__(self, failures: tuple[MakeFailure, ...]) -> None:
        self.failures = failures
        self.lines = [failure.at for failure in failures]
        self.by_stem: dict[str, list[int]] = {}
        for index, failure in enumerate(failures):
            self.by_stem.setdefault(stem(failure.target), []).append(index)

    def owner(self, cause: Complaint) -> int | None:
        """Return the index of the failure, or None if none follows."""
        following = bisect_left(self.lines, cause.at)
        for name in names(cause):
            alike = self.by_stem.get(stem(name), [])
            for index in alike[bisect_left(alike, following) :][:SAME_NAMES]:
                if same_stem(self.failures[index].target, name):
                    return index
        return following if following < len(self.failures) else None


def _ordered(failure: MakeFailure, causes: list[Complaint]) -> tuple[Complaint, ...]:
    """Put those that carry the target's name first, then objects and sources, then mere "error:" lines, in log order.

    LLVM's request for a bug report and make's own line about a signal tell least, wherever they stand.
    """

    def rank(cause: Complaint) -> tuple[bool, bool, bool, bool, int]:
        named = any(same_stem(failure.target, name) for name in names(cause))
        asks, makes = cause.text.startswith("PLEASE submit"), cause.at == failure.at
        follows = isinstance(cause, BtfLine | KlpLine) and cause.consequence
        return not named, isinstance(cause, ToolError) or follows, makes or follows, asks, cause.at

    return tuple(sorted(causes, key=rank))


def _stands_alone(cause: Complaint) -> bool:
    return isinstance(cause, CompilerError | LinkerError | ModpostLine) or (
        isinstance(cause, ToolCrash) and bool(cause.source)
    )
