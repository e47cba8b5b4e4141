"""The real mails, on linux 6.1: the patch of one of them is what the kernel has, and their faults come when they are run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import cli
from lab.environment import source
from lab.model import DebianSource, Patch
from lab.use import repro, tree

REPORTS = Path(__file__).parents[2] / "../shared/reports"
TABLES = cli.load_tables()
LINUX = DebianSource(package="linux-source-6.1", suite="bookworm")


def mail(number):
    found = sorted(REPORTS.glob(f"{number}_*.txt"))
    if not found:
        pytest.skip("the mails are not part of the repository")
    return found[0]


@pytest.mark.slow
def test_a_patch_whose_lines_were_run_together_is_the_kernel_s_own(linux, machine_settings):
    path = mail("001")
    request = repro.Request(reports=((path.name, path.read_bytes()),), stem="x", given=tree.given("6.1", TABLES))
    made = repro.make(request, machine_settings, TABLES, lambda _: None)
    (told,) = made.patches
    assert (told.used, told.rule, told.sureness) == (True, "patch-asked", "rebased"), told.why
    patches = tuple(
        Patch(name=str(index), text=made.files[f"x.{name}.patch"])
        for index, name in enumerate(("fault", "from-report"))
    )
    faulty, mended = (source.patched(linux, patches[:count], machine_settings) for count in (1, 2))
    script = "scripts/adjust_autoksyms.sh"
    words = {
        one.path: [line.split() for line in (one.path / script).read_text().splitlines()]
        for one in (linux, faulty, mended)
    }
    assert words[mended.path] == words[linux.path] != words[faulty.path]
    changed = [
        name
        for name in ("Makefile", "scripts/gen_autoksyms.sh")
        if (mended.path / name).read_bytes() != (linux.path / name).read_bytes()
    ]
    assert not changed


@pytest.mark.docker
@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "finding", "words"),
    [
        ("001", "timestamps.tie", ()),
        ("002", "kallsyms.inconsistent", ("'type_change_0'", "type changed from A to T", "KALLSYMS_EXTRA_PASS=1")),
    ],  # 003 is built with LTO: too long for every day
    ids=["001", "002"],
)
def test_the_fault_of_a_mail_comes_and_is_gone_with_the_patch(number, finding, words, repository, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lab", "repro", str(mail(number)), "--source", "6.1", "--run", "--times", "1", "--json",
         "-o", str(tmp_path / "it.yaml")],
        cwd=repository,
        env={**os.environ, "LAB_RESULTS": str(tmp_path / "results")},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    ran = json.loads(done.stdout)["run"]
    faulty, mended = ran["arms"]
    if "infra.network" in faulty["reason"]:
        pytest.skip(f"the mirror has no image for it today: {faulty['reason'][:200]}")
    assert (done.returncode, faulty["outcome"], mended["outcome"]) == (0, "XFAIL", "PASS"), (
        faulty["reason"],
        mended["reason"],
    )
    assert faulty["rates"][finding]["failures"] == faulty["judged"] == 1
    assert not any(rate["failures"] for rate in mended["rates"].values())
    (path,) = (tmp_path / "results").glob("repro-*/*as-reported*/1/findings.json")
    assert [word for word in words if word not in path.read_text()] == []
