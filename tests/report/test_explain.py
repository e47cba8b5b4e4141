"""The pages of the finding ids."""

from importlib import import_module

import pytest

from lab.errors import UsageError
from lab.report import explain
from lab.results.verdict import IDS


@pytest.fixture
def folder(tmp_path):
    for name in ("modpost.undefined", "timestamps.tie", "timestamps.stale"):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n")
    return tmp_path


def test_a_page_is_found_by_id(folder):
    assert explain.page("timestamps.tie", folder) == "# timestamps.tie\n"


def test_ids_are_sorted(folder):
    assert explain.ids(folder) == ("modpost.undefined", "timestamps.stale", "timestamps.tie")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("modpost.undefind", "'modpost.undefined'"), ("timestamps", "'timestamps.stale' or 'timestamps.tie'")],
)
def test_a_misspelt_id_is_told_what_was_perhaps_meant(folder, wrong, meant):
    with pytest.raises(UsageError) as caught:
        explain.page(wrong, folder)
    assert caught.value.hint == f"did you mean {meant}?"


@pytest.mark.parametrize("path", ["../explain/modpost.undefined", "/etc/passwd", "", "\0"])
def test_an_id_is_never_a_path(folder, path):
    with pytest.raises(UsageError):
        explain.page(path, folder)


def test_every_finding_id_has_a_page():
    known = explain.ids()
    checks = getattr(import_module("lab.checks"), "CHECKS", ())
    if not known or not checks:
        pytest.skip("the registry or the pages are not there yet")
    wanted = {identity for check in checks for identity in check.ids} | set(IDS)
    assert wanted - set(known) == set()
