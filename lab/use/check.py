"""`lab check` and `lab log`: judge what somebody has, without an engine."""

from __future__ import annotations

from pathlib import Path

from lab import checks
from lab.checks import boot, build, config, infra, join, link, objtool
from lab.errors import UsageError
from lab.evidence import console, log
from lab.evidence.bundle import Evidence
from lab.model import NotApplicable
from lab.report.judged import Judged, judged

OF_CONSOLES = {"boot": boot.IDS, "infra": infra.IDS}
OF_LOGS = {"infra": infra.IDS, "config": config.IDS, "build": build.IDS, "link": link.IDS, "objtool": objtool.IDS}
"""The checks that a build log alone is enough for."""


def folder(path: Path, release: str = "") -> Judged:
    """Judge an output directory of kbuild, an attempt's evidence folder or a distribution's kernel with every check.

    release: which of several kernels. Raises UsageError if it is none of them, or if the kernel is not named.
    """
    findings, not_applicable = checks.judge(Evidence(path, release))
    return judged(findings, not_applicable, {check.name: check.ids for check in checks.CHECKS})


def log_file(path: Path, kind: str) -> Judged:
    """Judge one log. kind: "build" or "console". Raises UsageError if there is no such file."""
    if not path.is_file():
        raise UsageError(f"no such log: {str(path)!r}")
    if kind == "console":
        return _console(console.read(path), path.name)
    read = log.read(path)
    if read.empty:
        because = f"there is nothing in {path.name!r}"
        return judged((), [NotApplicable(check=name, because=because) for name in OF_LOGS], OF_LOGS)
    tellers = (infra.log_findings, config.log_findings, build.log_findings, link.log_findings, objtool.log_findings)
    return judged(join.joined([finding for tell in tellers for finding in tell(read, path.name)]), (), OF_LOGS)


def _console(saved: console.ConsoleLog, file: str) -> Judged:
    """Judge a saved console. One in which no kernel is heard was looked at for nothing: that is no PASS."""
    findings = (*boot.log_findings(saved, file), *infra.console_findings(saved, file))
    if findings or saved.said:
        return judged(findings, (), OF_CONSOLES)
    because = f"there is nothing in {file!r}" if not saved.bytes else f"no kernel is heard in {file!r}"
    return judged((), [NotApplicable(check=name, because=because) for name in OF_CONSOLES], OF_CONSOLES)
