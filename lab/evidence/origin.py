"""Which object of the build a function comes from, which source that is, and the command lines that made and linked it.

An object is known by what it defines; of a static function the symbol table names the source ("inode.c"). Where that leaves
several, the order of the link decides, or the neighbours: a linker keeps together what one object has.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from lab.evidence import link_order, objtool
from lab.evidence.commands import Command
from lab.evidence.functions import Function, Functions
from lab.evidence.objects import ObjectFacts
from lab.evidence.resolve import KERNEL

VMLINUX_O = "vmlinux.o"
MAX_LINE = 8192
MAX_SHOWN = 300
_TOOL = re.compile(r"\s*;\s*\S*tools/objtool/objtool\s.*", re.S)
_WITH_VALUE = (
    "-D", "-I", "-MF", "-MQ", "-MT", "-T", "-U", "-idirafter", "-imacros", "-include", "-isystem", "-m", "-mllvm", "-x", "-z",
    "--param",
)  # fmt: skip
_TREE = re.compile(
    r"^(?:/|\.\./)(?:\S*/)?(?=(?:arch|block|certs|crypto|drivers|fs|include|init|io_uring|ipc|kernel|lib|mm|net|rust"
    r"|samples|security|sound|usr|virt)/)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where code comes from. object: relative to O=; source: as the tree names it; "" if not known. how: what tells the object.

    file: the .cmd of the object, or of the module's. command: the line that made the object; linked: the line that linked the
    module of several objects, ""; both without objtool. objtool: its call on the object or, where it waits for linked objects,
    on what that was linked into; "" if there is none.
    """

    object: str = ""
    source: str = ""
    how: str = ""
    file: str = ""
    command: str = ""
    linked: str = ""
    objtool: str = ""


class Origins:
    """The objects of a build with their command lines; of a kernel that came without them every Origin is empty."""

    def __init__(self, commands: Iterable[Command], objects: Mapping[str, ObjectFacts], modules: Iterable[str]) -> None:
        """Sort .cmd lines and objects. objects: path -> facts. modules: .ko paths."""
        lines = tuple(commands)
        part_of = {path: facts.part_of for path, facts in objects.items() if facts.part_of}
        self._command = {one.target: one for one in lines if one.target}
        self._order = link_order.link_order(lines)
        self._call = {call.object: call.line for call in objtool.calls(lines, modules, part_of) if call.line}
        self._parts: dict[str, set[str]] = {}
        self._sources: dict[str, list[str]] = {}
        self._definers: dict[str, list[str]] = {}
        for path, facts in objects.items():
            self._parts.setdefault(facts.part_of, set()).add(path)
            self._sources.setdefault(self._source_name(path), []).append(path)
            for symbol in facts.defines:
                self._definers.setdefault(symbol, []).append(path)

    def of(self, path: str, function: Function, functions: Functions) -> Origin:
        """Return where a function of vmlinux or of a module comes from. path: "vmlinux" or the .ko; functions: those of it."""
        name, how = self._object(path, function, functions)
        return self._told(path, name, how, function.file)

    def of_module(self, path: str) -> Origin:
        """Return how a module was linked, whatever part of it something is about."""
        own = own_object(path)
        return self._told(path, own if self._inner(path) == {own} else "", "", "")

    def _told(self, path: str, name: str, how: str, file: str) -> Origin:
        own = own_object(path)
        made, whole = self._command.get(name), self._command.get(own)
        linked = whole if name != own and path != KERNEL else None
        main = made or linked
        return Origin(
            object=name,
            source=source_of(made) if made is not None else "" if name else file,
            how=how,
            file=main.file if main is not None else "",
            command=_line(made),
            linked=_line(linked),
            objtool=(self._call.get(name) or self._call.get(own, ""))[:MAX_LINE],
        )

    def _source_name(self, path: str) -> str:
        command = self._command.get(path)
        return posixpath.basename(command.source if command and command.source else path.removesuffix(".o") + ".c")

    def _of_source(self, name: str) -> list[str]:
        return self._sources.get(name, [])

    def _inner(self, path: str) -> set[str]:
        """Return the objects that a file is linked from; of a module with one object, that one."""
        parts, own = self._parts.get(path, set()), own_object(path)
        return parts - {own} or ({own} if path != KERNEL and (parts or own in self._command) else set())

    def _object(self, path: str, function: Function, functions: Functions) -> tuple[str, str]:
        """Return the object of a function and what tells it; ("", "") if that is not known."""
        inner = self._inner(path)
        if len(inner) == 1:
            return next(iter(inner)), "it is the only object"
        defining = inner & set(self._definers.get(function.name, ())) if not function.local else set()
        named = inner & set(self._sources.get(function.file, ())) if function.file else set()
        if len(defining) == 1:
            return next(iter(defining)), "it defines the symbol"
        if len(named) == 1:
            return next(iter(named)), f"the symbol table names {function.file}"
        if named and path == KERNEL:
            ordered = link_order.at(function.file_number, functions.file_names, self._order, self._of_source)
            if ordered in inner:
                return ordered, f"the symbol table names {function.file}, and the order of the link which one"
        return self._beside(named or defining, inner, function, functions)

    def _beside(self, some: Set[str], inner: Set[str], function: Function, functions: Functions) -> tuple[str, str]:
        """Return the object of the nearest symbols whose object is known. some: it must be one of these, if there are any."""
        owners: dict[str, str] = {}

        def known(near: Function) -> bool:
            mine = inner & set(self._sources.get(near.file, ()) if near.file else self._definers.get(near.name, ()))
            if len(mine) == 1:
                owners[near.name] = next(iter(mine))
            return len(mine) == 1

        near = [one.name for one in functions.beside(function, known) if one is not None]
        found = {owners[name] for name in near}
        fitting = found & some if some else found if len(near) == 2 else set()
        if len(fitting) != 1:
            return "", ""
        (one,) = fitting
        beside = " and ".join(name for name in near if owners[name] == one)
        return one, f"it lies beside {beside}"


def own_object(path: str) -> str:
    """Return the object that a module (.ko) or vmlinux is linked as, before modpost: "fs/autofs/autofs4.o"."""
    return VMLINUX_O if path == KERNEL else path.removesuffix(".ko") + ".o"


def source_of(command: Command) -> str:
    """Return the source of an object as the tree names it ("fs/autofs/waitq.c"), as far as its folders tell; else as kbuild."""
    if command.source.startswith(("/", "../")):
        folder = posixpath.dirname(command.target)
        cut = command.source.rfind(f"/{folder}/") if folder else -1
        return command.source[cut + 1 :] if cut >= 0 else _TREE.sub("", command.source)
    return command.source


def _line(command: Command | None) -> str:
    return without_objtool(command.command)[:MAX_LINE] if command is not None else ""


def without_objtool(line: str) -> str:
    """Return the command line of a target as a shell would take it, without objtool's call."""
    return _TOOL.sub("", line).replace("$$", "$").strip()


def shortened(line: str) -> str:
    """Return a command line for people: the program, what it reads and what it makes; its other options are left out."""
    words = line.split()
    kept, left, skip = words[:1], False, False
    for number, word in enumerate(words[1:], 2):
        if skip:
            skip = False
            continue
        if word == "-o":
            kept += [*(["…"] if left else []), word]
            left = False
        elif word in _WITH_VALUE:
            skip, left = number < len(words), True
        elif word.startswith("-") and word not in ("-c", "-r"):
            left = True
        else:
            kept += [*(["…"] if left else []), word]
            left = False
    text = " ".join(kept)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
