"""Runs that were never made: a results folder of any number of cells and nights, for pages and indexes to be tried on.

The verdicts follow from the numbers of cell and night alone, so that the same call makes the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

from lab.model import (
    AttemptResult,
    Cell,
    Deadlines,
    DirSource,
    Emulation,
    Ending,
    Finding,
    Lto,
    Make,
    NotApplicable,
    Outcome,
    Result,
    Severity,
    Span,
    StepResult,
)
from lab.results import store
from lab.results.store import RunFacts
from lab.results.verdict import cell_result

ARCHS = ("x86_64", "arm64", "armhf", "i386", "riscv", "powerpc", "s390", "mips", "loongarch", "sparc")
TOOLCHAINS = ("gcc-12", "gcc-14", "llvm-14", "llvm-19", "gcc-10")
FILESYSTEMS = ("tmpfs", "ext4", "ext4-128", "xfs", "btrfs")
SOURCES = ("5.10", "6.1", "6.12", "7.2")
FIRST_NIGHT_S = 1_790_000_000.0  # 2026-09-21
DAY_S = 86_400.0
BUILD_LOG = "".join(f"  CC      drivers/mcb/file-{number}.o\n" for number in range(40))
FAULTS = (
    (
        "modpost.undefined",
        "drivers/tty/serial/8250/8250_men_mcb.ko",
        "",
        "needs '__mcb_register_driver'; drivers/mcb/mcb-core.o should export it and was not rebuilt",
    ),
    (
        "timestamps.tie",
        "drivers/mcb/mcb-core.o",
        "",
        "make could not see that 'include/ksym/__mcb_register_driver' was written "
        "0.68 s after 'drivers/mcb/mcb-core.o'",
    ),
    (
        "kallsyms.inconsistent",
        "vmlinux",
        "",
        "the symbol table in vmlinux was made from another layout than the final link gave it",
    ),
    (
        "boot.oops",
        "fs/autofs/autofs4.ko",
        "__static_call_init",
        "BUG: unable to handle kernel paging request in __static_call_init",
    ),
    ("objtool.flags", "fs/autofs/autofs4.ko", "", "objtool ran without --module on fs/autofs/autofs4.o and 1 more"),
    ("build.compiler", "kernel/sched/core.o", "", "error: implicit declaration of function 'lab_planted'"),
)


def cells(count: int) -> tuple[Cell, ...]:
    """Return that many cells of four axes and a number."""
    found = []
    for number, (variant, source, filesystem, toolchain, arch) in enumerate(
        product(range(count // 1000 + 1), SOURCES, FILESYSTEMS, TOOLCHAINS, ARCHS)
    ):
        if number == count:
            break
        axes = (
            ("arch", arch),
            ("toolchain", toolchain),
            ("source", source),
            ("filesystem", filesystem),
            ("kconfig", f"seed-{variant}"),
        )
        found.append(
            Cell(
                id=f"{arch}-{toolchain}-{source}-{filesystem}-seed-{variant}",
                source=DirSource(path="/usr/src/linux"),
                arch=arch,
                toolchain=toolchain,
                lto=Lto.NONE,
                emulation=Emulation.CROSS,
                filesystem=filesystem,
                kconfig=(),
                patches=(),
                make=Make(),
                boot=None,
                repeat=1,
                deadlines=Deadlines(),
                ccache=True,
                expect=None,
                axes=axes,
            )
        )
    return tuple(found)


def chance(*words: object) -> float:
    """Return a number from 0 to 1 that these words always give."""
    return int.from_bytes(hashlib.blake2b(repr(words).encode(), digest_size=4).digest()) / 2**32


def outcome(cell: int, night: int, nights: int) -> tuple[Outcome, int]:
    """Return what a cell was in a night, and the number of its fault: some broken, flaky, new, fixed."""
    kind, fault = chance("kind", cell), int(chance("fault", cell) * len(FAULTS))
    broken = (
        (kind < 0.02)
        or (0.02 <= kind < 0.05 and night >= nights * 2 // 3)
        or (0.05 <= kind < 0.07 and night < nights // 2)
        or (0.07 <= kind < 0.09 and chance("flaky", cell, night) < 0.3)
    )
    if (chance("lost", night) < 0.05 and chance("machine", cell, night) < 0.3) or chance("error", cell, night) < 0.004:
        return Outcome.ERROR, 0
    if kind > 0.985:
        return Outcome.SKIP, 0
    return (Outcome.FAIL, fault) if broken else (Outcome.PASS, 0)


def result(cell: Cell, number: int, night: int, nights: int) -> Result:
    """Return the verdict on a cell in a night, with its attempt."""
    what, fault = outcome(number, night, nights)
    findings: tuple[Finding, ...] = ()
    if what is Outcome.FAIL:
        id_, blame, function, message = FAULTS[fault]
        findings = (
            Finding(
                id=id_,
                severity=Severity.FAIL,
                title=id_,
                message=message,
                blame=blame,
                function=function,
                where=Span(file="build.txt", first=20, last=20),
                because=("scripts/adjust_autoksyms.sh:50 touches the file once",),
            ),
        )
    if what is Outcome.ERROR:
        findings = (
            Finding(
                id="infra.out-of-memory",
                severity=Severity.ERROR,
                title="out of memory",
                message="the build was ended by the kernel: out of memory",
                where=Span(file=""),
            ),
        )
    seconds = 20.0 + 400.0 * chance("time", number) + 10.0 * chance("time", number, night)
    reason = f"{findings[0].id}: {findings[0].message}" if findings else "built and booted; 2 of 2 modules loaded"
    attempt = AttemptResult(
        number=1,
        outcome=what,
        reason=reason,
        findings=findings,
        not_applicable=(NotApplicable(check="kallsyms", because="CONFIG_KALLSYMS is not set"),),
        seconds=seconds,
        steps=tuple(
            StepResult(
                name=name,
                ending=Ending.EXITED,
                status=0,
                seconds=share * seconds,
                argv=("make", "-sk", "-j2", f"ARCH={cell.arch}"),
            )
            for name, share in (("olddefconfig", 0.05), ("build", 0.8), ("boot", 0.15))
        ),
        folder=f"{cell.id}/1",
        facts={"granularity_ns": 9852, "kernel": "6.1.192", "accel": "tcg"},
    )
    if what is Outcome.SKIP:
        return Result(cell=cell.id, outcome=what, reason=f"{cell.toolchain} does not know {cell.arch}")
    return cell_result(cell, (attempt,))


def facts(some: tuple[Cell, ...], night: int, matrix: str = "nightly") -> RunFacts:
    """Return what run.json says of a night."""
    at_s = FIRST_NIGHT_S + night * DAY_S
    return RunFacts(
        run=store.run_name(matrix, at_s),
        matrix=f"matrices/{matrix}.yaml",
        matrix_sha256="",
        cells=some,
        started_at_s=at_s,
        lab_version="0.1.0",
    )


def write(root: Path, *, count: int, nights: int, evidence: bool = True, matrix: str = "nightly") -> Iterator[Path]:
    """Write the runs and yield their folders. Not synced. evidence: the newest night has logs, consoles and records."""
    some = cells(count)
    for night in range(nights):
        told = facts(some, night, matrix)
        folder = root / told.run
        folder.mkdir(parents=True)
        (folder / "run.json").write_bytes(store.encoded(told))
        for number, cell in enumerate(some):
            found = result(cell, number, night, nights)
            (folder / cell.id).mkdir()
            (folder / cell.id / "result.json").write_bytes(store.encoded(replace(found, attempts=())))
            for attempt in found.attempts:
                inside = folder / attempt.folder
                inside.mkdir()
                (inside / "result.json").write_bytes(store.encoded(attempt))
                if evidence and night >= nights - 1:
                    (inside / "build.txt").write_text(BUILD_LOG)
                    (inside / "console.txt").write_text(
                        "".join(f"[    0.{line:06}] initcall lab_{line} returned 0\n" for line in range(70))
                    )
                    (inside / "reproduce.sh").write_text("#!/bin/sh\n")
                if evidence and (night >= nights - 1 or count <= 1000 or number % 16 == 0):
                    record = {
                        "schema_version": 1,
                        "kernel_version": f"6.1.{160 + night}",
                        "image": {"name": cell.toolchain, "packages": {"binutils": f"2.4{night // 20}"}},
                    }
                    (inside / "record.json").write_bytes(store.encoded(record))
        (folder / "history.json").write_bytes(store.encoded(store.History()))
        yield folder
