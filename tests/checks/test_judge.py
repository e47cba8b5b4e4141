import sys
from pathlib import Path

from lab import checks
from lab.evidence.bundle import Evidence
from lab.model import Finding, NotApplicable, Severity, Span

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
from synthetic_tree import Tree

FOUND = Finding(id="modpost.undefined", severity=Severity.FAIL, title="", message="", where=Span(file=""))


def broken(evidence):
    yield FOUND
    raise KeyError("no such section")


def test_a_check_that_crashes_is_an_error_and_keeps_what_it_had_found(tmp_path):
    check = checks.Check(name="broken", ids=(), run=broken)
    findings, _ = checks.judge(Evidence(Tree(tmp_path).done().root), (check,))
    assert [(one.id, one.severity) for one in findings] == [
        ("modpost.undefined", Severity.FAIL),
        ("lab.check-crashed", Severity.ERROR),
    ]
    assert "no such section" in findings[1].message


def test_a_check_that_the_machine_stopped_did_not_crash(tmp_path):
    def starved(evidence):
        raise MemoryError

    check = checks.Check(name="starved", ids=(), run=starved)
    (finding,), _ = checks.judge(Evidence(Tree(tmp_path).done().root), (check,))
    assert (finding.id, finding.severity) == ("infra.out-of-memory", Severity.ERROR)
    assert "'starved' could not look" in finding.message


def test_what_could_not_look_is_kept_apart_from_what_was_found(tmp_path):
    answer = NotApplicable(check="x", because="nothing there")
    check = checks.Check(name="x", ids=(), run=lambda _: [answer])
    assert checks.judge(Evidence(Tree(tmp_path).done().root), (check,)) == ((), (answer,))


def test_a_family_s_own_check_has_the_word(tmp_path):
    guess = checks.Check(name="build", ids=(), run=lambda _: [FOUND])
    own = checks.Check(name="modpost", ids=(), run=lambda _: [FOUND, FOUND])
    findings, _ = checks.judge(Evidence(Tree(tmp_path).done().root), (guess, own))
    assert findings == (FOUND, FOUND)


def test_every_check_of_ours_is_listed_in_the_order_of_telling():
    told = "infra config build link modpost exports timestamps certificate clock remake kallsyms objtool livepatch modules boot"
    assert [check.name for check in checks.CHECKS] == told.split()


def test_every_check_survives_an_empty_output_directory(tmp_path):
    tmp_path.joinpath(".config").write_text("")
    findings, not_applicable = checks.judge(Evidence(tmp_path))
    assert "lab.check-crashed" not in {finding.id for finding in findings}
    assert not_applicable
