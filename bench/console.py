#!/usr/bin/env python3
"""How well consoles with known verdicts are read: detection, false alarms, titles, functions, MB/s; beside tuxparse.

    .venv/bin/python bench/console.py FOLDER [--differences] [--without]

FOLDER: files *.txt, each with a head of `TITLE: …` and `ALT: …` lines up to the first empty line, then the console; a
file without a title is one on which nothing crashed (syzkaller's own test data are of this form). tuxparse, from PyPI, reads
the same files in the same run; without it its line is left out. It has no titles; a function counts if one of its names ends in
it. Its "unknown-boot-failure", for a console without a login prompt, is not counted as a crash that was seen.

--without: take away each row of the table of heads and each pattern of the families of functions, one at a time, and count
the files whose title is then lost. A pattern that one file alone needs is one that a new file of the same kind may lack: their
number, divided by that of the files, estimates how many new files need something that was never seen (Good and Turing),
and bounds the error from above, as most patterns were written down without a file that needs them.

Figures are of one run on one machine; nothing here is a test.
"""

from __future__ import annotations

import argparse
import io
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.evidence import console, console_families, console_guilty, console_heads, console_report

FUNCTION = re.compile(r" in ([A-Za-z_][\w.]*)(?:$|/| / | at addr| age=)")
FAMILIES = (
    "REPORTERS", "HELPERS", "CONTRACTS", "LOCKS", "SLEEPERS", "ENTRY", "SYSCALL_ENTRY", "SCHEDULER", "STALL_NOISE", "ANCHORS",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A console and what is known of it. titles: acceptable ones, none if nothing crashed."""

    name: str
    text: bytes
    titles: tuple[str, ...]

    @property
    def functions(self) -> set[str]:
        """The functions that the titles name."""
        found = {match[1] for title in self.titles if (match := FUNCTION.search(title))}
        return found - {"corrupted", "use"}


@dataclass(slots=True, kw_only=True)
class Score:
    """What one reader made of all of them."""

    crashed: int = 0
    detected: int = 0
    titled: int = 0
    named: int = 0
    blamed: int = 0
    quiet: int = 0
    false_alarms: int = 0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)


def known(folder: Path) -> Iterator[Known]:
    """Yield the consoles of a folder."""
    for path in sorted(folder.glob("*.txt")):
        whole = path.read_bytes()
        head, _, text = whole.partition(b"\n\n")
        if whole.startswith(b"\n"):
            head, text = b"", whole
        lines = head.decode("utf-8", "replace").splitlines()
        said = (line.partition(": ")[2].strip() for line in lines if line.startswith(("TITLE: ", "ALT: ")))
        yield Known(name=path.name, text=text, titles=tuple(title for title in said if title))


def ours(one: Known) -> tuple[bool, str, set[str]]:
    """Return whether we see a crash, its title, and the functions we name."""
    crashes = console.read_lines(one.text.split(b"\n")).crashes
    first = crashes[0] if crashes else None
    return bool(crashes), first.title if first else "", {first.function} if first else set()


def theirs(parser: Any) -> Callable[[Known], tuple[bool, str, set[str]]]:
    """Return the same for tuxparse."""

    def read(one: Known) -> tuple[bool, str, set[str]]:
        found = parser.parse_log(io.StringIO(one.text.decode("utf-8", "replace")), False)
        every = (re.sub(r"-[0-9a-f]{7,64}$", "", name) for suite in found.values() for name in suite)
        names = [name for name in every if not name.startswith("unknown-boot-failure")]
        return (
            bool(names),
            "",
            {function for function in one.functions if any(name.endswith(f"_{function}") for name in names)},
        )

    return read


def scored(consoles: list[Known], read: Callable[[Known], tuple[bool, str, set[str]]]) -> Score:
    """Return how a reader does on all consoles, and the CPU time it took."""
    score = Score()
    for one in consoles:
        began = time.process_time()
        seen, title, functions = read(one)
        score.seconds += time.process_time() - began
        if not one.titles:
            score.quiet += 1
            score.false_alarms += seen
            if seen:
                score.differences.append(f"{one.name}: false alarm: {title}")
            continue
        score.crashed += 1
        score.detected += seen
        score.titled += title in one.titles
        score.named += bool(one.functions)
        score.blamed += bool(one.functions & functions)
        if title not in one.titles:
            score.differences.append(f"{one.name}: {one.titles[0]} | {title or 'nothing'}")
    return score


def printed(name: str, score: Score, size_mb: float, *, titles: bool) -> None:
    """Print a line of the table."""
    title = f"title {score.titled / max(1, score.crashed):6.1%}" if titles else "title    n/a"
    print(
        f"{name:10} detected {score.detected}/{score.crashed} ({score.detected / max(1, score.crashed):.1%})  "
        f"false alarms {score.false_alarms}/{score.quiet}  {title}  "
        f"function {score.blamed}/{score.named} ({score.blamed / max(1, score.named):.1%})  "
        f"{size_mb / max(score.seconds, 1e-9):.1f} MB/s"
    )


def patterns(compiled: re.Pattern[str]) -> list[str]:
    """Return the patterns that a family was made of."""
    found, depth, one = [], 0, ""
    for letter in compiled.pattern.removeprefix("(?:").removesuffix(")$"):
        depth += (letter in "([") - (letter in ")]")
        if letter == "|" and not depth:
            found.append(one)
            one = ""
        else:
            one += letter
    return [*found, one]


def titled(consoles: list[Known]) -> set[str]:
    """Return the names of the consoles whose title is right."""
    return {one.name for one in consoles if one.titles and ours(one)[1] in one.titles}


def without(consoles: list[Known]) -> None:
    """Print which rows and patterns one console alone needs."""
    whole, alone, tried, idle = titled(consoles), set[str](), 0, 0
    rows = console_heads.ROWS
    trials = [
        (f"row {row.title}", console_heads, "ROWS", (*rows[:place], *rows[place + 1 :]))
        for place, row in enumerate(rows)
    ]
    for family in FAMILIES:
        every = patterns(getattr(console_families, family))
        for place, pattern in enumerate(every):
            rest = re.compile(f"(?:{'|'.join([*every[:place], *every[place + 1 :]])})$")
            trials.append((f"{family} {pattern}", console_guilty, family, rest))
    for name, module, attribute, value in trials:
        before = getattr(module, attribute)
        setattr(module, attribute, value)
        console_report.rows_of.cache_clear()
        lost = whole - titled(consoles)
        setattr(module, attribute, before)
        tried, idle = tried + 1, idle + (not lost)
        if len(lost) == 1:
            alone |= lost
            print(f"  only {next(iter(lost))} needs {name}")
    share = len(alone) / max(1, len(whole))
    print(
        f"{tried} rows and patterns, {idle} that no file needs; {len(alone)} files ({share:.1%}) need one that no other needs"
    )


def main() -> None:
    """Read a folder with one reader and the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--differences", action="store_true", help="print the files whose title differs")
    parser.add_argument("--without", action="store_true", help="take away rows and patterns one at a time; minutes")
    options = parser.parse_args()
    consoles = list(known(options.folder))
    size_mb = sum(len(one.text) for one in consoles) / 1e6
    print(f"{len(consoles)} consoles, {size_mb:.1f} MB")
    score = scored(consoles, ours)
    printed("lab", score, size_mb, titles=True)
    try:
        from tuxparse.boot_test_parser import BootTestParser
    except ImportError:
        print("tuxparse is not installed (pip install tuxparse): its line is left out")
    else:
        printed("tuxparse", scored(consoles, theirs(BootTestParser())), size_mb, titles=False)
    if options.differences:
        print("\n".join(score.differences))
    if options.without:
        without(consoles)


if __name__ == "__main__":
    main()
