"""One line of a kbuild log -> what it says of the machine, or of a tool that broke; neither is about the kernel's source.

The texts are those of GNU make, the shells, coreutils, GCC, binutils, LLVM and qemu-user; each row cites its program.
"""

from __future__ import annotations

import re

from lab.evidence.log_facts import Fact, InfraKind, InfraLine, ToolCrash

# ------------------------------------------------------------------------------------------------------- broken tools

CRASHES = re.compile(
    r"(?P<tool>\S*?):? ?(?:error: )?(?:internal compiler error|Internal error[,:!]|clang frontend command failed"
    r"|unable to execute command: (?:Segmentation|Aborted|Bus)|BFD \(.*\) internal error|BFD .* assertion fail"
    r"|PLEASE submit a bug report|LLVM ERROR: (?!.*out of memory)|(?:fatal )?error: error in backend: )"
)
ASSERTION = re.compile(r".{0,500}?\bAssertion [`'\"].*['\"] failed")
DIED = re.compile(
    r"(?:.*: (?:line )?\d+: *(?:\d+ )?)?(?P<how>Segmentation fault|Bus error|Illegal instruction|Aborted)\b"
)
ICE_PLACE = re.compile(r"(?P<source>[^\s:]+):\d+(?::\d+)?: ?(?:internal compiler error|.*Internal error)")


def tool_crash(text: str, at: int, _: object) -> Fact | None:
    """A compiler or linker that broke. Whether the machine broke it is for the check of infra.* to say first."""
    place = ICE_PLACE.match(text)
    if place or CRASHES.match(text) or ASSERTION.match(text) or "internal compiler error: " in text:
        tool = "" if place else text.partition(":")[0] if ":" in text[:80] else ""
        return ToolCrash(at=at, text=text, tool=tool, message=text, source=place["source"] if place else "")
    if (match := DIED.match(text)) and len(text) < 500:
        return ToolCrash(at=at, text=text, tool="", message=text if len(text) < 200 else match["how"])
    return None


# -------------------------------------------------------------------------------------------------------- the machine

# A name without a folder was looked for in PATH; "./tools/objtool/objtool" or "scripts/x.sh" is the kernel's own.
PROGRAM = r"(?P<tool>[^\s:'’\"/]+|/(?:usr|bin|sbin|opt)/[^\s:'’\"]+)"
NOT_FOUND = (
    rf"(?:\S*make(?:\[\d+\])?|\S*sh|\S*env)(?:: (?:line )?\d+)?: [‘'\"]?{PROGRAM}['’\"]?: "
    r"(?:[Cc]ommand )?(?:not found|No such file or directory)$"
)
# the compiler's driver, make's $(error), perl, python, scripts/rust_is_available.sh, Documentation/devicetree/bindings/Makefile
LACKING = (
    r".*error: cannot execute [‘'`](?P<tool>[^'’]+)['’]: (?:execvp|posix_spawnp?): No such file"
    r"|.*error trying to exec '(?P<exec>[^']+)': execvp: No such file"
    r"|.*unable to execute command: Executable \"(?P<executable>[^\"]+)\" doesn't exist"
    r"|.*invalid linker name in (?:argument )?'?-fuse-ld=(?P<ld>[^']+)|collect2: fatal error: cannot find '(?P<found>[^']+)'"
    r"|(?:\S{0,200}ld[\w.-]{0,20}: |.*error: )(?:cannot find|unable to find library) (?P<library>-l[^\s:]+|\S*crt\w*\.o)"
    r"|Can't locate (?P<perl>\S+\.pm) in @INC|(?:ModuleNotFound|Import)Error: No module named '?(?P<python>[\w.]+)'?"
    r"|Error: '(?P<checker>[^'/]+)' not found!|.*\*\*\* .*\b[Pp]lease install (?P<install>[^\s,.\"]+)"
    r"|\*\*\* (?P<needed>[\w' -]+?) (?:is too old|could not be found)\."
    r"|BTF: .*(?P<dwarves>pahole) version \S+ is too old"
)
INFRA: tuple[tuple[InfraKind, re.Pattern[str]], ...] = (
    # gcc, gas, ld, ar, cp, clang all print strerror(ENOSPC) somewhere in the line; docker writes it in lower case.
    (InfraKind.DISK_FULL, re.compile(r".*\b[Nn]o space left on device|.*Disk quota exceeded")),
    (InfraKind.READ_ONLY, re.compile(r".*: (?:'|‘)?[Rr]ead-only file system")),
    (
        InfraKind.IO_ERROR,
        re.compile(
            r".*: (?:Input/output error|Stale (?:NFS )?file handle|I/O error|Structure needs cleaning"
            r"|Transport endpoint is not connected)$"
        ),
    ),
    (
        InfraKind.OUT_OF_MEMORY,
        re.compile(
            r".*(?:[Vv]irtual memory exhausted|out of memory allocating|LLVM ERROR: out of memory|Out of memory: Kill"
            r"|oom-kill:|fork: (?:retry: )?Resource temporarily unavailable|Cannot allocate memory|std::bad_alloc"
            r"|(?:final (?:link|close) failed|\bld[\w.-]{0,20}|sort|xz): memory exhausted|malloc failed(?:: \d|$)"
            r"|fatal error: out of memory)|(?:Out of memory\.|MemoryError|out of memory)$"
        ),
    ),
    (
        InfraKind.KILLED,
        re.compile(
            r".*(?:[Kk]illed signal terminated program (?P<tool>\S+)|unable to execute command: Killed"
            r"|internal compiler error: Killed(?: \(program (?P<program>[^)\s]+)\))?"
            r"|terminated with signal 9 \[Killed\]|\(signal: 9, SIGKILL)|(?:\S+: (?:line )?\d+: +\d* *)?Killed\b(?! process)"
        ),
    ),
    # qemu-user, linux-user/signal.c; printed by the emulator, not by the program
    (InfraKind.EMULATOR, re.compile(r".*qemu: uncaught target signal \d+")),
    (InfraKind.EMULATOR, re.compile(r"qemu-\w+: (?:Unable to|Could not open|.*Assertion)|.*: Exec format error$")),
    (InfraKind.EMULATOR, re.compile(r"(?:qemu: )?Unsupported syscall: \d+")),
    (InfraKind.MISSING_TOOL, re.compile(NOT_FOUND)),
    (InfraKind.MISSING_TOOL, re.compile(LACKING)),
    (
        InfraKind.MISSING_TOOL,
        re.compile(
            r".*(?:C compiler|linker|assembler) '(?P<tool>[^']*)' not found|.*Sorry, this (?P<what>[\w ]+) is not supported"
            r"|BTF: .*pahole \((?P<pahole>\S+)\) is not available|.*please install (?P<package>libelf\S*|elfutils\S*)"
        ),
    ),
    # GNU make, file.c and remake.c, f_mtime()
    (
        InfraKind.CLOCK,
        re.compile(r".*[Ww]arning: +(?:File .* has modification time .* in the future|Clock skew detected)"),
    ),
    (
        InfraKind.INTERRUPTED,
        re.compile(r"\S*make(?:\[\d+\])?: \*\*\* (?:wait: No child processes|.*\] (?:Interrupt|Terminated|Hangup)$)"),
    ),
    # scripts/{cc,ld,as}-version.sh; the tool that stands in PATH is not one that the kernel can use
    (
        InfraKind.MISSING_TOOL,
        re.compile(
            r"(?:(?P<unknown>\S+).*: unknown (?:C compiler|linker|assembler invoked)|(?P<gold>gold linker) is not supported)"
        ),
    ),
    (InfraKind.CCACHE, re.compile(r"ccache: (?:error|FATAL): ")),
    (
        InfraKind.NETWORK,
        re.compile(
            r".*(?:Temporary failure in name resolution|Could not resolve host|Network is unreachable|Connection timed out"
            r"|No route to host)"
        ),
    ),
    (InfraKind.ENGINE, re.compile(r".*(?:Cannot connect to the Docker daemon|context deadline exceeded)")),
)


def infra_line(text: str, at: int, _: object) -> Fact | None:
    """A line about the machine: kernel-build failures that are nobody's source."""
    for kind, pattern in INFRA:
        if match := pattern.match(text):
            subject = next((value for value in match.groupdict().values() if value), "")
            return InfraLine(at=at, text=text, kind=kind, subject=subject)
    return None
