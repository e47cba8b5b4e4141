"""KTAP and TAP as KUnit, kselftest and others print it. Texts are made by hand after Documentation/dev-tools/ktap.rst."""

import pytest

from lab.evidence import console, ktap
from lab.evidence.ktap import TestOutcome

KUNIT = """\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: list_test
    # module: list_test
    1..3
    ok 1 list_test_init
    # list_test_add: EXPECTATION FAILED at lib/list-test.c:12
    Expected a == b, but
        a == 1
    not ok 2 list_test_add
    ok 3 list_test_hw # SKIP no such device
# list_test: pass:1 fail:1 skip:1 total:3
# Totals: pass:1 fail:1 skip:1 total:3
not ok 1 list_test
    KTAP version 1
    # Subtest: sizes
    1..1
        KTAP version 1
        # Subtest: by_parameter
        ok 1 size 1
        ok 2 size 2
    # by_parameter: pass:2 fail:0 skip:0 total:2
    ok 1 by_parameter
ok 2 sizes
"""
KSELFTEST = """\
TAP version 13
1..4
# timeout set to 45
# selftests: timers: posix_timers
# TAP version 13
# 1..2
# ok 1 thread clock
# not ok 2 process clock
# # Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0
not ok 1 selftests: timers: posix_timers # exit=1
# selftests: timers: nanosleep
# ok then, this is only a remark
ok 2 selftests: timers: nanosleep
# selftests: net: tls
not ok 3 selftests: net: tls # TIMEOUT 45 seconds
ok 4 selftests: net: no_hw # SKIP
"""


def read(text):
    reader = ktap.Reader()
    for number, line in enumerate(text.splitlines(), start=1):
        reader.take(line, number)
    return reader.log()


def names(results):
    return ["/".join(result.name) for result in results]


def test_kunit_s_nested_suites_give_their_single_tests_with_the_path_to_each():
    log = read(KUNIT)
    assert (log.passed, log.failed, log.skipped, log.at, log.last) == (3, 1, 1, 7, 25)
    assert names(log.results) == [
        "list_test/list_test_init", "list_test/list_test_add", "list_test/list_test_hw", "sizes/by_parameter/size 1",
        "sizes/by_parameter/size 2",
    ]  # fmt: skip


def test_the_deepest_failure_is_told_with_what_it_printed_and_its_parents_are_echoes():
    (failure,) = read(KUNIT).failures
    assert failure.name == ("list_test", "list_test_add")
    assert failure.diagnostics[0] == "# list_test_add: EXPECTATION FAILED at lib/list-test.c:12"


def test_kselftest_s_nested_results_belong_to_the_program_that_printed_them():
    log = read(KSELFTEST)
    assert (log.passed, log.failed, log.skipped) == (2, 2, 1)
    assert names(log.failures) == ["selftests: timers: posix_timers/process clock", "selftests: net: tls"]
    assert log.failures[1].reason == "TIMEOUT 45 seconds"


def test_what_a_failed_program_did_not_explain_is_its_own_failure():
    log = read("TAP version 13\n1..1\n# TAP version 13\n# 1..1\n# ok 1 a\nnot ok 1 selftests: x: y # exit=139\n")
    assert names(log.failures) == ["selftests: x: y"]
    assert log.failures[0].reason == "exit=139"


@pytest.mark.parametrize(
    ("line", "outcome", "reason"),
    [
        ("ok 1 a", TestOutcome.PASS, ""),
        ("ok 1 - a", TestOutcome.PASS, ""),
        ("ok - a", TestOutcome.PASS, ""),
        ("not ok 1 a", TestOutcome.FAIL, ""),
        ("ok 1 a # SKIP no hardware", TestOutcome.SKIP, "no hardware"),
        ("ok 1 a # skip", TestOutcome.SKIP, ""),
        ("not ok 1 a # SKIP", TestOutcome.SKIP, ""),
        ("not ok 1 a # TODO later", TestOutcome.XFAIL, "later"),
        ("ok 1 a # TODO later", TestOutcome.PASS, "later"),
        ("ok 1 a # XFAIL known", TestOutcome.XFAIL, "known"),
        ("not ok 1 a # ERROR", TestOutcome.FAIL, "ERROR"),
        ("ok 1 a[   12.345678] usb 1-1: new device", TestOutcome.PASS, ""),
        ("ok 1 # SKIP a", TestOutcome.SKIP, "a"),
    ],
)
def test_a_result_line_is_read_with_its_directive(line, outcome, reason):
    (result,) = read(f"TAP version 13\n1..1\n{line}\n").results
    assert (result.outcome, result.name, result.reason) == (outcome, ("a",), reason)


def test_old_kunit_indents_by_tabs_and_names_its_suites_before():
    log = read("TAP version 14\n1..1\n\t# Subtest: old\n\t1..2\n\tok 1 - first\n\tnot ok 2 - second\nnot ok 1 - old\n")
    assert (names(log.results), names(log.failures)) == (["old/first", "old/second"], ["old/second"])


def test_a_suite_that_stops_in_the_middle_is_told_and_the_ones_around_it_are_echoes():
    log = read("KTAP version 1\n1..2\n    KTAP version 1\n    # Subtest: s\n    1..5\n    ok 1 a\n")
    (one,) = log.unfinished
    assert (one.name, one.planned, one.seen, one.at, one.last) == (("s",), 5, 1, 3, 6)


def test_a_program_that_was_running_when_all_ended_is_named():
    log = read("TAP version 13\n1..2\n# selftests: a: b\nok 1 selftests: a: b\n# selftests: c: d\n# hello\n")
    assert [(one.seen, one.planned, one.reason) for one in log.unfinished] == [(1, 2, "while running selftests: c: d")]


def test_a_plan_at_the_end_and_no_plan_at_all_are_no_fault():
    assert read("TAP version 13\nok 1 a\nok 2 b\n1..2\n").unfinished == ()
    assert read("TAP version 13\nok 1 a\n").unfinished == ()
    assert len(read("TAP version 13\nok 1 a\n1..2\n").unfinished) == 1


def test_nothing_after_the_plan_was_reached_or_bailed_out_of_counts():
    assert read("TAP version 13\n1..1\nok 1 a\nok 2 not a test of that\n").total == 1
    log = read("TAP version 13\n1..4\nok 1 a\nBail out! no root\nok 2 b\n")
    assert (log.total, log.unfinished[0].reason) == (1, "bailed out: no root")


def test_a_plan_of_none_skips_all():
    log = read("TAP version 13\n1..0 # SKIP not on this machine\n")
    assert (log.skipped, log.results[0].reason, log.unfinished) == (1, "not on this machine", ())


def test_two_streams_one_after_the_other_are_two():
    log = read("KTAP version 1\n1..1\nok 1 a\nKTAP version 1\n1..1\nnot ok 1 b\n")
    assert (log.passed, log.failed) == (1, 1)


@pytest.mark.parametrize("text", ["ok 1 a\nnot ok 2 b\n1..2\n", "look at this\nok, go on\n", "# ok 1 a\n"])
def test_without_a_version_line_or_a_subtest_nothing_is_a_result(text):
    assert read(text).total == 0


def test_memory_is_bounded_whatever_arrives():
    reader = ktap.Reader()
    for number in range(60_000):
        reader.take(
            "TAP version 13" if number % 10_000 == 0 else " " * (number % 90) + f"not ok {number} x{number}", number
        )
    log = reader.log()
    assert log.failed > ktap.RESULTS_LIMIT
    assert (len(log.results), len(log.failures)) == (ktap.RESULTS_LIMIT, ktap.FAILED_LIMIT)
    assert max(len(result.name) for result in log.results) <= ktap.DEPTH_LIMIT + 1


@pytest.mark.parametrize(
    "line",
    ["KTAP version", "1..99999999999999999999", "not ok", "ok", "ok 999999999999 x", "# # # ok 1 x", "\x00ok 1", "1..2 #"],
)  # fmt: skip
def test_damaged_lines_raise_nothing(line):
    read(f"TAP version 13\n{line}\n    {line}\n# {line}\n")


def test_what_a_failed_test_printed_without_any_of_a_test_s_words_is_kept_from_a_console():
    text = "[    0.000000] Linux version 6.12.0\n" + "[    1.000000] quiet\n" * 80
    text += "[    2.000000] KTAP version 1\n[    2.000000] 1..1\n[    2.100000] frob: it is broken\n[    2.200000] not ok 1 a\n"
    assert console.read_text(text).tests.failures[0].diagnostics == ("frob: it is broken",)


def test_on_a_console_kunit_s_lines_carry_printk_s_time_and_other_lines_stand_between():
    text = "".join(f"[    1.{number:06}][    T1] {line}\n" for number, line in enumerate(KUNIT.splitlines()))
    mixed = text.replace("\n", "\n[    1.900000][  T77] usb 1-1: new high-speed USB device\n", 9)
    log = console.read_text("[    0.000000] Linux version 6.12.0\n" + mixed)
    assert (log.tests.passed, log.tests.failed, log.tests.skipped) == (3, 1, 1)
    assert log.crashes == ()


def test_kunit_s_results_and_those_of_a_program_that_runs_meanwhile_are_not_mixed():
    kernel = [f"[    1.{number:06}] {line}" for number, line in enumerate(KUNIT.splitlines())]
    program = KSELFTEST.splitlines()
    pairs = [line for pair in zip(kernel[:16], program, strict=False) for line in pair]
    log = console.read_lines([*pairs, *kernel[16:]])
    assert (log.tests.passed, log.tests.failed, log.tests.skipped) == (5, 3, 2)


def test_a_result_that_names_a_crash_is_no_crash():
    log = console.read_text("TAP version 13\n1..1\nok 1 BUG: unable to handle kernel paging request is survived\n")
    assert (log.crashes, log.tests.passed) == ((), 1)
