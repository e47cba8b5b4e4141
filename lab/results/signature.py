"""What makes two findings the same fault, whichever run, machine or line they come from. Pure.

A signature is the finding's id, whom it blames, the guilty function and its title, each without what varies: times, addresses,
offsets, line numbers, process numbers, temporary files, counters of the compiler, and the folder in which a tree lies. Its key,
twelve hex digits of a hash of these, is the same for ever and everywhere; people and files of known issues name faults by it.
Where in doubt two faults are held to be different: digits that are part of a word (x86_64, 8250_pci, CONFIG_64BIT) stay.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lab.model import Finding

TITLE_AT_MOST = 300
RAW_AT_MOST = 4000

# Folders of the kernel's tree. Those of the first row hardly occur in the path to a tree, those of the second do (/usr/src,
# /var/lib/…, ~/kernel/…), so that of an absolute path with these only, the last one is where the tree begins.
_TOP = frozenset({"arch", "drivers", "fs", "mm", "sound", "crypto", "certs", "ipc", "virt", "io_uring", "rust"})
_TOP_TOO = frozenset(
    {"block", "include", "init", "kernel", "lib", "net", "samples", "scripts", "security", "tools", "usr"}
)
_ABSOLUTE = re.compile(r"(?<![\w.*])/(?:[\w.+,@=~-]+/)+[\w.+,@=~-]+")

# What the compiler hangs on a symbol, and counters in it. Source: gcc/cgraphclones.cc, gcc/symtab.cc; LLVM's ThinLTO
# promotion (".llvm."); include/linux/compiler.h, __UNIQUE_ID.
_CLONE = re.compile(
    r"(?<=\w)(?:\.(?:isra|constprop|part|cold|lto_priv|llvm|localalias|str)(?:\.[0-9]+)*)+(?!\w)"
    r"|(?<=\w)(?:\.[0-9]+)+(?![\w.])"
)
_UNIQUE = re.compile(r"(__UNIQUE_ID_\w*?)[0-9]+\b")
_LINE = re.compile(r"(?::[0-9]+)+$")
_OFFSET = re.compile(r"\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?", re.I)

_VARYING: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9:.]+[0-9])?(?: ?UTC\b|Z\b)?"), "TIME"),
    (re.compile(r"\b[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?\b"), "TIME"),
    (re.compile(r"/tmp/[\w.+-]+(?:/[\w.+-]+)*"), "TMP"),
    (_OFFSET, ""),
    (re.compile(r"\b0x[0-9a-f]+\b", re.I), "N"),
    (re.compile(r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b", re.I), "N"),
    (_UNIQUE, r"\1"),
    (_CLONE, ""),
    # Threads of the kernel carry the number of their processor. Source: kernel/smpboot.c, kernel/workqueue.c.
    (re.compile(r"\b(kworker|swapper|ksoftirqd|migration|cpuhp|idle_inject)/\w[\w:+-]*"), r"\1"),
    (re.compile(r"(?<=[\w)\]])(?::[0-9]+){1,2}(?![\w.])"), ""),  # lines and columns: of a file
    (re.compile(r"\b(make|line|lines|pid|cpu|CPU|PID|CPU#|T|C)(?=[ #:\[]?[0-9])[ #:\[]*[0-9]+\]?(?!\w)"), r"\1 N"),
    (re.compile(r"(?<![\w/.+-])[0-9]+(?:\.[0-9]+)*(?: ?(?:ns|us|ms|s|min|h|[kKMG]i?B|%))?(?![\w/])"), "N"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A fault over all runs. id: of the finding. blame, function, title: as in Finding, without what varies."""

    id: str
    blame: str = ""
    function: str = ""
    title: str = ""

    @property
    def key(self) -> str:
        """Twelve hex digits that stand for it."""
        words = "\0".join((self.id, self.blame, self.function, self.title))
        return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    def words(self) -> str:
        """Return it for people, in one line: "modpost.undefined drivers/x.ko: 'y' is undefined"."""
        where = " ".join(filter(None, [self.blame, f"{self.function}()" if self.function else ""]))
        return " ".join(filter(None, [self.id, f"{where}:" if where and self.title else where, self.title]))


def signature(finding: Finding) -> Signature:
    """Return what a finding has in common with the same fault elsewhere; what is joined to it has no part in it."""
    return Signature(
        id=finding.id,
        blame=steady_path(finding.blame),
        function=steady_function(finding.function),
        title=steady(finding.title),
    )


def told(findings: Iterable[Finding]) -> Iterator[tuple[Finding, bool]]:
    """Yield every finding, also those that are joined to another, and whether it stands by itself."""
    for finding in findings:
        yield finding, True
        for part, _ in told(finding.joined):
            yield part, False


def steady(text: str) -> str:
    """Return a line without what varies from run to run; doing it twice is doing it once."""
    line = " ".join(text[:RAW_AT_MOST].split())
    while True:
        before = line
        for pattern, instead in _VARYING:
            line = pattern.sub(instead, line)
        line = " ".join(_ABSOLUTE.sub(lambda found: _in_tree(found[0]), line).split())[:TITLE_AT_MOST].rstrip()
        # taking one thing away may show the next; it only ever gets shorter or has fewer digits, so this ends
        if line == before or len(line) > len(before):
            return line


def steady_path(path: str) -> str:
    """Return a path as it is within the kernel's tree, without line numbers; temporary files all alike."""
    bare = path[:RAW_AT_MOST]
    while True:
        before, bare = bare, _LINE.sub("", bare.strip())
        if re.match(r"/tmp/[^/]", bare):
            return "/tmp/*"
        bare = _in_tree(posixpath.normpath(bare)) if bare else ""
        if bare == before or len(bare) > len(before):
            return bare


def steady_function(name: str) -> str:
    """Return a function's name as it is in the source: no offset, no module, nothing that the compiler hung on it."""
    bare = _OFFSET.sub("", name.strip()[:RAW_AT_MOST]).partition(" ")[0]
    while (less := _CLONE.sub("", _UNIQUE.sub(r"\1", _OFFSET.sub("", bare)))) != bare:
        bare = less
    return bare


def _in_tree(path: str) -> str:
    """Return an absolute path from the kernel's tree on, where that can be told; a relative one as it is."""
    if not path.startswith("/"):
        return path
    parts = path.strip("/").split("/")
    folders = range(len(parts) - 1)
    sure = [at for at in folders if parts[at] in _TOP]
    likely = [at for at in folders if parts[at] in _TOP_TOO]
    at = sure[0] if sure else likely[-1] if likely else None
    if at is None:
        return path
    if at > 0 and parts[at - 1] in ("tools", "samples", "include", "lib"):  # tools/arch/, include/sound/, lib/crypto/
        at -= 1
    return "/".join(parts[at:])
