"""The Record of an attempt: what will be run, written down before it runs (record.json), and what reproduce.sh is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lab import __version__, kbuild
from lab.boot import initramfs, machine
from lab.environment import coarse
from lab.environment.engine import Place
from lab.environment.filesystem import Granularity
from lab.environment.image import BuiltImage
from lab.environment.source import Tree
from lab.evidence import boots
from lab.evidence.boots import Plan
from lab.model import Amplify, Cell, DebianSource, DirSource, GitSource, Program, Step, StepResult
from lab.report.reproduce import (
    AmplifyRecipe,
    BootRecipe,
    ContainerRecipe,
    FilesystemRecipe,
    ImageRecipe,
    ProgramRecipe,
    RunRecipe,
    SourceRecipe,
    StepRecipe,
    TextFile,
)
from lab.tables import DATA, Filesystem, FilesystemKind, Image
from lab.use.bench import RULES

QEMU_MIB = 1024  # of a container, beside the guest's memory
WRAPPERS = (DATA / "bin" / "cmp",)  # what lab.use.bench lays under /lab/bin


def image_recipe(row: Image, built: BuiltImage) -> ImageRecipe:
    """Return what it takes to have the image again: its definition, its digest and what was in it."""
    return ImageRecipe(
        name=built.tag,
        id=built.id,
        suite=row.suite,
        debian_arch=row.debian_arch,
        wanted=row.packages,
        packages=built.packages,
        snapshot=row.snapshot,
        releases=built.releases,
    )


def boot_recipe(
    image: ImageRecipe,
    guest: ImageRecipe,
    place: Place,
    step: Step,
    *,
    kernel: str,
    init: str,
    kvm: bool,
    device_trees: tuple[str, ...] = (),
    options: str = "",
    program: Program | None = None,
) -> BootRecipe:
    """Return how the kernel is booted."""
    return BootRecipe(
        image=image,
        guest=guest,
        container=_container(place),
        step=step_recipe(replace(step, argv=machine.unheld(step.argv))),
        kernel=kernel,
        init=init,
        applets=initramfs.APPLETS,
        kvm=kvm,
        device_trees=device_trees,
        options=options,
        program=ProgramRecipe(name=program.name, sha256=program.sha256) if program else None,
    )


def booted(
    boot: BootRecipe, folder: Path, plan: Plan, results: Iterable[StepResult], asked: initramfs.OnDemand
) -> BootRecipe:
    """Return the recipe with the boots that were made: what each loaded, as init was given it, and qemu's command line."""
    argv = {result.name: machine.unheld(result.argv) for result in results}
    lists = {one.step: folder / boots.numbered(boots.LIST, at) for at, one in enumerate(plan.boots, start=1)}
    runs = [RunRecipe(modules=file.read_text(), argv=argv[step]) for step, file in lists.items() if step in argv]
    memory_mib = max((boot["container"]["memory_mib"], *(one.memory_mib + QEMU_MIB for one in plan.boots)))
    made: BootRecipe = {**boot, "container": {**boot["container"], "memory_mib": memory_mib}, "runs": runs}
    return {**made, "modprobe": asked.script, "on_demand": asked.lines()} if asked.modules else made


def record(
    cell: Cell,
    number: int,
    *,
    granularity: Granularity,
    image: ImageRecipe,
    place: Place,
    tree: Tree,
    filesystem: Filesystem,
    base: Filesystem | None,
    steps: Iterable[Step],
    boot: BootRecipe | None,
    engine: dict[str, Any],
    mount: ImageRecipe | None = None,
) -> dict[str, Any]:
    """Return the record: lab.report.reproduce.Recipe, and beside it what people want to know later."""
    return {
        "lab_version": __version__,
        "cell": cell.id,
        "axes": dict(cell.axes),
        "attempt": number,
        "granularity_ns": granularity.effective_ns,
        "granularity": asdict(granularity),
        "kernel_version": tree.version,
        "source_key": tree.key,
        "source_origin": tree.origin,
        "image": image,
        "container": _container(place),
        "source": _source(cell, tree),
        "patches": [TextFile(name=f"{patch.name}.patch", text=patch.text) for patch in cell.patches],
        "filesystem": filesystem_recipe(filesystem, base),
        "mount": mount,
        "wrappers": [TextFile(name=path.name, text=path.read_text()) for path in WRAPPERS],
        "kconfig": [TextFile(name=name, text=text) for name, text in kbuild.kconfig_files(cell)],
        "steps": [step_recipe(step) for step in steps],
        "boot": boot,
        "engine": engine,
    }


def amplify_recipe(cell: Cell, wanted: Amplify, script: Path) -> AmplifyRecipe:
    """Return what made races likelier. wanted: with the names of programs; script: what stands in for them."""
    return AmplifyRecipe(
        words=cell.amplify.words(),
        tools=kbuild.amplify_names(wanted),
        rules=TextFile(name=RULES, text=kbuild.amplify_rules(wanted)),
        script=TextFile(name=script.name, text=script.read_text()),
    )


def _container(place: Place) -> ContainerRecipe:
    return ContainerRecipe(
        user=place.user, memory_mib=place.memory_mib, processes=place.processes, tmp_mib=place.tmp_mib
    )


def step_recipe(step: Step) -> StepRecipe:
    """Return what it takes to run the step again."""
    return StepRecipe(
        name=step.name,
        argv=step.argv,
        workdir=step.workdir,
        deadline_s=step.deadline_s,
        environment=step.environment,
    )


def filesystem_recipe(row: Filesystem, base: Filesystem | None = None) -> FilesystemRecipe:
    """Return what it takes to have the filesystem again. base: the row that it lies on."""
    recipe = FilesystemRecipe(
        base=filesystem_recipe(base) if base else None,
        name=row.name,
        kind=row.kind.value,
        fstype=row.fstype,
        mkfs=row.mkfs,
        mount_options=row.mount_options,
        size_mib=row.size_mib,
    )
    if row.kind is FilesystemKind.COARSE:
        server = coarse.SERVER
        recipe |= {"step_ns": row.granularity_ns_max, "server": TextFile(name=server.name, text=server.read_text())}
    return recipe


def _source(cell: Cell, tree: Tree) -> SourceRecipe:
    wanted = cell.source
    if isinstance(wanted, DebianSource):
        version = tree.origin.split(" + ")[0].rpartition(" ")[2]
        return SourceRecipe(kind="debian", package=wanted.package, version=version, sha256=tree.sha256)
    if isinstance(wanted, DirSource):
        return SourceRecipe(kind="dir", path=wanted.path)
    if isinstance(wanted, GitSource):
        return SourceRecipe(kind="git", repository=wanted.repository, rev=wanted.rev, commit=tree.commit)
    return SourceRecipe(kind="tarball", path=wanted.path, sha256=wanted.sha256)
