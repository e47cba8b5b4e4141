"""The one tree of errors, each with the exit code that lab and `git bisect run` understand.

    LabError                    128   the lab could not do its work
    ├── Untestable              125   this cell cannot be judged here (git bisect: skip)
    │   └── Impossible          125   there can be no such kernel: the cell is SKIP
    ├── EnvironmentFault        128   engine, disk, network, memory, a lost qemu
    └── UsageError              129   the request is wrong
        ├── MatrixError         129   one or many mistakes in a matrix file
        └── TableError          129   one or many mistakes in lab/data/*.yaml or images/*.yaml

Library code raises these; only lab.cli catches them and exits. A LabError prints without a traceback; anything else is
a bug of ours and prints one.

Source of the codes: git-bisect(1), "Bisect run": 0 good, 125 skip, 1 to 127 bad, 128 and above abort. The lab therefore
exits with 1 only for the kernel's doing and never with 2.
"""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process of lab ends with; the table of docs/exit-codes.md."""

    AS_EXPECTED = 0
    KERNEL_FAULT = 1
    UNTESTABLE = 125
    LAB_FAULT = 128
    USAGE = 129
    INTERRUPTED = 130


class LabError(Exception):
    """An error with a message for people: what failed first, the subject in quotes; then facts; then a hint.

    message: lower case, no full stop. facts: (label, text) pairs, printed one a line. hint: what to do about it, or "".
    """

    exit_code = ExitCode.LAB_FAULT

    def __init__(self, message: str, *, facts: tuple[tuple[str, str], ...] = (), hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        self.hint = hint

    def __str__(self) -> str:
        rows = [self.message]
        labels = [*self.facts, *([("hint", self.hint)] if self.hint else [])]
        width = max((len(label) for label, _ in labels), default=0) + 1
        rows += [f"  {label + ':':<{width}} {text}" for label, text in labels]
        return "\n".join(rows)


class Untestable(LabError):
    """The cell cannot be judged here: it does not configure, a patch does not apply. Neither good nor bad."""

    exit_code = ExitCode.UNTESTABLE


class Impossible(Untestable):
    """What the cell is about cannot be: no such LTO in this kernel, no image for the architecture. The cell is SKIP."""


class EnvironmentFault(LabError):
    """The engine, the disk, the network or an emulator let us down. Never the kernel's fault.

    finding: the infra.* id that says which ("infra.disk-full"), for the Result.
    """

    exit_code = ExitCode.LAB_FAULT

    def __init__(
        self, message: str, *, finding: str = "infra.host", facts: tuple[tuple[str, str], ...] = (), hint: str = ""
    ) -> None:
        super().__init__(message, facts=facts, hint=hint)
        self.finding = finding


MACHINES = {
    errno.ENOSPC: "infra.disk-full",
    errno.EDQUOT: "infra.disk-full",
    errno.EROFS: "infra.read-only",
    errno.EIO: "infra.io-error",
    errno.ESTALE: "infra.io-error",  # a network file system whose server forgot us
    errno.ENFILE: "infra.host",  # of the whole machine; EMFILE may as well be files that the lab forgot to close
    errno.EFBIG: "infra.host",  # ulimit -f
    errno.ENOMEM: "infra.out-of-memory",
}
"""What only a machine says, of a file or of memory: no kernel and no bug of the lab is behind it. Source: errno(3)."""


def machine_fault(
    doing: str,
    error: OSError,
    *,
    otherwise: str = "infra.host",
    facts: tuple[tuple[str, str], ...] = (),
    hint: str = "",
) -> EnvironmentFault:
    """Return what an OSError makes of what was being done ("keep the evidence"). otherwise: the finding of other numbers.

    hint: what to do about a full disk.
    """
    finding = MACHINES.get(error.errno or 0, otherwise)
    hint = hint if finding == "infra.disk-full" else ""
    return EnvironmentFault(f"cannot {doing}: {error.strerror or error}", finding=finding, facts=facts, hint=hint)


def understood(error: BaseException) -> BaseException:
    """Return an error that nobody caught, and that only a machine can cause, as the fault that it is; any other as it is."""
    if isinstance(error, MemoryError):
        return EnvironmentFault("the lab ran out of memory", finding="infra.out-of-memory")
    if isinstance(error, OSError) and error.errno in MACHINES:
        return machine_fault(f"use '{error.filename}'" if error.filename else "go on", error, hint="free some space")
    return error


class UsageError(LabError):
    """The request is wrong: an option, a name, a path."""

    exit_code = ExitCode.USAGE


class Mistakes(UsageError):
    """Every mistake of one file at once, in file order; each already reads `file:line:column: …` with known and hint."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class MatrixError(Mistakes):
    """A matrix file that cannot be used."""


class TableError(Mistakes):
    """A table of ours (lab/data, images) that cannot be used."""
