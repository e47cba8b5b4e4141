"""Commits on their way to a machine that does not have their repository: one pack, known by its sha256.

A commit's name is a hash over all that it holds, so it does not matter which repository a commit is taken from: a machine
that has a clone at the same path uses that, another one takes the pack into its own clone, once.

Source: git-pack-objects(1), "--revs", and "--shallow COMMIT" among its revisions: the commit counts, its parents do not.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from lab.environment import git
from lab.environment.cache import Holds, locked
from lab.errors import UsageError
from lab.model import GitSource
from lab.settings import Settings

PACK_DEADLINE_S = 3600.0


def is_local(source: GitSource) -> bool:
    """Whether a source names a place on its machine, which others may not have, and not a URL."""
    return "://" not in source.repository


def commit(source: GitSource, settings: Settings) -> str:
    """Return the full commit that a revision is now. Raises UsageError, EnvironmentFault."""
    with locked(settings, git.clone_name(source)):
        return git.commit_of(source, git.clone(source, settings), settings)


def packed(
    repository: str, commits: Sequence[str], settings: Settings, folder: Path, since: str = ""
) -> tuple[Path, str]:
    """Pack all files of these commits, and of those between `since` and them; return the pack in `folder`, and its sha256.

    since: a commit, "" for these alone. Raises UsageError, EnvironmentFault.
    """
    source = GitSource(repository=repository, rev=commits[0])
    with locked(settings, git.clone_name(source)):
        where = git.clone(source, settings)
        ends = [since] if since else [*commits]
        if since:
            told = git.said(where, settings, "read the history", "rev-list", "--boundary", *commits, f"^{since}", "--")
            ends += [line[1:] for line in told.split() if line.startswith("-")]
        wanted = [f"--shallow {one}" for one in dict.fromkeys(ends)] + [*commits, *ends]
        words = ["pack-objects", "--revs", "--quiet", str(folder / "supply")]
        stdin = "".join(f"{line}\n" for line in wanted).encode()
        git.said(where, settings, "pack commits", *words, stdin=stdin, deadline_s=PACK_DEADLINE_S)
    (made,) = folder.glob("supply-*.pack")
    with made.open("rb") as whole:
        return made, hashlib.file_digest(whole, "sha256").hexdigest()


def there(source: GitSource, settings: Settings) -> bool:
    """Whether this machine has a commit: in the repository that is named, or in our own clone of it."""
    with locked(settings, git.clone_name(source)):
        try:
            return git.has(git.clone(source, settings), source.rev, settings)
        except UsageError:
            return False


def taken_in(source: GitSource, pack: Path, settings: Settings) -> None:
    """Let our clone of a repository that is not on this machine have what is in a pack. The file is used up."""
    with Holds(settings) as holds:
        holds.keep("git", git.clone_name(source))
        with locked(settings, git.clone_name(source)):
            where = git.clone(source, settings, elsewhere=True)
            # a pack without its index, as a killed lab leaves it, is none to git
            there = where.folder / "objects/pack" / f"pack-{uuid.uuid4().hex}.pack"
            there.parent.mkdir(parents=True, exist_ok=True)
            os.replace(pack, there)  # noqa: PTH105 (both are in the cache)
            git.said(where, settings, "read a pack", "index-pack", str(there), deadline_s=PACK_DEADLINE_S)
