"""Read a kernel's console, once, forwards, in bounded memory: read(path) or read_lines(lines) gives a ConsoleLog.

What is read: crash reports (each with its title, its guilty function, its trace), the markers of the lab's own init, modules
and livepatches that the kernel refuses, results of tests (KTAP), reboots, and the last lines. A report is opened by a row
of lab.evidence.console_heads, collects the lines below it, and ends with its end marker, with another head, or when it has
REPORT_LINES. Where printk names its caller ([T123], [C0]) the reports of several CPUs that speak at once are told apart by
it. Everything else is passed over by substring tests, so that a flood of 100 MB is read and not kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.evidence import console_heads as heads
from lab.evidence import console_livepatch as klp
from lab.evidence import console_modules as kmod
from lab.evidence import ktap
from lab.evidence.console_lines import (
    FIRMWARE,
    GOODBYE,
    MARKERS,
    REBOOT,
    RESET,
    RUNNING,
    SAID_BY_KERNEL,
    TALKATIVE,
    TIME,
    clean,
    said_by,
)
from lab.evidence.console_markers import MARK, Markers, ModuleLoad, ProgramRun, Stage, in_order, split
from lab.evidence.console_report import REPORT_LINES, Crash, Report, head
from lab.evidence.console_rows import Category
from lab.evidence.log import file_batches, line_batches

CRASHES_LIMIT = 50
TAIL_LINES = 40
OPENING_LINES = 60
"""So many lines are read whatever is in them: they tell whether the console begins with the start of the machine."""
GROUP_LINES = 256
OPEN_REPORTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleLog:
    """Everything that one console says.

    lines, bytes: how much there was; said: whether anything but firmware banners and blanks. kernel_at: line of the first
    "Linux version", 0 if none. announced: modules that our init means to load, None if it did not start. done: (ok, fail)
    of its last marker, None if it did not get there. refused: modules, in the kernel's own words. tests: results in KTAP.
    again: modules loaded a second time. programs: of a user, one a boot.
    full: there were CRASHES_LIMIT crashes, and what came after is not told.
    """

    lines: int = 0
    bytes: int = 0
    said: bool = False
    kernel_at: int = 0
    boots: int = 0
    announced: int | None = None
    loads: tuple[ModuleLoad, ...] = ()
    again: tuple[ModuleLoad, ...] = ()
    unloads: tuple[ModuleLoad, ...] = ()
    programs: tuple[ProgramRun, ...] = ()
    done: tuple[int, int] | None = None
    crashes: tuple[Crash, ...] = ()
    livepatch: tuple[klp.Refusal, ...] = ()
    refused: tuple[kmod.ModuleRefusal, ...] = ()
    tests: ktap.TapLog = field(default_factory=ktap.TapLog)
    tail: tuple[str, ...] = ()
    full: bool = False

    @property
    def pending(self) -> ModuleLoad | None:
        """The module that was being loaded (or unloaded) when the console ended, or None."""
        last = next(reversed(self.handled), None)
        return last if last and last.outcome == "begun" else None

    @property
    def handled(self) -> list[ModuleLoad]:
        """What was done with modules in any stage, in the console's order."""
        return in_order(self.loads, self.again, self.unloads)


KEPT = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ[#"
DROPPED = bytes(set(range(256)) - set(KEPT))


class _Needles:
    """Substrings of which a line that means something has one, looked for in many lines at once.

    Capitals are rare on a console. Needles with three of them are looked for in what is left of a text when all else is
    dropped from it, a tenth, and only then in the text.
    """

    def __init__(self, needles: tuple[bytes, ...]) -> None:
        skeletons = [(needle.translate(None, DROPPED), needle) for needle in needles]
        self.capital = tuple((rest, needle) for rest, needle in skeletons if len(rest) > 2 or rest == b"[#")
        self.plain = tuple(needle for rest, needle in skeletons if len(rest) <= 2 and rest != b"[#")

    def present(self, text: bytes) -> list[bytes]:
        """Return those that stand in a text."""
        rest = text.translate(None, DROPPED)
        found = [needle for needle in self.plain if needle in text]
        return found + [needle for skeleton, needle in self.capital if skeleton in rest and needle in text]


ALWAYS = (*MARKERS, klp.NEEDLE.encode(), *kmod.NEEDLES, *ktap.NEEDLES)
NEEDLES = _Needles((*heads.NEEDLES, *ALWAYS))
FEW = _Needles(ALWAYS)


class _Reader:
    """The state of one reading."""

    def __init__(self) -> None:
        self.at = self.bytes = self.kernel_at = self.boots = 0
        self.said = self.ran = self.announced_reboot = self.full = self.talkative = self.testing = self.marked = False
        self.markers = Markers()
        self.crashes: list[Crash] = []
        self.refusals: list[klp.Refusal] = []
        self.refused: list[kmod.ModuleRefusal] = []
        # KUnit's lines have printk's time, kselftest's have none
        self.tests = {True: ktap.Reader(clean), False: ktap.Reader(clean)}
        self.timed = False
        self.line = b""
        self.reports: list[Report] = []
        self.needles = NEEDLES
        self.tail: deque[bytes] = deque(maxlen=TAIL_LINES)

    def take(self, lines: list[bytes]) -> None:
        """Read the next lines; groups of them in which no needle stands are passed over at once."""
        for start in range(0, len(lines), GROUP_LINES):
            group = lines[start : start + GROUP_LINES]
            text = b"\n".join(group)
            self.bytes += len(text) + 1
            present = self.needles.present(text)
            if present or self.reports or not self.said or self.testing or self.at < OPENING_LINES:
                self._take_each(group, present)
            else:
                self.at += len(group)
            for report in [report for report in self.reports if self.at - report.at > 4 * REPORT_LINES]:
                self._close(report)  # its caller has fallen silent
        self.tail.extend(lines[-TAIL_LINES:])

    def _take_each(self, lines: list[bytes], present: list[bytes]) -> None:
        """Read a group line by line. present: the needles that stand in it."""
        marks = [needle for needle in present if needle in MARKERS]
        for line in lines:
            self.at += 1
            telling = False
            for needle in present:
                if needle in line:
                    telling = True
                    break
            if telling or self.reports or not self.said or self.at <= OPENING_LINES or self._may_be_of_a_test(line):
                self.line = line
                caller, text = said_by(line)
                if not self._of_a_test(line, text):
                    self.marked = telling and any(mark in line for mark in marks)
                    self._read(text, caller, telling)

    def _may_be_of_a_test(self, line: bytes) -> bool:
        """Whether a line in the middle of tests has to be read; if not, they remember it in case the next one fails."""
        if not self.testing:
            return False
        if any(word in line for word in ktap.WORDS):
            return True
        for tests in self.tests.values():
            tests.pass_over(line)
        return False

    def _of_a_test(self, line: bytes, text: str) -> bool:
        """Whether a line is a test's own (a result, a plan); then it is no crash, whatever words are in it."""
        if not self.testing and not any(needle in line for needle in ktap.NEEDLES):
            return False
        taken = self.tests[TIME.search(line, 0, 120) is not None].take(text, self.at)
        self.testing = self.tests[True].active or self.tests[False].active
        return taken

    def _read(self, text: str, caller: str, telling: bool) -> None:
        if not self.said and self._is_no_firmware(text, telling):
            self.said = True
        if self.at <= OPENING_LINES and not self.ran:
            time = TIME.search(self.line, 0, 120)
            self.ran = (time is not None and int(time[1]) > 0) or RUNNING.match(text) is not None
        if MARK in text and self._marker(text, telling):
            return
        if len(self.refusals) < klp.LIMIT and (refused := klp.refusal(text, self.at)):
            self.refusals.append(refused)
            return
        if telling and len(self.refused) < kmod.LIMIT and (refused_module := kmod.refusal(text, self.at)):
            self.refused.append(refused_module)
            return
        if self.marked and self._starts_or_stops(text):
            return
        row, match = head(text) if telling else (None, None)
        report = self._report_of(caller, heads=row is not None)
        if report:
            if row is None or report.continues(row, text, self.at):
                report.add(text, self.at)
                if report.ended:
                    self._close(report)
                return
            self._close(report)
        if row is not None and match is not None:
            if (panic := heads.PANIC.match(text)) and self._belongs(panic["reason"]):
                return
            if not self.full:
                self.reports.append(Report(row, match, text, self.at, caller))
            if len(self.reports) > OPEN_REPORTS:
                self._close(self.reports[0])

    def _starts_or_stops(self, text: str) -> bool:
        """Note a line that starts the machine, and then return True; one that ends it also belongs to an open report."""
        if RESET.match(text) or (REBOOT.match(text) and self._is_banner()):
            self._booted(text)
            return True
        self.announced_reboot = self.announced_reboot or GOODBYE.match(text) is not None
        return False

    def _marker(self, text: str, telling: bool) -> bool:
        """Read a line that may hold a marker, and what the kernel printed into it; return whether it does."""
        marker, printed = split(text)
        if not self.markers.take(marker, self.at):
            return False
        self._close_all()
        if printed:
            caller, rest = said_by(printed.encode("utf-8", "replace"))
            self._read(rest, caller, telling)
        return True

    def _is_no_firmware(self, text: str, telling: bool) -> bool:
        """Whether a line was not printed by what starts the kernel."""
        self.talkative = self.talkative or TALKATIVE.match(text) is not None
        if not self.talkative:
            return not FIRMWARE.match(text)
        if TIME.search(self.line, 0, 120):
            return True
        return telling and (any(word in text for word in SAID_BY_KERNEL) or head(text)[0] is not None)

    def _report_of(self, caller: str, *, heads: bool) -> Report | None:
        """Return the open report that a line continues, or, if it is a head, perhaps ends: the caller's own first."""
        own = next((report for report in reversed(self.reports) if report.caller == caller), None)
        if own or heads:
            return own
        return next((report for report in reversed(self.reports) if report.hears(caller)), None)

    def _belongs(self, reason: str) -> bool:
        """Whether a panic ends the story of the crash before it, whose report had already ended."""
        if self.reports:  # of another caller, whose story it ends
            self._close(self.reports[-1])
        last = self.crashes[-1] if self.crashes else None
        if last is None or self.at - last.last > REPORT_LINES:
            return False
        if last.category is Category.WARNING and not heads.OWN_PANIC.search(reason):
            return False
        if not last.panic:
            self.crashes[-1] = replace(last, panic=reason, last=self.at)
        return True

    def _is_banner(self) -> bool:
        """Whether a "Linux version" is the kernel's first line: `cat /proc/version` prints it without the kernel's time."""
        timed = b"]" in self.line.partition(b"Linux version")[0]
        if not self.kernel_at:
            self.timed = timed
        return timed or not self.timed

    def _booted(self, text: str) -> None:
        """Note a start of the machine; one that nobody announced, after something had run, is a crash of its own."""
        self._close_all()
        for tests in self.tests.values():
            tests.end()
        self.testing = False
        again = self.kernel_at > 0 or self.ran
        if again and not self.crashes and not self.announced_reboot and not self.markers.done:
            self.crashes.append(
                Crash(category=Category.REBOOT, title="unexpected kernel reboot", at=self.at, last=self.at, text=text)
            )
        if REBOOT.match(text):
            self.announced_reboot = False
            self.kernel_at = self.kernel_at or self.at
            self.boots += 1

    def _close(self, report: Report) -> None:
        self.reports.remove(report)
        if len(self.crashes) < CRASHES_LIMIT:
            self.crashes.append(report.crash())
        self.full = len(self.crashes) >= CRASHES_LIMIT
        self.needles = FEW if self.full else NEEDLES

    def _close_all(self) -> None:
        while self.reports:
            self._close(self.reports[0])

    def log(self) -> ConsoleLog:
        """Return what was read."""
        self._close_all()
        told = tuple(sorted(self.crashes, key=lambda crash: crash.at))
        return ConsoleLog(
            lines=self.at, bytes=self.bytes, said=self.said, kernel_at=self.kernel_at, boots=self.boots,
            announced=self.markers.announced, loads=self.markers.of(Stage.LOAD), again=self.markers.of(Stage.TWICE),
            unloads=self.markers.of(Stage.UNLOAD), programs=tuple(self.markers.programs), done=self.markers.done,
            crashes=told, livepatch=tuple(self.refusals),
            refused=tuple(self.refused), tests=ktap.together(tests.log() for tests in self.tests.values()),
            tail=tuple(clean(line) for line in self.tail), full=self.full,
        )  # fmt: skip


def read(path: Path) -> ConsoleLog:
    """Read a console file. Raises LabError if it cannot be opened; whatever its bytes are, reading them raises nothing."""
    reader = _Reader()
    for lines in file_batches(path, "console"):
        reader.take(lines)
    return reader.log()


def read_lines(lines: Iterable[str | bytes]) -> ConsoleLog:
    """Read a console from lines, with or without their newline."""
    reader = _Reader()
    for batch in line_batches(lines):
        reader.take(batch)
    return reader.log()


def read_text(text: str) -> ConsoleLog:
    """Read a console that is already in memory."""
    return read_lines(text.removesuffix("\n").split("\n") if text else ())
