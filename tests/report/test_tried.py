"""A comparison in words: what was seen, what follows, what it would still take."""

from dataclasses import replace

import pytest

from lab.plan import statistics
from lab.report.tried import begin_words, final_words, further_words, odds_words, prospect_words, tried_text
from lab.results.trials import Asked, NotCounted, Trial

ASKED = Asked(
    cell="ext4",
    with_patch="ext4-with-guard",
    patches=(("guard", "ab" * 32),),
    findings=("modpost.undefined",),
    no_effect=0.05,
    missed=0.05,
)


def trial(without, with_patch, **more):
    rates = [statistics.rate(*without), statistics.rate(*with_patch)]
    p_value = statistics.fewer(*rates) if without[1] else None
    fields = {"asked": ASKED, "pairs_at_most": 200, "budget_s": 3600.0, "p_value": p_value, "pair_s": 50.0} | more
    return Trial(without=rates[0], with_patch=rates[1], **fields)


def test_the_final_words_have_rates_answer_p_odds_and_error_rates():
    done = trial((9, 20), (0, 20), ended="mends", against_no_effect=412.3)
    assert final_words(done) == (
        "without 9/20 (26 to 66 %), with 0/20 (0 to 16 %): the patch mends; p = 0.00061 (Fisher, one-sided), "
        "412 to 1 against no effect; error rates 5 % and 5 %"
    )


def test_a_patch_that_does_not_mend_has_the_odds_of_that():
    done = trial((3, 3), (3, 3), ended="does-not-mend", against_effect=24.4)
    assert "the patch does not mend; p = 1 (Fisher, one-sided), 24 to 1 against an effect" in final_words(done)


def test_that_p_is_not_what_decides_is_said_where_something_is_decided():
    decided, undecided = trial((9, 20), (0, 20), ended="mends"), trial((1, 20), (0, 20), ended="pairs", more_pairs=80)
    assert any("the answer is the sequential test's" in line for line in further_words(decided))
    assert not any("the answer is the sequential test's" in line for line in further_words(undecided))


@pytest.mark.parametrize(
    ("more_pairs", "without", "wanted"),
    [
        (80, (1, 20), "at these rates about 80 pairs more would decide it, some 1 h 06 min; --resume goes on"),
        (1, (1, 20), "at these rates about 1 pair more would decide it, some 50 s; --resume goes on"),
        (None, (1, 20), "at these rates more than a thousand pairs would not decide it"),
        (
            None,
            (0, 20),
            "nothing failed, so that there is nothing to mend yet: its rate without the patch is at most 16 %",
        ),
    ],
)
def test_what_is_not_decided_says_what_it_would_take(more_pairs, without, wanted):
    done = trial(without, (0, 20), ended="budget", more_pairs=more_pairs)
    assert "not decided when the budget was used up" in final_words(done)
    assert wanted in list(further_words(done))


def test_without_a_pair_there_are_no_rates():
    assert final_words(trial((0, 0), (0, 0), ended="errors")) == "no pair was made: not decided: the lab is in trouble"


def test_an_amplified_rate_is_called_one():
    done = trial((9, 20), (0, 20), ended="mends", asked=replace(ASKED, amplified="load=4"))
    assert "amplified (load=4): these are not natural rates" in list(further_words(done))


def test_attempts_that_do_not_count_are_told_a_dozen_of_them_and_made_harmless():
    some = tuple(
        NotCounted(arm="with", number=number, verdict="other", reason="build.compiler: \x1b[31mred\nnext")
        for number in range(1, 16)
    )
    text = tried_text(trial((0, 0), (0, 0), ended="other-failures", not_counted=some), report="results/x/report.html")
    assert "not counted: with 1, other failure: build.compiler: red next" in text
    assert "not counted: … and 3 more" in text
    assert text.endswith("report: results/x/report.html")
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("stakes", "wanted"),
    [(412.3, "412 to 1"), (1.0, "1 to 1"), (0.125, "1 to 8"), (0.0, "1 to 1000000000"), (3e9, "3e+09 to 1")],
)
def test_odds_read_as_people_say_them(stakes, wanted):
    assert odds_words(stakes) == wanted


def test_what_a_budget_buys_names_rates_chances_and_pairs():
    assert begin_words(60, 50.0, [(0.5, 1.0, 9), (0.05, 0.07, 49), (0.01, 0.0, 0)]) == (
        "at most 60 pairs, of some 50 s each, decide, if the patch ends a fault that comes in 50 % of builds: 100 of 100 times "
        "(after some 9), 5 % of builds: 7 of 100 times (after some 49), 1 % of builds: 0 of 100 times"
    )
    assert begin_words(1, 0.0, []).startswith("at most 1 pair decide")


def test_a_budget_that_will_hardly_do_is_called_one():
    assert prospect_words(20, 0.9, None) == "at these rates the 20 pairs that are left decide it 90 of 100 times"
    hardly = prospect_words(20, 0.1, 80)
    assert hardly.startswith("the budget can hardly decide it: ")
    assert hardly.endswith("about 80 would be needed")
    assert prospect_words(20, 0.1, None).endswith("more than a thousand would be needed")
