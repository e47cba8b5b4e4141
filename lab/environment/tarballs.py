"""Unpatched kernel sources as one tarball each: what a source was unpacked from, or a folder packed, always the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lab import proc
from lab.environment import archive as apt
from lab.environment import source as sources
from lab.environment.cache import Holds
from lab.environment.source import Say
from lab.errors import EnvironmentFault, UsageError
from lab.model import DebianSource, Source, TarballSource
from lab.settings import Settings

PACK_DEADLINE_S = 1800.0
EPOCH = "@1600000000"


def tarball(
    source: Source, settings: Settings, scratch: Path, *, sha256: str = "", version: str = "", say: Say = sources.silent
) -> Path:
    """Return a tarball of the unpatched tree, with one folder in it; made in `scratch` unless it lies on this machine already.

    sha256, version: what a Debian package must be and hold, as recorded. A folder is packed as it is now. Raises UsageError if
    it is not the recorded one, EnvironmentFault if it cannot be had.
    """
    if isinstance(source, TarballSource):
        return _same(Path(source.path), source.sha256)
    if isinstance(source, DebianSource):
        say(f"looking for {source.package} {version}")
        return _of_package(_package(source, version, settings, scratch), sha256, scratch)
    with Holds(settings) as holds:
        tree = sources.prepare(source, settings, say, holds)
        say(f"packing {tree.origin}")
        return _packed(tree.path, scratch)


def _same(path: Path, sha256: str) -> Path:
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read the source {str(path)!r}: {error.strerror}") from error
    if found != sha256.lower():
        raise UsageError(
            f"the source {path.name!r} is not the recorded one", facts=(("sha256", found), ("recorded", sha256))
        )
    return path


def _package(source: DebianSource, version: str, settings: Settings, scratch: Path) -> Path:
    """Return the package file: one of the cache's, or fetched."""
    name = f"{source.package}_{version.replace(':', '%3a')}_all.deb"
    kept = next(_kept(name, settings), None)
    if kept is not None:
        return kept
    found = apt.download(source.package, source.suite or apt.newest_suite(source.package, settings), scratch, settings)
    if found.version != version:
        raise EnvironmentFault(
            f"the archive no longer has {source.package!r} in version {version}",
            finding="infra.network",
            facts=(("it has", found.version),),
            hint="leave --with-source away: who runs the bundle can set SOURCE",
        )
    return found.path


def _kept(name: str, settings: Settings) -> Iterator[Path]:
    folder = settings.cache / "downloads"
    yield from (path for path in sorted(folder.glob("*/*.deb")) if path.name == name)


def _of_package(package: Path, sha256: str, scratch: Path) -> Path:
    folder = scratch / "package"
    proc.checked(
        ["dpkg-deb", "-x", str(package), str(folder)], deadline_s=PACK_DEADLINE_S, what=f"open {package.name!r}"
    )
    found = sorted((folder / "usr/src").glob("linux-source-*.tar.*"))
    if len(found) != 1:
        raise UsageError(f"package {package.name!r} holds {len(found)} kernel tarballs, not one")
    return _same(found[0], sha256)


def _packed(tree: Path, scratch: Path) -> Path:
    """Pack a folder as linux/: sorted, nobody's, all of one time, without the git folder, which is no part of the source."""
    target = scratch / "linux.tar.gz"
    argv = ["tar", "--create", f"--file={target}", "--format=gnu", "--sort=name", f"--mtime={EPOCH}", "--owner=0", "--group=0",
            "--numeric-owner", "--mode=u+rw,go=rX", "--exclude=./.git", "--hard-dereference", "--use-compress-program=gzip -n",
            r"--transform=flags=rS;s,^\.,linux,", f"--directory={tree}", "."]  # fmt: skip
    proc.checked(argv, deadline_s=PACK_DEADLINE_S, what=f"pack {str(tree)!r}")
    return target
