"""Undefined symbols of a build's modules, whatever modpost printed, and why each of them is undefined.

modpost prints at most ten (5.17 and later), and a build without a log has none: so every undefined symbol of every module is
looked up among the exports of vmlinux and of the other modules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from lab.evidence import autoksyms, exports, sources
from lab.evidence.bundle import Evidence, Shape
from lab.evidence.log_facts import ModpostKind, ModpostLine
from lab.evidence.mtimes import tick
from lab.evidence.objects import ObjectFacts, object_facts
from lab.evidence.text import cut_off

SYMVERS = "Module.symvers"
VMLINUX_O = "vmlinux.o"
# Objects that cannot be read (LTO's bitcode) may define anything: above this share "never defined" is not said.
MAX_UNREADABLE_SHARE = 0.05
MAX_SEARCHED = 500  # names that are looked for in the source tree
NEAR_LINES = 50  # make says that vmlinux.o is missing right above modpost's lines
_WARN_ONLY = re.compile(r"\bmodpost\b.*? -w(?:\s|$)")


class Cause(StrEnum):
    """Why a symbol is undefined."""

    STALE_OBJECT = "stale-object"
    STALE_LINK = "stale-link"
    TRIMMED = "trimmed"
    NOT_EXPORTED = "not-exported"
    NOT_LINKED = "not-linked"
    NOT_BUILT = "not-built"
    NEVER_DEFINED = "never-defined"
    NO_VMLINUX = "vmlinux-missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """One undefined symbol. modules: .ko paths that need it. lines: modpost's, () if it did not say."""

    symbol: str
    modules: tuple[str, ...]
    lines: tuple[ModpostLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """exporter: object that defines or should export it, "" if none. place, options: where the source exports it.

    searched: whether the source tree was there to be searched for it.
    """

    cause: Cause
    exporter: str = ""
    place: sources.Place | None = None
    options: tuple[str, ...] = ()
    searched: bool = False


class Providers:
    """Who exports, could export, or defines a symbol in this build. Everything is read at most once, and only if asked for."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence

    @cached_property
    def blind(self) -> str:
        """Why it cannot be told what is exported, "" if it can: then each undefined symbol of each module is looked up."""
        if cut_off(self.evidence.file(SYMVERS)):
            return f"{SYMVERS} is cut off"
        if any(export.provider == "vmlinux" for export in self.evidence.symvers) and not self.outdated:
            return ""
        if not self.exported_by_objects and not self.evidence.symvers:
            return f"nothing says what vmlinux exports (no {SYMVERS}, no readable objects)"
        return "" if self._reached_modpost else "the build stopped before modpost, so that objects are missing"

    @cached_property
    def _reached_modpost(self) -> bool:
        """Whether the objects are those of a build that came as far as modpost: it spoke, or all is linked, nothing older."""
        log, times, granularity_ns = self.evidence.log, self.evidence.mtimes, self.evidence.granularity_ns or 1
        if _said_lines(self.evidence):
            return True
        linked = times.get(VMLINUX_O, times.get("vmlinux"))
        if linked is None or (log is not None and log.failed):
            return False
        mine = [times.get(facts.path, 0) for facts in self._objects if facts.part_of == "vmlinux"]
        return self.evidence.copied > 0 or tick(max(mine, default=0), granularity_ns) <= tick(linked, granularity_ns)

    @cached_property
    def _objects(self) -> tuple[ObjectFacts, ...]:
        return tuple(self.evidence.objects.values())

    @cached_property
    def outdated(self) -> bool:
        """Whether Module.symvers is of an earlier build: modpost, which makes it last, failed or was not reached."""
        times = self.evidence.mtimes
        mine, granularity_ns = times.get(SYMVERS), self.evidence.granularity_ns or 1
        if mine is None or self.evidence.copied:
            return False
        inputs = (VMLINUX_O, *(path.removesuffix(".ko") + ".o" for path in self.evidence.modules_order))
        return any(tick(times.get(one, 0), granularity_ns) > tick(mine, granularity_ns) for one in inputs)

    @cached_property
    def exported(self) -> frozenset[str]:
        """Every exported symbol: of Module.symvers, else of the objects in vmlinux; and of the modules themselves."""
        listed = {export.symbol for export in self.evidence.symvers}
        if not listed or (self.outdated and self.complete and self.exported_by_objects):
            listed = set(self.exported_by_objects)
        return frozenset(listed.union(*(module.exports for module in self.evidence.modules)))

    @cached_property
    def exported_by_objects(self) -> frozenset[str]:
        """What the objects that are linked into vmlinux export, whatever Module.symvers says."""
        return frozenset(name for facts in self._objects if facts.part_of == "vmlinux" for name in facts.ksymtab)

    @cached_property
    def lost_in_link(self) -> frozenset[str]:
        """What Module.symvers says that vmlinux exports, and the linked vmlinux does not.

        Empty where vmlinux is older than vmlinux.o (it was not linked again), or tells no exports (stripped).
        """
        times, granularity_ns = self.evidence.mtimes, self.evidence.granularity_ns or 1
        inputs = (times.get(one, 0) for one in (VMLINUX_O, SYMVERS if self.one_pass else VMLINUX_O))
        mine = tick(times.get("vmlinux", 0), granularity_ns)
        if self.outdated or any(tick(one, granularity_ns) > mine for one in inputs):
            return frozenset()
        linked = exports.ksymtab_of(self.evidence.vmlinux)
        said = {export.symbol for export in self.evidence.symvers if export.provider == "vmlinux"}
        return frozenset(said - linked) if linked else frozenset()

    @cached_property
    def one_pass(self) -> bool:
        """Whether modpost trims the exports by itself (6.5 and later): no list, no dependency files of exports."""
        return self.evidence.autoksyms is None and not any(command.ksyms for command in self.evidence.commands)

    @cached_property
    def could_export(self) -> dict[str, ObjectFacts]:
        """Symbol -> object that has the EXPORT_SYMBOL() of it, trimmed or not."""
        return _by_symbol(self._objects, lambda facts: (*facts.markers, *facts.ksymtab))

    @cached_property
    def defined(self) -> dict[str, ObjectFacts]:
        """Symbol -> object that defines it, one that is linked into the kernel before any other; vmlinux.o for blind ones."""
        found = _by_symbol(self._objects, lambda facts: facts.defines)
        if not self.complete and (path := self.evidence.file(VMLINUX_O) or self.evidence.vmlinux) is not None:
            name = VMLINUX_O if path.name == VMLINUX_O else "vmlinux"
            for symbol in (whole := object_facts(path, name, "vmlinux")).defines:
                found.setdefault(symbol, whole)
        return found

    @cached_property
    def complete(self) -> bool:
        """Whether nearly all objects of vmlinux could be read, so that "nobody defines it" can be said."""
        mine = [facts for facts in self._objects if facts.part_of == "vmlinux"]
        return bool(mine) and sum(bool(facts.unreadable) for facts in mine) <= MAX_UNREADABLE_SHARE * len(mine)

    @cached_property
    def stale(self) -> dict[str, autoksyms.StaleExport]:
        """Symbol -> object that should export it, as the list says, and was not rebuilt."""
        return {symbol: one for one in self.evidence.stale_exports for symbol in one.missing}

    @cached_property
    def warn_only(self) -> bool:
        """Whether modpost was told to go on (KBUILD_MODPOST_WARN=1), by its saved command or its lines."""
        said = [line for line in _said_lines(self.evidence) if line.kind is ModpostKind.UNDEFINED]
        if said:
            return not any(line.fatal for line in said)
        names = (SYMVERS, "modules-only.symvers")
        return any(one.target in names and _WARN_ONLY.search(one.command) for one in self.evidence.commands)

    def why(self, missing: Iterable[Missing]) -> dict[str, Why]:
        """Return symbol -> why it is undefined. The source tree is searched at most once, for what no object explains."""
        found = {one.symbol: self._why(one) for one in missing}
        unexplained = [
            symbol for symbol, why in found.items() if not why.exporter and why.cause is not Cause.NO_VMLINUX
        ]
        tree = None
        if unexplained and self.evidence.shape is Shape.OUTPUT:
            tree = sources.source_tree(self.evidence.root, self.evidence.kernel_version)
        if tree is not None:
            srcarch = re.search(r"^# Linux/(\w+) ", (self.evidence.config_text or "")[:4096], re.M)
            places = sources.exporters(tree, unexplained[:MAX_SEARCHED], srcarch[1] if srcarch else "")
            for symbol in unexplained[:MAX_SEARCHED]:
                found[symbol] = replace(found[symbol], searched=True)
            for symbol, place in places.items():
                options = sources.options_of(tree, place.file)
                found[symbol] = Why(cause=Cause.NOT_BUILT, place=place, options=options, searched=True)
        return found

    def _why(self, missing: Missing) -> Why:
        symbol = missing.symbol
        if symbol in self.stale:
            return Why(cause=Cause.STALE_OBJECT, exporter=self.stale[symbol].object)
        if self._without_vmlinux(missing):
            return Why(cause=Cause.NO_VMLINUX)
        exporter = self.could_export.get(symbol)
        if exporter is not None:
            return Why(cause=self._of_exporter(symbol, exporter), exporter=exporter.path)
        definer = self.defined.get(symbol)
        if definer is not None:
            return Why(cause=Cause.NOT_EXPORTED if definer.part_of else Cause.NOT_LINKED, exporter=definer.path)
        return Why(cause=Cause.NEVER_DEFINED if self.complete else Cause.UNKNOWN)

    def _of_exporter(self, symbol: str, exporter: ObjectFacts) -> Cause:
        if not exporter.part_of:
            return Cause.NOT_LINKED
        if self.evidence.autoksyms is not None:
            return Cause.TRIMMED if symbol not in self.evidence.autoksyms else Cause.UNKNOWN
        if symbol in self.lost_in_link:
            return Cause.STALE_LINK
        trims = self.one_pass and self.evidence.config.get("TRIM_UNUSED_KSYMS") == "y"
        return Cause.TRIMMED if trims and self.evidence.symvers else Cause.UNKNOWN

    def _without_vmlinux(self, missing: Missing) -> bool:
        absent = [line.at for line in _said_lines(self.evidence) if line.kind is ModpostKind.MISSING_INPUT]
        return any(0 < line.at - at <= NEAR_LINES for line in missing.lines[:1] for at in absent)


def _by_symbol(
    objects: Iterable[ObjectFacts], names: Callable[[ObjectFacts], tuple[str, ...]]
) -> dict[str, ObjectFacts]:
    found: dict[str, ObjectFacts] = {}
    for facts in sorted(objects, key=lambda facts: not facts.part_of):
        for name in names(facts):
            found.setdefault(name, facts)
    return found


def _said_lines(evidence: Evidence) -> tuple[ModpostLine, ...]:
    return evidence.log.modpost if evidence.log is not None else ()


def undefined(evidence: Evidence, providers: Providers) -> list[Missing]:
    """Return the undefined symbols: those of the log in its order, then those that only the objects show."""
    said: dict[str, list[ModpostLine]] = {}
    for line in _said_lines(evidence):
        if line.kind is ModpostKind.UNDEFINED:
            said.setdefault(line.symbol, []).append(line)
    return _joined(said, _unresolved(evidence, providers) if not providers.blind else {})


def _unresolved(evidence: Evidence, providers: Providers) -> dict[str, list[str]]:
    """Return symbol -> modules that need it although nobody exports it.

    An object of vmlinux that does export it contradicts Module.symvers. modpost, which reads both, is believed: unless it
    stopped counting, what it did not say is a hole in a damaged or older Module.symvers.
    """
    found: dict[str, list[str]] = {}
    stopped = evidence.log is None or any(line.kind is ModpostKind.SUPPRESSED for line in _said_lines(evidence))
    for module in evidence.modules:
        for symbol in module.undefined:
            absent = symbol not in providers.exported and (stopped or symbol not in providers.exported_by_objects)
            if absent or symbol in providers.lost_in_link:
                found.setdefault(symbol, []).append(module.path)
    return found


def _joined(said: Mapping[str, list[ModpostLine]], unresolved: Mapping[str, list[str]]) -> list[Missing]:
    found = []
    for symbol in (*said, *sorted(set(unresolved) - set(said))):
        lines = tuple(said.get(symbol, ()))
        modules = (*(exports.ko_path(line.module) for line in lines if line.module), *unresolved.get(symbol, ()))
        found.append(Missing(symbol=symbol, modules=tuple(dict.fromkeys(modules)), lines=lines))
    return found
