"""The index in PostgreSQL from Debian's packages, started here, by nobody special, on a socket in a folder of its own."""

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lab.results import questions
from lab.results.index import Index, content

sys.path.insert(0, str(Path(__file__).parent))
from test_index import NIGHTS, results, write_run  # noqa: F401

pytestmark = pytest.mark.slow


def server_programs():
    """Return the folder of the newest server that Debian's packages brought, or skip."""
    pytest.importorskip("psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    return found[-1].parent


def unprivileged():
    """Return (uid, gid) of whom the server may run as: initdb refuses root."""
    if os.geteuid():
        return os.geteuid(), os.getegid()
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return user.pw_uid, user.pw_gid
    return pytest.skip("there is no unprivileged user")


@pytest.fixture(scope="module")
def server():
    programs, (uid, gid) = server_programs(), unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="lab-pg-", dir="/tmp"))  # a socket's path must be short
    data = folder / "data"
    data.mkdir()
    for path in (folder, data):
        os.chown(path, uid, gid)
        path.chmod(0o700)
    who = {"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}

    def act(*words):
        told = subprocess.run(
            words,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            capture_output=True,
            text=True,
            check=False,
            **who,
        )
        assert told.returncode == 0, told.stdout + told.stderr

    act(programs / "initdb", "-D", data, "-U", "lab", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    act(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
    yield f"postgresql://lab@/postgres?host={folder}"
    act(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    shutil.rmtree(folder)


def test_it_says_what_the_embedded_index_says(server, results):  # noqa: F811
    embedded, index = Index(results), Index(results, server)
    embedded.grow()
    index.rebuild()
    assert content(index) == content(embedded)
    for ask in (
        lambda one: questions.history(one, "b", matrix="m"),
        questions.findings,
        lambda one: questions.rates(one, NIGHTS),
        lambda one: questions.not_judged(one, NIGHTS),
        lambda one: questions.overviews(one, NIGHTS),
        lambda one: questions.grid(one, NIGHTS[0]),
        lambda one: questions.latest(one, "m", at_most=2, nights=True),
    ):
        assert ask(index) == ask(embedded)
        assert ask(index)
    index.close()


GROW = "import sys; from pathlib import Path; from lab.results.index import Index; Index(Path(sys.argv[1]), sys.argv[2]).grow()"


def test_processes_that_write_at_once_lose_nothing(server, results):  # noqa: F811
    for number in range(4, 9):
        write_run(results, f"m-night-2026112{number}", {"a": "C.", "b": "T"}, night=f"2026-11-2{number}")
    root = Path(__file__).parent.parent.parent
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", GROW, str(results), server], cwd=root, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for one in writers:
        _, told = one.communicate(timeout=120)
        assert one.returncode == 0, told
    index = Index(results, server)
    by_many = content(index)
    index.rebuild()
    assert content(index) == by_many
    assert len(by_many["runs"]) == 9
    index.close()
