"""Nights of the quickstart matrix: each morning says what was planted, and nothing else."""

import dataclasses
import datetime
import threading

import pytest
from simulated import Machine

from lab.errors import ExitCode, UsageError
from lab.events import silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import GitSource
from lab.report.nightly import comparison_document, night_document, night_text
from lab.results import known, nights, store
from lab.results.comparison import Change
from lab.settings import Settings
from lab.use import nightly

TMPFS, EXT4, UNGUARDED = "x86_64-gcc-12-tmpfs", "x86_64-gcc-12-ext4-128", "x86_64-gcc-12-ext4-128-unguarded"
CELLS = (TMPFS, EXT4, UNGUARDED)


@pytest.fixture
def lab(tmp_path, repository, rows):
    """Return what runs one night: day of November 2026, marks of each cell; the source is another one each day."""
    matrix = repository / "matrices" / "quickstart.yaml"
    cells = expand(read(matrix, rows))
    options = Settings(cache=tmp_path / "cache", results=tmp_path / "results", images=tmp_path, data=tmp_path)

    def night(day, *marks, tree=None, machine=None, stop=None, resolve=None, source=None, **changes):
        machine = machine or Machine(dict(zip(CELLS, marks, strict=False)))
        mine = [dataclasses.replace(cell, source=source or cell.source) for cell in cells]
        request = nightly.Request(
            matrix=matrix, name="quickstart", cells=tuple(mine), today=datetime.date(2026, 11, day), **changes
        )
        pinned = resolve or (
            lambda source: nightly.Resolved(source=source, tree=tree or f"tree of {day}", words=f"6.1.{day}")
        )
        done = nightly.night(
            request, options, rows, silent, stop or threading.Event(), runner=machine.run, resolve=pinned
        )
        assert not machine.left() or stop or done.interrupted, "attempts that nobody made"
        done_text(done)
        return done

    night.results = options.results
    return night


def done_text(done):
    shared = comparison_document(done.comparison, done.told, done.news)
    return night_text(
        night_document(
            done.run,
            done.night,
            done.tonight,
            done.previous,
            shared,
            folder=str(done.folder),
            exit_code=int(done.exit_code),
        )
    )


def told(done):
    """Return what a morning says: (kind, cell, finding), and what was not judged."""
    changes = {(one.change.value, one.cell, one.fault.signature.id) for one in done.comparison.differences}
    return changes | {("not judged", one.cell, one.outcome.value) for one in done.comparison.unjudged}


EVERY_NIGHT = ("still", UNGUARDED, "timestamps.tie")


def test_seven_nights_with_a_regression_a_fix_a_flaky_cell_and_an_error(lab):
    first = lab(21, ".", ".", "T")
    assert told(first) == {("first", UNGUARDED, "timestamps.tie")}
    assert first.exit_code == ExitCode.AS_EXPECTED, "what the matrix expects is no news"

    second = lab(22, ".", ".", "T")
    assert (told(second), second.exit_code) == ({EVERY_NIGHT}, 0)
    third = lab(23, ".", ".", "T")
    assert (told(third), third.exit_code) == ({EVERY_NIGHT}, 0)

    regression = lab(24, "CCCCC", ".", "T")
    assert told(regression) == {EVERY_NIGHT, ("new", TMPFS, "build.compiler")}
    assert regression.exit_code == ExitCode.KERNEL_FAULT
    (new,) = regression.news.claimed
    assert (new.before.failures, new.before.trials, new.now.failures, new.now.trials) == (0, 3, 5, 5)
    words = done_text(regression)
    assert "NEW        x86_64-gcc-12-tmpfs  build.compiler lib/ctype.o: expected expression" in words
    assert "in 5 of 5 (57 to 100 %) since quickstart-night-20261124; before in 0 of 3 (0 to 56 %)" in words

    error = lab(25, "C", "E", "T")
    assert told(error) == {EVERY_NIGHT, ("still", TMPFS, "build.compiler"), ("not judged", EXT4, "ERROR")}
    assert error.exit_code == ExitCode.LAB_FAULT
    assert "NOT JUDGED x86_64-gcc-12-ext4-128 ERROR: infra.out-of-memory" in done_text(error)

    fix = lab(26, "...", "M...", "T")
    assert told(fix) == {EVERY_NIGHT, ("fixed", TMPFS, "build.compiler"), ("flaky", EXT4, "modpost.undefined")}
    (flaky,) = fix.comparison.of(Change.FLAKY)
    assert (flaky.tonight.failures, flaky.tonight.trials, flaky.before.failures, flaky.before.trials) == (1, 4, 0, 4)
    assert fix.exit_code == ExitCode.UNTESTABLE, "that it is new is not proven, and it is not kept quiet"

    last = lab(27, ".", ".", "T")
    assert told(last) == {EVERY_NIGHT, ("flaky", EXT4, "modpost.undefined")}
    assert (last.exit_code, last.comparison.nights) == (0, 6)
    assert "tonight in 0 of 1 (0 to 79 %), before in 1 of 8" in done_text(last)


def test_what_was_judged_with_the_same_inputs_is_not_run_again_and_counts_once(lab):
    lab(1, ".", "M", "T", tree="same", more=0)
    machine = Machine()
    second = lab(2, tree="same", machine=machine, more=0)
    assert machine.executed == []
    assert told(second) == {EVERY_NIGHT, ("still", EXT4, "modpost.undefined")}
    assert second.exit_code == 0, "it was news yesterday"
    assert all(one.carried for one in second.tonight.values())
    assert "0 executed, 3 as judged before" in done_text(second)
    third = lab(3, ".", "M", "T", tree="same", again=True, more=0)
    (old,) = third.comparison.of(Change.STILL)[:1]
    assert old.now.trials == 2


def test_what_was_not_judged_is_run_again(lab):
    lab(1, ".", "E", "T", tree="same")
    machine = Machine({EXT4: "."})
    done = lab(2, tree="same", machine=machine)
    assert [cell for _, cell, _ in machine.executed] == [EXT4]
    assert (told(done), done.exit_code) == ({EVERY_NIGHT}, 0)


def test_what_is_not_proven_is_tried_again_even_if_nothing_moved(lab):
    lab(1, ".", ".", "T", tree="one")
    suspect = lab(2, "CC", ".", "T", tree="two", more=1)
    assert ("unproven", TMPFS, "build.compiler") in told(suspect)
    assert suspect.exit_code == ExitCode.UNTESTABLE
    machine = Machine({TMPFS: "CCCC"})
    third = lab(3, tree="two", machine=machine)
    assert {cell for _, cell, _ in machine.executed} == {TMPFS}
    (one,) = third.comparison.of(Change.UNPROVEN)
    assert (one.now.failures, one.now.trials, one.before.trials) == (6, 6, 1)


def test_one_unlucky_night_is_told_and_not_claimed(lab):
    for day in range(1, 6):
        lab(day, ".", ".", "T")
    unlucky = lab(6, "C..", ".", "T")
    assert ("flaky", TMPFS, "build.compiler") in told(unlucky)
    assert unlucky.news.claimed == ()


def test_a_night_that_was_broken_off_goes_on_with_what_it_pinned(lab):
    stop = threading.Event()
    machine = Machine(dict(zip(CELLS, (".", ".", "T"), strict=True)))
    machine.stop_after = TMPFS
    broken = lab(1, machine=machine, stop=stop)
    assert broken.interrupted
    assert broken.exit_code == ExitCode.INTERRUPTED
    assert "goes on" in done_text(broken)
    rest = Machine({EXT4: ".", UNGUARDED: "T"})
    done = lab(1, machine=rest)
    assert done.run == broken.run
    assert rest.left() == {}
    assert [marks for _, _, marks in rest.executed] == ["", ".", "T"]
    again = lab(1, ".", ".", "T", again=True)
    assert again.run == f"{done.run}-2", "a second night of that day"
    assert again.previous == (done.run,)


def test_a_revision_that_moves_while_a_night_is_broken_off_stays_what_it_was(lab):
    rev = ["1" * 40]
    moving = GitSource(repository="/git", rev="master")

    def resolve(source):
        pinned = source if source.rev != "master" else GitSource(repository="/git", rev=rev[0])
        return nightly.Resolved(source=pinned, tree=pinned.rev, words=pinned.rev)

    machine = Machine(dict(zip(CELLS, (".", ".", "T"), strict=True)))
    machine.stop_after = TMPFS
    lab(1, machine=machine, stop=threading.Event(), resolve=resolve, source=moving)
    rev[0] = "2" * 40
    done = lab(1, machine=Machine({EXT4: ".", UNGUARDED: "T"}), resolve=resolve, source=moving)
    facts = store.read(store.RunFacts, done.folder / "run.json")
    assert {cell.source.rev for cell in facts.cells} == {"1" * 40}
    assert [one.revision for one in done.night.revisions] == ["1" * 40]


def broken_off(lab, **changes):
    machine = Machine(dict(zip(CELLS, (".", ".", "T"), strict=True)))
    machine.stop_after = TMPFS
    return lab(1, machine=machine, stop=threading.Event(), **changes)


def test_a_second_night_of_a_day_that_was_broken_off_goes_on_as_well(lab):
    lab(1, ".", ".", "T")
    broken = broken_off(lab, again=True)
    assert broken.run == "quickstart-night-20261101-2"
    done = lab(1, machine=Machine({EXT4: ".", UNGUARDED: "T"}), again=True)
    assert (done.run, done.night.finished) == (broken.run, True)
    assert lab(1, ".", ".", "T", again=True).run == "quickstart-night-20261101-3"


def test_a_matrix_that_changed_since_its_night_was_broken_off_has_a_new_one(lab):
    broken = broken_off(lab)
    moved = GitSource(repository="/git", rev="1" * 40)
    done = lab(1, ".", ".", "T", source=moved)
    assert (broken.run, done.run) == ("quickstart-night-20261101", "quickstart-night-20261101-2")


def test_one_night_of_a_matrix_at_a_time(lab):
    with nights.alone(lab.results, "quickstart"), pytest.raises(UsageError, match="by another process"):
        lab(1, ".", ".", "T")
    lab(1, ".", ".", "T")


def test_a_source_that_cannot_be_had_stops_nobody(lab):
    def resolve(source):
        raise UsageError("no such revision")

    done = lab(1, ".", ".", "T", resolve=resolve)
    assert len(done.tonight) == 3
    assert {one.inputs for one in done.night.cells} == {""}


def test_a_night_in_which_nothing_is_judged_is_the_labs_trouble(lab):
    lab(1, "E", "E", "E")
    assert lab(2, "E", "E", "E").exit_code == ExitCode.LAB_FAULT


KNOWN = b"""\
version: 1
issues:
  - {name: ctype, finding: build.compiler, blame: lib/*, owner: Jane, until: 2026-11-05, links: "https://example.org/1"}
  - {name: never, finding: boot.oops}
"""


def test_known_issues_are_shown_apart_until_their_day_is_over(lab):
    issues = known.read(KNOWN, "known.yaml")
    for day in range(1, 5):
        lab(day, ".", ".", "T", known=issues)
    excused = lab(5, "C", ".", "T", known=issues)
    assert excused.exit_code == ExitCode.AS_EXPECTED
    words = done_text(excused)
    assert (
        "known issues:\n  ctype (Jane, until 2026-11-05, https://example.org/1)\n    unproven in x86_64-gcc-12-tmpfs"
        in words
    )
    assert "never seen: never (known.yaml:4)" in words
    late = lab(6, "CCC", ".", "T", known=issues)
    assert late.exit_code == ExitCode.KERNEL_FAULT
    assert "expired: ctype (Jane" in done_text(late)
    assert "NEW " in done_text(late)


@pytest.mark.parametrize("torn", [b"", b'{"schema_version": 1, "cells": [{', b'{"schema_version": 99}'])
def test_a_torn_summary_is_made_again_from_the_attempts(lab, torn):
    done = lab(1, "C", ".", "T")
    (done.folder / nights.SEEN).write_bytes(torn)
    assert nights.seen(lab.results, done.run) == dict(done.tonight)
