"""Guests of the real qemu: every way a boot can end is told apart, and what befalls qemu is not the kernel's."""

import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from lab import checks
from lab.boot import machine
from lab.environment import guest_events
from lab.errors import EnvironmentFault
from lab.events import silent
from lab.evidence.bundle import Evidence
from lab.model import Boot, Deadlines, Ending, Outcome, Severity
from lab.results import store, verdict
from lab.use import guest as guests
from lab.use.bench import Bench

sys.path.insert(0, str(Path(__file__).parents[1] / "boot"))
import tiny_guest

pytestmark = [pytest.mark.docker, pytest.mark.qemu]

BOOTING = "[    0.000000] Linux version 6.1.0 (lab)\n[    0.100000] Calibrating delay loop\n"
DONE = BOOTING + "lab-init: start modules=0\nlab-init: done ok=0 fail=0\n"
PANIC = BOOTING + "[    0.2] Kernel panic - not syncing: asked for\n"


@pytest.fixture(scope="module")
def busybox_image(engine, rows, machine_settings):
    from lab.environment import image

    return image.prepare(rows.image["bookworm-amd64-guest"], engine, machine_settings)


@pytest.fixture
def bench(real, rows, engine):
    return Bench(settings=real, tables=rows, engine=engine, sink=silent, stop=threading.Event())


class Booted:
    """A boot that is over. result: of its step, None if it was not begun."""

    def __init__(self, folder, result, error):
        self.folder, self.result, self.error = folder, result, error
        if result is not None:
            store.write(folder / "steps.json", store.Steps(steps=(result,)))
            self.findings, gaps = checks.judge(Evidence(folder))
            done = any(one.id == "boot.modules" and one.data["done"] for one in self.findings)
            self.outcome, self.reason = verdict.attempt_outcome(
                self.findings, gaps, (result,), boot_expected=True, booted=done
            )
        else:
            failed = verdict.attempt_from_error(1, error)
            self.findings, self.outcome = failed.findings, failed.outcome

    @property
    def told(self):
        """The ids of what decides."""
        return [one.id for one in self.findings if one.decides]

    def text(self, name="console.txt"):
        return (self.folder / name).read_text(errors="replace")


@pytest.fixture
def boot(bench, rows, boot_image, busybox_image, tmp_path):
    """Boot a tiny guest, or whatever kernel is given."""

    def boot(says="", then="reset", *, kernel=None, qemu=boot_image, row=None, before=lambda scratch: None, **how):
        arch = rows.arch["x86_64"]
        arch = dataclasses.replace(arch, machines=(row or arch.machines[0],))
        limits = Deadlines(boot_s=how.pop("deadline_s", 60.0), silence_s=how.pop("silence_s", 0.0))
        options = Boot(append=how.pop("append", ()), memory_mib=64)
        wanted = guests.guest(bench, arch, options, qemu=qemu, busybox=busybox_image, deadlines=limits)
        wanted = dataclasses.replace(wanted, step=dataclasses.replace(wanted.step, **how))
        scratch, folder = tmp_path / "scratch", tmp_path / "evidence"
        scratch.mkdir()
        scratch.chmod(0o755)
        folder.mkdir()
        (tmp_path / "kernel").write_bytes(kernel if kernel is not None else tiny_guest.kernel(says, then))
        result = error = None
        try:
            guests.lay_out(bench, wanted, tmp_path / "kernel", (), scratch)
            before(scratch)
            result = guests.run(bench, wanted, scratch, folder, owner="")
        except EnvironmentFault as fault:
            error = fault
        return Booted(folder, result, error)

    return boot


@pytest.mark.parametrize(
    ("says", "then", "told"),
    [
        (DONE, "reset", []),
        (BOOTING, "reset", ["boot.reset"]),
        ("", "reset", ["boot.reset"]),
        (BOOTING, "triple", ["boot.triple-fault"]),
        (BOOTING, "off", ["boot.no-init"]),
        (BOOTING + "lab-init: start modules=1\nlab-init: begin 1/1 a/a.ko\n", "off", ["boot.incomplete"]),
        (PANIC, "panic, reset", ["boot.panic"]),
        (PANIC, "reset", ["boot.panic"]),
        (BOOTING, "panic, reset", ["boot.panic"]),
        (BOOTING + "[    0.3] reboot: Restarting system\n", "triple", ["boot.no-init"]),
    ],
    ids=[
        "done", "reset", "silent reset", "triple fault", "off", "off later", "panic", "panic untold", "panic unsaid", "reboot",
    ],
)  # fmt: skip
def test_each_end_of_a_guest_is_told_apart(boot, says, then, told):
    booted = boot(says, then)
    assert booted.told == told, booted.text("qmp.jsonl")
    assert booted.outcome is (Outcome.FAIL if told else Outcome.PASS)
    assert booted.text("qmp.jsonl").count("SHUTDOWN") == 1


def test_nothing_of_a_guest_is_missed_however_late_the_lab_listens(boot, monkeypatch):
    connection, heard_s = guest_events._connection, time.monotonic() + 2.0

    def late(place):
        if time.monotonic() < heard_s:
            raise ConnectionRefusedError
        return connection(place)

    monkeypatch.setattr(guest_events, "_connection", late)
    booted = boot(BOOTING, "panic, reset")
    assert booted.told == ["boot.panic"], booted.text("qmp.jsonl")


def test_a_guest_that_was_never_let_go_is_the_machines_fault(boot, monkeypatch):
    def never(place):
        raise ConnectionRefusedError

    monkeypatch.setattr(guest_events, "_connection", never)
    booted = boot(BOOTING, "reset", deadline_s=4.0)
    assert booted.told == ["infra.qemu-lost"]
    assert booted.outcome is Outcome.ERROR
    assert "never started" in booted.reason


def test_qemus_version_is_measured(boot, boot_image):
    from lab.evidence import qmp

    booted = boot(DONE)
    version = qmp.read(booted.folder / machine.QMP_LOG, None).version
    packages = [text for name, text in boot_image.packages.items() if name.startswith("qemu-system")]
    assert any(version.rpartition(".")[0] in text for text in packages), (version, packages)


@pytest.mark.parametrize("then", ["hang", "halt"])
def test_a_hang_ends_at_its_deadline_and_says_where_it_was(boot, then):
    booted = boot(BOOTING, then, deadline_s=4.0)
    assert booted.told == ["boot.hang"]
    assert booted.result.ending is Ending.DEADLINE
    (finding,) = [one for one in booted.findings if one.decides]
    assert tiny_guest.ENTRY <= int(finding.data["counter"], 16) < tiny_guest.BASE + 4096


def test_a_silent_guest_can_be_ended_sooner(boot):
    booted = boot(BOOTING, "hang", silence_s=2.0, deadline_s=300.0)
    assert booted.told == ["boot.hang"]
    assert "it had said nothing for 2 s" in booted.result.detail


def test_a_guest_that_hangs_after_it_told_of_its_panic_is_not_waited_for(boot):
    booted = boot(PANIC, "panic", deadline_s=300.0)
    assert booted.told == ["boot.panic"]
    assert booted.result.ending is Ending.EXITED


def test_a_guest_that_tells_of_panics_without_end_is_bounded(boot):
    booted = boot(BOOTING, "panics", deadline_s=15.0)
    assert booted.told == ["boot.panic"]
    assert (booted.folder / "qmp.jsonl").stat().st_size < 100_000


def test_a_console_that_floods_is_cut_in_its_middle(boot):
    booted = boot(BOOTING + "a line that comes without end\n", "flood", deadline_s=8.0, log_bytes=40_000)
    assert booted.result.dropped > 0
    assert (booted.folder / "console.txt").stat().st_size < 41_000
    assert "boot.flood" in [one.id for one in booted.findings]
    assert booted.outcome is Outcome.FAIL
    assert booted.text().startswith("SeaBIOS") or "Linux version" in booted.text()[:3000]


def test_a_hundred_megabytes_leave_a_bounded_log_with_its_head_and_its_last_lines(boot):
    flood = "echo '[    0.0] Linux version 6.1.0 (lab)'; yes 'a line that comes without end' | head -c 104857600; printf '%s'"
    booted = boot(DONE, argv=("sh", "-c", f'{flood} "$0"', "[    9.9] Kernel panic - not syncing: flooded\n"))
    assert booted.told == ["boot.panic"]
    assert booted.result.dropped > 104857600 - machine.CONSOLE_BYTES
    assert (
        machine.CONSOLE_BYTES - (1 << 20) < (booted.folder / "console.txt").stat().st_size < machine.CONSOLE_BYTES + 100
    )
    assert "boot.flood" in [one.id for one in booted.findings]


# ------------------------------------------------------------------------------------------------- what befalls qemu


def hunted(mark, number, console):
    """Send a signal to the qemu whose command line has a mark, once its guest was heard; return a thread."""

    def hunt():
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if not console.is_file() or "Calibrating delay loop" not in console.read_text(errors="replace"):
                time.sleep(0.05)
                continue
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    words = (process / "cmdline").read_bytes()
                    if words.startswith(b"qemu-system") and mark.encode() in words:
                        os.kill(int(process.name), number)
                        return

    thread = threading.Thread(target=hunt)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_qemu_that_is_killed_in_mid_boot_is_an_error(boot, tmp_path, number):
    mark = f"hunted={uuid.uuid4()}"
    hunter = hunted(mark, number, tmp_path / "evidence" / "console.txt")
    booted = boot(BOOTING, "hang", append=(mark,), deadline_s=120.0)
    hunter.join()
    assert booted.told == ["infra.qemu-lost"]
    assert booted.outcome is Outcome.ERROR
    assert "Calibrating delay loop" in booted.text(), "the last lines did not survive"


def test_a_container_that_is_killed_is_an_error(boot, engine, bench):
    from lab.environment.engine import LABEL
    from lab.environment.owner import this_process

    def kill():
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for row in engine._client.api.containers(filters={"label": f"{LABEL}={this_process()}"}):
                time.sleep(1.0)
                with contextlib.suppress(Exception):
                    engine._client.api.kill(row["Id"])
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    booted = boot(BOOTING, "hang", deadline_s=120.0)
    killer.join()
    assert booted.told == ["infra.qemu-lost"]


def test_an_image_without_qemu_is_an_error(boot, build_image):
    booted = boot(DONE, qemu=build_image)
    assert booted.told == ["infra.missing-tool"]
    assert booted.outcome is Outcome.ERROR
    assert booted.result.status == 127


@pytest.mark.parametrize("change", [{"machine": "nonesuch"}, {"devices": ("nonesuch",)}, {"cpu": "nonesuch"}])
def test_a_qemu_that_does_not_know_what_is_wanted_is_an_error(boot, rows, change):
    booted = boot(DONE, row=dataclasses.replace(rows.arch["x86_64"].machines[0], **change))
    assert booted.told == ["infra.qemu-failed"]
    assert booted.outcome is Outcome.ERROR
    assert "exited 1: qemu-system-x86_64: " in booted.reason


def test_half_a_kernel_image_is_not_booted(boot):
    image = bytearray(20_000)
    image[0x1F1], image[0x202:0x206] = 4, b"HdrS"
    image[0x1F4:0x1F8] = (4000).to_bytes(4, "little")  # paragraphs: 64,000 bytes
    booted = boot(kernel=bytes(image))
    assert booted.result is None
    assert [(one.id, one.severity) for one in booted.findings] == [("infra.boot-image", Severity.ERROR)]
    assert booted.outcome is Outcome.ERROR


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_half_an_initramfs_is_not_booted(boot, share):
    def cut(scratch):
        path = scratch / guests.SHOWN / "initramfs"
        os.truncate(path, int(path.stat().st_size * share))

    booted = boot(DONE, before=cut)
    assert booted.result is None
    assert [one.id for one in booted.findings] == ["infra.boot-image"]


def test_a_kernel_that_is_not_there_is_an_error(boot):
    booted = boot(DONE, before=lambda scratch: (scratch / guests.SHOWN / "kernel").unlink())
    assert [one.id for one in booted.findings] == ["infra.boot-image"]
