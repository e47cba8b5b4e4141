"""How a boot came to its end, if not well, by three witnesses: the console, what qemu told, the end of its process.

qemu (lab.evidence.qmp) tells whether the guest was reset, switched off, told of its panic, or was still running at the
deadline, and where: a kernel that ends without a word is told apart by it. An end of qemu's own is for checks.infra.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.evidence import boots, qmp
from lab.evidence.bundle import Evidence
from lab.evidence.console import ConsoleLog
from lab.evidence.console_lines import GOODBYE
from lab.evidence.console_markers import DOING
from lab.evidence.console_rows import Category
from lab.model import Ending, Finding, Severity, Span, StepResult

IDS = (
    "boot.no-init", "boot.silent", "boot.hang", "boot.incomplete", "boot.reset", "boot.triple-fault", "boot.flood",
)  # fmt: skip
HUNG = ("boot.hang", "the boot fell silent before it was done")
TALKING = ("boot.hang", "the boot was not done at its deadline, and still talking")
TALKING_SHARE = 0.1  # of its time: a boot that said something so late had not fallen silent
MILD = (Category.WARNING, Category.TEST_PROGRAM)
"""What does not stop the kernel by itself."""


def findings(boot: boots.Boot, console: ConsoleLog, evidence: Evidence) -> Iterator[Finding]:
    """Yield what kept a boot from its end marker, and a flood of its console."""
    yield from _ending(End(console=console, boot=boot, function=_function(boot.told, evidence)))
    if boot.step is not None and boot.step.dropped:
        yield _flood(boot.step, boot.file)


def _function(told: qmp.Told, evidence: Evidence) -> str:
    """Return where the processor was as "function+0x2", "" if that is not known: a kernel that moves itself has another map."""
    if told.counter is None or evidence.config.get("RANDOMIZE_BASE") == "y" or evidence.mapped_symbols is None:
        return ""
    return evidence.mapped_symbols.nearest(told.counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a boot came to its end, by all witnesses. function: where the processor was then ("f+0x2"), "" if unknown."""

    console: ConsoleLog
    boot: boots.Boot
    function: str = ""

    @property
    def told(self) -> qmp.Told:
        """What qemu told."""
        return self.boot.told

    @property
    def ending(self) -> Ending:
        """How the step ended; a console from elsewhere ended by itself."""
        return self.boot.step.ending if self.boot.step else Ending.EXITED

    @property
    def announced(self) -> bool:
        """Whether the kernel said that it was going to reset or to switch off."""
        return any(GOODBYE.match(line) for line in self.console.tail)

    @property
    def talking(self) -> bool:
        """Whether the console was heard until shortly before the end."""
        step = self.boot.step
        return step is not None and step.silent_s is not None and step.silent_s < TALKING_SHARE * step.seconds

    @property
    def silent(self) -> bool:
        """Whether nothing but firmware was heard."""
        return not self.console.said


def guests_own(step: StepResult) -> bool:
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
    step = end.boot.step
    if (step is not None and not guests_own(step)) or told.held_at or qmp.is_hosts(told, console.tail):
        return  # the check of infra.* tells it
    fatal = any(crash.panic or crash.category not in MILD for crash in console.crashes)
    if fatal:
        return
    if told.panicked_at:
        yield _unfinished("boot.panic", "the kernel told its machine of a panic, and its console of none", end)
    elif end.ending is Ending.DEADLINE:
        id_, message = ("boot.silent", "the kernel said nothing") if end.silent else TALKING if end.talking else HUNG
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
        message=f"{message}, while {DOING[pending.stage]} {pending.path}" if pending else message,
        where=Span(file=end.boot.file, first=first if console.lines else 0, last=console.lines),
        blame=pending.path if pending else "",
        function=end.function.partition("+")[0],
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
        yield f"the last marker says that it was {DOING[pending.stage]} {pending.path}"
    if program := next((run for run in end.console.programs if run.status is None), None):
        yield f"the last marker says that the program {program.name!r} was running"
    if end.silent:
        yield "its console had said nothing"
    if end.ending is Ending.DEADLINE:
        detail = end.boot.step.detail if end.boot.step else ""
        yield f"it was ended: {detail}" if detail else "it was ended at the deadline of the boot step"
    if told.counter is not None:
        where = f"{told.counter:#x}, {end.function}" if end.function else f"{told.counter:#x}"
        yield f"shortly before, the processor was at {where} ({end.boot.events}:{told.counter_at})"
    if told.triple_fault_at:
        yield f"qemu noted a triple fault ({end.boot.notes}:{told.triple_fault_at})"
    if told.shutdown:
        yield f"qemu ended for the reason {told.shutdown} ({end.boot.events}:{told.shutdown_at})"
    if told.panicked_at:
        yield f"the guest told of a panic ({end.boot.events}:{told.panicked_at})"
    if told.watchdog_at:
        yield f"a watchdog of the machine fired ({end.boot.events}:{told.watchdog_at})"


def _flood(step: StepResult, file: str) -> Finding:
    return Finding(
        id="boot.flood",
        severity=Severity.WARNING,
        title="the console was flooded",
        message=f"the console said more than is kept: {step.dropped} bytes in the middle are not there",
        where=Span(file=file),
        data={"dropped": step.dropped},
    )
