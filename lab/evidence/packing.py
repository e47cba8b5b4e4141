"""The hands of bundle.pack(): what is taken from an output directory, and how a file appears in an evidence folder."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard

from lab.evidence import amplified, autoksyms, livepatch, objects
from lab.evidence.commands import Command
from lab.evidence.elf import UnreadableError
from lab.evidence.text import opened, text_of

MAX_FILE_BYTES = 4 << 30
MAX_MODULES_BYTES = 16 << 30
_COPIES = {
    ".config": "config.txt",
    "Module.symvers": "Module.symvers",
    "System.map": "System.map",
    "modules.order": "modules.order",
    autoksyms.LIST: "autoksyms.h",
    amplified.IN_OUTPUT: amplified.NOTES,
}
_KALLSYMS_MAP = re.compile(r"\.tmp_System\.map|\.tmp_vmlinux(?:\.kallsyms)?\d\.syms")
KEPT_PASSES = ".lab-kallsyms/"
_KERNEL = re.compile(r"vmlinux(?:\.unstripped)?|\.tmp_vmlinux(?:\.kallsyms)?\d?")
_INCLUDE = re.compile(r"^include (\S+)/Makefile$", re.M)
_COMPILED_FOR_KERNEL = "-D__KERNEL__"


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with open(descriptor, "wb") as file:
            yield file
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # write(2) knows a number only
        raise


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file from lines that end with their newline."""
    with appearing(path) as file:
        for line in lines:
            file.write(line.encode("utf-8", "surrogateescape"))


def copy(source: Path, target: Path, *, packed: bool = False) -> int:
    """Copy a regular file of bounded size (packed: through zstd); return its bytes, 0 if there is none to copy.

    Raises OSError if the target cannot be written; a source that is a link, a pipe or unreadable is no evidence of ours.
    """
    with ExitStack() as stack:
        try:
            original = stack.enter_context(opened(source))
        except OSError:
            return 0
        size = os.fstat(original.fileno()).st_size
        if size > MAX_FILE_BYTES:
            return 0
        file = stack.enter_context(appearing(target))
        if packed:
            zstandard.ZstdCompressor(level=3, threads=-1).copy_stream(original, file)
        else:
            shutil.copyfileobj(original, file, 1 << 20)
        return size


def copy_files(out: Path, known: Mapping[str, int], folder: Path, modules: Sequence[str]) -> None:
    """Copy what an evidence folder holds of an output directory.

    known: the regular files of the tree, found without following a link; nothing else is opened.
    """
    for name, target in _COPIES.items():
        if name in known:
            copy(out / name, folder / target)
    for name in known:
        if is_kallsyms_map(name):
            copy(out / name, folder / "kallsyms" / name)
        elif name.startswith(KEPT_PASSES):
            # what lab/data/bin/cmp saved before the kernel's own script cleaned up; whole kernels are packed
            kept = name.removeprefix(KEPT_PASSES)
            big = bool(_KERNEL.fullmatch(kept))
            copy(out / name, folder / "kallsyms" / (f"{kept}.zst" if big else kept), packed=big)
    if "vmlinux" in known:
        copy(out / "vmlinux", folder / "vmlinux.zst", packed=True)
    total = 0
    for name in (_linked_or_annotated(out, module, known) for module in modules):
        if name in known and total < MAX_MODULES_BYTES:
            total += copy(out / name, folder / "modules" / name)


def _linked_or_annotated(out: Path, module: str, known: Mapping[str, int]) -> str:
    """Return what shows a module: its .ko; of a livepatch whose build stopped before that, the object it is linked from.

    Of all other modules that were not linked, objects.jsonl says enough.
    """
    unlinked = module.removesuffix(".ko") + ".o"
    if known.get(module, -1) >= known.get(unlinked, 0):
        return module
    try:
        annotated = unlinked in known and livepatch.read(out / unlinked, module) is not None
    except UnreadableError:
        annotated = False
    return unlinked if annotated else module


def is_kallsyms_map(name: str) -> bool:
    """Whether a file of the output directory is the map of a kallsyms pass, in any version's naming."""
    return _KALLSYMS_MAP.fullmatch(name) is not None


def script_text(out: Path) -> str | None:
    """Return adjust_autoksyms.sh of the source that the directory was built from: O=/source, its Makefile's, or in place."""
    makefile = text_of(out / "Makefile", 1 << 16) or ""
    included = _INCLUDE.search(makefile)
    for tree in (out / "source", *([out / included[1]] if included else []), out):
        if (text := text_of(tree / autoksyms.SCRIPT, 1 << 20)) is not None:
            return text
    return None


# ---------------------------------------------------------------------------------------------- which objects count


def object_facts(
    out: Path, known: Mapping[str, int], commands: Sequence[Command], modules: Sequence[str]
) -> Iterator[objects.ObjectFacts]:
    """Yield the facts of the kernel's own objects, by path: compiled with -D__KERNEL__ or linked into a module."""
    part_of = _owners(out, known, modules)
    compiled = {command.target for command in commands if _COMPILED_FOR_KERNEL in command.command}
    wanted = {target for target in compiled if target.endswith(".o") and not target.endswith(".mod.o")} | set(part_of)
    for name in sorted(wanted):
        if name in known:
            yield objects.object_facts(out / name, name, part_of.get(name, ""))


def _owners(out: Path, known: Mapping[str, int], modules: Sequence[str]) -> dict[str, str]:
    """Return object -> "vmlinux" or the .ko that it is linked into, from the thin archives and the .mod files."""
    # ar names the members of a thin archive as seen from the archive's folder. Source: binutils, bfd/archive.c
    members = (
        posixpath.normpath(posixpath.join(posixpath.dirname(archive), member))
        for archive in _archives(known)
        for member in objects.archive_members(out / archive)
    )
    owners = dict.fromkeys(members, "vmlinux")
    for module in modules:
        base = module.removesuffix(".ko")
        owners[base + ".o"] = module
        listed = (text_of(out / f"{base}.mod", 1 << 20) or "").splitlines() if f"{base}.mod" in known else []
        # Until 5.17 the objects are on the first line, by blanks; the second names what the module needs. Later, one a line.
        first = listed if len(listed) > 0 and " " not in listed[0] else listed[:1]
        owners |= {posixpath.normpath(name): module for line in first for name in line.split() if name.endswith(".o")}
    return owners


def _archives(known: Mapping[str, int]) -> list[str]:
    """Return what vmlinux is linked from: vmlinux.a (6.1 on), else the built-in.a and lib.a of the outer folders."""
    if "vmlinux.a" in known:
        return ["vmlinux.a"]
    return [path for path in known if path.endswith(("built-in.a", "/lib.a")) and path.count("/") <= 3]
