"""What the console of a booted kernel says: crashes, modules that would not load, results of tests, and how it ended.

A good boot is asserted, never assumed: only our init's `lab-init: done` ends one. The init names each module before it
loads it, so that a kernel that crashes, hangs or resets in between leaves the culprit's name as its last marker.

A second witness is qemu itself (lab.evidence.qmp): whether the guest was reset, switched off, told of its panic, or was still
running at the deadline. A kernel that ends without a word is told apart by it. An end of qemu's own is for checks.infra.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lab.evidence import console_modules as kmod
from lab.evidence import ktap, qmp, traces
from lab.evidence.bundle import Evidence
from lab.evidence.console import ConsoleLog, ModuleLoad, read
from lab.evidence.console_lines import GOODBYE
from lab.evidence.console_livepatch import Refusal
from lab.evidence.console_report import Crash
from lab.evidence.console_rows import Category
from lab.evidence.guilty import guilty
from lab.evidence.log_facts import KlpKind
from lab.model import Ending, Finding, NotApplicable, Severity, Span, StepResult

IDS = (
    *(f"boot.{category}" for category in Category),
    "boot.module-failed",
    "boot.no-init",
    "boot.silent",
    "boot.hang",
    "boot.incomplete",
    "boot.reset",
    "boot.triple-fault",
    "boot.flood",
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
HUNG = ("boot.hang", "the boot fell silent before it was done")
MILD = (Category.WARNING, Category.TEST_PROGRAM)
"""What does not stop the kernel by itself."""
NO_INIT = ("No working init found", "Requested init", "Unable to mount root fs", "Attempted to kill init")


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield crashes first, then modules that failed, then how the boot ended if not well, then boot.modules (a note)."""
    path = evidence.console
    step = next((step for step in evidence.steps if step.name == STEP), None)
    if path is None and (step is None or not _guests_own(step)):
        yield NotApplicable(check="boot", because=f"nothing was booted: there is no {CONSOLE}")
        return
    console, file = (read(path), evidence.name_of(path)) if path is not None else (ConsoleLog(), CONSOLE)
    if step is None and not console.said:
        yield NotApplicable(check="boot", because=f"{file} is empty, and no step says that anything was booted")
        return
    found = traces.of_evidence(evidence, path, console.crashes) if path is not None else ()
    yield from _crashes(console, file, found)
    yield from (_refused(line, console, file) for line in console.livepatch)
    failed = [load for load in console.loads if load.outcome == "fail" and not no_device(load)]
    yield from (_module_failed(load, file, _said_of(load, console)) for load in failed)
    yield from _refused_modules([line for line in console.refused if loading(console, line.at) is None], file)
    yield from _tests(console, file)
    yield from _ending(End(console=console, step=step, told=_told(evidence), file=file))
    if step is not None and step.dropped:
        yield _flood(step, file)
    if console.loads or console.announced is not None:
        yield _modules(console, file)


def log_findings(console: ConsoleLog, file: str, found: Sequence[traces.Trace] = ()) -> tuple[Finding, ...]:
    """Return what a console says by itself: crashes in its order, modules that the kernel refused, results of tests.

    Markers of our init are not demanded, so that any saved console can be judged. found: the trace of each crash, where the
    kernel that crashed is at hand.
    """
    return (*_crashes(console, file, found), *_refused_modules(console.refused, file), *_tests(console, file))


def _crashes(console: ConsoleLog, file: str, found: Sequence[traces.Trace]) -> Iterator[Finding]:
    with_traces = zip(console.crashes, found or (traces.Trace(),) * len(console.crashes), strict=True)
    yield from (_crash(crash, trace, console, file) for crash, trace in with_traces)


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


def _crash(crash: Crash, trace: traces.Trace, console: ConsoleLog, file: str) -> Finding:
    load = loading(console, crash.at)
    code = guilty(crash, trace, load.path if load else crash.loading)
    because = []
    if load:
        because.append(f"the kernel was loading {load.path} (marker in line {load.at})")
    if crash.panic:
        because.append(f"it ended in a panic: {crash.panic}")
    mild = crash.category in MILD and not crash.panic
    data: dict[str, Any] = {
        "category": str(crash.category), "module": crash.module, "modules": list(crash.modules), "tainted": crash.tainted,
        "panic": crash.panic, "loading": load.path if load else crash.loading, "text": crash.text,
        "excerpt": list(crash.excerpt), "caller": next((one.module for one in crash.trace if one.sure and one.module), ""),
        "trace": [f"{frame.function} [{frame.module}]" if frame.module else frame.function for frame in crash.trace],
    }  # fmt: skip
    no_init = crash.category is Category.PANIC and not load and any(word in crash.text for word in NO_INIT[:3])
    return Finding(
        id="boot.no-init" if no_init else f"boot.{crash.category}",
        severity=Severity.WARNING if mild else Severity.FAIL,
        title=crash.title,
        message=f"{crash.title}: {crash.text.strip()}",
        where=Span(file=file, first=crash.at, last=crash.last),
        blame=load.path if load else code.module,
        function=crash.function,
        because=(*because, *code.because),
        data=data | code.data,
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


# -------------------------------------------------------------------------------------------------------------- the end


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a boot came to its end, by all witnesses. step: None if it was booted elsewhere."""

    console: ConsoleLog
    step: StepResult | None
    told: qmp.Told
    file: str

    @property
    def ending(self) -> Ending:
        """How the step ended; a console from elsewhere ended by itself."""
        return self.step.ending if self.step else Ending.EXITED

    @property
    def announced(self) -> bool:
        """Whether the kernel said that it was going to reset or to switch off."""
        return any(GOODBYE.match(line) for line in self.console.tail)

    @property
    def silent(self) -> bool:
        """Whether nothing but firmware was heard."""
        return not self.console.said


def _told(evidence: Evidence) -> qmp.Told:
    return qmp.read(evidence.file(qmp.EVENTS), evidence.file(qmp.NOTES))


def _guests_own(step: StepResult) -> bool:
    """Whether a step ended by what the guest did, or did not do, and not by what became of qemu."""
    return step.ending is Ending.DEADLINE or step.ok


def _ending(end: End) -> Iterator[Finding]:
    """Yield what kept a boot from its end marker; nothing if it got there, or if the machine is to blame."""
    console, told = end.console, end.told
    if console.done is not None:
        if console.done[0] + console.done[1] < (console.announced or 0):
            yield _unfinished(
                "boot.incomplete", "the init says it is done, but announced more modules than it tried", end
            )
        return
    if (end.step is not None and not _guests_own(end.step)) or qmp.is_hosts(told, console.tail):
        return  # the check of infra.* tells it
    fatal = any(crash.panic or crash.category not in MILD for crash in console.crashes)
    if fatal:
        return
    if told.panicked_at:
        yield _unfinished("boot.panic", "the kernel told its machine of a panic, and its console of none", end)
    elif end.ending is Ending.DEADLINE:
        id_, message = ("boot.silent", "the kernel said nothing") if end.silent else HUNG
        yield _unfinished(id_, message, end)
    elif told.triple_fault_at and not end.announced:
        yield _unfinished("boot.triple-fault", "the processor met a triple fault and was reset", end)
    elif told.shutdown == "guest-reset" and not end.announced:
        yield _unfinished("boot.reset", "the kernel reset the machine without a word", end)
    elif end.silent:
        yield _unfinished("boot.silent", "the kernel said nothing", end)
    elif console.announced is None:
        yield _unfinished("boot.no-init", "the kernel started, but the init did not", end)
    else:
        how = "the guest switched itself off" if told.shutdown == "guest-shutdown" else "the machine stopped"
        yield _unfinished("boot.incomplete", f"{how} without the end marker of the init", end)


def _unfinished(id_: str, message: str, end: End) -> Finding:
    console, pending = end.console, end.console.pending
    first = pending.at if pending else max(1, console.lines - len(console.tail) + 1)
    return Finding(
        id=id_,
        severity=Severity.FAIL,
        title=message,
        message=f"{message}, while loading {pending.path}" if pending else message,
        where=Span(file=end.file, first=first if console.lines else 0, last=console.lines),
        blame=pending.path if pending else "",
        because=tuple(_witnesses(end)),
        data={
            "lines": console.lines,
            "kernel_at": console.kernel_at,
            "shutdown": end.told.shutdown,
            "counter": f"{end.told.counter:#x}" if end.told.counter is not None else "",
            "tail": list(console.tail),
        },
    )


def _witnesses(end: End) -> Iterator[str]:
    """Yield what is known of the end, each with its place."""
    told, pending = end.told, end.console.pending
    if pending:
        yield f"the last marker says that it was loading {pending.path}"
    if end.silent:
        yield "its console had said nothing"
    if end.ending is Ending.DEADLINE:
        detail = end.step.detail if end.step else ""
        yield f"it was ended: {detail}" if detail else "it was ended at the deadline of the boot step"
    if told.counter is not None:
        yield f"shortly before, the processor was at {told.counter:#x} ({qmp.EVENTS}:{told.counter_at})"
    if told.triple_fault_at:
        yield f"qemu noted a triple fault ({qmp.NOTES}:{told.triple_fault_at})"
    if told.shutdown:
        yield f"qemu ended for the reason {told.shutdown} ({qmp.EVENTS}:{told.shutdown_at})"
    if told.panicked_at:
        yield f"the guest told of a panic ({qmp.EVENTS}:{told.panicked_at})"
    if told.watchdog_at:
        yield f"a watchdog of the machine fired ({qmp.EVENTS}:{told.watchdog_at})"


def _flood(step: StepResult, file: str) -> Finding:
    return Finding(
        id="boot.flood",
        severity=Severity.WARNING,
        title="the console was flooded",
        message=f"the console said more than is kept: {step.dropped} bytes in the middle are not there",
        where=Span(file=file),
        data={"dropped": step.dropped},
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
