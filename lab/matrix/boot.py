"""The axis `boot`: on, off, or how a kernel is booted and what its init does."""

from __future__ import annotations

import re
from typing import Any

from lab import yamltext
from lab.matrix import files
from lab.matrix.files import Surroundings
from lab.model import Boot, BootModules, Oops
from lab.yamltext import Node, Notes, Scalar, quoted

MEMORY_MIB = (16, 1024 * 1024)
PER_BOOT = (1, 10_000)
RETRIES = (0, 20)
KEYS = ("machine", "append", "memory_mib", "modules", "run", "panic_on_warn", "oops", "name")
MODULES_KEYS = ("only", "skip", "parameters", "twice", "unload", "per_boot", "retries")
_MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def value(node: Node, around: Surroundings) -> tuple[Boot | None, str] | None:
    """Return what a value of the axis `boot` says and its text, or None after a complaint."""
    if isinstance(node, Scalar):
        wanted = yamltext.switch(node, "boot", around.notes)
        return None if wanted is None else ((Boot(), "on") if wanted else (None, "off"))
    notes = around.notes
    found = yamltext.entries(node, "boot", KEYS, notes)
    if found is None:
        return None
    default = Boot()
    append = yamltext.texts(found["append"][1], "append", notes) if "append" in found else ()
    machine = _machine(found["machine"][1], around) if "machine" in found else ""
    memory: int | None = default.memory_mib
    if "memory_mib" in found:
        memory = yamltext.whole(found["memory_mib"][1], "memory_mib", notes, low=MEMORY_MIB[0], high=MEMORY_MIB[1])
    on_warn: bool | None = default.panic_on_warn
    if "panic_on_warn" in found:
        on_warn = yamltext.switch(found["panic_on_warn"][1], "panic_on_warn", notes)
    oops = yamltext.word(found["oops"][1], "oops", Oops, notes) if "oops" in found else default.oops
    modules = _modules(found["modules"][1], notes) if "modules" in found else default.modules
    program = files.program(found["run"][1], around) if "run" in found else None
    if machine is None or append is None or memory is None or on_warn is None or oops is None or modules is None:
        return None
    if "run" in found and program is None:
        return None
    boot = Boot(
        machine=machine, append=append, memory_mib=memory, modules=modules, run=program, panic_on_warn=on_warn, oops=oops
    )  # fmt: skip
    return boot, _text(boot)


def _modules(node: Node, notes: Notes) -> BootModules | None:
    found = yamltext.entries(node, "modules", MODULES_KEYS, notes)
    if found is None:
        return None
    told: dict[str, Any] = {}
    for key, (_, value) in found.items():
        if key in ("only", "skip"):
            told[key] = yamltext.texts(value, key, notes)
        elif key == "parameters":
            told[key] = _parameters(value, notes)
        elif key in ("twice", "unload"):
            told[key] = yamltext.switch(value, key, notes)
        else:
            low, high = PER_BOOT if key == "per_boot" else RETRIES
            told[key] = yamltext.whole(value, key, notes, low=low, high=high)
    if None in told.values():
        return None
    if told.get("only") == ():
        notes.at(found["only"][1], "only is empty", hint="leave it away for all modules; skip: '*' loads none")
        return None
    return BootModules(**told)


def _parameters(node: Node, notes: Notes) -> tuple[tuple[str, str], ...] | None:
    found = yamltext.entries(node, "parameters", (), notes)
    if found is None:
        return None
    pairs = []
    for name, (key, value) in found.items():
        if not _MODULE.fullmatch(name):
            notes.at(key, f"not the name of a module: {quoted(name)}")
        elif (written := yamltext.text(value, f"parameters of {name}", notes)) is not None:
            pairs.append((name, written))
    return tuple(pairs) if len(pairs) == len(found) else None


def _text(boot: Boot) -> str:
    default = Boot()
    words = [boot.machine] if boot.machine else []
    words += [*boot.append, *([f"{boot.memory_mib}M"] if boot.memory_mib != default.memory_mib else [])]
    words += ["panic_on_warn"] if boot.panic_on_warn else []
    words += [f"oops={boot.oops}"] if boot.oops != default.oops else []
    chosen, usual = boot.modules, default.modules
    words += [f"only={','.join(chosen.only)}"] if chosen.only else []
    words += [f"skip={','.join(chosen.skip)}"] if chosen.skip else []
    words += [f"{name}:{text}" for name, text in chosen.parameters]
    words += [word for word, wanted in (("twice", chosen.twice), ("unload", chosen.unload)) if wanted]
    words += [f"per_boot={chosen.per_boot}"] if chosen.per_boot != usual.per_boot else []
    words += [f"retries={chosen.retries}"] if chosen.retries != usual.retries else []
    words += [f"run={boot.run.name}"] if boot.run else []
    return " ".join(words) or "on"


def _machine(node: Node, around: Surroundings) -> str | None:
    written = yamltext.text(node, "machine", around.notes)
    known = sorted({machine.name for arch in around.tables.arch.values() for machine in arch.machines})
    if written is not None and written not in known:
        around.notes.unknown(node, "machine", written, known, "lab/data/arch.yaml")
        return None
    return written
