"""`lab check` and `lab log`: judge what somebody has, without an engine."""

from __future__ import annotations

from pathlib import Path

from lab import checks
from lab.checks import boot, build, infra
from lab.errors import UsageError
from lab.evidence import console, log
from lab.evidence.bundle import Evidence
from lab.model import NotApplicable
from lab.report.judged import Judged, judged


def folder(path: Path) -> Judged:
    """Judge an output directory of kbuild or an attempt's evidence folder with every check.

    Raises UsageError if it is neither.
    """
    findings, not_applicable = checks.judge(Evidence(path))
    return judged(findings, not_applicable, {check.name: check.ids for check in checks.CHECKS})


def log_file(path: Path, kind: str) -> Judged:
    """Judge one log. kind: "build" or "console". Raises UsageError if there is no such file."""
    if not path.is_file():
        raise UsageError(f"no such log: {str(path)!r}")
    if kind == "console":
        return judged(boot.log_findings(console.read(path), path.name), (), {"boot": boot.IDS})
    read = log.read(path)
    if read.empty:
        because = f"there is nothing in {path.name!r}"
        gaps = [NotApplicable(check=name, because=because) for name in ("infra", "build")]
        return judged((), gaps, {"infra": infra.IDS, "build": build.IDS})
    findings = (*infra.log_findings(read, path.name), *build.log_findings(read, path.name))
    return judged(findings, (), {"infra": infra.IDS, "build": build.IDS})
