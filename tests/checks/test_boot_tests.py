"""What becomes of test results and of refused modules on a console."""

import json

import pytest

from lab.checks import boot, boot_modules
from lab.evidence import console
from lab.evidence.bundle import Evidence
from lab.model import Severity

TAP = "TAP version 13\n1..3\nok 1 a\n# why it failed\nnot ok 2 b # exit=1\nok 3 c # SKIP\n"
CRASH = "[    2.000000] BUG: kernel NULL pointer dereference, address: 0\n[    2.000000] RIP: 0010:foo+0x1/0x2\n"


def told(text):
    return boot.log_findings(console.read_text(text), "console.txt")


def test_a_failed_test_is_a_fault_and_all_results_are_a_note():
    failed, note = told(TAP)
    assert (failed.id, failed.severity, failed.title) == ("boot.test-failed", Severity.FAIL, "test failed: b")
    assert (failed.because, failed.where.first) == (("it printed: # why it failed",), 5)
    assert (note.id, note.severity) == ("boot.tests", Severity.NOTE)
    assert note.message == "3 tests gave a result: 1 passed, 1 failed, 1 skipped"
    assert [row["outcome"] for row in note.data["tests"]] == ["pass", "fail", "skip"]


def test_many_failures_are_bounded_and_still_counted():
    text = "TAP version 13\n1..200\n" + "".join(f"not ok {number} t{number}\n" for number in range(1, 201))
    found = told(text)
    assert sum(finding.id == "boot.test-failed" for finding in found) == boot.TESTS_LIMIT
    assert found[-1].data["failed"] == 200


def test_tests_that_stop_before_their_plan_are_a_fault():
    finding = next(one for one in told("TAP version 13\n1..3\nok 1 a\n") if one.id == "boot.tests-incomplete")
    assert (finding.severity, finding.data["seen"], finding.data["planned"]) == (Severity.FAIL, 1, 3)


def test_a_crash_in_the_middle_of_the_tests_is_what_decides():
    text = "[    1.000000] KTAP version 1\n[    1.000000] 1..3\n[    1.000000] ok 1 a\n" + CRASH
    crash, unfinished, _note = told(text)
    assert (crash.id, unfinished.id, unfinished.severity) == ("boot.oops", "boot.tests-incomplete", Severity.WARNING)
    assert "the kernel broke in line 4" in unfinished.because[0]


def test_no_tests_are_no_finding():
    assert told("[    0.000000] Linux version 6.1.0\n[    1.0] ok 1 a\n") == ()


@pytest.mark.parametrize(
    ("line", "kind", "module", "symbol"),
    [
        ("foo: Unknown symbol bar_get (err -2)", "unknown symbol", "foo", "bar_get"),
        ("foo: version magic '6.1.0 SMP mod_unload ' should be '6.1.1 SMP mod_unload '", "version magic", "foo", ""),
        ("foo: disagrees about version of symbol module_layout", "symbol version", "foo", "module_layout"),
        ("foo: no symbol version for bar_get", "symbol version", "foo", "bar_get"),
        ("foo: exports duplicate symbol bar_get (owned by kernel)", "duplicate symbol", "foo", "bar_get"),
        ("foo: module uses symbol (bar) from namespace BAR, but does not import it.", "namespace not imported", "foo", "bar"),
        ("x86/modules: Invalid relocation target, existing value is nonzero for type 1, loc 0, val 0", "relocation", "", ""),
        ("module foo: unsupported RELA relocation: 275", "relocation", "foo", ""),
        ("foo: section 4 reloc 2 sym 'bar': relocation 28 out of range (0xbf000000 -> 0xc0008000)", "relocation", "foo", ""),
        ("foo: .gnu.linkonce.this_module section size must match the kernel's built struct", "format", "foo", ""),
        ("insmod: can't insert '/lib/modules/foo.ko': invalid module format", "format", "foo", ""),
        ("modprobe: ERROR: could not insert 'foo': Exec format error", "format", "foo", ""),
        ("failed to validate module [foo] BTF: -22", "BTF", "foo", ""),
    ],
)  # fmt: skip
def test_a_module_that_the_kernel_refuses_is_told_also_without_our_markers(line, kind, module, symbol):
    (finding,) = told(f"[    0.000000] Linux version 6.1.0\n[    5.000000] {line}\n")
    assert finding.id == "boot.module-failed"
    assert (finding.data["kinds"], finding.data["module"], finding.data["symbol"]) == ([kind], module, symbol)


def test_many_symbols_of_one_module_are_one_finding():
    text = "".join(f"[    5.000000] foo: Unknown symbol bar{number} (err -2)\n" for number in range(80))
    (finding,) = told(text)
    assert (finding.where.first, finding.where.last, len(finding.data["symbols"])) == (
        1,
        80,
        boot_modules.SYMBOLS_LIMIT,
    )


def test_between_our_markers_the_kernel_s_words_are_the_reason_of_the_failure(tmp_path):
    text = (
        "[    0.000000] Linux version 6.1.0\nlab-init: start modules=1\nlab-init: begin 1/1 a/foo.ko\n"
        "[    5.000000] foo: Unknown symbol bar (err -2)\n"
        "lab-init: fail 1/1 a/foo.ko Unknown symbol in module\nlab-init: done ok=0 fail=1\n"
    )
    (tmp_path / "console.txt").write_text(text)
    (tmp_path / "steps.json").write_text(
        json.dumps([{"name": "boot", "ending": "exited", "status": 0, "seconds": 1.0}])
    )
    found = [one for one in boot.check(Evidence(tmp_path)) if one.id == "boot.module-failed"]
    assert [(one.blame, one.because) for one in found] == [
        ("a/foo.ko", ("the kernel says: foo: Unknown symbol bar (err -2) (line 4)",))
    ]
