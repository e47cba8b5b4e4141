"""The table and the findings as people read them."""

import re
from dataclasses import replace

from lab.model import AttemptResult, Finding, FindingRate, NotApplicable, Outcome, Rate, Result, Severity, Span
from lab.report.judged import judged
from lab.report.text import findings_text, judged_text, run_text

UNDEFINED = Finding(
    id="modpost.undefined",
    severity=Severity.FAIL,
    title="undefined symbol",
    message="needs 'pci_user_read_config_byte'; drivers/pci/access.o defines it, Module.symvers does not list it",
    where=Span(file="build.txt", first=4181, last=4181),
    blame="drivers/vfio/pci/vfio-pci-core.ko",
    because=("TRIM_UNUSED_KSYMS=y, and the list of used symbols is older than the module",),
)
FAILED = AttemptResult(number=1, outcome=Outcome.FAIL, reason="r", findings=(UNDEFINED,), folder="ext4/1")
RESULTS = (
    Result(cell="tmpfs", outcome=Outcome.PASS, reason="built and booted", seconds=102.0),
    Result(cell="ext4", outcome=Outcome.XFAIL, reason="modpost.undefined: needs 'x'", attempts=(FAILED,), seconds=9.0),
    Result(cell="image-lost", outcome=Outcome.ERROR, reason="infra.disk-full: no space left"),
)


def test_the_table_tells_outcome_cell_time_reason_and_proof():
    assert run_text(RESULTS, report="results/r/report.html") == (
        "outcome  cell        time        reason\n"
        "PASS     tmpfs       1 min 42 s  built and booted\n"
        "XFAIL    ext4             9.0 s  modpost.undefined: needs 'x'\n"
        "                                 proof  ext4/1/build.txt:4181\n"
        "ERROR    image-lost              infra.disk-full: no space left\n"
        "\n"
        "3 cells: 1 PASS, 1 XFAIL, 1 ERROR\n"
        "report: results/r/report.html\n"
    )


def test_a_proof_that_is_there_is_a_path_from_here(tmp_path):
    (tmp_path / "ext4/1").mkdir(parents=True)
    (tmp_path / "ext4/1/build.txt").touch()
    assert f"proof  {tmp_path}/ext4/1/build.txt:4181\n" in run_text(RESULTS, folder=tmp_path)


def test_a_proof_that_lies_in_the_output_directory_is_told_without_a_folder(tmp_path):
    assert "proof  build.txt:4181\n" in run_text(RESULTS, folder=tmp_path)


def test_colour_changes_no_word():
    coloured = run_text(RESULTS, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == run_text(RESULTS)


def test_what_made_races_likelier_is_told_with_what_it_did_and_what_never_came():
    waits = {"slow touch": 7, "slow tuoch": 0, "align ccache": 1, "missed ccache": 0}
    rate = Rate(failures=1, trials=2, low=0.09, high=0.91)
    attempts = tuple(
        replace(FAILED, number=number, facts={"amplified": {"what": "load=2", "waits": waits}}) for number in (1, 2)
    )
    result = replace(
        RESULTS[1], attempts=attempts, rate=rate, amplified="load=2",
        rates=(FindingRate(id="modpost.undefined", blame="", function="", rate=rate),),
    )  # fmt: skip
    text = run_text([result])
    assert "amplified  load=2; waited: slow touch 14 times, slow tuoch never, align ccache 2 times\n" in text
    assert "rate   1 of 2 (9 to 91 %, amplified) modpost.undefined\n" in text
    assert "amplified" not in run_text([RESULTS[1]])


def test_facts_of_another_form_are_passed_over():
    for fact in (None, "x", {"waits": 3}, {"waits": {"slow touch": "many"}}, {}):
        attempt = replace(FAILED, facts={"amplified": fact})
        result = replace(RESULTS[1], attempts=(attempt,), amplified="load=2")
        assert "amplified  load=2\n" in run_text([result])


def test_no_results_are_told_as_none():
    assert run_text([]) == "outcome  cell  time  reason\n\n0 cells\n"


def test_a_long_reason_stays_in_its_line():
    result = Result(cell="c", outcome=Outcome.FAIL, reason="word " * 100)
    assert len(run_text([result]).splitlines()) == 4


def test_findings_read_like_a_bug_report():
    assert findings_text([UNDEFINED]) == (
        "FAIL modpost.undefined  drivers/vfio/pci/vfio-pci-core.ko\n"
        "  needs 'pci_user_read_config_byte'; drivers/pci/access.o defines it, Module.symvers does not list it\n"
        "  because  TRIM_UNUSED_KSYMS=y, and the list of used symbols is older than the module\n"
        "  proof    build.txt:4181\n"
    )


def test_what_could_not_be_looked_at_is_told():
    gap = NotApplicable(check="kallsyms", because="CONFIG_KALLSYMS is not set")
    text = judged_text(judged([], [gap], ("build", "kallsyms")))
    assert text == "not applicable  kallsyms: CONFIG_KALLSYMS is not set\nPASS  nothing found by: build\n"


def test_a_hostile_finding_moves_no_cursor_and_marks_nothing_up():
    hostile = "[red]\x1b[2J\x1b]0;title\x07[/nonsense] :boom: \u202eevil\x00"
    finding = Finding(
        id="build.failed",
        severity=Severity.FAIL,
        title=hostile,
        message=hostile + "\nsecond\n" * 100,
        where=Span(file=hostile, first=1),
        blame=hostile,
        function=hostile,
        because=(hostile,),
        data={"place": hostile},
    )
    text = findings_text([finding])
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red][/nonsense] :boom: <U+202E>evil" in text
    assert len(text.splitlines()) < 40
