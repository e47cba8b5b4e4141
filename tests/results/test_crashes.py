import dataclasses

import pytest

from lab.model import (
    AttemptResult,
    Cell,
    Deadlines,
    DirSource,
    Emulation,
    Expectation,
    Finding,
    Lto,
    Make,
    Outcome,
    Severity,
    Span,
    Until,
)  # fmt: skip
from lab.results import crashes, verdict

CELL = Cell(
    id="tmpfs", source=DirSource(path="/usr/src/linux"), arch="x86_64", toolchain="gcc-12", lto=Lto.NONE, axes=(),
    emulation=Emulation.NATIVE, filesystem="tmpfs", kconfig=(), patches=(), make=Make(), boot=None, repeat=1,
    deadlines=Deadlines(), ccache=True, expect=None,
)  # fmt: skip
WHERE = Span(file="build.txt", first=12, last=14)
MESSAGE = "internal compiler error: Segmentation fault"


def finding(id_, severity, blame="lib/ctype.o", message=MESSAGE, **more):
    return Finding(id=id_, severity=severity, title="", message=message, where=WHERE, blame=blame, **more)


def ended(outcome, *findings, reason="r", **facts):
    return AttemptResult(number=1, outcome=outcome, reason=reason, findings=findings, facts=facts)


CLOCK = finding("infra.clock", Severity.ERROR, message="the machine's clock was set back by 5 s")
EMULATOR = finding("infra.emulator-crash", Severity.ERROR)
TOOL = finding("build.toolchain-crash", Severity.FAIL)
OTHER = finding("build.compiler", Severity.FAIL)


@pytest.mark.parametrize(
    ("outcome", "findings"),
    [
        (Outcome.ERROR, [EMULATOR]),
        (Outcome.ERROR, [CLOCK]),
        (Outcome.ERROR, [OTHER, EMULATOR]),
        (Outcome.FAIL, [TOOL]),
        (Outcome.FAIL, [finding("modpost.license", Severity.WARNING), finding("build.failed", Severity.FAIL), TOOL]),
    ],
)
def test_an_attempt_that_a_crash_ended_is_made_again(outcome, findings):
    assert crashes.crash_of(ended(outcome, *findings)) in (EMULATOR, TOOL, CLOCK)


@pytest.mark.parametrize(
    ("outcome", "findings"),
    [
        (Outcome.PASS, [dataclasses.replace(EMULATOR, severity=Severity.WARNING)]),
        (Outcome.PASS, [dataclasses.replace(TOOL, severity=Severity.WARNING)]),
        (Outcome.ERROR, [finding("infra.disk-full", Severity.ERROR, joined=(TOOL,)), TOOL]),
        (Outcome.FAIL, [OTHER]),
        (Outcome.FAIL, [TOOL, OTHER]),
        (Outcome.FAIL, [TOOL, finding("timestamps.tie", Severity.FAIL)]),
        (Outcome.MISS, []),
    ],
)
def test_an_attempt_that_has_another_verdict_beside_the_crash_is_not(outcome, findings):
    """A fault of the kernel has its own proof, which a second attempt might miss by luck."""
    assert crashes.crash_of(ended(outcome, *findings)) is None


def test_a_crash_that_the_matrix_expects_or_counts_is_not_made_good():
    wanted = Expectation(outcome=Outcome.FAIL, findings=("build.toolchain-crash",))
    assert not crashes.asked_for(TOOL, CELL)
    assert crashes.asked_for(TOOL, dataclasses.replace(CELL, expect=wanted))
    assert not crashes.asked_for(EMULATOR, dataclasses.replace(CELL, expect=wanted))
    assert crashes.asked_for(TOOL, dataclasses.replace(CELL, until=Until(finding="build.toolchain-crash")))
    assert not crashes.asked_for(TOOL, dataclasses.replace(CELL, until=Until(first_failure=True)))


@pytest.mark.parametrize("crash", [EMULATOR, TOOL, CLOCK])
@pytest.mark.parametrize("second", [ended(Outcome.PASS, kernel="6.1"), ended(Outcome.FAIL, OTHER)])
def test_after_a_crash_that_does_not_come_again_the_second_verdict_counts_and_the_crash_stays_a_warning(crash, second):
    crash = dataclasses.replace(crash, joined=(OTHER,))
    first = ended(Outcome.FAIL, crash, reason="it crashed")
    told = crashes.made_again(first, crash, second, "1.aside-2")
    assert (told.outcome, told.reason) == (second.outcome, second.reason)
    assert told.facts == {**second.facts, "retried_after": "it crashed"}
    *others, warning = told.findings
    assert tuple(others) == second.findings
    assert (warning.id, warning.severity, warning.joined) == (crash.id, Severity.WARNING, ())
    assert warning.where == Span(file="../1.aside-2/build.txt", first=12, last=14)
    assert "did not come again" in warning.because[-1]
    assert verdict.attempt_outcome(told.findings, (), (), boot_expected=False, booted=False)[0] is not Outcome.ERROR


def test_a_clock_that_is_set_twice_stays_the_machines_fault():
    second = ended(Outcome.ERROR, CLOCK, reason="set again")
    told = crashes.made_again(ended(Outcome.ERROR, CLOCK), CLOCK, second, "1.aside-1")
    assert told.outcome is Outcome.ERROR
    assert told.findings[0].because == ("the attempt was repeated after the machine's clock was set back by 5 s",)


@pytest.mark.parametrize(
    ("again", "words"),
    [
        (TOOL, "again in the same place"),
        (dataclasses.replace(TOOL, blame="mm/slub.o"), "at 'lib/ctype.o': internal compiler error"),
        (dataclasses.replace(TOOL, message="internal compiler error: in extract_insn"), "more often the machine"),
    ],
)
def test_a_crash_that_comes_again_is_the_verdict_and_tells_whether_the_place_is_the_same(again, words):
    second = ended(Outcome.FAIL, again, OTHER, reason="crashed again")
    told = crashes.made_again(ended(Outcome.FAIL, TOOL, reason="crashed"), TOOL, second, "1.aside-1")
    assert (told.outcome, told.reason, told.facts["retried_after"]) == (Outcome.FAIL, "crashed again", "crashed")
    assert words in told.findings[0].because[-1]
    assert [dataclasses.replace(one, because=()) for one in told.findings] == list(second.findings)
