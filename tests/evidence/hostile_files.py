"""Evidence of every kind, small and sound, and the ways in which a stranger may break it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import struct

import kallsyms_image
import zstandard
from synthetic_tree import mcb

from lab.evidence import bundle

WORDS = (0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
R_X86_64_64 = 1
SHT = {"progbits": 1, "symtab": 2, "strtab": 3, "rela": 4, "nobits": 8}


class Section:
    def __init__(self, name, body, kind="progbits", *, flags=2, addr=0, link=0, info=0, entsize=0):
        self.name, self.body, self.kind = name, body, kind
        self.flags, self.addr, self.link, self.info, self.entsize = flags, addr, link, info, entsize


def elf(sections, symbols=(), *, kind=1):
    """Return a little-endian 64-bit ELF file. symbols: (name, info, section, value); they come as the last sections."""
    names, rows = b"\0", [b"\0" * 24]
    for name, info, section, value in symbols:
        rows.append(struct.pack("<IBBHQQ", len(names), info, 0, section, value, 8))
        names += name.encode() + b"\0"
    own = [*sections]
    symtab = len(own) + 1
    own.append(Section(".symtab", b"".join(rows), "symtab", flags=0, link=symtab + 1, entsize=24))
    own.append(Section(".strtab", names, "strtab", flags=0))
    titles = b"\0" + b"".join(one.name.encode() + b"\0" for one in own) + b".shstrtab\0"
    own.append(Section(".shstrtab", titles, "strtab", flags=0))
    data, headers = bytearray(64), [b"\0" * 64]
    for one in own:
        data += b"\0" * (-len(data) % 8)
        link = symtab if one.kind == "rela" else one.link
        headers.append(
            struct.pack(
                "<IIQQQQIIQQ", titles.find(b"\0" + one.name.encode() + b"\0") + 1, SHT[one.kind], one.flags, one.addr,
                len(data), len(one.body), link, one.info, 8, one.entsize,
            )
        )  # fmt: skip
        data += one.body
    data += b"\0" * (-len(data) % 8)
    head = struct.pack("<HHIQQQIHHHHHH", kind, 62, 1, 0, 0, len(data), 0, 64, 0, 0, 64, len(headers), len(own))
    data[:64] = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + head
    return bytes(data) + b"".join(headers)


def rela(*rows):
    return b"".join(struct.pack("<QQq", offset, symbol << 32 | R_X86_64_64, 0) for offset, symbol in rows)


def module():
    """A livepatch module with what every reader of modules looks at."""
    sections = [
        Section(".text", b"\x90" * 64, flags=6),
        Section(".modinfo", b"license=GPL\0depends=mcb\0livepatch=Y\0vermagic=6.1.0-9 SMP mod_unload \0"),
        Section(".static_call_sites", b"\0" * 16),
        Section(".rela.static_call_sites", rela((0, 1), (4, 2), (8, 1), (12, 2)), "rela", info=3, entsize=24),
        Section(".klp.module_relocs.vmlinux", struct.pack("<QI", 0, 1) + struct.pack("<QI", 0, 2)),
        Section(".rela.klp.module_relocs.vmlinux", rela((0, 4), (12, 4)), "rela", info=5, entsize=24),
        Section(".klp.rela.vmlinux..text", rela((8, 5)), "rela", flags=0x100002, info=1, entsize=24),
        Section(".orc_unwind", b"\0" * 12),
    ]
    symbols = [
        ("first.c", 4, 0xFFF1, 0), ("same", 2, 1, 0), ("same", 2, 1, 16), ("state_show", 0x10, 0, 0),
        (".klp.sym.vmlinux.state_show,2", 0x10, 0xFF20, 0), ("mcb_alloc_bus", 0x10, 0, 0), ("__ksymtab_x", 1, 1, 0),
    ]  # fmt: skip
    return elf(sections, symbols)


def vmlinux(layout="6.1"):
    """A kernel with symbols and a table that describes them."""
    at = 0xFFFFFFFF81000000
    own = [(at, "T", "_stext"), (at, "T", "_text")]
    own += [(at + 16 * number, "T", f"name_{number}") for number in range(600)]
    table, labels = kallsyms_image.image(own, layout="6.1" if layout == "bare" else layout, base=at)
    data_at = at + 0x100000
    banner = b"Linux version 6.1.0-9 (x@y) #1\0" + b"6.1.0-9 SMP mod_unload \0"
    sections = [
        Section(".text", b"\x90" * 16 * 600, flags=6, addr=at),
        Section(".rodata", table, flags=2, addr=data_at),
        Section(".rodata.str", banner, flags=2, addr=data_at + 0x100000),
    ]
    symbols = [(name, 0x12, 1, address) for address, _, name in own]
    symbols += [(label, 0x11, 2, data_at + offset) for label, offset in labels.items()]
    symbols.append(("_etext", 0x12, 1, at + 16 * 600))
    return elf(sections, symbols, kind=2)


# ---------------------------------------------------------------------------------------------------------- folders


def output(root):
    """Write an output directory with everything in it."""
    mcb(root, object_at=10.2, list_at=10.4, touch_at=11.5)
    (root / "vmlinux").write_bytes(vmlinux())
    ko = root / "lib/livepatch/patch.ko"
    ko.parent.mkdir(parents=True)
    ko.write_bytes(module())
    with (root / "modules.order").open("a") as file:
        file.write("lib/livepatch/patch.ko\n")
    (root / "System.map").write_text(
        "".join(f"{0xFFFFFFFF81000000 + 16 * number:016x} T name_{number}\n" for number in range(600))
    )
    (root / "build.txt").write_text(
        "  CC      init/main.o\ninit/main.c:3:5: error: 'x' undeclared\n  KSYMS   symbols: before=0, after=3, changed=3\n"
        'ERROR: modpost: "mcb_alloc_bus" [drivers/mcb/mcb-lpc.ko] undefined!\nInconsistent kallsyms data\n'
        "lib/x.o: warning: objtool: f()+0x3: unreachable instruction\nmake[1]: *** [/src/Makefile:1: init/main.o] Error 1\n"
    )
    (root / "console.txt").write_text(
        "[    0.000000] Linux version 6.1.0-9\n[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000008\n"
        "[    1.0] Oops: 0002 [#1] PREEMPT SMP\n[    1.0] RIP: 0010:f+0x3/0x10 [mcb]\n[    1.0] Call Trace:\n"
        "[    1.0]  g+0x1/0x2\n[    1.1] Kernel panic - not syncing: Fatal exception\n"
    )
    return root


def packed(out, root):
    """Write the evidence folder of an output directory."""
    root.mkdir()
    bundle.pack(out, root, source=out, writes=None)
    for name in ("build.txt", "console.txt"):
        (root / name).write_bytes((out / name).read_bytes())
    (root / "writes.tsv").write_text(
        "# granularity_ns\t1\n1700000000000000000\tclose\tinit/main.o\n1700000000000000001\tclose\tvmlinux\n"
    )
    (root / "record.json").write_text(
        json.dumps({"granularity_ns": 1, "cell": {"id": "x"}, "steps": [{"argv": ["make"]}]})
    )
    (root / "lines.jsonl").write_text(
        '{"object":"vmlinux","section":"","address":4096,"lines":[["f","init/main.c",3]]}\n'
    )
    steps = [
        {"name": "build", "ending": "exited", "status": 2, "seconds": 3.0, "argv": ["make"], "bytes_free": 1 << 30}
    ]
    (root / "steps.json").write_text(json.dumps({"steps": steps}))
    return root


def distribution(root, release="6.1.0-9"):
    """Write what packages of a distribution unpack to."""
    for folder in ("boot", f"lib/modules/{release}/kernel/lib", f"usr/src/linux-headers-{release}"):
        (root / folder).mkdir(parents=True)
    kernel = vmlinux()
    padding = random.Random(3).randbytes(300 << 10)  # what unpacks to less than 256 KiB is no kernel
    (root / f"boot/vmlinuz-{release}").write_bytes(b"MZ" + b"\0" * 500 + gzip.compress(kernel + padding, 1))
    (root / f"boot/config-{release}").write_text(
        f"#\n# Linux/x86 {release} Kernel Configuration\n#\nCONFIG_KALLSYMS=y\n"
    )
    (root / f"boot/System.map-{release}").write_text(
        "".join(f"{0xFFFFFFFF81000000 + 16 * number:016x} T name_{number}\n" for number in range(600))
    )
    of_modules = root / f"lib/modules/{release}/kernel/lib"
    for suffix, pack in ((".ko", bytes), (".ko.xz", lzma.compress), (".ko.zst", zstandard.compress)):
        (of_modules / f"patch{suffix.replace('.', '_')}{suffix}").write_bytes(pack(module()))
    (of_modules / "patch_gz.ko.gz").write_bytes(gzip.compress(module()))
    (root / f"lib/modules/{release}/modules.order").write_text("kernel/lib/patch_ko.ko\n")
    (root / f"usr/src/linux-headers-{release}/Module.symvers").write_text(
        "0x12345678\tmcb_alloc_bus\tvmlinux\tEXPORT_SYMBOL\t\n"
    )
    return root


# -------------------------------------------------------------------------------------------------------- how to break


def truncated(data, count=24):
    """Yield a file cut at many lengths."""
    for length in sorted({0, 1, 2, 15, 16, 63, 64, len(data) - 1, *(len(data) * one // count for one in range(count))}):
        if 0 <= length < len(data):
            yield data[:length]


def flipped(data, count=40, seed=1):
    """Yield a file with some of its bytes changed."""
    source = random.Random(seed)
    for _ in range(count if data else 0):
        broken = bytearray(data)
        for _ in range(source.choice((1, 2, 8, 64))):
            broken[source.randrange(len(broken))] = source.choice((0, 0x7F, 0xFF, 0x0A, source.randrange(256)))
        yield bytes(broken)


def reworded(data, places):
    """Yield an ELF file with a number in it set to each of the tricky values. places: (offset, bytes)."""
    for offset, size in places:
        for word in WORDS:
            if word < 1 << (8 * size):
                yield data[:offset] + word.to_bytes(size, "little") + data[offset + size :]


def header_places(data):
    """Return every number of the ELF header and of the section headers."""
    at, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    rows = [(16, 2), (18, 2), (40, 8), (58, 2), (60, 2), (62, 2)]
    for number in range(count):
        start = at + 64 * number
        sizes = (4, 4, 8, 8, 8, 8, 4, 4, 8, 8)
        rows += [(start + sum(sizes[:field]), size) for field, size in enumerate(sizes)]
    return rows


def inner_places(data, count=60, seed=2):
    """Return some aligned words anywhere in a file."""
    source = random.Random(seed)
    return [(source.randrange(0, max(len(data) - 8, 1)) & ~3, 4) for _ in range(count)]


def bombs(size=3 << 30):
    """Return (suffix, bytes) of small files that unpack to gigabytes of zeros."""
    piece = b"\0" * (16 << 20)
    made = zstandard.ZstdCompressor(level=1).compressobj()
    zstd = b"".join(made.compress(piece) for _ in range(size // len(piece))) + made.flush()
    # of one block of bytes, so that making them takes no time: xz and bzip2 take streams one behind the other
    xz = lzma.LZMACompressor(preset=0)
    of_xz = b"".join(xz.compress(piece) for _ in range((size >> 3) // len(piece))) + xz.flush()
    deflate = gzip.compress(b"\0" * (size >> 3), 1)
    return {"zst": zstd, "xz": of_xz, "gz": deflate, "bz2": bz2.compress(piece * 16, 1)}
