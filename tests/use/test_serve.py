"""`lab serve`: the site's own files and nothing else, to this machine and nobody else."""

import http.client
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lab import cli
from lab.errors import EnvironmentFault, ExitCode, UsageError
from lab.report.html.write import MARK
from lab.use import serve

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def pages(tmp_path):
    """A site of two files, with what must not be handed out in it and beside it."""
    folder = tmp_path / "site"
    (folder / "cells" / "m").mkdir(parents=True)
    (folder / MARK).write_text("")
    (folder / "index.html").write_text("<title>all</title>")
    (folder / "cells" / "m" / "a+b c.html").write_text("<title>é</title>", encoding="utf-8")
    (folder / "odd.bin").write_bytes(b"\0")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "results").symlink_to(tmp_path)
    os.mkfifo(folder / "fifo")
    return folder


@pytest.fixture
def ask(pages):
    """Return what asks a server of these pages: (status, headers, body)."""
    server = serve.opened(pages, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def ask(target, method="GET", **headers):
        link = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
        link.putrequest(method, target, skip_host="Host" in headers)
        for name, value in headers.items():
            link.putheader(name, value)
        link.endheaders()
        answer = link.getresponse()
        body = answer.read()
        link.close()
        return answer.status, dict(answer.headers), body

    yield ask
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_of_the_site_are_handed_out(ask):
    status, headers, body = ask("/")
    assert (status, body) == (200, b"<title>all</title>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask("/index.html#view=cells?x")[0] == 200
    assert ask("/cells/m/a%2Bb%20c.html?q=1")[2].decode() == "<title>é</title>"
    assert ask("/odd.bin")[1]["Content-Type"] == "application/octet-stream"


def test_a_head_is_that_of_the_file_without_it(ask):
    status, headers, body = ask("/index.html", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "18", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed(ask, pages, method):
    before = {path: path.stat().st_mtime_ns for path in pages.rglob("*.html")}
    assert ask("/index.html", method)[0] == 501
    assert {path: path.stat().st_mtime_ns for path in pages.rglob("*.html")} == before


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt", "/%2e%2e/secret.txt", "/cells/../../secret.txt", "/cells/%2e%2e/%2e%2e/secret.txt",
        "//secret.txt", "/..%2fsecret.txt", "/link.txt", "/results/secret.txt", f"/{MARK}",
        "/cells", "/cells/", "/cells/m/", "/fifo", "/none.html", "/index.html%00", "/index.html/", "/%ff", "*", "/.",
        "/etc/passwd",
    ],
)  # fmt: skip
def test_nothing_else_is_handed_out_and_nothing_is_listed(ask, target):
    status, _, body = ask(target)
    assert status == 404
    assert b"secret" not in body
    assert b"a+b c" not in body


def test_a_target_that_is_no_url_is_no_file():
    assert serve.name_in("http://[/index.html") == ""


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("", 200),
        ("evil.example:8000", 421), ("127.0.0.1.evil.example", 421), ("192.168.1.5", 421), ("[", 421),
    ],
)  # fmt: skip
def test_a_name_that_somebody_else_points_here_is_not_answered(ask, host, status):
    assert ask("/index.html", Host=host)[0] == status


def test_a_site_that_is_replaced_is_the_new_one(ask, pages):
    pages.rename(pages.with_name("old"))
    assert ask("/")[0] == 404
    pages.mkdir()
    (pages / "index.html").write_text("new")
    assert ask("/")[2] == b"new"


def test_only_a_site_is_served_and_only_where_one_can_listen(pages, tmp_path):
    with pytest.raises(UsageError, match="no site in"):
        serve.opened(tmp_path, "127.0.0.1", 0)
    with pytest.raises(UsageError, match="no address of this machine"):
        serve.opened(pages, "no such host", 0)
    with serve.opened(pages, "127.0.0.1", 0) as first, pytest.raises(EnvironmentFault, match="cannot listen"):
        serve.opened(pages, "127.0.0.1", first.server_address[1])


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_a_port_that_is_none_is_usage(pages, port):
    assert cli.exit_code_of(["serve", str(pages), "--port", port]) == ExitCode.USAGE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_it_listens_and_is_ended_by_an_interrupt(pages, number):
    """Also as a background job of a script, which begins with SIGINT ignored (POSIX, "Signals and Error Handling")."""
    words = [
        "sh",
        "-c",
        'trap "" INT; exec "$@"',
        "sh",
        sys.executable,
        "-m",
        "lab",
        "serve",
        str(pages),
        "--port",
        "0",
    ]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            line = child.stdout.readline()
            assert "http://127.0.0.1:" in line
            port = int(line.partition("http://127.0.0.1:")[2].partition("/")[0])
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            link.request("GET", "/")
            assert link.getresponse().status == 200
            link.close()
            child.send_signal(number)
            _, told = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == ExitCode.INTERRUPTED
    assert "Traceback" not in told
