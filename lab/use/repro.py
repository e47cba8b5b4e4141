"""`lab repro`: a report → what it says → a matrix file → how often the fault comes.

read → choose → source at hand → what brings the fault back → the report's patch, fitted → matrix file { run → rates }
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab.environment.cache import Holds
from lab.environment.source import Say, Tree
from lab.errors import UsageError
from lab.events import Sink
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Outcome, Patch, Rate, Result
from lab.plan.statistics import attempts_to_see, rate
from lab.repro import choose, configure, extract, hunks, kernels, matrix_text, picks, proposals, symbols
from lab.repro.choose import Choices
from lab.repro.edits import Refused
from lab.repro.extract import Report
from lab.repro.facts import Field
from lab.repro.intake import BYTES_MAX
from lab.repro.kernels import Given
from lab.repro.matrix_text import FAULTY, Arm
from lab.repro.patches import Diff
from lab.repro.picks import Pick
from lab.repro.rules import sentence
from lab.settings import Settings
from lab.tables import Tables
from lab.use import session, tree

__all__ = ["BYTES_MAX", "Made", "PatchTold", "Ran", "Request", "make", "run", "sentence", "stem_of", "write"]

TIMES_MAX = 30  # that a stated rate makes of `repeat`; who wants more says so
TRIED_MAX = 8  # patches of one report: each is a tree of its own
WITH_PATCH, WITH_FIX = "with-patch", "with-fix"
JUDGED = (Outcome.PASS, Outcome.FAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for. reports: (name as shown, bytes). stem: what the files shall be called, without folder and ending.

    given: a source instead of the nearest one, None for that. times: 0 for what the report's rate asks for. fetch: whether a
    source that is not in the cache may be fetched for a patch of the report.
    """

    reports: tuple[tuple[str, bytes], ...]
    stem: str
    given: Given | None = None
    times: int = 0
    fetch: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchTold:
    """What became of one diff of the report. rule: by which it is the fix, "" if it is not. why: of a refusal. text: the patch
    that applies, "" if there is none."""

    diff: Diff
    rule: str
    used: bool = False
    sureness: str = ""
    notes: tuple[str, ...] = ()
    why: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Everything up to the files. files: name -> text, the matrix first."""

    report: Report
    picks: Mapping[Field, Pick]
    choices: Choices
    arms: tuple[Arm, ...]
    patches: tuple[PatchTold, ...]
    files: Mapping[str, str]


def make(request: Request, settings: Settings, tables: Tables, say: Say) -> Made:
    """Read a report and choose what tries it. Raises UsageError for a source that is not there."""
    report = extract.report(request.reports)
    ask = picks.picked(report)
    told = choose.made(report, ask, kernels.chosen(report, ask, tables, request.given), tables, os.uname().machine)
    proposed = proposals.ordered(report.diffs)
    with Holds(settings) as holds:
        trees = tree.Trees(settings=settings, say=say, holds=holds)
        fetch = request.fetch and any(rule for _, rule in proposed)
        unpacked, why = trees.at_hand(told.chosen.source, fetch=fetch)
        arch = tables.arch[told.arch]
        names = sorted(set(configure.symbols_of(report)) & extract.TELLING)
        texts = tree.kconfig_texts(unpacked.path, arch.kernel_srcarch) if unpacked and names else ()
        configure.configure(told, report, ask, tables, symbols.says(names, texts, arch.kernel_arch) if unpacked else {})
        told.take("boot", "on", "boot")
        _repeat(told, ask, request.times)
        undo = _undo(told, tables)
        patches = _patches(trees, unpacked, why, undo, proposed)
    arms, files = _arms(told, undo, patches, request.stem)
    matrix = matrix_text.text(
        told,
        arms,
        name=f"repro-{request.stem}",
        description=_description(ask),
        sources=[name for name, _ in request.reports],
    )
    return Made(
        report=report,
        picks=ask,
        choices=told,
        arms=arms,
        patches=patches,
        files={f"{request.stem}.yaml": matrix} | files,
    )


def stem_of(name: str) -> str:
    """Return what files for a report shall be called: of its file's name letters, digits, "_", "+" and "-" are left."""
    plain = re.sub(r"[^a-z0-9_+-]+", "-", Path(name).name.partition(".")[0].lower()).strip("-_+")
    return plain[:40].strip("-_+") or "report"


def _description(ask: Mapping[Field, Pick]) -> str:
    subject, who, when = (ask.get(name) for name in (Field.SUBJECT, Field.FROM, Field.DATE))
    words = [subject.fact.value if subject else "a report without a subject"]
    words += [f"by {who.fact.value.partition(' <')[0]}"] if who else []
    words += [when.fact.value[:10]] if when else []
    return ", ".join(words)


def _repeat(told: Choices, ask: Mapping[Field, Pick], times: int) -> None:
    pick = ask.get(Field.RATE)
    hits, _, trials = pick.fact.value.partition("/") if pick else ("0", "", "1")
    share = float(hits) / float(trials) if float(trials) else 0.0
    if times:
        told.repeat = times
        told.take("repeat", str(times), "times-given")
    elif pick and 0 < share < 1:
        told.repeat = min(TIMES_MAX, attempts_to_see(share))
        told.take("repeat", str(told.repeat), "times-of-rate", f"reported: {pick.fact.value}", pick.fact)


# --------------------------------------------------------------------------------------------------------------- patches


def _undo(told: Choices, tables: Tables) -> tuple[Patch, ...]:
    undo = told.chosen.undo
    return (Patch(name=undo.patch, text=tables.patch[undo.patch]),) if undo else ()


def _patches(
    trees: tree.Trees, unpacked: Tree | None, why: str, undo: tuple[Patch, ...], proposed: Sequence[tuple[Diff, str]]
) -> tuple[PatchTold, ...]:
    """Return what became of each diff; the first fix that the source takes is used."""
    base, refused = trees.patched(unpacked, undo) if unpacked and proposed else (None, why)
    told: list[PatchTold] = []
    tried = 0
    for diff, rule in proposed:
        one = PatchTold(diff=diff, rule=rule)
        if not rule:
            one = replace(one, why="it is quoted, or only tests an idea: not taken for a fix")
        elif base is None or unpacked is None:
            one = replace(one, why=f"nobody can tell whether it applies: {refused}")
        elif any(other.used for other in told):
            one = replace(one, why="not tried: an earlier one is the second arm")
        elif tried == TRIED_MAX:
            one = replace(one, why=f"not tried: {TRIED_MAX} others do not apply")
        else:
            one = _fitted(trees, one, unpacked, base, undo)
            tried += 1
        told.append(replace(one, used=bool(one.text)))
    return tuple(told)


def _fitted(trees: tree.Trees, one: PatchTold, unpacked: Tree, base: Tree, undo: tuple[Patch, ...]) -> PatchTold:
    """Return a diff with the patch that it becomes on a tree with the fault; `patch` itself has the last word."""
    done = hunks.fitted(one.diff, tree.reader(base))
    if isinstance(done, Refused):
        return replace(one, why=done.why)
    applied, why = trees.patched(unpacked, (*undo, Patch(name="from-report", text=done.text)))
    if applied is None:
        return replace(one, why=why)
    return replace(one, text=done.text, sureness=done.sureness.value, notes=done.notes)


def _arms(
    told: Choices, undo: tuple[Patch, ...], patches: Sequence[PatchTold], stem: str
) -> tuple[tuple[Arm, ...], dict[str, str]]:
    """Return the arms and the patch files that they name."""
    files: dict[str, str] = {}
    faulty: tuple[str, ...] = ()
    about = "the source as it is"
    if undo:
        faulty = (f"{stem}.fault.patch",)
        files[faulty[0]] = undo[0].text
        about = f"the fault again: {choose.named(told.chosen)} is taken out"
    arms = [Arm(name=FAULTY, patches=faulty, about=about)]
    used = next((one for one in patches if one.used), None)
    fix = told.chosen.fix
    if used is not None:
        name = f"{stem}.from-report.patch"
        place = matrix_text.where(used.diff.place)
        files[name] = f"From {place}, {used.sureness}: made by lab repro.\n\n{used.text}"
        arms.append(
            Arm(
                name=WITH_PATCH,
                patches=(*faulty, name),
                about=f"the report's own patch ({used.sureness}), from {place}",
            )
        )
        told.take("patches", name, used.rule, "; ".join(used.notes), None)
    elif undo and fix and fix.commit:
        arms.append(Arm(name=WITH_FIX, patches=(), about="the source as it is, with the fix"))
        told.take("patches", WITH_FIX, "fix-of-source", choose.named(told.chosen))
    return tuple(arms), files


# ----------------------------------------------------------------------------------------------------------------- files


def write(made: Made, folder: Path, *, force: bool) -> Path:
    """Write the matrix and its patches; return the matrix' path. Nothing that is there is overwritten unless forced.

    Raises UsageError if a file is there, or cannot be written.
    """
    there = [name for name in made.files if os.path.lexists(folder / name)]
    if there and not force:
        raise UsageError(
            f"{str(folder / there[0])!r} is there already", hint="name another file with -o, or say --force"
        )
    try:
        for name, text in made.files.items():
            _put(folder / name, text, force=force)
    except OSError as error:
        raise UsageError(f"cannot write in {str(folder)!r}: {error.strerror}") from error
    return folder / next(iter(made.files))


def _put(path: Path, text: str, *, force: bool) -> None:
    """Let a file appear whole; a link of that name is replaced and never followed."""
    handle, scratch = tempfile.mkstemp(prefix=".repro-", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(scratch).chmod(0o644)
        if force:
            Path(scratch).replace(path)
        else:
            os.link(scratch, path, follow_symlinks=False)
    finally:
        Path(scratch).unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------------------- run


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRates:
    """What one arm came to. rates: finding id -> how often it was there. any: how often any of them was.

    outcome, reason: of its cell. judged: attempts that count; ERROR and MISS do not.
    """

    arm: str
    cell: str
    outcome: Outcome
    reason: str
    judged: int
    rates: Mapping[str, Rate]
    any: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a run came to. reproduced: how often any of the report's findings, or their cause, was there in the faulty arm."""

    done: session.Session
    arms: tuple[ArmRates, ...]
    reproduced: Rate


def run(
    made: Made, matrix: Path, settings: Settings, tables: Tables, sink: Sink, stop: threading.Event, *, accel: str
) -> Ran:
    """Run the matrix that was written, and count. accel: as lab.use.session.Request has it."""
    read_matrix = read(matrix, tables)
    cells = expand(read_matrix)
    request = session.Request(matrix=matrix, name=read_matrix.name, cells=cells, accel=accel)
    done = session.run(request, settings, tables, sink, stop)
    wanted = tuple(dict.fromkeys((*kernels.finding_ids(made.report), *made.choices.findings)))
    arms = tuple(counted(dict(cell.axes).get("patches", ""), done.by_cell[cell.id], wanted) for cell in cells)
    faulty = next((arm for arm in arms if arm.arm == FAULTY), arms[0])
    return Ran(done=done, arms=arms, reproduced=faulty.any)


def counted(arm: str, result: Result, wanted: Sequence[str]) -> ArmRates:
    """Return how often each finding was there in the attempts that were judged. Of ids that never were, one cannot say less."""
    judged = [attempt for attempt in result.attempts if attempt.outcome in JUDGED]
    found = [{id_ for finding in attempt.findings for id_ in finding.ids()} for attempt in judged]
    return ArmRates(
        arm=arm, cell=result.cell, outcome=result.outcome, reason=result.reason, judged=len(found),
        rates={one: rate(sum(one in ids for ids in found), len(found)) for one in wanted},
        any=rate(sum(not ids.isdisjoint(wanted) for ids in found), len(found)),
    )  # fmt: skip
