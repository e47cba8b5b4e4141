"""One fault, one finding: what several checks say of the same fault is told with the finding that is nearest to its cause.

Nothing is lost: the others are in Finding.joined, whole. Two findings are joined only where a rule below names what they have
in common (an object, a module, a symbol, a place after a full disk in one log); what merely happened in one build stays apart.
The root is the first of ORDER: what the machine did, an object that was not rebuilt, a wrong command line, what a tool said
about it, and last what the booted kernel made of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.model import Finding, Severity

ORDER = (
    "infra.disk-full", "infra.read-only", "infra.out-of-memory", "infra.engine-lost", "infra.deadline", "infra.emulator-crash",
    "infra.io-error", "infra.compiler-killed", "infra.interrupted", "infra.", "config.", "timestamps.tie", "timestamps.stale",
    "timestamps.",
    "objtool.flags", "objtool.sections", "objtool.error", "objtool.warning", "livepatch.conflict", "livepatch.", "build.",
    "btf.", "modpost.undefined", "modpost.", "kallsyms.inconsistent", "kallsyms.", "boot.", "boot.module-failed", "boot.panic",
    "boot.lockup", "boot.no-init", "boot.hang", "boot.incomplete", "boot.triple-fault", "boot.reset", "boot.reboot",
)  # fmt: skip
GRAVITY = (Severity.ERROR, Severity.FAIL, Severity.WARNING, Severity.NOTE)
PAIRS_LIMIT = 600
"""Findings beyond this number are told by themselves: every pair of them is looked at."""

# What tools make of an input that was cut off because its writer found no room, or was killed.
CUT_SHORT = re.compile(
    r"file truncated|file format not recogni[sz]ed|not recogni[sz]ed as a supported|unexpected end of file|or malformed"
    r"|end of file in|null character|stray ['‘\\]*\\?(?:0|357)|unterminated|missing terminating|malformed archive|bad archive"
    r"|section header table|not an ELF|invalid ELF|could not read symbols|error adding symbols: (?:file|malformed)"
)
ROOTS_OF_ARTEFACTS = (
    "infra.disk-full", "infra.read-only", "infra.out-of-memory", "infra.io-error", "infra.compiler-killed",
    "infra.emulator-crash", "infra.engine-lost", "infra.deadline", "infra.interrupted",
)  # fmt: skip
ARTEFACTS = (
    "build.toolchain-crash",
    "build.failed",
    "build.script",
    "btf.failed",
    "infra.io-error",
    "infra.compiler-killed",
)
ONE_CAUSE = ("stale-object", "trimmed", "not-linked")
"""Causes of undefined symbols that one object has for all of them."""
ENDS = (
    "boot.hang", "boot.incomplete", "boot.no-init", "boot.panic", "boot.lockup", "boot.triple-fault", "boot.reset",
    "boot.reboot", "boot.atomic-sleep",
)  # fmt: skip
DIED = "D"
"""The taint flag of a kernel that has died before: what it says then is a consequence. Source: kernel/panic.c, TAINT_DIE."""


@dataclass(frozen=True, slots=True)
class Told:
    """A finding with what it is about. modules: names as the kernel has them ("autofs4"). objects: paths relative to O=."""

    finding: Finding
    rank: int
    modules: frozenset[str]
    objects: frozenset[str]


def joined(findings: Sequence[Finding], part_of: Mapping[str, str] | None = None) -> tuple[Finding, ...]:
    """Return the findings with those of one fault as one, in the order of their roots; `joined` of the root has the others.

    part_of: object -> "vmlinux" or the .ko it is linked into, as far as known. Severity of a root: the gravest of its parts,
    but what the machine did stays what it is. Never raises, whatever is in `data`.
    """
    told = [_told(finding, part_of or {}) for finding in findings]
    root = list(range(len(told)))
    for part in range(len(told[:PAIRS_LIMIT])):
        fitting = [
            other
            for other in range(len(told[:PAIRS_LIMIT]))
            if other != part and _before(told, other, part) and _one_fault(told[other], told[part])
        ]
        if fitting:
            root[part] = min(fitting, key=lambda index: (told[index].rank, index))
    parts: dict[int, list[int]] = {}
    for index in range(len(told)):
        top = index
        while root[top] != top:  # ranks fall on the way up, so that it ends
            top = root[top]
        if top != index:
            parts.setdefault(top, []).append(index)
    return tuple(
        _story(told[index], [told[part] for part in parts.get(index, ())])
        for index in range(len(told))
        if root[index] == index
    )


def _before(told: Sequence[Told], root: int, part: int) -> bool:
    return (told[root].rank, root) < (told[part].rank, part)


def _story(root: Told, parts: Iterable[Told]) -> Finding:
    ordered = sorted(parts, key=lambda one: (not one.finding.decides, one.rank))
    if not ordered:
        return root.finding
    gravest = min((root.finding, *(one.finding for one in ordered)), key=lambda one: GRAVITY.index(one.severity))
    flat = tuple(finding for one in ordered for finding in (replace(one.finding, joined=()), *one.finding.joined))
    return replace(root.finding, severity=gravest.severity, joined=(*root.finding.joined, *flat))


# --------------------------------------------------------------------------------------------------- what each is about


def _told(finding: Finding, part_of: Mapping[str, str]) -> Told:
    data = finding.data
    names = [
        finding.blame,
        *_texts(data, "object", "exporter", "module", "loading"),
        *_lists(data, "objects", "modules"),
    ]
    if finding.id.startswith("boot."):
        names = [finding.blame, *_texts(data, "loading", "module")]
    objects = frozenset(name for name in names if name.endswith(".o"))
    modules = {module_name(name) for name in names if name and not name.startswith("vmlinux")}
    modules |= {module_name(owner) for name in objects if (owner := part_of.get(name, "")).endswith(".ko")}
    return Told(finding=finding, rank=_rank(finding.id), modules=frozenset(modules), objects=objects)


def _rank(identity: str) -> int:
    """Return the place of an id in ORDER: its own, else that of its family."""
    families = [place for place, name in enumerate(ORDER) if name.endswith(".") and identity.startswith(name)]
    return ORDER.index(identity) if identity in ORDER else families[0] if families else len(ORDER)


def module_name(path: str) -> str:
    """Return the name that the kernel gives to the module of a .ko or .o, or to a module's name."""
    return path.rpartition("/")[2].removesuffix(".ko").removesuffix(".o").replace("-", "_")


def _texts(data: Mapping[str, Any], *keys: str) -> list[str]:
    return [value for key in keys if isinstance(value := data.get(key), str)]


def _lists(data: Mapping[str, Any], *keys: str) -> list[str]:
    found = (value for key in keys if isinstance(value := data.get(key), list | tuple))
    return [one for value in found for one in value if isinstance(one, str)]


# --------------------------------------------------------------------------------------------------------- the rules


def _one_fault(root: Told, part: Told) -> bool:
    return any(rule(root, part) for rule in RULES)


def _machine(root: Told, part: Told) -> bool:
    """A full disk, or whatever broke the tools, and what they said from then on of files that were cut short."""
    if root.finding.id not in ROOTS_OF_ARTEFACTS or root.finding.severity is not Severity.ERROR:
        return False
    mine, its = root.finding.where, part.finding.where
    if mine.file == its.file and mine.first > max(its.first, its.last):
        return False
    cut = part.finding.id.startswith(("build.", "btf.", "modpost.")) and CUT_SHORT.search(part.finding.message)
    return part.finding.id in ARTEFACTS or bool(cut)


def _tie(root: Told, part: Told) -> bool:
    """A tie that kept make from an object, and that object, which was not rebuilt."""
    if (root.finding.id, part.finding.id) != ("timestamps.tie", "timestamps.stale"):
        return False
    pairs = root.finding.data.get("pairs")
    tied = [pair.get("object") for pair in pairs if isinstance(pair, dict)] if isinstance(pairs, list) else []
    stale = _texts(part.finding.data, "object") or [part.finding.blame]
    return bool({root.finding.blame, *filter(None, tied)} & set(stale))


def _stale(root: Told, part: Told) -> bool:
    """An object that was not rebuilt, and the symbols that are missing for it."""
    if root.finding.id != "timestamps.stale":
        return False
    stale = _texts(root.finding.data, "object") or [root.finding.blame]
    if part.finding.id == "modpost.undefined":
        data = part.finding.data
        missing = data.get("symbol") in _lists(root.finding.data, "missing")
        return data.get("cause") == "stale-object" and (missing or data.get("exporter") in stale)
    return part.finding.id.startswith("build.") and bool(part.objects & set(stale))


def _exporter(root: Told, part: Told) -> bool:
    """Many symbols that one object fails to export, for one reason."""
    if root.finding.id != "modpost.undefined" or part.finding.id != "modpost.undefined":
        return False
    mine, its = root.finding.data, part.finding.data
    alike = all(mine.get(key) and mine.get(key) == its.get(key) for key in ("cause", "exporter"))
    return alike and mine.get("cause") in ONE_CAUSE


def _objtool(root: Told, part: Told) -> bool:
    """objtool's wrong call on an object, what it said of it, what it left, and what modpost warned of in the same module."""
    if not root.finding.id.startswith("objtool.") or not root.finding.decides:
        return False
    if part.finding.id.startswith("objtool.") or part.finding.data.get("kind") == "objtool":
        return bool(root.objects & part.objects) or bool(root.modules & part.modules)
    warned = part.finding.id.startswith("modpost.") and part.finding.severity is Severity.WARNING
    return warned and bool(root.modules & part.modules)


def _loaded(root: Told, part: Told) -> bool:
    """A module that is known to be broken, and the kernel that broke while it loaded that very module."""
    warned = root.finding.id == "modpost.undefined"  # KBUILD_MODPOST_WARN=1 lets such a module be linked
    if not part.finding.id.startswith("boot.") or not (root.finding.decides or warned) or not part.finding.decides:
        return False
    loading = {module_name(one) for one in (part.finding.blame, *_texts(part.finding.data, "loading")) if one}
    if not loading & root.modules:
        return False
    if root.finding.id == "objtool.flags":
        return bool(_lists(root.finding.data, "missing")) or root.finding.data.get("uncalled") is True
    refused = part.finding.id == "boot.module-failed" or "livepatch" in part.finding.id
    return root.finding.id.startswith("objtool.") or (
        refused
        and root.finding.id.startswith(("livepatch.", "modpost.undefined", "modpost.namespace", "timestamps.stale"))
    )


def _refused(root: Told, part: Told) -> bool:
    """What the log, the module and the running kernel say of one symbol that a livepatch wants."""
    ours = root.finding.id.startswith("livepatch.") and part.finding.id.startswith("livepatch.")
    symbol = root.finding.data.get("symbol")
    return ours and isinstance(symbol, str) and bool(symbol) and symbol == part.finding.data.get("symbol")


def _unconverted(root: Told, part: Told) -> bool:
    """A symbol that a livepatch module wants, and modpost, which refuses it as nothing converted the wish."""
    if root.finding.id != "livepatch.conflict" or part.finding.id != "modpost.undefined":
        return False
    return root.finding.data.get("symbol") == part.finding.data.get("symbol") and bool(root.modules & part.modules)


def _kallsyms(root: Told, part: Told) -> bool:
    """A kernel that was linked although its symbol table was made from another layout."""
    return (root.finding.id, part.finding.id) == ("kallsyms.inconsistent", "kallsyms.table-wrong")


def _after_death(root: Told, part: Told) -> bool:
    """The first crash of a boot, and what a kernel that has died once still says; how that boot ended."""
    both = root.finding.id.startswith("boot.") and part.finding.id.startswith("boot.")
    mine, its = root.finding, part.finding
    if not both or not mine.decides or not its.decides or mine.id in ENDS or mine.id == "boot.module-failed":
        return False
    if mine.where.file != its.where.file or its.where.first < mine.where.first:
        return False
    tainted = str(its.data.get("tainted", ""))
    return its.id in ENDS or DIED in tainted or (its.id == "boot.module-failed" and its.blame == mine.blame)


RULES: tuple[Callable[[Told, Told], bool], ...] = (
    _machine, _tie, _stale, _exporter, _objtool, _loaded, _refused, _unconverted, _kallsyms, _after_death,
)  # fmt: skip
