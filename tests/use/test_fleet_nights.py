"""`lab nightly --on`, `lab bisect --on`: real scheduler, workers in this process, attempts that a function makes. No engine."""

import dataclasses
import datetime
import textwrap
import threading

import pytest
from fleet_of_threads import Counted, fleet

from lab import cli
from lab.environment import source as sources
from lab.environment import supplies
from lab.errors import ExitCode, UsageError
from lab.events import Note
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import AttemptResult, Finding, GitSource, Outcome, Severity, Span
from lab.use import bisect, nightly, remote, session
from lab.use.coordinator import Options
from tests.use import history
from tests.use.history import Plan

MATRIX = """
version: 1
name: many
defaults:
  source: SOURCE
  arch: x86_64
  toolchain: gcc-12
  kconfig: [tinyconfig]
  filesystem: tmpfs
matrix:
  make: [{targets: [a.o], jobs: 1}, {targets: [b.o], jobs: 1}]
"""
CAUSE = {"lib/ctype.c": "int a;\n#error here it is\n"}
BROKEN = {"lib/Kconfig": "menu\n"}
FAULT = Finding(id="build.compiler", severity=Severity.FAIL, title="t", message="m", where=Span(file="build.txt"))


@pytest.fixture
def settings(machine_settings, tmp_path):
    places = {"results": tmp_path / "results", "cache": tmp_path / "cache"}
    return dataclasses.replace(machine_settings, engine="unix:///nowhere", may_mount=True, **places)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small tree, and 40 commits on top of it; the 23rd breaks it."""
    root = tmp_path_factory.mktemp("history")
    source = root / "source"
    for path in (*history.EDITED, "lib/ctype.c", "lib/Kconfig", "Makefile"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text("VERSION = 6\n" if path == "Makefile" else "int a;\n")
    history.repository(source, root / "repository")
    return history.history(root / "repository", Plan(cause=CAUSE, breaks=BROKEN, commits=40, merges=2, culprit=23))


@pytest.fixture
def cells_of(rows, tmp_path):
    def cells_of(source):
        path = tmp_path / "matrix.yaml"
        path.write_text(textwrap.dedent(MATRIX).replace("SOURCE", source))
        return path, expand(read(path, rows))

    return cells_of


def built(task, own, findings=()):
    folder = own.results / task.run / task.cell.id / str(task.number)
    folder.mkdir(parents=True)
    (folder / "build.txt").write_text("CC\n")
    outcome = Outcome.FAIL if findings else Outcome.PASS
    where = f"{task.cell.id}/{task.number}"
    return AttemptResult(number=task.number, outcome=outcome, reason="built", findings=tuple(findings), folder=where)


def test_a_night_is_run_by_the_fleet(settings, rows, cells_of):
    path, cells = cells_of("{debian: linux-source-6.1, suite: bookworm}")
    counted = Counted()

    def execute(name, task, own, *_):
        counted.note(name, task)
        return built(task, own, [FAULT] if night == 2 and "a.o" in str(task.cell.make) else ())

    done = []
    with fleet(settings, rows, execute) as (address, _):
        for night in (1, 2):
            request = nightly.Request(
                matrix=path, name="many", cells=cells, today=datetime.date(2026, 11, night), on=Options(address=address)
            )
            trees = {"resolve": lambda source: nightly.Resolved(source=source, tree=str(night))}  # noqa: B023 (used at once)
            done.append(nightly.night(request, settings, rows, lambda event: None, threading.Event(), **trees))
    first, second = done
    assert first.exit_code == ExitCode.AS_EXPECTED
    (new,) = second.comparison.differences
    assert new.fault.signature.id == "build.compiler"
    assert second.night.further, "what may be chance was tried again, there as well"
    assert len(counted.made) == 2 + 2 + sum(len(one.attempts) for one in second.sessions[-1].results)
    assert all(one.facts["worker"] for run in second.sessions for result in run.results for one in result.attempts)


class Reader:
    """Makes attempts on workers by reading the source: as a build would, from the worker's own cache."""

    def __init__(self, settings, rows, *, elsewhere=""):
        self.settings, self.rows, self.elsewhere, self.counted = settings, rows, elsewhere, Counted()

    def __call__(self, name, task, own, sink, unwanted):
        self.counted.note(name, task)
        source = task.cell.source
        if self.elsewhere:  # a machine on which this path is nothing
            source = dataclasses.replace(source, repository=source.repository.replace(self.elsewhere, "/nowhere"))
            task = dataclasses.replace(task, cell=dataclasses.replace(task.cell, source=source))
        remote.Hand(own, self.rows)._supply(source, task, own)
        tree = sources.patched(sources.prepare(source, own), task.cell.patches, own)
        return built(task, own, [FAULT] if "#error" in (tree.path / "lib/ctype.c").read_text() else ())


def bisection(made, path, cell, address, **changes):
    on = Options(address=address, depot=changes.pop("depot", ""))
    return bisect.Request(
        matrix=path, name="many", cell=cell, repository=str(made.folder), good="base", bad="main", budget_s=3600.0,
        findings=("build.compiler",), confidence=0.95, on=on, **changes,
    )  # fmt: skip


def bisected(request, settings, rows):
    seen = []
    done = bisect.run(request, settings, rows, seen.append, threading.Event())
    return done, [event.text for event in seen if isinstance(event, Note)]


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_culprit_is_found_by_a_fleet(settings, rows, cells_of, made, jobs):
    path, cells = cells_of("{debian: linux-source-6.1, suite: bookworm}")
    reader = Reader(settings, rows)
    with fleet(settings, rows, reader) as (address, _):
        done, _ = bisected(bisection(made, path, cells[0], address, jobs=jobs), settings, rows)
    outcome = bisect.outcome_of(done.hunt)
    assert (outcome.ending, outcome.commits) == ("culprit", (made.culprit,))
    assert outcome.reverted is not None, "the bad end was tested without it"
    assert len({name for name, _ in reader.counted.made}) == jobs if jobs == 1 else True
    assert len(list(done.folder.glob("*/*/build.txt"))) == len(reader.counted.made), "the evidence came back"
    for entry in done.hunt.entries:
        if entry.verdict in ("failed", "sound") and not entry.place.startswith("revert:"):
            source = GitSource(repository=str(made.folder), rev=entry.place)
            assert entry.identity == sources.prepare(source, settings).key, "as the tree is called that a worker built"


def test_workers_that_do_not_have_the_repository_get_it_through_the_depot(settings, rows, cells_of, made, tmp_path):
    path, cells = cells_of("{debian: linux-source-6.1, suite: bookworm}")
    reader, depot = Reader(settings, rows, elsewhere=str(made.folder)), tmp_path / "depot"
    with fleet(settings, rows, reader) as (address, _):
        request = bisection(made, path, cells[0], address, depot=depot.as_uri(), jobs=3)
        done, _ = bisected(request, settings, rows)
    assert bisect.outcome_of(done.hunt).commits == (made.culprit,)
    assert not [one for one in depot.rglob("*") if one.is_file()], "nothing stays there"
    for name in {name for name, _ in reader.counted.made}:
        packs = list((settings.cache / name / "git").glob("*/objects/pack/*.pack"))
        assert len(packs) == 1, "each worker took it in once"


def test_without_a_depot_a_repository_that_workers_do_not_have_is_one_error(settings, rows, cells_of, made):
    path, cells = cells_of("{debian: linux-source-6.1, suite: bookworm}")
    with (
        fleet(settings, rows, Reader(settings, rows, elsewhere=str(made.folder))) as (address, _),
        pytest.raises(UsageError, match=r"a worker has no .* of git repository '/nowhere'") as raised,
    ):
        bisected(bisection(made, path, cells[0], address), settings, rows)
    assert "--depot" in str(raised.value)


def test_a_bisection_goes_on_after_an_interruption_and_repeats_nothing(settings, rows, cells_of, made):
    path, cells = cells_of("{debian: linux-source-6.1, suite: bookworm}")
    reader, stop, told = Reader(settings, rows), threading.Event(), []

    def after_three(event):
        told.append(event)
        if len(reader.counted.made) >= 3:
            stop.set()

    with fleet(settings, rows, reader) as (address, _):
        request = bisection(made, path, cells[0], address)
        first = bisect.run(request, settings, rows, after_three, stop)
        assert first.interrupted
        before = list(first.hunt.entries)
        done, _ = bisected(dataclasses.replace(request, resume=True), settings, rows)
    assert done.folder == first.folder
    assert bisect.outcome_of(done.hunt).commits == (made.culprit,)
    assert done.hunt.entries[: len(before)] == before
    assert len({(one.place, one.number) for one in done.hunt.entries}) == len(done.hunt.entries)


def test_a_fleet_that_nobody_joins_blames_no_commit(settings, rows, cells_of, made):
    from lab.errors import EnvironmentFault

    path, cells = cells_of("{debian: linux-source-6.1, suite: bookworm}")
    gone = []

    def execute(name, task, own, *_):
        gone.append(name)
        return built(task, own)

    with fleet(settings, rows, execute, names=()) as (address, _):
        request = bisection(made, path, cells[0], address)
        request = dataclasses.replace(request, on=dataclasses.replace(request.on, patience_s=0.5))
        with pytest.raises(EnvironmentFault, match="the lab is in trouble") as raised:
            bisected(request, settings, rows)
    assert "there is no worker" in str(raised.value)
    assert not gone


def test_a_runs_git_source_is_pinned_here_and_sent(settings, rows, cells_of, made, tmp_path):
    path, cells = cells_of(f"{{git: {made.folder}, rev: base}}")
    reader, sent = Reader(settings, rows, elsewhere=str(made.folder)), []

    def execute(name, task, own, *rest):
        sent.append(task.cell.source.rev)
        return reader(name, task, own, *rest)

    with fleet(settings, rows, execute) as (address, _):
        on = Options(address=address, depot=(tmp_path / "depot").as_uri())
        request = session.Request(matrix=path, name="many", cells=cells, on=on)
        done = session.run(request, settings, rows, lambda event: None, threading.Event())
    assert {result.outcome for result in done.results} == {Outcome.PASS}
    assert set(sent) == {made.names[0]}


def test_a_pack_has_the_range_and_no_history_before_it(settings, made, tmp_path):
    good, bad = made.names[10], made.names[30]
    pack, sha256 = supplies.packed(str(made.folder), [bad], settings, tmp_path, good)
    assert len(sha256) == 64
    other = dataclasses.replace(settings, cache=tmp_path / "other")
    far = [GitSource(repository="/nowhere", rev=one) for one in (good, bad, made.names[0])]
    assert not supplies.there(far[1], other)
    supplies.taken_in(far[1], pack, other)
    assert [supplies.there(one, other) for one in far] == [True, True, False]
    here = sources.prepare(dataclasses.replace(far[1], repository=str(made.folder)), settings)
    assert sources.prepare(far[1], other).key == here.key


@pytest.mark.parametrize("command", ["run", "nightly"])
def test_a_depot_without_a_fleet_is_told(capsys, cells_of, command):
    path, _ = cells_of("{debian: linux-source-6.1, suite: bookworm}")
    assert cli.exit_code_of([command, str(path), "--depot", "file:///x"]) == ExitCode.USAGE
    assert "--depot goes with --on" in capsys.readouterr().err
