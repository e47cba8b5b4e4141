"""What nothing can build: a mistake where it is written out, a SKIP where the product of the axes made it."""

import dataclasses
from pathlib import Path

import pytest

from lab import tables
from lab.errors import MatrixError
from lab.matrix import possible
from lab.matrix.expand import expand
from lab.matrix.read import read_text
from lab.model import Lto, Patch

ROOT = Path(__file__).parent.parent.parent
TABLES = tables.load(images=ROOT / "images")
HEAD = """\
version: 1
name: small
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  filesystem: tmpfs
  kconfig: [tinyconfig]
"""
ARCH = (
    "config HAS_LTO_CLANG\n\tdef_bool y\n\tdepends on ARCH_SUPPORTS_LTO_CLANG\nconfig ARCH_SUPPORTS_LTO_CLANG\n\tbool\n"
)
THIN = 'config LTO_CLANG_THIN\n\tbool "thin"\n\tdepends on HAS_LTO_CLANG\n'


def cells(more, head=HEAD, folder=ROOT):
    return {cell.id: cell.impossible for cell in expand(read_text(head + more, "m.yaml", folder, TABLES))}


def mistakes(more, head=HEAD, folder=ROOT):
    with pytest.raises(MatrixError) as caught:
        read_text(head + more, "m.yaml", folder, TABLES)
    return caught.value.mistakes


# ------------------------------------------------------------------------------------------- out of the axes: SKIP


def test_a_product_skips_what_no_image_builds_and_runs_the_rest():
    found = cells("  toolchain: gcc-12\nmatrix:\n  arch: [x86_64, arm64]\n  emulation: [native, cross]\n")
    assert found == {
        "x86_64-gcc-12-tmpfs": "",
        "x86_64-gcc-12-cross-tmpfs": "toolchain 'gcc-12' has no image for cross/x86_64",
        "arm64-gcc-12-tmpfs": "toolchain 'gcc-12' has no image for native/arm64",
        "arm64-gcc-12-cross-tmpfs": "",
    }


def test_lto_with_gcc_out_of_a_product_is_skipped():
    found = cells("  arch: x86_64\nmatrix:\n  toolchain: [gcc-12, llvm-14]\n  lto: [none, thin]\n")
    assert {cell for cell, why in found.items() if why} == {"x86_64-gcc-12-lto-thin-tmpfs"}
    assert found["x86_64-gcc-12-lto-thin-tmpfs"].startswith("toolchain 'gcc-12' cannot build with lto 'thin': ")


def test_an_architecture_whose_kernel_has_no_lto_is_skipped():
    axes = (
        "  toolchain: llvm-14\n  emulation: cross\nmatrix:\n  arch: [arm64, armhf, i386]\n  lto: [none, thin, full]\n"
    )
    found = {cell: why for cell, why in cells(axes).items() if why}
    assert list(found) == ["armhf-llvm-14-lto-thin-tmpfs", "armhf-llvm-14-lto-full-tmpfs"]
    assert "linux 6.1 has no lto 'thin' for 'armhf': no kernel so far" in found["armhf-llvm-14-lto-thin-tmpfs"]


def test_a_kernel_older_than_lto_is_skipped():
    sources = "  source: [{debian: linux-source-5.10, suite: bullseye}, {debian: linux-source-6.1, suite: bookworm}]\n"
    found = cells(f"  arch: x86_64\n  toolchain: llvm-14\nmatrix:\n{sources}  lto: [none, full]\n")
    (skipped,) = (cell for cell, why in found.items() if why)
    assert "5.10" in skipped
    assert found[skipped] == "linux 5.10 has no lto 'full' for 'x86_64': LTO came with 5.12"


# -------------------------------------------------------------------------------------- written out: a mistake, placed


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("  arch: x86_64\n  toolchain: gcc-12\n  lto: thin\n",
         "m.yaml:9:8: toolchain 'gcc-12' cannot build with lto 'thin' at defaults.lto"),
        ("  arch: arm64\n  toolchain: gcc-11\n", "m.yaml:8:14: toolchain 'gcc-11' has no image for native/arm64 at defaults"),
        ("  arch: armhf\n  toolchain: llvm-14\n  emulation: cross\n  lto: thin\n",
         "m.yaml:10:8: linux 6.1 has no lto 'thin' for 'armhf' at defaults.lto\n  hint:  no kernel so far has it"),
        ("  arch: x86_64\n  toolchain: llvm-14\ninclude:\n  - {lto: none}\n"
         "  - {lto: full, source: {debian: linux-source-5.10, suite: bullseye}, filesystem: xfs}\n",
         "linux 5.10 has no lto 'full' for 'x86_64' at include[1].source\n  hint:  LTO came with 5.12"),
        ("  arch: x86_64\n  toolchain: gcc-12\n  boot: {machine: virt}\n",
         "arch 'x86_64' has no machine 'virt' at defaults.boot"),
        ("  toolchain: gcc-11\nmatrix:\n  arch: [x86_64, arm64]\n",
         "m.yaml:9:18: toolchain 'gcc-11' has no image for native/arm64 at matrix.arch[1]"),
    ],
    ids=["gcc", "compiler", "armhf", "include", "machine", "useless-value"],
)  # fmt: skip
def test_a_value_that_no_cell_can_use_is_a_mistake_with_its_place(more, told):
    (one,) = mistakes(more)
    assert told in one


def test_i386_has_lto_in_61_and_not_in_513():
    row = TABLES.arch["i386"]
    cell = expand(read_text(HEAD + "  arch: x86_64\n  toolchain: gcc-12\n", "m.yaml", ROOT, TABLES))[0]
    older = dataclasses.replace(cell.source, package="linux-source-5.13")
    assert possible.kernel_lacks_lto(cell.source, (), row, Lto.THIN) is None
    assert "with 5.14" in possible.kernel_lacks_lto(older, (), row, Lto.THIN)[1]


@pytest.mark.parametrize("package", ["linux-source", "my-kernel"])
def test_a_package_whose_name_says_no_version_is_left_to_its_tree(package):
    head = HEAD.replace("linux-source-6.1", package)
    assert list(cells("  arch: armhf\n  toolchain: llvm-14\n  emulation: cross\n  lto: thin\n", head).values()) == [""]


# ------------------------------------------------------------------------------------------------------ a tree of one's own


@pytest.fixture
def tree(tmp_path):
    for name, text in (("arch/Kconfig", ARCH + THIN), ("arch/arm/Kconfig", "config ARM\n\tdef_bool y\n")):
        (tmp_path / "linux" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "linux" / name).write_text(text)
    return tmp_path / "linux"


OF_TREE = "  arch: armhf\n  toolchain: llvm-14\n  emulation: cross\n  lto: thin\n"


def test_a_folder_is_asked_itself(tree):
    head = HEAD.replace("{debian: linux-source-6.1, suite: bookworm}", "{dir: linux}")
    (told,) = mistakes(OF_TREE, head, tree.parent)
    assert "LTO_CLANG_THIN depends on ARCH_SUPPORTS_LTO_CLANG, which ARCH=arm does not select" in told
    (tree / "arch/arm/Kconfig").write_text("config ARM\n\tdef_bool y\n\tselect ARCH_SUPPORTS_LTO_CLANG\n")
    assert list(cells(OF_TREE, head, tree.parent).values()) == [""]


def test_a_patch_that_changes_kconfig_leaves_it_to_the_patched_tree(tree):
    row = TABLES.arch["armhf"]
    adds = Patch(name="arm-lto", text="--- a/arch/arm/Kconfig\n+++ b/arch/arm/Kconfig\n@@ -1 +1,2 @@\n")
    other = Patch(name="other", text="--- a/lib/x.c\n+++ b/lib/x.c\n@@ -1 +1 @@\n")
    source = expand(read_text(HEAD + "  arch: x86_64\n  toolchain: gcc-12\n", "m.yaml", ROOT, TABLES))[0].source
    assert possible.kernel_lacks_lto(source, (adds,), row, Lto.THIN) is None
    assert possible.kernel_lacks_lto(source, (other,), row, Lto.THIN) is not None


def test_what_could_not_be_read_makes_no_other_value_useless():
    (told,) = mistakes("matrix:\n  arch: [x86_64, arm64]\n  toolchain: [gcc-11, gcc-21]\n")
    assert "unknown toolchain 'gcc-21'" in told
