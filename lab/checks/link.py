"""What the links and the making of BTF warned of in a build that went on; what stopped a build is for the check of build.*."""

from __future__ import annotations

from collections.abc import Iterator

from lab.evidence.bundle import Evidence
from lab.evidence.log_facts import BuildLog
from lab.evidence.text import clean
from lab.model import Finding, NotApplicable, Severity, Span

IDS = ("link.orphan-section", "btf.unresolved")
MAX_NAMED = 50


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield at most one warning of each kind."""
    if evidence.log is None or evidence.build_log is None or evidence.log.empty:
        yield NotApplicable(
            check="link", because="no build log, or nothing in it: what the linker warned of is not known"
        )
        return
    yield from log_findings(evidence.log, evidence.name_of(evidence.build_log))


def log_findings(log: BuildLog, file: str) -> tuple[Finding, ...]:
    """Return the warnings of a log alone. file: the log's name, for the proof."""
    return (*_orphans(log, file), *_unresolved(log, file))


def _orphans(log: BuildLog, file: str) -> Iterator[Finding]:
    if not log.orphans:
        return
    first, sections = log.orphans[0], list(dict.fromkeys(line.section for line in log.orphans))
    owners = list(dict.fromkeys(line.object for line in log.orphans))
    yield Finding(
        id="link.orphan-section", severity=Severity.WARNING, title=f"orphan section {clean(first.section)}",
        message=f"no rule of the linker script places {_named(sections)} of {_named(owners)}: the linker chose a place",
        where=Span(file=file, first=first.at, last=first.at), blame=first.object if first.object.endswith(".o") else "",
        because=("the place may be outside _stext … _end, where nothing is mapped, freed or protected as it should be",),
        data={"sections": sections[:MAX_NAMED], "objects": owners[:MAX_NAMED], "count": len(log.orphans)},
    )  # fmt: skip


def _unresolved(log: BuildLog, file: str) -> Iterator[Finding]:
    lines = [line for line in log.btf if not line.fatal]
    if not lines:
        return
    symbols = list(dict.fromkeys(line.symbol for line in lines))
    yield Finding(
        id="btf.unresolved", severity=Severity.WARNING, title=f"BTF has no id for '{clean(symbols[0])}'",
        message=f"resolve_btfids found no BTF id for {_named(symbols)}: it stays 0, and what is guarded by it does not work",
        where=Span(file=file, first=lines[0].at, last=lines[0].at), blame="vmlinux",
        because=("a BTF_ID() names a function or type that this configuration does not build, or that pahole left out",),
        data={"symbols": symbols[:MAX_NAMED], "count": len(symbols)},
    )  # fmt: skip


def _named(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"'{clean(name)}'" for name in names[:3]) + more
