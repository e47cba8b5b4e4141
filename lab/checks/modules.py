"""A distribution's kernel whose packages do not fit together: modules of another release, headers of another kernel."""

from __future__ import annotations

from collections.abc import Iterator

from lab.evidence.bundle import Evidence
from lab.evidence.distribution import is_of_kernel
from lab.evidence.exports import Module, modules_order
from lab.evidence.text import clean
from lab.model import Finding, NotApplicable, Severity, Span

IDS = ("modules.release", "modules.exports")
MAX_NAMED = 20
NAME = "modules"


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield one modules.release for all modules of another release, and one modules.exports for headers that do not fit."""
    kernel, image = evidence.distribution, evidence.boot_image
    if kernel is None:
        because = "only packages of a distribution can come of different kernels: this is what one build left"
        yield NotApplicable(check=NAME, because=because, natural=True)
        return
    if image is None:
        yield NotApplicable(check=NAME, because=f"there is no kernel image of {kernel.release}")
    elif image.unreadable:
        yield NotApplicable(check=NAME, because=f"the kernel image cannot be read: {clean(image.unreadable)}")
    elif image.release and image.release != kernel.release:
        yield _renamed(evidence, image.release, kernel.release)
    yield from _gaps(evidence)
    yield from _releases(evidence)
    yield from _exports(evidence)


def _gaps(evidence: Evidence) -> Iterator[NotApplicable]:
    modules = evidence.modules
    if not modules:
        yield NotApplicable(
            check="modules.release", because="there are no modules: their package was not unpacked here"
        )
    listed = modules_order(evidence.file("modules.order"))
    there = {module.path for module in modules}
    absent = [path for path in listed if path.removeprefix("kernel/") not in there and path not in there]
    if absent and modules:
        because = (
            f"{len(absent)} of {len(listed)} modules of modules.order are not there ({clean(absent[0])}): not looked at"
        )
        yield NotApplicable(check="modules.release", because=because)


def _renamed(evidence: Evidence, said: str, release: str) -> Finding:
    file = evidence.name_of(evidence.vmlinux) if evidence.vmlinux is not None else ""
    return Finding(
        id="modules.release",
        severity=Severity.FAIL,
        title="the kernel is of another release than its package",
        message=f"{file} says that it is {clean(said)}, and is installed as {clean(release)}",
        where=Span(file=file),
        blame=file,
        because=(f"it looks for its modules in lib/modules/{clean(said)}",),
        data={"release": release, "says": said},
    )


def _releases(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding for all modules that this kernel refuses, or that were built for another one.

    With CRCs (MODVERSIONS) the kernel does not compare the release, so that a module of somebody else's, outside kernel/, may
    have another one. Source: kernel/module/version.c, same_magic().
    """
    kernel, image = evidence.distribution, evidence.boot_image
    if kernel is None:
        return
    wanted = image.version if image is not None else ""
    wrong = [module for module in evidence.modules if module.version and _differs(module, kernel.release, wanted)]
    if not wrong:
        return
    first = wrong[0]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    says = f"'{clean(wanted.strip())}'" if wanted else f"of {clean(kernel.release)}"
    yield Finding(
        id="modules.release",
        severity=Severity.FAIL,
        title="modules of another kernel",
        message=f"{clean(first.path)}{more} was built for '{clean(first.version.strip())}', this kernel is {says}",
        where=Span(file=evidence.name_of(first.file) if first.file is not None else clean(first.path)),
        blame=first.path,
        because=("the kernel refuses them: version magic … should be …",),
        data={
            "wanted": wanted or kernel.release,
            "modules": [[module.path, module.version] for module in wrong[:MAX_NAMED]],
            "module_count": len(wrong),
        },
    )


def _differs(module: Module, release: str, wanted: str) -> bool:
    mine, _, flags = module.version.partition(" ")
    own = is_of_kernel(module.file) if module.file is not None else True
    if mine != release and (own or "modversions" not in flags.split()):
        return True
    return bool(wanted) and flags.split() != wanted.partition(" ")[2].split()


def _exports(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    image, file = evidence.boot_image, evidence.file("Module.symvers")
    if file is None:
        because = "there is no Module.symvers: the headers of this kernel were not unpacked here"
        yield NotApplicable(check="modules.exports", because=because)
        return
    if image is None or not image.exports:
        yield NotApplicable(check="modules.exports", because="what the kernel exports could not be found in its image")
        return
    listed = {export.symbol for export in evidence.symvers if export.provider == "vmlinux"}
    lacking, unlisted = sorted(listed - set(image.exports)), sorted(set(image.exports) - listed)
    if not lacking and not unlisted:
        return
    name = evidence.name_of(file)
    yield Finding(
        id="modules.exports",
        severity=Severity.FAIL if lacking else Severity.WARNING,
        title="headers of another kernel",
        message=f"{name} is of another kernel: it lists {len(lacking)} exports that this one does not have, "
        f"and lacks {len(unlisted)} that it has",
        where=Span(file=name),
        blame=name,
        because=tuple(
            f"{what}: {', '.join(map(clean, some[:5]))}{' …' if len(some) > 5 else ''}"
            for what, some in (("listed, not in the kernel", lacking), ("in the kernel, not listed", unlisted))
            if some
        ),
        data={
            "lacking": lacking[:MAX_NAMED],
            "lacking_count": len(lacking),
            "unlisted": unlisted[:MAX_NAMED],
            "unlisted_count": len(unlisted),
        },
    )
