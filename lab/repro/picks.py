"""Of several values for one field, the one that counts, and the rule that says so. The others stay candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lab.repro.extract import Report
from lab.repro.facts import ORDER, Fact, Field
from lab.repro.outcome import GOOD, INDIFFERENT

SINGLE = (
    Field.DATE, Field.SUBJECT, Field.FROM, Field.MESSAGE_ID, Field.VERSION, Field.TREE, Field.ARCH, Field.BOARD, Field.COMPILER,
    Field.LTO, Field.LINKER, Field.BINUTILS, Field.MAKE, Field.QEMU, Field.DISTRIBUTION, Field.FILESYSTEM, Field.TIMESTAMPS,
    Field.JOBS, Field.CONFIG_BASE, Field.CROSS, Field.RATE,
)  # fmt: skip
"""The fields of which a matrix takes one value. Of the others every value counts."""


NOT_THE_FAILURE = (GOOD, INDIFFERENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """The fact that counts for a field, and why."""

    fact: Fact
    rule: str


def picked(report: Report) -> Mapping[Field, Pick]:
    """Return the fact that counts for each single field that has any."""
    found = {}
    for field in SINGLE:
        if facts := _usable(field, report.of(field)):
            found[field] = _best(facts, report.reporter)
    return found


def _usable(field: Field, facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """Return the candidates: what worked is none, a general word none where there is a precise one."""
    facts = tuple(fact for fact in facts if fact.get("outcome") not in NOT_THE_FAILURE and fact.get("with") != "patch")
    if field is Field.RATE:  # "succeeded 16 times" is no rate of the fault where one is told
        return tuple(fact for fact in facts if not fact.value.startswith("0/")) or facts
    if field is Field.TIMESTAMPS:
        return tuple(fact for fact in facts if fact.value != "fine") or facts
    if field is Field.DATE:
        own = tuple(fact for fact in facts if fact.get("of") != "quotation")
        return own[:1] or (max(facts, key=lambda fact: fact.value),) if facts else ()
    return tuple(fact for fact in facts if not _covered(fact, facts))


def _covered(fact: Fact, facts: Sequence[Fact]) -> bool:
    """Whether another candidate says the same and more: "x86_64" beside "x86", "clang 12.0.0" beside "clang"."""
    others = {other.value for other in facts} - {fact.value}
    if fact.field is Field.ARCH:
        return fact.value == "x86" and bool(others & {"x86_64", "i386"})
    if fact.field in (Field.COMPILER, Field.LTO, Field.LINKER):
        general = fact.value in ("clang", "gcc", "lld") and any(other.startswith(f"{fact.value} ") for other in others)
        return general or (fact.field is Field.LTO and fact.value == "clang" and bool(others))
    return False


def _best(facts: Sequence[Fact], reporter: str) -> Pick:
    if len({fact.value for fact in facts}) == 1:
        surest = min(facts, key=lambda fact: ORDER[fact.certainty])
        return Pick(fact=surest, rule="only")
    often = Counter(fact.value for fact in facts)
    scores: dict[str, Callable[[Fact], int]] = {
        "of-the-reporter": lambda fact: not reporter or fact.by != reporter,
        "surest": lambda fact: ORDER[fact.certainty],
        "most-said": lambda fact: -often[fact.value],
    }
    left = list(facts)
    for rule, score in scores.items():
        best = min(score(fact) for fact in left)
        left = [fact for fact in left if score(fact) == best]
        if len({fact.value for fact in left}) == 1:
            return Pick(fact=left[0], rule=rule)
    return Pick(fact=left[0], rule="first")
