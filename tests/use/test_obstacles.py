"""What makes cells hopeless is found before images and builds cost anything. No engine: the crew gets none."""

import hashlib
import subprocess
import tarfile
import textwrap
import threading

import pytest

from lab.errors import Impossible, Untestable, UsageError
from lab.events import silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Outcome
from lab.plan.jobs import JobKind
from lab.settings import Settings
from lab.use import session
from lab.use.crew import Crew
from lab.use.obstacles import obstacles

MAKEFILE = "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n"
KCONFIG = """\
config ARCH_SUPPORTS_LTO_CLANG
\tbool
config LTO_CLANG_THIN
\tbool "thin"
\tdepends on ARCH_SUPPORTS_LTO_CLANG
"""
ARCHES = {
    "arm": "config ARM\n\tdef_bool y\n",
    "arm64": "config ARM64\n\tdef_bool y\n\tselect ARCH_SUPPORTS_LTO_CLANG\n",
}
PATCH = (
    "--- a/Makefile\n+++ b/Makefile\n@@ -1,3 +1,3 @@\n VERSION = 9\n-PATCHLEVEL = 9\n+PATCHLEVEL = 8\n SUBLEVEL = 9\n"
)


@pytest.fixture
def tarball(tmp_path):
    tree = tmp_path / "linux"
    files = {"Makefile": MAKEFILE, "arch/Kconfig": KCONFIG} | {f"arch/{a}/Kconfig": text for a, text in ARCHES.items()}
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    with tarfile.open(tmp_path / "linux.tar", "w") as out:
        out.add(tree, "linux")
    (tmp_path / "bad.patch").write_text(PATCH)
    digest = hashlib.sha256((tmp_path / "linux.tar").read_bytes()).hexdigest()
    return f"{{tarball: linux.tar, sha256: {digest}}}"


@pytest.fixture
def cells(rows, tmp_path):
    def cells(source, more=""):
        text = f"""
        version: 1
        name: any
        defaults:
          source: {source}
          arch: arm64
          emulation: cross
          toolchain: llvm-14
          kconfig: [tinyconfig]
          filesystem: tmpfs
        """
        path = tmp_path / "matrix.yaml"
        path.write_text(textwrap.dedent(text) + textwrap.dedent(more))
        return expand(read(path, rows))

    return cells


@pytest.fixture
def look(rows, tmp_path):
    """Return what hopeless cells there are, and what would be done for the others."""

    def look(cells):
        settings = Settings(cache=tmp_path / "cache", results=tmp_path, images=tmp_path, data=tmp_path, cores=2)
        crew = Crew(cells, settings, rows, None, silent, threading.Event(), None)
        with crew.holds:
            hopeless = obstacles(cells, rows)
            _, found = crew.look({}, hopeless)
            return hopeless | found, crew.jobs({}, hopeless | found)

    return look


def test_a_kernel_without_the_lto_is_told_from_its_tree_and_nothing_is_made_for_it(cells, look, tarball):
    found, jobs = look(cells(tarball, "matrix:\n  arch: [arm64, armhf]\n  lto: [none, thin]\n"))
    (cell,) = found
    assert cell == "armhf-llvm-14-lto-thin-tmpfs"
    assert isinstance(found[cell], Impossible)
    assert "linux 6.1.7 has no lto 'thin' for 'armhf'" in found[cell].message
    assert {job.cell for job in jobs if job.cell} == {
        "arm64-llvm-14-tmpfs", "arm64-llvm-14-lto-thin-tmpfs", "armhf-llvm-14-tmpfs",
    }  # fmt: skip
    assert all(job.kind is not JobKind.SOURCE for job in jobs), "unpacked twice"
    assert all(not key.startswith("source:") for job in jobs for key in job.needs)


def test_a_wrong_hash_costs_no_image(cells, look, tarball):
    found, jobs = look(cells(f"{{tarball: linux.tar, sha256: {'0' * 64}}}"))
    (error,) = found.values()
    assert isinstance(error, UsageError)
    assert "is not what the matrix says" in error.message
    assert jobs == ()


def test_a_patch_that_does_not_apply_costs_no_image(cells, look, tarball):
    found, jobs = look(cells(tarball, "matrix:\n  patches: [bad.patch, none]\n"))
    (cell,) = found
    assert "bad" in cell
    assert isinstance(found[cell], Untestable)
    assert "patch 'bad' does not apply to 6.1.7" in found[cell].message
    assert {job.cell for job in jobs if job.cell} == {"arm64-llvm-14-tmpfs"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{dir: nowhere}", "no such folder"),
        ("{dir: .}", "not a kernel source tree"),
        (f"{{tarball: nowhere.tar, sha256: {'0' * 64}}}", "no such tarball"),
        ("{git: nowhere, rev: main}", "no such git repository"),
        ("{git: 'file:///nowhere/linux', rev: main}", "no such git repository"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_fetched(cells, rows, source, told):
    (error,) = obstacles(cells(source), rows).values()
    assert isinstance(error, UsageError)
    assert told in error.message


def test_a_missing_revision_costs_no_image(cells, look, tmp_path):
    theirs, who = tmp_path / "theirs", ["-c", "user.name=N", "-c", "user.email=n@example.org"]
    subprocess.run(["git", "init", "-q", str(theirs)], check=True)
    (theirs / "Makefile").write_text(MAKEFILE)
    subprocess.run(["git", "-C", str(theirs), "add", "Makefile"], check=True)
    subprocess.run(["git", "-C", str(theirs), *who, "commit", "-q", "-m", "x"], check=True)
    found, jobs = look(cells("{git: theirs, rev: v9.9}", "matrix:\n  filesystem: [tmpfs, overlay]\n"))
    assert len(found) == 2
    assert all("no revision 'v9.9'" in error.message for error in found.values())
    assert jobs == ()


def test_what_the_matrix_says_is_not_to_be_run_is_not_run(cells, look):
    more = "expect:\n  - when: {arch: arm64}\n    outcome: SKIP\n    because: broken since May\n"
    found, jobs = look(cells("{debian: linux-source-6.1, suite: bookworm}", more))
    (error,) = found.values()
    assert isinstance(error, Impossible)
    assert error.message == "broken since May"
    assert jobs == ()


def test_impossible_cells_are_skipped_with_their_reason(cells, look):
    more = "matrix:\n  toolchain: [gcc-12, llvm-14]\n  lto: [none, thin]\n"
    found, jobs = look(cells("{debian: linux-source-6.1, suite: bookworm}", more)[:2])
    (cell,) = found
    assert cell == "arm64-gcc-12-lto-thin-tmpfs"
    assert session._result(next(iter(cells("{debian: linux-source-6.1}"))), {}, {}, found[cell]).outcome is Outcome.SKIP
    assert {job.cell for job in jobs if job.cell} == {"arm64-gcc-12-tmpfs"}
