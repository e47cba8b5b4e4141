"""The store of finished attempts: what goes in comes back, each content once; what is torn or hostile is never written."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from lab.errors import EnvironmentFault, UsageError
from lab.results import store, thinning
from lab.results.objects import Manifest, Objects, StoredFile, files_of
from lab.results.retention import Keep, kept

sys.path.insert(0, str(Path(__file__).parent))
from test_index import attempt, write_run

EVIDENCE = {
    "build.txt": b"  CC      lib/ctype.o\n" * 400,
    "vmlinux.zst": b"\x28\xb5\x2f\xfd" + bytes(5000),
    "modules/a/x.ko": b"\x7fELF",
}


@pytest.fixture
def run(tmp_path):
    """A run of a cell that passed once and failed twice, with the same evidence each time."""
    folder = write_run(tmp_path / "results", "mine", {"a": ".CC"})
    for number in (1, 2, 3):
        for name, data in EVIDENCE.items():
            path = folder / "a" / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        script = folder / "a" / str(number) / "reproduce.sh"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
    return folder


def content(folder):
    return {
        name: (path.read_bytes(), path.stat().st_mode & 0o100)
        for name, path in files_of(folder)
        if not name.endswith(".lock")
    }


@pytest.fixture(params=["folder", "memory"])
def there(request, tmp_path):
    if request.param == "folder":
        return Objects(f"file://{tmp_path / 'there'}")
    objects = Objects("memory://lab")
    if objects.fs.exists(objects.root):
        objects.fs.rm(objects.root, recursive=True)
    return objects


def test_a_run_comes_back_as_it_was_and_each_content_is_stored_once(run, there):
    moved = there.put_run(run, Keep.ALL)
    assert moved.attempts == 3
    assert moved.shared >= 2 * len(EVIDENCE), "the second and third attempt have the same evidence"
    assert moved.packed_bytes < moved.bytes / 3
    assert there.runs() == ("mine",)
    before = content(run)
    shutil.rmtree(run)
    assert there.get_run("mine", run.parent) == 3
    assert content(run) == before
    assert [one.number for one in store.read_results(run)["a"].attempts] == [1, 2, 3]


def test_what_is_there_is_not_copied_again_unless_the_attempt_was_made_again(run, there):
    there.put_run(run, Keep.ALL)
    assert there.put_run(run, Keep.ALL).attempts == 0
    store.write(run / "a" / "2" / "result.json", attempt(".", 2, "a/2"))
    assert there.put_run(run, Keep.ALL).attempts == 1


def test_what_is_here_is_left_as_it_is(run, there):
    there.put_run(run, Keep.ALL)
    (run / "a" / "1" / "build.txt").write_text("newer")
    shutil.rmtree(run / "a" / "2")
    assert there.get_run("mine", run.parent) == 1
    assert (run / "a" / "1" / "build.txt").read_text() == "newer"
    assert (run / "a" / "2" / "modules" / "a" / "x.ko").is_file()


def test_an_attempt_that_is_not_finished_is_not_stored(run, there):
    (run / "a" / "3" / "result.json").write_bytes(b"{")
    assert there.put_run(run, Keep.ALL).attempts == 2


def test_rules_keep_documents_of_all_and_proofs_of_failures():
    passed, failed = attempt(".", 1, "a/1"), attempt("C", 2, "a/2")
    files = (*EVIDENCE, "result.json", "record.json")
    assert kept(Keep.ALL, passed, files) == set(files)
    assert kept(Keep.FAILURES, passed, files) == {"result.json", "record.json"}
    assert kept(Keep.FAILURES, failed, files) == set(files)
    assert kept(Keep.FINDINGS, failed, files) == {"result.json", "record.json", "build.txt"}


def test_evidence_is_taken_away_by_a_rule_and_what_went_is_written_down(run):
    files, size = thinning.thin(run, Keep.FAILURES)
    assert (files, size) == (3, sum(map(len, EVIDENCE.values())))
    assert not (run / "a" / "1" / "modules").exists()
    assert (run / "a" / "2" / "vmlinux.zst").exists()
    note = json.loads((run / "a" / "1" / "evidence.json").read_text())
    assert note["dropped"] == sorted(EVIDENCE)
    assert thinning.thin(run, Keep.FAILURES) == (0, 0)
    thinning.thin(run, Keep.FINDINGS)
    assert (run / "a" / "2" / "build.txt").exists()
    assert not (run / "a" / "2" / "vmlinux.zst").exists()
    assert [one.number for one in store.read_attempts(run, "a")] == [1, 2, 3]


def test_an_object_that_is_torn_is_told_and_not_written(run, there):
    there.put_run(run, Keep.ALL)
    shutil.rmtree(run)
    for path in there.fs.glob(f"{there.root}/objects/*/*.zst"):
        data = there.fs.cat_file(path)
        there.fs.pipe_file(path, data[: len(data) // 2])
    with pytest.raises(EnvironmentFault):
        there.get_run("mine", run.parent)
    assert not (run / "run.json").exists()
    assert not list(run.parent.glob("**/result.json"))


@pytest.mark.parametrize("path", ["../../outside", "/etc/outside", "a/../../outside", "", "a//b", "x\0y"])
def test_a_manifest_that_reaches_out_is_refused(run, there, tmp_path, path):
    there.put_run(run, Keep.ALL)
    place = f"{there.root}/runs/mine/a/1.json"
    known = store.decoded(Manifest, there.fs.cat_file(place)).files[0]
    hostile = StoredFile(path=path, sha256=known.sha256, bytes=known.bytes)
    there.fs.pipe_file(place, store.encoded(Manifest(keep="all", files=(hostile,))))
    shutil.rmtree(run)
    with pytest.raises(EnvironmentFault, match="names a file"):
        there.get_run("mine", run.parent)
    assert not list(tmp_path.glob("**/outside"))


def test_a_bomb_is_bounded_by_what_the_manifest_says(run, there):
    there.put_run(run, Keep.ALL)
    place = f"{there.root}/runs/mine/a/1.json"
    manifest = store.decoded(Manifest, there.fs.cat_file(place))
    small = tuple(StoredFile(path=one.path, sha256=one.sha256, bytes=1) for one in manifest.files)
    there.fs.pipe_file(place, store.encoded(Manifest(keep="all", files=small)))
    shutil.rmtree(run)
    with pytest.raises(EnvironmentFault, match="is not what it was"):
        there.get_run("mine", run.parent)


def test_a_store_that_cannot_be_is_the_callers_mistake(tmp_path, there):
    with pytest.raises(UsageError, match="no store can be at that URL"):
        Objects("nosuchthing://x")
    with pytest.raises(UsageError, match="has no run 'other'"):
        there.get_run("other", tmp_path)


def test_a_store_that_cannot_be_written_is_the_machines_fault(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="the store"):
        Objects(f"file://{tmp_path / 'file'}").put_run(run, Keep.ALL)
