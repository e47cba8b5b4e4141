"""Modification times of a whole tree, and what a clock that ticks every `granularity_ns` can tell apart.

mtimes.tsv: a first line "# captured_ns<TAB>N" (when the tree was read), then "mtime_ns<TAB>escaped path" a file, by path.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lab.evidence.paths import escape, unescape
from lab.evidence.text import numbered_lines

SECOND_NS = 1_000_000_000
# The kernel stamps files with its tick clock, at the slowest HZ=100; what is coarser than that is the file system's doing.
# Source: fs/inode.c, current_time(); kernel/Kconfig.hz.
SLOWEST_TICK_NS = 10_000_000
MAX_FILES = 4_000_000
MIN_SAMPLE = 8
# From so many .cmd files older than their targets on, the times are a copy's. Real builds have none.
COPIED_FILES, COPIED_SHARE = 4, 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """times: path in the tree -> mtime in ns since the epoch, regular files only. captured_ns: when read, 0 unknown."""

    times: dict[str, int] = field(default_factory=dict)
    captured_ns: int = 0


def scan(root: Path) -> Tree:
    """Read the times of every regular file below root; links are neither followed nor listed, unreadable folders left out."""
    times: dict[str, int] = {}
    for path, status in _files(str(root), ""):
        times[path] = status.st_mtime_ns
        if len(times) >= MAX_FILES:
            break
    return Tree(times=times, captured_ns=time.time_ns())


def _files(folder: str, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    pending = [(folder, prefix)]
    while pending:
        folder, prefix = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((entry.path, f"{prefix}{entry.name}/"))
                    elif entry.is_file(follow_symlinks=False):
                        yield prefix + entry.name, entry.stat(follow_symlinks=False)
        except OSError:
            continue


def of_sources(out: Path, source: Path, names: Iterable[str]) -> dict[str, int]:
    """Return the times of inputs outside the output directory, as far as they lie in its source tree.

    names: as .cmd files have them, absolute or relative to `out` ("../include/linux/init.h"). Nothing is opened.
    """
    root, base = os.path.realpath(source) + os.sep, os.path.realpath(out)
    folders: dict[str, str] = {}  # as named -> where it really is, with a slash; a few hundred hold all headers
    times: dict[str, int] = {}
    for name in names:
        if not name.startswith(("/", "../")):
            continue
        folder, _, last = name.rpartition("/")
        try:
            if folder not in folders:
                real = os.path.realpath(f"{folder}/" if name.startswith("/") else f"{base}/{folder}")
                folders[folder] = real.rstrip("/") + "/"
            path = folders[folder] + last
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode) or last in ("", ".", ".."):
                path = os.path.realpath(path)
                status = os.lstat(path)
        except (OSError, ValueError):
            continue
        if path.startswith(root):
            times[name] = status.st_mtime_ns
    return times


def copied(notes: Iterable[tuple[str, str]], times: Mapping[str, int]) -> int:
    """Return how many notes are older than what they tell of if the times are a copy's, 0 if they may be the build's.

    notes: (.cmd file, its target). kbuild writes .X.cmd when X is done, in the same recipe (scripts/Kbuild.include,
    if_changed), so it is never older; but 5.10 has objtool and recordmcount change an object after that (Makefile.build,
    rule_cc_o_c), which is why objects do not count. A copy that gives every file a new time follows the order of the folder.
    """
    counted = ((noted, made) for noted, made in notes if not made.endswith(".o"))
    pairs = [(times[noted], times[made]) for noted, made in counted if noted in times and made in times]
    older = sum(noted < made for noted, made in pairs)
    return older if older >= max(COPIED_FILES, len(pairs) * COPIED_SHARE) else 0


def tsv(tree: Tree) -> Iterator[str]:
    """Yield the lines of mtimes.tsv, each with its newline."""
    yield f"# captured_ns\t{tree.captured_ns}\n"
    for path in sorted(tree.times):
        yield f"{tree.times[path]}\t{escape(path)}\n"


def read_tsv(path: Path | None) -> Tree:
    """Return what mtimes.tsv says; lines that are not of its form are passed over."""
    times: dict[str, int] = {}
    captured_ns = 0
    for _, line in numbered_lines(path):
        first, tab, rest = line.decode("utf-8", "surrogateescape").partition("\t")
        if not tab:
            continue
        if first == "# captured_ns":
            captured_ns = _number(rest) or 0
        elif (mtime_ns := _number(first)) is not None and len(times) < MAX_FILES:
            times[unescape(rest)] = mtime_ns
    return Tree(times=times, captured_ns=captured_ns)


def _number(text: str) -> int | None:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 19 else None


def inferred_granularity_ns(times: Iterable[int]) -> int | None:
    """Return 2 s, 1 s or 1 ns from what the times have in common; None if there are too few to say.

    A tree that was packed by a tar without nanoseconds looks like one second, too: that is what its receiver's make sees.
    """
    seen = set(times)
    if len(seen) < 2 or (len(seen) < MIN_SAMPLE and any(time_ns % SECOND_NS for time_ns in seen)):
        return None
    if any(time_ns % SECOND_NS for time_ns in seen):
        return 1
    # FAT keeps times in steps of two seconds; an odd one shows that this is not FAT.
    return SECOND_NS if len(seen) < MIN_SAMPLE or any(time_ns // SECOND_NS % 2 for time_ns in seen) else 2 * SECOND_NS


def is_coarse(granularity_ns: int) -> bool:
    """Whether the file system, not the kernel's tick, decides how exact times are."""
    return granularity_ns > SLOWEST_TICK_NS


def tick(time_ns: int, granularity_ns: int) -> int:
    """Return the number of the tick that a time falls into. On a fine clock the time itself, whose ticks are not aligned."""
    return time_ns // tick_ns(granularity_ns)


def tick_ns(granularity_ns: int) -> int:
    """Return how long a tick is: 1 on a fine clock."""
    return granularity_ns if is_coarse(granularity_ns) else 1


def utc(time_ns: int) -> str:
    """Return "2018-03-13 16:16:53 UTC", with the fraction if there is one; a number no calendar has, as it is."""
    seconds, fraction = divmod(time_ns, SECOND_NS)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return f"{time_ns} ns since the epoch"
    return f"{text}{f'.{fraction:09d}' if fraction else ''} UTC"


def span(duration_ns: int) -> str:
    """Return a duration for people: "1 s", "0.132 s", "4 ms", "1 ns"."""
    if duration_ns >= 10_000_000:
        return f"{duration_ns / SECOND_NS:.3f}".rstrip("0").rstrip(".") + " s"
    return f"{duration_ns / 1_000_000:g} ms" if duration_ns >= 100_000 else f"{duration_ns} ns"


def tick_name(granularity_ns: int) -> str:
    """Return what people call the tick that equal times share: "second", "two seconds"; on a fine clock just "time"."""
    if not is_coarse(granularity_ns):
        return "time"
    return {SECOND_NS: "second", 2 * SECOND_NS: "two seconds"}.get(granularity_ns, span(granularity_ns))


def shared_tick(one_ns: int | None, other_ns: int | None, granularity_ns: int) -> str | None:
    """Return the tick that two times share, as a date (when it began), else None."""
    if one_ns is None or other_ns is None or tick(one_ns, granularity_ns) != tick(other_ns, granularity_ns):
        return None
    return utc(one_ns // granularity_ns * granularity_ns if is_coarse(granularity_ns) else one_ns)
