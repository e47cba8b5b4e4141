"""`lab run --on`: a real scheduler, real workers in this process, attempts that a function makes. No engine is asked."""

import dataclasses
import json
import os
import textwrap
import threading
import time

import pytest
from fleet_of_threads import POOLS, Counted, fleet

from lab.errors import EnvironmentFault, Untestable, UsageError
from lab.events import CellJudged, JobProgress, JobStarted, Note
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import AttemptResult, Finding, Outcome, Severity, Span
from lab.results import store
from lab.use import remote, session
from lab.use.coordinator import Options

MATRIX = """
version: 1
name: many
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: x86_64
  toolchain: gcc-12
  kconfig: [tinyconfig]
matrix:
  filesystem: [tmpfs, ext4]
  make: [{targets: [a.o], jobs: 1}, {targets: [b.o], jobs: 1}, {targets: [c.o], jobs: 1}]
"""


@pytest.fixture
def settings(machine_settings, tmp_path):
    places = {"results": tmp_path / "results", "cache": tmp_path / "cache"}
    secret = (("https_proxy", "http://me:hunter2@proxy"),)
    return dataclasses.replace(machine_settings, engine="unix:///nowhere", environment=secret, may_mount=True, **places)


@pytest.fixture
def request_of(rows, tmp_path):
    def request_of(text=MATRIX, **options):
        path = tmp_path / "matrix.yaml"
        path.write_text(textwrap.dedent(text))
        return session.Request(matrix=path, name="many", cells=expand(read(path, rows)), **options)

    return request_of


def made(task, settings, outcome=Outcome.PASS, findings=(), reason="built"):
    """Leave evidence where a worker's attempt does, and return its result."""
    folder = settings.results / task.run / task.cell.id / str(task.number)
    folder.mkdir(parents=True)
    (folder / "build.txt").write_text(f"CC {task.cell.make.targets[0]}\n")
    (folder / "link").symlink_to("/etc/passwd")
    return AttemptResult(
        number=task.number, outcome=outcome, reason=reason, findings=findings, folder=f"{task.cell.id}/{task.number}"
    )


def trouble(task, settings):
    full = Finding(id="infra.disk-full", severity=Severity.ERROR, title="t", message="no space", where=Span(file=""))
    return made(task, settings, Outcome.ERROR, (full,), "infra.disk-full: no space")


class Run:
    def __init__(self, settings, rows):
        self.settings, self.rows, self.seen, self.stop = settings, rows, [], threading.Event()

    def __call__(self, request, address, sink=None, **options):
        def heard(event):
            self.seen.append(event)
            if sink is not None:
                sink(event)

        on = Options(address=address, **{"patience_s": 60.0, **options})
        return session.run(dataclasses.replace(request, on=on), self.settings, self.rows, heard, self.stop)

    def notes(self):
        return [event.text for event in self.seen if isinstance(event, Note)]


@pytest.fixture
def run(settings, rows):
    return Run(settings, rows)


def outcomes(done):
    return {str(result.outcome) for result in done.results}


def test_attempts_are_made_elsewhere_and_their_evidence_comes_into_the_run(run, settings, rows, request_of):
    counted, sent = Counted(), []

    def execute(name, task, own, sink, unwanted):
        counted.note(name, task)
        sent.append(store.encoded(task).decode())
        sink(JobProgress(key=task.key, step="build", detail="CC a.o", fraction=0.5))
        time.sleep(0.05)
        return made(task, own)

    with fleet(settings, rows, execute) as (address, _):
        done = run(request_of(), address)
    assert outcomes(done) == {"PASS"}
    assert len({name for name, _ in counted.made}) > 1, "the work was shared"
    assert sorted(cell for _, cell in counted.made) == sorted(done.by_cell), "each cell once"
    for result in done.results:
        folder = done.folder / result.cell / "1"
        assert (folder / "build.txt").read_text().startswith("CC ")
        assert not (folder / "link").is_symlink(), "links do not travel"
        assert store.read(AttemptResult, folder / "result.json") == result.attempts[0]
        assert result.attempts[0].facts["worker"] in ("one", "two", "three")
    assert not list(done.folder.glob(".parcel-*"))
    assert not list((settings.cache / "one" / "fleet").glob("*"))
    assert "hunter2" not in "".join(sent), "secrets never travel"
    assert len([event for event in run.seen if isinstance(event, CellJudged)]) == 6
    assert any(isinstance(event, JobStarted) and " on " in event.title for event in run.seen)
    assert any(isinstance(event, JobProgress) and event.detail == "CC a.o" for event in run.seen)


def test_evidence_may_go_through_a_store_and_nothing_stays_there(run, settings, rows, request_of, tmp_path):
    depot = tmp_path / "depot"
    with fleet(settings, rows, lambda name, task, own, *_: made(task, own)) as (address, _):
        done = run(request_of(), address, depot=depot.as_uri())
    assert outcomes(done) == {"PASS"}
    assert all((done.folder / result.cell / "1" / "build.txt").is_file() for result in done.results)
    assert not [path for path in depot.rglob("*") if path.is_file()]


def test_what_a_lost_worker_had_is_done_by_another(run, settings, rows, request_of):
    began, lost = threading.Event(), threading.Event()

    def execute(name, task, own, sink, unwanted):
        if name == "one":
            began.set()
            unwanted.wait(30)  # it hangs until its machine is gone
        elif not lost.is_set():
            lost.wait(30)
        return made(task, own)

    with fleet(settings, rows, execute, names=("one", "two")) as (address, lose):

        def kill():
            began.wait(30)
            lose("one")
            lost.set()

        killer = threading.Thread(target=kill)
        killer.start()
        done = run(request_of(), address)
        killer.join()
    assert outcomes(done) == {"PASS"}
    assert {result.attempts[0].facts["worker"] for result in done.results} == {"two"}
    assert any("is gone" in note for note in run.notes())


def test_a_worker_that_fails_again_and_again_is_set_aside_and_its_work_done_elsewhere(run, settings, rows, request_of):
    counted = Counted()

    def execute(name, task, own, sink, unwanted):
        counted.note(name, task)
        time.sleep(0.1 if name == "bad" else 0.4)
        return trouble(task, own) if name == "bad" else made(task, own)

    with fleet(settings, rows, execute, names=("bad", "good")) as (address, _):
        done = run(request_of(), address)
    assert outcomes(done) == {"PASS"}
    assert 3 <= len(counted.by("bad")) <= 4, "two at once, and none after the third"
    (note,) = [note for note in run.notes() if "set aside" in note]
    assert "worker bad" in note
    assert "no space" in note


def test_what_only_the_worker_could_do_that_had_trouble_with_it_is_asked_of_it_again(run, settings, rows, request_of):
    troubled, lost, counted = threading.Event(), threading.Event(), Counted()

    def execute(name, task, own, sink, unwanted):
        counted.note(name, task)
        if name == "bad":
            if len(counted.by("bad")) > 2:
                lost.wait(30)  # a third trouble would set it aside while there is another
            troubled.set()
            return trouble(task, own)
        unwanted.wait(30)  # until its machine is gone
        return made(task, own)

    with fleet(settings, rows, execute, names=("bad", "gone")) as (address, lose):

        def kill():
            troubled.wait(30)
            time.sleep(1.0)  # what had trouble waits for the other one, which is busy
            lose("gone")
            while not any("worker gone is gone" in note for note in run.notes()):
                time.sleep(0.1)
            lost.set()

        killer = threading.Thread(target=kill)
        killer.start()
        done = run(request_of(), address, patience_s=1.0)
        killer.join()
    assert lost.is_set()
    assert outcomes(done) == {"ERROR"}
    assert {attempt.facts["worker"] for result in done.results for attempt in result.attempts} == {"bad"}


def test_the_last_worker_is_not_set_aside_and_its_trouble_is_the_verdict(run, settings, rows, request_of):
    with fleet(settings, rows, lambda name, task, own, *_: trouble(task, own), names=("bad",)) as (address, _):
        done = run(request_of(), address)
    assert outcomes(done) == {"ERROR"}
    assert "infra.disk-full" in done.results[0].reason


def test_the_kernels_fault_is_nobodys_trouble(run, settings, rows, request_of):
    fault = Finding(id="build.compiler", severity=Severity.FAIL, title="t", message="m", where=Span(file="build.txt"))
    counted = Counted()

    def execute(name, task, own, *_):
        counted.note(name, task)
        return made(task, own, Outcome.FAIL, (fault,), "build.compiler: m")

    with fleet(settings, rows, execute) as (address, _):
        done = run(request_of(), address)
    assert outcomes(done) == {"FAIL"}
    assert len(counted.made) == 6, "none was made twice"


def test_what_cannot_be_judged_is_told_as_by_a_local_run(run, settings, rows, request_of):
    def execute(*_):
        raise Untestable("patch 'x' does not apply", facts=(("hunk", "1"),))

    with fleet(settings, rows, execute, names=("one",)) as (address, _):
        done = run(request_of(), address)
    assert all(result.untestable for result in done.results)
    assert "does not apply" in done.results[0].reason


def test_a_bug_of_a_workers_lab_is_told_with_its_traceback(run, settings, rows, request_of):
    def execute(*_):
        raise ZeroDivisionError("seven")

    with fleet(settings, rows, execute, names=("one",)) as (address, _):
        done = run(request_of(), address)
    assert outcomes(done) == {"ERROR"}
    assert "ZeroDivisionError: seven" in done.results[0].reason


def test_another_lab_or_other_images_are_refused(run, settings, rows, request_of):
    facts = {"old": {"code": "0" * 64}, "odd": {"images": "1" * 64}, "bare": {"lacks": {"engine": "no engine answers"}}}
    with fleet(settings, rows, lambda *_: 1 / 0, names=("old", "odd", "bare"), facts=facts) as (address, _):
        done = run(request_of(), address, patience_s=1.0)
    assert outcomes(done) == {"ERROR"}
    said = "\n".join(run.notes())
    assert "worker old is refused: its lab is another one" in said
    assert "worker odd is refused: its image definitions are others" in said
    assert "worker bare is refused: no engine answers" in said
    assert "no worker can do it" in done.results[0].reason


def test_what_a_worker_lacks_is_done_by_one_that_has_it(run, settings, rows, request_of):
    counted = Counted()

    def execute(name, task, own, *_):
        counted.note(name, task)
        return made(task, own)

    facts = {"one": {"lacks": {"filesystem:ext4": "no ext4 here"}}}
    with fleet(settings, rows, execute, names=("one", "two"), facts=facts) as (address, _):
        done = run(request_of(), address)
    assert outcomes(done) == {"PASS"}
    assert not [cell for cell in counted.by("one") if "ext4" in cell]


def test_no_worker_that_can_is_an_error_with_what_each_lacks(run, settings, rows, request_of):
    facts = {"one": {"lacks": {"filesystem:ext4": "no ext4 here"}}}
    with fleet(settings, rows, lambda n, task, own, *_: made(task, own), names=("one",), facts=facts) as (address, _):
        done = run(request_of(), address, patience_s=1.0)
    verdicts = {result.cell.split("-")[3]: result for result in done.results}
    assert verdicts["tmpfs"].outcome is Outcome.PASS
    assert verdicts["ext4"].outcome is Outcome.ERROR
    assert "one: no ext4 here" in verdicts["ext4"].findings[0].because


def test_an_interruption_stops_the_workers_and_resume_goes_on(run, settings, rows, request_of):
    told, counted = threading.Event(), Counted()

    def execute(name, task, own, sink, unwanted):
        counted.note(name, task)
        if counted.made.index((name, task.cell.id)) >= 2 and not again:
            assert unwanted.wait(30), "nobody told the worker"
            told.set()
        return made(task, own)

    again = []
    with fleet(settings, rows, execute, names=("one",)) as (address, _):

        def stop_after_two(event):
            if isinstance(event, CellJudged) and len([one for one in run.seen if isinstance(one, CellJudged)]) == 2:
                run.stop.set()

        request = request_of()
        first = run(request, address, stop_after_two)
        assert first.interrupted
        assert [str(result.outcome) for result in first.results].count("PASS") == 2
        assert told.wait(30)
        again.append(True)
        run.stop.clear()
        counted.made.clear()
        second = run(dataclasses.replace(request, run=first.facts.run), address)
    assert outcomes(second) == {"PASS"}
    unfinished = {result.cell for result in first.results if result.outcome is not Outcome.PASS}
    assert {cell for _, cell in counted.made} == unfinished, "what was finished was not made again"


def test_a_scheduler_that_is_lost_in_mid_run_is_the_error_of_what_is_not_finished(run, settings, rows, request_of):
    counted, building, told, again = Counted(), threading.Event(), [], []

    def execute(name, task, own, sink, unwanted):
        counted.note(name, task)
        if not again and counted.made.index((name, task.cell.id)) >= 2:
            building.set()
            told.append(unwanted.wait(30))
        return made(task, own)

    with fleet(settings, rows, execute, names=("one",)) as (address, lose):
        saboteur = threading.Thread(target=lambda: building.wait(30) and lose())
        saboteur.start()
        first = run(request_of(), address)
        saboteur.join()
    assert not first.interrupted
    assert outcomes(first) == {"PASS", "ERROR"}
    reasons = {result.reason for result in first.results if result.outcome is Outcome.ERROR}
    assert all("infra.worker-lost" in reason and "scheduler does not answer" in reason for reason in reasons), reasons
    assert told, "something was under way"
    assert all(told), "nobody told the worker"
    again.append(True)
    with fleet(settings, rows, execute, names=("one",)) as (address, _):
        second = run(dataclasses.replace(request_of(), run=first.facts.run), address)
    assert outcomes(second) == {"PASS"}


def test_repeats_end_when_enough_is_known(run, settings, rows, request_of):
    text = MATRIX + "  repeat: [{times: 40, until: first-failure}]\n"
    text = text.replace("filesystem: [tmpfs, ext4]", "filesystem: [tmpfs]").replace(
        ", {targets: [b.o], jobs: 1}, {targets: [c.o], jobs: 1}", ""
    )
    counted = Counted()
    fault = Finding(id="build.compiler", severity=Severity.FAIL, title="t", message="m", where=Span(file="build.txt"))

    def execute(name, task, own, *_):
        counted.note(name, task)
        return made(task, own, Outcome.FAIL, (fault,), "build.compiler: m")

    with fleet(settings, rows, execute, names=("one",)) as (address, _):
        done = run(request_of(text), address)
    assert outcomes(done) == {"FAIL"}
    assert len(counted.made) < 20, "only what was under way"


def test_nobody_listens_or_the_address_is_none(run, request_of, monkeypatch):
    from lab.environment import cluster

    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with pytest.raises(EnvironmentFault, match="scheduler does not answer"):
        run(request_of(), "dask://127.0.0.1:1")
    with pytest.raises(UsageError, match="not the address of a scheduler"):
        run(request_of(), "http://x")


def test_a_worker_of_dasks_own_is_refused(run, settings, rows, request_of):
    import distributed

    with distributed.LocalCluster(
        n_workers=1, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=":0", silence_logs=50
    ) as local:
        done = run(request_of(), local.scheduler_address.replace("tcp", "dask"), patience_s=0.5)
    assert outcomes(done) == {"ERROR"}
    assert any("was not started with `lab worker`" in note for note in run.notes())


def test_faults_survive_the_way_and_a_worker_knows_itself(settings, rows):
    error = EnvironmentFault("full", finding="infra.disk-full", facts=(("a", "b"),), hint="h")
    back = remote.raised_of(remote.fault_of(error))
    assert (type(back), str(back), back.finding) == (EnvironmentFault, str(error), "infra.disk-full")
    facts = remote.facts(settings, rows, "me", probe=lambda *_: 1 / 0)
    assert not facts.kvm, "without an engine nothing was tried"
    assert facts.lacks["engine"] == "no container engine answers"
    assert json.loads(store.encoded(facts))["pools"]["cpu"] == settings.cores
    assert set(facts.pools) == set(POOLS)


@pytest.mark.parametrize(
    ("asked", "seen", "how"),
    [
        ("auto", True, "kvm"),
        ("auto", False, "tcg"),
        ("auto", None, "auto"),
        ("tcg", True, "tcg"),
        ("kvm", False, "kvm"),
    ],
)
def test_guests_run_as_was_seen_when_the_worker_began(settings, rows, request_of, asked, seen, how):
    task = remote.Task(run="r", key="k", cell=request_of().cells[0], number=1, cpus=1, accel=asked)
    assert remote.Hand(settings, rows, kvm=seen)._accel(task) == how


def test_what_a_killed_worker_had_on_its_way_back_is_swept_by_the_next(settings):
    root = settings.cache / remote.FOLDER
    dead, alive = root / "4194305-dead", root / f"{os.getpid()}-alive"  # no process has a number beyond 2**22
    for folder in (dead, alive):
        (folder / "results").mkdir(parents=True)
    remote.sweep(settings, lambda event: None)
    assert [folder.name for folder in root.iterdir()] == [alive.name]
