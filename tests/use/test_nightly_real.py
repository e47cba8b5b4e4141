"""Seven nights with real, tiny kernel builds: a cell whose patch changes, one that stays, one that tosses a coin."""

import datetime
import textwrap
import threading
from dataclasses import replace

import pytest

from lab.errors import ExitCode
from lab.events import silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import AttemptResult, Outcome
from lab.report.nightly import comparison_document, night_document, night_text
from lab.results import nights, questions, store
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
  kconfig: [allnoconfig]
  make: {targets: [lib/ctype.o]}
  filesystem: tmpfs
  repeat: 2
matrix:
  patches:
    - {name: tonight, apply: [tonight.patch]}
    - {name: steady, apply: [steady.patch]}
    - {name: coin, apply: [coin.patch]}
"""
PATCH = """\
--- a/lib/ctype.c
+++ b/lib/ctype.c
@@ -8,2 +8,3 @@
 #include <linux/ctype.h>
+{line}
 #include <linux/compiler.h>
"""
# Each build tosses anew, and half of them fail: nothing that the lab knows of decides which.
COIN_PATCH = """\
--- a/lib/Makefile
+++ b/lib/Makefile
@@ -1,2 +1,5 @@
 # SPDX-License-Identifier: GPL-2.0
+ifneq ($(filter %0 %2 %4 %6 %8,$(shell od -An -N1 -tu1 /dev/urandom)),)
+CFLAGS_ctype.o += -DLAB_COIN
+endif
 #
--- a/lib/ctype.c
+++ b/lib/ctype.c
@@ -8,2 +8,5 @@
 #include <linux/ctype.h>
+#ifdef LAB_COIN
+#error the coin fell on its other side
+#endif
 #include <linux/compiler.h>
"""
TONIGHT, STEADY, COIN = (f"x86_64-gcc-12-tmpfs-{name}" for name in ("tonight", "steady", "coin"))
# Tossed so often on the first night and once on the second. What is asserted of the coin is wrong only if all of the first
# night's tosses fall alike, 2 * 2**-16 = 3.1e-5; if not, a single toss never lies outside the first night's interval. (Twice on
# the second night it would: 1.5e-4. A claim that is wrong once in some hundred mornings is what 95 % intervals are.)
TOSSES = 16


@pytest.fixture
def night(real, rows, tmp_path):
    """Return what runs the night of a day: with a line for lib/ctype.c, or with a patch for the cell that is steady."""
    path = tmp_path / "matrix.yaml"
    path.write_text(textwrap.dedent(TINY))
    (tmp_path / "coin.patch").write_text(COIN_PATCH)

    def night(day, line, steady="/* steady */", patch=PATCH):
        (tmp_path / "tonight.patch").write_text(PATCH.format(line=line))
        (tmp_path / "steady.patch").write_text(patch.format(line=steady))
        tosses = TOSSES if day == 1 else 1
        cells = [replace(one, repeat=tosses) if one.id == COIN else one for one in expand(read(path, rows))]
        today = datetime.date(2026, 11, day)
        request = nightly.Request(matrix=path, name="tiny", cells=tuple(cells), today=today)
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


def coin(done):
    """Return what a night says of the coin, in one line without its numbers, and the numbers of tonight and before."""
    (one,) = [one for one in done.comparison.differences if one.cell == COIN]
    assert "the coin fell on its other side" in one.fault.signature.title
    (line,) = [line for line in told(done).splitlines() if f" {COIN} " in line]
    return line.split()[0], (one.tonight.failures, one.tonight.trials), (one.before.failures, one.before.trials)


def tossed(done):
    """Return how many attempts of the coin failed, of how many, by what lies in the night's folder."""
    results = [store.read(AttemptResult, path) for path in (done.folder / COIN).glob("*/result.json")]
    assert {one.outcome for one in results} <= {Outcome.PASS, Outcome.FAIL}
    return sum(one.outcome is Outcome.FAIL for one in results), len(results)


def test_seven_nights_with_a_regression_an_error_a_fix_and_a_coin(night, real):
    first = night(1, "/* one */")
    assert (changes(first), first.exit_code) == ({("first", COIN, "build.compiler")}, ExitCode.KERNEL_FAULT), told(
        first
    )
    assert executed(first) == {TONIGHT, STEADY, COIN}
    before = tossed(first)
    assert before[1] == TOSSES
    assert 0 < before[0] < TOSSES
    flaky = ("flaky", COIN, "build.compiler")

    second = night(2, "/* two */")
    assert (changes(second), second.exit_code) == ({flaky}, ExitCode.AS_EXPECTED), told(second)
    assert executed(second) == {TONIGHT, COIN}, "nothing moved in the other"
    assert coin(second) == ("FLAKY", tossed(second), before)
    assert "its rate did not change significantly" in told(second)

    third = night(3, "int lab_broken = ;", patch=PATCH.replace("ctype.h", "nowhere.h"))
    assert changes(third) == {("new", TONIGHT, "build.compiler"), flaky}, told(third)
    assert [(one.cell, one.outcome.value, one.new) for one in third.comparison.unjudged] == [(STEADY, "ERROR", True)]
    assert third.exit_code == ExitCode.KERNEL_FAULT
    (new,) = third.news.claimed
    assert (new.cell, new.before.failures, new.before.trials, new.now.failures, new.now.trials) == (TONIGHT, 0, 4, 4, 4)
    assert new.fault.signature.blame == "lib/ctype.o"

    fourth = night(4, "/* four */")
    assert changes(fourth) == {("fixed", TONIGHT, "build.compiler"), flaky}, told(fourth)
    assert (fourth.comparison.unjudged, fourth.exit_code) == ((), ExitCode.AS_EXPECTED)
    assert fourth.tonight[STEADY].run == first.run, "judged on the first night, with just these inputs"

    quiet = [night(day, "/* four */") for day in (5, 6, 7)]
    for done in quiet:
        assert (changes(done), executed(done), done.exit_code) == ({flaky}, set(), ExitCode.AS_EXPECTED), told(done)
        assert coin(done)[:2] == ("FLAKY", (0, 0)), "not tossed tonight"

    index = Index(real.results)
    index.grow()
    outcomes = [one.outcome for one in questions.history(index, TONIGHT, matrix="tiny")]
    assert outcomes == ["PASS", "PASS", "FAIL", "PASS", "PASS", "PASS", "PASS"]
    grown = content(index)
    index.rebuild()
    assert content(index) == grown
    for done in (first, second, third, fourth, *quiet):
        (done.folder / nights.SEEN).unlink()
        assert nights.seen(real.results, done.run) == dict(done.tonight), "from the attempts themselves"
