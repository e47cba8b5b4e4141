"""A kernel image that is not whole is told by its own header."""

import random
import struct

import pytest

from lab.evidence.image_length import missing_bytes


def bzimage(sectors=27, body=40_000):
    head = bytearray(sectors * 512 + 512)
    head[0x1F1] = sectors
    struct.pack_into("<I", head, 0x1F4, (body + 15) // 16)
    head[0x202:0x206] = b"HdrS"
    return bytes(head) + bytes(-(-body // 16) * 16)


def zimage(order="<", length=50_000, start=0):
    head = bytearray(length)
    struct.pack_into(f"{order}III", head, 0x24, 0x016F2818, start, start + length)
    return bytes(head)


def pe(length=30_000):
    head = bytearray(length)
    head[:2] = b"MZ"
    struct.pack_into("<I", head, 0x3C, 64)
    head[64:68] = b"PE\0\0"
    struct.pack_into("<H", head, 64 + 6, 2)
    struct.pack_into("<H", head, 64 + 20, 160)
    struct.pack_into("<II", head, 64 + 24 + 160 + 16, 10_000, 4096)
    struct.pack_into("<II", head, 64 + 24 + 160 + 40 + 16, length - 14_096, 14_096)
    return bytes(head)


def elf(length=20_000, wide=True, order="<"):
    head = bytearray(length)
    head[:6] = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2])
    struct.pack_into(f"{order}{'Q' if wide else 'I'}", head, 40 if wide else 32, length - 640)
    struct.pack_into(f"{order}HH", head, 58 if wide else 46, 64, 10)
    return bytes(head)


WHOLE = {
    "bzImage": bzimage(),
    "bzImage, old": bzimage(sectors=4).replace(b"\x04", b"\x00", 1),
    "zImage": zimage(),
    "zImage, big-endian, linked elsewhere": zimage(">", start=0x60008000),
    "EFI": pe(),
    "ELF64": elf(),
    "ELF32, big-endian": elf(wide=False, order=">"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_image_lacks_nothing_and_a_signed_one_has_more(tmp_path, name):
    path = tmp_path / "image"
    for more in (b"", b"signature"):
        path.write_bytes(WHOLE[name] + more)
        assert missing_bytes(path) == 0


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.999])
def test_a_cut_image_lacks_what_was_cut(tmp_path, name, share):
    path = tmp_path / "image"
    data = WHOLE[name]
    cut = int(len(data) * share)
    path.write_bytes(data[:cut])
    assert missing_bytes(path) == len(data) - cut


def test_a_format_that_does_not_tell_its_length_says_nothing(tmp_path):
    (tmp_path / "Image").write_bytes(bytes(56) + b"ARM\x64" + bytes(1000))
    (tmp_path / "empty").touch()
    assert missing_bytes(tmp_path / "Image") is None
    assert missing_bytes(tmp_path / "empty") is None


@pytest.mark.parametrize(("size", "missing"), [(1_000_000, 0), (960_000, 0), (500_000, 434_464)])
def test_a_bare_arm64_image_is_measured_by_its_map(tmp_path, size, missing):
    (tmp_path / "Image").write_bytes((bytes(56) + b"ARM\x64").ljust(size, b"\0"))
    (tmp_path / "System.map").write_text(
        "ffffffc008000000 T _text\nffffffc0080f4240 D _edata\nffffffc008200000 B _end\n"
    )
    assert missing_bytes(tmp_path / "Image", tmp_path / "System.map") == missing
    (tmp_path / "System.map").write_text("no map\n")
    assert missing_bytes(tmp_path / "Image", tmp_path / "System.map") is None
    assert missing_bytes(tmp_path / "Image", tmp_path / "nothing") is None


def test_no_header_makes_it_raise(tmp_path):
    path = tmp_path / "image"
    source = random.Random(5)
    for data in WHOLE.values():
        for _ in range(300):
            hostile = bytearray(data[: source.choice([10, 70, 520, 600, len(data)])])
            for _ in range(source.randrange(40)):
                hostile[source.randrange(min(700, len(hostile)))] = source.choice([0, 0xFF, source.randrange(256)])
            path.write_bytes(hostile)
            missing = missing_bytes(path)
            assert missing is None or missing >= 0


def test_what_is_no_file_is_an_error_of_the_system(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("nothing", "link"):
        with pytest.raises(OSError, match=name):
            missing_bytes(tmp_path / name)
