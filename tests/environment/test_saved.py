"""Images as files: without a name, the same bytes each time, and nothing loaded that save() would not have written."""

import hashlib
import io
import json
import subprocess
import tarfile

import pytest

from lab.environment import saved
from lab.errors import EnvironmentFault, UsageError

LAYER = b"layer" * 300
CONFIG = json.dumps({"architecture": "amd64", "rootfs": {"diff_ids": [hashlib.sha256(LAYER).hexdigest()]}}).encode()
IMAGE = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
NAME = f"{hashlib.sha256(CONFIG).hexdigest()}.json"
MANIFEST = [{"Config": NAME, "RepoTags": None, "Layers": ["layers/001.tar"]}]


def archive(path, *members, links=()):
    with tarfile.open(path, "w") as out:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            out.addfile(info)
    return path


class FakeEngine:
    """Saves an image as an engine does: members in its own order, with names and more."""

    def __init__(self, *members, links=()):
        self.members, self.links = members, links

    def save(self, image, path):
        archive(path, *self.members, links=self.links)


def engine_of(layout):
    """layout: of Docker before 25, or of later ones, which also write OCI's files."""
    config, layer = (NAME, "0123/layer.tar") if layout == "old" else (f"blobs/sha256/{NAME[:-5]}", "blobs/sha256/4567")
    manifest = json.dumps([{"Config": config, "RepoTags": ["mine:latest"], "Layers": [layer]}]).encode()
    return FakeEngine((layer, LAYER), ("repositories", b"{}"), (config, CONFIG), ("manifest.json", manifest))


def test_the_engines_layout_and_names_change_no_byte(tmp_path):
    for layout in ("old", "new"):
        saved.save(IMAGE, engine_of(layout), tmp_path / layout, tmp_path)
    assert (tmp_path / "old").read_bytes() == (tmp_path / "new").read_bytes()
    assert b"mine:latest" not in (tmp_path / "old").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"], "the engine's own archive went"


def test_a_layer_that_the_engine_wrote_as_a_link_is_written_out(tmp_path):
    manifest = json.dumps([{"Config": NAME, "Layers": ["1/layer.tar", "2/layer.tar"]}]).encode()
    linked = FakeEngine(
        ("1/layer.tar", LAYER), (NAME, CONFIG), ("manifest.json", manifest), links=[("2/layer.tar", "../1/layer.tar")]
    )
    saved.save(IMAGE, linked, tmp_path / "x", tmp_path)
    with tarfile.open(tmp_path / "x") as found:
        assert [(one.name, one.size) for one in found][2:] == [("layers/001.tar", 1500), ("layers/002.tar", 1500)]


def test_another_image_than_was_asked_for_is_no_image(tmp_path):
    with pytest.raises(EnvironmentFault, match="cannot save"):
        saved.save("sha256:" + "0" * 64, engine_of("old"), tmp_path / "x", tmp_path)
    with pytest.raises(EnvironmentFault, match="cannot save"):
        saved.save(IMAGE, FakeEngine(("manifest.json", b"[{}]")), tmp_path / "x", tmp_path)


def test_what_was_saved_may_be_loaded(tmp_path):
    saved.save(IMAGE, engine_of("old"), tmp_path / "x", tmp_path)
    saved.check(tmp_path / "x", IMAGE)


def json_of(**changes):
    return json.dumps([{**MANIFEST[0], **changes}]).encode()


GOOD = (("manifest.json", json_of()), (NAME, CONFIG), ("layers/001.tar", LAYER))
HOSTILE = {
    "it has a name": (("manifest.json", json_of(RepoTags=["kbuild-lab/bookworm-amd64-gcc12:9bf050ded19b"])), *GOOD[1:]),
    "a name in other letters": (("manifest.json", json_of(repotags=["x"])), *GOOD[1:]),
    "two images": (("manifest.json", json.dumps([*MANIFEST, *MANIFEST]).encode()), *GOOD[1:]),
    "another layer": (("manifest.json", json_of(Layers=["../../etc/passwd"])), *GOOD[1:]),
    "another configuration": (GOOD[0], (NAME, CONFIG + b" "), GOOD[2]),
    "no configuration": (GOOD[0], GOOD[2]),
    "no manifest": GOOD[1:],
    "a manifest that is no JSON": (("manifest.json", b"\xff"), *GOOD[1:]),
    "more than an image": (*GOOD, ("repositories", b"{}")),
    "something twice": (*GOOD, GOOD[0]),
    "a path that climbs": (*GOOD, ("../x", b"")),
    "nothing": (),
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_what_save_does_not_write_is_not_loaded(members, tmp_path):
    with pytest.raises(UsageError, match="not loaded"):
        saved.check(archive(tmp_path / "x", *members), IMAGE)


def test_links_and_damage_are_not_loaded(tmp_path):
    with pytest.raises(UsageError, match="regular"):
        saved.check(archive(tmp_path / "x", *GOOD, links=[("layers/002.tar", "/etc/passwd")]), IMAGE)
    (tmp_path / "y").write_bytes(b"x" * 4096)
    with pytest.raises(UsageError, match="damaged"):
        saved.check(tmp_path / "y", IMAGE)
    (tmp_path / "z").write_bytes((archive(tmp_path / "x", *GOOD)).read_bytes()[:1700])
    with pytest.raises(UsageError, match="not loaded"):
        saved.check(tmp_path / "z", IMAGE)


@pytest.mark.docker
def test_an_image_survives_being_a_file(engine, tmp_path):
    """Make a small image, save it, let the engine forget it, load it: it has the digest that it had."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/unique").write_text(str(tmp_path))
    subprocess.run(["tar", "-C", tmp_path / "root", "-cf", tmp_path / "layer.tar", "."], check=True)
    made = docker("import", tmp_path / "layer.tar")
    try:
        saved.save(made, engine, tmp_path / "one.tar", tmp_path)
        saved.save(made, engine, tmp_path / "two.tar", tmp_path)
        assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
        saved.check(tmp_path / "one.tar", made)
        docker("rmi", made)
        docker("load", "-q", "-i", tmp_path / "one.tar")
        assert docker("image", "inspect", "--format", "{{.Id}} {{.RepoTags}}", made) == f"{made} []"
    finally:
        docker("rmi", made)


def docker(*words):
    return subprocess.run(["docker", *map(str, words)], check=True, capture_output=True, text=True).stdout.strip()
