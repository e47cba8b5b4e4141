"""What was there when it failed, when it worked, or both: read off the clause."""

import pytest

from lab.repro import extract, picks
from lab.repro.facts import Field
from lab.repro.outcome import outcome

SAID = [
    ("It fails with gcc 9.2 but works with gcc 8.3.", {"gcc 9.2": "", "gcc 8.3": "good"}),
    ("gcc 8.3 works, gcc 9.2 fails.", {"gcc 8.3": "good", "gcc 9.2": ""}),
    ("works with gcc 8.3 and fails with gcc 9.1", {"gcc 8.3": "good", "gcc 9.1": ""}),
    ("Good on 5.10.1 and bad on 5.10.2", {"5.10.1": "good", "5.10.2": ""}),
    ("Works in v5.13, broken since v5.14-rc1.", {"v5.13": "good", "v5.14-rc1": ""}),
    ("If I disable CONFIG_X, the build works.", {"CONFIG_X": "good"}),
    ("The failure goes away when I turn off CONFIG_X.", {"CONFIG_X": "good"}),
    ("Disabling CONFIG_X does not fix it.", {"CONFIG_X": "indifferent"}),
    (
        "CONFIG_X=y or CONFIG_Y=y don't make a difference, and if I just do make, it is fine",
        {"CONFIG_Y=y": "indifferent"},
    ),
    ("Now, if I omit the -j8 and do a single-threaded build, then things work fine.", {"-j8": ""}),
    ("With -j1 it never fails, with -j8 it does.", {"-j1": "good", "-j8": ""}),
    ("The kernel no longer builds with gcc 4.9.4.", {"gcc 4.9.4": ""}),
    ("I can't reproduce it with clang 12.0.1", {"clang 12.0.1": "good"}),
    ("I can reproduce it with clang 12.0.1", {"clang 12.0.1": ""}),
    (
        "I see this on 5.14.3, built with gcc 11.2, on Debian. 5.13 works.",
        {"5.14.3": "", "gcc 11.2": "", "5.13": "good"},
    ),
    ("After I turned on CONFIG_X the build sometimes fails.", {"CONFIG_X": ""}),
]


@pytest.mark.parametrize(("text", "told"), SAID)
def test_a_clause_says_how_it_came_out(text, told):
    assert {word: outcome(text, text.index(word), text.index(word) + len(word)) for word in told} == told


def test_what_worked_is_neither_taken_nor_demanded():
    text = (
        "Linux 5.14.3 fails to build with gcc 11.2, 5.13.1 is fine.\nTurning off CONFIG_MODVERSIONS makes it go away.\n"
    )
    report = extract.report([("x", text.encode())])
    chosen = picks.picked(report)
    assert chosen[Field.VERSION].fact.value == "5.14.3"
    told = {fact.value: (fact.certainty, fact.rule, fact.get("outcome")) for fact in report.of(Field.CONFIG)}
    assert told == {
        "CONFIG_MODVERSIONS=n": ("stated", "", "good"),
        "CONFIG_MODVERSIONS=y": ("implied", "symbol-of-cure", ""),
    }
