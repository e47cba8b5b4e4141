"""The HTML page: whole, offline, escaped, and only of what lies in the attempt's folder."""

import os
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from lab.model import (
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
)
from lab.report.page import excerpt, granularity_text, html, write_page
from lab.results.signature import signature
from lab.results.store import RunFacts

CELL = Cell(
    id="ext4",
    source=DirSource(path="/usr/src/linux"),
    arch="x86_64",
    toolchain="gcc-12",
    lto=Lto.NONE,
    emulation=Emulation.NATIVE,
    filesystem="ext4-128",
    kconfig=(),
    patches=(),
    make=Make(),
    boot=None,
    repeat=1,
    deadlines=Deadlines(),
    ccache=True,
    expect=Expectation(outcome=Outcome.FAIL, findings=("timestamps.tie",)),
    axes=(("filesystem", "ext4-128"), ("arch", "x86_64")),
)
FINDING = Finding(
    id="modpost.undefined",
    severity=Severity.FAIL,
    title="undefined symbol",
    message="needs 'x'",
    where=Span(file="build.txt", first=5, last=6),
    blame="drivers/mcb/mcb-lpc.ko",
    because=("the list of used symbols is older",),
)
ATTEMPT = AttemptResult(
    number=1,
    outcome=Outcome.FAIL,
    reason="modpost.undefined: needs 'x'",
    findings=(FINDING,),
    not_applicable=(NotApplicable(check="kallsyms", because="not set"),),
    steps=(StepResult(name="build", ending=Ending.EXITED, status=2, seconds=61.0, argv=("make", "-j2")),),
    seconds=61.0,
    folder="ext4/1",
    facts={"granularity_ns": 1_000_000_000},
)
RESULT = Result(
    cell="ext4", outcome=Outcome.FAIL, reason="modpost.undefined: needs 'x'", attempts=(ATTEMPT,), seconds=61.0
)
PASSED = Result(cell="tmpfs", outcome=Outcome.PASS, reason="built")
FACTS = RunFacts(
    run="quickstart-1",
    matrix="quickstart",
    matrix_sha256="",
    cells=(CELL, replace(CELL, id="tmpfs", axes=(("filesystem", "tmpfs"), ("arch", "x86_64")), expect=None)),
    started_at_s=0.0,
    lab_version="0.1.0",
)


@pytest.fixture
def folder(tmp_path):
    evidence = tmp_path / "run/ext4/1"
    evidence.mkdir(parents=True)
    (evidence / "build.txt").write_text("".join(f"line {number}\n" for number in range(1, 21)))
    return tmp_path / "run"


def page(folder, *results):
    return html(FACTS, {result.cell: result for result in results or (PASSED, RESULT)}, folder)


def words(text):
    """Return what a reader sees, without tags and style."""
    seen = []
    parser = HTMLParser()
    parser.handle_data = seen.append
    parser.feed(re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL))
    return " ".join(" ".join(seen).split())


def test_every_tag_that_opens_is_closed(folder):
    void = {"meta", "link"}
    opened = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in void:
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Parser().feed(page(folder))
    assert opened == []


def test_what_is_said_of_all_cells_together_comes_first_and_is_escaped(folder):
    text = html(FACTS, {"ext4": RESULT}, folder, ["the patch mends", "<script>alert(1)</script>"])
    seen = words(text)
    assert seen.index("the patch mends") < seen.index("Verdicts")
    assert "<script" not in text


def test_a_reader_sees_verdict_reason_proof_environment_steps_and_files(folder):
    seen = words(page(folder))
    for wanted in (
        "quickstart-1",
        "FAIL 1",
        "modpost.undefined: needs 'x'",
        "because the list of used symbols is older",
        "proof: build.txt:5-6",
        "expected: FAIL timestamps.tie",
        "filesystem ext4-128",
        "exited 2",
        "1 min 01 s",
        "make -j2",
        "granularity_ns 1000000000",
        "not applicable: kallsyms",
        "151 B",
    ):
        assert wanted in seen, wanted


@pytest.mark.parametrize(
    ("measured", "shown"),
    [
        ([10**9], "1 s"),
        ([2 * 10**9], "2 s"),
        ([4_000_000], "4 ms"),
        ([9669], "9.67 µs"),
        ([1], "1 ns"),
        ([1, 10**9, 5], "1 s"),
        ([None, "1", -5, 10**40], ""),
        ([], ""),
    ],
)
def test_the_measured_granularity_is_told_in_a_unit_people_read(measured, shown):
    assert granularity_text([replace(ATTEMPT, facts={"granularity_ns": one}) for one in measured]) == shown


def test_the_table_shows_how_exact_file_times_were(folder):
    table = page(folder, RESULT).split("</table>")[0]
    assert '<td class="number">1 s</td>' in table


def test_only_axes_that_differ_are_columns(folder):
    table = page(folder).partition("</thead>")[0]
    assert '<th scope="col">filesystem</th>' in table
    assert '<th scope="col">arch</th>' not in table


def test_the_excerpt_marks_the_proof_and_shows_its_surroundings(folder):
    lines = excerpt(folder, "ext4/1/build.txt", FINDING.where)
    assert [(line.number, line.proof) for line in lines] == [(n, n in (5, 6)) for n in range(2, 10)]
    assert lines[3].text == "line 5"


def test_nothing_is_loaded_and_nothing_runs(folder):
    text = page(folder)
    assert "<script" not in text
    assert not re.findall(r"(?:https?:)?//[a-z]", text)


def test_a_fault_has_its_signature_and_what_is_none_has_not(folder):
    note = replace(FINDING, id="timestamps.note", severity=Severity.NOTE)
    attempt = replace(ATTEMPT, findings=(replace(FINDING, joined=(note,)), note))
    text = page(folder, replace(RESULT, attempts=(attempt,)))
    assert re.findall(r'<code class="key">(\w+)</code>', text) == [signature(FINDING).key]


def test_the_line_of_the_guilty_function_stands_beside_it(folder):
    oops = replace(FINDING, id="boot.oops", function="probe", data={"place": "fs/autofs/waitq.c:532"})
    attempt = replace(ATTEMPT, findings=(replace(FINDING, joined=(oops,)), oops))
    text = html(FACTS, {"ext4": replace(RESULT, attempts=(attempt,))}, folder)
    assert "<code>probe()</code> at <code>fs/autofs/waitq.c:532</code>" in text
    assert "(<code>fs/autofs/waitq.c:532</code>)</summary>" in text


HOSTILE = "</style><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x1b[31m\u202e\udc80"


def test_hostile_words_are_only_words(folder):
    hostile = replace(
        FINDING,
        id=HOSTILE,
        message=HOSTILE,
        blame=HOSTILE,
        function=HOSTILE,
        because=(HOSTILE,),
        where=Span(file=HOSTILE),
        data={"place": HOSTILE},
        joined=(replace(FINDING, data={"place": HOSTILE}),),
    )
    (folder / "ext4/1" / '"><script>alert(1)<').write_text("x")
    attempt = replace(ATTEMPT, findings=(hostile,), facts={HOSTILE: HOSTILE}, reason=HOSTILE)
    text = html(
        replace(FACTS, run=HOSTILE, matrix=HOSTILE), {"x": replace(RESULT, reason=HOSTILE, attempts=(attempt,))}, folder
    )
    assert "<script" not in text
    assert "<img" not in text
    assert not {"\x1b", "\u202e", "\udc80"} & set(text)


def test_hostile_log_lines_are_only_words(folder):
    (folder / "ext4/1/build.txt").write_bytes(b"\n" * 4 + HOSTILE.encode("utf-8", "surrogateescape") + b"\xff\n")
    text = page(folder)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script" not in text


@pytest.mark.parametrize("file", ["../../secret", "/etc/passwd", "out", "loop", "fifo", "a\0b", "x" * 5000])
def test_no_finding_shows_a_file_from_elsewhere(folder, file):
    (folder.parent / "secret").write_text("SECRET\n" * 9)
    evidence = folder / "ext4/1"
    (evidence / "out").symlink_to(folder.parent / "secret")
    (evidence / "loop").symlink_to("loop")
    os.mkfifo(evidence / "fifo")
    finding = replace(FINDING, where=Span(file=file, first=1, last=1))
    text = page(folder, replace(RESULT, attempts=(replace(ATTEMPT, findings=(finding,)),)))
    assert "SECRET" not in text
    assert 'class="line' not in text


def test_a_huge_span_and_a_huge_line_stay_small(folder):
    (folder / "ext4/1/build.txt").write_bytes(b"x" * 3_000_000 + b"\n" + b"y\n" * 100_000)
    lines = excerpt(folder, "ext4/1/build.txt", Span(file="build.txt", first=1, last=10**12))
    assert len(lines) == 24
    assert lines[1].text == "y"
    assert len(lines[0].text) == 400


def test_a_binary_file_is_not_quoted(folder):
    (folder / "ext4/1/build.txt").write_bytes(b"\0\n" * 20)
    assert excerpt(folder, "ext4/1/build.txt", FINDING.where) == ()


def test_a_run_without_results_has_a_page(folder):
    assert "no cell has a result" in words(html(FACTS, {}, folder))


def test_the_page_lies_in_the_run(folder):
    assert write_page(FACTS, {"ext4": RESULT}, folder) == folder / "report.html"
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_what_a_fault_led_to_is_told_with_it_and_escaped(tmp_path):
    part = replace(FINDING, id="boot.oops", message="<b>died</b>", where=Span(file="console.txt", first=94, last=94))
    said = replace(FINDING, id="objtool.warning", severity=Severity.WARNING, message="warned")
    root = replace(FINDING, joined=(part, said))
    result = replace(RESULT, attempts=(replace(ATTEMPT, findings=(root,)),))
    text = html(FACTS, {"ext4": result}, tmp_path)
    assert "<code>boot.oops</code></a> &lt;b&gt;died" in text
    assert '<span>led to</span> <a href="#explain-boot.oops"' in text
    assert 'id="explain-boot.oops"' in text
    assert '<span>also</span> <a href="#explain-objtool.warning"' in text
    assert ">objtool.warning</code></a> warned" in text
    assert "console.txt:94" in text
