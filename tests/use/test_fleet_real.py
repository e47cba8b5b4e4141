"""Three workers that are processes build real, tiny kernels; one is killed in mid-attempt, another is cut off in mid-attempt.

The workers share this machine's cache, as several labs of one machine do. The one that is cut off by its cable has a network
namespace of its own, so that nothing but its link is touched; the engine's socket is a file, and is reached from there as well.
"""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import textwrap
import threading
from pathlib import Path

import pytest
from fleet_of_processes import NEAR, Processes, Saboteur, frozen, told, unplugged

from lab.environment.engine import LABEL
from lab.events import JobStarted, silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Outcome
from lab.use import doctor, remote, session
from lab.use.coordinator import Options

pytestmark = [pytest.mark.docker, pytest.mark.slow]

NAME = f"fleet-{os.getpid()}"
MATRIX = """
version: 1
name: NAME
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: x86_64
  toolchain: gcc-12
  kconfig: [allnoconfig]
  make: {targets: [lib/ctype.o], jobs: 1}
  ccache: off
matrix:
  filesystem: [tmpfs, ext4-128]
  patches: [{name: pristine, apply: []}]
include:
  - {filesystem: tmpfs, patches: {name: broken, apply: [broken.patch]}}
  - {filesystem: tmpfs, patches: {name: wrong, apply: [wrong.patch]}}
  - {filesystem: tmpfs, patches: {name: unheard, apply: []}, kconfig: [allnoconfig, CONFIG_NO_SUCH_THING=y]}
"""
BROKEN = """\
--- a/lib/ctype.c
+++ b/lib/ctype.c
@@ -8,2 +8,3 @@
 #include <linux/ctype.h>
+int lab_broken = ;
 #include <linux/compiler.h>
"""


@pytest.fixture(scope="module")
def request_of(rows, tmp_path_factory):
    """Return a function that asks for the matrix, under a run name that nobody else has."""
    folder = tmp_path_factory.mktemp("matrix")
    path = folder / "matrix.yaml"
    path.write_text(textwrap.dedent(MATRIX).replace("NAME", NAME))
    (folder / "broken.patch").write_text(BROKEN)
    (folder / "wrong.patch").write_text(BROKEN.replace("ctype.h", "nowhere.h"))
    cells = expand(read(path, rows))
    return lambda run, on=None: session.Request(matrix=path, name=NAME, cells=cells, run=f"{NAME}-{run}", on=on)


@pytest.fixture(scope="module")
def usual(request_of, machine_settings, rows, tmp_path_factory):
    """Return what a run on this machine says, which nobody disturbs."""
    here = dataclasses.replace(machine_settings, results=tmp_path_factory.mktemp("usual"))
    found = told(session.run(request_of("usual"), here, rows, silent, threading.Event()).results)
    assert sorted({outcome for outcome, *_ in found.values()}) == ["ERROR", "FAIL", "PASS"], found
    return found


@pytest.fixture
def left(engine, real):
    """Return what is still there of this test's runs."""

    def left():
        found = engine._client.api.containers(all=True, filters={"label": LABEL})
        there = [f"container {row['Id'][:12]}" for row in found if NAME in row["Labels"][LABEL]]
        loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=False).stdout
        for what, said in {"mount": Path("/proc/self/mountinfo").read_text(), "loop device": loops}.items():
            there += [f"{what} {line}" for line in said.splitlines() if f"{NAME}-" in line]
        there += [f"scratch {path.name}" for path in real.work.glob(f"{NAME}-*")]
        return there + [
            f"parcel {path}" for path in (real.cache / remote.FOLDER).glob("*/results/*") if NAME in path.name
        ]

    return left


def test_a_killed_and_a_lost_worker_change_no_verdict(usual, request_of, real, rows, repository, tmp_path, left):
    # network namespaces are root's; a worker that has none is frozen
    cable = os.geteuid() == 0 and shutil.which("ip") is not None
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(unplugged(f"lab{os.getpid()}")) if cable else None
        fleet = stack.enter_context(Processes(tmp_path, repository, NEAR if link else "127.0.0.1"))
        cut, heal, before = link or stack.enter_context(frozen(fleet))
        every = sorted(os.sched_getaffinity(0))
        # what freezes keeps its locks of the cache that the others use as well: not while it does nothing but build
        fleet.worker("lost", processors=every if link else every[:1], before=before)
        fleet.worker("killed", processors=every[:1])
        fleet.worker("sound", processors=every[-1:])
        fleet.wait_for(3)
        saboteur = Saboteur({"killed": lambda: fleet.kill("killed"), "lost": lambda: cut("lost")})
        on = Options(address=fleet.address)
        elsewhere = dataclasses.replace(real, engine="unix:///nowhere")
        done = session.run(request_of("fleet", on), elsewhere, rows, saboteur, threading.Event())
        assert set(saboteur.struck) == {"killed", "lost"}, "both were hit while they built"
        assert told(done.results) == usual
        made_by = {attempt.facts.get("worker") for result in done.results for attempt in result.attempts}
        assert "sound" in made_by
        gone = [note for note in saboteur.notes() if "is gone" in note]
        assert {"worker killed is gone", "worker lost is gone"} <= set(gone), saboteur.notes()
        for worker, key in saboteur.struck.items():
            again = [one.title for one in saboteur.seen if isinstance(one, JobStarted) and one.key == key]
            assert len(again) > 1, f"what {worker} had was sent once more: {again}"
        heal("lost")
        fleet.end("lost")
        fleet.worker("killed", processors=every[:1])  # its machine is back
        fleet.wait_for(2)  # it has swept by now, or another lab of this machine has
    assert left() == []


def test_a_killed_scheduler_is_the_labs_trouble_and_the_run_goes_on_with_another(
    usual, request_of, real, rows, repository, tmp_path, left
):
    every = sorted(os.sched_getaffinity(0))
    elsewhere, places = dataclasses.replace(real, engine="unix:///nowhere"), (tmp_path / "first", tmp_path / "second")
    for place in places:
        place.mkdir()
    with Processes(places[0], repository) as fleet:
        fleet.worker("one", processors=every)
        fleet.wait_for(1)
        saboteur = Saboteur({"one": fleet.kill_scheduler})
        on = Options(address=fleet.address)
        done = session.run(request_of("scheduler", on), elsewhere, rows, saboteur, threading.Event())
        assert saboteur.struck, "the scheduler was killed while something was built"
        lost = {result.cell for result in done.results if "scheduler does not answer" in result.reason}
        assert lost
        assert all(one.outcome is Outcome.ERROR for one in done.results if one.cell in lost)
        said = told(done.results)
        assert {cell: said[cell] for cell in usual.keys() - lost} == {cell: usual[cell] for cell in usual.keys() - lost}
        fleet.end("one")
    with Processes(places[1], repository) as fleet:
        fleet.worker("one", processors=every)
        on = Options(address=fleet.address)
        done = session.run(request_of("scheduler", on), elsewhere, rows, silent, threading.Event())
    assert told(done.results) == usual
    assert left() == []


def test_a_worker_has_kvm_only_if_a_guest_ran(real, rows, engine, boot_image):
    native = rows.arch[next(name for name, row in rows.arch.items() if row.uname_machine == os.uname().machine)]
    ran, why = doctor.kvm_works(engine, boot_image.id, real, native)
    seen = []
    facts = remote.facts(real, rows, "me", seen.append)
    assert facts.kvm == ran, (why, [event.text for event in seen])
    assert seen[-1].text.startswith(f"guests run under {'KVM' if ran else 'TCG'}")
    assert remote.facts(real, rows, "me", probe=lambda *_: (not ran, "")).kvm != ran, "nothing but the guest decides"
