"""The axis `amplify`: what makes races likelier while a cell is built."""

from __future__ import annotations

import re

from lab import yamltext
from lab.matrix.files import Surroundings
from lab.model import Amplify
from lab.yamltext import Node, Scalar, quoted

NONE = "none"
KEYS = ("load", "slow", "align", "name")
LOAD_MAX = 64
SECONDS_MAX = 10.0
TOOLS_MAX = 16
TEXT_MAX = 200
TOOL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
OURS = ("cmp", "lab-load")  # of lab/data/bin
_SECONDS = re.compile(r"[0-9]{1,2}(\.[0-9]{1,3})?")
KNOWN = "none, {load: 4}, {slow: {touch: 0.3}}, {align: {compiler: mcb-core.c}}"


def value(node: Node, around: Surroundings) -> tuple[Amplify, str] | None:
    """Return what a value of the axis `amplify` says and its text, or None after a complaint."""
    notes = around.notes
    if isinstance(node, Scalar):
        if node.text == NONE:
            return Amplify(), NONE
        notes.at(node, f"unknown amplification {quoted(node.text)}", known=KNOWN)
        return None
    found = yamltext.entries(node, "amplify", KEYS, notes)
    if found is None:
        return None
    if not found.keys() - {"name"}:
        notes.at(node, "amplify lacks 'load', 'slow' or 'align'", known=KNOWN)
        return None
    load = yamltext.whole(found["load"][1], "load", notes, low=1, high=LOAD_MAX) if "load" in found else 0
    slow = _slow(found["slow"][1], around) if "slow" in found else ()
    align = _align(found["align"][1], around) if "align" in found else ()
    if load is None or slow is None or align is None:
        return None
    read = Amplify(load=load, slow=slow, align=align)
    return read, read.words()


def _slow(node: Node, around: Surroundings) -> tuple[tuple[str, float], ...] | None:
    pairs: list[tuple[str, float]] = []
    tools = _tools(node, "slow", around)
    for tool, given in tools or ():
        written = yamltext.text(given, f"slow {tool}", around.notes)
        if written is None:
            return None
        if not _SECONDS.fullmatch(written) or not 0 < float(written) <= SECONDS_MAX:
            message = f"slow {tool} must be seconds above 0, at most {SECONDS_MAX:g}, not {quoted(written)}"
            around.notes.at(given, message)
            return None
        pairs.append((tool, float(written)))
    return None if tools is None else tuple(pairs)


def _align(node: Node, around: Surroundings) -> tuple[tuple[str, str], ...] | None:
    pairs: list[tuple[str, str]] = []
    tools = _tools(node, "align", around)
    for tool, given in tools or ():
        written = yamltext.text(given, f"align {tool}", around.notes)
        if written is None:
            return None
        if len(written) > TEXT_MAX:
            around.notes.at(given, f"align {tool} is longer than {TEXT_MAX} characters")
            return None
        pairs.append((tool, written))
    return None if tools is None else tuple(pairs)


def _tools(node: Node, what: str, around: Surroundings) -> tuple[tuple[str, Node], ...] | None:
    """Return tool -> what is said of it, names of programs as PATH has them."""
    notes = around.notes
    found = yamltext.entries(node, what, (), notes)
    if found is None:
        return None
    if not found or len(found) > TOOLS_MAX:
        notes.at(node, f"{what} must name 1 to {TOOLS_MAX} tools")
        return None
    for tool, (key, _) in found.items():
        if not TOOL.fullmatch(tool):
            notes.at(key, f"not the name of a tool: {quoted(tool)}", hint="a program of PATH, without its folder")
            return None
        if tool in OURS:
            notes.at(key, f"{quoted(tool)} is the lab's own")
            return None
    return tuple((tool, given) for tool, (_, given) in found.items())
