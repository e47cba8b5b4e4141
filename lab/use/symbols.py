"""`lab symbols`: the symbols of vmlinux or of modules, and which names need a position when a livepatch wants them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import UsageError
from lab.evidence import boot_image, kallsyms_table, kernel_image, positions, symbols
from lab.evidence.bundle import Evidence
from lab.evidence.distribution import module_name
from lab.evidence.elf import UnreadableError, open_elf
from lab.evidence.positions import Named, Ordered

KERNEL = "vmlinux"
ET_REL = 1
_SUFFIXES = (".xz", ".zst", ".gz", ".ko", ".o")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """path: a folder or one file. object: "vmlinux", a module's name or path, "" for vmlinux (with duplicates: all).

    name: only symbols of this name. limit: rows at most, 0 for all.
    """

    path: Path
    object: str = ""
    name: str = ""
    release: str = ""
    duplicates: bool = False
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One symbol of an object."""

    object: str
    symbol: Named


@dataclass(slots=True, kw_only=True)
class Listed:
    """rows: as asked, cut at the limit. total: without the limit. sources: object -> what its order comes from.

    unreadable: object -> why it is not listed.
    """

    rows: list[Row] = field(default_factory=list)
    total: int = 0
    sources: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


Reader = Callable[[], tuple[Ordered, str]]


def listed(request: Request) -> Listed:
    """List symbols. Raises UsageError if there is no such file, folder or object."""
    found = Listed()
    for name, read in _objects(request):
        try:
            ordered, source = read()
        except UnreadableError as error:
            found.unreadable[name] = str(error)
            continue
        found.sources[name] = source
        rows = ordered.rows(duplicates=request.duplicates, name=request.name)
        left = len(ordered) if not request.limit else max(0, request.limit - len(found.rows))
        shown = [Row(object=name, symbol=one) for one in itertools.islice(rows, left)]
        found.rows += shown
        found.total += len(shown) + sum(1 for _ in rows)
    return found


def _objects(request: Request) -> Iterator[tuple[str, Reader]]:
    if request.path.is_file():
        yield module_name(request.path.name), lambda: _of_file(request.path)
        return
    evidence = Evidence(request.path, request.release)
    wanted = request.object
    if wanted in ("", KERNEL):
        yield KERNEL, lambda: _of_kernel(evidence)
    if wanted == KERNEL or not (wanted or request.duplicates):
        return
    files = {module.path: module.file for module in evidence.modules if module.file is not None}
    asked = _plain(wanted)
    some = {path: file for path, file in files.items() if not wanted or wanted == path or _plain(path) == asked}
    if wanted and not some:
        known = ", ".join(itertools.islice((_plain(path) for path in files), 12)) + (", …" if len(files) > 12 else "")
        raise UsageError(
            f"no module is called {wanted!r} in '{request.path}'", facts=(("known", known or "vmlinux only"),)
        )
    for path, file in some.items():
        yield path, _reader(file)


def _reader(file: Path) -> Reader:
    return lambda: _of_file(file)


def _plain(module: str) -> str:
    """Return a module's name as the kernel knows it, of its path or file."""
    base = module.rpartition("/")[2]
    for suffix in _SUFFIXES:
        base = base.removesuffix(suffix)
    return base.replace("-", "_")


def _of_file(path: Path) -> tuple[Ordered, str]:
    """Return the symbols of one file: a module, a vmlinux, a boot image."""
    try:
        with open_elf(path) as elf:
            if elf.type == ET_REL:
                found = positions.of_module(elf)
                if found is None:
                    raise UnreadableError("it has no symbol table")
                return found, "ELF symbol table"
            table = kallsyms_table.of_elf(elf, symbols.of_elf(elf))
            if table is not None:
                return positions.of_table(table, elf), "kallsyms table"
            found = positions.of_vmlinux(elf)
            if found is None:
                raise UnreadableError("it has neither a kallsyms table nor a symbol table")
            return found, "ELF symbol table"
    except UnreadableError:
        if not _is_image(path):
            raise
    image = boot_image.read(path, None, None)
    if image.symbols.table is None:
        raise UnreadableError(image.unreadable or "there is no kallsyms table in it")
    return positions.of_table(image.symbols.table, None), "kallsyms table"


def _is_image(path: Path) -> bool:
    try:
        with kernel_image.unpacked(path):
            return True
    except UnreadableError:
        return False


def _of_kernel(evidence: Evidence) -> tuple[Ordered, str]:
    """Return the symbols of vmlinux: in the order of its own table where there is one."""
    image, kernel = evidence.boot_image, evidence.distribution
    if image is not None and kernel is not None:
        if image.symbols.table is None:
            raise UnreadableError(image.unreadable or image.symbols.unreadable or "there is no kallsyms table in it")
        if kernel.debug is None:
            return positions.of_table(image.symbols.table, None), "kallsyms table"
        with open_elf(kernel.debug) as elf:
            return positions.of_table(image.symbols.table, elf), "kallsyms table, files of the debugging symbols"
    if evidence.vmlinux is not None:
        return _of_file(evidence.vmlinux)
    if evidence.mapped_symbols is not None:
        return positions.of_listing(evidence.mapped_symbols), "System.map"
    raise UnreadableError("there is no vmlinux")
