"""`lab bundle`: the whole of an attempt in one tar of known names; strangers' words stay data in it."""

import hashlib
import json
import shutil
import subprocess
import tarfile

import pytest
from attempt_folders import FINDING, boot, record, result, step, write_attempt

from lab import cli
from lab.errors import ExitCode, UsageError
from lab.events import silent
from lab.model import Outcome
from lab.plan import statistics
from lab.report import bundle as packed
from lab.results import store
from lab.results.expected import Expected
from lab.settings import Settings
from lab.use import bundle


@pytest.fixture
def settings(tmp_path):
    return Settings(cache=tmp_path / "cache", results=tmp_path, images=tmp_path, data=tmp_path)


def made(attempt, settings, tmp_path, **options):
    request = bundle.Request(attempt=attempt, output=tmp_path / "b.tar", here=tmp_path, **options)
    return bundle.bundled(request, settings, silent)


def members(path):
    with tarfile.open(path) as archive:
        return {
            one.name.removeprefix(f"{packed.TOP}/"): archive.extractfile(one).read() for one in archive.getmembers()
        }


def test_it_holds_what_it_takes_under_names_of_ours(rows, settings, tmp_path):
    attempt = write_attempt(tmp_path / "run", record(rows))
    told = made(attempt, settings, tmp_path)
    found = members(told.path)
    assert sorted(found) == [
        "MANIFEST",
        "README.txt",
        "config/001.config",
        "config/final.config",
        "expected.json",
        "images/build.json",
        "images/mount.json",
        "patches/001.patch",
        "record.json",
        "reproduce.sh",
    ]
    assert told.members == len(found)
    assert told.sha256 == hashlib.sha256(told.path.read_bytes()).hexdigest()
    assert json.loads(found["images/build.json"])["packages"]["gcc-12"] == "12.2.0-14"
    assert all(packed.limit_of(name) for name in found if name != "MANIFEST")


def test_what_boots_it_comes_along(rows, settings, tmp_path):
    attempt = write_attempt(tmp_path / "run", record(rows, boot=boot()))
    found = members(made(attempt, settings, tmp_path).path)
    assert {"boot/init", "boot/applets", "images/boot.json", "images/guest.json"} < set(found)
    assert found["boot/applets"] == b"sh\ninsmod\n"


def test_on_tmpfs_no_image_makes_a_filesystem(rows, settings, tmp_path):
    attempt = write_attempt(tmp_path / "run", record(rows, filesystem="tmpfs"))
    assert "images/mount.json" not in members(made(attempt, settings, tmp_path).path)


def test_the_same_attempt_gives_the_same_bytes(rows, settings, tmp_path):
    attempt = write_attempt(tmp_path / "run", record(rows))
    first = made(attempt, settings, tmp_path).sha256
    shutil.copytree(tmp_path / "run", tmp_path / "elsewhere")
    assert made(tmp_path / "elsewhere" / attempt.relative_to(tmp_path / "run"), settings, tmp_path).sha256 == first


def test_the_verdict_is_that_of_the_attempt_with_its_rate(rows, settings, tmp_path):
    rate = statistics.rate(1, 2)
    attempt = write_attempt(tmp_path / "run", record(rows), (result(1), result(2, Outcome.PASS)), rate)
    wanted = store.decoded(Expected, members(made(attempt, settings, tmp_path).path)["expected.json"])
    assert (wanted.outcome, wanted.word, wanted.rate) == (Outcome.FAIL, "flaky", rate)
    assert [(fault.id, fault.blame, fault.main) for fault in wanted.faults] == [("build.compiler", FINDING.blame, True)]


def test_people_are_told_what_it_is_what_it_needs_and_what_should_come(rows, settings, tmp_path):
    attempt = write_attempt(tmp_path / "run", record(rows), (result(1), result(2, Outcome.PASS)), statistics.rate(1, 2))
    text = members(made(attempt, settings, tmp_path).path)["README.txt"].decode()
    for words in (
        "flaky: build.compiler: it does not compile",
        "1 of 2",
        "sudo sh reproduce.sh",
        f"build  {packed.image_recipes(record(rows))['build']['id']}  bookworm amd64: gcc-12, make",
        "linux-source-6.1 6.1.1-1",
        "mkfs.ext4 -q -F -I 128",
        "001.patch  broken.patch",
        "It took 12 s",
    ):
        assert words in text, words
    assert max(map(len, text.splitlines())) <= 130


HOSTILE = "x'; touch pwned\n{{ 7 * 7 }} $(touch pwned) \x1b[31m"


def test_hostile_words_become_neither_paths_nor_lines(rows, settings, tmp_path):
    evil = record(rows, lab_version=HOSTILE, source_origin=HOSTILE)
    evil["patches"][0]["name"] = evil["kconfig"][0]["name"] = "../../" + HOSTILE
    attempt = write_attempt(tmp_path / "run", evil)
    found = members(made(attempt, settings, tmp_path).path)
    assert {name for name in found if not packed.limit_of(name)} == {"MANIFEST"}
    assert "001.patch  ../../x'; touch pwned?{{ 7 * 7 }} $(touch pwned) ?[31m\n" in found["README.txt"].decode()
    done = subprocess.run(["sh", "-n"], input=found["reproduce.sh"], capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.MISS])
def test_an_attempt_that_was_not_judged_has_nothing_to_be_reproduced(outcome, rows, settings, tmp_path):
    attempt = write_attempt(tmp_path / "run", record(rows), (result(1, outcome),))
    with pytest.raises(UsageError, match=f"the attempt is {outcome}"):
        made(attempt, settings, tmp_path)
    assert not (tmp_path / "b.tar").exists()


def test_what_is_no_finished_attempt_is_refused(rows, settings, tmp_path):
    attempt = write_attempt(tmp_path / "run", record(rows))
    (attempt / "result.json").unlink()
    with pytest.raises(UsageError, match="finished attempt"):
        made(attempt, settings, tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        made(tmp_path / "nowhere", settings, tmp_path)


@pytest.mark.parametrize("key", ["steps", "source", "filesystem", "boot", "kconfig"])
def test_a_record_that_lacks_something_is_named_and_leaves_no_file(key, rows, settings, tmp_path):
    lacking = record(rows)
    del lacking[key]
    attempt = write_attempt(tmp_path / "run", lacking)
    with pytest.raises(UsageError, match=key):
        made(attempt, settings, tmp_path)
    assert not list(tmp_path.glob("*.tar*"))


def test_a_record_of_before_wrappers_and_mount_images_still_does(rows, settings, tmp_path):
    old = record(rows)
    del old["mount"], old["wrappers"]
    attempt = write_attempt(tmp_path / "run", old)
    script = members(made(attempt, settings, tmp_path).path)["reproduce.sh"].decode()
    assert "MOUNT_IMAGE=$IMAGE\n" in script


def test_a_random_configuration_keeps_its_seed(rows, settings, tmp_path):
    random = step("base", "make", "randconfig")
    attempt = write_attempt(tmp_path / "run", record(rows, steps=[random, step("build", "make")]))
    with pytest.raises(UsageError, match="seed"):
        made(attempt, settings, tmp_path)
    (attempt / "build.txt").write_text("  HOSTCC  scripts/kconfig/conf.o\nKCONFIG_SEED=0x5F3A10C2\n#\n")
    script = members(made(attempt, settings, tmp_path).path)["reproduce.sh"].decode()
    assert script.count("-e KCONFIG_SEED=0x5F3A10C2") == 1
    random["environment"].append(["KCONFIG_SEED", "7"])
    chosen = write_attempt(tmp_path / "chosen", record(rows, steps=[random]))
    assert "0x5F3A10C2" not in members(made(chosen, settings, tmp_path).path)["reproduce.sh"].decode()


def test_the_source_comes_along_if_it_is_wanted(rows, settings, tmp_path):
    tree = tmp_path / "tree"
    (tree / ".git").mkdir(parents=True)
    (tree / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 0\n")
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o750)
    attempt = write_attempt(tmp_path / "run", record(rows, source={"kind": "dir", "path": str(tree)}))
    first = made(attempt, settings, tmp_path, with_source=True)
    with tarfile.open(first.path) as archive:
        stream = archive.extractfile(f"{packed.TOP}/source/tarball")
        with tarfile.open(fileobj=stream) as source:
            assert source.getnames() == ["linux", "linux/Makefile", "linux/run.sh"]
            assert source.getmember("linux/run.sh").mode == 0o755
    (tree / "Makefile").touch()
    assert made(attempt, settings, tmp_path, with_source=True).sha256 == first.sha256


def test_a_tarball_that_is_no_longer_the_recorded_one_is_refused(rows, settings, tmp_path):
    (tmp_path / "linux.tar.xz").write_bytes(b"another")
    source = {"kind": "tarball", "path": str(tmp_path / "linux.tar.xz"), "sha256": "ab" * 32}
    attempt = write_attempt(tmp_path / "run", record(rows, source=source))
    with pytest.raises(UsageError, match="not the recorded one"):
        made(attempt, settings, tmp_path, with_source=True)


def test_the_command_says_what_it_made_and_what_to_do_with_it(rows, tmp_path, monkeypatch, capsys):
    attempt = write_attempt(tmp_path / "run", record(rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    assert cli.exit_code_of(["bundle", str(attempt)]) == 0
    said = capsys.readouterr().out
    assert "x86_64-gcc-12-ext4-128-1.tar: 10 files" in said
    assert "lab verify-bundle x86_64-gcc-12-ext4-128-1.tar" in said
    assert cli.exit_code_of(["bundle", str(attempt), "-o", "other.tar", "--json"]) == 0
    contract = json.loads(capsys.readouterr().out)
    assert (contract["path"], contract["class"], contract["expected"]["outcome"]) == ("other.tar", "FAIL", "FAIL")
    assert (tmp_path / "other.tar").read_bytes() == (tmp_path / "x86_64-gcc-12-ext4-128-1.tar").read_bytes()
    assert cli.exit_code_of(["bundle", str(attempt), "-o", "no/where.tar"]) == ExitCode.USAGE
