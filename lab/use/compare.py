"""`lab compare-builds A B`: whether two builds carry the same code."""

from __future__ import annotations

from pathlib import Path

from lab.errors import ExitCode
from lab.evidence import builds
from lab.evidence.builds import Comparison


def folders(a: Path, b: Path) -> Comparison:
    """Compare two output directories or evidence folders. Raises UsageError if either is none."""
    return builds.compared(builds.build(a), builds.build(b))


def exit_code(comparison: Comparison) -> ExitCode:
    """Return 0 for the same code, 1 where it differs, 125 where that could not be told."""
    if comparison.differing:
        return ExitCode.KERNEL_FAULT
    if comparison.unproven or not comparison.same:
        return ExitCode.UNTESTABLE
    return ExitCode.AS_EXPECTED
