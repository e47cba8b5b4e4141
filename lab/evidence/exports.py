"""Exports and the modules that need them: Module.symvers, modules, their undefined symbols and the versions they ask for."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lab.evidence.elf import Elf, UnreadableError, open_elf
from lab.evidence.modules import ModuleFacts
from lab.evidence.text import numbered_lines, text_of

# What modpost itself does not look for. Source: scripts/mod/modpost.c, ignore_undef_symbol(); the powerpc and s390 ones
# come from the linker or the compiler's runtime and no kernel exports a symbol of such a name.
_IGNORED = re.compile(
    r"__this_module$|_GLOBAL_OFFSET_TABLE_$|\.TOC\.$|_gp_disp$|__gnu_local_gp$|"
    r"_(?:rest|save)(?:gpr|32gpr|fpr|vr|gpr0|gpr1)_\w+$|__s390_indirect_jump_r|__crc_|\.?_restf?_?\d+$"
)


# Source: include/linux/license.h, license_is_gpl_compatible().
GPL_COMPATIBLE = ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
MODULE_NAMESPACE = "module:"  # EXPORT_SYMBOL_FOR_MODULES() of 7.2: a list of the modules that may use the symbol
MAX_VERSIONS_BYTES = 8 << 20
_VERSION_BYTES = 64  # struct modversion_info: unsigned long crc, char name[64 - sizeof(unsigned long)]
_KSYMTAB = re.compile(rb"\0__ksymtab_([^\0]{1,511})(?=\0)")


class Export(NamedTuple):
    """One line of Module.symvers. provider: "vmlinux" or a module's path without ".ko". crc: 0 without MODVERSIONS."""

    symbol: str
    provider: str
    kind: str
    namespace: str
    crc: int = 0

    @property
    def gpl_only(self) -> bool:
        """Whether only modules under a GPL-compatible licence may use it."""
        return self.kind.endswith("_GPL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """path: of the .ko, relative to O=, whether or not it was linked. file: what was read (.ko, else its .o), None if neither.

    read: all that was read of a .ko, None before it is linked. version: its vermagic, "".
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
    version: str = ""
    unreadable: str = ""
    read: ModuleFacts | None = field(default=None, repr=False)


def ignored(symbol: str) -> bool:
    """Whether modpost does not ask who exports this symbol."""
    return _IGNORED.match(symbol) is not None


def read_symvers(path: Path | None) -> tuple[Export, ...]:
    """Return the lines of Module.symvers, those of another form left out.

    CRC, symbol, provider, kind, namespace, by tabs; no namespace before 5.4, the third column in 5.4 (5190044c2965 moved it).
    """
    exports = []
    for _, line in numbered_lines(path):
        fields = line.decode("utf-8", "surrogateescape").split("\t")
        if len(fields) > 4 and fields[4].startswith("EXPORT_"):
            fields = [fields[0], fields[1], fields[3], fields[4], fields[2]]
        if len(fields) >= 4:
            namespace = fields[4] if len(fields) > 4 else ""
            exports.append(Export(fields[1], fields[2], fields[3], namespace, _crc(fields[0])))
    return tuple(exports)


def _crc(text: str) -> int:
    return int(text, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,8}", text) else 0


def versions_of(path: Path | None) -> dict[str, int]:
    """Return symbol -> CRC that a linked module was built against; {} without MODVERSIONS, or if it cannot be read.

    Source: include/linux/module.h, struct modversion_info; __version_ext_crcs and __version_ext_names (7.2).
    """
    try:
        if path is None:
            return {}
        with open_elf(path) as elf:
            return _basic_versions(elf) | _extended_versions(elf)
    except UnreadableError:
        return {}


def _section(elf: Elf, name: str) -> bytes:
    section = elf.section(name)
    return elf.data(section) if section is not None and section.size <= MAX_VERSIONS_BYTES else b""


def _basic_versions(elf: Elf) -> dict[str, int]:
    data, word = _section(elf, "__versions"), 8 if elf.is_64 else 4
    order = "little" if elf.byte_order == "<" else "big"
    found = {}
    for at in range(0, len(data) - _VERSION_BYTES + 1, _VERSION_BYTES):
        name = data[at + word : at + _VERSION_BYTES].split(b"\0")[0].decode("utf-8", "surrogateescape")
        found[name] = int.from_bytes(data[at : at + word], order) & 0xFFFFFFFF  # type: ignore[arg-type]
    return found


def _extended_versions(elf: Elf) -> dict[str, int]:
    data, names = _section(elf, "__version_ext_crcs"), _section(elf, "__version_ext_names").split(b"\0")
    crcs = struct.unpack(f"{elf.byte_order}{len(data) // 4}I", data[: len(data) // 4 * 4])
    return {name.decode("utf-8", "surrogateescape"): crc for name, crc in zip(names, crcs, strict=False) if name}


def ksymtab_of(path: Path | None) -> frozenset[str]:
    """Return what a linked kernel exports, by its __ksymtab_ symbols; empty if it has none (stripped) or cannot be read."""
    try:
        if path is None:
            return frozenset()
        with open_elf(path) as elf:
            symbols = elf.symbols()
            found = _KSYMTAB.finditer(symbols.strings) if symbols is not None else ()
            return frozenset(match[1].decode("utf-8", "surrogateescape") for match in found)
    except UnreadableError:
        return frozenset()


def may_use(namespace: str, module: str, imported: Collection[str]) -> bool:
    """Whether a module (its file's name, "kvm-intel") may use a symbol of a namespace.

    Source: scripts/mod/modpost.c, verify_module_namespace(): names by commas, a "*" at the end stands for any rest.
    """
    if not namespace or namespace in imported:
        return True
    if not namespace.startswith(MODULE_NAMESPACE):
        return False
    patterns = namespace.removeprefix(MODULE_NAMESPACE).split(",")
    return any(
        module.startswith(one.removesuffix("*")) if one.endswith("*") else module == one for one in patterns if one
    )


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
