"""The axis `repeat`: how often a cell is executed, and when that is enough."""

from __future__ import annotations

import re

from lab import yamltext
from lab.matrix.files import Surroundings
from lab.model import Repeat, Until
from lab.yamltext import Node, Scalar, quoted

REPEAT_MAX = 1000
REPEAT_UNTIL = 100  # at most, where only an end is given
FIRST_FAILURE = "first-failure"
FINDING = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\.[a-z0-9]+(-[a-z0-9]+)*")
KNOWN_ENDS = (FIRST_FAILURE, "{finding: modpost.undefined}", "{confidence: 0.95, width: 0.2}")


def value(node: Node, around: Surroundings) -> tuple[Repeat, str] | None:
    """Return what a value of the axis `repeat` says and its text, or None after a complaint."""
    notes = around.notes
    if isinstance(node, Scalar):
        number = yamltext.whole(node, "repeat", notes, low=1, high=REPEAT_MAX)
        return None if number is None else (Repeat(times=number), str(number))
    found = yamltext.entries(node, "repeat", ("times", "until", "name"), notes)
    if found is None:
        return None
    if "times" not in found and "until" not in found:
        notes.at(node, "repeat lacks 'times' or 'until'", known="20, {times: 20}, {until: first-failure, times: 50}")
        return None
    times: int | None = REPEAT_UNTIL
    if "times" in found:
        times = yamltext.whole(found["times"][1], "times", notes, low=1, high=REPEAT_MAX)
    until = _until(found["until"][1], around) if "until" in found else (None, "")
    if times is None or until is None:
        return None
    rule, words = until
    return Repeat(times=times, until=rule), f"until {words}, at most {times}" if rule else str(times)


def _until(node: Node, around: Surroundings) -> tuple[Until | None, str] | None:
    """Return when to stop: first-failure, {finding: ID} (its first occurrence), or {width: 0.2, …} of either's rate."""
    notes = around.notes
    if isinstance(node, Scalar):
        if node.text == FIRST_FAILURE:
            return Until(first_failure=True), FIRST_FAILURE
        notes.unknown(node, "end of repetitions", node.text, KNOWN_ENDS)
        return None
    found = yamltext.entries(node, "until", ("confidence", "width", "finding"), notes)
    if found is None:
        return None
    if "width" not in found and "finding" not in found:
        notes.at(node, "until lacks 'width'", hint="how wide the interval of the failure rate may be, such as 0.2")
        return None
    if "confidence" in found and "width" not in found:
        notes.at(found["confidence"][0], "'confidence' goes with 'width' only")
        return None
    width = _share(found["width"][1], "width", (0.01, 0.99), around) if "width" in found else 0.0
    default = Until().confidence
    confidence = (
        _share(found["confidence"][1], "confidence", (0.5, 0.9999), around) if "confidence" in found else default
    )
    finding = _finding(found["finding"][1], around) if "finding" in found else ""
    if width is None or confidence is None or finding is None:
        return None
    words = " ".join(filter(None, [finding, f"width={width:g} at {confidence:g}" if width else ""]))
    return Until(first_failure=width == 0, confidence=confidence, width=width, finding=finding), words


def _finding(node: Node, around: Surroundings) -> str | None:
    written = yamltext.text(node, "finding", around.notes)
    if written is not None and not FINDING.fullmatch(written):
        around.notes.at(node, f"finding {quoted(written)} must read family.fault, such as modpost.undefined")
        return None
    return written


def _share(node: Node, what: str, bounds: tuple[float, float], around: Surroundings) -> float | None:
    written = yamltext.text(node, what, around.notes)
    if written is None:
        return None
    low, high = bounds
    if not re.fullmatch(r"0?\.[0-9]{1,6}", written) or not low <= float(written) <= high:
        around.notes.at(node, f"{what} must be from {low:g} to {high:g}, not {quoted(written)}")
        return None
    return float(written)
