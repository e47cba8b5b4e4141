"""`lab try` and `amplify:` on the real engine with real, tiny kernel builds."""

import json
import textwrap
import threading
from dataclasses import replace

import pytest

from lab.errors import ExitCode, Untestable
from lab.events import JobStarted, Note, silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Outcome, Patch
from lab.report import page, tried
from lab.results import trials
from lab.use import session, trial

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
"""


def ctype(old, new):
    """Return a patch that puts one line in place of another behind lib/ctype.c's first include."""
    lines = [" #include <linux/ctype.h>", *(f"-{line}" for line in old), *(f"+{line}" for line in new)]
    head = f"@@ -8,{2 + len(old)} +8,{2 + len(new)} @@"
    return "\n".join(["--- a/lib/ctype.c", "+++ b/lib/ctype.c", head, *lines, " #include <linux/compiler.h>", ""])


BROKEN = ["int lab_broken = ;"]
BREAKING, MENDING = ctype([], BROKEN), ctype(BROKEN, [])
IDLE, WORSE = ctype(BROKEN, [*BROKEN, "/* nothing else */"]), ctype(BROKEN, ["#error worse"])
ELSEWHERE = MENDING.replace("compiler.h", "nowhere.h")


@pytest.fixture
def tiny(real, rows, tmp_path):
    """Write a matrix whose only cell has a syntax error; return what compares it with a patch."""

    def tiny(patch, *, name="fix", sink=silent, ccache="on", **changes):
        (tmp_path / "broken.patch").write_text(BREAKING)
        path = tmp_path / "matrix.yaml"
        path.write_text(
            textwrap.dedent(TINY) + f"  ccache: {ccache}\n" + "  patches: {name: broken, apply: [broken.patch]}\n"
        )
        (cell,) = expand(read(path, rows))
        request = trial.Request(
            matrix=path, name="tiny", cell=cell, patches=(Patch(name=name, text=patch),), pairs=10, budget_s=3600.0,
            error_rate=0.05,
        )  # fmt: skip
        return trial.run(replace(request, **changes), real, rows, sink, threading.Event())

    return tiny


def test_a_patch_that_mends_is_decided_in_three_pairs_and_kept(tiny):
    seen = []
    done = tiny(MENDING, sink=seen.append)
    assert done.exit_code == ExitCode.AS_EXPECTED, tried.tried_text(done.trial)
    assert (done.trial.ended, len(done.trial.pairs)) == ("mends", 3)
    assert [pair.first for pair in done.trial.pairs] == ["without", "with", "without"]
    without, with_patch = done.results
    assert (without.outcome, with_patch.outcome) == (Outcome.FAIL, Outcome.PASS)
    assert trials.read(done.folder) == done.trial
    for result in done.results:
        assert len(result.attempts) == 3
        for attempt in result.attempts:
            assert (done.folder / attempt.folder / "record.json").is_file()
    began = [event.title for event in seen if isinstance(event, JobStarted)]
    pairs = [title for title in began if title.startswith("pair")]
    assert [title.split(" (")[0].removesuffix(" the patch") for title in pairs] == [
        "pair 1, without", "pair 1, with", "pair 2, with", "pair 2, without", "pair 3, without", "pair 3, with",
    ]  # fmt: skip
    assert sum(title.startswith("compiler cache for") for title in began) == 2
    notes = [event.text for event in seen if isinstance(event, Note)]
    assert any(note.startswith("at most 10 pairs") for note in notes)
    words = (tried.final_words(done.trial), *tried.further_words(done.trial))
    text = page.write_page(done.facts, {one.cell: one for one in done.results}, done.folder, words).read_text()
    assert "the patch mends" in text


def test_a_patch_that_does_nothing_does_not_mend(tiny):
    done = tiny(IDLE, ccache="off")
    assert done.exit_code == ExitCode.KERNEL_FAULT, tried.tried_text(done.trial)
    assert done.trial.ended == "does-not-mend"


def test_a_patch_that_does_not_compile_cannot_be_judged(tiny):
    done = tiny(WORSE, ccache="off", findings=("modpost.undefined",))
    assert done.exit_code == ExitCode.UNTESTABLE
    assert (done.trial.ended, done.trial.pairs) == ("other-failures", ())


def test_a_patch_that_does_not_apply_is_told_before_anything_is_built(tiny, tmp_path):
    seen = []
    with pytest.raises(Untestable, match="patch 'fix' does not apply"):
        tiny(ELSEWHERE, sink=seen.append)
    began = [event.key.split(":")[0] for event in seen if isinstance(event, JobStarted)]
    assert set(began) <= {"source", "patched"}
    assert not list((tmp_path / "results").glob("*/*/1"))


AMPLIFIED = "  amplify: {load: 2, slow: {compiler: 0.1, no-such-tool: 1}, align: {compiler: lib/ctype.c}}\n"


def test_an_amplified_build_waits_and_says_so_everywhere(real, rows, tmp_path):
    path = tmp_path / "matrix.yaml"
    path.write_text(textwrap.dedent(TINY) + AMPLIFIED)
    request = session.Request(matrix=path, name="tiny", cells=expand(read(path, rows)))
    done = session.run(request, real, rows, silent, threading.Event())
    (result,) = done.results
    assert result.outcome is Outcome.PASS, result.reason
    assert result.amplified.startswith("load=2 slow=compiler:0.1s")
    assert "amplify" in result.cell
    folder = done.folder / result.attempts[0].folder
    waits = result.attempts[0].facts["amplified"]["waits"]
    assert waits["align ccache"] + waits["missed ccache"] == 2, "lib/ctype.c is compiled for the kernel and for objtool"
    assert waits["slow ccache"] > 1, "host programs are compiled as well"
    assert waits["slow no-such-tool"] == 0
    assert (folder / "amplified.txt").read_text().count("\n") == sum(waits.values())
    record = json.loads((folder / "record.json").read_text())
    configure, build = record["steps"][0], record["steps"][-1]
    assert build["argv"][:3] == ["/lab/amplify/lab-load", "2", "make"]
    assert "amplify" not in json.dumps(configure)
    assert record["amplify"]["tools"] == ["ccache", "no-such-tool", "lab-load"]
    assert "# Amplified" in (folder / "reproduce.sh").read_text()
