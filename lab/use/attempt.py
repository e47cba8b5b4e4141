"""Execute one cell once: scratch → filesystem → record → configure → build → pack → boot → checks → verdict → store."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import checks, kbuild
from lab.boot import machine
from lab.environment import emulation, writes
from lab.environment.engine import Mount, Place
from lab.environment.filesystem import Granularity, Scratch
from lab.environment.wallclock import WallClock
from lab.errors import LabError, machine_fault
from lab.events import JobProgress, Note
from lab.evidence import amplified, bootable, mtimes, packing, qmp, remake
from lab.evidence.boots import is_boot
from lab.evidence.bundle import Evidence, pack
from lab.model import AttemptResult, Cell, Ending, Finding, Outcome, Probe, Severity, Span, Step, StepResult
from lab.report import reproduce
from lab.results import crashes, store, verdict
from lab.use import guest as guests
from lab.use import lines, shards
from lab.use import record as records
from lab.use.bench import Bench, Inputs, give_to_build, laid_out, wrappers

PROGRESS_EVERY_S = 0.5
WAITS = ("align", "missed")  # what is noted of a tool that is to begin with a second


class Attempt:
    """One execution under way: where it writes, what it has seen. Used by execute() only."""

    def __init__(self, bench: Bench, cell: Cell, number: int, key: str, inputs: Inputs, folder: Path) -> None:
        self.bench, self.cell, self.number, self.key, self.inputs, self.folder = (
            bench,
            cell,
            number,
            key,
            inputs,
            folder,
        )
        self.arch = bench.tables.arch[cell.arch]
        self.toolchain = bench.tables.toolchain[cell.toolchain]
        self.filesystem = bench.tables.filesystem[cell.filesystem]
        self.jobs = cell.make.jobs or bench.settings.cores
        self.steps: list[StepResult] = []
        self.findings: list[Finding] = []
        self.facts: dict[str, Any] = {}
        self.files_built = 0
        self._told_s = 0.0
        self._wall = WallClock()

    # --------------------------------------------------------------------------------------------------------- steps

    def run(self, step: Step, place: Place, watch: Path | None = None) -> StepResult:
        """Run one step, keep its result in steps.json at once; watch: the folder whose free space is noted."""
        result = self.bench.engine.execute(
            step, place, self.folder / step.log, on_line=self._progress(step), stop=self.bench.stop
        )
        if watch is not None:
            free = os.statvfs(watch)
            result = replace(result, bytes_free=free.f_bavail * free.f_frsize, inodes_free=free.f_favail)
        result = replace(result, set_back_s=self._wall.set_back_s())
        self._keep(result)
        return result

    def _keep(self, result: StepResult) -> None:
        self.steps.append(result)
        store.write(self.folder / "steps.json", store.Steps(steps=tuple(self.steps)))

    def _progress(self, step: Step) -> Callable[[str], None]:
        """Return what is told each line of a step's log: it passes some of them on, with the part that is done."""
        expected = self._expected_files() if step.name == "build" else None

        def on_line(line: str) -> None:
            self._wall.look()
            counted = kbuild.is_progress(line)
            self.files_built, fraction = kbuild.progress(line, self.files_built, expected)
            now = time.monotonic()
            if now - self._told_s >= PROGRESS_EVERY_S and (counted or step.name != "build"):
                self._told_s = now
                self.bench.sink(
                    JobProgress(
                        at_s=self.bench.clock(),
                        key=self.key,
                        step=step.name,
                        detail=line.strip()[:200],
                        fraction=fraction,
                    )
                )

        return on_line

    def say(self, text: str) -> None:
        """Tell one line of progress."""
        self.bench.sink(JobProgress(at_s=self.bench.clock(), key=self.key, step="lines", detail=text))

    def _expected_files(self) -> int | None:
        """Return how many files an earlier build of the same kind made: what `fraction` is a fraction of."""
        try:
            return int(self._files_note().read_text())
        except (OSError, ValueError):
            return None

    def _files_note(self) -> Path:
        return self.bench.settings.cache / "progress" / kbuild.build_key(self.cell)

    # --------------------------------------------------------------------------------------------------------- build

    def decide(self) -> None:
        """Decide the steps that configure and build."""
        cache = kbuild.CompilerCache(compiler=self.inputs.compiler, size=self.bench.settings.ccache_size)
        self.configure_steps = kbuild.configure_steps(self.cell, self.arch, self.toolchain, jobs=self.jobs, cache=cache)
        self.build_step = kbuild.build_step(self.cell, self.arch, self.toolchain, jobs=self.jobs, cache=cache)
        self.remake_step = None
        if self.cell.probe is Probe.REMAKE:
            self.remake_step = kbuild.remake_step(self.cell, self.arch, self.toolchain, jobs=self.jobs, cache=cache)

    def write_record(self, place: Scratch, granularity: Granularity) -> None:
        """Decide the steps and write down what will be run, and the script that runs it again without the lab."""
        self.decide()
        self.guest = self._guest()
        images = self.bench.tables.image
        boot = guests.recipe(self.bench, self.guest, place.folder) if self.guest is not None else None
        written = records.record(
            self.cell,
            self.number,
            granularity=granularity,
            image=records.image_recipe(images[self.inputs.build.name], self.inputs.build),
            place=self.build_place(place),
            tree=self.inputs.tree,
            filesystem=self.filesystem,
            base=self.bench.tables.base_of(self.filesystem),
            steps=(*self.configure_steps, self.build_step),
            boot=boot,
            engine={"version": self.bench.engine.version.get("Version", ""), "url": self.bench.engine.url},
            mount=records.image_recipe(images[self.inputs.mount.name], self.inputs.mount)
            if self.inputs.mount
            else None,
        )
        if self.remake_step is not None:
            written["probe"] = records.step_recipe(self.remake_step)
        if self.inputs.tools is not None:
            written["tools"] = records.image_recipe(images[self.inputs.tools.name], self.inputs.tools)
        if self.cell.amplify:
            script = self.bench.settings.data / "bin" / "amplify"
            written["amplify"] = records.amplify_recipe(self.cell, wrappers(self.bench, self.cell), script)
        if self.inputs.worktree is not None and self.inputs.worktree.built_from:
            self.facts["built_on"] = self.inputs.worktree.built_from
        self.facts |= {"granularity_ns": granularity.effective_ns, "kernel": self.inputs.tree.version}
        store.write(self.folder / "record.json", written)
        self.record = written
        self._write_script()

    def _write_script(self) -> None:
        """Let reproduce.sh appear, of the record as it is now."""
        with packing.appearing(self.folder / "reproduce.sh") as file:
            file.write(reproduce.script(self.record).encode())
        (self.folder / "reproduce.sh").chmod(0o755)

    def build(self, place: Scratch) -> bool:
        """Configure and build in the container; True if there is a kernel. Everything is packed, also after a failure."""
        inside = self.build_place(place)
        order = place.folder / "writes.tsv"
        recorder = writes.recorded(place, order, self.bench.settings, self.bench.engine, self.inputs.helper)
        with recorder as recording:
            built = self._configure(inside, place.out) and self._make(inside, place.out)
        self.facts["write_order_recorded"] = recording.works and recording.whole
        place.check_kept()
        if built and self.inputs.worktree is not None:
            self.inputs.worktree.keep(place.out)
        try:
            seen = order if recording.works else None
            pack(place.out, self.folder, source=self.inputs.tree.path, writes=seen, whole=recording.whole)
        except OSError as error:
            raise machine_fault("keep the evidence", error, facts=(("folder", str(self.folder)),)) from error
        if self.cell.amplify:
            self.facts["amplified"] = self._amplified()
        return built

    def _amplified(self) -> dict[str, Any]:
        """Return what made races likelier, and how often each of it was waited for, as its wrappers noted."""
        wanted = wrappers(self.bench, self.cell)
        tools = [tool for tool, _ in wanted.align]
        expected = [
            *(f"slow {tool}" for tool, _ in wanted.slow),
            *(f"{word} {tool}" for tool in tools for word in WAITS),
        ]
        waits = amplified.waits(self.folder / amplified.NOTES, expected)
        return {"what": self.cell.amplify.words(), "waits": waits}

    def build_place(self, place: Scratch) -> Place:
        """Return where the cell is configured and built."""
        settings = self.bench.settings
        mounts = [
            Mount(host=self.inputs.tree.path, inside=kbuild.SOURCE),
            Mount(host=place.out, inside=kbuild.OUT, writable=True),
            Mount(host=place.lab, inside=kbuild.LAB),
        ]
        if self.inputs.tools is not None:
            tools = self.bench.tables.image[self.inputs.tools.name]
            mounts += emulation.mounts(tools, emulation.folder_of(tools, self.inputs.tools, settings))
        if self.cell.ccache:
            mounts.append(Mount(host=self._ccache(), inside=kbuild.CCACHE, writable=True))
        return Place(
            image=self.inputs.build.id,
            owner=place.owner,
            mounts=tuple(mounts),
            user=f"{settings.uid}:{settings.gid}",
            memory_mib=max(1024, settings.memory_mib // 2),
            cpus=float(settings.cores),
        )

    def _ccache(self) -> Path:
        """Return the compiler cache of this image; another compiler never reads it."""
        folder = self.bench.settings.cache / "ccache" / self.inputs.ccache_name
        folder.mkdir(parents=True, exist_ok=True)
        give_to_build(folder, self.bench.settings)
        return folder

    def _configure(self, inside: Place, out: Path) -> bool:
        for step in self.configure_steps:
            if not self.run(step, inside, out).ok:
                return False
        config = (out / ".config").read_text(errors="replace") if (out / ".config").is_file() else ""
        lost = kbuild.not_honoured(kbuild.fragments(self.cell), config)
        if lost:
            self.findings.append(config_finding(lost))
        return not lost

    def _make(self, inside: Place, out: Path) -> bool:
        self.files_built = 0
        done = self.run(self.build_step, inside, out)
        if done.ok:
            with contextlib.suppress(OSError):  # what it is for is a percentage
                note = self._files_note()
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(str(self.files_built))
        return done.ok

    # --------------------------------------------------------------------------------------------------------- probe

    def probe(self, place: Scratch) -> None:
        """Make again what was built, well or not, if the cell asks for it; the log and what it wrote become evidence.

        It is none of the steps: those decide the outcome, this one is judged by lab.checks.remake.
        """
        built = next((step for step in self.steps if step.name == self.build_step.name), None)
        if self.remake_step is None or built is None or built.ending is not Ending.EXITED or self.bench.stop.is_set():
            return
        before = mtimes.scan(place.out)
        again = self.bench.engine.execute(
            self.remake_step,
            self.build_place(place),
            self.folder / self.remake_step.log,
            on_line=self._progress(self.remake_step),
            stop=self.bench.stop,
        )
        again = replace(again, set_back_s=self._wall.set_back_s())
        written = remake.changed(before.times, mtimes.scan(place.out).times)
        store.write(self.folder / remake.NAME, remake.Made(first=built, again=again, written=written))

    # ---------------------------------------------------------------------------------------------------------- boot

    def boot(self, place: Scratch) -> None:
        """Boot what was built with its modules, in as many boots as they need: console.txt, console-2.txt, …"""
        kernel = place.out / self.arch.image_path
        if self.guest is None or not kernel.is_file():
            return  # the check says that there is no console
        files, missing = bootable.modules_of(Evidence(self.folder))
        modules = shards.module_files(files)
        wanted = self.guest.boot.modules
        chosen = shards.selected(modules, wanted)
        self.facts |= {"accel": self.bench.accel.value, "modules": [one.path for one in chosen]}
        tree = guests.device_tree(self.guest.machine, place.out)
        crew = shards.Crew(
            bench=self.bench, guest=self.guest, kernel=kernel, device_tree=tree, system_map=place.out / "System.map",
            scratch=place.folder, folder=self.folder, run=lambda guest: self._run_guest(guest, place),
            asked=guests.on_demand(self.bench, modules),
        )  # fmt: skip
        plan = shards.boot_all(crew, modules, chosen, wanted, missing)
        self._keep_inputs(kernel, tree)
        told = qmp.read(self.folder / machine.QMP_LOG, self.folder / machine.QEMU_LOG)
        self.facts |= {"qemu": told.version, "guest_ended": told.shutdown, "boots": len(plan.boots)}
        self.record["boot"] = records.booted(self.record["boot"], self.folder, plan, self.steps, crew.asked)
        self._write_script()  # what was booted, and not only what was meant to be

    def _keep_inputs(self, kernel: Path, tree: Path | None) -> None:
        """Keep what is booted as evidence, so that it can be booted again."""
        assert self.guest is not None, "there is a machine"
        packing.copy(kernel, self.folder / bootable.KERNEL, packed=True)
        if tree is not None:
            packing.copy(tree, self.folder / machine.DEVICE_TREE)
        if self.guest.tasks.program is not None:
            (self.folder / "program").write_bytes(self.guest.tasks.program[1])

    def _run_guest(self, guest: guests.Guest, place: Scratch) -> StepResult:
        progress = self._progress(guest.step)
        result = guests.run(self.bench, guest, place.folder, self.folder, owner=place.owner, on_line=progress)
        self._keep(result)
        return result

    def _guest(self) -> guests.Guest | None:
        if self.cell.boot is None:
            return None
        assert self.inputs.boot is not None, "a cell that boots has one"
        assert self.inputs.guest is not None, "a cell that boots has one"
        guest = guests.guest(
            self.bench,
            self.arch,
            self.cell.boot,
            qemu=self.inputs.boot,
            busybox=self.inputs.guest,
            deadlines=self.cell.deadlines,
        )
        self.facts["machine"] = guest.machine.name
        return guest


def execute(bench: Bench, run: store.Run, cell: Cell, number: int, key: str, inputs: Inputs) -> AttemptResult:
    """Execute a cell once and keep what came of it. Returns a result also when the lab itself is in trouble.

    After a crash of the emulator or of a tool, or if the clock was set back, it is executed once more, see lab.results.crashes.
    Only an interruption leaves no result.json behind: the attempt then counts as never made.
    """
    result = _executed(bench, run, cell, number, key, inputs)
    crash = crashes.crash_of(result)
    if crash is not None and not crashes.asked_for(crash, cell) and not bench.stop.is_set():
        bench.sink(Note(at_s=bench.clock(), text=f"{cell.id} is made again, once: {crash.message}"))
        second = _executed(bench, run, cell, number, key, inputs)  # sets the evidence of the first aside
        result = crashes.made_again(result, crash, second, run.last_aside(cell.id, number))
    if not bench.stop.is_set():
        run.keep_attempt(cell.id, result)
    return result


def fill_cache(bench: Bench, name: str, cell: Cell, key: str, inputs: Inputs) -> None:
    """Build a cell for the sake of the compiler cache alone: nothing is judged or kept, however it ends.

    name: of the scratch folder.
    """
    with laid_out(bench, name, cell, inputs) as (place, _):
        attempt = Attempt(bench, cell, 1, key, inputs, place.folder)
        attempt.decide()
        inside = attempt.build_place(place)
        if attempt._configure(inside, place.out):
            attempt._make(inside, place.out)


def _executed(bench: Bench, run: store.Run, cell: Cell, number: int, key: str, inputs: Inputs) -> AttemptResult:
    began, folder = time.monotonic(), run.attempt_folder(cell.id, number)
    attempt = Attempt(bench, cell, number, key, inputs, folder)
    try:
        if inputs.tools is not None:
            emulation.check_versions(inputs.build, inputs.tools)
        with laid_out(bench, _scratch_name(run, cell, number), cell, inputs) as (place, granularity):
            attempt.write_record(place, granularity)
            if attempt.build(place) and cell.boot is not None:
                attempt.boot(place)
            attempt.probe(place)  # last: it may change what was built
        lines.keep(folder, bench.settings, bench.tables, bench.engine, attempt.say)
        result = _judged(attempt)
    except LabError as error:
        result = verdict.attempt_from_error(number, error)
    return replace(
        result,
        steps=tuple(attempt.steps),
        facts={**attempt.facts, **result.facts},
        seconds=round(time.monotonic() - began, 3),
        folder=str(folder.relative_to(run.folder)),
    )


def _judged(attempt: Attempt) -> AttemptResult:
    evidence = Evidence(attempt.folder)
    findings, not_applicable = checks.judge(evidence)
    told = (*attempt.findings, *findings)
    booted = any(is_boot(step.name) for step in attempt.steps) and shards.ended_well(told)
    outcome, reason = verdict.attempt_outcome(
        told, not_applicable, attempt.steps, boot_expected=attempt.cell.boot is not None, booted=booted
    )
    if outcome is Outcome.PASS:
        reason = "; ".join([reason, *(finding.message for finding in told if finding.id == "boot.modules")])
    return AttemptResult(
        number=attempt.number, outcome=outcome, reason=reason, findings=told, not_applicable=not_applicable
    )


def config_finding(lost: tuple[kbuild.NotHonoured, ...]) -> Finding:
    """Return the finding that a configuration is not the one that was asked for. lost: at least one."""
    symbol, wanted, got = lost[0]
    return Finding(
        id="config.not-honoured",
        severity=Severity.ERROR,
        title=f"{symbol} did not survive olddefconfig",
        message=f"{symbol}={wanted} was asked for, the configuration has {got or 'nothing'}"
        + (f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""),
        where=Span(file="config.txt"),
        because=tuple(f"{name}: wanted {want}, got {have or 'nothing'}" for name, want, have in lost[:20]),
        data={"symbols": [{"symbol": name, "wanted": want, "got": have} for name, want, have in lost]},
    )


def _scratch_name(run: store.Run, cell: Cell, number: int) -> str:
    return f"{run.facts.run}-{cell.id}-{number}-{os.getpid()}"
