"""Module.symvers of every layout, versions in modules, exports of a linked kernel, namespaces; real objects by gcc."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.evidence import exports
from lab.evidence.exports import Export
from lab.evidence.objects import object_facts

sys.path.append(str(Path(__file__).parent))
import module_elf

MASK = (1 << 32) - 1


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        # 4.14: no namespaces
        ("0x6b2dc060\tkfree\tvmlinux\tEXPORT_SYMBOL", Export("kfree", "vmlinux", "EXPORT_SYMBOL", "", 0x6B2DC060)),
        # 5.4: the namespace before the module
        (
            "0x00000001\tusb_stor\tUSB_STORAGE\tdrivers/usb/storage/usb-storage\tEXPORT_SYMBOL_GPL",
            Export("usb_stor", "drivers/usb/storage/usb-storage", "EXPORT_SYMBOL_GPL", "USB_STORAGE", 1),
        ),
        ("0x00000000\tx\t\tvmlinux\tEXPORT_SYMBOL", Export("x", "vmlinux", "EXPORT_SYMBOL", "")),
        # 5.10 and later: last
        (
            "0x00000000\tmcb\tdrivers/mcb/mcb\tEXPORT_SYMBOL_GPL\tMCB",
            Export("mcb", "drivers/mcb/mcb", "EXPORT_SYMBOL_GPL", "MCB"),
        ),
        ("0x00000000\tx\tvmlinux\tEXPORT_SYMBOL\t", Export("x", "vmlinux", "EXPORT_SYMBOL", "")),
    ],
)
def test_every_layout_of_module_symvers_is_read(tmp_path, line, wanted):
    path = tmp_path / "Module.symvers"
    path.write_text(line + "\n")
    assert exports.read_symvers(path) == (wanted,)


@pytest.mark.parametrize(
    "text",
    ["", "\n\t\t\n", "0x1\tx\n", "\0" * 5000, "0xzz\ta\tb\tEXPORT_SYMBOL\t\n", "0x" + "f" * 9999 + "\ta\tb\tc\td\n"],
)
def test_a_damaged_module_symvers_gives_no_crc_and_no_traceback(tmp_path, text):
    path = tmp_path / "Module.symvers"
    path.write_text(text)
    assert all(one.crc == 0 for one in exports.read_symvers(path))


@pytest.mark.parametrize("is_64", [True, False])
@pytest.mark.parametrize("little", [True, False])
def test_the_versions_that_a_module_asks_for_are_read_in_every_word_size_and_byte_order(tmp_path, is_64, little):
    path = tmp_path / "x.ko"
    wanted = {"module_layout": 0x8D1A5C3F, "kfree": 1}
    data = module_elf.versions(wanted, is_64=is_64, little=little)
    path.write_bytes(module_elf.elf({"__versions": data}, is_64=is_64, little=little))
    assert exports.versions_of(path) == wanted


def test_extended_versions_with_long_names_are_read(tmp_path):
    path, long = tmp_path / "x.ko", "rust_" + "x" * 200
    sections = {
        "__version_ext_crcs": b"\x01\0\0\0\xff\xff\xff\xff",
        "__version_ext_names": f"kfree\0{long}\0".encode(),
        "__versions": module_elf.versions({"kfree": 1}),
    }
    path.write_bytes(module_elf.elf(sections))
    assert exports.versions_of(path) == {"kfree": 1, long: MASK}


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 200])
def test_a_module_that_is_none_asks_for_nothing(tmp_path, data):
    path = tmp_path / "x.ko"
    path.write_bytes(data)
    assert exports.versions_of(path) == {}
    assert exports.ksymtab_of(path) == frozenset()


def test_half_a_version_at_the_end_is_left_out(tmp_path):
    path = tmp_path / "x.ko"
    path.write_bytes(module_elf.elf({"__versions": module_elf.versions({"a": 1, "b": 2})[:-1]}))
    assert exports.versions_of(path) == {"a": 1}


def test_what_a_linked_kernel_exports_is_told_from_other_names(tmp_path):
    path = tmp_path / "vmlinux"
    names = ["__ksymtab_kfree", "kfree", "x__ksymtab_no", "__ksymtab_", "__kstrtab_kfree", "__ksymtab_printk"]
    path.write_bytes(module_elf.elf({".text": b"\x90"}, names))
    assert exports.ksymtab_of(path) == {"kfree", "printk"}


@pytest.mark.parametrize(
    ("namespace", "module", "imported", "may"),
    [
        ("", "any", (), True),
        ("MCB", "mcb-lpc", ("MCB",), True),
        ("MCB", "mcb-lpc", ("MCB_OTHER",), False),
        ("module:kvm,kvm-intel", "kvm-intel", (), True),
        ("module:kvm,kvm-intel", "kvm-amd", (), False),
        ("module:kvm", "kvm-amd", (), False),
        ("module:kvm-*", "kvm-amd", (), True),
        ("module:", "", (), False),
        ("module:,", "x", (), False),
    ],
)
def test_who_may_use_a_namespace_is_decided_as_modpost_does(namespace, module, imported, may):
    assert exports.may_use(namespace, module, imported) is may


# Exports whose names a macro puts together, as drivers/pci/access.c has them: no text search finds pci_user_read_config_byte.
MACROS = """
#define NAMED(size) int pci_user_read_config_##size(void) { return 0; } EXPORT_SYMBOL_GPL(pci_user_read_config_##size)
NAMED(byte);
NAMED(word);
"""
HEADERS = {  # what EXPORT_SYMBOL_GPL() comes to, by include/linux/export.h of that version
    "6.1": """
struct kernel_symbol { unsigned long value; const char *name; };
#define ___EXPORT(sym) static int __ksym_marker_##sym[0] __attribute__((section(".discard.ksym"), used)); \\
    static const struct kernel_symbol __ksymtab_##sym __attribute__((section("___ksymtab_gpl+" #sym), used)) \\
    = { (unsigned long)&sym, #sym }
#define EXPORT_SYMBOL_GPL(sym) ___EXPORT(sym)
""",
    "6.1, trimmed": """
#define ___EXPORT(sym) static int __ksym_marker_##sym[0] __attribute__((section(".discard.ksym"), used))
#define EXPORT_SYMBOL_GPL(sym) ___EXPORT(sym)
""",
    "6.12": """
#define ___EXPORT(sym) asm(".section .export_symbol,\\"a\\"\\n__export_symbol_" #sym ":\\n" \\
    ".asciz \\"GPL\\"\\n.ascii \\"\\\\0\\"\\n" \\
    ".balign 8\\n.quad " #sym "\\n.previous\\n")
#define EXPORT_SYMBOL_GPL(sym) ___EXPORT(sym)
""",
}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc on this machine")
@pytest.mark.parametrize(("version", "markers", "exported"), [("6.1", 2, 2), ("6.1, trimmed", 2, 0), ("6.12", 0, 2)])
def test_exports_that_a_macro_names_are_seen_in_a_real_object(tmp_path, version, markers, exported):
    source = tmp_path / "access.c"
    source.write_text(HEADERS[version] + MACROS)
    subprocess.run(["gcc", "-O2", "-c", "-o", tmp_path / "access.o", source], check=True, stdin=subprocess.DEVNULL)
    facts = object_facts(tmp_path / "access.o", "drivers/pci/access.o")
    names = ("pci_user_read_config_byte", "pci_user_read_config_word")
    assert (facts.markers, facts.ksymtab) == (names[:markers], names[:exported])
    assert b"pci_user_read_config_byte" not in source.read_bytes()
