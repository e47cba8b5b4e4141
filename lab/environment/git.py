"""Revisions of git repositories as trees: one bare clone a repository, one checkout a tree, unchanged files shared.

A repository on this machine is not copied at all: our clone borrows its objects. From elsewhere only the revisions that are
asked for are fetched, without their history. A checkout starts as hard links to the most similar one that is there, so that
a second revision costs the files that differ (a `git worktree` would write all of them again: 80 000 files, over 1 GB).

Repositories are strangers'. No command of ours runs in their git directory but git's own upload-pack, which is made for that;
our clone has our configuration only: no hooks, no filters, no file system monitor, no submodules, no attributes of the tree,
no fetching of what is missing.

Source: git(1), "Security"; gitattributes(5), "$GIT_DIR/info/attributes"; git-config(1), safe.directory, protocol.allow.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from lab import proc
from lab.errors import EnvironmentFault, UsageError
from lab.model import GitSource
from lab.settings import Settings

ASK_DEADLINE_S = 300.0
FETCH_DEADLINE_S = 3600.0
CHECKOUT_DEADLINE_S = 1800.0
CHANGED_AT_MOST = 20_000  # files that differ; beyond that a checkout is not made from another one
SUPPLIED = "supplied"  # in a clone of a repository on another machine: it was sent here (lab.environment.supplies)
COMMIT = re.compile(r"[0-9a-f]{40}")
_SHORT = re.compile(r"[0-9a-f]{7,39}")
_NO_REPOSITORY = re.compile(r"does not appear to be a git repo|not found|not a git repo|does not exist", re.I)

CONFIGURATION = """\
[safe]
	directory = *
[core]
	hooksPath = /dev/null
	fsmonitor = false
	autocrlf = false
	symlinks = true
[gc]
	auto = 0
[maintenance]
	auto = false
[submodule]
	recurse = false
[checkout]
	workers = 0
[http]
	lowSpeedLimit = 1000
	lowSpeedTime = 60
[advice]
	detachedHead = false
"""
# comes before every .gitattributes of the tree: what git wrote is what the commit has, byte for byte
ATTRIBUTES = "* -text -filter -ident -working-tree-encoding -eol\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    """A bare repository of ours. repository: path or URL of theirs. objects: of theirs on this machine, or None."""

    folder: Path
    repository: str
    objects: Path | None


def clone_name(source: GitSource) -> str:
    """Return the name of a repository's clone in the cache."""
    return hashlib.sha256(source.repository.encode()).hexdigest()[:16] + ".git"


def clone(source: GitSource, settings: Settings, *, elsewhere: bool = False) -> Clone:
    """Return the repository's clone, made if it is not there. Its lock is held by the caller. Asks no network.

    elsewhere: the repository need not be on this machine; one that was made so stays what it is.
    """
    root = settings.cache / "git"
    folder = root / clone_name(source)
    objects = None
    if "://" not in source.repository:
        try:
            objects = _objects(source)
        except UsageError:
            if not elsewhere and not (folder / SUPPLIED).is_file():
                raise
    made = Clone(folder=folder, repository=source.repository, objects=objects)
    root.mkdir(parents=True, exist_ok=True)
    (root / "config").write_text(CONFIGURATION)
    if not (made.folder / "info/attributes").is_file():
        words = ["git", "init", "--quiet", "--bare", "--template=", "--", str(made.folder)]
        proc.checked(words, deadline_s=60.0, what="make a git repository", environment=_environment(made, settings))
        (made.folder / "info").mkdir(exist_ok=True)
        (made.folder / "info/attributes").write_text(ATTRIBUTES)
    if elsewhere:
        (made.folder / SUPPLIED).touch()
    return made


def check_place(source: GitSource) -> None:
    """Raise UsageError if a repository that should be on this machine is not. Asks no network, runs nothing."""
    if "://" not in source.repository:
        _objects(source)
    elif source.repository.startswith("file://") and not Path(unquote(source.repository[7:])).exists():
        raise UsageError(f"no such git repository: {source.repository!r}")


def commit_of(source: GitSource, where: Clone, settings: Settings) -> str:
    """Return the full commit that a revision is today, its objects at hand; fetched if they are not.

    Raises UsageError if there is no such repository or revision, EnvironmentFault infra.network if it cannot be reached.
    """
    if COMMIT.fullmatch(source.rev):
        named, name = source.rev, ""
    else:
        named, name = _named(source, where, settings)
    if not named and _SHORT.fullmatch(source.rev):
        named = _git(where, settings, "rev-parse", "--verify", "--quiet", f"{source.rev}^{{commit}}").last_line
    if not named:
        raise _no_revision(source, "" if where.objects else "abbreviated commits only of a repository on this machine")
    if where.objects is None and not has(where, named, settings):
        _fetch(source, where, named, name, settings)
    peeled = _git(where, settings, "rev-parse", "--verify", "--quiet", f"{named}^{{commit}}")
    if not peeled.ok or not COMMIT.fullmatch(peeled.last_line) or not has(where, peeled.last_line, settings):
        raise _no_revision(source, "")
    return peeled.last_line


def tree_of(commit: str, where: Clone, settings: Settings) -> str:
    """Return the hash of a commit's tree: what two revisions with the same files share."""
    return _must(where, settings, "look into a commit", "rev-parse", "--verify", f"{commit}^{{tree}}").last_line


def said(
    where: Clone,
    settings: Settings,
    what: str,
    *words: str,
    stdin: bytes | None = None,
    deadline_s: float = ASK_DEADLINE_S,
) -> str:
    """Return what git says in the clone. Raises EnvironmentFault. what: it is to do, for people."""
    return _must(where, settings, what, *words, stdin=stdin, deadline_s=deadline_s).output


def has(where: Clone, commit: str, settings: Settings) -> bool:
    """Whether a commit and its files are at hand, in the clone or in what it borrows from."""
    return _git(where, settings, "cat-file", "-e", f"{commit}^{{tree}}").ok


def most_similar(tree: str, others: Iterable[str], where: Clone, settings: Settings) -> str:
    """Return the one of other trees that differs least, "" if none is worth starting from."""
    counts = {
        other: len(changed) for other in others if (changed := _changed(other, tree, where, settings)) is not None
    }
    return min(counts, key=lambda other: counts[other], default="")


def check_out(tree: str, folder: Path, where: Clone, settings: Settings, base: str = "") -> None:
    """Write a tree's files into a folder: an empty one, or one that holds the files of the tree `base`.

    Files that differ are removed first and written anew, so that nothing is ever written through a hard link.
    """
    index = folder.with_name(f"{folder.name}.index")
    extra = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(folder)}
    words, stdin = ["--all"], None
    try:
        # refuses names that leave the folder or reach into .git
        _must(where, settings, "read a tree", "read-tree", tree, extra=extra)
        if base:
            for path in _changed(base, tree, where, settings) or ():
                _take_out(folder, path)
            there = _changed(base, tree, where, settings, "--diff-filter=d") or ()
            words, stdin = ["-z", "--stdin"], "".join(f"{path}\0" for path in there).encode()
        words = ["checkout-index", "--force", "--quiet", *words]
        _must(where, settings, "check out a tree", *words, extra=extra, stdin=stdin, deadline_s=CHECKOUT_DEADLINE_S)
    finally:
        index.unlink(missing_ok=True)


def _changed(old: str, new: str, where: Clone, settings: Settings, *only: str) -> tuple[str, ...] | None:
    """Return the paths that differ between two trees; None if they cannot be told or are too many."""
    if not _git(where, settings, "cat-file", "-e", f"{old}^{{tree}}").ok:
        return None
    told = _git(where, settings, "diff-tree", "-r", "-z", "--no-renames", "--name-only", *only, old, new)
    paths = tuple(filter(None, told.output.split("\0")))
    # a name that is not UTF-8 does not come through proc, nor does more than it keeps
    return None if not told.ok or "\ufffd" in told.output or len(paths) > CHANGED_AT_MOST else paths


def _take_out(folder: Path, path: str) -> None:
    """Remove one file and the folders that it leaves empty."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        (folder / path).unlink()
    for parent in list((folder / path).parents):
        if parent == folder:
            break
        try:
            parent.rmdir()
        except OSError:
            break


def _objects(source: GitSource) -> Path:
    """Return the objects of a repository on this machine without running anything in it.

    Source: gitrepository-layout(5), "gitfile" and "commondir".
    """
    path = Path(source.repository)
    if not path.exists():
        raise UsageError(
            f"no such git repository: {source.repository!r}", hint="a relative path starts at the matrix' folder"
        )
    folder = path / ".git" if (path / ".git").exists() else path
    try:
        if folder.is_file():
            folder = path / folder.read_text()[:4096].removeprefix("gitdir:").strip()
        if (folder / "commondir").is_file():
            folder = folder / (folder / "commondir").read_text()[:4096].strip()
    except (OSError, UnicodeDecodeError):
        folder = path
    if not (folder / "objects").is_dir() or not (folder / "HEAD").exists():
        raise UsageError(
            f"not a git repository: {source.repository!r}", hint="name the folder that has .git, or a bare repository"
        )
    return folder / "objects"


def _named(source: GitSource, where: Clone, settings: Settings) -> tuple[str, str]:
    """Ask the repository what a tag, a branch or a full ref name stands for: (hash, ref), ("", "") if nothing."""
    rev = source.rev
    order = [rev] if rev == "HEAD" or rev.startswith("refs/") else [f"refs/tags/{rev}", f"refs/heads/{rev}"]
    patterns = [pattern for name in order for pattern in (name, f"{name}^{{}}")]
    told = _git(where, settings, "ls-remote", "--quiet", "--", source.repository, *patterns, deadline_s=ASK_DEADLINE_S)
    if not told.ok:
        raise _unreachable(source, told)
    rows = [line.split("\t") for line in told.output.splitlines() if line.count("\t") == 1]
    refs = {name: digest for digest, name in rows if COMMIT.fullmatch(digest)}
    for name in order:
        if name in refs:
            return refs.get(f"{name}^{{}}", refs[name]), name
    return "", ""


def _fetch(source: GitSource, where: Clone, commit: str, name: str, settings: Settings) -> None:
    """Fetch one commit without its history; servers that give no commit by its hash, or no part, are asked for the ref."""
    keep = f"refs/lab/{commit}"
    tries = [("--depth=1", commit), *([("--depth=1", name), ("", name)] if name else [])]
    for depth, wanted in tries:
        words = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-gc"]
        words += [*filter(None, [depth]), "--", source.repository, f"+{wanted}:{keep}"]
        told = _git(where, settings, *words, deadline_s=FETCH_DEADLINE_S)
        if told.ok and has(where, commit, settings):
            return
    if re.search(r"unadvertised object|dumb http transport", told.output):
        raise _no_revision(source, "this server gives no commit by its hash alone: name a tag or a branch that has it")
    if re.search(r"not our ref|couldn't find remote ref", told.output):
        raise _no_revision(source, "")
    raise _unreachable(source, told)


def _no_revision(source: GitSource, hint: str) -> UsageError:
    return UsageError(f"no revision {source.rev!r} in git repository {source.repository!r}", hint=hint)


def _unreachable(source: GitSource, told: proc.Completed) -> UsageError | EnvironmentFault:
    said = next((line for line in told.output.splitlines() if line.startswith("fatal:")), told.last_line)
    facts = (("git", "no end within the deadline" if told.timed_out else said),)
    if _NO_REPOSITORY.search(told.output) and not told.timed_out:
        return UsageError(f"not a git repository: {source.repository!r}", facts=facts)
    return EnvironmentFault(f"cannot reach git repository {source.repository!r}", finding="infra.network", facts=facts)


def _environment(where: Clone, settings: Settings) -> dict[str, str]:
    """Return what git sees: our configuration and nobody else's, nobody to ask for a password."""
    environment = {
        **dict(settings.environment),
        "GIT_DIR": str(where.folder),
        "GIT_CONFIG_GLOBAL": str(settings.cache / "git/config"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "file:git:http:https",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
    }
    if "SSL_CERT_FILE" in environment:
        environment["GIT_SSL_CAINFO"] = environment["SSL_CERT_FILE"]
    if where.objects is not None:
        # git(1): the list is split at colons unless a path is quoted as in C
        text = str(where.objects).replace("\\", "\\\\").replace('"', '\\"')
        environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = f'"{text}"'
    return environment


def _git(
    where: Clone,
    settings: Settings,
    *words: str,
    deadline_s: float = ASK_DEADLINE_S,
    extra: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> proc.Completed:
    environment = {**_environment(where, settings), **(extra or {})}
    return proc.run(
        ["git", *words], deadline_s=deadline_s, environment=environment, workdir=where.folder, stdin=stdin
    )  # fmt: skip


def _must(
    where: Clone,
    settings: Settings,
    what: str,
    *words: str,
    deadline_s: float = ASK_DEADLINE_S,
    extra: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> proc.Completed:
    told = _git(where, settings, *words, deadline_s=deadline_s, extra=extra, stdin=stdin)
    if told.ok:
        return told
    full = "No space left on device" in told.output
    raise EnvironmentFault(
        f"cannot {what} of git repository {where.repository!r}",
        finding="infra.disk-full" if full else "infra.host",
        facts=(("git", told.last_line),),
        hint="objects are missing: is it a partial clone?"
        if "missing" in told.output or "unable to read" in told.output
        else "",
    )
