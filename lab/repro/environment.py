"""What a text says of the kernel, the machine and the tools: tables of patterns, each with what it is a fact about.

Patterns are held against the words of one writer at one depth. Every repetition in them is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lab.repro.facts import Block, Certainty, Fact, Field
from lab.repro.outcome import outcome

Found = re.Match[str]
TRIED = frozenset({
    Field.VERSION, Field.TREE, Field.COMPILER, Field.LINKER, Field.BINUTILS, Field.MAKE, Field.LTO, Field.ARCH, Field.CROSS,
    Field.CONFIG, Field.CONFIG_BASE, Field.JOBS,
})  # fmt: skip
"""Of what people try one and then another."""
TOOLS = re.compile(
    r"(?:gcc|g\+\+|clang|llvm|lld|binutils|\bld\b|\bas\b|gas|make|qemu\S*|glibc|libc|python|perl|pahole|bash|ccache|openssl|systemd"
    r"|flex|bison|gdb|rustc|busybox|dwarves|grub|udev|kmod|mesa|xorg|version of|cannot apply to|thunderbird|mozilla|mutt)"
    r"(?:\b(?:(?!\. )[^\n]){0,24}|\S{0,6} \([^()\n]{0,80}\) ?)$",
    re.I,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One pattern. value: a template for the groups' texts, or what computes it ("" is no fact). unless: what must not stand
    before the match (the 40 characters there). group: whose place is told."""

    about: Field
    pattern: re.Pattern[str]
    value: str | Callable[[Found], str] = r"\g<1>"
    certainty: Certainty = Certainty.STATED
    rule: str = ""
    unless: re.Pattern[str] | None = None
    group: int = 0
    data: tuple[tuple[str, str], ...] = field(default=())


def row(
    about: Field, pattern: str, value: str | Callable[[Found], str] = r"\g<1>", rule: str = "", **rest: object
) -> Row:
    """Return a row; with a rule it is implied."""
    certainty = rest.pop("certainty", Certainty.IMPLIED if rule else Certainty.STATED)
    flags = re.I if rest.pop("any_case", False) else 0
    return Row(about=about, pattern=re.compile(pattern, flags), value=value, rule=rule, certainty=certainty, **rest)  # type: ignore[arg-type]


def held_against(block: Block, rows: tuple[Row, ...]) -> Iterator[Fact]:
    """Yield the facts of a block, row by row, in the order of the text."""
    for one in rows:
        text = block.text if one.pattern.flags & re.MULTILINE else block.words
        for found in one.pattern.finditer(text):
            if one.unless and one.unless.search(text[max(0, found.start() - 40) : found.start()]):
                continue
            value = one.value(found) if callable(one.value) else found.expand(one.value)
            value = " ".join(value.split())
            if value:
                yield fact(block, found, one.about, value, one.rule, one.group, one.certainty, one.data)


def fact(
    block: Block, found: Found, about: Field, value: str, rule: str = "", group: int = 0,
    certainty: Certainty | None = None, data: tuple[tuple[str, str], ...] = (),
) -> Fact:  # fmt: skip
    """Return a fact at the place of a match. Of what can be tried it is told whether it worked so ("outcome")."""
    start, end = found.span(group)
    certainty = certainty or (Certainty.IMPLIED if rule else Certainty.STATED)
    if about in TRIED and not rule and not data and (came := outcome(block.words, start, end)):
        data = (("outcome", came),)
    return Fact(
        field=about, value=value[:400], place=block.place(start, end), certainty=certainty, rule=rule, by=block.by,
        level=block.level, data=data,
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- kernel

RELEASE = r"(?:2\.6\.\d{1,2}(?:\.\d{1,3})?|[3-9]\.\d{1,2}(?:\.\d{1,3})?)(?:-rc\d{1,2})?"
LOCAL = r"(?:[-+~][\w.~+-]{0,60})?"
NEXT = r"next-(\d{8})"
KERNEL_WORDS = re.compile(r"\b(?:kernels?|linux|stable|mainline|upstream|uname)\b", re.I)
BARE = re.compile(rf"(?<![\w./@-])({RELEASE})(?![\w.]*\w|-\d|%)")


WAS_FINE = re.compile(
    r"[^.!?]{0,20}\b(?:was|is|were|still|has been) (?:\w+ )?(?:fine|ok|good|working)\b"
    r"|[^.!?]{0,12}\bwork(?:s|ed)\b",
    re.I,
)


OF_TOOL = re.compile(r"(?:'s)? (?:cross[- ])?(?:compiler|toolchain|gcc|clang|llvm|binutils|linker|glibc|image)\b", re.I)


def versions(block: Block) -> Iterator[Fact]:
    """Yield the releases of a kernel that a text names."""
    named = list(held_against(block, KERNEL))
    yield from named
    known = [one.place for one in named]
    for found in BARE.finditer(block.words):
        release = found[1]
        if release.count(".") < 2 and "-rc" not in release:
            continue
        place = block.place(*found.span(1))
        if any(one.line == place.line and one.first <= place.first <= one.last for one in known):
            continue
        before = block.words[max(0, found.start() - 110) : found.start()]
        after = block.words[found.end() : found.end() + 60]
        if TOOLS.search(before) or OF_TOOL.match(after):
            continue
        near = "-rc" in release or KERNEL_WORDS.search(before[-60:]) or KERNEL_WORDS.search(after)
        data = (("outcome", "good"),) if WAS_FINE.match(after) else ()
        yield fact(block, found, Field.VERSION, release, "" if near else "version-form", data=data)


KERNEL = (
    row(Field.VERSION, rf"\b[Ll]inux[- ](?:version |kernel |stable |v)?({RELEASE}){LOCAL}(?![\w.])"),
    row(Field.VERSION, rf"\blinux-({RELEASE})\b"),
    row(Field.VERSION, rf"(?<![\w./-])v({RELEASE})\b(?!\.[\d.])|(?<=\.\.)v({RELEASE})\b",  # of "good..bad" the bad one
        lambda found: found[1] or found[2], unless=TOOLS),
    row(Field.VERSION, rf"\b[Kk]ernels?(?: [Vv]ersion|\s+release)?:?\s+v?(?:Linux )?({RELEASE}){LOCAL}(?![\w.])"),
    row(Field.VERSION, rf"(?<![\w./-])({RELEASE}){LOCAL} (?:\w{{1,12}} )?(?:[Kk]ernel|series|sources?|tree"
        rf"|release)\b", unless=TOOLS),
    row(Field.VERSION, rf"(?:Not tainted|Tainted: [A-Z ]{{1,30}}) ({RELEASE}){LOCAL} #\d"),
    row(Field.VERSION, rf"# Linux/\S{{1,20}} ({RELEASE}){LOCAL} Kernel Configuration"),
    row(Field.VERSION, rf"# Linux kernel version: ({RELEASE})"),
    row(Field.VERSION, rf"\b(?:linux-)?{NEXT}\b", r"next-\g<1>"),
    row(Field.TREE, r"\b([Ll]inux-[Nn]ext)(?!(?:@| at |[\w-]))(?! (?:mailing )?list)", lambda found: found[1].lower()),
    row(Field.TREE, rf"\b{NEXT}\b", "linux-next"),
    row(Field.TREE, r"\bTree: (Mainline|Stable)\b", lambda found: found[1].lower(), any_case=True),
    row(Field.VERSION, rf"\bPackage: (?:src:)?linux\S{{0,40}}\s+Version: ({RELEASE})"),
    row(Field.TREE, r"\b(?:Linus'?s?'? tree|torvalds/linux(?:\.git)?|linus/master|mainline (?:kernel|tree"
        r"|master))\b", "mainline"),
    row(Field.TREE, r"\b(?:linux-stable(?:-rc)?(?:\.git)?(?!@| at )|stable (?:tree|kernel|release))\b", "stable"),
    row(Field.TREE, r"\bgit\.kernel\.org/pub/scm/linux/kernel/git/([\w./-]{3,80}?\.git)\b"),
    row(Field.TREE, r"\b(net-next|bpf-next|kbuild-next|drm-tip|tip/\w{2,20})\b(?!@)"),
    row(Field.COMMIT, r"\b(?:[Cc]ommit|[Cc]hangeset|[Rr]evision|HEAD(?: is)?(?: now)?(?: at)?|bisected (?:it "
        r"|this )?(?:down )?to)\s+"
        r"(?:commit )?([0-9a-f]{8,40})\b"),
    row(Field.COMMIT, r"\b([0-9a-f]{12,40}) \(\"[^\"\n]{4,120}"),
    row(Field.COMMIT, r"\b([0-9a-f]{12,40}) is the first bad commit"),
    row(Field.COMMIT, r"\bv?\d\.\d{1,2}(?:[.-]\w{1,4})?-\d{1,6}-g([0-9a-f]{7,40})\b"),  # git describe
    row(Field.COMMIT, r"(?<!\S)(?:head|commit): {1,8}([0-9a-f]{12,40})\b"),
    row(Field.COMMIT, r"/commit/(?:\?\w{1,4}=)?(?:\w{1,10}=)?([0-9a-f]{12,40})\b"),
)  # fmt: skip

# -------------------------------------------------------------------------------------------------------- architecture

NAMES: tuple[tuple[str, str], ...] = (
    (r"x86[_-]64|amd64|AMD64|x64", "x86_64"), (r"i[3-6]86|x86[_-]32|32-bit x86", "i386"), (r"arm64|aarch64|ARM64"
        r"|AArch64", "arm64"),
    (r"armhf|[Aa][Rr][Mm]v[5-7]\w{0,3}|armel", "arm"), (r"ARM(?= (?:build|kernel|32|platform|board|\w*config"
        r"|machine)|\b(?![-_/\w]))", "arm"),
    (r"ppc64le|ppc64el|powerpc64le", "ppc64le"), (r"powerpc|ppc64|ppc32|PowerPC", "powerpc"),
    (r"riscv(?:64|32)?|RISC-V", "riscv"),
    (r"s390x?", "s390"), (r"mips(?:64)?(?:el)?|MIPS", "mips"), (r"sparc(?:64)?", "sparc"), (r"parisc|hppa",
    "parisc"), (r"m68k", "m68k"),
    (r"loongarch(?:64)?|LoongArch", "loongarch"), (r"xtensa", "xtensa"), (r"openrisc", "openrisc"), (r"hexagon", "hexagon"),
    (r"csky", "csky"), (r"microblaze", "microblaze"), (r"nios2", "nios2"),
)  # fmt: skip
TARGETS = (
    r"x86_64|i[3-6]86|aarch64|arm|armeb|armv7\w{0,3}|powerpc(?:64)?(?:le)?|ppc64(?:le)?|riscv(?:32|64)|s390x?|mips\w{0,10}|sparc(?:64)?"
    r"|hppa(?:64)?|m68k|loongarch64|xtensa|or1k|csky|microblaze\w{0,3}|nios2|sh4|alpha|arc"
)
KERNEL_NAMES = {
    "aarch64": "arm64", "armeb": "arm", "powerpc64le": "ppc64le", "powerpc64": "powerpc", "ppc64": "powerpc",
    "riscv64": "riscv",
    "riscv32": "riscv", "s390x": "s390", "sparc64": "sparc", "hppa": "parisc", "hppa64": "parisc", "loongarch64": "loongarch",
    "or1k": "openrisc", "sh4": "sh", "amd64": "x86_64",
}  # fmt: skip
NOT_A_NAME = re.compile(r"(?:[\w./@+-]|arch/|ARCH=)$")


def kernel_arch(name: str) -> str:
    """Return an architecture as the kernel calls it: "aarch64" is arm64, "i686" is i386."""
    name = name.lower()
    if re.fullmatch(r"i[3-6]86", name):
        return "i386"
    if name.startswith("armv"):
        return "arm64" if name.startswith("armv8") else "arm"
    if name.startswith("mips"):
        return "mips"
    return KERNEL_NAMES.get(name, name)


BOARDS = (
    r"omap\d{4}\w{0,6}|beagle(?:bone|board)\w{0,8}|pandaboard|i\.?mx\d\w{0,6}|exynos\d{0,4}|odroid[\w-]{0,6}|tegra\d{0,3}"
    r"|versatilepb|vexpress|s3c\d{4}|mini2440|pxa\d{3}|ep93xx|ixp4xx|davinci|socfpga|highbank|bcm283\d|raspberry ?pi(?: [1-4])?"
    r"|allwinner|sun[4-9]i|am335x|kirkwood|armada[ -]?\d{3}|zynq|stm32\w{0,6}|at91\w{0,8}"
)


def _called(names: str, value: str) -> Row:
    """Return the row of an architecture's names. They are none within a path, an address, or a longer word."""
    return row(Field.ARCH, rf"(?<![\w./@+=-])(?:{names})(?![\w@/]|-\w+-|\.\w)", lambda _: value)


ARCHITECTURE = (
    *(_called(names, value) for names, value in NAMES),
    row(Field.ARCH, rf"(?<!\S)config: {{1,8}}({TARGETS}|arm64|powerpc|riscv|mips|um|sh|parisc|openrisc)-[a-z]",
        lambda found: kernel_arch(found[1])),
    row(Field.ARCH, r"\bARCH=(\w{2,20})", lambda found: kernel_arch(found[1])),
    row(Field.ARCH, r"(?<![\w.-])arch/([a-z][a-z0-9]{1,15})/", lambda found: kernel_arch(found[1]), "path-in-arch"),
    row(Field.ARCH, r"\barch/x86/[\w/]{1,80}_64\.[oS]\b", "x86_64", "x86-64-file"),
    row(Field.ARCH, rf"(?<![\w./-])({TARGETS})-(?:[\w]{{1,12}}-){{1,3}}(?:gcc|g\+\+|ld|nm|as|ar|objdump|objcopy|readelf)\b",
        lambda found: kernel_arch(found[1]), "cross-tools"),
    row(Field.ARCH, rf"\bCROSS_COMPILE=\"?(?:\S{{0,200}}/)?({TARGETS})-", lambda found: kernel_arch(found[1]), "cross-tools"),
    row(Field.ARCH, r"objtool/objtool (?:orc generate|check)\b|objtool [^\n]{0,80}--(?:retpoline|uaccess"
        r"|orc)\b", "x86_64", "objtool"),
    row(Field.ARCH, r"\b(?:R_)?X86_64_(?:64|32S?|PC32|PLT32|PC64)\b", "x86_64", "relocation-type"),
    row(Field.ARCH, r"\bR_ARM_\w{2,20}\b", "arm", "relocation-type"),
    row(Field.ARCH, r"\bR_AARCH64_\w{2,20}\b", "arm64", "relocation-type"),
    row(Field.ARCH, r"\b__aeabi_[a-z]\w{2,20}\b", "arm", "eabi-symbol"),
    row(Field.ARCH, r"\bRIP: 0010:|\bRAX: [0-9a-f]{16}\b", "x86_64", "registers"),
    row(Field.ARCH, r"\bEIP: 0060:", "i386", "registers"),
    row(Field.ARCH, r"(?<!\w)ffffffff8[1-9a-f][0-9a-f]{6} [TtRrDdBbAaWw] \w", "x86_64", "kernel-address",
        certainty=Certainty.GUESSED),
    row(Field.ARCH, r"\bpc : \[<[0-9a-f]{8}>\]", "arm", "registers"),
    row(Field.ARCH, r"\b(?:linux-arm-kernel|fedora-arm)\b", "arm", "list-of-arch"),
    row(Field.ARCH, r"\blinuxppc-dev\b", "powerpc", "list-of-arch"),
    row(Field.ARCH, r"\blinux-riscv\b(?=@| at )", "riscv", "list-of-arch"),
    row(Field.ARCH, rf"(?<![\w/.-])({BOARDS})(?![\w-]*@)", "arm", "board", any_case=True),
    row(Field.BOARD, rf"(?<![\w/.-])({BOARDS})(?![\w-]*@)", any_case=True),
    row(Field.CROSS, rf"(?<![\w./-])((?:{TARGETS})-(?:[\w]{{1,12}}-){{1,3}})(?:gcc|g\+\+|ld|nm|as|ar|objdump"
        rf"|objcopy|readelf)\b"),
    row(Field.CROSS, r"\bCROSS_COMPILE=\"?(?:\S{0,200}/)?([\w-]{2,60}-)"),
)  # fmt: skip

# -------------------------------------------------------------------------------------------------------------- tools

NUMBER = r"\d{1,2}(?:\.\d{1,2}){0,2}"
FULL = r"\d{1,2}\.\d{1,2}(?:\.\d{1,2})?"


def packed(found: Found) -> str:
    """Return "10.2.1" for CONFIG_GCC_VERSION=100201."""
    number = int(found[2])
    return f"{found[1].lower()} {number // 10000}.{number // 100 % 100}.{number % 100}" if number else ""


COMPILERS = (
    row(Field.COMPILER, rf"\bgcc version ({FULL})", r"gcc \g<1>", any_case=True),
    row(Field.COMPILER, rf"\bgcc(?:-\d{{1,2}})?(?:\.exe)? \([^()\n]{{0,100}}\) ({FULL})", r"gcc \g<1>"),
    row(Field.COMPILER, rf"\bGCC[ :-]{{1,2}}(?:version )?v?({NUMBER})(?![\w.]*\w)", r"gcc \g<1>"),
    row(Field.COMPILER, rf"(?<![\w/-])gcc(?: is(?: version)?| to(?: version)?|:)? v?({FULL})(?![\w.]*\w)", r"gcc \g<1>"),
    row(Field.COMPILER, r"(?<![\w/-])gcc(\d{1,2}) (\1\.\d{1,2}(?:\.\d{1,2})?)(?![\w.]*\w)", r"gcc \g<2>"),
    row(Field.COMPILER, rf"(?<![\w/-])gcc-({NUMBER})(?![\w.]*\w)", r"gcc \g<1>"),
    row(Field.COMPILER, r"(?<![\w/-])(gcc \d{1,2})(?![\w.]*\w)(?! (?:error|warning|object|time))"),
    row(Field.COMPILER, rf"\bclang version ({FULL})", r"clang \g<1>", any_case=True),
    row(Field.COMPILER, rf"\b(?:[Cc]lang|LLVM|llvm)(?:/[A-Za-z]+)?[ -]v?({NUMBER})(?![\w.]*\w|%)", r"clang \g<1>"),
    row(Field.COMPILER, r"\bCONFIG_(GCC|CLANG)_VERSION=(\d{5,6})\b", packed),
    row(Field.COMPILER, r"(?<![\w_])(?:CONFIG_)?LTO_CLANG\w{0,8}\b|\bClangLTO\b|\bLLVM=1\b|\bCC=clang\b", "clang", "clang-lto"),
    row(Field.LTO, r"\b(?:(?:CONFIG_)?LTO_CLANG_THIN|[Tt]hin ?-?LTO)\b", "thin"),
    row(Field.LTO, r"\b(?:(?:CONFIG_)?LTO_CLANG_FULL|[Ff]ull LTO)\b", "full"),
    row(Field.LTO, r"(?<![\w_])(?:CONFIG_)?LTO_CLANG\b(?!_)|\b[Cc]lang ?LTO\b|\bLTO kernel|\bLTO build", "clang"),
    row(Field.LINKER, rf"\bLLD ({FULL})", r"lld \g<1>"),
    row(Field.LINKER, r"\b(ld\.lld|ld\.bfd"
        r"|ld\.gold)(?:-\d{1,2})?\b", lambda f: {"ld.lld": "lld", "ld.bfd": "GNU ld", "ld.gold": "gold"}[f[1]]),
    row(Field.LINKER, r"\bCONFIG_LD_IS_LLD=y\b", "lld"),
    row(Field.BINUTILS, rf"\bGNU ld \([^()\n]{{0,80}}\) ({FULL})"),
    row(Field.BINUTILS, rf"\bGNU Binutils[^()\n]{{0,40}}\) ({FULL})"),
    row(Field.BINUTILS, rf"\bbinutils[ -](?:version )?v?({FULL})\b", any_case=True),
    row(Field.MAKE, rf"\bGNU [Mm]ake (?:version )?({FULL})\b"),
    row(Field.MAKE, rf"(?<![\w/-])make (?:version )?({FULL})(?![\w.]*\w)"),
    row(Field.QEMU, rf"\bQEMU (?:emulator )?(?:version )?v?({FULL})\b", any_case=True),
    row(Field.QEMU, rf"(?<![\w/-])(qemu-system-\w{{2,16}}(?: (?:version )?{FULL})?)\b"),
)  # fmt: skip

DISTRIBUTIONS = (
    r"Debian(?: GNU/Linux)?|Ubuntu|Fedora(?: Linux)?|Gentoo(?: Linux)?|Arch Linux|openSUSE(?: (?:Leap|Tumbleweed))?|SLES?|RHEL"
    r"|Red Hat Enterprise Linux|CentOS(?: Stream)?|Rocky Linux|AlmaLinux|Slackware|Alpine(?: Linux)?|NixOS"
    r"|Void Linux|Mageia|Manjaro"
    r"|Linux Mint|Raspbian|Raspberry Pi OS|Yocto|Buildroot|OpenWrt|Chrome ?OS|CachyOS|Clear Linux|LFS|BLFS"
)
RELEASES = (
    r"(?: (?:release )?(\d{1,2}(?:\.\d{1,2})?(?![.\d])|buster|bullseye|bookworm|trixie|stretch|jessie|wheezy|sid"
    r"|testing|unstable|rawhide)(?![\w.]*\d))?"
)
SPELT = {
    "debian": "Debian", "ubuntu": "Ubuntu", "fedora": "Fedora", "gentoo": "Gentoo", "centos": "CentOS", "opensuse": "openSUSE",
    "slackware": "Slackware", "nixos": "NixOS", "rhel": "RHEL", "archlinux": "Arch Linux",
}  # fmt: skip
SMALL = "|".join(SPELT)
SYSTEMS = (
    row(Field.DISTRIBUTION, rf"(?<![\w@./(-])({DISTRIBUTIONS})\b(?! (?:Bug|bug|package|list)){RELEASES}(?!@)",
        lambda f: f[1] + (f" {f[2]}" if f[2] else "")),
    row(Field.DISTRIBUTION, rf"(?<![\w@./:(-])({SMALL})(?= \d| (?:machine|box|system|host|server|laptop|sid|stable|testing"
        rf"|rawhide)\b){RELEASES}", lambda f: SPELT[f[1]] + (f" {f[2]}" if f[2] else "")),
    row(Field.DISTRIBUTION, r"\b(?:gcc|clang|ld)(?:\S{0,12}| version \S{1,12}) \((Debian|Ubuntu|Gentoo|SUSE"
        r"|Red Hat|Alpine)\b", rule="compiler-of-distribution"),
    row(Field.DISTRIBUTION, r"\(Suse\)", "SUSE", any_case=True),
    row(Field.DISTRIBUTION, r"PRETTY_NAME=\"([^\"\n]{2,80})\""),
    row(Field.DISTRIBUTION, r"Debian Release: ([\w./-]{1,20})", r"Debian \g<1>"),
)  # fmt: skip

EXTRACTORS = (ARCHITECTURE, COMPILERS, SYSTEMS)


def facts(block: Block) -> Iterator[Fact]:
    """Yield what a block says of kernel, architecture, tools and system."""
    yield from versions(block)
    for rows in EXTRACTORS:
        yield from held_against(block, rows)
