"""What the console of a booted kernel says: crashes, modules that would not load, results of tests, and how it ended.

A good boot is asserted, never assumed: only our init's `lab-init: done` ends one. The init names each module before it
loads it, so that a kernel that crashes, hangs or resets in between leaves the culprit's name as its last marker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lab.evidence import console_modules as kmod
from lab.evidence import ktap
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
    "boot.test-failed",
    "boot.tests-incomplete",
    "boot.tests",
    *(f"livepatch.{kind}" for kind in (KlpKind.SYMBOL, KlpKind.POSITION, KlpKind.FORMAT)),
)
CONSOLE = "console.txt"
STEP = "boot"
MODULES_LIMIT = 5000  # entries of boot.modules' data
TESTS_LIMIT = 50  # findings of failed tests; the note counts and lists more
SYMBOLS_LIMIT = 50
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
    yield from (_crash(crash, console, file) for crash in console.crashes)
    yield from (_refused(line, console, file) for line in console.livepatch)
    failed = [load for load in console.loads if load.outcome == "fail" and not no_device(load)]
    yield from (_module_failed(load, file, _said_of(load, console)) for load in failed)
    yield from _refused_modules([line for line in console.refused if loading(console, line.at) is None], file)
    yield from _tests(console, file)
    yield from _ending(console, step, file)
    if console.loads or console.announced is not None:
        yield _modules(console, file)


def log_findings(console: ConsoleLog, file: str) -> tuple[Finding, ...]:
    """Return what a console says by itself: crashes in its order, modules that the kernel refused, results of tests.

    Markers of our init are not demanded, so that any saved console can be judged.
    """
    return (
        *(_crash(crash, console, file) for crash in console.crashes),
        *_refused_modules(console.refused, file),
        *_tests(console, file),
    )


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


def _said_of(load: ModuleLoad, console: ConsoleLog) -> tuple[kmod.ModuleRefusal, ...]:
    """Return what the kernel said while a module was being loaded."""
    return tuple(line for line in console.refused if load.at <= line.at <= load.last)


def _module_failed(load: ModuleLoad, file: str, said: tuple[kmod.ModuleRefusal, ...]) -> Finding:
    unsaid = ("the kernel's own reason, if it gave one, stands between the two markers",)
    return Finding(
        id="boot.module-failed",
        severity=Severity.FAIL,
        title=f"module does not load: {load.path}",
        message=f"{load.path} does not load: {load.error or 'insmod gave no reason'}",
        where=Span(file=file, first=load.at, last=load.last),
        blame=load.path,
        because=tuple(f"the kernel says: {line.text.strip()} (line {line.at})" for line in said[:3]) or unsaid,
        data={"module": load.path, "error": load.error, **_refusal_data(said)},
    )


def _refused_modules(lines: Iterable[kmod.ModuleRefusal], file: str) -> Iterator[Finding]:
    """Yield a finding for each module and reason that the kernel names, where no marker of our init says which it is."""
    groups: dict[tuple[str, kmod.RefusalKind], list[kmod.ModuleRefusal]] = {}
    for line in lines:
        groups.setdefault((line.module, line.kind), []).append(line)
    for (module, kind), said in groups.items():
        more = f" (and {len(said) - 1} more lines)" if len(said) > 1 else ""
        yield Finding(
            id="boot.module-failed",
            severity=Severity.WARNING if kind in kmod.MILD else Severity.FAIL,
            title=f"module refused: {module or 'unnamed'}: {kind}",
            message=f"the kernel refuses {module or 'a module'}: {said[0].text.strip()}{more}",
            where=Span(file=file, first=said[0].at, last=said[-1].at),
            data={"module": module, "error": said[0].text.strip(), **_refusal_data(tuple(said))},
        )


def _refusal_data(said: tuple[kmod.ModuleRefusal, ...]) -> dict[str, Any]:
    symbols = list(dict.fromkeys(line.symbol for line in said if line.symbol))
    return {
        "kinds": list(dict.fromkeys(str(line.kind) for line in said)), "symbols": symbols[:SYMBOLS_LIMIT],
        "symbol": symbols[0] if symbols else "",
    }  # fmt: skip


def _tests(console: ConsoleLog, file: str) -> Iterator[Finding]:
    """Yield failed tests, suites that did not run to their plan, and a note of all results."""
    tests = console.tests
    yield from (_test_failed(result, file) for result in tests.failures[:TESTS_LIMIT])
    yield from (_tests_incomplete(one, console, file) for one in tests.unfinished[:TESTS_LIMIT])
    if not tests.total and not tests.unfinished:
        return
    counts = {
        "passed": tests.passed,
        "failed": tests.failed,
        "skipped": tests.skipped,
        "expected to fail": tests.xfailed,
    }
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    yield Finding(
        id="boot.tests",
        severity=Severity.NOTE,
        title="tests on the console",
        message=f"{tests.total} tests gave a result: {told or 'none'}",
        where=Span(file=file, first=tests.at, last=tests.last),
        data={
            "passed": tests.passed, "failed": tests.failed, "skipped": tests.skipped, "xfailed": tests.xfailed,
            "unfinished": len(tests.unfinished),
            "tests": [
                {"name": list(result.name), "outcome": str(result.outcome), "at": result.at, "reason": result.reason}
                for result in tests.results[:MODULES_LIMIT]
            ],
        },
    )  # fmt: skip


def _test_failed(result: ktap.TestResult, file: str) -> Finding:
    name = " / ".join(result.name)
    return Finding(
        id="boot.test-failed",
        severity=Severity.FAIL,
        title=f"test failed: {name}",
        message=f"test failed: {name}" + (f" ({result.reason})" if result.reason else ""),
        where=Span(file=file, first=result.at, last=result.at),
        because=tuple(f"it printed: {line}" for line in result.diagnostics[-3:]),
        data={"name": list(result.name), "reason": result.reason, "diagnostics": list(result.diagnostics)},
    )


def _tests_incomplete(one: ktap.Unfinished, console: ConsoleLog, file: str) -> Finding:
    """Say which suite did not run to its plan; a crash in the middle of it explains that, and is the finding that decides."""
    name = " / ".join(one.name)
    crash = next((crash for crash in console.crashes if one.at <= crash.at and crash.category not in MILD), None)
    because = [one.reason] if one.reason else []
    if crash:
        because.append(f"the kernel broke in line {crash.at}: {crash.title}")
    planned = f"{one.seen} of {one.planned} tests" if one.planned else f"{one.seen} tests, and no plan was given"
    return Finding(
        id="boot.tests-incomplete",
        severity=Severity.WARNING if crash else Severity.FAIL,
        title=f"tests did not run to their end{f': {name}' if name else ''}",
        message=f"tests did not run to their end{f' in {name}' if name else ''}: {planned} gave a result",
        where=Span(file=file, first=one.at, last=one.last),
        because=tuple(because),
        data={"name": list(one.name), "planned": one.planned, "seen": one.seen, "reason": one.reason},
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
