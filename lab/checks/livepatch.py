"""Symbols that livepatch modules ask for: two positions that one link merged, positions that the kernel does not have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lab.evidence import livepatch, symbols
from lab.evidence.bundle import Evidence
from lab.evidence.elf import UnreadableError, open_elf
from lab.evidence.livepatch import Asked, Livepatch
from lab.evidence.symbols import Listing
from lab.evidence.text import clean
from lab.model import Finding, NotApplicable, Severity, Span

IDS = ("livepatch.conflict", "livepatch.position", "livepatch.symbol", "livepatch.format")
MAX_FINDINGS = 100


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield what is wrong with each livepatch module, conflicts first."""
    found, unreadable = [], 0
    for module in evidence.modules:
        if module.file is None:
            continue
        try:
            patch = module.read.livepatch() if module.read is not None else livepatch.read(module.file, module.path)
        except UnreadableError as error:
            unreadable += 1
            yield NotApplicable(check="livepatch", because=f"cannot read {clean(module.path)}: {clean(str(error))}")
            continue
        if patch is not None:
            found.append(patch)
    if not found and not unreadable:
        yield NotApplicable(check="livepatch", because="no module of this build is a livepatch", natural=True)
    kernel = _Kernel(evidence)
    for patch in found:
        yield from _conflicts(patch)
        yield from _asked(patch, kernel)
        yield from _format(patch)


# ------------------------------------------------------------------------------------------------------- conflicts


def _conflicts(patch: Livepatch) -> Iterator[Finding]:
    """Yield symbols of one object that are wanted at different positions but were merged into fewer undefined symbols.

    The same wish twice is harmless, and so is the same name in another object: those can be told apart.
    """
    wishes: dict[tuple[str, str], list[int]] = {}
    for one in patch.annotated:
        positions = wishes.setdefault((one.object, one.symbol), [])
        if one.position not in positions:
            positions.append(one.position)
    left = dict(patch.undefined)
    for (owner, symbol), positions in wishes.items():
        if len(positions) > max(left.get(symbol, 0), 1):
            yield _conflict(patch, owner, symbol, positions, left.get(symbol, 0))


def _conflict(patch: Livepatch, owner: str, symbol: str, positions: list[int], left: int) -> Finding:
    name = f"{clean(owner)}.{clean(symbol)}"
    return Finding(
        id="livepatch.conflict",
        severity=Severity.FAIL,
        title=f"conflicting positions of {name}",
        message=f"{clean(patch.path)} wants {name} at positions {' and '.join(map(str, positions))} through one symbol",
        where=Span(file=patch.path),
        blame=patch.path,
        because=(
            f"Conflicting KLP_SYMPOS definition: {name},{positions[0]} vs. {name},{positions[1]}",
            f"its objects each have an undefined '{clean(symbol)}' of their own; the link (ld -r) leaves {left} of that name",
            "a relocation names its symbol, so that nothing tells any more which position it meant",
        ),
        data={"object": owner, "symbol": symbol, "positions": positions, "undefined": left},
    )


# ------------------------------------------------------------------------------------------- against the kernel itself


class _Kernel:
    """Symbols of vmlinux and of the modules of this build, as livepatch looks them up."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._known: dict[str, Listing | None] = {}

    def _listing(self, name: str) -> Listing | None:
        if name not in self._known:
            if name == "vmlinux":
                kernel = self._evidence.kernel_symbols
                self._known[name] = kernel.listing if kernel is not None else None
            else:
                self._known[name] = self._of_module(name)
        return self._known[name]

    def _of_module(self, name: str) -> Listing | None:
        file = next((module.file for module in self._evidence.modules if module.name == name), None)
        if file is None:
            return None
        try:
            with open_elf(file) as elf:
                return symbols.of_elf(elf)
        except UnreadableError:
            return None

    def count(self, asked: Asked) -> int | None:
        """Return how many symbols of that name an object has, None if the object is not of this build."""
        listing = self._listing(asked.object)
        if listing is None:
            return None
        wanted = asked.symbol.encode("utf-8", "surrogateescape")
        near = np.flatnonzero(listing.names.lengths == len(wanted))
        return sum(listing.names.raw(index) == wanted for index in near.tolist())


def _asked(patch: Livepatch, kernel: _Kernel) -> Iterator[Finding]:
    for asked in list(dict.fromkeys((*patch.annotated, *patch.converted)))[:MAX_FINDINGS]:
        count = kernel.count(asked)
        if count is None:
            continue  # a module that is not of this build: livepatch resolves it when that is loaded
        name = f"{clean(asked.object)}.{clean(asked.symbol)}"
        data = {"object": asked.object, "symbol": asked.symbol, "position": asked.position, "count": count}
        where = Span(file=patch.path)
        if not count:
            yield Finding(
                id="livepatch.symbol",
                severity=Severity.FAIL,
                title=f"{name} does not exist",
                message=f"{clean(patch.path)} wants {name}, and {clean(asked.object)} of this build has no symbol of that name",
                where=where,
                blame=patch.path,
                because=("livepatch refuses the module: symbol not found in symbol table",),
                data=data,
            )
        elif asked.position > count or (asked.position == 0 and count > 1):
            yield Finding(
                id="livepatch.position",
                severity=Severity.FAIL,
                title=f"wrong position of {name}",
                message=f"{clean(patch.path)} wants {name} at position {asked.position}, and there are {count} of that name",
                where=where,
                blame=patch.path,
                because=(
                    "position 0 says that the name is unique: unresolvable ambiguity"
                    if asked.position == 0
                    else f"positions of this name go from 1 to {count}, in the order of addresses",
                ),
                data=data,
            )


def _format(patch: Livepatch) -> Iterator[Finding]:
    problems = list(patch.malformed)
    if patch.converted and not patch.marked:
        problems.append("modinfo does not say livepatch=Y")
    if problems:
        yield Finding(
            id="livepatch.format",
            severity=Severity.FAIL,
            title="a livepatch module against the format",
            message=f"{clean(patch.path)}: {clean(problems[0])}{f', and {len(problems) - 1} more' if problems[1:] else ''}",
            where=Span(file=patch.path),
            blame=patch.path,
            because=tuple(clean(one) for one in problems[1:6]),
            data={"problems": problems[:MAX_FINDINGS]},
        )
