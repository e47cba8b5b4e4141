"""What there is to boot in a folder: the kernel's image, its modules with what they need, and the architecture they are for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.evidence import distribution, image_format
from lab.evidence.bundle import Evidence
from lab.evidence.elf import UnreadableError, open_elf
from lab.evidence.image_format import Claim
from lab.evidence.shape import Shape

KERNEL = "kernel.zst"
"""The image that an attempt booted, in its evidence folder."""
MAX_INFO = 10_000  # entries of one module's .modinfo
MODULES_ASKED = 3  # that many may be damaged before nobody is asked any more which architecture they are for


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootable:
    """A kernel. root: the folder. release: "" if unknown. image: None if only the architecture's row knows where it is.

    modules: (path as the build knew it, file), in the order of modules.order or by path. missing: paths of modules.order that
    have no file. claims: what its files say of the architecture; unreadable: (file, why) of those that say nothing.
    """

    root: Path
    shape: Shape
    release: str = ""
    config: Path | None = None
    system_map: Path | None = None
    image: Path | None = None
    modules: tuple[tuple[str, Path], ...] = ()
    missing: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()


def of_folder(root: Path, release: str = "") -> Bootable:
    """Find what can be booted. release: which of several kernels. Raises UsageError as Evidence does."""
    evidence = Evidence(root, release)
    kernel = evidence.distribution
    modules, missing = modules_of(evidence)
    image = kernel.image if kernel is not None else evidence.file(KERNEL)
    claims, unreadable = _claims(evidence, image, [file for _, file in modules[:MODULES_ASKED]])
    return Bootable(
        root=evidence.root,
        shape=evidence.shape,
        release=kernel.release if kernel is not None else evidence.kernel_version,
        config=evidence.file("config.txt"),
        system_map=evidence.system_map,
        image=image,
        modules=modules,
        missing=missing,
        claims=tuple(claims),
        unreadable=tuple(unreadable),
    )


def modules_of(evidence: Evidence) -> tuple[tuple[tuple[str, Path], ...], tuple[str, ...]]:
    """Return the modules as (path as the build knew it, file), and the paths of those that should be there and are not."""
    if evidence.distribution is not None:
        return tuple(distribution.module_files(evidence.distribution).items()), ()
    place = "modules/" if evidence.shape is Shape.ATTEMPT else ""
    found = [(path, evidence.file(place + path)) for path in evidence.modules_order]
    return (
        tuple((path, file) for path, file in found if file is not None),
        tuple(path for path, file in found if file is None),
    )


def _claims(
    evidence: Evidence, image: Path | None, modules: Sequence[Path]
) -> tuple[list[Claim], list[tuple[str, str]]]:
    """Return what the kernel, the first module that can be read and the configuration say, and what cannot be read."""
    claims: list[Claim] = []
    unreadable: list[tuple[str, str]] = []
    config = evidence.file("config.txt")
    if config is not None and (claim := image_format.of_config(config, evidence.name_of(config))) is not None:
        claims.append(claim)
    vmlinux = None if evidence.distribution is not None else evidence.vmlinux
    for path, read in ((vmlinux, image_format.of_elf), (image, _of_image)):
        if path is not None:
            name = evidence.name_of(path)
            try:
                claims += [claim] if (claim := read(path, name)) is not None else []
            except UnreadableError as error:
                unreadable.append((name, str(error)))
    for path in modules:
        try:
            claims.append(image_format.of_elf(path, evidence.name_of(path)))
            break
        except UnreadableError as error:
            unreadable.append((evidence.name_of(path), str(error)))
    return claims, unreadable


def _of_image(path: Path, source: str) -> Claim | None:
    return None if path.name == KERNEL else image_format.of_image(path, source)


# -------------------------------------------------------------------------------------------------------------- modules


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFacts:
    """What loading a module needs. depends: names, as in .modinfo. before: names or aliases of softdep "pre".

    aliases: those without wildcards. bytes: unpacked. unreadable: why nothing else is known, or "".
    """

    path: str
    file: Path
    depends: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    bytes: int = 0
    unreadable: str = ""


def load_facts(modules: Sequence[tuple[str, Path]]) -> Iterator[LoadFacts]:
    """Yield the facts of each module, packed or not. Never raises for what is in a file.

    Source: kmod, modinfo(8); include/linux/module.h, MODULE_SOFTDEP.
    """
    for path, file in modules:
        try:
            with open_elf(file) as elf:
                info, size = elf.modinfo()[:MAX_INFO], elf.bytes
        except UnreadableError as error:
            yield LoadFacts(path=path, file=file, unreadable=str(error))
            continue
        yield LoadFacts(
            path=path,
            file=file,
            depends=tuple(one for key, value in info if key == "depends" for one in value.split(",") if one),
            before=tuple(one for key, value in info if key == "softdep" for one in _before(value)),
            aliases=tuple(value for key, value in info if key == "alias" and "*" not in value),
            bytes=size,
        )


def _before(softdep: str) -> list[str]:
    """Return what a softdep wants to be loaded before: the words behind "pre:", up to "post:"."""
    words = softdep.replace("post:", " post: ").replace("pre:", " pre: ").split()
    found, wanted = [], False
    for word in words:
        if word in ("pre:", "post:"):
            wanted = word == "pre:"
        elif wanted:
            found.append(word)
    return found


def needs(facts: Sequence[LoadFacts]) -> dict[str, tuple[str, ...]]:
    """Return path -> names of the modules that have to be there first: its dependencies, and what softdep asks for.

    softdep names modules or aliases ("crc32c"); of an alias, every module that has it is meant, as kmod does. What nobody is
    called is built in.
    """
    by_alias: dict[str, list[str]] = {}
    for one in facts:
        name = _name(one.path)
        for alias in {name, *map(_underscored, one.aliases)}:
            by_alias.setdefault(alias, []).append(name)
    found = {}
    for one in facts:
        softly = [name for wanted in one.before for name in by_alias.get(_underscored(wanted), ())]
        own = _name(one.path)
        found[one.path] = tuple(dict.fromkeys((*one.depends, *(name for name in softly if name != own))))
    return found


def _name(path: str) -> str:
    return _underscored(path.rpartition("/")[2].partition(".ko")[0])


def _underscored(text: str) -> str:
    return text.replace("-", "_")
