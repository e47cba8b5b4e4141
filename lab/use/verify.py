"""`lab verify-bundle FILE`: run a bundle's script in an empty home, judge what it left, hold the verdict against the bundle's.

unpack → may it be run → { run the script, watching it through its HOOK → evidence → checks } until the answer is settled
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.environment import engine as engines
from lab.environment import filesystem, saved
from lab.environment.engine import Engine
from lab.environment.filesystem import Scratch
from lab.errors import EnvironmentFault, ExitCode, UsageError
from lab.events import Note, Sink
from lab.report import bundle, reproduce, tarball
from lab.results import disk, expected, store
from lab.results.expected import Answer, Expected
from lab.settings import Settings
from lab.tables import Tables
from lab.use import rerun, vetting
from lab.use.rerun import Rerun

ROOM_BYTES = 1 << 30  # beside what the bundle itself takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be verified. times: runs at most, 0: as many as the bundle's own rate asks for.

    keep: leave each run's evidence under results/. trust: run the script whatever it says.
    """

    file: Path
    times: int = 0
    keep: bool = False
    trust: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What came of it. words: one line. kept: folder with the evidence of each run, None if it is not kept."""

    answer: Answer
    words: str
    expected: Expected
    runs: tuple[Rerun, ...]
    kept: Path | None = None

    @property
    def exit_code(self) -> ExitCode:
        """0: the same verdict, 1: another one, 125: cannot be told here, 128: the machine kept every run from being judged."""
        if self.answer is Answer.UNJUDGED:
            return ExitCode.UNTESTABLE if all(run.untestable for run in self.runs) else ExitCode.LAB_FAULT
        codes = {
            Answer.SAME: ExitCode.AS_EXPECTED,
            Answer.OTHER: ExitCode.KERNEL_FAULT,
            Answer.OPEN: ExitCode.UNTESTABLE,
        }
        return codes[self.answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A bundle in a folder. record, expected: what record.json and expected.json say; both can be used as ours."""

    folder: Path
    record: dict[str, Any]
    expected: Expected

    @property
    def script(self) -> Path:
        """What is run."""
        return self.folder / bundle.SCRIPT


def verified(request: Request, settings: Settings, tables: Tables, sink: Sink) -> Verified:
    """Unpack, run, judge, compare.

    Raises UsageError for a file that is no bundle, is damaged, or whose script is not to be run unread; EnvironmentFault
    where nobody here may mount, or there is no engine.
    """
    if not settings.may_mount:
        raise EnvironmentFault(
            "the script of a bundle mounts a filesystem, and this process may not",
            finding="infra.mount",
            hint="run it as root",
        )
    with engines.connect(settings) as engine:
        name = f"verify-{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns() % 10**6:06}"
        with filesystem.scratch(name, settings, engine, "") as place:
            unpacked = unpack(request.file, place.folder / "bundle")
            _vet(unpacked, tables, trust=request.trust)
            kept = _kept_folder(request, settings) if request.keep else None
            runs = _runs(request, unpacked, place, kept, settings, engine, sink)
    told = [run.run for run in runs]
    return Verified(
        answer=expected.answer(unpacked.expected, told),
        words=expected.answer_words(unpacked.expected, told),
        expected=unpacked.expected,
        runs=runs,
        kept=kept,
    )


def unpack(file: Path, folder: Path) -> Unpacked:
    """Unpack a bundle into a new folder. Raises UsageError if it is none of ours."""
    folder.mkdir()
    try:
        room = max(0, shutil.disk_usage(folder).free - ROOM_BYTES)
        with file.open("rb") as stream:
            tarball.unpack_tar(bundle.TOP, stream, folder, bundle.limit_of, min(bundle.TOTAL_BYTES_AT_MOST, room))
    except OSError as error:
        raise UsageError(f"cannot read the bundle {str(file)!r}: {error.strerror}") from error
    wanted = store.read(Expected, folder / bundle.EXPECTED)
    record = _record(folder / bundle.RECORD)
    if wanted is None or record is None or not (folder / bundle.SCRIPT).is_file():
        raise UsageError(
            f"{file.name!r} is no bundle that this lab can read",
            facts=(("needs", f"{bundle.SCRIPT}, {bundle.RECORD}, {bundle.EXPECTED}"),),
        )
    return Unpacked(folder=folder, record=record, expected=wanted)


def run_row(run: Rerun, wanted: Expected) -> dict[str, Any]:
    """Return a run as docs/json.md has it."""
    rest = {name: value for name, value in asdict(run).items() if name != "run"}
    return {**asdict(run.run), **rest, "same": expected.same(wanted, run.run)}


def _record(path: Path) -> dict[str, Any] | None:
    """Return a record from which a script can be made, else None."""
    try:
        value = json.loads(disk.read_bytes(path) or b"")
        reproduce.script(value)
        bundle.image_recipes(value)
    except vetting.UNREADABLE:
        return None
    return dict(value)


def _vet(unpacked: Unpacked, tables: Tables, *, trust: bool) -> None:
    found = () if trust else vetting.doubts(unpacked.folder, unpacked.record, unpacked.expected, tables)
    if found:
        raise UsageError(
            "the script of the bundle is not run: it would run as root, and it is not as this lab makes it",
            facts=tuple(("found", words) for words in found[:8]),
            hint="an older or newer lab may have made it: read reproduce.sh and record.json, then say --trust",
        )
    recipes = bundle.image_recipes(unpacked.record)
    for archive in sorted(unpacked.folder.glob("images/*.tar")):
        saved.check(archive, str(recipes[archive.stem]["id"]) if archive.stem in recipes else "")


def _runs(
    request: Request,
    unpacked: Unpacked,
    place: Scratch,
    kept: Path | None,
    settings: Settings,
    engine: Engine,
    sink: Sink,
) -> tuple[Rerun, ...]:
    """Run until the answer is settled, or often enough."""
    runs: list[Rerun] = []
    times = request.times or expected.times(unpacked.expected)
    while len(runs) < times and not expected.settled(unpacked.expected, [run.run for run in runs]):
        number = len(runs) + 1
        sink(Note(at_s=time.time(), text=f"run {number} of at most {times}"))
        folder = place.folder / str(number)
        runs.append(rerun.rerun(unpacked.script, unpacked.record, folder, place, settings, engine, sink))
        if kept is not None:
            shutil.copytree(folder / rerun.EVIDENCE, kept / str(number), symlinks=True)
    return tuple(runs)


def _kept_folder(request: Request, settings: Settings) -> Path:
    name = store.run_name(f"verify-{request.file.stem}", time.time())
    return settings.results / store.untaken(settings.results, name)
