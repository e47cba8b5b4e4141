"""Cells to Jobs: shared work once, attempts by number, what is finished not again."""

from dataclasses import replace

import pytest

from lab.model import (
    Amplify,
    AttemptResult,
    Boot,
    Cell,
    Deadlines,
    DebianSource,
    DirSource,
    Emulation,
    Ending,
    Lto,
    Make,
    Need,
    Outcome,
    Patch,
    StepResult,
)
from lab.plan.jobs import AttemptWork, JobKind, PatchedWork, demand, jobs, need_of, patched_key, source_key

GUARD = Patch(name="guard-removed", text="--- a/x\n+++ b/x\n")
CELL = Cell(
    id="tmpfs",
    source=DebianSource(package="linux-source-6.1"),
    arch="x86_64",
    toolchain="gcc-12",
    lto=Lto.NONE,
    emulation=Emulation.NATIVE,
    filesystem="tmpfs",
    kconfig=(),
    patches=(),
    make=Make(),
    boot=None,
    repeat=1,
    deadlines=Deadlines(),
    ccache=True,
    expect=None,
    axes=(),
)
EXT4 = replace(CELL, id="ext4", filesystem="ext4-128")
UNGUARDED = replace(EXT4, id="ext4-unguarded", patches=(GUARD,))


def planned(*cells, finished=frozenset()):
    return jobs(cells, image_of=lambda cell: ("build", "boot"), demand_of=lambda cell: {"cpu": 2}, finished=finished)


def test_what_cells_share_is_planned_once():
    kinds = [job.kind for job in planned(CELL, EXT4, UNGUARDED)]
    assert kinds == [
        JobKind.IMAGE, JobKind.IMAGE, JobKind.SOURCE, JobKind.ATTEMPT, JobKind.ATTEMPT, JobKind.PATCHED, JobKind.ATTEMPT,
    ]  # fmt: skip


def test_every_job_comes_after_those_it_needs():
    seen = set()
    for job in planned(UNGUARDED, CELL, EXT4):
        assert set(job.needs) <= seen
        seen.add(job.key)


def test_an_attempt_of_a_patched_cell_needs_images_and_both_trees():
    *_, attempt = planned(UNGUARDED)
    assert [key.partition(":")[0] for key in attempt.needs] == ["image", "image", "source", "patched"]


def test_each_attempt_of_a_repeated_cell_is_a_job_from_one_on():
    some = [job for job in planned(replace(CELL, repeat=3)) if isinstance(job.payload, AttemptWork)]
    assert [job.payload.number for job in some] == [1, 2, 3]
    assert len({job.key for job in some}) == 3
    assert some[2].title == "tmpfs attempt 3 of 3"


def test_finished_attempts_are_not_planned():
    plan = planned(replace(CELL, repeat=2), finished={("tmpfs", 1)})
    assert [job.payload.number for job in plan if isinstance(job.payload, AttemptWork)] == [2]


def test_shared_work_that_only_finished_cells_needed_is_not_planned():
    plan = planned(CELL, UNGUARDED, finished={("ext4-unguarded", 1)})
    assert not [job for job in plan if isinstance(job.payload, PatchedWork)]
    assert planned(CELL, finished={("tmpfs", 1)}) == ()


def test_a_patched_tree_is_known_by_texts_and_order_not_by_names():
    first, second = GUARD, Patch(name="other", text="--- a/y\n")
    renamed = replace(first, name="renamed")
    assert patched_key(CELL.source, (first, second)) == patched_key(CELL.source, (renamed, second))
    assert patched_key(CELL.source, (first, second)) != patched_key(CELL.source, (second, first))


def test_sources_of_different_kinds_never_share_a_key():
    assert source_key(DirSource(path="linux-source-6.1")) != source_key(DebianSource(package="linux-source-6.1"))


def test_a_cells_own_jobs_override_its_share_of_the_machine():
    assert demand(CELL, cpus=2, loop=False) == {"cpu": 2, "memory_mib": 1024}
    assert demand(replace(CELL, make=Make(jobs=7)), cpus=2, loop=False)["cpu"] == 7


def test_a_boot_and_a_loop_mount_take_their_pools():
    held = demand(replace(EXT4, boot=Boot(memory_mib=4096)), cpus=1, loop=True)
    assert held == {"cpu": 1, "memory_mib": 4096, "loop": 1, "qemu": 1}


def test_jobs_can_be_hashed():
    assert len(set(planned(CELL, EXT4))) == 5


def test_measured_needs_ask_for_a_reserve_and_never_for_more_processors_than_make_uses():
    seen = Need(cpu=0.6, memory_mib=4000, disk_mib=1000)
    assert demand(CELL, cpus=4, loop=False, on_disk=True, measured=seen) == {
        "cpu": 1, "memory_mib": 5000, "disk_mib": 1250,
    }  # fmt: skip
    assert demand(CELL, cpus=4, loop=False, measured=Need(cpu=3.9))["cpu"] == 4
    assert demand(CELL, cpus=2, loop=False, measured=Need(cpu=1.4))["cpu"] == 2, "two cores would be fought over"


@pytest.mark.parametrize("cell", [replace(CELL, repeat=20), replace(CELL, amplify=Amplify(load=2))])
def test_a_cell_whose_rate_is_in_question_gets_no_neighbours(cell):
    assert demand(cell, cpus=4, loop=False, measured=Need(cpu=0.5))["cpu"] == 4


def step(**facts):
    return StepResult(name="build", ending=Ending.EXITED, status=0, **facts)


def test_a_need_is_the_most_that_was_seen():
    steps = (
        step(seconds=10.0, cpu_s=15.0, peak_mib=300, bytes_free=900 << 20),
        step(seconds=20.0, cpu_s=10.0, peak_mib=800, bytes_free=700 << 20),
    )
    made = AttemptResult(number=1, outcome=Outcome.PASS, reason="", findings=(), steps=steps)
    assert need_of([made], 1000) == Need(cpu=1.5, memory_mib=800, disk_mib=300)


def test_what_was_not_seen_is_no_need():
    made = AttemptResult(number=1, outcome=Outcome.PASS, reason="", findings=(), steps=(step(seconds=60.0),))
    assert need_of([made], 0) == Need()
    assert need_of([], 1000) == Need()
