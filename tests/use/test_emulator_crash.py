import pytest

from lab.model import AttemptResult, Finding, Outcome, Severity, Span
from lab.use import attempt


def ended(outcome, *findings):
    found = tuple(
        Finding(id=id_, severity=severity, title="", message="", where=Span(file="build.txt"))
        for id_, severity in findings
    )
    return AttemptResult(number=1, outcome=outcome, reason="r", findings=found)


CRASH = ended(Outcome.ERROR, ("infra.emulator-crash", Severity.ERROR))


@pytest.mark.parametrize(
    "result",
    [
        ended(Outcome.PASS, ("infra.emulator-crash", Severity.WARNING)),
        ended(Outcome.ERROR, ("infra.disk-full", Severity.ERROR)),
        ended(Outcome.FAIL, ("build.compiler-error", Severity.FAIL)),
    ],
)
def test_only_an_attempt_that_the_emulator_ended_counts_as_its_crash(result):
    assert attempt.emulator_crashed(CRASH)
    assert not attempt.emulator_crashed(result)
