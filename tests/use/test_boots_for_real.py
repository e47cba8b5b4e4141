"""matrices/boots.yaml in small: a real kernel ends in a way that its console does not tell; test_guest.py has the others.

The kernel is that of the quick start, and one file more: much of it need not be compiled again.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.qemu, pytest.mark.slow]
MATRIX = """
version: 1
name: boots
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: x86_64
  toolchain: gcc-12
  filesystem: tmpfs
  kconfig: [tinyconfig, lab:boot, lab:trim, CONFIG_LAB_FAULT=y]
  patches: [faults-on-demand.patch]
  boot: {name: triple, append: [lab_fault=triple]}
expect:
  - {when: {boot: triple}, outcome: FAIL, finding: boot.triple-fault}
"""


def test_a_triple_fault_is_told_from_a_reset_and_is_one_finding(repository, tmp_path):
    shutil.copy(repository / "matrices" / "patches" / "faults-on-demand.patch", tmp_path)
    (tmp_path / "boots.yaml").write_text(textwrap.dedent(MATRIX))
    done = subprocess.run(
        [sys.executable, "-m", "lab", "run", str(tmp_path / "boots.yaml"), "--json"],
        cwd=repository,
        env={**os.environ, "LAB_RESULTS": str(tmp_path / "results")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (cell,) = json.loads(done.stdout)["cells"]
    assert cell["outcome"] == "XFAIL"
    assert [one["id"] for one in cell["findings"] if one["severity"] != "note"] == ["boot.triple-fault"]
