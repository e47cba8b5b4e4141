"""Facts → what a matrix file shall say: each value with the rule that chose it, and what could not be matched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lab.model import Emulation, Lto
from lab.repro import kernels
from lab.repro.extract import Report
from lab.repro.facts import Fact, Field, Place
from lab.repro.kernels import Chosen
from lab.repro.picks import Pick
from lab.repro.rules import sentence
from lab.tables import Arch, Filesystem, Tables, Toolchain, ToolchainFamily

REPEAT_MAX = 1000
ARCH_ROWS = {
    "x86": "x86_64",
    "powerpc": "ppc64le",
}  # names that a row's aliases give another meaning, or that leave a choice
VARIABLES = {"W": re.compile(r"[1-3]{1,3}"), "KBUILD_MODPOST_WARN": re.compile(r"1")}
"""Make variables that are taken over, with what they may be: they change what is told, not what is run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One value of the matrix. rule: its name in lab.repro.rules. because: what of this report it rests on. place: of the fact,
    None if there is none."""

    axis: str
    value: str
    rule: str
    because: str = ""
    place: Place | None = None

    @property
    def reason(self) -> str:
        """The rule's sentence, and what it rests on."""
        return "; ".join(filter(None, [sentence(self.rule), self.because]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What is said and could not be matched, or is needed and not said."""

    what: str
    because: str
    place: Place | None = None


@dataclass(slots=True, kw_only=True)
class Choices:
    """Everything that was chosen so far."""

    chosen: Chosen
    choices: list[Choice] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    kconfig: list[str] = field(default_factory=list)
    jobs: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    repeat: int = 1
    findings: tuple[str, ...] = ()
    arch: str = ""
    toolchain: str = ""
    lto: str = "none"
    emulation: str = "native"
    filesystem: str = ""

    def take(self, axis: str, value: str, rule: str, because: str = "", fact: Fact | None = None) -> None:
        """Note a value."""
        self.choices.append(
            Choice(axis=axis, value=value, rule=rule, because=because, place=fact.place if fact else None)
        )

    def miss(self, what: str, because: str, fact: Fact | None = None) -> None:
        """Note what is not matched."""
        self.gaps.append(Gap(what=what, because=because, place=fact.place if fact else None))


Ask = Mapping[Field, Pick]


def made(report: Report, picks: Ask, chosen: Chosen, tables: Tables, machine: str) -> Choices:
    """Return the choices for a report. machine: uname -m of where it will run."""
    told = Choices(chosen=chosen)
    _source(told, picks)
    _arch(told, picks, tables, machine)
    _emulation_and_toolchain(told, picks, tables, machine)
    _filesystem(told, picks, tables)
    _make(told, report, picks)
    _findings(told, report)
    _snapshot(told, picks, tables)
    return told


def _source(told: Choices, picks: Ask) -> None:
    one = told.chosen
    version = picks.get(Field.VERSION) or picks.get(Field.DATE)
    told.take(
        "source",
        one.release,
        one.rule,
        f"reported: {version.fact.value}" if version else "",
        version.fact if version else None,
    )
    for text in one.missing:
        told.miss("source", text, version.fact if version else None)
    if (tree := picks.get(Field.TREE)) and tree.fact.value not in ("stable", "mainline"):
        told.miss("tree", f"{tree.fact.value}: a released source is taken", tree.fact)
    if one.fix and one.fault_rule == "fault-again":
        told.take("fault", one.undo.patch if one.undo else "", one.fault_rule, f"{named(one)}; {one.older}")
    elif one.fix and one.fault_rule == "fault-there":
        told.take("fault", "", one.fault_rule, f"{named(one)}; {one.older}")


def named(one: Chosen) -> str:
    """Return a fix as kernel people cite it."""
    fix = one.fix
    if fix is None or not fix.commit:
        return fix.mended if fix else ""
    return f'{fix.commit} ("{fix.subject}"; first in {fix.version})'


# ---------------------------------------------------------------------------------------------- architecture, toolchain


def _arch(told: Choices, picks: Ask, tables: Tables, machine: str) -> None:
    pick = picks.get(Field.ARCH)
    own = next((row for row in tables.arch.values() if row.uname_machine == machine), None) or next(
        iter(tables.arch.values())
    )
    row = arch_row(pick.fact.value, tables) if pick else None
    if pick is None:
        told.take("arch", own.name, "arch-default")
        row = own
    elif row is None:
        told.miss("architecture", f"{pick.fact.value} is no row of lab/data/arch.yaml; {own.name} is taken", pick.fact)
        told.take("arch", own.name, "arch-none", "", pick.fact)
        row = own
    else:
        rule = "arch-of-x86" if pick.fact.value == "x86" else "arch-row"
        said = f"{pick.fact.certainty}: {sentence(pick.fact.rule)}" if pick.fact.rule else "stated"
        told.take("arch", row.name, rule, said, pick.fact)
        if pick.fact.value == "powerpc":
            told.miss("byte order", "powerpc is said, and not which: little-endian 64 bit is taken", pick.fact)
    told.arch = row.name
    if board := picks.get(Field.BOARD):
        told.miss(
            "board", f"{board.fact.value}: built and booted as qemu's machine {row.machines[0].name!r}", board.fact
        )


def arch_row(name: str, tables: Tables) -> Arch | None:
    """Return the row of an architecture by the kernel's name for it, or any other."""
    if name in ARCH_ROWS:
        return tables.arch.get(ARCH_ROWS[name])
    rows = tables.arch.values()
    return tables.arch_named(name) or next((row for row in rows if name in (row.kernel_arch, row.kernel_srcarch)), None)


def _emulation_and_toolchain(told: Choices, picks: Ask, tables: Tables, machine: str) -> None:
    arch = tables.arch[told.arch]
    native = machine == arch.uname_machine or machine in arch.runs_on
    cross = picks.get(Field.CROSS)
    modes = [Emulation.NATIVE] if native else [Emulation.CROSS, Emulation.ACCELERATED, Emulation.EMULATED]
    _toolchain(told, picks, tables, modes)
    rule = "emulation-native" if told.emulation == "native" else "emulation-cross"
    told.take(
        "emulation",
        told.emulation,
        rule,
        f"prefix {cross.fact.value!r}" if cross else "",
        cross.fact if cross else None,
    )
    if cross and told.emulation == "cross" and arch.gnu_triplet not in cross.fact.value:
        told.miss("cross tools", f"{cross.fact.value}: Debian's are called {arch.gnu_triplet}-", cross.fact)


def _toolchain(told: Choices, picks: Ask, tables: Tables, modes: Sequence[Emulation]) -> None:
    """Choose the row of the compiler: its family first, then its version, among those that build this source."""
    compiler, lto = picks.get(Field.COMPILER), picks.get(Field.LTO)
    linker = picks.get(Field.LINKER)
    said = compiler.fact.value if compiler else ""
    family = ToolchainFamily.GCC
    if lto or said.startswith("clang"):
        llvm = lto is not None or (linker is not None and linker.fact.value.startswith("lld"))
        family = ToolchainFamily.LLVM if llvm else ToolchainFamily.CLANG
    rows = list(_able(told, tables, modes, family)) or list(_able(told, tables, modes, None))
    if not rows:
        told.miss("toolchain", f"no row of lab/data/toolchain.yaml builds {told.arch}")
        rows = [(row, modes[0]) for row in tables.toolchain.values()][:1]
    major = _major(said)
    row, mode = min(rows, key=lambda pair: abs(int(pair[0].version) - major)) if major else rows[0]
    told.toolchain, told.emulation = row.name, mode.value
    fact = compiler.fact if compiler else lto.fact if lto else None
    if major:
        exact = int(row.version) == major
        told.take("toolchain", row.name, "toolchain-exact" if exact else "toolchain-nearest", f"reported: {said}", fact)
        if not exact:
            told.miss("compiler", f"{said}: the nearest that builds this source for {told.arch} is {row.name}", fact)
    else:
        told.take(
            "toolchain", row.name, "toolchain-lto" if lto else "toolchain-of-source", said and f"reported: {said}", fact
        )
    for what, where in (("linker", Field.LINKER), ("binutils", Field.BINUTILS), ("make", Field.MAKE)):
        if (pick := picks.get(where)) and any(c.isdigit() for c in pick.fact.value):
            told.miss(what, f"{pick.fact.value}: the image has its suite's", pick.fact)
    _lto(told, lto, row)


def _able(
    told: Choices, tables: Tables, modes: Sequence[Emulation], family: ToolchainFamily | None
) -> Iterator[tuple[Toolchain, Emulation]]:
    """Yield the rows that build the source for the architecture, in the source's order, with the first mode that has
    an image."""
    names = [name for name in told.chosen.toolchains if name in tables.toolchain] or list(tables.toolchain)
    for row in (tables.toolchain[name] for name in names):
        mode = next((mode for mode in modes if row.image_for(mode, told.arch)), None)
        if mode is not None and (family is None or row.family is family):
            yield row, mode


def _major(compiler: str) -> int:
    found = re.search(r"(\d{1,2})(?:\.\d+)*$", compiler)
    return int(found[1]) if found else 0


def _lto(told: Choices, pick: Pick | None, row: Toolchain) -> None:
    if pick is None:
        return
    wanted = Lto.FULL if pick.fact.value == "full" else Lto.THIN
    if wanted not in row.lto:
        told.miss("lto", f"{row.name} cannot build with it", pick.fact)
        return
    told.lto = wanted.value
    sure = pick.fact.value != "clang"
    told.take(
        "lto",
        wanted.value,
        "only" if sure else "first",
        "" if sure else "LTO is said, and not which: thin, as most use it",
        pick.fact,
    )


def _snapshot(told: Choices, picks: Ask, tables: Tables) -> None:
    """Say why the packages are not those of the report's day."""
    when = picks.get(Field.DATE)
    row = tables.toolchain[told.toolchain]
    name = row.image_for(Emulation(told.emulation), told.arch)
    image = tables.image[name] if name else None
    if when and image and not image.snapshot:
        day = when.fact.value[:10].replace("-", "")
        because = (
            f"the image has today's packages of {image.suite}; those of the report's day need `snapshot: {day}` in "
            f"images/{image.name}.yaml "
            "and LAB_SNAPSHOT: a matrix has no axis for it"
        )
        told.miss("packages of the day", because, when.fact)


# ------------------------------------------------------------------------------------------------------------ filesystem


def _filesystem(told: Choices, picks: Ask, tables: Tables) -> None:
    named_one, times = picks.get(Field.FILESYSTEM), picks.get(Field.TIMESTAMPS)
    fix = told.chosen.fix
    whole = bool(times and times.fact.value == "whole seconds") or bool(fix and fix.whole_seconds and not times)
    wanted = named_one.fact.value if named_one else ""
    row = _filesystem_row(wanted, whole, tables)
    fact = named_one.fact if named_one else times.fact if times else None
    if row is None:
        told.miss("filesystem", f"{wanted} is no row of lab/data/filesystem.yaml", fact)
        row = _filesystem_row("", whole, tables)
    assert row is not None, "the table has a row of either kind"
    told.filesystem = row.name
    if wanted:
        told.take(
            "filesystem",
            row.name,
            "filesystem-by-times" if whole else "filesystem-said",
            f"{wanted}, {_times(times, whole)}",
            fact,
        )
    elif times:
        told.take("filesystem", row.name, "filesystem-by-times", _times(times, whole), fact)
    elif whole:
        told.take("filesystem", row.name, "filesystem-race", fix.subject if fix else "")
        told.miss("filesystem", "not said")
    else:
        told.take("filesystem", row.name, "filesystem-default")
        told.miss("filesystem", "not said; in memory is quickest")


def _times(times: Pick | None, whole: bool) -> str:
    return times.fact.value if times else "whole seconds" if whole else "its times are not spoken of"


def _filesystem_row(name: str, whole: bool, tables: Tables) -> Filesystem | None:
    """Return the row with a type and such times: "" is any type, the simplest first."""
    coarse = [
        row
        for row in tables.filesystem.values()
        if not row.base and row.granularity_ns_min == row.granularity_ns_max == 10**9
    ]
    fine = [row for row in tables.filesystem.values() if not row.base and row.granularity_ns_max < 10**9]
    rows = coarse if whole else fine
    if not name:
        return next(iter(rows), None)
    name = {"overlayfs": "overlay", "ext2": "ext3"}.get(name, name)
    exact = tables.filesystem.get(name)
    same = [row for row in rows if row.fstype == name]
    if whole:
        return next(iter(same), None) or (next(iter(rows), None) if exact or name == "ext3" else None)
    return exact or next(iter(same), None) or (next((row for row in coarse if row.fstype == name), None))


# ------------------------------------------------------------------------------------------------------- make, findings


def _make(told: Choices, report: Report, picks: Ask) -> None:
    jobs = picks.get(Field.JOBS)
    if jobs and 1 <= int(jobs.fact.value) <= 256:
        told.jobs = int(jobs.fact.value)
        told.take("make.jobs", jobs.fact.value, "jobs-said", "", jobs.fact)
    for fact in report.of(Field.COMMAND):
        for name, value in re.findall(r"(?<!\S)([A-Z_]+)=(\S+)", fact.value):
            if name in VARIABLES and VARIABLES[name].fullmatch(value) and name not in told.variables:
                told.variables[name] = value
                told.take(f"make.{name}", value, "jobs-said", fact.value, fact)
            elif name not in VARIABLES and name not in (
                "V",
                "ARCH",
                "CROSS_COMPILE",
                "O",
                "CC",
                "LLVM",
                "LLVM_IAS",
                "HOSTCC",
            ):
                told.miss(f"make's {name}", f"{fact.value}: not taken over", fact)


def _findings(told: Choices, report: Report) -> None:
    ids = kernels.finding_ids(report)
    fix = told.chosen.fix
    cause = (fix.cause,) if fix and told.chosen.fault_rule else ()
    told.findings = cause or tuple(one for one in ids if not one.startswith(("infra.", "lab.")))[:3]
    facts = report.of(Field.FINDING)
    first = next((fact for fact in facts if fact.get("id") in (*told.findings, *ids)), None)
    if told.findings:
        told.take(
            "expect", ", ".join(told.findings), "expected", f"reported: {', '.join(ids[:4])}" if ids else "", first
        )
    else:
        told.miss("finding", "no error line that the lab's readers know, and no fault called by its name")
