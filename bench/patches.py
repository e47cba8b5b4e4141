#!/usr/bin/env python3
"""How many diffs come back from mails that lost their white space or their line breaks, and whether any comes back wrong.

    .venv/bin/python bench/patches.py TREE [--diffs 300] [--seed 1]

Files of a kernel tree are changed at random (lines of the file itself, slightly altered, are put in; others are left out), the
diff is put into a mail, damaged, read by `lab repro` and fitted to the tree. "Wrong" is a patch that patch(1) takes and that
gives other lines than were meant. White space within lines is not compared: what is lost of added lines nobody can know.
"""

from __future__ import annotations

import argparse
import difflib
import random
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.repro import extract, hunks
from lab.repro.edits import Refused

PLACES = ("scripts/**/*.sh", "scripts/*", "kernel/*.c", "lib/*.c", "mm/*.c", "arch/x86/kernel/*.[cS]", "drivers/base/*.[ch]",
          "tools/objtool/*.c", "**/Makefile", "**/Kconfig")  # fmt: skip
SIZE_MAX = 60_000
ASKED = (
    "Hi, the build fails for me now and then, and I cannot make sense of its errors. Please test the following patch:"
)


def as_sent(diff: str) -> str:
    """Return a mail with its lines."""
    return f"{ASKED}\n\n{diff}\n-- \nCid\n"


def quoted(diff: str) -> str:
    """Return an answer that quotes the mail."""
    rows = "\n".join(f"> {row}" for row in as_sent(diff).split("\n"))
    return f"On Mon, 5 Mar 2018 14:07:12 +0100, Cid E wrote:\n{rows}\n\nThat works for me, thank you.\n"


def folded(diff: str) -> str:
    """Return a page that folds white space within lines and drops it at their ends."""
    rows = [
        row if row[:3] in ("---", "+++", "@@ ") else row[:1] + re.sub(r"[ \t]+", " ", row[1:])
        for row in diff.split("\n")
    ]
    return as_sent("\n".join(row.rstrip() for row in rows))


def run_together(diff: str) -> str:
    """Return a page without line breaks."""
    return " ".join(as_sent(diff).split())


DAMAGES: tuple[Callable[[str], str], ...] = (as_sent, quoted, folded, run_together)


def changed(lines: list[str], dice: random.Random) -> list[str]:
    """Return lines with one or two changes of up to four lines."""
    new = list(lines)
    for _ in range(dice.choice((1, 1, 2))):
        at, size, start = dice.randrange(3, len(new) - 3), dice.randrange(1, 5), dice.randrange(len(lines) - 5)
        other = [line.replace("a", "e", 1) for line in lines[start : start + size]]
        kind = dice.choice(("put in", "put in", "left out", "replaced"))
        new[at : at + (0 if kind == "put in" else size)] = [] if kind == "left out" else other
    return new


def samples(tree: Path, dice: random.Random) -> Iterator[tuple[str, list[str], list[str], str]]:
    """Yield (path, lines, changed lines, diff) without end."""
    paths = [path for place in PLACES for path in tree.glob(place) if path.is_file() and not path.is_symlink()]
    while paths:
        path = dice.choice(paths)
        data = path.read_bytes()
        if len(data) > SIZE_MAX or not data.isascii() or data.count(b"\n") < 20 or not data.endswith(b"\n"):
            continue
        name, lines = str(path.relative_to(tree)), data.decode().split("\n")[:-1]
        new = changed(lines, dice)
        if rows := list(difflib.unified_diff(lines, new, f"a/{name}", f"b/{name}", lineterm="")):
            yield name, lines, new, "\n".join([f"diff --git a/{name} b/{name}", *rows])


def patched(name: str, lines: list[str], patch: str) -> list[str] | None:
    """Return a file's lines with a patch, None if patch(1) does not take it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"{line}\n" for line in lines))
        command = ["patch", "-p1", "--batch", "--fuzz=0", "--silent", "-d", folder]
        done = subprocess.run(command, input=patch, text=True, capture_output=True, check=False)
        return path.read_text().split("\n")[:-1] if done.returncode == 0 else None


def verdict(tree: Path, name: str, lines: list[str], new: list[str], mail: str) -> str:
    """Return what became of one diff."""
    diffs = extract.report([("mail", mail.encode())]).diffs
    if len(diffs) != 1:
        return "not found"
    done = hunks.fitted(diffs[0], lambda path: hunks.TreeFile(text=(tree / path).read_text()))
    if isinstance(done, Refused):
        return "refused"
    made = patched(name, lines, done.text)
    if made is None:
        return "patch does not take it"
    if made == new:
        return "to the byte"
    same = [line.split() for line in made] == [line.split() for line in new]
    return "but for white space of added lines" if same else "wrong"


def main() -> None:
    """Print a row of the table for each damage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path)
    parser.add_argument("--diffs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for damage in DAMAGES:
        stream = samples(options.tree, random.Random(options.seed))
        came = Counter(
            verdict(options.tree, name, lines, new, damage(diff))
            for name, lines, new, diff in (next(stream) for _ in range(options.diffs))
        )
        print(f"{damage.__name__:<14}", ", ".join(f"{count} {what}" for what, count in came.most_common()), flush=True)


if __name__ == "__main__":
    main()
