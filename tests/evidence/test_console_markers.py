import pytest

from lab.evidence import boots, console
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


# --------------------------------------------------------------------------------------------- printed into by the kernel

NOISE = "[   59.130256] platform regulatory.0: firmware: failed to load regulatory.db (-2)"


@pytest.mark.parametrize("cut", range(len("lab-init: ok 2/3 net/wireless/cfg80211.ko") + 1))
def test_a_message_of_the_kernel_in_a_marker_does_not_lose_the_module(cut):
    marker = "lab-init: ok 2/3 net/wireless/cfg80211.ko"
    log = console.read_text(
        "[    0.000000] Linux version 6.1.0\nlab-init: start modules=3\nlab-init: begin 1/3 a.ko\nlab-init: ok 1/3 a.ko\n"
        f"lab-init: begin 2/3 net/wireless/cfg80211.ko\n{marker[:cut]}{NOISE}\n{marker[cut:]}\n"
        "lab-init: begin 3/3 c.ko\nlab-init: ok 3/3 c.ko\nlab-init: done ok=3 fail=0\n"
    )
    assert [load.path for load in log.loads] == ["a.ko", "net/wireless/cfg80211.ko", "c.ko"]
    assert {one.outcome for one in boots.outcomes([("console.txt", log)], None)} == {"ok"}


@pytest.mark.parametrize("cut", range(len("lab-init: start modules=12") + 1))
def test_a_message_of_the_kernel_in_the_first_marker_does_not_hide_that_init_started(cut):
    marker = "lab-init: start modules=12"
    log = console.read_text(
        f"{marker[:cut]}{NOISE}\n{marker[cut:]}\nlab-init: begin 1/12 a.ko\nlab-init: ok 1/1{NOISE}\n2 a.ko\n"
    )
    assert log.announced == 12


def test_a_begin_that_was_cut_gets_its_path_from_what_ends_it():
    log = console.read_text(
        f"[    0.000000] Linux version 6.1.0\nlab-init: begin 1/1 net/wirel{NOISE}\ness/cfg80211.ko\n"
        "lab-init: ok 1/1 net/wireless/cfg80211.ko\n"
    )
    assert [(load.path, load.outcome) for load in log.loads] == [("net/wireless/cfg80211.ko", "ok")]


def test_a_crash_whose_head_was_printed_into_a_marker_is_seen():
    log = console.read_text(
        "[    0.000000] Linux version 6.1.0\nlab-init: begin 1/1 a.ko\n"
        "lab-init: ok 1/1 a.ko[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000\n"
        "[    1.000000] RIP: 0010:a_work+0x1/0x10 [a]\n[    1.000000] ---[ end trace 0000000000000000 ]---\n"
    )
    assert [(crash.function, crash.at) for crash in log.crashes] == [("a_work", 3)]


def test_what_cannot_be_counted_back_is_not_known():
    log = read("begin 1/3 a.ko", "begin 2/3 b.ko", "begin 3/3 c.ko", "ok 3/3 c.ko", "done ok=2 fail=1")
    told = {one.path: one.outcome for one in boots.outcomes([("console.txt", log)], None)}
    assert told == {"a.ko": "lost", "b.ko": "lost", "c.ko": "ok"}


def test_the_last_module_before_a_crash_is_not_lost_but_begun():
    log = read("begin 1/2 a.ko", "begin 2/2 b.ko")
    told = {one.path: one.outcome for one in boots.outcomes([("console.txt", log)], None)}
    assert told == {"a.ko": "lost", "b.ko": "begun"}
