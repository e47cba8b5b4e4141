"""The code of a kernel that is at hand: of an output directory, an evidence folder, a distribution's kernel, or given files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.evidence import distribution, functions
from lab.evidence.bundle import Evidence, Shape
from lab.evidence.elf import UnreadableError, open_elf
from lab.evidence.functions import Functions
from lab.evidence.lines import has_lines
from lab.evidence.resolve import KERNEL, Code, Moved, by_name

NO_KASLR = Moved(offset=0, how="CONFIG_RANDOMIZE_BASE is not set")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel whose code is known. file: of "vmlinux" or a module (.ko path), None if it is not there.

    modules: the kernel's name of a module -> its path. moved: how far it was moved, as far as its configuration tells.
    """

    code: Code
    file: Callable[[str], Path | None]
    modules: Mapping[str, str] = field(default_factory=dict)
    moved: Moved = field(default_factory=Moved)

    def lined(self, object_: str) -> bool:
        """Whether a file has debugging information with lines."""
        path = self.file(object_)
        try:
            if path is None:
                return False
            with open_elf(path) as elf:
                return has_lines(elf)
        except UnreadableError:
            return False


def of_evidence(evidence: Evidence, further: Mapping[str, Path] | None = None) -> Kernel:
    """Return the kernel of a folder. What cannot be read is said where it is asked for.

    further: modules (path -> file) that go before those of the folder.
    """
    modules = {**(further or {}), **_module_files(evidence)} if further else _module_files(evidence)
    kernel = _kernel_file(evidence)
    found, lacking = _functions(evidence, kernel)
    moved = Moved()
    if evidence.config and evidence.config.get("RANDOMIZE_BASE") != "y":
        moved = NO_KASLR
    return _kernel(kernel, found, lacking, modules, moved, by_name((*modules, *evidence.modules_order)))


def of_files(vmlinux: Path | None, modules: Mapping[str, Path]) -> Kernel:
    """Return the kernel of a vmlinux (or a map) and modules (path -> file). Raises UnreadableError for such a vmlinux."""
    found = of_file(vmlinux) if vmlinux is not None else None
    lacking = "no vmlinux was given" if vmlinux is None else f"'{vmlinux.name}' has no symbols"
    return _kernel(vmlinux, found, lacking, modules, Moved(), by_name(modules))


def of_file(path: Path) -> Functions | None:
    """Return the functions of an ELF file, packed or not; None if it has no symbols. Raises UnreadableError."""
    with open_elf(path) as elf:
        return functions.of_elf(elf)


def _kernel(
    vmlinux: Path | None, found: Functions | None, lacking: str, modules: Mapping[str, Path], moved: Moved,
    names: Mapping[str, str],
) -> Kernel:  # fmt: skip
    def read(name: str) -> tuple[str, Functions]:
        path = names.get(name, "")
        if path not in modules:
            raise UnreadableError(f"there is no module '{name}' here")
        try:
            inner = of_file(modules[path])
        except UnreadableError as error:
            raise UnreadableError(f"cannot read {path}: {error}") from error
        if inner is None:
            raise UnreadableError(f"{path} has no symbols")
        return path, inner

    return Kernel(
        code=Code(kernel=found, lacking=lacking, read=read),
        file=lambda name: vmlinux if name == KERNEL else modules.get(name),
        modules=names,
        moved=moved,
    )


def _kernel_file(evidence: Evidence) -> Path | None:
    kernel = evidence.distribution
    return evidence.vmlinux if kernel is None else kernel.debug


def _functions(evidence: Evidence, path: Path | None) -> tuple[Functions | None, str]:
    """Return the kernel's functions from the best that is there, or None and why."""
    lacking = "there is no vmlinux"
    if path is not None:
        try:
            found = of_file(path)
            lacking = f"{path.name} has no symbols"
        except UnreadableError as error:
            found, lacking = None, f"cannot read {path.name}: {error}"
        if found is not None:
            return found, ""
    image = evidence.boot_image
    if image is not None and image.symbols.table is not None:
        return functions.of_listing(image.symbols.table.listing), ""
    if evidence.mapped_symbols is not None:
        return functions.of_listing(evidence.mapped_symbols), ""
    return None, lacking


def _module_files(evidence: Evidence) -> dict[str, Path]:
    """Return module -> its .ko, without reading any."""
    if evidence.distribution is not None:
        return distribution.module_files(evidence.distribution)
    place = "" if evidence.shape is Shape.OUTPUT else "modules/"
    found = ((path, evidence.file(place + path)) for path in evidence.modules_order)
    return {path: file for path, file in found if file is not None}
