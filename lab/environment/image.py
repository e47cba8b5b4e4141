"""Container images from Debian packages: images/*.yaml → mmdebstrap → an image archive → the engine.

An image is named by a hash of what defines it, so it is rebuilt exactly when that changes; what came out (package versions,
suite, date) is recorded in its labels. No registry is asked: none is needed.

The archive that is loaded is written here and not by `docker import`, because old engines ignore import's --platform and
would call an armhf image amd64.

Source: mmdebstrap(1); docker image specification v1.2 (manifest.json, config.json, layer.tar).
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lab import proc
from lab.environment import archive as apt
from lab.environment import cache, dpkg
from lab.environment.cache import Entry, Holds, locked
from lab.environment.engine import Engine, ImageFacts
from lab.errors import EnvironmentFault
from lab.settings import Settings
from lab.tables import Image, Purpose

RECIPE = 1  # counts up when this module makes images differently: part of the key
LABEL = "kbuild-lab.image"
EPOCH = 1_600_000_000  # 2020-09-13: all later file times become this one, so that the same packages give the same layer
BUILD_DEADLINE_S = 1800.0
INSTALLED = (
    "--variant=minbase",
    # documentation and package lists are a third of the layer and read by nobody
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    # the mount helper and qemu need these to exist; a read-only root cannot make them later
    "--customize-hook=mkdir -p $1/src $1/out $1/lab $1/ccache $1/boot-in",
)
TIDIED = ("--customize-hook=rm -rf $1/var/lib/apt/lists/* $1/var/cache/apt/*.bin",)
UNPACKED = (
    # runs nothing of the packages, so the host needs no emulator for them
    "--variant=extract",
    # dpkg does not run either, and lab.environment.dpkg reads its database
    """--extract-hook=for deb in "$1"/var/cache/apt/archives/*.deb; do dpkg-deb -f "$deb"; """
    """echo "Status: install ok unpacked"; echo; done >"$1/var/lib/dpkg/status\"""",
    # base-files, which brings the links of a merged /usr since trixie, is not among the packages
    """--extract-hook=[ -e "$1/bin" ] || ln -s usr/bin "$1/bin\"""",
)
DEBS_AT_MOST = 6 << 30  # bytes of packages kept for one suite and architecture; beyond that they are fetched anew
VARIANT = {Purpose.GUEST: UNPACKED}  # all others: INSTALLED
GO_ARCHITECTURE = {"armhf": "arm", "i386": "386", "ppc64el": "ppc64le"}  # dpkg's name -> GOARCH, where they differ


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image that the engine has. packages: name -> version, as dpkg says inside.

    snapshot: the day of the archive that was asked for, "" for the day it was built. releases: codename -> Date of each index
    that apt read, left_out: codenames of those that the mirror did not have whole. needed: names of the packages that are there
    because the definition or the system needs them, and not only because mmdebstrap takes them. {} and () of images from
    before this was noted.
    """

    name: str
    key: str
    tag: str
    id: str
    packages: dict[str, str]
    bytes: int = 0
    suite: str = ""
    snapshot: str = ""
    releases: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()


Say = Callable[[str], None]  # one line of progress for people


def key_of(image: Image) -> str:
    """Return 12 hex digits over everything that decides what the image is."""
    definition = {
        "recipe": RECIPE,
        "suite": image.suite,
        "arch": image.debian_arch,
        "packages": sorted(image.packages),
    }
    if image.folders:  # not with the others: images without any keep the key they had
        definition["folders"] = sorted(image.folders)
    if image.snapshot:
        definition["snapshot"] = image.snapshot
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:12]


def tag_of(image: Image) -> str:
    """Return the tag under which the engine knows the image."""
    return f"kbuild-lab/{image.name}:{key_of(image)}"


def find(image: Image, engine: Engine) -> BuiltImage | None:
    """Return the image if the engine has it as defined now."""
    facts = engine.image(tag_of(image))
    return _built(image.name, facts) if facts else None


def listed(engine: Engine) -> tuple[BuiltImage, ...]:
    """Return every image of ours that the engine has, also those whose definition has changed since."""
    return tuple(_built(dict(facts.labels)[LABEL], facts) for facts in engine.images(LABEL))


def removed(built: BuiltImage, engine: Engine, settings: Settings) -> bool:
    """Remove an image unless a living lab holds it; returns whether it is gone."""
    entry = Entry(kind=cache.IMAGES, name=built.key, used_at_s=0.0)
    with cache.alone(settings, entry) as nobody:
        if nobody:
            engine.remove_image(built.id)
        return nobody


def prepare(
    image: Image, engine: Engine, settings: Settings, say: Say = lambda text: None, holds: Holds | None = None
) -> BuiltImage:
    """Return the image, built if the engine does not have it. Two labs that want it at once build it once.

    holds: keeps the image in the engine until it is closed.
    Raises UsageError if the archive's state of a day is wanted and no setting says where it is, EnvironmentFault when packages
    cannot be had or the disk is full.
    """
    settings.cache.mkdir(parents=True, exist_ok=True)
    with Holds(settings) as own, (settings.cache / f"image-{image.name}.lock").open("w") as lock:
        (holds or own).keep(cache.IMAGES, key_of(image))
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = find(image, engine)
        if found is not None:
            return found
        with tempfile.TemporaryDirectory(prefix="image-", dir=settings.cache) as scratch:
            folder = Path(scratch)
            say(f"fetching the packages of {image.suite}/{image.debian_arch}")
            layer, left_out = _bootstrap(image, folder, settings)
            say("loading it into the engine")
            engine.load(_archive(image, layer, folder, left_out))
        found = find(image, engine)
    if found is None:
        raise EnvironmentFault(f"the engine lost image {image.name!r} right after it was loaded")
    return found


def _bootstrap(image: Image, folder: Path, settings: Settings) -> tuple[Path, tuple[str, ...]]:
    """Make the root filesystem as one tar file; also return the codenames of what the mirror did not have whole.

    Images of one suite are made one after the other: they share packages.
    """
    name = f"{image.suite}-{image.debian_arch}"
    debs = settings.cache / "debs" / name
    with Holds(settings) as holds, locked(settings, f"debs-{name}"):
        holds.keep("debs", name)
        debs.mkdir(parents=True, exist_ok=True)
        made = _layer(image, folder, debs, settings)
        if sum(path.stat().st_size for path in debs.glob("*.deb")) > DEBS_AT_MOST:
            shutil.rmtree(debs)
    return made


def _sharing(debs: Path) -> tuple[str, ...]:
    """Return mmdebstrap's options that take packages from a folder and leave there what had to be fetched.

    Source: mmdebstrap(1), "sync-in": for those who cannot have a caching proxy.
    """
    inside, outside = "/var/cache/apt/archives", shlex.quote(str(debs))
    return (
        "--skip=download/empty,essential/unlink",
        f'--setup-hook=mkdir -p "$1"{inside}',
        f"--setup-hook=sync-in {outside} {inside}",
        f'--customize-hook=rm -rf "$1"{inside}/partial "$1"{inside}/lock',
        f"--customize-hook=sync-out {inside} {outside}",
    )


def _keeping_releases(folder: Path, stage: str) -> tuple[str, ...]:
    """Return mmdebstrap's options that leave the signed indexes which apt used in a folder: they have a date.

    stage: of the hooks; the variant that only unpacks never comes to "customize".
    """
    folder.mkdir(exist_ok=True)
    return (
        f'--{stage}-hook=mkdir "$1"/.lab-releases; cp "$1"/var/lib/apt/lists/*Release "$1"/.lab-releases/',
        f"--{stage}-hook=sync-out /.lab-releases {shlex.quote(str(folder))}",
        f'--{stage}-hook=rm -rf "$1"/.lab-releases',
    )


def _releases(folder: Path) -> dict[str, str]:
    """Return the Date of each index by its codename: the state of the archive that the packages are from.

    Source: deb822(5); https://wiki.debian.org/DebianRepository/Format, "Date, Valid-Until".
    """
    found = {}
    for path in sorted(folder.glob("*Release")):
        fields = dict(re.findall(r"^(Codename|Suite|Date): *(.+?) *$", path.read_text(errors="replace")[:16384], re.M))
        found[fields.get("Codename") or fields.get("Suite", path.name)] = fields.get("Date", "")
    return found


def _layer(image: Image, folder: Path, debs: Path, settings: Settings) -> tuple[Path, tuple[str, ...]]:
    layer = folder / "layer.tar"
    where: apt.Archive | None = apt.archive(image.suite, settings, image.snapshot)
    environment = {**dict(settings.environment), "SOURCE_DATE_EPOCH": str(EPOCH), "TMPDIR": str(folder)}
    while where is not None:
        argv = _mmdebstrap(image, layer, where, debs, settings)
        done = proc.run(argv, deadline_s=BUILD_DEADLINE_S, environment=environment)
        if done.ok:
            return layer, where.left_out
        layer.unlink(missing_ok=True)
        where = apt.without_unequal(where, done.output)
    raise _fault(image, done)


def _mmdebstrap(image: Image, layer: Path, where: apt.Archive, debs: Path, settings: Settings) -> list[str]:
    """Return the command that makes a layer."""
    variant = VARIANT.get(image.purpose, INSTALLED)
    return [
        "mmdebstrap",  # not --quiet: it would swallow apt's reasons
        *variant,
        # an image that is only unpacked takes all packages that lie there, so it must not see those of others
        *(_sharing(debs) if variant is INSTALLED else ()),
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
        f"--architectures={image.debian_arch}",
        f"--include={','.join(image.packages)}",
        '--aptopt=Acquire::Retries "3"',
        *(f"--aptopt={line}" for line in apt.freshness(settings)),
        *(f"--customize-hook=mkdir -p $1{folder}" for folder in image.folders),
        *_keeping_releases(layer.parent / "releases", "customize" if variant is INSTALLED else "extract"),
        *(TIDIED if variant is INSTALLED else ()),
        # the mirror's name is nothing of the image's: the same packages from another one make the same image
        "--customize-hook=rm -rf $1/etc/apt/sources.list $1/etc/apt/sources.list.d/*",
        image.suite,
        str(layer),
        *where.sources,
    ]


def _fault(image: Image, done: proc.Completed) -> EnvironmentFault:
    """Return why an image could not be built, in apt's words."""
    told = apt.complaint(done.output, done.last_line)
    of_suite = f"{image.suite}/{image.debian_arch}" + (f" of {image.snapshot}" if image.snapshot else "")
    finding, hint = "infra.image", f"see images/{image.name}.yaml, and whether {of_suite} has such packages"
    if "No space left on device" in done.output:
        finding, hint = "infra.disk-full", "`lab clean --caches`, or set LAB_CACHE to a larger disk"
    elif told.network:
        finding, hint = "infra.network", "`lab doctor` shows whether the mirror answers; LAB_MIRROR names another"
    how = f"no end within {BUILD_DEADLINE_S:.0f} s" if done.timed_out else f"mmdebstrap exited {done.status}"
    return EnvironmentFault(
        f"cannot build image {image.name!r} ({of_suite}): {how}", finding=finding, facts=told.facts, hint=hint
    )


def _archive(image: Image, layer: Path, folder: Path, left_out: tuple[str, ...]) -> Path:
    """Wrap the layer as an image archive whose configuration names the right architecture."""
    with layer.open("rb") as stream:
        diff_id = hashlib.file_digest(stream, "sha256").hexdigest()
    status = dpkg.installed(layer)
    labels = {
        LABEL: image.name,
        f"{LABEL}.key": key_of(image),
        f"{LABEL}.suite": image.suite,
        f"{LABEL}.snapshot": image.snapshot,
        f"{LABEL}.releases": json.dumps(_releases(folder / "releases"), sort_keys=True),
        f"{LABEL}.packages": json.dumps(
            {name: fields.get("Version", "") for name, fields in status.items()}, sort_keys=True
        ),
        f"{LABEL}.needed": json.dumps(sorted(dpkg.needed(status, image.packages))),
    }
    if left_out:
        labels[f"{LABEL}.left_out"] = json.dumps(left_out)
    config = json.dumps(
        {
            "architecture": GO_ARCHITECTURE.get(image.debian_arch, image.debian_arch),
            "os": "linux",
            "created": "2020-09-13T12:26:40Z",
            "config": {"Labels": labels, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
            "history": [{"created": "2020-09-13T12:26:40Z", "created_by": "kbuild-lab"}],
        },
        sort_keys=True,
    ).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag_of(image)], "Layers": [f"{diff_id}/layer.tar"]}]).encode()
    path = folder / "image.tar"
    with tarfile.open(path, "w") as out:
        for member, data in ((name, config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        out.add(layer, f"{diff_id}/layer.tar")
    return path


def _built(name: str, facts: ImageFacts) -> BuiltImage:
    labels = dict(facts.labels)
    return BuiltImage(
        name=name,
        key=labels.get(f"{LABEL}.key", ""),
        tag=facts.tags[0] if facts.tags else facts.id,
        id=facts.id,
        packages=json.loads(labels.get(f"{LABEL}.packages", "{}")),
        bytes=facts.bytes,
        suite=labels.get(f"{LABEL}.suite", ""),
        snapshot=labels.get(f"{LABEL}.snapshot", ""),
        releases=json.loads(labels.get(f"{LABEL}.releases", "{}")),
        left_out=tuple(json.loads(labels.get(f"{LABEL}.left_out", "[]"))),
        needed=tuple(json.loads(labels.get(f"{LABEL}.needed", "[]"))),
    )
