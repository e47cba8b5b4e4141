"""matrices/boots.yaml in small: a healthy kernel and two that reset the machine; the others differ from them in a word."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.qemu, pytest.mark.slow]
HEALTHY = "x86_64-gcc-12-native-tmpfs-small"
CELLS = (HEALTHY, f"{HEALTHY}-reset", f"{HEALTHY}-triple")


@pytest.fixture(scope="module")
def document(repository, tmp_path_factory):
    """Return what `lab run --json` says of the cells, once it ended with 0."""
    results = tmp_path_factory.mktemp("results")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lab",
            "run",
            "matrices/boots.yaml",
            *(word for cell in CELLS for word in ("--cell", cell)),
            "--json",
        ],
        cwd=repository,
        env={**os.environ, "LAB_RESULTS": str(results)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout)


def test_each_end_is_the_one_that_was_asked_for(document):
    outcomes = {cell["id"]: cell["outcome"] for cell in document["cells"]}
    assert outcomes == {CELLS[0]: "PASS", CELLS[1]: "XFAIL", CELLS[2]: "XFAIL"}


def test_a_fault_is_one_finding(document):
    decided = {
        cell["id"]: [one["id"] for one in cell["findings"] if one["severity"] in ("fail", "error")]
        for cell in document["cells"]
    }
    assert decided == {CELLS[0]: [], CELLS[1]: ["boot.reset"], CELLS[2]: ["boot.triple-fault"]}
