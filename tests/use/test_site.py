"""The site from the index and from the folders is the same site, whatever the runs are like."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from simulated import attempt, fault

from lab import cli
from lab.events import silent
from lab.model import AttemptResult, Outcome, Result
from lab.results import brief, index_tables, store
from lab.results.index import Index, existing
from lab.use import site

sys.path.insert(0, str(Path(__file__).parent.parent / "results"))
from test_index import write_run

WORDS = ("'x' is undefined", "x\0y", "half \ud800 a pair", "line 12 of /tmp/abc.s", "w" * 700)
"""What a fault may be called: one that the index cannot keep to the letter among them."""


def shown(results, index):
    runs, notes = site.read_runs(site.Request(results=results, output=results), index)
    told = site.site_of(runs, "t", notes, index)
    return told.nights, told.histories, told.notes


def grown(results):
    index = Index(results)
    index.grow()
    return index


def blame(folder, cell, words):
    """Let a cell's first attempt and its verdict have another fault, of these words; its stamp tells."""
    for path, kind in ((folder / cell / "1" / "result.json", AttemptResult), (folder / cell / "result.json", Result)):
        before = store.read(kind, path)
        if before is not None:
            found = fault("modpost.undefined", words, f"drivers/{words}.ko")
            reason = words.replace("\0", "")
            path.write_bytes(store.encoded(replace(before, outcome=Outcome.FAIL, reason=reason, findings=(found,))))


def judge(folder, cell, reason):
    """Let a cell have a verdict, or another one, in a run that goes on."""
    verdict = Result(cell=cell, outcome=Outcome.MISS, reason=reason, findings=())
    (folder / cell / "result.json").write_bytes(store.encoded(verdict))


def resume(folder, cell, mark):
    """Let a run go on with one more attempt of a cell, and be killed before its verdict."""
    with store.open_run(folder.parent, store.read(store.RunFacts, folder / "run.json")) as opened:
        number = len(opened.made(cell)) + 1
        opened.attempt_folder(cell, number)
        opened.keep_attempt(cell, attempt(mark, number, f"{cell}/{number}"))


MARKS = st.dictionaries(st.sampled_from("abc"), st.text(".CTE", min_size=1, max_size=3), min_size=1)
RUN = st.fixed_dictionaries({
    "marks": MARKS, "ended": st.booleans(), "judged": st.booleans(), "night": st.booleans(),
    "words": st.sampled_from(("", *WORDS)), "further": st.booleans(),
    "torn": st.sampled_from(("", "a/result.json", "b/result.json", "a/1/result.json")),
    "after": st.sampled_from(("", "resumed", "gone", "changed")),
})  # fmt: skip


# without shrinking: an example writes dozens of synced files
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=40, deadline=None, phases=QUICK, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(RUN, min_size=1, max_size=4))
def test_whatever_the_runs_are_the_site_is_the_same_both_ways(tmp_path_factory, runs):
    results = tmp_path_factory.mktemp("both") / "results"
    for number, one in enumerate(runs, 1):
        name, day = f"m-night-2026110{number}", f"2026-11-0{number}" if one["night"] else ""
        further = (f"{name}-more",) if one["further"] else ()
        first = min(one["marks"])
        for run in further:
            write_run(results, run, {first: "C."}, at_s=number + 0.5)
        folder = write_run(
            results, name, one["marks"], at_s=float(number), night=day, ended=one["ended"], further=further,
            carried=[("z", "m-night-20261101")],
        )  # fmt: skip
        if one["judged"] and not one["ended"]:
            judge(folder, first, "2 of 3 attempts ran")
        if one["words"]:
            blame(folder, first, one["words"])
        if one["torn"] and (folder / one["torn"]).exists():
            (folder / one["torn"]).write_bytes(b'{"schema_version": 1, "ce')
    index = grown(results)
    for number, one in enumerate(runs, 1):
        folder = results / f"m-night-2026110{number}"
        if one["after"] == "resumed":
            resume(folder, min(one["marks"]), "T")
        if one["after"] == "gone" and len(runs) > 1:
            shutil.rmtree(folder)
        if one["after"] == "changed" and not one["ended"]:
            judge(folder, min(one["marks"]), "never ran")
    if any(results.glob("*/run.json")):
        assert shown(results, index) == shown(results, None)
    index.grow()
    assert shown(results, index) == shown(results, None)
    index.close()


@pytest.fixture
def results(tmp_path):
    """Two runs that ended, one of which has a flaky cell and one that was not judged; and one that was killed."""
    root = tmp_path / "results"
    write_run(root, "m-20261101-010000", {"a": "..", "b": "T"}, at_s=1.0)
    write_run(root, "m-20261102-010000", {"a": ".C", "b": "E", "c": "MT"}, at_s=2.0)
    write_run(root, "m-20261103-010000", {"a": "C"}, at_s=3.0, ended=False)
    return root


def read_of(results, index, monkeypatch):
    """Return which verdicts are read from folders."""
    read, real = [], brief.verdict_in
    monkeypatch.setattr(brief, "verdict_in", lambda run, cell: read.append(f"{run.name}/{cell}") or real(run, cell))
    shown(results, index)
    monkeypatch.setattr(brief, "verdict_in", real)
    return read


@pytest.mark.parametrize(
    ("first", "further", "run", "words"),
    [
        ("C", "....", "m-night-20261101", "; in further attempts PASS: "),
        (".", ".C", "m-night-20261101-more", "; in the attempts before PASS: "),
        ("C", "C", "m-night-20261101", "; the same in further attempts"),
        ("E", "C", "m-night-20261101-more", "; in the attempts before ERROR: "),
    ],
)
def test_further_attempts_are_part_of_their_night_and_hide_no_failure(tmp_path, first, further, run, words):
    results = tmp_path / "results"
    write_run(results, "m-night-20261101-more", {"a": further}, at_s=2.0)
    write_run(
        results, "m-night-20261101", {"a": first, "b": "."}, at_s=1.0, night="2026-11-01",
        further=("m-night-20261101-more",),
    )  # fmt: skip
    made = site.written(site.Request(results=results, output=tmp_path / "site"), silent)
    columns, (history, other), _ = shown(results, None)
    assert [night.run for night in columns["m"]] == ["m-night-20261101"]
    assert history.now.outcome is Outcome.FAIL
    assert words in history.now.reason
    assert [one.id for one in history.now.found if one.id.startswith("build")] == ["build.compiler"]
    assert other.now.outcome is Outcome.PASS
    page = (made.index.parent / "cells/m/a.html").read_text()
    assert f"results/{run}/a/1/reproduce.sh" in page
    assert "expected expression before" in page, "the page has the evidence of the failure"


def test_what_the_index_has_is_not_read_again(results, monkeypatch):
    index = grown(results)
    assert read_of(results, index, monkeypatch) == ["m-20261103-010000/a"], "it has no verdict"
    assert len(read_of(results, None, monkeypatch)) == 6


def test_a_run_that_was_written_to_since_is_read_from_its_folder(results, monkeypatch):
    index = grown(results)
    resume(results / "m-20261102-010000", "b", ".")
    assert read_of(results, index, monkeypatch) == [
        *(f"m-20261102-010000/{cell}" for cell in "abc"), "m-20261103-010000/a",
    ]  # fmt: skip


def test_an_index_is_only_read_and_none_is_made(results, monkeypatch):
    assert existing(results) is None
    assert not list(results.glob("index*"))
    grown(results).close()
    assert existing(results) is not None
    monkeypatch.setattr(index_tables, "VERSION", index_tables.VERSION + 1)
    assert existing(results) is None
    monkeypatch.undo()
    assert existing(results) is not None, "one of another version was left as it is"


def test_an_index_that_cannot_be_read_is_told_and_harms_nothing(results, tmp_path):
    (results / index_tables.FILE).write_bytes(b"no database" * 1000)
    told = []
    made = site.written(site.Request(results=results, output=tmp_path / "site"), told.append)
    assert any("the folders are read: the index cannot be used" in note.text for note in told)
    assert made.index.is_file()
    assert (results / index_tables.FILE).read_bytes().startswith(b"no database"), "it is not ours to repair here"


def test_a_run_alone_has_its_verdicts_from_the_index_beside_it(results, tmp_path):
    grown(results).close()
    request = site.Request(results=results / "m-20261102-010000", output=tmp_path / "site")
    index = site.index_of(request, silent)
    assert index is not None
    assert index.results == results


def test_the_labs_own_results_are_indexed_first(results, monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_RESULTS", str(results))
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    assert cli.exit_code_of(["site", "-o", str(tmp_path / "site")]) == 0
    assert existing(results) is not None
    assert cli.exit_code_of(["site", str(results), "-o", str(tmp_path / "again")]) == 0
    pages = [
        sorted(path.relative_to(tmp_path / of) for path in (tmp_path / of).rglob("*.html")) for of in ("site", "again")
    ]
    assert pages[0] == pages[1]
    assert (tmp_path / "site/index.html").read_text() == (tmp_path / "again/index.html").read_text()
