"""Times that make go wrong: inputs that it could not see were newer (tie), and outputs left behind (stale).

On a coarse clock a healthy build is full of equal times, so equal times alone are no finding: the recorded order of writes
or the content of the objects decides, and where neither can, ties are counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lab.evidence import autoksyms, race
from lab.evidence.bundle import Evidence
from lab.evidence.commands import KSYM_FOLDERS
from lab.evidence.mtimes import SECOND_NS, is_coarse, shared_tick, span, tick, tick_name, utc
from lab.evidence.text import clean
from lab.evidence.writes import WRITES, has_gap, steps_back, times_of_changes
from lab.model import Finding, NotApplicable, Severity, Span

IDS = ("timestamps.tie", "timestamps.stale")
MAX_PAIRS = 50
MAX_FINDINGS = 20
MAX_NEEDED = 3


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield at most one timestamps.tie and one stale per object (or per input)."""
    if not evidence.mtimes:
        yield NotApplicable(check="timestamps", because="there are no files' times to look at")
        return
    granularity_ns = evidence.granularity_ns
    if granularity_ns is None:
        yield NotApplicable(check="timestamps", because="too few files were built to tell how exact their times are")
        return
    if (reason := _no_mechanism(evidence)) is not None:
        yield NotApplicable(check="timestamps.tie", because=reason, natural=bool(evidence.config))
    if evidence.autoksyms is None and any(command.ksyms for command in evidence.commands):
        because = f"{autoksyms.LIST} is missing or cut off: exports were not compared with it"
        yield NotApplicable(check="timestamps.stale", because=because)
    if evidence.copied:
        older = f"{evidence.copied} .cmd files are older than what they tell of"
        because = f"{older}: this is a copy that did not keep the files' times"
        yield NotApplicable(check="timestamps", because=because)
    else:
        yield from _ties(evidence, granularity_ns)
    yield from _stale_exports(evidence, granularity_ns)  # content, not times
    if not evidence.copied:
        yield from _stale_inputs(evidence, granularity_ns)


def _no_mechanism(evidence: Evidence) -> str | None:
    """Return why make does not depend on the list of used symbols here, None if it does."""
    if evidence.autoksyms is not None or any(command.ksyms for command in evidence.commands):
        return None
    if evidence.config.get("TRIM_UNUSED_KSYMS", "n") != "y":
        return "CONFIG_TRIM_UNUSED_KSYMS is not set: no dependency files of exported symbols"
    version = evidence.kernel_version or "of unknown version"
    return f"this kernel ({version}) trims exports in modpost, without dependency files (6.5 and later, 5e9e95cc9148)"


# ------------------------------------------------------------------------------------------------------------- ties

_WAITS = re.compile(r"^[^#\n]*\bsleep\b", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Race:
    """pairs: best first. guarded: the script waits for a newer time, None if unknown.

    list_apart_ns: from the new list to the first dependency file, None if unseen.
    """

    pairs: tuple[race.Pair, ...]
    guarded: bool | None
    list_apart_ns: int | None
    recorded: bool
    granularity_ns: int

    @property
    def hits(self) -> int:
        return sum(pair.hit for pair in self.pairs)

    @property
    def likelihood(self) -> float | None:
        """Fraction of clock phases in which the closest pair shares a tick: 1 - apart / granularity; None if unseen.

        Where no object was made within reach, the pair is the one that the guard would compare: the list and the first
        dependency file.
        """
        if not self.recorded:
            return None
        apart = [
            pair.apart_ns for pair in self.pairs if pair.apart_ns is not None and pair.apart_ns < self.granularity_ns
        ]
        apart += [self.list_apart_ns] if not apart and self.list_apart_ns is not None else []
        return max(0.0, 1 - min(apart) / self.granularity_ns) if apart else 0.0


def _ties(evidence: Evidence, granularity_ns: int) -> Iterator[Finding | NotApplicable]:
    writes = evidence.writes or ()
    gap = has_gap(writes)
    if gap:
        because = "the record of writes has a gap (the watcher was overrun, or died): only what is on disk was judged"
        yield NotApplicable(check="timestamps.tie", because=because)
    ordered = bool(writes) and not gap
    found = _recorded(evidence, granularity_ns) if ordered else _on_disk(evidence, granularity_ns)
    if not ordered and is_coarse(granularity_ns):
        yield from _uncertain(evidence, granularity_ns)
    if found.pairs:
        yield _tie(found, evidence)


def _uncertain(evidence: Evidence, granularity_ns: int) -> Iterator[NotApplicable]:
    """Count what the content of objects does not settle: it is no finding, and no pass either."""
    linked = _linked(evidence)
    count = race.ties(evidence.dependencies, linked, evidence.mtimes, granularity_ns)
    if not count.pairs:
        return
    settled = " (objects' exports were compared with their list instead)" if evidence.autoksyms is not None else ""
    yield NotApplicable(
        check="timestamps.tie",
        because=f"{count.pairs:,} ties within {span(granularity_ns)} of {count.objects:,} objects and their inputs cannot be"
        f" told from races without a record of writes{settled}",
    )


def _linked(evidence: Evidence) -> dict[str, str]:
    """Return the objects that are part of vmlinux or a module -> what they are part of; others may be left over."""
    return {path: facts.part_of for path, facts in evidence.objects.items() if facts.part_of}


def _clock(evidence: Evidence, granularity_ns: int) -> race.Clock:
    writes = evidence.writes or ()
    changes = {} if has_gap(writes) else times_of_changes(writes)
    return race.Clock(times=evidence.mtimes, changes=changes, granularity_ns=granularity_ns)


def _recorded(evidence: Evidence, granularity_ns: int) -> _Race:
    """Judge by the order of writes. Near misses count only where no guard makes the order certain and the clock is coarse."""
    clock = _clock(evidence, granularity_ns)
    rounds = autoksyms.rounds(evidence.writes or ())
    script = evidence.adjust_script
    guarded = autoksyms.has_guard(script) if script is not None else None
    if not guarded and rounds and all(autoksyms.waited(one, granularity_ns) for one in rounds):
        guarded = True
    if not guarded and rounds and _WAITS.search(script or "") and all(_apart(one, granularity_ns) for one in rounds):
        guarded = True  # in another manner than the kernel's: it sleeps before it touches
    exporters = autoksyms.exporters_by_dependency(evidence.commands)
    pairs = race.round_pairs(rounds, exporters, clock, guarded=guarded is not False)
    pairs = race.at_risk(pairs, granularity_ns, ordered=guarded is not False)
    stepped_back = bool(steps_back(evidence.file(WRITES)))
    pairs += race.dependency_pairs(evidence.dependencies, evidence.objects, clock, stepped_back=stepped_back)
    apart = [touch.first_ns - one.list_ns for one in rounds for touch in one.touches]
    return _Race(
        pairs=race.best_first(pairs, evidence.stale_exports),
        guarded=guarded,
        list_apart_ns=min(apart, default=None),
        recorded=True,
        granularity_ns=granularity_ns,
    )


def _apart(one: autoksyms.Round, granularity_ns: int) -> bool:
    return all(touch.first_ns - one.list_ns >= granularity_ns for touch in one.touches)


def _on_disk(evidence: Evidence, granularity_ns: int) -> _Race:
    """Judge by what is left on disk: the script if its text is there, else the content of the objects."""
    script = evidence.adjust_script
    guarded = autoksyms.has_guard(script) if script is not None else None
    exporters = autoksyms.exporters_by_dependency(evidence.commands)
    stale = evidence.stale_exports
    suspect = guarded is False or any(one.hidden for one in stale)
    pairs: list[race.Pair] = []
    if suspect and is_coarse(granularity_ns):
        # The unguarded script can be lucky: the tick then turned between the list and the first dependency file.
        reach_ticks = 1 if guarded is False else 0
        pairs = race.disk_pairs(exporters, evidence.mtimes, granularity_ns, stale, reach_ticks=reach_ticks)
    return _Race(
        pairs=race.best_first(pairs, stale),
        guarded=guarded,
        list_apart_ns=None,
        recorded=False,
        granularity_ns=granularity_ns,
    )


def _tie(found: _Race, evidence: Evidence) -> Finding:
    first = found.pairs[0]
    return Finding(
        id="timestamps.tie",
        severity=Severity.FAIL,
        title="make could not see that a dependency is newer than its object"
        if found.hits
        else "nothing makes a dependency newer than the object that it should have rebuilt",
        message=_tie_message(first, found),
        where=Span(file=clean(first.object)),
        blame=clean(first.object),
        because=tuple(_tie_reasons(first, found, evidence)),
        data={
            "pairs": [_pair_data(pair, found.granularity_ns) for pair in found.pairs[:MAX_PAIRS]],
            "pair_count": len(found.pairs),
            "hit_count": found.hits,
            "object_count": len({pair.object for pair in found.pairs}),
            "granularity_ns": found.granularity_ns,
            "guarded": found.guarded,
            "recorded": found.recorded,
            "list_apart_ns": found.list_apart_ns,
            "likelihood": None if found.likelihood is None else round(found.likelihood, 4),
        },
    )


def _pair_data(pair: race.Pair, granularity_ns: int) -> dict[str, object]:
    return {
        "object": pair.object,
        "dependency": pair.dependency,
        "object_time_ns": pair.object_time_ns,
        "dependency_time_ns": pair.dependency_time_ns,
        "apart_ns": pair.apart_ns,
        "shared_second": shared_tick(pair.object_time_ns, pair.dependency_time_ns, granularity_ns),
        "granularity_ns": granularity_ns,
        "hit": pair.hit,
    }


def _tie_message(pair: race.Pair, found: _Race) -> str:
    dependency, target = f"'{clean(pair.dependency)}'", f"'{clean(pair.object)}'"
    exact = f"times here are exact to {span(found.granularity_ns)}"
    times = [utc(_whole(time_ns, found)) for time_ns in (pair.object_time_ns, pair.dependency_time_ns)]
    after = "after" if not found.recorded or pair.apart_ns is None else f"{span(pair.apart_ns)} after"
    if pair.hit:
        same = f"same {tick_name(found.granularity_ns)} {times[1]}"
        return f"make could not see that {dependency} was written {after} {target}: {same} ({exact})"
    if not found.recorded:
        return f"nothing makes {dependency} ({times[1]}) newer than the first {target}, now of {times[0]} ({exact})"
    ticks = "two seconds" if found.granularity_ns == SECOND_NS else f"two ticks of {span(found.granularity_ns)}"
    seconds = f"{times[0]} and {times[1]}"
    return f"{dependency} was written {after} {target}, and only luck put that into {ticks}, {seconds} ({exact})"


def _whole(time_ns: int, found: _Race) -> int:
    return time_ns // found.granularity_ns * found.granularity_ns if is_coarse(found.granularity_ns) else time_ns


def _tie_reasons(first: race.Pair, found: _Race, evidence: Evidence) -> Iterator[str]:
    likelihood = found.likelihood
    if found.hits:
        objects = len({pair.object for pair in found.pairs if pair.hit})
        yield f"{found.hits} such pairs of {objects} objects in this build; only a newer dependency makes make rebuild"
    elif likelihood is None:
        yield "this build was lucky, as far as its objects show; without a record of the writes, how close it was is unknown"
    else:
        yield f"this build was lucky: with the same timing, {likelihood:.0%} of clock phases put both into one tick"
    yield _later_step(first, evidence)
    if not any(pair.dependency.startswith(KSYM_FOLDERS) for pair in found.pairs):
        return
    yield (
        "an object that is overlooked keeps the exports of the first pass: modpost then says 'undefined', or a module loads"
        " against an export that should be gone"
    )
    yield (
        "TRIM_UNUSED_KSYMS: adjust_autoksyms.sh touches a dependency file for each symbol that came or went and runs make"
        " again (4.7 to 6.4)"
    )
    yield _guard_reason(found.guarded, evidence)


def _later_step(pair: race.Pair, evidence: Evidence) -> str:
    """Return which step after the overlooked object goes wrong."""
    facts = evidence.objects.get(pair.object)
    part_of = clean(facts.part_of) if facts is not None and facts.part_of else ""
    if not pair.dependency.startswith(KSYM_FOLDERS):
        whole = f"'{part_of}'" if part_of else "what it is part of"
        return f"the link of {whole} takes the object as it was before '{clean(pair.dependency)}' was written"
    needed = [
        (module.path, symbol)
        for module in evidence.modules
        for symbol in module.undefined
        if pair.dependency in autoksyms.dependency_names(symbol)
    ]
    if not needed:
        return f"modpost would go wrong, at what needs '{clean(pair.dependency.rpartition('/')[2])}'"
    names = ", ".join(f"'{clean(path)}'" for path, _ in needed[:MAX_NEEDED])
    more = f" and {len(needed) - MAX_NEEDED} more" if needed[MAX_NEEDED:] else ""
    return f"modpost would go wrong: '{clean(needed[0][1])}', which this object exports, is needed by {names}{more}"


def _guard_reason(guarded: bool | None, evidence: Evidence) -> str:
    if guarded is None:
        return f"whether {autoksyms.SCRIPT} has the guard (825d48758308) is unknown: the source tree was not found"
    if guarded:
        return f"{autoksyms.SCRIPT} has the guard of 825d48758308, and still the order on disk is wrong"
    line = autoksyms.touch_line(evidence.adjust_script or "")
    return (
        f"{autoksyms.SCRIPT}:{line} touches the file once; the loop that touches it until it is newer than"
        " $new_ksyms_file (825d48758308) is missing"
    )


# ------------------------------------------------------------------------------------------------------------ stale


def _stale_exports(evidence: Evidence, granularity_ns: int) -> Iterator[Finding]:
    finished = _compiled_after_list(evidence, granularity_ns)
    wrong = [one for one in evidence.stale_exports if one.hidden or finished]
    for one in wrong[:MAX_FINDINGS]:
        yield _stale_export(one, granularity_ns, len(wrong))


def _compiled_after_list(evidence: Evidence, granularity_ns: int) -> bool:
    """Whether make went on to link after the last round: until then, an object that is out of date is still to come."""
    list_ns = evidence.mtimes.get(autoksyms.LIST)
    linked = [evidence.mtimes[name] for name in ("vmlinux", "Module.symvers") if name in evidence.mtimes]
    return list_ns is not None and bool(linked) and tick(min(linked), granularity_ns) > tick(list_ns, granularity_ns)


def _stale_export(one: autoksyms.StaleExport, granularity_ns: int, total: int) -> Finding:
    kind, symbols = ("lacks", one.missing) if one.missing else ("still has", one.superfluous)
    names = ", ".join(f"'{clean(name)}'" for name in symbols[:3]) + (
        f" and {len(symbols) - 3} more" if symbols[3:] else ""
    )
    shared = shared_tick(one.object_time_ns, one.dependency_time_ns, granularity_ns)
    reasons = [_times_of(one, shared, granularity_ns)]
    if one.hidden:
        reasons.append("make rebuilds an object only if a dependency is newer, so running make again does not mend it")
    return Finding(
        id="timestamps.stale",
        severity=Severity.FAIL,
        title=f"{clean(one.object)} was not rebuilt for the new list of used symbols",
        message=f"'{clean(one.object)}' {kind} the export of {names}, against {autoksyms.LIST}: it was not rebuilt",
        where=Span(file=clean(one.object)),
        blame=clean(one.object),
        because=tuple(reasons),
        data={
            "object": one.object,
            "dependency": one.dependency,
            "missing": list(one.missing[:MAX_PAIRS]),
            "superfluous": list(one.superfluous[:MAX_PAIRS]),
            "object_time_ns": one.object_time_ns,
            "dependency_time_ns": one.dependency_time_ns,
            "shared_second": shared,
            "granularity_ns": granularity_ns,
            "hidden": one.hidden,
            "stale_object_count": total,
        },
    )


def _times_of(one: autoksyms.StaleExport, shared: str | None, granularity_ns: int) -> str:
    dependency = f"its dependency '{clean(one.dependency)}'" if one.dependency else "its dependency file"
    exact = f"times here are exact to {span(granularity_ns)}"
    if shared is not None:
        return f"it carries the same {tick_name(granularity_ns)} as {dependency}, {shared}; {exact}"
    if one.object_time_ns is None or one.dependency_time_ns is None:
        return f"{dependency} has no time that could be compared"
    return f"it is of {utc(one.object_time_ns)}, {dependency} of {utc(one.dependency_time_ns)}; {exact}"


def _stale_inputs(evidence: Evidence, granularity_ns: int) -> Iterator[Finding | NotApplicable]:
    """Yield a finding for each input that objects of the finished kernel should have been rebuilt for."""
    if "vmlinux" not in evidence.mtimes:
        yield NotApplicable(
            check="timestamps.stale",
            because="vmlinux was not linked: whether inputs are newer than what they went into was not asked",
        )
        return
    linked, clock = _linked(evidence), _clock(evidence, granularity_ns)
    times = {**evidence.mtimes, **evidence.source_times}
    newer = race.newer_inputs(evidence.dependencies, linked, times, clock, _end(evidence, clock))
    old = {target for targets in newer.values() for target in targets}
    if len(old) > max(MAX_FINDINGS, len(linked) // 2):
        yield NotApplicable(
            check="timestamps.stale",
            because=f"{len(old)} of {len(linked)} objects are older than their inputs: times of a copy, not of a build",
        )
        return
    ordered = sorted(newer.items(), key=lambda item: (-len(item[1]), item[0]))
    for name, targets in ordered[:MAX_FINDINGS]:
        yield _stale_input(name, sorted(targets), evidence.mtimes[min(targets)], times[name], granularity_ns)


def _end(evidence: Evidence, clock: race.Clock) -> race.End:
    """Return when the build went on to link."""
    ends = [name for name in ("vmlinux", "Module.symvers") if name in evidence.mtimes]
    seen = [clock.changes[name][-1] for name in ends if clock.changes.get(name)]
    return race.End(time_ns=min(evidence.mtimes[name] for name in ends), seen_ns=min(seen, default=None))


def _stale_input(name: str, targets: list[str], mine: int, its: int, granularity_ns: int) -> Finding:
    target = targets[0]
    more = f" and {len(targets) - 1} more objects" if targets[1:] else ""
    return Finding(
        id="timestamps.stale",
        severity=Severity.FAIL,
        title=f"{clean(target)} is older than its input {clean(name)}",
        message=f"'{clean(target)}'{more} went into the kernel, older than the input '{clean(name)}'",
        where=Span(file=clean(target)),
        blame=clean(target),
        because=(
            f"the object is of {utc(mine)}, its input of {utc(its)}; times here are exact to {span(granularity_ns)}",
            "vmlinux was linked later, so make was done with this object and did not rebuild it",
        ),
        data={
            "object": target,
            "dependency": name,
            "objects": targets[:MAX_PAIRS],
            "object_count": len(targets),
            "object_time_ns": mine,
            "dependency_time_ns": its,
            "shared_second": None,
            "granularity_ns": granularity_ns,
        },
    )
