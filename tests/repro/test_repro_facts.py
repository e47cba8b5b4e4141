"""Sentences and what they say, and sentences that look as if they said it and do not."""

import pytest

from lab.repro import extract
from lab.repro.facts import Field


def listed(*times):
    """Return lines of `ls --full-time` with the given times."""
    return "\n".join(f"-rw-r--r-- 1 a a 1 2018-03-13 {time} +0100 file{number}" for number, time in enumerate(times))


def values(text, field):
    return [fact.value for fact in extract.report([("x", text.encode())]).facts if fact.field is field]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I upgraded to 4.14.23 from an earlier kernel series.", ["4.14.23"]),
        ("This is v5.14-rc1.", ["5.14-rc1"]),
        ("Linux 6.1 does it, too", ["6.1"]),
        ("in /usr/src/linux-4.14.23/scripts/Makefile.modpost", ["4.14.23"]),
        ("Linux version 5.10.0-8-amd64 (debian-kernel@lists.debian.org)", ["5.10.0"]),
        ("Kernel Version: 6.11.6", ["6.11.6"]),
        ("CPU: 0 PID: 1 Comm: swapper/0 Not tainted 5.17.0-rc8+ #12", ["5.17.0-rc8"]),
        ("seen in next-20210716", ["next-20210716"]),
        ("breakages with 4.9-rc7, using rpm", ["4.9-rc7"]),
        ("the 2.6.39.4 kernel", ["2.6.39.4"]),
        ("bisected v5.5..v5.6", ["5.6"]),
        ("[also build test ERROR on x/fixes next-20240521] [cannot apply to v6.9] [If your", ["next-20240521"]),
        ("~/linux$ git describe v5.3-11506-gf7c3bf8fa7e5", ["5.3"]),
        ("with make -j6. 3.8.11 was fine", ["3.8.11"]),
        ("gcc version 7.3.0 (Gentoo 7.3.0 p1.0)", []),
        ("my 4.7.4 cross compiler on this kernel", []),
        ("GNU Make 4.2.1 and binutils 2.30.0 build the kernel", []),
        ("pahole v1.16 is too old", []),
        ("qemu 6.0.0, glibc 2.31.0", []),
        ("192.168.3.4 is the server", []),
        ("in 3.5 of 10 cases, version 2 of the patch [PATCH v2 3/8]", []),
        ("Thunderbird 5.2.1 sent this", []),
        ("drivers/foo-4.5.6/bar.c and foo.5.6.7.so", []),
        ("on 5.12.2016 it was fine", []),
    ],
)
def test_releases_of_a_kernel(text, found):
    assert values(text, Field.VERSION) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gcc version 7.3.0 (Gentoo 7.3.0 p1.0)", ["gcc 7.3.0"]),
        ("gcc (Debian 10.2.1-6) 10.2.1 20210110", ["gcc 10.2.1"]),
        ("gcc-8 and no other", ["gcc 8"]),
        ("gcc is version 4.9.4.", ["gcc 4.9.4"]),
        ("I just upgraded gcc to 6.4 on it", ["gcc 6.4"]),
        ("GCC 11.2 and later", ["gcc 11.2"]),
        ("clang version 12.0.1 (https://github.com/llvm/llvm-project)", ["clang 12.0.1"]),
        ("Clang-14 does", ["clang 14"]),
        ("CONFIG_CLANG_VERSION=130001", ["clang 13.0.1"]),
        ("CONFIG_GCC_VERSION=0", []),
        ("with LLVM=1", ["clang"]),
        ("gcc 3 errors were printed", []),
        ("the gcc-plugins are off", []),
        ("llvm-nm is called", []),
    ],
)
def test_compilers(text, found):
    assert values(text, Field.COMPILER) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("on my centos 7 machine", ["CentOS 7"]),
        ("running Debian bookworm here", ["Debian bookworm"]),
        ("gcc version 4.7.3 (Debian 4.7.3-4)", ["Debian"]),
        ("Kernel 5.2-rc5 (Suse)", ["SUSE"]),
        ("in debian/rules, debian-kernel@lists.debian.org", []),
    ],
)
def test_distributions(text, found):
    assert values(text, Field.DISTRIBUTION) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("on x86_64", ["x86_64"]),
        ("amd64 here", ["x86_64"]),
        ("on ARM it breaks", ["arm"]),
        ("make ARCH=arm64", ["arm64"]),
        ("aarch64-linux-gnu-ld says", ["arm64"]),
        ("arch/powerpc/kernel/setup.c", ["powerpc"]),
        ("Type X86_64_64 at offset", ["x86_64"]),
        ("my Exynos4412 based ODROID-X2", ["arm"]),
        ("config: riscv-randconfig-r012", ["riscv"]),
        ("config: x86_64-rhel-8.3-bpf (https://example.org/config)", ["x86_64"]),
        ("it is armed and dangerous, an alarm", []),
        ("mail to ann@arm.com", []),
        ("the file harm/x86_64.txt", []),
        ("in the archive arch.tar", []),
    ],
)
def test_architectures(text, found):
    assert values(text, Field.ARCH) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("CONFIG_X_Y=m is set", ["CONFIG_X_Y=m"]),
        ("# CONFIG_X_Y is not set", ["CONFIG_X_Y=n"]),
        ("I turned on TRIM_UNUSED_KSYMS", ["CONFIG_TRIM_UNUSED_KSYMS=y"]),
        ("with LTO_CLANG enabled", ["CONFIG_LTO_CLANG=y"]),
        ("MODULE_SIG_FORCE is disabled", []),
        ("DEBUG_INFO_BTF is disabled", ["CONFIG_DEBUG_INFO_BTF=n"]),
        ("without DEBUG_INFO_BTF it works", ["CONFIG_DEBUG_INFO_BTF=n"]),
        ("I wonder about TRIM_UNUSED_KSYMS", []),
        ("with EXPORT_SYMBOL_GPL in it", []),
        ("set KBUILD_MODPOST_WARN on", []),
        ("#ifdef CONFIG_SMP", []),
    ],
)
def test_configuration_symbols(text, found):
    assert values(text, Field.CONFIG) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("my old ext4 filesystem", ["ext4"]),
        ("a chance of failure on ext4.", ["ext4"]),
        ("/dev/sda1 on /home type xfs (rw,relatime)", ["xfs"]),
        ("fs/ext4/ext4.ko and fs/btrfs/btrfs.lto.o", []),
        ("the btrfs module does not load", []),
        ("make fs/xfs/", []),
    ],
)
def test_filesystems(text, found):
    assert values(text, Field.FILESYSTEM) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ext4 with 128-byte inodes", ["whole seconds"]),
        ("Inode size:	          128", ["whole seconds"]),
        ("poor timestamp resolution", ["whole seconds"]),
        ("supports nanosecond timestamps", ["fine"]),
        (listed("17:20:18.000000000", "17:20:19.000000000"), ["whole seconds"]),
        (listed("17:20:18.123456789", "17:20:19.000000000"), ["fine"]),
        (listed("17:20:18.000000000"), []),
        ("256-byte inodes", []),
    ],
)  # fmt: skip
def test_file_times(text, found):
    assert values(text, Field.TIMESTAMPS) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("it only happens about once every 10 builds", ["1/10"]),
        ("It fails 2 out of 7 times", ["2/7"]),
        ("3 of 20 builds", ["3/20"]),
        ("about 5% of all builds fail", ["5/100"]),
        ("around 50/50 chance of success", ["1/2"]),
        ("The build succeeded 16 times in a row", ["0/16"]),
        ("it failed three times in a row", ["3/3"]),
        ("17 of 20 builds work", ["3/20"]),
        ("it fails every time", ["1/1"]),
        ("the first two builds I did succeeded and the third failed", ["1/3"]),
        ("in 2 of 3 files", []),
        ("patch 2/8", []),
        ("a 10% speedup", []),
        ("20 of 3 builds", []),
    ],
)
def test_rates(text, found):
    assert values(text, Field.RATE) == found


@pytest.mark.parametrize(
    ("text", "jobs", "commands"),
    [
        ('the full "make V=1 j1" output', ["1"], ["make V=1 j1"]),
        ("$ make O=build -skj12", ["12"], ["make O=build -skj12"]),
        ("make -j 4 vmlinux", ["4"], ["make -j 4 vmlinux"]),
        ("make -j$(nproc) bzImage", [], ["make -j$(nproc) bzImage"]),
        ("% make\n", [], ["make"]),
        ("make sure that it works, and make it so", [], []),
        ("to make modules work", [], ["make modules"]),  # nobody can tell
    ],
)
def test_make(text, jobs, commands):
    assert values(text, Field.JOBS) == jobs
    assert values(text, Field.COMMAND) == commands


def test_addresses_and_names():
    text = (
        "From: Jon M <jon at example.org>\nTo: list@example.org\nSubject: x\nDate: x\n\n"
        "Reported-by: Ann A <ann@xxxxxxxxxx>\nhttps://example.org/a_(b), and (https://example.org/c).\n"
    )
    assert values(text, Field.FROM) == ["Jon M <jon@example.org>"]
    assert values(text, Field.PERSON) == ["Ann A"]
    assert values(text, Field.LINK) == ["https://example.org/a_(b)", "https://example.org/c"]
