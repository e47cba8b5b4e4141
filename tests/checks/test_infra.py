import json

import pytest

from lab.checks import build, infra
from lab.evidence import log
from lab.evidence.bundle import Evidence
from lab.model import NotApplicable, Severity

STOP = "make[2]: *** [scripts/Makefile.build:250: a.o] Error 1\n"
COMPILE_ERROR = "a.c:1:2: error: expected ';'\n" + STOP


def found(text):
    return infra.log_findings(log.read_text(text), "build.txt")


def evidence(folder, text="", **step):
    row = {"name": "build", "ending": "exited", "status": 2, "seconds": 1.0} | step
    (folder / "build.txt").write_text(text)
    (folder / "steps.json").write_text(json.dumps([row]))
    return Evidence(folder)


@pytest.mark.parametrize(
    ("line", "id_"),
    [
        ("a.c:1:1: fatal error: error writing to /tmp/x.s: No space left on device\n", "infra.disk-full"),
        ("gcc: fatal error: Killed signal terminated program cc1\ncompilation terminated.\n", "infra.compiler-killed"),
        ("virtual memory exhausted: Cannot allocate memory\n", "infra.out-of-memory"),
        ("qemu: uncaught target signal 11 (Segmentation fault) - core dumped\n", "infra.emulator-crash"),
        ("/bin/sh: 1: flex: not found\n", "infra.missing-tool"),
        ("tools/x.c:1:10: fatal error: gelf.h: No such file or directory\n", "infra.missing-tool"),
        ("cp: cannot create regular file 'x': Read-only file system\n", "infra.read-only"),
    ],
)
def test_a_failure_that_the_machine_explains_is_an_error_and_nobody_else_s(line, id_):
    text = line + STOP
    assert [(finding.id, finding.severity) for finding in found(text)] == [(id_, Severity.ERROR)]
    assert build.log_findings(log.read_text(text), "build.txt") == ()


def test_clang_s_cry_for_a_bug_report_on_a_full_disk_is_a_full_disk():
    text = (
        "fatal error: error in backend: IO failure on output stream: No space left on device\n"
        "PLEASE submit a bug report to https://example.org\nStack dump:\n" + STOP
    )
    assert [finding.id for finding in found(text)] == ["infra.disk-full"]


def test_a_clock_skew_does_not_excuse_a_compile_error():
    text = "make[2]: Warning: File 'x.c' has modification time 120 s in the future\n" + COMPILE_ERROR
    assert [(finding.id, finding.severity) for finding in found(text)] == [("infra.clock", Severity.WARNING)]
    assert [finding.id for finding in build.log_findings(log.read_text(text), "build.txt")] == ["build.compiler"]


def test_a_line_about_the_disk_in_a_build_that_went_on_is_a_warning():
    (finding,) = found("ccache: error: No space left on device\n  CC      a.o\n")
    assert finding.severity is Severity.WARNING


def test_a_missing_header_of_one_target_does_not_excuse_another_s_compile_error():
    text = (
        "t.c:1:1: fatal error: openssl/x.h: No such file or directory\nmake: *** [Makefile:3: t.o] Error 1\n"
        + COMPILE_ERROR
    )
    assert [(finding.id, finding.severity) for finding in found(text)] == [("infra.missing-tool", Severity.WARNING)]


def test_make_that_was_killed_says_so_itself():
    assert [finding.id for finding in found("make[2]: *** [scripts/Makefile.vmlinux:34: vmlinux] Killed\n")] == [
        "infra.compiler-killed"
    ]


@pytest.mark.parametrize(
    ("ending", "id_"),
    [
        ("deadline", "infra.deadline"),
        ("out-of-memory", "infra.out-of-memory"),
        ("killed", "infra.interrupted"),
        ("interrupted", "infra.interrupted"),
        ("engine-lost", "infra.engine-lost"),
    ],
)
def test_a_step_that_did_not_end_by_itself_is_an_error(tmp_path, ending, id_):
    (finding,) = infra.check(evidence(tmp_path, ending=ending, status=-1))
    assert (finding.id, finding.severity) == (id_, Severity.ERROR)


def test_a_boot_at_its_deadline_is_left_to_the_console(tmp_path):
    assert list(infra.check(evidence(tmp_path, name="boot", ending="deadline"))) == []


def test_a_linker_that_dies_of_sigbus_on_a_full_disk_is_a_full_disk(tmp_path):
    text = "PLEASE submit a bug report to https://example.org\nStack dump:\nBus error\n" + STOP
    ids = [finding.id for finding in infra.check(evidence(tmp_path, text, bytes_free=4096, inodes_free=100))]
    assert ids == ["infra.disk-full"]


def test_the_same_death_with_room_left_is_the_toolchain_s(tmp_path):
    text = "Bus error\n" + STOP
    folder = evidence(tmp_path, text, bytes_free=10 << 30, inodes_free=100)
    assert list(infra.check(folder)) == []
    assert [finding.id for finding in build.check(folder)] == ["build.toolchain-crash"]


def test_a_compile_error_on_a_nearly_full_disk_stays_a_compile_error(tmp_path):
    assert list(infra.check(evidence(tmp_path, COMPILE_ERROR, bytes_free=4096))) == []


def test_neither_log_nor_steps_is_not_applicable(tmp_path):
    (tmp_path / "config.txt").write_text("CONFIG_X=y\n")
    (answer,) = infra.check(Evidence(tmp_path))
    assert isinstance(answer, NotApplicable)


# ------------------------------------------------------------------------------------------------------ what befell qemu


def of_boot(folder, console="", told=(), **step):
    (folder / "console.txt").write_text(console)
    (folder / "qmp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    row = {
        "name": "boot",
        "ending": "exited",
        "status": 0,
        "seconds": 1.0,
        "argv": ["qemu-system-x86_64", "-nodefaults"],
    }
    return list(infra.check(evidence(folder, **row | step)))


def test_a_clock_that_was_set_back_is_an_error_whatever_came_of_the_step(tmp_path):
    for status in (0, 2):
        found = [one for one in infra.check(evidence(tmp_path, status=status, set_back_s=3600.0)) if one.decides]
        assert [(one.id, one.severity) for one in found] == [("infra.clock", Severity.ERROR)]
        assert "set back by 3600 s until the end of the build step" in found[0].message


def test_a_clock_that_was_set_back_before_a_second_make_is_an_error_as_well(tmp_path):
    again = {"name": "remake", "ending": "exited", "status": 0, "seconds": 1.0, "set_back_s": 5.0}
    (tmp_path / "remake.json").write_text(
        json.dumps({"first": again | {"set_back_s": 0.0}, "again": again, "written": []})
    )
    (found,) = infra.check(evidence(tmp_path, status=0))
    assert (found.id, found.severity) == ("infra.clock", Severity.ERROR)
    assert "set back by 5 s until the end of the remake step" in found.message


def test_a_second_make_that_was_broken_off_is_an_error(tmp_path):
    first = {"name": "build", "ending": "exited", "status": 0, "seconds": 1.0}
    again = first | {"name": "remake", "ending": "deadline", "status": -1}
    (tmp_path / "remake.json").write_text(json.dumps({"first": first, "again": again, "written": []}))
    (found,) = infra.check(evidence(tmp_path, status=0))
    assert (found.id, found.severity) == ("infra.deadline", Severity.ERROR)


UP = {"link": "up"}
BOOTING = "[    0.000000] Linux version 6.1.0\n"


@pytest.mark.parametrize(
    ("console", "told", "step", "id_", "says"),
    [
        (
            BOOTING,
            [UP],
            {"ending": "killed", "status": 137, "detail": "ended by signal 9"},
            "infra.qemu-lost",
            "signal 9",
        ),
        (BOOTING, [UP], {"status": 139}, "infra.qemu-lost", "crashed with signal 11"),
        (BOOTING, [UP], {"status": 134}, "infra.qemu-lost", "crashed with signal 6"),
        (
            BOOTING,
            [UP, {"event": "SHUTDOWN", "data": {"guest": False, "reason": "host-signal"}}],
            {},
            "infra.qemu-lost",
            "by a signal that was not the lab's",
        ),
        (BOOTING + "qemu-system-x86_64: terminating on signal 15 from pid 1", [], {}, "infra.qemu-lost", "by a signal"),
        (
            BOOTING,
            [UP, {"asked": "query-status", "answer": {"running": False, "status": "internal-error"}}],
            {"ending": "deadline", "status": -1},
            "infra.qemu-lost",
            "internal-error",
        ),
        (
            "sh: 1: exec: qemu-system-x86_64: not found\n",
            [],
            {"status": 127},
            "infra.missing-tool",
            "qemu-system-x86_64 is not in the image that boots",
        ),
        (
            "qemu-system-x86_64: unsupported machine type\nUse -machine help to list supported machines\n",
            [],
            {"status": 1},
            "infra.qemu-failed",
            "exited 1: qemu-system-x86_64: unsupported machine type",
        ),
        ("", [], {"status": 1}, "infra.qemu-failed", "it said nothing"),
        ("", [{"link": "held"}], {"status": 1}, "infra.qemu-failed", "it said nothing"),
        (
            "",
            [{"link": "lost"}, {"link": "held"}],
            {"ending": "deadline", "status": -1},
            "infra.qemu-lost",
            "the guest was never started",
        ),
        (BOOTING, [], {"ending": "engine-lost", "status": -1}, "infra.engine-lost", "engine"),
        (BOOTING, [UP], {"ending": "out-of-memory", "status": 137}, "infra.out-of-memory", "memory"),
    ],
)
def test_what_befell_qemu_is_an_error_of_the_machine(tmp_path, console, told, step, id_, says):
    (finding,) = of_boot(tmp_path, console, told, **step)
    assert (finding.id, finding.severity) == (id_, Severity.ERROR)
    assert says in finding.message


@pytest.mark.parametrize(
    ("told", "step"),
    [
        ([UP, {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}}], {}),
        ([UP], {"ending": "deadline", "status": -1}),
        ([], {}),
        ([UP, {"asked": "quit", "answer": {}}, {"event": "SHUTDOWN", "data": {"reason": "host-qmp-quit"}}], {}),
    ],
    ids=["reset", "deadline", "nothing known", "ended by the lab"],
)
def test_an_end_by_the_guest_is_none(tmp_path, told, step):
    assert of_boot(tmp_path, BOOTING, told, **step) == []


def test_a_guest_cannot_print_itself_innocent(tmp_path):
    told = [UP, {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}}]
    assert of_boot(tmp_path, BOOTING + "qemu-system-x86_64: terminating on signal 15 from pid 1", told) == []
