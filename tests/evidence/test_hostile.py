"""Evidence of strangers, broken on purpose: a finding or a reason, never a traceback; memory and time are bounded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("hostile_worker.py")
DEADLINE_S = 300  # the worker's own limit is CPU time; a loaded machine may be slower


def run(case, folder):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # each thread of it takes address space
    return subprocess.run(
        [sys.executable, str(WORKER), case, str(folder)],
        capture_output=True, text=True, check=False, timeout=DEADLINE_S, env=environment,
    )  # fmt: skip


SLOW = [
    pytest.param(case, marks=pytest.mark.slow)
    for case in ("module", "vmlinux", "stripped", "output", "packed", "distribution", "crowds")
]


@pytest.mark.parametrize("case", ["map", *SLOW])
def test_broken_evidence_is_a_finding_or_a_reason(case, tmp_path):
    done = run(case, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert int(done.stdout.split()[0]) >= 5  # so many were tried: the worker did not stop before


@pytest.mark.slow
def test_bombs_neither_fill_the_memory_nor_take_for_ever(tmp_path):
    done = run("bombs", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


def test_the_worker_tells_a_crash(tmp_path):
    done = run("crash", tmp_path)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stdout
