"""How symbols are exported and used: namespaces, licences, versions, doubles, sections; a list of exports that was left over.

What modpost said comes first; namespaces, licences, doubles and versions are also looked up in the modules themselves, so that
a build without a log is judged as well. Undefined symbols have a leaf of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import PurePosixPath

from lab.evidence import autoksyms, exports
from lab.evidence.bundle import Evidence
from lab.evidence.exports import Export, Module
from lab.evidence.log_facts import KsymsSummary, ModpostKind, ModpostLine
from lab.evidence.log_faults import faults
from lab.evidence.log_modpost import failure_of
from lab.evidence.text import clean, cut_off
from lab.evidence.undefined import SYMVERS, Providers
from lab.model import Finding, NotApplicable, Severity, Span

IDS = (
    "modpost.namespace", "modpost.section-mismatch", "modpost.license", "modpost.exported-twice", "modpost.version",
    "modpost.export", "modpost.other", "modpost.leftover-autoksyms",
)  # fmt: skip
MAX_FINDINGS = 50  # of one kind
MAX_NAMED = 20
CLEAN_SHARE = (
    0.9  # of vmlinux's objects that a log compiles if nothing was left over; linkers and objcopy make the others
)
LEAST_OBJECTS = 20
MAKE_KINDS = {  # kinds of lines of which those that only warn tell nothing that is certain
    ModpostKind.OTHER: False, ModpostKind.NAMESPACE: True, ModpostKind.SECTION_MISMATCH: True, ModpostKind.LICENSE: True,
    ModpostKind.EXPORTED_TWICE: True, ModpostKind.VERSION: True, ModpostKind.EXPORT: True,
}  # fmt: skip


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield what modpost said, one finding a fault (a module and a namespace, a doubled symbol), then what files show."""
    if (evidence.log is None or evidence.log.empty) and not evidence.modules:
        yield NotApplicable(check="exports", because="there is neither a build log nor a module")
        return
    told = set()
    for finding in _of_log(evidence):
        told.add(_key(finding))
        yield finding
    for finding in _of_files(evidence):
        if _key(finding) not in told:
            yield finding
    yield from _left_over(evidence)


def _key(finding: Finding) -> tuple[str, ...]:
    """Return what makes two findings the same fault. modpost names some modules by their file's name alone."""
    data = finding.data
    module = PurePosixPath(str(data["module"])).name.removesuffix(".ko").removesuffix(".o")
    if finding.id == "modpost.exported-twice":
        return (finding.id, str(data["symbol"]))
    return (finding.id, module, str(data["namespace"]))


# --------------------------------------------------------------------------------------------------- what modpost said


def _of_log(evidence: Evidence) -> Iterator[Finding]:
    log = evidence.log
    machines = (
        {cause.at for fault in faults(log) if fault.machine for cause in fault.causes} if log is not None else set()
    )
    lines = [line for line in log.modpost if line.at not in machines] if log is not None else []
    for kind, warnings_count in MAKE_KINDS.items():
        groups: dict[tuple[str, ...], list[ModpostLine]] = {}
        for line in lines:
            if line.kind is kind and (line.fatal or warnings_count):
                groups.setdefault(_group(line), []).append(line)
        if kind is ModpostKind.SECTION_MISMATCH:
            groups = _with_summary(groups)
        for group in list(groups.values())[:MAX_FINDINGS]:
            yield _said(group, evidence)


def _group(line: ModpostLine) -> tuple[str, ...]:
    """Return what lines of one fault have in common."""
    if line.kind is ModpostKind.NAMESPACE:
        return (line.module, line.namespace)
    if line.kind in (ModpostKind.SECTION_MISMATCH, ModpostKind.LICENSE):
        return (line.module, str(bool(line.symbol)))
    if line.kind in (ModpostKind.EXPORTED_TWICE, ModpostKind.VERSION, ModpostKind.EXPORT):
        return (line.symbol,)
    return (line.message,)


def _with_summary(groups: dict[tuple[str, ...], list[ModpostLine]]) -> dict[tuple[str, ...], list[ModpostLine]]:
    """Return the mismatches as one fault if modpost gave up for them, its last word first; else one fault a module."""
    lines = sorted((line for group in groups.values() for line in group), key=lambda line: line.at)
    last = [line for line in lines if line.fatal]
    if last:
        # every mismatch is told with what stopped the build: "Section mismatches detected."
        return {("",): [last[-1], *(line for line in lines if line is not last[-1])]}
    return {key: group for key, group in groups.items() if key[0]} or groups


def _said(group: list[ModpostLine], evidence: Evidence) -> Finding:
    first = group[0]
    log, path = evidence.log, evidence.build_log
    failure = failure_of(log, first.at) if log is not None else None
    fatal = any(line.fatal for line in group) and not any(step.name == "build" and step.ok for step in evidence.steps)
    symbols = list(dict.fromkeys(line.symbol for line in group if line.symbol))
    module = _path_of(first.module, evidence)
    at = [line.at for line in group]
    return Finding(
        id=f"modpost.{first.kind}",
        severity=Severity.FAIL if fatal else Severity.WARNING,
        title=clean(first.message)[:300],
        message=clean(first.message) + (f" (and {len(group) - 1} more)" if group[1:] else ""),
        where=Span(file=evidence.name_of(path) if path is not None else "", first=min(at), last=max(at)),
        blame=clean(module),
        because=(
            *(clean(line.message) for line in group[1 : MAX_NAMED + 1]),
            *_advice(first, evidence),
            *((f"make stopped: {clean(failure.text.strip())}",) if failure is not None and fatal else ()),
        ),
        data={
            "kind": str(first.kind),
            "module": module,
            "symbol": first.symbol,
            "symbols": symbols[:MAX_NAMED],
            "namespace": first.namespace,
            "previous": first.previous,
            "references": [list(line.reference) for line in group if line.reference][:MAX_NAMED],
            "line_count": len(group),
            "message": first.message,
            "errors": [line.text for line in group[1 : MAX_NAMED + 1]],
            "target": failure.target if failure is not None else "",
            "script": failure.script if failure is not None else "",
            "said": True,
        },
    )


def _path_of(module: str, evidence: Evidence) -> str:
    """Return a module's .ko path as far as modules.order tells it; "vmlinux" and its object as printed."""
    if not module or PurePosixPath(module).name in ("vmlinux", "vmlinux.o"):
        return module
    path = exports.ko_path(module)
    if "/" in path:
        return path
    same = [known for known in evidence.modules_order if PurePosixPath(known).name == path]
    return same[0] if len(same) == 1 else path


def _advice(line: ModpostLine, evidence: Evidence) -> Iterator[str]:
    if line.kind is ModpostKind.NAMESPACE and line.symbol:
        yield from _namespace_advice(line.namespace, evidence)
    elif line.kind is ModpostKind.SECTION_MISMATCH and not line.fatal:
        yield "a warning, because CONFIG_SECTION_MISMATCH_WARN_ONLY=y or this form never stops a build"
    elif line.kind is ModpostKind.VERSION:
        yield "MODVERSIONS: genksyms saw no prototype; an assembler export needs one in asm/asm-prototypes.h"
    elif line.kind is ModpostKind.EXPORTED_TWICE:
        yield "the kernel refuses to load the second of two modules that export the same symbol"


def _namespace_advice(namespace: str, evidence: Evidence) -> Iterator[str]:
    if namespace.startswith(exports.MODULE_NAMESPACE):
        yield "EXPORT_SYMBOL_FOR_MODULES() names the only modules that may use it; it cannot be imported"
    else:
        yield f"the module needs MODULE_IMPORT_NS() of {clean(namespace)}"
    if evidence.config.get("MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS") == "y":
        yield "CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS=y: the loader only warns"


# ------------------------------------------------------------------------------------------------ what the files show


def _of_files(evidence: Evidence) -> Iterator[Finding]:
    listed = {one.symbol: one for one in evidence.symvers if one.provider == "vmlinux" or "/" in one.provider}
    trusted = bool(listed) and not cut_off(evidence.file(SYMVERS)) and not Providers(evidence).outdated
    yield from _first(_twice(evidence, listed if trusted else {}))
    yield from _first(
        finding for module in evidence.modules for finding in _of_module(module, listed if trusted else {}, evidence)
    )
    if trusted and evidence.config.get("MODVERSIONS") == "y":
        yield from _first(_versions(evidence, listed))


def _first(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield at most MAX_FINDINGS of each id."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.id] = counts.get(finding.id, 0) + 1
        if counts[finding.id] <= MAX_FINDINGS:
            yield finding


def _found(kind: ModpostKind, module: str, message: str, severity: Severity, **data: object) -> Finding:
    keys = {"kind": str(kind), "module": module, "symbol": "", "symbols": [], "namespace": "", "message": message}
    return Finding(
        id=f"modpost.{kind}", severity=severity, title=message[:300], message=message, where=Span(file=clean(module)),
        blame=clean(module), because=("seen in the module itself; modpost's own words are not in this evidence",),
        data={**keys, "said": False, **data},
    )  # fmt: skip


def _of_module(module: Module, listed: dict[str, Export], evidence: Evidence) -> Iterator[Finding]:
    """Yield what the module's own .modinfo forbids it: symbols of namespaces, GPL-only symbols."""
    info = module.read.info if module.read is not None else exports.modinfo_of(module.file) if module.file else ()
    if module.unreadable or not info:
        return
    licences = [value for key, value in info if key == "license"]
    if not licences and module.file is not None and module.file.name.startswith(PurePosixPath(module.path).name):
        message = f"{clean(module.path)} has no MODULE_LICENSE(): loading it taints the kernel and GPL-only symbols are refused"
        yield _found(ModpostKind.LICENSE, module.path, message, Severity.WARNING)
    used = [listed[symbol] for symbol in module.undefined if symbol in listed]
    if any(licence not in exports.GPL_COMPATIBLE for licence in licences):
        yield from _used(
            module, [one for one in used if one.gpl_only], ModpostKind.LICENSE,
            lambda one: f"GPL-incompatible module {clean(module.path)} uses GPL-only symbol '{clean(one.symbol)}'",
            Severity.FAIL,
        )  # fmt: skip
    name = PurePosixPath(module.path).name.removesuffix(".ko")
    imported = {value for key, value in info if key == "import_ns"}
    allowed = evidence.config.get("MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS") == "y"
    barred = [one for one in used if not exports.may_use(one.namespace, name, imported)]
    for namespace in dict.fromkeys(one.namespace for one in barred):
        yield from _used(
            module, [one for one in barred if one.namespace == namespace], ModpostKind.NAMESPACE,
            lambda one: f"module {clean(module.path)} uses symbol {clean(one.symbol)} from namespace {clean(one.namespace)}, "
            "but does not import it",
            Severity.WARNING if allowed else Severity.FAIL,
        )  # fmt: skip


def _used(
    module: Module, found: list[Export], kind: ModpostKind, words: Callable[[Export], str], severity: Severity
) -> Iterator[Finding]:
    if found:
        more = f" (and {len(found) - 1} more symbols)" if found[1:] else ""
        names = [one.symbol for one in found[:MAX_NAMED]]
        message = words(found[0]) + more
        yield _found(kind, module.path, message, severity, symbol=names[0], symbols=names, namespace=found[0].namespace)


def _twice(evidence: Evidence, listed: dict[str, Export]) -> Iterator[Finding]:
    """Yield symbols that two of the modules, or a module and vmlinux, export; two modules of one name replace one another."""
    owners: dict[str, list[str]] = {name: ["vmlinux"] for name, one in listed.items() if one.provider == "vmlinux"}
    doubled: dict[str, None] = {}
    for module in evidence.modules:
        for symbol in module.exports:
            mine = owners.setdefault(symbol, [])
            mine.append(module.path)
            if len({_name(one) for one in mine}) > 1:
                doubled[symbol] = None
    for symbol in doubled:
        first, second = next((a, b) for a, b in pairwise(owners[symbol]) if _name(a) != _name(b))
        message = f"'{clean(symbol)}' is exported twice: by {clean(first)} and by {clean(second)}"
        data = {"symbol": symbol, "previous": first}
        yield _found(ModpostKind.EXPORTED_TWICE, second, message, Severity.WARNING, **data)


def _name(path: str) -> str:
    return PurePosixPath(path).name


def _versions(evidence: Evidence, listed: dict[str, Export]) -> Iterator[Finding]:
    """Yield linked modules that ask for other versions (CRCs) of symbols than Module.symvers says are exported."""
    for module in evidence.modules:
        made, source = evidence.mtimes.get(module.path), evidence.mtimes.get(f"{module.path.removesuffix('.ko')}.mod.c")
        if made is not None and source is not None and source > made:
            continue  # modpost has written its new versions, and the build stopped before the module was linked with them
        wanted = exports.versions_of(module.file)
        wrong = [one for one in wanted if (known := listed.get(one)) and known.crc and known.crc != wanted[one]]
        if wrong:
            name = wrong[0]
            crcs = f"0x{wanted[name]:08x}, {SYMVERS} says 0x{listed[name].crc:08x}"
            more = f" (and {len(wrong) - 1} more symbols)" if wrong[1:] else ""
            message = f"{clean(module.path)} asks for version {crcs} of '{clean(name)}'{more}: it will not load"
            data = {"symbol": name, "symbols": wrong[:MAX_NAMED], "symbol_count": len(wrong)}
            yield _found(ModpostKind.VERSION, module.path, message, Severity.FAIL, **data)


# ---------------------------------------------------------------------------------------------- the list of used symbols


def _left_over(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding if TRIM_UNUSED_KSYMS began a clean build with the list of an earlier one."""
    summaries = evidence.log.ksyms if evidence.log is not None else ()
    first = summaries[0] if summaries else None
    if first is None or not first.before or evidence.build_log is None:
        return
    start = autoksyms.start_of(evidence.build_log, first.at)
    if start.listed or not start.cleaned or not _all_compiled(start, evidence):
        return
    yield _leftover(first, evidence)


def _all_compiled(start: autoksyms.Start, evidence: Evidence) -> bool:
    """Whether the log compiles (nearly) all that vmlinux is linked from before the list is looked at: nothing was there."""
    linked = {path for path, facts in evidence.objects.items() if facts.part_of == "vmlinux"}
    if len(linked) < LEAST_OBJECTS:
        return "init/main.o" in start.compiled and len(start.compiled) >= LEAST_OBJECTS
    return len(linked & start.compiled) >= CLEAN_SHARE * len(linked)


def _leftover(first: KsymsSummary, evidence: Evidence) -> Finding:
    path, stale = evidence.build_log, evidence.stale_exports
    message = f"{autoksyms.LIST} listed {first.before} symbols before this clean build: it is left from an earlier one"
    because = [
        "`make clean` removes the dependency files of exports and all objects, not the list; only `make mrproper` does",
        f"the first pass was compiled with {first.before} exports, which {first.changed} symbols then changed:"
        " what a module needs may come from the old list, and the next clean build need not be like this one",
    ]
    if stale:
        because.append(f"{len(stale)} objects still contradict the list, '{clean(stale[0].object)}' first")
    return Finding(
        id="modpost.leftover-autoksyms",
        severity=Severity.FAIL if stale else Severity.WARNING,
        title=f"{autoksyms.LIST} was left from an earlier build",
        message=message,
        where=Span(file=evidence.name_of(path) if path is not None else "", first=first.at, last=first.at),
        blame=autoksyms.LIST,
        because=tuple(because),
        data={
            "before": first.before, "after": first.after, "changed": first.changed,
            "stale_objects": [one.object for one in stale[:MAX_NAMED]],
        },
    )  # fmt: skip
