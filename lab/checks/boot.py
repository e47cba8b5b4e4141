"""What the console of a booted kernel says: crashes, modules that would not load, and whether it got to the end.

A good boot is asserted, never assumed: only our init's `lab-init: done` ends one. The init names each module before it
loads it, so that a kernel that crashes, hangs or resets in between leaves the culprit's name as its last marker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.evidence.bundle import Evidence
from lab.evidence.console import ConsoleLog, ModuleLoad, read
from lab.evidence.console_livepatch import Refusal
from lab.evidence.console_report import Crash
from lab.evidence.console_rows import Category
from lab.evidence.log_facts import KlpKind
from lab.model import Ending, Finding, NotApplicable, Severity, Span, StepResult

IDS = (
    *(f"boot.{category}" for category in Category),
    "boot.module-failed",
    "boot.no-init",
    "boot.silent",
    "boot.hang",
    "boot.incomplete",
    "boot.modules",
    *(f"livepatch.{kind}" for kind in (KlpKind.SYMBOL, KlpKind.POSITION, KlpKind.FORMAT)),
)
CONSOLE = "console.txt"
STEP = "boot"
MODULES_LIMIT = 5000  # entries of boot.modules' data
# insmod's errors for hardware that is not there; our init prints the name or strerror's text (busybox does the latter)
NO_DEVICE = ("ENODEV", "ENXIO", "No such device")
MILD = (Category.WARNING, Category.TEST_PROGRAM)
"""What does not stop the kernel by itself."""
NO_INIT = ("No working init found", "Requested init", "Unable to mount root fs", "Attempted to kill init")


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield crashes first, then modules that failed, then how the boot ended if not well, then boot.modules (a note)."""
    path = evidence.console
    step = next((step for step in evidence.steps if step.name == STEP), None)
    if path is None:
        if step and step.ending in (Ending.EXITED, Ending.DEADLINE):
            yield _unfinished("boot.silent", "the kernel said nothing", ConsoleLog(), CONSOLE, step.ending)
        else:
            yield NotApplicable(check="boot", because=f"nothing was booted: there is no {CONSOLE}")
        return
    console, file = read(path), evidence.name_of(path)
    if step is None and not console.said:
        yield NotApplicable(check="boot", because=f"{file} is empty, and no step says that anything was booted")
        return
    yield from log_findings(console, file)
    yield from (_refused(line, console, file) for line in console.livepatch)
    yield from (_module_failed(load, file) for load in console.loads if load.outcome == "fail" and not no_device(load))
    yield from _ending(console, step, file)
    if console.loads or console.announced is not None:
        yield _modules(console, file)


def log_findings(console: ConsoleLog, file: str) -> tuple[Finding, ...]:
    """Return the crashes of a console, in its order; markers are not demanded, so any saved console can be judged."""
    return tuple(_crash(crash, console, file) for crash in console.crashes)


def no_device(load: ModuleLoad) -> bool:
    """Whether a module did not load because its hardware is not in this machine, which is no fault of the kernel."""
    return any(word in load.error for word in NO_DEVICE)


def loading(console: ConsoleLog, at: int) -> ModuleLoad | None:
    """Return the module that was being loaded at a line of the console, or None."""
    for load in reversed(console.loads):
        if load.at <= at:
            over = load.outcome != "begun" and load.last < at
            return None if over else load
    return None


def _crash(crash: Crash, console: ConsoleLog, file: str) -> Finding:
    load = loading(console, crash.at)
    because = []
    if load:
        because.append(f"the kernel was loading {load.path} (marker in line {load.at})")
    if crash.panic:
        because.append(f"it ended in a panic: {crash.panic}")
    mild = crash.category in MILD and not crash.panic
    data: dict[str, Any] = {
        "category": str(crash.category), "module": crash.module, "modules": list(crash.modules), "tainted": crash.tainted,
        "panic": crash.panic, "loading": load.path if load else crash.loading, "text": crash.text,
        "excerpt": list(crash.excerpt),
        "trace": [f"{frame.function} [{frame.module}]" if frame.module else frame.function for frame in crash.trace],
    }  # fmt: skip
    no_init = crash.category is Category.PANIC and not load and any(word in crash.text for word in NO_INIT[:3])
    return Finding(
        id="boot.no-init" if no_init else f"boot.{crash.category}",
        severity=Severity.WARNING if mild else Severity.FAIL,
        title=crash.title,
        message=f"{crash.title}: {crash.text.strip()}",
        where=Span(file=file, first=crash.at, last=crash.last),
        blame=load.path if load else "",
        function=crash.function,
        because=tuple(because),
        data=data,
    )


def _refused(line: Refusal, console: ConsoleLog, file: str) -> Finding:
    load = loading(console, line.at)
    message = line.text.partition("livepatch: ")[2]
    return Finding(
        id=f"livepatch.{line.kind}",
        severity=Severity.FAIL,
        title=f"livepatch refused: {message}",
        message=f"the running kernel refused {load.path if load else 'a livepatch'}: {message}",
        where=Span(file=file, first=line.at, last=line.at),
        blame=load.path if load else "",
        data={"object": line.object, "symbol": line.symbol, "position": line.position, "message": line.text},
    )


def _module_failed(load: ModuleLoad, file: str) -> Finding:
    return Finding(
        id="boot.module-failed",
        severity=Severity.FAIL,
        title=f"module does not load: {load.path}",
        message=f"{load.path} does not load: {load.error or 'insmod gave no reason'}",
        where=Span(file=file, first=load.at, last=load.last),
        blame=load.path,
        because=("the kernel's own reason, if it gave one, stands between the two markers",),
        data={"module": load.path, "error": load.error},
    )


def _ending(console: ConsoleLog, step: StepResult | None, file: str) -> Iterator[Finding]:
    """Yield what kept a boot from its end marker; nothing if it got there, or if the machine is to blame."""
    if console.done is not None:
        if console.done[0] + console.done[1] < (console.announced or 0):
            yield _incomplete(console, file, "the init says it is done, but announced more modules than it tried")
        return
    ending = step.ending if step else Ending.EXITED
    fatal = any(crash.panic or crash.category not in MILD for crash in console.crashes)
    if ending in (Ending.ENGINE_LOST, Ending.INTERRUPTED, Ending.OUT_OF_MEMORY, Ending.KILLED):
        return  # the check of infra.* tells it
    if not console.said:
        yield _unfinished("boot.silent", "the kernel said nothing", console, file, ending)
    elif fatal:
        return
    elif ending is Ending.DEADLINE:
        yield _unfinished("boot.hang", "the boot fell silent before it was done", console, file, ending)
    elif console.announced is None:
        yield _unfinished("boot.no-init", "the kernel started, but the init did not", console, file, ending)
    else:
        yield _incomplete(console, file, "the machine stopped without the end marker of the init")


def _incomplete(console: ConsoleLog, file: str, message: str) -> Finding:
    return _unfinished("boot.incomplete", message, console, file, Ending.EXITED)


def _unfinished(id_: str, message: str, console: ConsoleLog, file: str, ending: Ending) -> Finding:
    pending = console.pending
    because = [f"the last marker says that it was loading {pending.path}"] if pending else []
    if ending is Ending.DEADLINE:
        because.append("it was ended at the deadline of the boot step")
    first = pending.at if pending else max(1, console.lines - len(console.tail) + 1)
    return Finding(
        id=id_,
        severity=Severity.FAIL,
        title=message,
        message=f"{message}, while loading {pending.path}" if pending else message,
        where=Span(file=file, first=first if console.lines else 0, last=console.lines),
        blame=pending.path if pending else "",
        because=tuple(because),
        data={"lines": console.lines, "kernel_at": console.kernel_at, "tail": list(console.tail)},
    )


def _modules(console: ConsoleLog, file: str) -> Finding:
    outcomes = [
        {"path": load.path, "outcome": "no device" if load.outcome == "fail" and no_device(load) else load.outcome,
         "error": load.error}
        for load in console.loads[:MODULES_LIMIT]
    ]  # fmt: skip
    loaded = sum(load.outcome == "ok" for load in console.loads)
    announced = console.announced if console.announced is not None else len(console.loads)
    return Finding(
        id="boot.modules",
        severity=Severity.NOTE,
        title="modules loaded at boot",
        message=f"{loaded} of {announced} modules loaded",
        where=Span(file=file, first=console.loads[0].at, last=console.loads[-1].last)
        if console.loads
        else Span(file=file),
        # done: the init said so itself; without it a boot has not passed, whatever was not found
        data={"announced": announced, "loaded": loaded, "done": console.done is not None, "modules": outcomes},
    )
