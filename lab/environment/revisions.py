"""The commits between two revisions of a repository on this machine, as a bisection needs them. Only reads.

Git runs as in lab.environment.git: in a clone of ours that borrows the objects, with our configuration only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.environment import git
from lab.environment.cache import locked
from lab.errors import UsageError
from lab.model import GitSource
from lab.settings import Settings

COMMITS_AT_MOST = 40_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit. name: its full hash. parents: as numbers in the range; those outside of it are left out."""

    name: str
    parents: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What lies between two revisions. commits: parents before children, the last is `bad`. likely: see between()."""

    good: str
    bad: str
    commits: tuple[Commit, ...]
    likely: tuple[int, ...] = ()


def between(
    repository: str,
    good: str,
    bad: str,
    settings: Settings,
    *,
    first_parent: bool = False,
    paths: Sequence[str] = (),
    likely: Sequence[str] = (),
) -> Range:
    """Return the commits that `bad` has and `good` has not. Raises UsageError if there are none, or far too many.

    paths: only commits that touch them, with parents as if there were no others, and `bad` itself. likely: commits that touch
    these are named in Range.likely.
    """
    sources = [GitSource(repository=repository, rev=rev) for rev in (good, bad)]
    with locked(settings, git.clone_name(sources[0])):
        where = git.clone(sources[0], settings)
        if where.objects is None:
            raise UsageError(
                f"cannot bisect {repository!r}: its history is not on this machine", hint="clone it, and name the clone"
            )
        first, last = (git.commit_of(source, where, settings) for source in sources)
        words = ["rev-list", "--topo-order", "--reverse", "--parents", *(["--first-parent"] if first_parent else [])]
        simplified = ["--full-history", "--simplify-merges"] if paths else []
        told = _listed(where, settings, *words, *simplified, last, f"^{first}", "--", *paths)
        touching = _listed(where, settings, "rev-list", last, f"^{first}", "--", *likely) if likely else []
    if not told and not paths:
        raise UsageError(
            f"no commit is in {bad!r} and not in {good!r}", hint="--good is the older revision, --bad the newer"
        )
    if len(told) > COMMITS_AT_MOST:
        raise UsageError(
            f"more than {COMMITS_AT_MOST} commits lie between {good!r} and {bad!r}", hint="name nearer ones"
        )
    commits = numbered(told, last, first_parent=first_parent)
    numbers = {commit.name: number for number, commit in enumerate(commits)}
    return Range(
        good=first,
        bad=last,
        commits=commits,
        likely=tuple(sorted(numbers[row[0]] for row in touching if row[0] in numbers)),
    )


def numbered(rows: Sequence[Sequence[str]], last: str, *, first_parent: bool = False) -> tuple[Commit, ...]:
    """Return commits with numbers for parents. rows: each with its parents, parents first. last: added if it is not there."""
    numbers: dict[str, int] = {}
    commits: list[Commit] = []
    for name, *parents in rows:
        kept = parents[:1] if first_parent else parents
        commits.append(Commit(name=name, parents=tuple(numbers[one] for one in kept if one in numbers)))
        numbers[name] = len(numbers)
    if last not in numbers:
        below = {parent for commit in commits for parent in commit.parents}
        heads = tuple(number for number in range(len(commits)) if number not in below)
        commits.append(Commit(name=last, parents=heads))
    return tuple(commits)


def subject(repository: str, commit: str, settings: Settings) -> str:
    """Return the first line of a commit's message."""
    source = GitSource(repository=repository, rev=commit)
    with locked(settings, git.clone_name(source)):
        where = git.clone(source, settings)
        return git.said(where, settings, "read a commit", "show", "-s", "--format=%s", commit, "--").strip()


def having(repository: str, revision: str, heads: Sequence[str], settings: Settings) -> frozenset[str]:
    """Return the commits below the heads (full hashes) that have a revision among their ancestors, and itself.

    Raises UsageError if the repository has no such revision. Source: git-rev-list(1), --ancestry-path.
    """
    source = GitSource(repository=repository, rev=revision)
    with locked(settings, git.clone_name(source)):
        where = git.clone(source, settings)
        commit = git.commit_of(source, where, settings)
        told = _listed(where, settings, "rev-list", "--ancestry-path", *heads, f"^{commit}", "--")
    return frozenset((commit, *(row[0] for row in told)))


def _listed(where: git.Clone, settings: Settings, *words: str) -> list[list[str]]:
    told = git.said(where, settings, "read the history", *words)
    return [line.split() for line in told.splitlines() if line.strip()]


def reverse_patch(repository: str, commit: str, settings: Settings) -> str:
    """Return the unified diff that takes a commit back, "" of a merge or of what cannot be said in text."""
    source = GitSource(repository=repository, rev=commit)
    with locked(settings, git.clone_name(source)):
        where = git.clone(source, settings)
        if len(git.said(where, settings, "read a commit", "rev-list", "--parents", "-1", commit).split()) != 2:
            return ""
        words = ["diff", "--no-color", "--no-ext-diff", "--no-renames", commit, f"{commit}^", "--"]
        text = git.said(where, settings, "take a commit back", *words)
    return "" if "\nGIT binary patch" in text or "\nBinary files " in text else text
