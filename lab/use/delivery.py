"""What comes back from a worker: evidence into the run's folder, and whose trouble it was that it came to nothing."""

from __future__ import annotations

import io
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from lab.environment import parcels
from lab.errors import EnvironmentFault, LabError
from lab.model import AttemptResult, Outcome
from lab.plan.schedule import Ended, JobState, one_line
from lab.results import store
from lab.use import remote

End = Ended[AttemptResult | None]
OF_THE_MACHINE = frozenset(
    f"infra.{name}"
    for name in (
        "engine-lost", "disk-full", "read-only", "io-error", "host", "missing-tool", "mount", "image", "filesystem",
        "network", "binfmt", "worker-lost",
    )
)  # fmt: skip
"""Findings that are a worker's own trouble: another one may do better."""


def trouble_of(end: End) -> str:
    """Return what of a worker's own brought an attempt to nothing, "" if nothing did."""
    if isinstance(end.error, EnvironmentFault):
        return f"{end.error.finding}: {end.error.message}" if end.error.finding in OF_THE_MACHINE else ""
    if end.error is not None and not isinstance(end.error, LabError):
        return one_line(end.error)
    if end.value is None or end.value.outcome is not Outcome.ERROR:
        return ""
    found = (finding for finding in end.value.findings if finding.id in OF_THE_MACHINE)
    return next((f"{one.id}: {one.message}" for one in found), "")


def taken_in(
    opened: store.Run,
    cell: str,
    key: str,
    host: str,
    answer: tuple[remote.Report, bytes] | None,
    error: BaseException,
    depot: str,
) -> tuple[End, bool]:
    """Bring evidence into the run's folder, then the result; return how the job ended, and whether that is the worker's doing.

    key: of the job. host: whose answer it is. error: why there is no answer, if there is none.
    """
    if answer is None:
        return Ended(key=key, state=JobState.FAILED, error=error), True
    report, parcel = answer
    if report.result is None:
        fault = report.fault or remote.fault_of(error)
        raised = remote.raised_of(fault)
        state, trace = JobState.FAILED, fault.trace
        return Ended(key=key, state=state, error=raised, traceback=trace, seconds=report.seconds), True
    result = replace(report.result, facts={**report.result.facts, "worker": host})
    try:
        keep(opened, cell, report, parcel, result, depot)
    except Exception as raised_here:  # our disk, or the store between us: not the worker's trouble
        return Ended(key=key, state=JobState.FAILED, error=raised_here), False
    return Ended(key=key, state=JobState.DONE, value=result, seconds=report.seconds), True


def keep(opened: store.Run, cell: str, report: remote.Report, parcel: bytes, result: AttemptResult, depot: str) -> None:
    """Let an attempt's folder appear in a run, with what its worker set aside beside it, then its result."""
    folder = opened.attempt_folder(cell, result.number)
    if report.sha256:
        with tempfile.TemporaryDirectory(prefix=".parcel-", dir=opened.folder) as scratch:
            packed, unpacked = Path(scratch) / "evidence.tar.zst", Path(scratch) / "cell"
            if report.parcel:
                parcels.Depot(depot).fetch(report.parcel, packed, report.sha256)
            with packed.open("rb") if report.parcel else io.BytesIO(parcel) as stream:
                parcels.unpacked(stream, unpacked)
            for path in sorted(unpacked.iterdir()):
                target = folder.with_name(path.name)
                if path.is_dir() and (target == folder or path.name.startswith(f"{folder.name}.aside-")):
                    shutil.rmtree(target, ignore_errors=True)
                    path.replace(target)
    opened.keep_attempt(cell, result)
