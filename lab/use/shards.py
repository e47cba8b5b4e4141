"""The boots of one kernel: shards, one after the other, and after a crash what it kept from being tried.

A plan is on disk before each boot (boots.json), so that what was to be loaded is known whatever becomes of the guest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab.boot import initramfs, shards
from lab.boot.initramfs import NOTHING, ModuleFile, OnDemand
from lab.boot.shards import Shard
from lab.evidence import bootable, boots, console
from lab.evidence.boots import LeftOut, Plan, PlannedBoot
from lab.evidence.console import ConsoleLog
from lab.evidence.packing import write_lines
from lab.model import BootModules, Ending, Finding, StepResult
from lab.results import store
from lab.use import guest as guests
from lab.use.bench import Bench
from lab.use.guest import Guest

GUESTS_OWN = (Ending.EXITED, Ending.DEADLINE)
"""Endings that say something of the guest; after any other, no further boot is made."""
WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """What boots a kernel. scratch: where what the container sees is laid. folder: of the evidence. run: boots one guest.

    device_tree, system_map: None if the machine needs none, if there is none. asked: what is loaded only if the kernel asks.
    say: one line of progress for people.
    """

    bench: Bench
    guest: Guest
    kernel: Path
    scratch: Path
    folder: Path
    run: Callable[[Guest], StepResult]
    device_tree: Path | None = None
    system_map: Path | None = None
    asked: OnDemand = NOTHING
    say: Callable[[str], None] = lambda text: None


def module_files(found: Sequence[tuple[str, Path]]) -> tuple[ModuleFile, ...]:
    """Return modules with what they need and are called. found: (path as the build knew it, file).

    One that cannot be read is loaded all the same: what the kernel makes of it is of interest.
    """
    facts = tuple(bootable.load_facts(found))
    needs = bootable.needs(facts)
    return tuple(
        ModuleFile(path=one.path, data=one.file, depends=needs[one.path], aliases=one.aliases) for one in facts
    )


def selected(modules: Sequence[ModuleFile], wanted: BootModules) -> tuple[ModuleFile, ...]:
    """Return the modules that are to be loaded, with their parameters.

    Raises UsageError for a name or pattern that means none: a slip must not look like a good boot.
    """
    given: dict[str, list[str]] = {}
    for name, text in wanted.parameters:
        for module in shards.known(modules, name):
            given.setdefault(module.path, []).append(text)
    with_parameters = [replace(one, parameters=" ".join(given.get(one.path, ()))) for one in modules]
    return shards.chosen(with_parameters, wanted.only, wanted.skip)


def planned(modules: Sequence[ModuleFile], chosen: Sequence[ModuleFile], wanted: BootModules) -> Plan:
    """Return the plan as it is before any boot: what was named, what needs what, and what is left out for another's sake."""
    needs = initramfs.needs_of(chosen)
    exact = [pattern for pattern in wanted.only if not WILD & set(pattern)]
    return Plan(
        named=tuple(one.path for one in chosen if any(shards.fits(one, pattern) for pattern in exact)),
        needs={
            one.path: tuple(chosen[at].path for at in those) for one, those in zip(chosen, needs, strict=True) if those
        },
        left_out=_left_out(modules, {one.path for one in chosen}, wanted),
    )


def _left_out(modules: Sequence[ModuleFile], chosen: set[str], wanted: BootModules) -> tuple[LeftOut, ...]:
    """Return what was meant to be loaded, but is or needs a module that is to be skipped."""
    skipped = {one.path for one in modules if any(shards.fits(one, pattern) for pattern in wanted.skip)}
    barred = shards.needing(modules, skipped)
    meant = (one.path for one in modules if not wanted.only or any(shards.fits(one, item) for item in wanted.only))
    return tuple(
        LeftOut(path=path, because="it was to be skipped" if path in skipped else "it needs a module that is skipped")
        for path in meant
        if path in barred and path not in chosen
    )


def boot_all(
    crew: Crew,
    modules: Sequence[ModuleFile],
    chosen: Sequence[ModuleFile],
    wanted: BootModules,
    missing: Sequence[str] = (),
) -> Plan:
    """Boot the kernel until every chosen module was tried, as far as it goes; return the plan as it was carried out.

    modules: all there are. missing: paths of those that were not linked. A kernel that does not even reach our init the first
    time is not booted again; a boot that the machine broke off ends them all. Whatever becomes of a guest raises nothing.
    Raises EnvironmentFault if no container can be made.
    """
    plan = planned(modules, chosen, wanted)
    plan = replace(
        plan, left_out=(*(LeftOut(path=path, because="it was not linked") for path in missing), *plan.left_out)
    )
    made = shards.shards(chosen, most=wanted.per_boot)
    for number, shard in enumerate(made, start=1):
        crew.say(f"part {number} of {len(made)}: {len(shard.modules)} modules")
        plan, goes_on = _with_rest(crew, shard, plan, wanted.retries)
        if not goes_on:
            break
    tried = {path for one in plan.boots for path in one.modules}
    never = [LeftOut(path=one.path, because="no boot came to it") for one in chosen if one.path not in tried]
    plan = replace(plan, left_out=(*plan.left_out, *never))
    store.write(crew.folder / boots.PLAN, plan)
    return plan


def _with_rest(crew: Crew, shard: Shard, plan: Plan, retries: int) -> tuple[Plan, bool]:
    """Boot a shard, and as often as `retries` what a crash kept from being tried; return the plan and whether to go on."""
    left: Shard | None = shard
    culprits: set[str] = set()
    tried: set[str] = set()
    because = ""
    for attempt in range(retries + 1):
        assert left is not None, "the loop ends with it"
        plan, result, heard = _boot(crew, left, plan, because)
        if result.ending not in GUESTS_OWN or crew.bench.stop.is_set():
            return plan, False
        if heard.done is not None:
            return plan, True
        if heard.announced is None:
            return plan, len(plan.boots) > 1
        culprit = _culprit(heard)
        if culprit is None:
            return plan, True
        culprits.add(culprit)
        tried |= {load.path for load in heard.loads}
        following = shards.rest(left, tried=tried, culprits=culprits)
        plan = replace(plan, left_out=(*plan.left_out, *_barred(left, tried, culprit, following)))
        if following is None or attempt == retries:
            break
        left, because = following, f"{result.name} ended at {culprit}; this is the rest of it"
        crew.say(f"{result.name} ended at {culprit}; once more without it: {len(left.own)} modules")
    return plan, True


def _culprit(heard: ConsoleLog) -> str | None:
    """Return the module at which a guest ended: the one that was being handled, else the last one that was."""
    handled = heard.handled
    return heard.pending.path if heard.pending else handled[-1].path if handled else None


def _barred(left: Shard, tried: set[str], culprit: str, following: Shard | None) -> list[LeftOut]:
    """Return the modules that will not be tried because they need the culprit."""
    needing = shards.needing(left.modules, {culprit})
    kept = following.own if following else frozenset()
    return [
        LeftOut(path=path, because=f"it needs {culprit}, at which a boot ended")
        for path in sorted(left.own & needing)
        if path not in tried and path not in kept
    ]


def _boot(crew: Crew, shard: Shard, plan: Plan, because: str) -> tuple[Plan, StepResult, ConsoleLog]:
    """Boot once; the plan is written before."""
    number = len(plan.boots) + 1
    order = guests.lay_out(
        crew.bench, crew.guest, crew.kernel, shard.modules, crew.scratch, crew.device_tree, crew.system_map, crew.asked
    )
    archive = crew.scratch / guests.SHOWN / "initramfs"
    size = archive.stat().st_size
    memory = shards.memory_mib(size, crew.kernel.stat().st_size)
    guest = guests.numbered(crew.guest, number, memory)
    write_lines(crew.folder / boots.numbered(boots.LIST, number), map(initramfs.list_line, order))
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    boot = PlannedBoot(
        step=guest.step.name, console=guest.step.log, modules=tuple(one.path for one in order), borrowed=shard.borrowed,
        bytes=size, sha256=digest, memory_mib=guest.boot.memory_mib, because=because,
    )  # fmt: skip
    plan = replace(plan, boots=(*plan.boots, boot))
    store.write(crew.folder / boots.PLAN, plan)
    result = crew.run(guest)
    log = crew.folder / guest.step.log
    return plan, result, console.read(log) if log.is_file() else ConsoleLog()


def ended_well(findings: Iterable[Finding]) -> bool:
    """Whether the boot check saw our init end, in every boot: it says so itself, with the results of each module."""
    return any(finding.id == "boot.modules" and finding.data.get("done") for finding in findings)
