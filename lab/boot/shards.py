"""Many modules → boots that load some of them each, closed under what they need and bounded. Pure and deterministic.

A distribution has 4,000 modules, more than a guest has memory for, and one that crashes must not take the others with it.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lab.boot.initramfs import ModuleFile, closure, load_order, needs_of
from lab.errors import UsageError
from lab.model import Boot, Oops

BYTES = 96 << 20
"""Of module files in one boot: the archive, what it unpacks to and what is loaded are in the guest's memory at once."""
BASE_MIB = 128  # of a guest, besides what is in its initramfs
KERNEL_MIB = 384
NEAR = 8  # names told of a pattern that fits none


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """What one boot loads. modules: in loading order, each after those it needs.

    own: paths of those that this boot is about; the others are there because an own one needs them.
    """

    modules: tuple[ModuleFile, ...]
    own: frozenset[str]

    @property
    def borrowed(self) -> tuple[str, ...]:
        """Paths of the modules that are only there because others need them, in loading order."""
        return tuple(module.path for module in self.modules if module.path not in self.own)


def shards(modules: Sequence[ModuleFile], *, most: int, most_bytes: int = BYTES) -> tuple[Shard, ...]:
    """Return boots that together load every module at least once; each module is the own of exactly one.

    most: modules in one boot, most_bytes: of their files. A module that is beyond them already with what it needs gets a boot
    of its own all the same. Neighbours stay together, as they need the same. Without modules there is one boot that loads none.
    """
    order = load_order(modules).modules
    needs = needs_of(order)
    sizes = [module.bytes for module in order]
    full: list[tuple[set[int], set[int]]] = []
    current: set[int] = set()
    own: set[int] = set()
    placed: set[int] = set()
    held = 0  # bytes
    for at in range(len(order)):
        if at in placed:
            continue
        wanted = closure([at], needs)
        added = wanted - current
        if current and (len(current) + len(added) > most or held + sum(sizes[one] for one in added) > most_bytes):
            full.append((current, own))
            current, own, held, added = set(), set(), 0, wanted
        current |= added
        held += sum(sizes[one] for one in added)
        own |= wanted - placed
        placed |= wanted
    return tuple(_shard(order, *one) for one in (*full, (current, own)))


def _shard(order: Sequence[ModuleFile], which: Collection[int], own: Collection[int]) -> Shard:
    # load_order() again: in a circle, an order of all is none of a part
    modules = load_order([order[at] for at in sorted(which)]).modules
    return Shard(modules=modules, own=frozenset(order[at].path for at in own))


def needing(modules: Sequence[ModuleFile], culprits: Collection[str]) -> frozenset[str]:
    """Return the paths of these modules that are a culprit (a path) or need one, directly or not."""
    needs = needs_of(modules)
    needed_by: list[list[int]] = [[] for _ in modules]
    for at, those in enumerate(needs):
        for one in those:
            needed_by[one].append(at)
    starts = [at for at, module in enumerate(modules) if module.path in culprits]
    return frozenset(modules[at].path for at in closure(starts, needed_by))


def rest(shard: Shard, *, tried: Collection[str], culprits: Collection[str]) -> Shard | None:
    """Return the boot for what a crash kept from being tried, without the culprits and what needs one; None if nothing is left.

    tried: paths whose outcome is known. What is left may need modules that were loaded before; those come again, borrowed.
    """
    barred = needing(shard.modules, culprits)
    own = [
        at
        for at, module in enumerate(shard.modules)
        if module.path in shard.own and module.path not in tried and module.path not in barred
    ]
    if not own:
        return None
    return _shard(shard.modules, closure(own, needs_of(shard.modules)), own)


def memory_mib(initramfs_bytes: int, kernel_bytes: int) -> int:
    """Return how much memory a guest needs, in whole 64 MiB.

    An archive is in memory three times, nearly: as it is, unpacked, and loaded. A kernel unpacks to some eight times its image,
    its own tables included; one that was not packed (vmlinux, with its debugging symbols) counts for KERNEL_MIB at most.
    """
    kernel_mib = min(KERNEL_MIB, 8 * kernel_bytes / (1 << 20))
    wanted = BASE_MIB + kernel_mib + 3 * initramfs_bytes / (1 << 20)
    return -(-int(wanted) // 64) * 64


def parameters(boot: Boot) -> tuple[str, ...]:
    """Return the kernel parameters that stand for panic_on_warn and oops.

    A kernel with PANIC_ON_OOPS=y panics whatever `oops=` says; the sysctl, settable at boot since 5.8, has the last word.
    Source: Documentation/admin-guide/kernel-parameters.txt; kernel/panic.c, oops_setup().
    """
    on_warn = ("panic_on_warn=1",) if boot.panic_on_warn else ()
    going_on = ("oops=continue", "sysctl.kernel.panic_on_oops=0") if boot.oops is Oops.CONTINUE else ()
    return (*on_warn, *going_on)


# ---------------------------------------------------------------------------------------------------------------- choice


def fits(module: ModuleFile, pattern: str) -> bool:
    """Whether a pattern means a module.

    With a slash it is held against the path ("drivers/net/*"), else against the name ("nf_*"); as in fnmatch, "*" also fits
    slashes, and case counts. In a name "-" and "_" are the same letter; ".ko" may stand at the end.
    """
    bare = pattern.removesuffix(".ko")
    if "/" in pattern:
        return fnmatch.fnmatchcase(module.path.removesuffix(".ko"), bare)
    # a range in brackets has a dash of its own
    patterns = {bare, bare if "[" in bare else bare.replace("-", "_")}
    names = {module.name, PurePosixPath(module.path).name.removesuffix(".ko")}
    return any(fnmatch.fnmatchcase(name, one) for name in names for one in patterns)


def chosen(modules: Sequence[ModuleFile], only: Sequence[str], skip: Sequence[str]) -> tuple[ModuleFile, ...]:
    """Return the modules that `only` means (() means all) with what they need, without those of `skip` and what needs one.

    In the order given. Raises UsageError for an item of `only` that means none: a slip must not look like a good boot.
    """
    for pattern in only:
        known(modules, pattern)
    starts = [at for at, one in enumerate(modules) if not only or any(fits(one, pattern) for pattern in only)]
    barred = needing(modules, {one.path for one in modules if any(fits(one, pattern) for pattern in skip)})
    wanted = closure([at for at in starts if modules[at].path not in barred], needs_of(modules))
    return tuple(module for at, module in enumerate(modules) if at in wanted)


def known(modules: Sequence[ModuleFile], pattern: str) -> tuple[ModuleFile, ...]:
    """Return the modules that a pattern means. Raises UsageError if there is none."""
    found = tuple(module for module in modules if fits(module, pattern))
    if found:
        return found
    few = ", ".join(module.name for module in modules[:NEAR]) + (", …" if len(modules) > NEAR else "")
    raise UsageError(
        f"no module is meant by {pattern!r}",
        facts=(("modules", f"{len(modules)}: {few}" if modules else "there are none"),),
        hint="a name or a pattern of names (nf_*), or of paths below O= (drivers/net/*)",
    )


def on_demand(modules: Sequence[ModuleFile]) -> tuple[ModuleFile, ...]:
    """Return the modules that the kernel may ask for while others are loaded, closed under what they need.

    These are algorithms of the crypto API: a module's init looks for them by name (crypto_alloc_shash), and so do their tests.
    Drivers of crypto hardware are left out, as it is not there. Whatever else asks for modules does it later, when something is
    mounted, opened or configured.
    """
    starts = [
        at
        for at, module in enumerate(modules)
        if any(alias.startswith("crypto-") for alias in module.aliases) and not module.path.startswith("drivers/")
    ]
    wanted = closure(starts, needs_of(modules))
    return tuple(module for at, module in enumerate(modules) if at in wanted)


def sample(modules: Sequence[ModuleFile], number: int) -> tuple[ModuleFile, ...]:
    """Return `number` modules (all, if there are fewer), spread over all of them and closed under what they need.

    The choice depends on nothing but their paths and needs: it is the same everywhere, and in any order of `modules`. Order as
    given.
    """
    needs = needs_of(modules)
    by_hash = sorted(range(len(modules)), key=lambda at: hashlib.sha256(modules[at].path.encode(*_BYTES)).digest())
    taken: set[int] = set()
    for at in by_hash:
        grown = taken | closure([at], needs)
        if len(grown) <= number:
            taken = grown
        if len(taken) == number:
            break
    return tuple(module for at, module in enumerate(modules) if at in taken)


_BYTES = ("utf-8", "surrogateescape")


def part(modules: Sequence[ModuleFile], number: int, of: int) -> tuple[ModuleFile, ...]:
    """Return the number-th (from 1) of `of` equal parts of the modules, and what those need besides. Order as given."""
    order = load_order(modules).modules
    first, last = len(order) * (number - 1) // of, len(order) * number // of
    wanted = {order[at].path for at in closure(range(first, last), needs_of(order))}
    return tuple(module for module in modules if module.path in wanted)
