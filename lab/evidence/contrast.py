"""What differs between two attempts at the same thing: what was made and how often, times that share a tick, log lines.

"The only difference between the two logs is that the failing build doesn't rebuild arch/x86/lib/retpoline.S" is how an
intermittent fault was understood (linux-kbuild, 5 March 2018); this finds that sentence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.evidence.bundle import Evidence
from lab.evidence.mtimes import is_coarse, span, tick, utc
from lab.evidence.text import clean, numbered_lines

LINES_LIMIT = 40
TARGETS_LIMIT = 100_000
TIES_LIMIT = 40
VALUES_LIMIT = 60
# kbuild's short log: two spaces, a word in capitals, perhaps [M], the target. Source: scripts/Kbuild.include, echo-cmd.
_MADE = re.compile(rb"^  [A-Z][A-Z0-9_+-]*(?: \[M\])? +(\S+)$")
_LONG = re.compile(rb"\s-o (\S+\.k?o)\b")  # of make V=1
_VARYING = re.compile(r"/tmp/cc\w{6}|\b0x[0-9a-f]{6,}|\b\d+\.\d+ ?s\b|make\[\d+\]")
ASIDE = frozenset(
    {"schema_version", "attempt", "steps", "boot", "granularity"}
)  # of a record: no part of the environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A target that one build made more often than the other. Counts are lines of the build log that name it."""

    target: str
    a: int
    b: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tie:
    """An object and its newest dependency file of an export that share a tick in one of the two. apart: from object to file."""

    object: str
    dependency: str
    in_a: bool
    apart_a_ns: int
    apart_b_ns: int
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value that the two have differently: of a record ("image.id"), or of .config ("CONFIG_X"); "" where it is absent."""

    name: str
    a: str
    b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """What differs between attempts a and b; empty tuples where nothing does, None where it could not be compared.

    lines: of the build log, without progress and what varies by nature; exports: of Module.symvers; LINES_LIMIT of each.
    """

    environment: tuple[Value, ...] | None = None
    config: tuple[Value, ...] | None = None
    made: tuple[Made, ...] | None = None
    ties: tuple[Tie, ...] | None = None
    lines_a: tuple[str, ...] = ()
    lines_b: tuple[str, ...] = ()
    exports_a: tuple[str, ...] = ()
    exports_b: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing of what could be compared differs."""
        parts = (self.environment, self.config, self.made, self.ties)
        return not any((*parts, self.lines_a, self.lines_b, self.exports_a, self.exports_b))


def contrast(a: Evidence, b: Evidence) -> Contrast:
    """Return what differs between two evidence folders or output directories."""
    logs = a.build_log is not None and b.build_log is not None
    one, other = (_log(evidence.build_log) for evidence in (a, b))
    made = _made(one.made, other.made) if logs else None
    symbols = [{export.symbol for export in evidence.symvers} for evidence in (a, b)]
    exported = all(symbols)
    return Contrast(
        environment=_values(_flat(a.record), _flat(b.record)) if a.record and b.record else None,
        config=_values(_config(a), _config(b)) if a.config and b.config else None,
        made=made,
        ties=_ties(a, b),
        lines_a=_more_often(one.lines, other.lines) if logs else (),
        lines_b=_more_often(other.lines, one.lines) if logs else (),
        exports_a=tuple(sorted(symbols[0] - symbols[1])[:LINES_LIMIT]) if exported else (),
        exports_b=tuple(sorted(symbols[1] - symbols[0])[:LINES_LIMIT]) if exported else (),
    )


def settings(a: Evidence, b: Evidence) -> Contrast:
    """Return what differs in record and configuration alone: two small files each, for many pairs."""
    return Contrast(
        environment=_values(_flat(a.record), _flat(b.record)) if a.record and b.record else None,
        config=_values(_config(a), _config(b)) if a.config and b.config else None,
    )


# ------------------------------------------------------------------------------------------------------------- the log


@dataclass(frozen=True, slots=True)
class _Log:
    made: Counter[str]
    lines: Counter[str]


def _log(path: Path | None) -> _Log:
    made: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for _, raw in numbered_lines(path):
        short = _MADE.match(raw)
        match = short or _LONG.search(raw)
        if match and (len(made) < TARGETS_LIMIT):
            made[clean(match[1].decode("utf-8", "replace"))] += 1
        if not short and raw.strip() and len(lines) < TARGETS_LIMIT:
            lines[_VARYING.sub("*", clean(raw.decode("utf-8", "replace"))[:500])] += 1
    return _Log(made, lines)


def made(path: Path | None) -> Counter[str]:
    """Return target -> how many lines of a build log tell of making it."""
    return _log(path).made


def _made(a: Counter[str], b: Counter[str]) -> tuple[Made, ...]:
    """Return the targets made a different number of times: objects first, then by name."""
    differing = (Made(target=name, a=a[name], b=b[name]) for name in a.keys() | b.keys() if a[name] != b[name])
    return tuple(sorted(differing, key=lambda one: (not one.target.endswith(".o"), one.target)))


def _more_often(lines: Counter[str], than: Counter[str]) -> tuple[str, ...]:
    return tuple(line for line, count in lines.items() if count > than[line])[:LINES_LIMIT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """A target whose count of being made tells failing attempts from others. failing, others: the counts that were seen."""

    target: str
    failing: tuple[int, ...]
    others: tuple[int, ...]


def separating(failing: Sequence[Counter[str]], others: Sequence[Counter[str]]) -> tuple[Separation, ...]:
    """Return the targets that no failing attempt made as often as any other attempt did; objects first."""
    if not failing or not others:
        return ()
    targets = set().union(*failing, *others)
    found = []
    for target in targets:
        bad, good = {counts[target] for counts in failing}, {counts[target] for counts in others}
        if bad.isdisjoint(good):
            found.append(Separation(target=target, failing=tuple(sorted(bad)), others=tuple(sorted(good))))
    return tuple(sorted(found, key=lambda one: (not one.target.endswith(".o"), one.target)))


# --------------------------------------------------------------------------------------------------------------- times


def _ties(a: Evidence, b: Evidence) -> tuple[Tie, ...] | None:
    """Return the objects that share a tick with their newest dependency file in one of the two only; None on fine clocks."""
    steps = [evidence.granularity_ns for evidence in (a, b)]
    if not all(step is not None and is_coarse(step) for step in steps):
        return None
    one, other = (dict(_newest(evidence)) for evidence in (a, b))
    found = []
    for target in one.keys() & other.keys():
        (dependency, made_a, file_a), (_, made_b, file_b) = one[target], other[target]
        in_a = tick(made_a, steps[0] or 1) == tick(file_a, steps[0] or 1)
        in_b = tick(made_b, steps[1] or 1) == tick(file_b, steps[1] or 1)
        if in_a != in_b:
            at = utc(made_a if in_a else made_b)
            found.append(
                Tie(object=target, dependency=dependency, in_a=in_a, apart_a_ns=file_a - made_a,
                    apart_b_ns=file_b - made_b, at=at)
            )  # fmt: skip
    return tuple(sorted(found, key=lambda tie: tie.object)[:TIES_LIMIT])


def _newest(evidence: Evidence) -> Iterator[tuple[str, tuple[str, int, int]]]:
    """Yield object -> (its newest dependency file of an export, time of the object, of the file), in ns."""
    times = evidence.mtimes
    for command in evidence.commands:
        known = [(times[name], name) for name in command.ksyms if name in times]
        if known and command.target in times:
            newest, name = max(known)
            yield command.target, (name, times[command.target], newest)


# -------------------------------------------------------------------------------------------------------------- values


def _config(evidence: Evidence) -> dict[str, str]:
    return {f"CONFIG_{symbol}": value for symbol, value in evidence.config.items()}


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the leaves of a record by their path; texts of files by their length only."""
    found: dict[str, str] = {}
    for key, value in record.items():
        if not prefix and key in ASIDE:
            continue
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            found |= _flat(value, f"{name}.")
        elif isinstance(value, list):
            found[name] = " ".join(str(one.get("name", "?")) if isinstance(one, dict) else str(one) for one in value)
        else:
            found[name] = str(value)
    return found


def _values(a: Mapping[str, str], b: Mapping[str, str]) -> tuple[Value, ...]:
    names = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    return tuple(
        Value(name=name, a=clean(a.get(name, ""))[:200], b=clean(b.get(name, ""))[:200])
        for name in names[:VALUES_LIMIT]
    )


def sentences(found: Iterable[Separation], failing: int, others: int) -> tuple[str, ...]:
    """Return what separates failing attempts from others, a line each."""
    return tuple(
        f"{one.target} was made {_times(one.failing)} in each of {failing} failing attempts, {_times(one.others)} in each of"
        f" {others} others"
        for one in found
    )


def _times(counts: tuple[int, ...]) -> str:
    words = {0: "never", 1: "once", 2: "twice"}
    return " or ".join(words.get(count, f"{count} times") for count in counts)


def tie_words(tie: Tie) -> str:
    """Return one line on a tie, of attempts called a and b."""
    where, apart_ns = ("a", tie.apart_b_ns) if tie.in_a else ("b", tie.apart_a_ns)
    other = "b" if tie.in_a else "a"
    later = f"{span(abs(apart_ns))} {'after' if apart_ns >= 0 else 'before'} it" if apart_ns else "at the same time"
    return f"{tie.dependency} carries the time of {tie.object} in {where} ({tie.at}); in {other} it is {later}"
