"""ELF files with code: functions with names, sizes, sections and the sources that a symbol table names for them."""

import struct
from dataclasses import dataclass

ET_REL, ET_EXEC = 1, 2
LOCAL, GLOBAL, WEAK = 0, 1, 2
HIDDEN = 2
FUNC, FILE, OBJECT = 2, 4, 1


@dataclass
class Symbol:
    """section: name of one, or "" for a FILE symbol."""

    name: str
    section: str = ".text"
    value: int = 0
    size: int = 0
    kind: int = FUNC
    bind: int = GLOBAL
    visibility: int = 0


def file(name):
    return Symbol(name, "", kind=FILE, bind=LOCAL)


def static(name, value, size, section=".text"):
    return Symbol(name, section, value, size, bind=LOCAL)


def function(name, value, size, section=".text"):
    return Symbol(name, section, value, size)


def elf(symbols, *, kind=ET_EXEC, sections=(".text", ".init.text"), machine=62, is_64=True, little=True, extra=()):
    """Return an ELF file. sections: executable ones. extra: names of empty sections that are there as well."""
    order = "<" if little else ">"
    numbers = {name: number for number, name in enumerate(sections, 1)}
    names, rows = b"\0", [b"\0" * (24 if is_64 else 16)]
    for one in symbols:
        info, where = one.bind << 4 | one.kind, numbers.get(one.section, 0xFFF1)
        if is_64:
            rows.append(struct.pack(order + "IBBHQQ", len(names), info, one.visibility, where, one.value, one.size))
        else:
            rows.append(struct.pack(order + "IIIBBH", len(names), one.value, one.size, info, one.visibility, where))
        names += one.name.encode() + b"\0"
    bodies = [(name, 1, 6, b"\x90" * 16, 0, 0) for name in sections] + [(name, 1, 0, b"\0", 0, 0) for name in extra]
    bodies += [(".symtab", 2, 0, b"".join(rows), len(bodies) + 2, 24 if is_64 else 16), (".strtab", 3, 0, names, 0, 0)]
    titles = b"\0" + b"".join(body[0].encode() + b"\0" for body in bodies) + b".shstrtab\0"
    bodies.append((".shstrtab", 3, 0, titles, 0, 0))
    size, data, table = 64 if is_64 else 52, b"", [b"\0" * (64 if is_64 else 40)]
    for name, type_, flags, body, link, entry in bodies:
        at = titles.index(b"\0" + name.encode() + b"\0") + 1
        fields = (at, type_, flags, 0, size + len(data), len(body), link, 0, 1, entry)
        table.append(struct.pack(order + ("IIQQQQIIQQ" if is_64 else "10I"), *fields))
        data += body
    ident = b"\x7fELF" + bytes([2 if is_64 else 1, 1 if little else 2, 1]) + b"\0" * 9
    head = (kind, machine, 1, 0, 0, size + len(data), 0, size, 0, 0, 64 if is_64 else 40, len(table), len(table) - 1)
    return ident + struct.pack(order + ("HHIQQQIHHHHHH" if is_64 else "HHIIIIIHHHHHH"), *head) + data + b"".join(table)
