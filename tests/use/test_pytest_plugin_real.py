"""`pytest matrix.yaml -n 2` on the real engine with real, tiny kernel builds, and the run's other faces."""

import json
import os
import subprocess
import sys
from pathlib import Path

import junitparser
import kcidb_io
import pytest

from lab.cli.faces import exported
from lab.events import silent
from lab.report.export.mail import Envelope
from lab.use import export, site

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TINY = """
version: 1
name: tiny
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: x86_64
  toolchain: gcc-12
  kconfig: [allnoconfig]
  make: {targets: [lib/ctype.o]}
  filesystem: tmpfs
matrix:
  patches:
    - {name: pristine, apply: []}
    - {name: broken, apply: [broken.patch]}
    - {name: lost, apply: [lost.patch]}
"""
BREAKING = """--- a/lib/ctype.c
+++ b/lib/ctype.c
@@ -8,2 +8,3 @@
 #include <linux/ctype.h>
+int lab_broken = ;
 #include <linux/compiler.h>
"""


def test_workers_build_cells_of_one_run_once_and_its_faces_are_taken_by_their_consumers(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "broken.patch").write_text(BREAKING)
    (tmp_path / "lost.patch").write_text(BREAKING.replace("compiler.h", "nowhere.h"))
    root = Path(__file__).parent.parent.parent
    environment = os.environ | {"PYTHONPATH": str(root), "LAB_RESULTS": str(tmp_path / "results")}
    words = [sys.executable, "-m", "pytest", "-p", "lab.pytest_plugin", "tiny.yaml", "-n", "2", "--junitxml=junit.xml"]

    def pytest_says(*more):
        return subprocess.run(
            [*words, *more], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    done = pytest_says()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "1 error" in done.stdout, "a patch that does not apply is not judged"
    assert "build.compiler" in done.stdout
    (suite,) = list(junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml")))
    assert len({case.name for case in suite}) == 3
    (folder,) = [path for path in (tmp_path / "results").iterdir() if not path.is_symlink()]
    assert (folder / "report.html").is_file()
    told = export.told(folder)
    assert sorted(result.outcome for result in told.results.values()) == ["ERROR", "FAIL", "PASS"]
    kcidb = json.loads(exported(told, "kcidb", "kbuild_lab", "", Envelope(sender="a@b")))
    kcidb_io.schema.V5_3.validate(kcidb)
    assert sorted(build["status"] for build in kcidb["builds"]) == ["ERROR", "FAIL", "PASS"]
    assert "lab_broken" in next(build for build in kcidb["builds"] if build["status"] == "FAIL")["log_excerpt"]
    written = site.written(site.Request(results=tmp_path / "results", output=tmp_path / "site"), silent)
    assert written.index.is_file()
    # the second time nothing is built that was judged
    again = pytest_says("--lab-run", folder.name)
    assert "1 passed" in again.stdout, again.stdout + again.stderr
    assert len(list(folder.glob("*pristine*/1*"))) <= 1, "the finished attempt was kept"
