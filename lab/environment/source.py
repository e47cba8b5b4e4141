"""Kernel sources: fetched once, verified, unpacked once into a cache keyed by content; a patched tree is another key.

A patched tree is made of hard links to the unpatched one; only the files that the patch names are copied, so it costs two
seconds and a few megabytes. Trees in the cache are bound read-only into containers and never written again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lab import proc
from lab.environment import archive as apt
from lab.environment import cache, git
from lab.environment.cache import Holds, locked
from lab.errors import EnvironmentFault, Untestable, UsageError
from lab.model import DebianSource, DirSource, GitSource, Patch, Source, TarballSource
from lab.settings import Settings

PATCHING = "exact"  # changes when trees are patched in another way: part of the key
UNPACK_DEADLINE_S = 1800.0
PATCH_DEADLINE_S = 300.0
_TARGET = re.compile(r"^(?:---|\+\+\+) ([^\t\n]+)", re.M)
_VERSION_PARTS = (b"VERSION", b"PATCHLEVEL", b"SUBLEVEL", b"EXTRAVERSION")
_VERSION = re.compile(rb"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A kernel source tree that can be bound read-only. key: hash of its content (a `dir` source: of its path).

    version: from its Makefile ("6.1.192"). origin: for people and records ("linux-source-6.1 6.1.192-2"). commit: of a git
    source, 40 hex digits.
    """

    path: Path
    key: str
    version: str
    origin: str
    sha256: str = ""
    commit: str = ""


Say = Callable[[str], None]  # one line of progress for people


def key_of(source: Source, patches: tuple[Patch, ...]) -> str:
    """Return a key of what is asked for, known before anything is fetched: the identity of a job."""
    text = repr(source) + "".join(patch.text for patch in patches)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def silent(text: str) -> None:
    """Say nothing."""


def obstacle(source: Source) -> UsageError | None:
    """Return what is wrong with a source that can be seen without reading or fetching it, None if nothing is."""
    try:
        if isinstance(source, DirSource):
            _folder(source)
        elif isinstance(source, TarballSource):
            _there(source)
        elif isinstance(source, GitSource):
            git.check_place(source)
    except UsageError as error:
        return error
    return None


def prepare(source: Source, settings: Settings, say: Say = silent, holds: Holds | None = None) -> Tree:
    """Return the unpatched tree, fetched and unpacked if the cache does not have it.

    holds: keeps the tree in the cache until it is closed; without it the tree may go as soon as this returns.
    Raises UsageError (no such folder, file or revision, wrong hash) and EnvironmentFault (network, disk).
    """
    if isinstance(source, DirSource):
        return _folder(source)
    with Holds(settings) as own:
        keep = holds or own
        if isinstance(source, TarballSource):
            return _tarball(source, settings, say, keep)
        if isinstance(source, GitSource):
            return _git(source, settings, say, keep)
        return _debian(source, settings, say, keep)


def cached(source: DebianSource, settings: Settings, holds: Holds) -> Tree | None:
    """Return the unpatched tree of a package if the cache has it; nothing is fetched, and no suite is looked for."""
    name = f"{source.suite}-{source.package}"
    note = settings.cache / "downloads" / f"{name}.tree"
    return _noted(note, source.package, settings, holds) if source.suite and note.exists() else None


def patched(
    tree: Tree, patches: tuple[Patch, ...], settings: Settings, say: Say = silent, holds: Holds | None = None
) -> Tree:
    """Return the tree with the patches applied in order.

    Raises Untestable naming patch, file and hunk when one does not apply, UsageError when one reaches out of the tree.
    """
    if not patches:
        return tree
    key = _patched_key(tree.key, patches)
    final = settings.cache / "sources" / key

    def fill(scratch: Path) -> None:
        say(f"patching {tree.origin} with {', '.join(patch.name for patch in patches)}")
        _linked(tree.path, scratch, settings)
        for patch in patches:
            _apply(patch, scratch)

    with Holds(settings) as own:
        (holds or own).keep("sources", key)
        _made_once(final, settings, fill)
    names = "+".join(patch.name for patch in patches)
    return replace(tree, path=final, key=key, origin=f"{tree.origin} + {names}")


def revision_key(source: GitSource, patches: tuple[Patch, ...], settings: Settings) -> str:
    """Return the key that the tree of a revision has, or would have, with the patches; nothing is checked out.

    Raises as prepare() does.
    """
    with locked(settings, git.clone_name(source)):
        where = git.clone(source, settings)
        key = f"git-{git.tree_of(git.commit_of(source, where, settings), where, settings)}"
    return _patched_key(key, patches) if patches else key


def _patched_key(key: str, patches: tuple[Patch, ...]) -> str:
    parts = (PATCHING, key, *(patch.text for patch in patches))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def listed(settings: Settings) -> tuple[tuple[str, str, int], ...]:
    """Return (key, version, time last used in seconds) of every tree in the cache."""
    root = settings.cache / "sources"
    trees = [path for path in sorted(root.glob("*")) if (path / "Makefile").is_file()]
    used = {path: cache.last_use_s(settings, "sources", path.name, path) for path in trees}
    return tuple((path.name, version_of(path), int(used[path])) for path in trees)


def version_of(tree: Path) -> str:
    """Return the kernel version that a tree's Makefile declares, or "" if it is not a kernel's."""
    try:
        with (tree / "Makefile").open("rb") as stream:
            found: dict[bytes, bytes] = dict(_VERSION.findall(stream.read(4096)))
    except OSError:
        return ""
    told = {name: found.get(name, b"").decode("utf-8", "replace") for name in _VERSION_PARTS}
    numbers = [told[name] for name in _VERSION_PARTS[:3]]
    return ".".join(filter(None, numbers)) + told[_VERSION_PARTS[3]]


def _folder(source: DirSource) -> Tree:
    path = Path(source.path)
    version = version_of(path)
    if not os.path.isdir(path):  # noqa: PTH112 (a name that is too long is none, and no bug)
        raise UsageError(f"no such folder: {source.path!r}", hint="a relative path starts at the matrix' folder")
    if not version:
        raise UsageError(f"not a kernel source tree: {source.path!r}", facts=(("lacks", "Makefile with VERSION"),))
    if (path / ".config").exists() or (path / "include/config").exists():
        # make's own check would only tell after the container has started (Makefile, "outputmakefile")
        raise UsageError(
            f"the source tree {source.path!r} is not clean",
            hint="run `make mrproper` there: kbuild refuses O= otherwise",
        )
    return Tree(path=path, key=hashlib.sha256(os.fsencode(path)).hexdigest()[:16], version=version, origin=str(path))


def _there(source: TarballSource) -> Path:
    tarball = Path(source.path)
    if not os.path.isfile(tarball):  # noqa: PTH113 (as above)
        raise UsageError(f"no such tarball: {source.path!r}", hint="a relative path starts at the matrix' folder")
    return tarball


def _tarball(source: TarballSource, settings: Settings, say: Say, holds: Holds) -> Tree:
    tarball = _there(source)
    found = _sha256(tarball)
    if found != source.sha256.lower():
        raise UsageError(
            f"tarball {source.path!r} is not what the matrix says",
            facts=(("sha256", found), ("wanted", source.sha256)),
            hint="damaged on its way, or another file: fetch it again, or correct the matrix",
        )
    return _unpacked(tarball, found, tarball.name, settings, say, holds)


def _git(source: GitSource, settings: Settings, say: Say, holds: Holds) -> Tree:
    name = git.clone_name(source)
    holds.keep("git", name)
    with locked(settings, name):
        say(f"asking {source.repository} for {source.rev}")
        where = git.clone(source, settings)
        commit = git.commit_of(source, where, settings)
        digest = git.tree_of(commit, where, settings)
        key = f"git-{digest}"
        holds.keep("sources", key)
        final = settings.cache / "sources" / key

        def fill(scratch: Path) -> None:
            trees = [path.name.removeprefix("git-") for path in final.parent.glob("git-*") if path.suffix != ".new"]
            base = git.most_similar(digest, trees, where, settings)
            say(f"checking out {source.rev}" + (f", from {base[:12]}" if base else ""))
            if base:
                holds.keep("sources", f"git-{base}")
                _linked(final.with_name(f"git-{base}"), scratch, settings)
            else:
                scratch.mkdir(parents=True)
            git.check_out(digest, scratch, where, settings, base)
            if not version_of(scratch):
                raise UsageError(f"revision {source.rev!r} of {source.repository!r} holds no kernel source tree")

        _made_once(final, settings, fill)
    origin = " ".join(dict.fromkeys((Path(source.repository).name, source.rev, commit)))
    return Tree(path=final, key=key, version=version_of(final), origin=origin, commit=commit)


def _debian(source: DebianSource, settings: Settings, say: Say, holds: Holds) -> Tree:
    suite = source.suite or apt.newest_suite(source.package, settings)
    name = f"{suite}-{source.package}"
    folder = settings.cache / "downloads" / name
    # beside the folder: the package may leave the cache before its tree does
    note = folder.with_name(f"{name}.tree")
    with locked(settings, name):
        if note.exists() and (tree := _noted(note, source.package, settings, holds)):
            return tree
        holds.keep("downloads", name)
        say(f"fetching {source.package} of {suite}")
        package = apt.download(source.package, suite, folder, settings)
        proc.checked(
            ["dpkg-deb", "-x", str(package.path), str(folder / "x")],
            deadline_s=UNPACK_DEADLINE_S,
            what="open the package",
        )
        tarballs = sorted((folder / "x/usr/src").glob("linux-source-*.tar.*"))
        if len(tarballs) != 1:
            shutil.rmtree(folder)
            raise UsageError(
                f"package {package.name!r} of {suite} holds {len(tarballs)} kernel tarballs, not one",
                hint="name the package of one version: linux-source-6.1",
            )
        digest = _sha256(tarballs[0])
        tree = _unpacked(tarballs[0], digest, f"{package.name} {package.version}", settings, say, holds)
        note.write_text(f"{digest} {package.version}\n")
        shutil.rmtree(folder / "x")
        return tree


def _noted(note: Path, package: str, settings: Settings, holds: Holds) -> Tree | None:
    """Return the tree that a note is about, None if it has left the cache."""
    digest, version = note.read_text().split()
    ready = settings.cache / "sources" / digest[:16]
    holds.keep("sources", ready.name)
    if not ready.exists():
        return None
    return Tree(path=ready, key=ready.name, version=version_of(ready), origin=f"{package} {version}", sha256=digest)


def _unpacked(tarball: Path, digest: str, origin: str, settings: Settings, say: Say, holds: Holds) -> Tree:
    """Unpack into a folder named by the content's hash, at most once."""
    key = digest[:16]
    final = settings.cache / "sources" / key

    def fill(scratch: Path) -> None:
        say(f"unpacking {origin}")
        scratch.mkdir(parents=True)
        _untar(tarball, scratch)
        if not version_of(scratch):
            raise UsageError(f"{tarball.name!r} holds no kernel source tree")

    holds.keep("sources", key)
    _made_once(final, settings, fill)
    return Tree(path=final, key=key, version=version_of(final), origin=origin, sha256=digest)


def _untar(tarball: Path, folder: Path) -> None:
    """Unpack, or raise UsageError for an archive that is damaged and EnvironmentFault for a disk that is full."""
    # GNU tar refuses absolute names and "..", and puts symbolic links in last, so that none is written through
    argv = ["tar", "--extract", f"--file={tarball}", f"--directory={folder}", "--strip-components=1",
            "--no-same-owner", "--no-same-permissions", "--delay-directory-restore"]  # fmt: skip
    done = proc.run(argv, deadline_s=UNPACK_DEADLINE_S)
    if done.ok:
        return
    if done.timed_out or "No space left on device" in done.output:
        raise EnvironmentFault(
            f"cannot unpack {tarball.name!r}",
            finding="infra.host" if done.timed_out else "infra.disk-full",
            facts=(("said", done.last_line),),
        )
    said = next((line for line in done.output.splitlines() if line.strip()), "")
    raise UsageError(f"cannot unpack {tarball.name!r}: damaged, or no archive of a kernel", facts=(("said", said),))


def _made_once(final: Path, settings: Settings, fill: Callable[[Path], None]) -> None:
    """Let a tree appear whole, by way of a temporary name, or not at all."""
    with locked(settings, final.name):
        if final.exists():
            return
        scratch = final.with_name(f"{final.name}.new")
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            fill(scratch)
            scratch.rename(final)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def _linked(tree: Path, copy: Path, settings: Settings) -> None:
    """Make another tree of the same files: hard links to one in the cache, copies of any other."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    link = "-l" if tree.is_relative_to(settings.cache) else "--reflink=auto"
    proc.checked(
        ["cp", "-a", link, "--", str(tree), str(copy)], deadline_s=UNPACK_DEADLINE_S, what="link the source tree"
    )


def _apply(patch: Patch, tree: Path) -> None:
    for name in _touched(patch):
        _unlink_from_base(tree, name)
    # no fuzz, as with git apply: a hunk that lands where its context is not would make another kernel than was asked for
    argv = [
        "patch",
        "-p1",
        "--batch",
        "--forward",
        "--fuzz=0",
        "--no-backup-if-mismatch",
        "--reject-file=-",
        "-d",
        str(tree),
    ]
    done = proc.run(argv, deadline_s=PATCH_DEADLINE_S, stdin=patch.text.encode())
    if done.ok:
        return
    lines = [line.strip() for line in done.output.splitlines()]
    telling = [
        line for line in lines if re.search(r"FAILED|can't find file|malformed|Ignoring|previously applied", line)
    ]
    file = next((line for line in lines if line.startswith("patching file")), "")
    raise Untestable(
        f"patch {patch.name!r} does not apply to {version_of(tree) or 'this tree'}",
        facts=tuple(("patch", text) for text in filter(None, [file, *telling[:3]])) or (("patch", done.last_line),),
        hint="a patch for another version needs another file in the matrix",
    )


def _touched(patch: Patch) -> Iterator[str]:
    """Yield the paths of a diff without their first component; refuses those that leave the tree."""
    for name in dict.fromkeys(_TARGET.findall(patch.text)):
        if name == "/dev/null":
            continue
        inner = name.split("/", 1)[-1]
        if inner.startswith("/") or ".." in inner.split("/"):
            raise UsageError(f"patch {patch.name!r} reaches out of the source tree: {name!r}")
        yield inner


def _unlink_from_base(tree: Path, name: str) -> None:
    """Give the file an inode of its own: the base tree shares the one it has."""
    path = tree / name
    if path.resolve().is_relative_to(tree.resolve()) and path.is_file() and not path.is_symlink():
        own = path.with_name(path.name + ".own")
        shutil.copy2(path, own)
        own.rename(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
