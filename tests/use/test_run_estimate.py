"""`lab run --estimate`: what earlier runs tell of the next one; nothing is run, and no engine is asked."""

import dataclasses
import json
import textwrap

import pytest

from lab.errors import UsageError
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import AttemptResult, Need, Outcome
from lab.report.inventory import estimate_text
from lab.results import store
from lab.use import session
from lab.use.crew import planned_jobs

MATRIX = """
version: 1
name: two
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: x86_64
  toolchain: gcc-12
  kconfig: [tinyconfig]
  make: {jobs: 2}
matrix:
  filesystem: [tmpfs, ext4]
"""


@pytest.fixture
def settings(machine_settings, tmp_path):
    own = {"results": tmp_path / "results", "cache": tmp_path / "cache", "engine": "unix:///nowhere"}
    return dataclasses.replace(machine_settings, cores=2, memory_mib=8192, may_mount=True, **own)


@pytest.fixture
def request_for(rows, tmp_path):
    path = tmp_path / "matrix.yaml"
    path.write_text(textwrap.dedent(MATRIX))
    return session.Request(matrix=path, name="two", cells=expand(read(path, rows)))


def words(found, request):
    return estimate_text(dataclasses.asdict(found), cells=len(request.cells), cores=2)


def earlier(request, settings, rows, **facts):
    """Write a run of which only the first cell was finished; images and sources were there and took no time."""
    shared = {job.key: 0.0 for job in planned_jobs(request.cells, settings, rows, {}, {}) if not job.cell}
    facts_of_run = session.facts_of(request.matrix, "two-20260101-000000", request.cells)
    with store.open_run(settings.results, facts_of_run) as opened:
        cell = request.cells[0].id
        opened.attempt_folder(cell, 1)
        opened.keep_attempt(cell, AttemptResult(number=1, outcome=Outcome.PASS, reason="", findings=()))
        durations = {f"attempt:{one.id}:1": 100.0 + place for place, one in enumerate(request.cells)}
        opened.keep_history(store.History(durations=shared | durations, **facts))
    return facts_of_run.run


def test_where_nothing_is_known_it_is_called_a_guess(request_for, settings, rows):
    found = session.estimated(request_for, settings, rows)
    assert (found.attempts, found.guessed) == (2, 2)
    assert "a mere guess" in words(found, request_for)
    assert not settings.results.exists()


def test_earlier_runs_tell_how_long_it_takes(request_for, settings, rows):
    earlier(request_for, settings, rows)
    found = session.estimated(request_for, settings, rows)
    assert found.guessed == 0
    assert found.seconds == found.bound_s == 201.0, "each wants both processors, so that one comes after the other"
    assert words(found, request_for).startswith("about 3 min 21 s: 2 attempts of 2 cells on 2 processors")


def test_cells_that_left_a_processor_idle_share_the_machine(request_for, settings, rows):
    needs = {cell.id: Need(cpu=0.5, memory_mib=200) for cell in request_for.cells}
    earlier(request_for, settings, rows, needs=needs)
    assert session.estimated(request_for, settings, rows).seconds == 101.0


def test_what_needs_more_memory_than_there_is_for_two_comes_one_after_the_other(request_for, settings, rows):
    needs = {cell.id: Need(cpu=0.5, memory_mib=4000) for cell in request_for.cells}
    earlier(request_for, settings, rows, needs=needs)
    assert session.estimated(request_for, settings, rows).seconds == 201.0


def test_what_a_run_has_finished_takes_no_time_again(request_for, settings, rows):
    run = earlier(request_for, settings, rows)
    again = dataclasses.replace(request_for, run=run)
    assert session.estimated(again, settings, rows).attempts == 1
    assert session.estimated(dataclasses.replace(request_for, resume=True), settings, rows).attempts == 1


def test_there_must_be_a_run_to_take_up(request_for, settings, rows):
    with pytest.raises(UsageError, match="no run of"):
        session.estimated(dataclasses.replace(request_for, resume=True), settings, rows)


def test_the_command_says_it_and_runs_nothing(request_for, tmp_path, monkeypatch, capsys):
    from lab import cli

    monkeypatch.setenv("LAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    assert cli.exit_code_of(["run", str(request_for.matrix), "--estimate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["attempts"] == 2
    assert not (tmp_path / "results").exists()
