"""What reports say, fact by fact: every stated one is found with its place, and nothing is there that they do not say.

expected.json and reports.json were written by reading the texts; they hold values, no sentences. A row is field, value,
certainty, writer, line and column. Of `difference`, whose values are sentences, only the places are there.
"""

import json

import pytest

from lab.repro.facts import Field

FIXTURES_JSON, REPORTS_JSON = "expected.json", "reports.json"


def rows(report):
    return sorted(
        [
            one.field.value, "" if one.field is Field.DIFFERENCE else one.value, one.certainty.value, one.by,
            one.place.line, one.place.first,
        ]
        for one in report.facts
    )  # fmt: skip


def expected(fixtures, name):
    return {key: sorted(value) for key, value in json.loads((fixtures / name).read_text()).items()}


NAMES = [
    "multipart.eml", "thread.mbox", "marc.txt", "spinics.txt", "hypermail.txt", "pipermail.txt", "lkml.txt",
    "raw-run-together.txt", "bugzilla.txt", "github.txt", "issue.txt", "debbugs.txt", "patchwork.txt", "robot.eml",
    "build-log.txt", "console.txt", "arm64.config",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_report_of_every_layout_says_this_and_nothing_else(name, read, fixtures):
    assert rows(read(name)) == expected(fixtures, FIXTURES_JSON)[name]


@pytest.mark.parametrize("number", ["000", "001", "002", "003", "004"])
def test_a_real_mail_says_this_and_nothing_else(number, mail, fixtures):
    assert rows(mail(number)) == expected(fixtures, REPORTS_JSON)[number]


def test_a_place_is_where_the_words_are(read, fixtures):
    for name in ("spinics.txt", "raw-run-together.txt", "hypermail.txt", "bugzilla.txt", "github.txt", "thread.mbox"):
        lines = (fixtures / name).read_text().split("\n")
        for one in read(name).facts:
            if one.place.first > 1:
                words = " ".join(lines[one.place.line - 1][one.place.first - 1 : one.place.last].split())
                assert one.place.text.startswith(words[:160]), (name, one)
