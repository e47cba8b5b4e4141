"""Git histories on top of a real kernel source: hundreds of commits that change real code, merges, some that cannot be built.

They are written by git fast-import, on as much of the source as is built: checking out 80 000 files for each attempt would
be most of what the tests do. What changes: C files get functions, lose them again, get other bodies. With a seed the history is
always the same.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {
    **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "A Developer",
    "GIT_AUTHOR_EMAIL": "developer@example.org", "GIT_COMMITTER_NAME": "A Developer",
    "GIT_COMMITTER_EMAIL": "developer@example.org", "LC_ALL": "C",
}  # fmt: skip
WHO = "A Developer <developer@example.org>"
EDITED = (
    "lib/string.c", "lib/kstrtox.c", "lib/vsprintf.c", "lib/sort.c", "lib/list_sort.c", "lib/bitmap.c", "lib/hexdump.c",
    "lib/cmdline.c", "lib/rbtree.c", "lib/radix-tree.c", "lib/idr.c", "kernel/resource.c", "kernel/params.c",
    "kernel/notifier.c",
    "kernel/sysctl.c", "kernel/panic.c", "kernel/kthread.c", "mm/util.c", "mm/slab_common.c", "mm/vmscan.c", "fs/inode.c",
    "fs/namei.c", "fs/dcache.c", "fs/pipe.c", "init/main.c", "drivers/base/core.c", "drivers/base/bus.c", "drivers/base/dd.c",
)  # fmt: skip
# of linux 6.1, all that `make allnoconfig prepare lib/` reads: a fifth of its files
CORE = (
    "arch/x86/", "include/", "init/", "kernel/", "lib/", "mm/", "scripts/", "tools/arch/", "tools/build/", "tools/include/",
    "tools/lib/", "tools/objtool/", "tools/scripts/",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What history is made. culprit: number of the commit, from 1, that brings `cause` in: path -> text, None: removed.

    breaks: path -> text while a commit cannot be built; unconfigured: the same where it cannot be configured. Each is mended
    some commits later. hidden: first and last commit of a stretch around the culprit that `breaks` breaks as well.
    """

    commits: int = 220
    merges: int = 12
    culprit: int = 137
    cause: Mapping[str, str | None]
    breaks: Mapping[str, str] | None = None
    unconfigured: Mapping[str, str] | None = None
    hidden: tuple[int, int] = (0, 0)
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A repository. names: full hashes of its commits in order, the first is the unchanged source. culprit: hash."""

    folder: Path
    names: tuple[str, ...]
    culprit: str
    broken: tuple[str, ...]


def git(folder: Path, *words: str, stdin: bytes | None = None, extra: Mapping[str, str] | None = None) -> str:
    """Run git; returns what it says."""
    done = subprocess.run(
        ["git", *words], cwd=folder, input=stdin, capture_output=True, check=True, env={**ENVIRONMENT, **(extra or {})}
    )
    return done.stdout.decode(errors="replace")


def core(path: str) -> bool:
    """Whether a file of a kernel is needed to configure it and to build lib/; every Kconfig and Makefile is."""
    name = path.rpartition("/")[2]
    return (
        path.startswith(CORE) or path in EDITED or "/" not in path or name.startswith(("Kconfig", "Makefile", "Kbuild"))
    )


def repository(source: Path, folder: Path, keep: Callable[[str], bool] = lambda path: True) -> str:
    """Make a bare repository whose only commit is a source tree, or what is kept of it; returns its hash."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "--bare", ".")
    extra = {"GIT_DIR": str(folder), "GIT_WORK_TREE": str(source), "GIT_INDEX_FILE": str(folder / "index")}
    found = (path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_symlink() or path.is_file())
    kept = "\0".join(path for path in found if keep(path))
    git(source, "update-index", "--add", "-z", "--stdin", extra=extra, stdin=kept.encode())
    tree = git(folder, "write-tree", extra=extra).strip()
    dates = {"GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
    name = git(folder, "commit-tree", tree, "-m", "The source as it was", extra={**extra, **dates}).strip()
    git(folder, "update-ref", "refs/heads/base", name)
    (folder / "index").unlink()
    return name


def patched(folder: Path, patch: Path) -> dict[str, str | None]:
    """Return the files that a patch changes on top of the branch `base`, as they are with it."""
    extra = {"GIT_DIR": str(folder), "GIT_INDEX_FILE": str(folder / "patched.index")}
    git(folder, "read-tree", "base", extra=extra)
    git(folder, "apply", "--cached", "--unsafe-paths", str(patch.absolute()), extra=extra)
    changed = git(folder, "diff", "--cached", "--name-only", "base", extra=extra).split()
    there = set(git(folder, "ls-files", "--", *changed, extra=extra).split())
    return {path: git(folder, "show", f":{path}", extra=extra) if path in there else None for path in changed}


def history(folder: Path, plan: Plan) -> Made:
    """Write the commits on top of the branch `base` of a repository; the branch `main` is the last one."""
    writer = _Writer(folder, plan)
    git(
        folder,
        "fast-import",
        "--quiet",
        "--force",
        f"--export-marks={folder}/marks",
        stdin="".join(writer.stream()).encode(),
    )
    marks = dict(line.split() for line in (folder / "marks").read_text().splitlines())
    names = (git(folder, "rev-parse", "base").strip(), *(marks[f":{number}"] for number in range(1, plan.commits + 1)))
    return Made(
        folder=folder, names=names, culprit=names[plan.culprit], broken=tuple(names[number] for number in writer.broken)
    )  # fmt: skip


class _Writer:
    """The stream of a history: a main line, with side branches that edit files which nothing else edits meanwhile."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan, self.random = folder, plan, random.Random(plan.seed)
        listed = set(git(folder, "ls-tree", "-r", "--name-only", "base", "--", *EDITED).split())
        taken = {*plan.cause, *(plan.breaks or ()), *(plan.unconfigured or ())}
        rows = git(folder, "ls-tree", "-r", "base", "--", *sorted(taken)).splitlines()
        self.modes = {row.partition("\t")[2]: row.split()[0] for row in rows}  # scripts stay executable
        self.files = {
            path: git(folder, "show", f"base:{path}") for path in EDITED if path in listed and path not in taken
        }
        self.broken: list[int] = []
        self.added: dict[str, list[str]] = {path: [] for path in self.files}

    def stream(self) -> Iterator[str]:
        """Yield the commands of fast-import."""
        plan, number, tip = self.plan, 0, "refs/heads/base"
        forks = sorted(self.random.sample(range(5, plan.commits - 15, 8), plan.merges))
        while number < plan.commits:
            if forks and number >= forks[0] and plan.commits - number > 8 and not self._special(number, 6):
                forks.pop(0)
                side, parts = tip, {}
                for _ in range(self.random.randint(2, 4)):
                    number += 1
                    changed = self._edit(number)
                    parts |= changed
                    yield from self._commit(number, (side,), changed)
                    side = f":{number}"
                number += 1
                yield from self._commit(number, (tip,), self._edit(number, without=parts))
                tip = f":{number}"
                number += 1
                yield from self._commit(number, (tip, side), parts, subject="Merge a side branch")
            else:
                number += 1
                yield from self._commit(number, (tip,), self._change(number))
            tip = f":{number}"
        yield f"reset refs/heads/main\nfrom {tip}\n\n"

    def _special(self, number: int, reach: int) -> bool:
        """Whether a commit soon after is the culprit or part of a broken stretch, which stay on the main line."""
        return any(
            one == self.plan.culprit or self._stretch(one) is not None for one in range(number, number + reach + 2)
        )  # fmt: skip

    def _stretch(self, number: int) -> Mapping[str, str] | None:
        """Return what is broken at a commit: every 25 commits for two, in turn not to be built and not to be configured."""
        if self.plan.hidden[0] <= number <= self.plan.hidden[1]:
            return self.plan.breaks
        if abs(number - self.plan.culprit) < 3 or number < 10 or number > self.plan.commits - 5:
            return None
        kind = (self.plan.breaks, self.plan.unconfigured)[number // 25 % 2]
        return kind if number % 25 in (11, 12) else None

    def _change(self, number: int) -> dict[str, str | None]:
        if number == self.plan.culprit:
            return dict(self.plan.cause)
        now, before = self._stretch(number), self._stretch(number - 1)
        if now:
            self.broken.append(number)
            return {**self._edit(number), **now}
        if before:
            return {**self._edit(number), **{path: self._sound(path) for path in before}}
        return self._edit(number)

    def _sound(self, path: str) -> str:
        return git(self.folder, "show", f"base:{path}")

    def _edit(self, number: int, without: Mapping[str, object] | None = None) -> dict[str, str | None]:
        """Return a file with one function more, or one less, or another body."""
        path = self.random.choice([path for path in self.files if path not in (without or {})])
        functions = self.added[path]
        if functions and self.random.random() < 0.4:
            functions.pop(self.random.randrange(len(functions)))
        constant = self.random.randrange(2, 1 << 20)
        body = f"return (x << {number % 13}) ^ {constant};"
        functions.append(f"static __maybe_unused unsigned long step_{number}(unsigned long x)\n{{\n\t{body}\n}}\n")
        return {path: self.files[path] + "\n" + "\n".join(functions)}

    def _commit(
        self, number: int, parents: Sequence[str], changed: Mapping[str, str | None], subject: str = ""
    ) -> Iterator[str]:
        message = subject or f"{next(iter(changed)).rpartition('.')[0]}: step {number}"
        yield f"commit refs/heads/work\nmark :{number}\ncommitter {WHO} {1700000000 + 3600 * number} +0000\n"
        yield f"data {len(message.encode())}\n{message}\nfrom {parents[0]}\n"
        for other in parents[1:]:
            yield f"merge {other}\n"
        for path, text in changed.items():
            if text is None:
                yield f"D {path}\n"
            else:
                yield f"M {self.modes.get(path, '100644')} inline {path}\ndata {len(text.encode())}\n{text}\n"
        yield "\n"
