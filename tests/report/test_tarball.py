"""Bundles' tar files: the same bytes from the same members, and nothing unpacked that one of ours would not have."""

import io
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import UsageError
from lab.report import tarball
from lab.report.tarball import MANIFEST, Member, unpack_tar, write_tar

MEMBERS = (
    Member(path="run.sh", data=b"#!/bin/sh\necho ran\n", executable=True),
    Member(path="patches/01.patch", data=b"--- a\n"),
    Member(path="empty", data=b""),
)


def written(members=MEMBERS):
    out = io.BytesIO()
    write_tar("top", members, out)
    return out.getvalue()


def unpacked(raw, folder, limit_of=lambda path: 1 << 20, total=1 << 30):
    folder.mkdir(exist_ok=True)
    return unpack_tar("top", io.BytesIO(raw), folder, limit_of, total)


def foreign(*infos, top="top/"):
    """A tar file of members that need not be ours; data of each is its name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for info in infos:
            data = info.name.encode()
            info.name = top + info.name
            if info.isreg():
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(name, **fields):
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def test_the_order_of_members_changes_no_byte():
    assert written(MEMBERS[::-1]) == written()


def test_what_is_unpacked_is_what_was_written(tmp_path):
    assert unpacked(written(), tmp_path / "x") == ("empty", "patches/01.patch", "run.sh")
    assert (tmp_path / "x/run.sh").read_bytes() == MEMBERS[0].data


def test_a_file_is_read_when_it_is_written(tmp_path):
    (tmp_path / "data").write_bytes(b"x" * 1000)
    raw = written([Member(path="data", data=tmp_path / "data")])
    unpacked(raw, tmp_path / "x")
    assert (tmp_path / "x/data").read_bytes() == b"x" * 1000


def test_tar_and_sha256sum_know_it(tmp_path):
    (tmp_path / "bundle.tar").write_bytes(written())
    done = subprocess.run(
        "tar -xf bundle.tar && cd top && sha256sum -c MANIFEST && ./run.sh",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("run.sh: OK\nran\n")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "", ".", "a//b", "a b", "-x", ".hidden", "ü", "a\n"]
)
def test_paths_that_none_of_ours_has_are_not_written(path):
    with pytest.raises(UsageError):
        written([Member(path=path, data=b"")])


HOSTILE = {
    "symbolic link": foreign(member("a", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "hard link": foreign(member("a", type=tarfile.LNKTYPE, linkname="top/b")),
    "folder": foreign(member("a", type=tarfile.DIRTYPE)),
    "device": foreign(member("a", type=tarfile.CHRTYPE)),
    "pipe": foreign(member("a", type=tarfile.FIFOTYPE)),
    "extended header": foreign(member("a", type=tarfile.XHDTYPE)),
    "long name": foreign(member("a", type=tarfile.GNUTYPE_LONGNAME)),
    "sparse file": foreign(member("a", type=tarfile.GNUTYPE_SPARSE)),
    "absolute path": foreign(member("etc/passwd"), top="/"),
    "another folder": foreign(member("a"), top="other/"),
    "climbing path": foreign(member("../../a")),
    "climbing path inside": foreign(member("a/../b")),
    "the folder itself": foreign(member(""), top="top/"),
    "the same twice": foreign(member("a"), member("a")),
    "a file that is a folder": foreign(member("a"), member("a/b")),
    "a folder that is a file": foreign(member("a/b"), member("a")),
    "no manifest": foreign(member("a")),
    "no tar file": b"x" * 2000,
    "nothing": b"",
    "only half a header": written()[:300],
    "cut in a member": written()[: 512 + 40],
    "compressed": b"\x1f\x8b" + written(),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_what_none_of_ours_has_is_refused_and_nothing_leaves_the_folder(raw, tmp_path):
    with pytest.raises(UsageError, match="the bundle"):
        unpacked(raw, tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_a_path_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(UsageError, match="top/run"):
        unpacked(written(), tmp_path / "x", limit_of=lambda path: None if path == "run.sh" else 100)


def test_sizes_and_counts_are_bounded(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="larger"):
        unpacked(written(), tmp_path / "one", limit_of=lambda path: 3)
    with pytest.raises(UsageError, match="larger"):
        unpacked(written(), tmp_path / "all", total=100)
    huge = bytearray(foreign(member("a")))
    huge[:512] = member("top/a", size=tarball.MEMBER_BYTES_AT_MOST).tobuf(tarfile.USTAR_FORMAT)
    with pytest.raises(UsageError, match="larger"):
        unpacked(bytes(huge), tmp_path / "claims")
    monkeypatch.setattr(tarball, "MEMBERS_AT_MOST", 2)
    with pytest.raises(UsageError, match="larger"):
        unpacked(written(), tmp_path / "many")


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (b"echo ran", b"echo rum", "'run.sh' has another sha256"),
        (b"  empty\n", b"  eMpty\n", "does not list"),
        (b"  empty\n", b" *empty\n", "cannot be read"),
    ],
)
def test_what_is_not_as_the_manifest_says_is_refused(before, after, what, tmp_path):
    assert written().count(before) == 1
    with pytest.raises(UsageError, match=what):
        unpacked(written().replace(before, after), tmp_path / "x")


def test_a_member_that_the_manifest_lacks_is_refused(tmp_path):
    raw = written()
    more = foreign(member("more"))[:1024]
    with pytest.raises(UsageError, match="'more'"):
        unpacked(raw.rstrip(b"\0") + bytes(-len(raw.rstrip(b"\0")) % 512) + more + bytes(1024), tmp_path / "x")


@given(st.data())
def test_a_damaged_file_gives_an_error_of_ours_or_the_same_members(tmp_path_factory, data):
    raw = bytearray(written())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("x")
    try:
        unpacked(bytes(raw), folder)
    except UsageError:
        return
    assert (folder / "run.sh").read_bytes() == MEMBERS[0].data
    assert (folder / MANIFEST).exists()
