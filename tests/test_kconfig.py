"""What a tree's Kconfig files rule out: from real excerpts, and from real trees where the cache has some."""

import pytest

from lab import kconfig
from lab.kconfig import lacks_lto, rules
from lab.model import Lto

# arch/Kconfig of linux 6.1
ARCH = """\
config LTO_CLANG
\tbool
\tselect LTO

config ARCH_SUPPORTS_LTO_CLANG
\tbool
\thelp
\t  An architecture should select this option if it supports:
\t  - compiling with Clang,

config ARCH_SUPPORTS_LTO_CLANG_THIN
\tbool

config HAS_LTO_CLANG
\tdef_bool y
\tdepends on CC_IS_CLANG && LD_IS_LLD && AS_IS_LLVM
\tdepends on $(success,$(NM) --help | head -n 1 | grep -qi llvm)
\tdepends on ARCH_SUPPORTS_LTO_CLANG
\tdepends on !KASAN || KASAN_HW_TAGS
\thelp
\t  The compiler and Kconfig options support building with Clang's
\t  LTO.

choice
\tprompt "Link Time Optimization (LTO)"
\tdefault LTO_NONE

config LTO_NONE
\tbool "None"

config LTO_CLANG_FULL
\tbool "Clang Full LTO (EXPERIMENTAL)"
\tdepends on HAS_LTO_CLANG
\tselect LTO_CLANG

config LTO_CLANG_THIN
\tbool "Clang ThinLTO (EXPERIMENTAL)"
\tdepends on HAS_LTO_CLANG && ARCH_SUPPORTS_LTO_CLANG_THIN
\tselect LTO_CLANG
endchoice
"""
# arch/x86/Kconfig: as of 5.12, LTO for 64 bits only
X86 = """\
config 64BIT
\tbool "64-bit kernel" if "$(ARCH)" = "x86"
\tdefault "$(ARCH)" != "i386"

config X86_64
\tdef_bool y
\tdepends on 64BIT

config X86
\tdef_bool y
\tselect ARCH_SUPPORTS_LTO_CLANG\tif X86_64
\tselect ARCH_SUPPORTS_LTO_CLANG_THIN\tif X86_64
"""
ARM = "config ARM\n\tbool\n\tdefault y\n\tselect ARCH_HAS_KEEPINITRD\n"


@pytest.mark.parametrize("lto", [Lto.THIN, Lto.FULL])
@pytest.mark.parametrize(
    ("arch", "text", "lacks"),
    [
        ("x86_64", X86, False),
        ("i386", X86, True),
        ("x86", X86, False),  # a user may choose
        ("arm64", "config ARM64\n\tdef_bool y\n\tselect ARCH_SUPPORTS_LTO_CLANG if CPU_LITTLE_ENDIAN\n"
                  "\tselect ARCH_SUPPORTS_LTO_CLANG_THIN\n", False),
        ("arm", ARM, True),
    ],
)  # fmt: skip
def test_an_architecture_has_lto_if_it_selects_it(arch, text, lto, lacks):
    why = lacks_lto([ARCH, text], lto=lto, arch=arch)
    assert bool(why) == lacks
    if lacks:
        assert f"depends on ARCH_SUPPORTS_LTO_CLANG, which ARCH={arch} does not select" in why


def test_thin_and_full_are_told_apart():
    only_full = X86.replace("\tselect ARCH_SUPPORTS_LTO_CLANG_THIN\tif X86_64\n", "")
    assert lacks_lto([ARCH, only_full], lto=Lto.FULL, arch="x86_64") == ""
    assert "ARCH_SUPPORTS_LTO_CLANG_THIN" in lacks_lto([ARCH, only_full], lto=Lto.THIN, arch="x86_64")


def test_a_kernel_without_the_symbol_says_since_when_there_is_one():
    assert lacks_lto(["config KPROBES\n\tbool\n", X86], lto=Lto.THIN, arch="x86_64") == (
        "its arch/Kconfig has no LTO_CLANG_THIN (Linux has it since 5.12)"
    )


def test_without_lto_nothing_lacks():
    assert lacks_lto([], lto=Lto.NONE, arch="x86_64") == ""


@pytest.mark.parametrize(
    ("expression", "truth"),
    [
        ("", True), ("y", True), ("n", False), ("!n", True), ("X86_64", True), ("!X86_64", False), ("ELSEWHERE", None),
        ("ELSEWHERE && n", False), ("ELSEWHERE || y", True), ("!(X86_64 && ELSEWHERE)", None), ("X86_64 && (n || y)", True),
        ('"$(ARCH)" = "x86_64"', True), ('"$(ARCH)" != "x86_64"', False), ("LLD_VERSION >= 140000", None),
        ("$(success,$(NM) --help | grep -q llvm) && n", False), ("X86_64 &&", None), ("(", None), ("&& n", None),
    ],
)  # fmt: skip
def test_what_is_not_known_stays_open(expression, truth):
    assert rules([X86], "x86_64").truth(expression) is truth


def test_help_texts_are_not_rules_and_circles_end():
    text = (
        "config A\n\tdef_bool y\n\tdepends on B\n\thelp\n\t  depends on n\n\nconfig B\n\tdef_bool y\n\tdepends on A\n"
    )
    assert rules([text], "x").value("A") is None


def test_real_trees_are_read_as_kconfig_reads_them(machine_settings):
    """Which architectures have LTO: by hand from the trees; 5.10 has none, arm none up to 7.2, riscv since 6.11."""
    from lab.environment import source

    trees = [(key, version) for key, version, _ in source.listed(machine_settings)]
    if not trees:
        pytest.skip("no kernel tree in the cache")
    for key, version in trees:
        tree, numbers = machine_settings.cache / "sources" / key, tuple(map(int, version.split(".")[:2]))
        for arch, folder, since in (("x86_64", "x86", (5, 12)), ("arm64", "arm64", (5, 12)), ("i386", "x86", (5, 14)),
                                    ("arm", "arm", (99,)), ("riscv", "riscv", (6, 11))):  # fmt: skip
            files = (tree / "arch/Kconfig", tree / "arch" / folder / "Kconfig")
            if not all(path.is_file() for path in files):
                continue  # a test's own tree
            texts = [path.read_text() for path in files]
            assert bool(kconfig.lacks_lto(texts, lto=Lto.THIN, arch=arch)) == (numbers < since), (version, arch)
