"""A Cell and its rows to the Steps that configure and build a kernel; what to make of the configuration that came out.

The place has the source read-only at SOURCE, the output directory at OUT, the lab's own files read-only at LAB and, if the
cell wants it, a compiler cache at CCACHE. These paths are the same for every cell, so nothing needs -ffile-prefix-map
(which would only show up in every .cmd file), and reproduce.sh uses them too.

Source: Documentation/kbuild/kbuild.rst, reproducible-builds.rst, llvm.rst.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lab.errors import UsageError
from lab.model import Amplify, Cell, Emulation, Fragment, Lto, Step
from lab.tables import Arch, Toolchain, ToolchainFamily

SOURCE = "/src"
OUT = "/out"
LAB = "/lab"
CCACHE = "/ccache"
BIN = f"{LAB}/bin"  # wrappers, first in PATH
KCONFIG = f"{LAB}/kconfig"  # files of kconfig_files()
KALLSYMS = f"{OUT}/.lab-kallsyms"  # where the cmp wrapper keeps the kallsyms passes
AMPLIFY = f"{LAB}/amplify"  # wrappers of a cell that makes races likelier, before BIN
AMPLIFIED = f"{OUT}/.lab-amplified"  # where these note what they did
LOAD = "lab-load"
COMPILER = "compiler"  # in Amplify: what CC starts

BUILD_LOG = "build.txt"  # of configure and make: one story, in order
REMAKE_LOG = "remake.txt"

# -j is ours (Make.jobs); these would move the output, hide the log or undo the environment that the Record promises.
RESERVED = ("O", "KBUILD_OUTPUT", "MAKEFLAGS", "MFLAGS", "ARCH", "SRCARCH")

_LTO_SYMBOL = {Lto.THIN: "CONFIG_LTO_CLANG_THIN", Lto.FULL: "CONFIG_LTO_CLANG_FULL"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerCache:
    """What ccache is told. size: of all it keeps, as in CCACHE_MAXSIZE.

    compiler: what tells two compilers apart ("gcc-12 12.2.0-14, binutils 2.40-2", an image's digest); "" leaves it to the
    time and size of the compiler's driver, which do not change with its assembler.
    """

    compiler: str = ""
    size: str = "10G"


# --------------------------------------------------------------------------------------------------------------- steps


def configure_steps(
    cell: Cell, arch: Arch, toolchain: Toolchain, *, jobs: int, cache: CompilerCache | None = None
) -> tuple[Step, ...]:
    """Return the Steps that make OUT/.config: base targets and fragments in the cell's order, then olddefconfig.

    If a base target comes last, it is the end. The files of kconfig_files() must lie under KCONFIG. jobs, cache: see
    build_step(). Raises UsageError for a make variable that is not the user's to set.
    """
    environment = _environment(cell, cache or CompilerCache())
    steps: list[Step] = []

    def add(name: str, argv: tuple[str, ...]) -> None:
        steps.append(
            Step(
                name=name,
                argv=argv,
                workdir=OUT,
                deadline_s=cell.deadlines.configure_s,
                log=BUILD_LOG,
                environment=environment,
            )
        )

    waiting: list[str] = []

    def append_waiting() -> None:
        if waiting:
            # names are arguments, never part of the script; kconfig takes the last word on a symbol
            add("fragments", ("sh", "-c", 'exec cat -- "$@" >>.config', "sh", *waiting))
            waiting.clear()

    for number, fragment in enumerate(fragments(cell), start=1):
        if fragment.kind == "base":
            append_waiting()
            add("base", make_line(cell, arch, toolchain, jobs=jobs, targets=(fragment.text,)))
        else:
            waiting.append(f"{KCONFIG}/{_fragment_file(number, fragment)}")
    # a base target leaves a whole .config behind (scripts/kconfig/Makefile): olddefconfig would find no change, in a second
    # that goes into asking the compiler what it can do, once more
    if waiting or not steps:
        append_waiting()
        add("olddefconfig", make_line(cell, arch, toolchain, jobs=jobs, targets=("olddefconfig",)))
    return tuple(steps)


def build_step(cell: Cell, arch: Arch, toolchain: Toolchain, *, jobs: int, cache: CompilerCache | None = None) -> Step:
    """Return the Step that builds. jobs: for -j. cache: only looked at if the cell has a compiler cache.

    It is the only one that is amplified.
    """
    busy = (f"{AMPLIFY}/{LOAD}", str(cell.amplify.load)) if cell.amplify.load else ()
    environment = dict(_environment(cell, cache or CompilerCache()))
    if cell.amplify:
        environment |= {"PATH": f"{AMPLIFY}:{environment['PATH']}", "LAB_AMPLIFIED": AMPLIFIED}
    return Step(
        name="build",
        argv=(*busy, *make_line(cell, arch, toolchain, jobs=jobs, targets=cell.make.targets, keep_going=True)),
        workdir=OUT,
        deadline_s=cell.deadlines.build_s,
        log=BUILD_LOG,
        environment=tuple(sorted(environment.items())),
    )


def amplified(cell: Cell, arch: Arch, toolchain: Toolchain) -> Amplify:
    """Return what makes races likelier, with the name of a program in place of COMPILER."""
    real = "ccache" if cell.ccache else _compiler(cell, arch, toolchain)
    slow = tuple((real if tool == COMPILER else tool, seconds) for tool, seconds in cell.amplify.slow)
    align = tuple((real if tool == COMPILER else tool, text) for tool, text in cell.amplify.align)
    return replace(cell.amplify, slow=slow, align=align)


def amplify_rules(wanted: Amplify) -> str:
    """Return the text that lab/data/bin/amplify reads. wanted: amplified(), whose texts are of one line."""
    slow = [f"slow {tool} {seconds:g}\n" for tool, seconds in wanted.slow]
    return "".join([*slow, *(f"align {tool} {text}\n" for tool, text in wanted.align)])


def amplify_names(wanted: Amplify) -> tuple[str, ...]:
    """Return the names under which that script stands in AMPLIFY."""
    tools = dict.fromkeys(tool for tool, _ in (*wanted.slow, *wanted.align))
    return (*tools, *((LOAD,) if wanted.load else ()))


def remake_step(cell: Cell, arch: Arch, toolchain: Toolchain, *, jobs: int, cache: CompilerCache | None = None) -> Step:
    """Return the Step that makes again what build_step() made, and says of each target why.

    V=2: kbuild appends its reason to the short lines, "  CC      init/main.o - due to: init/main.c"; the saved command lines
    stay the same. GNU make's own --debug=b names every target that depends on FORCE, which are nearly all.
    Source: scripts/Kbuild.include, "why - tell why a target got built".
    """
    talking = replace(cell, make=replace(cell.make, variables=(*cell.make.variables, ("V", "2"))), amplify=Amplify())
    step = build_step(talking, arch, toolchain, jobs=jobs, cache=cache)
    return replace(step, name="remake", log=REMAKE_LOG)


def make_line(
    cell: Cell, arch: Arch, toolchain: Toolchain, *, jobs: int, targets: tuple[str, ...] = (), keep_going: bool = False
) -> tuple[str, ...]:
    """Return make's argv. No -s: the log reader and the progress live on the short lines ("  CC      init/main.o").

    Of two settings of one variable the cell's counts. Raises UsageError for a variable of RESERVED.
    """
    for name, _ in cell.make.variables:
        if name in RESERVED:
            raise UsageError(
                f"make variable {name!r} belongs to the lab",
                facts=(("cell", cell.id), ("reserved", ", ".join(RESERVED))),
            )
    prefix = "ccache " if cell.ccache else ""
    variables = {
        "ARCH": arch.kernel_arch,
        **_tools(cell, arch, toolchain),
        "CC": f"{prefix}{_compiler(cell, arch, toolchain)}",
        # tools/objtool and scripts/ are a tenth of a small build's compile time
        "HOSTCC": f"{prefix}{toolchain.hostcc}",
        **dict(toolchain.variables),
        **dict(cell.make.variables),
    }
    return (
        *("make", "-C", SOURCE, f"O={OUT}", f"-j{max(1, jobs)}"),
        # after a first error the rest is still built: more errors in one run, and more evidence for the checks
        *(("-k",) if keep_going else ()),
        *(f"{name}={value}" for name, value in variables.items()),
        *targets,
    )


def _compiler(cell: Cell, arch: Arch, toolchain: Toolchain) -> str:
    """Return the compiler of kernel code. gcc serves one architecture and has it in its name, clang serves all."""
    prefixed = cell.emulation is Emulation.CROSS and toolchain.family is ToolchainFamily.GCC
    return f"{arch.gnu_triplet}-{toolchain.cc}" if prefixed else toolchain.cc


def _tools(cell: Cell, arch: Arch, toolchain: Toolchain) -> dict[str, str]:
    """Return what chooses the tools around the compiler: GNU's by their prefix, LLVM's by their version.

    CROSS_COMPILE is also where clang takes its target from; without it that is the kernel's choice, which until 5.15 was
    the build machine's architecture. Source: scripts/Makefile.clang; 231ad7f409f1.
    """
    tools = {"CROSS_COMPILE": f"{arch.gnu_triplet}-"} if cell.emulation is Emulation.CROSS else {}
    if toolchain.family is ToolchainFamily.LLVM:
        # LLVM=-14 means LD=ld.lld-14 and so on only since 5.18 (e9c281928c24), before that it means LD=ld.lld; and
        # LLVM_IAS=1, the default since 5.15 (f12b034afeb3), was a choice of its own
        suffix = f"-{toolchain.version}"
        tools |= {"LLVM": suffix, "LLVM_IAS": "1", "LD": f"ld.lld{suffix}"}
        tools |= {
            name.upper(): f"llvm-{name}{suffix}" for name in ("ar", "nm", "objcopy", "objdump", "readelf", "strip")
        }
        tools |= {"HOSTAR": f"llvm-ar{suffix}", "HOSTLD": f"ld.lld{suffix}"}
    return tools


def _environment(cell: Cell, cache: CompilerCache) -> tuple[tuple[str, str], ...]:
    """Return the whole environment, sorted. Nothing is inherited, so MAKEFLAGS and KBUILD_OUTPUT are unset.

    The fixed values go into the kernel (uname -v); file times stay real, or timestamp races would be hidden.
    """
    values = {
        "HOME": "/tmp",
        "KBUILD_BUILD_HOST": "lab",
        "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
        "KBUILD_BUILD_USER": "lab",
        "KBUILD_BUILD_VERSION": "1",
        "LAB_KALLSYMS": KALLSYMS,
        "LC_ALL": "C",
        "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
        "SOURCE_DATE_EPOCH": "0",
        "TMPDIR": "/tmp",
        "TZ": "UTC",
        **(_ccache(cache) if cell.ccache else {}),
    }
    return tuple(sorted(values.items()))


def _ccache(cache: CompilerCache) -> dict[str, str]:
    """Return ccache's settings for a kernel in a container: the safe ones only. Source: ccache(1), 4.7.

    Left at their defaults on purpose:
    - depend_mode: would not see .incbin, and hands out last month's config_data.gz (tried with 4.7.5);
    - hard_link: objtool and sorttable edit objects in place;
    - inode_cache: trusts the times of a header however new they are, and a whole build gains nothing (27.4 for 26.8 s of
      CPU, 4.7.5 and linux 6.1; 280 s with an empty cache: what is left are 26,000 short processes of kbuild's own);
    - sloppiness: a header as new as its reader is what the lab looks for;
    - base_dir, hash_dir: SOURCE and OUT are the same everywhere.
    """
    values = {"CCACHE_DIR": CCACHE, "CCACHE_MAXSIZE": cache.size, "CCACHE_TEMPDIR": "/tmp/ccache"}
    if cache.compiler:
        values["CCACHE_COMPILERCHECK"] = f"string:{cache.compiler}"
    return values


# ------------------------------------------------------------------------------------------------------------- kconfig


class NotHonoured(NamedTuple):
    """A request that the configuration does not show. wanted, got: "y", "n", "m" or a value; got is "" if not there."""

    symbol: str
    wanted: str
    got: str


def fragments(cell: Cell) -> tuple[Fragment, ...]:
    """Return the cell's fragments in order, with what its lto axis asks for at the end."""
    symbol = _LTO_SYMBOL.get(cell.lto)
    if symbol is None:
        return cell.kconfig
    return (*cell.kconfig, Fragment(kind="file", text=f"{symbol}=y\n# CONFIG_LTO_NONE is not set\n", name="lto"))


def kconfig_files(cell: Cell) -> tuple[tuple[str, str], ...]:
    """Return (name, text) of the files that must lie under KCONFIG: each fragment that is no base target, in order."""
    return tuple(
        (_fragment_file(number, fragment), fragment.text.replace("\r\n", "\n").rstrip("\n") + "\n")
        for number, fragment in enumerate(fragments(cell), start=1)
        if fragment.kind != "base"
    )


def _fragment_file(number: int, fragment: Fragment) -> str:
    return f"{number:03}-{_UNSAFE.sub('_', fragment.name)[:60]}"


_SET = re.compile(r"(CONFIG_[A-Za-z0-9_]+)=(.*)")
_UNSET = re.compile(r"# (CONFIG_[A-Za-z0-9_]+) is not set")


def not_honoured(wanted: Sequence[Fragment], config_text: str) -> tuple[NotHonoured, ...]:
    """Return the requested symbols that the final configuration does not have as requested, in order of request.

    wanted: fragments(cell). Of two requests for one symbol the last counts. Base targets are no requests. A symbol wanted
    off is honoured by its absence; one wanted =y that came out =m is not honoured, nor the other way round.

    Source: scripts/kconfig/confdata.c, conf_read_simple(); scripts/kconfig/merge_config.sh checks in the same manner.
    """
    requested: dict[str, str] = {}
    for fragment in wanted:
        if fragment.kind != "base":
            for symbol, value in _settings(fragment.text):
                requested.pop(symbol, None)  # the place of its last request
                requested[symbol] = value
    found = dict(_settings(config_text))
    return tuple(
        NotHonoured(symbol, value, found.get(symbol, ""))
        for symbol, value in requested.items()
        if not _equal(value, found.get(symbol, "n" if value == "n" else ""))
    )


def _settings(text: str) -> list[tuple[str, str]]:
    """Return (symbol, value) of each line that sets one; "is not set" is the value n."""
    settings = []
    for line in map(str.rstrip, text.split("\n")):
        if match := _SET.fullmatch(line):
            settings.append((match[1], match[2]))
        elif match := _UNSET.fullmatch(line):
            settings.append((match[1], "n"))
    return settings


_DECIMAL = re.compile(r"-?[0-9]{1,30}")
_HEXADECIMAL = re.compile(r"(?:0[xX])?[0-9a-fA-F]{1,30}")


def _equal(wanted: str, got: str) -> bool:
    """Compare as kconfig does: numbers by value (hex symbols with or without 0x), the rest, strings with quotes, as text."""
    if wanted == got:
        return True
    if _DECIMAL.fullmatch(wanted) and _DECIMAL.fullmatch(got):
        return int(wanted) == int(got)
    # a hex symbol is written back with 0x if the default or the request had it
    hexadecimal = "0x" in (wanted[:2].lower(), got[:2].lower())
    if hexadecimal and _HEXADECIMAL.fullmatch(wanted) and _HEXADECIMAL.fullmatch(got):
        return int(wanted, 16) == int(got, 16)
    return False


# ------------------------------------------------------------------------------------------------------------ progress

# "  CC [M]  drivers/input/joydev.o": two spaces, the tool, its target. CHK, CALL and the like come also when nothing is
# to be done. Source: scripts/Kbuild.include, "kecho" and quiet_cmd_*.
_PROGRESS = re.compile(r"^  (?:CC|AS|LD|AR|HOSTCC|HOSTLD|RUSTC)(?: \[M\])? +\S")


def is_progress(line: str) -> bool:
    """Return whether a line of make's log tells of one more file built."""
    return _PROGRESS.match(line) is not None


def progress(line: str, seen: int, expected: int | None) -> tuple[int, float | None]:
    """Return (files built so far, fraction of the build) after one more line of make's log.

    expected: is_progress() lines of an earlier build with the same build_key(), None if there was none. The fraction stays
    below 1: only the end of the step is the end.
    """
    seen += is_progress(line)
    return seen, (min(seen / expected, 0.99) if expected else None)


def build_key(cell: Cell) -> str:
    """Return a hash of what decides how much there is to build: the key under which `expected` can be remembered."""
    decides = (cell.source, cell.arch, cell.toolchain, cell.lto, fragments(cell), cell.patches, cell.make.targets)
    return hashlib.sha256(repr(decides).encode("utf-8", "surrogatepass")).hexdigest()[:16]
