"""Choices → the text of a matrix file: commented, meant to be edited, and read back by lab.matrix.read.

Every value of a report goes through YAML's own writer; every word of it in a comment is made one line of printable
characters, so
that it cannot become anything else.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.repro import kernels
from lab.repro.choose import Choice, Choices
from lab.repro.facts import Place
from lab.yamltext import scalar

WIDTH = 120
FAULTY = "as-reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One value of the axis `patches`. patches: names of files beside the matrix. about: a sentence."""

    name: str
    patches: tuple[str, ...]
    about: str


def printable(text: str, at_most: int = 600) -> str:
    """Return words of a report as one line of printable characters: no control, direction or line separator survives."""
    words = " ".join(text[: 4 * at_most].split())
    clean = "".join(c if c.isprintable() else "\ufffd" for c in words)
    return clean if len(clean) <= at_most else clean[: at_most - 1] + "…"


def where(place: Place | None) -> str:
    """Return "file:line:column", with what was decoded, "" for no place."""
    if place is None:
        return ""
    part = f" ({place.part})" if place.part else ""
    return printable(f"{place.file}{part}:{place.line}:{place.first}", 200)


def text(told: Choices, arms: Sequence[Arm], *, name: str, description: str, sources: Sequence[str]) -> str:
    """Return the file. name: of the matrix. description: a sentence. sources: what it was made from, for its head."""
    lines = [
        *_comment(
            "", f"Made by `lab repro` from {', '.join(sources)}; meant to be edited. docs/repro.md says by which rules."
        ),
        "version: 1",
        f"name: {scalar(name)}",
        f"description: {scalar(printable(description, 300))}",
        "",
        "defaults:",
        *_defaults(told),
        "",
        "matrix:",
        "  patches:",
    ]
    for arm in arms:
        lines += _comment("    ", arm.about)
        lines.append(f"    - {{name: {scalar(arm.name)}, apply: [{', '.join(scalar(one) for one in arm.patches)}]}}")
    lines += list(_expectation(told))
    if told.gaps:
        lines += ["", "# Not matched:"]
        for gap in told.gaps:
            at = where(gap.place)
            lines += _comment("", f"- {gap.what}: {gap.because}" + (f"  [{at}]" if at else ""), hang="  ")
    return "\n".join(lines) + "\n"


def _comment(indent: str, words: str, hang: str = "") -> list[str]:
    """Return words as comment lines."""
    return textwrap.wrap(
        printable(words, 2000),
        WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# {hang}",
        break_on_hyphens=False,
    )


def _why(told: Choices, axis: str) -> Iterator[str]:
    for choice in told.choices:
        if choice.axis == axis:
            yield from _comment("  ", _reason(choice))


def _reason(choice: Choice) -> str:
    at = where(choice.place)
    return f"{choice.reason}" + (f"  [{at}]" if at else "")


def _defaults(told: Choices) -> Iterator[str]:
    source = ", ".join(f"{key}: {scalar(value)}" for key, value in kernels.shown(told.chosen.source).items())
    yield from _why(told, "source")
    yield f"  source: {{{source}}}"
    for axis, value in (
        ("arch", told.arch),
        ("toolchain", told.toolchain),
        ("lto", told.lto),
        ("emulation", told.emulation),
    ):
        if axis in ("lto", "emulation") and not any(choice.axis == axis for choice in told.choices):
            continue
        yield from _why(told, axis)
        yield f"  {axis}: {scalar(value)}"
    yield from _why(told, "filesystem")
    yield f"  filesystem: {scalar(told.filesystem)}"
    yield "  kconfig:"
    reasons = [choice for choice in told.choices if choice.axis == "kconfig"]
    for choice in reasons:
        yield from _comment("    ", f"{choice.value}: {_reason(choice)}")
    yield from (f"    - {scalar(item)}" for item in told.kconfig)
    yield from _make(told)
    yield from _why(told, "boot")
    yield "  boot: on"
    yield from _why(told, "repeat")
    yield f"  repeat: {told.repeat}"


def _make(told: Choices) -> Iterator[str]:
    words = []
    for choice in told.choices:
        if choice.axis.startswith("make."):
            yield from _comment("  ", f"{choice.axis.removeprefix('make.')}: {_reason(choice)}")
    if told.variables:
        words.append(
            "variables: {" + ", ".join(f"{key}: {scalar(value)}" for key, value in told.variables.items()) + "}"
        )
    if told.jobs:
        words.append(f"jobs: {told.jobs}")
    if words:
        yield f"  make: {{{', '.join(words)}}}"


def _expectation(told: Choices) -> Iterator[str]:
    if not told.findings:
        return
    found = told.findings[0] if len(told.findings) == 1 else f"[{', '.join(told.findings)}]"
    yield ""
    yield "expect:"
    for choice in told.choices:
        if choice.axis == "expect":
            yield from _comment("  ", _reason(choice))
    yield f"  - when: {{patches: {FAULTY}}}"
    yield "    outcome: FAIL"
    yield f"    finding: {found}"
