"""Undefined symbols of modules, each with its cause: from modpost's lines, and from the objects whatever modpost said.

modpost prints at most ten (5.17 and later), and a build without a log has none: so every undefined symbol of every module is
looked up among the exports of vmlinux and of the other modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from lab.evidence import autoksyms
from lab.evidence.bundle import Evidence
from lab.evidence.exports import ko_path
from lab.evidence.log_facts import ModpostKind, ModpostLine
from lab.evidence.mtimes import shared_tick, span, tick_name, utc
from lab.evidence.objects import ObjectFacts
from lab.evidence.text import clean, cut_off
from lab.model import Finding, NotApplicable, Severity, Span

IDS = ("modpost.undefined",)
SYMVERS = "Module.symvers"
MAX_FINDINGS = 200
MAX_NAMED = 50
# Objects that cannot be read (LTO's bitcode) may define anything: above this share "never defined" is not said.
MAX_UNREADABLE_SHARE = 0.05


class Cause(StrEnum):
    """Why a symbol is undefined."""

    STALE_OBJECT = "stale-object"
    TRIMMED = "trimmed"
    NOT_EXPORTED = "not-exported"
    NOT_LINKED = "not-linked"
    NEVER_DEFINED = "never-defined"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Missing:
    """One undefined symbol. modules: .ko paths that need it. lines: modpost's, () if it did not say."""

    symbol: str
    modules: tuple[str, ...]
    lines: tuple[ModpostLine, ...] = ()


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield one modpost.undefined per symbol: those of the log in its order, then those that only the objects show."""
    said = _said(evidence)
    providers = _Providers(evidence)
    if not evidence.modules and not said:
        yield NotApplicable(check="modpost", because="no modules: modules.order is missing or empty")
        return
    known = providers.known and not cut_off(evidence.file(SYMVERS))
    if evidence.modules and (because := _unseen(evidence, providers)):
        yield NotApplicable(check="modpost", because=because)
    missing = _joined(said, _unresolved(evidence, providers) if known else {})
    for one in missing[:MAX_FINDINGS]:
        yield _finding(one, evidence, providers)


def _unseen(evidence: Evidence, providers: _Providers) -> str:
    """Return what keeps this check from seeing every undefined symbol, "" if nothing does."""
    if cut_off(evidence.file(SYMVERS)):
        return f"{SYMVERS} is cut off: only the log was read"
    if not providers.known:
        return "nothing says what vmlinux exports (no Module.symvers, no readable objects): only the log was read"
    blind = [module for module in evidence.modules if module.unreadable]
    if not blind:
        return ""
    return f"{len(blind)} of {len(evidence.modules)} modules cannot be read ({clean(blind[0].path)}: {blind[0].unreadable})"


def _said(evidence: Evidence) -> dict[str, list[ModpostLine]]:
    found: dict[str, list[ModpostLine]] = {}
    for line in evidence.log.modpost if evidence.log is not None else ():
        if line.kind is ModpostKind.UNDEFINED:
            found.setdefault(line.symbol, []).append(line)
    return found


def _unresolved(evidence: Evidence, providers: _Providers) -> dict[str, list[str]]:
    """Return symbol -> modules that need it although nobody exports it.

    An object of vmlinux that does export it contradicts Module.symvers. modpost, which reads both, is believed: unless it
    stopped counting, what it did not say is a hole in a damaged or older Module.symvers.
    """
    found: dict[str, list[str]] = {}
    log = evidence.log
    stopped = log is None or any(line.kind is ModpostKind.SUPPRESSED for line in log.modpost)
    for module in evidence.modules:
        for symbol in module.undefined:
            if symbol not in providers.exported and (stopped or symbol not in providers.exported_by_objects):
                found.setdefault(symbol, []).append(module.path)
    return found


def _joined(said: Mapping[str, list[ModpostLine]], unresolved: Mapping[str, list[str]]) -> list[_Missing]:
    found = []
    for symbol in (*said, *sorted(set(unresolved) - set(said))):
        lines = tuple(said.get(symbol, ()))
        modules = dict.fromkeys((*(ko_path(line.module) for line in lines if line.module), *unresolved.get(symbol, ())))
        found.append(_Missing(symbol=symbol, modules=tuple(modules), lines=lines))
    return found


class _Providers:
    """Who exports, could export, or defines a symbol in this build."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence

    @cached_property
    def known(self) -> bool:
        """Whether it can be told what vmlinux exports."""
        listed = any(export.provider == "vmlinux" for export in self._evidence.symvers)
        return listed or any(facts.part_of == "vmlinux" and facts.ksymtab for facts in self._objects)

    @cached_property
    def _objects(self) -> tuple[ObjectFacts, ...]:
        return tuple(self._evidence.objects.values())

    @cached_property
    def exported(self) -> frozenset[str]:
        """Every exported symbol: of Module.symvers, else of the objects in vmlinux; and of the modules themselves."""
        listed = {export.symbol for export in self._evidence.symvers}
        if not listed:
            listed = {symbol for facts in self._objects if facts.part_of == "vmlinux" for symbol in facts.ksymtab}
        return frozenset(listed.union(*(module.exports for module in self._evidence.modules)))

    @cached_property
    def exported_by_objects(self) -> frozenset[str]:
        """What the objects that are linked into vmlinux export, whatever Module.symvers says."""
        return frozenset(name for facts in self._objects if facts.part_of == "vmlinux" for name in facts.ksymtab)

    @cached_property
    def could_export(self) -> dict[str, ObjectFacts]:
        """Symbol -> object that has the EXPORT_SYMBOL() of it, trimmed or not."""
        return _by_symbol(self._objects, lambda facts: (*facts.markers, *facts.ksymtab))

    @cached_property
    def defined(self) -> dict[str, ObjectFacts]:
        """Symbol -> object that defines it; one that is linked into the kernel before any other."""
        return _by_symbol(self._objects, lambda facts: facts.defines)

    @cached_property
    def complete(self) -> bool:
        """Whether nearly all objects of vmlinux could be read, so that "nobody defines it" can be said."""
        mine = [facts for facts in self._objects if facts.part_of == "vmlinux"]
        return bool(mine) and sum(bool(facts.unreadable) for facts in mine) <= MAX_UNREADABLE_SHARE * len(mine)

    @cached_property
    def stale(self) -> dict[str, autoksyms.StaleExport]:
        """Symbol -> object that should export it, as the list says, and was not rebuilt."""
        return {symbol: one for one in self._evidence.stale_exports for symbol in one.missing}


def _by_symbol(
    objects: Iterable[ObjectFacts], names: Callable[[ObjectFacts], tuple[str, ...]]
) -> dict[str, ObjectFacts]:
    found: dict[str, ObjectFacts] = {}
    for facts in sorted(objects, key=lambda facts: not facts.part_of):
        for name in names(facts):
            found.setdefault(name, facts)
    return found


def _cause(symbol: str, evidence: Evidence, providers: _Providers) -> tuple[Cause, str]:
    """Return the cause and the object that defines or should export the symbol ("" if there is none)."""
    if symbol in providers.stale:
        return Cause.STALE_OBJECT, providers.stale[symbol].object
    exporter = providers.could_export.get(symbol)
    if exporter is not None:
        if evidence.autoksyms is not None and symbol not in evidence.autoksyms:
            return Cause.TRIMMED, exporter.path
        return (Cause.UNKNOWN if exporter.part_of else Cause.NOT_LINKED), exporter.path
    definer = providers.defined.get(symbol)
    if definer is not None:
        return (Cause.NOT_EXPORTED if definer.part_of else Cause.NOT_LINKED), definer.path
    return (Cause.NEVER_DEFINED if providers.complete else Cause.UNKNOWN), ""


def _finding(missing: _Missing, evidence: Evidence, providers: _Providers) -> Finding:
    cause, exporter = _cause(missing.symbol, evidence, providers)
    symbol, module = clean(missing.symbol), clean(missing.modules[0]) if missing.modules else "a module"
    warned = bool(missing.lines) and not any(line.fatal for line in missing.lines)
    return Finding(
        id="modpost.undefined",
        severity=Severity.WARNING if warned else Severity.FAIL,
        title=f"'{symbol}' is undefined",
        message=f"{module}{_and_more(missing)} needs '{symbol}'; {_explained(cause, clean(exporter))}",
        where=_proof(missing, evidence),
        blame=module if missing.modules else "",
        because=tuple(_reasons(missing, cause, evidence, providers)),
        data={
            "symbol": missing.symbol,
            "modules": list(missing.modules[:MAX_NAMED]),
            "module_count": len(missing.modules),
            "exporter": exporter,
            "cause": str(cause),
            "said": bool(missing.lines),
        },
    )


def _and_more(missing: _Missing) -> str:
    more = len(missing.modules) - 1
    return f" (and {more} more)" if more > 0 else ""


def _explained(cause: Cause, exporter: str) -> str:
    return {
        Cause.STALE_OBJECT: f"{exporter} should export it and was not rebuilt",
        Cause.TRIMMED: f"{exporter} could export it, but the list of used symbols lacks it",
        Cause.NOT_EXPORTED: f"{exporter} defines it and does not export it",
        Cause.NOT_LINKED: f"{exporter} defines it, but is not linked into this kernel",
        Cause.NEVER_DEFINED: "nothing in this build defines it",
        Cause.UNKNOWN: f"{exporter} has its export, and yet modpost did not see it"
        if exporter
        else "the evidence does not show who should export it",
    }[cause]


def _proof(missing: _Missing, evidence: Evidence) -> Span:
    if missing.lines and evidence.build_log is not None:
        first = missing.lines[0].at
        last = missing.lines[-1].at if len(missing.lines) <= MAX_NAMED else first
        return Span(file=evidence.name_of(evidence.build_log), first=first, last=last)
    return Span(file=clean(missing.modules[0]) if missing.modules else "")


def _reasons(missing: _Missing, cause: Cause, evidence: Evidence, providers: _Providers) -> Iterator[str]:
    if not missing.lines:
        yield "modpost did not print it (it stops after ten, or there is no log): seen in the module's own symbol table"
    if cause is Cause.STALE_OBJECT:
        yield from _stale_reasons(missing.symbol, providers.stale[missing.symbol], evidence)
    elif cause is Cause.TRIMMED:
        yield f"TRIM_UNUSED_KSYMS=y, and {autoksyms.LIST} was made when no module was known to need it"
    elif cause is Cause.NEVER_DEFINED:
        yield "the option that builds its definition may be off, or the name is wrong"


def _stale_reasons(symbol: str, stale: autoksyms.StaleExport, evidence: Evidence) -> Iterator[str]:
    name = clean(stale.object)
    yield f"{autoksyms.LIST} lists it; '{name}' could export it and has no __ksymtab_{clean(symbol)}: it is stale"
    dependency = autoksyms.dependency_of(symbol, evidence.mtimes) or stale.dependency
    mine, its = evidence.mtimes.get(stale.object), evidence.mtimes.get(dependency)
    granularity_ns = evidence.granularity_ns
    if granularity_ns is None or mine is None or its is None:
        return
    shared = shared_tick(mine, its, granularity_ns)
    exact = f"times here are exact to {span(granularity_ns)}"
    if shared is not None:
        same = f"same {tick_name(granularity_ns)} as its dependency '{clean(dependency)}', {shared}"
        yield f"it carries the {same} ({exact}): make saw nothing to do"
    else:
        yield f"it is of {utc(mine)}, its dependency '{clean(dependency)}' of {utc(its)} ({exact})"
