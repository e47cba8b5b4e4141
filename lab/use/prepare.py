"""Shared work ahead of a run, and cleaning up after one: images, sources, sweeping."""

from __future__ import annotations

import contextlib
import difflib
import time
from collections.abc import Iterable
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """One line of `lab image list`. state: current, outdated (its definition has changed or gone), not built.

    packages: how many are in it; bytes, releases: as in BuiltImage; 0 and {} if it is not built.
    """

    name: str
    state: str
    suite: str
    arch: str
    snapshot: str
    key: str
    packages: int
    bytes: int
    releases: dict[str, str]


def images(settings: Settings, tables: Tables, names: Iterable[str], sink: Sink) -> tuple[BuiltImage, ...]:
    """Build the named images."""
    rows = [_row(tables, name) for name in names]
    with engines.connect(settings) as engine:
        return tuple(image_room.prepare(row, engine, settings, _speaker(sink, row.name)) for row in rows)


def image(settings: Settings, tables: Tables, name: str) -> BuiltImage:
    """Return one image as the engine has it. Raises UsageError if it is not defined or not built."""
    with engines.connect(settings) as engine:
        found = image_room.find(_row(tables, name), engine)
    if found is None:
        raise UsageError(f"image {name!r} is not built", hint=f"lab image build {name}")
    return found


def image_rows(settings: Settings, tables: Tables) -> tuple[ImageRow, ...]:
    """Return every definition in the order of the files, then images that no definition asks for any more."""
    wanted = {image_room.tag_of(row): row for row in tables.image.values()}
    with engines.connect(settings) as engine:
        built = {one.tag: one for one in image_room.listed(engine)}
    rows = [_image_row(name=row.name, row=row, built=built.get(tag)) for tag, row in wanted.items()]
    return (*rows, *(_image_row(name=one.name, row=None, built=one) for tag, one in built.items() if tag not in wanted))


def _image_row(name: str, row: Image | None, built: BuiltImage | None) -> ImageRow:
    state = "not built" if built is None else "outdated" if row is None else "current"
    return ImageRow(
        name=name,
        state=state,
        suite=row.suite if row else built.suite if built else "",
        arch=row.debian_arch if row else "",
        snapshot=row.snapshot if row else built.snapshot if built else "",
        key=image_room.key_of(row) if row else built.key if built else "",
        packages=len(built.packages) if built else 0,
        bytes=built.bytes if built else 0,
        releases=built.releases if built else {},
    )


def prune(settings: Settings, tables: Tables) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Remove images whose definition has changed or gone; returns the tags of those, and of what a living lab holds."""
    wanted = {image_room.tag_of(row) for row in tables.image.values()}
    gone: list[str] = []
    kept: list[str] = []
    with engines.connect(settings) as engine:
        for built in image_room.listed(engine):
            if built.tag not in wanted:
                (gone if image_room.removed(built, engine, settings) else kept).append(built.tag)
    return tuple(gone), tuple(kept)


def sources(settings: Settings, cells: Iterable[Cell], sink: Sink) -> tuple[Tree, ...]:
    """Prepare every tree that these cells need, each once."""
    trees = {}
    for cell in cells:
        if cell.impossible:
            continue
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
            freed = sweep.to_budget(settings, engine, sink, recount=True)
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
        near = difflib.get_close_matches(name, tables.image, n=3) or list(tables.image)[:5]
        raise UsageError(
            f"no image is called {name!r}",
            facts=(("looked in", "images/"), ("known", ", ".join([*near, "…"]))),
            hint="`lab image list` shows them all",
        )
    return row


def _speaker(sink: Sink, subject: str) -> image_room.Say:
    return lambda words: sink(Note(at_s=time.time(), text=f"{subject}: {words}"))
