"""`lab run` on the real engine with real, tiny kernel builds: every way a cell can end is told apart."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from lab.environment.engine import LABEL
from lab.errors import ExitCode
from lab.events import silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Outcome
from lab.report import document
from lab.use import session

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TINY = """
version: 1
name: tiny
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: x86_64
  toolchain: gcc-12
  kconfig: [allnoconfig]
  make: {targets: [lib/ctype.o]}
  boot: off
matrix:
  filesystem: [tmpfs]
"""
SYNTAX_ERROR = """\
--- a/lib/ctype.c
+++ b/lib/ctype.c
@@ -6,6 +6,7 @@
  */
 
 #include <linux/ctype.h>
+int lab_broken = ;
 #include <linux/compiler.h>
 #include <linux/export.h>
 
"""


@pytest.fixture
def run(real, rows, tmp_path):
    """Write a matrix, run it, return its session."""

    def run(text, *, tables=rows, stop=None, sink=silent, files=()):
        for name, content in files:
            (tmp_path / name).write_text(content)
        path = tmp_path / "matrix.yaml"
        path.write_text(textwrap.dedent(text))
        matrix = read(path, tables)
        request = session.Request(matrix=path, name=matrix.name, cells=expand(matrix))
        return session.run(request, real, tables, sink, stop or threading.Event())

    return run


def only(done):
    assert len(done.results) == 1
    return done.results[0]


def exit_code(done):
    return document.run_document(done.facts, done.by_cell, folder="")["exit_code"]


def test_a_good_build_passes_and_leaves_its_evidence(run):
    done = run(TINY)
    result = only(done)
    assert result.outcome is Outcome.PASS, result.reason
    assert exit_code(done) == 0
    folder = done.folder / result.attempts[0].folder
    record = json.loads((folder / "record.json").read_text())
    assert record["granularity_ns"] > 0
    for name in (
        "config.txt",
        "build.txt",
        "commands.jsonl",
        "mtimes.tsv",
        "writes.tsv",
        "result.json",
        "reproduce.sh",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert subprocess.run(["sh", "-n", folder / "reproduce.sh"], check=False).returncode == 0


def test_a_syntax_error_is_the_kernels_fault_with_file_and_line(run):
    done = run(TINY + "  patches: [{name: broken, apply: [broken.patch]}]\n", files=[("broken.patch", SYNTAX_ERROR)])
    result = only(done)
    assert result.outcome is Outcome.FAIL
    finding = result.attempts[0].findings[0]
    assert finding.id == "build.compiler"
    assert finding.data["file"].endswith("lib/ctype.c")
    assert finding.data["line"] == 9
    assert finding.blame == "lib/ctype.o"
    assert exit_code(done) == ExitCode.KERNEL_FAULT


def test_a_full_disk_is_the_labs_trouble_and_says_so(run, rows):
    small = dataclasses.replace(rows.filesystem["tmpfs"], size_mib=6)
    done = run(TINY, tables=dataclasses.replace(rows, filesystem={**rows.filesystem, "tmpfs": small}))
    result = only(done)
    assert result.outcome is Outcome.ERROR, result.reason
    assert result.attempts[0].findings[0].id == "infra.disk-full"
    assert exit_code(done) == ExitCode.LAB_FAULT


def test_a_filesystem_that_the_kernel_lacks_is_told_before_anything_is_fetched(run, rows):
    unknown = dataclasses.replace(rows.filesystem["xfs"], fstype="nosuchfs")
    tables = dataclasses.replace(rows, filesystem={**rows.filesystem, "xfs": unknown})
    seen = []
    done = run(TINY.replace("[tmpfs]", "[xfs]"), tables=tables, sink=seen.append)
    result = only(done)
    assert result.outcome is Outcome.ERROR
    assert "no filesystem of type 'nosuchfs'" in result.reason
    assert exit_code(done) == ExitCode.LAB_FAULT
    assert {type(event).__name__ for event in seen} <= {"Note", "RunStarted", "CellJudged"}, "a job was begun"


def test_a_killed_compiler_is_the_labs_trouble(run):
    killed = threading.Event()

    def kill_the_first_kernel_compile():
        until = time.monotonic() + 300
        while time.monotonic() < until and not killed.is_set():
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    words = (folder / "cmdline").read_bytes()
                    if b"/cc1\0" in words and b"LAB_HUNTED" in words:
                        os.kill(int(folder.name), signal.SIGKILL)
                        killed.set()
                        return
            time.sleep(0.0005)

    hunter = threading.Thread(target=kill_the_first_kernel_compile)
    hunter.start()
    try:
        # no ccache: it would hide the compiler, or run it again
        done = run(
            TINY.replace("boot: off", "boot: off\n  ccache: off").replace(
                "lib/ctype.o]", "mm/], variables: {KCFLAGS: -DLAB_HUNTED}"
            )
        )
    finally:
        hunted = killed.is_set()
        killed.set()
        hunter.join()
    assert hunted, "no compiler was seen to kill"
    result = only(done)
    assert result.outcome is Outcome.ERROR, result.reason
    assert result.attempts[0].findings[0].id in ("infra.compiler-killed", "infra.out-of-memory")


def test_a_symbol_that_does_not_survive_makes_the_cell_an_error(run):
    done = run(TINY.replace("[allnoconfig]", "[allnoconfig, CONFIG_NO_SUCH_THING=y]"))
    result = only(done)
    assert result.outcome is Outcome.ERROR
    finding = result.attempts[0].findings[0]
    assert finding.id == "config.not-honoured"
    assert "CONFIG_NO_SUCH_THING" in finding.message


def test_a_patch_that_does_not_apply_cannot_be_judged(run):
    wrong = SYNTAX_ERROR.replace("#include <linux/ctype.h>", "#include <linux/other.h>")
    done = run(TINY + "  patches: [{name: wrong, apply: [wrong.patch]}]\n", files=[("wrong.patch", wrong)])
    result = only(done)
    assert result.outcome is Outcome.ERROR
    assert "patch 'wrong' does not apply" in result.reason
    assert exit_code(done) == ExitCode.UNTESTABLE


def test_a_deadline_is_the_labs_trouble(run):
    whole = TINY.replace("lib/ctype.o", "vmlinux")  # which no machine builds in that time
    done = run(whole.replace("boot: off", "boot: off\n  ccache: off\n  deadlines: {build_s: 2}"))
    result = only(done)
    assert result.outcome is Outcome.ERROR
    assert result.attempts[0].findings[0].id == "infra.deadline"


def test_one_cells_trouble_does_not_stop_the_others(run):
    done = run(
        TINY + "  patches: [{name: broken, apply: [broken.patch]}, {name: pristine, apply: []}]\n",
        files=[("broken.patch", SYNTAX_ERROR)],
    )
    assert sorted(result.outcome for result in done.results) == [Outcome.FAIL, Outcome.PASS]


def lab(*words, results, **more):
    environment = {**os.environ, "LAB_RESULTS": str(results)}
    return subprocess.Popen([sys.executable, "-m", "lab", *words], env=environment, start_new_session=True, **more)


def test_a_killed_run_goes_on_where_it_was_and_leaves_nothing(tmp_path, engine, machine_settings):
    path, results = tmp_path / "matrix.yaml", tmp_path / "results"
    # more jobs than any machine has cores, so that one cell runs after the other
    text = TINY.replace("[tmpfs]", "[tmpfs, ext4-128]").replace("lib/ctype.o]", "lib/ctype.o], jobs: 64")
    path.write_text(text.replace("name: tiny", "name: killed"))
    child = lab("run", str(path), results=results, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 300
    finished = []
    while time.monotonic() < until and child.poll() is None:
        finished = list(results.glob("killed-*/*/1/result.json"))
        begun = list(results.glob("killed-*/*/1/build.txt"))
        if len(finished) == 1 and len(begun) == 2:
            break
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert len(finished) == 1, "the run was over before it could be killed"
    before = finished[0].stat().st_mtime_ns

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    again = lab("run", str(path), "--resume", "--json", results=results, **pipes)
    said, complaints = again.communicate(timeout=600)
    assert again.returncode == 0, complaints.decode()
    contract = json.loads(said)
    assert [cell["outcome"] for cell in contract["cells"]] == ["PASS", "PASS"]
    assert finished[0].stat().st_mtime_ns == before, "a finished cell was built again"
    assert b"swept what a killed lab left" in complaints
    owners = [row["Labels"][LABEL] for row in engine._client.api.containers(all=True, filters={"label": LABEL})]
    assert not [owner for owner in owners if "killed-" in owner]
    assert not list(machine_settings.work.glob("killed-*"))
    assert "killed-" not in subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=False).stdout
    assert "killed-" not in Path("/proc/self/mountinfo").read_text()
