import sys
from pathlib import Path

import pytest

from lab.checks import clock
from lab.evidence import writes
from lab.evidence.bundle import Evidence
from lab.model import Severity

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
from synthetic_tree import SECOND, START, Tree
from test_timestamps import judged as of_timestamps
from test_timestamps import packed


def judged(evidence):
    return list(clock.check(evidence))


def built(tmp_path, *, offset=0.0, step_at=99, step=0.0):
    """Return a tree of ten objects, seen written one a second; its files are dated `offset` earlier, from step_at on `step`."""
    tree = Tree(tmp_path / "out")
    for number in range(10):
        at = number - (step if number >= step_at else 0)
        tree.object(f"lib/crc{number}.o", at=at - offset)
        tree.events.append((START + round((at + 0.01) * SECOND), "CW", f"lib/crc{number}.o"))
    return tree.done(at=60 - offset - (step if step_at < 99 else 0))


def unsorted(tree, tmp_path):
    """Pack with the record as the recorder writes it: in the order of events, whatever the clock says."""
    evidence = packed(tree, tmp_path, script=None, granularity_ns=4_000_000)
    rows = (f"{time}\t{letters}\t{name}\n" for time, letters, name in tree.events)
    evidence.root.joinpath("writes.tsv").write_text("".join(rows))
    return Evidence(evidence.root)


def test_a_file_from_the_future_is_a_warning(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o")
    tree.file("include/generated/table.h", at=4_000_000_000)
    (future,) = judged(Evidence(tree.done().root))
    assert (future.id, future.severity, future.blame) == (
        "timestamps.future",
        Severity.WARNING,
        "include/generated/table.h",
    )


def test_one_steady_clock_is_silent(tmp_path):
    assert judged(unsorted(built(tmp_path), tmp_path)) == []


def test_a_clock_set_back_during_the_build_is_told_with_its_place(tmp_path):
    (found,) = judged(unsorted(built(tmp_path, step_at=5, step=3600), tmp_path))
    assert (found.id, found.severity, found.data["kind"]) == ("timestamps.clock", Severity.WARNING, "set-back")
    assert found.where.first == 6
    assert found.data["step_ns"] == 3599 * SECOND
    assert "3599 s" in found.message


def test_a_clock_that_is_slewed_is_silent(tmp_path):
    assert judged(unsorted(built(tmp_path, step_at=5, step=1.05), tmp_path)) == []


@pytest.mark.parametrize(("offset", "how"), [(30.0, "behind"), (-30.0, "ahead of")])
def test_files_dated_by_another_clock_are_told(tmp_path, offset, how):
    (found,) = judged(unsorted(built(tmp_path, offset=offset), tmp_path))
    assert (found.id, found.data["kind"]) == ("timestamps.clock", "apart")
    assert how in found.message


@pytest.mark.parametrize("offset", [1.9, -1.9])
def test_clocks_that_nearly_agree_are_silent(tmp_path, offset):
    assert judged(unsorted(built(tmp_path, offset=offset), tmp_path)) == []


def test_a_kernel_older_than_most_of_its_objects_is_told_without_a_record(tmp_path):
    tree = built(tmp_path)
    tree.time("vmlinux", 3)
    (found,) = judged(Evidence(tree.root))
    assert (found.data["kind"], found.data["file_count"], found.data["object_count"]) == ("backwards", 6, 10)


def test_a_kernel_older_than_one_object_that_was_made_again_is_silent(tmp_path):
    tree = built(tmp_path)
    tree.time("lib/crc0.o", 70)
    tree.time("lib/.crc0.o.cmd", 70)
    assert judged(Evidence(tree.root)) == []


def test_an_input_written_later_and_dated_earlier_is_a_hit(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", deps=["include/generated/table.h"], at=10)
    tree.file("include/generated/table.h", at=7)
    tree.events = [
        (START + 10_010_000_000, "CW", "lib/crc.o"),
        (START + 7_010_000_000, "CW", "include/generated/table.h"),
    ]
    (tie,) = of_timestamps(unsorted(tree.done(), tmp_path))
    assert (tie.id, tie.data["pairs"][0]["dependency"]) == ("timestamps.tie", "include/generated/table.h")


def test_the_order_of_writes_survives_a_clock_that_is_set_back(tmp_path):
    path = tmp_path / "writes.tsv"
    path.write_text("10000000000\tW\ta\n3000000000\tW\tb\n4000000000\tW\tc\n")
    found = writes.read_writes(path)
    assert [one.path for one in found] == ["a", "b", "c"]
    assert [one.time_ns for one in found] == [10 * SECOND, 10 * SECOND + 1, 11 * SECOND + 1]
    assert writes.steps_back(path) == ((2, 10 * SECOND, 3 * SECOND),)
