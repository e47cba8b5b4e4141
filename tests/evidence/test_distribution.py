"""A distribution's kernel, unpacked from its packages: found, unpacked, judged; and what does not fit together."""

import bz2
import gzip
import lzma
import random
import struct

import hostile_files as files
import lz4.block
import pytest
import zstandard

from lab import checks
from lab.errors import UsageError
from lab.evidence import distribution, kernel_image, ksymtab
from lab.evidence.bundle import Evidence, Shape, shape_of
from lab.evidence.elf import UnreadableError

RELEASE = "6.1.0-9"
HEADERS = f"usr/src/linux-headers-{RELEASE}/Module.symvers"


@pytest.fixture
def root(tmp_path):
    return files.distribution(tmp_path / "root")


def findings(root, release=""):
    found, _ = checks.judge(Evidence(root, release), checks.CHECKS)
    return found


def found_ids(root, release=""):
    return {part for finding in findings(root, release) for part in finding.ids()}


def test_packages_over_one_another_are_one_kernel(root):
    evidence = Evidence(root)
    assert evidence.shape is Shape.DISTRIBUTION
    assert evidence.kernel_version == RELEASE
    assert {module.path for module in evidence.modules} == {
        "lib/patch_ko.ko", "lib/patch_ko_xz.ko", "lib/patch_ko_zst.ko", "lib/patch_gz.ko",
    }  # fmt: skip
    assert {module.unreadable for module in evidence.modules} == {""}
    assert (evidence.boot_image.release, evidence.boot_image.version) == (RELEASE, f"{RELEASE} SMP mod_unload ")


def test_packages_beside_one_another_are_one_kernel_too(root, tmp_path):
    for name, part in (("image", "boot"), ("modules", "lib"), ("headers", "usr")):
        (tmp_path / "beside" / name).mkdir(parents=True)
        (root / part).rename(tmp_path / "beside" / name / part)
    evidence = Evidence(tmp_path / "beside")
    assert len(evidence.modules) == 4
    assert evidence.boot_image.release == RELEASE
    assert evidence.symvers


@pytest.mark.parametrize("inside", [f"lib/modules/{RELEASE}", "lib/modules", "boot", "."])
def test_a_folder_within_names_the_whole(root, inside):
    evidence = Evidence(root / inside)
    assert evidence.shape is Shape.DISTRIBUTION
    assert evidence.root == root
    assert evidence.boot_image.release == RELEASE


def test_several_kernels_are_told_and_one_can_be_named(root):
    for piece in ("vmlinuz", "config"):
        source = root / f"boot/{piece}-{RELEASE}"
        source.with_name(f"{piece}-6.1.0-10").write_bytes(source.read_bytes())
    with pytest.raises(UsageError, match=r"holds 2 kernels[\s\S]*6\.1\.0-10, 6\.1\.0-9[\s\S]*--release"):
        Evidence(root)
    assert Evidence(root, RELEASE).distribution.release == RELEASE
    assert Evidence(root / f"lib/modules/{RELEASE}").distribution.release == RELEASE
    with pytest.raises(UsageError, match=r"no kernel '6\.1\.0-11'"):
        Evidence(root, "6.1.0-11")


def test_a_release_cannot_be_named_for_what_was_built(tmp_path):
    (tmp_path / ".config").write_text("")
    with pytest.raises(UsageError, match="--release"):
        Evidence(tmp_path, RELEASE)


def test_links_lead_nowhere(root, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/lib").symlink_to(root / "lib")
    (tmp_path / "other/boot").symlink_to(root / "boot")
    with pytest.raises(UsageError):
        shape_of(tmp_path / "other")


def test_a_map_that_only_says_where_the_real_one_is_is_no_map(root):
    system_map = root / f"boot/System.map-{RELEASE}"
    assert not distribution.is_stub(system_map)
    assert Evidence(root).kernel_symbols.listing is not None
    system_map.write_text("ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n")
    assert distribution.is_stub(system_map)
    assert Evidence(root).kernel_symbols.listing is not None  # this image has symbols of its own
    assert Evidence(root).system_map is None


# ------------------------------------------------------------------------------------------------ what does not fit


def module_of(**changed):
    data = files.module()
    for old, new in changed.values():
        assert old in data
        data = data.replace(old, new)
    return data


def test_the_sound_one_has_nothing_but_what_was_put_there(root):
    # the modules want two positions of one symbol, and a symbol that the kernel lacks: that is what they are made for
    assert {one.split(".")[0] for one in found_ids(root)} <= {"livepatch", "modpost"}


def test_modules_of_another_release_are_told(root):
    broken = module_of(release=(b"vermagic=6.1.0-9 ", b"vermagic=6.1.0-8 "))
    (root / f"lib/modules/{RELEASE}/kernel/lib/patch_ko.ko").write_bytes(broken)
    told = [one for one in findings(root) if "modules.release" in one.ids()]
    assert [one.blame for one in told] == ["lib/patch_ko.ko"]
    assert "6.1.0-8" in told[0].message


def test_modules_of_other_flags_are_told(root):
    broken = module_of(flags=(b"6.1.0-9 SMP mod_unload ", b"6.1.0-9 PRE mod_unload "))
    (root / f"lib/modules/{RELEASE}/kernel/lib/patch_ko.ko").write_bytes(broken)
    assert "modules.release" in found_ids(root)


def test_a_module_of_somebody_else_may_be_of_another_release_if_crcs_are_compared(root):
    (root / f"lib/modules/{RELEASE}/updates").mkdir()
    image = root / f"boot/vmlinuz-{RELEASE}"
    kernel = files.vmlinux().replace(b"SMP mod_unload \0", b"SMP modversions\0")
    image.write_bytes(b"MZ" + b"\0" * 500 + gzip.compress(kernel + random.Random(3).randbytes(300 << 10), 1))
    same = module_of(flags=(b"SMP mod_unload \0", b"SMP modversions\0"))
    for path in (root / f"lib/modules/{RELEASE}/kernel/lib").iterdir():
        path.unlink()
    (root / f"lib/modules/{RELEASE}/kernel/lib/patch_ko.ko").write_bytes(same)
    (root / f"lib/modules/{RELEASE}/updates/x.ko").write_bytes(same.replace(b"vermagic=6.1.0-9", b"vermagic=6.1.0-7"))
    assert "modules.release" not in found_ids(root)
    (root / f"lib/modules/{RELEASE}/kernel/lib/y.ko").write_bytes(
        same.replace(b"vermagic=6.1.0-9", b"vermagic=6.1.0-7")
    )
    assert "modules.release" in found_ids(root)


def test_an_image_of_another_release_is_told(root):
    image = root / f"boot/vmlinuz-{RELEASE}"
    kernel = files.vmlinux().replace(b"Linux version 6.1.0-9", b"Linux version 6.1.0-8")
    image.write_bytes(gzip.compress(kernel + random.Random(3).randbytes(300 << 10), 1))
    assert any("says that it is 6.1.0-8" in one.message for one in findings(root))


def test_a_table_that_is_not_of_system_map_is_told(root):
    image = root / f"boot/vmlinuz-{RELEASE}"
    table = files.kallsyms_image.image(
        [(0xC0008000 + 16 * number, "T", f"name_{number}") for number in range(600)], base=0xC0008000
    )[0]
    image.write_bytes(b"\0" * 56 + b"ARM\x64" + b"\0" * 68 + table)
    system_map = root / f"boot/System.map-{RELEASE}"

    def write(wrong):
        system_map.write_text(
            "".join(f"{0xC0008000 + 16 * one + wrong * (one == 300):016x} T name_{one}\n" for one in range(600))
        )

    write(0)
    assert "kallsyms.table-wrong" not in found_ids(root)
    write(8)
    assert "kallsyms.table-wrong" in found_ids(root)


def test_an_image_that_cannot_be_read_says_so(root):
    (root / f"boot/vmlinuz-{RELEASE}").write_bytes(b"MZ" + b"\0" * 4096)
    _, gaps = checks.judge(Evidence(root), checks.CHECKS)
    assert any("no compressed kernel" in gap.because for gap in gaps if gap.check == "modules")


def test_a_module_of_the_list_that_is_not_there_was_not_looked_at(root):
    with (root / f"lib/modules/{RELEASE}/modules.order").open("a") as file:
        file.write("kernel/net/gone.ko\n")
    _, gaps = checks.judge(Evidence(root), checks.CHECKS)
    assert any("gone.ko" in gap.because for gap in gaps)


# ------------------------------------------------------------------------------------------------------- boot images


def lz4_legacy(data):
    size = 8 << 20
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    packed = [lz4.block.compress(piece, store_size=False) for piece in pieces]
    return b"\x02!L\x18" + b"".join(struct.pack("<I", len(one)) + one for one in packed)


PACKERS = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zstd": zstandard.compress,
    "bzip2": bz2.compress,
    "lz4": lz4_legacy,
}


@pytest.mark.parametrize("form", PACKERS)
def test_a_kernel_is_found_behind_its_decompressor_in_every_form(tmp_path, form):
    kernel = files.vmlinux() + random.Random(1).randbytes(400 << 10)
    path = tmp_path / "vmlinuz"
    # by chance, the decompressor holds magic numbers itself
    path.write_bytes(b"MZ\x1f\x8b\x08\0BZh9" + b"\x90" * 999 + PACKERS[form](kernel) + b"\0tail of the image" * 9)
    with kernel_image.unpacked(path) as plain:
        assert kernel_image.whole(plain) == kernel


def test_what_holds_no_kernel_says_so(tmp_path):
    path = tmp_path / "vmlinuz"
    path.write_bytes(b"MZ" + gzip.compress(b"too small") + b"\0" * 999)
    with pytest.raises(UnreadableError, match="no compressed kernel"), kernel_image.unpacked(path):
        pass


def exporting(names, *, word, byte_order, relative):
    """Return an image with __ksymtab and its strings, as the linker lays them out."""
    strings, places = b"\0", []
    for name in names:
        places.append(len(strings))
        strings += name.encode() + b"\0"
    step, base = (4, 0) if relative else (word, 0xC0008000)
    at, body = 4096, b""
    strings_at = at + 3 * step * len(names)
    for number, place in enumerate(places):
        for field, target in enumerate((64, strings_at + place, strings_at)):
            own = at + (3 * number + field) * step
            value = target - own if relative else base + target
            body += value.to_bytes(step, "little" if byte_order == "<" else "big", signed=relative)
    return b"\x01" * 4096 + body + strings + b"\x01" * 4096


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize(("word", "relative"), [(4, False), (8, False), (8, True)])
def test_exports_are_found_without_any_symbols(word, relative, byte_order):
    names = sorted({"kfree", "_printk", "memset", *(f"export_{number}" for number in range(3000))})
    image = exporting(names, word=word, byte_order=byte_order, relative=relative)
    assert list(ksymtab.exported(image, word=word, byte_order=byte_order)) == names
    assert ksymtab.exported(image[:4096] * 3, word=word, byte_order=byte_order) == ()
