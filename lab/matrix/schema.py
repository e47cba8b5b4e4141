"""The JSON Schema of the matrix file, for editors: completion and red lines while one writes.

Editors read YAML with numbers and booleans (5.10 is 5.1 to them), so every scalar may be one. The reader knows more
(files, duplicates, the product); what the schema refuses, the reader refuses too.

Source: JSON Schema, draft 2020-12; yaml-language-server takes it by a comment, see docs/matrix.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lab.matrix.amplify import LOAD_MAX, NONE, TEXT_MAX, TOOL, TOOLS_MAX
from lab.matrix.axes import AXES
from lab.matrix.boot import MEMORY_MIB, PER_BOOT, RETRIES
from lab.matrix.files import BASES, LAB
from lab.matrix.read import ENTRIES_MAX, OUTCOMES
from lab.matrix.repeat import FIRST_FAILURE, REPEAT_MAX
from lab.matrix.values import JOBS_MAX, MAPPED, NAME, OURS
from lab.model import Emulation, Lto, Oops, Probe
from lab.tables import Tables

Schema = dict[str, Any]

TEXT: Schema = {"type": ["string", "number", "boolean"]}
FINDING: Schema = {"type": "string", "pattern": r"^[a-z0-9-]+\.[a-z0-9-]+$"}
SWITCH: Schema = {"enum": ["on", "off", "yes", "no", "true", "false", True, False]}
NAMED: Schema = {
    "type": "string",
    "pattern": f"^{NAME.pattern}$",
    "description": "what ids and reports call this value",
}


def schema(tables: Tables) -> Schema:
    """Return the schema, with the rows of these tables as what may be chosen."""
    axes = _axes(tables)
    one_of_each = {axis: {"$ref": f"#/$defs/{axis}"} for axis in AXES}
    chosen = {"type": "object", "properties": one_of_each, "additionalProperties": False, "minProperties": 1}
    lists = {
        axis: {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"$ref": f"#/$defs/{axis}"}}
        for axis in AXES
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kbuild-lab matrix",
        "type": "object",
        "additionalProperties": False,
        "required": ["version", "name"],
        "properties": {
            "version": {"enum": [1, "1"], "description": "of this format"},
            "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9._+-]{0,63}$"},
            "description": {"type": "string"},
            "defaults": {**chosen, "minProperties": 0, "description": "what an axis is where nothing else is said"},
            "matrix": {"type": "object", "properties": lists, "additionalProperties": False, "minProperties": 1},
            "include": {"type": "array", "maxItems": ENTRIES_MAX, "items": _with_names(chosen)},
            "exclude": {"type": "array", "maxItems": ENTRIES_MAX, "items": _with_names(chosen)},
            "expect": {"type": "array", "maxItems": ENTRIES_MAX, "items": _expectation(_with_names(chosen))},
        },
        "$defs": axes,
    }


def _with_names(chosen: Schema) -> Schema:
    """Return the same, each axis also by the name or text of a value given elsewhere in the file."""
    properties = {axis: {"anyOf": [value, {"type": "string"}]} for axis, value in chosen["properties"].items()}
    mapped = MAPPED
    return {**chosen, "properties": {**chosen["properties"], **{axis: properties[axis] for axis in mapped}}}


def _expectation(when: Schema) -> Schema:
    properties = {
        "when": when,
        "outcome": {"enum": [outcome.value for outcome in OUTCOMES]},
        "finding": _list(FINDING),
        "because": {"type": "string"},
    }
    return _object(properties, required=("when", "outcome"))


def _object(properties: Schema, required: Iterable[str] = ()) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _number(low: int, high: int) -> Schema:
    return {
        "anyOf": [{"type": "integer", "minimum": low, "maximum": high}, {"type": "string", "pattern": "^[0-9]{1,18}$"}]
    }


def _list(item: Schema) -> Schema:
    return {"anyOf": [item, {"type": "array", "items": item}]}


def _axes(tables: Tables) -> Schema:
    seconds = {
        "anyOf": [{"type": "number", "minimum": 1}, {"type": "string", "pattern": r"^[0-9]{1,7}(\.[0-9]{1,3})?$"}]
    }
    machines = sorted({machine.name for arch in tables.arch.values() for machine in arch.machines})
    variables = {"type": "object", "propertyNames": {"not": {"enum": sorted(OURS)}}, "additionalProperties": TEXT}
    boot = {
        "machine": {"enum": machines}, "append": _list(TEXT), "memory_mib": _number(*MEMORY_MIB), "modules": _modules(),
        "run": {"type": "string", "description": "a script or a static program beside the matrix"},
        "panic_on_warn": SWITCH, "oops": {"enum": [oops.value for oops in Oops]}, "name": NAMED,
    }  # fmt: skip
    make = {"variables": variables, "targets": _list({"type": "string"}), "jobs": _number(0, JOBS_MAX), "name": NAMED}
    deadlines = {**dict.fromkeys(("configure_s", "build_s", "boot_s", "silence_s"), seconds), "name": NAMED}
    return {
        "source": _source(),
        "arch": {"enum": _names(tables.arch.values())},
        "toolchain": {"enum": _names(tables.toolchain.values())},
        "lto": {"enum": [lto.value for lto in Lto]},
        "emulation": {"enum": [emulation.value for emulation in Emulation]},
        "filesystem": {"enum": list(tables.filesystem)},
        "kconfig": _listed("fragments", _kconfig(tables)),
        "patches": _listed("apply", {"type": "string", "description": "a unified diff beside the matrix"}),
        "make": _object(make),
        "boot": {"anyOf": [SWITCH, _object(boot)]},
        "repeat": _repeat(),
        "deadlines": _object(deadlines),
        "ccache": SWITCH,
        "probe": {"enum": [probe.value for probe in Probe]},
        "amplify": _amplify(),
    }


def _amplify() -> Schema:
    def by_tool(item: Schema) -> Schema:
        names = {"propertyNames": {"pattern": f"^{TOOL.pattern}$"}, "minProperties": 1, "maxProperties": TOOLS_MAX}
        return {"type": "object", **names, "additionalProperties": item}

    seconds = {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 10}, {"type": "string"}]}
    text = {**TEXT, "maxLength": TEXT_MAX}
    ways = {"load": _number(1, LOAD_MAX), "slow": by_tool(seconds), "align": by_tool(text), "name": NAMED}
    needed = {"anyOf": [{"required": [one]} for one in ("load", "slow", "align")]}
    return {"anyOf": [{"enum": [NONE]}, {**_object(ways), **needed}]}


def _repeat() -> Schema:
    share = {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, {"type": "string"}]}
    interval = _object({"confidence": share, "width": share, "finding": FINDING}, required=("width",))
    occurrence = _object({"finding": FINDING}, required=("finding",))
    ends = [{"enum": [FIRST_FAILURE]}, occurrence, interval]
    until = {"anyOf": ends, "description": "enough, before `times` is reached"}
    times = _number(1, REPEAT_MAX)
    mapping = {**_object({"times": times, "until": until, "name": NAMED}), "minProperties": 1}
    return {"anyOf": [times, mapping]}


def _modules() -> Schema:
    parameters = {"type": "object", "propertyNames": {"pattern": "^[A-Za-z0-9_]"}, "additionalProperties": TEXT}
    return _object(
        {
            "only": {**_list(TEXT), "description": "names or patterns of modules; with a slash, of paths"},
            "skip": _list(TEXT),
            "parameters": {**parameters, "description": "module: a=1 b=2"},
            "twice": SWITCH,
            "unload": SWITCH,
            "per_boot": _number(*PER_BOOT),
            "retries": _number(*RETRIES),
        }
    )


def _names(rows: Iterable[Any]) -> list[str]:
    return [name for row in rows for name in (row.name, *row.aliases)]


def _listed(key: str, item: Schema) -> Schema:
    """Return one item, a list of them, or {name: …, KEY: either}."""
    return {"anyOf": [*_list(item)["anyOf"], _object({"name": NAMED, key: _list(item)}, required=(key,))]}


def _kconfig(tables: Tables) -> Schema:
    known = {"enum": [*BASES, *(LAB + name for name in tables.kconfig)]}
    return {"type": "string", "anyOf": [known, {"not": {"pattern": f"^{LAB}"}}]}


def _source() -> Schema:
    debian = {"debian": {"type": "string"}, "suite": {"type": "string"}, "name": NAMED}
    tarball = {"tarball": {"type": "string"}, "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "name": NAMED}
    return {
        "anyOf": [
            _object(debian, required=("debian",)),
            _object({"dir": {"type": "string"}, "name": NAMED}, required=("dir",)),
            _object({"git": {"type": "string"}, "rev": TEXT, "name": NAMED}, required=("git", "rev")),
            _object(tarball, required=("tarball", "sha256")),
        ]
    }
