import pytest

from lab.evidence import console
from lab.evidence.console_markers import ModuleLoad, ProgramRun, Stage

OLD = """\
[    0.000000] Linux version 6.1.0
lab-init: start modules=3
lab-init: begin 1/3 a/a.ko
lab-init: ok 1/3 a/a.ko
lab-init: begin 2/3 b/b.ko
[    1.000000] b: hello
lab-init: fail 2/3 b/b.ko No such device
lab-init: begin 3/3 c/c.ko
"""


def read(*lines: str) -> console.ConsoleLog:
    return console.read_text("[    0.000000] Linux version 6.1.0\n" + "".join(f"lab-init: {line}\n" for line in lines))


def test_a_console_of_an_older_init_is_read_as_before():
    log = console.read_text(OLD)
    assert (log.announced, log.done, log.again, log.unloads, log.programs) == (3, None, (), (), ())
    assert log.loads == (
        ModuleLoad(path="a/a.ko", at=3, last=4, outcome="ok"),
        ModuleLoad(path="b/b.ko", at=5, last=7, outcome="fail", error="No such device"),
        ModuleLoad(path="c/c.ko", at=8, last=8, outcome="begun"),
    )
    assert log.pending == log.loads[2]


def test_each_stage_of_a_module_is_told_by_itself():
    log = read(
        "start modules=1",
        "begin 1/1 a.ko", "ok 1/1 a.ko", "twice 1/1 a.ko", "twice-ok 1/1 a.ko", "unload 1/1 a.ko", "unload-ok 1/1 a.ko",
        "done ok=1 fail=0",
    )  # fmt: skip
    assert [(load.stage, load.outcome) for load in log.handled] == [
        (Stage.LOAD, "ok"),
        (Stage.TWICE, "ok"),
        (Stage.UNLOAD, "ok"),
    ]
    assert log.done == (1, 0)
    assert log.pending is None


def test_why_a_module_stays_loaded_is_kept():
    log = read("unload 1/1 a.ko", "unload-kept 1/1 a.ko Device or resource busy")
    assert (log.unloads[0].outcome, log.unloads[0].error) == ("kept", "Device or resource busy")


def test_a_second_load_that_the_kernel_took_is_a_failure():
    (again,) = read("twice 1/1 a.ko", "twice-fail 1/1 a.ko it was loaded a second time").again
    assert (again.outcome, again.error) == ("fail", "it was loaded a second time")


@pytest.mark.parametrize(("word", "stage"), [("begin", Stage.LOAD), ("twice", Stage.TWICE), ("unload", Stage.UNLOAD)])
def test_what_was_being_done_when_the_console_ended_is_pending(word, stage):
    log = read("begin 1/2 a.ko", "ok 1/2 a.ko", f"{word} 2/2 b.ko")
    assert (log.pending.path, log.pending.stage) == ("b.ko", stage)


def test_a_program_has_its_name_its_lines_and_its_status():
    log = read("run my test.sh", "ran 3 my test.sh", "done ok=0 fail=0")
    assert log.programs == (ProgramRun(name="my test.sh", at=2, last=3, status=3),)


def test_a_program_that_did_not_end_has_no_status():
    assert read("run t").programs[0].status is None


@pytest.mark.parametrize(
    "line",
    ["begin 1/1", "ran x t", "twice-maybe 1/1 a.ko", "start modules=", "ok 1 a.ko", "done ok=1", "unload-kept", "\x00"],
)
def test_half_a_marker_is_none(line):
    log = read(line)
    assert (log.handled, log.programs, log.announced, log.done) == ([], (), None, None)
