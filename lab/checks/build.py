"""What stopped the build, from its log: the first real error of each failed target, with file, line, target and message.

One failed target is one finding: the errors after its first are listed in data["errors"], the levels of make above repeat
nothing, a target that failed in two runs of make is told once. What the machine did (disk, memory, emulator) is told by
the check of infra.* and not here. A failed build always yields at least build.failed with the last lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from lab.evidence.boots import is_boot
from lab.evidence.bundle import Evidence
from lab.evidence.log_excerpt import exception, telling, without_numbers
from lab.evidence.log_facts import (
    BtfLine,
    BuildLog,
    CompilerError,
    Complaint,
    KallsymsLine,
    KconfigError,
    KlpKind,
    KlpLine,
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
    "btf.failed",
    "objtool.error",
    "livepatch.conflict",
    "livepatch.position",
    "livepatch.symbol",
    "livepatch.format",
)
OTHERS = ("modpost.", "kallsyms.inconsistent")
"""Told by log_findings() where there is only a log; with the whole evidence at hand other checks know more."""
QUIET = (ModpostKind.OTHER, ModpostKind.SUPPRESSED, ModpostKind.MISSING_INPUT)
LOG = "build.txt"
FINDINGS_LIMIT = 100
SYMBOLS_LIMIT = 20
ERRORS_LIMIT = 20
FAR_LINES = 200  # a proof longer than this points at its first line only


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield what stopped configure or build.

    modpost.* and kallsyms.inconsistent are left to the checks that also read symbols and maps.
    """
    log, path = evidence.log, evidence.build_log
    ended = [step for step in evidence.steps if not is_boot(step.name) and not step.ok]
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
    yield from (finding for finding in found if not finding.id.startswith(OTHERS))
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
    stopped = any(line.fatal and line.kind is ModpostKind.SECTION_MISMATCH for line in log.modpost)
    for (
        line
    ) in log.modpost:  # KBUILD_MODPOST_WARN=1, section mismatches, versions: the build goes on, the module may not load
        told = line.kind not in QUIET and not (stopped and line.kind is ModpostKind.SECTION_MISMATCH)
        if not line.fatal and told:
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
    if isinstance(first, KlpLine):
        lines = [cause for cause in causes if isinstance(cause, KlpLine) and not cause.consequence]
        yield from (
            _klp(line, fault, file) for line in [line for line in lines if not line.harmless] or lines or [first]
        )
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


LINK_TITLES: dict[LinkKind, str] = {
    LinkKind.UNDEFINED: "undefined symbol",
    LinkKind.MULTIPLE: "multiple definition of",
    LinkKind.RANGE: "relocation out of range:",
    LinkKind.DISCARDED: "a discarded section is used:",
}
LINK_REASONS: dict[LinkKind, str] = {
    LinkKind.RANGE: "what the code jumps or points to is too far away: the image has grown, or a section lies elsewhere",
    LinkKind.DISCARDED: "code that stays refers to code that this configuration throws away (__init, __exit)",
    LinkKind.OVERLAP: "the linker script gives two sections the same place",
    LinkKind.ORPHAN: "no rule of the linker script places this section, and CONFIG_LD_ORPHAN_WARN_LEVEL makes that an error",
    LinkKind.ASSERTION: "an ASSERT() of the linker script (arch/*/kernel/vmlinux.lds.S) did not hold",
    LinkKind.SPACE: "the image is larger than the memory region that the linker script gives it",
}


def _linker(cause: LinkerError, fault: Fault, file: str) -> Finding:
    facts = {
        "file": cause.source, "line": cause.row, "object": cause.object, "symbol": cause.symbol, "message": cause.message,
        "source": cause.source, "function": cause.function,
    }  # fmt: skip
    place = cause.source or cause.object
    title = f"link error: {without_numbers(cause.symbol or cause.message)}"
    if cause.symbol and cause.kind in LINK_TITLES:
        title = f"{LINK_TITLES[cause.kind]} '{cause.symbol}'"
    message = f"{cause.message} (in {place})" if place and place not in cause.message else cause.message
    because = (LINK_REASONS[cause.kind],) if cause.kind in LINK_REASONS else ()
    found = _finding("build.linker", cause, fault, file, title, message, facts, because=because, kind=str(cause.kind))
    return replace(found, function=cause.function)


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
    if cause.file or "recursive dependency" in cause.message:  # 7.2 names files in the lines below only
        title = f"Kconfig: {cause.file}{': ' if cause.file else ''}{cause.message}"
        return _finding("build.kconfig", cause, fault, file, title, cause.text, facts)
    # no configuration, one of another version, an unclean tree: whoever asked for the build made it, not the kernel
    title = f"Kconfig: {cause.message}"
    return _finding("build.kconfig", cause, fault, file, title, cause.text, facts, severity=Severity.ERROR)


def _crash(cause: ToolCrash, fault: Fault, file: str) -> Finding:
    facts = {"file": cause.source, "source": cause.source, "message": cause.message, "tool": cause.tool}
    because = (
        "a machine with bad memory or a full disk looks the same: repeat before reporting it to the compiler's people",
    )
    title = f"toolchain crash: {without_numbers(cause.message)}"
    return _finding("build.toolchain-crash", cause, fault, file, title, cause.message, facts, because=because)


SCRIPTS = (
    # host programs that name no place: what the line begins with or holds, and the kind of data that a reader can ask for
    ("Cannot find symbol for section", "recordmcount"),
    ("error: local symbol ", "local-export"),
    ("function name creates ambiguity", "function-name"),
    ("__ex_table", "sorttable"),
    ("klp-convert: ", "klp-convert"),
)


def _script(cause: ToolError | KlpLine, fault: Fault, file: str) -> Finding:
    tool = cause.tool if isinstance(cause, ToolError) else "klp-convert"
    facts: dict[str, Any] = {"message": cause.text, "tool": tool}
    message = cause.text
    if message.startswith("Traceback") and fault.failure:
        message = exception(fault.failure.excerpt) or message
        facts["message"] = message
    kind = next((kind for words, kind in SCRIPTS if words in message), "tool")
    because: tuple[str, ...] = ()
    if isinstance(cause, KlpLine) and cause.harmless:
        because = (
            "this klp-convert compares names alone: one name in two objects, or one position twice, is no conflict",
        )
    return _finding(
        "build.script", cause, fault, file, without_numbers(message), message, facts, because=because, kind=kind
    )


WITHOUT_MODULE = (
    "objtool looks for the key among the kernel's own unless it is told --module: an object of a module whose call lacks that"
    " option ends so (tools/objtool/check.c, create_static_call_sections())"
)


def _objtool(cause: ObjtoolLine, fault: Fault, file: str) -> Finding:
    facts = {
        "message": cause.text, "tool": "objtool", "object": cause.object, "function": cause.function, "offset": cause.offset
    }  # fmt: skip
    title = f"objtool: {without_numbers(cause.message)}"
    because = (WITHOUT_MODULE,) if cause.lacks_key else ()
    found = _finding("objtool.error", cause, fault, file, title, cause.text, facts, because=because, kind="objtool")
    return replace(found, function=cause.function, blame=cause.object or found.blame)


def _klp(cause: KlpLine, fault: Fault, file: str) -> Finding:
    if cause.harmless:
        return _script(cause, fault, file)
    facts = {
        "message": cause.text, "object": cause.object, "symbol": cause.symbol, "positions": list(cause.positions),
        "tool": cause.text.partition(":")[0],
    }  # fmt: skip
    because = ("two objects of the module want two symbols of one name, and its link left one for both",)
    return _finding(
        f"livepatch.{cause.kind}", cause, fault, file, f"livepatch: {cause.message}", cause.message, facts,
        because=because if cause.kind is KlpKind.CONFLICT else (), kind="log",
    )  # fmt: skip


def _btf(cause: BtfLine, fault: Fault, file: str) -> Finding:
    others = [other for other in fault.causes if isinstance(other, ToolError) and "pahole" in other.text.lower()]
    said = telling(fault.failure.excerpt) if cause.consequence and fault.failure else ""
    message = next((other.text for other in others), cause.message)
    because = ("pahole and the compiler must fit together: DWARF that is newer than pahole looks the same",)
    because = (*((f"before it: {said}",) if said and said != message else ()), *because)
    facts = {
        "message": cause.message,
        "symbol": cause.symbol,
        "tool": "resolve_btfids" if not cause.consequence else "pahole",
    }
    title = f"BTF: {without_numbers(message)}"
    return _finding(
        "btf.failed", cause, fault, file, title, message, facts, because=because if cause.consequence else ()
    )


TELLERS: tuple[tuple[Any, Any], ...] = (
    (CompilerError, _compiler),
    (KallsymsLine, _kallsyms),
    (KconfigError, _kconfig),
    (ToolCrash, _crash),
    (ObjtoolLine, _objtool),
    (BtfLine, _btf),
    (ToolError, _script),
)


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
    id_ = f"modpost.{line.kind}"
    title = without_numbers(line.message)
    found = _finding(
        id_, line, fault, file, title, message, facts, because=because, kind=str(line.kind), severity=severity
    )
    return replace(found, blame=line.module) if line.module.endswith(".ko") else found


def _stopped(fault: Fault) -> bool:
    """Whether make itself gave up (a missing rule, $(error …)), so that its own words say why."""
    reason = fault.failure.reason if fault.failure is not None else ""
    return "Stop." in reason or reason.startswith("No rule to make target")  # with -k it does not stop


def _uncaused(failure: MakeFailure, fault: Fault, file: str) -> Finding:
    """Tell of a failure that nothing known precedes: a missing rule, a script that spoke in its own words, or silence."""
    if _stopped(fault) or not failure.target:
        title = without_numbers(failure.reason)
        because = (f"it is needed by '{failure.needed_by}'",) if failure.needed_by else ()
        facts = {"message": failure.reason}
        return _finding("build.make", failure, fault, file, title, failure.reason, facts, because=because)
    told = telling(failure.excerpt)
    if told:
        facts = {"message": told}
        return _finding(
            "build.script", failure, fault, file, f"'{failure.target}' failed: {without_numbers(told)}", told, facts
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
