"""Find and take away what a killed lab left: containers, mounts, loop devices, scratch folders; on request also caches."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.environment import filesystem, image
from lab.environment.engine import Engine
from lab.errors import LabError
from lab.events import Note, Sink
from lab.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How much was taken away. trouble: one line for each thing that would not go."""

    containers: int = 0
    scratch_folders: int = 0
    mounts: int = 0
    images: int = 0
    bytes: int = 0
    trouble: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there was anything."""
        return bool(self.containers or self.scratch_folders or self.images or self.bytes or self.trouble)


def dead_work(settings: Settings, engine: Engine | None, sink: Sink) -> Swept:
    """Sweep what belongs to no living lab. Two labs may sweep at once; each folder is taken by one of them.

    A mount needs its helper image only where this user may not mount; without an engine only mounts of ours are undone.
    """
    containers, folders, mounts = 0, 0, 0
    trouble: list[str] = []
    if engine is not None:
        for container in engine.left_behind():
            engine.remove_container(container)
            containers += 1
    helper = next((built.id for built in image.listed(engine)), "") if engine and not settings.may_mount else ""
    for folder in filesystem.dead(settings):
        owner = folder / "owner"
        try:
            descriptor = os.open(owner, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another lab was faster
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mounts += len(filesystem.mounts_below(folder))
            filesystem.take_away(folder, settings, engine, helper)
            folders += 1
        except BlockingIOError:
            continue
        except LabError as error:
            trouble.append(str(error))
        finally:
            os.close(descriptor)
    swept = Swept(containers=containers, scratch_folders=folders, mounts=mounts, trouble=tuple(trouble))
    if swept:
        sink(
            Note(
                text=f"swept what a killed lab left: {containers} containers, {folders} scratch folders, {mounts} mounts"
            )
        )
    return swept


def caches(settings: Settings, engine: Engine | None, *, images: bool) -> Swept:
    """Remove sources, downloads, compiler caches and package lists, and with `images` the engine's images of ours."""
    freed, count = 0, 0
    for name in ("sources", "downloads", "ccache", "apt", "locks"):
        folder = settings.cache / name
        freed += _bytes_below(str(folder))
        shutil.rmtree(folder, ignore_errors=True)
    if images and engine is not None:
        for built in image.listed(engine):
            engine.remove_image(built.id)
            count += 1
            freed += built.bytes
    return Swept(images=count, bytes=freed)


def _bytes_below(folder: str) -> int:
    """Add up what files take on disk; hard links count once."""
    seen: set[int] = set()
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                facts = Path(root, name).lstat()
                if facts.st_ino not in seen:
                    seen.add(facts.st_ino)
                    total += facts.st_blocks * 512
    return total
