"""What scripts/kallsyms writes, in every layout, for tests: a kernel image with nothing else in it."""

from __future__ import annotations

import struct

LAYOUTS = ("5.10", "6.1", "6.12", "7.2")
BASE = 0x10000


def image(symbols, *, layout="6.1", word=8, byte_order="<", base=BASE, percpu=False, before=64):
    """Return (bytes, label -> offset) of a table. symbols: [(address, letter, name)], in the table's order.

    percpu: as with KALLSYMS_ABSOLUTE_PERCPU; addresses below `base` are then absolute.
    """
    writer = _Writer(word, byte_order, before)
    if layout in ("5.10", "6.1"):
        _offsets(writer, symbols, base, percpu, layout)
        _names(writer, symbols)
        if layout == "6.1":
            _seqs(writer, symbols)
        _tokens(writer)
    else:
        writer.alignment = 4 if layout == "7.2" else word
        _names(writer, symbols)
        _tokens(writer)
        _offsets(writer, symbols, base, percpu, layout)
        _seqs(writer, symbols)
    return bytes(writer.data) + b"\xff" * 64, writer.labels


class _Writer:
    def __init__(self, word, byte_order, before):
        self.word, self.byte_order, self.alignment = word, byte_order, word
        self.data = bytearray(b"\xff" * before)
        self.labels = {}

    def label(self, name):
        self.data += b"\0" * (-len(self.data) % self.alignment)
        self.labels[name] = len(self.data)

    def put(self, kind, *numbers):
        self.data += struct.pack(f"{self.byte_order}{len(numbers)}{kind}", *numbers)


# Letters stand for themselves; five pairs are compressed, as in a real table.
PAIRS = {1: "kmem_", 2: "init", 3: "__", 4: "sys_", 5: "tT"}
TOKENS = [
    PAIRS.get(number, chr(number) if 0x20 < number < 0x7F and number not in b'"\\' else "") for number in range(256)
]


def coded(text):
    """Return the tokens of a text, the longest ones first."""
    found = bytearray()
    while text:
        pair = next((number for number, one in PAIRS.items() if text.startswith(one)), None)
        found.append(pair if pair is not None else ord(text[0]))
        text = text[len(PAIRS[pair]) if pair is not None else 1 :]
    return bytes(found)


def _names(writer, symbols):
    writer.label("kallsyms_num_syms")
    writer.put("I", len(symbols))
    writer.label("kallsyms_names")
    begin, markers = len(writer.data), []
    for number, (_, letter, name) in enumerate(symbols):
        if number % 256 == 0:
            markers.append(len(writer.data) - begin)
        tokens = coded(letter + name)
        length = len(tokens)
        writer.data += bytes([length] if length < 0x80 else [length & 0x7F | 0x80, length >> 7]) + tokens
    writer.label("kallsyms_markers")
    writer.put("I", *markers)


def _tokens(writer):
    writer.label("kallsyms_token_table")
    places, begin = [], len(writer.data)
    for token in TOKENS:
        places.append(len(writer.data) - begin)
        writer.data += token.encode() + b"\0"
    writer.label("kallsyms_token_index")
    writer.put("H", *places)


def _offsets(writer, symbols, base, percpu, layout):
    writer.label("kallsyms_offsets")
    at = len(writer.data)
    for number, (address, _, _) in enumerate(symbols):
        if layout == "7.2" and writer.word == 8:
            writer.put("i", address - (at + 4 * number))
        elif layout == "7.2":
            writer.put("I", address)
        elif percpu:
            writer.put("i", address if address < base else base - 1 - address)
        else:
            writer.put("I", address - base)
    if layout != "7.2":
        writer.label("kallsyms_relative_base")
        writer.put("Q" if writer.word == 8 else "I", base)


def _seqs(writer, symbols):
    writer.label("kallsyms_seqs_of_names")
    for number in sorted(range(len(symbols)), key=lambda one: symbols[one][2]):
        writer.data += number.to_bytes(3, "big")
