"""matrices/boots.yaml: every way a boot can end, on each of the four architectures, and every machine of theirs."""

from pathlib import Path

from lab import tables
from lab.matrix.expand import expand
from lab.matrix.read import read

ROOT = Path(__file__).parents[2]
TABLES = tables.load(images=ROOT / "images")
CELLS = expand(read(ROOT / "matrices" / "boots.yaml", TABLES))
ARCHES = ("x86_64", "i386", "arm64", "armhf")
ENDS = {
    "boot.panic", "boot.no-init", "boot.hang", "boot.oops", "boot.warning", "boot.module-failed", "boot.reset",
}  # fmt: skip


def test_each_architecture_has_each_fault():
    for arch in ARCHES:
        expected = {one for cell in CELLS if cell.arch == arch and cell.expect for one in cell.expect.findings}
        assert expected >= ENDS, arch


def test_each_machine_boots_a_healthy_kernel():
    for arch in ARCHES:
        row = TABLES.arch[arch]
        healthy = {row.machine_named(cell.boot.machine).name for cell in CELLS if cell.arch == arch and not cell.expect}
        assert healthy == {machine.name for machine in row.machines}, arch


def test_one_fault_a_cell_and_none_without_a_parameter():
    for cell in CELLS:
        asked = [word for word in cell.boot.append if word.startswith(("lab_fault=", "rdinit="))]
        needs_none = "unknown" in cell.id
        assert len(asked) == (1 if cell.expect and not needs_none else 0), cell.id
