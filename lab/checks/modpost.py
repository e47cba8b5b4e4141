"""Undefined symbols of modules, each with its cause: from modpost's lines, and from the objects whatever modpost said."""

from __future__ import annotations

from collections.abc import Iterator

from lab.evidence import autoksyms
from lab.evidence.bundle import Evidence
from lab.evidence.log_modpost import failure_of
from lab.evidence.mtimes import shared_tick, span, tick, tick_name, utc
from lab.evidence.text import clean, text_of
from lab.evidence.undefined import SYMVERS, Cause, Missing, Providers, Why, undefined
from lab.model import Finding, NotApplicable, Severity, Span

IDS = ("modpost.undefined",)
MAX_FINDINGS = 200
MAX_NAMED = 50


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield one modpost.undefined per symbol: those of the log in its order, then those that only the objects show."""
    providers = Providers(evidence)
    missing = undefined(evidence, providers)[:MAX_FINDINGS]
    if not evidence.modules and not missing:
        yield NotApplicable(check="modpost", because="no modules: modules.order is missing or empty")
        return
    if evidence.modules and (because := _unseen(evidence, providers)):
        yield NotApplicable(check="modpost", because=because)
    causes = providers.why(missing)
    blind = [one for one in missing if causes[one.symbol].cause is Cause.NO_VMLINUX]
    if blind:
        yield _without_vmlinux(blind, evidence, providers)
    for one in missing:
        if one not in blind:
            yield _finding(one, causes[one.symbol], evidence, providers)


def _unseen(evidence: Evidence, providers: Providers) -> str:
    """Return what keeps this check from seeing every undefined symbol, "" if nothing does."""
    if providers.blind:
        return f"{providers.blind}: only the log was read"
    blind = [module for module in evidence.modules if module.unreadable]
    if not blind:
        return ""
    return f"{len(blind)} of {len(evidence.modules)} modules cannot be read ({clean(blind[0].path)}: {blind[0].unreadable})"


def _without_vmlinux(missing: list[Missing], evidence: Evidence, providers: Providers) -> Finding | NotApplicable:
    """Tell once of all that modpost could not find because it did not get vmlinux.o: `make modules` before `make vmlinux`."""
    why = "modpost ran without vmlinux.o, so that it knows no export of the kernel itself"
    if not any(line.fatal for one in missing for line in one.lines):
        return NotApplicable(check="modpost", because=f"{why}: its {len(missing)} undefined symbols mean nothing")
    found = _finding(missing[0], Why(cause=Cause.NO_VMLINUX), evidence, providers)
    found.data["symbols"] = [one.symbol for one in missing[:MAX_NAMED]]
    return found


def _finding(missing: Missing, why: Why, evidence: Evidence, providers: Providers) -> Finding:
    symbol, module = clean(missing.symbol), clean(missing.modules[0]) if missing.modules else "a module"
    first = missing.lines[0] if missing.lines else None
    failure = failure_of(evidence.log, first.at) if first is not None and evidence.log is not None else None
    return Finding(
        id="modpost.undefined",
        severity=_severity(missing, evidence, providers),
        title=f"'{symbol}' is undefined",
        message=f"{module}{_and_more(missing)} needs '{symbol}'; {_explained(why)}",
        where=_proof(missing, evidence),
        blame=module if missing.modules else "",
        because=tuple(_reasons(missing, why, evidence, providers)),
        data={
            "symbol": missing.symbol,
            "modules": list(missing.modules[:MAX_NAMED]),
            "module_count": len(missing.modules),
            "exporter": why.exporter,
            "cause": str(why.cause),
            "said": bool(missing.lines),
            "source": f"{why.place.file}:{why.place.line}" if why.place else "",
            "options": list(why.options),
            "kind": "undefined",
            "message": first.message if first is not None else "",
            "target": failure.target if failure is not None else "",
            "script": failure.script if failure is not None else "",
        },
    )


def _severity(missing: Missing, evidence: Evidence, providers: Providers) -> Severity:
    """Return FAIL, or WARNING where whoever built it asked modpost only to warn, or the build went on all the same."""
    fatal = any(line.fatal for line in missing.lines) if missing.lines else not providers.warn_only
    went_on = bool(missing.lines) and any(step.name == "build" and step.ok for step in evidence.steps)
    return Severity.FAIL if fatal and not went_on else Severity.WARNING


def _and_more(missing: Missing) -> str:
    more = len(missing.modules) - 1
    return f" (and {more} more)" if more > 0 else ""


def _explained(why: Why) -> str:
    exporter = clean(why.exporter)
    place = f"{clean(why.place.file)}:{why.place.line}" if why.place else ""
    return {
        Cause.STALE_OBJECT: f"{exporter} should export it and was not rebuilt",
        Cause.STALE_LINK: f"{SYMVERS} says that vmlinux exports it, and the vmlinux that was linked does not",
        Cause.TRIMMED: f"{exporter} could export it, but the list of used symbols lacks it",
        Cause.NOT_EXPORTED: f"{exporter} defines it and does not export it",
        Cause.NOT_LINKED: f"{exporter} defines it, but is not linked into this kernel",
        Cause.NOT_BUILT: f"{place} exports it, and this configuration does not build that file",
        Cause.NEVER_DEFINED: "nothing in this build defines it",
        Cause.NO_VMLINUX: "modpost ran without vmlinux.o and knows no export of the kernel itself",
        Cause.UNKNOWN: f"{exporter} has its export, and yet modpost did not see it"
        if exporter
        else "the evidence does not show who should export it",
    }[why.cause]


def _proof(missing: Missing, evidence: Evidence) -> Span:
    if missing.lines and evidence.build_log is not None:
        first = missing.lines[0].at
        last = missing.lines[-1].at if len(missing.lines) <= MAX_NAMED else first
        return Span(file=evidence.name_of(evidence.build_log), first=first, last=last)
    return Span(file=clean(missing.modules[0]) if missing.modules else "")


# ------------------------------------------------------------------------------------------------------------ reasons


def _reasons(missing: Missing, why: Why, evidence: Evidence, providers: Providers) -> Iterator[str]:
    if not missing.lines:
        yield "modpost did not print it (it stops after ten, or there is no log): seen in the module's own symbol table"
    if why.cause is Cause.STALE_OBJECT:
        yield from _stale_reasons(missing.symbol, providers.stale[missing.symbol], evidence)
    elif why.cause is Cause.TRIMMED:
        yield from _trimmed_reasons(missing, evidence, providers)
    elif why.cause is Cause.NOT_LINKED:
        yield "the object is there, but no archive of vmlinux and no module of modules.order has it: its option is off now"
    elif why.cause is Cause.NOT_BUILT:
        yield _option_reason(why, evidence)
    elif why.cause is Cause.STALE_LINK:
        yield "vmlinux has no __ksymtab_ of it: .vmlinux.export.o was not made again after modpost wrote its source"
    elif why.cause is Cause.NO_VMLINUX:
        yield "`make modules` in a tree where vmlinux was never built: build all, or give it a Module.symvers"
    elif why.cause is Cause.NEVER_DEFINED:
        if why.searched:
            yield "no file of the source tree exports it by that name either (names that macros make are not seen there)"
        else:
            yield "the option that builds its definition may be off, or the name is wrong"
    elif why.cause is Cause.UNKNOWN and evidence.log is not None and evidence.log.ksyms:
        last = evidence.log.ksyms[-1]
        yield (
            f"TRIM_UNUSED_KSYMS changed {last.changed} exports in this build: an object that make did not rebuild for it looks"
            " like this; if running make again mends it, that is the cause"
        )


def _option_reason(why: Why, evidence: Evidence) -> str:
    off = [option for option in why.options if evidence.config.get(option, "n") == "n"]
    if off:
        return f"CONFIG_{off[0]} is not set; the module's own option should depend on it or select it"
    return "found in the text of the source tree only: no object of this build has it"


def _trimmed_reasons(missing: Missing, evidence: Evidence, providers: Providers) -> Iterator[str]:
    name = SYMVERS if evidence.autoksyms is None else autoksyms.LIST
    yield f"TRIM_UNUSED_KSYMS=y, and {name} was made when no module was known to need it"
    if missing.modules:
        yield from _list_and_module(name, missing, evidence)
    whitelist = clean(evidence.config.get("UNUSED_KSYMS_WHITELIST", "").strip('"'))
    if whitelist:
        yield f"nor did CONFIG_UNUSED_KSYMS_WHITELIST ({whitelist}) list it then: its symbols are kept as if a module used them"
    if providers.one_pass:
        yield "this modpost trims in the pass in which it reads the modules (5e9e95cc9148): it did not read this one"


def _list_and_module(name: str, missing: Missing, evidence: Evidence) -> Iterator[str]:
    """Say which is older, the list or the module's object, and whether the module's own list names the symbol."""
    base = missing.modules[0].removesuffix(".ko")
    granularity_ns = evidence.granularity_ns
    times = evidence.mtimes
    listed_ns = times.get(name)
    module_ns = times.get(f"{base}.o")
    if granularity_ns is not None and listed_ns is not None and module_ns is not None and not evidence.copied:
        a, b = tick(listed_ns, granularity_ns), tick(module_ns, granularity_ns)
        order = "older than" if a < b else "newer than" if a > b else f"of the same {tick_name(granularity_ns)} as"
        exact = f"times here are exact to {span(granularity_ns)}"
        yield f"the list ({utc(listed_ns)}) is {order} '{clean(base)}.o' ({utc(module_ns)}; {exact})"
    # What the list is made from: .usyms in 6.1, the second line of .mod in 5.10. Source: scripts/gen_autoksyms.sh
    for suffix in (".usyms", ".mod"):
        text = text_of(evidence.file(base + suffix), 1 << 20) if name == autoksyms.LIST else None
        words = (text or "").split()
        if suffix == ".mod" and all(word.endswith(".o") for word in words):
            continue
        if words:
            names = (
                "names it, so that the list is out of date" if missing.symbol in words else "does not name it either"
            )
            yield f"'{clean(base)}{suffix}', which the list is made from, {names}"
            return


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
