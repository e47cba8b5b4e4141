"""Exports and the modules that need them: Module.symvers, modules and their undefined symbols."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lab.evidence.elf import UnreadableError, open_elf
from lab.evidence.text import numbered_lines, text_of

# What modpost itself does not look for. Source: scripts/mod/modpost.c, ignore_undef_symbol(); the powerpc and s390 ones
# come from the linker or the compiler's runtime and no kernel exports a symbol of such a name.
_IGNORED = re.compile(
    r"__this_module$|_GLOBAL_OFFSET_TABLE_$|\.TOC\.$|_gp_disp$|__gnu_local_gp$|"
    r"_(?:rest|save)(?:gpr|32gpr|fpr|vr|gpr0|gpr1)_\w+$|__s390_indirect_jump_r|__crc_|\.?_restf?_?\d+$"
)


class Export(NamedTuple):
    """One line of Module.symvers. provider: "vmlinux" or a module's path without ".ko"."""

    symbol: str
    provider: str
    kind: str
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """path: of the .ko, relative to O=, whether or not it was linked. file: what was read (.ko, else its .o), None if neither.

    name: as the kernel knows it. depends: from .modinfo, () before it is linked. undefined: needed symbols, sorted, without
    those that modpost ignores. exports: symbols it provides. namespaces: imported ones.
    unreadable: why nothing is known, or "".
    """

    path: str
    file: Path | None
    name: str
    depends: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    unreadable: str = ""


def ignored(symbol: str) -> bool:
    """Whether modpost does not ask who exports this symbol."""
    return _IGNORED.match(symbol) is not None


def read_symvers(path: Path | None) -> tuple[Export, ...]:
    """Return the lines of Module.symvers: CRC, symbol, provider, kind, namespace (the last since 5.4), by tabs."""
    exports = []
    for _, line in numbered_lines(path):
        fields = line.decode("utf-8", "surrogateescape").split("\t")
        if len(fields) >= 4:
            exports.append(Export(fields[1], fields[2], fields[3], fields[4] if len(fields) > 4 else ""))
    return tuple(exports)


def modules_order(path: Path | None) -> tuple[str, ...]:
    """Return the modules of modules.order as .ko paths, in its order (6.12 and later write .o there)."""
    lines = (text_of(path) or "").splitlines()
    return tuple(dict.fromkeys(ko_path(line) for line in lines if line.endswith((".ko", ".o"))))


def ko_path(path: str) -> str:
    """Return the module's .ko path for any of its files: .ko, .o, or no suffix (as modpost prints it)."""
    return path.removesuffix(".ko").removesuffix(".o") + ".ko"


def modinfo_of(path: Path) -> tuple[tuple[str, str], ...]:
    """Return a module's .modinfo, () if it cannot be read."""
    try:
        with open_elf(path) as elf:
            return elf.modinfo()
    except UnreadableError:
        return ()


def parsed_config(text: str | None) -> dict[str, str]:
    """Return symbol (without CONFIG_) -> value ("y", "m", "n" for "is not set", else as written)."""
    values: dict[str, str] = {}
    for match in re.finditer(r"^(?:CONFIG_(\w+)=(.*)|# CONFIG_(\w+) is not set)$", text or "", re.M):
        values[match[1] or match[3]] = match[2].rstrip("\r") if match[1] else "n"
    return values


def kernel_version(config_text: str | None) -> str:
    """Return "6.1.192" from the head of .config ("# Linux/x86 6.1.192 Kernel Configuration"), "" if it does not say."""
    match = re.search(r"^# Linux/\S+ (\d[\w.+~-]*) Kernel Configuration", (config_text or "")[:4096], re.M)
    return match[1] if match else ""
