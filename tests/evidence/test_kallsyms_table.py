"""The kernel's own table, decoded: every layout, width and byte order; and damage."""

import contextlib
import random

import kallsyms_image
import pytest
from kallsyms_image import BASE, LAYOUTS, image

from lab.evidence import kallsyms_search, kallsyms_table
from lab.evidence.elf import UnreadableError

SYMBOLS = [
    (BASE + 16 * number, "tTdDrRbBwW"[number % 10], f"{('__', 'sys_', 'kmem_', 'init')[number % 4]}name_{number}")
    for number in range(1000)
] + [(BASE + 20000, "T", "long_" + "x" * 300)]
ORDERS = ("<", ">")


def decoded(data, *, word=8, byte_order="<"):
    return kallsyms_table.of_image(data, byte_order=byte_order, word=word)


def rows(table):
    found = table.listing
    return [(int(found.values[i]), chr(found.letters[i]), found.names.text(i)) for i in range(len(found))]


@pytest.mark.parametrize("byte_order", ORDERS)
@pytest.mark.parametrize("word", [4, 8])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_table_is_found_without_labels_and_says_what_was_written(layout, word, byte_order):
    data, _ = image(SYMBOLS, layout=layout, word=word, byte_order=byte_order)
    table = decoded(data, word=word, byte_order=byte_order)
    assert table is not None
    assert rows(table) == SYMBOLS
    assert table.faults == ()
    assert (table.seqs is None) is (layout == "5.10")


def test_per_cpu_symbols_are_absolute_and_all_others_relative():
    symbols = [(8 * number, "A", f"percpu_{number}") for number in range(20)] + SYMBOLS
    data, _ = image(symbols, percpu=True)
    table = decoded(data)
    assert rows(table) == symbols
    assert table.addressing is kallsyms_table.Addressing.PERCPU


def test_names_in_order_are_those_that_a_look_up_by_name_walks():
    data, _ = image(SYMBOLS)
    table = decoded(data)
    names = [table.listing.names.text(int(one)) for one in table.seqs]
    assert names == sorted(name for _, _, name in SYMBOLS)


def labelled(data, labels, *, word=8, byte_order="<"):
    """Decode by labels, as in an ELF file with symbols."""
    named = {name.removeprefix("kallsyms_"): at for name, at in labels.items()}
    places = kallsyms_search.Places(**{{"seqs_of_names": "seqs"}.get(name, name): at for name, at in named.items()})
    memory = kallsyms_search.Memory([(0, bytes(data))], byte_order=byte_order, word=word)
    return kallsyms_table.decoded(memory, places, 0)


def faults_of(data, labels):
    try:
        return labelled(data, labels).faults
    except UnreadableError as error:
        return (str(error),)


def changed(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def test_a_marker_that_points_elsewhere_is_told_or_the_table_cannot_be_read():
    data, labels = image(SYMBOLS, layout="6.12")
    at = labels["kallsyms_markers"] + 8
    wrong = changed(data, at, (int.from_bytes(data[at : at + 4], "little") + 1).to_bytes(4, "little"))
    assert any("marker" in fault for fault in faults_of(wrong, labels))


def test_addresses_that_fall_are_told():
    swapped = [*SYMBOLS[:500], SYMBOLS[501], SYMBOLS[500], *SYMBOLS[502:]]
    data, _ = image(swapped)
    assert any("ascending" in fault for fault in decoded(data).faults)


def test_an_order_by_name_that_lacks_a_symbol_is_told():
    data, labels = image(SYMBOLS, layout="6.12")
    at = labels["kallsyms_seqs_of_names"]
    twice = changed(data, at, data[at + 3 : at + 6])
    assert any("seqs_of_names" in fault for fault in labelled(twice, labels).faults)
    assert labelled(data, labels).faults == ()


@pytest.mark.parametrize("data", [b"", b"\0" * 4096, b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00" * 200])
def test_what_has_no_table_has_none(data):
    assert decoded(data) is None


def test_a_cut_image_is_no_traceback():
    data, _ = image(SYMBOLS, layout="6.12")
    for end in range(0, len(data), 997):
        with contextlib.suppress(UnreadableError):
            decoded(data[:end])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_damage_is_no_traceback(layout):
    source = random.Random(7)
    data, labels = image(SYMBOLS, layout=layout)
    for _ in range(100):
        wrong = bytearray(data)
        for _ in range(source.randrange(1, 8)):
            wrong[source.randrange(len(wrong))] = source.randrange(256)
        with contextlib.suppress(UnreadableError):
            decoded(bytes(wrong))
        with contextlib.suppress(UnreadableError):
            labelled(wrong, labels)


def test_the_writer_of_these_tests_has_compressed_names():
    assert len(kallsyms_image.coded("tkmem_init")) < len("tkmem_init")
