"""What qemu told of a guest, from its rows; whatever is in the files, reading raises nothing."""

import json
import random

import pytest

from lab.evidence import qmp

UP = {"at_s": 0.1, "link": "up"}
VERSION = {"asked": "query-version", "answer": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "Debian"}}
RESET = {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}}


def told(folder, *rows, notes=None):
    (folder / "qmp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if notes is not None:
        (folder / "qemu.txt").write_text(notes)
    return qmp.read(folder / "qmp.jsonl", folder / "qemu.txt")


def test_nothing_is_known_without_the_files(tmp_path):
    assert qmp.read(None, None) == qmp.Told()
    assert qmp.read(tmp_path / "qmp.jsonl", tmp_path / "qemu.txt") == qmp.Told()


def test_a_reset_is_told_with_its_line_and_qemus_version(tmp_path):
    found = told(tmp_path, UP, VERSION, RESET)
    assert (found.connected, found.version, found.shutdown, found.shutdown_at) == (True, "7.2.22", "guest-reset", 3)


def test_a_panic_a_watchdog_and_a_stop_are_told(tmp_path):
    rows = (
        UP,
        {"asked": "query-status", "answer": {"running": True, "status": "running"}},
        {"event": "GUEST_PANICKED", "data": {"action": "run"}},
        {"event": "WATCHDOG", "data": {"action": "reset"}},
        {"event": "STOP", "data": {}},
        {"asked": "query-status", "answer": {"running": False, "status": "internal-error"}},
    )
    found = told(tmp_path, *rows)
    assert (found.panicked_at, found.watchdog_at, found.stopped, found.stopped_at) == (3, 4, "internal-error", 6)


def test_a_triple_fault_is_in_qemus_notes(tmp_path):
    assert told(tmp_path, notes="CPU Reset (CPU 0)\nEAX=00000000\nTriple fault\n").triple_fault_at == 3
    assert told(tmp_path, notes="CPU Reset (CPU 0)\nno Triple fault\n").triple_fault_at == 0


@pytest.mark.parametrize(
    ("registers", "counter"),
    [
        (
            "R12=ffff88800016bec0 R13=0000000000000000 R14=0000000000000000 R15=0000000000000000\r\n"
            "RIP=ffffffff81000123 RFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0",
            0xFFFFFFFF81000123,
        ),
        ("EIP=c1000123 EFL=00000002", 0xC1000123),
        (" PC=ffffffc008010000 X00=0000000000000000", 0xFFFFFFC008010000),
        ("R12=c0a00000 R13=c0a01f00 R14=c0100120 R15=c0100124\nPSR=600000d3", 0xC0100124),
        (" pc       ffffffff80002004\n mhartid  0000000000000000", 0xFFFFFFFF80002004),
        ("NIP c000000000012345   LR 0000000000000000 CTR", 0xC000000000012345),
        ("PSW=mask 0404C00180000000 addr 00000000001123F6 cc 00", 0x1123F6),
        ("nothing of the kind", None),
    ],
    ids=["x86_64", "i386", "arm64", "arm", "riscv", "ppc", "s390", "none"],
)
def test_where_the_processor_was_is_found_in_the_registers_of_every_architecture(tmp_path, registers, counter):
    assert told(tmp_path, UP, {"asked": "human-monitor-command", "answer": registers}).counter == counter


@pytest.mark.parametrize(
    ("rows", "hosts"),
    [
        ([UP, {"event": "SHUTDOWN", "data": {"guest": False, "reason": "host-signal"}}], True),
        ([UP, {"event": "SHUTDOWN", "data": {"guest": False, "reason": "host-error"}}], True),
        ([UP, {"event": "SHUTDOWN", "data": {"guest": False, "reason": "host-qmp-quit"}}], True),
        ([UP, {"asked": "quit", "answer": {}}, {"event": "SHUTDOWN", "data": {"reason": "host-qmp-quit"}}], False),
        ([UP, RESET], False),
        ([UP], False),
    ],
    ids=["signal", "error", "somebody's quit", "our quit", "reset", "nothing"],
)
def test_an_end_of_qemus_own_is_told_from_the_guests(tmp_path, rows, hosts):
    assert qmp.is_hosts(told(tmp_path, *rows)) is hosts


def test_a_guest_cannot_print_itself_innocent():
    line = ["qemu-system-x86_64: terminating on signal 15 from pid 7"]
    assert qmp.is_hosts(qmp.Told(), line)
    assert not qmp.is_hosts(qmp.Told(connected=True, shutdown="guest-reset"), line)


HOSTILE = (
    '{"event": {}}', '{"event": "SHUTDOWN", "data": 5}', '{"event": "SHUTDOWN", "data": {"reason": ["a"]}}', "[]", "null",
    '{"asked": "query-version", "answer": {"qemu": []}}', '{"asked": "query-version", "answer": 7}', '{"asked": []}',
    '{"asked": "query-status", "answer": {"running": false, "status": {}}}', "{" * 5000, "\x00", '{"link": []}',
    '{"asked": "human-monitor-command", "answer": {}}', '{"event": "SHUTDOWN", "data": {"reason": "' + "r" * 5000 + '"}}',
)  # fmt: skip


def test_no_row_makes_it_raise(tmp_path):
    source = random.Random(7)
    for _ in range(200):
        lines = [source.choice(HOSTILE) for _ in range(source.randrange(20))]
        (tmp_path / "qmp.jsonl").write_bytes("\n".join(lines).encode() + source.randbytes(20))
        (tmp_path / "qemu.txt").write_bytes(source.randbytes(300))
        found = qmp.read(tmp_path / "qmp.jsonl", tmp_path / "qemu.txt")
        assert len(found.shutdown) <= qmp.TEXT
