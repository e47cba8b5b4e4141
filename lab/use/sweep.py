"""Find and take away what a killed lab left: containers, mounts, loop devices, scratch folders; on request also caches."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from lab.environment import cache, filesystem, image
from lab.environment.cache import Entry
from lab.environment.engine import Engine
from lab.errors import LabError
from lab.events import Note, Sink
from lab.settings import Settings

COUNTED = "counted.json"  # in the cache: what its entries took when they were counted last
COUNT_EVERY_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How much was taken away. caches: entries of the cache folder. trouble: one line for each thing that would not go."""

    containers: int = 0
    scratch_folders: int = 0
    mounts: int = 0
    images: int = 0
    caches: int = 0
    bytes: int = 0
    trouble: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there was anything."""
        return bool(self.containers or self.scratch_folders or self.images or self.caches or self.trouble)

    def __add__(self, other: Swept) -> Swept:
        return Swept(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})


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
    found = [*cache.entries(settings), *(_images(settings, engine) if images else ())]
    return _removed(settings, engine, found)


def unused(settings: Settings, engine: Engine | None, older_s: float) -> Swept:
    """Remove what was used last more than so many seconds ago."""
    until = time.time() - older_s
    found = [*cache.entries(settings), *_images(settings, engine)]
    return _removed(settings, engine, [entry for entry in found if entry.used_at_s < until])


def to_budget(settings: Settings, engine: Engine | None, sink: Sink, *, recount: bool = False) -> Swept:
    """Remove what was not used for longest until caches and images take no more than the budget allows.

    recount: count even if an earlier count and what the disk gained since say that there is room.
    """
    budget = settings.cache_budget_bytes
    images = _images(settings, engine)
    of_images = sum(images.values())
    if not budget or not settings.cache.is_dir() or _at_most(settings.cache, recount=recount) + of_images <= budget:
        return Swept()
    found = sorted((*cache.entries(settings), *images), key=lambda entry: entry.used_at_s)
    usage = cache.Usage(tuple(found))
    gone = Swept()
    for entry in found:
        if usage.bytes + of_images <= budget:
            break
        one = _removed(settings, engine, [entry], usage)
        of_images -= images.get(entry, 0) if one.images else 0
        gone = gone + one
    _note_count(settings.cache, usage.bytes)
    if gone:
        words = f"{gone.caches} caches and {gone.images} images, {gone.bytes >> 20} MiB"
        sink(Note(text=f"removed what was not used for longest: {words}; the budget is {budget >> 20} MiB"))
    return gone


def _removed(
    settings: Settings, engine: Engine | None, found: Sequence[Entry], usage: cache.Usage | None = None
) -> Swept:
    """Remove those that nobody uses and say how much that freed."""
    usage = usage or cache.Usage(tuple(found))
    sizes = _images(settings, engine) if any(entry.path is None for entry in found) else {}
    folders, images, freed = 0, 0, 0
    trouble: list[str] = []
    for entry in found:
        try:
            if entry.path is not None and cache.remove(settings, entry):
                folders += 1
                freed += usage.without(entry)
            elif entry.path is None and engine is not None and _image_removed(settings, engine, entry):
                images += 1
                freed += sizes.get(entry, 0)
        except (LabError, OSError) as error:
            trouble.append(str(error))
    cache.empty_trash(settings)
    return Swept(caches=folders, images=images, bytes=freed, trouble=tuple(trouble))


def _images(settings: Settings, engine: Engine | None) -> dict[Entry, int]:
    """Return the engine's images of ours and their bytes."""
    built = image.listed(engine) if engine is not None else ()
    return {
        Entry(kind=cache.IMAGES, name=one.key, used_at_s=cache.last_use_s(settings, cache.IMAGES, one.key)): one.bytes
        for one in built
    }


def _image_removed(settings: Settings, engine: Engine, entry: Entry) -> bool:
    return all(image.removed(built, engine, settings) for built in image.listed(engine) if built.key == entry.name)


def _at_most(folder: Path, *, recount: bool) -> int:
    """Return what the caches take at most, without counting: a million files take minutes on a busy disk.

    That is all that the disk holds, or what was counted within a day and what the disk has gained since. Who frees other room
    on it in the meantime can hide growth for that day.
    """
    used = _used_bytes(folder)
    try:
        noted = json.loads((folder / COUNTED).read_text())
        if not recount and 0 <= time.time() - noted["at_s"] < COUNT_EVERY_S:
            return min(used, int(noted["bytes"]) + max(0, used - int(noted["disk_bytes"])))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return used


def _note_count(folder: Path, counted: int) -> None:
    noted = {"at_s": time.time(), "bytes": counted, "disk_bytes": _used_bytes(folder)}
    with contextlib.suppress(OSError):
        (folder / COUNTED).write_text(json.dumps(noted))


def _used_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize
