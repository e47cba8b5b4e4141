"""Which evidence of a finished attempt is kept. Pure.

The documents of an attempt (what was run, how it ended, what was found, how to do it again) are kept whatever the rule says.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from lab.model import AttemptResult, Outcome
from lab.results.signature import told

DOCUMENTS = frozenset(
    {
        "record.json", "steps.json", "findings.json", "result.json", "boots.json", "reproduce.sh", "config.txt",
        "modules.list", "amplified.txt", "evidence.json",
    }
)  # fmt: skip


class Keep(StrEnum):
    """A rule. ALL: everything. FAILURES: everything of attempts that are not PASS. FINDINGS: only what proves a finding."""

    ALL = "all"
    FAILURES = "failures"
    FINDINGS = "findings"


def kept(keep: Keep, result: AttemptResult, files: Iterable[str]) -> frozenset[str]:
    """Return which of an attempt's files a rule keeps. files: paths relative to its folder."""
    there = frozenset(files)
    if keep is Keep.ALL or (keep is Keep.FAILURES and result.outcome is not Outcome.PASS):
        return there
    documents = there & DOCUMENTS
    if keep is Keep.FAILURES:
        return documents
    proofs = {finding.where.file for finding, _ in told(result.findings) if finding.where.file}
    # what is packed is proved by its plain name: "vmlinux" by vmlinux.zst
    return documents | {name for name in there if name in proofs or name.removesuffix(".zst") in proofs}
