"""What a running kernel says of a livepatch that it refuses. Source: kernel/livepatch/core.c, 5.10 to 7.2."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.evidence.log_facts import KlpKind

NEEDLE = "livepatch: "
LIMIT = 100
FORMS: tuple[tuple[KlpKind, re.Pattern[str]], ...] = (
    (KlpKind.SYMBOL, re.compile(r"symbol '(?P<symbol>[^']+)' not found in symbol table")),
    (
        KlpKind.POSITION,
        re.compile(r"unresolvable ambiguity for symbol '(?P<symbol>[^']+)' in object '(?P<object>[^']+)'"),
    ),
    (
        KlpKind.POSITION,
        re.compile(
            r"symbol position (?P<position>\d{1,9}) for symbol '(?P<symbol>[^']+)' in object '(?P<object>[^']+)' not found"
        ),
    ),
    (KlpKind.SYMBOL, re.compile(r"kallsyms size lookup failed for '(?P<symbol>[^']+)'")),
    (
        KlpKind.FORMAT,
        re.compile(r"symbol (?P<symbol>\S+) (?:at rela sec \d+ idx \d+ )?is not marked as a livepatch symbol"),
    ),
    (KlpKind.FORMAT, re.compile(r"(?:symbol|section) (?P<symbol>\S+) has an incorrectly formatted name")),
    (
        KlpKind.FORMAT,
        re.compile(r"invalid access to vmlinux symbol '(?P<symbol>[^']+)' from module-specific livepatch relocation"),
    ),
    (KlpKind.FORMAT, re.compile(r"module (?P<module>\S+) is not marked as a livepatch module")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One line of livepatch. object: "vmlinux" or a module, "" if not said. position: -1 if not said."""

    at: int
    text: str
    kind: KlpKind
    symbol: str = ""
    object: str = ""
    position: int = -1


def refusal(text: str, at: int) -> Refusal | None:
    """Return what a line of the console (without printk's time) says of a refused livepatch."""
    _, found, message = text.partition(NEEDLE)
    if not found:
        return None
    for kind, form in FORMS:
        if match := form.match(message):
            said = match.groupdict()
            position = int(said["position"]) if said.get("position") else -1
            return Refusal(
                at=at, text=text, kind=kind, symbol=said.get("symbol") or "", object=said.get("object") or "",
                position=position,
            )  # fmt: skip
    return None
