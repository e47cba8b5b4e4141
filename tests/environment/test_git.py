"""Revisions of a git repository as trees: what is shared, what is refused, what is never run."""

import dataclasses
import shutil
import subprocess

import pytest

from lab.environment import source
from lab.errors import EnvironmentFault, UsageError
from lab.model import GitSource
from lab.settings import Settings

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
MAKEFILE = "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n"


class Repository:
    """A repository of somebody else's."""

    def __init__(self, path):
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *words):
        who = ["-c", "user.name=N", "-c", "user.email=n@example.org", "-c", "protocol.file.allow=always"]
        done = subprocess.run(["git", *who, *words], cwd=self.path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, **files):
        for name, text in files.items():
            path = self.path / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A", ".")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def settings(tmp_path):
    return Settings(cache=tmp_path / "cache", results=tmp_path / "r", images=tmp_path, data=tmp_path)


@pytest.fixture
def theirs(tmp_path):
    made = Repository(tmp_path / "linux")
    made.commit(Makefile=MAKEFILE, lib__a_c="one\n", lib__b_c="same\n", old__x_c="gone soon\n")
    made.git("tag", "-m", "annotated", "v6.1.7")
    return made


def prepared(theirs, rev, settings, url=False):
    repository = f"file://{theirs.path}" if url else str(theirs.path)
    return source.prepare(GitSource(repository=repository, rev=rev), settings)


@pytest.mark.parametrize("url", [False, True], ids=["path", "url"])
def test_two_revisions_share_what_did_not_change_and_only_that(theirs, settings, url):
    first = prepared(theirs, "v6.1.7", settings, url)
    (theirs.path / "old/x.c").unlink()
    theirs.commit(lib__a_c="two\n", new__n_c="new\n")
    second = prepared(theirs, "main", settings, url)
    assert (first.path / "lib/b.c").stat().st_ino == (second.path / "lib/b.c").stat().st_ino, "copied without need"
    assert (first.path / "lib/a.c").read_text() == "one\n", "written through a hard link"
    assert (second.path / "lib/a.c").read_text() == "two\n"
    assert (second.path / "new/n.c").exists()
    assert not (second.path / "old").exists()
    assert (first.path / "old/x.c").exists()
    assert len(list((settings.cache / "git").glob("*.git"))) == 1


@pytest.mark.parametrize("url", [False, True], ids=["path", "url"])
def test_tags_branches_and_commits_become_the_full_commit(theirs, settings, url):
    full = theirs.git("rev-parse", "HEAD")
    for rev in ("v6.1.7", "main", "HEAD", "refs/heads/main", full):
        assert prepared(theirs, rev, settings, url).commit == full, rev
    assert prepared(theirs, full[:10], settings).commit == full
    assert full in prepared(theirs, "main", settings).origin


def test_two_revisions_with_the_same_files_are_one_tree(theirs, settings):
    first = prepared(theirs, "v6.1.7", settings)
    theirs.commit()
    second = prepared(theirs, "main", settings)
    assert first.commit != second.commit
    assert first.path == second.path


def test_a_branch_that_moved_is_asked_for_again(theirs, settings):
    first = prepared(theirs, "main", settings, url=True)
    theirs.commit(lib__a_c="two\n")
    second = prepared(theirs, "main", settings, url=True)
    assert (first.path / "lib/a.c").read_text() != (second.path / "lib/a.c").read_text()


def test_nothing_of_a_local_repository_is_copied_but_the_checkout(theirs, settings):
    prepared(theirs, "main", settings)
    clone = next((settings.cache / "git").glob("*.git"))
    assert not [path for path in (clone / "objects").rglob("*") if path.is_file()]


@pytest.mark.parametrize("rev", ["v9.9", "0" * 40, "abcdef0123"])
@pytest.mark.parametrize("url", [False, True], ids=["path", "url"])
def test_a_missing_revision_is_one_clear_error_and_leaves_no_tree(theirs, settings, rev, url):
    with pytest.raises(UsageError, match=f"no revision '{rev}' in git repository"):
        prepared(theirs, rev, settings, url)
    assert not list((settings.cache / "sources").glob("*"))


def test_what_is_no_repository_is_told(tmp_path, settings):
    for name, words in (("nowhere", "no such git repository"), (".", "not a git repository")):
        with pytest.raises(UsageError, match=words):
            source.prepare(GitSource(repository=str(tmp_path / name), rev="main"), settings)
    with pytest.raises(UsageError, match="not a git repository"):
        source.prepare(GitSource(repository=f"file://{tmp_path}", rev="main"), settings)


def test_a_server_that_does_not_answer_is_the_networks_fault(settings):
    with pytest.raises(EnvironmentFault, match="cannot reach git repository") as caught:
        source.prepare(GitSource(repository="git://127.0.0.1:1/linux", rev="main"), settings)
    assert caught.value.finding == "infra.network"


def test_a_transport_that_runs_commands_is_not_used(tmp_path, settings):
    with pytest.raises((EnvironmentFault, UsageError)):
        source.prepare(GitSource(repository=f"ext::sh -c touch% {tmp_path}/ran ://x", rev="main"), settings)
    assert not (tmp_path / "ran").exists()


def test_a_revision_that_is_no_kernel_is_refused(theirs, settings):
    theirs.commit(Makefile="all:\n")
    with pytest.raises(UsageError, match="holds no kernel source tree"):
        prepared(theirs, "main", settings)
    assert not list((settings.cache / "sources").glob("*"))


@pytest.mark.parametrize("url", [False, True], ids=["path", "url"])
def test_nothing_of_a_hostile_repository_is_run(theirs, settings, tmp_path, url):
    ran = tmp_path / "ran"
    bad = tmp_path / "bad"
    bad.write_text(f"#!/bin/sh\ntouch {ran}\ncat\n")
    bad.chmod(0o755)
    theirs.commit(_gitattributes="* filter=bad ident\n", lib__a_c="/* $Id$ */\n")
    for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc"):
        shutil.copy(bad, theirs.path / ".git/hooks" / name)
    with (theirs.path / ".git/config").open("a") as config:
        config.write(f"[core]\n\tfsmonitor = {bad}\n\thooksPath = {theirs.path}/.git/hooks\n\tsshCommand = {bad}\n")
        config.write(f'[filter "bad"]\n\tsmudge = {bad}\n\tprocess = {bad}\n[uploadpack]\n\tpackObjectsHook = {bad}\n')
        config.write(f"[alias]\n\tls-remote = !{bad}\n")
    tree = prepared(theirs, "main", settings, url)
    assert not ran.exists()
    assert (tree.path / "lib/a.c").read_text() == "/* $Id$ */\n", "an attribute of the tree changed the file"


def test_a_repository_of_another_user_is_read(theirs, settings):
    import os

    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    subprocess.run(["chown", "-R", "65534:65534", str(theirs.path)], check=True)
    assert prepared(theirs, "main", settings).version == "6.1.7"
    assert prepared(theirs, "main", settings, url=True).version == "6.1.7"


def test_a_link_in_one_revision_does_not_lead_the_next_one_out_of_the_tree(theirs, settings, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (theirs.path / "sub").symlink_to(outside)
    theirs.commit()
    prepared(theirs, "main", settings)
    (theirs.path / "sub").unlink()
    theirs.commit(sub__f_c="inside\n")
    tree = prepared(theirs, "main", settings)
    assert (tree.path / "sub/f.c").read_text() == "inside\n"
    assert list(outside.iterdir()) == []


def test_names_with_spaces_and_other_letters_come_through(theirs, settings):
    prepared(theirs, "main", settings)
    (theirs.path / 'a "b" ü\n.c').write_text("x\n")
    theirs.commit()
    assert (prepared(theirs, "main", settings).path / 'a "b" ü\n.c').read_text() == "x\n"


def test_a_repository_whose_path_has_a_colon_and_quotes_is_read(tmp_path, settings):
    theirs = Repository(tmp_path / 'a:b "c" \\d')
    theirs.commit(Makefile=MAKEFILE)
    assert prepared(theirs, "main", settings).version == "6.1.7"


def test_the_environment_of_the_caller_is_not_what_git_sees(theirs, settings, monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert prepared(theirs, "main", dataclasses.replace(settings, environment=())).version == "6.1.7"
