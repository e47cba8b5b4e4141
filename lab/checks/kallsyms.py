"""Inconsistent kallsyms data: the kernel's own symbol table does not describe the kernel that it was linked into."""

from __future__ import annotations

from collections.abc import Iterator

from lab.evidence.bundle import Evidence
from lab.model import Finding, NotApplicable, Severity, Span

IDS = ("kallsyms.inconsistent",)


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield one kallsyms.inconsistent if the build said so; the maps of the passes that were kept are named with it."""
    log, path = evidence.log, evidence.build_log
    if log is None or path is None:
        yield NotApplicable(check="kallsyms", because="there is no build log")
        return
    if log.empty:
        yield NotApplicable(check="kallsyms", because=f"the build log ({path.name}) is empty")
        return
    if evidence.config.get("KALLSYMS") == "n":
        yield NotApplicable(
            check="kallsyms", because="CONFIG_KALLSYMS is not set: the kernel has no symbol table of its own"
        )
        return
    for line in log.kallsyms:
        if line.inconsistent:
            yield _finding(line.at, evidence.name_of(path), [kept.name for kept in evidence.kallsyms_maps])
            return


def _finding(at: int, file: str, kept: list[str]) -> Finding:
    proof = f"the maps of its passes were kept: {', '.join(kept)}" if kept else "the maps of its passes were not kept"
    return Finding(
        id="kallsyms.inconsistent",
        severity=Severity.FAIL,
        title="inconsistent kallsyms data",
        message="the symbol table in vmlinux was made from another layout than the final link gave it",
        where=Span(file=file, first=at, last=at),
        blame="vmlinux",
        because=(proof, "each pass moves what follows the table; the passes must settle, and they did not"),
        data={"maps": kept},
    )
