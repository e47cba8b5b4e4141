"""`lab repro`: files are written once and nowhere else, patches are put on a tree or refused, and runs are counted."""

import io
import json
import sys
from pathlib import Path

import pytest

from lab import cli
from lab.errors import UsageError
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import AttemptResult, DirSource, Finding, Outcome, Result, Severity, Span
from lab.report import repro as report
from lab.repro.kernels import Given
from lab.results.store import RunFacts
from lab.use import repro, session, tree

TABLES = cli.load_tables()
FIXTURES = Path(__file__).parent.parent / "fixtures" / "repro"


@pytest.fixture
def kernel(tmp_path):
    """A tree with what is looked at of one."""
    folder = tmp_path / "linux"
    (folder / "lib").mkdir(parents=True)
    (folder / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 9\nEXTRAVERSION =\n")
    (folder / "lib/table.c").write_bytes((FIXTURES / "table.c").read_bytes())
    (folder / "Kconfig").write_text(
        'config MODULES\n\tbool "modules"\n\nconfig KALLSYMS_ALL\n\tbool "all"\n\ndefconfig\n'
    )
    return folder


@pytest.fixture
def options(machine_settings, tmp_path):
    import dataclasses

    return dataclasses.replace(machine_settings, cache=tmp_path / "cache", results=tmp_path / "results")


def made(names, kernel, options, **more):
    given = Given(source=DirSource(path=str(kernel)), version="6.1.9", toolchains=("gcc-12", "llvm-14"))
    reports = tuple((name, (FIXTURES / name).read_bytes()) for name in names)
    return repro.make(repro.Request(reports=reports, stem="x", given=given, **more), options, TABLES, lambda _: None)


def test_the_patch_of_a_mail_is_the_second_arm(kernel, options, tmp_path):
    one = made(["thread.mbox"], kernel, options)
    assert list(one.files) == ["x.yaml", "x.from-report.patch"]
    (patch,) = one.patches
    assert (patch.used, patch.sureness, patch.rule) == (True, "exact", "patch-asked")
    matrix = repro.write(one, tmp_path, force=False)
    faulty, mended = expand(read(matrix, TABLES))
    assert [len(cell.patches) for cell in (faulty, mended)] == [0, 1]
    assert "+\tdemo_probe();" in mended.patches[0].text
    assert (faulty.toolchain, faulty.lto.value, faulty.make.jobs) == ("llvm-14", "thin", 8)


def test_a_patch_that_does_not_fit_is_refused_and_the_matrix_is_made_all_the_same(kernel, options):
    (kernel / "lib/table.c").write_text("int nothing_of_it;\n")
    one = made(["thread.mbox"], kernel, options)
    assert list(one.files) == ["x.yaml"]
    assert "not in this version" in one.patches[0].why


def test_a_file_that_is_reached_by_a_link_is_refused(kernel, options, tmp_path):
    outside = tmp_path / "outside.c"
    outside.write_bytes((FIXTURES / "table.c").read_bytes())
    (kernel / "lib/table.c").unlink()
    (kernel / "lib/table.c").symlink_to(outside)
    one = made(["thread.mbox"], kernel, options)
    assert "symbolic link" in one.patches[0].why
    assert outside.read_bytes() == (FIXTURES / "table.c").read_bytes()


def test_a_config_and_a_mail_are_read_together(kernel, options):
    one = made(["arm64.config", "build-log.txt"], kernel, options)
    assert [source.kind for source in one.report.sources] == ["config", "build log"]
    assert one.choices.arch == "arm64"
    assert "CONFIG_KALLSYMS_ALL=y" in one.choices.kconfig
    told = {gap.what: gap.because for gap in one.choices.gaps}
    assert told["CONFIG_MODVERSIONS=y"] == "this source has no CONFIG_MODVERSIONS"
    assert "symbols of arm64.config are not demanded" in told[".config"]


def test_how_often_it_is_tried_follows_the_reported_rate(kernel, options):
    assert made(["multipart.eml"], kernel, options).choices.repeat == 19  # 3 of 20: once in 19 with 95 %
    assert made(["multipart.eml"], kernel, options, times=4).choices.repeat == 4


# ------------------------------------------------------------------------------------------------------------ files


def test_nothing_is_overwritten_unless_it_is_forced(kernel, options, tmp_path):
    one = made(["thread.mbox"], kernel, options)
    (tmp_path / "x.from-report.patch").write_text("mine\n")
    with pytest.raises(UsageError, match="is there already"):
        repro.write(one, tmp_path, force=False)
    assert not (tmp_path / "x.yaml").exists()
    repro.write(one, tmp_path, force=True)
    assert (tmp_path / "x.from-report.patch").read_text() != "mine\n"


def test_a_link_in_the_way_is_not_followed(kernel, options, tmp_path):
    one = made(["marc.txt"], kernel, options)
    (tmp_path / "theirs").write_text("theirs\n")
    (tmp_path / "x.yaml").symlink_to(tmp_path / "theirs")
    with pytest.raises(UsageError):
        repro.write(one, tmp_path, force=False)
    repro.write(one, tmp_path, force=True)
    assert (tmp_path / "theirs").read_text() == "theirs\n"
    assert not (tmp_path / "x.yaml").is_symlink()


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("001_25d1.txt", "001_25d1"),
        ("../../Etc/Passwd", "passwd"),
        ("-o", "o"),
        ("a b;c$(d).eml", "a-b-c-d"),
        ("ü", "report"),
        ("x" * 300, "x" * 40),
    ],
)
def test_files_are_called_after_the_report_s_file(name, stem):
    assert repro.stem_of(name) == stem


@pytest.mark.parametrize("text", ["6.1", "linux-source-6.1"])
def test_a_source_may_be_named(text, kernel):
    assert tree.given(text, TABLES).version == "6.1"
    assert tree.given(str(kernel), TABLES).version == "6.1.9"
    assert tree.given(f"{kernel}@v5.4", TABLES).version == "5.4"
    with pytest.raises(UsageError, match="no such source"):
        tree.given("no/such/tree", TABLES)


# ------------------------------------------------------------------------------------------------------------ counted


def attempt(number, outcome, *ids):
    findings = tuple(Finding(id=id_, severity=Severity.FAIL, title="", message="", where=Span(file="")) for id_ in ids)
    return AttemptResult(number=number, outcome=outcome, reason="", findings=findings)


def test_attempts_that_could_not_be_judged_do_not_count():
    result = Result(
        cell="c", outcome=Outcome.FAIL, reason="",
        attempts=(
            attempt(1, Outcome.FAIL, "modpost.undefined"), attempt(2, Outcome.PASS),
            attempt(3, Outcome.ERROR, "infra.disk-full"),
            attempt(4, Outcome.FAIL, "timestamps.tie"), attempt(5, Outcome.MISS),
        ),
    )  # fmt: skip
    counted = repro.counted("as-reported", result, ("modpost.undefined", "timestamps.tie"))
    assert counted.judged == 3
    assert {id_: (rate.failures, rate.trials) for id_, rate in counted.rates.items()} == {
        "modpost.undefined": (1, 3), "timestamps.tie": (1, 3)
    }  # fmt: skip
    assert (counted.any.failures, counted.any.trials) == (2, 3)


def test_a_rate_is_told_with_its_interval():
    assert report.percent({"failures": 7, "trials": 20, "low": 0.18, "high": 0.57}) == "7/20 (18–57 %)"
    assert report.percent({"failures": 0, "trials": 0, "low": 0.0, "high": 1.0}) == "0/0"


# -------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_the_command_writes_a_matrix_and_says_what_it_read(here, kernel, capsys):
    code = cli.exit_code_of(["repro", str(FIXTURES / "thread.mbox"), "--source", str(kernel)])
    out = capsys.readouterr().out
    assert code == 0
    assert "* kernel-version" in out
    assert "not matched  " in out
    assert "wrote    thread.yaml" in out
    assert "next     lab try thread.yaml --cell '*-as-reported' --patch thread.from-report.patch" in out
    assert len(expand(read(here / "thread.yaml", TABLES))) == 2
    assert cli.exit_code_of(["repro", str(FIXTURES / "thread.mbox"), "--source", str(kernel)]) == 129


def test_the_contract_is_one_document(here, kernel, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((FIXTURES / "marc.txt").read_bytes())))
    assert cli.exit_code_of(["repro", "-", "--source", str(kernel), "-o", "named.yaml", "--json"]) == 0
    contract = json.loads(capsys.readouterr().out)
    assert contract["written"] == ["named.yaml"]
    assert contract["run"] is None
    assert {"schema_version", "exit_code", "sources", "reporter", "facts", "choices", "not_matched", "patches"} <= set(
        contract
    )
    version = next(fact for fact in contract["facts"] if fact["field"] == "kernel-version")
    assert (version["value"], version["place"]["file"], version["place"]["line"]) == (
        "next-20161122",
        "standard input",
        19,
    )


def test_a_run_says_how_often_the_fault_came(here, kernel, capsys, monkeypatch):
    def session_run(request, *_):
        """Fail in each attempt of the first arm but the last, which the machine spoiled."""
        faulty, mended = request.cells
        failed = [attempt(number, Outcome.FAIL, "build.linker") for number in (1, 2, 3)]
        results = (
            Result(cell=faulty.id, outcome=Outcome.XFAIL, reason="build.linker",
                   attempts=(*failed, attempt(4, Outcome.ERROR, "infra.disk-full"))),
            Result(cell=mended.id, outcome=Outcome.PASS, reason="no finding", attempts=(attempt(1, Outcome.PASS),)),
        )  # fmt: skip
        folder = here / "results" / "r"
        folder.mkdir(parents=True, exist_ok=True)
        facts = RunFacts(
            run="r", matrix="thread", matrix_sha256="0" * 64, cells=request.cells, started_at_s=0.0, lab_version="0"
        )
        return session.Session(facts=facts, folder=folder, results=results)

    monkeypatch.setattr(session, "run", session_run)
    words = ["repro", str(FIXTURES / "thread.mbox"), "--source", str(kernel), "--run"]
    assert cli.exit_code_of(words) == 0
    out = capsys.readouterr().out
    assert "reproduced 3/3 (44–100 %), counting any of build.linker" in out
    assert cli.exit_code_of([*words, "--force", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    assert [(arm["arm"], arm["judged"]) for arm in run["arms"]] == [("as-reported", 3), ("with-patch", 1)]
    assert run["reproduced"]["failures"] == run["reproduced"]["trials"] == 3


@pytest.mark.parametrize(
    "words", [["no-such-file"], ["."], ["x.txt", "-o", "../X y.yaml"], ["x.txt", "--source", "nowhere"]]
)
def test_a_wrong_request_is_refused(here, words, capsys):
    (here / "x.txt").write_text("Linux 6.1.2\n")
    assert cli.exit_code_of(["repro", *words]) == 129
    assert capsys.readouterr().err


def test_what_a_report_says_is_shown_without_escapes(here, kernel, capsys):
    (here / "evil.txt").write_text(
        "From: \x1b[31mEve\u202e <e@example.org>\nTo: a@example.org\nSubject: \x1b]0;x\x07y\nDate: x\n\nLinux 6.1.2\n"
    )
    assert cli.exit_code_of(["repro", "evil.txt", "--source", str(kernel)]) == 0
    out = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in out)
    assert all(character.isprintable() or character == "\n" for character in (here / "evil.yaml").read_text())
