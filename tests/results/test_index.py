"""The index: grown or rebuilt it says the same; what is torn, killed or full loses nothing that was finished."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.errors import EnvironmentFault, UsageError
from lab.results import index_tables, nights, questions, store
from lab.results.index import Index, content
from lab.results.nights import NightCell, NightFacts
from lab.results.verdict import cell_result

sys.path.insert(0, str(Path(__file__).parent.parent / "use"))
from simulated import attempt
from test_store import with_cell


def write_run(results, name, marks, *, at_s=0.0, night="", ended=True, further=(), carried=()):
    """Write a run as a session does. marks: cell -> one mark an attempt (see simulated). night: its day."""
    cells = tuple(with_cell(id=cell, repeat=len(some)) for cell, some in marks.items())
    facts = store.RunFacts(
        run=name, matrix="m.yaml", matrix_sha256="0" * 64, cells=cells, started_at_s=at_s, lab_version="0"
    )
    with store.open_run(results, facts) as opened:
        for cell in cells:
            attempts = []
            for number, mark in enumerate(marks[cell.id], start=1):
                opened.attempt_folder(cell.id, number)
                attempts.append(attempt(mark, number, f"{cell.id}/{number}"))
                opened.keep_attempt(cell.id, attempts[-1])
            if ended:
                opened.keep_result(cell_result(cell, attempts))
        if ended:
            opened.keep_history(store.History())
        if night:
            own = [NightCell(cell=cell.id, inputs="", run=name) for cell in cells]
            others = [NightCell(cell=cell, inputs="", run=run) for cell, run in carried]
            facts = NightFacts(matrix="m", day=night, cells=(*own, *others), further=further, finished=ended)
            nights.write(opened.folder, facts)
    return results / name


@pytest.fixture
def results(tmp_path):
    """Three nights of two cells and a run that is none."""
    root = tmp_path / "results"
    write_run(root, "m-night-20261121", {"a": ".", "b": "T"}, at_s=1.0, night="2026-11-21")
    write_run(root, "m-night-20261122-more", {"a": "..C"}, at_s=3.0)
    write_run(
        root, "m-night-20261122", {"a": "C", "b": "E"}, at_s=2.0, night="2026-11-22", further=("m-night-20261122-more",)
    )
    write_run(root, "m-night-20261123", {"a": "."}, at_s=4.0, night="2026-11-23", carried=[("b", "m-night-20261121")])
    write_run(root, "mine-20261123-101112", {"a": "M"}, at_s=1795428672.0)
    return root


NIGHTS = tuple(f"m-night-2026112{day}" for day in (1, 2, 3))


def grown(results, url=""):
    index = Index(results, url)
    index.grow()
    return index


def test_it_answers_what_is_asked_over_time(results):
    index = grown(results)
    told = [
        (one.run, one.outcome, one.judged, one.lost, one.carried) for one in questions.history(index, "b", matrix="m")
    ]
    assert told[:2] == [(NIGHTS[0], "FAIL", 1, 0, False), (NIGHTS[1], "ERROR", 0, 1, False)]
    assert told[2] == (NIGHTS[2], "FAIL", 1, 0, True)
    assert questions.latest(index, "m", at_most=2, nights=True) == NIGHTS[1:]
    (lost,) = questions.not_judged(index, NIGHTS)
    assert (lost.cell, lost.run, lost.outcome, lost.day) == ("b", NIGHTS[1], "ERROR", "2026-11-22")
    known = {one.signature.id: one for one in questions.findings(index)}
    assert set(known) == {"build.compiler", "timestamps.tie", "modpost.undefined"}
    tie = known["timestamps.tie"]
    assert (tie.first_day, tie.last_day, tie.cells, tie.runs) == ("2026-11-21", "2026-11-21", 1, 1)
    assert questions.findings(index, finding=tie.signature.key) == (tie,)
    rates = {
        (one.cell, one.signature.id): (one.rate.failures, one.rate.trials) for one in questions.rates(index, NIGHTS)
    }
    assert rates == {("a", "build.compiler"): (2, 6), ("b", "timestamps.tie"): (1, 1)}
    assert [(one.run, one.outcomes) for one in questions.overviews(index, NIGHTS[:2])] == [
        (NIGHTS[0], {"PASS": 1, "FAIL": 1}), (NIGHTS[1], {"FAIL": 1, "ERROR": 1}),
    ]  # fmt: skip
    assert [one.cell for one in questions.grid(index, NIGHTS[0])] == ["a", "b"]
    assert questions.matrices(index) == ("m",)


def test_grown_step_by_step_it_is_what_it_is_when_rebuilt(results, tmp_path):
    index = grown(results)
    write_run(results, "m-night-20261124", {"a": "CC", "b": "T"}, at_s=9.0, night="2026-11-24")
    assert index.grow().read == ("m-night-20261124",)
    shutil.rmtree(results / "m-night-20261121")
    done = index.grow()
    assert done.removed == ("m-night-20261121",)
    write_run(results, "under-way", {"a": "C"}, ended=False)
    index.grow()
    with store.open_run(results, store.read(store.RunFacts, results / "under-way" / "run.json")) as opened:
        opened.attempt_folder("a", 2)
        opened.keep_attempt("a", attempt(".", 2, "a/2"))
    assert index.grow().read == ("under-way",)
    assert index.grow().read == (), "nothing was written since"
    by_steps = content(index)
    other = Index(results, f"sqlite:///{tmp_path / 'other.sqlite'}")
    other.grow()
    assert content(other) == by_steps
    index.rebuild()
    assert content(index) == by_steps


marks = st.dictionaries(st.sampled_from("abc"), st.text(".CTE", min_size=1, max_size=3), min_size=1)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["add", "remove"]), st.integers(1, 3), marks), max_size=5))
def test_whatever_comes_and_goes_grown_equals_rebuilt(tmp_path_factory, steps):
    root = tmp_path_factory.mktemp("grown") / "results"
    index = Index(root)
    for what, number, some in steps:
        name = f"m-night-2026110{number}"
        shutil.rmtree(root / name, ignore_errors=True)
        if what == "add":
            write_run(root, name, some, night=f"2026-11-0{number}")
        index.grow()
    before = content(index)
    index.rebuild()
    assert content(index) == before
    index.close()


def test_a_torn_file_loses_itself_and_nothing_else(results):
    for name in ("result.json", "1/result.json", "1/findings.json"):
        (results / NIGHTS[0] / "a" / name).write_bytes(b'{"schema_version": 1, "cell": "a", "outco')
    (results / "mine-20261123-101112" / "run.json").write_bytes(b"{")
    index = Index(results)
    done = index.grow()
    assert done.unreadable == ("mine-20261123-101112",)
    first = {one.cell: one for one in questions.grid(index, NIGHTS[0])}
    assert (first["b"].outcome, first["b"].judged) == ("FAIL", 1)
    assert (first["a"].outcome, first["a"].judged) == ("MISS", 0), (
        "its one attempt cannot be read: not judged, never PASS"
    )


def test_a_verdict_that_is_torn_is_made_again_from_its_attempts(results):
    (results / NIGHTS[0] / "b" / "result.json").write_bytes(b"")
    cells = {one.cell: one.outcome for one in questions.grid(grown(results), NIGHTS[0])}
    assert cells == {"a": "PASS", "b": "FAIL"}


@pytest.mark.parametrize("damage", [b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_index_is_set_aside_and_made_again(results, damage):
    before = content(grown(results))
    for path in results.glob(f"{index_tables.FILE}*"):
        path.unlink()
    (results / index_tables.FILE).write_bytes(damage)
    assert content(grown(results)) == before
    assert (results / f"{index_tables.FILE}.aside-1").exists()


def test_an_index_of_another_version_is_made_again(results, monkeypatch):
    before = content(grown(results))
    monkeypatch.setattr(index_tables, "VERSION", index_tables.VERSION + 1)
    index = Index(results)
    assert content(index)["runs"] == []
    index.grow()
    assert content(index) == before


WRITER = """
import sys
from pathlib import Path
from lab.results.index import Index
results, turns = Path(sys.argv[1]), int(sys.argv[2])
for _ in range(turns):
    index = Index(results)
    index.grow()
    index.rebuild() if sys.argv[3] == "rebuild" else None
    index.close()
"""


def writer(results, turns, what="grow"):
    words = [sys.executable, "-c", WRITER, str(results), str(turns), what]
    return subprocess.Popen(words, cwd=Path(__file__).parent.parent.parent, stderr=subprocess.PIPE, text=True)


def test_processes_that_write_at_once_lose_nothing(results):
    writers = [writer(results, 3), writer(results, 3), writer(results, 2, "rebuild")]
    for number in range(4, 9):
        write_run(results, f"m-night-2026112{number}", {"a": "C.", "b": "T"}, night=f"2026-11-2{number}")
    for one in writers:
        _, told = one.communicate(timeout=120)
        assert one.returncode == 0, told
    index = grown(results)
    by_many = content(index)
    index.rebuild()
    assert content(index) == by_many
    assert len(by_many["runs"]) == 9


def test_a_writer_that_is_killed_leaves_whole_runs_only(results):
    for number in range(1, 9):
        write_run(results, f"m-night-2026110{number}", {"a": "C.", "b": "T"}, night=f"2026-11-0{number}")
    one = writer(results, 50, "rebuild")
    while one.poll() is None and not (results / index_tables.FILE).exists():
        pass
    one.send_signal(signal.SIGKILL)
    one.communicate()
    index = grown(results)
    after = content(index)
    index.rebuild()
    assert content(index) == after


FULL = """
import resource, signal, sys
from pathlib import Path
from lab.errors import EnvironmentFault
from lab.results.index import Index
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    Index(Path(sys.argv[1])).grow()
except EnvironmentFault as error:
    print(error.finding, error.message)
else:
    print("done")
"""


def test_a_full_disk_is_the_machines_fault_and_loses_nothing(results):
    before = {path: path.read_bytes() for path in results.glob("**/*.json")}
    words = [sys.executable, "-c", FULL, str(results), "40960"]
    told = subprocess.run(words, cwd=Path(__file__).parent.parent.parent, capture_output=True, text=True, check=True)
    assert told.stdout.startswith("infra."), told.stdout + told.stderr
    assert {path: path.read_bytes() for path in results.glob("**/*.json")} == before
    index = grown(results)
    after = content(index)
    index.rebuild()
    assert content(index) == after


@pytest.mark.parametrize("url", ["mysql://h/x", "no url", "sqlite3://x"])
def test_what_is_no_url_is_the_callers_mistake(results, url):
    with pytest.raises(UsageError):
        Index(results, url)


def test_a_database_that_is_not_there_is_the_machines_fault(results):
    pytest.importorskip("psycopg")
    with pytest.raises(EnvironmentFault, match="the index cannot be used"):
        Index(results, f"postgresql://nobody@/none?host={results}")
