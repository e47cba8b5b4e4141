"""One fault, one finding: what several checks say of the same fault is told with the finding that is nearest to its cause.

Nothing is lost: the others are in Finding.joined, whole. Two findings are joined only where a rule below names what they have
in common (an object, a module, a symbol, a place after a full disk in one log); what merely happened in one build stays apart.
The root is the first of ORDER: what the machine did, an object that was not rebuilt, a wrong command line, what a tool said
about it, and last what the booted kernel made of it. A crash goes to what is nearest to it (see Nearness).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from lab.checks.told import Nearness, Told, about, lists, nearness, texts
from lab.model import Finding, Severity

GRAVITY = (Severity.ERROR, Severity.FAIL, Severity.WARNING, Severity.NOTE)
NAMED_AT_MOST = 6
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


def joined(findings: Sequence[Finding], part_of: Mapping[str, str] | None = None) -> tuple[Finding, ...]:
    """Return the findings with those of one fault as one, in the order of their roots; `joined` of the root has the others.

    part_of: object -> "vmlinux" or the .ko it is linked into, as far as known. Severity of a root: the gravest of its parts,
    but what the machine did stays what it is. Never raises, whatever is in `data`.
    """
    told = [about(finding, part_of or {}) for finding in findings]
    root = _roots(told)
    parts: dict[int, list[int]] = {}
    for index in range(len(told)):
        top = _top(root, index)
        if top != index:
            parts.setdefault(top, []).append(index)
    return tuple(
        _story(told[index], [told[part] for part in parts.get(index, ())])
        for index in range(len(told))
        if root[index] == index
    )


def _roots(told: list[Told]) -> list[int]:
    """Return for each finding the one that it is told with, itself if there is none.

    What the kernel used may be wrong in several modules: such a crash is told by itself, with their names.
    """
    root = list(range(len(told)))
    unsure: dict[int, list[int]] = {}
    for part in range(len(told[:PAIRS_LIMIT])):
        fitting = [
            other
            for other in range(len(told[:PAIRS_LIMIT]))
            if other != part and _before(told, other, part) and _one_fault(told[other], told[part])
        ]
        nearest = {other: nearness(told[other], told[part]) or Nearness.CODE for other in fitting}
        if fitting and min(nearest.values()) is Nearness.USED:
            unsure[part] = fitting
        elif fitting:
            root[part] = min(fitting, key=lambda index: (nearest[index], told[index].rank, index))
    for part, fitting in unsure.items():
        tops = sorted({_top(root, other) for other in fitting})
        if len(tops) == 1:
            root[part] = tops[0]
        else:
            told[part] = _undecided(told[part], [told[top] for top in tops])
    return root


def _top(root: Sequence[int], index: int) -> int:
    while root[index] != index:  # ranks fall on the way up, so that it ends
        index = root[index]
    return index


def _before(told: Sequence[Told], root: int, part: int) -> bool:
    return (told[root].rank, root) < (told[part].rank, part)


def _undecided(part: Told, roots: Sequence[Told]) -> Told:
    """Return a crash that several findings may have led to, with their names: it is told by itself."""
    named = ", ".join(f"{one.finding.id} of {one.finding.blame or 'the build'}" for one in roots[:NAMED_AT_MOST])
    reason = f"what the kernel used here may be wrong in several modules, and nothing tells in which: {named}"
    because = part.finding.because
    return part if reason in because else replace(part, finding=replace(part.finding, because=(*because, reason)))


def _story(root: Told, parts: Iterable[Told]) -> Finding:
    ordered = sorted(parts, key=lambda one: (not one.finding.decides, one.rank))
    if not ordered:
        return root.finding
    reasons = (*root.finding.because, *(reason for one in ordered if (reason := _link(root, one))))
    gravest = min((root.finding, *(one.finding for one in ordered)), key=lambda one: GRAVITY.index(one.severity))
    flat = tuple(finding for one in ordered for finding in (replace(one.finding, joined=()), *one.finding.joined))
    joined_all = (*root.finding.joined, *flat)
    return replace(root.finding, severity=gravest.severity, because=reasons, joined=joined_all)


def _link(root: Told, part: Told) -> str:
    """Return why a crash is put down to a finding of the build, "" if it is none."""
    if not part.crash.is_crash:
        return ""
    source = "".join(texts(part.finding.data, "place"))
    where = f" in {part.finding.function}()" + (f" at {source}" if source else "") if part.finding.function else ""
    subject = root.finding.blame or "it"
    match nearness(root, part):
        case Nearness.CODE:
            return f"the kernel crashed{where}, in code of {part.crash.object or subject}"
        case Nearness.LOADING:
            return f"the kernel was loading {subject} when it crashed{where}"
        case Nearness.TRACE:
            return f"the kernel crashed{where}, called from {subject}"
        case Nearness.USED:
            return (
                f"the kernel crashed{where}, which uses what objtool writes; of what was linked in, {subject} lacks it"
            )
        case _:
            return ""


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


def _set_back(root: Told, part: Told) -> bool:
    """A clock that was set back while files were made, and all that is told by their times."""
    if root.finding.id != "infra.clock" or not root.finding.data.get("set_back_s"):
        return False
    stale = part.finding.id == "modpost.undefined" and part.finding.data.get("cause") == "stale-object"
    return stale or part.finding.id.startswith(("timestamps.", "infra.clock"))


def _tie(root: Told, part: Told) -> bool:
    """A tie that kept make from an object, and that object, which was not rebuilt."""
    if (root.finding.id, part.finding.id) != ("timestamps.tie", "timestamps.stale"):
        return False
    pairs = root.finding.data.get("pairs")
    tied = [pair.get("object") for pair in pairs if isinstance(pair, dict)] if isinstance(pairs, list) else []
    stale = texts(part.finding.data, "object") or [part.finding.blame]
    return bool({root.finding.blame, *filter(None, tied)} & set(stale))


def _stale(root: Told, part: Told) -> bool:
    """An object that was not rebuilt, and the symbols that are missing for it."""
    if root.finding.id != "timestamps.stale":
        return False
    stale = texts(root.finding.data, "object") or [root.finding.blame]
    if part.finding.id == "modpost.undefined":
        data = part.finding.data
        missing = data.get("symbol") in lists(root.finding.data, "missing")
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


def _led_to(root: Told, part: Told) -> bool:
    """Code that the build is known to have made wrong, and the kernel that crashed in it, or while it loaded it."""
    return nearness(root, part) is not None


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
    _machine, _set_back, _tie, _stale, _exporter, _objtool, _led_to, _refused, _unconverted, _kallsyms, _after_death,
)  # fmt: skip
