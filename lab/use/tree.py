"""A source tree that is looked into: which one is meant, its files without following links, its Kconfig files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.environment import source as sources
from lab.environment.cache import Holds
from lab.environment.source import Say, Tree
from lab.errors import EnvironmentFault, Untestable, UsageError
from lab.evidence import text as files
from lab.model import DebianSource, DirSource, GitSource, Patch, Source
from lab.repro import kernels
from lab.repro.hunks import TreeFile
from lab.repro.kernels import Given
from lab.settings import Settings
from lab.tables import Tables

TREE_FILE_BYTES_MAX = 4 << 20
KCONFIG_FILES_MAX = 4000
KCONFIG_BYTES_MAX = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Where trees come from in one call. holds: what was prepared stays in the cache until they are closed."""

    settings: Settings
    say: Say
    holds: Holds

    def at_hand(self, source: Source, *, fetch: bool) -> tuple[Tree | None, str]:
        """Return the unpatched tree, or None and why it is not at hand. fetch: whether a package may be fetched for it."""
        try:
            if isinstance(source, DebianSource) and not fetch:
                tree = sources.cached(source, self.settings, self.holds)
                return tree, "" if tree else "it is not in the cache, and nothing asked for fetching it"
            return sources.prepare(source, self.settings, self.say, self.holds), ""
        except EnvironmentFault as error:
            return None, f"it cannot be fetched now: {error.message}"

    def patched(self, tree: Tree, patches: tuple[Patch, ...]) -> tuple[Tree | None, str]:
        """Return a tree with patches, or None and what patch says."""
        try:
            return sources.patched(tree, patches, self.settings, self.say, self.holds), ""
        except (Untestable, UsageError) as error:
            return None, f"{error.message}; " + "; ".join(text for _, text in error.facts[:2])


def given(text: str, tables: Tables) -> Given:
    """Return a source as it is named on the command line: a release or package at hand, a folder, or REPOSITORY@REVISION.

    Raises UsageError if it is none of them.
    """
    row = next((row for row in tables.kernel.values() if text in (row.name, row.package)), None)
    if row is not None:
        return Given(
            source=DebianSource(package=row.package, suite=row.suite), version=row.name, toolchains=row.toolchains
        )
    if version := sources.version_of(Path(text)):
        return Given(
            source=DirSource(path=str(Path(text).absolute())), version=version, toolchains=_of_version(version, tables)
        )
    repository, at, rev = text.rpartition("@")
    if at and rev and ("://" in repository or Path(repository).is_dir()):
        place = repository if "://" in repository else str(Path(repository).absolute())
        version = rev.removeprefix("v") if kernels.release_of(rev) else ""
        return Given(
            source=GitSource(repository=place, rev=rev), version=version, toolchains=_of_version(version, tables)
        )
    raise UsageError(
        f"no such source: {text!r}",
        facts=(("at hand", ", ".join(tables.kernel)),),
        hint="or the folder of a kernel tree, or REPOSITORY@REVISION",
    )


def _of_version(version: str, tables: Tables) -> tuple[str, ...]:
    """Return the toolchains of the release at hand that is nearest to a version, () if that is not known."""
    release = kernels.release_of(version)
    if not release:
        return ()
    nearest = min(tables.kernel.values(), key=lambda row: abs(kernels.ordinal(row.name) - kernels.ordinal(release)))
    return nearest.toolchains


def reader(tree: Tree) -> Callable[[str], TreeFile]:
    """Return what reads a tree's files: only plain ones of bounded size, and through no link."""

    def read_one(path: str) -> TreeFile:
        at = tree.path
        for part in path.split("/"):
            at = at / part
            if at.is_symlink():
                return TreeFile(why=f"{path!r} is reached by a symbolic link")
        try:
            with files.opened(at) as stream:
                data = files.bytes_of(stream, TREE_FILE_BYTES_MAX + 1)
        except (OSError, ValueError):
            return TreeFile(why=f"{path!r} is no plain file" if at.exists() else "")
        if len(data) > TREE_FILE_BYTES_MAX:
            return TreeFile(why=f"{path!r} is too large")
        try:
            return TreeFile(text=data.decode("utf-8"))
        except UnicodeDecodeError:
            return TreeFile(why=f"{path!r} is not UTF-8 text")

    return read_one


def kconfig_texts(tree: Path, srcarch: str) -> Iterator[str]:
    """Yield the Kconfig files of a tree; of architectures only those of one."""
    room, count = KCONFIG_BYTES_MAX, 0
    for folder, folders, names in os.walk(tree):
        here = Path(folder)
        if here == tree / "arch":
            folders[:] = [name for name in folders if name == srcarch]
        elif here == tree:
            folders[:] = [name for name in sorted(folders) if name not in ("Documentation", "tools", ".git")]
        for name in names:
            if name.startswith("Kconfig") and count < KCONFIG_FILES_MAX and room > 0:
                told = files.text_of(here / name, min(room, 1 << 20)) or ""
                room, count = room - len(told), count + 1
                yield told
