"""Small files of the kinds that a kernel is booted from."""

import random
import struct
from pathlib import Path

CONFIG = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.1.192 Kernel Configuration\n#\n"


def elf(machine: int, *, bits: int = 64, order: str = "<", info: bytes = b"") -> bytes:
    """Return a relocatable object with a .modinfo."""
    names = b"\0.modinfo\0.shstrtab\0"
    wide = bits == 64
    start = 64 if wide else 52
    table = start + len(info) + len(names)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    sizes = (64, 0, 0, 64, 3, 2) if wide else (52, 0, 0, 40, 3, 2)
    head = struct.pack(f"{order}HHI{'QQQ' if wide else 'III'}IHHHHHH", 1, machine, 1, 0, 0, table, 0, *sizes)
    row = f"{order}II{'QQQQ' if wide else 'IIII'}II{'QQ' if wide else 'II'}"
    rows = [
        struct.pack(row, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        struct.pack(row, 1, 1, 0, 0, start, len(info), 0, 0, 1, 0),
        struct.pack(row, 10, 3, 0, 0, start + len(info), len(names), 0, 0, 1, 0),
    ]
    return ident + head + info + names + b"".join(rows)


def module(*info: str) -> bytes:
    return elf(62, info=b"".join(one.encode() + b"\0" for one in info))


def bzimage(*, version=0x20F, flags=0x7F) -> bytes:
    head = bytearray(0x300)
    head[0x1FE:0x200], head[0x202:0x206] = b"\x55\xaa", b"HdrS"
    head[0x206:0x208], head[0x236:0x238] = version.to_bytes(2, "little"), flags.to_bytes(2, "little")
    return bytes(head)


def arm64_image(flags=0) -> bytes:
    return bytes(24) + flags.to_bytes(8, "little") + bytes(24) + b"ARM\x64" + random.Random(1).randbytes(1 << 19)


def zimage(magic: bytes) -> bytes:
    return bytes(0x24) + magic + bytes(100)


def s390_image() -> bytes:
    return bytes(0x10008) + b"S390EP" + bytes(100)


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return root
