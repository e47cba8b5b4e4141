"""Which cells need the image that makes and mounts filesystems, and which cannot run here at all."""

import dataclasses
import os
import textwrap

import pytest

from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.use import crew
from lab.use.obstacles import obstacles


@pytest.fixture
def cells(rows, tmp_path):
    """Cells by filesystem."""
    path = tmp_path / "matrix.yaml"
    text = """
    version: 1
    name: any
    defaults: {source: {debian: linux-source-6.1}, arch: x86_64, toolchain: gcc-12, kconfig: [tinyconfig]}
    matrix:
      filesystem: [tmpfs, ext4-128, overlay, overlay-xfs]
    """
    path.write_text(textwrap.dedent(text))
    return {cell.filesystem: cell for cell in expand(read(path, rows))}


@pytest.mark.parametrize(
    ("name", "may_mount", "needed"),
    [
        ("tmpfs", True, False),
        ("overlay", True, False),
        ("ext4-128", True, True),
        ("overlay-xfs", True, True),
        ("tmpfs", False, True),
        ("ext4-128", False, True),
    ],
)
def test_mkfs_or_a_helper_makes_the_image_needed(name, may_mount, needed, cells, rows, machine_settings):
    settings = dataclasses.replace(machine_settings, may_mount=may_mount)
    wanted = rows.mount_image(os.uname().machine) if needed else None
    assert crew.mount_image_of(cells[name], rows, settings) == wanted


def test_a_cell_whose_base_cannot_be_mounted_is_impossible(cells, rows):
    lost = dataclasses.replace(rows.filesystem["xfs"], fstype="nosuchfs")
    tables = dataclasses.replace(rows, filesystem={**rows.filesystem, "xfs": lost})
    found = obstacles([cells["tmpfs"], cells["overlay-xfs"]], tables)
    assert list(found) == [cells["overlay-xfs"].id]
    assert "'nosuchfs'" in found[cells["overlay-xfs"].id].message
