"""What a text says of the build: make's words, jobs, configuration, modules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from lab.repro.environment import Row, fact, held_against, row
from lab.repro.facts import Block, Certainty, Fact, Field, Line, Place
from lab.repro.outcome import GOOD, outcome

# ---------------------------------------------------------------------------------------------------- make and its words

TARGET_WORDS = (
    "all|vmlinux|modules|modules_install|modules_prepare|install|clean|mrproper|distclean|bzImage|zImage|Image(?:\\.gz)?|uImage|dtbs"
    "|headers_install|allmodconfig|allyesconfig|allnoconfig|alldefconfig|randconfig|tinyconfig|defconfig|oldconfig|olddefconfig"
    "|localmodconfig|localyesconfig|menuconfig|nconfig|xconfig|syncconfig|savedefconfig|rpm-pkg|deb-pkg|bindeb-pkg|binrpm-pkg|tar-pkg"
    "|kselftest|prepare|scripts|help|kernelrelease|htmldocs|check|dist"
)
WORD = (
    rf"(?:[A-Z_a-z][A-Z_a-z0-9]{{0,40}}=(?:\"[^\"\n]{{0,80}}\"|'[^'\n]{{0,80}}'|[^\s\"',;]{{0,80}})"
    rf"|-[a-zA-Z]{{0,4}}j ?\"?\$(?:\(nproc\)|\{{?\w{{1,20}}\}}?)\"?"
    rf"|-j ?\d{{1,4}}"
    rf"|-[a-zA-Z]{{1,6}}\d{{0,4}}|--[a-z][a-z-]{{1,30}}(?:=\S{{1,60}})?|j\d{{1,4}}|(?:{TARGET_WORDS})(?![\w.])"
    rf"|[a-z0-9_-]{{2,60}}_defconfig"
    r"|[a-z0-9_-]{1,60}\.config|[\w./-]{2,100}\.(?:k?o|i|s|dtb)|(?:fs|drivers|net|kernel|mm|lib|sound|arch|tools)/[\w/-]{0,100})"
)
MAKE = re.compile(rf"(?<![\w/.-])make(?:\.cross)?(?P<words>(?>(?: {{1,3}}{WORD})){{1,30}})(?=$|[\s\"'`,.;:)])")
MAKE_ALONE = re.compile(r"(?m)^[ \t]{0,4}(?:[$%#>] ?)+make(?=\s*$)|\bfollowed by (make)\b")
JOBS = re.compile(r"(?:^| )-?[a-zA-Z]{0,5}j ?(\d{1,4})(?= |$)")
JOBS_ALONE = re.compile(r"(?<![\w-])-j ?(\d{1,4})(?![\w.])")


def commands(block: Block) -> Iterator[Fact]:
    """Yield make's calls as they are written, and the number of jobs."""
    seen: set[int] = set()
    for found in MAKE.finditer(block.words):
        if re.search(r"\bTry [\"']?$", block.words[max(0, found.start() - 6) : found.start()]):
            continue  # link-vmlinux.sh's advice
        words = " ".join(found["words"].split())
        yield fact(block, found, Field.COMMAND, f"make {words}")
        for jobs in JOBS.finditer(found["words"]):
            at = found.start("words") + jobs.start(1)
            seen.add(at)
            yield _jobs(block, at, jobs[1])
    for found in MAKE_ALONE.finditer(block.text):
        yield fact(block, found, Field.COMMAND, "make")
    for found in JOBS_ALONE.finditer(block.words):
        if found.start(1) not in seen:
            yield _jobs(block, found.start(1), found[1])


def _jobs(block: Block, at: int, number: str) -> Fact:
    start, end = max(0, at - 2), at + len(number)
    came = outcome(block.words, start, end)
    data = (("outcome", came),) if came else ()
    return Fact(
        field=Field.JOBS,
        value=str(int(number)),
        place=block.place(start, end),
        by=block.by,
        level=block.level,
        data=data,
    )


# -------------------------------------------------------------------------------------------------------- configuration

SYMBOL = r"[A-Z][A-Z0-9a-z_]{1,80}"
BARE = r"(?:CONFIG_)?[A-Z][A-Z0-9]{1,30}(?:_[A-Z0-9]{1,30}){1,8}"
NO_SYMBOL = re.compile(
    r"(?:CONFIG_)?(?:EXPORT_|MODULE_|KLP_|KBUILD_|KALLSYMS_EXTRA_PASS|LC_|GFP_|PR_|CC_|LD_|DEFINE_|INIT_|LIST_HEAD|CROSS_COMPILE|LLVM_IAS|R_\w+"
    r"|X86_64_\w+|BUILD_|INSTALL_|SIG|EPERM|O_|SHT_|SHF_|STT_|STB_)"
)
SET = rf"({BARE})\b(?!\w)(?![=*])"
ON = (
    r"(?:[Tt]urn(?:ed|ing)? on|[Ee]nabl(?:e|ed|es|ing)|[Ss]elect(?:ed|s|ing)?|[Ss]witch(?:ed|ing)? on|[Ww]ith"
    r"|[Ss]et(?:ting)?|[Uu]s(?:e|ed|ing))"
)
OFF = r"(?:[Tt]urn(?:ed|ing)? off|[Dd]isabl(?:e|ed|es|ing)|[Uu]nset(?:ting)?|[Ss]witch(?:ed|ing)? off|[Ww]ithout)"
ON_AFTER = r"(?: is| was| being|, which I|'s)? (?:enabled|turned on|switched on|selected|set\b|on\b)(?! (?:to|up))"
OFF_AFTER = r"(?: is| was| being|, which I)? (?:disabled|turned off|switched off|unset|not set|off\b|not enabled)"


def is_symbol(name: str) -> bool:
    """Whether a word in capitals may be a configuration symbol."""
    return not NO_SYMBOL.match(name) or name.startswith("CONFIG_CC_")


def _value(answer: str) -> Callable[[re.Match[str]], str]:
    def value(found: re.Match[str]) -> str:
        name = found[1].removeprefix("CONFIG_")
        return f"CONFIG_{name}={answer}" if is_symbol(found[1]) else ""

    return value


def _bare_assigned(found: re.Match[str]) -> str:
    return f"CONFIG_{found[1].removeprefix('CONFIG_')}={found[2]}" if is_symbol(found[1]) else ""


def _assigned(found: re.Match[str]) -> str:
    return f"CONFIG_{found[1]}={found[2]}"


SAID: tuple[Row, ...] = (
    row(Field.CONFIG, rf'\bCONFIG_({SYMBOL})=(y|m|n|-?\d{{1,12}}|0x[0-9a-fA-F]{{1,16}}|"[^"\n]{{0,200}}")(?![\w.])', _assigned),
    row(Field.CONFIG, rf"# CONFIG_({SYMBOL}) is not set", r"CONFIG_\g<1>=n"),
    row(Field.CONFIG, rf"(?<![\w=])({BARE})=(y|m|n)\b", _bare_assigned),
    row(Field.CONFIG, rf"\b{ON} (?:the )?(?:option |symbol |config )?{SET}(?! (?:is|was)? ?(?:disabled|off"
        rf"|unset))", _value("y"), group=1),
    row(Field.CONFIG, rf"(?<!\w)({BARE}){ON_AFTER}", _value("y"), group=1),
    row(Field.CONFIG, rf"\b{OFF} (?:the )?(?:option |symbol |config )?{SET}", _value("n"), group=1),
    row(Field.CONFIG, rf"(?<!\w)({BARE}){OFF_AFTER}", _value("n"), group=1),
    row(Field.CONFIG, r"KSYMS +symbols: before=\d+, after=\d+, changed=\d+", "CONFIG_TRIM_UNUSED_KSYMS=y", "ksyms-line"),
    row(Field.CONFIG, r"Building modules, stage 2\.|MODPOST \d{1,6} modules"
        r"|\[[\w./+-]{1,200}\.ko\] undefined!", "CONFIG_MODULES=y",
        "modpost-of-modules"),
    row(Field.CONFIG, r"[Ii]nconsistent kallsyms data", "CONFIG_KALLSYMS=y", "kallsyms-table"),
    row(Field.CONFIG, r"(?m)^ *LTO(?: \[M\])? +[\w./-]+", "CONFIG_LTO_CLANG=y", "lto-line"),
    row(Field.CONFIG, r"klp-convert: |\blivepatch module\b", "CONFIG_LIVEPATCH=y", "livepatch-module"),
    row(Field.CONFIG, r"\bUP (?:kernels?|builds?)\b", "CONFIG_SMP=n", "up-kernel"),
    row(Field.CONFIG_BASE, r"(?<!\S)config: {1,8}[a-z0-9_]{2,14}-((?:all(?:mod|yes|no)|rand|def)config"
        r"|[a-z0-9_]{2,40}_defconfig)"),
    row(Field.CONFIG_BASE, r"(?<![\w/.-])(all(?:mod|yes|no|def)config|(?:tiny|rand|def)config|localmodconfig"
        r"|[a-z0-9_]{2,40}_defconfig)(?![\w-])"),
)  # fmt: skip


def configuration(block: Block) -> Iterator[Fact]:
    """Yield symbols with the values that the text gives them. A symbol that is only mentioned has none.

    With what cures a fault it is implied that it was the other way round before.
    """
    for one in held_against(block, SAID):
        yield one
        name, _, value = one.value.partition("=")
        if one.field is Field.CONFIG and one.get("outcome") == GOOD and value in ("y", "n"):
            other = f"{name}={'n' if value == 'y' else 'y'}"
            yield replace(one, value=other, certainty=Certainty.IMPLIED, rule="symbol-of-cure", data=())


# --------------------------------------------------------------------------------------------------------- whole .config


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """A whole configuration. symbols: name without CONFIG_ -> (value as .config has it, "n" for "is not set"; line)."""

    file: str
    part: str
    symbols: Mapping[str, tuple[str, int]]

    def place(self, name: str) -> Place:
        """Return where a symbol stands."""
        value, line = self.symbols[name]
        text = f"CONFIG_{name}={value}"
        return Place(file=self.file, part=self.part, line=line, first=1, last=len(text), text=text[:160])


ASSIGNED = re.compile(
    rf'CONFIG_({SYMBOL})=(y|m|-?\d{{1,20}}|0[xX][0-9a-fA-F]{{1,16}}|"(?:[^"\\\n]|\\.){{0,4000}}")\s*$'
)
UNSET = re.compile(rf"# CONFIG_({SYMBOL}) is not set\s*$")
SYMBOLS_MAX = 40_000


def config_file(file: str, part: str, lines: tuple[Line, ...]) -> ConfigFile:
    """Return the symbols of a configuration. Lines that are not of its form are passed over."""
    symbols: dict[str, tuple[str, int]] = {}
    for line in lines:
        text = line.text[:5000]
        if found := ASSIGNED.match(text):
            symbols[found[1]] = (found[2], line.at)
        elif found := UNSET.match(text):
            symbols[found[1]] = ("n", line.at)
        if len(symbols) >= SYMBOLS_MAX:
            break
    return ConfigFile(file=file, part=part, symbols=symbols)


# -------------------------------------------------------------------------------------------------------------- modules

MODULES: tuple[Row, ...] = (
    row(Field.MODULE, r"(?<![\w./+-])((?:[a-z][\w+-]{0,40}/){0,12}[\w+-]{2,80}\.ko)(?:\.(?:gz|xz|zst))?\b"),
    row(
        Field.MODULE,
        r"(?<![\w./+-])((?:[a-z][\w+-]{0,40}/){1,12}[\w+-]{1,80})\.(?:lto|prelink|klp)\.o\b",
        r"\g<1>.ko",
        "module-object",
    ),
)


def modules(block: Block) -> Iterator[Fact]:
    """Yield modules by the path that the text gives."""
    yield from held_against(block, MODULES)


def facts(block: Block) -> Iterator[Fact]:
    """Yield what a block says of the build."""
    for told in (commands, configuration, modules):
        yield from told(block)
