"""From what a console prints to a place in the code: function, offset, module, and where its lines are looked up.

Only symbol tables are read here. File and line stand in debugging information: lab.evidence.lines.
Source: lib/vsprintf.c, symbol_string(); scripts/faddr2line, which tells functions of one name apart by their size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from lab.evidence.console_addresses import KernelOffset, Spot
from lab.evidence.elf import UnreadableError
from lab.evidence.functions import Function, Functions

KERNEL = "vmlinux"
PAGE_BYTES = 4096  # whatever an architecture moves its kernel by, it is a multiple
NAMED_AT_MOST = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in the code of a kernel. object: "vmlinux" or the module's path ("fs/autofs/autofs4.ko").

    offset: from the function's start. at: where its line is looked up, an address of vmlinux or an offset in the function's
    section; of a return address, a byte of the call before it. trusted: nothing speaks against its being the code that ran.
    """

    object: str
    function: Function
    offset: int
    at: int
    trusted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What became of a spot. place: None if it is not known; why: what is not known of it, and why; "" if nothing."""

    spot: Spot
    place: Place | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How far the kernel was moved when it started (KASLR). offset: bytes, None if nothing tells. how: what tells it."""

    offset: int | None = None
    how: str = "nothing on the console says how far the kernel was moved"


@dataclass(slots=True, kw_only=True)
class Code:
    """The functions of a kernel and its modules; modules are read when they are asked for.

    kernel: None if there is none that can be read; lacking: why. read: gives a module by the kernel's name for it as (path,
    functions). Raises UnreadableError that says why it cannot.
    """

    kernel: Functions | None
    lacking: str = ""
    read: Callable[[str], tuple[str, Functions]]
    _modules: dict[str, tuple[str, Functions] | str] = field(default_factory=dict, repr=False)

    def module(self, name: str) -> tuple[str, Functions] | str:
        """Return a module's path and functions, or why it cannot be read."""
        if name not in self._modules:
            try:
                self._modules[name] = self.read(name)
            except UnreadableError as error:
                self._modules[name] = str(error)
        return self._modules[name]

    def resolve(self, spot: Spot, moved: Moved, exact: bool = False) -> Resolved:
        """Return where a spot lies. exact: it is no return address although it stands in a trace."""
        if not spot.function:
            return self._of_address(spot, moved, exact)
        if spot.module:
            found = self.module(spot.module)
            if isinstance(found, str):
                return Resolved(spot=spot, why=found)
            path, functions = found
            return _of_name(spot, functions, path, None, exact)
        if self.kernel is None:
            return Resolved(spot=spot, why=self.lacking)
        linked = spot.address - moved.offset if spot.address and moved.offset is not None else None
        return _of_name(spot, self.kernel, KERNEL, linked, exact)

    def _of_address(self, spot: Spot, moved: Moved, exact: bool) -> Resolved:
        """Return where an address without a name lies; in a module nobody knows it, unless the console named it."""
        if self.kernel is None:
            return Resolved(spot=spot, why=self.lacking)
        linked = spot.address - (moved.offset or 0)
        function = self.kernel.at(linked if exact or spot.exact else linked - 1)
        if function is None:
            why = "it lies outside vmlinux: in a module, or nowhere; the console does not say where modules were loaded"
            return Resolved(spot=spot, why=why if moved.offset is not None else f"{moved.how}; {why}")
        known = moved.offset is not None
        place = _place(KERNEL, function, linked - function.address, exact or spot.exact, trusted=known)
        return Resolved(spot=spot, place=place, why="" if known else f"{moved.how}: taken as if it were not")


def _of_name(spot: Spot, functions: Functions, path: str, linked: int | None, exact: bool) -> Resolved:
    named = functions.named(spot.function) or functions.beginning(spot.function)
    if not named:
        return Resolved(spot=spot, why=f"{path} has no function '{spot.function}'")
    here = [one for one in named if linked is not None and one.address == linked - spot.offset]
    fitting = here or _fitting(named, spot)
    exact = exact or spot.exact
    if len(fitting) == 1:
        return Resolved(spot=spot, place=_place(path, fitting[0], spot.offset, exact))
    if fitting:
        same = {(one.address, one.section) for one in fitting}
        if len(same) == 1:
            return Resolved(spot=spot, place=_place(path, fitting[0], spot.offset, exact))
        return Resolved(spot=spot, why=_several(spot, fitting, path))
    if len(named) > 1:
        why = f"none of the {len(named)} functions of this name in {path} has that size: another build?"
        return Resolved(spot=spot, why=why)
    (only,) = named
    mine = only.size or (only.rooms or (0,))[0]
    why = f"'{only.name}' has {mine:#x} bytes in this {path}, and {spot.size:#x} in the one that ran: another build?"
    return Resolved(spot=spot, place=_place(path, only, spot.offset, exact, trusted=False), why=why)


def _several(spot: Spot, fitting: list[Function], path: str) -> str:
    where = [f"{one.file or one.section or 'at'} {one.address:#x}" for one in fitting[:NAMED_AT_MOST]]
    size = " and size" if spot.size else ""
    return f"{len(fitting)} functions of this name{size} in {path}: {', '.join(where)}"


def _fitting(named: Sequence[Function], spot: Spot) -> list[Function]:
    """Return the functions that fit what was printed best."""
    misfits = [(one.misfit(spot.size), one) for one in named if _reaches(one, spot.offset)]
    best = min((misfit for misfit, _ in misfits if misfit is not None), default=None)
    return [one for misfit, one in misfits if misfit is not None and misfit == best]


def _reaches(function: Function, offset: int) -> bool:
    """Whether an offset lies in a function, or right behind it: a call that does not return may be its last instruction."""
    return not function.rooms or offset <= function.rooms[-1]


def _place(path: str, function: Function, offset: int, exact: bool, trusted: bool = True) -> Place:
    back = 0 if exact or not offset else 1
    return Place(object=path, function=function, offset=offset, at=function.address + offset - back, trusted=trusted)


def moved(spots: Iterable[Spot], kernel: Functions | None, said: KernelOffset | None) -> Moved:
    """Return how far the kernel was moved: as the panic says, else by the addresses that stand beside names.

    One pair of them is enough if no other contradicts: since 4.15 some addresses are printed as hashes.
    """
    if said is not None:
        return Moved(offset=said.offset, how="the console says so")
    if kernel is None:
        return Moved()
    votes: Counter[int] = Counter()
    pairs = {
        (spot.function, spot.offset, spot.address)
        for spot in spots
        if spot.function and spot.address and not spot.module
    }
    for function, offset, address in pairs:
        starts = {address - offset - one.address for one in kernel.named(function)}
        votes.update(start for start in starts if start >= 0 and start % PAGE_BYTES == 0)
    (best, count), *others = votes.most_common(2) or [(0, 0)]
    if not count or (others and others[0][1] == count):
        return Moved()
    return Moved(
        offset=best, how=f"by {count} address{'' if count == 1 else 'es'} that the console prints beside their names"
    )


def resolved(spots: Iterable[Spot], code: Code, way: Moved) -> tuple[Resolved, ...]:
    """Return where the spots of one report lie, in their order.

    The first frame of a trace may be the instruction pointer once more (arm64), and then is no return address.
    """
    every = tuple(spots)
    pointers = {(one.function, one.offset, one.module) for one in every if one.exact and one.function}
    return tuple(code.resolve(one, way, (one.function, one.offset, one.module) in pointers) for one in every)


def module_name(path: str) -> str:
    """Return the kernel's name of a module, of its path: "kernel/fs/autofs/autofs4.ko.xz" is autofs4."""
    base = path.rpartition("/")[2]
    for suffix in (".xz", ".zst", ".gz", ".ko"):
        base = base.removesuffix(suffix)
    return base.replace("-", "_")


def by_name(paths: Iterable[str]) -> dict[str, str]:
    """Return the kernel's name of a module -> its path, of the first one of each name."""
    found: dict[str, str] = {}
    for path in paths:
        found.setdefault(module_name(path), path)
    return found
