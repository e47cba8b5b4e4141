"""Images: what their key is made of, and that the same definition and archive make the same image."""

import dataclasses
import http.server

import debian_mirror
import pytest

from lab.environment import archive, cache, image
from lab.environment.engine import ImageFacts
from lab.errors import UsageError
from lab.settings import Settings
from lab.tables import Image, Purpose
from lab.use import prepare

DAY = "20200102"
TINY = Image(
    name="test-tiny",
    purpose=Purpose.BUILD,
    suite="bookworm",
    debian_arch="amd64",
    packages=("busybox-static",),
    snapshot=DAY,
)


@pytest.mark.parametrize(
    "change",
    [{"packages": ("bc",)}, {"suite": "trixie"}, {"debian_arch": "armhf"}, {"snapshot": "20200103"}, {"snapshot": ""}],
    ids=str,
)
def test_another_definition_is_another_image(change):
    assert image.key_of(dataclasses.replace(TINY, **change)) != image.key_of(TINY)


def test_a_note_and_the_order_of_packages_are_no_other_definition():
    twin = dataclasses.replace(TINY, packages=("bc", "make"), note="x")
    assert image.key_of(twin) == image.key_of(dataclasses.replace(TINY, packages=("make", "bc")))


class Engine:
    """Has two images of one definition that is gone, and takes them away when told."""

    def __init__(self):
        self.there = ["sha256:1", "sha256:2"]

    def images(self, label):
        keys = {"sha256:1": "aaaaaaaaaaaa", "sha256:2": "bbbbbbbbbbbb"}
        return tuple(
            ImageFacts(
                id=one,
                tags=(f"kbuild-lab/test-gone:{keys[one]}",),
                labels=((label, "test-gone"), (f"{label}.key", keys[one])),
                bytes=1,
                architecture="amd64",
            )
            for one in self.there
        )

    def remove_image(self, name):
        self.there.remove(name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_prune_keeps_what_a_running_lab_holds_and_says_so(tmp_path, rows, monkeypatch):
    settings = Settings(cache=tmp_path, results=tmp_path, images=tmp_path, data=tmp_path)
    engine = Engine()
    monkeypatch.setattr(prepare.engines, "connect", lambda settings: engine)
    with cache.Holds(settings) as holds:
        holds.keep(cache.IMAGES, "bbbbbbbbbbbb")
        gone, kept = prepare.prune(settings, rows)
    assert gone == ("kbuild-lab/test-gone:aaaaaaaaaaaa",)
    assert kept == ("kbuild-lab/test-gone:bbbbbbbbbbbb",)
    assert engine.there == ["sha256:2"]
    assert prepare.prune(settings, rows)[0] == kept, "nobody holds it any more"


def test_the_list_tells_current_from_outdated_and_not_built(tmp_path, rows, monkeypatch):
    settings = Settings(cache=tmp_path, results=tmp_path, images=tmp_path, data=tmp_path)
    monkeypatch.setattr(prepare.engines, "connect", lambda settings: Engine())
    listed = prepare.image_rows(settings, rows)
    assert [row.state for row in listed if row.name == "test-gone"] == ["outdated", "outdated"]
    defined = next(row for row in listed if row.name == "bookworm-amd64-gcc12")
    assert (defined.state, defined.key) == ("not built", image.key_of(rows.image["bookworm-amd64-gcc12"]))


class Redirect(http.server.BaseHTTPRequestHandler):
    """A snapshot archive whose only day is what the machine's mirror has today."""

    asked: tuple[str, ...] = ()
    mirror = ""

    def do_GET(self):
        Redirect.asked += (self.path,)
        self.send_response(302)
        self.send_header("Location", self.mirror + self.path.removeprefix(f"/{DAY}T000000Z/"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def removed(engine):
    """Test images are gone before and after."""

    def remove():
        for built in image.listed(engine):
            if built.name.startswith("test-"):
                engine.remove_image(built.id)

    remove()
    yield remove
    remove()


@pytest.mark.docker
@pytest.mark.slow
def test_the_same_day_gives_the_same_image_and_packages_are_fetched_once(machine_settings, engine, tmp_path, removed):
    today = archive.archive("bookworm", machine_settings).sources[0]
    Redirect.mirror = next(word for word in today.split() if "://" in word).rstrip("/") + "/"
    with debian_mirror.served(tmp_path, Redirect) as url:
        settings = dataclasses.replace(machine_settings, cache=tmp_path / "cache", snapshot=url)
        first = image.prepare(TINY, engine, settings)
        fetched = [path for path in Redirect.asked if path.endswith(".deb")]
        removed()
        Redirect.asked = ()
        second = image.prepare(TINY, engine, settings)
    assert second.id == first.id
    assert all(path.startswith(f"/{DAY}T000000Z/") for path in Redirect.asked)
    assert len(fetched) > 20
    assert not [path for path in Redirect.asked if path.endswith(".deb")], "fetched twice"
    assert "busybox-static" in second.packages
    assert second.snapshot == DAY
    assert list(second.releases) == ["bookworm"]
    assert second.releases["bookworm"].endswith(" UTC")


@pytest.mark.docker
def test_a_day_without_an_archive_is_told_before_anything_is_fetched(machine_settings, engine, tmp_path, removed):
    settings = dataclasses.replace(machine_settings, cache=tmp_path / "cache", snapshot="")
    with pytest.raises(UsageError, match=f"no archive has the packages of {DAY}"):
        image.prepare(TINY, engine, settings)
