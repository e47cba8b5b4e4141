"""Lists of dependencies kept as numbers of runs: names that stand together in many lists are read, kept and judged once.

In a list, each header is followed by the options that it uses. A run goes from a header behind an option to the option before
the next such header. fixdep names an option only where it is met first, so the lists of two objects differ in single options,
and what is in between is mostly the same: the half million lines of a tiny kernel are 91,000 runs, 5,300 of them different.
Longer runs (from one header of include/linux in "s" to the next) are less often the same, shorter ones are more to look up.
Source: scripts/basic/fixdep.c, use_config().
"""

from __future__ import annotations

import posixpath
import re

OLD_KSYM_FOLDER = "include/config/ksym/"  # until 5.8 or so
LIST_END = b"\n\n"
MAX_RUN_BYTES, MAX_KNOWN_BYTES = 16 << 10, 32 << 20
ENTRY_BYTES = 200  # what a dict and its objects take beside the bytes of a key

LINE_END = b" \\\n"
# Every object of a kernel includes it first (-include); what stands before it is how this tree names its headers.
_KCONFIG = re.compile(rb" \\\n(  \S*)include/linux/kconfig\.h ")


class ListEndedError(ValueError):
    """The list ended within what was taken for a run of it."""


class Names(dict[bytes, str]):
    """Memory of raw dependency lines -> path: the same headers come hundreds of times, and each string is kept once.

    old_style: whether dependency files of exports, of a kernel before 5.1, were among them.
    """

    old_style = False

    def __missing__(self, raw: bytes) -> str:
        # What stands before a line is a newline. find(), because "in" would cost an exception within CPython 3.11.
        if raw.startswith(b"\n") or raw.find(LIST_END) >= 0:
            raise ListEndedError
        name = raw.decode("utf-8", "surrogateescape").strip()
        if name.endswith("\\"):
            name = name.rstrip("\\").strip()
        if name.startswith("$(wildcard "):
            name = name[len("$(wildcard ") :].rstrip(")").strip()
        self[raw] = name = normal(name.replace("$$", "$"))
        if name.startswith(OLD_KSYM_FOLDER):
            self.old_style = True
        return name

    def of(self, lines: bytes) -> tuple[str, ...]:
        """Return the paths of the lines of a list."""
        return tuple(filter(None, map(self.__getitem__, lines.split(LINE_END))))


def normal(name: str) -> str:
    """Return the path normalised, "" if there is none: most are so already, and posixpath.normpath() takes its time."""
    return posixpath.normpath(name) if "./" in name or "//" in name or "/." in name or name.endswith("/") else name


def text(raw: bytes) -> str:
    """Return bytes of a .cmd file as text (not UTF-8: surrogates)."""
    return raw.decode("utf-8", "surrogateescape")


class _Numbers(dict[bytes, int]):
    """Memory of the lines of a run, as they are between `begin` and `end` -> its number. bytes: how much is remembered."""

    def __init__(self, lists: Lists, begin: bytes, end: bytes) -> None:
        super().__init__()
        self.name_of, self.runs = lists.names.__getitem__, lists.runs
        self.begin, self.end, self.bytes = begin, end, 0

    def __missing__(self, raw: bytes) -> int:
        lines = (self.begin + raw + self.end).split(LINE_END)
        self.runs.append(tuple(filter(None, map(self.name_of, lines))))
        number = len(self.runs) - 1
        if len(raw) <= MAX_RUN_BYTES:
            if self.bytes > MAX_KNOWN_BYTES:  # not a kernel's: keep memory bounded
                self.clear()
                self.bytes = 0
            self.bytes += len(raw) + ENTRY_BYTES
            self[raw] = number
        return number


class Lists:
    """Reads the lists of dependencies of one tree's objects. runs: the names of each run, by its number.

    What is remembered of the files themselves is bounded.
    """

    def __init__(self) -> None:
        self.names = Names()
        self.runs: list[tuple[str, ...]] = []
        self._between = b""  # two runs: ") \\\n  /src/"; unknown until a file tells how its tree names headers

    def added(self, names: tuple[str, ...]) -> int:
        """Return the number of a new run."""
        self.runs.append(names)
        return len(self.runs) - 1

    def divided(self, data: bytes) -> list[bytes]:
        """Return a file in pieces: what is before the second run of its list, the runs, and the last with what is behind it."""
        if not self._between:
            match = _KCONFIG.search(data)
            if match is None:
                return [data]
            begin = match[1] if match[1].strip() else match[1] + b"i"  # built in place: options begin with blanks, too
            self._first, self._last = _Numbers(self, b"", b")"), _Numbers(self, begin, b"")
            self._inner = _Numbers(self, begin, b")")
            self._between = b")" + LINE_END + begin
        return data.split(self._between)

    def read(self, pieces: list[bytes]) -> tuple[list[int], bytes] | None:
        """Return the runs of a list and what is behind the empty line that ends it. None: it is not as fixdep writes it.

        pieces: as divided() gave them, without what is before the list.
        """
        last, ended, behind = pieces.pop().partition(LIST_END)
        if not ended:
            return None
        last = last.removesuffix(b" \\")
        try:
            if not pieces:
                return [self.added(self.names.of(last))], behind
            numbers = [self._first[pieces[0]]]
            del pieces[0]
            numbers += map(self._inner.__getitem__, pieces)
            numbers.append(self._last[last])
        except ListEndedError:
            return None
        return numbers, behind
