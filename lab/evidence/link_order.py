"""The order in which vmlinux's objects are linked, as the archives' .cmd lines name them, and what it tells of a source's name.

Source: scripts/Makefile.build, cmd_ar_builtin, which names them by printf with a prefix since 5.18; Makefile, cmd_ar_vmlinux.a.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Sequence

from lab.evidence.commands import Command

MAX_OBJECTS = 200_000
# Until 5.19 no archive holds those of the outer folders: link-vmlinux.sh gets them in this order.
_OUTER = (
    "init", "usr", "arch", "kernel", "certs", "mm", "fs", "ipc", "security", "crypto", "block", "io_uring", "lib", "drivers",
    "sound", "samples", "net", "virt",
)  # fmt: skip
_PRINTF = re.compile(r"printf \"(?P<prefix>[^\"%]*)%s \" (?P<names>[^|]*)\|")
_NAMED = re.compile(r"\bar(?:-\d+)? \S+ (?P<names>[^;|]+)")


def link_order(commands: Iterable[Command]) -> tuple[str, ...]:
    """Return vmlinux's objects in the order of their link, each once; () if no archive's command line is there."""
    members = {one.target: _members(one) for one in commands if one.target.endswith(".a")}
    inner = {name for names in members.values() for name in names}
    roots = sorted((name for name in members if name not in inner), key=_outer)
    order: dict[str, None] = {}
    seen: set[str] = set()
    left = list(reversed(roots))
    while left and len(order) < MAX_OBJECTS:
        name = left.pop()
        if name.endswith(".a"):
            if name not in seen:
                seen.add(name)
                left += reversed(members.get(name, ()))
        else:
            order.setdefault(name)
    return tuple(order)


def _members(command: Command) -> tuple[str, ...]:
    printed = _PRINTF.search(command.command)
    if printed:
        names = [printed["prefix"] + name for name in printed["names"].split()]
    else:
        called = _NAMED.search(command.command)
        names = called["names"].split() if called else []
    paths = (posixpath.normpath(name) for name in names if name.endswith((".o", ".a")))
    return tuple(path for path in paths if path != command.target)


def _outer(archive: str) -> tuple[int, str]:
    folder = archive.partition("/")[0]
    return (_OUTER.index(folder) if folder in _OUTER else len(_OUTER) if "/" in archive else -1, archive)


def at(number: int, names: Sequence[str], order: Sequence[str], objects: Callable[[str], Iterable[str]]) -> str:
    """Return the object of one of the files that a symbol table names, "" if their order does not tell it.

    number: of the file in `names`, which are in link order, as are the objects in `order`; an object without local symbols has
    no file. objects: those whose source has a name. The nearest names before and behind of which there is one object only are
    landmarks: between them there must be as many objects as files of the name that is sought.
    """
    place = {name: at for at, name in enumerate(order)}
    first, before = _landmark(range(number - 1, -1, -1), names, place, objects) or (-1, -1)
    last, behind = _landmark(range(number + 1, len(names)), names, place, objects) or (len(names), len(order))
    between = sorted(
        (one for one in objects(names[number]) if before < place.get(one, -1) < behind), key=place.__getitem__
    )
    alike = [other for other in range(first + 1, last) if names[other] == names[number]]
    return between[alike.index(number)] if len(alike) == len(between) else ""


def _landmark(
    way: Iterable[int], names: Sequence[str], place: dict[str, int], objects: Callable[[str], Iterable[str]]
) -> tuple[int, int] | None:
    """Return (number of the file, place of its object) of the first file on the way that one object only has."""
    for number in way:
        found = [one for one in objects(names[number]) if one in place]
        if len(found) == 1:
            return number, place[found[0]]
    return None
