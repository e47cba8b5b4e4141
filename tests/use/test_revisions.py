"""Real git repositories, made by tests.use.history, as numbers; and bisections of them by a judge that only reads."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from lab import tables
from lab.environment import revisions
from lab.errors import UsageError
from lab.matrix.backports import Backport
from lab.matrix.expand import expand
from lab.matrix.read import read_text
from lab.model import Patch
from lab.plan.search import Costs
from lab.report.bisected import backport_words
from lab.results.bisections import Question
from lab.use import bisect
from lab.use.commit import cell_at
from lab.use.hunt import Hunt, Judged, rules_of
from tests.use import history
from tests.use.history import Plan

CAUSE = {"lib/ctype.c": "int a;\n#error here it is\n"}
BROKEN = {"lib/Kconfig": "menu\n"}
ROOT = Path(__file__).parent.parent.parent
MATRIX = """\
version: 1
name: tiny
defaults:
  source: {debian: linux-source-6.1}
  arch: x86_64
  toolchain: gcc-12
  filesystem: tmpfs
  kconfig: [tinyconfig]
"""


@pytest.fixture(scope="module")
def cell():
    (only,) = expand(read_text(MATRIX, "m.yaml", ROOT, tables.load(images=ROOT / "images")))
    return only


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small tree with the files that are edited, and 220 commits on top of it."""
    root = tmp_path_factory.mktemp("history")
    source = root / "source"
    for path in (*history.EDITED, "lib/ctype.c", "lib/Kconfig", "Makefile"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text("VERSION = 6\n" if path == "Makefile" else "int a;\n")
    history.repository(source, root / "repository")
    return history.history(root / "repository", Plan(cause=CAUSE, unconfigured=BROKEN))


@pytest.fixture
def options(machine_settings, tmp_path):
    import dataclasses

    return dataclasses.replace(machine_settings, cache=tmp_path / "cache", results=tmp_path / "results")


def ancestors(made, name):
    return set(history.git(made.folder, "rev-list", name).split())


def test_a_range_is_gits(made, options):
    found = revisions.between(str(made.folder), "base", "main", options)
    assert {commit.name for commit in found.commits} == set(made.names[1:])
    assert found.commits[-1].name == found.bad == made.names[-1]
    names = [commit.name for commit in found.commits]
    for commit in found.commits:
        parents = history.git(made.folder, "rev-list", "--parents", "-1", commit.name).split()[1:]
        assert [names[number] for number in commit.parents] == [name for name in parents if name in names]
    assert sum(len(commit.parents) > 1 for commit in found.commits) == 12


def test_first_parents_are_a_line(made, options):
    found = revisions.between(str(made.folder), "base", "main", options, first_parent=True)
    assert all(commit.parents == ((number - 1,) if number else ()) for number, commit in enumerate(found.commits))
    assert found.commits[-1].name == made.names[-1]


def test_paths_leave_what_touches_them_and_the_end(made, options):
    found = revisions.between(str(made.folder), "base", "main", options, paths=["lib/ctype.c"])
    assert [commit.name for commit in found.commits] == [made.culprit, made.names[-1]]
    assert found.commits[1].parents == (0,)


def test_likely_commits_are_named(made, options):
    found = revisions.between(str(made.folder), "base", "main", options, likely=["lib/ctype.c"])
    assert [found.commits[number].name for number in found.likely] == [made.culprit]


@pytest.mark.parametrize("number", [0, 1, 60, 137, 220])
def test_what_has_a_commit_among_its_ancestors_is_gits_answer(made, options, number):
    found = revisions.having(str(made.folder), made.names[number], (made.names[0], made.names[-1]), options)
    assert found == {name for name in made.names if made.names[number] in ancestors(made, name)}


@pytest.fixture
def asked_with(made, options, cell):
    """Return what is asked with a row of a table."""

    def asked_with(row):
        request = bisect.Request(
            matrix=Path("m.yaml"), name="m", cell=cell, repository=str(made.folder), good="base", bad="main",
            budget_s=1.0, backports=(row,),
        )  # fmt: skip
        return bisect.asked(request, options)

    return asked_with


@pytest.mark.parametrize(("since", "until"), [("", ""), ("", 150), (60, ""), (60, 150), (0, 220), (150, 60)])
def test_a_back_port_is_for_commits_after_one_and_not_after_another(made, asked_with, since, until):
    ends = [made.names[one] if one != "" else "" for one in (since, until)]
    row = Backport(patch=Patch(name="p", text="@@"), since=ends[0], until=ends[1], because="it was so")
    question = asked_with(row)
    for name in made.names:
        above = ancestors(made, name)
        needed = (not ends[0] or ends[0] in above) and not (ends[1] and ends[1] in above)
        assert [patch.name for patch in question.patches_at(name)] == ["p"] * needed
    one = question.backports[0]
    (told,) = backport_words(question)
    assert told == f"with p on {len(one.commits)} of 220 commits: it was so"


def test_a_back_port_of_no_revision_is_told_with_its_place(asked_with):
    row = Backport(patch=Patch(name="p", text="@@"), since="v9.99", place="table.yaml:3:5")
    with pytest.raises(UsageError, match=r"^table\.yaml:3:5: .*v9\.99"):
        asked_with(row)


def test_back_ports_come_before_the_cells_own_patches(cell):
    first, own, last = (Patch(name=name, text="@@") for name in ("first", "own", "last"))
    there = cell_at(replace(cell, patches=(own,)), "/r", "a" * 40, (first,), last=(last,))
    assert there.patches == (first, own, last)


def test_ends_in_the_wrong_order_are_refused(made, options):
    with pytest.raises(UsageError, match="no commit is in"):
        revisions.between(str(made.folder), "main", "base", options)


def test_a_commit_is_taken_back_by_its_reverse(made, options):
    text = revisions.reverse_patch(str(made.folder), made.culprit, options)
    assert "-#error here it is" in text
    merge = history.git(made.folder, "rev-list", "--merges", "-1", "main").strip()
    assert revisions.reverse_patch(str(made.folder), merge, options) == ""
    assert revisions.subject(str(made.folder), made.culprit, options) == "lib/ctype: step 137"


@pytest.mark.parametrize("first_parent", [False, True])
def test_a_real_history_is_bisected_to_its_culprit(made, options, tmp_path: Path, first_parent):
    found = revisions.between(str(made.folder), "base", "main", options, first_parent=first_parent)
    question = Question(
        cell="tiny", findings=(), repository=str(made.folder), good=found.good, bad=found.bad,
        commits=tuple(commit.name for commit in found.commits), parents=tuple(commit.parents for commit in found.commits),
    )  # fmt: skip

    def judge(place, number):
        name = place.removeprefix("revert:")
        if "menu" in history.git(made.folder, "show", f"{name}:lib/Kconfig"):
            return Judged(verdict="untestable", seconds=0.0)
        failed = name == place and "#error" in history.git(made.folder, "show", f"{place}:lib/ctype.c")
        return Judged(verdict="failed" if failed else "sound", seconds=1.0)

    hunt = Hunt(question, tmp_path, rules_of(question, Costs(build=5.0, test=1.0), reverts=True), lambda text: None)
    assert hunt.pursue(judge, threading.Event(), workers=2)
    answer = hunt.standing.answer(hunt.rules)
    assert [question.commits[one] for one in answer.commits] == [made.culprit]
