"""ELF files with sections of one's choice: what a linked module carries beside its symbols."""

import struct

VERSION_BYTES = 64


def elf(sections, symbols=(), *, is_64=True, little=True):
    """Return a relocatable ELF file. sections: name -> bytes. symbols: names, defined in the first section."""
    order = "<" if little else ">"
    names, rows = b"\0", [b"\0" * (24 if is_64 else 16)]
    for name in symbols:
        fields = (len(names), 0, 0, 1, 0, 0) if is_64 else (len(names), 0, 0, 0, 0, 1)
        rows.append(struct.pack(order + ("IBBHQQ" if is_64 else "IIIBBH"), *fields))
        names += name.encode() + b"\0"
    bodies = [(name, 1, body, 0, 0) for name, body in sections.items()]
    bodies += [(".symtab", 2, b"".join(rows), len(bodies) + 2, 24 if is_64 else 16), (".strtab", 3, names, 0, 0)]
    headers = b"\0" + b"".join(name.encode() + b"\0" for name, *_ in bodies) + b".shstrtab\0"
    bodies.append((".shstrtab", 3, headers, 0, 0))
    size = 64 if is_64 else 52
    data, table = b"", [b"\0" * (64 if is_64 else 40)]
    for name, kind, body, link, entry in bodies:
        at = headers.index(b"\0" + name.encode() + b"\0") + 1
        fields = (at, kind, 0, 0, size + len(data), len(body), link, 0, 1, entry)
        table.append(struct.pack(order + ("IIQQQQIIQQ" if is_64 else "10I"), *fields))
        data += body
    ident = b"\x7fELF" + bytes([2 if is_64 else 1, 1 if little else 2, 1]) + b"\0" * 9
    head = (1, 62, 1, 0, 0, size + len(data), 0, size, 0, 0, 64 if is_64 else 40, len(table), len(table) - 1)
    return ident + struct.pack(order + ("HHIQQQIHHHHHH" if is_64 else "HHIIIIIHHHHHH"), *head) + data + b"".join(table)


def versions(crcs, *, is_64=True, little=True):
    """Return the section __versions. crcs: symbol -> CRC."""
    word, order = (8, "<Q" if little else ">Q") if is_64 else (4, "<I" if little else ">I")
    return b"".join(
        struct.pack(order, crc) + name.encode().ljust(VERSION_BYTES - word, b"\0") for name, crc in crcs.items()
    )


def modinfo(*pairs):
    """Return the section .modinfo of "key=value" texts."""
    return b"".join(pair.encode() + b"\0" for pair in pairs)
