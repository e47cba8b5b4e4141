"""`lab boot`: any kernel that was built or packaged elsewhere, booted without a matrix."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from lab.cli.ending import interrupt_once
from lab.cli.plumbing import Accel, AsJson, colour, emit, load_tables, said, settings, shown
from lab.errors import ExitCode, UsageError
from lab.matrix.boot import MEMORY_MIB, PER_BOOT, RETRIES
from lab.model import Boot, BootModules, Deadlines, Oops
from lab.report import booted as report
from lab.use import boot, given

MEMORY = 512  # MiB of a guest, at least: distributions' kernels are large

WHAT = "an O= directory, an attempt's evidence folder, where packages were unpacked, or .deb files of one kernel"
Paths = Annotated[list[Path], typer.Argument(metavar="DIR…", help=WHAT)]
Machine = Annotated[str, typer.Option(help="which machine qemu is; default: the architecture's first")]
Only = Annotated[
    list[str] | None, typer.Option(metavar="PATTERN", help="only these modules: names, or paths with a slash")
]
Skip = Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="not these modules, nor what needs them")]
Sample = Annotated[
    int, typer.Option("--sample", "--modules", metavar="N", min=0, help="N modules, the same everywhere; 0: all")
]
Part = Annotated[str, typer.Option(metavar="K/N", help="the K-th of N equal parts of the modules")]
Parameter = Annotated[
    list[str] | None,
    typer.Option(metavar="MODULE.NAME=VALUE", help="a parameter of a module, as on a kernel's command line"),
]
Twice = Annotated[bool, typer.Option("--twice", help="load each module twice")]
Unload = Annotated[bool, typer.Option("--unload", help="unload the modules in the end")]
Run = Annotated[Path | None, typer.Option(metavar="FILE", help="a script or static program to be run in the guest")]
Append = Annotated[list[str] | None, typer.Option(metavar="PARAMETER", help="a further kernel parameter")]
OnWarn = Annotated[bool, typer.Option("--panic-on-warn", help="the first WARNING ends the boot")]
OnOops = Annotated[Oops, typer.Option(help="what the kernel does after an oops")]
Memory = Annotated[
    int, typer.Option(metavar="MIB", min=MEMORY_MIB[0], max=MEMORY_MIB[1], help="memory of a guest, at least")
]
PerBoot = Annotated[int, typer.Option(metavar="N", min=PER_BOOT[0], max=PER_BOOT[1], help="modules in one boot")]
Retries = Annotated[
    int,
    typer.Option(
        metavar="N", min=RETRIES[0], max=RETRIES[1], help="further boots for what a crash kept from being tried"
    ),
]
Deadline = Annotated[float, typer.Option(metavar="SECONDS", min=1, help="for each boot")]
Silence = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="end a boot after so long without a word; 0: at its deadline")
]
How = Annotated[Accel, typer.Option(help="how the guest runs; auto: KVM where a guest was seen to run")]
Release = Annotated[str, typer.Option(metavar="RELEASE", help="which kernel, if several are there")]


def boot_command(
    paths: Paths,
    machine: Machine = "",
    only: Only = None,
    skip: Skip = None,
    sample: Sample = 0,
    shard: Part = "",
    parameter: Parameter = None,
    twice: Twice = False,
    unload: Unload = False,
    run: Run = None,
    append: Append = None,
    panic_on_warn: OnWarn = False,
    oops: OnOops = Oops.PANIC,
    memory: Memory = MEMORY,
    per_boot: PerBoot = 200,
    retries: Retries = 2,
    deadline: Deadline = 600.0,
    silence: Silence = 0.0,
    accel: How = Accel.AUTO,
    release: Release = "",
    as_json: AsJson = False,
) -> None:
    """Boot a kernel with its own modules and judge what it says; no matrix, and nothing is built.

    The evidence stays in results/boot-…. Exits 0 if the kernel came to the end, 1 for its fault, 128 for the lab's trouble.
    """
    modules = BootModules(
        only=tuple(only or ()), skip=tuple(skip or ()), parameters=_parameters(parameter or []), twice=twice, unload=unload,
        per_boot=per_boot, retries=retries,
    )  # fmt: skip
    wanted = Boot(
        machine=machine, append=tuple(append or ()), memory_mib=memory, modules=modules,
        run=given.program(run) if run is not None else None, panic_on_warn=panic_on_warn, oops=oops,
    )  # fmt: skip
    request = boot.Request(
        paths=tuple(paths), boot=wanted, release=release, sample=sample, part=_part(shard) if shard else None,
        deadlines=Deadlines(boot_s=deadline, silence_s=silence), accel=accel.value,
    )  # fmt: skip
    options, rows, stop = settings(), load_tables(), threading.Event()
    interrupt_once(stop)
    done = boot.boot(request, options, rows, said, stop)
    contract = report.document(done.judged, done.facts, folder=shown(done.folder))
    emit(contract, report.text(contract, done.judged, colour=colour(sys.stdout)), as_json=as_json)
    raise typer.Exit(ExitCode.INTERRUPTED if done.interrupted else done.judged.exit_code)


def _part(written: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", written)
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of:
        raise UsageError(f"--shard must be K/N with 1 <= K <= N, not {written!r}", hint="--shard 1/20")
    return number, of


def _parameters(written: list[str]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for one in written:
        module, dot, text = one.partition(".")
        if not (module and dot and text):
            raise UsageError(
                f"--parameter must be MODULE.NAME=VALUE, not {one!r}", hint="--parameter zram.num_devices=2"
            )
        pairs.append((module, text))
    return tuple(pairs)
