"""`lab boot` up to the engine: what is given, for which architecture, with which modules, and what is told of mistakes."""

import io
import lzma
import tarfile
from pathlib import Path

import pytest
import zstandard
from boot_files import CONFIG, arm64_image, bzimage, elf, module, write

from lab import cli
from lab.boot.initramfs import ModuleFile
from lab.errors import ExitCode, UsageError
from lab.evidence.bootable import Bootable
from lab.evidence.image_format import Claim
from lab.evidence.shape import Shape
from lab.model import Boot, BootModules
from lab.use import given

X86 = Claim(source="vmlinux", machine="EM_X86_64", bits=64, byte_order="<")
I386 = Claim(source="x.ko", machine="EM_386", bits=32, byte_order="<")


@pytest.fixture
def output(tmp_path):
    """An output directory of an x86_64 kernel with two modules."""
    return write(
        tmp_path / "O",
        {
            ".config": CONFIG + "CONFIG_64BIT=y\n",
            "arch/x86/boot/bzImage": bzimage(),
            "modules.order": "lib/b.ko\nlib/a.ko\n",
            "lib/a.ko": module("depends="),
            "lib/b.ko": module("depends=a"),
        },
    )


@pytest.fixture
def looked(rows, tmp_path):
    def looked(*paths, boot=None, choose=lambda modules: modules):
        (tmp_path / "scratch").mkdir(exist_ok=True)
        return given.look(paths, "", boot or Boot(), choose, rows, tmp_path / "scratch", lambda text: None)

    return looked


def package(folder, files):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    packed = lzma.compress(data.getvalue())
    members = [("debian-binary", b"2.0\n"), ("control.tar.xz", b""), ("data.tar.xz", packed)]
    raw = b"!<arch>\n"
    for name, content in members:
        raw += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{0:<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
        )
    folder.mkdir(exist_ok=True)
    (folder / "linux.deb").write_bytes(raw)
    return folder / "linux.deb"


# ---------------------------------------------------------------------------------------------------------- architecture


def claiming(*claims, unreadable=()):
    return Bootable(root=Path("O"), shape=Shape.OUTPUT, claims=claims, unreadable=unreadable)


def test_one_good_claim_is_enough(rows):
    assert given.architecture(claiming(X86), rows).name == "x86_64"


def test_every_row_is_found_by_its_own_elf_files(rows):
    for row in rows.arch.values():
        claim = Claim(
            source="x", machine=row.elf_machine, bits=row.bits, byte_order="<" if row.little_endian else ">"
        )  # fmt: skip
        assert given.architecture(claiming(claim), rows) is row


def test_every_row_is_found_by_its_own_configuration(rows):
    for row in rows.arch.values():
        for arch in (row.kernel_arch, row.kernel_srcarch):
            order = "<" if row.little_endian else ">"
            claim = Claim(source=".config", kernel_arch=arch, bits=row.bits, byte_order=order)
            assert given.architecture(claiming(claim), rows) is row


def test_nothing_is_guessed_where_nothing_says_it(rows):
    with pytest.raises(UsageError, match="nothing in 'O' says which architecture") as caught:
        given.architecture(claiming(unreadable=(("vmlinux", "it is not an ELF file"),)), rows)
    assert caught.value.facts == (("vmlinux", "cannot be read: it is not an ELF file"),)


def test_nothing_is_guessed_where_it_is_left_open(rows):
    old = Claim(source="bzImage", kernel_arch="x86", byte_order="<")
    with pytest.raises(UsageError, match="leaves open") as caught:
        given.architecture(claiming(old), rows)
    assert ("could be", "x86_64, i386") in caught.value.facts


def test_claims_that_contradict_each_other_are_all_told(rows):
    with pytest.raises(UsageError, match="speaks of different architectures") as caught:
        given.architecture(claiming(X86, I386), rows)
    assert caught.value.facts[:2] == (
        ("vmlinux", "EM_X86_64, 64 bits, little endian"),
        ("x.ko", "EM_386, 32 bits, little endian"),
    )


def test_an_architecture_without_a_machine_is_told_as_such(rows):
    mips = Claim(source="vmlinux", machine="EM_MIPS", bits=32, byte_order=">")
    with pytest.raises(UsageError, match="no machine for"):
        given.architecture(claiming(mips), rows)


# ------------------------------------------------------------------------------------------------------------ what is given


def test_an_output_directory_is_looked_at(looked, output):
    found = looked(output)
    assert (found.arch.name, found.machine.name, found.image) == ("x86_64", "pc", output / "arch/x86/boot/bzImage")
    assert [(one.path, one.depends) for one in found.modules] == [("lib/b.ko", ("a",)), ("lib/a.ko", ())]
    assert found.packages == ()


def test_packages_are_unpacked_and_named_with_their_hash(looked, tmp_path):
    files = {
        "boot/vmlinuz-6.1.0-1": bzimage(),
        "boot/config-6.1.0-1": (CONFIG + "CONFIG_64BIT=y\n").encode(),
        "lib/modules/6.1.0-1/kernel/lib/a.ko": module(),
    }
    deb = package(tmp_path / "debs", files)
    found = looked(deb)
    assert (found.found.release, found.found.root) == ("6.1.0-1", tmp_path / "scratch/packages")
    assert [one["path"] for one in found.packages] == [str(deb)]
    assert found.packages[0]["sha256"] == given.sha256_of(deb)


def test_a_kernel_and_its_modules_may_come_in_packages_of_their_own(looked, tmp_path):
    one = package(tmp_path / "one", {"boot/vmlinuz-6.1.0-1": bzimage()})
    two = package(tmp_path / "two", {"lib/modules/6.1.0-1/kernel/lib/a.ko": module()})
    assert [module.path for module in looked(one, two).modules] == ["lib/a.ko"]


def test_modules_alone_are_no_kernel(looked, tmp_path):
    with pytest.raises(UsageError, match="no boot/vmlinuz-RELEASE"):
        looked(package(tmp_path / "debs", {"lib/modules/6.1.0-1/kernel/lib/a.ko": module()}))


def test_a_package_of_something_else_is_told(looked, tmp_path):
    with pytest.raises(UsageError, match="holds no kernel"):
        looked(package(tmp_path / "debs", {"usr/share/doc/x": b"x"}))


def test_a_damaged_package_is_the_requests_fault_and_no_crash(looked, tmp_path):
    deb = package(tmp_path / "debs", {"boot/vmlinuz-6.1.0-1": bzimage()})
    deb.write_bytes(deb.read_bytes()[:-30])
    with pytest.raises(UsageError, match="cannot unpack"):
        looked(deb)


def test_without_an_image_the_target_that_makes_it_is_told(looked, output):
    (output / "arch/x86/boot/bzImage").unlink()
    with pytest.raises(UsageError, match="no arch/x86/boot/bzImage") as caught:
        looked(output)
    assert caught.value.hint == "make bzImage"


def test_an_image_that_leads_out_of_the_folder_is_none(looked, output):
    (output / "arch/x86/boot/bzImage").unlink()
    (output / "arch/x86/boot/bzImage").symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match="no arch/x86/boot/bzImage"):
        looked(output)


def test_the_modules_are_chosen(looked, output):
    found = looked(output, boot=Boot(modules=BootModules(only=("b",))), choose=lambda modules: modules[:1])
    assert [one.path for one in found.chosen] == ["lib/b.ko"]


def test_a_module_that_cannot_be_read_is_still_loaded(looked, output):
    (output / "lib/a.ko").write_bytes(b"\x7fELF junk")
    assert [one.path for one in looked(output).chosen] == ["lib/b.ko", "lib/a.ko"]


def test_a_module_that_was_not_linked_is_told(looked, output):
    (output / "lib/a.ko").unlink()
    assert looked(output).found.missing == ("lib/a.ko",)


# ------------------------------------------------------------------------------------------------------- for the guest


def test_a_packed_module_is_unpacked_for_the_guest_and_a_damaged_one_left_to_the_kernel(tmp_path):
    plain, packed = module("depends="), zstandard.compress(module("depends="))
    write(tmp_path, {"a.ko": plain, "b.ko.zst": packed, "c.ko.zst": packed[:20]})
    files = [ModuleFile(path=f"{name[0]}.ko", data=tmp_path / name) for name in ("a.ko", "b.ko.zst", "c.ko.zst")]
    made = given.plain_modules(files, tmp_path / "plain")
    assert [one.data.read_bytes() for one in made] == [plain, plain, packed[:20]]


def test_only_what_qemu_cannot_start_is_unpacked(looked, output, rows, tmp_path):
    found = looked(output)
    given.plain_image(found, tmp_path / "kernel")
    assert (tmp_path / "kernel").read_bytes() == bzimage()
    zboot = b"MZ\0\0zimg" + bytes(100) + zstandard.compress(arm64_image())
    files = {"boot/vmlinuz-6.1.0-1": zboot, "lib/modules/6.1.0-1/kernel/lib/a.ko": elf(183)}
    arm = looked(write(tmp_path / "arm", files))
    given.plain_image(arm, tmp_path / "kernel")
    assert (tmp_path / "kernel").read_bytes() == arm64_image()


def test_a_program_must_be_one(tmp_path):
    (tmp_path / "t.sh").write_text("#!/bin/sh\n")
    assert given.program(tmp_path / "t.sh").name == "t.sh"
    (tmp_path / "t.txt").write_text("text")
    for name in ("t.txt", "gone"):
        with pytest.raises(UsageError):
            given.program(tmp_path / name)


# ------------------------------------------------------------------------------------------------------ command line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["/nowhere"], "cannot read '/nowhere'"),
        (["."], "is neither a kernel's output directory"),
        (["O", "--shard", "3/2"], "--shard must be K/N"),
        (["O", "--shard", "x"], "--shard must be K/N"),
        (["O", "--machine", "virt"], "x86_64 has no machine 'virt'"),
        (["O", "--only", "nope"], "no module is meant by 'nope'"),
        (["O", "--parameter", "zram"], "--parameter must be MODULE.NAME=VALUE"),
        (["O", "--parameter", "nope.x=1"], "no module is meant by 'nope'"),
        (["O", "--run", "gone.sh"], "cannot read the program 'gone.sh'"),
        (["O", "--release", "5.10"], "--release names one of several"),
        (["O", "--sample", "-1"], "hint: lab boot --help"),
        (["O", "--oops", "maybe"], "'panic', 'continue'"),
        (["O", "O"], "give one folder"),
        ([], "hint: lab boot --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_request_is_told_without_an_engine(output, monkeypatch, capsys, words, told):
    monkeypatch.chdir(output.parent)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert cli.exit_code_of(["boot", *words]) == ExitCode.USAGE
    assert told in capsys.readouterr().err


def test_a_good_request_without_an_engine_is_the_labs_trouble(output, monkeypatch, capsys):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert cli.exit_code_of(["boot", str(output)]) == ExitCode.LAB_FAULT
    assert "no container engine answers" in capsys.readouterr().err
