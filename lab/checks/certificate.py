"""What one watched build says of all the others: how often, on coarser clocks, its race would have been lost."""

from __future__ import annotations

from collections.abc import Iterator

from lab.evidence import autoksyms, certificate
from lab.evidence.bundle import Evidence
from lab.evidence.mtimes import span
from lab.evidence.race import Clock
from lab.evidence.text import clean
from lab.evidence.writes import WRITES, has_gap, times_of_changes
from lab.model import Finding, NotApplicable, Severity, Span

IDS = ("timestamps.certificate",)
GAPS_LIMIT = 50
NATURAL = "nothing touches dependency files of exported symbols here"


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield the certificate, a note, where adjust_autoksyms.sh was watched at work."""
    if not any(command.ksyms for command in evidence.commands):
        yield NotApplicable(check="timestamps.certificate", because=NATURAL, natural=True)
        return
    writes = evidence.writes
    if not writes or has_gap(writes):
        because = "the order of writes was not recorded" if not writes else "the record of writes has a gap"
        yield NotApplicable(check="timestamps.certificate", because=because, natural=not writes)
        return
    granularity_ns = evidence.granularity_ns or 1
    clock = Clock(times=evidence.mtimes, changes=times_of_changes(writes), granularity_ns=granularity_ns)
    exporters = autoksyms.exporters_by_dependency(evidence.commands)
    found = certificate.gaps(autoksyms.rounds(writes), exporters, clock)
    if not found:
        yield NotApplicable(check="timestamps.certificate", because="no object was due to be made again", natural=True)
        return
    script = evidence.adjust_script
    guarded = autoksyms.has_guard(script) if script is not None else None
    yield _certificate(found, guarded, granularity_ns)


def _certificate(found: tuple[certificate.Gap, ...], guarded: bool | None, granularity_ns: int) -> Finding:
    told = certificate.lines(found, (*certificate.GRANULARITIES_NS, granularity_ns))
    nearest = found[0]
    apart = (
        f"'{clean(nearest.dependency)}' was touched {span(nearest.apart_ns)} after '{clean(nearest.object)}' was made,"
        " nearer than any other"
    )
    return Finding(
        id="timestamps.certificate",
        severity=Severity.NOTE,
        title="how often make would overlook an object on other clocks",
        message=_message(told, guarded),
        where=Span(file=WRITES),
        because=(apart, *_reasons(told, guarded)),
        data={
            "guarded": guarded,
            "granularity_ns": granularity_ns,
            "lines": [
                {
                    "granularity_ns": line.granularity_ns,
                    "share": 0.0 if guarded else round(line.share, 4),
                    "enough_ns": line.enough_ns,
                }
                for line in told
            ],
            "gap_count": len(found),
            "gaps": [
                {"object": gap.object, "dependency": gap.dependency, "apart_ns": gap.apart_ns}
                for gap in found[:GAPS_LIMIT]
            ],
        },
    )


def _message(told: tuple[certificate.Line, ...], guarded: bool | None) -> str:
    if guarded:
        return "make cannot overlook an object here, however coarse the clock is: the script waits for a newer time"
    wrong = [
        f"{line.share:.0%} of clock phases with times of {span(line.granularity_ns)}" for line in told if line.share
    ]
    if not wrong:
        return f"with this timing make overlooks no object, not even with times of {span(told[-1].granularity_ns)}"
    right = [span(line.granularity_ns) for line in told if not line.share]
    never = f"; never with times of {right[-1]} or finer" if right else ""
    return f"with this timing make overlooks an object in {', '.join(wrong)}{never}"


def _reasons(told: tuple[certificate.Line, ...], guarded: bool | None) -> Iterator[str]:
    if guarded:
        yield "the loop of 825d48758308 touches each file until it is newer than the new list, written after all objects"
        return
    late = [line for line in told if line.enough_ns]
    if late:
        line = late[-1]
        yield f"{span(line.enough_ns)} more between the two would rule it out with times of {span(line.granularity_ns)}"
    yield "computed from the order of writes of this one build; where the clock's ticks lie against it is chance"
