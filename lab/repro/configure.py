"""The configuration that a report is tried with: a small one, what its finding needs, and what it says and can be demanded."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lab.repro import kernels
from lab.repro.choose import Ask, Choices
from lab.repro.extract import TELLING, Report
from lab.repro.facts import Fact, Field
from lab.tables import Tables

DECIDED = frozenset({"64BIT", "MODULES", "KALLSYMS", "CC_VERSION_TEXT", "GCC_VERSION", "CLANG_VERSION", "LD_IS_LLD"})
"""Symbols that other axes or fragments decide, or the compiler itself."""
SUITS = (
    ("kallsyms.", ("lab:kallsyms",)),
    ("livepatch.", ("lab:livepatch",)),
    ("objtool.", ("lab:static-call",)),
    ("modpost.", ("CONFIG_MODULES=y",)),
    ("timestamps.", ("lab:trim",)),
    ("boot.", ("CONFIG_MODULES=y",)),
)
"""What shows the findings of a family where no fix of the table says it."""

SymbolSays = Mapping[str, str]
"""Name of a symbol -> why the source cannot have it, "" if it can. A name that is missing was not looked up."""


def symbols_of(report: Report) -> dict[str, Fact]:
    """Return what a report says of symbols, the surest of each name. What it was without a fault is not asked for."""
    told: dict[str, Fact] = {}
    for fact in report.of(Field.CONFIG):
        if fact.get("outcome"):
            continue
        name = fact.value.removeprefix("CONFIG_").partition("=")[0]
        if name not in told or (fact.certainty == "stated" and told[name].certainty != "stated"):
            told[name] = fact
    return told


def configure(told: Choices, report: Report, picks: Ask, tables: Tables, says: SymbolSays) -> None:
    """Choose the configuration. says: what the source's Kconfig files say of the report's symbols."""
    told.kconfig = ["tinyconfig", "lab:boot"]
    told.take("kconfig", "tinyconfig, lab:boot", "kconfig-small")
    chosen, ids = told.chosen, kernels.finding_ids(report)
    wanted = list(chosen.fix.kconfig) if chosen.fix else []
    wanted += list(chosen.undo.kconfig) if chosen.undo else []
    wanted = wanted or list(
        dict.fromkeys(one for prefix, some in SUITS for one in some if any(id_.startswith(prefix) for id_ in ids))
    )
    if wanted:
        told.kconfig += wanted
        told.take(
            "kconfig", ", ".join(wanted), "kconfig-of-finding", chosen.fix.name if chosen.fix else ", ".join(ids[:3])
        )
    known = _requested(told, tables)
    for name, fact in symbols_of(report).items():
        _symbol(told, name, fact, known, says)
    if base := picks.get(Field.CONFIG_BASE):
        told.miss(
            "configuration", f"{base.fact.value}: a small one is built instead, with what the finding needs", base.fact
        )
    for config in report.configs:
        left = sum(name not in TELLING for name in config.symbols)
        told.miss(
            ".config",
            f"{left} symbols of {config.part or config.file} are not demanded: another version does not have all of them",
        )


def _requested(told: Choices, tables: Tables) -> set[str]:
    """Return the names of the symbols that the fragments decide already."""
    texts = []
    for item in told.kconfig:
        name = item.removeprefix("lab:")
        texts.append(
            tables.kconfig.get(name, "") + tables.kconfig_further.get(name, {}).get(told.arch, "")
            if item != name
            else item
        )
    return set(re.findall(r"CONFIG_(\w+)", "\n".join(texts)))


def _symbol(told: Choices, name: str, fact: Fact, known: set[str], says: SymbolSays) -> None:
    """Demand one symbol of the report, or say why not."""
    value = fact.value.partition("=")[2]
    if name in known or name in DECIDED or name.startswith("LTO_") or not re.fullmatch(r"[A-Za-z0-9_]{1,80}", name):
        return
    if name not in TELLING and not (told.chosen.fix and name in told.chosen.fix.symbols):
        told.miss(
            f"CONFIG_{name}={value}",
            "not demanded: it may depend on what a small configuration lacks; add it by hand",
            fact,
        )
    elif why := says.get(name, "not looked up: the source is not at hand"):
        told.miss(f"CONFIG_{name}={value}", why, fact)
    elif value in ("y", "m", "n"):
        told.kconfig.append(f"# CONFIG_{name} is not set" if value == "n" else f"CONFIG_{name}={value}")
        told.take("kconfig", fact.value, "kconfig-said", "", fact)
