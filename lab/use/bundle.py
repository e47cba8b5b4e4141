"""`lab bundle ATTEMPT`: one tar of an attempt that runs elsewhere, with a shell, docker and root, and without the lab."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.environment import engine as engines
from lab.environment import saved, tarballs
from lab.errors import UsageError
from lab.events import Note, Sink
from lab.evidence.bundle import Evidence
from lab.evidence.text import numbered_lines
from lab.model import AttemptResult, Cell, DebianSource, DirSource, GitSource, Result, Source, TarballSource
from lab.report import bundle, tarball
from lab.results import disk, expected, store
from lab.results.expected import Expected
from lab.settings import Settings

_SEED = re.compile(rb"KCONFIG_SEED=(0x[0-9A-Fa-f]{1,16})\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be bundled. attempt: an evidence folder. output: the file, None for <cell>-<attempt>.tar in `here`."""

    attempt: Path
    output: Path | None
    here: Path
    with_source: bool = False
    with_images: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """The file that was made. sha256: of all of it. members: how many files it holds."""

    path: Path
    sha256: str
    bytes: int
    members: int
    expected: Expected


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """What the evidence says. cell: as the run had it, None if the folder was taken out of its run."""

    folder: Path
    record: Mapping[str, Any]
    expected: Expected
    cell: Cell | None


def bundled(request: Request, settings: Settings, sink: Sink) -> Bundled:
    """Make the bundle; it appears whole or not at all.

    Raises UsageError for a folder that is no judged attempt, or whose source is no longer what it was; EnvironmentFault if
    images or source cannot be had, or the disk is full.
    """
    attempt = _read(request.attempt)
    output = request.output or request.here / f"{attempt.expected.cell}-{attempt.expected.attempt}.tar"
    if not output.parent.is_dir():
        raise UsageError(f"no such folder: {str(output.parent)!r}")
    settings.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=settings.cache) as scratch:
        members = _members(attempt, request, settings, Path(scratch), sink)
        with _appearing(output) as out:
            count = tarball.write_tar(bundle.TOP, members, out)
    with output.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Bundled(path=output, sha256=digest, bytes=output.stat().st_size, members=count, expected=attempt.expected)


def _read(folder: Path) -> _Attempt:
    evidence = Evidence(folder)
    result = store.read(AttemptResult, folder / "result.json")
    if not evidence.record or result is None:
        raise UsageError(
            f"'{folder}' is not the evidence folder of a finished attempt",
            facts=(("lacks", "record.json" if not evidence.record else "result.json"),),
            hint="give results/<run>/<cell>/<attempt>",
        )
    wanted = _expected(folder, evidence.record, result)
    if wanted is None:
        raise UsageError(
            f"there is nothing to reproduce: the attempt is {result.outcome}",
            facts=(("because", result.reason),),
            hint="bundle an attempt that is PASS or FAIL",
        )
    facts = store.read(store.RunFacts, folder.absolute().parent.parent / "run.json")
    cell = next((one for one in facts.cells if one.id == wanted.cell), None) if facts else None
    return _Attempt(folder=folder, record=evidence.record, expected=wanted, cell=cell)


def seeded(record: Mapping[str, Any], log: Path | None) -> Mapping[str, Any]:
    """Return the record with the seed that the log tells, where a configuration was random and nobody had chosen one.

    Raises UsageError if the log does not tell it: the kernel would not be the same. Source: scripts/kconfig/conf.c,
    set_randconfig_seed().
    """
    steps = [dict(step) for step in record.get("steps", ())]
    for step in (step for step in steps if _chooses_at_random(step)):
        found = next((match[1] for _, line in numbered_lines(log) if (match := _SEED.match(line))), None)
        if found is None:
            raise UsageError(
                "the configuration was made at random, and the log does not say from which seed",
                hint="say `make: {variables: {KCONFIG_SEED: …}}` in the matrix",
            )
        step["environment"] = [*step["environment"], ["KCONFIG_SEED", found.decode()]]
    return {**record, "steps": steps} if steps else record


def _chooses_at_random(step: Mapping[str, Any]) -> bool:
    names = [name for name, _ in step["environment"]] + [word.partition("=")[0] for word in step["argv"]]
    return "KCONFIG_SEED" not in names and any(word.endswith("randconfig") for word in step["argv"])


def _expected(folder: Path, record: Mapping[str, Any], result: AttemptResult) -> Expected | None:
    """Return what the attempt came to, with what its cell did where that is known."""
    of_cell = store.read(Result, folder.absolute().parent / "result.json")
    beside = disk.attempt_folders(folder.absolute().parent)
    others = [store.read(AttemptResult, path / "result.json") for number, path in beside if number != result.number]
    return expected.expected(
        str(record.get("cell", "")),
        [result, *(one for one in others if one is not None)],
        result.number,
        of_cell.rate if of_cell is not None else None,
        str(record.get("lab_version", "")),
    )


def _members(
    attempt: _Attempt, request: Request, settings: Settings, scratch: Path, sink: Sink
) -> tuple[tarball.Member, ...]:
    config, program = attempt.folder / "config.txt", attempt.folder / bundle.PROGRAM
    try:
        record = seeded(attempt.record, Evidence(attempt.folder).build_log)
        images = _images(record, settings, scratch, sink) if request.with_images else {}
        source = _source(attempt, settings, scratch, sink) if request.with_source else None
        return bundle.members(
            record,
            attempt.expected,
            disk.read_bytes(config) or b"",
            images=images,
            source=source,
            program=program if (record["boot"] or {}).get("program") and program.is_file() else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"the record of '{attempt.folder}' lacks what a bundle needs: {error}",
            facts=(("written by", f"lab {attempt.record.get('lab_version', 'of an unknown version')}"),),
        ) from error


def _images(record: Mapping[str, Any], settings: Settings, scratch: Path, sink: Sink) -> dict[str, Path]:
    """Save the images of a record; one that serves twice is written once."""
    archives: dict[str, Path] = {}
    with engines.connect(settings) as engine:
        for name, recipe in bundle.image_recipes(record).items():
            sink(Note(at_s=time.time(), text=f"saving image {recipe['name']}"))
            archives[name] = scratch / f"{name}.tar"
            saved.save(str(recipe["id"]), engine, archives[name], scratch)
    return archives


def _source(attempt: _Attempt, settings: Settings, scratch: Path, sink: Sink) -> Path:
    recipe = attempt.record["source"]
    source = attempt.cell.source if attempt.cell is not None else source_of(recipe)
    if isinstance(source, GitSource):
        source = GitSource(repository=source.repository, rev=str(recipe["commit"]))
    return tarballs.tarball(
        source,
        settings,
        scratch,
        sha256=str(recipe.get("sha256", "")),
        version=str(recipe.get("version", "")),
        say=lambda words: sink(Note(at_s=time.time(), text=f"source: {words}")),
    )


def source_of(recipe: Mapping[str, Any]) -> Source:
    """Return the source that a record names; of a Debian package it does not know the suite."""
    match recipe["kind"]:
        case "debian":
            return DebianSource(package=recipe["package"])
        case "git":
            return GitSource(repository=recipe["repository"], rev=recipe["commit"])
        case "tarball":
            return TarballSource(path=recipe["path"], sha256=recipe["sha256"])
        case "dir":
            return DirSource(path=recipe["path"])
    raise UsageError(f"a source of kind {recipe['kind']!r} is not known")


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[Any]:
    """Write a file that appears under its name only when it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except OSError as error:
        raise disk.disk_fault(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)
