"""Sources and patches: verified, unpacked once, patched beside the original."""

import dataclasses
import hashlib
import tarfile
from pathlib import Path

import pytest

from lab.environment import cache, source
from lab.errors import Untestable, UsageError
from lab.model import DirSource, Patch, TarballSource

MAKEFILE = "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\nEXTRAVERSION = -rc2\n"
GOOD = Patch(name="good", text="--- a/lib/a.c\n+++ b/lib/a.c\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n")


@pytest.fixture
def settings(tmp_path, repository):
    from lab.settings import Settings

    return Settings(
        cache=tmp_path / "cache", results=tmp_path / "r", images=repository / "images", data=repository / "lab" / "data"
    )


@pytest.fixture
def tarball(tmp_path):
    tree = tmp_path / "linux-6.1.7"
    (tree / "lib").mkdir(parents=True)
    (tree / "Makefile").write_text(MAKEFILE)
    (tree / "lib" / "a.c").write_text("one\ntwo\n")
    path = tmp_path / "linux.tar.gz"
    with tarfile.open(path, "w:gz") as out:
        out.add(tree, "linux-6.1.7")
    return TarballSource(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_tarball_is_unpacked_once_under_its_hash(tarball, settings):
    said = []
    tree = source.prepare(tarball, settings, said.append)
    again = source.prepare(tarball, settings, said.append)
    assert tree == again
    assert tree.version == "6.1.7-rc2"
    assert tree.path.name == tarball.sha256[:16]
    assert len(said) == 1


def test_a_tarball_of_another_hash_is_refused_before_anything_is_unpacked(tarball, settings):
    with pytest.raises(UsageError, match="not what the matrix says"):
        source.prepare(dataclasses.replace(tarball, sha256="0" * 64), settings)
    assert not (settings.cache / "sources").exists()


def test_an_archive_that_is_no_kernel_is_refused_and_leaves_nothing(tmp_path, settings):
    path = tmp_path / "x.tar"
    (tmp_path / "readme").write_text("hello")
    with tarfile.open(path, "w") as out:
        out.add(tmp_path / "readme", "x/readme")
    given = TarballSource(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(UsageError, match="holds no kernel source tree"):
        source.prepare(given, settings)
    assert list((settings.cache / "sources").iterdir()) == []


@pytest.mark.parametrize("damage", [slice(0, -40), slice(0, 0)], ids=["truncated", "empty"])
def test_a_damaged_archive_is_refused_and_leaves_nothing(tarball, settings, damage):
    path = Path(tarball.path)
    path.write_bytes(path.read_bytes()[damage])
    given = TarballSource(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(UsageError, match=r"'linux.tar.gz'"):
        source.prepare(given, settings)
    assert list((settings.cache / "sources").iterdir()) == []


def test_a_tree_that_is_held_is_not_removed(tarball, settings):
    with cache.Holds(settings) as holds:
        tree = source.prepare(tarball, settings, holds=holds)
        patched = source.patched(tree, (GOOD,), settings, holds=holds)
        assert [cache.remove(settings, entry) for entry in cache.entries(settings)] == [False, False]
    assert [cache.remove(settings, entry) for entry in cache.entries(settings)] == [True, True]
    assert not patched.path.exists()


def test_an_archive_that_climbs_out_writes_nothing_outside(tmp_path, settings):
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as out:
        for name in ("x/../../../../escaped", "x/Makefile"):
            (tmp_path / "f").write_text(MAKEFILE)
            out.add(tmp_path / "f", name)
    given = TarballSource(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(Exception, match="unpack"):
        source.prepare(given, settings)
    assert not list(tmp_path.rglob("escaped"))


def test_a_patched_tree_is_another_tree_and_the_original_is_untouched(tarball, settings):
    tree = source.prepare(tarball, settings)
    patched = source.patched(tree, (GOOD,), settings)
    assert patched.key != tree.key
    assert (patched.path / "lib/a.c").read_text() == "one\n2\n"
    assert (tree.path / "lib/a.c").read_text() == "one\ntwo\n"
    assert (patched.path / "Makefile").stat().st_ino == (tree.path / "Makefile").stat().st_ino, "copied without need"


def test_a_patch_that_does_not_apply_names_itself_file_and_hunk_and_leaves_nothing(tarball, settings):
    tree = source.prepare(tarball, settings)
    wrong = Patch(name="wrong", text=GOOD.text.replace("-two", "-three"))
    with pytest.raises(Untestable, match=r"patch 'wrong' does not apply to 6\.1\.7-rc2") as caught:
        source.patched(tree, (wrong,), settings)
    assert "lib/a.c" in str(caught.value)
    assert "Hunk #1 FAILED" in str(caught.value)
    assert [path.name for path in (settings.cache / "sources").iterdir()] == [tree.path.name]


@pytest.mark.parametrize("name", ["b/../../outside", "b//etc/passwd", "b/lib/../../x"])
def test_a_patch_that_reaches_out_of_the_tree_is_refused(tarball, settings, name):
    tree = source.prepare(tarball, settings)
    evil = Patch(name="evil", text=f"--- /dev/null\n+++ {name}\n@@ -0,0 +1 @@\n+x\n")
    with pytest.raises(UsageError, match="reaches out of the source tree"):
        source.patched(tree, (evil,), settings)


def test_a_folder_is_used_as_it_is_and_must_be_a_clean_kernel(tmp_path, settings):
    with pytest.raises(UsageError, match="not a kernel source tree"):
        source.prepare(DirSource(path=str(tmp_path)), settings)
    (tmp_path / "Makefile").write_text(MAKEFILE)
    assert source.prepare(DirSource(path=str(tmp_path)), settings).path == tmp_path
    (tmp_path / ".config").write_text("")
    with pytest.raises(UsageError, match="not clean"):
        source.prepare(DirSource(path=str(tmp_path)), settings)


@pytest.mark.docker
def test_the_distribution_source_is_fetched_by_apt_and_is_a_kernel(linux):
    assert linux.version.startswith("6.1.")
    assert len(linux.sha256) == 64
    assert (linux.path / "scripts/adjust_autoksyms.sh").is_file()


@pytest.mark.parametrize(
    "kind", [lambda path: DirSource(path=path), lambda path: TarballSource(path=path, sha256="0" * 64)]
)
def test_a_name_that_no_disk_takes_is_the_users_mistake(kind):
    assert isinstance(source.obstacle(kind("/tmp/" + "x" * 300)), UsageError)


def test_a_version_that_is_no_text_is_no_bug(tmp_path):
    (tmp_path / "Makefile").write_bytes(b"VERSION = 6\nPATCHLEVEL = 1\nEXTRAVERSION = \xff\xfe\n")
    assert source.version_of(tmp_path) == "6.1\ufffd\ufffd"
