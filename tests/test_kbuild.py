import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lab import kbuild, tables
from lab.errors import UsageError
from lab.kbuild import CompilerCache, NotHonoured, not_honoured
from lab.model import Amplify, Cell, Deadlines, DirSource, Emulation, Fragment, Lto, Make, Probe
from lab.tables import ToolchainFamily

REPOSITORY = Path(__file__).parents[1]
TABLES = tables.load(images=REPOSITORY / "images")
ARCH = TABLES.arch["x86_64"]
GCC = TABLES.toolchain["gcc-12"]

BASE = Fragment(kind="base", text="tinyconfig", name="tinyconfig")
CELL = Cell(
    id="x86_64-gcc-12",
    source=DirSource(path="/somewhere"),
    arch="x86_64",
    toolchain="gcc-12",
    lto=Lto.NONE,
    emulation=Emulation.NATIVE,
    filesystem="tmpfs",
    kconfig=(BASE,),
    patches=(),
    make=Make(),
    boot=None,
    repeat=1,
    deadlines=Deadlines(configure_s=11.0, build_s=22.0),
    ccache=False,
    expect=None,
    axes=(),
)


def line(text: str) -> Fragment:
    return Fragment(kind="line", text=text, name=text)


def steps(cell: Cell) -> tuple[kbuild.Step, ...]:
    return kbuild.configure_steps(cell, ARCH, GCC, jobs=2)


def build(cell: Cell, **options) -> kbuild.Step:
    return kbuild.build_step(cell, ARCH, GCC, jobs=2, **options)


# ---------------------------------------------------------------------------------------------------------- configure


def test_base_fragments_and_olddefconfig_come_in_the_cells_order():
    merged = replace(BASE, text="kvm_guest.config")
    cell = replace(CELL, kconfig=(BASE, line("CONFIG_A=y"), line("CONFIG_B=y"), merged, line("CONFIG_C=y")))
    assert [step.name for step in steps(cell)] == ["base", "fragments", "base", "fragments", "olddefconfig"]


@pytest.mark.parametrize(
    ("kconfig", "names"),
    [
        ((BASE,), ["base"]),
        ((BASE, BASE), ["base", "base"]),
        ((line("CONFIG_A=y"), BASE), ["fragments", "base"]),
        ((line("CONFIG_A=y"),), ["fragments", "olddefconfig"]),
        ((), ["olddefconfig"]),
    ],
)
def test_what_a_base_target_wrote_is_whole(kconfig, names):
    assert [step.name for step in steps(replace(CELL, kconfig=kconfig)) if step.name != "build"] == names


def test_fragment_files_named_in_the_steps_are_those_the_session_must_place():
    cell = replace(CELL, kconfig=(BASE, line("CONFIG_A=y"), Fragment(kind="file", text="CONFIG_B=m", name="../x y")))
    named = [word for step in steps(cell) for word in step.argv if word.startswith(kbuild.KCONFIG)]
    assert named == [f"{kbuild.KCONFIG}/{name}" for name, _ in kbuild.kconfig_files(cell)]


def test_a_fragments_name_cannot_leave_its_folder():
    cell = replace(CELL, kconfig=(Fragment(kind="file", text="", name="../../etc/passwd\n$(x)"),))
    assert kbuild.kconfig_files(cell)[0][0] == "001-.._.._etc_passwd_x_"


def test_a_fragment_without_last_newline_does_not_swallow_the_next():
    assert kbuild.kconfig_files(replace(CELL, kconfig=(line("CONFIG_A=y"),)))[0][1] == "CONFIG_A=y\n"


def test_appending_fragments_really_appends_in_order(tmp_path):
    cell = replace(CELL, kconfig=(line("CONFIG_A=y"), line("CONFIG_A=n")))
    for name, text in kbuild.kconfig_files(cell):
        (tmp_path / name).write_text(text)
    (tmp_path / ".config").write_text("CONFIG_BASE=y\n")
    argv = [word.replace(kbuild.KCONFIG, str(tmp_path)) for word in steps(cell)[0].argv]
    subprocess.run(argv, cwd=tmp_path, check=True)
    assert (tmp_path / ".config").read_text() == "CONFIG_BASE=y\nCONFIG_A=y\nCONFIG_A=n\n"


def test_thin_lto_is_asked_of_kconfig_and_then_verified():
    wanted = kbuild.fragments(replace(CELL, lto=Lto.THIN))
    assert not_honoured(wanted, "CONFIG_LTO_NONE=y\n") == (
        NotHonoured("CONFIG_LTO_CLANG_THIN", "y", ""),
        NotHonoured("CONFIG_LTO_NONE", "n", "y"),
    )


# -------------------------------------------------------------------------------------------------------------- build


def test_the_build_line_is_the_one_people_would_type():
    assert build(CELL).argv == (
        "make",
        "-C",
        "/src",
        "O=/out",
        "-j2",
        "-k",
        "ARCH=x86_64",
        "CC=gcc-12",
        "HOSTCC=gcc-12",
    )


def test_ccache_goes_before_both_compilers():
    argv = build(replace(CELL, ccache=True)).argv
    assert {"CC=ccache gcc-12", "HOSTCC=ccache gcc-12"} < set(argv)


def test_a_cells_make_variables_and_targets_have_the_last_word():
    made = Make(variables=(("CC", "gcc-12 -pipe"), ("W", "1")), targets=("vmlinux", "modules"))
    argv = build(replace(CELL, make=made)).argv
    assert argv[6:] == ("ARCH=x86_64", "CC=gcc-12 -pipe", "HOSTCC=gcc-12", "W=1", "vmlinux", "modules")


@pytest.mark.parametrize("name", ["O", "KBUILD_OUTPUT", "MAKEFLAGS", "ARCH"])
def test_a_make_variable_that_is_the_labs_is_refused(name):
    with pytest.raises(UsageError, match=name):
        build(replace(CELL, make=Make(variables=((name, "x"),))))


def test_make_never_runs_silently_because_the_log_reader_needs_its_lines():
    flags = [word for step in (*steps(CELL), build(CELL)) for word in step.argv if word.startswith("-")]
    assert not [flag for flag in flags if "s" in flag]


def test_every_step_has_the_fixed_build_values_and_no_makeflags():
    for step in (*steps(CELL), build(CELL)):
        environment = dict(step.environment)
        assert environment["KBUILD_BUILD_TIMESTAMP"] == "Thu Jan  1 00:00:00 UTC 1970"
        assert environment["KBUILD_BUILD_VERSION"] == "1"
        assert not {"MAKEFLAGS", "KBUILD_OUTPUT"} & set(environment)


def crossed(arch: str, toolchain: str, **changes) -> dict[str, str]:
    """Return the variables of the build line of a cross build."""
    cell = replace(CELL, emulation=Emulation.CROSS, **changes)
    step = kbuild.build_step(cell, TABLES.arch[arch], TABLES.toolchain[toolchain], jobs=2)
    return dict(word.split("=", 1) for word in step.argv if re.match("[A-Z_]+=", word))


@pytest.mark.parametrize(
    ("arch", "triplet"),
    [
        ("arm64", "aarch64-linux-gnu"),
        ("armhf", "arm-linux-gnueabihf"),
        ("i386", "i686-linux-gnu"),
        ("riscv64", "riscv64-linux-gnu"),
        ("ppc64le", "powerpc64le-linux-gnu"),
        ("s390x", "s390x-linux-gnu"),
    ],
)
def test_a_cross_build_with_gcc_has_the_architectures_compiler_and_tools(arch, triplet):
    assert crossed(arch, "gcc-12") == {
        "O": "/out",
        "ARCH": TABLES.arch[arch].kernel_arch,
        "CROSS_COMPILE": f"{triplet}-",
        "CC": f"{triplet}-gcc-12",
        "HOSTCC": "gcc-12",
    }


def test_ccache_goes_before_a_cross_compiler_too():
    assert crossed("arm64", "gcc-12", ccache=True)["CC"] == "ccache aarch64-linux-gnu-gcc-12"


def test_clang_is_one_program_for_all_and_takes_its_target_from_cross_compile():
    made = crossed("arm64", "clang-14")
    assert (made["CC"], made["CROSS_COMPILE"]) == ("clang-14", "aarch64-linux-gnu-")
    assert "LLVM" not in made
    assert "LD" not in made


@pytest.mark.parametrize("name", [row.name for row in TABLES.toolchain.values() if row.family is ToolchainFamily.LLVM])
def test_llvm_brings_every_tool_in_its_version(name):
    row = TABLES.toolchain[name]
    made = crossed("arm64", name)
    tools = {"LD": "ld.lld", "AR": "llvm-ar", "NM": "llvm-nm", "OBJCOPY": "llvm-objcopy", "OBJDUMP": "llvm-objdump"}
    tools |= {"READELF": "llvm-readelf", "STRIP": "llvm-strip", "HOSTCC": "clang", "CC": "clang", "LLVM": ""}
    assert {tool: made[tool] for tool in tools} == {tool: f"{to}-{row.version}" for tool, to in tools.items()}


def test_a_native_build_has_no_cross_prefix():
    assert not [word for word in build(CELL).argv if word.startswith("CROSS_COMPILE")]


def test_the_labs_wrappers_come_first_in_path():
    assert dict(build(CELL).environment)["PATH"].split(":")[0] == kbuild.BIN


AMPLIFY = Amplify(load=3, slow=(("touch", 0.3), ("compiler", 1.0)), align=(("compiler", "a b*.c"),))


def test_only_the_build_is_amplified_neither_its_configuration_nor_a_second_make():
    cell = replace(CELL, amplify=AMPLIFY, probe=Probe.REMAKE)
    amplified = build(cell)
    assert amplified.argv == (f"{kbuild.AMPLIFY}/lab-load", "3", *build(CELL).argv)
    environment = dict(amplified.environment)
    assert environment["PATH"].split(":")[:2] == [kbuild.AMPLIFY, kbuild.BIN]
    assert environment["LAB_AMPLIFIED"] == kbuild.AMPLIFIED
    again = kbuild.remake_step(cell, ARCH, GCC, jobs=2)
    assert steps(cell) == steps(CELL)
    assert again == kbuild.remake_step(CELL, ARCH, GCC, jobs=2)


def test_a_slowed_tool_needs_no_load_and_a_natural_build_nothing_at_all():
    slowed = build(replace(CELL, amplify=replace(AMPLIFY, load=0)))
    assert slowed.argv == build(CELL).argv
    assert "LAB_AMPLIFIED" not in dict(build(CELL).environment)
    assert kbuild.AMPLIFY not in dict(build(CELL).environment)["PATH"]


@pytest.mark.parametrize(("ccache", "compiler"), [(True, "ccache"), (False, "gcc-12")])
def test_the_compiler_is_what_cc_starts(ccache, compiler):
    cell = replace(CELL, amplify=AMPLIFY, ccache=ccache)
    wanted = kbuild.amplified(cell, ARCH, GCC)
    assert kbuild.amplify_rules(wanted) == f"slow touch 0.3\nslow {compiler} 1\nalign {compiler} a b*.c\n"
    assert kbuild.amplify_names(wanted) == ("touch", compiler, "lab-load")
    made = next(word for word in build(cell).argv if word.startswith("CC="))
    assert made.removeprefix("CC=").split()[0] == compiler


def test_each_kind_of_step_has_its_deadline():
    assert {step.deadline_s for step in steps(CELL)} == {11.0}
    assert build(CELL).deadline_s == 22.0


def test_no_cache_no_settings_of_it():
    assert not [name for name, _ in build(CELL).environment if name.startswith("CCACHE")]


def test_two_compilers_never_share_an_entry_of_the_cache():
    cell = replace(CELL, ccache=True)
    one, other = (
        dict(build(cell, cache=CompilerCache(compiler=text)).environment) for text in ("sha256:a", "sha256:b")
    )
    assert one["CCACHE_COMPILERCHECK"] != other["CCACHE_COMPILERCHECK"]


def test_ccaches_unsafe_modes_stay_off():
    environment = dict(build(replace(CELL, ccache=True)).environment)
    unsafe = {"CCACHE_DEPEND", "CCACHE_HARDLINK", "CCACHE_SLOPPINESS", "CCACHE_INODECACHE"}
    assert not unsafe & set(environment)


# ------------------------------------------------------------------------------------------------------- not honoured


@pytest.mark.parametrize(
    ("asked", "config"),
    [
        ("CONFIG_A=y", "CONFIG_A=y"),
        ("CONFIG_A=n", ""),
        ("CONFIG_A=n", "# CONFIG_A is not set"),
        ("# CONFIG_A is not set", ""),
        ("CONFIG_A=0x1000000", "CONFIG_A=0x01000000"),
        ("CONFIG_A=0xABC", "CONFIG_A=0xabc"),
        ("CONFIG_A=12", "CONFIG_A=12"),
        ("CONFIG_A=012", "CONFIG_A=12"),
        ('CONFIG_A="a b"', 'CONFIG_A="a b"'),
        ("CONFIG_A=y \r", "CONFIG_A=y"),
        ("# a comment\nCONFIG_A=y", "CONFIG_A=y"),
    ],
)
def test_honoured(asked, config):
    assert not_honoured((line(asked),), config + "\n") == ()


@pytest.mark.parametrize(
    ("asked", "config", "wanted", "got"),
    [
        ("CONFIG_A=y", "", "y", ""),
        ("CONFIG_A=y", "# CONFIG_A is not set", "y", "n"),
        ("CONFIG_A=y", "CONFIG_A=m", "y", "m"),
        ("CONFIG_A=m", "CONFIG_A=y", "m", "y"),
        ("# CONFIG_A is not set", "CONFIG_A=y", "n", "y"),
        ("CONFIG_A=n", "CONFIG_A=m", "n", "m"),
        ('CONFIG_A="12"', "CONFIG_A=12", '"12"', "12"),
        ('CONFIG_A="a"', 'CONFIG_A="A"', '"a"', '"A"'),
        ("CONFIG_A=10", "CONFIG_A=0x10a", "10", "0x10a"),
        ("CONFIG_A=y", "CONFIG_AB=y", "y", ""),
    ],
)
def test_a_symbol_that_did_not_survive_is_told(asked, config, wanted, got):
    assert not_honoured((line(asked),), config + "\n") == (NotHonoured("CONFIG_A", wanted, got),)


def test_of_two_requests_the_last_counts():
    assert not_honoured((line("CONFIG_A=y"), line("# CONFIG_A is not set")), "") == ()
    assert not_honoured((line("CONFIG_A=n"), line("CONFIG_A=y")), "") == (NotHonoured("CONFIG_A", "y", ""),)


def test_a_base_target_is_no_request():
    assert not_honoured((Fragment(kind="base", text="CONFIG_A=y", name="odd"),), "") == ()


def test_a_long_line_of_blanks_takes_no_time():
    assert not_honoured((line("CONFIG_A=" + " " * 2_000_000 + "x"),), "CONFIG_A=x") != ()


# ----------------------------------------------------------------------------------------------------------- progress

LOG = """\
make: Entering directory '/src'
  CHK     include/generated/autoksyms.h
  CC      init/main.o
  CC [M]  drivers/input/joydev.o
  AS      arch/x86/lib/putuser.o
  LD      vmlinux.o
  KSYMS   .tmp_vmlinux.kallsyms1.S
kernel/fork.c:3:1: warning: CC is not a tool here
make: Leaving directory '/src'
""".splitlines()


def test_progress_counts_files_built_and_nothing_else():
    seen = 0
    for text in LOG:
        seen, _ = kbuild.progress(text, seen, None)
    assert seen == 4


def test_without_an_earlier_build_there_is_no_fraction():
    assert kbuild.progress(LOG[2], 0, None) == (1, None)


def test_the_fraction_never_reaches_one():
    assert kbuild.progress(LOG[2], 9, 20) == (10, 0.5)
    assert kbuild.progress(LOG[2], 99, 20) == (100, 0.99)


def test_the_build_key_changes_with_what_is_built_and_not_with_where():
    same = replace(CELL, id="other", filesystem="ext4-128", repeat=9)
    other = replace(CELL, kconfig=(BASE, line("CONFIG_A=y")))
    assert kbuild.build_key(CELL) == kbuild.build_key(same) != kbuild.build_key(other)


def test_a_second_make_is_the_first_with_reasons():
    first = kbuild.build_step(CELL, ARCH, GCC, jobs=2)
    again = kbuild.remake_step(CELL, ARCH, GCC, jobs=2)
    assert (again.name, again.log) == ("remake", "remake.txt")
    assert [word for word in again.argv if word != "V=2"] == list(first.argv)
    assert again.argv.count("V=2") == 1
    assert again.environment == first.environment
