"""One run of a reproduce.sh as somebody without the lab would run it: from an empty home, with nothing of this process' words.

The script calls its HOOK when it has reached something and waits for it; here that is a small script that asks this process,
which then looks as an attempt's does: at the order of writes while the kernel is built, at the times before it is made again.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lab import checks, kbuild, proc
from lab.environment import filesystem, writes
from lab.environment.engine import Engine
from lab.environment.filesystem import Granularity, Scratch
from lab.events import Note, Sink
from lab.evidence import mtimes, packing, remake
from lab.evidence.bundle import Evidence, pack
from lab.model import Ending, Finding, Fragment, NotApplicable, Outcome, StepResult
from lab.report import reproduce
from lab.results import disk, expected, store, verdict
from lab.results.expected import Run
from lab.settings import Settings
from lab.use import attempt

EVIDENCE = "evidence"
SAID = "said.txt"
PATIENCE_S = 2 * 3600.0  # for all that has no deadline of its own: images, the source
ASKING_S = 0.05
CONSOLE, REMAKE, PACKING = "console", "remake", "initramfs"
NO_STEPS = (REMAKE, PACKING)  # of an attempt
_STEP = re.compile(r"(\S{1,80}) ([0-9]{1,3}) ([0-9]{1,9})")
# exits as soon as nobody is there to answer
HOOK = """#!/bin/sh
printf '%s\\n' "$2" "$3" >"$0.$1.new"
mv "$0.$1.new" "$0.$1"
until [ -e "$0.$1.seen" ]; do
	kill -0 {process} 2>/dev/null || exit 1
	sleep 0.05
done
"""
POINTS = ("mounted", "built", "remade")
ENDED_BY = {124: Ending.DEADLINE, 137: Ending.KILLED, 143: Ending.KILLED}
NOT_RUN = (125, 126, 127)  # docker's own, for a container that it could not run
UNTESTABLE = 125  # the script's, for a patch that does not apply


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """What one run came to. status: of the script. untestable: nothing of the machine is to blame that it was not judged.

    image_differences: packages of images that had to be made here, where they are not the recorded ones.
    """

    run: Run
    findings: tuple[Finding, ...]
    status: int
    seconds: float
    untestable: bool = False
    image_differences: tuple[str, ...] = ()


class _Watch:
    """A run that is under way. folder: of this run; here: where the script is called."""

    def __init__(
        self, record: Mapping[str, Any], folder: Path, place: Scratch, settings: Settings, engine: Engine
    ) -> None:
        self.record, self.folder, self.settings, self.engine = record, folder, settings, engine
        self.here, self.home, self.evidence = folder / "here", folder / "home", folder / EVIDENCE
        self.hook, self.order = folder / "hook", folder / "writes.tsv"
        self.work = self.here / reproduce.file_name(f"reproduce-{record['cell']}")
        self.out = self.work / "out"
        self.granularity: Granularity | None = None
        self.written: tuple[remake.Written, ...] | None = None
        self._place, self._recording, self._recorder = place, writes.Recording(), contextlib.ExitStack()
        self._before: Mapping[str, int] = {}
        for path in (folder, self.here, self.home, self.evidence):
            path.mkdir()
        self.hook.write_text(HOOK.replace("{process}", str(os.getpid())))
        self.hook.chmod(0o755)

    def answer(self, point: str, source: Path) -> None:
        """Look at what the script has reached."""
        if point == "mounted":
            self.granularity = filesystem.measure(self.out)
            # a FUSE mount cannot be watched: what lies under it is
            self._place.watched = self.work / ("base" if self.record["filesystem"]["kind"] == "coarse" else "out")
            recorder = writes.recorded(self._place, self.order, self.settings, self.engine, "")
            self._recording = self._recorder.enter_context(recorder)
        elif point == "built":
            self.close()
            seen = self.order if self._recording.works else None
            pack(self.out, self.evidence, source=source, writes=seen, whole=self._recording.whole)
            self._before = mtimes.scan(self.out).times
        elif point == "remade":
            self.written = remake.changed(self._before, mtimes.scan(self.out).times)

    def close(self) -> None:
        """Stop watching."""
        self._recorder.close()


def rerun(
    script: Path,
    record: Mapping[str, Any],
    folder: Path,
    place: Scratch,
    settings: Settings,
    engine: Engine,
    sink: Sink,
) -> Rerun:
    """Run the script once and judge what it left. folder: does not exist yet; `place` takes away what is mounted in it."""
    began = time.monotonic()
    watch = _Watch(record, folder, place, settings, engine)
    try:
        status = _run(script, watch, sink)
    finally:
        watch.close()
    done = judged(record, watch.work, watch.evidence, status, granularity=watch.granularity, written=watch.written)
    if not done.findings and done.run.outcome is Outcome.ERROR:
        done = replace(done, run=replace(done.run, reason=f"{done.run.reason}: {_last_line(watch.folder / SAID)}"))
    return replace(done, seconds=round(time.monotonic() - began, 3))


def _run(script: Path, watch: _Watch, sink: Sink) -> int:
    """Run the script to its end, answering its hook; return its exit status, -1 if it was ended at the deadline."""
    variables = {"PATH": proc.CLEAN["PATH"], "HOME": str(watch.home), "HOOK": str(watch.hook)}
    chosen = {
        "DOCKER_HOST": watch.settings.engine,
        "MIRROR": watch.settings.mirror,
        "SNAPSHOT": watch.settings.snapshot,
    }
    variables |= {name: value for name, value in chosen.items() if value}
    argv = ["env", "-i", *(f"{name}={value}" for name, value in variables.items()), "sh", str(script)]
    until = time.monotonic() + PATIENCE_S + sum(_seconds(step) for step in _all_steps(watch.record))
    with (watch.folder / SAID).open("xb") as said:
        child = proc.start(argv, workdir=watch.here, output=said)
        told = 0
        try:
            while child.poll() is None and time.monotonic() < until:
                _answer(watch)
                told = _tell(watch.folder / SAID, told, sink)
                time.sleep(ASKING_S)
            return -1 if child.poll() is None else child.returncode
        finally:
            proc.end(child)
            _tell(watch.folder / SAID, told, sink)


def _answer(watch: _Watch) -> None:
    """Answer the hook if it asks."""
    for point in POINTS:
        asked, seen = (watch.hook.with_name(f"{watch.hook.name}.{point}{suffix}") for suffix in ("", ".seen"))
        if asked.is_file() and not seen.exists():
            source = asked.read_text(errors="surrogateescape").splitlines()[1:]
            watch.answer(point, Path(source[0] if source else "/nonexistent"))
            seen.touch()


def _tell(said: Path, told: int, sink: Sink) -> int:
    """Pass on what the script says of its progress; return how many bytes were looked at."""
    with said.open("rb") as stream:
        stream.seek(told)
        whole, newline, _ = stream.read(1 << 16).rpartition(b"\n")
    for line in whole.decode("utf-8", "replace").splitlines():
        if line.startswith("reproduce: ") and "stays mounted" not in line:  # it does not, here
            sink(Note(at_s=time.time(), text=line.removeprefix("reproduce: ").partition(" (log: ")[0][:300]))
    return told + len(whole) + len(newline)


def _all_steps(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from record["steps"]
    yield from filter(None, (record.get("probe"), (record["boot"] or {}).get("step")))


def _seconds(step: Mapping[str, Any]) -> float:
    deadline = step.get("deadline_s")
    return min(float(deadline), 86_400.0) if isinstance(deadline, int | float) else 0.0


# --------------------------------------------------------------------------------------------------------------- judging


def judged(
    record: Mapping[str, Any],
    work: Path,
    evidence: Path,
    status: int,
    *,
    granularity: Granularity | None = None,
    written: tuple[remake.Written, ...] | None = None,
) -> Rerun:
    """Make an evidence folder of what a script left in its WORK, and judge it as an attempt is.

    evidence: exists; what pack() put there while the script ran stays. granularity, written: as measured while it ran, None if
    nobody looked. Without any step there is nothing to judge: that is ERROR.
    """
    steps = _steps(work / "steps", record)
    differences = _image_differences(work)
    packed_badly = any(step.name.startswith(PACKING) and not step.ok for step in steps)
    if not steps or status == -1 or packed_badly:
        how = "had no end within its deadlines" if status == -1 else f"ended with {status} before it built"
        how = "could not pack the initramfs" if packed_badly else how
        run = Run(outcome=Outcome.ERROR, reason=f"the script {how}")
        return Rerun(
            run=run,
            findings=(),
            status=status,
            seconds=0.0,
            untestable=status == UNTESTABLE,
            image_differences=differences,
        )
    _gather(record, work, evidence, steps, granularity, written)
    findings, not_applicable = _findings(record, evidence)
    own = tuple(step for step in steps if not step.name.startswith(NO_STEPS))
    booted = any(finding.id == "boot.modules" and finding.data.get("done") for finding in findings)
    outcome, reason = verdict.attempt_outcome(
        findings, not_applicable, own, boot_expected=record["boot"] is not None, booted=booted
    )
    run = Run(outcome=outcome, reason=reason, faults=expected.faults(findings))
    return Rerun(run=run, findings=findings, status=status, seconds=0.0, image_differences=differences)


def _findings(record: Mapping[str, Any], evidence: Path) -> tuple[tuple[Finding, ...], tuple[NotApplicable, ...]]:
    found, not_applicable = checks.judge(Evidence(evidence))
    config = disk.read_bytes(evidence / "config.txt") or b""
    wanted = [Fragment(kind="file", text=str(file["text"]), name=str(file["name"])) for file in record["kconfig"]]
    lost = kbuild.not_honoured(wanted, config.decode("utf-8", "replace")) if config else ()
    return (*([attempt.config_finding(lost)] if lost else []), *found), not_applicable


def _gather(
    record: Mapping[str, Any],
    work: Path,
    evidence: Path,
    steps: tuple[StepResult, ...],
    granularity: Granularity | None,
    written: tuple[remake.Written, ...] | None,
) -> None:
    """Put what the script left where the checks look for it."""
    if not (evidence / "mtimes.tsv").exists():
        pack(work / "out", evidence, source=_source(work, record), writes=None)
    kept = {name: value for name, value in record.items() if not name.startswith("granularity")}
    if granularity is not None:
        kept |= {"granularity_ns": granularity.effective_ns, "granularity": asdict(granularity)}
    store.write(evidence / "record.json", kept)
    with packing.appearing(evidence / kbuild.BUILD_LOG) as out:
        for name in _names(record):
            out.write(disk.read_bytes(work / f"{name}.txt") or b"")
    for log in sorted(work.glob(f"{CONSOLE}*.txt")):
        packing.copy(log, evidence / log.name)
    own = tuple(step for step in steps if not step.name.startswith(NO_STEPS))
    store.write(evidence / "steps.json", store.Steps(steps=own))
    by_name = {step.name: step for step in steps}
    if written is not None and REMAKE in by_name and "build" in by_name:
        packing.copy(work / "remake.txt", evidence / remake.LOG)
        store.write(
            evidence / remake.NAME,
            remake.Made(first=by_name["build"], again=by_name[REMAKE], written=written),
        )


def _names(record: Mapping[str, Any]) -> list[str]:
    """Return what the script calls the steps that configure and build."""
    return [reproduce.file_name(f"{number}-{step['name']}") for number, step in enumerate(record["steps"], start=1)]


def _steps(path: Path, record: Mapping[str, Any]) -> tuple[StepResult, ...]:
    """Return how the steps ended, by their names in the record; of those that the record has not, by the script's."""
    names = dict(zip(_names(record), (str(step["name"]) for step in record["steps"]), strict=True))
    found = []
    for line in (disk.read_bytes(path) or b"").decode("utf-8", "replace").splitlines():
        if told := _STEP.fullmatch(line):
            status = int(told[2])
            ending = Ending.ENGINE_LOST if status in NOT_RUN else ENDED_BY.get(status, Ending.EXITED)
            name = names.get(told[1], told[1].replace(CONSOLE, "boot"))
            found.append(StepResult(name=name, ending=ending, status=status, seconds=float(told[3])))
    return tuple(found)


def _source(work: Path, record: Mapping[str, Any]) -> Path:
    """Return the tree that was built: what the script made, or what the record names."""
    made = (work / "patched", *sorted((work / "source").glob("*")))
    return next((path for path in made if path.is_dir()), Path(str(record["source"].get("path", "/nonexistent"))))


def _image_differences(work: Path) -> tuple[str, ...]:
    found = ((path.stem, disk.read_bytes(path) or b"") for path in sorted((work / "images").glob("*.differs")))
    return tuple(
        f"{name}: {line[:200]}" for name, raw in found for line in raw.decode("utf-8", "replace").splitlines()[:200]
    )


def _last_line(said: Path) -> str:
    lines = (disk.read_bytes(said) or b"").decode("utf-8", "replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it said nothing")
