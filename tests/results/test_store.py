"""The store: what is whole comes back, what is torn is not there, two processes never share a run."""

import errno
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.errors import EnvironmentFault, LabError, UsageError
from lab.model import (
    AttemptResult,
    Cell,
    Deadlines,
    DebianSource,
    DirSource,
    Emulation,
    Finding,
    GitSource,
    Lto,
    Make,
    Outcome,
    Patch,
    Result,
    Severity,
    Span,
    TarballSource,
)
from lab.results import codec, disk, store
from lab.results.store import History, RunFacts, decoded, encoded, open_run, run_name

PLAIN = Cell(
    id="tmpfs",
    source=DebianSource(package="linux-source-6.1"),
    arch="x86_64",
    toolchain="gcc-12",
    lto=Lto.NONE,
    emulation=Emulation.NATIVE,
    filesystem="tmpfs",
    kconfig=(),
    patches=(),
    make=Make(),
    boot=None,
    repeat=1,
    deadlines=Deadlines(),
    ccache=True,
    expect=None,
    axes=(("filesystem", "tmpfs"),),
)
PASSED = AttemptResult(number=1, outcome=Outcome.PASS, reason="built", findings=(), folder="tmpfs/1")


def facts(*cells: Cell, run: str = "run", at_s: float = 0.0) -> RunFacts:
    return RunFacts(
        run=run,
        matrix="quickstart",
        matrix_sha256="0" * 64,
        cells=cells or (PLAIN,),
        started_at_s=at_s,
        lab_version="0",
    )


def with_cell(**changes: object) -> Cell:
    return replace(PLAIN, **changes)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- the codec

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
findings = st.builds(
    Finding,
    id=texts,
    severity=st.sampled_from(Severity),
    title=texts,
    message=texts,
    where=st.builds(Span, file=texts, first=st.integers(0, 9), last=st.integers(0, 9)),
    blame=texts,
    because=st.lists(texts, max_size=3).map(tuple),
    data=st.dictionaries(texts, json_values, max_size=3),
)
attempts = st.builds(
    AttemptResult,
    number=st.integers(1, 99),
    outcome=st.sampled_from(Outcome),
    reason=texts,
    findings=st.lists(findings, max_size=3).map(tuple),
    seconds=numbers,
    facts=st.dictionaries(texts, json_values, max_size=3),
)
sources = (
    st.builds(DebianSource, package=texts, suite=texts)
    | st.builds(DirSource, path=texts)
    | st.builds(GitSource, repository=texts, rev=texts)
    | st.builds(TarballSource, path=texts, sha256=texts)
)
cells = st.builds(
    with_cell,
    source=sources,
    patches=st.lists(st.builds(Patch, name=texts, text=texts), max_size=2).map(tuple),
    axes=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
)


@given(attempts)
def test_an_attempt_comes_back_equal(attempt):
    assert decoded(AttemptResult, encoded(attempt)) == attempt


@given(st.lists(cells, max_size=3).map(tuple), numbers)
def test_a_runs_facts_come_back_equal(some, at_s):
    assert decoded(RunFacts, encoded(facts(*some, at_s=at_s))) == facts(*some, at_s=at_s)


@given(st.binary(max_size=200) | json_values.map(lambda value: encoded({"number": value})))
def test_strange_bytes_are_no_attempt_and_no_traceback(raw):
    assert decoded(AttemptResult, raw) is None


def test_deep_nesting_is_no_attempt_and_no_traceback():
    assert decoded(AttemptResult, b'{"schema_version":1,"facts":' + b"[" * 100_000) is None


def test_a_file_of_another_version_is_no_attempt():
    raw = encoded(PASSED).replace(b'"schema_version": 1', b'"schema_version": 2')
    assert decoded(AttemptResult, raw) is None


def test_what_json_cannot_say_does_not_lose_an_attempt():
    odd = AttemptResult(
        number=1, outcome=Outcome.PASS, reason="\udc80", findings=(), facts={"ratio": math.nan, "path": Path("a")}
    )
    back = decoded(AttemptResult, encoded(odd))
    assert back is not None
    assert (back.reason, back.facts) == ("\ufffd", {"ratio": None, "path": "a"})


# ------------------------------------------------------------------------------------------------- torn and hostile


def test_a_result_torn_at_any_byte_is_unfinished_and_set_aside(tmp_path):
    whole = encoded(PASSED).rstrip(b"\n")
    for length in range(len(whole)):
        assert decoded(AttemptResult, whole[:length]) is None, length
    with open_run(tmp_path, facts()) as run:
        run.attempt_folder("tmpfs", 1)
        path = tmp_path / "run/tmpfs/1/result.json"
        path.write_bytes(whole[:-1])
        assert run.finished() == {}
    assert path.with_name("result.json.aside-1").read_bytes() == whole[:-1]


def test_a_torn_run_file_is_set_aside_and_written_anew(tmp_path):
    open_run(tmp_path, facts()).close()
    (tmp_path / "run/run.json").write_text('{"schema_version": 1, "ru')
    open_run(tmp_path, facts()).close()
    assert store.read(RunFacts, tmp_path / "run/run.json") == facts()
    assert (tmp_path / "run/run.json.aside-1").exists()


def test_a_fifo_in_the_place_of_a_result_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "result.json")
    assert store.read(AttemptResult, tmp_path / "result.json") is None


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", "a\n", "-rf"])
def test_a_cell_id_never_leaves_the_runs_folder(tmp_path, name):
    with open_run(tmp_path, facts()) as run, pytest.raises(LabError):
        run.attempt_folder(name, 1)


@pytest.mark.parametrize(
    ("number", "finding"),
    [
        (errno.ENOSPC, "infra.disk-full"),
        (errno.EACCES, "infra.filesystem"),
    ],
)
def test_a_disk_that_takes_nothing_is_the_machines_fault(number, finding):
    fault = disk.disk_fault(OSError(number, "words"), Path("results/run/result.json"))
    assert isinstance(fault, EnvironmentFault)
    assert fault.finding == finding


def test_a_write_that_fails_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "result.json"
    store.write(path, PASSED)
    before = path.read_bytes()
    path.with_name(f".result.json.{os.getpid()}-{disk.threading.get_ident()}.tmp").mkdir()
    with pytest.raises(EnvironmentFault):
        store.write(path, {"new": True})
    assert path.read_bytes() == before


# --------------------------------------------------------------------------------------------------------- attempts


def test_what_was_kept_is_finished_and_read_back(tmp_path):
    with open_run(tmp_path, facts()) as run:
        run.attempt_folder("tmpfs", 1)
        run.keep_attempt("tmpfs", PASSED)
        run.keep_result(Result(cell="tmpfs", outcome=Outcome.PASS, reason="built", attempts=(PASSED,)))
    with open_run(tmp_path, facts()) as run:
        assert run.finished() == {("tmpfs", 1): PASSED}
    assert store.read_results(tmp_path / "run")["tmpfs"].attempts == (PASSED,)


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.MISS])
def test_an_attempt_that_was_not_judged_is_done_again(tmp_path, outcome):
    with open_run(tmp_path, facts()) as run:
        run.attempt_folder("tmpfs", 1)
        run.keep_attempt("tmpfs", AttemptResult(number=1, outcome=outcome, reason="disk full", findings=()))
        assert run.finished() == {}


def test_a_half_finished_attempt_is_set_aside_and_its_folder_empty(tmp_path):
    with open_run(tmp_path, facts()) as run:
        (run.attempt_folder("tmpfs", 1) / "build.txt").write_text("CC a.o\n")
        folder = run.attempt_folder("tmpfs", 1)
        assert run.last_aside("tmpfs", 1) == "1.aside-1"
    assert list(folder.iterdir()) == []
    assert (tmp_path / "run/tmpfs/1.aside-1/build.txt").read_text() == "CC a.o\n"


def test_a_run_that_dies_again_and_again_keeps_only_the_newest_tries(tmp_path):
    with open_run(tmp_path, facts()) as run:
        for _ in range(7):
            run.attempt_folder("tmpfs", 1)
    names = sorted(path.name for path in (tmp_path / "run/tmpfs").iterdir())
    assert names == ["1", "1.aside-4", "1.aside-5", "1.aside-6"]


def test_temporaries_of_a_killed_process_are_removed(tmp_path):
    open_run(tmp_path, facts()).close()
    left = tmp_path / "run/.run.json.1-2.tmp"
    left.write_text("half")
    open_run(tmp_path, facts()).close()
    assert not left.exists()


# ------------------------------------------------------------------------------------------------------------- runs


def test_two_do_not_work_in_one_run(tmp_path):
    with open_run(tmp_path, facts()), pytest.raises(UsageError, match="another process") as caught:
        open_run(tmp_path, facts())
    assert str(os.getpid()) in str(caught.value)


def test_a_closed_run_can_be_opened_again(tmp_path):
    open_run(tmp_path, facts()).close()
    open_run(tmp_path, facts()).close()


def test_a_changed_cell_of_the_same_id_is_refused(tmp_path):
    open_run(tmp_path, facts()).close()
    with pytest.raises(UsageError, match="'tmpfs' is not what it was"):
        open_run(tmp_path, facts(with_cell(patches=(Patch(name="p", text="--- a\n"),))))
    open_run(tmp_path, facts()).close()


def test_cells_of_an_earlier_part_stay_in_the_run(tmp_path):
    open_run(tmp_path, facts(at_s=1.0)).close()
    with open_run(tmp_path, facts(with_cell(id="other"), at_s=2.0)) as run:
        assert [cell.id for cell in run.facts.cells] == ["other", "tmpfs"]
        assert run.facts.started_at_s == 1.0


def test_a_fresh_run_never_takes_up_an_old_one(tmp_path):
    names = []
    for _ in range(3):
        with open_run(tmp_path, facts(), fresh=True) as run:
            names.append(run.facts.run)
    assert names == ["run", "run-2", "run-3"]


def test_latest_points_at_the_run_opened_last(tmp_path):
    for name in ("one", "two"):
        open_run(tmp_path, facts(run=name)).close()
    assert store.latest_run(tmp_path) == "two"
    assert (tmp_path / "latest/run.json").is_file()


def test_without_a_run_there_is_no_latest(tmp_path):
    assert store.latest_run(tmp_path) is None


@pytest.mark.parametrize("name", ["", "latest", "..", "a/b", ".hidden", "a b", "x" * 200])
def test_a_name_that_is_no_folder_is_the_users_mistake(tmp_path, name):
    with pytest.raises(UsageError, match="cannot be the name of a run"):
        open_run(tmp_path, facts(run=name))


def test_a_run_is_named_by_matrix_and_utc():
    assert run_name("quickstart", 1795255872.9) == "quickstart-20261121-101112"


def test_a_matrix_of_any_name_makes_a_good_run_name():
    assert store.RUN_NAME.fullmatch(run_name("../ä b/", 0.0))


# ---------------------------------------------------------------------------------------------------------- history


def test_history_joins_runs_and_the_newest_word_counts(tmp_path):
    for at, (name, history) in enumerate(
        [
            ("old", History(durations={"a": 1.0, "b": 2.0}, failed=("a", "b"))),
            ("new", History(durations={"a": 9.0}, failed=())),
        ]
    ):
        with open_run(tmp_path, facts(run=name)) as run:
            run.keep_history(history)
        os.utime(tmp_path / name / "history.json", (at, at))
    assert store.read_history(tmp_path) == History(durations={"a": 9.0, "b": 2.0}, failed=("b",))


def test_a_run_taken_up_keeps_the_history_of_its_first_part(tmp_path):
    with open_run(tmp_path, facts()) as run:
        run.keep_history(History(durations={"a": 1.0, "b": 1.0}, failed=("a", "b")))
        run.keep_history(History(durations={"b": 3.0}))
    assert store.read_history(tmp_path) == History(durations={"a": 1.0, "b": 3.0}, failed=("a",))


@settings(max_examples=20)
@given(st.lists(st.sampled_from(["1", "02", "0", "x", "1.aside-1", "10", "2"]), unique=True))
def test_only_plain_numbers_are_attempts(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("cell")
    for name in names:
        (folder / name).mkdir()
    wanted = sorted(int(name) for name in names if name in {"1", "2", "10"})
    assert [number for number, _ in disk.attempt_folders(folder)] == wanted


def test_joined_findings_come_back_as_they_were():
    part = Finding(
        id="boot.oops", severity=Severity.FAIL, title="t", message="m", where=Span(file="console.txt", first=9, last=9)
    )
    root = Finding(
        id="objtool.flags", severity=Severity.FAIL, title="t", message="m", where=Span(file="build.txt"), joined=(part,)
    )
    kept = store.Findings(findings=(root,))
    assert store.decoded(store.Findings, store.encoded(kept)) == kept


# ------------------------------------------------------------------------------------------------- earlier versions


def test_a_document_of_an_earlier_version_is_read_as_todays_has_it(monkeypatch, tmp_path):
    """The next version, as an example: an attempt's `because` of today is called `reason` then."""
    written = encoded(PASSED).replace(b'"reason"', b'"because"')

    def step(kind, document):
        assert kind == "AttemptResult"
        return {"reason" if key == "because" else key: value for key, value in document.items()}

    assert decoded(AttemptResult, written) is None
    monkeypatch.setattr(codec, "SCHEMA_VERSION", 3)
    monkeypatch.setattr("lab.results.migrate.STEPS", {1: step, 2: lambda kind, document: document})
    assert decoded(AttemptResult, written) == PASSED
    assert decoded(AttemptResult, encoded(PASSED)) == PASSED
    monkeypatch.setattr("lab.results.migrate.STEPS", {1: step})
    assert decoded(AttemptResult, written) is None, "no way from 2 to 3"


@pytest.mark.parametrize("version", [b"0", b"99", b"-1", b'"1"', b"null", b"[]"])
def test_a_document_of_a_version_that_never_was_is_not_read(version):
    assert (
        decoded(AttemptResult, encoded(PASSED).replace(b'"schema_version": 1', b'"schema_version": ' + version)) is None
    )
