"""Reports to read: synthetic ones of every layout, and five real mails that are not part of the repository."""

from pathlib import Path

import pytest

from lab.repro import extract

FIXTURES = Path(__file__).parent.parent / "fixtures" / "repro"
REPORTS = Path(__file__).parents[2] / "../shared/reports"


@pytest.fixture(scope="session")
def fixtures():
    return FIXTURES


@pytest.fixture(scope="session")
def read():
    """Return what a fixture, or some text, says."""

    def of(name_or_text, name="report.txt"):
        path = FIXTURES / name_or_text if len(name_or_text) < 80 and "\n" not in name_or_text else None
        data = path.read_bytes() if path and path.is_file() else name_or_text.encode()
        return extract.report([(path.name if path and path.is_file() else name, data)])

    return of


@pytest.fixture(scope="session")
def mail():
    """Return what one of the five mails says, by its number; skips where they are not there."""

    def of(number):
        found = sorted(REPORTS.glob(f"{number}_*.txt"))
        if not found:
            pytest.skip("the mails are not part of the repository")
        return extract.report([(f"{number}.txt", found[0].read_bytes())])

    return of
