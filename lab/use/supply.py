"""Git repositories of this machine that workers of a fleet need: revisions pinned, and in the depot what a worker may lack."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab.environment import parcels, supplies
from lab.errors import LabError
from lab.events import Note, Sink
from lab.model import Cell, GitSource
from lab.settings import Settings
from lab.use.remote import Supply


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Commits of a repository on this machine: these, and if `since` is a commit all between it and them, itself as well."""

    repository: str
    commits: tuple[str, ...]
    since: str = ""


def pinned(cells: Sequence[Cell], settings: Settings) -> tuple[Cell, ...]:
    """Return cells whose git sources on this machine are commits: a worker asks another repository, or the same one later.

    One that is not to be had stays as it is written: who executes its cell says so.
    """
    known: dict[GitSource, GitSource] = {}
    found = []
    for cell in cells:
        source = cell.source
        if isinstance(source, GitSource) and supplies.is_local(source):
            if source not in known:
                with contextlib.suppress(LabError):
                    known[source] = replace(source, rev=supplies.commit(source, settings))
            found.append(replace(cell, source=known.get(source, source)))
        else:
            found.append(cell)
    return tuple(found)


def wanted(cells: Sequence[Cell]) -> tuple[Wanted, ...]:
    """Return what cells with pinned sources need of this machine's repositories."""
    commits: dict[str, dict[str, None]] = {}
    for cell in cells:
        if isinstance(cell.source, GitSource) and supplies.is_local(cell.source):
            commits.setdefault(cell.source.repository, {})[cell.source.rev] = None
    return tuple(Wanted(repository=name, commits=tuple(revs)) for name, revs in commits.items())


@contextlib.contextmanager
def sent(wanted: Sequence[Wanted], depot: str, settings: Settings, sink: Sink) -> Iterator[Mapping[str, Supply]]:
    """Put what workers may lack into the depot; yield it by repository. It is taken out again at the end.

    Without a depot nothing is sent: then workers must have it. What cannot be packed is told, and left to them as well.
    """
    there: dict[str, Supply] = {}
    with contextlib.ExitStack() as stack:
        for one in wanted if depot else ():
            sink(Note(at_s=time.time(), text=f"packing {one.repository} for workers that do not have it"))
            settings.cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="supply-", dir=settings.cache) as scratch:
                try:
                    pack, sha256 = supplies.packed(one.repository, one.commits, settings, Path(scratch), one.since)
                    name = f"supplies/{sha256}-{time.time_ns()}.pack"
                    parcels.Depot(depot).put(pack, name)
                except LabError as error:
                    sink(Note(at_s=time.time(), text=f"not sent: {error.message}"))
                    continue
            stack.callback(_removed, depot, name)
            there[one.repository] = Supply(name=name, sha256=sha256)
        yield there


def _removed(depot: str, name: str) -> None:
    with contextlib.suppress(LabError):  # who cannot remove it cannot do anything else about it
        parcels.Depot(depot).remove(name)
