"""`lab bisect` and `git bisect run lab run` on a history of a real kernel source: containers, kbuild, a compiler."""

import difflib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from fleet_of_processes import Processes

from lab import cli
from lab.environment import source
from lab.model import DebianSource
from lab.results import journal
from tests.use import history
from tests.use.history import Plan

pytestmark = [pytest.mark.docker, pytest.mark.slow]

MATRIX = """
version: 1
name: tiny
defaults:
  source: {git: REPOSITORY, rev: REV}
  arch: x86_64
  toolchain: gcc-12
  kconfig: KCONFIG
  make: {targets: [lib/ctype.o]}
  filesystem: tmpfs
"""
# 13 of 256 are sound. That the answer is a wrong one takes two of them, or three, at one of two commits: less than one in 200.
FLAKY = "\nifeq ($(filter 0 1 2 3 4 5 6 7 8 9 10 11 12,$(shell od -An -N1 -tu1 /dev/urandom)),)\n"


@pytest.fixture(scope="module")
def base(machine_settings, tmp_path_factory):
    """A bare repository whose only commit is linux 6.1, as much of it as is configured and built."""
    tree = source.prepare(DebianSource(package="linux-source-6.1", suite="bookworm"), machine_settings)
    folder = tmp_path_factory.mktemp("linux") / "linux.git"
    history.repository(tree.path, folder, keep=history.core)
    return folder


@pytest.fixture
def lab(tmp_path, repository):
    """Call lab with results of the test's own."""

    def lab(*words, wait=True, environment=(), before=()):
        argv = [*before, sys.executable, "-m", "lab", *words]
        env = {**os.environ, "LAB_RESULTS": str(tmp_path / "results"), **dict(environment)}
        child = subprocess.Popen(
            argv, cwd=repository, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if not wait:
            return child
        told, said = child.communicate(timeout=3000)
        return child.returncode, told, said

    return lab


def text_of(base, path):
    return history.git(base, "show", f"base:{path}")


def planned(base, cause, breaks, **changes):
    without = text_of(base, "init/Kconfig").replace("config EXPERT\n", "config NOT_EXPERT\n", 1)
    return history.history(base, Plan(cause=cause, unconfigured={"init/Kconfig": without}, breaks=breaks, **changes))


def no_make(base):
    return {"lib/Makefile": text_of(base, "lib/Makefile") + "\n$(error not now)\n"}


def no_header(base):
    return {"include/linux/ctype.h": text_of(base, "include/linux/ctype.h") + "\n#error not now\n"}


def matrix(tmp_path, repository, rev="HEAD", kconfig="[allnoconfig]"):
    path = tmp_path / "matrix.yaml"
    text = textwrap.dedent(MATRIX).replace("KCONFIG", kconfig)
    path.write_text(text.replace("REPOSITORY", str(repository)).replace("REV", rev))
    return path


def sure(base):
    return {
        "lib/ctype.c": text_of(base, "lib/ctype.c").replace("#include <linux/compiler.h>", "#include <linux/gone.h>")
    }


def asked(tmp_path, made, *more, **changes):
    cell = f"{matrix(tmp_path, made.folder, 'main', **changes)}:*"
    return ["bisect", "--cell", cell, "--git", str(made.folder), "--good", "base", "--bad", "main", "--json", *more]


def test_a_fault_that_fails_always_is_found_after_a_kill_in_mid_build(base, lab, tmp_path):
    made = planned(base, sure(base), no_make(base), commits=40, merges=2, culprit=25)
    # what a commit with another init/Kconfig does not honour is no fault of its, and takes another two calls of make
    expert = "[allnoconfig, CONFIG_EXPERT=y]"
    words = asked(tmp_path, made, "--finding", "build.compiler", "--confidence", "0.95", kconfig=expert)
    child = lab(*words, wait=False)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        journals = list((tmp_path / "results").glob(f"tiny-*/{journal.NAME}"))  # not results/latest
        if journals and len(journal.read(journals[0])) >= 3:
            break
        time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    (path,) = journals
    before = journal.read(path)
    status, told, said = lab(*words, "--resume")
    assert status == 0, told + said
    contract = json.loads(told)
    assert [one["commit"] for one in contract["culprits"]] == [made.culprit]
    assert contract["reverted"]["failures"] == 0
    entries = journal.read(path)
    assert entries[: len(before)] == before
    assert len({(entry.place, entry.number) for entry in entries}) == len(entries)
    assert {entry.verdict for entry in entries if entry.place in made.broken} <= {"other", "untestable"}
    mail = (path.parent / "culprit.eml").read_text()
    assert f"#regzbot introduced: {made.culprit}" in mail
    assert f'Fixes: {made.culprit[:12]} ("lib/ctype: step 25")' in mail


def test_a_fault_that_fails_sometimes_is_found_by_two_workers(base, lab, tmp_path):
    makefile = text_of(base, "lib/Makefile") + FLAKY + "$(error flaky)\nendif\n"
    made = planned(base, {"lib/Makefile": makefile}, no_header(base), commits=40, merges=2, culprit=21)
    status, told, said = lab(*asked(tmp_path, made, "--finding", "build.make", "--confidence", "0.99", "--jobs", "2"))
    assert status == 0, told + said
    contract = json.loads(told)
    assert [one["commit"] for one in contract["culprits"]] == [made.culprit], told


def test_commits_are_built_on_top_of_each_other_and_those_that_cannot_be_built_with_a_back_port(base, lab, tmp_path):
    made = planned(base, sure(base), no_make(base), commits=30, merges=1, culprit=17, hidden=(13, 22))
    broken, whole = (history.git(made.folder, "show", f"{rev}:lib/Makefile") for rev in (made.names[15], "base"))
    diff = difflib.unified_diff(broken.splitlines(True), whole.splitlines(True), "a/lib/Makefile", "b/lib/Makefile")
    (tmp_path / "not-now.patch").write_text("".join(diff))
    table = tmp_path / "backports.yaml"
    row = f"{{patch: not-now.patch, since: {made.names[13]}, until: '{made.names[23]}', because: make ends at once}}"
    table.write_text(f"version: 1\nbackports: [{row}]\n")
    words = asked(tmp_path, made, "--finding", "build.compiler", "--confidence", "0.95", "--incremental")
    (tmp_path / "matrix.yaml").write_text((tmp_path / "matrix.yaml").read_text().replace("lib/ctype.o", "lib/lib.a"))
    status, told, said = lab(*words, "--backports", str(table))
    assert status == 0, told + said
    contract = json.loads(told)
    assert [one["commit"] for one in contract["culprits"]] == [made.culprit]
    assert contract["backports"] == [{"patch": "not-now", "commits": 10, "good": False, "because": "make ends at once"}]
    assert not [one for one in contract["tested"] if one["skipped"] and one["commit"] in made.names[13:23]]
    compiled = compiled_files(tmp_path / "results" / Path(contract["folder"]).name)
    assert compiled[True], "nothing was built on top of anything"
    assert max(compiled[True]) < 20 < max(compiled[False]), compiled
    assert not list((cli.settings().work).glob("*-worktree-*"))


def compiled_files(folder):
    """Return how many files each attempt compiled: of those that were built on top of another, and of those that were not."""
    compiled = {True: [], False: []}
    for path in sorted(folder.glob("*/[0-9]*/result.json")):
        lines = (path.parent / "build.txt").read_text().splitlines()
        built_on = json.loads(path.read_text())["facts"].get("built_on", "")
        compiled[bool(built_on)].append(sum(line.startswith("  CC ") for line in lines))
    return compiled


@pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces are root's")
def test_worker_processes_bisect_a_repository_that_only_the_caller_has_and_one_is_killed(
    base, lab, tmp_path, repository
):
    made = planned(base, sure(base), no_make(base), commits=14, merges=0, culprit=9)
    only_here = tmp_path / "only-here"
    only_here.mkdir()
    every = sorted(os.sched_getaffinity(0))
    (tmp_path / "fleet").mkdir()
    with Processes(tmp_path / "fleet", repository) as fleet:
        fleet.worker("killed", processors=every)
        fleet.worker("sound", processors=every)
        fleet.wait_for(2)
        cell = f"{matrix(tmp_path, only_here, 'main')}:*"
        child = lab(
            "bisect", "--cell", cell, "--git", str(only_here), "--good", "base", "--bad", "main", "--json", "--jobs", "2",
            "--finding", "build.compiler", "--confidence", "0.95", "--on", fleet.address, "--depot", f"file://{tmp_path}/depot",
            before=("unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', str(made.folder),
                    str(only_here)),
            environment={"DOCKER_HOST": "unix:///nowhere.sock"}.items(), wait=False,
        )  # fmt: skip
        deadline = time.monotonic() + 900
        while "killed" not in makers(tmp_path) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        fleet.kill("killed")
        told, said = child.communicate(timeout=1800)
    assert child.returncode == 0, told + said
    assert list(only_here.iterdir()) == [], "no worker could have read it here"
    assert [one["commit"] for one in json.loads(told)["culprits"]] == [made.culprit]
    assert "worker killed is gone" in said
    assert set(makers(tmp_path)) == {"killed", "sound"}


def makers(tmp_path):
    """Return the worker of each attempt that is finished, in no order."""
    paths = (tmp_path / "results").glob("tiny-*/*/[0-9]*/result.json")
    return [json.loads(path.read_text())["facts"].get("worker") for path in paths]


def test_git_bisect_run_takes_lab_run(base, lab, tmp_path, repository):
    made = planned(base, sure(base), no_make(base), commits=30, merges=1, culprit=17)
    clone = tmp_path / "clone"
    history.git(tmp_path, "clone", "-q", "-n", "-b", "main", str(made.folder), str(clone))
    history.git(clone, "bisect", "start", "--no-checkout", "main", made.names[0])
    script = [sys.executable, "-m", "lab", "run", str(matrix(tmp_path, clone, "refs/bisect/here"))]
    call = (
        f"git update-ref refs/bisect/here BISECT_HEAD && cd {repository} && "
        f"LAB_RESULTS={tmp_path}/results {' '.join(script)} --finding build.compiler"
    )
    stopped = subprocess.run(
        ["git", "bisect", "run", "sh", "-c", f"DOCKER_HOST=unix:///nowhere.sock; export DOCKER_HOST; {call}"], cwd=clone,
        capture_output=True, text=True, env={**os.environ, **history.ENVIRONMENT}, check=False,
    )  # fmt: skip
    assert stopped.returncode != 0
    assert "first bad commit" not in stopped.stdout
    assert history.git(clone, "bisect", "log").count("git bisect bad") == 0
    done = subprocess.run(
        ["git", "bisect", "run", "sh", "-c", call], cwd=clone, capture_output=True, text=True,
        env={**os.environ, **history.ENVIRONMENT}, check=False,
    )  # fmt: skip
    assert f"{made.culprit} is the first bad commit" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
