"""Two builds side by side: which files are compared, which are left out and why, and what all of that comes to.

Either is an output directory (every object of the kernel, modules, vmlinux) or an evidence folder (modules and vmlinux
only); of two different shapes, what both hold is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import UsageError
from lab.evidence import compare, mtimes
from lab.evidence.bundle import Shape, shape_of
from lab.evidence.compare import Difference, Kind, RelaidError
from lab.evidence.elf import UnreadableError, open_elf
from lab.evidence.text import opened

PIECE = 1 << 20
PACKED_AT_MOST = 1 << 20  # bytes of a vdso
DIFFERENCES_AT_MOST = 1000
_SUFFIXES = (".o", ".ko", ".so", ".dbg", ".elf")
_HOST_FOLDERS = re.compile(r"(?:scripts|tools|arch/[^/]+/tools)/")
_PACKS_VMLINUX = re.compile(r"arch/[^/]+/boot/(?:.*/)?(?:piggy\.o|vmlinux|vmlinuz\.o|vmlinuz\.efi\.elf)")
_COMPILED = re.compile(r"(?:^|\s)-c(?:\s|$)")
LEFT_OUT = (
    *compare.LEFT_OUT,
    "host programs (scripts/, tools/ and what is compiled without -D__KERNEL__)",
    "links that are made on the way (.tmp_*), archives (their members are compared)",
    "boot images; and what packs vmlinux, if vmlinux differs in the above only; a vdso in an object likewise",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """A file that says neither yes nor no. because: why."""

    path: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What two builds have in common and where they differ.

    same: files that carry the same code; identical: of those, equal to the last byte. differences: the first
    DIFFERENCES_AT_MOST; differing: files with any. unproven: files that could not be compared. explained: files that need not
    be, because all that they are made of was. host: host programs left out. left_out: what did not count, in words.
    """

    same: int = 0
    identical: int = 0
    differing: int = 0
    differences: tuple[Difference, ...] = ()
    unproven: tuple[Aside, ...] = ()
    explained: tuple[Aside, ...] = ()
    host: int = 0
    left_out: tuple[str, ...] = LEFT_OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The files of one side. files: path relative to O= -> where it is. host: how many host programs were seen."""

    shape: Shape
    files: dict[str, Path]
    host: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Tally:
    """What a comparison under way has come to."""

    same: int = 0
    identical: int = 0
    differing: int = 0
    differences: list[Difference] = field(default_factory=list)
    unproven: list[Aside] = field(default_factory=list)
    explained: list[Aside] = field(default_factory=list)
    packed: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)

    def differs(self, found: Iterable[Difference]) -> None:
        self.differing += 1
        self.differences += list(found)[: DIFFERENCES_AT_MOST - len(self.differences)]

    def packed_near(self, path: str) -> list[tuple[bytes, bytes]]:
        """Return both contents of each shared object that the object at `path` may include: one of its folder or below."""
        folder = path.rpartition("/")[0] + "/"
        return [pair for name, pair in self.packed.items() if name.startswith(folder) and path.endswith(".o")]


def build(root: Path) -> Build:
    """Return the kernel's files of a folder. Raises UsageError if it is neither kind of folder."""
    shape = shape_of(root)
    if shape is Shape.DISTRIBUTION:
        raise UsageError(
            f"'{root}' is a distribution's kernel: it has no objects to compare",
            hint="give the directories that O= named, or two attempts' evidence folders",
        )
    known = mtimes.scan(root).times
    if shape is Shape.ATTEMPT:
        modules = {name.removeprefix("modules/"): root / name for name in known if name.startswith("modules/")}
        kernel = {"vmlinux": root / "vmlinux.zst"} if "vmlinux.zst" in known else {}
        return Build(shape=shape, files=kernel | {name: path for name, path in modules.items() if name.endswith(".ko")})
    wanted = sorted(name for name in known if _is_wanted(name))
    host = frozenset(name for name in wanted if _is_host(root, name, known))
    return Build(shape=shape, files={name: root / name for name in wanted if name not in host}, host=host)


def _is_wanted(path: str) -> bool:
    base = path.rpartition("/")[2]
    return not base.startswith(".") and (base == "vmlinux" or base.endswith(_SUFFIXES))


def _is_host(root: Path, path: str, known: Iterable[str]) -> bool:
    """Whether a file was made for the machine that builds: by its command, without one by its folder.

    Source: scripts/Makefile.host passes no KBUILD_CPPFLAGS; tools/build writes .cmd files of the same form.
    """
    folder, _, base = path.rpartition("/")
    name = f"{folder}/.{base}.cmd" if folder else f".{base}.cmd"
    command = _first_line(root / name) if name in known else ""
    if "-D__KERNEL__" in command:
        return False
    return bool(_HOST_FOLDERS.match(path)) or _COMPILED.search(command) is not None


def _first_line(path: Path) -> str:
    try:
        with opened(path) as file:
            return file.readline(1 << 20).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def compared(a: Build, b: Build) -> Comparison:
    """Return how two builds compare, file by file. Never raises for what the files hold."""
    mine, other = a.files, b.files
    if a.shape is not b.shape:  # an evidence folder has no objects: their absence says nothing
        mine, other = _linked(mine), _linked(other)
    tally, repacked = _Tally(), False
    objects = any(path.endswith(".o") for path in mine)
    for path in sorted({*mine, *other}, key=_parts_first):
        if path not in mine or path not in other:
            kind = Kind.ONLY_IN_A if path in mine else Kind.ONLY_IN_B
            tally.differs([Difference(path=path, kind=kind)])
        elif repacked and _PACKS_VMLINUX.fullmatch(path):
            tally.explained.append(Aside(path=path, because="packs vmlinux, which differs in what does not count"))
        else:
            identical, differing = tally.identical, tally.differing
            _compare(path, mine[path], other[path], tally, objects=objects)
            repacked |= path == "vmlinux" and identical == tally.identical and differing == tally.differing
    return Comparison(
        same=tally.same,
        identical=tally.identical,
        differing=tally.differing,
        differences=tuple(tally.differences),
        unproven=tuple(tally.unproven),
        explained=tuple(tally.explained),
        host=len(a.host | b.host),
    )


def _linked(files: dict[str, Path]) -> dict[str, Path]:
    return {path: file for path, file in files.items() if path == "vmlinux" or path.endswith(".ko")}


def _parts_first(path: str) -> tuple[bool, bool, str]:
    """Order files so that what others pack comes before them: vmlinux, then the vdso's shared objects."""
    return path != "vmlinux", not path.endswith(".so"), path


def _compare(path: str, a: Path, b: Path, tally: _Tally, *, objects: bool) -> None:
    """Compare two files. objects: those that they are linked from are compared, too."""
    try:
        if _identical(a, b):
            tally.same += 1
            tally.identical += 1
            return
        with ExitStack() as stack:
            one, two = (stack.enter_context(open_elf(file)) for file in (a, b))
            found = tuple(_first(compare.differences(path, one, two, tally.packed_near(path))))
    except RelaidError as error:
        told = Aside(path=path, because=str(error))
        (tally.explained if objects else tally.unproven).append(told)
        return
    except (UnreadableError, OSError) as error:
        tally.unproven.append(Aside(path=path, because=str(error)))
        return
    if found:
        tally.differs(found)
        return
    tally.same += 1
    if path.endswith(".so"):
        tally.packed[path] = (_content(a), _content(b))


def _content(path: Path) -> bytes:
    with opened(path) as file:
        return file.read(PACKED_AT_MOST)


def _first(found: Iterator[Difference]) -> Iterator[Difference]:
    for difference, _ in zip(found, range(DIFFERENCES_AT_MOST), strict=False):
        yield difference


def _identical(a: Path, b: Path) -> bool:
    """Whether two files are equal to the last byte. Raises OSError if either is no regular file."""
    with opened(a) as left, opened(b) as right:
        while True:
            piece, other = left.read(PIECE), right.read(PIECE)
            if piece != other:
                return False
            if not piece:
                return True
