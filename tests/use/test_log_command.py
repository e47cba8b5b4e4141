"""`lab log` on saved consoles in which qemu speaks, or nobody."""

import pytest

from lab.model import Outcome
from lab.use import check


@pytest.mark.parametrize(
    ("text", "outcome", "finding"),
    [
        ("", Outcome.SKIP, ""),
        ("SeaBIOS (version 1.16.2)\n\nBooting from ROM..\n", Outcome.SKIP, ""),
        (
            "qemu-system-x86_64: could not load kernel '/x': No such file or directory\n",
            Outcome.ERROR,
            "infra.qemu-failed",
        ),
        ("qemu: could not load PC BIOS 'bios-256k.bin'\n", Outcome.ERROR, "infra.qemu-failed"),
        ("sh: 1: qemu-system-arm: not found\n", Outcome.ERROR, "infra.missing-tool"),
        (
            "[    0.0] x\nqemu-system-arm: terminating on signal 15 from pid 7 (timeout)\n",
            Outcome.ERROR,
            "infra.qemu-lost",
        ),
        ("qemu-system-x86_64: warning: no SMP\n[    0.000000] Linux version 6.1.0\n", Outcome.PASS, ""),
        ("qemu-system-x86_64: could not open 'x'\n[    0.000000] Linux version 6.1.0\n", Outcome.PASS, ""),
    ],
)
def test_a_console_without_a_kernel_is_no_pass(tmp_path, text, outcome, finding):
    (tmp_path / "saved.txt").write_text(text)
    judged = check.log_file(tmp_path / "saved.txt", "console")
    assert (judged.outcome, [found.id for found in judged.findings]) == (outcome, [finding] if finding else [])
    for found in judged.findings:
        line = text.splitlines()[found.where.first - 1]
        assert found.message == line.strip()


def test_a_crash_explains_why_qemu_was_ended(tmp_path):
    text = (
        "[    1.000000] Kernel panic - not syncing: x\nqemu-system-arm: terminating on signal 15 from pid 7 (timeout)\n"
    )
    (tmp_path / "saved.txt").write_text(text)
    judged = check.log_file(tmp_path / "saved.txt", "console")
    assert [found.id for found in judged.findings] == ["boot.panic"]
