"""The nouns of the lab. Frozen, slotted, built by keyword; no I/O, no imports from the rest of lab but errors.

Words are those of docs/architecture.md. What a matrix file says becomes a Matrix (lab.matrix.read), its product becomes
Cells (lab.matrix.expand), a Cell is executed in Attempts, an Attempt leaves evidence, checks turn evidence into Findings,
Findings and the matrix' expectations become a Result (lab.results.verdict).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """KCIDB's status words, with the two that need an expectation. Nothing ever starts life as PASS.

    FAIL: the kernel's doing. ERROR: the lab's or the machine's. MISS: never ran. SKIP: cannot apply here.
    Source: kcidb-io, schema v5, test.status; XFAIL and XPASS as in LLVM lit.
    """

    PASS = "PASS"
    FAIL = "FAIL"
    ERROR = "ERROR"
    MISS = "MISS"
    SKIP = "SKIP"
    XFAIL = "XFAIL"
    XPASS = "XPASS"


class Severity(StrEnum):
    """What a Finding does to the outcome: FAIL and ERROR decide it (ERROR first), WARNING and NOTE only inform."""

    ERROR = "error"
    FAIL = "fail"
    WARNING = "warning"
    NOTE = "note"


class Emulation(StrEnum):
    """How a foreign architecture is built; see docs/architecture.md, "Words"."""

    NATIVE = "native"
    CROSS = "cross"
    EMULATED = "emulated"
    ACCELERATED = "accelerated"


class Probe(StrEnum):
    """What is tried once a cell has been built and booted. REMAKE: make again, with nothing changed; see docs/matrix.md."""

    NONE = "none"
    REMAKE = "remake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Until:
    """When a cell has been executed often enough, before `repeat` is reached.

    first_failure: as soon as an attempt fails. width: as soon as the interval of the failure rate, at this confidence, is
    at most so wide whatever the true rate is; 0: no such end. finding: what counts as a failure is that this was found, not
    that the attempt is FAIL; "": FAIL.
    """

    first_failure: bool = False
    confidence: float = 0.95
    width: float = 0.0
    finding: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """How often a cell is executed: `times`, or less if `until` is reached before. Attempts that are ERROR do not count."""

    times: int = 1
    until: Until | None = None


class Lto(StrEnum):
    """Link-time optimisation, an axis of its own: CONFIG_LTO_NONE, _CLANG_THIN, _CLANG_FULL."""

    NONE = "none"
    THIN = "thin"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The place that proves something: a file relative to the evidence (or output) directory, lines counted from 1.

    first = last = 0 means the whole file (an ELF file, a timestamp).
    """

    file: str
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault.

    id: "family.fault", stable, users grep for it (`lab explain ID` prints its page). severity: what it does to the outcome.
    title: one line without numbers that vary from run to run. message: one sentence a maintainer can act on.
    blame: path relative to O= ("fs/xfs/xfs.ko", "drivers/mcb/mcb-parse.o"), or "" if unknown.
    function: the guilty function, or "". because: reasoning, outermost cause last. data: facts for machines (JSON values).
    joined: other findings of the same fault, what it led to first; they are told with this one and not by themselves.
    """

    id: str
    severity: Severity
    title: str
    message: str
    where: Span
    blame: str = ""
    function: str = ""
    because: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    joined: tuple[Finding, ...] = ()

    @property
    def decides(self) -> bool:
        """Whether it settles the outcome by itself."""
        return self.severity in (Severity.ERROR, Severity.FAIL)

    def ids(self) -> tuple[str, ...]:
        """Return its id and those of what is told with it."""
        return (self.id, *(one for part in self.joined for one in part.ids()))


@dataclass(frozen=True, slots=True, kw_only=True)
class NotApplicable:
    """A check that could not look, and why. Never counted as a pass.

    natural: there is nothing of that kind in what was judged (no livepatch, a version without the mechanism): no gap in what is
    known about it.
    """

    check: str
    because: str
    natural: bool = False


# --------------------------------------------------------------------------------------------- what a cell is made of


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianSource:
    """A Debian source tarball package, such as linux-source-6.1. suite: "" means the newest suite that has it."""

    package: str
    suite: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirSource:
    """A kernel tree on this machine, used read-only. path: absolute."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TarballSource:
    """A kernel tarball. path: absolute. sha256: 64 hex digits, verified before anything is unpacked."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource:
    """One revision of a git repository. repository: absolute path, or a URL. rev: a commit, tag or branch, as written."""

    repository: str
    rev: str


Source = DebianSource | DirSource | TarballSource | GitSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """One step of a configuration, applied in order.

    kind: "base" (a make target: tinyconfig, defconfig, …), "line" (CONFIG_X=y or # CONFIG_X is not set), "file" (text of a
    file; the matrix reader has read it). text: the target, the line, or the file's whole text. name: for people and logs.
    further: (architecture, text) that follows `text` on that architecture; a Cell's fragments have it in their text.
    """

    kind: str
    text: str
    name: str
    further: tuple[tuple[str, str], ...] = ()

    def on(self, arch: str) -> Fragment:
        """Return the fragment as it is on one architecture (Arch.name)."""
        if not self.further:
            return self
        return Fragment(kind=self.kind, text=self.text + dict(self.further).get(arch, ""), name=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A unified diff, -p1. name: for people ("guard-removed"); text: the whole diff."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """How make is called. jobs: for -j, 0 means the machine's share for one cell. targets: () means the default target."""

    variables: tuple[tuple[str, str], ...] = ()
    targets: tuple[str, ...] = ()
    jobs: int = 0


class Oops(StrEnum):
    """What the kernel does after an oops. PANIC: it ends at once. CONTINUE: it goes on, as far as it can."""

    PANIC = "panic"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootModules:
    """Which modules a boot loads, and how.

    only, skip: names or patterns, see lab.boot.shards.fits(); only=() means all. What a chosen module needs is loaded, too.
    parameters: (module, "a=1 b=2"). twice: each a second time, which must say EEXIST. unload: in the end, in reverse order.
    per_boot: at most so many in one boot, the rest in further boots. retries: how often what a boot did not come to, because
    it crashed, is tried in one more, without the module that crashed it.
    """

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    twice: bool = False
    unload: bool = False
    per_boot: int = 200
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A script or a static program that a guest runs once its modules are loaded. name: of its file. path: absolute.

    sha256: 64 hex digits, verified before it is packed.
    """

    name: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Amplify:
    """What makes races likelier while a cell is built; nothing by default. What such a build shows is no natural rate.

    load: so many busy processes beside make. slow: (tool, seconds by which it begins later). align: (tool, text): if one of
    its arguments contains the text, it begins with a whole second. tool: a program of PATH; "compiler" is what CC starts.
    """

    load: int = 0
    slow: tuple[tuple[str, float], ...] = ()
    align: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.load or self.slow or self.align)

    def words(self) -> str:
        """Return it in one line, "" for nothing: "load=4 slow=touch:0.3s align=compiler:mcb-core.c"."""
        load = [f"load={self.load}"] if self.load else []
        slow = [f"slow={tool}:{seconds:g}s" for tool, seconds in self.slow]
        return " ".join([*load, *slow, *(f"align={tool}:{text}" for tool, text in self.align)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """How the kernel is booted. machine: row of the architecture's machines, "" its first. append: kernel parameters.

    memory_mib: at least; a guest gets more if what is in its initramfs needs it.
    """

    machine: str = ""
    append: tuple[str, ...] = ()
    memory_mib: int = 256
    modules: BootModules = BootModules()
    run: Program | None = None
    panic_on_warn: bool = False
    oops: Oops = Oops.PANIC


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds after which a step is ended and the attempt is ERROR infra.deadline (boot: see checks.boot).

    silence_s: seconds without a word on the console after which a boot is ended, 0: only at its deadline.
    """

    configure_s: float = 600.0
    build_s: float = 7200.0
    boot_s: float = 120.0
    silence_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What the matrix says will happen in this cell. outcome: FAIL, ERROR or SKIP; findings: ids that must be found."""

    outcome: Outcome
    findings: tuple[str, ...] = ()
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One fully decided environment. id: short, readable, stable, safe as a folder name ([a-z0-9._+-], at most 80).

    axes: (axis, text) of every axis, in the order of the table in docs/matrix.md: what `lab list` shows.
    arch, toolchain, filesystem: canonical names of rows. repeat: attempts, at most so many if `until` is set.
    boot: None means build only. impossible: why nothing can build it,
    as far as that is known before anything is fetched, else "": such a cell is SKIP.
    """

    id: str
    source: Source
    arch: str
    toolchain: str
    lto: Lto
    emulation: Emulation
    filesystem: str
    kconfig: tuple[Fragment, ...]
    patches: tuple[Patch, ...]
    make: Make
    boot: Boot | None
    repeat: int
    deadlines: Deadlines
    ccache: bool
    expect: Expectation | None
    axes: tuple[tuple[str, str], ...]
    impossible: str = ""
    probe: Probe = Probe.NONE
    until: Until | None = None
    amplify: Amplify = Amplify()


# ------------------------------------------------------------------------------------------------------- what is run


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command line in one place with a deadline.

    argv: never a shell string of a stranger's words. environment: the whole of it, nothing is inherited.
    workdir: inside the place. log: file in the evidence folder that takes stdout and stderr, appended. log_bytes: what it may
    take; the middle of a longer one is dropped. silence_s: without a word for so long it is ended, 0: never for that.
    """

    name: str
    argv: tuple[str, ...]
    workdir: str
    deadline_s: float
    log: str
    environment: tuple[tuple[str, str], ...] = ()
    log_bytes: int = 512 << 20
    silence_s: float = 0.0


class Ending(StrEnum):
    """How a step's process ended."""

    EXITED = "exited"
    DEADLINE = "deadline"
    OUT_OF_MEMORY = "out-of-memory"
    KILLED = "killed"  # by a signal that was not ours; status holds 128 + signal
    INTERRUPTED = "interrupted"
    ENGINE_LOST = "engine-lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What came of one Step. status: exit status, 0 … 255 (-1 if unknown). bytes_free: on the output filesystem, at the end.

    dropped: bytes that its log has not. silent_s: seconds since its last word when it ended, None if that was not measured.
    peak_mib, cpu_s: most memory and all CPU time that the engine told of while it ran, None if it was never asked in time.
    set_back_s: by how much the machine's clock was set back since the step before, or the start of the attempt.
    """

    name: str
    ending: Ending
    status: int
    seconds: float
    argv: tuple[str, ...] = ()
    bytes_free: int | None = None
    inodes_free: int | None = None
    detail: str = ""
    dropped: int = 0
    silent_s: float | None = None
    peak_mib: int | None = None
    cpu_s: float | None = None
    set_back_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the step ran to its end and said 0."""
        return self.ending is Ending.EXITED and self.status == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What an attempt of a cell was seen to use at most; 0: not seen. cpu: processors, on average of its busiest step."""

    cpu: float = 0.0
    memory_mib: int = 0
    disk_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """One execution of a cell, judged. outcome here is never XFAIL or XPASS: expectations apply to the cell."""

    number: int
    outcome: Outcome
    reason: str
    findings: tuple[Finding, ...]
    not_applicable: tuple[NotApplicable, ...] = ()
    steps: tuple[StepResult, ...] = ()
    seconds: float = 0.0
    folder: str = ""  # relative to the run's folder
    facts: dict[str, Any] = field(default_factory=dict)  # measured: granularity_ns, versions, modules_loaded …

    def found(self) -> frozenset[str]:
        """Return the ids of all that was found, alone or joined to something else."""
        return frozenset(one for finding in self.findings for one in finding.ids())

    def failed(self, finding: str = "") -> bool | None:
        """Whether it failed, or found what is in question if that is named; None if it was not judged."""
        if self.outcome not in (Outcome.PASS, Outcome.FAIL):
            return None
        return finding in self.found() if finding else self.outcome is Outcome.FAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often something happened. low, high: Wilson's interval for the true rate. With trials = 0 all is possible."""

    failures: int
    trials: int
    low: float
    high: float
    confidence: float = 0.95

    @property
    def width(self) -> float:
        """The width of the interval."""
        return self.high - self.low

    @property
    def intermittent(self) -> bool:
        """Whether both were seen: a failure, and an attempt without."""
        return 0 < self.failures < self.trials


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRate:
    """In how many of a cell's judged attempts a fault was found, alone or joined to another. blame, function: as in Finding."""

    id: str
    blame: str
    function: str
    rate: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The verdict on one cell over all its attempts.

    findings: those beside the attempts' own: what kept the lab from executing them. untestable: ERROR, but only because the
    cell cannot be judged here (exit code 125). rate: of failures among the judged attempts, None for a cell that was to be
    executed once. rates: of each fault that decides, most frequent first. differences: what failing attempts had that others
    had not, one line each, most telling first. amplified: what made races likelier (Amplify.words()), "" if nothing did.
    """

    cell: str
    outcome: Outcome
    reason: str
    attempts: tuple[AttemptResult, ...] = ()
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()
    untestable: bool = False
    rate: Rate | None = None
    rates: tuple[FindingRate, ...] = ()
    differences: tuple[str, ...] = ()
    amplified: str = ""

    @property
    def flaky(self) -> bool:
        """Whether some attempts failed and others did not."""
        return self.rate is not None and self.rate.intermittent
