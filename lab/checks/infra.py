"""What the machine did to a build: never the kernel's fault, so every finding that decides is an ERROR.

Two witnesses: how each step ended (steps.json) and what the log says. A line of the log is an ERROR only when the build
failed with it; the same line in a build that went on is a WARNING, as is a lack that explains one target while others
failed for the kernel's own reasons. A tool that crashed on a full disk is a full disk: ld.lld dies of SIGBUS there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lab.evidence import boots, console, qmp
from lab.evidence.bundle import Evidence
from lab.evidence.log_facts import BuildLog, CompilerError, InfraKind, InfraLine, ToolCrash
from lab.evidence.log_faults import EXPLAINING, Fault, faults
from lab.model import Ending, Finding, NotApplicable, Severity, Span, StepResult

IDS = (
    "infra.disk-full",
    "infra.out-of-memory",
    "infra.compiler-killed",
    "infra.emulator-crash",
    "infra.engine-lost",
    "infra.deadline",
    "infra.interrupted",
    "infra.clock",
    "infra.missing-tool",
    "infra.read-only",
    "infra.io-error",
    "infra.ccache",
    "infra.network",
    "infra.qemu-lost",
    "infra.qemu-failed",
)
LOG = "build.txt"
STEPS = "steps.json"
SIGNALLED = 128
"""What a shell and a container's engine add to the number of the signal that ended a program."""
NOT_FOUND = (126, 127)
"""A shell's statuses for what it cannot execute, and for what is not there. Source: POSIX, Shell Command Language, 2.8.2."""
FULL_BYTES = 16 << 20
"""Less than this free at the end of a failed step: no linker of a kernel finds room (vmlinux alone is larger)."""

QEMU_SAYS = re.compile(r"\s*(?:\S*/)?qemu(?:-system-\w+)?: (?!warning: |info: )")
NO_QEMU = re.compile(r".*\bqemu-system-\w+: (?:command )?not found|.*\bqemu-system-\w+: No such file or directory\s*$")

TITLES: dict[InfraKind, str] = {
    InfraKind.DISK_FULL: "the filesystem was full",
    InfraKind.READ_ONLY: "the filesystem was read-only",
    InfraKind.OUT_OF_MEMORY: "memory ran out",
    InfraKind.KILLED: "the compiler was killed",
    InfraKind.EMULATOR: "the emulator crashed",
    InfraKind.MISSING_TOOL: "a tool is missing on the build machine",
    InfraKind.CLOCK: "the clock of the filesystem and of the machine differ",
    InfraKind.INTERRUPTED: "the build was interrupted",
    InfraKind.IO_ERROR: "the storage failed",
    InfraKind.ENGINE: "the container engine was lost",
    InfraKind.CCACHE: "the compiler cache could not work",
    InfraKind.NETWORK: "the network was not there",
}
QEMU_TITLES = {
    "infra.qemu-lost": "qemu was lost",
    "infra.qemu-failed": "qemu did not run",
    "infra.missing-tool": "qemu is missing",
}
ENDINGS: dict[Ending, tuple[str, str]] = {
    Ending.DEADLINE: ("infra.deadline", "the {name} step did not end within its deadline"),
    Ending.OUT_OF_MEMORY: ("infra.out-of-memory", "the {name} step was killed for want of memory"),
    Ending.KILLED: ("infra.interrupted", "the {name} step was killed by a signal that was not the lab's"),
    Ending.INTERRUPTED: ("infra.interrupted", "the {name} step was interrupted"),
    Ending.ENGINE_LOST: ("infra.engine-lost", "the container engine was lost during the {name} step"),
}


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield what the machine did, deciding findings first."""
    log, path, steps = evidence.log, evidence.build_log, evidence.steps
    if (log is None or log.empty) and not steps:
        absent = f"there is neither a build log ({LOG}) nor a list of steps ({STEPS})"
        yield NotApplicable(check="infra", because=f"{path.name} is empty" if path and log is not None else absent)
        return
    probes = (evidence.remade.made.again,) if evidence.remade and evidence.remade.made else ()
    made = [*(step for step in steps if not boots.is_boot(step.name)), *probes]
    found = [finding for step in made if (finding := _ending(step))]
    found += [_set_back(step) for step in made if step.set_back_s][:1]
    booted = boots.found(steps, evidence.file, evidence.name_of)
    found += [finding for one in booted if one.step is not None and (finding := _of_boot(one, one.step))]
    full = [step for step in steps if not step.ok and _full(step)]
    if full and not any(finding.id == "infra.disk-full" for finding in found) and _disk_explains(log):
        found.append(_disk_full(full[0], log))
    if log is not None and path is not None:
        failed = any(not step.ok for step in steps if not boots.is_boot(step.name))
        found += log_findings(log, evidence.name_of(path), failed=failed)
    yield from _once(found)


def log_findings(log: BuildLog, file: str, *, failed: bool = False) -> tuple[Finding, ...]:
    """Return the infra.* findings of a log alone. failed: the build is known to have failed, whatever the log says."""
    told = faults(log)
    explained = [(fault, line) for fault in told if (line := fault.machine) is not None]
    kernels_own = any(fault.machine is None for fault in told)
    found = []
    for fault, line in explained:
        decides = line.kind in EXPLAINING or not kernels_own
        found.append(_line(line, file, Severity.ERROR if decides else Severity.WARNING, fault))
    causes = {line.at for _, line in explained}
    for line in log.infra:
        if line.at not in causes and line.kind is not InfraKind.MISSING_TOOL:
            unexplained = failed and not told and line.kind in EXPLAINING
            found.append(_line(line, file, Severity.ERROR if unexplained else Severity.WARNING, None))
    return _once(found)


def console_findings(saved: console.ConsoleLog, file: str) -> tuple[Finding, ...]:
    """Return what became of qemu, by a saved console alone: nobody saw its process end.

    An end by a signal explains a log that tells of no crash; another word of qemu's one in which no kernel is heard.
    """
    if qmp.is_hosts(qmp.Told(), saved.tail) and not saved.crashes and saved.done is None:
        id_, line = "infra.qemu-lost", next(line for line in saved.tail if qmp.TERMINATED.match(line))
    elif not saved.kernel_at and (words := [line for line in saved.tail if NO_QEMU.match(line)]):
        id_, line = "infra.missing-tool", words[-1]
    elif not saved.said and (words := [line for line in saved.tail if QEMU_SAYS.match(line)]):
        id_, line = "infra.qemu-failed", words[-1]
    else:
        return ()
    at = saved.lines - len(saved.tail) + 1 + saved.tail.index(line)
    said = line.strip()
    return (
        Finding(
            id=id_,
            severity=Severity.ERROR,
            title=QEMU_TITLES[id_],
            message=said[:500],
            where=Span(file=file, first=at, last=at),
            data={"step": boots.STEP, "message": said[:500]},
        ),
    )


def _line(line: InfraLine, file: str, severity: Severity, fault: Fault | None) -> Finding:
    failure = fault.failure if fault else None
    subject = f": {line.subject}" if line.subject and line.kind is InfraKind.MISSING_TOOL else ""
    error = (
        next((cause for cause in fault.causes if isinstance(cause, CompilerError) and cause.at == line.at), None)
        if fault
        else None
    )
    data: dict[str, Any] = {
        "file": error.file if error else "",
        "line": error.row if error else 0,
        "source": error.source if error else "",
        "kind": str(line.kind),
        "subject": line.subject,
        "message": line.text,
        "target": failure.target if failure else "",
        "script": failure.script if failure else "",
        "excerpt": list(failure.excerpt) if failure else [line.text],
    }
    return Finding(
        id=f"infra.{line.kind}",
        severity=severity,
        title=TITLES[line.kind] + subject,
        message=f"{TITLES[line.kind]}: {line.text.strip()}",
        where=Span(file=file, first=line.at, last=line.at),
        blame=failure.target if failure else "",
        because=(f"make stopped: {failure.text.strip()}",) if failure else (),
        data=data,
    )


def _of_boot(one: boots.Boot, step: StepResult) -> Finding | None:
    """Return what became of qemu, if it did not end by its guest; a guest's end is for the check of the console."""
    told = one.told
    if step.ending is Ending.KILLED:
        return _qemu("infra.qemu-lost", f"qemu was {step.detail or 'killed'}", step, Span(file=STEPS))
    if step.ending in ENDINGS and step.ending is not Ending.DEADLINE:
        return _ending(step)
    if qmp.is_hosts(told, _tail(one)):
        signalled = told.shutdown in ("host-signal", "")
        by = (
            "by a signal that was not the lab's"
            if signalled and not told.stopped
            else f"({told.stopped or told.shutdown})"
        )
        where = Span(
            file=one.events, first=told.shutdown_at or told.stopped_at, last=told.shutdown_at or told.stopped_at
        )
        return _qemu("infra.qemu-lost", f"qemu was ended {by}", step, where)
    if step.ending is Ending.DEADLINE or step.ok:
        where = Span(file=one.events, first=told.held_at, last=told.held_at)
        never = "the guest was never started: qemu could not be spoken to"
        return _qemu("infra.qemu-lost", never, step, where) if told.held_at else None
    if step.status > SIGNALLED:
        return _qemu("infra.qemu-lost", f"qemu crashed with signal {step.status - SIGNALLED}", step, Span(file=STEPS))
    return _not_started(one, step)


def _not_started(one: boots.Boot, step: StepResult) -> Finding:
    """Return why qemu would not run: its own words, or the shell's, are the last on the console."""
    program = step.argv[0] if step.argv else "qemu"
    tail = [line for line in _tail(one) if line.strip()]
    said = next((line for line in reversed(tail) if "qemu" in line), tail[-1] if tail else "it said nothing")
    where = Span(file=one.file if one.console else STEPS)
    if step.status in NOT_FOUND:
        return _qemu("infra.missing-tool", f"{program} is not in the image that boots: {said.strip()}", step, where)
    return _qemu("infra.qemu-failed", f"{program} exited {step.status}: {said.strip()}", step, where)


def _tail(one: boots.Boot) -> tuple[str, ...]:
    return console.read(one.console).tail if one.console else ()


def _qemu(id_: str, message: str, step: StepResult, where: Span) -> Finding:
    data: dict[str, Any] = {"step": step.name, "status": step.status, "seconds": step.seconds, "message": message[:500]}
    if id_ == "infra.missing-tool":
        data["subject"] = step.argv[0] if step.argv else ""
    return Finding(
        id=id_, severity=Severity.ERROR, title=QEMU_TITLES[id_], message=message[:500], where=where, data=data
    )


def _ending(step: StepResult) -> Finding | None:
    """Return what a step's end says."""
    if step.ending is Ending.EXITED:
        return None
    id_, text = ENDINGS[step.ending]
    message = text.format(name=step.name) + (f": {step.detail}" if step.detail else "")
    return Finding(
        id=id_,
        severity=Severity.ERROR,
        title=text.format(name=step.name),
        message=message,
        where=Span(file=STEPS),
        data={"step": step.name, "status": step.status, "seconds": step.seconds, "message": message},
    )


def _set_back(step: StepResult) -> Finding:
    message = f"the machine's clock was set back by {step.set_back_s:g} s until the end of the {step.name} step"
    return Finding(
        id="infra.clock",
        severity=Severity.ERROR,
        title="the machine's clock was set back",
        message=message,
        where=Span(file=STEPS),
        because=(
            "make goes by the times of files: what it rebuilt then, and what it did not, says nothing of the kernel",
        ),
        data={"step": step.name, "set_back_s": step.set_back_s, "message": message},
    )


def _full(step: StepResult) -> bool:
    no_inodes = step.inodes_free == 0
    return no_inodes or (step.bytes_free is not None and step.bytes_free < FULL_BYTES)


def _disk_explains(log: BuildLog | None) -> bool:
    """Whether the log lets a full disk be the cause: a tool died or could not write, or nothing says why."""
    if log is None:
        return True
    silent = all(not fault.causes for fault in faults(log))
    written = any(line.kind in (InfraKind.IO_ERROR, InfraKind.DISK_FULL) for line in log.infra)
    return silent or written or any(isinstance(crash, ToolCrash) for crash in log.crashes)


def _disk_full(step: StepResult, log: BuildLog | None) -> Finding:
    free = "no inode" if step.inodes_free == 0 else f"{step.bytes_free} bytes"
    crash = next(iter(log.crashes), None) if log else None
    witness = (f"a tool that maps its output dies when there is no room: {crash.text.strip()}",) if crash else ()
    return Finding(
        id="infra.disk-full",
        severity=Severity.ERROR,
        title=TITLES[InfraKind.DISK_FULL],
        message=f"the {step.name} step failed, and {free} were left on the output's filesystem",
        where=Span(file=LOG, first=crash.at, last=crash.at) if crash else Span(file=STEPS),
        because=witness,
        data={"step": step.name, "bytes_free": step.bytes_free, "inodes_free": step.inodes_free},
    )


def _once(found: list[Finding]) -> tuple[Finding, ...]:
    """Return the findings that decide first, each id once with the first proof and the number of its lines."""
    first: dict[tuple[str, str], Finding] = {}
    for finding in sorted(found, key=lambda finding: finding.severity is not Severity.ERROR):
        subject = str(finding.data.get("subject", "")) if finding.id == "infra.missing-tool" else ""
        key = (finding.id, subject)
        if key in first:
            first[key].data["more"] = first[key].data.get("more", 0) + 1
        else:
            first[key] = finding
    return tuple(first.values())
