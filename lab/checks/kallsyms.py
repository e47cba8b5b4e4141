"""Inconsistent kallsyms data, and a kernel whose own symbol table lies: which symbol began it, and what it pushed along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from lab.evidence.bundle import Evidence
from lab.evidence.kallsyms import KernelSymbols, Lie, not_of_kernel
from lab.evidence.kept_passes import Pass, section_of
from lab.evidence.mtimes import utc
from lab.evidence.passes import Change, Convergence, Divergence, Event, convergence, diverged
from lab.evidence.symbols import Listing
from lab.evidence.text import clean
from lab.model import Finding, NotApplicable, Severity, Span

IDS = ("kallsyms.inconsistent", "kallsyms.map-wrong", "kallsyms.table-wrong")
MAX_TOLD = 20
FINAL = "System.map"
_NEXT = {
    Convergence.SETTLES: "one more pass would settle it: make KALLSYMS_EXTRA_PASS=1",
    Convergence.FINAL_ONLY: "no pass would settle it: only the final link is different, whatever its table",
    Convergence.OSCILLATES: "no pass would settle it: the passes swing between two layouts",
    Convergence.UNKNOWN: "whether one more pass would settle it cannot be told from the passes that were kept",
}


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield one kallsyms.inconsistent with its cause, one map-wrong, and one table-wrong if vmlinux's own table lies."""
    if evidence.config.get("KALLSYMS") == "n":
        because = "CONFIG_KALLSYMS is not set: the kernel has no symbol table of its own"
        yield NotApplicable(check="kallsyms", because=because, natural=True)
        yield from _map(evidence)
        return
    at = _said_at(evidence)
    found = _final_divergence(evidence.link_passes)
    symbols = evidence.kernel_symbols
    if at is None and found is not None and _sound(symbols, evidence):
        found = None  # of the passes, one is missing or of another time: vmlinux's own table is right
    elif at is None and found is not None and evidence.copied:
        # Which pass was the last, and whether System.map is younger, is known from the times alone.
        found = None
        because = "this is a copy that did not keep the files' times: which of the passes was the last is not known"
        yield NotApplicable(check="kallsyms.inconsistent", because=because)
    if at is not None or found is not None:
        yield _inconsistent(at, evidence)
    elif not evidence.link_passes and symbols is None:
        because = "neither a build log nor vmlinux nor the maps of its passes are there"
        if evidence.log is None or evidence.log.empty:
            yield NotApplicable(check="kallsyms", because=because)
    else:
        yield from _map(evidence)
    if symbols is not None:
        yield from _table(symbols, evidence)


def _said_at(evidence: Evidence) -> int | None:
    """Return the line of the log that says it, None if none does."""
    lines = evidence.log.kallsyms if evidence.log is not None else ()
    return next((line.at for line in lines if line.inconsistent), None)


def _final_divergence(passes: Sequence[Pass]) -> Divergence | None:
    """Return how the final link differs from the pass that its table was made from, None if it does not, or is not known.

    No table is made from the first pass alone: two passes at least come before the final link.
    """
    if len(passes) < 2 or passes[-1].name != FINAL or passes[-2].number < 2:
        return None
    found = diverged(passes[-2].listing, passes[-1].listing)
    return None if found.same else found


def _sound(symbols: KernelSymbols | None, evidence: Evidence) -> bool:
    """Whether there is a vmlinux whose table and whose System.map describe it."""
    if symbols is None or symbols.listing is None or symbols.table is None or evidence.mapped_symbols is None:
        return False
    wrong = symbols.wrong_total or symbols.lacking_total or symbols.mistyped_total or symbols.table.faults
    return not wrong and not not_of_kernel(evidence.mapped_symbols, symbols.listing)[1]


# ----------------------------------------------------------------------------------------------------- inconsistent


def _inconsistent(at: int | None, evidence: Evidence) -> Finding:
    passes = evidence.link_passes
    file = evidence.name_of(evidence.build_log) if at is not None and evidence.build_log is not None else FINAL
    first, second, found = _guilty(passes)
    root = found.root if found is not None else None
    began = f": it began with '{clean(root.symbol)}', {_in_short(root)}" if root is not None else ""
    return Finding(
        id="kallsyms.inconsistent",
        severity=Severity.FAIL,
        title="inconsistent kallsyms data",
        message=f"the symbol table in vmlinux was made from another layout than the final link gave it{began}",
        where=Span(file=file, first=at or 0, last=at or 0),
        blame="vmlinux",
        because=tuple(_reasons(passes, first, second, found)),
        data=_data(passes, first, second, found),
    )


def _guilty(passes: Sequence[Pass]) -> tuple[Pass | None, Pass | None, Divergence | None]:
    """Return the two passes between which it began, and how they differ.

    The table of a pass is made from the map of the one before: if two passes differ in their addresses alone, the cause lies
    between the two before them, whose names, types or order gave the table another size.
    """
    for earlier in range(len(passes) - 2, -1, -1):
        found = diverged(passes[earlier].listing, passes[earlier + 1].listing)
        if found.named:
            return passes[earlier], passes[earlier + 1], found
    if len(passes) < 2:
        return None, None, None
    return passes[-2], passes[-1], diverged(passes[-2].listing, passes[-1].listing)


def _in_short(event: Event) -> str:
    before, after = event.before, event.after
    if before is None or after is None:
        return f"which was {event.change.value} (type {clean((after or before or (0, '?', ''))[1])})"
    if event.change is Change.TYPE:
        return f"whose type changed from {clean(before[1])} to {clean(after[1])}"
    if event.change is Change.ORDER:
        return f"which moved from behind '{clean(before[2])}' to behind '{clean(after[2])}'"
    return "whose distance from the symbol before it changed"


def _reasons(
    passes: Sequence[Pass], first: Pass | None, second: Pass | None, found: Divergence | None
) -> Iterator[str]:
    if first is None or second is None or found is None:
        kept = ", ".join(one.name for one in passes)
        yield f"of its passes, {kept} alone was kept" if kept else "the maps of its passes were not kept"
        if not kept:
            yield (
                "scripts/link-vmlinux.sh of 5.10 and older deletes them when it fails; lab run keeps them, and by hand: "
                "sed -i 's/^trap on_exit EXIT/: # &/' scripts/link-vmlinux.sh"
            )
        return
    root = found.root
    if root is not None:
        yield from _told(root, first, second)
        if root.inserted:
            yield f"'{clean(root.symbol)}' is what a linker inserts where a branch does not reach: it depends on the layout"
    others = found.total - 1
    if others > 0:
        names = ", ".join(f"'{clean(one.symbol)}' ({one.change.value})" for one in found.events[:6] if one is not root)
        yield f"{others} more differ by themselves between these two: {names}"
    if found.named and second.name != FINAL:
        yield "names are compressed with their type letters and in their order, so the next table had another size"
    yield from _growth(passes)
    last = diverged(passes[-2].listing, passes[-1].listing)
    if last.pushed:
        by = ", ".join(f"{shift:+#x}" for shift in last.shifts[:3])
        yield f"{last.pushed} symbols were only pushed along between {passes[-2].name} and {passes[-1].name}, by {by}"
    yield _NEXT[convergence([one.listing for one in passes])]


def _told(event: Event, first: Pass, second: Pass) -> Iterator[str]:
    """Say where a symbol was in either pass, and in which section, if the temporary kernels were kept."""
    for one, seen, beside in ((first, event.before, event.beside_before), (second, event.after, event.beside_after)):
        if seen is None:
            yield f"{one.name} has no '{clean(event.symbol)}'"
            continue
        section = section_of(one.kernel, event.symbol)
        within = f", in {clean(section)}" if section else ""
        with_others = f", with {', '.join(map(clean, beside[:3]))}" if beside else ""
        yield (
            f"in {one.name} '{clean(event.symbol)}' is {clean(seen[1])} at {seen[0]:x}{within}, "
            f"behind '{clean(seen[2])}'{with_others}"
        )


def _growth(passes: Sequence[Pass]) -> Iterator[str]:
    for before, after in pairwise(passes):
        found = diverged(before.listing, after.listing)
        changed = [f"{label} {old} to {new}" for label, old, new in found.tables if old and new]
        if changed:
            yield f"from {before.name} to {after.name} these tables changed their bytes: {', '.join(changed)}"


def _data(
    passes: Sequence[Pass], first: Pass | None, second: Pass | None, found: Divergence | None
) -> dict[str, object]:
    data: dict[str, object] = {"maps": [one.name for one in passes]}
    if first is None or second is None or found is None:
        return data
    return data | {
        "between": [first.name, second.name],
        "events": [
            {
                "symbol": one.symbol,
                "change": one.change.value,
                "before": one.before,
                "after": one.after,
                "veneer": one.inserted,
            }
            for one in found.events[:MAX_TOLD]
        ],
        "event_count": found.total,
        "root": found.root.symbol if found.root else "",
        "pushed": found.pushed,
        "shifts": list(found.shifts),
        "tables": [list(row) for row in found.tables],
        "convergence": convergence([one.listing for one in passes]).value,
    }


# ------------------------------------------------------------------------------------------------------ System.map


def _map(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield a finding if System.map is not vmlinux's own."""
    mapped, symbols = evidence.mapped_symbols, evidence.kernel_symbols
    if evidence.system_map is not None and mapped is None:
        yield NotApplicable(
            check="kallsyms.map-wrong", because="System.map cannot be read: lines of another form, or empty"
        )
        return
    if mapped is None or symbols is None or symbols.listing is None:
        return
    if mapped.find("_stext") is None and mapped.find("_text") is None:
        because = "System.map is no kernel's: it has neither _text nor _stext (distributions put a note in its place)"
        yield NotApplicable(check="kallsyms.map-wrong", because=because)
        return
    strange, total = not_of_kernel(mapped, symbols.listing)
    if not total:
        return
    file = evidence.name_of(evidence.system_map) if evidence.system_map is not None else "System.map"
    times = {name: evidence.mtimes.get(name, 0) for name in ("System.map", "vmlinux")}
    if not evidence.copied and evidence.newest_pass_ns() > times["vmlinux"] > 0:
        because = "vmlinux is older than the passes of the last link: the build stopped before it was linked again"
        yield NotApplicable(check="kallsyms.map-wrong", because=because)
        return
    yield Finding(
        id="kallsyms.map-wrong",
        severity=Severity.FAIL,
        title="System.map is not that of vmlinux",
        message=f"{file} does not describe the vmlinux beside it: {total} of its {len(mapped)} entries are not in vmlinux",
        where=Span(file=file),
        blame="System.map",
        because=(
            *_strangers(strange, times, copied=bool(evidence.copied)),
            _exchanged(mapped, symbols.listing, evidence),
        ),
        data={"entries": len(mapped), "wrong": [_row(one) for one in strange[:MAX_TOLD]], "wrong_count": total},
    )


def _strangers(strange: Sequence[Lie], times: Mapping[str, int], *, copied: bool) -> Iterator[str]:
    for one in strange[:3]:
        yield f"System.map has '{clean(one.symbol)}' at {one.address:x}{_really(one, 'vmlinux')}"
    if all(times.values()) and not copied:
        yield f"System.map is of {utc(times['System.map'])}, vmlinux of {utc(times['vmlinux'])}"


def _exchanged(mapped: Listing, kernel: Listing, evidence: Evidence) -> str:
    """Say which of the two was exchanged: the last pass that was kept has the layout of the link that made both."""
    last = next((one for one in reversed(evidence.link_passes) if one.name != FINAL), None)
    if last is not None and last.number > 1:
        if not not_of_kernel(last.listing, kernel)[1]:
            return f"vmlinux has the layout of the last pass, {last.name}: System.map was exchanged or edited after the link"
        if diverged(last.listing, mapped).same:
            return f"System.map is equal to that of the last pass, {last.name}: vmlinux was exchanged or changed after the link"
    return "scripts/link-vmlinux.sh writes the map from vmlinux right after it was linked: one of the two was put there later"


# ----------------------------------------------------------------------------------------------------- the table itself


def _table(symbols: KernelSymbols, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    file = evidence.name_of(evidence.vmlinux) if evidence.vmlinux is not None else "vmlinux"
    if symbols.unreadable:
        yield NotApplicable(check="kallsyms", because=f"the table in {file} cannot be decoded: {symbols.unreadable}")
        return
    if symbols.broken:
        yield _undecodable(symbols, file)
        return
    if symbols.table is None:
        yield NotApplicable(check="kallsyms", because=f"{file} has no kallsyms table")
        return
    if symbols.listing is None:
        because = f"{file} is stripped: its table was decoded, but there is nothing to hold it against"
        stub = evidence.distribution is not None and evidence.distribution.system_map is not None
        also = " (System.map is there, but only says where the real one is)" if stub else ""
        check = "kallsyms.map-wrong" if evidence.distribution is not None else "kallsyms"
        yield NotApplicable(check=check, because=because + also)
    if symbols.nameless:
        where = ", ".join(f"{one:x}" for one in symbols.nameless[:3])
        because = (
            f"vmlinux has symbols without a name (at {where}): scripts/kallsyms misreads each, and the one after it"
        )
        yield NotApplicable(check="kallsyms", because=because)
    total = symbols.wrong_total + symbols.lacking_total + symbols.mistyped_total
    if not total and not symbols.table.faults:
        return
    yield Finding(
        id="kallsyms.table-wrong",
        severity=Severity.FAIL if symbols.wrong_total > 1 or symbols.table.faults else Severity.WARNING,
        title="the symbol table in vmlinux is wrong",
        message=f"the symbol table in vmlinux does not describe it: {_wrongs(symbols)}",
        where=Span(file=file),
        blame="vmlinux",
        because=tuple(_how(symbols)),
        data={
            "entries": len(symbols.table.listing),
            "wrong": [_row(one) for one in symbols.wrong[:MAX_TOLD]],
            "wrong_count": symbols.wrong_total,
            "lacking": [_row(one) for one in symbols.lacking[:MAX_TOLD]],
            "lacking_count": symbols.lacking_total,
            "mistyped": [_row(one) for one in symbols.mistyped[:MAX_TOLD]],
            "mistyped_count": symbols.mistyped_total,
            "faults": list(symbols.table.faults),
        },
    )


def _undecodable(symbols: KernelSymbols, file: str) -> Finding:
    return Finding(
        id="kallsyms.table-wrong",
        severity=Severity.FAIL,
        title="the symbol table in vmlinux is wrong",
        message=f"the symbol table in vmlinux cannot be walked: {symbols.broken}",
        where=Span(file=file),
        blame="vmlinux",
        because=("vmlinux has its labels; kernel/kallsyms.c would follow the same numbers out of the table",),
        data={"faults": [symbols.broken]},
    )


def _wrongs(symbols: KernelSymbols) -> str:
    parts = []
    if symbols.wrong_total:
        parts.append(f"{symbols.wrong_total} entries that the kernel does not have there")
    if symbols.lacking_total:
        parts.append(f"{symbols.lacking_total} symbols that it lacks")
    if symbols.mistyped_total:
        parts.append(f"{symbols.mistyped_total} entries of another type")
    return ", ".join((*parts, *(symbols.table.faults if symbols.table else ())))


def _how(symbols: KernelSymbols) -> Iterator[str]:
    if symbols.table is not None:
        yield f"its {len(symbols.table.listing)} entries have {symbols.table.addressing.value}"
    for one in symbols.wrong[:3]:
        yield f"the table has '{clean(one.symbol)}' at {one.address:x}{_really(one, 'the kernel')}"
    for one in symbols.lacking[:3]:
        yield f"the kernel has '{clean(one.symbol)}' at {one.address:x}{_really(one, 'the table')}"
    for one in symbols.mistyped[:3]:
        yield f"the table has '{clean(one.symbol)}' at {one.address:x} with a letter of another kind of section"


def _really(lie: Lie, who: str) -> str:
    return (
        f", {who} at {', '.join(f'{one:x}' for one in lie.others)}" if lie.others else f", {who} has none of that name"
    )


def _row(lie: Lie) -> list[object]:
    return [lie.symbol, lie.address, list(lie.others)]
