"""Evidence: what an attempt, or a plain `make`, left behind; read lazily, absent is None.

Two shapes of folder give the same facts:
- an *output directory* of kbuild (what O= named, or a tree built in place);
- an *evidence folder* `results/<run>/<cell>/<attempt>/`, which the lab packed from an output directory (see pack()).
"""

from __future__ import annotations

from pathlib import Path


class Evidence:
    """Facts about one build and, if there was one, its boot. Every property is read at most once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, name: str) -> Path | None:
        """Return the path of a piece of evidence by its evidence-folder name ("build.txt", "console.txt"), or None."""
        path = self.root / name
        return path if path.is_file() else None
