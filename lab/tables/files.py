"""Files of the tables to rows: each value typed by the field of its row, each complaint with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from lab import yamltext
from lab.tables.rows import Arch, Filesystem, Fix, Image, Kernel, Toolchain
from lab.yamltext import Node, Notes

Row = TypeVar("Row", Arch, Toolchain, Filesystem, Image, Kernel, Fix)
ONE = (1, 2**40)
BOUNDS = {"bits": (32, 64), "granularity_ns_min": (0, 10**10), "granularity_ns_max": (1, 10**10)}


class Files:
    """The files being read: their complaints, and where each row stands."""

    def __init__(self, *, images: Path, data: Path) -> None:
        self.folder_images, self.folder_data = images, data
        self.notes: list[Notes] = []
        self.places: dict[tuple[type, str], tuple[Notes, Node]] = {}
        self.fragments: dict[tuple[str, str], Notes] = {}  # of kconfig_further

    @property
    def broken(self) -> bool:
        """Whether anything was complained about."""
        return any(self.notes)

    def rows(self, stem: str, cls: type[Row]) -> dict[str, Row]:
        """Return the rows of <stem>.yaml by name; what cannot be read is left out, with a complaint."""
        root, notes = self.root(self.folder_data / f"{stem}.yaml")
        rows: dict[str, Row] = {}
        for name, (key, node) in ((root and yamltext.entries(root, stem, (), notes)) or {}).items():
            self.places[cls, name] = (notes, key)
            row = _record(node, f"{stem} {name!r}", cls, notes, name=name)
            if row is not None:
                rows[name] = row
        return rows

    def images(self) -> dict[str, Image]:
        """Return the image definitions by the stems of their files."""
        rows: dict[str, Image] = {}
        for path in sorted(self.folder_images.glob("*.yaml")):
            root, notes = self.root(path)
            if root is not None:
                self.places[Image, path.stem] = (notes, root)
                row = _record(root, "image", Image, notes, name=path.stem)
                if row is not None:
                    rows[row.name] = row
        return rows

    def kconfig(self) -> dict[str, str]:
        """Return the fragments kconfig/<name>.config by name."""
        paths = sorted((self.folder_data / "kconfig").glob("*.config"))
        texts = {path.stem: self.text(path)[0] for path in paths if "." not in path.stem}
        return {name: text for name, text in texts.items() if text is not None}

    def kconfig_further(self) -> dict[str, dict[str, str]]:
        """Return the fragments kconfig/<name>.<arch>.config by name and architecture."""
        rows: dict[str, dict[str, str]] = {}
        for path in sorted((self.folder_data / "kconfig").glob("*.*.config")):
            name, _, arch = path.stem.partition(".")
            text, notes = self.text(path)
            if text is not None:
                rows.setdefault(name, {})[arch] = text
                self.fragments[name, arch] = notes
        return rows

    def patches(self) -> dict[str, str]:
        """Return the texts of patches/<name>.patch by name."""
        texts = {path.stem: self.text(path)[0] for path in sorted((self.folder_data / "patches").glob("*.patch"))}
        return {name: text for name, text in texts.items() if text is not None}

    def root(self, path: Path) -> tuple[Node | None, Notes]:
        """Return the root of a YAML file, None if it cannot be read, and where its complaints go."""
        text, notes = self.text(path)
        return (yamltext.parse(text, notes) if text is not None else None), notes

    def text(self, path: Path) -> tuple[str | None, Notes]:
        """Return the text of a file, None if it cannot be read, and where its complaints go."""
        notes = Notes(str(path))
        self.notes.append(notes)
        try:
            return yamltext.decode(path.read_bytes(), notes), notes
        except OSError as error:
            notes.add(1, 1, f"cannot read the table: {error.strerror}")
            return None, notes

    def complain(self, row: Arch | Toolchain | Filesystem | Image | Kernel | Fix, message: str) -> None:
        """Note a mistake of a row at the place where the row begins."""
        notes, node = self.places[type(row), row.name]
        notes.at(node, message)


Record = TypeVar("Record")


def _record(node: Node, what: str, cls: type[Record], notes: Notes, **given: str) -> Record | None:
    """Return a mapping as a dataclass, each value typed by its field; None after a complaint."""
    hints = get_type_hints(cls)
    wanted = [one for one in fields(cls) if one.name not in given]  # type: ignore[arg-type]
    found = yamltext.entries(node, what, [one.name for one in wanted], notes)
    if found is None:
        return None
    values: dict[str, Any] = dict(given)
    complete = True
    for one in wanted:
        if one.name in found:
            value = _value(found[one.name][1], one.name, hints[one.name], notes)
            complete = complete and value is not None
            values[one.name] = value
        elif one.default is MISSING:
            notes.at(node, f"{what} lacks {one.name!r}")
            complete = False
    return cls(**values) if complete else None


def _value(node: Node, name: str, hint: Any, notes: Notes) -> Any:
    if hint is str:
        return yamltext.text(node, name, notes)
    if hint is bool:
        return yamltext.switch(node, name, notes)
    if hint is int:
        low, high = BOUNDS.get(name, ONE)
        return yamltext.whole(node, name, notes, low=low, high=high)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return yamltext.word(node, name, hint, notes)
    if get_origin(hint) is Mapping:
        return _pairs(node, name, notes)
    inner = get_args(hint)[0]
    if inner is str:
        return yamltext.texts(node, name, notes)
    if get_origin(inner) is tuple:
        pairs = _pairs(node, name, notes)
        return None if pairs is None else tuple(pairs.items())
    return _values(node, name, inner, notes)


def _values(node: Node, name: str, inner: type, notes: Notes) -> tuple[Any, ...] | None:
    nodes = yamltext.items(node, name, notes)
    if nodes is None:
        return None
    found: list[Any]
    if issubclass(inner, StrEnum):
        found = [yamltext.word(one, f"item of {name}", inner, notes) for one in nodes]
    else:
        found = [_record(one, f"item of {name}", inner, notes) for one in nodes]
    return None if None in found else tuple(found)


def _pairs(node: Node, name: str, notes: Notes) -> dict[str, str] | None:
    found = yamltext.entries(node, name, (), notes)
    if found is None:
        return None
    values = {key: yamltext.text(value, f"{name}.{key}", notes) for key, (_, value) in found.items()}
    return {key: value for key, value in values.items() if value is not None}
