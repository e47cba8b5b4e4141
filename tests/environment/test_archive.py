"""The Debian archive: packages of a suite, and of a day, always verified."""

import dataclasses
import shutil

import debian_mirror
import pytest

from lab import proc
from lab.environment import archive
from lab.errors import EnvironmentFault, UsageError
from lab.settings import Settings

NEEDED = ("apt-get", "dpkg-deb", "gpg")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """A snapshot archive with two days of one suite; yields (URL, keyring, folder)."""
    folder = tmp_path_factory.mktemp("mirror")
    key = debian_mirror.Key(tmp_path_factory.mktemp("key") / "home")
    try:
        for day, version in (("20220101", "1.0"), ("20220201", "2.0")):
            work = tmp_path_factory.mktemp(day)
            base = folder / "www" / f"{day}T000000Z"
            debian_mirror.archive(base, "tiny", [("hello-lab", version)], key.sign, work)
        with debian_mirror.served(folder / "www") as url:
            yield url, key.keyring, folder / "www"
    finally:
        key.close()


@pytest.fixture
def settings(tmp_path, mirror):
    return Settings(
        cache=tmp_path / "cache",
        results=tmp_path,
        images=tmp_path,
        data=tmp_path,
        snapshot=mirror[0],
        keyring=str(mirror[1]),
    )


@pytest.mark.parametrize(("day", "version"), [("20220101", "1.0"), ("20220201", "2.0")])
def test_a_day_has_the_packages_of_that_day_though_its_index_is_out_of_date(settings, tmp_path, day, version):
    package = archive.download("hello-lab", "tiny", tmp_path / "debs", settings, snapshot=day)
    assert package.version == version
    assert package.path.name == f"hello-lab_{version}_all.deb"


def test_the_package_of_another_day_does_not_stand_in_for_the_wanted_one(settings, tmp_path):
    archive.download("hello-lab", "tiny", tmp_path / "debs", settings, snapshot="20220201")
    package = archive.download("hello-lab", "tiny", tmp_path / "debs", settings, snapshot="20220101")
    assert package.path.name == "hello-lab_1.0_all.deb"


def test_a_day_that_the_archive_does_not_have_is_told(settings, tmp_path):
    with pytest.raises(EnvironmentFault, match="cannot read the index of suite 'tiny'") as caught:
        archive.download("hello-lab", "tiny", tmp_path, settings, snapshot="20220301")
    assert caught.value.finding == "infra.network"
    assert "does not have a Release file" in str(caught.value)


def test_without_the_setting_a_day_cannot_be_had_and_the_error_says_what_to_set(settings):
    with pytest.raises(UsageError, match="no archive has the packages of 20220101") as caught:
        archive.archive("tiny", dataclasses.replace(settings, snapshot=""), "20220101")
    assert "LAB_SNAPSHOT" in caught.value.hint


def test_an_index_that_somebody_else_signed_is_refused(settings, tmp_path):
    other = debian_mirror.Key(tmp_path / "other")
    other.close()
    with pytest.raises(EnvironmentFault, match="cannot read the index"):
        archive.download(
            "hello-lab",
            "tiny",
            tmp_path / "debs",
            dataclasses.replace(settings, keyring=str(other.keyring)),
            snapshot="20220101",
        )


def test_a_package_that_was_changed_on_its_way_is_refused(settings, tmp_path, mirror):
    work = tmp_path / "work"
    work.mkdir()
    key = debian_mirror.Key(tmp_path / "home")
    base = mirror[2] / "20220401T000000Z"
    debian_mirror.archive(base, "tiny", [("hello-lab", "3.0")], key.sign, work)
    key.close()
    deb = base / "pool/hello-lab_3.0_all.deb"
    deb.write_bytes(deb.read_bytes()[:-1] + b"x")
    with pytest.raises(EnvironmentFault, match="cannot download 'hello-lab'"):
        archive.download(
            "hello-lab",
            "tiny",
            tmp_path / "debs",
            dataclasses.replace(settings, keyring=str(key.keyring)),
            snapshot="20220401",
        )


def test_a_package_that_is_not_there_is_told(settings, tmp_path):
    with pytest.raises(EnvironmentFault, match="no package 'no-such' in suite 'tiny'"):
        archive.download("no-such", "tiny", tmp_path, settings, snapshot="20220101")


@pytest.mark.parametrize(
    ("line", "expected"),
    [('Acquire::Check-Valid-Until "false";', ('Acquire::Check-Valid-Until "false"',)), ("", ())],
)
def test_an_index_past_its_day_is_taken_where_the_machines_apt_takes_it(settings, tmp_path, line, expected):
    own = tmp_path / "apt.conf"
    own.write_text(f'Dir::Etc::main "/dev/null";\nDir::Etc::parts "/dev/null";\n{line}\n')
    environment = {**dict(settings.environment), "APT_CONFIG": str(own)}
    assert archive.freshness(dataclasses.replace(settings, environment=tuple(environment.items()))) == expected


# ------------------------------------------------------------------------------------- a mirror that has half of a new state


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """A suite and its security archive, whose index is of another day than its Release; yields (URL, keyring)."""
    folder = tmp_path_factory.mktemp("halves")
    key = debian_mirror.Key(tmp_path_factory.mktemp("key") / "home")
    try:
        for suite, package in (("tiny", "hello-lab"), ("tiny-security", "other-lab")):
            debian_mirror.archive(
                folder / "www", suite, [(package, "1.0")], key.sign, tmp_path_factory.mktemp(suite), valid_days=36500
            )
        with (folder / "www/dists/tiny-security/main/binary-amd64/Packages").open("a") as index:
            index.write("Package: newer\nVersion: 2\nArchitecture: all\nFilename: pool/newer.deb\nSize: 1\n\n")
        with debian_mirror.served(folder / "www") as url:
            yield url, key.keyring
    finally:
        key.close()


def both(url, keyring):
    entries = tuple(f"deb [signed-by={keyring}] {url} {name} main" for name in ("tiny", "tiny-security"))
    return archive.Archive(suite="tiny", sources=entries, debian_arch="amd64")


def test_what_is_downloaded_to_be_tested_is_never_of_an_older_index(halves, settings, tmp_path):
    with pytest.raises(EnvironmentFault, match="cannot read the index") as caught:
        archive._downloaded("hello-lab", both(*halves), tmp_path / "debs", settings)
    assert caught.value.finding == "infra.network"
    assert "unexpected size" in str(caught.value)


def test_apts_own_words_tell_what_an_image_may_be_made_without(halves, settings, tmp_path):
    with pytest.raises(EnvironmentFault):
        archive._private_apt(both(*halves), settings)
    root = settings.cache / "apt" / both(*halves).name
    options = (
        "Dir::Etc::SourceParts=/dev/null",
        "APT::Sandbox::User=",
        "APT::Architecture=amd64",
        "APT::Architectures=amd64",
    )
    places = (f"Dir::Etc::SourceList={root}/etc/sources.list", f"Dir::State={root}")
    state = [word for option in (*options, *places) for word in ("-o", option)]
    said = proc.run(["apt-get", *state, "update", "--error-on=any"], deadline_s=60).output
    rest = archive.without_unequal(both(*halves), said)
    assert rest is not None, said
    assert rest.left_out == ("tiny-security",)
    assert archive._downloaded("hello-lab", rest, tmp_path / "debs", settings).version == "1.0"


MISMATCH = "E: Failed to fetch http://m/debian/dists/{}/main/binary-armhf/Packages.xz  {}"


@pytest.mark.parametrize(
    ("said", "left_out"),
    [
        (
            MISMATCH.format(
                "tiny-security", "File has unexpected size (3 != 4). Mirror sync in progress? [IP: ::1 80]"
            ),
            True,
        ),
        (MISMATCH.format("tiny-security", "Hash Sum mismatch"), True),
        (MISMATCH.format("tiny", "Hash Sum mismatch"), False),
        (MISMATCH.format("tiny-security", "Could not connect to m:80"), False),
        ("E: The repository 'http://m/debian tiny-security InRelease' is not signed.", False),
        ("", False),
    ],
)
def test_only_an_index_that_is_not_the_one_that_was_signed_is_left_out(said, left_out):
    where = both("http://m/debian", "/k")
    rest = archive.without_unequal(where, said)
    assert (rest is not None) == left_out
    if rest is not None:
        assert (rest.sources, rest.left_out) == (where.sources[:1], ("tiny-security",))
        assert archive.without_unequal(rest, said) is None
