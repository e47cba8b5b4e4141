"""The reports, faulty and pristine, in small: whole kernels are built, so only the cheapest cells of each file are run.

001 is 000 seen from the times. 002 is built from its mail, for ARM, where there are the mails: test_lab_repro_real.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MAILS = Path(__file__).parents[2] / "../shared/reports"
pytestmark = [pytest.mark.docker, pytest.mark.qemu, pytest.mark.slow]
# file -> its cells that one compiler cache serves: a few minutes each the first time, some twenty seconds later
CELLS = {
    "000-trimmed-exports": ("x86_64-gcc-12-ext4-128-guarded", "x86_64-gcc-12-ext4-128-unguarded"),
    "002-kallsyms": ("x86_64-gcc-12-tmpfs", "x86_64-gcc-12-tmpfs-type-change", "x86_64-gcc-12-tmpfs-final-link-only"),
    "003-objtool-module": ("x86_64-gcc-12-lto-none-tmpfs-ibt", "x86_64-gcc-12-lto-none-tmpfs-ibt-no-module-flag"),
    "004-livepatch-positions": ("x86_64-gcc-12-tmpfs-same-position", "x86_64-gcc-12-tmpfs-conflict"),
}


@pytest.fixture(scope="module", params=sorted(CELLS))
def report(request, repository, tmp_path_factory):
    """Return the number of a report, what `lab run --json` says of some cells of its matrix, and its exit code."""
    if request.param.startswith("002") and sorted(MAILS.glob("002_*.txt")):
        pytest.skip("its mail is here, and what it brings back is built from it")
    matrix = repository / "matrices" / "reports" / f"{request.param}.yaml"
    chosen = [word for name in CELLS[request.param] for word in ("--cell", name)]
    done = subprocess.run(
        [sys.executable, "-m", "lab", "run", str(matrix), *chosen, "--json"],
        cwd=repository,
        env={**os.environ, "LAB_RESULTS": str(tmp_path_factory.mktemp(request.param))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return request.param[:3], json.loads(done.stdout), done.returncode


def told(cell):
    """Return what decides or warns in a cell; notes are no findings."""
    return [one for one in cell["findings"] if one["severity"] != "note"]


def test_the_faulty_twin_is_as_expected_and_the_pristine_one_has_no_finding(report):
    number, document, code = report
    outcomes = {cell["id"]: cell["outcome"] for cell in document["cells"]}
    assert len(outcomes) == len(CELLS[next(name for name in CELLS if name.startswith(number))])
    assert code == 0, [cell["reason"] for cell in document["cells"]]
    assert set(outcomes.values()) == {"PASS", "XFAIL"}
    assert all(bool(told(cell)) == (cell["outcome"] == "XFAIL") for cell in document["cells"])


def test_the_finding_says_what_the_maintainers_found_out_by_hand(report):
    number, document, _ = report
    findings = [one for cell in document["cells"] for one in told(cell)]
    words = json.dumps(findings)  # with what is joined to them
    for wanted in {
        "000": ("mcb-core.o", "was not rebuilt", "same second", "825d48758308"),
        "002": (
            "'type_change_0'",
            "type changed from A to T",
            "KALLSYMS_EXTRA_PASS=1",
            "only the final link is different",
        ),
        "003": ("without --module", "autofs4.o", "can't find static_call_key symbol"),
        "004": ("vmlinux.state_show", "positions 1 and 2"),
    }[number]:
        assert wanted in words
