import json
from pathlib import Path

import pytest

from lab.checks import boot, build, infra
from lab.evidence import console
from lab.evidence.bundle import Evidence
from lab.model import Finding, NotApplicable, Severity

FIXTURES = Path(__file__).parent.parent / "fixtures" / "console"
START = "[    0.000000] Linux version 6.1.0\nlab-init: start modules=2\nlab-init: begin 1/2 a/a.ko\nlab-init: ok 1/2 a/a.ko\n"
SECOND = "lab-init: begin 2/2 b/b.ko\n"
DONE = "lab-init: done ok=1 fail=1\n"
OOPS = (
    "BUG: kernel NULL pointer dereference, address: 0000000000000000\nOops: 0002 [#1] PREEMPT\n"
    "RIP: 0010:b_init+0x1/0x10 [b]\n---[ end trace 0000000000000000 ]---\n"
)


UP = {"link": "up"}
RESET = {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}}
REGISTERS = {"asked": "human-monitor-command", "answer": "RIP=ffffffff81000123"}
PANICKED = {"event": "GUEST_PANICKED", "data": {"action": "run"}}


def judged(folder, text, ending="exited", status=0, told=None, notes="", **more):
    if text is not None:
        (folder / "console.txt").write_text(text)
    if told is not None:
        (folder / "qmp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    if notes:
        (folder / "qemu.txt").write_text(notes)
    step = {"name": "boot", "ending": ending, "status": status, "seconds": 1.0, **more}
    (folder / "steps.json").write_text(json.dumps([step]))
    return [answer for answer in boot.check(Evidence(folder)) if isinstance(answer, Finding)]


def ids(found):
    return [finding.id for finding in found]


def test_a_good_boot_gives_only_the_note_of_its_modules(tmp_path):
    found = judged(tmp_path, START + SECOND + "lab-init: ok 2/2 b/b.ko\nlab-init: done ok=2 fail=0\n")
    assert ids(found) == ["boot.modules"]
    assert found[0].severity is Severity.NOTE
    assert found[0].data["loaded"] == 2


def test_a_boot_without_the_end_marker_is_never_good(tmp_path):
    found = judged(tmp_path, START + SECOND + "lab-init: ok 2/2 b/b.ko\n")
    assert ids(found) == ["boot.incomplete", "boot.modules"]


def test_an_oops_blames_the_module_that_was_being_loaded(tmp_path):
    found = judged(tmp_path, START + SECOND + OOPS + "Kernel panic - not syncing: Fatal exception\n")
    assert ids(found) == ["boot.oops", "boot.modules"]
    assert (found[0].blame, found[0].function, found[0].severity) == ("b/b.ko", "b_init", Severity.FAIL)


def test_a_crash_between_two_modules_blames_neither(tmp_path):
    found = judged(tmp_path, START + OOPS)
    assert found[0].blame == ""


def test_a_hang_keeps_the_last_lines_and_names_the_module(tmp_path):
    found = judged(tmp_path, START + SECOND, ending="deadline", status=-1)
    assert ids(found) == ["boot.hang", "boot.modules"]
    assert found[0].blame == "b/b.ko"
    assert found[0].data["tail"][-1] == SECOND.strip()


@pytest.mark.parametrize(
    ("silent_s", "title"),
    [
        (0.5, "the boot was not done at its deadline, and still talking"),
        (50.0, "the boot fell silent before it was done"),
    ],
)
def test_a_boot_that_still_talks_did_not_fall_silent(tmp_path, silent_s, title):
    found = judged(tmp_path, START, ending="deadline", status=-1, seconds=60.0, silent_s=silent_s)
    assert (found[0].id, found[0].title) == ("boot.hang", title)


def test_silence_is_told_from_a_hang(tmp_path):
    assert ids(judged(tmp_path, "", ending="deadline")) == ["boot.silent"]


def test_a_kernel_that_finds_no_init_is_told_so(tmp_path):
    assert ids(judged(tmp_path, (FIXTURES / "no_init.txt").read_text())) == ["boot.no-init"]


def test_a_module_that_does_not_load_is_a_fault(tmp_path):
    said = "[    1.000000] b: Unknown symbol gone (err -2)\n"
    text = START + SECOND + said + "lab-init: fail 2/2 b/b.ko unknown symbol in module, or unknown parameter\n" + DONE
    found = judged(tmp_path, text)
    assert ids(found) == ["boot.module-failed", "boot.modules"]
    assert (found[0].blame, found[0].severity) == ("b/b.ko", Severity.FAIL)
    assert found[0].because == ("the kernel says: b: Unknown symbol gone (err -2) (line 6)",)


def test_an_init_of_a_module_that_refuses_is_a_warning_unless_the_module_was_asked_for(tmp_path):
    text = START + SECOND + "lab-init: fail 2/2 b/b.ko Device or resource busy\n" + DONE
    found = judged(tmp_path, text)
    assert [(one.id, one.severity) for one in found] == [
        ("boot.module-refused", Severity.WARNING),
        ("boot.modules", Severity.NOTE),
    ]
    assert found[1].message == "1 of 2 modules loaded, 1 refused"
    plan = {"boots": [{"step": "boot", "console": "console.txt", "modules": ["a/a.ko", "b/b.ko"]}], "named": ["b/b.ko"]}
    (tmp_path / "boots.json").write_text(json.dumps(plan))
    (first, _) = judged(tmp_path, text)
    assert (first.id, first.severity) == ("boot.module-failed", Severity.FAIL)


def test_a_second_load_that_is_not_told_so_is_a_fault(tmp_path):
    text = (
        START + "lab-init: twice 1/2 a/a.ko\nlab-init: twice-fail 1/2 a/a.ko it was loaded a second time\n" + SECOND
        + "lab-init: ok 2/2 b/b.ko\nlab-init: twice 2/2 b/b.ko\nlab-init: twice-ok 2/2 b/b.ko\nlab-init: done ok=2 fail=0\n"
    )  # fmt: skip
    found = judged(tmp_path, text)
    assert [(one.id, one.blame) for one in found] == [("boot.module-twice", "a/a.ko"), ("boot.modules", "")]
    assert [row["again"] for row in found[1].data["modules"]] == ["it was loaded a second time", "ok"]


def test_a_module_that_stays_loaded_is_told_and_no_fault(tmp_path):
    unloads = (
        "lab-init: unload 2/2 b/b.ko\nlab-init: unload-kept 2/2 b/b.ko Device or resource busy\n"
        "lab-init: unload 1/2 a/a.ko\nlab-init: unload-ok 1/2 a/a.ko\n"
    )
    found = judged(tmp_path, START + SECOND + "lab-init: ok 2/2 b/b.ko\n" + unloads + "lab-init: done ok=2 fail=0\n")
    assert ids(found) == ["boot.modules"]
    assert found[0].message == "2 of 2 modules loaded, 1 of 2 unloaded"


def test_a_crash_while_unloading_blames_the_module_and_says_so(tmp_path):
    text = START + SECOND + "lab-init: ok 2/2 b/b.ko\nlab-init: unload 2/2 b/b.ko\n" + OOPS.replace("b_init", "b_exit")
    found = judged(tmp_path, text)
    assert (found[0].id, found[0].blame) == ("boot.oops", "b/b.ko")
    assert found[0].because[0] == "the kernel was unloading b/b.ko (marker in line 7)"


def test_a_users_program_that_fails_is_a_fault_with_its_status(tmp_path):
    text = (
        START
        + SECOND
        + "lab-init: ok 2/2 b/b.ko\nlab-init: run t.sh\nbad\nlab-init: ran 3 t.sh\nlab-init: done ok=2 fail=0\n"
    )
    (finding, _) = judged(tmp_path, text)
    assert (finding.id, finding.message, finding.severity) == ("boot.script-failed", "t.sh exited 3", Severity.FAIL)
    assert (finding.where.first, finding.where.last) == (7, 9)


def test_a_users_program_that_ends_well_is_no_finding(tmp_path):
    text = (
        START
        + SECOND
        + "lab-init: ok 2/2 b/b.ko\nlab-init: run t.sh\nlab-init: ran 0 t.sh\nlab-init: done ok=2 fail=0\n"
    )
    assert ids(judged(tmp_path, text)) == ["boot.modules"]


def test_a_hang_of_a_users_program_says_so(tmp_path):
    found = judged(tmp_path, START + SECOND + "lab-init: ok 2/2 b/b.ko\nlab-init: run t.sh\n", ending="deadline")
    assert found[0].id == "boot.hang"
    assert "the last marker says that the program 't.sh' was running" in found[0].because


# --------------------------------------------------------------------------------------------------------- several boots


def judged_boots(folder, *texts, plan=None):
    rows = []
    for number, text in enumerate(texts, start=1):
        suffix = "" if number == 1 else f"-{number}"
        (folder / f"console{suffix}.txt").write_text(text)
        rows.append({"name": f"boot{suffix}", "ending": "exited", "status": 0, "seconds": 1.0})
    (folder / "steps.json").write_text(json.dumps(rows))
    if plan:
        (folder / "boots.json").write_text(json.dumps(plan))
    return [answer for answer in boot.check(Evidence(folder)) if isinstance(answer, Finding)]


HEAD = "[    0.000000] Linux version 6.1.0\nlab-init: start modules=1\n"
GOOD = HEAD + "lab-init: begin 1/1 c/c.ko\nlab-init: ok 1/1 c/c.ko\nlab-init: done ok=1 fail=0\n"
PLAN = {
    "boots": [
        {"step": "boot", "console": "console.txt", "modules": ["a/a.ko", "b/b.ko", "d/d.ko"]},
        {"step": "boot-2", "console": "console-2.txt", "modules": ["c/c.ko"]},
    ]
}


def test_several_good_boots_are_one_note(tmp_path):
    first = START + SECOND + "lab-init: ok 2/2 b/b.ko\nlab-init: done ok=2 fail=0\n"
    (note,) = judged_boots(tmp_path, first, GOOD)
    assert note.message == "3 of 3 modules loaded, in 2 boots"
    assert (note.data["done"], note.data["boots"]) == (True, 2)
    assert [row["file"] for row in note.data["modules"]] == ["console.txt", "console.txt", "console-2.txt"]


def test_a_crash_in_one_boot_does_not_lose_the_modules_of_the_others(tmp_path):
    found = judged_boots(tmp_path, START + SECOND + OOPS, GOOD, plan=PLAN)
    assert ids(found) == ["boot.oops", "boot.modules"]
    assert {row["path"]: row["outcome"] for row in found[1].data["modules"]} == {
        "a/a.ko": "ok", "b/b.ko": "begun", "d/d.ko": "not tried", "c/c.ko": "ok",
    }  # fmt: skip
    assert not found[1].data["done"]


def test_a_crash_of_a_later_boot_is_told_with_its_own_console(tmp_path):
    found = judged_boots(tmp_path, GOOD, START + SECOND + OOPS)
    assert (found[0].id, found[0].where.file, found[0].blame) == ("boot.oops", "console-2.txt", "b/b.ko")


def test_what_every_boot_says_alike_is_told_once_with_the_other_places(tmp_path):
    warning = "WARNING: CPU: 0 PID: 1 at a/b.c:1 foo+0x1/0x2\n---[ end trace 0 ]---\n"
    found = judged_boots(tmp_path, *[HEAD + warning + GOOD.removeprefix(HEAD)] * 3)
    assert ids(found) == ["boot.warning", "boot.modules"]
    assert found[0].because[-1] == "another boot says the same: console-2.txt:3 and 1 more"


def test_a_boot_that_was_planned_and_never_made_is_no_good_end(tmp_path):
    first = START + SECOND + "lab-init: ok 2/2 b/b.ko\nlab-init: done ok=2 fail=0\n"
    (note,) = judged_boots(tmp_path, first, plan=PLAN)
    assert not note.data["done"]


def test_a_later_boot_that_ends_early_is_incomplete(tmp_path):
    found = judged_boots(tmp_path, GOOD, HEAD)
    assert [(one.id, one.where.file) for one in found] == [
        ("boot.incomplete", "console-2.txt"),
        ("boot.modules", "console.txt"),
    ]


def test_absent_hardware_is_recorded_and_no_fault(tmp_path):
    found = judged(tmp_path, START + SECOND + "lab-init: fail 2/2 b/b.ko ENODEV\nlab-init: done ok=1 fail=1\n")
    assert ids(found) == ["boot.modules"]
    assert [row["outcome"] for row in found[0].data["modules"]] == ["ok", "no device"]


def test_a_warning_does_not_fail_a_boot(tmp_path):
    text = START + "WARNING: CPU: 0 PID: 1 at a/b.c:1 foo+0x1/0x2\n---[ end trace 0 ]---\nlab-init: done ok=2 fail=0\n"
    found = judged(tmp_path, text)
    assert (found[0].id, found[0].severity) == ("boot.warning", Severity.WARNING)


def test_a_lost_engine_is_left_to_the_check_of_the_machine(tmp_path):
    assert ids(judged(tmp_path, START, ending="engine-lost", status=-1)) == ["boot.modules"]


def test_an_init_that_tried_fewer_modules_than_it_announced_is_incomplete(tmp_path):
    assert "boot.incomplete" in ids(judged(tmp_path, START + "lab-init: done ok=1 fail=0\n"))


# ------------------------------------------------------------------------------------- what qemu itself tells of the end


BOOTING = "[    0.000000] Linux version 6.1.0\n[    0.100000] Calibrating delay loop\n"


def test_a_reset_that_nobody_announced_is_told_with_its_proof(tmp_path):
    (finding,) = judged(tmp_path, BOOTING, told=[UP, RESET])
    assert (finding.id, finding.severity) == ("boot.reset", Severity.FAIL)
    assert "qemu ended for the reason guest-reset (qmp.jsonl:2)" in finding.because


def test_a_triple_fault_is_told_from_another_reset(tmp_path):
    (finding,) = judged(tmp_path, BOOTING, told=[UP, RESET], notes="CPU Reset (CPU 0)\nTriple fault\n")
    assert finding.id == "boot.triple-fault"
    assert "qemu noted a triple fault (qemu.txt:2)" in finding.because


def test_a_reset_before_the_first_word_says_that_there_was_none(tmp_path):
    (finding,) = judged(tmp_path, "SeaBIOS (version 1.16)\n", told=[UP, RESET])
    assert finding.id == "boot.reset"
    assert "its console had said nothing" in finding.because


@pytest.mark.parametrize(
    "line", ["reboot: Restarting system", "reboot: machine restart", "[    1.0] Rebooting in 1 seconds.."]
)
def test_a_reset_that_was_announced_is_no_surprise(tmp_path, line):
    (finding,) = judged(tmp_path, BOOTING + line + "\n", told=[UP, RESET], notes="Triple fault\n")
    assert finding.id == "boot.no-init"


def test_a_panic_is_the_finding_and_not_the_reset_that_follows_it(tmp_path):
    text = BOOTING + "Kernel panic - not syncing: asked for\n"
    assert ids(judged(tmp_path, text, told=[UP, PANICKED, RESET])) == ["boot.panic"]


def test_a_panic_that_only_the_machine_was_told_of_is_one(tmp_path):
    (finding,) = judged(tmp_path, BOOTING, told=[UP, PANICKED, RESET])
    assert finding.id == "boot.panic"
    assert "the guest told of a panic (qmp.jsonl:2)" in finding.because


def test_a_guest_that_switched_itself_off_is_incomplete(tmp_path):
    off = {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-shutdown"}}
    found = judged(tmp_path, START, told=[UP, off])
    assert found[0].id == "boot.incomplete"
    assert found[0].title == "the guest switched itself off without the end marker of the init"


def test_a_hang_says_where_the_processor_was(tmp_path):
    (finding,) = judged(tmp_path, BOOTING, ending="deadline", status=-1, told=[UP, REGISTERS])
    assert finding.id == "boot.hang"
    assert finding.data["counter"] == "0xffffffff81000123"
    assert "shortly before, the processor was at 0xffffffff81000123 (qmp.jsonl:2)" in finding.because


MAP = "ffffffff81000000 T _text\nffffffff81000100 t spin\nffffffff81000200 d data\nffffffff82000000 B _end\n"


@pytest.mark.parametrize(
    ("config", "counter", "function"),
    [
        ("", "ffffffff81000123", "spin"),
        ("CONFIG_RANDOMIZE_BASE=y\n", "ffffffff81000123", ""),
        ("", "ffffffff91000123", ""),
        ("", "0000000000000010", ""),
    ],
    ids=["known", "moved", "far away", "below"],
)
def test_a_hang_names_its_function_where_that_is_known(tmp_path, config, counter, function):
    (tmp_path / "System.map").write_text(MAP)
    (tmp_path / "config.txt").write_text(config)
    registers = {"asked": "human-monitor-command", "answer": f"RIP={counter}"}
    (finding,) = judged(tmp_path, BOOTING, ending="deadline", status=-1, told=[UP, registers])
    assert finding.function == function
    assert any("spin+0x23" in reason for reason in finding.because) == bool(function)


def test_a_boot_that_was_ended_for_its_silence_says_so(tmp_path):
    found = judged(tmp_path, BOOTING, ending="deadline", status=-1, detail="it had said nothing for 30 s")
    assert "it was ended: it had said nothing for 30 s" in found[0].because


def test_what_qemu_tells_does_not_matter_once_the_init_is_done(tmp_path):
    text = START + SECOND + "lab-init: ok 2/2 b/b.ko\nlab-init: done ok=2 fail=0\n"
    assert ids(judged(tmp_path, text, told=[UP, RESET], notes="Triple fault\n")) == ["boot.modules"]


HOSTS = [UP, {"event": "SHUTDOWN", "data": {"guest": False, "reason": "host-signal"}}]


@pytest.mark.parametrize(
    ("ending", "status", "told"),
    [("killed", 137, [UP]), ("exited", 139, [UP]), ("exited", 1, None), ("exited", 127, None), ("exited", 0, HOSTS)],
    ids=["killed", "crashed", "error", "not there", "terminated"],
)
@pytest.mark.parametrize("text", ["", BOOTING, START])
def test_a_lost_qemu_is_never_the_kernels_fault(tmp_path, ending, status, told, text):
    found = judged(tmp_path, text, ending=ending, status=status, told=told)
    assert [finding.id for finding in found if finding.decides] == []


def test_a_flood_is_told_and_decides_nothing(tmp_path):
    found = judged(tmp_path, START + SECOND + "lab-init: ok 2/2 b/b.ko\nlab-init: done ok=2 fail=0\n", dropped=5000)
    assert [(finding.id, finding.decides) for finding in found] == [("boot.flood", False), ("boot.modules", False)]
    assert found[0].data == {"dropped": 5000}


def test_nothing_booted_is_not_applicable(tmp_path):
    (tmp_path / "build.txt").write_text("")
    (answer,) = boot.check(Evidence(tmp_path))
    assert isinstance(answer, NotApplicable)


def test_a_saved_console_is_judged_without_markers():
    (finding,) = boot.log_findings(console.read_text(OOPS), "console.txt")
    assert finding.title == "BUG: unable to handle kernel NULL pointer dereference in b_init"


def test_every_finding_of_build_infra_and_boot_has_its_page():
    pages = Path(__file__).parents[2] / "lab" / "data" / "explain"
    missing = [id_ for id_ in (*build.IDS, *infra.IDS, *boot.IDS) if not (pages / f"{id_}.md").is_file()]
    assert missing == []


@pytest.mark.parametrize(
    ("line", "id_", "symbol", "name"),
    [
        ("symbol 'gone' not found in symbol table", "livepatch.symbol", "gone", ""),
        ("unresolvable ambiguity for symbol 's' in object 'vmlinux'", "livepatch.position", "s", "vmlinux"),
        ("symbol position 3 for symbol 's' in object 'md_mod' not found", "livepatch.position", "s", "md_mod"),
        ("symbol f at rela sec 12 idx 3 is not marked as a livepatch symbol", "livepatch.format", "f", ""),
        ("symbol f is not marked as a livepatch symbol", "livepatch.format", "f", ""),
        ("symbol .klp.sym.x has an incorrectly formatted name", "livepatch.format", ".klp.sym.x", ""),
    ],
)
def test_a_livepatch_that_the_kernel_refuses_is_told_with_its_symbol_and_its_module(tmp_path, line, id_, symbol, name):
    text = (
        "[    0.1] Linux version 6.1.192\nlab-init: start modules=1\nlab-init: begin 1/1 lib/a.ko\n"
        f"[    1.0] livepatch: {line}\n"
        "lab-init: fail 1/1 lib/a.ko Invalid argument\nlab-init: done ok=0 fail=1\n"
    )
    (tmp_path / "console.txt").write_text(text)
    told = [one for one in boot.check(Evidence(tmp_path)) if one.id == id_]
    assert [(one.blame, one.where.first, one.data["symbol"], one.data["object"]) for one in told] == [
        ("lib/a.ko", 4, symbol, name)
    ]


def test_a_livepatch_that_goes_in_is_no_finding(tmp_path):
    text = (
        "[    0.1] Linux version 6.1.192\n[    1.0] livepatch: enabling patch 'a'\n[    2.0] livepatch: 'a': complete\n"
    )
    (tmp_path / "console.txt").write_text(text)
    assert not [one for one in boot.check(Evidence(tmp_path)) if one.id.startswith("livepatch")]
