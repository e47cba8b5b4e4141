"""`lab try` on the command line: what is asked wrongly is told before anything begins."""

from pathlib import Path

import pytest

from lab import cli
from lab.errors import ExitCode

ROOT = Path(__file__).parent.parent
MATRIX = str(ROOT / "matrices" / "reports" / "001-coarse-timestamps.yaml")
PATCH = str(ROOT / "matrices" / "reports" / "fixes" / "trim-guard.patch")
CELL = ("--cell", "x86_64-gcc-12-ext4-128-unguarded")


@pytest.fixture
def lab(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_RESULTS", str(tmp_path / "results"))
    yield lambda *words: cli.exit_code_of(["try", MATRIX, *map(str, words)])
    assert not (tmp_path / "results").exists(), "something was begun"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--patch", PATCH], "lab try --help"),
        ([*CELL], "lab try --help"),
        (["--cell", "*ext4*", "--patch", PATCH], "cells are called '*ext4*'"),
        (["--cell", "none", "--patch", PATCH], "no cell is called 'none'"),
        ([*CELL, "--patch", "no-such.patch"], "cannot read the patch 'no-such.patch'"),
        ([*CELL, "--patch", MATRIX], "is no unified diff"),
        ([*CELL, "--patch", PATCH, "--error-rate", "0.5"], "--error-rate must be from"),
        ([*CELL, "--patch", PATCH, "--error-rate", "nan"], "--error-rate must be from"),
        ([*CELL, "--patch", PATCH, "--budget", "long"], "--budget must be a time"),
        ([*CELL, "--patch", PATCH, "--pairs", "0"], "--pairs must be from 1 to 1000, not 0"),
        ([*CELL, "--patch", PATCH, "--pairs", "1"], "a limit of 1 pair decides nothing"),
        ([*CELL, "--patch", PATCH, "--finding", "undefined"], "no check finds 'undefined'"),
        ([*CELL, "--patch", PATCH, "--finding", "modpost.undefind"], "did you mean 'modpost.undefined'?"),
    ],
)
def test_a_wrong_request_is_told_and_is_usage(lab, capsys, words, told):
    assert lab(*words) == ExitCode.USAGE
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("data", [b"\xff\xfe@@ -1 +1 @@\n", b"x" * (1 << 20) + b"xx"], ids=["no text", "too large"])
def test_a_file_that_cannot_be_a_patch_is_refused(lab, capsys, tmp_path, data):
    (tmp_path / "x.patch").write_bytes(data)
    assert lab(*CELL, "--patch", tmp_path / "x.patch") == ExitCode.USAGE
    assert "the patch" in capsys.readouterr().err
