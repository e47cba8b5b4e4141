"""One test of a commit: the cell executed there, or the kernel that an earlier test has built booted once more."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from lab.environment import revisions
from lab.environment import source as sources
from lab.errors import EnvironmentFault, Untestable, UsageError
from lab.events import Sink
from lab.evidence import bootable
from lab.model import AttemptResult, Cell, GitSource, Patch
from lab.plan import pairing
from lab.plan.pairing import Verdict
from lab.results import store, verdict
from lab.results.bisections import Question
from lab.settings import Settings
from lab.tables import Tables
from lab.use import boot
from lab.use.given import sha256_of
from lab.use.hands import Make
from lab.use.hunt import REVERT, Judged

BOOTS = "boots"
"""In the folder of a bisection: boots of kernels that were kept, each a run of `lab boot`. No cell has this name: theirs have
a commit before them."""
WORDS = {
    Verdict.FAILED: "failed",
    Verdict.SOUND: "sound",
    Verdict.OTHER: "other",
    Verdict.ERROR: "error",
}


def verdict_of(result: AttemptResult, findings: tuple[str, ...]) -> Verdict:
    """Return what an attempt says of the fault in question; findings: ids, or signatures, which are ID@BLAME.

    The same kind of fault in another file is another failure.
    """
    said = pairing.verdict_of(result, [finding.partition("@")[0] for finding in findings])
    if said is not Verdict.FAILED or not findings:
        return said
    blamed = {part for id_, blame, _ in verdict.signatures(result.findings) for part in (id_, f"{id_}@{blame}")}
    return said if blamed & set(findings) else Verdict.OTHER


def cell_at(
    cell: Cell,
    repository: str,
    commit: str,
    backports: tuple[Patch, ...] = (),
    name: str = "",
    last: tuple[Patch, ...] = (),
) -> Cell:
    """Return the cell at a commit, to be executed once at a time; nothing is expected of it.

    Back-ports come first: they bring an old commit nearer to what the cell's own patches were written for.
    """
    return replace(
        cell,
        id=f"{name or commit[:12]}-{cell.id}"[:80],
        source=GitSource(repository=repository, rev=commit),
        patches=(*backports, *cell.patches, *last),
        repeat=1,
        until=None,
        expect=None,
    )


def telling(question: Question) -> Callable[[AttemptResult], bool]:
    """Return what says whether an attempt tells anything of the fault in question."""
    return lambda done: verdict_of(done, question.findings) in (Verdict.FAILED, Verdict.SOUND)


class CellJudge:
    """Tests a place by executing the cell there, or by booting again the kernel that an earlier test has built.

    make: who executes it, here or elsewhere; kernels are booted again here.
    """

    def __init__(
        self,
        cell: Cell,
        question: Question,
        make: Make,
        accel: str,
        settings: Settings,
        tables: Tables,
        sink: Sink,
        stop: threading.Event,
        opened: store.Run,
    ) -> None:
        self.cell, self.question, self.make, self.accel, self.settings = cell, question, make, accel, settings
        self.tables, self.sink, self.stop, self.opened = tables, sink, stop, opened

    def __call__(self, place: str, number: int) -> Judged | None:
        """Make the numbered test of a place; one that was finished, but is not in the journal, is not made again."""
        try:
            cell = self._cell(place)
            there = self.opened.made(cell.id)
            done = next((one for one in there if one.number == number), None)
            kept = self._kept_kernel(there) if self.question.boots else None
            if done is None and kept is not None:
                return self._booted_again(cell, kept)
            if done is None:
                done = self.make(cell, number)
            if done is None or (self.stop.is_set() and done.failed() is None):
                return None
            return self._judged(done, cell)
        except Untestable as error:
            return Judged(verdict="untestable", seconds=0.0, reason=error.message)
        except KeyboardInterrupt:
            return None

    def _cell(self, place: str) -> Cell:
        question, name = self.question, place.removeprefix(REVERT)
        if place == name:
            return cell_at(self.cell, question.repository, name, question.patches_at(name))
        text = revisions.reverse_patch(question.repository, name, self.settings)
        if not text:
            raise Untestable("a merge, or a commit with binary files, is not reverted")
        patch = Patch(name=f"revert-{name[:12]}", text=text)
        needed = question.patches_at(question.bad)
        return cell_at(self.cell, question.repository, question.bad, needed, patch.name, last=(patch,))

    def _judged(self, result: AttemptResult, cell: Cell) -> Judged:
        """Return what an attempt says of the fault; of a boot, what was built before it is told apart."""
        alone = verdict.cell_result(cell, (result,))
        said = "untestable" if alone.untestable else WORDS[verdict_of(result, self.question.findings)]
        boot_s = sum(step.seconds for step in result.steps if step.name.startswith(pairing.BOOT))
        if not self.question.boots:
            return Judged(verdict=said, seconds=result.seconds, reason=result.reason, identity=self._identity(cell))
        return Judged(
            verdict=said, seconds=boot_s, build_s=max(0.0, result.seconds - boot_s), reason=result.reason,
            identity=self._image_identity(result) or self._identity(cell),
        )  # fmt: skip

    def _identity(self, cell: Cell) -> str:
        """Return what a cell's input is known by: revisions with the same files are one test."""
        assert isinstance(cell.source, GitSource), "see cell_at()"
        return sources.revision_key(cell.source, cell.patches, self.settings)

    def _image_identity(self, result: AttemptResult) -> str:
        """Return what a kernel and its modules are known by, "" if there is no kernel."""
        folder = self.opened.folder / result.folder
        files = [folder / bootable.KERNEL, *sorted((folder / "modules").rglob("*"))]
        sums = [sha256_of(path) for path in files if path.is_file()]
        return hashlib.sha256("".join(sums).encode()).hexdigest() if files[0].is_file() else ""

    def _kept_kernel(self, there: tuple[AttemptResult, ...]) -> AttemptResult | None:
        """Return an attempt whose kernel can be booted again, None if there is none."""
        return next((one for one in there if (self.opened.folder / one.folder / bootable.KERNEL).is_file()), None)

    def _booted_again(self, cell: Cell, kept: AttemptResult) -> Judged | None:
        assert cell.boot is not None, "only kernels are booted"
        request = boot.Request(
            paths=(self.opened.folder / kept.folder,),
            boot=cell.boot,
            deadlines=cell.deadlines,
            accel=self.accel,
        )
        inside = replace(self.settings, results=self.opened.folder / BOOTS)
        began = time.monotonic()
        try:
            done = boot.boot(request, inside, self.tables, self.sink, self.stop)
        except UsageError as error:
            raise EnvironmentFault(f"a kernel that was kept cannot be booted again: {error.message}") from error
        if done.interrupted:
            return None
        told = done.judged
        result = AttemptResult(
            number=kept.number,
            outcome=told.outcome,
            reason=told.reason,
            findings=told.findings,
            not_applicable=told.not_applicable,
        )
        said = WORDS[verdict_of(result, self.question.findings)]
        return Judged(
            verdict=said, seconds=time.monotonic() - began, reason=f"{told.reason} ({BOOTS}/{done.folder.name})"
        )
