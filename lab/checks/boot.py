"""What the console of a booted kernel says: crashes, modules that would not load, results of tests, and how it ended.

A good boot is asserted, never assumed: only our init's `lab-init: done` ends one. The init names each module before it
loads it, so that a kernel that crashes, hangs or resets in between leaves the culprit's name as its last marker. How a boot
ended is told in boot_end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from lab.checks import boot_end, boot_modules
from lab.evidence import boots, ktap, traces
from lab.evidence.bundle import Evidence
from lab.evidence.console import ConsoleLog, read
from lab.evidence.console_livepatch import Refusal
from lab.evidence.console_markers import DOING, ModuleLoad, ProgramRun
from lab.evidence.console_report import Crash
from lab.evidence.console_rows import Category
from lab.evidence.guilty import guilty
from lab.evidence.log_facts import KlpKind
from lab.model import Finding, NotApplicable, Severity, Span

IDS = (
    *(f"boot.{category}" for category in Category),
    *boot_modules.IDS,
    *boot_end.IDS,
    "boot.script-failed",
    "boot.test-failed",
    "boot.tests-incomplete",
    "boot.tests",
    *(f"livepatch.{kind}" for kind in (KlpKind.SYMBOL, KlpKind.POSITION, KlpKind.FORMAT)),
)
RESULTS_LIMIT = 5000  # entries of boot.tests' data
TESTS_LIMIT = 50  # findings of failed tests; the note counts and lists more
NO_INIT = ("No working init found", "Requested init", "Unable to mount root fs", "Attempted to kill init")


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield crashes first, then modules that failed, then how the boots ended if not well, then boot.modules (a note).

    What several boots say alike is told once.
    """
    told = boots.found(evidence.steps, evidence.file, evidence.name_of)
    first = told[0] if told else None
    if first is None or (first.console is None and (first.step is None or not boot_end.guests_own(first.step))):
        yield NotApplicable(check="boot", because=f"nothing was booted: there is no {boots.CONSOLE}")
        return
    heard = [(one, read(one.console) if one.console is not None else ConsoleLog()) for one in told]
    if first.step is None and not heard[0][1].said:
        yield NotApplicable(check="boot", because=f"{first.file} is empty, and no step says that anything was booted")
        return
    plan = boots.read_plan(evidence.file(boots.PLAN)) or boots.Plan()
    outcomes = boots.outcomes([(one.file, console) for one, console in heard], plan)
    findings = [finding for one, console in heard for finding in _of_console(one, console, evidence)]
    findings += (finding for one in outcomes for finding in boot_modules.of_module(one, plan))
    findings += (finding for one, console in heard for finding in _besides(one, console, evidence))
    yield from _told_once(findings)
    if outcomes or any(console.announced is not None for _, console in heard):
        yield boot_modules.note(outcomes, [console for _, console in heard], plan, first.file)


def _of_console(one: boots.Boot, console: ConsoleLog, evidence: Evidence) -> Iterator[Finding]:
    """Yield the crashes of a boot, and the livepatches that it refused."""
    found = traces.of_evidence(evidence, one.console, console.crashes) if one.console is not None else ()
    yield from _crashes(console, one.file, found)
    yield from (_refused(line, console, one.file) for line in console.livepatch)


def _besides(one: boots.Boot, console: ConsoleLog, evidence: Evidence) -> Iterator[Finding]:
    """Yield what a boot says but for crashes and modules."""
    unmarked = [line for line in console.refused if loading(console, line.at) is None]
    yield from boot_modules.refused_by_name(unmarked, one.file)
    yield from (_program_failed(run, one.file) for run in console.programs if run.status)
    yield from _tests(console, one.file)
    yield from boot_end.findings(one, console, evidence)


def _told_once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings; one that an earlier boot has already is told there, with its place."""
    first: dict[tuple[str, str, str], Finding] = {}
    kept: list[Finding] = []
    also: dict[tuple[str, str, str], list[Span]] = {}
    for finding in findings:
        key = (finding.id, finding.title, finding.blame)
        if first.setdefault(key, finding).where.file == finding.where.file or finding.severity is Severity.NOTE:
            kept.append(finding)
        else:
            also.setdefault(key, []).append(finding.where)
    for finding in kept:
        key = (finding.id, finding.title, finding.blame)
        places = also.get(key, []) if first[key] is finding else []
        yield replace(finding, because=(*finding.because, _again(places))) if places else finding


def _again(places: Sequence[Span]) -> str:
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f"another boot says the same: {places[0].file}:{places[0].first}{more}"


def log_findings(console: ConsoleLog, file: str, found: Sequence[traces.Trace] = ()) -> tuple[Finding, ...]:
    """Return what a console says by itself: crashes in its order, modules that the kernel refused, results of tests.

    Markers of our init are not demanded, so that any saved console can be judged. found: the trace of each crash, where the
    kernel that crashed is at hand.
    """
    return (
        *_crashes(console, file, found),
        *boot_modules.refused_by_name(console.refused, file),
        *_tests(console, file),
    )


def _crashes(console: ConsoleLog, file: str, found: Sequence[traces.Trace]) -> Iterator[Finding]:
    with_traces = zip(console.crashes, found or (traces.Trace(),) * len(console.crashes), strict=True)
    yield from (_crash(crash, trace, console, file) for crash, trace in with_traces)


def loading(console: ConsoleLog, at: int) -> ModuleLoad | None:
    """Return the module that was being loaded (or unloaded) at a line of the console, or None."""
    for load in reversed(console.handled):
        if load.at <= at:
            over = load.outcome != "begun" and load.last < at
            return None if over else load
    return None


def _crash(crash: Crash, trace: traces.Trace, console: ConsoleLog, file: str) -> Finding:
    load = loading(console, crash.at)
    code = guilty(crash, trace, load.path if load else crash.loading)
    because = []
    if load:
        because.append(f"the kernel was {DOING[load.stage]} {load.path} (marker in line {load.at})")
    elif program := _running(console, crash.at):
        because.append(f"the program {program.name!r} was running (marker in line {program.at})")
    if crash.panic:
        because.append(f"it ended in a panic: {crash.panic}")
    mild = crash.category in boot_end.MILD and not crash.panic
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


def _program_failed(run: ProgramRun, file: str) -> Finding:
    hint = {
        126: "126: it cannot be executed, such as a program of another architecture",
        127: "127: it was not found: its interpreter or dynamic linker is not in the guest; link it statically",
    }
    return Finding(
        id="boot.script-failed",
        severity=Severity.FAIL,
        title=f"the user's program failed: {run.name}",
        message=f"{run.name} exited {run.status}",
        where=Span(file=file, first=run.at, last=run.last),
        because=(hint[run.status],) if run.status in hint else (),
        data={"program": run.name, "status": run.status},
    )


def _running(console: ConsoleLog, at: int) -> ProgramRun | None:
    """Return the user's program that ran at a line of the console, or None."""
    return next((run for run in console.programs if run.at <= at and (run.status is None or at <= run.last)), None)


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
                for result in tests.results[:RESULTS_LIMIT]
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
    crash = next(
        (crash for crash in console.crashes if one.at <= crash.at and crash.category not in boot_end.MILD), None
    )
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
