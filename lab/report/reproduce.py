"""`reproduce.sh`: an attempt, or a boot of a kernel that was given, as a shell script that needs nothing of the lab.

Everything of the record reaches the script as a single-quoted word, as a comment cleaned of control characters or inside a
here-document with a quoted delimiter that no line of it has: no text of a stranger is ever read by the shell.

Source: POSIX.1-2017, Shell Command Language 2.2.2 (single quotes) and 2.7.4 (here-documents); shlex.quote.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"


class ImageRecipe(TypedDict):
    """An image. id: "sha256:…". packages: every one with its version, as dpkg says inside. wanted: names in its definition.

    snapshot: day (YYYYMMDD) of the archive that was asked for, "" if none was. releases: codename -> Date of the index.
    """

    name: str
    id: str
    suite: str
    debian_arch: str
    wanted: Sequence[str]
    packages: Mapping[str, str]
    snapshot: NotRequired[str]
    releases: NotRequired[Mapping[str, str]]


class SourceRecipe(TypedDict):
    """Where the unpatched tree came from. kind: "debian", "dir", "tarball" or "git".

    debian: package and version; sha256: of the tarball inside it. dir: path. tarball: path and its sha256.
    git: repository (path or URL), rev as the matrix had it, and the full commit that it was.
    """

    kind: str
    package: NotRequired[str]
    version: NotRequired[str]
    path: NotRequired[str]
    sha256: NotRequired[str]
    repository: NotRequired[str]
    rev: NotRequired[str]
    commit: NotRequired[str]


class FilesystemRecipe(TypedDict):
    """What the output directory lies on; fields of lab.tables.Filesystem. kind: "tmpfs", "loop", "overlay" or "coarse".

    base: what an overlay or a coarse one lies on, None for other kinds. step_ns, server: of a coarse one, and its program.
    """

    name: str
    kind: str
    base: NotRequired[FilesystemRecipe | None]
    fstype: str
    mkfs: Sequence[str]
    mount_options: Sequence[str]
    size_mib: int
    step_ns: NotRequired[int]
    server: NotRequired[TextFile]


class TextFile(TypedDict):
    """A file that goes into the script as it is. name: of a file, without folder."""

    name: str
    text: str


class StepRecipe(TypedDict):
    """A lab.model.Step. environment: pairs."""

    name: str
    argv: Sequence[str]
    workdir: str
    deadline_s: float
    environment: Sequence[Sequence[str]]


class ContainerRecipe(TypedDict):
    """Limits of a container, as in lab.environment.engine.Place. user: "UID:GID", numbers."""

    user: str
    memory_mib: int
    processes: int
    tmp_mib: int


class ProgramRecipe(TypedDict):
    """A user's program; the file `program` beside the script. name: for people."""

    name: str
    sha256: str


class RunRecipe(TypedDict):
    """One boot. modules: the text of init's list of modules. argv: of qemu."""

    modules: str
    argv: Sequence[str]


class BootRecipe(TypedDict):
    """How the kernel was booted. step: paths in it are /boot-in/kernel and /boot-in/initramfs.

    guest: the image whose /bin/busybox is the guest's. kernel: relative to O=. init: text of the initramfs' script;
    applets: names of busybox that it needs. kvm: under KVM. device_trees: relative to O=, the first that is there becomes
    /boot-in/machine.dtb. options: text of what init is to do besides. runs: the boots that were made; without them, the step
    with all modules. modprobe, on_demand: the texts of that script and of its list.
    """

    image: ImageRecipe
    guest: ImageRecipe
    container: ContainerRecipe
    step: StepRecipe
    kernel: str
    init: str
    applets: Sequence[str]
    kvm: bool
    device_trees: NotRequired[Sequence[str]]
    options: NotRequired[str]
    modprobe: NotRequired[str]
    on_demand: NotRequired[str]
    program: NotRequired[ProgramRecipe | None]
    runs: NotRequired[Sequence[RunRecipe]]


class PackageRecipe(TypedDict):
    """A package file. path: where it lay."""

    path: str
    sha256: str


class KernelRecipe(TypedDict):
    """A kernel that somebody gave. folder: where it lies; packages: what it was unpacked from, () if it was not.

    image, device_tree: below the folder, "" if the machine needs no tree. unpacked: whether qemu is given what the image holds,
    and not the image itself. modules: those that may be packed, a line each: path, tab, and file below the folder.
    """

    release: str
    arch: str
    folder: str
    packages: Sequence[PackageRecipe]
    image: str
    image_sha256: str
    unpacked: bool
    device_tree: str
    modules: str


class GivenRecipe(TypedDict):
    """The keys of a record of `lab boot` that boot_script() reads; boot.runs are the boots that were made."""

    lab_version: str
    kernel: KernelRecipe
    boot: BootRecipe


class AmplifyRecipe(TypedDict):
    """What made races likelier: the names under which the script stands in /lab/amplify, and what it reads beside that."""

    words: str
    tools: Sequence[str]
    rules: TextFile
    script: TextFile


class Recipe(TypedDict):
    """The keys of record.json that script() reads; a record may have more.

    patches: in order. kconfig: the files under /lab/kconfig. steps: configure and build, in order. boot: None if not booted.
    """

    lab_version: str
    cell: str
    attempt: int
    granularity_ns: int
    image: ImageRecipe
    container: ContainerRecipe
    source: SourceRecipe
    patches: Sequence[TextFile]
    filesystem: FilesystemRecipe
    kconfig: Sequence[TextFile]
    steps: Sequence[StepRecipe]
    boot: BootRecipe | None


class Further(TypedDict, total=False):
    """Keys of record.json that script() reads if they are there.

    mount: the image that makes the filesystem; without it the build's does. wrappers: the files under /lab/bin. tools: the
    image with native tools. probe: the step that makes again what was made. amplify: what made races likelier.
    """

    mount: ImageRecipe | None
    wrappers: Sequence[TextFile]
    tools: ImageRecipe
    probe: StepRecipe
    amplify: AmplifyRecipe


def script(record: Mapping[str, Any]) -> str:
    """Return the script that does again what a record (see Recipe) says; a KeyError names what the record lacks."""
    wanted = {name: record[name] for name in Recipe.__annotations__}
    further = {name: record.get(name) for name in Further.__annotations__}
    makes = "loop" in (record["filesystem"]["kind"], (record["filesystem"].get("base") or {}).get("kind"))
    return _rendered(
        "reproduce.sh.j2",
        **wanted,
        **further,
        compiler_cache=has_cache(record["steps"]),
        makes=makes,
        maker=further["mount"] if makes else None,
    )


def boot_script(record: Mapping[str, Any]) -> str:
    """Return the script that boots again what a record (see GivenRecipe) says; a KeyError names what the record lacks."""
    return _rendered("boot.sh.j2", **{name: record[name] for name in GivenRecipe.__annotations__})


def _rendered(template: str, **values: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"q": quoted, "words": words, "comment": comment, "heredoc": heredoc, "file": file_name}
    environment.filters |= {"packages": packages}
    return environment.get_template(template).render(**values)


def quoted(value: object) -> str:
    """Return one shell word. NUL, which no shell can hold, is left out."""
    return shlex.quote(_encodable(str(value)))


def words(values: Iterable[object]) -> str:
    """Return many shell words, separated by spaces."""
    return " ".join(quoted(value) for value in values)


def comment(value: object) -> str:
    """Return text that stays on the line of its comment."""
    return "".join(char if char.isprintable() else "?" for char in _encodable(str(value)))


def heredoc(text: str, number: int) -> str:
    """Return `<<'DELIMITER'`, the text and the delimiter's line. A text without a last newline gets one."""
    text = _encodable(text)
    lines = set(text.split("\n"))
    delimiter = f"LAB_END_{number}"
    while delimiter in lines:
        delimiter += "_"
    newline = "" if text.endswith("\n") or not text else "\n"
    return f"<<'{delimiter}'\n{text}{newline}{delimiter}"


def packages(image: ImageRecipe) -> str:
    """Return a line for each package of an image, "name version", by name."""
    return "".join(f"{comment(name)} {comment(version)}\n" for name, version in sorted(image["packages"].items()))


def file_name(value: object) -> str:
    """Return a name that is safe as that of a file in a folder of the script's own."""
    kept = "".join(char if char.isascii() and (char.isalnum() or char in "._+-") else "_" for char in str(value))
    return kept.lstrip(".-")[:100] or "file"


def _encodable(text: str) -> str:
    """Return text that can be written as UTF-8 and read by a shell."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def has_cache(steps: Iterable[StepRecipe]) -> bool:
    """Whether the steps use a compiler cache."""
    return any(name == "CCACHE_DIR" for step in steps for name, _ in step["environment"])
