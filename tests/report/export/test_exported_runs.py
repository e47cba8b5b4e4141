"""A run for other people's programs: the real consumers take it, and strangers' words stay words."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from email import message_from_bytes, policy
from pathlib import Path

import junitparser
import kcidb_io
import pytest
import synthetic_runs
from markdown_it import MarkdownIt

from lab.cli.faces import exported
from lab.errors import UsageError
from lab.model import (
    AttemptResult,
    Boot,
    Ending,
    Expectation,
    Finding,
    GitSource,
    NotApplicable,
    Outcome,
    Patch,
    Result,
    Severity,
    Span,
    StepResult,
)
from lab.report.export.junit import junit
from lab.report.export.kcidb import STATUS, kcidb
from lab.report.export.mail import Envelope, mail
from lab.report.export.markdown import markdown
from lab.report.export.told import EXCERPT_AT_MOST_BYTES, Told, bounded
from lab.report.page import Line
from lab.results.verdict import cell_result

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HOSTILE = 'x\0\x1b[31m</testcase><![CDATA[]]>|`"```\n\n# @torvalds http://evil.example <img src=x> \ud800\u202e\ufffe'
LINES = (Line(number=4, text="  CC  a.o", proof=False), Line(number=5, text="a.c:1: error: x", proof=True))


def finding(identity="modpost.undefined", severity=Severity.FAIL, **changes):
    words = {
        "title": "undefined symbol",
        "message": "needs 'x'",
        "blame": "drivers/a.ko",
        "where": Span(file="build.txt", first=5, last=5),
    }
    return Finding(id=identity, severity=severity, **(words | changes))


def step(name, *, status=0):
    return StepResult(
        name=name, ending=Ending.EXITED, status=status, seconds=2.0, argv=("make", "-j2", "CC=ccache gcc-12")
    )


def attempt(outcome, *found, steps=("olddefconfig", "build"), failed=""):
    return AttemptResult(
        number=1,
        outcome=outcome,
        reason=found[0].message if found else "built",
        findings=found,
        seconds=4.0,
        folder="cell/1",
        steps=tuple(step(name, status=2 if name == failed else 0) for name in steps),
        not_applicable=(NotApplicable(check="boot", because="no"),),
        facts={"granularity_ns": 9, "accel": "tcg", "machine": "pc"},
    )


def told(*pairs, record=None, lines=LINES):
    facts = synthetic_runs.facts(tuple(cell for cell, _ in pairs), 0)
    return Told(
        facts=facts,
        results={result.cell: result for _, result in pairs},
        lines=lambda *_: lines,
        record=lambda _: record or {},
    )


def cell(number=0, **changes):
    return replace(synthetic_runs.cells(number + 1)[number], **changes)


def judged(outcome, *found, number=0, expect=None, **changes):
    one = cell(number, expect=expect, boot=Boot() if "boot" in changes.get("steps", ()) else None)
    return one, cell_result(one, (attempt(outcome, *found, **changes),))


BOOTED = ("olddefconfig", "build", "boot")
OOPS = finding("boot.oops", blame="fs/autofs/autofs4.ko", function="f", title="oops")
MEMORY = finding("infra.out-of-memory", Severity.ERROR, blame="")
CRASH = finding("build.toolchain-crash", blame="a.o")


def document(run, **options):
    made = json.loads(exported(run, "kcidb", "kbuild_lab", "", Envelope(sender="a@b")))
    kcidb_io.schema.V5_3.validate(made)
    assert made == json.loads(json.dumps(kcidb(run, **options)))
    return made


@pytest.mark.parametrize(
    ("pair", "build", "test"),
    [
        (judged(Outcome.PASS), "PASS", None),
        (judged(Outcome.PASS, steps=BOOTED), "PASS", "PASS"),
        (judged(Outcome.FAIL, finding(), failed="build"), "FAIL", None),
        (judged(Outcome.FAIL, OOPS, steps=BOOTED, failed="boot"), "PASS", "FAIL"),
        (judged(Outcome.FAIL, finding(), steps=BOOTED), "FAIL", "PASS"),
        (judged(Outcome.FAIL, finding(joined=(OOPS,)), steps=BOOTED, failed="boot"), "FAIL", "FAIL"),
        (judged(Outcome.ERROR, MEMORY, failed="build"), "ERROR", None),
        (
            judged(Outcome.ERROR, finding("infra.qemu-lost", Severity.ERROR), steps=BOOTED, failed="boot"),
            "ERROR",
            "ERROR",
        ),
        (judged(Outcome.FAIL, finding(), expect=Expectation(outcome=Outcome.FAIL), failed="build"), "FAIL", None),
    ],
)
def test_kcidb_blames_the_build_or_its_boot(pair, build, test):
    made = document(told(pair))
    assert [one["status"] for one in made["builds"]] == [build]
    assert [one["status"] for one in made.get("tests", ())] == ([test] if test else [])
    assert {one["build_id"] for one in made.get("tests", ())} <= {one["id"] for one in made["builds"]}
    assert made["builds"][0]["checkout_id"] == made["checkouts"][0]["id"]


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.MISS, Outcome.SKIP])
def test_kcidb_has_a_build_of_a_cell_that_never_ran(outcome):
    one = cell()
    made = document(told((one, Result(cell=one.id, outcome=outcome, reason="because"))))
    assert [(build["status"], build["comment"]) for build in made["builds"]] == [(STATUS[outcome], "because")]


@pytest.mark.parametrize(
    ("found", "culprit"), [(finding(), "code"), (OOPS, "code"), (CRASH, "tool"), (MEMORY, "harness")]
)
def test_kcidb_issues_name_one_culprit(found, culprit):
    outcome = Outcome.ERROR if found.severity is Severity.ERROR else Outcome.FAIL
    made = document(told(judged(outcome, found, steps=BOOTED)))
    (issue,) = made["issues"]
    assert [layer for layer, guilty in issue["culprit"].items() if guilty] == [culprit]
    (incident,) = made["incidents"]
    assert incident["issue_id"] == issue["id"]
    assert incident["present"] is True


def test_kcidb_counts_one_fault_of_many_cells_as_one_issue_and_each_as_an_incident():
    twice = (finding(), finding(where=Span(file="build.txt", first=9, last=9)))
    made = document(
        told(judged(Outcome.FAIL, *twice, failed="build"), judged(Outcome.FAIL, finding(), number=1, failed="build"))
    )
    assert len(made["issues"]) == 1
    assert len(made["incidents"]) == 2
    warning = finding("objtool.warning", Severity.WARNING)
    assert "issues" not in document(told(judged(Outcome.PASS, warning)))


def test_kcidb_names_commit_patches_rate_and_what_was_expected():
    expect = Expectation(outcome=Outcome.FAIL, findings=("modpost.undefined",))
    one = cell(
        source=GitSource(repository="https://git.example.org/linux.git", rev="v6.12-rc3"),
        expect=expect,
        patches=(Patch(name="p", text="--- a/x\n"),),
        repeat=2,
    )
    result = cell_result(one, (attempt(Outcome.FAIL, finding()), replace(attempt(Outcome.PASS), number=2)))
    made = document(
        told((one, result), record={"source_origin": f"linux.git v6.12-rc3 {COMMIT}", "kernel_version": "6.12.0-rc3"})
    )
    checkout = made["checkouts"][0]
    assert checkout["git_commit_hash"] == COMMIT
    assert checkout["git_commit_name"] == "v6.12-rc3"
    assert checkout["git_repository_url"] == "https://git.example.org/linux.git"
    # what the schema's own command gives: sha256sum *.patch | cut -c-64 | sha256sum | cut -c-64
    assert checkout["patchset_hash"] == "0c044f3761fd3adab0d03125b2430ac6bb169bedb2f4c31b505719b576bf3475"
    assert made["builds"][0]["misc"]["expected"] == {"outcome": "FAIL", "findings": ["modpost.undefined"]}
    assert made["builds"][0]["misc"]["rate"]["trials"] == 2


def test_kcidb_of_a_tree_without_git_claims_no_commit():
    made = document(told(judged(Outcome.PASS), record={"source_origin": f"dir {COMMIT}", "kernel_version": "6.1.1"}))
    assert not {"git_commit_hash", "git_commit_name", "git_repository_url"} & made["checkouts"][0].keys()


def test_kcidb_takes_strangers_words_and_long_logs():
    line = Line(number=5, text=HOSTILE + "ö" * 400, proof=True)
    bad = finding(HOSTILE, message=HOSTILE, blame=HOSTILE, function=HOSTILE, title=HOSTILE, because=(HOSTILE,))
    made = document(told(judged(Outcome.FAIL, bad, failed="build"), lines=(line,) * 200))
    excerpt = made["builds"][0]["log_excerpt"]
    assert 16000 < len(excerpt.encode()) <= EXCERPT_AT_MOST_BYTES
    assert "\0" not in json.dumps(made)


@pytest.mark.parametrize(("text", "at_most", "found"), [("abc", 2, "ab"), ("aö", 2, "a"), ("ö", 2, "ö"), ("", 2, "")])
def test_excerpts_are_cut_between_characters(text, at_most, found):
    assert bounded(text, at_most) == found


def test_an_origin_that_kcidb_does_not_take_is_the_users_mistake():
    with pytest.raises(UsageError, match="origin"):
        exported(told(judged(Outcome.PASS)), "kcidb", "Not-Good", "", Envelope(sender="a@b"))


EVERYTHING = (
    judged(Outcome.PASS),
    judged(Outcome.FAIL, finding(), number=1, failed="build"),
    judged(Outcome.ERROR, MEMORY, number=2, failed="build"),
    judged(Outcome.FAIL, finding(), number=3, expect=Expectation(outcome=Outcome.FAIL)),
    judged(Outcome.PASS, number=4, expect=Expectation(outcome=Outcome.FAIL)),
    (cell(5), Result(cell=cell(5).id, outcome=Outcome.SKIP, reason="no such kernel")),
    (cell(6), Result(cell=cell(6).id, outcome=Outcome.MISS, reason="never ran")),
)


def test_junit_is_read_by_a_consumer_and_counted_as_pytest_counts():
    suites = junitparser.JUnitXml.fromstring(junit(told(*EVERYTHING)))
    (suite,) = list(suites)
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (7, 2, 2, 2)
    kinds = [[(type(one).__name__, one.type) for one in case.result] for case in suite]
    assert kinds == [
        [],
        [("Failure", "FAIL")],
        [("Error", "ERROR")],
        [("Skipped", "pytest.xfail")],
        [("Failure", "XPASS")],
        [("Skipped", "SKIP")],
        [("Error", "MISS")],
    ]
    case = list(suite)[1]
    assert "a.c:1: error: x" in case.result[0].text
    axes = {one.get("name"): one.get("value") for one in case._elem.iter("property")}
    assert axes["filesystem"] == "tmpfs"


def test_junit_and_markdown_take_strangers_words():
    bad = finding(HOSTILE, message=HOSTILE, blame=HOSTILE, because=(HOSTILE,))
    run = told(judged(Outcome.FAIL, bad, failed="build"), lines=(Line(number=1, text=HOSTILE, proof=True),))
    (suite,) = list(junitparser.JUnitXml.fromstring(junit(run)))
    assert "</testcase>" in next(iter(suite)).result[0].text
    page = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(markdown(run))
    for element in ("<img", "<a ", "<h1"):
        assert element not in page
    outside = re.split(r"</?code[^>]*>", page)[::2]
    assert not any("@torvalds" in part or "evil" in part for part in outside), "mentions and links only stand in code"


def test_markdown_has_the_worst_first_and_proof_of_what_is_not_expected():
    text = markdown(told(*EVERYTHING))
    outcomes = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][2:]
    assert outcomes == ["FAIL", "XPASS", "ERROR", "MISS", "XFAIL", "PASS", "SKIP"]
    assert "```text\n  CC  a.o\na.c:1: error: x\n```" in text
    assert "`lab explain modpost.undefined`" in text


ENVELOPE = Envelope(
    sender="A B <a@example.org>",
    to=("x@example.org",),
    cc=("y@example.org",),
    tree="stable:linux-6.1.y",
    introduced="v6.0..v6.1",
    link="https://lore.kernel.org/r/1@2",
)


def test_a_mail_has_the_robots_layout_and_regzbots_lines_apart():
    pair = judged(Outcome.FAIL, finding(because=("it is " + "so " * 40,)), failed="build")
    raw = mail(told(pair), *pair, ENVELOPE)
    message = message_from_bytes(raw, policy=policy.default)
    assert message["Subject"] == "[stable:linux-6.1.y] drivers/a.ko: undefined symbol"
    assert message["Cc"] == "y@example.org, regressions@lists.linux.dev"
    body = message.get_content()
    order = [
        "tree:",
        "commit:",
        "config:",
        "compiler:",
        "reproduce:",
        "| Reported-by: A B",
        "| Closes: https",
        "modpost.undefined:",
        ">> a.c:1: error: x",
        "#regzbot introduced: v6.0..v6.1",
        "#regzbot title:",
    ]
    places = [body.index(word) for word in order]
    assert places == sorted(places)
    assert "\n\n#regzbot introduced: v6.0..v6.1\n\n#regzbot title: " in body
    assert all(len(line) <= 75 for line in body.splitlines() if not line.startswith(("command", ">>", "#")))


def test_a_mail_tells_regzbot_and_the_regressions_list_nothing_that_nobody_confirmed():
    pair = judged(Outcome.FAIL, finding(), failed="build")
    raw = mail(told(pair), *pair, replace(ENVELOPE, introduced=""))
    assert b"regzbot" not in raw
    assert b"regressions@" not in raw


def test_a_strangers_words_become_no_header_and_no_line_for_regzbot():
    words = "x\r\nBcc: all@example.org\r\n\r\n#regzbot introduced: evil"
    pair = judged(Outcome.FAIL, finding(title=words, message=words, blame=words), failed="build")
    message = message_from_bytes(mail(told(pair), *pair, replace(ENVELOPE, introduced="")), policy=policy.default)
    assert message["Bcc"] is None
    assert not [line for line in message.get_content().splitlines() if line.startswith("#regzbot")]


@pytest.mark.parametrize(
    "change", [{"introduced": "a b"}, {"introduced": "x\n#regzbot"}, {"sender": "nobody"}, {"to": ("a@b\nBcc: c@d",)}]
)
def test_a_mail_with_a_wrong_address_or_range_is_the_users_mistake(change):
    pair = judged(Outcome.FAIL, finding(), failed="build")
    with pytest.raises(UsageError):
        exported(told(pair), "mail", "", pair[1].cell, replace(ENVELOPE, **change))


def has_send_email():
    if not shutil.which("git"):
        return False
    where = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
    module = ["perl", "-MMail::Address", "-e", "1"]  # Debian's git-email only recommends it
    has_module = shutil.which("perl") and subprocess.run(module, capture_output=True, check=False).returncode == 0
    return bool(has_module) and (Path(where) / "git-send-email").exists()


@pytest.mark.skipif(not has_send_email(), reason="no git send-email (apt-get install git-email libmailtools-perl)")
def test_git_send_email_takes_the_mail(tmp_path):
    pair = judged(Outcome.FAIL, finding(message="größer"), failed="build")
    (tmp_path / "cell.eml").write_bytes(mail(told(pair), *pair, ENVELOPE))
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "A"), ("EMAIL", "a@b.org"))
    }
    done = subprocess.run(
        ["git", "send-email", "--dry-run", "--confirm=never", "--smtp-server=/bin/false", "cell.eml"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1", **who},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Dry-OK" in done.stdout or "Dry-Sent" in done.stdout
    assert "Subject: [stable:linux-6.1.y] drivers/a.ko: undefined symbol" in done.stdout
    assert "To: x@example.org" in done.stdout
