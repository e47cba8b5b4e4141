"""The command line: every way to end has its exit code, and 1 and 2 never blame a kernel for a typing mistake."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lab import cli
from lab.cli import ending
from lab.errors import EnvironmentFault, ExitCode, Untestable, UsageError

QUICKSTART = str(Path(__file__).parent.parent / "matrices" / "quickstart.yaml")
HEALTHY = "  CC      init/main.o\n  LD      vmlinux\n"
FAULTY = (
    "  CC      lib/a.o\n/src/lib/a.c:3:5: error: expected ';' before 'int'\n"
    "make[2]: *** [/src/scripts/Makefile.build:250: lib/a.o] Error 1\nmake: *** [Makefile:234: __sub-make] Error 2\n"
)


def lab(*words):
    return cli.exit_code_of([str(word) for word in words])


def test_a_wrong_option_or_command_is_usage_and_never_gits_bad(capsys):
    for words in (
        ["nope"],
        ["run"],
        ["run", "--nope", QUICKSTART],
        ["log", "x"],
        ["list", QUICKSTART, "--cell", "none*"],
    ):
        assert lab(*words) == ExitCode.USAGE, words
    assert "hint" in capsys.readouterr().err


def test_an_unknown_cell_is_told_with_what_is_known(capsys):
    assert lab("run", QUICKSTART, "--cell", "riscv*") == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "no cell is called 'riscv*'" in said
    assert "x86_64-gcc-12-tmpfs" in said


@pytest.mark.parametrize(
    "words", [["build"], ["build", "gcc-99"], ["build", "--all", "x"], ["show", "gcc-99"]], ids=" ".join
)
def test_images_are_named_or_all_are_wanted_and_an_unknown_one_is_usage(words, capsys):
    assert lab("image", *words) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "hint" in said or "exclude each other" in said


def test_list_prints_its_contract(capsys):
    assert lab("list", QUICKSTART, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [cell["id"] for cell in document["cells"]] == [
        "x86_64-gcc-12-tmpfs",
        "x86_64-gcc-12-ext4-128",
        "x86_64-gcc-12-ext4-128-unguarded",
    ]
    assert document["cells"][2]["axes"]["filesystem"] == "ext4-128"


def test_all_mistakes_of_a_matrix_are_told_and_exit_as_usage(tmp_path, capsys):
    path = tmp_path / "m.yaml"
    path.write_text("version: 1\nname: x\ndefaults: {arch: x86_46, toolchain: gcc-12, nope: 1}\n")
    assert lab("list", path) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert f"{path}:3:" in said
    assert "did you mean 'x86_64'" in said
    assert "nope" in said


def test_a_log_is_judged_with_the_exit_code_of_its_outcome(tmp_path, capsys):
    log = tmp_path / "log.txt"
    log.write_text(HEALTHY)
    assert lab("log", "--kind", "build", log, "--json") == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "PASS"
    log.write_text(FAULTY)
    assert lab("log", "--kind", "build", log, "--json") == ExitCode.KERNEL_FAULT
    document = json.loads(capsys.readouterr().out)
    assert document["outcome"] == "FAIL"
    finding = document["findings"][0]
    assert (finding["id"], finding["blame"], finding["where"]["first"]) == ("build.compiler", "lib/a.o", 2)
    assert set(finding) >= {"id", "severity", "title", "message", "blame", "function", "where", "because", "data"}


def test_an_empty_log_is_no_pass(tmp_path, capsys):
    (tmp_path / "log").write_text("")
    assert lab("log", "--kind", "build", tmp_path / "log", "--json") == ExitCode.UNTESTABLE
    assert json.loads(capsys.readouterr().out)["outcome"] == "SKIP"


def test_a_missing_log_or_folder_is_usage(tmp_path, capsys):
    assert lab("log", "--kind", "build", tmp_path / "none") == ExitCode.USAGE
    assert lab("check", tmp_path) == ExitCode.USAGE
    assert "neither" in capsys.readouterr().err


def test_a_folder_in_which_nothing_can_be_judged_is_no_pass(tmp_path, capsys):
    (tmp_path / "record.json").write_text("{}")
    assert lab("check", tmp_path, "--json") == ExitCode.UNTESTABLE
    assert json.loads(capsys.readouterr().out)["outcome"] == "SKIP"


def test_explain_prints_a_page_and_knows_near_names(capsys):
    assert lab("explain", "timestamps.tie") == 0
    assert "825d48758308" in capsys.readouterr().out
    assert lab("explain", "timestamp.tie") == ExitCode.USAGE
    assert "timestamps.tie" in capsys.readouterr().err


def test_schema_is_json_that_accepts_the_quickstart(capsys):
    import jsonschema
    import yaml

    assert lab("schema") == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.validate(yaml.load(Path(QUICKSTART).read_text(), Loader=yaml.BaseLoader), schema)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("wrong"), 129),
        (Untestable("does not configure"), 125),
        (EnvironmentFault("no engine"), 128),
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device"), 128),
        (ValueError("a bug"), 128),
    ],
)
def test_every_error_has_its_exit_code_and_only_bugs_a_traceback(error, code, monkeypatch, capsys):
    def raising(*words, **more):
        raise error

    monkeypatch.setattr(cli.check, "folder", raising)
    assert lab("check", ".") == code
    said = capsys.readouterr().err
    assert ("Traceback" in said) == isinstance(error, ValueError)


@pytest.mark.parametrize(
    ("words", "streams", "code"),
    [
        (f"list {QUICKSTART}", "<&- >&- 2>&-", 0),
        (f"list {QUICKSTART}", ">/dev/full 2>/dev/full", 128),
        (f"list {QUICKSTART}", "2>/dev/full", 0),
        ("list nonesuch.yaml", "2>/dev/full", 129),
        ("list nonesuch.yaml", ">&- 2>&-", 129),
        ("nonesuch", "2>/dev/full", 129),
    ],
)
def test_streams_that_are_closed_or_full_blame_no_kernel(words, streams, code):
    """Python ends with 1 where its last words find no room, and with 120 where its last output does not: both are "bad"."""
    done = subprocess.run(["sh", "-c", f'"$0" -m lab {words} {streams}', sys.executable], check=False)
    assert done.returncode == code


@pytest.mark.parametrize(("ignored", "stopped"), [(False, True), (True, False)], ids=["terminal", "nohup"])
def test_a_terminal_that_goes_away_is_an_interruption_and_under_nohup_none(ignored, stopped):
    stop, kept = (
        threading.Event(),
        [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)],
    )
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
        ending.interrupt_once(stop)
        for _ in range(2):  # the kernel says it, and the shell
            signal.raise_signal(signal.SIGHUP)
        assert stop.is_set() is stopped
    finally:
        for number, handler in zip((signal.SIGHUP, signal.SIGINT, signal.SIGTERM), kept, strict=True):
            signal.signal(number, handler)


def test_hostile_text_of_an_error_reaches_no_terminal(monkeypatch, capsys):
    def raising(path):
        raise UsageError("bad name '\x1b]0;owned\x07\x1b[2J'")

    monkeypatch.setattr(cli.check, "folder", raising)
    lab("check", ".")
    assert "\x1b" not in capsys.readouterr().err


def test_a_broken_installation_is_no_bad_kernel(tmp_path):
    (tmp_path / "typer.py").write_text("raise RuntimeError('broken')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "lab", "list", QUICKSTART], env=environment, capture_output=True, check=False
    )
    assert done.returncode == ExitCode.LAB_FAULT
    assert b"not the kernel's doing" in done.stderr


def test_a_closed_pipe_is_not_the_kernels_fault():
    command = f"{sys.executable} -m lab schema | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert done.returncode == ExitCode.LAB_FAULT
    assert done.stderr == b""


def test_the_documented_exit_codes_are_the_real_ones(repository):
    table = (repository / "docs" / "exit-codes.md").read_text()
    for code in ExitCode:
        assert f"| {code.value} |" in table
