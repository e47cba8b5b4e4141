"""Bisections of small histories by a judge that is a function; the journal is real."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from lab.errors import EnvironmentFault
from lab.plan.search import Costs, Ending
from lab.results import bisections, journal
from lab.results.bisections import Question
from lab.use.hunt import REVERT, Hunt, Judged, rules_of

NAMES = tuple(f"{number:040x}" for number in range(1, 65))
GOOD = "f" * 40
QUESTION = Question(
    cell="tiny", findings=(), repository="/tree", good=GOOD, bad=NAMES[-1], commits=NAMES,
    parents=tuple((number - 1,) if number else () for number in range(64)), boots=True,
)  # fmt: skip
COSTS = Costs(build=50.0, test=5.0)


class Fault:
    """A judge: commit `culprit` brought a fault of this rate in."""

    def __init__(self, culprit=37, rate=1.0, broken=(), seed=1):
        self.culprit, self.rate, self.broken = culprit, rate, broken
        self.random, self.made, self.lock = np.random.default_rng(seed), [], threading.Lock()

    def __call__(self, place, number):
        with self.lock:
            first = not any(one == place for one, _ in self.made)
            self.made.append((place, number))
            if place in self.broken:
                return Judged(verdict="untestable", seconds=0.0, reason="does not configure")
            faulty = not place.startswith(REVERT) and place != GOOD and NAMES.index(place) >= self.culprit
            failed = faulty and self.random.random() < self.rate
            return Judged(verdict="failed" if failed else "sound", seconds=5.0, build_s=50.0 if first else 0.0)


def hunt(folder, question=QUESTION, *, reverts=False):
    return Hunt(question, folder, rules_of(question, COSTS, reverts=reverts), lambda text: None)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_the_culprit_is_found_and_all_is_in_the_journal(tmp_path, workers, rate):
    judge, under_way = Fault(rate=rate), hunt(tmp_path, reverts=True)
    assert under_way.pursue(judge, threading.Event(), workers=workers)
    assert under_way.standing.answer(under_way.rules).commits == (37,)
    entries = journal.read(tmp_path / journal.NAME)
    assert sorted((entry.place, entry.number) for entry in entries) == sorted(judge.made)
    assert any(entry.place == REVERT + NAMES[37] for entry in entries)
    assert hunt(tmp_path, reverts=True).standing.answer(under_way.rules).commits == (37,)


def test_a_hunt_that_was_killed_at_any_point_comes_to_the_same_answer_and_repeats_nothing(tmp_path):
    whole, judge = hunt(tmp_path), Fault(rate=0.6)
    whole.pursue(judge, threading.Event())
    lines = (tmp_path / journal.NAME).read_bytes().splitlines(keepends=True)
    for kept in range(0, len(lines), 5):
        folder = tmp_path / str(kept)
        folder.mkdir()
        (folder / journal.NAME).write_bytes(b"".join(lines[:kept]) + lines[kept][:20])
        again, second = hunt(folder), Fault(rate=0.6, seed=kept)
        again.pursue(second, threading.Event())
        assert again.standing.answer(again.rules).commits == (37,)
        assert not set(second.made) & set(judge.made[:kept])


def test_a_lost_worker_is_an_error_that_counts_nowhere(tmp_path):
    fault, lost = Fault(), []

    def judge(place, number):
        if len(fault.made) % 4 == 2 and len(lost) < 6:
            lost.append((place, number))
            fault.made.append(("lost", 0))
            raise EnvironmentFault("the engine is gone")
        return fault(place, number)

    under_way = hunt(tmp_path)
    under_way.pursue(judge, threading.Event(), workers=2)
    assert under_way.standing.answer(under_way.rules).commits == (37,)
    assert sum(entry.verdict == "error" for entry in journal.read(tmp_path / journal.NAME)) == len(lost) > 1


def test_a_lab_in_trouble_stops_and_blames_nobody(tmp_path):
    def judge(place, number):
        raise EnvironmentFault("the engine is gone")

    with pytest.raises(EnvironmentFault, match="in trouble"):
        hunt(tmp_path).pursue(judge, threading.Event())
    assert hunt(tmp_path).standing.counts == {}


def test_commits_that_do_not_configure_are_skipped(tmp_path):
    judge = Fault(broken=(NAMES[36], NAMES[35], NAMES[31], NAMES[37]))
    under_way = hunt(tmp_path)
    under_way.pursue(judge, threading.Event())
    answer = under_way.standing.answer(under_way.rules)
    assert (answer.ending, answer.commits) == (Ending.CULPRIT, (35, 36, 37, 38))


def test_the_budget_ends_it(tmp_path):
    under_way = hunt(tmp_path)
    assert not under_way.pursue(Fault(), threading.Event(), budget_s=400.0)
    assert under_way.ending in (Ending.NARROWED, Ending.UNRESOLVED)
    assert under_way.spent_s < 600.0
    assert under_way.pursue(Fault(), threading.Event(), budget_s=40_000.0)


def test_when_it_was_mended(tmp_path):
    question = replace(QUESTION, mended=True, old="broken", new="fixed")

    def judge(place, number):
        faulty = place == GOOD or NAMES.index(place) < 20
        return Judged(verdict="failed" if faulty else "sound", seconds=1.0)

    under_way = hunt(tmp_path, question)
    under_way.pursue(judge, threading.Event())
    assert under_way.standing.answer(under_way.rules).commits == (20,)


def test_the_log_for_git_says_what_was_seen(tmp_path):
    under_way = hunt(tmp_path)
    under_way.pursue(Fault(broken=(NAMES[30],)), threading.Event())
    text = bisections.git_log(QUESTION, journal.read(tmp_path / journal.NAME))
    assert text.startswith(f"# bad: [{NAMES[-1]}]\n")
    assert f"git bisect bad {NAMES[37]}\n" in text
    assert f"git bisect good {NAMES[36]}\n" in text


def test_a_question_is_kept(tmp_path):
    (tmp_path / "run").mkdir()
    bisections.write(tmp_path / "run", QUESTION)
    assert bisections.read(tmp_path / "run") == QUESTION
    assert bisections.latest(tmp_path, QUESTION) == "run"
    assert bisections.latest(tmp_path, replace(QUESTION, good="e" * 40)) is None
