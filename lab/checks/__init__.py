"""The checks: Evidence in, Findings out, nothing else.

A check is a function `check(evidence) -> Iterable[Finding | NotApplicable]` in a leaf module of this package; the registry
is the tuple below, in the order in which findings are told, plus the entry-point group "lab.checks".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lab.evidence.bundle import Evidence
from lab.model import Finding, NotApplicable

CheckFunction = Callable[[Evidence], Iterable[Finding | NotApplicable]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One leaf. name: the family ("modpost"); ids: every finding id it can yield."""

    name: str
    ids: tuple[str, ...]
    run: CheckFunction
