"""What apt and mmdebstrap say when something is wrong, as one fact a cause. The texts have the form of theirs."""

import pytest

from lab.environment import archive, image
from lab.proc import Completed
from lab.tables import Image, Purpose

NOISE = """\
I: running apt-get update...
Reading package lists...
"""
END = """\
E: setup failed: E: apt-get -o Dir::Bin::dpkg=env --yes install -oAPT::Status-Fd=<$fd> busybox-static gcc-99 failed
I: main() received signal PIPE: waiting for setup...
E: mmdebstrap failed to run
"""
NO_PACKAGE = "E: Unable to locate package gcc-99\nE: Unable to locate package nosuch\n"
NO_CANDIDATE = "E: Package 'gcc-99' has no installation candidate\n"
UNMET = """\
The following packages have unmet dependencies:
 libelf-dev : Depends: zlib1g-dev but it is not going to be installed
E: Unable to correct problems, you have held broken packages.
"""
NO_HOST = """\
Err:1 http://127.0.0.1:9/debian bookworm InRelease
  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)
E: Failed to fetch http://127.0.0.1:9/debian/dists/bookworm/InRelease  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect
E: Failed to fetch http://127.0.0.1:9/debian/dists/bookworm-updates/InRelease  Could not connect to 127.0.0.1:9 (127.0.0.1).
E: Some index files failed to download. They have been ignored, or old ones used instead.
E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> -oDpkg::Use-Pty=false failed
"""
NO_NAME = "E: Failed to fetch http://nowhere.invalid/dists/x/InRelease  Could not resolve 'nowhere.invalid'\n"
NO_SUITE = "E: The repository 'http://mirror.example/debian bookwrm Release' does not have a Release file.\n"
TOO_NEW = """\
E: Release file for http://mirror.example/debian/dists/sid/InRelease is not valid yet (invalid for another 3h 2min 1s). \
Updates for this repository will not be applied.
"""
HASH = """\
E: Failed to fetch http://mirror.example/debian/dists/x/main/binary-armhf/Packages.xz  Hash Sum mismatch [IP: 192.0.2.1 80]
   Hashes of expected file:
    - Filesize:8786460 [weak]
"""
SIZE = """\
E: Failed to fetch http://mirror.example/dists/x/Packages.xz  File has unexpected size (1 != 2). Mirror sync in progress? \
[IP: 192.0.2.1 80]
"""


@pytest.mark.parametrize(
    ("said", "facts", "network"),
    [
        (
            NO_PACKAGE,
            (
                ("package", "gcc-99: the suite has none of this name for the architecture"),
                ("package", "nosuch: the suite has none of this name for the architecture"),
            ),
            False,
        ),
        (NO_CANDIDATE, (("package", "gcc-99: the suite has none of this name for the architecture"),), False),
        (UNMET, (("package", "libelf-dev depends zlib1g-dev but it is not going to be installed"),), False),
        (NO_HOST, (("host", "127.0.0.1:9 does not answer: Could not connect"),), True),
        (NO_NAME, (("host", "nowhere.invalid does not answer: Could not resolve"),), True),
        (
            NO_SUITE,
            (("archive", "The repository 'http://mirror.example/debian bookwrm Release' does not have a Release file."),),
            True,
        ),
        (
            TOO_NEW,
            (
                (
                    "archive",
                    "Release file for http://mirror.example/debian/dists/sid/InRelease is not valid yet (invalid for "
                    "another 3h 2min 1s). Updates for this repository will not be applied.",
                ),
            ),
            True,
        ),
        (
            HASH,
            (("file", "http://mirror.example/debian/dists/x/main/binary-armhf/Packages.xz: Hash Sum mismatch"),),
            True,
        ),
        (
            SIZE,
            (("file", "http://mirror.example/dists/x/Packages.xz: File has unexpected size (1 != 2). "
                      "Mirror sync in progress?"),),
            True,
        ),
        ("", (("said", "the last line"),), False),
    ],
    ids=["package", "candidate", "unmet", "host", "name", "suite", "too-new", "hash", "size", "nothing"],
)  # fmt: skip
def test_each_cause_is_one_fact_and_noise_is_none(said, facts, network):
    told = archive.complaint(NOISE + said + END, "the last line")
    assert (told.facts, told.network) == (facts, network)


def test_many_causes_are_counted():
    told = archive.complaint("".join(f"E: Unable to locate package p{number}\n" for number in range(9)))
    assert len(told.facts) == archive.REASONS_AT_MOST + 1
    assert told.facts[-1] == ("and", "3 more")


@pytest.mark.parametrize(
    ("said", "finding", "hint"),
    [
        (NO_PACKAGE, "infra.image", "images/mine.yaml"),
        (NO_HOST, "infra.network", "LAB_MIRROR"),
        (NO_PACKAGE + "tar: x: Cannot write: No space left on device\n", "infra.disk-full", "LAB_CACHE"),
    ],
)
def test_a_failed_image_blames_the_right_party(said, finding, hint):
    row = Image(name="mine", purpose=Purpose.BUILD, suite="bookworm", debian_arch="armhf", packages=("gcc-99",))
    error = image._fault(row, Completed(argv=(), status=25, output=NOISE + said + END, seconds=1.0))
    assert error.finding == finding
    assert hint in error.hint
    assert "cannot build image 'mine' (bookworm/armhf)" in error.message


def test_the_date_of_the_index_is_read_from_what_apt_used(tmp_path):
    text = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nSuite: oldstable\nCodename: bookworm\n"
    (tmp_path / "deb.example_debian_dists_bookworm_InRelease").write_text(
        f"{text}Date: Sat, 06 Sep 2025 09:41:12 UTC\n"
    )
    assert image._releases(tmp_path) == {"bookworm": "Sat, 06 Sep 2025 09:41:12 UTC"}
