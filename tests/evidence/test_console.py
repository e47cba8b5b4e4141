from pathlib import Path

import pytest

from lab.evidence import console
from lab.evidence.console_rows import Category

FIXTURES = Path(__file__).parent.parent / "fixtures" / "console"
CORPUS = Path(__file__).parents[2] / "../shared/corpora/console"
# made by hand in the layout of arch/x86/kernel/dumpstack.c of 6.1
OOPS = """\
[    0.749444] BUG: unable to handle page fault for address: ffffffffa02f1c8c
[    0.750788] Oops: 0000 [#1] PREEMPT NOPTI
[    0.751001] CPU: 0 PID: 17 Comm: insmod Tainted: G           O       6.1.0 #3
[    0.751336] RIP: 0010:frob_init+0x12f/0x229 [frob]
[    0.752565] RSP: 0018:ffa000000008fcd0 EFLAGS: 00000282
[    0.754186] Call Trace:
[    0.755134]  <TASK>
[    0.755307]  frob_probe+0x10f/0x1ec [frob]
[    0.755518]  ? kernel_read_file+0x3a/0xa2
[    0.757783]  </TASK>
[    0.757877] Modules linked in: frob(+) nicer
[    0.758635] ---[ end trace 0000000000000000 ]---
"""
PANIC = "[    0.760799] Kernel panic - not syncing: Fatal exception\n"


def crashes(text):
    return console.read_text(text).crashes


def test_an_oops_is_one_crash_with_title_function_module_and_state():
    (crash,) = crashes(OOPS)
    assert crash.title == "BUG: unable to handle kernel paging request in frob_init"
    assert (crash.function, crash.module, crash.modules, crash.tainted) == (
        "frob_init",
        "frob",
        ("frob", "nicer"),
        "G O",
    )
    assert (crash.at, crash.last) == (1, 12)


def test_the_panic_after_an_oops_belongs_to_it():
    (crash,) = crashes(OOPS + PANIC)
    assert crash.panic == "Fatal exception"


def test_an_unrelated_panic_after_a_warning_is_a_crash_of_its_own():
    text = (
        "WARNING: CPU: 0 PID: 1 at a/b.c:1 foo+0x1/0x2\n---[ end trace 0 ]---\n"
        "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009\n"
    )
    assert [crash.title for crash in crashes(text)] == ["WARNING in foo", "kernel panic: Attempted to kill init!"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("WARNING: CPU: 0 PID: 5 at kernel/x.c:12 foo+0x1/0x2\n", "WARNING in foo"),
        ("WARNING: kernel/x.c:12 at foo+0x1/0x2, CPU#0: insmod/12\n", "WARNING in foo"),
        ("kernel BUG at fs/x.c:12!\nRIP: 0010:foo+0x1/0x2\n", "kernel BUG in foo"),
        ("general protection fault: 0000 [#1] SMP\nRIP: 0010:foo.cold+0x1/0x2\n", "general protection fault in foo"),
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [a:1]\nRIP: 0010:foo+0x1/0x2\n", "BUG: soft lockup in foo"),
        (
            "INFO: task init:1 blocked for more than 120 seconds.\nCall Trace:\n __schedule+0x1/0x2\n schedule+0x1/0x2\n"
            " foo_wait+0x1/0x2\n foo_read+0x1/0x2\n",
            "INFO: task hung in foo_read",
        ),
        (
            "BUG: KASAN: slab-use-after-free in memcpy+0x1/0x2\nRead of size 8 at addr ffff by task a/1\nCall Trace:\n"
            " dump_stack+0x1/0x2\n kasan_report+0x1/0x2\n memcpy+0x1/0x2\n foo+0x1/0x2\n",
            "KASAN: slab-use-after-free Read in foo",
        ),
        (
            "WARNING: possible circular locking dependency detected\na/1 is trying to acquire lock:\n"
            "ffff (&x){+.+.}-{3:3}, at: foo+0x1/0x2\n",
            "possible deadlock in foo",
        ),
        (
            "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000\npc : foo+0x1/0x2\n",
            "BUG: unable to handle kernel NULL pointer dereference in foo",
        ),
        ("UBSAN: array-index-out-of-bounds in fs/x.c:1:2\nCall Trace:\n dump_stack+0x1/0x2\n foo+0x1/0x2\n",
         "UBSAN: array-index-out-of-bounds in foo"),
        ("BUG: KCSAN: data-race in foo / bar\n", "KCSAN: data-race in foo / bar"),
    ],
)  # fmt: skip
def test_titles_are_in_syzbot_s_manner(text, title):
    assert crashes(text)[0].title == title


@pytest.mark.parametrize(
    "line",
    [
        "[    0.000000] Linux version 6.1.0 (u@h) #1",
        "[    1.000000] softdog: initialized. soft_noboot=0 soft_margin=60 sec soft_panic=0 (nowayout=0)",
        "[    0.000000] Command line: console=ttyS0 panic=-1 oops=panic",
        "[    9.000000] INFO: NMI handler (perf_event_nmi_handler) took too long to run: 1.356 msecs",
        "[    1.230552][    T0] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on",
    ],
)
def test_harmless_lines_are_no_crash(line):
    assert crashes(line + "\n") == ()


def test_the_markers_of_the_init_tell_each_module_s_fate():
    log = console.read_text(
        "lab-init: start modules=3\nlab-init: begin 1/3 a/b.ko\nlab-init: ok 1/3 a/b.ko\nlab-init: begin 2/3 c.ko\n"
        "lab-init: fail 2/3 c.ko No such device\nlab-init: begin 3/3 d.ko\n"
    )
    assert [(load.path, load.outcome, load.error) for load in log.loads] == [
        ("a/b.ko", "ok", ""), ("c.ko", "fail", "No such device"), ("d.ko", "begun", ""),
    ]  # fmt: skip
    assert (log.announced, log.done) == (3, None)
    assert log.pending is not None


def test_a_second_start_that_nobody_announced_is_a_reboot():
    text = "[    0.000000] Linux version 6.1.0\n[    0.5] Run /init\n[    0.000000] Linux version 6.1.0\n"
    assert [crash.category for crash in crashes(text)] == [Category.REBOOT]


def test_a_real_console_without_an_init_is_one_panic():
    log = console.read(FIXTURES / "no_init.txt")
    (crash,) = log.crashes
    assert crash.category is Category.PANIC
    assert crash.title.startswith("kernel panic: No working init found.")
    assert log.kernel_at > 0


def test_an_empty_console_said_nothing():
    assert (
        console.read_text("SeaBIOS (version 1.16.2-debian-1.16.2-1)\r\nBooting from ROM..\x1bc\x1b[?7l\x1b[2J\n").said
        is False
    )


def test_a_flood_of_reports_is_bounded():
    log = console.read_lines(b"WARNING: CPU: 0 PID: 1 at a/b.c:1 foo+0x1/0x2" for _ in range(20_000))
    assert (len(log.crashes), log.full, log.lines) == (console.CRASHES_LIMIT, True, 20_000)


def test_garbage_raises_nothing():
    log = console.read_lines(
        [bytes(range(256)) * 10, b"BUG: KASAN: ", b"WARNING: at", b"RIP: 0010:", b"\xff" * 100_000]
    )
    assert log.lines == 5


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of consoles is not here")
def test_the_corpus_is_detected_titled_and_blamed():
    total = detected = titled = named = blamed = 0
    for path in sorted(CORPUS.glob("*.txt")):
        head, _, body = path.read_bytes().partition(b"\n\n")
        if head.startswith(b"\n") or b"\n\n" not in path.read_bytes():
            head, body = b"", path.read_bytes()
        lines = head.decode("utf-8", "replace").splitlines()
        titles = [line.split(": ", 1)[1].strip() for line in lines if line.startswith(("TITLE: ", "ALT: "))]
        found = console.read_lines(body.split(b"\n")).crashes
        if not any(titles):
            assert found == (), f"{path.name}: false alarm"
            continue
        total += 1
        detected += bool(found)
        titled += bool(found) and found[0].title in titles
        functions = [title.rpartition(" in ")[2] for title in titles if " in " in title and "corrupted" not in title]
        named += bool(functions)
        blamed += bool(functions and found) and found[0].function in functions
    assert detected / total >= 0.99
    assert titled / total >= 0.85
    assert blamed / named >= 0.85
