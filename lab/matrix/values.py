"""One value of one axis, from its place in the file to its type. Each reader returns None after a complaint."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Mapping
from typing import Any

from lab import yamltext
from lab.matrix import amplify, boot, files, repeat
from lab.matrix.axes import AxisValue, Place
from lab.matrix.files import Surroundings
from lab.model import (
    Deadlines,
    DebianSource,
    DirSource,
    Emulation,
    GitSource,
    Lto,
    Make,
    Probe,
    Source,
    TarballSource,
)
from lab.yamltext import Node, Scalar, Sequence, quoted

NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,31}")
JOBS_MAX = 1024
DEADLINE_S = (1.0, 1_000_000.0)

# Make variables that are the lab's: each is decided by an axis, or the record would not say what was built.
OURS: Mapping[str, str] = {
    "O": "", "KBUILD_OUTPUT": "", "M": "", "MAKEFLAGS": "", "SHELL": "", "KCONFIG_CONFIG": "kconfig",
    "ARCH": "arch", "SRCARCH": "arch", "SUBARCH": "arch", "CROSS_COMPILE": "emulation", "CC": "toolchain",
    "HOSTCC": "toolchain", "LLVM": "toolchain", "LLVM_IAS": "toolchain", "KBUILD_BUILD_TIMESTAMP": "",
    "KBUILD_BUILD_USER": "", "KBUILD_BUILD_HOST": "", "KBUILD_BUILD_VERSION": "",
}  # fmt: skip
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TARGET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./%+-]{0,127}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}")
_SUITE = re.compile(r"[a-z][a-z0-9-]{0,39}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# a hash, or a name as git-check-ref-format(1) allows and less: no ~ ^ : @{ that git would compute with
_REV = re.compile(r"(?!.*(?:\.\.|//|/\.|\.lock(?:/|$)))[A-Za-z0-9][A-Za-z0-9._/+-]{0,198}(?<![/.])")
_URL = re.compile(r"(?:https?|git|file)://[A-Za-z0-9._~:/%+\[\]-]{1,500}")  # no user and no password: records are shown

Typed = tuple[Any, str]
"""A typed value and its text."""


def axis_value(axis: str, node: Node, around: Surroundings, named: Mapping[str, AxisValue]) -> AxisValue | None:
    """Return a value of an axis. named: values of the axis that a bare word may stand for (include, exclude, when)."""
    place = Place(line=node.line, column=node.column, path=node.path)
    if isinstance(node, Scalar) and node.text in named:
        known = named[node.text]
        return AxisValue(axis=axis, value=known.value, text=known.text, name=known.name, place=place)
    name = ""
    if isinstance(node, yamltext.Mapping) and axis in MAPPED and (given := node.get("name")) is not None:
        name = _name(given, around) or ""
        if not name:
            return None
    typed = _READERS[axis](node, around)
    return None if typed is None else AxisValue(axis=axis, value=typed[0], text=typed[1], name=name, place=place)


def _name(node: Node, around: Surroundings) -> str | None:
    written = yamltext.text(node, "name", around.notes)
    if written is not None and not NAME.fullmatch(written):
        around.notes.at(node, f"name {quoted(written)} must be short and of a-z, 0-9, '.', '_', '+' and '-'")
        return None
    return written


# --------------------------------------------------------------------------------------------------------------- words


def _arch(node: Node, around: Surroundings) -> Typed | None:
    rows = around.tables.arch
    written = yamltext.text(node, "arch", around.notes)
    row = around.tables.arch_named(written) if written is not None else None
    if written is not None and row is None:
        around.notes.unknown(node, "arch", written, list(rows), "lab/data/arch.yaml")
    return None if row is None else (row.name, row.name)


def _toolchain(node: Node, around: Surroundings) -> Typed | None:
    rows = around.tables.toolchain
    written = yamltext.text(node, "toolchain", around.notes)
    row = around.tables.toolchain_named(written) if written is not None else None
    if written is not None and row is None:
        around.notes.unknown(node, "toolchain", written, list(rows), "lab/data/toolchain.yaml")
    return None if row is None else (row.name, row.name)


def _filesystem(node: Node, around: Surroundings) -> Typed | None:
    rows = around.tables.filesystem
    written = yamltext.text(node, "filesystem", around.notes)
    row = around.tables.filesystem_named(written) if written is not None else None
    if written is not None and row is None:
        around.notes.unknown(node, "filesystem", written, list(rows), "lab/data/filesystem.yaml")
    return None if row is None else (row.name, row.name)


def _lto(node: Node, around: Surroundings) -> Typed | None:
    value = yamltext.word(node, "lto", Lto, around.notes)
    return None if value is None else (value, value.value)


def _emulation(node: Node, around: Surroundings) -> Typed | None:
    value = yamltext.word(node, "emulation", Emulation, around.notes)
    return None if value is None else (value, value.value)


def _ccache(node: Node, around: Surroundings) -> Typed | None:
    value = yamltext.switch(node, "ccache", around.notes)
    return None if value is None else (value, "on" if value else "off")


def _probe(node: Node, around: Surroundings) -> Typed | None:
    value = yamltext.word(node, "probe", Probe, around.notes)
    return None if value is None else (value, value.value)


# -------------------------------------------------------------------------------------------------------------- source


_SOURCE_KEYS = ("debian", "suite", "dir", "git", "rev", "tarball", "sha256", "name")


def _source(node: Node, around: Surroundings) -> Typed | None:
    found = yamltext.entries(node, "source", _SOURCE_KEYS, around.notes)
    if found is None:
        return None
    kinds = [kind for kind in ("debian", "dir", "git", "tarball") if kind in found]
    if len(kinds) != 1:
        known = "{debian: linux-source-6.1}, {dir: PATH}, {git: PATH or URL, rev: REV}, {tarball: PATH, sha256: HEX}"
        around.notes.at(node, "source must be exactly one of debian, dir, git and tarball", known=known)
        return None
    for extra, owner in (("suite", "debian"), ("rev", "git"), ("sha256", "tarball")):
        if extra in found and kinds[0] != owner:
            around.notes.at(found[extra][0], f"{extra!r} goes with {owner!r} only")
            return None
    return {"debian": _debian, "dir": _dir, "git": _git, "tarball": _tarball}[kinds[0]](node, found, around)


Found = Mapping[str, tuple[Scalar, Node]]


def _shaped(found: Found, key: str, pattern: re.Pattern[str], shape: str, around: Surroundings) -> str | None:
    node = found[key][1]
    written = yamltext.text(node, key, around.notes)
    if written is not None and not pattern.fullmatch(written):
        around.notes.at(node, f"{key} must be {shape}, not {quoted(written)}")
        return None
    return written


def _debian(node: Node, found: Found, around: Surroundings) -> Typed | None:
    package = _shaped(found, "debian", _PACKAGE, "the name of a Debian package", around)
    suite = _shaped(found, "suite", _SUITE, "the name of a Debian suite", around) if "suite" in found else ""
    if package is None or suite is None:
        return None
    source: Source = DebianSource(package=package, suite=suite)
    return source, f"{package}.{suite}" if suite else package


def _path(node: Node, key: str, around: Surroundings) -> tuple[str, str] | None:
    written = yamltext.text(node, key, around.notes)
    return None if written is None else (os.path.normpath(around.folder / written), written)


def _dir(node: Node, found: Found, around: Surroundings) -> Typed | None:
    path = _path(found["dir"][1], "dir", around)
    return None if path is None else (DirSource(path=path[0]), path[1])


def _git(node: Node, found: Found, around: Surroundings) -> Typed | None:
    repository = yamltext.text(found["git"][1], "git", around.notes)
    if "rev" not in found:
        around.notes.at(node, "git needs its 'rev'", hint="a commit, a tag or a branch")
        return None
    rev = _shaped(found, "rev", _REV, "a commit, a tag or a branch", around)
    if repository is None or rev is None:
        return None
    if "://" not in repository:
        written, repository = repository, os.path.normpath(around.folder / repository)
    elif _URL.fullmatch(repository):
        written = repository
    else:
        known = "https://, http://, git://, file://, without user and password"
        around.notes.at(found["git"][1], f"not a URL that is fetched from: {quoted(repository)}", known=known)
        return None
    name = re.sub(r"\.git$", "", written.rstrip("/").rpartition("/")[2])
    return GitSource(repository=repository, rev=rev), f"{name} {rev}"


def _tarball(node: Node, found: Found, around: Surroundings) -> Typed | None:
    path = _path(found["tarball"][1], "tarball", around)
    if "sha256" not in found:
        around.notes.at(node, "tarball needs its 'sha256'", hint="sha256sum FILE")
        return None
    sha256 = _shaped(found, "sha256", _SHA256, "64 hex digits", around)
    if path is None or sha256 is None:
        return None
    return TarballSource(path=path[0], sha256=sha256), re.sub(r"\.tar(\.[a-z0-9]+)?$", "", path[1])


# --------------------------------------------------------------------------------------------------- kconfig and patches


def _listed(node: Node, axis: str, key: str, around: Surroundings) -> tuple[Node, ...] | None:
    """Return the items of one value: a list, one item alone, or {name: …, KEY: list or item}."""
    if isinstance(node, yamltext.Mapping):
        found = yamltext.entries(node, axis, ("name", key), around.notes)
        if found is None or key not in found:
            around.notes.at(node, f"{axis} lacks {key!r}")
            return None
        node = found[key][1]
    if isinstance(node, Scalar):
        return (node,)
    if isinstance(node, Sequence):
        return node.items
    return yamltext.items(node, axis, around.notes)


def _kconfig(node: Node, around: Surroundings) -> Typed | None:
    nodes = _listed(node, "kconfig", "fragments", around)
    value = files.fragments(nodes, node, around) if nodes is not None else None
    return None if value is None else (value, "+".join(one.name for one in value))


def _patches(node: Node, around: Surroundings) -> Typed | None:
    if isinstance(node, Scalar) and node.plain and node.text == "none":
        return (), "none"
    nodes = _listed(node, "patches", "apply", around)
    value = files.patches(nodes, around) if nodes is not None else None
    if nodes is None or value is None:
        return None
    return value, "+".join(node.text for node in nodes if isinstance(node, Scalar)) or "none"


# -------------------------------------------------------------------------------------------- make, boot and deadlines


def _make(node: Node, around: Surroundings) -> Typed | None:
    notes = around.notes
    found = yamltext.entries(node, "make", ("variables", "targets", "jobs", "name"), notes)
    if found is None:
        return None
    variables = _variables(found["variables"][1], around) if "variables" in found else ()
    targets = yamltext.texts(found["targets"][1], "targets", notes) if "targets" in found else ()
    jobs = yamltext.whole(found["jobs"][1], "jobs", notes, low=0, high=JOBS_MAX) if "jobs" in found else 0
    for target in targets or ():
        if not _TARGET.fullmatch(target):
            notes.at(found["targets"][1], f"not a make target: {quoted(target)}")
            targets = None
            break
    if variables is None or targets is None or jobs is None:
        return None
    words = [f"{name}={value}" for name, value in variables] + list(targets) + ([f"j{jobs}"] if jobs else [])
    return Make(variables=variables, targets=targets, jobs=jobs), " ".join(words) or "default"


def _variables(node: Node, around: Surroundings) -> tuple[tuple[str, str], ...] | None:
    found = yamltext.entries(node, "variables", (), around.notes)
    if found is None:
        return None
    pairs = []
    for name, (key, value) in found.items():
        if name in OURS:
            hint = f"set the axis {OURS[name]!r}" if OURS[name] else ""
            around.notes.at(key, f"make variable {name!r} is the lab's", hint=hint)
        elif not _VARIABLE.fullmatch(name):
            around.notes.at(key, f"not the name of a make variable: {quoted(name)}")
        elif isinstance(value, Scalar) and not value.text:
            pairs.append((name, ""))  # FOO= on make's command line: set, and empty
        elif (written := yamltext.text(value, f"variable {name}", around.notes)) is not None:
            pairs.append((name, written))
    return tuple(pairs) if len(pairs) == len(found) else None


def _deadlines(node: Node, around: Surroundings) -> Typed | None:
    keys = ("configure_s", "build_s", "boot_s", "silence_s")
    found = yamltext.entries(node, "deadlines", (*keys, "name"), around.notes)
    if found is None:
        return None
    seconds = {key: _seconds(found[key][1], key, around) for key in keys if key in found}
    told = {key: value for key, value in seconds.items() if value is not None}
    if len(told) < len(seconds):
        return None
    return Deadlines(**told), " ".join(f"{key[:-2]}={value:g}s" for key, value in told.items()) or "default"


def _seconds(node: Node, what: str, around: Surroundings) -> float | None:
    written = yamltext.text(node, what, around.notes)
    if written is None:
        return None
    low, high = DEADLINE_S
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,3})?", written) or not low <= float(written) <= high:
        around.notes.at(node, f"{what} must be seconds from {low:g} to {high:.0f}, not {quoted(written)}")
        return None
    return float(written)


_READERS: Mapping[str, Callable[[Node, Surroundings], Typed | None]] = {
    "source": _source, "arch": _arch, "toolchain": _toolchain, "lto": _lto, "emulation": _emulation,
    "filesystem": _filesystem, "kconfig": _kconfig, "patches": _patches, "make": _make, "boot": boot.value,
    "repeat": repeat.value, "deadlines": _deadlines, "ccache": _ccache, "probe": _probe,
    "amplify": amplify.value,
}  # fmt: skip
MAPPED = frozenset({"source", "kconfig", "patches", "make", "boot", "deadlines", "repeat", "amplify"})
"""The axes whose values may be mappings, and so may have a name."""
