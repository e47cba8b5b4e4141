"""What stopped the build, from its log: the first real error of each failed target, with file, line, target and message.

One failed target is one finding: the errors after its first are listed in data["errors"], the levels of make above repeat
nothing, a target that failed in two runs of make is told once. What the machine did (disk, memory, emulator) is told by
the check of infra.* and not here. A failed build always yields at least build.failed with the last lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from lab.evidence.bundle import Evidence
from lab.evidence.log_facts import (
    BuildLog,
    CompilerError,
    Complaint,
    KallsymsLine,
    KconfigError,
    LinkerError,
    LinkKind,
    MakeFailure,
    ModpostKind,
    ModpostLine,
    ObjtoolLine,
    ToolCrash,
    ToolError,
)
from lab.evidence.log_faults import Fault, faults
from lab.model import Ending, Finding, NotApplicable, Severity, Span, StepResult

IDS = (
    "build.compiler",
    "build.linker",
    "build.make",
    "build.kconfig",
    "build.toolchain-crash",
    "build.script",
    "build.failed",
    "modpost.namespace",
    "modpost.section-mismatch",
    "modpost.other",
)
OTHERS = ("modpost.undefined", "kallsyms.inconsistent")
"""Told by log_findings() where there is only a log; with the whole evidence at hand other checks know more."""
LOG = "build.txt"
FINDINGS_LIMIT = 100
SYMBOLS_LIMIT = 20
ERRORS_LIMIT = 20
FAR_LINES = 200  # a proof longer than this points at its first line only
BOOT_STEP = "boot"


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield what stopped configure or build.

    modpost.undefined and kallsyms.inconsistent are left to the checks that also read symbols and maps.
    """
    log, path = evidence.log, evidence.build_log
    ended = [step for step in evidence.steps if step.name != BOOT_STEP and not step.ok]
    if log is None or path is None:
        if ended and ended[0].ending is Ending.EXITED:
            yield _unsaid(ended[0], LOG)
        else:
            yield NotApplicable(check="build", because=f"there is no build log ({LOG})")
        return
    file = evidence.name_of(path)
    if log.empty and not evidence.steps:
        yield NotApplicable(check="build", because=f"the build log ({file}) is empty")
        return
    found = log_findings(log, file)
    yield from (finding for finding in found if finding.id not in OTHERS)
    if not found and not log.failed:
        yield from (_unsaid(step, file, log.tail, log.lines) for step in ended if step.ending is Ending.EXITED)


def findings(log: BuildLog, file: str) -> tuple[Finding, ...]:
    """Return the build.* findings of a log, the first failure first. file: the log's name, for the proof."""
    return tuple(finding for finding in log_findings(log, file) if finding.id.startswith("build."))


def log_findings(log: BuildLog, file: str) -> tuple[Finding, ...]:
    """Return everything that a log alone tells: build.*, modpost.* and kallsyms.*, the first failure first."""
    told: dict[tuple[Any, ...], Finding] = {}
    for finding in _all(log, file):
        key = (finding.id, finding.blame, finding.data.get("file"), finding.data.get("message"))
        told.setdefault(key, finding)
        if len(told) >= FINDINGS_LIMIT:
            break
    return tuple(told.values())


def _all(log: BuildLog, file: str) -> Iterator[Finding]:
    for fault in faults(log):
        if fault.machine is None:
            yield from _fault(fault, log, file)
    for line in log.modpost:
        if not line.fatal and line.kind is ModpostKind.UNDEFINED:  # KBUILD_MODPOST_WARN=1: the module will not load
            yield _modpost(line, Fault(failure=None, causes=(line,)), log, file, Severity.WARNING)


def _fault(fault: Fault, log: BuildLog, file: str) -> Iterator[Finding]:
    modpost = [cause for cause in fault.causes if isinstance(cause, ModpostLine)]
    if modpost:
        yield from (_modpost(line, fault, log, file, Severity.FAIL) for line in modpost)
        return
    causes = (
        tuple(cause for cause in fault.causes if not isinstance(cause, ToolError)) if _stopped(fault) else fault.causes
    )
    if not causes:
        if fault.failure:
            yield _uncaused(fault.failure, fault, file)
        return
    first = causes[0]
    if isinstance(first, LinkerError):
        yield from (_linker(cause, fault, file) for cause in _symbols(fault.causes))
        return
    for kind, tell in TELLERS:
        if isinstance(first, kind):
            yield tell(first, fault, file)
            return
    if fault.failure:  # only a line about the machine that explains nothing, such as a clock skew
        yield _uncaused(fault.failure, fault, file)


# ------------------------------------------------------------------------------------------------------- one kind each


def _compiler(cause: CompilerError, fault: Fault, file: str) -> Finding:
    facts = {
        "file": cause.file,
        "line": cause.row,
        "column": cause.column,
        "source": cause.source,
        "message": cause.message,
    }
    return _finding(
        "build.compiler", cause, fault, file, f"compile error in {cause.file}: {cause.message}", cause.text, facts
    )


def _linker(cause: LinkerError, fault: Fault, file: str) -> Finding:
    facts = {
        "file": cause.source, "line": cause.row, "object": cause.object, "symbol": cause.symbol, "message": cause.message,
        "source": cause.source,
    }  # fmt: skip
    place = cause.source or cause.object
    title = f"link error: {cause.symbol or cause.message}"
    if cause.symbol:
        title = (
            f"{'multiple definition of' if cause.kind is LinkKind.MULTIPLE else 'undefined symbol'} '{cause.symbol}'"
        )
    message = f"{cause.message} (in {place})" if place and place not in cause.message else cause.message
    return _finding("build.linker", cause, fault, file, title, message, facts, kind=str(cause.kind))


def _symbols(causes: Iterable[Complaint]) -> list[LinkerError]:
    """Return the first complaint about each symbol, at most SYMBOLS_LIMIT of them."""
    first: dict[str, LinkerError] = {}
    for cause in causes:
        if isinstance(cause, LinkerError):
            first.setdefault(f"{cause.kind} {cause.symbol or cause.message}", cause)
    typed = [cause for cause in first.values() if cause.symbol] or list(first.values())[:1]
    return typed[:SYMBOLS_LIMIT]


def _kallsyms(cause: KallsymsLine, fault: Fault, file: str) -> Finding:
    if not cause.inconsistent:
        return _finding(
            "build.script",
            cause,
            fault,
            file,
            cause.message,
            cause.message,
            {"message": cause.message},
            kind="kallsyms",
        )
    message = (
        "Inconsistent kallsyms data: the final vmlinux has other symbols than the pass that its table was made from"
    )
    because = ("make KALLSYMS_EXTRA_PASS=1 may get round it; if it does not, the table never settles",)
    facts = {"message": cause.message}
    return _finding("kallsyms.inconsistent", cause, fault, file, cause.message, message, facts, because=because)


def _kconfig(cause: KconfigError, fault: Fault, file: str) -> Finding:
    facts = {"file": cause.file, "line": cause.row, "message": cause.message}
    if cause.file:
        title = f"Kconfig: {cause.file}: {cause.message}"
        return _finding("build.kconfig", cause, fault, file, title, cause.text, facts)
    # no configuration, one of another version, an unclean tree: whoever asked for the build made it, not the kernel
    title = f"Kconfig: {cause.message}"
    return _finding("build.kconfig", cause, fault, file, title, cause.text, facts, severity=Severity.ERROR)


def _crash(cause: ToolCrash, fault: Fault, file: str) -> Finding:
    facts = {"file": cause.source, "source": cause.source, "message": cause.message, "tool": cause.tool}
    because = (
        "a machine with bad memory or a full disk looks the same: repeat before reporting it to the compiler's people",
    )
    title = f"toolchain crash: {_without_numbers(cause.message)}"
    return _finding("build.toolchain-crash", cause, fault, file, title, cause.message, facts, because=because)


def _script(cause: ToolError | ObjtoolLine, fault: Fault, file: str) -> Finding:
    facts: dict[str, Any] = {"message": cause.text, "tool": "objtool" if isinstance(cause, ObjtoolLine) else cause.tool}
    message = cause.text
    if message.startswith("Traceback") and fault.failure:
        message = _exception(fault.failure.excerpt) or message
        facts["message"] = message
    kind = "objtool" if isinstance(cause, ObjtoolLine) else "tool"
    return _finding("build.script", cause, fault, file, _without_numbers(message), message, facts, kind=kind)


TELLERS: tuple[tuple[Any, Any], ...] = (
    (CompilerError, _compiler),
    (KallsymsLine, _kallsyms),
    (KconfigError, _kconfig),
    (ToolCrash, _crash),
    (ToolError, _script),
    (ObjtoolLine, _script),
)
MODPOST_IDS = {
    ModpostKind.UNDEFINED: "modpost.undefined",
    ModpostKind.NAMESPACE: "modpost.namespace",
    ModpostKind.SECTION_MISMATCH: "modpost.section-mismatch",
}


def _modpost(line: ModpostLine, fault: Fault, log: BuildLog, file: str, severity: Severity) -> Finding:
    message = line.message
    because: tuple[str, ...] = ()
    if line.kind is ModpostKind.UNDEFINED:
        message = f"{line.message} Nothing in vmlinux or in another module exports it"
    elif line.kind is ModpostKind.SECTION_MISMATCH and not line.module:
        because = tuple(
            other.message for other in log.modpost if other.kind is line.kind and other.module and other.at < line.at
        )[:ERRORS_LIMIT]
    facts = {"message": line.message, "symbol": line.symbol, "module": line.module, "namespace": line.namespace}
    id_ = MODPOST_IDS.get(line.kind, "modpost.other")
    title = _without_numbers(line.message)
    found = _finding(
        id_, line, fault, file, title, message, facts, because=because, kind=str(line.kind), severity=severity
    )
    return _blaming(found, line.module) if line.module.endswith(".ko") else found


def _stopped(fault: Fault) -> bool:
    """Whether make itself gave up (a missing rule, $(error …)), so that its own words say why."""
    reason = fault.failure.reason if fault.failure is not None else ""
    return "Stop." in reason or reason.startswith("No rule to make target")  # with -k it does not stop


def _uncaused(failure: MakeFailure, fault: Fault, file: str) -> Finding:
    """Tell of a failure that nothing known precedes: a missing rule, a script that spoke in its own words, or silence."""
    if _stopped(fault) or not failure.target:
        title = _without_numbers(failure.reason)
        because = (f"it is needed by '{failure.needed_by}'",) if failure.needed_by else ()
        facts = {"message": failure.reason}
        return _finding("build.make", failure, fault, file, title, failure.reason, facts, because=because)
    told = _telling(failure.excerpt)
    if told:
        facts = {"message": told}
        return _finding(
            "build.script", failure, fault, file, f"'{failure.target}' failed: {_without_numbers(told)}", told, facts
        )
    message = f"make gave up on '{failure.target}' ({failure.reason}), and the log says nothing about why"
    return _finding(
        "build.failed", failure, fault, file, f"'{failure.target}' failed", message, {"message": failure.reason}
    )


def _unsaid(step: StepResult, file: str, tail: tuple[str, ...] = (), last: int = 0) -> Finding:
    message = f"the {step.name} step ended with status {step.status}, and the log names no failed target"
    return Finding(
        id="build.failed", severity=Severity.FAIL, title=f"{step.name} failed", message=message,
        where=Span(file=file, first=max(1, last - len(tail) + 1) if tail else 0, last=last),
        data={"message": message, "kind": "unsaid", "target": "", "script": "", "excerpt": list(tail)},
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ in common


def _finding(
    id_: str, cause: Complaint | MakeFailure, fault: Fault, file: str, title: str, message: str, facts: dict[str, Any],
    *, because: tuple[str, ...] = (), kind: str = "", severity: Severity = Severity.FAIL,
) -> Finding:  # fmt: skip
    """Make a finding of a cause within its fault: data has the same keys for every kind."""
    failure = fault.failure
    last = failure.at if failure and cause.at <= failure.at < cause.at + FAR_LINES else cause.at
    others = [other.text for other in fault.causes if other is not cause]
    data: dict[str, Any] = {
        "file": "", "line": 0, "column": 0, "target": failure.target if failure else "",
        "script": failure.script if failure else "", "kind": kind or id_.partition(".")[2],
        "excerpt": list(failure.excerpt) if failure else [cause.text], "errors": others[:ERRORS_LIMIT],
    } | facts  # fmt: skip
    if failure:
        because = (*because, f"make stopped: {failure.text.strip()}")
    return Finding(
        id=id_, severity=severity, title=title[:300], message=message, where=Span(file=file, first=cause.at, last=last),
        blame=failure.target if failure else "", because=because, data=data,
    )  # fmt: skip


def _blaming(finding: Finding, module: str) -> Finding:
    return Finding(
        id=finding.id, severity=finding.severity, title=finding.title, message=finding.message, where=finding.where,
        blame=module, because=finding.because, data=finding.data,
    )  # fmt: skip


def _without_numbers(text: str) -> str:
    """Take out of a title what changes from run to run: addresses, sizes, temporary names."""
    text = re.sub(r"/tmp/[\w./-]+", "/tmp/…", text)
    return re.sub(r"\b0x[0-9a-f]+\b|\b[0-9a-f]{8,}\b", "…", text)


NOISE = re.compile(
    r"  [A-Z][\w-]* |make(?:\[\d+\])?: (?:\*\*\*|[`'\"]|Entering |Leaving |Nothing |Target |Deleting |[Ww]arning|Circular )"
    r"|\+|\s*$|#|\s*\d* \||compilation terminated|.*warnings? (?:being treated|generated)"
    r"|.*(?:warning|note): |In file included|\s+from "
)
TELLING = re.compile(
    r"\b(?:error|fail(?:ed|ure)|cannot|can't|could not|not found|invalid|missing|unknown|unable|denied|No such|unexpected"
    r"|unrecogni[sz]ed|usage)\b",
    re.IGNORECASE,
)


def _telling(excerpt: tuple[str, ...]) -> str:
    """Return the line, among those right above a failure, that most likely says why; "" if only progress stands there."""
    block: list[str] = []
    for line in reversed(excerpt):
        if NOISE.match(line):
            if block:
                break
            continue
        block.append(line.strip())
    telling = [line for line in block if TELLING.search(line)]
    return telling[-1] if telling else block[0] if block else ""


def _exception(excerpt: tuple[str, ...]) -> str:
    """Return the last line of a Python traceback, which names the exception."""
    inside = False
    for line in excerpt:
        if line.startswith("Traceback"):
            inside = True
        elif inside and line and not line.startswith(" "):
            return line
    return ""
