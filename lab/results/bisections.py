"""bisection.json: what a bisection was asked and which commits it is about. Written once; what was seen is in the journal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.model import Patch
from lab.results import journal, store

NAME = "bisection.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backported:
    """A patch without which some commits cannot be tested. commits: their numbers. good: the good end needs it, too."""

    patch: Patch
    commits: tuple[int, ...]
    good: bool = False
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is looked for; no part of it changes while a bisection is under way.

    cell: id. findings: ids that are the fault; none: any failure. good, bad: full commits. mended: the commit that took the
    fault away is looked for. old, new: what the ends are called. commits: parents before children; parents: their numbers;
    likely: numbers of those that are likelier, by what they touch. boots: a test is a boot of a kernel that is built once.
    backports: in the order in which they are applied. incremental: while it searches, a worker builds on top of its last build.
    """

    cell: str
    findings: tuple[str, ...]
    repository: str
    good: str
    bad: str
    commits: tuple[str, ...]
    parents: tuple[tuple[int, ...], ...]
    likely: tuple[int, ...] = ()
    mended: bool = False
    old: str = "good"
    new: str = "bad"
    confidence: float = 0.98
    false_positives: float = 0.0
    boots: bool = False
    amplified: str = ""
    backports: tuple[Backported, ...] = ()
    incremental: bool = False

    def patches_at(self, commit: str) -> tuple[Patch, ...]:
        """Return the back-ports that a commit of this bisection, or its good end, is tested with."""
        if commit == self.good:
            return tuple(one.patch for one in self.backports if one.good)
        number = self.commits.index(commit)
        return tuple(one.patch for one in self.backports if number in one.commits)


def write(folder: Path, question: Question) -> None:
    """Let bisection.json appear, whole. Raises EnvironmentFault."""
    store.write(folder / NAME, question)


def read(folder: Path) -> Question | None:
    """Return what is asked in a run's folder, None if there is no bisection that is whole."""
    return store.read(Question, folder / NAME)


def latest(results: Path, question: Question | None = None) -> str | None:
    """Return the newest run that bisects, or that asks just this; None if there is none."""
    found = []
    for path in results.glob(f"*/{NAME}"):
        asked = None if path.parent.is_symlink() else read(path.parent)
        if asked is not None and question in (None, asked):
            times = [one.stat().st_mtime_ns for one in (path, path.parent / journal.NAME) if one.exists()]
            found.append((max(times), path.parent.name))
    return max(found)[1] if found else None


def git_log(question: Question, entries: tuple[journal.Entry, ...]) -> str:
    """Return a log that `git bisect replay` takes: commits that failed are bad, those whose silence was sure enough good.

    git knows no rates: who goes on with it should know that a good here is a probable one. Source: git-bisect(1), "Bisect log".
    """
    lines = [f"# bad: [{question.bad}]", f"# good: [{question.good}]"]
    lines.append(f"git bisect start '{question.bad}' '{question.good}'")
    seen: dict[str, list[str]] = {}
    for entry in entries:
        if entry.place in question.commits:
            seen.setdefault(entry.place, []).append(entry.verdict)
    for place, verdicts in seen.items():
        failed, silent = verdicts.count("failed"), verdicts.count("sound")
        word = _word(verdicts, mended=question.mended)
        lines += [f"# {word}: [{place}] {failed} of {failed + silent} failed", f"git bisect {word} {place}"]
    return "\n".join(lines) + "\n"


def _word(verdicts: list[str], *, mended: bool) -> str:
    said = [one for one in verdicts if one in journal.MARKS]
    if said:
        return said[-1]
    if "failed" in verdicts:
        return "good" if mended else "bad"
    if "sound" in verdicts:
        return "bad" if mended else "good"
    return "skip"
