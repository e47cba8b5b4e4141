"""The site's pages: whole, offline, escaped, linked, and never in place of somebody's own files."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
import synthetic_runs
from markupsafe import escape

from lab.errors import UsageError
from lab.events import silent
from lab.model import Finding, Outcome, Severity, Span
from lab.report.html.explained import explanation, known
from lab.report.html.history import History
from lab.report.html.overview import inline_json
from lab.report.html.write import MARK, matrix_name
from lab.results import store, trials
from lab.results.brief import Verdict
from lab.results.verdict import cell_result
from lab.use import site

HOSTILE = (
    '</script><script>alert(1)</script><!--<b onmouseover="x">\x1b[31mred\x1b[0m\x1b]8;;http://evil/\x07 \u202e{{7*7}}'
)


@pytest.fixture
def results(tmp_path):
    list(synthetic_runs.write(tmp_path / "results", count=120, nights=4))
    return tmp_path / "results"


def written(results, **changes):
    request = site.Request(results=results, output=results.parent / "site", **changes)
    return site.written(request, silent).index.parent


def hostile(results, night=-1, number=0):
    """Let a cell of a night fail with a stranger's words in all places that have room for them; returns its id."""
    folder = sorted(results.glob("nightly-*"))[night]
    facts = store.read(store.RunFacts, folder / "run.json")
    cell = facts.cells[number]
    finding = Finding(
        id="modpost.undefined",
        severity=Severity.FAIL,
        title=HOSTILE,
        message=HOSTILE,
        blame=HOSTILE,
        function=HOSTILE,
        where=Span(file="build.txt", first=2, last=2),
        because=(HOSTILE,),
    )
    (attempt,) = store.read_attempts(folder, cell.id)
    attempt = replace(attempt, outcome=Outcome.FAIL, reason=HOSTILE, findings=(finding,))
    (folder / attempt.folder / "result.json").write_bytes(store.encoded(attempt))
    (folder / attempt.folder / "build.txt").write_text(f"one\n{HOSTILE}\nthree\n")
    (folder / attempt.folder / "console.txt").write_text(f"{HOSTILE}\n" * 3)
    verdict = replace(cell_result(cell, (attempt,)), attempts=())
    (folder / cell.id / "result.json").write_bytes(store.encoded(verdict))
    axes = tuple((name, HOSTILE if name == "kconfig" else text) for name, text in cell.axes)
    cells = tuple(replace(one, axes=axes) if one.id == cell.id else one for one in facts.cells)
    (folder / "run.json").write_bytes(store.encoded(replace(facts, cells=cells)))
    return cell.id


class Page(HTMLParser):
    """Links and scripts of a page; tags that are not closed fail."""

    def __init__(self, text):
        super().__init__()
        self.links, self.scripts, self.sources, self.handlers, self._open = [], [], [], [], []
        self.feed(text)
        assert self._open == [], self._open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [given["href"]] if "href" in given else []
        self.sources += [given["src"]] if "src" in given else []
        self.handlers += [name for name in given if name.startswith("on")]
        if tag == "script":
            self.scripts.append(given.get("type", ""))
        if tag not in ("meta", "link", "input", "br", "hr"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def test_every_page_is_whole_offline_and_its_links_hold(results):
    folder = written(results)
    pages = list(folder.rglob("*.html"))
    assert len(pages) == 120 + len(known()) + 3
    for path in pages:
        page = Page(path.read_text())
        assert "default-src 'none'" in path.read_text()
        assert not page.sources
        for link in page.links:
            parts = urlsplit(link)
            assert parts.scheme in ("", "data"), f"{path.name}: {link}"
            if parts.path and not parts.scheme:
                assert (path.parent / unquote(parts.path)).exists(), f"{path.name}: {link}"


def test_a_strangers_words_are_text_everywhere(results):
    cell = hostile(results)
    folder = written(results)
    cell_page = (folder / f"cells/nightly/{cell}.html").read_text()
    assert Page(cell_page).scripts == []
    assert Page(cell_page).handlers == []
    assert cell_page.count("&lt;/script&gt;&lt;script&gt;alert(1)") >= 6, "message, because, excerpt, console, axis"
    index = (folder / "index.html").read_text()
    assert Page(index).scripts == ["application/json", "", ""]
    for path in folder.rglob("*.html"):
        text = path.read_text()
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
        assert "<b onmouseover" not in text
        assert "http://evil" not in text
        assert "49" not in text.partition("{{7*7}}")[0][-20:]
    data = json.loads(index.split('id="data">')[1].split("</script>")[0])
    assert any(one["blame"].startswith("</script><script>") for one in data["signatures"]), "still told"


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "&lt;", "\u2028", "é", "\ud800"])
def test_inline_json_ends_no_element_and_says_the_same(text):
    found = inline_json({"a": text})
    assert not set("<>&") & set(found)
    assert found.isascii()
    assert json.loads(found) == {"a": text}


def test_a_cell_page_tells_verdict_proof_console_steps_and_what_makes_it_again(results):
    cell = hostile(results, number=3)
    text = (written(results) / f"cells/nightly/{cell}.html").read_text()
    for wanted in (
        "FAIL",
        "proof:",
        "build.txt:2",
        "because",
        "Console",
        "olddefconfig",
        "reproduce.sh",
        "explain/modpost.undefined.html",
        "last good 2026-09-23",
        "All its nights",
        f"lab run MATRIX.yaml --cell {cell}",
    ):
        assert str(escape(wanted)) in text, wanted
    assert text.index("FAIL") < text.index("proof:") < text.index("Environment") < text.index("Console")


def test_what_differs_from_the_last_good_run_is_told(results):
    cell = hostile(results)
    text = (written(results) / f"cells/nightly/{cell}.html").read_text()
    assert "kernel_version: 6.1.162 | 6.1.163" in text


def test_a_cell_that_the_newest_run_left_out_keeps_its_verdict(results):
    newest = sorted(results.glob("nightly-*"))[-1]
    facts = store.read(store.RunFacts, newest / "run.json")
    (newest / "run.json").write_bytes(store.encoded(replace(facts, cells=facts.cells[1:])))
    runs, _ = site.read_runs(site.Request(results=results, output=results))
    histories = {one.cell: one for one in site.site_of(runs, "", ()).histories}
    left = histories[facts.cells[0].id]
    assert left.verdicts[3] is None
    assert left.last == 2
    assert histories[facts.cells[1].id].last == 3


def test_runs_that_cannot_be_read_and_comparisons_are_left_out_and_said(results):
    older, newer = sorted(results.glob("nightly-*"))[:2]
    (older / "run.json").write_text("{")
    (newer / trials.NAME).write_text("{}")
    runs, notes = site.read_runs(site.Request(results=results, output=results))
    assert len(runs["nightly"]) == 2
    assert any(older.name in note for note in notes)
    assert any("lab try" in note for note in notes)
    assert "run.json cannot be read" in (written(results) / "index.html").read_text()


def test_only_the_newest_nights_are_shown_if_asked(results):
    runs, _ = site.read_runs(site.Request(results=results, output=results, nights=2))
    assert [read.folder for read in runs["nightly"]] == sorted(results.glob("nightly-*"))[-2:]


def test_one_run_alone_can_be_shown(results):
    folder = sorted(results.glob("nightly-*"))[0]
    runs, _ = site.read_runs(site.Request(results=folder, output=results))
    assert [read.folder for read in runs["nightly"]] == [folder]


def test_an_old_site_is_replaced_and_nothing_else_ever_is(results, tmp_path):
    folder = written(results)
    (folder / "cells/nightly/left-over.html").write_text("old")
    assert not (written(results) / "cells/nightly/left-over.html").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    with pytest.raises(UsageError, match="no site of the lab"):
        site.written(site.Request(results=results, output=mine), silent)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    assert (folder / MARK).exists()
    assert not list(tmp_path.glob(".*"))


def test_without_runs_there_is_no_site(tmp_path):
    (tmp_path / "results").mkdir()
    with pytest.raises(UsageError, match="no runs"):
        written(tmp_path / "results")
    assert not (tmp_path / "site").exists()


def test_the_pages_of_findings_are_text_and_all_there():
    for one in known():
        Page(explanation(one))


@pytest.mark.parametrize(
    ("outcomes", "last", "good", "changed"),
    [
        ("PASS FAIL", 1, 0, True),
        ("PASS - FAIL", 2, 0, True),
        ("PASS FAIL FAIL", 2, 0, False),
        ("FAIL FAIL", 1, None, False),
        ("XFAIL ERROR -", 1, 0, True),
        ("SKIP FAIL", 1, None, True),
        ("PASS", 0, None, False),
    ],
)
def test_a_history_knows_its_last_good_night_and_whether_it_changed(outcomes, last, good, changed):
    verdicts = tuple(None if word == "-" else Verdict(outcome=Outcome(word), reason="") for word in outcomes.split())
    history = History(matrix="m", cell="c", axes=(), verdicts=verdicts)
    assert (history.last, history.last_good, history.changed) == (last, good, changed)


@pytest.mark.parametrize(
    ("run", "matrix", "name"),
    [
        ("quickstart-20261121-101112", "matrices/quickstart.yaml", "quickstart"),
        ("mine-20261121-101112-2", "", "mine"),
        ("x", "../../..", "matrix"),
        ("x", "a b/<script>.yaml", "script"),
    ],
)
def test_runs_of_one_matrix_share_a_name_that_can_be_a_folders(run, matrix, name):
    assert matrix_name(run, matrix) == name
