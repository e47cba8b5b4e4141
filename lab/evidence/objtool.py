"""How objtool was called on each object, and how kbuild's rules say that it must be called; what it left in the modules.

Source: scripts/Makefile.lib, objtool-args; scripts/Makefile.build, objtool-enabled, part-of-module, is-single-obj-m;
scripts/Makefile.vmlinux_o; 6.1, 6.12 and 7.2. Until 5.18 the calls are not in .cmd files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from lab.evidence.commands import Command
from lab.evidence.elf import SHN_UNDEF, Elf, UnreadableError, open_elf

# What each option of the configuration asks of every call on the kernel's own objects. An option that a version does not have
# is not set in its .config, so the table needs no versions. --prefix, --cfi, --fineibt and --mnop changed their conditions
# from version to version: those are held against the other calls of the same build alone.
BY_CONFIG: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("--hacks=jump_label", ("HAVE_JUMP_LABEL_HACK",)),
    ("--hacks=noinstr", ("HAVE_NOINSTR_HACK",)),
    ("--hacks=skylake", ("MITIGATION_CALL_DEPTH_TRACKING", "CALL_DEPTH_TRACKING")),
    ("--ibt", ("X86_KERNEL_IBT",)),
    ("--mcount", ("FTRACE_MCOUNT_USE_OBJTOOL",)),
    ("--orc", ("UNWINDER_ORC",)),
    ("--retpoline", ("RETPOLINE", "MITIGATION_RETPOLINE")),
    ("--rethunk", ("RETHUNK", "MITIGATION_RETHUNK")),
    ("--sls", ("SLS", "MITIGATION_SLS")),
    ("--stackval", ("STACK_VALIDATION",)),
    ("--static-call", ("HAVE_STATIC_CALL_INLINE",)),
    ("--uaccess", ("HAVE_UACCESS_VALIDATION",)),
    ("--no-unreachable", ("GCOV_KERNEL", "KCOV")),
    ("--werror", ("OBJTOOL_WERROR",)),
)
DELAYED_BY = ("LTO_CLANG", "LTO_CLANG_THIN", "LTO_CLANG_FULL", "X86_KERNEL_IBT", "KLP_BUILD")
MODULE, LINK = "--module", "--link"
# Objects with rules of their own: only checked, not written. Source: 7.2, arch/x86/boot/startup/Makefile.
_OWN_RULES = ("arch/x86/boot/startup/", frozenset({"--noabs", "--dry-run"}))
_CALL = re.compile(r"(?:^|[;&|]|\s)\s*\S*tools/objtool/objtool\s+([^;&|]*)")
_LINKED = re.compile(r"\s-r\s.*?-o\s+\S+\s+@|\s-r\s+-o\s")

SECTIONS = (
    ".orc_unwind",
    ".orc_unwind_ip",
    ".retpoline_sites",
    ".return_sites",
    ".static_call_sites",
    "__mcount_loc",
    ".ibt_endbr_seal",
)
STATIC_CALLS = ".static_call_sites"
# What objtool writes into every module that has such code: section, options of which one is set, how the undefined symbol
# begins that shows the code ("": any code). Source: tools/objtool/check.c, annotate_call_site(), add_return_call();
# orc_gen.c, orc_create(). Of .static_call_sites and .ibt_endbr_seal the symbols do not tell.
WRITTEN: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (".orc_unwind", ("UNWINDER_ORC",), ""),
    (".orc_unwind_ip", ("UNWINDER_ORC",), ""),
    (".retpoline_sites", ("RETPOLINE", "MITIGATION_RETPOLINE"), "__x86_indirect_thunk_r"),
    (".return_sites", ("RETHUNK", "MITIGATION_RETHUNK"), "__x86_return_thunk"),
    ("__mcount_loc", ("FTRACE_MCOUNT_USE_OBJTOOL",), "__fentry__"),
)
SITE_BYTES = (
    8  # struct static_call_site: two 32-bit offsets, each with a relocation. Source: include/linux/static_call_types.h
)


class Role(StrEnum):
    """What an object is to kbuild, which decides how objtool is called on it."""

    BUILT_IN = "built-in object"
    PART = "part of a multi-object module"
    SINGLE = "single-object module"
    MULTI = "multi-object module"
    VMLINUX = "vmlinux.o"
    STUB = "what modpost wrote for a module"


IN_MODULE = frozenset({Role.PART, Role.SINGLE, Role.MULTI, Role.STUB})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An object and how objtool was called on it. flags: in their order; None if it was not called. line: the whole call.

    module: the .ko that the object goes into, "" for vmlinux. number: of its command, from 1, or 0; at: line of the log, or 0.
    """

    object: str
    role: Role
    flags: tuple[str, ...] | None
    module: str = ""
    line: str = ""
    number: int = 0
    at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Objects of one role whose calls break the rules alike. missing, superfluous: flags. uncalled: there is no call.

    wanted: what the rules ask, if they are not those of expected().
    """

    role: Role
    missing: tuple[str, ...] = ()
    superfluous: tuple[str, ...] = ()
    uncalled: bool = False
    calls: tuple[Call, ...] = ()
    wanted: tuple[str, ...] = ()


def delayed(config: Mapping[str, str]) -> str:
    """Return the option that makes objtool wait for linked objects, "" if none is set."""
    return next((name for name in DELAYED_BY if config.get(name) == "y"), "")


def calls(commands: Iterable[Command], modules: Iterable[str], part_of: Mapping[str, str]) -> Iterator[Call]:
    """Yield the kernel's objects with objtool's call on each.

    modules: .ko paths. part_of: object -> "vmlinux" or the .ko it is linked into; what nothing links is left out.
    """
    own = {module.removesuffix(".ko") + ".o": module for module in modules}
    for number, command in enumerate(commands, 1):
        role = _role(command, own, part_of)
        if role is None:
            continue
        found = _CALL.search(command.command)
        words = found[1].split() if found else []
        yield Call(
            object=command.target,
            role=role,
            flags=tuple(word for word in words if word.startswith("--")) if found else None,
            module=own.get(command.target) or part_of.get(command.target, "").replace("vmlinux", ""),
            line=f"./tools/objtool/objtool {' '.join(words)}" if found else "",
            number=number,
        )


def _role(command: Command, own: Mapping[str, str], part_of: Mapping[str, str]) -> Role | None:
    target = command.target
    if target == "vmlinux.o":
        return Role.VMLINUX
    if target.endswith((".mod.o", "/.module-common.o")) or target == ".module-common.o":
        return Role.STUB
    if target in own:
        return (
            Role.MULTI
            if _LINKED.search(command.command.partition("objtool")[0]) and not command.source
            else Role.SINGLE
        )
    owner = part_of.get(target, "")
    if owner == "vmlinux":
        return Role.BUILT_IN
    return Role.PART if owner else None


def expected(role: Role, config: Mapping[str, str]) -> frozenset[str] | None:
    """Return the flags that the rules ask of a call, as far as the configuration decides; None where they ask for no call."""
    delay = bool(delayed(config))
    base = {flag for flag, names in BY_CONFIG if any(config.get(name) == "y" for name in names)}
    if role is Role.VMLINUX:
        noinstr = {"--noinstr"} if config.get("NOINSTR_VALIDATION") == "y" else set()
        if not delay and not noinstr:
            return None
        return frozenset((base if delay else set()) | noinstr | {LINK})
    if role in (Role.BUILT_IN, Role.PART) and delay:
        return None
    if role is Role.MULTI and not delay:
        return None
    return frozenset(base | ({MODULE} if role in IN_MODULE else set()) | ({LINK} if delay else set()))


def violations(found: Iterable[Call], config: Mapping[str, str]) -> tuple[Violation, ...]:
    """Return what breaks the rules, objects that break them alike together, in the order of roles.

    A missing call counts only where nothing may exempt an object (OBJECT_FILES_NON_STANDARD is no rule for linked modules),
    or where no object of the role has one.
    """
    everything = tuple(found)
    groups: dict[tuple[Role, tuple[str, ...], tuple[str, ...], bool], list[Call]] = {}
    for role in Role:
        mine = [call for call in everything if call.role is role]
        wanted = expected(role, config)
        called = [call for call in mine if call.flags is not None and not _by_own_rules(call)]
        if wanted is None:
            continue
        if role is Role.STUB and not called:
            continue  # until 7.1 they are not checked
        usual = _usual(called)
        for call in called:
            missing, superfluous = _against(call, role, wanted, usual)
            if missing or superfluous:
                groups.setdefault((role, missing, superfluous, False), []).append(call)
        silent = [call for call in mine if call.flags is None]
        strict = role is Role.MULTI or (role is Role.SINGLE and bool(delayed(config)))
        if silent and (strict or not called) and role is not Role.STUB:
            groups[role, (), (), True] = silent
    return tuple(
        Violation(role=role, missing=missing, superfluous=superfluous, uncalled=uncalled, calls=tuple(members))
        for (role, missing, superfluous, uncalled), members in groups.items()
    )


def _by_own_rules(call: Call) -> bool:
    folder, flags = _OWN_RULES
    return call.object.startswith(folder) and bool(flags & set(call.flags or ()))


def _usual(called: list[Call]) -> frozenset[str]:
    """Return the flags that more than half of a role's calls have."""
    counts: dict[str, int] = {}
    for call in called:
        for flag in set(call.flags or ()):
            counts[flag] = counts.get(flag, 0) + 1
    return frozenset(flag for flag, count in counts.items() if 2 * count > len(called) > 2)


# --dry-run writes nothing: no object of a kernel has it but those of _OWN_RULES.
_DECIDED = frozenset({MODULE, LINK, "--dry-run", *(flag for flag, _ in BY_CONFIG)})


def _against(
    call: Call, role: Role, wanted: frozenset[str], usual: frozenset[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (missing, superfluous) flags: by the configuration where it decides, by the other calls of the role elsewhere."""
    has = frozenset(call.flags or ())
    missing = (wanted - has) | ((usual - _DECIDED) - has)
    superfluous = ((has & _DECIDED) - wanted) | ((has - _DECIDED - usual) if usual else frozenset())
    if role is Role.VMLINUX:
        superfluous &= {MODULE}  # it has flags of its own
    return tuple(sorted(missing)), tuple(sorted(superfluous))


# ------------------------------------------------------------------------------------------------ what it left behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What objtool left in a module. sections: those of SECTIONS that are there and not empty.

    sites, relocations: of .static_call_sites; a sound one has two relocations a site. text: bytes of executable sections.
    refers: which of the symbols of WRITTEN are undefined in it.
    """

    sections: frozenset[str] = field(default_factory=frozenset)
    sites: int = 0
    relocations: int = 0
    text: int = 0
    refers: frozenset[str] = field(default_factory=frozenset)

    @property
    def half(self) -> bool:
        """Whether objtool stopped while it wrote .static_call_sites.

        Source: tools/objtool/check.c, create_static_call_sections().
        """
        return self.relocations < 2 * self.sites


def marks(path: Path | None) -> Marks | None:
    """Return what objtool left in a .ko, None if it cannot be read."""
    if path is None:
        return None
    try:
        with open_elf(path) as elf:
            return marks_of(elf)
    except UnreadableError:
        return None


def marks_of(elf: Elf) -> Marks:
    """Return what objtool left in an open module."""
    sizes = {section.name: section for section in elf.sections if section.size}
    calls_at, relocated = sizes.get(STATIC_CALLS), sizes.get(".rela" + STATIC_CALLS)
    return Marks(
        sections=frozenset(name for name in SECTIONS if name in sizes),
        sites=calls_at.size // SITE_BYTES if calls_at else 0,
        relocations=relocated.size // relocated.entsize if relocated and relocated.entsize else 0,
        text=sum(section.size for section in sizes.values() if section.flags & 4),
        refers=_refers(elf),
    )


def _refers(elf: Elf) -> frozenset[str]:
    symbols = elf.symbols()
    names = symbols.names(symbols.sections == SHN_UNDEF) if symbols is not None else []
    return frozenset(begin for _, _, begin in WRITTEN if begin and any(name.startswith(begin) for name in names))


def unwritten(found: Mapping[str, Marks], config: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return module -> sections that objtool must have written there and did not.

    found: the marks of all modules. .orc_unwind is in every module with code; what else this version of objtool writes is
    learned from the modules that have it: another one with the same code must have it, too.
    """
    if "STACK_VALIDATION" in config and "OBJTOOL" not in config:
        return {}  # until 5.18 whole folders (arch/x86/crypto) are left out: OBJECT_FILES_NON_STANDARD := y
    lacking: dict[str, list[str]] = {}
    for section, options, symbol in WRITTEN:
        if not any(config.get(option) == "y" for option in options):
            continue
        mine = [name for name, one in found.items() if one.text and (not symbol or symbol in one.refers)]
        without = [name for name in mine if section not in found[name].sections]
        if symbol and len(without) == len(mine):
            continue
        for name in without:
            lacking.setdefault(name, []).append(section)
    return {name: tuple(sections) for name, sections in lacking.items()}
