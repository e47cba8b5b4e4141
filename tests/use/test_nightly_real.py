"""Four nights with real, tiny kernel builds: one cell whose patch is another one each night, one in which nothing moves."""

import datetime
import textwrap
import threading

import pytest

from lab.errors import ExitCode
from lab.events import silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.report.nightly import comparison_document, night_document, night_text
from lab.results import nights, questions
from lab.results.index import Index, content
from lab.use import nightly

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TINY = """
version: 1
name: tiny
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: x86_64
  toolchain: gcc-12
  kconfig: [tinyconfig]
  make: {targets: [lib/ctype.o]}
  filesystem: tmpfs
  repeat: 2
matrix:
  patches:
    - {name: tonight, apply: [tonight.patch]}
    - {name: steady, apply: [steady.patch]}
"""
PATCH = """\
--- a/lib/ctype.c
+++ b/lib/ctype.c
@@ -8,2 +8,3 @@
 #include <linux/ctype.h>
+{line}
 #include <linux/compiler.h>
"""
TONIGHT, STEADY = "x86_64-gcc-12-tmpfs-tonight", "x86_64-gcc-12-tmpfs-steady"


@pytest.fixture
def night(real, rows, tmp_path):
    """Return what runs the night of a day: with a line for lib/ctype.c, or with a patch for the cell that is steady."""
    path = tmp_path / "matrix.yaml"
    path.write_text(textwrap.dedent(TINY))

    def night(day, line, steady="/* steady */", patch=PATCH):
        (tmp_path / "tonight.patch").write_text(PATCH.format(line=line))
        (tmp_path / "steady.patch").write_text(patch.format(line=steady))
        request = nightly.Request(
            matrix=path, name="tiny", cells=expand(read(path, rows)), today=datetime.date(2026, 11, day)
        )
        return nightly.night(request, real, rows, silent, threading.Event())

    return night


def told(done):
    shared = comparison_document(done.comparison, done.told, done.news)
    contract = night_document(
        done.run, done.night, done.tonight, done.previous, shared, folder=done.run, exit_code=int(done.exit_code)
    )
    return night_text(contract)


def changes(done):
    return {(one.change.value, one.cell, one.fault.signature.id) for one in done.comparison.differences}


def executed(done):
    return {cell for cell, one in done.tonight.items() if not one.carried}


def test_four_nights_with_a_regression_an_error_and_a_fix(night, real):
    first = night(1, "/* one */")
    assert (changes(first), first.exit_code) == (set(), ExitCode.AS_EXPECTED), told(first)
    assert executed(first) == {TONIGHT, STEADY}

    second = night(2, "/* two */")
    assert (changes(second), second.exit_code) == (set(), ExitCode.AS_EXPECTED), told(second)
    assert executed(second) == {TONIGHT}, "nothing moved in the other"

    third = night(3, "int lab_broken = ;", patch=PATCH.replace("ctype.h", "nowhere.h"))
    assert changes(third) == {("new", TONIGHT, "build.compiler")}, told(third)
    assert [(one.cell, one.outcome.value, one.new) for one in third.comparison.unjudged] == [(STEADY, "ERROR", True)]
    assert third.exit_code == ExitCode.KERNEL_FAULT
    (new,) = third.news.claimed
    assert (new.before.failures, new.before.trials, new.now.failures, new.now.trials) == (0, 4, 4, 4)
    assert new.fault.signature.blame == "lib/ctype.o"

    fourth = night(4, "/* four */")
    assert changes(fourth) == {("fixed", TONIGHT, "build.compiler")}, told(fourth)
    assert (fourth.comparison.unjudged, fourth.exit_code) == ((), ExitCode.AS_EXPECTED)
    assert fourth.tonight[STEADY].run == first.run, "judged on the first night, with just these inputs"

    index = Index(real.results)
    index.grow()
    assert [one.outcome for one in questions.history(index, TONIGHT, matrix="tiny")] == ["PASS", "PASS", "FAIL", "PASS"]
    before = content(index)
    index.rebuild()
    assert content(index) == before
    for done in (first, second, third, fourth):
        (done.folder / nights.SEEN).unlink()
        assert nights.seen(real.results, done.run) == dict(done.tonight), "from the attempts themselves"
