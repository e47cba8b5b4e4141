"""What attempts work with: the settings, tables and engine of a run, what was prepared for a cell, and its place on disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import kbuild
from lab.boot import machine
from lab.environment import filesystem
from lab.environment.engine import Engine
from lab.environment.filesystem import Granularity, Scratch
from lab.environment.image import BuiltImage
from lab.environment.source import Tree
from lab.environment.worktree import Worktree
from lab.errors import EnvironmentFault
from lab.events import Sink
from lab.model import Amplify, Cell
from lab.settings import Settings
from lab.tables import Tables

RULES = "amplification"  # in /lab: what lab/data/bin/amplify reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every attempt of a run works with. accel: decided once a run. clock: seconds since the epoch."""

    settings: Settings
    tables: Tables
    engine: Engine
    sink: Sink
    stop: threading.Event
    accel: machine.Accel = machine.Accel.TCG
    clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What shared jobs prepared for an attempt.

    boot, guest: None when the cell is only built. mount: has mkfs and the mount helper, None where neither is needed.
    tools: has the native programs that stand in for those of `build`, None if none do. worktree: what `tree` lies in if a build
    goes on from the last one, else None.
    """

    tree: Tree
    build: BuiltImage
    boot: BuiltImage | None
    guest: BuiltImage | None = None
    mount: BuiltImage | None = None
    tools: BuiltImage | None = None
    worktree: Worktree | None = None

    @property
    def compiler(self) -> str:
        """What tells its compiler from another: a cache of one is never read by the other."""
        return self.build.id + (self.tools.id if self.tools else "")

    @property
    def ccache_name(self) -> str:
        """The name of the folder of the compiler cache: that of the compilers' images."""
        return "-".join(one.key for one in (self.build, self.tools) if one is not None)

    @property
    def helper(self) -> str:
        """The id of the image that makes, mounts and watches the filesystem."""
        return (self.mount or self.build).id


@contextlib.contextmanager
def laid_out(bench: Bench, name: str, cell: Cell, inputs: Inputs) -> Iterator[tuple[Scratch, Granularity]]:
    """Make the scratch folder of a cell, with what /lab shows and its filesystem mounted; all of it goes at the end."""
    row, settings, engine = bench.tables.filesystem[cell.filesystem], bench.settings, bench.engine
    with filesystem.scratch(name, settings, engine, inputs.helper) as place:
        _lay_out(place, settings, kbuild.kconfig_files(cell))
        _lay_out_amplify(place, settings, wrappers(bench, cell))
        base = bench.tables.base_of(row)
        with filesystem.mounted(row, place, settings, engine, inputs.helper, base) as granularity:
            if inputs.worktree is not None:
                inputs.worktree.seed(place.out)
            yield place, granularity


def _lay_out(place: Scratch, settings: Settings, fragments: tuple[tuple[str, str], ...]) -> None:
    """Put what /lab shows inside into place: wrappers that come first in PATH, and the fragments of the configuration."""
    (place.lab / "bin").mkdir()
    shutil.copy(settings.data / "bin" / "cmp", place.lab / "bin" / "cmp")
    (place.lab / "kconfig").mkdir()
    for name, text in fragments:
        (place.lab / "kconfig" / name).write_text(text)


def wrappers(bench: Bench, cell: Cell) -> Amplify:
    """Return what a cell amplifies, with the names of programs."""
    return kbuild.amplified(cell, bench.tables.arch[cell.arch], bench.tables.toolchain[cell.toolchain])


def _lay_out_amplify(place: Scratch, settings: Settings, wanted: Amplify) -> None:
    """Put the wrappers that make races likelier where /lab shows them, and what they are to do."""
    if not wanted:
        return
    folder = place.lab / Path(kbuild.AMPLIFY).name
    folder.mkdir()
    for name in kbuild.amplify_names(wanted):
        shutil.copy(settings.data / "bin" / "amplify", folder / name)
    (place.lab / RULES).write_text(kbuild.amplify_rules(wanted))


def give_to_build(path: Path, settings: Settings) -> None:
    """Make the build's user the owner of a folder. Raises EnvironmentFault (infra.host)."""
    if path.stat().st_uid != settings.uid:
        try:
            os.chown(path, settings.uid, settings.gid)
        except PermissionError as error:
            raise EnvironmentFault(f"cannot give {str(path)!r} to the build's user", finding="infra.host") from error
