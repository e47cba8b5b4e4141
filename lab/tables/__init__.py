"""The tables: lab/data/*.yaml and images/*.yaml as frozen typed rows, cross-checked; all mistakes at once."""

from __future__ import annotations

from pathlib import Path

from lab import yamltext
from lab.errors import TableError
from lab.tables.crosscheck import cross_check
from lab.tables.files import Files
from lab.tables.rows import (
    BASED,
    Arch,
    Filesystem,
    FilesystemKind,
    Fix,
    Image,
    Kernel,
    Machine,
    OnPanic,
    Purpose,
    Tables,
    Toolchain,
    ToolchainFamily,
    Undo,
)

__all__ = [
    "BASED", "DATA", "Arch", "Filesystem", "FilesystemKind", "Fix", "Image", "Kernel", "Machine", "OnPanic", "Purpose",
    "Tables", "Toolchain", "ToolchainFamily", "Undo", "load",
]  # fmt: skip

DATA = Path(__file__).parent.parent / "data"


def load(*, images: Path, data: Path | None = None) -> Tables:
    """Return the tables of a data folder (default: the lab's own) and of a folder of image definitions.

    Raises TableError with every mistake of every file, each as file:line:column.
    """
    files = Files(images=images, data=data or DATA)
    tables = Tables(
        arch=files.rows("arch", Arch),
        toolchain=files.rows("toolchain", Toolchain),
        filesystem=files.rows("filesystem", Filesystem),
        image=files.images(),
        kconfig=files.kconfig(),
        kconfig_further=files.kconfig_further(),
        kernel=files.rows("kernel", Kernel),
        fix=files.rows("fix", Fix),
        patch=files.patches(),
    )
    if not files.broken:  # a row that could not be read would show again as an unknown name
        cross_check(tables, files)
    yamltext.finish(TableError, *files.notes)
    return tables
