"""Our initramfs: a static busybox, an init script and all modules in loading order, as a newc cpio archive.

The same input gives the same bytes: entries sorted, no times, root's files, inode numbers counted from 1. Not compressed,
because a kernel under test need not have any RD_* decompressor.

Source: Documentation/driver-api/early-userspace/buffer-format.rst; init/initramfs.c.
"""

from __future__ import annotations

import io
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lab.errors import UsageError

Data = bytes | Path  # Path: a file that is read when the archive is written, so that modules need not be in memory

# What lab/data/boot/init calls, and a little for a user's own script.
APPLETS = (
    "cat",
    "dmesg",
    "echo",
    "insmod",
    "ls",
    "mount",
    "poweroff",
    "reboot",
    "rmmod",
    "sh",
    "sleep",
    "stty",
    "uname",
)
MODULES = "lab/modules"  # PATH of a module is relative to this folder, as it was to O=
MODULES_LIST = "lab/modules.list"
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

    depends: names of modules, as in its .modinfo ("mcb"); "-" and "_" are the same letter in them.
    """

    path: str
    data: Data
    depends: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name as the kernel knows it."""
        return _module_name(PurePosixPath(self.path).name.partition(".ko")[0])


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
    by_name: dict[str, list[int]] = {}
    for at, module in enumerate(modules):
        by_name.setdefault(module.name, []).append(at)
    needs = [
        [found for name in module.depends for found in by_name.get(_module_name(name), ()) if found != at]
        for at, module in enumerate(modules)
    ]
    order: list[int] = []
    cycles: list[tuple[str, ...]] = []
    finished: set[int] = set()
    for start in range(len(modules)):
        _visit(start, needs, order, finished, cycles, modules)
    return LoadOrder(modules=tuple(modules[at] for at in order), cycles=tuple(cycles))


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
    busybox: Data, modules: Sequence[ModuleFile], init: str, *, extra: Iterable[Entry] = ()
) -> tuple[Entry, ...]:
    """Return what the archive holds. modules: in the order in which init loads them (see load_order).

    busybox: a static ELF program of the guest's architecture. init: text of the script that the kernel starts.
    extra: entries that come on top, or replace one of ours. Raises UsageError for a path that no archive of ours may have.
    """
    for module in modules:
        # modules.list has one path a line, and so have the markers on the console
        if not module.path.isprintable():
            raise UsageError(f"a module's path has unprintable characters: {module.path!r}")
    listed = "".join(f"{module.path}\n" for module in modules).encode()
    made = [
        Entry(path="init", mode=stat.S_IFREG | 0o755, data=init.encode()),
        Entry(path="bin/busybox", mode=stat.S_IFREG | 0o755, data=busybox),
        *(Entry(path=f"bin/{name}", mode=stat.S_IFLNK | 0o777, data=b"busybox") for name in APPLETS),
        # without devtmpfs nobody else makes them; init has no output without the first
        Entry(path="dev/console", mode=stat.S_IFCHR | 0o600, device=(5, 1)),
        Entry(path="dev/null", mode=stat.S_IFCHR | 0o666, device=(1, 3)),
        *(Entry(path=folder, mode=stat.S_IFDIR | 0o755) for folder in ("proc", "sys", "tmp", MODULES)),
        Entry(path=MODULES_LIST, mode=stat.S_IFREG | 0o644, data=listed),
        *(Entry(path=f"{MODULES}/{one.path}", mode=stat.S_IFREG | 0o644, data=one.data) for one in modules),
        *extra,
    ]
    return tuple({entry.path: entry for entry in made}.values())


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
