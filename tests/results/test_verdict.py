"""The verdict: nothing defaults to PASS, ERROR never turns into FAIL, expectations count only where they were met."""

from dataclasses import replace
from itertools import product

import pytest

from lab.errors import EnvironmentFault, ExitCode, Impossible, LabError, Untestable, UsageError
from lab.model import (
    Amplify,
    AttemptResult,
    Cell,
    Deadlines,
    DirSource,
    Emulation,
    Ending,
    Expectation,
    Finding,
    Lto,
    Make,
    NotApplicable,
    Outcome,
    Result,
    Severity,
    Span,
    StepResult,
    Until,
)
from lab.results import verdict
from lab.results.verdict import attempt_from_error, attempt_outcome, cell_result, exit_code, fault

CELL = Cell(
    id="tmpfs",
    source=DirSource(path="/usr/src/linux"),
    arch="x86_64",
    toolchain="gcc-12",
    lto=Lto.NONE,
    emulation=Emulation.NATIVE,
    filesystem="tmpfs",
    kconfig=(),
    patches=(),
    make=Make(),
    boot=None,
    repeat=1,
    deadlines=Deadlines(),
    ccache=True,
    expect=None,
    axes=(),
)


def finding(identity="modpost.undefined", severity=Severity.FAIL, message="needs 'x'", blame=""):
    return Finding(
        id=identity,
        severity=severity,
        title=identity,
        message=message,
        where=Span(file="build.txt", first=7),
        blame=blame,
    )


def step(name="build", ending=Ending.EXITED, status=0):
    return StepResult(name=name, ending=ending, status=status, seconds=1.0)


def attempt(outcome, *ids, number=1, **facts):
    found = tuple(finding(identity) for identity in ids)
    return AttemptResult(number=number, outcome=outcome, reason=f"reason {number}", findings=found, facts=facts)


BUILT = (step(),)


def outcome_of(findings=(), steps=BUILT, *, not_applicable=(), boot_expected=False, booted=False):
    return attempt_outcome(findings, not_applicable, steps, boot_expected=boot_expected, booted=booted)


# ---------------------------------------------------------------------------------------------------- of an attempt

SEVERITY_SETS = [(), *[(severity,) for severity in Severity], *product(Severity, repeat=2)]
STEP_SETS = [(), (step(),), (step(status=2),), *[(step(), step("boot", ending, -1)) for ending in Ending]]


@pytest.mark.parametrize("severities", SEVERITY_SETS, ids=lambda some: "+".join(some) or "none")
@pytest.mark.parametrize("steps", STEP_SETS, ids=lambda some: "+".join(f"{s.ending}{s.status}" for s in some) or "none")
@pytest.mark.parametrize(("boot_expected", "booted"), [*product([False, True], repeat=2)])
def test_the_whole_table_of_attempts(severities, steps, boot_expected, booted):
    outcome, reason = outcome_of(
        [finding(severity=severity) for severity in severities], steps, boot_expected=boot_expected, booted=booted
    )
    broken = any(each.ending in verdict.BROKEN_OFF for each in steps)
    well = steps and all(each.ok for each in steps) and (booted or not boot_expected)
    if Severity.ERROR in severities or broken:
        wanted = Outcome.ERROR
    elif Severity.FAIL in severities:
        wanted = Outcome.FAIL
    elif not steps:
        wanted = Outcome.MISS
    else:
        wanted = Outcome.PASS if well else Outcome.ERROR
    assert outcome is wanted
    assert reason
    assert "\n" not in reason


def test_a_failed_step_that_nothing_explains_is_not_the_kernels_fault():
    assert outcome_of(steps=[step(status=2)]) == (
        Outcome.ERROR,
        "lab.unexplained: step 'build' exited 2, and no check says why",
    )


def test_a_build_that_was_killed_is_no_failure_of_the_kernel_even_if_modpost_complains():
    outcome, reason = outcome_of([finding()], [step(ending=Ending.OUT_OF_MEMORY, status=137)])
    assert outcome is Outcome.ERROR
    assert "ended by out of memory" in reason


def test_a_boot_that_said_nothing_has_not_passed():
    assert outcome_of(boot_expected=True)[0] is Outcome.ERROR


def test_what_could_not_be_looked_at_is_told_beside_a_pass():
    gap = NotApplicable(check="kallsyms", because="KALLSYMS is not set")
    assert outcome_of(not_applicable=[gap]) == (Outcome.PASS, "built; not looked at: kallsyms")


def test_what_is_not_there_by_nature_is_no_gap():
    gap = NotApplicable(check="livepatch", because="no module of this build is a livepatch", natural=True)
    assert outcome_of(not_applicable=[gap]) == (Outcome.PASS, "built")


def test_the_reason_is_the_first_finding_and_the_number_of_the_others():
    some = [finding("build.failed", message="make failed"), finding(blame="drivers/mcb/mcb.ko"), finding()]
    assert outcome_of(some)[1] == "modpost.undefined: drivers/mcb/mcb.ko: needs 'x' (and 2 more)"


def test_a_reason_stays_one_short_line():
    reason = outcome_of([finding(message="a\nb\t" + "x" * 100_000)])[1]
    assert reason.startswith("modpost.undefined: a b x")
    assert len(reason) < 700


# -------------------------------------------------------------------------------------------------------- of a cell


@pytest.mark.parametrize(
    ("outcomes", "wanted"),
    [
        ([Outcome.PASS], Outcome.PASS),
        ([Outcome.FAIL], Outcome.FAIL),
        ([Outcome.ERROR], Outcome.ERROR),
        ([Outcome.MISS], Outcome.MISS),
        ([Outcome.SKIP], Outcome.SKIP),
        ([Outcome.PASS, Outcome.PASS, Outcome.FAIL], Outcome.FAIL),
        ([Outcome.PASS, Outcome.ERROR], Outcome.PASS),
        ([Outcome.ERROR, Outcome.FAIL], Outcome.FAIL),
        ([Outcome.MISS, Outcome.ERROR], Outcome.ERROR),
        ([], Outcome.MISS),
    ],
)
def test_attempts_become_one_outcome(outcomes, wanted):
    some = [attempt(outcome, number=number) for number, outcome in enumerate(outcomes, 1)]
    assert cell_result(replace(CELL, repeat=max(1, len(some))), some).outcome is wanted


def test_an_intermittent_failure_says_how_often():
    some = [attempt(Outcome.PASS), attempt(Outcome.FAIL, number=2), attempt(Outcome.PASS, number=3)]
    result = cell_result(replace(CELL, repeat=3), some)
    assert result.reason == "flaky, 1 of 3 attempts failed (6 to 79 %): reason 2"
    assert result.flaky


def test_a_pass_of_many_says_what_it_rules_out():
    some = [attempt(Outcome.PASS, number=number) for number in range(1, 21)]
    result = cell_result(replace(CELL, repeat=20), some)
    assert (result.outcome, result.reason) == (Outcome.PASS, "reason 1; 0 of 20 (0 to 16 %) failed")
    assert not result.flaky


def test_attempts_that_were_not_judged_count_for_no_rate():
    some = [
        attempt(Outcome.FAIL, "modpost.undefined"),
        attempt(Outcome.ERROR, number=2),
        attempt(Outcome.PASS, number=3),
    ]
    result = cell_result(replace(CELL, repeat=3), some)
    assert (result.rate.failures, result.rate.trials) == (1, 2)
    assert [(one.id, one.rate.failures, one.rate.trials) for one in result.rates] == [("modpost.undefined", 1, 2)]


def test_a_fault_joined_to_another_has_its_rate_too():
    story = replace(finding("timestamps.tie"), joined=(finding("modpost.undefined", blame="a.ko"),))
    some = [
        replace(attempt(Outcome.FAIL), findings=(story,)),
        replace(attempt(Outcome.FAIL, number=2), findings=(finding("timestamps.tie"),)),
    ]
    rates = {one.id: one.rate.failures for one in cell_result(replace(CELL, repeat=2), some).rates}
    assert rates == {"timestamps.tie": 2, "modpost.undefined": 1}


def test_an_amplified_rate_says_so_wherever_it_is_told():
    cell = replace(CELL, repeat=2, amplify=Amplify(load=2))
    flaky = cell_result(cell, [attempt(Outcome.FAIL), attempt(Outcome.PASS, number=2)])
    assert flaky.reason == "flaky, 1 of 2 attempts failed (9 to 91 %, amplified): reason 1"
    assert flaky.amplified == "load=2"
    passed = cell_result(cell, [attempt(Outcome.PASS), attempt(Outcome.PASS, number=2)])
    assert passed.reason.endswith("0 of 2 (0 to 66 %, amplified) failed")
    asked = replace(cell, until=Until(width=0.99, finding="modpost.undefined"))
    assert "modpost.undefined in 0 of 2 (0 to 66 %, amplified)" in cell_result(asked, passed.attempts).reason
    assert cell_result(CELL, [attempt(Outcome.PASS)]).amplified == ""


def test_a_cell_that_was_to_be_executed_once_has_no_rate():
    assert cell_result(CELL, [attempt(Outcome.FAIL, "modpost.undefined")]).rate is None


FIRST = replace(CELL, repeat=50, until=Until(first_failure=True))
NARROW = replace(CELL, repeat=50, until=Until(width=0.4))


def test_an_end_that_was_reached_leaves_no_attempt_missing():
    some = [attempt(Outcome.PASS), attempt(Outcome.FAIL, number=2)]
    assert cell_result(FIRST, some).outcome is Outcome.FAIL
    passed = [attempt(Outcome.PASS, number=number) for number in range(1, 20)]
    assert cell_result(NARROW, passed).outcome is Outcome.PASS


def test_an_end_that_was_not_reached_is_no_pass():
    assert cell_result(FIRST, [attempt(Outcome.PASS)]).outcome is Outcome.MISS


UNDEFINED = "modpost.undefined"


def unguarded(*undefined):
    """Attempts that all fail, as the tie is there whether or not the build was lucky; a part of them is undefined, too."""
    told = (finding("timestamps.tie"), replace(finding("timestamps.tie"), joined=(finding(UNDEFINED, blame="a.ko"),)))
    return [
        replace(attempt(Outcome.FAIL, number=number), findings=(told[unlucky],))
        for number, unlucky in enumerate(undefined, 1)
    ]


def test_the_rate_of_a_finding_is_not_that_of_failing():
    cell = replace(CELL, repeat=4, until=Until(width=0.9, finding=UNDEFINED))
    result = cell_result(cell, unguarded(0, 1, 0, 0))
    assert result.outcome is Outcome.FAIL
    assert result.reason == "4 of 4 attempts failed (51 to 100 %): reason 1; modpost.undefined in 1 of 4 (5 to 70 %)"
    first = result.rates[0]
    assert (first.id, first.blame, first.rate.failures, first.rate.trials) == (UNDEFINED, "", 1, 4)


def test_an_interval_that_a_finding_lacks_is_told_of_a_failing_cell_too():
    cell = replace(CELL, repeat=4, until=Until(width=0.2, finding=UNDEFINED))
    assert cell_result(cell, unguarded(0, 1, 0, 0)).reason.endswith("; more attempts are needed for an interval of 0.2")


def test_an_interval_wider_than_asked_is_told():
    some = [attempt(Outcome.PASS, number=number) for number in range(1, 4)]
    result = cell_result(replace(NARROW, repeat=3), some)
    assert result.outcome is Outcome.PASS
    assert result.reason.endswith("; more attempts are needed for an interval of 0.4")


def test_a_cell_of_which_attempts_are_missing_has_not_passed():
    result = cell_result(replace(CELL, repeat=3), [attempt(Outcome.PASS)])
    assert (result.outcome, result.reason) == (Outcome.MISS, "1 of 3 attempts ran")


def test_attempts_lost_to_the_machine_are_told_beside_the_pass():
    some = [attempt(Outcome.PASS), attempt(Outcome.ERROR, number=2)]
    assert cell_result(replace(CELL, repeat=2), some).reason == "reason 1; 1 of 2 attempts could not be judged"


EXPECTED = Expectation(outcome=Outcome.FAIL, findings=("timestamps.tie",))


@pytest.mark.parametrize(
    ("expect", "made", "wanted"),
    [
        (EXPECTED, attempt(Outcome.FAIL, "timestamps.tie"), Outcome.XFAIL),
        (EXPECTED, attempt(Outcome.FAIL, "timestamps.tie", "modpost.undefined"), Outcome.XFAIL),
        (EXPECTED, attempt(Outcome.FAIL, "build.compiler"), Outcome.FAIL),
        (EXPECTED, attempt(Outcome.PASS), Outcome.XPASS),
        (EXPECTED, attempt(Outcome.ERROR, "timestamps.tie"), Outcome.ERROR),
        (EXPECTED, attempt(Outcome.MISS), Outcome.MISS),
        (Expectation(outcome=Outcome.FAIL), attempt(Outcome.FAIL, "any.thing"), Outcome.XFAIL),
        (Expectation(outcome=Outcome.FAIL, findings=("a.b", "c.d")), attempt(Outcome.FAIL, "a.b"), Outcome.FAIL),
        (Expectation(outcome=Outcome.ERROR), attempt(Outcome.ERROR), Outcome.XFAIL),
        (Expectation(outcome=Outcome.ERROR), attempt(Outcome.FAIL), Outcome.FAIL),
        (Expectation(outcome=Outcome.SKIP), attempt(Outcome.SKIP), Outcome.SKIP),
        (Expectation(outcome=Outcome.SKIP), attempt(Outcome.PASS), Outcome.XPASS),
    ],
)
def test_an_expectation_counts_only_where_it_was_met(expect, made, wanted):
    assert cell_result(replace(CELL, expect=expect), [made]).outcome is wanted


def test_an_image_that_cannot_be_built_makes_the_cell_an_error_with_its_finding():
    result = cell_result(CELL, [], EnvironmentFault("no space left", finding="infra.disk-full"))
    assert (result.outcome, result.reason) == (Outcome.ERROR, "infra.disk-full: no space left")
    assert result.findings[0].severity is Severity.ERROR
    assert not result.untestable


def test_a_patch_that_does_not_apply_makes_the_cell_untestable():
    result = cell_result(CELL, [], Untestable("patch 'x' does not apply"))
    assert result.outcome is Outcome.ERROR
    assert result.untestable


def test_an_attempt_that_could_not_be_configured_makes_the_cell_untestable():
    assert cell_result(CELL, [attempt_from_error(1, Untestable("'olddefconfig' exited 2"))]).untestable


def test_a_kernel_that_cannot_be_is_a_skip_and_no_fault():
    result = cell_result(CELL, [], Impossible("linux 5.10 has no LTO"))
    assert (result.outcome, result.reason) == (Outcome.SKIP, "linux 5.10 has no LTO")
    assert not result.untestable
    assert result.findings[0].severity is Severity.NOTE
    assert attempt_from_error(1, Impossible("x")).outcome is Outcome.SKIP


def test_a_file_that_is_not_there_is_the_requests_fault():
    result = cell_result(CELL, [], UsageError("no such tarball: 'x'"))
    assert (result.outcome, result.reason) == (Outcome.ERROR, "lab.request: no such tarball: 'x'")
    assert exit_code([result]) == ExitCode.USAGE
    assert exit_code([result, UNTESTABLE]) == ExitCode.USAGE
    assert exit_code([result, cell_result(CELL, [], EnvironmentFault("no engine"))]) == ExitCode.LAB_FAULT


def test_a_bug_of_ours_keeps_its_traceback():
    try:
        raise KeyError("key")
    except KeyError as error:
        found = fault(error)
    assert found.id == "lab.bug"
    assert "test_a_bug_of_ours" in found.data["traceback"]


def test_a_full_disk_that_nobody_expected_is_no_bug_of_ours():
    result = cell_result(CELL, [], OSError(28, "No space left on device", "/cache/used/x"))
    assert (result.outcome, result.findings[0].id) == (Outcome.ERROR, "infra.disk-full")
    assert result.reason == "infra.disk-full: cannot use '/cache/used/x': No space left on device"


def test_facts_and_hint_of_an_error_are_kept():
    found = fault(LabError("no answer", facts=(("socket", "/run/docker.sock"),), hint="start it"))
    assert found.because == ("socket: /run/docker.sock",)
    assert found.data["hint"] == "start it"


# --------------------------------------------------------------------------------------------------------- of a run


def result(outcome, *, untestable=False):
    return Result(cell="c", outcome=outcome, reason="", untestable=untestable)


UNTESTABLE = result(Outcome.ERROR, untestable=True)


@pytest.mark.parametrize(
    ("results", "wanted"),
    [
        ([], ExitCode.LAB_FAULT),
        ([result(Outcome.PASS), result(Outcome.XFAIL), result(Outcome.SKIP)], ExitCode.AS_EXPECTED),
        ([result(Outcome.SKIP)], ExitCode.UNTESTABLE),
        ([result(Outcome.FAIL)], ExitCode.KERNEL_FAULT),
        ([result(Outcome.XPASS)], ExitCode.KERNEL_FAULT),
        ([result(Outcome.FAIL), result(Outcome.ERROR), UNTESTABLE], ExitCode.KERNEL_FAULT),
        ([result(Outcome.PASS), result(Outcome.ERROR)], ExitCode.LAB_FAULT),
        ([result(Outcome.PASS), result(Outcome.MISS)], ExitCode.LAB_FAULT),
        ([UNTESTABLE], ExitCode.UNTESTABLE),
        ([UNTESTABLE, result(Outcome.PASS)], ExitCode.UNTESTABLE),
        ([UNTESTABLE, result(Outcome.ERROR)], ExitCode.LAB_FAULT),
    ],
)
def test_a_run_ends_by_the_table(results, wanted):
    assert exit_code(results) is wanted
