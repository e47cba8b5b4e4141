"""Shared work ahead of a run, and cleaning up after one: images, sources, sweeping."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

from lab.environment import engine as engines
from lab.environment import image as image_room
from lab.environment import source
from lab.environment.image import BuiltImage
from lab.environment.source import Tree
from lab.errors import LabError, UsageError
from lab.events import Note, Sink
from lab.model import Cell
from lab.settings import Settings
from lab.tables import Image, Tables
from lab.use import sweep
from lab.use.sweep import Swept


def images(settings: Settings, tables: Tables, names: Iterable[str], sink: Sink) -> tuple[BuiltImage, ...]:
    """Build the named images, or all that are defined."""
    rows = [_row(tables, name) for name in names] or list(tables.image.values())
    with engines.connect(settings) as engine:
        return tuple(image_room.prepare(row, engine, settings, _speaker(sink, row.name)) for row in rows)


def image(settings: Settings, tables: Tables, name: str) -> BuiltImage:
    """Return one image as the engine has it. Raises UsageError if it is not defined or not built."""
    with engines.connect(settings) as engine:
        found = image_room.find(_row(tables, name), engine)
    if found is None:
        raise UsageError(f"image {name!r} is not built", hint=f"lab image build {name}")
    return found


def image_rows(settings: Settings, tables: Tables) -> tuple[tuple[str, str], ...]:
    """Return (name, state) of every definition, and of images that no definition asks for any more."""
    wanted = {image_room.tag_of(row) for row in tables.image.values()}
    rows = []
    with engines.connect(settings) as engine:
        for row in tables.image.values():
            built = image_room.find(row, engine)
            rows.append((row.name, f"{built.id[:19]} {built.bytes >> 20} MiB" if built else "not built"))
        stale = [built for built in image_room.listed(engine) if built.tag not in wanted]
    return (*rows, *((built.name, f"{built.id[:19]} outdated: its definition has changed") for built in stale))


def prune(settings: Settings, tables: Tables) -> tuple[str, ...]:
    """Remove images whose definition has changed or gone; returns their tags."""
    wanted = {image_room.tag_of(row) for row in tables.image.values()}
    with engines.connect(settings) as engine:
        stale = [built.tag for built in image_room.listed(engine) if built.tag not in wanted]
        for tag in stale:
            engine.remove_image(tag)
    return tuple(stale)


def sources(settings: Settings, cells: Iterable[Cell], sink: Sink) -> tuple[Tree, ...]:
    """Prepare every tree that these cells need, each once."""
    trees = {}
    for cell in cells:
        key = source.key_of(cell.source, cell.patches)
        if key not in trees:
            say = _speaker(sink, "source")
            trees[key] = source.patched(source.prepare(cell.source, settings, say), cell.patches, settings, say)
    return tuple(trees.values())


def cached(settings: Settings) -> tuple[tuple[str, str, int], ...]:
    """Return (key, version, last use in seconds) of the trees in the cache."""
    return source.listed(settings)


def clean(
    settings: Settings, sink: Sink, *, caches: bool = False, images: bool = False, older_s: float | None = None
) -> Swept:
    """Sweep what dead labs left; with `caches` and `images` also what living ones would have to make again.

    older_s: what was not used for so many seconds, of caches and images alike. Without either of the three, only what goes
    beyond the budget. What somebody uses stays.
    """
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(engines.connect(settings))
        except LabError:
            engine = None  # mounts and folders can go without one; its containers went with it
        swept = sweep.dead_work(settings, engine, sink)
        if caches or images:
            freed = sweep.caches(settings, engine, images=images)
        elif older_s is not None:
            freed = sweep.unused(settings, engine, older_s)
        else:
            freed = sweep.to_budget(settings, engine, sink)
    return Swept(
        containers=swept.containers,
        scratch_folders=swept.scratch_folders,
        mounts=swept.mounts,
        images=freed.images,
        caches=freed.caches,
        bytes=freed.bytes,
        trouble=(*swept.trouble, *freed.trouble),
    )


def _row(tables: Tables, name: str) -> Image:
    row = tables.image.get(name)
    if row is None:
        raise UsageError(f"no image is called {name!r}", facts=(("known", ", ".join(tables.image)),))
    return row


def _speaker(sink: Sink, subject: str) -> image_room.Say:
    return lambda words: sink(Note(at_s=time.time(), text=f"{subject}: {words}"))
