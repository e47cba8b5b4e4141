"""Evidence on its way: what arrives is what was sent, nothing leaves the folder, and a half parcel is none."""

import io
import tarfile

import pytest
import zstandard

from lab.environment import parcels
from lab.errors import EnvironmentFault, UsageError


@pytest.fixture
def sent(tmp_path):
    folder = tmp_path / "cell"
    (folder / "1" / "modules").mkdir(parents=True)
    (folder / "1" / "build.txt").write_text("CC a.o\n")
    (folder / "1" / "modules" / ("x" * 150 + ".ko")).write_bytes(bytes(range(256)) * 100)
    (folder / "1" / "reproduce.sh").write_text("#!/bin/sh\n")
    (folder / "1" / "reproduce.sh").chmod(0o755)
    (folder / "1" / "passwd").symlink_to("/etc/passwd")
    return folder


def parcel(*members):
    """Return a parcel with members that packed() would not write: (TarInfo changes, content)."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as out:
        for facts, content in members:
            info = tarfile.TarInfo("x")
            info.size = len(content)
            for name, value in facts.items():
                setattr(info, name, value)
            out.addfile(info, io.BytesIO(content))
    return io.BytesIO(zstandard.compress(raw.getvalue()))


def test_what_arrives_is_what_was_sent(sent, tmp_path):
    parcels.packed(sent, tmp_path / "p")
    with (tmp_path / "p").open("rb") as stream:
        parcels.unpacked(stream, tmp_path / "got")
    names = [path.relative_to(tmp_path / "got") for path in (tmp_path / "got").rglob("*") if path.is_file()]
    assert len(names) == 3, "the link stayed behind"
    for name in names:
        assert (tmp_path / "got" / name).read_bytes() == (sent / name).read_bytes()
    assert (tmp_path / "got" / "1" / "reproduce.sh").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "facts",
    [
        {"name": "../out"},
        {"name": "/tmp/out"},
        {"name": "a/../../out"},
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "../x"},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.DIRTYPE, "name": "d"},
    ],
    ids=["up", "absolute", "up inside", "link", "hard link", "device", "fifo", "folder"],
)
def test_what_none_of_ours_has_is_refused_and_nothing_appears(facts, tmp_path):
    size = {"size": 0} if "type" in facts else {}
    with pytest.raises(EnvironmentFault, match="none of ours has"):
        parcels.unpacked(parcel(({"name": "good"}, b"x"), ({**facts, **size}, b"")), tmp_path / "inner" / "got")
    assert not list((tmp_path / "inner").iterdir())
    assert not (tmp_path / "out").exists()


def test_the_same_name_twice_is_refused(tmp_path):
    with pytest.raises(EnvironmentFault, match="cannot be unpacked"):
        parcels.unpacked(parcel(({}, b"a"), ({}, b"b")), tmp_path / "got")


def test_half_a_parcel_and_noise_are_refused(sent, tmp_path):
    parcels.packed(sent, tmp_path / "p")
    whole = (tmp_path / "p").read_bytes()
    for data in (b"", whole[: len(whole) // 2], b"noise" * 100, zstandard.compress(b"no tar" * 1000)):
        if data:
            with pytest.raises(EnvironmentFault):
                parcels.unpacked(io.BytesIO(data), tmp_path / "got")
            assert not (tmp_path / "got").exists()


def test_a_bomb_is_refused_at_its_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(parcels, "BYTES_AT_MOST", 1 << 20)
    with pytest.raises(EnvironmentFault, match="larger than one of ours"):
        parcels.unpacked(parcel(({}, b"\0" * (2 << 20))), tmp_path / "got")


def test_through_a_store_it_comes_once_and_whole(sent, tmp_path):
    depot = parcels.Depot((tmp_path / "depot").as_uri())
    sha256 = parcels.packed(sent, tmp_path / "p")
    depot.put(tmp_path / "p", "run/cell/1.tar.zst")
    assert [path.name for path in (tmp_path / "depot" / "run" / "cell").iterdir()] == ["1.tar.zst"]
    depot.fetch("run/cell/1.tar.zst", tmp_path / "q", sha256)
    assert (tmp_path / "q").read_bytes() == (tmp_path / "p").read_bytes()
    with pytest.raises(EnvironmentFault, match="cannot fetch"):
        depot.fetch("run/cell/1.tar.zst", tmp_path / "q", sha256)


def test_what_was_changed_on_the_way_is_refused(sent, tmp_path):
    depot = parcels.Depot((tmp_path / "depot").as_uri())
    sha256 = parcels.packed(sent, tmp_path / "p")
    depot.put(tmp_path / "p", "x")
    (tmp_path / "depot" / "x").write_bytes(b"other")
    with pytest.raises(EnvironmentFault, match="not what was put"):
        depot.fetch("x", tmp_path / "q", sha256)


def test_a_store_that_nobody_knows_is_the_users_mistake():
    with pytest.raises(UsageError, match="no store that fsspec knows"):
        parcels.Depot("gopher9://x")
