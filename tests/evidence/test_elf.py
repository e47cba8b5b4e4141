import struct

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_tree import GLOBAL, LOCAL, TEXT, UNDEFINED, WEAK, elf

from lab.evidence.elf import UnreadableError, open_elf
from lab.evidence.objects import archive_members, object_facts

SYMBOLS = [("__ksym_marker_a", LOCAL, TEXT), ("__ksymtab_a", LOCAL, TEXT), ("a", GLOBAL, TEXT)]
SYMBOLS += [("needed", GLOBAL, UNDEFINED), ("maybe", WEAK, UNDEFINED)]
GOOD = elf(SYMBOLS, modinfo=("depends=mcb",))


@pytest.mark.parametrize("is_64", [True, False])
@pytest.mark.parametrize("little", [True, False])
def test_every_class_and_byte_order_reads_alike(tmp_path, is_64, little):
    path = tmp_path / "x.o"
    path.write_bytes(elf(SYMBOLS, is_64=is_64, little=little, modinfo=("license=GPL", "depends=mcb")))
    with open_elf(path) as file:
        symbols = file.symbols()
        assert symbols.names() == [name for name, _, _ in SYMBOLS]
        assert symbols.values.tolist() == [16] * 5
        assert file.modinfo() == (("license", "GPL"), ("depends", "mcb"))


def test_the_facts_of_an_object(tmp_path):
    path = tmp_path / "x.o"
    path.write_bytes(GOOD)
    facts = object_facts(path, "x.o")
    assert (facts.markers, facts.ksymtab, facts.defines, facts.undefined) == (("a",), ("a",), ("a",), ("needed",))


def test_a_packed_kernel_reads_like_the_plain_one(tmp_path):
    path = tmp_path / "vmlinux.zst"
    path.write_bytes(zstandard.compress(GOOD))
    with open_elf(path) as file:
        assert "a" in file.symbols().names()


def test_bitcode_and_text_are_unreadable_with_a_reason(tmp_path):
    path = tmp_path / "x.o"
    path.write_bytes(b"BC\xc0\xde" * 40)
    assert object_facts(path, "x.o").unreadable == "it is not an ELF file"


def test_a_link_is_not_followed(tmp_path):
    tmp_path.joinpath("real.o").write_bytes(GOOD)
    tmp_path.joinpath("x.o").symlink_to(tmp_path / "real.o")
    assert object_facts(tmp_path / "x.o", "x.o").unreadable


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD)))
def test_a_truncated_file_is_read_or_unreadable(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("elf") / "x.o"
    path.write_bytes(GOOD[:length])
    object_facts(path, "x.o")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(4, len(GOOD) - 1), st.integers(0, 255)), max_size=12))
def test_a_corrupt_file_is_read_or_unreadable(tmp_path_factory, changes):
    data = bytearray(GOOD)
    for position, value in changes:
        data[position] = value
    path = tmp_path_factory.mktemp("elf") / "x.o"
    path.write_bytes(data)
    object_facts(path, "x.o")
    try:
        with open_elf(path) as file:
            file.modinfo()
    except UnreadableError:
        pass


def test_a_length_of_terabytes_is_refused_before_it_is_read(tmp_path):
    data = bytearray(GOOD)
    headers = struct.unpack_from("<Q", data, 40)[0]
    struct.pack_into("<Q", data, headers + 2 * 64 + 32, 24 << 40)
    path = tmp_path / "x.o"
    path.write_bytes(data)
    assert "reaches beyond the file" in object_facts(path, "x.o").unreadable


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_a_damaged_archive_has_members_or_none(tmp_path_factory, rest):
    path = tmp_path_factory.mktemp("ar") / "built-in.a"
    path.write_bytes(b"!<thin>\n" + rest)
    assert isinstance(archive_members(path), tuple)
