"""Combinations that nothing can build: no image for the architecture, no such machine, no such LTO in the compiler or kernel.

A value that no combination of the file can use is a mistake, told with its place. Where each value is of use elsewhere, the
product of the axes has made the combination: that cell is SKIP, with the reason, and the others are run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from lab import kconfig
from lab.matrix.axes import Combination, Place
from lab.matrix.expand import asked
from lab.model import DebianSource, DirSource, Emulation, Lto, Patch, Source
from lab.tables import Arch, Tables

KCONFIG_BYTES_MAX = 1 << 20
NONE = "none"  # Arch.lto_since: no kernel up to today has it
_OF_PACKAGE = re.compile(r"linux-source-([0-9]+\.[0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a combination cannot be built. axes: those whose values do not go together. known, hint: of the message, or ""."""

    axes: tuple[str, ...]
    message: str
    known: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """mistakes: with their places. skipped: reason by what a combination asks for (lab.matrix.expand.asked)."""

    mistakes: tuple[tuple[Place, Fault], ...]
    skipped: dict[str, str]


def judged(decided: Sequence[Combination], tables: Tables, unknown: Set[str] = frozenset()) -> Judgement:
    """Tell mistakes from combinations that are to be skipped. unknown: axes with values that could not be read.

    Of a file that could not be read whole, a value counts as useless only if no value is missing that it could go with.
    """
    digests: dict[int, str] = {}
    keys = [asked(one, digests) for one in decided]
    faults: dict[str, tuple[Fault, ...]] = {}
    for key, one in zip(keys, decided, strict=True):
        if key not in faults:
            faults[key] = tuple(_faults(one, tables, unknown))
    serving = {
        id(value): (axis, value)
        for key, one in zip(keys, decided, strict=True)
        if not faults[key]
        for axis, value in one.items()
    }
    served = {(axis, value.place) for axis, value in serving.values()}
    mistakes: list[tuple[Place, Fault]] = []
    skipped: dict[str, str] = {}
    for key, one in zip(keys, decided, strict=True):
        for fault in faults[key]:
            useless = [one[axis].place for axis in fault.axes if (axis, one[axis].place) not in served]
            useless = [place for place in useless if place.line]  # what the lab supplies is nobody's mistake
            if useless:
                mistakes.append((max(useless, key=lambda place: (place.line, place.column)), fault))
            else:
                why = f": {fault.hint}" if fault.hint and "lto" in fault.axes else ""
                skipped.setdefault(key, fault.message + why)
    return Judgement(mistakes=tuple(dict.fromkeys(mistakes)), skipped=skipped)


def _faults(one: Combination, tables: Tables, unknown: Set[str]) -> Iterator[Fault]:
    toolchain = tables.toolchain[one["toolchain"].value]
    arch = tables.arch[one["arch"].value]
    emulation: Emulation = one["emulation"].value
    lto: Lto = one["lto"].value
    boot = one["boot"].value
    where = ("toolchain", "arch", "emulation")
    if not unknown & set(where) and toolchain.image_for(emulation, arch.name) is None:
        known = ", ".join(toolchain.images) + " (lab/data/toolchain.yaml)"
        message = f"toolchain {toolchain.name!r} has no image for {emulation.value}/{arch.name}"
        yield Fault(axes=where, message=message, known=known)
    if lto not in toolchain.lto and not unknown & {"toolchain", "lto"}:
        known = ", ".join(toolchain.lto) + " (lab/data/toolchain.yaml)"
        message = f"toolchain {toolchain.name!r} cannot build with lto {lto.value!r}"
        hint = "" if len(toolchain.lto) > 1 else "the kernel's LTO needs the compiler and the linker of LLVM: llvm-N"
        yield Fault(axes=("toolchain", "lto"), message=message, known=known, hint=hint)
    elif not unknown & {"source", "arch", "lto", "patches"}:
        lacking = kernel_lacks_lto(one["source"].value, one["patches"].value, arch, lto)
        if lacking:
            kernel, why = lacking
            yield Fault(
                axes=("source", "arch", "lto"), message=f"{kernel} has no lto {lto.value!r} for {arch.name!r}", hint=why
            )
    if boot is not None and not unknown & {"arch", "boot"} and arch.machine_named(boot.machine) is None:
        known = ", ".join(machine.name for machine in arch.machines) + " (lab/data/arch.yaml)"
        yield Fault(axes=("arch", "boot"), message=f"arch {arch.name!r} has no machine {boot.machine!r}", known=known)


def kernel_lacks_lto(source: Source, patches: tuple[Patch, ...], arch: Arch, lto: Lto) -> tuple[str, str] | None:
    """Return (kernel, why) if it is known before it is fetched that a kernel has no such LTO, else None."""
    if lto is Lto.NONE or any(touches_kconfig(patch) for patch in patches):
        return None
    if isinstance(source, DirSource):
        why = tree_lacks_lto(Path(source.path), arch, lto)
        return (f"the kernel in {source.path!r}", why) if why else None
    match = _OF_PACKAGE.fullmatch(source.package) if isinstance(source, DebianSource) else None
    if match is None:
        return None
    version = match[1]
    if _number(version) < _number(kconfig.LTO_SINCE):
        return f"linux {version}", f"LTO came with {kconfig.LTO_SINCE}"
    if arch.lto_since == NONE:
        return f"linux {version}", "no kernel so far has it for this architecture (lto_since in lab/data/arch.yaml)"
    if arch.lto_since and _number(version) < _number(arch.lto_since):
        return (
            f"linux {version}",
            f"LTO came to this architecture with {arch.lto_since} (lto_since in lab/data/arch.yaml)",
        )
    return None


def tree_lacks_lto(tree: Path, arch: Arch, lto: Lto) -> str:
    """Return why an unpacked tree has no such LTO, "" if it has, or if it has no such files (then it is no kernel)."""
    if lto is Lto.NONE:
        return ""
    texts = []
    for path in (tree / "arch/Kconfig", tree / "arch" / arch.kernel_srcarch / "Kconfig"):
        try:
            with path.open("rb") as file:
                texts.append(file.read(KCONFIG_BYTES_MAX).decode("utf-8", "replace"))
        except OSError:
            return ""
    return kconfig.lacks_lto(texts, lto=lto, arch=arch.kernel_arch)


def touches_kconfig(patch: Patch) -> bool:
    """Whether a patch changes what the kernel offers, so that only the patched tree can tell."""
    return re.search(r"^\+\+\+ \S*Kconfig", patch.text, re.M) is not None


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
