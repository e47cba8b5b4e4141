"""What kind of folder somebody gave: an output directory, an attempt's evidence folder, a distribution's kernel."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from lab.errors import UsageError
from lab.evidence import distribution

_ATTEMPT_FILES = ("record.json", "commands.jsonl", "mtimes.tsv")
_OUTPUT_FILES = (
    ".config", "include/config/auto.conf", "include/generated/autoconf.h", "vmlinux", "vmlinux.o", "Module.symvers",
    "modules.order",
)  # fmt: skip
_MODULES = (".ko", ".klp.o")
MODULES_LIMIT, ENTRIES_LIMIT = 20_000, 100_000
_BARE_FILES = ("build.txt", "console.txt", "config.txt", "steps.json", "result.json")


class Shape(Enum):
    """What kind of folder the evidence is."""

    OUTPUT = "output directory"
    ATTEMPT = "evidence folder"
    DISTRIBUTION = "distribution kernel"


def shape_of(root: Path) -> Shape:
    """Find out what a folder is from what it holds, whatever its name. Raises UsageError if it is none of them."""
    return located(root)[0]


def located(root: Path, release: str = "") -> tuple[Shape, Path, distribution.Kernel | None]:
    """Return what a folder is, where its evidence begins, and which distribution kernel it is.

    release: which kernel is meant if there are several. Raises UsageError if the folder is none of the shapes, if it holds
    several kernels and none is named, or if it is no distribution's kernel and one is named.
    """
    if not root.is_dir():
        raise UsageError(f"no folder '{root}'", hint="give the folder that the file is in" if root.is_file() else "")
    shape = _built(root, (Shape.ATTEMPT, _ATTEMPT_FILES), (Shape.OUTPUT, _OUTPUT_FILES))
    installed = root.absolute().parent.name == "modules"  # lib/modules/RELEASE has a modules.order, too
    if shape is None or installed:
        kernel = distribution.found(root, release)
        if kernel is not None:
            return Shape.DISTRIBUTION, *kernel
    shape = shape or _built(root, (Shape.ATTEMPT, _BARE_FILES)) or (Shape.OUTPUT if _has_modules(root) else None)
    if shape is not None:
        if release:
            raise UsageError(f"'{root}' is an {shape.value}: it has one kernel, and --release names one of several")
        return shape, root, None
    raise UsageError(
        f"'{root}' is neither a kernel's output directory nor an evidence folder nor a distribution's kernel",
        facts=(
            ("output", "has none of " + ", ".join(_OUTPUT_FILES) + ", and no linked module"),
            ("folder", "has none of " + ", ".join(_ATTEMPT_FILES)),
            ("kernel", "has no boot/vmlinuz-RELEASE and no lib/modules/RELEASE/"),
        ),
        hint="give the directory that O= named, results/<run>/<cell>/<attempt>, or where packages were unpacked",
    )


def _built(root: Path, *shapes: tuple[Shape, tuple[str, ...]]) -> Shape | None:
    return next((shape for shape, names in shapes if any((root / name).is_file() for name in names)), None)


def linked_modules(paths: Iterable[str]) -> tuple[str, ...]:
    """Return those of a folder's files that are linked modules, or objects linked for klp-convert, in order."""
    return tuple(itertools.islice(sorted(path for path in paths if path.endswith(_MODULES)), MODULES_LIMIT))


def _has_modules(root: Path) -> bool:
    """Whether modules lie in the folder itself."""
    return any(entry.name.endswith(_MODULES) for entry in itertools.islice(root.iterdir(), ENTRIES_LIMIT))
