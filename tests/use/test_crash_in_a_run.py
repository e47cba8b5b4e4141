"""Real compilers that crash in real builds: gcc says of a cc1 that dies of a signal what it says of its own bugs.

And a clock that is set back, which is made again for the same reason. Only what the lab reads of it is another: a test that
set the machine's would disturb all others.
"""

import textwrap
import threading
import uuid

import pytest

from lab import kbuild
from lab.environment import wallclock
from lab.events import silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Outcome, Severity
from lab.results import store
from lab.use import session

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TINY = """
version: 1
name: crash
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: x86_64
  toolchain: gcc-12
  filesystem: tmpfs
  kconfig: [allnoconfig]
  make: {targets: [lib/ctype.o]}
  patches: [crash.patch]
"""
PATCH = """\
--- a/lib/Makefile
+++ b/lib/Makefile
@@ -1,3 +1,4 @@
 # SPDX-License-Identifier: GPL-2.0
+CFLAGS_ctype.o += -D{unique} -wrapper sh,$(srctree)/lib/crash.sh
 #
 # Makefile for some libs needed in the kernel.
--- /dev/null
+++ b/lib/crash.sh
@@ -0,0 +1,3 @@
+#!/bin/sh
+{condition} && kill -SEGV $$
+exec "$@"
"""


@pytest.fixture
def run(tmp_path, rows, real):
    def run(condition, expect=""):
        unique = f"TEST_{uuid.uuid4().hex}"  # ccache knows nothing of what stands in crash.sh
        (tmp_path / "crash.patch").write_text(PATCH.format(condition=condition, unique=unique))
        path = tmp_path / "matrix.yaml"
        path.write_text(TINY + textwrap.dedent(expect))
        matrix = read(path, rows)
        request = session.Request(matrix=path, name=matrix.name, cells=expand(matrix))
        done = session.run(request, real, rows, silent, threading.Event())
        [result] = done.results
        return result, done.folder / result.cell

    return run


def test_a_compiler_that_crashes_again_fails_the_cell_after_two_attempts(run):
    result, folder = run("true")
    assert result.outcome is Outcome.FAIL, result.reason
    [attempt] = result.attempts
    assert attempt.facts["retried_after"]
    [crash] = [finding for finding in attempt.findings if finding.id == "build.toolchain-crash"]
    assert (crash.severity, crash.blame) == (Severity.FAIL, "lib/ctype.o")
    assert "again in the same place" in crash.because[-1]
    assert (folder / "1.aside-1" / "build.txt").is_file()


def test_a_crash_that_the_matrix_expects_is_not_repeated(run):
    wanted = "expect: [{when: {filesystem: tmpfs}, outcome: FAIL, finding: build.toolchain-crash, because: it does}]\n"
    result, folder = run("true", wanted)
    assert result.outcome is Outcome.XFAIL, result.reason
    assert "retried_after" not in result.attempts[0].facts
    assert not (folder / "1.aside-1").exists()


def test_a_compiler_that_crashes_once_leaves_a_warning_with_its_proof(run, real):
    """The container of the first build notes itself where the second one finds it: in the compiler cache."""
    note = f"{kbuild.CCACHE}/test-{uuid.uuid4()}"
    container = "$(grep -o 'containers/[0-9a-f]*' /proc/self/mountinfo | head -n 1)"
    try:
        result, folder = run(
            f'{{ [ -e {note} ] || echo "{container}" > {note}; [ "$(cat {note})" = "{container}" ]; }}'
        )
        notes = [path.read_text() for path in real.cache.glob(f"ccache/*/{note.rpartition('/')[2]}")]
    finally:
        for path in real.cache.glob(f"ccache/*/{note.rpartition('/')[2]}"):
            path.unlink()
    assert [text.startswith("containers/") for text in notes] == [True]
    assert result.outcome is Outcome.PASS, result.reason
    [attempt] = result.attempts
    assert "build.toolchain-crash" in attempt.facts["retried_after"]
    [crash] = [finding for finding in attempt.findings if finding.id == "build.toolchain-crash"]
    assert crash.severity is Severity.WARNING
    proof = (folder / "1" / crash.where.file).read_text().splitlines()[crash.where.first - 1]
    assert "internal compiler error" in proof
    assert store.read_results(folder.parent)[result.cell].attempts == (attempt,)


def test_an_attempt_during_which_the_clock_was_set_back_is_made_again(run, monkeypatch):
    offsets = iter([10**18, 10**18 - 3600 * 10**9])
    monkeypatch.setattr(wallclock, "_offset_ns", lambda: next(offsets, 10**18 - 3600 * 10**9))
    result, folder = run("false")
    assert result.outcome is Outcome.PASS, result.reason
    [attempt] = result.attempts
    assert "set back by 3600 s" in attempt.facts["retried_after"]
    [clock] = [finding for finding in attempt.findings if finding.id == "infra.clock"]
    assert clock.severity is Severity.WARNING
    assert (folder / "1" / clock.where.file).is_file()
