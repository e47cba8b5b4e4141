"""What there is to boot in a folder, what its files say of the architecture, and what modules need."""

import gzip

import pytest
import zstandard
from boot_files import CONFIG, arm64_image, bzimage, elf, module, s390_image, write, zimage

from lab.evidence import bootable, image_format
from lab.evidence.elf import UnreadableError, machine_name
from lab.evidence.image_format import Claim
from lab.evidence.shape import Shape

IMAGES = {
    "x86_64": (bzimage(), Claim(source="i", machine="EM_X86_64", bits=64, byte_order="<")),
    "i386": (bzimage(flags=0), Claim(source="i", machine="EM_386", bits=32, byte_order="<")),
    "old x86": (bzimage(version=0x208, flags=0), Claim(source="i", kernel_arch="x86", byte_order="<")),
    "arm64": (arm64_image(), Claim(source="i", machine="EM_AARCH64", bits=64, byte_order="<")),
    "arm64, big endian": (arm64_image(1), Claim(source="i", machine="EM_AARCH64", bits=64, byte_order=">")),
    "arm64, gzip": (gzip.compress(arm64_image()), Claim(source="i", machine="EM_AARCH64", bits=64, byte_order="<")),
    "riscv": (bytes(56) + b"RSC\x05", Claim(source="i", machine="EM_RISCV", byte_order="<")),
    "arm": (zimage(b"\x18\x28\x6f\x01"), Claim(source="i", machine="EM_ARM", bits=32, byte_order="<")),
    "arm, big endian": (zimage(b"\x01\x6f\x28\x18"), Claim(source="i", machine="EM_ARM", bits=32, byte_order=">")),
    "s390": (s390_image(), Claim(source="i", machine="EM_S390", bits=64, byte_order=">")),
    "vmlinux": (elf(21), Claim(source="i", machine="EM_PPC64", bits=64, byte_order="<")),
    "text": (b"hello" * 100, None),
    "empty": (b"", None),
}


@pytest.mark.parametrize(("data", "claim"), IMAGES.values(), ids=IMAGES)
def test_a_boot_image_says_what_it_is_for(tmp_path, data, claim):
    (tmp_path / "image").write_bytes(data)
    assert image_format.of_image(tmp_path / "image", "i") == claim


def test_an_efi_zboot_image_is_looked_into(tmp_path):
    packed = gzip.compress(arm64_image())
    (tmp_path / "image").write_bytes(b"MZ\0\0zimg" + bytes(100) + packed)
    assert image_format.of_image(tmp_path / "image", "i").machine == "EM_AARCH64"


def test_a_damaged_image_is_unreadable(tmp_path):
    (tmp_path / "image").write_bytes(gzip.compress(arm64_image())[:200])
    with pytest.raises(UnreadableError):
        image_format.of_image(tmp_path / "image", "i")


def test_only_a_bare_image_is_bare(tmp_path):
    for name, data in {"bare": arm64_image(), "packed": gzip.compress(arm64_image()), "pc": bzimage()}.items():
        (tmp_path / name).write_bytes(data)
    assert [image_format.is_bare(tmp_path / name) for name in ("bare", "packed", "pc", "gone")] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        (CONFIG + "CONFIG_64BIT=y\n", Claim(source="c", kernel_arch="x86", bits=64, byte_order="<")),
        (CONFIG + "# CONFIG_64BIT is not set\n", Claim(source="c", kernel_arch="x86", bits=32, byte_order="<")),
        (CONFIG.replace("x86", "s390") + "CONFIG_64BIT=y\nCONFIG_CPU_BIG_ENDIAN=y\n",
         Claim(source="c", kernel_arch="s390", bits=64, byte_order=">")),
        ("CONFIG_64BIT=y\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_configuration_says_what_it_is_for(tmp_path, text, claim):
    (tmp_path / ".config").write_text(text)
    assert image_format.of_config(tmp_path / ".config", "c") == claim


@pytest.mark.parametrize(
    ("number", "bits", "order", "name"),
    [(62, 64, "<", "EM_X86_64"), (40, 32, "<", "EM_ARM"), (22, 64, ">", "EM_S390"), (60000, 64, "<", "EM_60000")],
)
def test_an_elf_file_says_what_it_is_for(tmp_path, number, bits, order, name):
    (tmp_path / "x.ko").write_bytes(elf(number, bits=bits, order=order))
    claim = Claim(source="x.ko", machine=name, bits=bits, byte_order=order)
    assert image_format.of_elf(tmp_path / "x.ko", "x.ko") == claim
    assert machine_name(number) == name


# --------------------------------------------------------------------------------------------------------------- folders


def test_an_output_directory(tmp_path):
    found = bootable.of_folder(
        write(
            tmp_path,
            {
                ".config": CONFIG + "CONFIG_64BIT=y\n",
                "vmlinux": elf(62),
                "modules.order": "lib/b.ko\nlib/a.ko\nlib/gone.ko\n",
                "lib/a.ko": module(),
                "lib/b.ko": module(),
            },
        )
    )
    assert (found.shape, found.release, found.image) == (Shape.OUTPUT, "6.1.192", None)
    assert found.modules == (("lib/b.ko", tmp_path / "lib/b.ko"), ("lib/a.ko", tmp_path / "lib/a.ko"))
    assert found.missing == ("lib/gone.ko",)
    assert [claim.source for claim in found.claims] == [".config", "vmlinux", "lib/b.ko"]


def test_a_distributions_kernel(tmp_path):
    found = bootable.of_folder(
        write(
            tmp_path,
            {
                "boot/vmlinuz-6.1.0-1": bzimage(),
                "boot/config-6.1.0-1": CONFIG + "CONFIG_64BIT=y\n",
                "lib/modules/6.1.0-1/kernel/lib/a.ko.zst": zstandard.compress(module()),
            },
        )
    )
    assert (found.shape, found.release) == (Shape.DISTRIBUTION, "6.1.0-1")
    assert found.image == tmp_path / "boot/vmlinuz-6.1.0-1"
    assert [path for path, _ in found.modules] == ["lib/a.ko"]
    assert {claim.machine for claim in found.claims} == {"EM_X86_64", ""}


def test_an_evidence_folder_with_the_kernel_that_was_booted(tmp_path):
    found = bootable.of_folder(
        write(
            tmp_path,
            {
                "record.json": "{}",
                "config.txt": CONFIG + "CONFIG_64BIT=y\n",
                "kernel.zst": zstandard.compress(bzimage()),
                "vmlinux.zst": zstandard.compress(elf(62)),
                "modules.order": "lib/a.ko\n",
                "modules/lib/a.ko": module(),
            },
        )
    )
    assert (found.shape, found.image) == (Shape.ATTEMPT, tmp_path / "kernel.zst")
    assert found.modules == (("lib/a.ko", tmp_path / "modules/lib/a.ko"),)
    assert [claim.source for claim in found.claims] == ["config.txt", "vmlinux.zst", "modules/lib/a.ko"]


def test_what_cannot_be_read_is_told_and_the_next_module_is_asked(tmp_path):
    found = bootable.of_folder(
        write(
            tmp_path,
            {"vmlinux": b"junk", "modules.order": "a.ko\nb.ko\n", "a.ko": b"\x7fELF", "b.ko": module()},
        )
    )
    assert [name for name, _ in found.unreadable] == ["vmlinux", "a.ko"]
    assert [claim.source for claim in found.claims] == ["b.ko"]


def test_a_module_that_is_a_link_is_missing(tmp_path):
    write(tmp_path, {".config": CONFIG, "modules.order": "a.ko\n"})
    (tmp_path / "a.ko").symlink_to("/etc/passwd")
    assert bootable.of_folder(tmp_path).missing == ("a.ko",)


# --------------------------------------------------------------------------------------------------------------- modules


def facts(tmp_path, **modules: tuple[str, ...]):
    files = {f"lib/{name}.ko": module(*info) for name, info in modules.items()}
    write(tmp_path, files)
    return tuple(bootable.load_facts([(path, tmp_path / path) for path in files]))


def test_dependencies_come_from_modinfo(tmp_path):
    (one, other) = facts(tmp_path, a=("depends=b,c-d",), b=("depends=",))
    assert (one.depends, other.depends) == (("b", "c-d"), ())


@pytest.mark.parametrize(
    ("softdep", "before"),
    [
        ("pre: crc32c", ["crc32c"]),
        ("pre: a b post: c", ["a", "b"]),
        ("post: c pre: a", ["a"]),
        ("pre:a post:b", ["a"]),
        ("", []),
        ("a b", []),
    ],
)
def test_what_a_softdep_wants_before(tmp_path, softdep, before):
    (one,) = facts(tmp_path, a=(f"softdep={softdep}",))
    assert list(one.before) == before


def test_a_softdep_may_name_an_alias_that_several_modules_have(tmp_path):
    found = facts(
        tmp_path,
        libcrc32c=("softdep=pre: crc32c",),
        crc32c_generic=("alias=crc32c", "alias=crypto-crc32c-generic"),
        crc32c_intel=("alias=crc32c", "depends=x"),
        other=("alias=pci:v0000*",),
    )
    needs = bootable.needs(found)
    assert needs["lib/libcrc32c.ko"] == ("crc32c_generic", "crc32c_intel")
    assert needs["lib/crc32c_intel.ko"] == ("x",)


def test_a_softdep_on_itself_or_on_nobody_is_none(tmp_path):
    needs = bootable.needs(facts(tmp_path, a=("softdep=pre: a builtin x", "alias=x")))
    assert needs == {"lib/a.ko": ()}


def test_dash_and_underscore_are_one_letter_in_a_softdep(tmp_path):
    needs = bootable.needs(facts(tmp_path, a=("softdep=pre: b-c",), b_c=()))
    assert needs["lib/a.ko"] == ("b_c",)


def test_a_damaged_module_is_told_and_stops_nobody(tmp_path):
    write(tmp_path, {"a.ko": b"\x7fELF", "b.ko": module("depends=c")})
    (bad, good) = bootable.load_facts([("a.ko", tmp_path / "a.ko"), ("b.ko", tmp_path / "b.ko")])
    assert bad.unreadable
    assert good.depends == ("c",)


def test_the_size_of_a_packed_module_is_that_of_the_plain_one(tmp_path):
    plain = module("depends=" + "x" * 5000)
    write(tmp_path, {"a.ko.xz": zstandard.compress(plain)})
    (one,) = bootable.load_facts([("a.ko", tmp_path / "a.ko.xz")])
    assert one.bytes == len(plain)
