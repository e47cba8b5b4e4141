"""Images: what their key is made of, and that the same definition and archive make the same image."""

import dataclasses
import http.server

import debian_mirror
import pytest

from lab.environment import archive, image
from lab.errors import UsageError
from lab.tables import Image, Purpose

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


@pytest.mark.docker
def test_a_day_without_an_archive_is_told_before_anything_is_fetched(machine_settings, engine, tmp_path, removed):
    settings = dataclasses.replace(machine_settings, cache=tmp_path / "cache", snapshot="")
    with pytest.raises(UsageError, match=f"no archive has the packages of {DAY}"):
        image.prepare(TINY, engine, settings)
