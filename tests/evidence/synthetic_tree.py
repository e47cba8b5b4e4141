"""A kernel's output directory made by code: ELF objects, .cmd files, archives, times and the record of writes.

Laid out like a build of linux 6.1 with TRIM_UNUSED_KSYMS: drivers/mcb/mcb-core.o exports mcb_alloc_bus, the module
drivers/mcb/mcb-lpc.ko needs it.
"""

import os
import struct
from pathlib import Path

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND  # 2023-11-14 22:13:20 UTC
GLOBAL, WEAK, LOCAL = 1, 2, 0
UNDEFINED, TEXT = 0, 1

SCRIPT = """#!/bin/sh
new_ksyms_file="include/generated/autoksyms.h.tmpnew"
while read sympath; do
	depfile="include/ksym/${sympath}"
	touch "$depfile"
%s	echo $((count += 1))
done
"""
GUARD = '\twhile [ ! "$depfile" -nt "$new_ksyms_file" ]; do\n\t\ttouch "$depfile"\n\tdone\n'
GUARDED, UNGUARDED = SCRIPT % GUARD, SCRIPT % ""


def elf(symbols, *, is_64=True, little=True, modinfo=(), machine=62):
    """Return the bytes of a relocatable ELF file. symbols: (name, bind, section index)."""
    order = "<" if little else ">"
    names, rows = b"\0", [b"\0" * (24 if is_64 else 16)]
    for name, bind, section in symbols:
        if is_64:
            rows.append(struct.pack(order + "IBBHQQ", len(names), bind << 4, 0, section, 16, 8))
        else:
            rows.append(struct.pack(order + "IIIBBH", len(names), 16, 8, bind << 4, 0, section))
        names += name.encode() + b"\0"
    info = b"".join(text.encode() + b"\0" for text in modinfo)
    headers = b"\0.text\0.symtab\0.strtab\0.shstrtab\0.modinfo\0"
    bodies = [(1, 1, b"\x90" * 32, 0, 0), (7, 2, b"".join(rows), 3, 24 if is_64 else 16), (15, 3, names, 0, 0)]
    bodies += [(23, 3, headers, 0, 0), (33, 1, info, 0, 0)]
    data, table = b"", [b"\0" * (64 if is_64 else 40)]
    size = 64 if is_64 else 52
    for name, kind, body, link, entry in bodies:
        fields = (name, kind, 0, 0, size + len(data), len(body), link, 0, 1, entry)
        table.append(struct.pack(order + ("IIQQQQIIQQ" if is_64 else "10I"), *fields))
        data += body
    ident = b"\x7fELF" + bytes([2 if is_64 else 1, 1 if little else 2, 1]) + b"\0" * 9
    head = (1, machine, 1, 0, 0, size + len(data), 0, size, 0, 0, 64 if is_64 else 40, len(table), 4)
    return ident + struct.pack(order + ("HHIQQQIHHHHHH" if is_64 else "HHIIIIIHHHHHH"), *head) + data + b"".join(table)


def thin_archive(members):
    names = "".join(f"{member}/\n" for member in members)
    names += "\n" * (len(names) % 2)
    text = "!<thin>\n" + "//".ljust(48) + str(len(names)).ljust(10) + "`\n" + names
    position = 0
    for member in members:
        text += f"/{position}".ljust(16) + "0".ljust(12) + "0".ljust(6) * 2 + "644".ljust(8) + "0".ljust(10) + "`\n"
        position += len(member) + 2
    return text.encode()


class Tree:
    """Writes an output directory. Times are seconds after START; a file without one is of START."""

    def __init__(self, root: Path, version: str = "6.1.192", trim: bool = True) -> None:
        self.root, self.linked, self.modules, self.events = root, [], [], []
        self.file(
            ".config",
            f"#\n# Linux/x86 {version} Kernel Configuration\n#\nCONFIG_MODULES=y\n"
            + ("CONFIG_TRIM_UNUSED_KSYMS=y\n" if trim else "# CONFIG_TRIM_UNUSED_KSYMS is not set\n"),
        )

    def file(self, name, content="", at=0.0):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.time(name, at)
        return path

    def time(self, name, at):
        time_ns = START + round(at * SECOND)
        os.utime(self.root / name, ns=(time_ns, time_ns))

    def object(self, name, *, could=(), exports=(), defines=(), undefined=(), weak=(), deps=(), at=0.0, linked=True):
        symbols = [(f"__ksym_marker_{s}", LOCAL, TEXT) for s in could]
        symbols += [(f"__ksymtab_{s}", LOCAL, TEXT) for s in exports]
        symbols += [(s, GLOBAL, TEXT) for s in (*defines, *could)]
        symbols += [(s, GLOBAL, UNDEFINED) for s in undefined] + [(s, WEAK, UNDEFINED) for s in weak]
        self.file(name, elf(symbols), at)
        self.command(name, deps=deps, ksyms=[f"include/ksym/{s}" for s in could], at=at)
        if linked:
            self.linked.append(name)

    def command(self, name, *, deps=(), ksyms=(), at=0.0):
        folder, _, base = name.rpartition("/")
        text = (
            f"cmd_{name} := gcc -D__KERNEL__ -c -o {name} /src/{name[:-2]}.c\n\nsource_{name} := /src/{name[:-2]}.c\n\n"
        )
        text += f"deps_{name} := \\\n" + "".join(f"  {dep} \\\n" for dep in ("/src/include/linux/kconfig.h", *deps))
        text += f"\n{name}: $(deps_{name})\n\n$(deps_{name}):\n"
        if ksyms:
            text += f"\nksymdeps_{name} := \\\n" + "".join(f"    $(wildcard {ksym}) \\\n" for ksym in ksyms)
            text += f"\n{name}: $(ksymdeps_{name})\n\n$(ksymdeps_{name}):\n"
        self.file(f"{folder}/.{base}.cmd", text, at)

    def module(self, ko, *, undefined=(), weak=(), exports=(), linked=True, at=0.0):
        base = ko.removesuffix(".ko")
        symbols = [(s, GLOBAL, UNDEFINED) for s in undefined] + [(s, WEAK, UNDEFINED) for s in weak]
        symbols += [(f"__ksymtab_{s}", LOCAL, TEXT) for s in exports]
        self.file(f"{base}.o", elf(symbols), at)
        self.command(f"{base}.o", at=at)
        self.file(f"{base}.mod", f"{base}.o\n", at)
        if linked:
            self.file(ko, elf(symbols, modinfo=("license=GPL", "depends=mcb", "import_ns=MCB")), at)
        self.modules.append(ko)

    def wanted(self, *symbols, at=0.0):
        self.file("include/generated/autoksyms.h", "".join(f"#define __KSYM_{s} 1\n" for s in symbols), at)

    def symvers(self, *symbols, at=60.0):
        rows = "".join(f"0x00000000\t{s}\tvmlinux\tEXPORT_SYMBOL_GPL\t\n" for s in symbols)
        self.file("Module.symvers", rows, at)

    def done(self, *, vmlinux=True, at=60.0):
        self.file("vmlinux.a", thin_archive(self.linked), at)
        self.file("modules.order", "".join(f"{module}\n" for module in self.modules), at)
        if vmlinux:
            self.file("vmlinux", elf([]), at)
        for number in range(8):  # as many built files as it takes to see how exact the times are
            self.file(f"lib/filler{number}.o", b"", number)
        return self

    def wrote(self, at, letters, name):
        self.events.append((START + round(at * SECOND), letters, name))

    def writes(self, path: Path):
        in_order = sorted(self.events, key=lambda event: event[0])  # as the recorder has them
        path.write_text("".join(f"{time}\t{letters}\t{name}\n" for time, letters, name in in_order))
        return path


def mcb(root, *, stale=False, object_at, touch_at, list_at, touches=1, granularity=1.0):
    """Return a Tree of one race: object written, list written, dependency file touched, object remade unless it is stale."""
    tree = Tree(root)
    symbol, name = "mcb_alloc_bus", "drivers/mcb/mcb-core.o"

    def whole(at):
        return at // granularity * granularity

    tree.wrote(object_at, "CW", name)
    tree.wrote(list_at - 0.01, "C", "include/generated/autoksyms.h.tmpnew")
    tree.wrote(list_at, "W", "include/generated/autoksyms.h.tmpnew")
    for turn in range(touches):
        tree.wrote(touch_at - (touches - 1 - turn) * 0.001, "CWA" if turn == 0 else "WA", f"include/ksym/{symbol}")
    tree.wrote(touch_at + 0.02, "M", "include/generated/autoksyms.h")
    if not stale:
        tree.wrote(touch_at + 5, "CW", name)
    tree.object(name, could=[symbol], exports=[] if stale else [symbol], at=whole(object_at if stale else touch_at + 5))
    tree.file(f"include/ksym/{symbol}", at=whole(touch_at))
    tree.wanted(symbol, at=whole(list_at))
    tree.module("drivers/mcb/mcb-lpc.ko", undefined=[symbol], linked=not stale, at=whole(touch_at + 6))
    if not stale:
        tree.symvers(symbol)
    return tree.done(vmlinux=not stale)
