import io
import tarfile

from lab.environment import dpkg

DATABASE = """\
Package: gcc
Status: install ok installed
Version: 4:12.2.0-3
Depends: cpp (= 4:12.2.0-3),
 gcc-12
Description: compiler
 Version: of no package

Package: gone
Status: deinstall ok config-files
Version: 1

Package: linux-libc-dev
Status: install ok unpacked
Version: 6.1.1-1
"""

STATUS = {
    "gcc": {"Depends": "cpp (= 12), libc6 (>= 2.36) | libc6.1, awk:any"},
    "cpp": {"Pre-Depends": "libmpfr6"},
    "libmpfr6": {}, "libc6": {}, "unneeded": {"Depends": "libmpfr6"},
    "mawk": {"Provides": "awk"}, "bash": {"Essential": "yes", "Depends": "base"}, "base": {},
}  # fmt: skip


def test_an_image_needs_what_was_asked_for_what_is_essential_and_all_that_these_depend_on():
    assert dpkg.needed(STATUS, ["gcc"]) == set(STATUS) - {"unneeded"}
    assert dpkg.needed(STATUS, []) == {"bash", "base"}
    assert dpkg.needed({}, ["gcc"]) == set()


def layer(tmp_path, name, text):
    path = tmp_path / "layer.tar"
    with tarfile.open(path, "w") as out:
        member = tarfile.TarInfo(name)
        member.size = len(text.encode())
        out.addfile(member, io.BytesIO(text.encode()))
    return path


def test_what_is_installed_or_unpacked_is_read_from_a_layer(tmp_path):
    found = dpkg.installed(layer(tmp_path, "./var/lib/dpkg/status", DATABASE))
    assert {name: fields["Version"] for name, fields in found.items()} == {
        "gcc": "4:12.2.0-3",
        "linux-libc-dev": "6.1.1-1",
    }


def test_a_layer_without_a_database_has_nothing_installed(tmp_path):
    assert dpkg.installed(layer(tmp_path, "./etc/passwd", DATABASE)) == {}
