"""Kernel sources: fetched once, verified, unpacked once into a cache keyed by content; a patched tree is another key.

A patched tree is made of hard links to the unpatched one; only the files that the patch names are copied, so it costs two
seconds and a few megabytes. Trees in the cache are bound read-only into containers and never written again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import proc
from lab.environment import archive as apt
from lab.errors import EnvironmentFault, Untestable, UsageError
from lab.model import DebianSource, DirSource, Patch, Source, TarballSource
from lab.settings import Settings

PATCHING = "exact"  # changes when trees are patched in another way: part of the key
UNPACK_DEADLINE_S = 1800.0
PATCH_DEADLINE_S = 300.0
_TARGET = re.compile(r"^(?:---|\+\+\+) ([^\t\n]+)", re.M)
_VERSION = re.compile(rb"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A kernel source tree that can be bound read-only. key: hash of its content (a `dir` source: of its path).

    version: from its Makefile ("6.1.192"). origin: for people and records ("linux-source-6.1 6.1.192-2").
    """

    path: Path
    key: str
    version: str
    origin: str
    sha256: str = ""


def key_of(source: Source, patches: tuple[Patch, ...]) -> str:
    """Return a key of what is asked for, known before anything is fetched: the identity of a job."""
    text = repr(source) + "".join(patch.text for patch in patches)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def prepare(source: Source, settings: Settings, say: Callable[[str], None] = lambda text: None) -> Tree:
    """Return the unpatched tree, fetched and unpacked if the cache does not have it.

    Raises UsageError (no such folder or file, wrong hash) and EnvironmentFault (network, disk).
    """
    if isinstance(source, DirSource):
        return _folder(source)
    if isinstance(source, TarballSource):
        tarball = Path(source.path)
        if not tarball.is_file():
            raise UsageError(f"no such tarball: {source.path!r}")
        found = _sha256(tarball)
        if found != source.sha256.lower():
            raise UsageError(
                f"tarball {source.path!r} is not what the matrix says",
                facts=(("sha256", found), ("wanted", source.sha256)),
            )
        return _unpacked(tarball, found, tarball.name, settings, say)
    return _debian(source, settings, say)


def patched(
    tree: Tree, patches: tuple[Patch, ...], settings: Settings, say: Callable[[str], None] = lambda text: None
) -> Tree:
    """Return the tree with the patches applied in order.

    Raises Untestable naming patch, file and hunk when one does not apply, UsageError when one reaches out of the tree.
    """
    if not patches:
        return tree
    parts = (PATCHING, tree.key, *(patch.text for patch in patches))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    final = settings.cache / "sources" / key
    with _locked(settings, key):
        if not final.exists():
            say(f"patching {tree.origin} with {', '.join(patch.name for patch in patches)}")
            scratch = final.with_name(f"{key}.new")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.parent.mkdir(parents=True, exist_ok=True)
            link = "--reflink=auto" if str(tree.path).find(str(settings.cache)) != 0 else "-l"
            proc.checked(
                ["cp", "-a", link, "--", str(tree.path), str(scratch)],
                deadline_s=UNPACK_DEADLINE_S,
                what="link the source tree",
            )
            try:
                for patch in patches:
                    _apply(patch, scratch)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
            scratch.rename(final)
    names = "+".join(patch.name for patch in patches)
    return Tree(path=final, key=key, version=tree.version, origin=f"{tree.origin} + {names}", sha256=tree.sha256)


def listed(settings: Settings) -> tuple[tuple[str, str, int], ...]:
    """Return (key, version, time last used in seconds) of every tree in the cache."""
    root = settings.cache / "sources"
    trees = [path for path in sorted(root.glob("*")) if (path / "Makefile").is_file()]
    return tuple((path.name, version_of(path), int(path.stat().st_atime)) for path in trees)


def version_of(tree: Path) -> str:
    """Return the kernel version that a tree's Makefile declares, or "" if it is not a kernel's."""
    try:
        with (tree / "Makefile").open("rb") as stream:
            found: dict[bytes, bytes] = dict(_VERSION.findall(stream.read(4096)))
    except OSError:
        return ""
    numbers = [found.get(name, b"").decode() for name in (b"VERSION", b"PATCHLEVEL", b"SUBLEVEL")]
    return ".".join(filter(None, numbers)) + found.get(b"EXTRAVERSION", b"").decode()


def _folder(source: DirSource) -> Tree:
    path = Path(source.path)
    version = version_of(path)
    if not version:
        raise UsageError(f"not a kernel source tree: {source.path!r}", facts=(("lacks", "Makefile with VERSION"),))
    if (path / ".config").exists() or (path / "include/config").exists():
        # make's own check would only tell after the container has started (Makefile, "outputmakefile")
        raise UsageError(
            f"the source tree {source.path!r} is not clean",
            hint="run `make mrproper` there: kbuild refuses O= otherwise",
        )
    return Tree(path=path, key=hashlib.sha256(os.fsencode(path)).hexdigest()[:16], version=version, origin=str(path))


def _debian(source: DebianSource, settings: Settings, say: Callable[[str], None]) -> Tree:
    suite = source.suite or apt.newest_suite(source.package, settings)
    folder = settings.cache / "downloads" / f"{suite}-{source.package}"
    with _locked(settings, folder.name):
        debs = sorted(folder.glob("*.deb"))
        if debs and (folder / "tarball.sha256").exists():
            digest, version = (folder / "tarball.sha256").read_text().split()
            ready = settings.cache / "sources" / digest[:16]
            if ready.exists():
                return Tree(
                    path=ready,
                    key=digest[:16],
                    version=version_of(ready),
                    origin=f"{source.package} {version}",
                    sha256=digest,
                )
        say(f"fetching {source.package} of {suite}")
        package = apt.download(source.package, suite, folder, settings)
        proc.checked(
            ["dpkg-deb", "-x", str(package.path), str(folder / "x")],
            deadline_s=UNPACK_DEADLINE_S,
            what="open the package",
        )
        tarballs = sorted((folder / "x/usr/src").glob("linux-source-*.tar.*"))
        if len(tarballs) != 1:
            raise EnvironmentFault(f"package {package.name!r} holds {len(tarballs)} kernel tarballs, not one")
        digest = _sha256(tarballs[0])
        tree = _unpacked(tarballs[0], digest, f"{package.name} {package.version}", settings, say)
        (folder / "tarball.sha256").write_text(f"{digest} {package.version}\n")
        shutil.rmtree(folder / "x")
        return tree


def _unpacked(tarball: Path, digest: str, origin: str, settings: Settings, say: Callable[[str], None]) -> Tree:
    """Unpack into a folder named by the content's hash, by way of a temporary name; at most once."""
    key = digest[:16]
    final = settings.cache / "sources" / key
    with _locked(settings, key):
        if not final.exists():
            say(f"unpacking {origin}")
            scratch = final.with_name(f"{key}.new")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            # GNU tar refuses absolute names and "..", and puts symbolic links in last, so that none is written through
            proc.checked(
                ["tar", "--extract", f"--file={tarball}", f"--directory={scratch}", "--strip-components=1",
                 "--no-same-owner", "--no-same-permissions", "--delay-directory-restore"],
                deadline_s=UNPACK_DEADLINE_S,
                what=f"unpack {tarball.name!r}",
            )  # fmt: skip
            if not version_of(scratch):
                shutil.rmtree(scratch)
                raise UsageError(f"{tarball.name!r} holds no kernel source tree")
            scratch.rename(final)
    return Tree(path=final, key=key, version=version_of(final), origin=origin, sha256=digest)


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


@contextmanager
def _locked(settings: Settings, name: str) -> Iterator[None]:
    """Hold a lock of the cache by name, against other threads and other labs."""
    folder = settings.cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
