"""Git repositories over http, both protocols, from a server of the test's own on loopback; and over file:// URLs."""

import http.server
import os
import shutil
import subprocess
from pathlib import Path

import debian_mirror
import pytest
from test_git import MAKEFILE, Repository

from lab.environment import source
from lab.errors import EnvironmentFault, UsageError
from lab.model import GitSource
from lab.settings import Settings

BACKEND = Path("/usr/lib/git-core/git-http-backend")
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


class Smart(http.server.BaseHTTPRequestHandler):
    """git-http-backend(1) as CGI: what a git server speaks."""

    root = Path()
    asked: tuple[str, ...] = ()

    def answer(self):
        path, _, query = self.path.partition("?")
        Smart.asked += (path,)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environment = {
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH": os.environ["PATH"],
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        told = subprocess.run([BACKEND], input=body, env=environment, capture_output=True, check=False).stdout
        head, _, content = told.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def log_message(self, *words):
        pass


class Refusing(http.server.BaseHTTPRequestHandler):
    """A server that wants a password."""

    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def settings(tmp_path):
    return Settings(cache=tmp_path / "cache", results=tmp_path / "r", images=tmp_path, data=tmp_path)


@pytest.fixture
def theirs(tmp_path):
    made = Repository(tmp_path / "www" / "linux")
    made.commit(Makefile=MAKEFILE, lib__a_c="one\n")
    made.git("tag", "-m", "annotated", "v6.1.7")
    made.commit(lib__a_c="two\n")
    return made


@pytest.fixture(params=["smart", "dumb", "file"])
def url(request, theirs, tmp_path):
    """The repository's URL by each way; the dumb one is a folder of files (git-update-server-info(1))."""
    if request.param == "file":
        yield f"file://{theirs.path}"
        return
    if request.param == "smart" and not BACKEND.exists():
        pytest.skip("no git-http-backend here")
    theirs.git("update-server-info")
    Smart.root, Smart.asked = tmp_path / "www", ()
    with debian_mirror.served(tmp_path / "www", Smart if request.param == "smart" else None) as base:
        yield f"{base}/linux/.git"


def test_a_tag_and_a_branch_are_fetched_and_shared(theirs, url, settings):
    tag = source.prepare(GitSource(repository=url, rev="v6.1.7"), settings)
    branch = source.prepare(GitSource(repository=url, rev="main"), settings)
    assert (tag.path / "lib/a.c").read_text() == "one\n"
    assert (branch.path / "lib/a.c").read_text() == "two\n"
    assert branch.commit == theirs.git("rev-parse", "HEAD")
    assert (tag.path / "Makefile").stat().st_ino == (branch.path / "Makefile").stat().st_ino
    assert tag.version == "6.1.7"


def test_a_full_commit_is_fetched_once(theirs, url, settings):
    commit = theirs.git("rev-parse", "v6.1.7^{commit}")
    source.prepare(GitSource(repository=url, rev="v6.1.7"), settings)
    Smart.asked = ()
    tree = source.prepare(GitSource(repository=url, rev=commit), settings)
    assert tree.commit == commit
    assert Smart.asked == (), "what is there was asked for again"


@pytest.mark.parametrize("rev", ["v9.9", "0" * 40])
def test_a_missing_revision_is_the_requests_fault(url, settings, rev):
    with pytest.raises(UsageError, match=f"no revision '{rev}' in git repository"):
        source.prepare(GitSource(repository=url, rev=rev), settings)
    assert not list((settings.cache / "sources").glob("*"))


def test_a_missing_repository_is_the_requests_fault(url, settings):
    with pytest.raises(UsageError, match="not a git repository"):
        source.prepare(GitSource(repository=url.replace("linux", "nowhere"), rev="main"), settings)


def test_a_file_url_that_leads_nowhere_is_told_before_anything_is_done(tmp_path):
    told = source.obstacle(GitSource(repository=f"file://{tmp_path}/nowhere", rev="main"))
    assert "no such git repository" in told.message
    assert source.obstacle(GitSource(repository="https://example.org/linux", rev="main")) is None


def test_a_server_that_wants_a_password_does_not_hang_and_nobody_is_asked(tmp_path, settings):
    with (
        debian_mirror.served(tmp_path, Refusing) as base,
        pytest.raises(EnvironmentFault, match="cannot reach") as caught,
    ):
        source.prepare(GitSource(repository=f"{base}/linux", rev="main"), settings)
    assert caught.value.finding == "infra.network"


def test_a_server_that_is_not_there_is_the_networks_fault(tmp_path, settings):
    with debian_mirror.served(tmp_path) as base:
        pass
    with pytest.raises(EnvironmentFault, match="cannot reach git repository"):
        source.prepare(GitSource(repository=f"{base}/linux", rev="main"), settings)
