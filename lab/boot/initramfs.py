"""Our initramfs: a static busybox, an init script and all modules in loading order, as a newc cpio archive.

The same input gives the same bytes: entries sorted, no times, root's files, inode numbers counted from 1. Not compressed,
because a kernel under test need not have any RD_* decompressor.

Source: Documentation/driver-api/early-userspace/buffer-format.rst; init/initramfs.c.
"""

from __future__ import annotations

import io
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lab.errors import UsageError

Data = bytes | Path  # Path: a file that is read when the archive is written, so that modules need not be in memory

# What lab/data/boot/init and modprobe call, and a little for a user's own script.
APPLETS = (
    "cat",
    "dmesg",
    "echo",
    "grep",
    "insmod",
    "ls",
    "mount",
    "poweroff",
    "reboot",
    "rmmod",
    "sh",
    "sleep",
    "stty",
    "tr",
    "uname",
)
MODULES = "lab/modules"  # PATH of a module is relative to this folder, as it was to O=
MODULES_LIST = "lab/modules.list"  # a module a line: PATH, or PATH, a tab and its parameters
OPTIONS = "lab/options"  # a word a line: twice, unload, run NAME
PROGRAM = "lab/program"
ON_DEMAND = "lab/on-demand"  # an alias a line: tab, alias, and behind a tab each the modules in loading order
MODPROBE = "sbin/modprobe"  # CONFIG_MODPROBE_PATH's default
_SIZE_LIMIT = 0xFFFFFFFF  # eight hexadecimal digits
_BLOCK = 512  # what cpio(1) rounds an archive up to
_MAGIC, _TRAILER = b"070701", "TRAILER!!!"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of an archive. path: relative, without "." and "..". mode: with the file type's bits (S_IFREG …).

    data: a file's content or a symbolic link's target. device: major and minor of a device node.
    """

    path: str
    mode: int
    data: Data = b""
    device: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFile:
    """A module to be loaded. path: relative to O= ("drivers/mcb/mcb-lpc.ko").

    depends: names of modules, as in its .modinfo ("mcb"); "-" and "_" are the same letter in them. parameters: "a=1 b=2".
    aliases: those without wildcards, by which something in the kernel may ask for it ("crypto-crc32c").
    """

    path: str
    data: Data
    depends: tuple[str, ...] = ()
    parameters: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name as the kernel knows it."""
        return _module_name(PurePosixPath(self.path).name.partition(".ko")[0])

    @property
    def bytes(self) -> int:
        """How large it is in the archive. Raises OSError for a file that is not there."""
        return self.data.stat().st_size if isinstance(self.data, Path) else len(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemand:
    """What the kernel may ask for while modules are loaded. modules: closed under what they need. script: text of modprobe."""

    modules: tuple[ModuleFile, ...] = ()
    script: str = ""

    def lines(self) -> str:
        """Return the text of lab/on-demand. Raises UsageError for what does not stay on its line."""
        needs = needs_of(self.modules)
        rows = []
        for at, module in enumerate(self.modules):
            order = load_order([self.modules[one] for one in sorted(closure([at], needs))]).modules
            fields = "\t".join(_one_line(one.path) for one in order)
            names = dict.fromkeys(_module_name(alias) for alias in (module.name, *module.aliases))
            rows += [f"\t{_one_line(name)}\t{fields}\n" for name in names]
        return "".join(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """What init does besides loading each module once. twice, unload: as in lab.model.BootModules.

    program: (name for people, its bytes) of what is run once the modules are loaded; None: nothing.
    """

    twice: bool = False
    unload: bool = False
    program: tuple[str, bytes] | None = None

    def lines(self) -> str:
        """Return the text of lab/options. Raises UsageError for a name that is more than one line."""
        words = [word for word, wanted in (("twice", self.twice), ("unload", self.unload)) if wanted]
        if self.program is not None:
            words.append(f"run {_one_line(self.program[0])}")
        return "".join(f"{word}\n" for word in words)


LOAD_ONLY = Tasks()
NOTHING = OnDemand()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """Modules, each after those it depends on; cycles: paths of each circle met, first one repeated at its end."""

    modules: tuple[ModuleFile, ...]
    cycles: tuple[tuple[str, ...], ...] = ()


def load_order(modules: Sequence[ModuleFile]) -> LoadOrder:
    """Return the modules in an order in which they can be loaded, otherwise as given.

    A dependency that is not among them is left out: it is built in, or loading will say what it misses. In a circle the
    module met first is put last, so that the order is total and loading tells what cannot be had.
    """
    needs = needs_of(modules)
    order: list[int] = []
    cycles: list[tuple[str, ...]] = []
    finished: set[int] = set()
    for start in range(len(modules)):
        _visit(start, needs, order, finished, cycles, modules)
    return LoadOrder(modules=tuple(modules[at] for at in order), cycles=tuple(cycles))


def needs_of(modules: Sequence[ModuleFile]) -> tuple[tuple[int, ...], ...]:
    """Return of each module the positions of those that it needs directly, as far as they are among these."""
    by_name: dict[str, list[int]] = {}
    for at, module in enumerate(modules):
        by_name.setdefault(module.name, []).append(at)
    return tuple(
        tuple(found for name in module.depends for found in by_name.get(_module_name(name), ()) if found != at)
        for at, module in enumerate(modules)
    )


def closure(starts: Iterable[int], needs: Sequence[Sequence[int]]) -> set[int]:
    """Return what is reached from these, themselves included."""
    reached: set[int] = set()
    waiting = list(starts)
    while waiting:
        at = waiting.pop()
        if at not in reached:
            reached.add(at)
            waiting += needs[at]
    return reached


def _visit(
    start: int,
    needs: Sequence[Sequence[int]],
    order: list[int],
    finished: set[int],
    cycles: list[tuple[str, ...]],
    modules: Sequence[ModuleFile],
) -> None:
    """Append start to the order, after all that it needs (depth first, without recursion: chains may be long)."""
    if start in finished:
        return
    trail = [start]
    on_trail = {start}
    waiting = [iter(needs[start])]
    while trail:
        following = next((at for at in waiting[-1] if at not in finished), None)
        if following is None:
            done = trail.pop()
            waiting.pop()
            on_trail.discard(done)
            finished.add(done)
            order.append(done)
        elif following in on_trail:
            circle = [*trail[trail.index(following) :], following]
            cycles.append(tuple(modules[at].path for at in circle))
        else:
            trail.append(following)
            on_trail.add(following)
            waiting.append(iter(needs[following]))


def _module_name(text: str) -> str:
    return text.replace("-", "_")


def entries(
    busybox: Data,
    modules: Sequence[ModuleFile],
    init: str,
    *,
    tasks: Tasks = LOAD_ONLY,
    on_demand: OnDemand = NOTHING,
    extra: Iterable[Entry] = (),
) -> tuple[Entry, ...]:
    """Return what the archive holds. modules: in the order in which init loads them (see load_order).

    busybox: a static ELF program of the guest's architecture. init: text of the script that the kernel starts.
    on_demand: what the kernel may ask for; without modules there is no modprobe.
    extra: entries that come on top, or replace one of ours. Raises UsageError for a path that no archive of ours may have.
    """
    listed = "".join(list_line(module) for module in modules).encode()
    made = [
        Entry(path="init", mode=stat.S_IFREG | 0o755, data=init.encode()),
        Entry(path="bin/busybox", mode=stat.S_IFREG | 0o755, data=busybox),
        *(Entry(path=f"bin/{name}", mode=stat.S_IFLNK | 0o777, data=b"busybox") for name in APPLETS),
        # without devtmpfs nobody else makes them; init has no output without the first
        Entry(path="dev/console", mode=stat.S_IFCHR | 0o600, device=(5, 1)),
        Entry(path="dev/null", mode=stat.S_IFCHR | 0o666, device=(1, 3)),
        *(Entry(path=folder, mode=stat.S_IFDIR | 0o755) for folder in ("proc", "sys", "tmp", MODULES)),
        Entry(path=MODULES_LIST, mode=stat.S_IFREG | 0o644, data=listed),
        Entry(path=OPTIONS, mode=stat.S_IFREG | 0o644, data=tasks.lines().encode()),
        *((Entry(path=PROGRAM, mode=stat.S_IFREG | 0o755, data=tasks.program[1]),) if tasks.program else ()),
        *_demanded(on_demand),
        *(Entry(path=f"{MODULES}/{one.path}", mode=stat.S_IFREG | 0o644, data=one.data) for one in modules),
        *extra,
    ]
    return tuple({entry.path: entry for entry in made}.values())


def _demanded(on_demand: OnDemand) -> Iterator[Entry]:
    if on_demand.modules:
        yield Entry(path=MODPROBE, mode=stat.S_IFREG | 0o755, data=on_demand.script.encode())
        yield Entry(path=ON_DEMAND, mode=stat.S_IFREG | 0o644, data=on_demand.lines().encode())
    for one in on_demand.modules:
        yield Entry(path=f"{MODULES}/{one.path}", mode=stat.S_IFREG | 0o644, data=one.data)


def list_line(module: ModuleFile) -> str:
    """Return a module's line of lab/modules.list. Raises UsageError for what does not stay in it."""
    parameters = f"\t{_one_line(module.parameters)}" if module.parameters else ""
    return f"{_one_line(module.path)}{parameters}\n"


def _one_line(text: str) -> str:
    """Return a text that cannot be taken for more: the lists of init have one a line, and so have its markers."""
    if not text.isprintable():
        raise UsageError(f"unprintable characters in what a guest is given: {text!r}")
    return text


def initramfs(busybox: Data, modules: Sequence[ModuleFile], init: str, *, extra: Iterable[Entry] = ()) -> bytes:
    """Return the whole archive, uncompressed: entries() through write_archive()."""
    out = io.BytesIO()
    write_archive(entries(busybox, modules, init, extra=extra), out)
    return out.getvalue()


# ----------------------------------------------------------------------------------------------------------------- newc


def write_archive(members: Iterable[Entry], out: BinaryIO) -> int:
    """Write members as a newc archive, sorted by path, missing folders added; return the number of bytes written.

    Raises UsageError for a path that is absolute, empty or climbs ("..") and for data of 4 GiB or more.
    """
    written = 0
    for number, entry in enumerate(_with_folders(members), start=1):
        written += _write(entry, number, out)
    written += _write(Entry(path=_TRAILER, mode=0), 0, out)
    return written + out.write(bytes(-written % _BLOCK))


def is_whole(archive: Path) -> bool:
    """Whether an archive that write_archive() wrote has its end; True for any other file. Raises OSError."""
    with archive.open("rb") as file:
        if file.read(6) != _MAGIC:
            return True
        file.seek(0, io.SEEK_END)
        file.seek(max(0, file.tell() - 2 * _BLOCK))
        return _TRAILER.encode() in file.read()


def _with_folders(members: Iterable[Entry]) -> list[Entry]:
    known: dict[str, Entry] = {}
    for entry in members:
        parts = entry.path.split("/")
        if "\0" in entry.path or any(part in ("", ".", "..") for part in parts):
            raise UsageError(f"no path for an archive: {entry.path!r}")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            known.setdefault(folder, Entry(path=folder, mode=stat.S_IFDIR | 0o755))
        known[entry.path] = entry
    # by components, so that a folder comes before what lies in it: the kernel makes them in the archive's order
    return sorted(known.values(), key=lambda entry: entry.path.encode("utf-8", "surrogateescape").split(b"/"))


def _write(entry: Entry, number: int, out: BinaryIO) -> int:
    data = entry.data.read_bytes() if isinstance(entry.data, Path) else entry.data
    if len(data) > _SIZE_LIMIT:
        raise UsageError(f"too large for an archive: {entry.path!r}")
    name = entry.path.encode("utf-8", "surrogateescape") + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(data), 0, 0, *entry.device, len(name), 0)
    header = _MAGIC + b"".join(b"%08X" % value for value in fields) + name
    written = out.write(header + bytes(-len(header) % 4))
    written += out.write(data)
    return written + out.write(bytes(-len(data) % 4))
