"""`lab nightly` and `lab diff RUN RUN` on the command line, with nights that nobody executed."""

import json
import re
import sys
import threading
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from lab import cli
from lab.cli import nights
from lab.errors import EnvironmentFault, ExitCode
from lab.use import nightly

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "use"))
from simulated import Machine  # noqa: E402

MATRIX = str(ROOT / "matrices" / "quickstart.yaml")
TMPFS, EXT4, UNGUARDED = "x86_64-gcc-12-tmpfs", "x86_64-gcc-12-ext4-128", "x86_64-gcc-12-ext4-128-unguarded"


@pytest.fixture
def lab(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    return lambda *words: cli.exit_code_of([*map(str, words)])


@pytest.fixture
def night(lab, monkeypatch):
    """Return what runs `lab nightly` of a day, with the marks of each cell."""
    real = nightly.night

    def night(day, *marks, words=()):
        machine = Machine(dict(zip((TMPFS, EXT4, UNGUARDED), marks, strict=True)))

        def pinned(source):
            return nightly.Resolved(source=source, tree=day, words=f"tree of {day}")

        monkeypatch.setattr(nightly, "night", lambda *rest: real(*rest, runner=machine.run, resolve=pinned))
        return lab("nightly", MATRIX, "--today", day, *words)

    return night


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--today", "yesterday"], "--today must be a day"),
        (["--every", "often"], "--every must be a time"),
        (["--every", "24h", "--json"], "goes with neither"),
        (["--window", "0"], "--window must be from 1"),
        (["--more", "1000"], "--more from 0 to 100"),
        (["--known", "no-such.yaml"], "cannot read the known issues"),
        (["--cell", "none"], "no cell is called 'none'"),
    ],
)
def test_a_wrong_request_is_told_and_is_usage(lab, capsys, tmp_path, words, told):
    assert lab("nightly", MATRIX, *words) == ExitCode.USAGE
    assert told in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_night_is_told_as_text_and_as_json_and_leaves_its_pages(night, lab, capsys, tmp_path):
    assert night("2026-11-21", ".", ".", "T") == 0
    assert "report: " in capsys.readouterr().out
    for day in (22, 23):
        assert night(f"2026-11-{day}", ".", ".", "T") == 0
    capsys.readouterr()
    assert night("2026-11-24", "CCCCC", ".", "T", words=["--json"]) == ExitCode.KERNEL_FAULT
    contract = json.loads(capsys.readouterr().out)
    assert contract["exit_code"] == 1
    assert [(row["cell"], row["change"]) for row in contract["differences"]] == [(TMPFS, "new"), (UNGUARDED, "still")]
    assert contract["previous"] == [f"quickstart-night-202611{day}" for day in (21, 22, 23)]
    assert contract["further"] == ["quickstart-night-20261124-more"]
    assert (tmp_path / "results" / "quickstart-night-20261124-more" / "report.html").is_file()

    assert lab("diff", "quickstart-night-20261123", tmp_path / "results" / "quickstart-night-20261124") == 125
    words = capsys.readouterr().out
    assert "UNPROVEN   x86_64-gcc-12-tmpfs  build.compiler lib/ctype.o" in words, "one attempt before proves little"
    assert "10 more attempts like it would prove it" in words
    assert lab("diff", "quickstart-night-20261121", "quickstart-night-20261123", "--json") == 0
    assert json.loads(capsys.readouterr().out)["claims"] == 0


def test_a_signature_pasted_from_a_page_into_the_known_issues_is_no_news(night, lab, capsys, tmp_path):
    for day in (21, 22, 23):
        assert night(f"2026-11-{day}", ".", ".", "T") == 0
    assert night("2026-11-24", "CCCCC", ".", "T") == ExitCode.KERNEL_FAULT
    results, pages = tmp_path / "results", tmp_path / "pages"
    assert lab("site", results, "-o", pages) == 0
    in_run = re.findall(r'class="key">(\w{12})<', (results / "quickstart-night-20261124" / "report.html").read_text())
    of_cell = re.findall(r'class="key">(\w{12})<', (pages / f"cells/quickstart/{TMPFS}.html").read_text())
    assert len(in_run) == 2, "the new one and the one that is expected"
    assert set(of_cell) < set(in_run)
    assert f'"key":"{of_cell[0]}"' in (pages / "index.html").read_text()
    known = tmp_path / "known.yaml"
    known.write_text(f"version: 1\nissues:\n  - name: pasted\n    signature: {of_cell[0]}\n")
    capsys.readouterr()
    assert night("2026-11-25", "CCCCC", ".", "T", words=["--known", known, "--json"]) == 0
    (issue,) = json.loads(capsys.readouterr().out)["known_issues"]
    assert (issue["name"], [one["cell"] for one in issue["fits"]]) == ("pasted", [TMPFS])


def test_a_night_writes_its_site_and_its_mail_if_it_is_asked_to(night, lab, capsys, tmp_path):
    pages, eml = tmp_path / "pages", tmp_path / "night.eml"
    words = ["--site", pages, "--mail", eml, "--to", "lab@example.org", "--from", "Näme <me@example.org>"]
    for day in (21, 22, 23):
        assert night(f"2026-11-{day}", ".", ".", "T", words=words) == 0
    capsys.readouterr()
    assert night("2026-11-24", "CCCCC", ".", "T", words=words) == ExitCode.KERNEL_FAULT
    said = capsys.readouterr().out
    assert f"mail, not sent: {eml}" in said
    assert '["quickstart-night-20261124",' in (pages / "index.html").read_text()
    message = message_from_bytes(eml.read_bytes(), policy=policy.default)
    assert message["Subject"] == "[quickstart] 2026-11-24: 1 new, 1 still; exit code 1"
    assert (message["To"], message["From"]) == ("lab@example.org", "Näme <me@example.org>")
    assert message["Date"].datetime is not None
    body = message.get_content()
    assert body.startswith(said.partition("\nreport:")[0]), "word by word what was printed"
    (command,) = [line.split() for line in body.splitlines() if line.startswith("    lab export")]
    assert lab(*command[1:]) == 0
    assert "lib/ctype.o: expected expression before ';' token" in capsys.readouterr().out


def test_a_face_that_cannot_be_written_spoils_no_night(night, capsys, tmp_path):
    (tmp_path / "night.eml").mkdir()
    assert night("2026-11-21", ".", ".", "T", words=["--mail", tmp_path / "night.eml"]) == 0
    told = capsys.readouterr()
    assert "the night is as it is, but: cannot write" in told.err
    assert "exit code 0" in told.out


def test_what_cannot_be_written_is_refused_before_the_night(lab, capsys, tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    for words, told in (
        (["--site", tmp_path], "no site of the lab"),
        (["--mail", tmp_path / "none" / "night.eml"], "no such folder"),
        (["--mail", tmp_path / "night.eml", "--to", "nobody"], "'nobody' is no mail address"),
    ):
        assert lab("nightly", MATRIX, *words) == ExitCode.USAGE
        assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "results").exists()


def test_runs_and_attempts_are_not_mixed(night, lab, capsys, tmp_path):
    assert night("2026-11-21", ".", ".", "T") == 0
    capsys.readouterr()
    assert lab("diff", "quickstart-night-20261121", tmp_path) == ExitCode.USAGE
    assert "a run cannot be compared with an attempt" in capsys.readouterr().err


def test_again_and_again_goes_on_after_trouble_and_ends_when_it_is_stopped(capsys):
    stop, done = threading.Event(), []

    def once():
        done.append(len(done))
        if len(done) == 1:
            raise EnvironmentFault("the engine is gone")
        if len(done) == 3:
            stop.set()
        return ExitCode.AS_EXPECTED

    assert nights.repeated(once, 0.001, stop) == ExitCode.INTERRUPTED
    assert done == [0, 1, 2]
    assert "the engine is gone" in capsys.readouterr().err


def test_the_index_answers_after_nights_without_being_told_of_them(night, lab, capsys, tmp_path):
    for day in (21, 22):
        assert night(f"2026-11-{day}", "E" if day == 22 else ".", ".", "T") in (0, ExitCode.LAB_FAULT)
    assert (tmp_path / "results" / "index.sqlite").is_file()
    (tmp_path / "results" / "index.sqlite").unlink()
    capsys.readouterr()
    assert lab("index", "cell", TMPFS) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in told] == [["2026-11-21", "PASS"], ["2026-11-22", "ERROR"]]
    assert lab("index", "not-judged", "--json") == 0
    assert [one["cell"] for one in json.loads(capsys.readouterr().out)["results"]] == [TMPFS]
    assert lab("index", "findings", "timestamps.tie", "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)["findings"]
    assert (one["first_day"], one["last_day"], one["cells"], one["results"]) == ("2026-11-21", "2026-11-22", 1, 2)
    assert lab("index", "rates") == 0
    assert f"2 of 2 (34 to 100 %)      {UNGUARDED}  timestamps.tie" in capsys.readouterr().out
    assert lab("index", "rebuild") == 0
    assert "2 runs read, 0 that are gone removed" in capsys.readouterr().out
    assert lab("index", "rates", "--matrix", "other") == ExitCode.USAGE
    assert "known: quickstart" in " ".join(capsys.readouterr().err.split())


def test_a_night_is_copied_to_the_store_that_is_named_and_comes_back(night, lab, capsys, monkeypatch, tmp_path):
    assert lab("store", "list") == ExitCode.USAGE
    assert "set LAB_STORE" in capsys.readouterr().err
    monkeypatch.setenv("LAB_STORE", f"file://{tmp_path / 'store'}")
    assert night("2026-11-21", ".", ".", "T") == 0
    capsys.readouterr()
    assert lab("store", "list") == 0
    assert capsys.readouterr().out == "quickstart-night-20261121\n"
    folder = tmp_path / "results" / "quickstart-night-20261121"
    (folder / TMPFS / "1" / "vmlinux.zst").write_bytes(b"x" * 1000)
    assert lab("store", "thin", folder.name, "--keep", "failures") == 0
    assert "1 files of 0 MiB removed" in capsys.readouterr().out
    (folder / UNGUARDED / "1" / "result.json").unlink()
    assert lab("store", "get", folder.name, "--json") == 0
    assert json.loads(capsys.readouterr().out)["attempts"] == 1
    assert (folder / UNGUARDED / "1" / "result.json").is_file()
    assert lab("store", "put", "none") == ExitCode.USAGE
    assert lab("store", "thin", "none", "--keep", "findings") == ExitCode.USAGE


def test_a_store_that_cannot_be_written_spoils_no_night(night, capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAB_STORE", f"file://{tmp_path / 'file'}")
    assert night("2026-11-21", ".", ".", "T") == 0
    assert "was not copied to the store" in capsys.readouterr().err
