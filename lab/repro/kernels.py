"""Which kernel source a report is tried on, and what brings its fault back where that source has the fix already."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from lab.model import DebianSource, DirSource, GitSource, Source, TarballSource
from lab.repro.extract import Report
from lab.repro.facts import Fact, Field
from lab.repro.picks import Pick
from lab.tables import Fix, Kernel, Tables, Undo

RELEASE = re.compile(r"(\d+)\.(\d+)")
# How many releases there were of each major number before the next: the distance of two releases counts them, not numbers.
LAST_MINOR = {2: 0, 3: 20, 4: 21, 5: 20, 6: 20}
LTO_SINCE = "5.12"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A source that was asked for. version: of its Makefile, "" if not known yet."""

    source: Source
    version: str
    toolchains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A source, and the fix of which the report is the reason. undo: the patch that takes it out again, None if none
    is needed or
    none is there. rule, fault_rule: why; older: why the report is taken to be older than the fix, "" if it is not."""

    source: Source
    release: str
    toolchains: tuple[str, ...]
    rule: str
    fix: Fix | None = None
    undo: Undo | None = None
    fault_rule: str = ""
    older: str = ""
    missing: tuple[str, ...] = ()  # what is not matched, a sentence each


def release_of(version: str) -> str:
    """Return "4.14" of "4.14.23" or "v5.14-rc1", "" if it is no release."""
    found = RELEASE.search(version)
    return f"{found[1]}.{found[2]}" if found else ""


def number(release: str) -> tuple[int, int]:
    """Return a release as numbers, for comparing."""
    found = RELEASE.fullmatch(release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def ordinal(release: str) -> int:
    """Return how many releases came before one, roughly: 5.0 follows 4.20."""
    major, minor = number(release)
    return sum(count for other, count in LAST_MINOR.items() if other < major) + min(minor, 40)


def within(release: str, since: str, until: str) -> bool:
    """Whether since <= release < until; an empty bound does not bound."""
    return (not since or number(release) >= number(since)) and (not until or number(release) < number(until))


# ------------------------------------------------------------------------------------------------------ the fix of a fault


def fix_of(report: Report, picks: Mapping[Field, Pick], tables: Tables) -> tuple[Fix, str] | None:
    """Return the fix that a report is older than, and why it is taken to be; None if no row of the table fits."""
    ids = {fact.get("id") for fact in report.of(Field.FINDING)}
    symbols = {
        fact.value.removeprefix("CONFIG_").partition("=")[0]
        for fact in report.of(Field.CONFIG)
        if not fact.value.endswith("=n")
    }
    arch = picks[Field.ARCH].fact.value if Field.ARCH in picks else ""
    for fix in tables.fix.values():
        if not ids & set(fix.findings) or (fix.symbols and not symbols & set(fix.symbols)):
            continue
        if fix.archs and arch not in fix.archs:
            continue
        if older := is_older(fix, picks):
            return fix, older
    return None


def is_older(fix: Fix, picks: Mapping[Field, Pick]) -> str:
    """Return why a report is older than a fix, "" if it is not, or if nobody can tell."""
    if not fix.version:
        return "no kernel has it"
    version, when = picks.get(Field.VERSION), picks.get(Field.DATE)
    if version and (release := release_of(version.fact.value)) and not version.fact.value.startswith("next-"):
        newer = number(release) >= number(fix.version) or (fix.since and number(release) < number(fix.since))
        return "" if newer else f"{version.fact.value} came before {fix.version}, the first release with the fix"
    if when and when.fact.value[:10] < fix.released:
        return f"it is of {when.fact.value[:10]}, and {fix.version}, the first release with the fix, of {fix.released}"
    return ""


# ------------------------------------------------------------------------------------------------------------- the source


def chosen(report: Report, picks: Mapping[Field, Pick], tables: Tables, given: Given | None) -> Chosen:
    """Return the source for a report."""
    known = fix_of(report, picks, tables)
    fix, older = known or (None, "")
    if given is not None:
        return _with_fault(
            Chosen(
                source=given.source, release=release_of(given.version), toolchains=given.toolchains, rule="source-given"
            ),
            fix,
            older,
        )
    lto = Field.LTO in picks
    rows = [row for row in tables.kernel.values() if not lto or number(row.name) >= number(LTO_SINCE)]
    able = [row for row in rows if fix is not None and _can_show(row, fix)]
    row, rule = _nearest(able or rows, picks)
    one = Chosen(
        source=DebianSource(package=row.package, suite=row.suite),
        release=row.name,
        toolchains=row.toolchains,
        rule=rule,
    )
    one = _with_fault(one, fix, older)
    return _with_missing(one, picks, _nearest(rows, picks)[0])


def _can_show(row: Kernel, fix: Fix) -> bool:
    """Whether a release has the fault, or can be given it again."""
    if fix.version and within(row.name, fix.since, fix.version):
        return True
    return any(within(row.name, undo.since, undo.until) for undo in fix.undo)


def _nearest(rows: Sequence[Kernel], picks: Mapping[Field, Pick]) -> tuple[Kernel, str]:
    version, when = picks.get(Field.VERSION), picks.get(Field.DATE)
    release = release_of(version.fact.value) if version and not version.fact.value.startswith("next-") else ""
    if release:
        exact = next((row for row in rows if row.name == release), None)
        if exact:
            return exact, "source-exact"
        return min(rows, key=lambda row: abs(ordinal(row.name) - ordinal(release))), "source-nearest"
    day = _day(version.fact.value.removeprefix("next-")) if version else None
    day = day or (_day(when.fact.value[:10]) if when else None)
    dated = [(row, _day(row.released)) for row in rows if row.released]
    if day and dated:
        return min(dated, key=lambda pair: abs((pair[1] - day).days) if pair[1] else 0)[0], "source-by-date"
    return rows[-1], "source-default"


def _day(text: str) -> date | None:
    text = f"{text[:4]}-{text[4:6]}-{text[6:8]}" if re.fullmatch(r"\d{8}", text) else text
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _with_fault(one: Chosen, fix: Fix | None, older: str) -> Chosen:
    """Add what brings the fault back, or why nothing does."""
    if fix is None:
        return one
    undo = next((undo for undo in fix.undo if one.release and within(one.release, undo.since, undo.until)), None)
    rule, missing = "", list(one.missing)
    if fix.version and one.release and within(one.release, fix.since, fix.version):
        undo, rule = None, "fault-there"
    elif undo is not None:
        rule = "fault-again"
        if undo.note:
            missing.append(f"the fault itself: {undo.note}")
    else:
        missing.append(
            f"the fault: linux {one.release or '?'} has its fix ({fix.commit}), and no patch of lab/data/patches "
            f"takes it out there"
        )
    return Chosen(
        source=one.source, release=one.release, toolchains=one.toolchains, rule=one.rule, fix=fix, undo=undo, fault_rule=rule,
        older=older, missing=tuple(missing),
    )  # fmt: skip


def _with_missing(one: Chosen, picks: Mapping[Field, Pick], nearest: Kernel) -> Chosen:
    """Say in what the source is not the reported one."""
    version = picks.get(Field.VERSION)
    said = version.fact.value if version else ""
    if one.rule == "source-exact":
        text = f"{said}: this is Debian's latest of {one.release}" if said != one.release else ""
    elif said:
        text = f"a source of {said} is not at hand; {one.release} is the nearest" + _that(one)
    else:
        text = f"no version is said; {one.release} is taken" + _that(one)
    if nearest.name != one.release and one.fix:
        text += f" ({nearest.name} is nearer, but nothing brings the fault back there)"
    missing = ((text,) if text else ()) + one.missing
    return replace(one, missing=missing)


def _that(one: Chosen) -> str:
    if one.fault_rule == "fault-there":
        return " that has the fault"
    return " that can be given the fault again" if one.undo else ""


def shown(source: Source) -> dict[str, str]:
    """Return a source as a matrix file has it."""
    if isinstance(source, DebianSource):
        return {"debian": source.package} | ({"suite": source.suite} if source.suite else {})
    if isinstance(source, DirSource):
        return {"dir": source.path}
    if isinstance(source, TarballSource):
        return {"tarball": source.path, "sha256": source.sha256}
    assert isinstance(source, GitSource)
    return {"git": source.repository, "rev": source.rev}


def finding_ids(report: Report) -> tuple[str, ...]:
    """Return the ids of the faults that a report shows, those of error lines before those that it only names."""
    facts: list[Fact] = sorted(report.of(Field.FINDING), key=lambda fact: fact.certainty != "stated")
    return tuple(dict.fromkeys(fact.get("id") for fact in facts if fact.get("id")))
