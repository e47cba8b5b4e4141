"""One module, read once: what it exports and needs, its .modinfo, what objtool left in it, what it asks of livepatch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.evidence import livepatch, objects, objtool
from lab.evidence.elf import Elf, UnreadableError, open_elf
from lab.evidence.livepatch import Livepatch
from lab.evidence.objects import ObjectFacts
from lab.evidence.objtool import Marks


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFacts:
    """facts.unreadable says why the rest is empty. patch: None if it is no livepatch. patch_unreadable: its damage, or "".

    layout: (bytes of a word, "<" or ">"), None if unreadable.
    """

    facts: ObjectFacts
    info: tuple[tuple[str, str], ...] = ()
    marks: Marks | None = None
    patch: Livepatch | None = None
    patch_unreadable: str = ""
    layout: tuple[int, str] | None = None

    def livepatch(self) -> Livepatch | None:
        """Return what it asks of livepatch, None if it is no livepatch. Raises UnreadableError as the reader did."""
        if self.patch_unreadable:
            raise UnreadableError(self.patch_unreadable)
        return self.patch


def read(file: Path, path: str) -> ModuleFacts:
    """Read a .ko, packed or not. Never raises. path: its name in the build."""
    try:
        with open_elf(file) as elf:
            return _read(elf, path)
    except UnreadableError as error:
        facts = ObjectFacts(path=path, unreadable=str(error))
        return ModuleFacts(facts=facts, patch_unreadable=str(error))


def _read(elf: Elf, path: str) -> ModuleFacts:
    patch, trouble = None, ""
    try:
        patch = livepatch.of_elf(elf, path)
    except UnreadableError as error:
        trouble = str(error)
    return ModuleFacts(
        facts=objects.facts_of(elf, path),
        info=elf.modinfo(),
        marks=objtool.marks_of(elf),
        patch=patch,
        patch_unreadable=trouble,
        layout=(8 if elf.is_64 else 4, elf.byte_order),
    )
