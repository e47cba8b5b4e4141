"""What a source's Kconfig files say of the symbols that a report gives values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lab import kconfig


def says(names: Iterable[str], texts: Iterable[str], arch: str) -> Mapping[str, str]:
    """Return for each name why the source cannot have it set, "" if its files do not rule it out.

    texts: of the Kconfig files of the tree, without those of other architectures. arch: make's ARCH=.
    """
    rules = kconfig.rules(texts, arch)
    return {name: _why(name, rules) for name in names}


def _why(name: str, rules: kconfig.Rules) -> str:
    symbol = rules.symbols.get(name)
    if symbol is None or not (symbol.prompts or symbol.defaults or symbol.depends):
        return f"this source has no CONFIG_{name}"
    if not symbol.prompts:
        return "nobody is asked for it: it follows from others"
    if rules.value(name) is False:
        return f"it depends on what this source rules out for {rules.arch}: {' && '.join(symbol.depends)[:120]}"
    return ""
