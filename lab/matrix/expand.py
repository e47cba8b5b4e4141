"""From a Matrix to its Cells: the product of the axes, GitHub's exclude and include, ids, and the key of a build.

Pure: everything a matrix file refers to has been read by lab.matrix.read.

Source of the semantics: GitHub Actions documentation, "Running variations of jobs in a workflow", sections "Expanding or
adding matrix configurations" and "Excluding matrix configurations".
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from lab.errors import MatrixError
from lab.matrix.axes import (
    ALWAYS_IN_ID,
    AXES,
    BUILT_IN,
    DECIDING,
    REQUIRED,
    AxisValue,
    Combination,
    Entry,
    Matrix,
    Place,
)
from lab.model import Boot, Cell, Expectation, Fragment

CELLS_MAX = 20_000
MATCHES_MAX = 2_000_000  # combinations times entries of include, exclude and expect: some seconds
ID_MAX = 80
PART_MAX = 32

Complain = Callable[[Place, str, str], None]
"""Takes a mistake: where, what, and a hint or ""."""


def expand(matrix: Matrix) -> tuple[Cell, ...]:
    """Return the cells of a matrix: the product in file order (first axis slowest), then what include added.

    Raises MatrixError with every mistake that only the product shows; lab.matrix.read has raised it already for what it
    returns.
    """
    mistakes: list[str] = []

    def complain(place: Place, message: str, hint: str) -> None:
        way = f" at {place.path}" if place.path else ""
        said = f"{matrix.file}:{place.line}:{place.column}: {message}{way}"
        mistakes.append(said + (f"\n  hint:  {hint}" if hint else ""))

    decided = combinations(matrix, complain)
    expectations = expectations_of(matrix, decided, complain)
    if mistakes:
        raise MatrixError(tuple(dict.fromkeys(mistakes)))
    ids = cell_ids(matrix, decided)
    digests: dict[int, str] = {}
    reasons = [matrix.impossible.get(asked(one, digests), "") if matrix.impossible else "" for one in decided]
    return tuple(map(_Parts().cell, ids, decided, expectations, reasons))


def combinations(matrix: Matrix, complain: Complain) -> list[Combination]:
    """Return every combination, completed by the defaults; [] after a complaint about the product as a whole."""
    start = Place(line=1, column=1)
    size = math.prod(len(values) for values in matrix.axes.values())
    if size + len(matrix.include) > CELLS_MAX:
        place = next((values[0].place for values in matrix.axes.values()), start)
        message = f"{size + len(matrix.include)} combinations; at most {CELLS_MAX} are run"
        complain(Place(line=place.line, column=place.column, path="matrix"), message, "split the matrix")
        return []
    entries = len(matrix.include) + len(matrix.exclude) + len(matrix.expect)
    if size * entries > MATCHES_MAX:
        complain(start, f"{size} combinations and {entries} entries are too many together", "split the matrix")
        return []
    originals = _product(matrix, complain)
    chosen = _include(originals, matrix)
    if not chosen:
        complain(matrix.exclude[0].place, "no cell is left: every combination is excluded", "")
    decided = [{**BUILT_IN, **matrix.defaults, **one} for one in chosen]
    for one in decided:
        place = next((value.place for value in one.values() if value.place.line), start)
        for axis in REQUIRED:
            if axis not in one:
                complain(start if axis not in matrix.axes else place, f"no {axis!r} is given", give(axis))
    complete = [one for one in decided if all(axis in one for axis in REQUIRED)]
    _complain_about_twins(complete, complain)
    return complete


def give(axis: str) -> str:
    """Return the hint for an axis that nothing decides."""
    return f"write it under 'defaults' or 'matrix': {axis}"


def _product(matrix: Matrix, complain: Complain) -> list[Combination]:
    """Return the product of the axes without what exclude takes out (a partial match is enough)."""
    if not matrix.axes and matrix.include:
        return []
    product = [dict(zip(matrix.axes, one, strict=True)) for one in itertools.product(*matrix.axes.values())]
    excludes = [(entry, _same_values(matrix, entry)) for entry in matrix.exclude]
    for entry, same in excludes:
        if not any(_matches(one, same) for one in product):
            complain(entry.place, "exclude matches no combination", "its values must be those of the axes")
    return [one for one in product if not any(_matches(one, same) for _, same in excludes)]


def _include(originals: list[Combination], matrix: Matrix) -> list[Combination]:
    """Return the originals, extended, then the new combinations.

    An entry extends each original combination whose own axis values it does not contradict; it may overwrite what an
    earlier entry added. If there is none, it is a new combination, which later entries do not extend.
    """
    added: list[Combination] = [{} for _ in originals]
    new: list[Combination] = []
    for entry in matrix.include:
        same = _same_values(matrix, entry)
        extended = False
        for original, extra in zip(originals, added, strict=True):
            if _matches(original, same):
                extra.update({axis: value for axis, value in entry.values.items() if axis not in original})
                extended = True
        if not extended:
            new.append(dict(entry.values))
    return [{**original, **extra} for original, extra in zip(originals, added, strict=True)] + new


Same = dict[str, frozenset[int]]


def _same_values(matrix: Matrix, entry: Entry) -> Same:
    """For each axis of the matrix that the entry names: the identities of the axis' values that equal the entry's.

    Typed values can be long (patches, configurations), so they are compared once and not for each combination.
    """
    return {
        axis: frozenset(id(value) for value in matrix.axes[axis] if value.value == wanted.value)
        for axis, wanted in entry.values.items()
        if axis in matrix.axes
    }


def _matches(combination: Combination, same: Same) -> bool:
    return all(id(combination[axis]) in values for axis, values in same.items())


def _complain_about_twins(decided: list[Combination], complain: Complain) -> None:
    seen: dict[tuple[str, ...], Combination] = {}
    digests: dict[int, str] = {}
    for one in decided:
        twin = seen.setdefault(_digests(one, AXES, digests), one)
        if twin is not one:
            place = max((value.place for value in one.values()), key=lambda place: (place.line, place.column))
            complain(place, f"the same cell twice: {_described(one)}", "exclude one of them, or give them a difference")


def asked(one: Combination, digests: dict[int, str]) -> str:
    """Return the same for combinations that ask the same of images, machines and the kernel. digests: kept by the caller."""
    return "/".join(_digests(one, DECIDING, digests))


def _described(one: Combination) -> str:
    return " ".join(f"{axis}={one[axis].shown}" for axis in ALWAYS_IN_ID)


def _digests(one: Combination, axes: tuple[str, ...], digests: dict[int, str]) -> tuple[str, ...]:
    """Return a hash of each typed value; equal values have equal ones. digests: by id() of the value, kept by the caller.

    The values of a matrix are few and its combinations many: each is hashed once, and found by what costs least.
    """
    values = [one[axis] for axis in axes]
    try:
        return tuple([digests[id(value)] for value in values])
    except KeyError:
        for value in values:
            if id(value) not in digests:
                raw = repr(value.value).encode("utf-8", "surrogatepass")
                digests[id(value)] = hashlib.sha256(raw).hexdigest()
        return _digests(one, axes, digests)


# ---------------------------------------------------------------------------------------------------------- expectations


def expectations_of(matrix: Matrix, decided: list[Combination], complain: Complain) -> list[Expectation | None]:
    """Return what the matrix expects of each combination, in order; complains of a `when` that matches none or two."""
    found: list[Expectation | None] = [None] * len(decided)
    for expected in matrix.expect:
        hits = list(_hits(expected.when, decided))
        if not hits:
            complain(expected.when.place, "'when' matches no cell", "")
        for index in hits:
            if found[index] is not None:
                described = _described(decided[index])
                complain(expected.when.place, f"a second expectation for one cell: {described}", "narrow one 'when'")
            found[index] = expected.expectation
    return found


def _hits(when: Entry, decided: list[Combination]) -> Iterator[int]:
    equal: dict[tuple[str, int], bool] = {}
    for index, one in enumerate(decided):
        for axis, wanted in when.values.items():
            key = (axis, id(one[axis]))
            if key not in equal:
                equal[key] = one[axis].value == wanted.value
            if not equal[key]:
                break
        else:
            yield index


# ------------------------------------------------------------------------------------------------------------------- ids


def cell_ids(matrix: Matrix, decided: list[Combination]) -> list[str]:
    """Return a unique id for each combination: the parts that name its environment, joined by dashes.

    arch, toolchain and filesystem are always part of it, another axis only where its value is not the default, amplify
    wherever there is any. So an id
    says nothing of the other cells, and a value added to any axis changes no id that was there. Where two combinations
    read alike, both get a hash of what was written (of what was meant, if even that is alike).
    """
    digests: dict[int, str] = {}
    # what is amplified is told also where a whole file is: its rates are not those of a natural cell
    defaults = {**BUILT_IN, **matrix.defaults, "amplify": BUILT_IN["amplify"]}
    usual = {axis: value.value for axis, value in defaults.items()}
    parts: dict[int, str] = {}  # by id() of the value, as many combinations share it
    ids = [_joined(one, usual, parts) for one in decided]

    def written(index: int) -> str:
        return " ".join(decided[index][axis].text for axis in AXES)

    def meant(index: int) -> str:
        return "/".join(_digests(decided[index], AXES, digests))

    ids = [hashed(text, written(index)) if len(text) > ID_MAX else text for index, text in enumerate(ids)]
    for distinction in (written, meant):
        often = Counter(ids)
        ids = [hashed(text, distinction(index)) if often[text] > 1 else text for index, text in enumerate(ids)]
    return ids


def hashed(text: str, distinction: str) -> str:
    """Return an id that says of which of several it is, and is short enough."""
    digest = hashlib.sha256(distinction.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[: ID_MAX - 9]}-{digest[:8]}"


def _joined(one: Combination, usual: dict[str, Any], parts: dict[int, str]) -> str:
    values = [one[axis] for axis in AXES]
    try:
        return "-".join([text for value in values if (text := parts[id(value)])])
    except KeyError:
        for value in values:
            if id(value) not in parts:
                telling = value.axis in ALWAYS_IN_ID or value.axis not in usual or value.value != usual[value.axis]
                parts[id(value)] = part(value) if telling else ""
        return _joined(one, usual, parts)


def part(value: AxisValue) -> str:
    """Return a value as a part of an id: [a-z0-9._+-], at most PART_MAX, starting with a letter or digit."""
    text = value.name or _unnamed(value)
    safe = re.sub(r"[^a-z0-9._+]+", "-", text.lower()).strip("-._+") or "x"
    if len(safe) <= PART_MAX:
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{safe[: PART_MAX - 7].rstrip('-._+')}-{digest[:6]}"


def _unnamed(value: AxisValue) -> str:
    if value.axis in ("source", "kconfig", "patches"):  # paths, perhaps several: their last parts
        pieces = [piece.rstrip("/").rpartition("/")[2] for piece in value.text.split("+")]
        return "+".join(piece.removesuffix(".patch").removesuffix(".diff") for piece in pieces)
    if value.axis in (*ALWAYS_IN_ID, "emulation"):
        return value.text
    return f"{value.axis}-{value.text}"  # a bare "thin" or "off" would not say of what


class _Parts:
    """Makes cells; what many of them have in common is made once and shared, so that ten thousand fit into little memory."""

    def __init__(self) -> None:
        self._shown: dict[int, tuple[str, str]] = {}
        self._fragments: dict[tuple[int, str], tuple[Fragment, ...]] = {}

    def cell(self, cell_id: str, one: Combination, expectation: Expectation | None, impossible: str) -> Cell:
        """Return the cell of a combination."""
        boot: Boot | None = one["boot"].value
        return Cell(
            id=cell_id,
            source=one["source"].value,
            arch=one["arch"].value,
            toolchain=one["toolchain"].value,
            lto=one["lto"].value,
            emulation=one["emulation"].value,
            filesystem=one["filesystem"].value,
            kconfig=self._kconfig(one["kconfig"], one["arch"].value),
            patches=one["patches"].value,
            make=one["make"].value,
            boot=boot,
            repeat=one["repeat"].value.times,
            until=one["repeat"].value.until,
            deadlines=one["deadlines"].value,
            ccache=one["ccache"].value,
            expect=expectation,
            axes=tuple([self._axis(one[axis]) for axis in AXES]),
            impossible=impossible,
            probe=one["probe"].value,
            amplify=one["amplify"].value,
        )

    def _axis(self, value: AxisValue) -> tuple[str, str]:
        if id(value) not in self._shown:
            self._shown[id(value)] = (value.axis, value.shown)
        return self._shown[id(value)]

    def _kconfig(self, value: AxisValue, arch: str) -> tuple[Fragment, ...]:
        key = (id(value), arch)
        if key not in self._fragments:
            self._fragments[key] = tuple(fragment.on(arch) for fragment in value.value)
        return self._fragments[key]


# ------------------------------------------------------------------------------------------------------------------- key


def cell_key(cell: Cell) -> str:
    """Return 64 hex digits over all that decides the build, and nothing else: neither the id nor people's names for
    things, nor what happens to the kernel afterwards (boot, repeat, deadlines, probe, expect).

    -j, ccache and amplify are in it: they decide when files are written, and that is what is tested here.
    Not promised: the content of a DirSource; its path stands for it.
    """
    parts = {
        "source": [type(cell.source).__name__, asdict(cell.source)],
        "row": [cell.arch, cell.toolchain, cell.lto.value, cell.emulation.value, cell.filesystem],
        "kconfig": [[fragment.kind, fragment.text] for fragment in cell.kconfig],
        "patches": [patch.text for patch in cell.patches],
        "make": asdict(cell.make),
        "ccache": cell.ccache,
        "amplify": asdict(cell.amplify),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
