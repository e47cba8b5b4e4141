"""One fault, one finding: from single findings, from logs, and from the whole evidence of a module that loads no more."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lab import checks
from lab.checks import join
from lab.model import Expectation, Finding, Outcome, Severity, Span
from lab.report.document import finding_document
from lab.report.text import findings_text
from lab.results import verdict
from lab.use import check

sys.path.append(str(Path(__file__).parent))
from test_objtool import MULTI, SAID, delayed

RECIPES = Path(__file__).parents[2] / "../shared/corpora/recipes"
MODULE = f"{MULTI}.ko"


def finding(id_, severity=Severity.FAIL, *, at=1, file="build.txt", blame="", **data):
    where = Span(file=file, first=at, last=at)
    return Finding(id=id_, severity=severity, title=id_, message=f"{id_} says", where=where, blame=blame, data=data)


def stories(*findings, part_of=None):
    return [(one.id, [part.id for part in one.joined]) for one in join.joined(findings, part_of)]


FLAGS = finding("objtool.flags", blame=MODULE, objects=[f"{MULTI}.o"], missing=["--module"])
WARNED = finding("objtool.warning", blame=f"{MULTI}.o", object=f"{MULTI}.o")
MISMATCH = finding("modpost.section-mismatch", Severity.WARNING, blame=f"{MULTI}.o", module=f"{MULTI}.o")
OOPS = finding("boot.oops", at=94, file="console.txt", blame=MODULE, loading=MODULE, tainted="")
FULL = finding("infra.disk-full", Severity.ERROR, at=10)
STALE = finding(
    "timestamps.stale", blame="drivers/mcb/mcb-core.o", object="drivers/mcb/mcb-core.o", missing=["mcb_a", "mcb_b"]
)


def undefined(symbol, exporter="drivers/mcb/mcb-core.o", cause="stale-object"):
    return finding(
        "modpost.undefined", blame="drivers/mcb/mcb-lpc.ko", symbol=symbol, exporter=exporter, cause=cause, modules=[]
    )


def test_flags_warning_mismatch_and_panic_of_one_module_are_one_story_with_the_flags_as_its_root():
    told = stories(MISMATCH, WARNED, OOPS, FLAGS)
    assert told == [("objtool.flags", ["objtool.warning", "boot.oops", "modpost.section-mismatch"])]


def test_the_same_of_another_module_stays_apart():
    others = (replace(OOPS, blame="fs/xfs/xfs.ko", data={"loading": "fs/xfs/xfs.ko"}), FLAGS)
    assert stories(*others) == [("boot.oops", []), ("objtool.flags", [])]


def test_a_crash_at_run_time_is_not_put_down_to_a_flag_that_is_only_superfluous():
    superfluous = replace(FLAGS, severity=Severity.WARNING, data=FLAGS.data | {"missing": []})
    assert len(stories(superfluous, OOPS)) == 2


def test_a_module_is_known_by_a_part_of_it_and_by_the_kernel_s_name_for_it():
    flags = finding("objtool.flags", objects=["drivers/net/wan/hdlc-raw.o"], missing=["--module"])
    oops = finding("boot.oops", at=3, file="console.txt", loading="hdlc_ppp")
    assert stories(flags, oops, part_of={"drivers/net/wan/hdlc-raw.o": "drivers/net/wan/hdlc-ppp.ko"}) == [
        ("objtool.flags", ["boot.oops"])
    ]


def test_symbols_that_one_stale_object_should_export_are_one_story():
    told = stories(undefined("mcb_a"), undefined("mcb_b"), undefined("other", "kernel/x.o"), STALE)
    assert told == [
        ("modpost.undefined", []),
        ("timestamps.stale", ["modpost.undefined", "modpost.undefined"]),
    ]


def test_the_tie_that_hid_the_object_from_make_is_the_root_of_all_that():
    tie = finding("timestamps.tie", blame="x.o", pairs=[{"object": "x.o"}, {"object": "drivers/mcb/mcb-core.o"}])
    assert stories(undefined("mcb_a"), STALE, tie) == [("timestamps.tie", ["timestamps.stale", "modpost.undefined"])]


def test_a_clock_that_was_set_back_is_the_root_of_all_that_times_tell():
    clock = finding("infra.clock", Severity.ERROR, file="steps.json", set_back_s=3600.0)
    skew = finding("infra.clock", Severity.WARNING, at=7)
    tie = finding("timestamps.tie", blame="x.o", pairs=[{"object": "x.o"}])
    told = join.joined([clock, skew, tie, undefined("mcb_a"), undefined("mcb_c", cause="nobody"), STALE])
    assert [(one.id, one.severity) for one in told] == [
        ("infra.clock", Severity.ERROR),
        ("modpost.undefined", Severity.FAIL),
    ]
    assert sorted(part.id for part in told[0].joined) == [
        "infra.clock", "modpost.undefined", "timestamps.stale", "timestamps.tie",
    ]  # fmt: skip
    assert len(join.joined([skew, tie])) == 2, "what make says of one file explains nothing"


def test_a_tie_of_another_object_stays_apart():
    tie = finding("timestamps.tie", blame="x.o", pairs=[{"object": "x.o"}])
    assert len(stories(STALE, tie)) == 2


def test_without_the_times_the_first_of_them_is_the_root():
    assert stories(undefined("mcb_a"), undefined("mcb_b")) == [("modpost.undefined", ["modpost.undefined"])]


def test_symbols_that_nobody_defines_are_a_fault_each():
    assert len(stories(undefined("a", "", "never-defined"), undefined("b", "", "never-defined"))) == 2


@pytest.mark.parametrize(
    "part",
    [
        finding("build.toolchain-crash", at=12),
        replace(finding("build.linker", at=12), message="ld: x.o: file not recognized: file truncated"),
        finding("infra.io-error", Severity.WARNING, at=12),
    ],
)
def test_what_a_full_disk_did_to_tools_is_told_with_the_disk(part):
    assert stories(part, FULL) == [("infra.disk-full", [part.id])]


@pytest.mark.parametrize(
    "other",
    [
        finding("build.compiler", at=12),
        finding("build.toolchain-crash", at=3),
        finding("boot.oops", at=12, file="console.txt"),
    ],
)
def test_a_syntax_error_or_what_came_before_is_not(other):
    assert len(stories(other, FULL)) == 2


def test_a_warning_about_the_disk_explains_nothing():
    warning = replace(FULL, severity=Severity.WARNING)
    assert len(stories(warning, finding("build.toolchain-crash", at=12))) == 2


def test_what_a_kernel_says_after_it_died_belongs_to_its_first_crash():
    first, later = OOPS, finding("boot.bug", at=200, file="console.txt", tainted="G D")
    hang = finding("boot.hang", at=300, file="console.txt", blame="fs/other.ko")
    assert stories(first, later, hang) == [("boot.oops", ["boot.bug", "boot.hang"])]


def test_two_crashes_of_a_living_kernel_are_two():
    assert len(stories(OOPS, finding("boot.bug", at=200, file="console.txt", tainted="G W"))) == 2


@pytest.mark.parametrize(
    ("symbol", "module", "stories_told"),
    [("state_show", "lib/a.ko", 1), ("other", "lib/a.ko", 2), ("state_show", "lib/b.ko", 2)],
)
def test_what_modpost_says_of_a_symbol_in_conflict_is_told_with_it(symbol, module, stories_told):
    conflict = finding("livepatch.conflict", blame="lib/a.ko", symbol="state_show", object="vmlinux")
    refused = finding("modpost.undefined", blame=module, symbol=symbol, modules=[module], cause="never-defined")
    assert len(stories(conflict, refused)) == stories_told


def test_a_conflict_in_the_log_and_in_the_module_is_one():
    log = finding("livepatch.conflict", symbol="state_show", object="vmlinux")
    elf = finding("livepatch.conflict", blame="lib/a.ko", file="lib/a.ko", symbol="state_show", object="vmlinux")
    other = finding("livepatch.conflict", symbol="driver_name", object="vmlinux")
    assert stories(log, elf, other) == [("livepatch.conflict", ["livepatch.conflict"]), ("livepatch.conflict", [])]


def test_a_warning_that_turns_out_to_stop_the_boot_is_as_grave_as_that():
    weak = replace(undefined("x"), severity=Severity.WARNING)
    refused = finding("boot.module-failed", at=9, file="console.txt", blame="drivers/mcb/mcb-lpc.ko")
    (told,) = join.joined([weak, refused])
    assert (told.id, told.severity) == ("modpost.undefined", Severity.FAIL)


def test_every_finding_is_told_once_and_whole():
    some = (MISMATCH, WARNED, OOPS, FLAGS, STALE, undefined("mcb_a"), FULL, finding("build.failed", at=11))
    told = join.joined(some)
    flat = [part for one in told for part in (replace(one, joined=(), severity=one.severity), *one.joined)]
    assert sorted(part.id for part in flat) == sorted(one.id for one in some)
    assert join.joined(told) == told


def test_strange_data_raises_nothing():
    odd = [
        replace(one, data={key: [None, 3, {}] for key in (*one.data, "pairs", "objects")})
        for one in (FLAGS, OOPS, STALE)
    ]
    assert len(join.joined([*odd, finding("timestamps.tie", pairs="x"), undefined("a", "x.o")])) == 5


def test_a_flood_of_findings_is_joined_in_bounded_time():
    assert len(join.joined([undefined(f"s{number}", f"a{number}.o") for number in range(1000)])) == 1000


def test_text_and_json_show_what_it_led_to():
    (told,) = join.joined([FLAGS, OOPS, MISMATCH])
    text = findings_text([told])
    assert "led to   boot.oops" in text
    assert "(console.txt:94)" in text
    assert "also     modpost.section-mismatch" in text
    document = finding_document(told)
    assert [(part["id"], part["where"]["first"]) for part in document["joined"]] == [
        ("boot.oops", 94),
        ("modpost.section-mismatch", 1),
    ]
    json.dumps(document)


def test_an_expected_finding_counts_where_it_is_joined():
    (told,) = join.joined([FLAGS, OOPS])
    expect = Expectation(outcome=Outcome.FAIL, findings=("boot.oops",))
    assert verdict.against(expect, Outcome.FAIL, "r", told.ids())[0] is Outcome.XFAIL


# --------------------------------------------------------------------------------------------------- the whole evidence


CONSOLE = """[    0.1] Linux version 6.1.192
lab-init: start modules=2
lab-init: begin 1/2 fs/autofs/autofs4.ko
[    0.749444] BUG: unable to handle page fault for address: ffffffffa02f1c8c
[    0.750788] Oops: 0000 [#1] PREEMPT NOPTI
[    0.751001] CPU: 0 PID: 17 Comm: init Not tainted 6.1.192 #3
[    0.751336] RIP: 0010:__static_call_init+0x12f/0x229
[    0.755134] Call Trace:
[    0.755307]  static_call_module_notify+0x10f/0x1ec
[    0.757877] Modules linked in: autofs4(+)
[    0.758635] ---[ end trace 0000000000000000 ]---
[    0.760799] Kernel panic - not syncing: Fatal exception
"""
BOOTED = [{"name": "boot", "ending": "deadline", "status": -1, "seconds": 60.0}]


def judged(folder, *, multi, console, log=SAID):
    evidence = delayed(folder / "run", multi=multi, log=log)
    (folder / "run" / "console.txt").write_text(console)
    (folder / "run" / "steps.json").write_text(json.dumps(BOOTED))
    findings, _ = checks.judge(evidence)
    return [one for one in findings if one.decides]


def test_a_missing_flag_and_the_panic_it_led_to_are_one_story(tmp_path):
    (told,) = judged(tmp_path, multi="--link", console=CONSOLE)
    assert (told.id, told.blame) == ("objtool.flags", MODULE)
    assert "boot.oops" in told.ids()
    assert any("static_call_key" in reason for reason in told.because)


def test_the_same_panic_with_right_flags_is_told_by_itself(tmp_path):
    told = judged(tmp_path, multi="--link --module", console=CONSOLE, log="  CC      x.o\n")
    assert [one.id for one in told] == ["boot.oops"]


@pytest.mark.skipif(not RECIPES.is_dir(), reason="the corpus of recipes is not here")
def test_the_real_log_and_the_real_panic_of_the_missing_flag_are_one_story(tmp_path):
    log = (RECIPES / "6.1-lto-objtool.txt").read_text()
    console = (RECIPES / "boot-panic-fatal-exception.txt").read_text()
    told = judged(tmp_path, multi="--link", console=console, log=log)
    assert [(one.id, one.joined[0].id) for one in told] == [("objtool.flags", "boot.oops")]


@pytest.mark.skipif(not RECIPES.is_dir(), reason="the corpus of recipes is not here")
def test_a_real_good_boot_adds_nothing_to_the_story(tmp_path):
    told = judged(tmp_path, multi="--link", console=(RECIPES / "boot-good.txt").read_text())
    assert [one.id for one in told if not one.id.startswith("boot.")] == ["objtool.flags"]


def test_a_log_of_a_full_disk_is_one_finding_with_what_it_broke(tmp_path):
    log = tmp_path / "build.txt"
    log.write_text(
        "  AR      drivers/built-in.a\nar: drivers/built-in.a: No space left on device\n"
        "make[3]: *** [scripts/Makefile.build:437: drivers/built-in.a] Error 1\n"
        "ld: lib/lib.a: file not recognized: file truncated\nmake[2]: *** [Makefile:9: lib/x.o] Error 1\n"
        "PLEASE submit a bug report to https://example.org\nStack dump:\nBus error\nmake[2]: *** [Makefile:9: y.o] Error 135\n"
    )
    (told,) = check.log_file(log, "build").findings
    assert told.id == "infra.disk-full"
    assert set(told.ids()) == {"infra.disk-full", "build.linker", "build.toolchain-crash"}
