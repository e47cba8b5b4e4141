"""The tables: what ours say, and that a wrong one is told with every mistake and its place."""

import shutil
from pathlib import Path

import pytest

from lab import tables
from lab.errors import TableError
from lab.model import Emulation, Lto
from lab.tables import FilesystemKind, Purpose

IMAGES = Path(__file__).parent.parent / "images"


@pytest.fixture(scope="module")
def ours():
    return tables.load(images=IMAGES)


@pytest.fixture
def copy(tmp_path):
    """A copy of our tables that a test may spoil: (data, images)."""
    return shutil.copytree(tables.DATA, tmp_path / "data"), shutil.copytree(IMAGES, tmp_path / "images")


def spoil(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def mistakes(copy):
    data, images = copy
    with pytest.raises(TableError) as caught:
        tables.load(data=data, images=images)
    return [one.replace(f"{data}/", "").replace(f"{images}/", "") for one in caught.value.mistakes]


def test_an_architecture_is_found_by_its_alias(ours):
    assert ours.arch_named("amd64") is ours.arch["x86_64"]
    assert ours.arch_named("vax") is None


def test_a_toolchain_names_the_image_that_builds_for_an_architecture(ours):
    assert ours.toolchain["gcc-12"].image_for(Emulation.NATIVE, "x86_64") == "bookworm-amd64-gcc12"
    assert ours.toolchain["gcc-12"].image_for(Emulation.CROSS, "x86_64") is None


def test_gcc_builds_without_lto_only(ours):
    assert ours.toolchain["gcc-12"].lto == (Lto.NONE,)


def test_the_coarse_filesystem_promises_whole_seconds(ours):
    row = ours.filesystem["ext4-128"]
    assert (row.kind, row.granularity_ns_min, row.granularity_ns_max) == (FilesystemKind.LOOP, 10**9, 10**9)
    assert row.mkfs[-2:] == ("-I", "128")


def test_a_version_stays_text(ours):
    assert ours.toolchain["gcc-12"].version == "12"


def test_the_first_machine_is_the_default(ours):
    arch = ours.arch["x86_64"]
    assert arch.machine_named("") is arch.machines[0]
    assert ours.image[arch.machines[0].image].purpose is Purpose.BOOT


def test_every_fragment_of_ours_holds_only_kconfig_lines(ours):
    for name, text in ours.kconfig.items():
        lines = [line for line in text.splitlines() if line and not line.startswith("# ")]
        assert lines, name
        assert all(line.startswith("CONFIG_") and "=" in line for line in lines), name


def test_an_architecture_is_one_row(copy):
    data, images = copy
    shutil.copy(images / "bookworm-amd64-gcc12.yaml", images / "bookworm-arm64-gcc12.yaml")
    spoil(images / "bookworm-arm64-gcc12.yaml", "debian_arch: amd64", "debian_arch: arm64")
    (data / "arch.yaml").write_text((data / "arch.yaml").read_text() + ARM64)
    spoil(data / "toolchain.yaml", "images:\n", "images:\n    emulated/arm64: bookworm-arm64-gcc12\n")
    loaded = tables.load(data=data, images=images)
    assert loaded.arch_named("aarch64").kernel_arch == "arm64"
    assert loaded.toolchain["gcc-12"].image_for(Emulation.EMULATED, "arm64") == "bookworm-arm64-gcc12"


ARM64 = """
arm64:
  aliases: [aarch64]
  kernel_arch: arm64
  kernel_srcarch: arm64
  debian_arch: arm64
  uname_machine: aarch64
  gnu_triplet: aarch64-linux-gnu
  qemu_user: qemu-aarch64
  elf_machine: EM_AARCH64
  bits: 64
  little_endian: true
  image_target: Image
  image_path: arch/arm64/boot/Image
  console: ttyAMA0
  machines:
    - {name: virt, qemu_system: qemu-system-aarch64, machine: virt, cpu: max, image: bookworm-amd64-qemu}
"""


def test_every_mistake_of_every_table_is_told_with_its_place(copy):
    data, images = copy
    spoil(data / "arch.yaml", "  bits: 64\n", "  bits: sixty-four\n  colour: red\n")
    spoil(data / "toolchain.yaml", "family: gcc", "family: gc")
    spoil(images / "bookworm-amd64-qemu.yaml", "purpose: boot\n", "")
    assert [one.splitlines()[0] for one in mistakes(copy)] == [
        "arch.yaml:11:9: bits must be a whole number from 32 to 64, not 'sixty-four' at x86_64.bits",
        "arch.yaml:12:3: unknown key of arch 'x86_64' 'colour' at x86_64.colour",
        "toolchain.yaml:4:11: unknown family 'gc' at gcc-12.family",
        "bookworm-amd64-qemu.yaml:2:1: image lacks 'purpose'",
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("data/toolchain.yaml", "bookworm-amd64-gcc12", "bookworm-amd64-gcc13", "names an unknown image"),
        ("data/toolchain.yaml", "bookworm-amd64-gcc12", "bookworm-amd64-qemu", "which is no image for building"),
        ("data/toolchain.yaml", "native/x86_64", "native/vax", "must read EMULATION/ARCH"),
        ("data/toolchain.yaml", "[none]", "[none, thin]", "with gcc nothing else"),
        ("data/arch.yaml", "bookworm-amd64-qemu", "bookworm-amd64-gcc12", "which is no image for booting"),
        ("data/arch.yaml", "x86_64:", "X86:", "must consist of"),
        ("data/filesystem.yaml", "kind: loop", "kind: tmpfs", "kind 'loop' needs mkfs"),
        ("data/filesystem.yaml", "granularity_ns_min: 1\n", "granularity_ns_min: 99999999\n", "exceeds"),
        ("images/bookworm-amd64-gcc12.yaml", "debian_arch: amd64", "debian_arch: arm64", "an image for arm64"),
        ("images/bookworm-amd64-gcc12.yaml", "- bc\n", "- --option\n", "no name of a Debian package"),
    ],
)
def test_rows_are_checked_against_each_other(copy, tmp_path, file, old, new, told):
    spoil(tmp_path / file, old, new)
    assert told in "\n".join(mistakes(copy))


def test_an_alias_has_one_owner(copy):
    data, _ = copy
    (data / "arch.yaml").write_text((data / "arch.yaml").read_text() + ARM64.replace("[aarch64]", "[amd64]"))
    assert "alias 'amd64' already belongs to 'x86_64'" in "\n".join(mistakes(copy))


def test_a_missing_table_is_a_mistake_and_no_traceback(copy):
    data, _ = copy
    (data / "arch.yaml").unlink()
    assert "arch.yaml:1:1: cannot read the table" in mistakes(copy)[0]
