"""A run that is broken at any moment ends, taken up again, with the verdicts of one that nobody disturbed; nothing is left.

Reduced: one fault of each kind. bench/faults.py has the whole of it.
"""

import os

import pytest
from injection import KINDS, Place, disturbed, points, undisturbed

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def place(engine, machine_settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    return Place(folder, f"faults-{os.getpid()}", machine_settings.work, engine)


@pytest.fixture(scope="module")
def usual(place):
    lasting_s, verdicts = undisturbed(place)
    assert [one.rpartition(" ")[2] for one in verdicts] == ["PASS", "PASS"]
    return lasting_s, verdicts


@pytest.mark.parametrize("number", range(len(KINDS)), ids=list(KINDS))
def test_a_broken_run_ends_as_an_undisturbed_one(place, usual, number):
    lasting_s, verdicts = usual
    done = disturbed(place, points(len(KINDS), 9)[number], lasting_s, number)
    assert done.good, done
    assert done.verdicts == verdicts, done
