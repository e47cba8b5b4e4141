"""A matrix file as a Matrix: every scalar typed by us, every reference read, all mistakes at once with their places.

The format is docs/matrix.md. A returned Matrix expands without a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from lab import yamltext
from lab.errors import MatrixError
from lab.matrix import expand, possible
from lab.matrix.axes import AXES, REQUIRED, AxisValue, Entry, Expected, Matrix, Place
from lab.matrix.files import Surroundings
from lab.matrix.repeat import FINDING
from lab.matrix.values import axis_value
from lab.model import Expectation, Outcome
from lab.tables import Tables
from lab.yamltext import Node, Notes, Refused, Scalar, quoted

KEYS = ("version", "name", "description", "defaults", "matrix", "include", "exclude", "expect")
VERSION = "1"
ENTRIES_MAX = 500  # of include, exclude and expect: each is held against every combination
OUTCOMES = (Outcome.FAIL, Outcome.ERROR, Outcome.SKIP)
_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,63}")


def read(path: Path, tables: Tables) -> Matrix:
    """Return what a matrix file says. Raises MatrixError, also if there is no such file."""
    notes = Notes(str(path))
    text = None
    try:
        with path.open("rb") as file:
            text = yamltext.decode(file.read(yamltext.SIZE_BYTES_MAX + 1), notes)
    except OSError as error:
        raise MatrixError((f"{path}: cannot read the matrix: {error.strerror}",)) from error
    yamltext.finish(MatrixError, notes)
    return read_text(text or "", str(path), path.parent, tables)


def read_text(text: str, name: str, folder: Path, tables: Tables) -> Matrix:
    """Return what a text says. name: for messages; folder: what its paths are relative to. Raises MatrixError alone."""
    notes = Notes(name)
    root = yamltext.parse(text, notes)
    matrix = None
    if root is not None:
        matrix = _Reader(Surroundings(tables=tables, folder=folder.resolve(), notes=notes)).matrix(root)
    yamltext.finish(MatrixError, notes)
    if matrix is None:
        raise MatrixError((f"{name}:1:1: nothing to read",))
    return matrix


class _Reader:
    """The document's structure.

    named: per axis, the values by their names, which a bare word may stand for. shown: the same by name and by text.
    mentioned: axes the file speaks of; lost: those whose default, or every value, could not be read; unread: those of which
    any value could not be read.
    """

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.notes = around.notes
        self.named: dict[str, dict[str, AxisValue]] = {axis: {} for axis in AXES}
        self.shown: dict[str, dict[str, AxisValue]] = {axis: {} for axis in AXES}
        self.mentioned: set[str] = set()
        self.lost: set[str] = set()
        self.unread: set[str] = set()

    def matrix(self, root: Node) -> Matrix | None:
        told = len(self.notes)
        found = yamltext.entries(root, "the matrix file", KEYS, self.notes)
        if found is None:
            return None
        nodes = {key: value for key, (_, value) in found.items()}
        hidden = len(self.notes) > told or any(isinstance(node, Refused) for node in nodes.values())
        self.version(nodes.get("version"))
        name, description = self.name(nodes.get("name")), self.description(nodes.get("description"))
        before = len(self.notes)
        defaults = self.defaults(nodes.get("defaults"))
        axes = self.axes(nodes.get("matrix"))
        include = tuple(self.entries(nodes.get("include"), "include"))
        exclude = tuple(self.entries(nodes.get("exclude"), "exclude", axes))
        complete = told == 0 and not hidden and len(self.notes) == before
        matrix = Matrix(
            file=self.notes.name,
            name=name,
            description=description,
            defaults=defaults,
            axes=axes,
            include=include,
            exclude=exclude,
            expect=tuple(self.expectations(nodes.get("expect"))),
        )
        return self.judge(matrix, complete=complete, hidden=hidden)

    # ------------------------------------------------------------------------------------------------- single values

    def version(self, node: Node | None) -> None:
        if node is None:
            self.notes.add(1, 1, "no 'version' is given", hint=f"write 'version: {VERSION}'")
            return
        written = yamltext.text(node, "version", self.notes)
        if written is not None and written != VERSION:
            self.notes.at(node, f"unknown version {quoted(written)}", known=VERSION)

    def name(self, node: Node | None) -> str:
        if node is None:
            self.notes.add(1, 1, "no 'name' is given", hint="write 'name: ' and a short word")
            return ""
        written = yamltext.text(node, "name", self.notes)
        if written is not None and not _NAME.fullmatch(written):
            self.notes.at(node, f"name {quoted(written)} must be short and of a-z, 0-9, '.', '_', '+' and '-'")
        return written or ""

    def description(self, node: Node | None) -> str:
        if node is None or isinstance(node, Refused):
            return ""
        if not isinstance(node, Scalar):
            yamltext.text(node, "description", self.notes)
            return ""
        return node.text.strip()

    # ----------------------------------------------------------------------------------------------------- the axes

    def defaults(self, node: Node | None) -> dict[str, AxisValue]:
        found = dict(self.values(node, "defaults", self.named)) if node is not None else {}
        self.lost = self.mentioned - set(found)
        return found

    def values(
        self, node: Node, what: str, known: Mapping[str, Mapping[str, AxisValue]]
    ) -> Iterator[tuple[str, AxisValue]]:
        for axis, (_, given) in (yamltext.entries(node, what, AXES, self.notes) or {}).items():
            self.mentioned.add(axis)
            if (value := self.value(axis, given, known)) is not None:
                yield axis, value

    def value(self, axis: str, node: Node, known: Mapping[str, Mapping[str, AxisValue]]) -> AxisValue | None:
        value = axis_value(axis, node, self.around, known[axis])
        if value is None:
            self.unread.add(axis)
            return None
        self.shown[axis].setdefault(value.text, value)
        if value.name:
            first = self.named[axis].setdefault(value.name, value)
            self.shown[axis][value.name] = first
            if first.value != value.value:
                told = f"line {first.place.line} gives that name to another value of {axis}"
                self.notes.at(_node(value.place), f"name {quoted(value.name)} is taken: {told}")
        return value

    def axes(self, node: Node | None) -> dict[str, tuple[AxisValue, ...]]:
        if node is None:
            return {}
        found = yamltext.entries(node, "matrix", AXES, self.notes)
        if found == {} and isinstance(node, yamltext.Mapping) and not node.entries:
            self.notes.at(node, "matrix has no axes", known=", ".join(AXES))
        axes = {axis: tuple(self.axis(axis, key, given)) for axis, (key, given) in (found or {}).items()}
        self.mentioned |= set(axes)
        self.lost = (self.lost - set(axes)) | {axis for axis, values in axes.items() if not values}
        return {axis: values for axis, values in axes.items() if values}

    def axis(self, axis: str, key: Scalar, node: Node) -> Iterator[AxisValue]:
        nodes = yamltext.items(node, f"axis {axis!r}", self.notes)
        if nodes == ():
            self.notes.at(key, f"axis {axis!r} has no values", hint="leave it out, or give it one")
        seen: dict[object, AxisValue] = {}
        for one in nodes or ():
            value = self.value(axis, one, self.named)
            if value is None:
                continue
            if (first := seen.setdefault(value.value, value)) is not value:
                written = one.text if isinstance(one, Scalar) else value.shown
                told = f"{quoted(written)} is {quoted(first.shown)} of line {first.place.line} again"
                self.notes.at(one, f"axis {axis!r} has one value twice: {told}")
                continue
            yield value

    # ---------------------------------------------------------------------------------- include, exclude and expect

    def listed(self, node: Node | None, what: str) -> tuple[Node, ...]:
        nodes = yamltext.items(node, what, self.notes) if node is not None else ()
        if nodes and len(nodes) > ENTRIES_MAX:
            self.notes.at(nodes[ENTRIES_MAX], f"{what} has {len(nodes)} entries; at most {ENTRIES_MAX} are read")
        return (nodes or ())[:ENTRIES_MAX]

    def entries(self, node: Node | None, what: str, axes: Mapping[str, object] | None = None) -> Iterator[Entry]:
        """Yield the entries of include or exclude that are whole. axes: where given, an entry may name no other."""
        for one in self.listed(node, what):
            entry = self.entry(one, f"an entry of {what}", self.named if axes is None else self.shown)
            foreign = [value for axis, value in (entry.values if entry else {}).items() if axis not in (axes or AXES)]
            for value in foreign:
                self.notes.at(_node(value.place), f"{what} names {value.axis!r}, which is no axis under 'matrix'")
            if entry is not None and not foreign:
                yield entry

    def entry(self, node: Node, what: str, known: Mapping[str, Mapping[str, AxisValue]]) -> Entry | None:
        before = len(self.notes)
        values = dict(self.values(node, what, known))
        if isinstance(node, yamltext.Mapping) and not node.entries:
            self.notes.at(node, f"{what} is empty", known=", ".join(AXES))
        whole = len(self.notes) == before and len(values) > 0
        return Entry(values=values, place=Place(line=node.line, column=node.column, path=node.path)) if whole else None

    def expectations(self, node: Node | None) -> Iterator[Expected]:
        for one in self.listed(node, "expect"):
            found = yamltext.entries(one, "an entry of expect", ("when", "outcome", "finding", "because"), self.notes)
            if found is None:
                continue
            nodes = {key: value for key, (_, value) in found.items()}
            for key in ("when", "outcome"):
                if key not in nodes:
                    self.notes.at(one, f"an entry of expect lacks {key!r}")
            when = self.entry(nodes["when"], "when", self.shown) if "when" in nodes else None
            expectation = self.expectation(nodes)
            if when is not None and expectation is not None:
                yield Expected(when=when, expectation=expectation)

    def expectation(self, nodes: Mapping[str, Node]) -> Expectation | None:
        outcome = self.outcome(nodes["outcome"]) if "outcome" in nodes else None
        findings = self.findings(nodes["finding"]) if "finding" in nodes else ()
        because = yamltext.text(nodes["because"], "because", self.notes) if "because" in nodes else ""
        if outcome is Outcome.SKIP and findings:
            self.notes.at(nodes["finding"], "a cell that is skipped finds nothing", hint="leave 'finding' out")
        if outcome is None:
            return None
        return Expectation(outcome=outcome, findings=findings, because=because or "")

    def outcome(self, node: Node) -> Outcome | None:
        written = yamltext.text(node, "outcome", self.notes)
        if written is not None and written not in OUTCOMES:
            self.notes.unknown(node, "outcome to expect", written, [one.value for one in OUTCOMES])
            return None
        return None if written is None else Outcome(written)

    def findings(self, node: Node) -> tuple[str, ...]:
        found = yamltext.texts(node, "finding", self.notes) or ()
        for one in found:
            if not FINDING.fullmatch(one):
                self.notes.at(node, f"finding {quoted(one)} must read family.fault, such as modpost.undefined")
        return found

    # ------------------------------------------------------------------------------------ what only the product shows

    def judge(self, matrix: Matrix, *, complete: bool, hidden: bool) -> Matrix:
        """Note the mistakes that only the product shows; return the matrix with what is impossible in it.

        complete: whether every value could be read. If not, "no cell" might be said of cells that are only not read,
        so it is left unsaid; what concerns the cells that are there is told all the same.
        hidden: whether an axis could be given where nobody could read it, under a refused or misspelt key.
        """
        for axis in REQUIRED:
            if axis not in self.mentioned and not hidden:
                self.notes.add(1, 1, f"no {axis!r} is given", hint=expand.give(axis))
        unsaid = Notes(self.notes.name)

        def complain(place: Place, message: str, hint: str) -> None:
            (self.notes if complete else unsaid).at(_node(place), message, hint=hint)

        decided = expand.combinations(matrix, complain)
        verdict = possible.judged(decided, self.around.tables, self.unread)
        for place, fault in verdict.mistakes:
            self.notes.at(_node(place), fault.message, known=fault.known, hint=fault.hint)
        complete = complete and len(decided) > 0
        expand.expectations_of(matrix, decided, complain)
        return replace(matrix, impossible=verdict.skipped)


def _node(place: Place) -> Node:
    return Node(line=place.line, column=place.column, path=place.path)
