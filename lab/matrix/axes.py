"""What a matrix file says, typed: the axes with their values, what is put in, taken out and expected. Nouns only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.model import Amplify, Deadlines, Emulation, Expectation, Lto, Make, Probe, Repeat

# Every axis, in the order of docs/matrix.md, Cell.axes and the parts of an id.
AXES = (
    "arch", "toolchain", "lto", "emulation", "source", "filesystem", "kconfig", "patches", "make", "boot", "repeat",
    "deadlines", "ccache", "probe", "amplify",
)  # fmt: skip
ALWAYS_IN_ID = ("arch", "toolchain", "filesystem")
DECIDING = (
    "arch",
    "toolchain",
    "lto",
    "emulation",
    "source",
    "patches",
    "boot",
)  # whether it can be built and booted at all
REQUIRED = ("source", "arch", "toolchain", "filesystem", "kconfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the matrix file something was said, from 1; 0 for what the lab itself supplies. path: the way to it."""

    line: int = 0
    column: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisValue:
    """One value of one axis. Two are the same if their typed values are; text and name are for people.

    value: Source, str (arch, toolchain, filesystem: the row's canonical name), Lto, Emulation, tuple[Fragment, ...],
    tuple[Patch, ...], Make, Boot or None, Repeat, Deadlines, bool (ccache), Probe, Amplify.
    """

    axis: str
    value: Any
    text: str
    name: str = ""  # given by the matrix; "" if it gave none
    place: Place = Place()

    @property
    def shown(self) -> str:
        """What people see and what `when` and `exclude` may say."""
        return self.name or self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of include or exclude, or the `when` of an expectation."""

    values: Mapping[str, AxisValue]
    place: Place = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One entry of expect."""

    when: Entry
    expectation: Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """What one matrix file says, typed. axes, defaults: in the order of the file; an axis may be in both.

    axes is empty if the file has no `matrix:`. file: as its reader was told, for messages.
    """

    file: str
    name: str
    description: str = ""
    defaults: Mapping[str, AxisValue]
    axes: Mapping[str, tuple[AxisValue, ...]]
    include: tuple[Entry, ...] = ()
    exclude: tuple[Entry, ...] = ()
    expect: tuple[Expected, ...] = ()
    impossible: Mapping[str, str] = field(default_factory=dict)  # asked() of a combination -> why nothing can build it


Combination = dict[str, AxisValue]

BUILT_IN: Mapping[str, AxisValue] = {
    value.axis: value
    for value in (
        AxisValue(axis="lto", value=Lto.NONE, text="none"),
        AxisValue(axis="emulation", value=Emulation.NATIVE, text="native"),
        AxisValue(axis="patches", value=(), text="none"),
        AxisValue(axis="make", value=Make(), text="default"),
        AxisValue(axis="boot", value=None, text="off"),
        AxisValue(axis="repeat", value=Repeat(), text="1"),
        AxisValue(axis="deadlines", value=Deadlines(), text="default"),
        AxisValue(axis="ccache", value=True, text="on"),
        AxisValue(axis="probe", value=Probe.NONE, text="none"),
        AxisValue(axis="amplify", value=Amplify(), text="none"),
    )
}
