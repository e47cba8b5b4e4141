"""A diff as found in a report and the tree it shall apply to → a patch that applies there exactly, or the reason why
there is none.

Context is always the tree's own: what a mail's way did to white space is thereby undone, and a hunk of another
version is put on
this one's lines. Three things are never guessed: a removed line must be in the tree, the lines next to a change must be the
same there, and the numbers of lines must be those of the hunk's header.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.repro.edits import Edit, FileLines, Refused, Sureness, worst, written
from lab.repro.lined import operations, placed
from lab.repro.loose import INDENTED, readings
from lab.repro.patches import NOWHERE, Diff, FileDiff, Hunk, inner, refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFile:
    """A file of a tree. text: None if there is no plain file of the name; why: what is there instead, or ""."""

    text: str | None = None
    why: str = ""


FileOf = Callable[[str], TreeFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A patch that applies with -p1 and without fuzz. notes: what was restored, and how surely."""

    text: str
    files: tuple[str, ...]
    sureness: Sureness
    notes: tuple[str, ...] = ()


def fitted(diff: Diff, file_of: FileOf) -> Fitted | Refused:
    """Return a diff as a patch for a tree."""
    if why := refusal(diff):
        return Refused(why=why)
    done: list[Fitted] = []
    for one in diff.files:
        piece = _file(one, file_of)
        if isinstance(piece, Refused):
            return piece
        if piece.files[0] in (name for other in done for name in other.files):
            return Refused(why=f"it changes {piece.files[0]!r} twice")
        done.append(piece)
    return Fitted(
        text="".join(piece.text for piece in done), files=tuple(name for piece in done for name in piece.files),
        sureness=worst(piece.sureness for piece in done),
        notes=tuple(dict.fromkeys(note for piece in done for note in piece.notes)),
    )  # fmt: skip


def _file(one: FileDiff, file_of: FileOf) -> Fitted | Refused:
    target = one.old if one.new == NOWHERE else one.new
    names = [name for name in dict.fromkeys((inner(target, 1), target)) if name]
    path, known = next(((name, found) for name in names if (found := file_of(name)).text is not None), ("", TreeFile()))
    if one.old == NOWHERE:
        return _new_file(one, names[0], file_of(names[0]))
    if known.text is None:
        return Refused(why=file_of(names[0]).why or f"this source has no {names[0]!r}")
    lines = known.text.split("\n")
    whole = lines[:-1] if not lines[-1] else lines
    edits: list[Edit] = []
    index = FileLines(whole)
    for hunk in one.hunks:
        edit = _edit(hunk, index, path, edits[-1].end if edits else 0)
        if isinstance(edit, Refused):
            return Refused(why=f"{path}, hunk at line {hunk.old}: {edit.why}")
        edits.append(edit)
    if lines[-1] and any(edit.end >= len(whole) for edit in edits):
        return Refused(why=f"{path} has no newline at its end, and the patch changes its last line")
    sureness = worst(edit.sureness for edit in edits)
    exact = sureness is Sureness.EXACT and one.new != NOWHERE
    text = as_found(path, one.hunks) if exact else written(path, whole, edits, gone=one.new == NOWHERE)
    notes = tuple(f"{path}: {note}" for edit in edits for note in edit.notes)
    return Fitted(text=text, files=(path,), sureness=sureness, notes=notes)


def _edit(hunk: Hunk, lines: FileLines, path: str, after: int) -> Edit | Refused:
    if hunk.loose:
        return readings(hunk, lines.lines, path, after)
    ops = operations(hunk)
    return ops if isinstance(ops, Refused) else placed(hunk, ops, lines, after)


def as_found(path: str, hunks: Sequence[Hunk]) -> str:
    """Return a file's diff with every line as the report has it."""
    text = f"--- a/{path}\n+++ b/{path}\n"
    for hunk in hunks:
        body = "".join(f"{line.text or ' '}\n" for line in hunk.body)
        text += f"@@ -{hunk.old},{hunk.old_count} +{hunk.new},{hunk.new_count} @@\n{body}"
    return text


def _new_file(one: FileDiff, path: str, known: TreeFile) -> Fitted | Refused:
    if known.text is not None or known.why:
        return Refused(why=known.why or f"it makes {path!r}, which this source has")
    hunk = one.hunks[0]
    lines = _added(hunk)
    if len(one.hunks) != 1 or hunk.old_count or len(lines) != hunk.new_count or hunk.short:
        return Refused(why=f"{path}: its header counts {hunk.new_count} new lines, and {len(lines)} can be told apart")
    if hunk.loose and INDENTED.search(path):
        return Refused(why=f"{path}: the white space of its lines is lost")
    body = "".join(f"+{line}\n" for line in lines)
    note = (f"{path}: line breaks put back by the header's count; indentation is lost",) if hunk.loose else ()
    return Fitted(
        text=f"--- {NOWHERE}\n+++ b/{path}\n@@ -0,0 +1,{len(lines)} @@\n{body}", files=(path,), notes=note,
        sureness=Sureness.RESTORED if hunk.loose else Sureness.EXACT,
    )  # fmt: skip


def _added(hunk: Hunk) -> list[str]:
    """Return the lines of a hunk that only adds; of a loose one, whatever begins with a plus sign."""
    if not hunk.loose:
        return [line.text[1:] for line in hunk.body if line.text[:1] == "+"]
    words = [word for line in hunk.body for word in line.text.split()]
    starts = [index for index, word in enumerate(words) if word.startswith("+")]
    return [" ".join(words[a:b])[1:].lstrip() for a, b in zip(starts, [*starts[1:], len(words)], strict=True)]
