"""`lab boot`: a kernel that was built or packaged elsewhere, booted and judged, without a matrix.

packages → unpacked; folder → what there is to boot → architecture → modules → images → boots → checks → a folder of its own
under results/
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab import __version__, checks
from lab.boot import shards as planning
from lab.boot.initramfs import ModuleFile
from lab.environment import engine as engines
from lab.environment import filesystem, image
from lab.environment.cache import Holds
from lab.errors import ExitCode, LabError, machine_fault
from lab.events import Note, Sink
from lab.evidence import packing
from lab.evidence.bundle import Evidence
from lab.model import AttemptResult, Boot, Deadlines, Outcome, StepResult
from lab.report import reproduce
from lab.report.judged import EXIT_CODES, Judged
from lab.results import store, verdict
from lab.settings import Settings
from lab.tables import Tables
from lab.use import doctor, shards
from lab.use import guest as guests
from lab.use import record as records
from lab.use.bench import Bench
from lab.use.given import Given, below, check_paths, look, needs_unpacking, plain_image, plain_modules, sha256_of

CHECKS = ("infra", "boot")
"""What is asked of a boot alone; how the kernel was built is for `lab check`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be booted. paths: one folder, or packages (.deb) of one kernel. release: which of several kernels.

    sample: so many of the chosen modules, 0 for all. part: (number from 1, of how many). accel: as in lab.use.session.
    """

    paths: tuple[Path, ...]
    boot: Boot
    deadlines: Deadlines
    release: str = ""
    sample: int = 0
    part: tuple[int, int] | None = None
    accel: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """What came of it. folder: of the evidence. facts: of the kernel and what was chosen, JSON values."""

    folder: Path
    judged: Judged
    facts: dict[str, Any]
    interrupted: bool = False


def boot(request: Request, settings: Settings, tables: Tables, sink: Sink, stop: threading.Event) -> Booted:
    """Boot what is given, keep the evidence under results/ and judge it.

    Raises UsageError if it cannot be told what is to be booted, before anything is built or run, and EnvironmentFault.
    """
    say = _speaker(sink)
    check_paths(request.paths)
    folder = request.paths[0] if request.paths[0].is_dir() else None
    # a wrong request is told before an engine is asked for; packages need its scratch folder
    early = _looked(request, tables, folder, say) if folder is not None else None
    work = f"boot-{os.getpid()}-{time.time_ns()}"
    with (
        engines.connect(settings) as engine,
        Holds(settings) as holds,
        filesystem.scratch(work, settings, engine, "") as place,  # nothing is mounted there, so that no image serves it
    ):
        given = early or _looked(request, tables, place.folder, say)
        names = (given.machine.image, given.arch.guest)
        qemu, busybox = (image.prepare(tables.image[name], engine, settings, say, holds) for name in names)
        accel = doctor.acceleration(request.accel, given.arch, qemu.id, engine, settings, sink)
        bench = Bench(settings=settings, tables=tables, engine=engine, sink=sink, stop=stop, accel=accel)
        guest = guests.guest(bench, given.arch, request.boot, qemu=qemu, busybox=busybox, deadlines=request.deadlines)
        title = store.run_name(f"boot-{given.found.release or given.found.root.name}", time.time())
        kept = settings.results / store.untaken(settings.results, title)
        return _Work(bench, given, guest, kept, place, say).done()


def _looked(request: Request, tables: Tables, scratch: Path, say: Callable[[str], None]) -> Given:
    return look(request.paths, request.release, request.boot, _choice(request), tables, scratch, say)


def _choice(request: Request) -> Callable[[Sequence[ModuleFile]], Sequence[ModuleFile]]:
    """Return what a request takes of the modules that it means: a part of them, a sample, or all."""

    def taken(modules: Sequence[ModuleFile]) -> Sequence[ModuleFile]:
        some = planning.part(modules, *request.part) if request.part is not None else modules
        return planning.sample(some, request.sample) if request.sample else some

    return taken


def _speaker(sink: Sink) -> Callable[[str], None]:
    return lambda text: sink(Note(at_s=time.time(), text=text))


class _Work:
    """One boot, or several, of a kernel that was given."""

    def __init__(
        self,
        bench: Bench,
        given: Given,
        guest: guests.Guest,
        folder: Path,
        place: filesystem.Scratch,
        say: Callable[[str], None],
    ) -> None:
        self.bench, self.given, self.guest, self.folder, self.place = bench, given, guest, folder, place
        self.say = say
        self.steps: list[StepResult] = []
        self.record: dict[str, Any] = {}

    def done(self) -> Booted:
        """Boot, judge and keep. An error of the lab's is kept as the result, too."""
        began = time.monotonic()
        try:
            self._keep_inputs()
            self._write_record()
            self._boot()
        except LabError as error:
            self._keep(verdict.attempt_from_error(1, error), began)
            raise
        except OSError as error:
            raise machine_fault("lay out what is to be booted", error) from error
        result = self._judged()
        if not self.bench.stop.is_set():
            self._keep(result, began)
        told = verdict.most_telling_first(result.findings)
        judged = Judged(
            outcome=result.outcome, reason=result.reason, findings=told, not_applicable=result.not_applicable,
            exit_code=EXIT_CODES.get(result.outcome, ExitCode.LAB_FAULT),
        )  # fmt: skip
        return Booted(folder=self.folder, judged=judged, facts=self._facts(), interrupted=self.bench.stop.is_set())

    def _facts(self) -> dict[str, Any]:
        given = self.given
        return {
            "release": given.found.release,
            "arch": given.arch.name,
            "machine": given.machine.name,
            "accel": self.bench.accel.value,
            "modules": len(given.modules),
            "chosen": len(given.chosen),
            "boots": len(self.steps),
            "seconds": round(sum(step.seconds for step in self.steps), 1),
        }

    def _keep_inputs(self) -> None:
        if self.given.found.config is not None:
            packing.copy(self.given.found.config, self.folder / "config.txt")
        if self.guest.tasks.program is not None:
            (self.folder / "program").write_bytes(self.guest.tasks.program[1])

    def _write_record(self) -> None:
        """Write down what will be booted, and how."""
        found, given = self.given.found, self.given
        packed = (*given.chosen, *planning.on_demand(given.modules))
        files = {one.path: below(found.root, one) for one in packed}
        self.record = {
            "lab_version": __version__,
            "kernel_version": found.release,
            "shape": found.shape.value,
            "kernel": reproduce.KernelRecipe(
                release=found.release,
                arch=given.arch.name,
                folder=str(found.root.absolute()),
                packages=given.packages,
                image=str(given.image.relative_to(found.root)),
                image_sha256=sha256_of(given.image),
                unpacked=needs_unpacking(given),
                device_tree=str(given.device_tree.relative_to(found.root)) if given.device_tree else "",
                modules="".join(f"{path}\t{file}\n" for path, file in files.items()),
            ),
            "claims": {claim.source: claim.words() for claim in found.claims},
            "boot": guests.recipe(self.bench, self.guest, self.place.folder),
            "engine": {"version": self.bench.engine.version.get("Version", ""), "url": self.bench.engine.url},
        }
        store.write(self.folder / "record.json", self.record)

    def _boot(self) -> None:
        kernel = self.place.folder / "kernel"
        plain_image(self.given, kernel)
        asked = plain_modules(planning.on_demand(self.given.modules), self.place.folder / "on-demand")
        crew = shards.Crew(
            bench=self.bench, guest=self.guest, kernel=kernel, device_tree=self.given.device_tree,
            system_map=self.given.system_map, scratch=self.place.folder, folder=self.folder, run=self._run, say=self.say,
            asked=guests.on_demand(self.bench, asked),
        )  # fmt: skip
        chosen = plain_modules(self.given.chosen, self.place.folder / "modules")
        wanted = self.guest.boot.modules
        plan = shards.boot_all(crew, self.given.modules, chosen, wanted, self.given.found.missing)
        self.record["boot"] = records.booted(self.record["boot"], self.folder, plan, self.steps, crew.asked)
        with packing.appearing(self.folder / "reproduce.sh") as file:
            file.write(reproduce.boot_script(self.record).encode())
        (self.folder / "reproduce.sh").chmod(0o755)

    def _run(self, guest: guests.Guest) -> StepResult:
        result = guests.run(self.bench, guest, self.place.folder, self.folder, owner=self.place.owner)
        self.steps.append(result)
        store.write(self.folder / "steps.json", store.Steps(steps=tuple(self.steps)))
        return result

    def _judged(self) -> AttemptResult:
        asked = tuple(check for check in checks.CHECKS if check.name in CHECKS)
        findings, gaps = checks.judge(Evidence(self.folder), asked)
        outcome, reason = verdict.attempt_outcome(
            findings, (), self.steps, boot_expected=True, booted=shards.ended_well(findings)
        )
        if outcome is Outcome.PASS:
            told = (finding.message for finding in findings if finding.id == "boot.modules")
            reason = "; ".join(["booted", *told])
        return AttemptResult(number=1, outcome=outcome, reason=reason, findings=findings, not_applicable=gaps)

    def _keep(self, result: AttemptResult, began: float) -> None:
        whole = replace(
            result, steps=tuple(self.steps), facts={**result.facts, **self._facts()},
            seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip
        findings = store.Findings(findings=whole.findings, not_applicable=whole.not_applicable)
        store.write(self.folder / "findings.json", findings)
        store.write(self.folder / "result.json", whole)
