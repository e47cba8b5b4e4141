"""`lab verify-bundle`: what may be run, how a run is watched and judged, and what its answer is."""

import dataclasses
import json
import tarfile

import pytest
from attempt_folders import LOG, boot, record, step, write_attempt

from lab import cli
from lab.environment.filesystem import Scratch
from lab.errors import EnvironmentFault, ExitCode, UsageError
from lab.events import silent
from lab.model import Outcome
from lab.report import bundle as packed
from lab.report.tarball import Member, write_tar
from lab.results import expected
from lab.results.expected import Answer, Expected, Run
from lab.settings import Settings
from lab.use import bundle, rerun, verify, vetting


@pytest.fixture
def settings(tmp_path):
    return Settings(cache=tmp_path / "cache", results=tmp_path, images=tmp_path, data=tmp_path, may_mount=True)


@pytest.fixture
def bundled(settings, tmp_path):
    """Bundle a record, and return the file."""

    def bundled(made, results=()):
        attempt = write_attempt(tmp_path / "run", made, results)
        request = bundle.Request(attempt=attempt, output=tmp_path / "b.tar", here=tmp_path)
        return bundle.bundled(request, settings, silent).path

    return bundled


# --------------------------------------------------------------------------------------------------------- what may be run


def doubts(rows, bundled, tmp_path, made):
    unpacked = verify.unpack(bundled(made), tmp_path / "unpacked")
    return vetting.doubts(unpacked.folder, unpacked.record, unpacked.expected, rows)


@pytest.mark.parametrize("filesystem", ["tmpfs", "ext4-128", "overlay-ext4", "fuse-2s"])
def test_what_this_lab_made_is_run(filesystem, rows, bundled, tmp_path):
    assert doubts(rows, bundled, tmp_path, record(rows, filesystem=filesystem, boot=boot())) == ()


SOURCES = {
    "a git option": {"kind": "git", "repository": "--upload-pack=touch /pwned", "rev": "x", "commit": "ab" * 20},
    "a transport that runs programs": {"kind": "git", "repository": "ext::sh -c x", "rev": "x", "commit": "ab" * 20},
    "no commit": {"kind": "git", "repository": "https://x/y", "rev": "x", "commit": "--all"},
    "an apt option": {"kind": "debian", "package": "-oX::Y=z", "version": "1", "sha256": "ab" * 32},
    "a folder that depends on where": {"kind": "dir", "path": "../x"},
    "another kind": {"kind": "web", "path": "/x"},
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_source_that_is_more_than_a_source_is_doubted(source, rows, bundled, tmp_path):
    assert doubts(rows, bundled, tmp_path, record(rows, source=source))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("suite", "--customize-hook=touch /pwned"),
        ("wanted", ["-oAPT::Update::Pre-Invoke::=touch /pwned"]),
        ("debian_arch", "--hook"),
        ("snapshot", "2025/../x"),
        ("packages", {"make": "1\nPin: release *"}),
        ("id", "ubuntu:latest"),
    ],
)
def test_an_image_that_is_more_than_packages_is_doubted(field, value, rows, bundled, tmp_path):
    made = record(rows)
    made["mount"][field] = value
    assert "image mount" in doubts(rows, bundled, tmp_path, made)[0]


@pytest.mark.parametrize(
    ("field", "value"), [("mount_options", ["dev", "suid"]), ("mkfs", ["sh", "-c", "x"]), ("name", "no-such-row")]
)
def test_a_filesystem_that_is_no_row_of_ours_is_doubted(field, value, rows, bundled, tmp_path):
    made = record(rows)
    made["filesystem"][field] = value
    assert any("filesystem" in words for words in doubts(rows, bundled, tmp_path, made))


def test_the_server_of_a_coarse_filesystem_must_be_ours(rows, bundled, tmp_path):
    made = record(rows, filesystem="fuse-2s")
    made["filesystem"]["server"]["text"] += "import os\n"
    assert doubts(rows, bundled, tmp_path, made)


def test_users_and_kernels_out_of_bounds_are_doubted(rows, bundled, tmp_path):
    made = record(rows, boot={**boot(), "kernel": "../../../etc/shadow", "device_trees": ["/etc/shadow"]})
    made["container"]["user"] = "0:0"
    assert len(doubts(rows, bundled, tmp_path, made)) == 3


def repacked(file, change):
    """Change members of a bundle, with a MANIFEST that fits them."""
    with tarfile.open(file) as archive:
        held = {one.name.partition("/")[2]: archive.extractfile(one).read() for one in archive.getmembers()}
    del held["MANIFEST"]
    change(held)
    with file.open("wb") as out:
        write_tar(packed.TOP, [Member(path=path, data=data) for path, data in held.items()], out)
    return file


@pytest.mark.parametrize("path", ["reproduce.sh", "patches/001.patch", "config/001.config", "images/build.json"])
def test_what_is_not_made_of_the_record_is_doubted(path, rows, bundled, tmp_path):
    file = repacked(bundled(record(rows)), lambda held: held.update({path: held[path] + b"# more\n"}))
    unpacked = verify.unpack(file, tmp_path / "unpacked")
    found = vetting.doubts(unpacked.folder, unpacked.record, unpacked.expected, rows)
    assert found == (f"{path} is not what this lab makes of record.json",)


def test_a_patch_that_the_record_does_not_have_is_doubted(rows, bundled, tmp_path):
    file = repacked(bundled(record(rows)), lambda held: held.update({"patches/002.patch": b"x"}))
    unpacked = verify.unpack(file, tmp_path / "unpacked")
    found = vetting.doubts(unpacked.folder, unpacked.record, unpacked.expected, rows)
    assert found == ("patches/002.patch is not of record.json",)


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held.pop("expected.json"),
        lambda held: held.pop("reproduce.sh"),
        lambda held: held.update({"record.json": b"{}"}),
        lambda held: held.update({"record.json": b"[" * 100_000}),
        lambda held: held.update({"record.json": b'{"filesystem": 3, "steps": [1]}'}),
        lambda held: held.update({"expected.json": b'{"schema_version": 1, "outcome": "FAIL"}'}),
        lambda held: held.update({"unknown": b"x"}),
    ],
)
def test_what_is_no_bundle_is_refused(change, rows, bundled, tmp_path):
    file = repacked(bundled(record(rows)), change)
    with pytest.raises(UsageError, match="bundle"):
        verify.unpack(file, tmp_path / "unpacked")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        verify.unpack(tmp_path / "none.tar", tmp_path / "unpacked")


def test_who_may_not_mount_is_told_before_anything_else(rows, settings, tmp_path):
    request = verify.Request(file=tmp_path / "none.tar")
    with pytest.raises(EnvironmentFault, match="may not"):
        verify.verified(request, dataclasses.replace(settings, may_mount=False), rows, silent)


# ---------------------------------------------------------------------------------------------------------------- judging


@pytest.fixture
def work(tmp_path):
    """What a script leaves: its steps, their logs, the output directory."""
    folder = tmp_path / "work"
    (folder / "out").mkdir(parents=True)
    (folder / "out/.config").write_text("CONFIG_MODULES=y\n")
    (folder / "images").mkdir()
    (tmp_path / "evidence").mkdir()

    def work(*ended, log=LOG):
        names = ("1-base", "2-olddefconfig", "3-build")
        for name in names:
            (folder / f"{name}.txt").write_text(log if name == names[len(ended) - 1] else "")
        lines = (f"{name} {status} 3\n" for name, status in zip(names, ended, strict=False))
        (folder / "steps").write_text("".join(lines))
        return folder

    return work


def judged(made, folder, status, **known):
    return rerun.judged(made, folder, folder.parent / "evidence", status, **known)


def test_a_failed_build_is_judged_by_the_checks(rows, work, tmp_path):
    found = judged(record(rows), work(0, 0, 2), 2)
    assert (found.run.outcome, [fault.id for fault in found.run.faults]) == (Outcome.FAIL, ["build.compiler"])
    assert not found.untestable
    written = json.loads((tmp_path / "evidence/record.json").read_text())
    assert "granularity_ns" not in written, "nobody measured it"


def test_a_good_build_passes(rows, work):
    found = judged(record(rows), work(0, 0, 0, log="  CC      lib/ctype.o\n"), 0)
    assert found.run.outcome is Outcome.PASS, found.run.reason


@pytest.mark.parametrize("status", [125, 126, 127, 137, 143])
def test_a_container_that_was_killed_or_never_ran_is_not_the_kernels(status, rows, work):
    assert judged(record(rows), work(0, 0, status, log=""), 128).run.outcome is Outcome.ERROR


@pytest.mark.parametrize(("status", "untestable"), [(125, True), (128, False), (1, False), (-1, False)])
def test_without_a_step_nothing_is_judged(status, untestable, rows, work):
    found = judged(record(rows), work(), status)
    assert (found.run.outcome, found.untestable) == (Outcome.ERROR, untestable)


def test_a_configuration_that_lost_a_request_is_not_judged_by_what_was_built(rows, work):
    made = record(rows, kconfig=[{"name": "x", "text": "CONFIG_NO_SUCH_THING=y\n"}])
    found = judged(made, work(0, 0, 0, log="  CC      lib/ctype.o\n"), 0)
    assert (found.run.outcome, found.findings[0].id) == (Outcome.ERROR, "config.not-honoured")


def test_a_boot_that_fell_silent_is_judged_by_its_console(rows, work):
    folder = work(0, 0, 0, log="")
    with (folder / "steps").open("a") as out:
        out.write("initramfs 0 1\nconsole 124 60\n")
    (folder / "console.txt").write_text("[    0.000000] Linux version 6.1.0\n[    0.100000] something\n")
    found = judged(record(rows, boot=boot()), folder, 124)
    assert (found.run.outcome, found.findings[0].id) == (Outcome.FAIL, "boot.hang")


def test_an_initramfs_that_could_not_be_packed_is_not_the_kernels(rows, work):
    folder = work(0, 0, 0, log="")
    with (folder / "steps").open("a") as out:
        out.write("initramfs 1 1\n")
    assert judged(record(rows, boot=boot()), folder, 1).run.outcome is Outcome.ERROR


@pytest.mark.parametrize("lines", ["\0\n", "1-base\n", "1-base x 3\n", "1-base 0 -1\n", "1-base 9999999999999 3\n"])
def test_a_list_of_steps_that_is_damaged_breaks_nothing(lines, rows, work):
    folder = work()
    (folder / "steps").write_text(lines)
    assert judged(record(rows), folder, 2).run.outcome is Outcome.ERROR


def test_packages_that_were_not_the_recorded_ones_are_told(rows, work):
    folder = work(0, 0, 2)
    (folder / "images/build.differs").write_text("make: 5 is there, 4 was in the record's image\n")
    (folder / "images/boot.differs").write_text("")
    assert judged(record(rows), folder, 2).image_differences == (
        "build: make: 5 is there, 4 was in the record's image",
    )


# ---------------------------------------------------------------------------------------------------------------- running

SCRIPT = """\
[ -z "$(ls -A "$HOME")" ] || exit 77
env | sort >"$HOME/../environment"
WORK=$PWD/reproduce-x86_64-gcc-12-ext4-128
mkdir -p "$WORK/out" "$WORK/images"
"$HOOK" mounted "$WORK" /src
echo CONFIG_MODULES=y >"$WORK/out/.config"
: >"$WORK/1-base.txt"
: >"$WORK/2-olddefconfig.txt"
cp "{log}" "$WORK/3-build.txt"
printf '%s\\n' '1-base 0 1' '2-olddefconfig 0 1' '3-build 2 7' >"$WORK/steps"
"$HOOK" built "$WORK" /src
echo again >"$WORK/out/again"
echo 'remake 2 1' >>"$WORK/steps"
: >"$WORK/remake.txt"
"$HOOK" remade "$WORK" /src
echo 'reproduce: 3-build ended with 2'
exit 2
"""


@pytest.fixture
def ran(rows, settings, tmp_path):
    """Run a script once."""

    def ran(text, **changes):
        (tmp_path / "log").write_text(LOG)
        script = tmp_path / "script.sh"
        script.write_text(text.replace("{log}", str(tmp_path / "log")))
        real = dataclasses.replace(settings, data=cli.settings().data)
        place = Scratch(tmp_path, -1)
        said = []
        found = rerun.rerun(script, record(rows, **changes), tmp_path / "1", place, real, None, said.append)
        return found, said

    return ran


def test_a_script_sees_an_empty_home_and_nothing_of_this_process(ran, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_CACHE", "/elsewhere")
    found, said = ran(SCRIPT)
    assert found.status == 2
    names = {line.partition("=")[0] for line in (tmp_path / "1/environment").read_text().splitlines()}
    assert names - {"_", "SHLVL", "OLDPWD"} == {"HOME", "HOOK", "PATH", "PWD"}
    assert [event.text for event in said] == ["3-build ended with 2"]


def test_what_the_script_has_reached_is_looked_at_while_it_waits(ran, tmp_path):
    found, _ = ran(SCRIPT, probe=step("remake", "make", "V=2"))
    assert (found.run.outcome, found.findings[0].id) == (Outcome.FAIL, "build.compiler")
    evidence = tmp_path / "1/evidence"
    assert json.loads((evidence / "record.json").read_text())["granularity_ns"] > 0
    assert "again" not in (evidence / "mtimes.tsv").read_text(), "packed before it was made again"
    made = json.loads((evidence / "remake.json").read_text())
    assert [row[0] for row in made["written"]] == ["again"]


def test_a_script_that_ends_early_says_why(ran):
    found, _ = ran("echo 'reproduce: docker is not there' >&2\nexit 128\n")
    assert found.run.outcome is Outcome.ERROR
    assert found.run.reason == "the script ended with 128 before it built: reproduce: docker is not there"


def test_a_script_without_end_is_ended(ran, monkeypatch):
    monkeypatch.setattr(rerun, "PATIENCE_S", -179.0)  # the steps of the record have a minute each
    found, _ = ran("sleep 1000\n")
    assert found.run.outcome is Outcome.ERROR
    assert "no end" in found.run.reason


# --------------------------------------------------------------------------------------------------------------- the answer


def verified(*runs, outcome=Outcome.FAIL, untestable=False):
    wanted = Expected(
        cell="c", attempt=1, outcome=outcome, reason="", faults=(), rate=None, lab_version="0", seconds=1.0
    )
    made = tuple(
        rerun.Rerun(run=Run(outcome=one, reason="said"), findings=(), status=0, seconds=1.0, untestable=untestable)
        for one in runs
    )
    told = [one.run for one in made]
    return verify.Verified(answer=expected.answer(wanted, told), words="", expected=wanted, runs=made)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (verified(Outcome.FAIL), ExitCode.AS_EXPECTED),
        (verified(Outcome.PASS), ExitCode.KERNEL_FAULT),
        (verified(Outcome.ERROR), ExitCode.LAB_FAULT),
        (verified(Outcome.ERROR, untestable=True), ExitCode.UNTESTABLE),
        (verified(Outcome.PASS, outcome=Outcome.PASS), ExitCode.AS_EXPECTED),
        (verified(Outcome.FAIL, outcome=Outcome.PASS), ExitCode.KERNEL_FAULT),
    ],
)
def test_each_answer_has_its_exit_code(found, code):
    assert found.exit_code is code
    assert dataclasses.replace(found, answer=Answer.OPEN).exit_code is ExitCode.UNTESTABLE


def test_the_answer_is_told_in_words_and_as_a_contract(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(
        verify, "verified", lambda *ignored: dataclasses.replace(verified(Outcome.FAIL), words="the same verdict")
    )
    assert cli.exit_code_of(["verify-bundle", "b.tar"]) == 0
    assert "the same verdict\n  run 1  same  FAIL" in capsys.readouterr().out
    assert cli.exit_code_of(["verify-bundle", "b.tar", "--json"]) == 0
    contract = json.loads(capsys.readouterr().out)
    assert (contract["answer"], contract["exit_code"], contract["runs"][0]["outcome"]) == ("same", 0, "FAIL")
