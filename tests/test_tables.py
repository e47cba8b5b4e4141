"""The tables: what ours say, and that a wrong one is told with every mistake and its place."""

import shutil
from pathlib import Path

import pytest

from lab import tables
from lab.errors import TableError
from lab.model import Emulation, Lto
from lab.tables import FilesystemKind, Purpose, ToolchainFamily

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
    for kind in ("gcc12", "guest"):
        shutil.copy(images / f"bookworm-amd64-{kind}.yaml", images / f"bookworm-sparc64-{kind}.yaml")
        spoil(images / f"bookworm-sparc64-{kind}.yaml", "debian_arch: amd64", "debian_arch: sparc64")
    (data / "arch.yaml").write_text((data / "arch.yaml").read_text() + SPARC64)
    spoil(data / "toolchain.yaml", "images:\n", "images:\n    emulated/sparc64: bookworm-sparc64-gcc12\n")
    loaded = tables.load(data=data, images=images)
    assert loaded.arch_named("ultrasparc").kernel_arch == "sparc64"
    assert loaded.toolchain["gcc-12"].image_for(Emulation.EMULATED, "sparc64") == "bookworm-sparc64-gcc12"


SPARC64 = """
sparc64:
  aliases: [ultrasparc]
  kernel_arch: sparc64
  kernel_srcarch: sparc
  debian_arch: sparc64
  uname_machine: sparc64
  gnu_triplet: sparc64-linux-gnu
  qemu_user: qemu-sparc64
  elf_machine: EM_SPARCV9
  bits: 64
  little_endian: false
  image_target: zImage
  image_path: arch/sparc/boot/zImage
  console: ttyS0
  guest: bookworm-sparc64-guest
  machines:
    - {name: sun4u, qemu_system: qemu-system-sparc64, machine: sun4u, cpu: max, image: bookworm-amd64-qemu}
"""


def test_a_cross_compiler_runs_where_the_lab_runs(ours):
    for toolchain in ours.toolchain.values():
        for key, name in toolchain.images.items():
            if key.startswith("cross/"):
                assert ours.image[name].debian_arch == "amd64", (toolchain.name, key)


def test_every_compiler_is_in_its_images(ours):
    for toolchain in ours.toolchain.values():
        for key, name in toolchain.images.items():
            emulation, arch = key.split("/")
            wanted = {toolchain.cc, toolchain.hostcc}
            if emulation == "cross" and toolchain.family is ToolchainFamily.GCC:
                wanted.add(f"{toolchain.cc}-{ours.arch[arch].gnu_triplet}")
            if toolchain.family is ToolchainFamily.LLVM:
                wanted |= {f"lld-{toolchain.version}", f"llvm-{toolchain.version}"}
            assert wanted <= set(ours.image[name].packages), (toolchain.name, key)


GCC = ("gcc-10", "gcc-11", "gcc-12", "gcc-13", "gcc-14", "gcc-15", "gcc-16")
LLVM = ("14", "15", "16", "19", "21", "22")
SERVED = {
    (Emulation.NATIVE, "x86_64"),
    (Emulation.CROSS, "arm64"),
    (Emulation.CROSS, "armhf"),
    (Emulation.CROSS, "i386"),
}


def test_every_compiler_serves_x86_64_and_crosses_to_three_architectures(ours):
    for name in (*GCC, *(f"{family}-{version}" for family in ("clang", "llvm") for version in LLVM)):
        row = ours.toolchain[name]
        assert {key for key in SERVED if row.image_for(*key)} == SERVED, name


def test_clang_and_llvm_of_one_version_share_an_image_with_gnu_binutils_of_each_target(ours):
    for version in LLVM:
        clang, llvm = ours.toolchain[f"clang-{version}"], ours.toolchain[f"llvm-{version}"]
        (name,) = {*clang.images.values(), *llvm.images.values()}
        crossed = {ours.arch[arch].gnu_triplet for emulation, arch in SERVED if emulation is Emulation.CROSS}
        assert {f"binutils-{triplet}" for triplet in crossed} <= set(ours.image[name].packages), version


def test_every_llvm_has_both_kinds_of_lto_and_clang_with_binutils_none(ours):
    for version in LLVM:
        assert ours.toolchain[f"llvm-{version}"].lto == (Lto.NONE, Lto.THIN, Lto.FULL)
        assert ours.toolchain[f"clang-{version}"].lto == (Lto.NONE,)


def test_a_native_gcc_image_has_no_cross_compiler(ours):
    for name in GCC:
        packages = ours.image[ours.toolchain[name].image_for(Emulation.NATIVE, "x86_64")].packages
        assert [package for package in packages if package.startswith(f"{name}-")] == [], name


def test_every_architecture_has_a_guest_of_its_own_architecture(ours):
    for arch in ours.arch.values():
        guest = ours.image[arch.guest]
        assert (guest.purpose, guest.debian_arch) == (Purpose.GUEST, arch.debian_arch)


def test_a_fragment_for_one_architecture_needs_a_row_and_a_fragment_for_all(copy):
    data, _ = copy
    (data / "kconfig" / "boot.vax.config").write_text("CONFIG_VAX=y\n")
    (data / "kconfig" / "nothing.arm64.config").write_text("CONFIG_ARM64=y\n")
    told = mistakes(copy)
    assert [one.split(":")[0] for one in told] == ["kconfig/boot.vax.config", "kconfig/nothing.arm64.config"]


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
        ("data/arch.yaml", "guest: bookworm-amd64-guest", "guest: bookworm-vax-guest", "names an unknown image"),
        ("data/arch.yaml", "guest: bookworm-amd64-guest", "guest: bookworm-i386-guest", "no image for its guests"),
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
    (data / "arch.yaml").write_text((data / "arch.yaml").read_text() + SPARC64.replace("[ultrasparc]", "[amd64]"))
    assert "alias 'amd64' already belongs to 'x86_64'" in "\n".join(mistakes(copy))


def test_a_missing_table_is_a_mistake_and_no_traceback(copy):
    data, _ = copy
    (data / "arch.yaml").unlink()
    assert "arch.yaml:1:1: cannot read the table" in mistakes(copy)[0]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("base: ext4-128", "base: overlay", "'overlay-ext4-128': base 'overlay' must be a row without base"),
        ("base: ext4-128", "base: ext5", "'overlay-ext4-128': base 'ext5' must be a row without base"),
        ("  fstype: xfs\n", "  fstype: xfs\n  base: tmpfs\n", "'xfs': only kinds 'overlay' and 'coarse' have a base"),
        (
            "base: tmpfs\n  mount_options: [nosuid, nodev]\n",
            "mount_options: []\n",
            "'fuse-2s': base '' must be a row without base",
        ),
        (
            "granularity_ns_min: 2000000000",
            "granularity_ns_min: 1",
            "'fuse-2s': kind 'coarse' has one step, as granularity_ns_min and _max",
        ),
        ("  size_mib: 3072\n", "", "'tmpfs' lacks 'size_mib'"),
    ],
)
def test_what_a_row_lies_on_is_looked_up(copy, old, new, complaint):
    spoil(copy[0] / "filesystem.yaml", old, new)
    assert [one.split(": filesystem ")[-1] for one in mistakes(copy)] == [complaint]


def test_an_overlay_on_a_loop_device_needs_one(ours):
    wanted = {name for name, row in ours.filesystem.items() if ours.uses_loop(row)}
    assert set(ours.filesystem) - wanted == {"tmpfs", "overlay", "fuse-2s"}
    assert "overlay-ext4-128" in wanted


def test_the_image_that_mounts_is_the_hosts_own_and_has_every_mkfs(ours):
    name = ours.mount_image("x86_64")
    assert name is not None
    made_by = {"mkfs.ext4": "e2fsprogs", "mkfs.ext3": "e2fsprogs", "mkfs.xfs": "xfsprogs", "mkfs.btrfs": "btrfs-progs"}
    for row in ours.filesystem.values():
        assert not row.mkfs or made_by[row.mkfs[0]] in ours.image[name].packages, row.name
    assert ours.mount_image("vax") is None
