import contextlib
import gzip
import io
import lzma
import random
import struct
import tarfile
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lab.evidence import deb
from lab.evidence.elf import UnreadableError

IMAGE = ("./boot/vmlinuz-6.1.0", b"kernel")
NOISE = random.Random(1).randbytes(9000)  # the same in every process: pytest-xdist compares the names of tests
MODULE = ("./lib/modules/6.1.0/kernel/lib/x.ko", b"\x7fELF module")


def tar(*files, extra=()):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in extra:
            archive.addfile(info)
    return out.getvalue()


def member(name: str, data: bytes, size: int | None = None) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data) if size is None else size:<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)


def package(data: bytes, name="data.tar.xz", *, size=None) -> bytes:
    parts = [member("debian-binary", b"2.0\n"), member("control.tar.xz", b"odd"), member(name, data, size)]
    return b"!<arch>\n" + b"".join(parts)


@pytest.fixture
def unpacked(tmp_path):
    """Return a function: the bytes of a package -> (what is told of it, path -> content)."""

    def unpacked(raw):
        (tmp_path / "x.deb").write_bytes(raw)
        folder = tmp_path / "out"
        told = deb.unpack(tmp_path / "x.deb", folder)
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        return told, files

    return unpacked


FORMS = {
    "data.tar": lambda data: data,
    "data.tar.xz": lzma.compress,
    "data.tar.gz": gzip.compress,
    "data.tar.zst": zstandard.compress,
}


@pytest.mark.parametrize("name", FORMS)
def test_a_kernel_is_unpacked_whatever_it_is_packed_with(unpacked, name):
    told, files = unpacked(package(FORMS[name](tar(IMAGE, MODULE)), name))
    assert files == {"boot/vmlinuz-6.1.0": b"kernel", "lib/modules/6.1.0/kernel/lib/x.ko": b"\x7fELF module"}
    assert told == deb.Unpacked(files=2, bytes=6 + 11, left_out=0)


def test_what_is_no_kernel_stays_in_the_package(unpacked):
    told, files = unpacked(package(lzma.compress(tar(("./usr/share/doc/x", b"x"), ("./etc/passwd", b"x"), IMAGE))))
    assert (set(files), told.left_out) == ({"boot/vmlinuz-6.1.0"}, 2)


@pytest.mark.parametrize(
    "name",
    ["/boot/x", "../boot/x", "./boot/../../x", "boot//x", "./boot/./x", "boot/" + "a/" * 60 + "x", "boot/" + "a" * 300],
)
def test_a_path_that_leads_elsewhere_is_left_out(unpacked, name):
    told, files = unpacked(package(lzma.compress(tar((name, b"x"), IMAGE))))
    assert (set(files), told.left_out) == ({"boot/vmlinuz-6.1.0"}, 1)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_left_out(unpacked, kind):
    odd = tarfile.TarInfo("./boot/odd")
    odd.type, odd.linkname = kind, "/etc/passwd"
    told, files = unpacked(package(lzma.compress(tar(IMAGE, extra=[odd]))))
    assert (set(files), told.left_out) == ({"boot/vmlinuz-6.1.0"}, 1)


def test_a_file_that_is_there_already_stays(unpacked):
    _, files = unpacked(package(lzma.compress(tar(IMAGE, (IMAGE[0], b"other")))))
    assert files == {"boot/vmlinuz-6.1.0": b"kernel"}


def test_a_long_name_is_read(unpacked):
    name = "lib/modules/6.1.0/kernel/" + "/".join(["d" * 60] * 4) + "/x.ko"
    assert unpacked(package(lzma.compress(tar((f"./{name}", b"x")))))[1] == {name: b"x"}


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "no ar archive"),
        (b"!<arch>\n", "no data.tar"),
        (b"!<arch>\n" + member("debian-binary", b"2.0\n"), "no data.tar"),
        (package(b"x", size=9_999_999_999), "reaches beyond the file"),
        (package(b"x" * 40, size=-5), "reaches beyond the file"),
        (package(lzma.compress(tar((IMAGE[0], NOISE)))[:4000]), "damaged packed data"),
        (package(b"\xfd7zXZ\x00" + b"nonsense" * 9), "damaged packed data"),
        (package(b"no tar at all" * 100, "data.tar"), "no tar archive"),
    ],
)
def test_a_damaged_package_is_told(unpacked, raw, told):
    with pytest.raises(UnreadableError, match=told):
        unpacked(raw)


def huge_header(kind: bytes, size: int) -> bytes:
    """Return a tar header that promises a long name (or pax records) of so many bytes."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_without_end_does_not_fill_the_memory(unpacked, kind):
    raw = package(zstandard.compress(huge_header(kind, 1 << 31) + bytes(256 << 20)), "data.tar.zst")
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableError, match="more than"):
            unpacked(raw)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_bomb_is_told_and_not_unpacked(unpacked, tmp_path):
    raw = package(zstandard.compress(tar(("./boot/zeros", bytes(300 << 20)))), "data.tar.zst")
    assert len(raw) < 1 << 20
    with pytest.raises(UnreadableError, match="more than"):
        unpacked(raw)
    assert (tmp_path / "out/boot/zeros").stat().st_size < 128 << 20


@pytest.mark.parametrize("raw", [b"", b"!<arch>\n", b"!<arch>\nother-member    ", NOISE[:100]])
def test_what_is_no_package_is_told_from_one(tmp_path, raw):
    (tmp_path / "x").write_bytes(raw)
    assert not deb.is_deb(tmp_path / "x")
    (tmp_path / "x").write_bytes(package(b""))
    assert deb.is_deb(tmp_path / "x")


GOOD = package(lzma.compress(tar(IMAGE, MODULE)))


@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=8), st.integers(0, len(GOOD)))
def test_whatever_is_broken_in_a_package_only_unreadable_is_raised(tmp_path_factory, at, patch, length):
    folder = tmp_path_factory.mktemp("deb")
    raw = (GOOD[:at] + patch + GOOD[at + len(patch) :])[: max(length, 60)]
    (folder / "x.deb").write_bytes(raw)
    with contextlib.suppress(UnreadableError):
        deb.unpack(folder / "x.deb", folder / "out")
    outside = {path.name for path in folder.iterdir()} - {"x.deb", "out"}
    assert not outside


def test_the_header_of_an_archive_is_what_this_test_thinks():
    # ar.h: name, date, uid, gid, mode, size, magic
    assert struct.calcsize("16s12s6s6s8s10s2s") == len(member("x", b"")) == 60
