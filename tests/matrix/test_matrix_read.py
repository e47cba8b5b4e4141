"""Reading a matrix: what is typed how, and that whatever is wrong is told with its place and never with a traceback."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import tables
from lab.errors import MatrixError
from lab.matrix.expand import expand
from lab.matrix.read import read, read_text
from lab.model import (
    Amplify,
    Boot,
    DebianSource,
    DirSource,
    Emulation,
    GitSource,
    Lto,
    Make,
    Outcome,
    TarballSource,
    Until,
)

ROOT = Path(__file__).parent.parent.parent
FIXTURES = ROOT / "tests/fixtures/matrix"
TABLES = tables.load(images=ROOT / "images")

HEAD = """\
version: 1
name: small
defaults:
  source: {debian: linux-source-6.1}
  arch: amd64
  toolchain: gcc12
  filesystem: tmpfs
  kconfig: [tinyconfig]
"""


def cell(more, head=HEAD):
    (only,) = expand(read_text(head + more, "m.yaml", FIXTURES, TABLES))
    return only


def cells(more, head=HEAD):
    return expand(read_text(head + more, "m.yaml", FIXTURES, TABLES))


def mistakes(more, head=HEAD):
    with pytest.raises(MatrixError) as caught:
        read_text(head + more, "m.yaml", FIXTURES, TABLES)
    return caught.value.mistakes


# ---------------------------------------------------------------------------------------------------------- the wrong


@pytest.mark.parametrize("fixture", sorted(FIXTURES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_wrong_matrix_is_told_every_mistake_with_its_place(fixture, monkeypatch):
    monkeypatch.chdir(FIXTURES)
    with pytest.raises(MatrixError) as caught:
        read(Path(fixture.name), TABLES)
    assert str(caught.value) + "\n" == fixture.with_suffix(".expected.txt").read_text()


def test_a_missing_matrix_is_told():
    with pytest.raises(MatrixError, match=r"nowhere\.yaml: cannot read the matrix: No such file"):
        read(Path("nowhere.yaml"), TABLES)


def test_a_matrix_that_is_a_folder_is_told(tmp_path):
    with pytest.raises(MatrixError, match="cannot read the matrix"):
        read(tmp_path, TABLES)


def test_bytes_that_are_no_text_are_told_with_their_place(tmp_path):
    (tmp_path / "m.yaml").write_bytes(b"version: 1\nname: \xff\n")
    with pytest.raises(MatrixError, match=r"m\.yaml:2:7: not UTF-8 text: byte 0xff"):
        read(tmp_path / "m.yaml", TABLES)


def test_a_huge_file_is_not_read(tmp_path):
    (tmp_path / "m.yaml").write_bytes(b"#" * 10_000_000)
    with pytest.raises(MatrixError, match="at most 262144 are read"):
        read(tmp_path / "m.yaml", TABLES)


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"', "%YAML " + "1" * 5000 + ".1\n---\na", "!<%FF> a", '"\\uD800": 1'])
def test_what_breaks_the_parser_is_a_mistake_too(text):
    assert mistakes("", head=text)


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 50_000])
def test_deep_nesting_ends_the_reading(text):
    assert "nested deeper than 16 levels" in mistakes("", head=text)[-1]


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.config").write_text("CONFIG_SECRET=y\n")
    (tmp_path / "inside/link.config").symlink_to("../secret.config")
    with pytest.raises(MatrixError, match="lies outside the matrix' folder"):
        read_text(HEAD.replace("[tinyconfig]", "[tinyconfig, link.config]"), "m.yaml", tmp_path / "inside", TABLES)


def test_a_large_file_beside_the_matrix_is_refused(tmp_path):
    (tmp_path / "huge.config").write_text("#" * (1024 * 1024 + 1))
    with pytest.raises(MatrixError, match="is larger than 1048576 bytes"):
        read_text(HEAD.replace("[tinyconfig]", "[tinyconfig, huge.config]"), "m.yaml", tmp_path, TABLES)


def test_a_hundred_mistakes_are_enough():
    told = mistakes("".join(f"x{number}: 1\n" for number in range(300)))
    assert len(told) == 101
    assert told[-1] == "m.yaml: 200 more mistakes"


@given(st.text(max_size=300))
def test_random_text_raises_matrix_errors_only(text):
    with pytest.raises(MatrixError):
        read_text(text, "m.yaml", FIXTURES, TABLES)


WORDS = ["version", "name", "matrix", "include", "exclude", "expect", "when", "kconfig", "patches", "tinyconfig", "boot",
         "on", "1", ":", " ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "&a", "*a", "<<", "|", ">", "'", '"', "#", "!!x",
         "arch", "x86_64", "../x", "/dev/zero", "defaults", "source", "dir", ".", "?", "---\n", "\\x00", "%"]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=60).map("".join))
def test_words_of_a_matrix_in_any_order_raise_matrix_errors_only(text):
    told = ()
    try:
        read_text(HEAD + text, "m.yaml", FIXTURES, TABLES)
    except MatrixError as error:
        told = error.mistakes
    assert all(one.startswith("m.yaml:") for one in told)


# ----------------------------------------------------------------------------------------------------------- the right


def test_defaults_alone_are_one_cell():
    only = cell("")
    assert (only.arch, only.toolchain, only.lto, only.emulation) == ("x86_64", "gcc-12", Lto.NONE, Emulation.NATIVE)
    assert (only.boot, only.repeat, only.ccache, only.patches, only.make) == (None, 1, True, (), Make())


@pytest.mark.parametrize(
    ("written", "times", "until"),
    [
        ("20", 20, None),
        ("{times: 20}", 20, None),
        ("{until: first-failure}", 100, Until(first_failure=True)),
        ("{until: first-failure, times: 7}", 7, Until(first_failure=True)),
        ("{until: {confidence: 0.9, width: 0.2}}", 100, Until(confidence=0.9, width=0.2)),
        ("{name: long, until: {width: .1}, times: 400}", 400, Until(width=0.1)),
        ("{until: {finding: modpost.undefined}}", 100, Until(first_failure=True, finding="modpost.undefined")),
        ("{until: {finding: modpost.undefined, width: 0.2}}", 100, Until(width=0.2, finding="modpost.undefined")),
    ],
)
def test_repeat_has_a_number_and_an_end(written, times, until):
    only = cell(f"  repeat: {written}\n")
    assert (only.repeat, only.until) == (times, until)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{}", "repeat lacks 'times' or 'until'"),
        ("{until: sometime}", "unknown end of repetitions 'sometime'"),
        ("{until: {confidence: 0.9}}", "until lacks 'width'"),
        ("{until: {width: 2}}", "width must be from 0.01 to 0.99, not '2'"),
        ("{until: {width: 0.1, confidence: 1.0}}", "confidence must be from 0.5 to 0.9999, not '1.0'"),
        ("{until: {finding: undefined}}", "finding 'undefined' must read family.fault"),
        ("{until: {finding: a.b, confidence: 0.9}}", "'confidence' goes with 'width' only"),
        ("{times: 0}", "times must be"),
        ("{often: 3}", "often"),
    ],
)
def test_a_wrong_repeat_is_told_with_its_place(written, told):
    found = mistakes(f"  repeat: {written}\n")
    assert any(told in one for one in found)
    assert all(one.startswith("m.yaml:") for one in found)


AMPLIFIED = [
    ("none", Amplify(), "none"),
    ("{load: 4}", Amplify(load=4), "load=4"),
    ("{slow: {touch: 0.3, gcc-12: 10}}", Amplify(slow=(("touch", 0.3), ("gcc-12", 10.0))), "slow=touch:0.3s slow=gcc-12:10s"),
    ("{align: {compiler: mcb-core.c}, load: 64}", Amplify(load=64, align=(("compiler", "mcb-core.c"),)),
     "load=64 align=compiler:mcb-core.c"),
    ("{name: hot, align: {ld: \"; rm -rf $HOME '\"}}", Amplify(align=(("ld", "; rm -rf $HOME '"),)), "hot"),
]  # fmt: skip
NOT_AMPLIFIED = [
    ("on", "unknown amplification 'on'"),
    ("{}", "amplify lacks 'load', 'slow' or 'align'"),
    ("{name: x}", "amplify lacks 'load', 'slow' or 'align'"),
    ("{load: 0}", "load must be a whole number from 1 to 64"),
    ("{load: 65}", "load must be a whole number from 1 to 64"),
    ("{slow: {touch: 0}}", "slow touch must be seconds above 0, at most 10, not '0'"),
    ("{slow: {touch: 10.1}}", "slow touch must be seconds above 0"),
    ("{slow: {touch: 1e1}}", "slow touch must be seconds above 0"),
    ("{slow: {touch: -1}}", "slow touch must be seconds above 0"),
    ("{slow: {}}", "slow must name 1 to 16 tools"),
    ("{slow: {/bin/touch: 1}}", "not the name of a tool: '/bin/touch'"),
    ("{slow: {../touch: 1}}", "not the name of a tool"),
    ("{slow: {'a b': 1}}", "not the name of a tool"),
    ("{slow: {-x: 1}}", "not the name of a tool"),
    ("{slow: {cmp: 1}}", "'cmp' is the lab's own"),
    ("{align: {lab-load: x}}", "'lab-load' is the lab's own"),
    ("{align: {gcc: ''}}", "align gcc is empty"),
    ('{align: {gcc: "a\\nb"}}', "align gcc must be one line"),
    (f"{{align: {{gcc: {'x' * 201}}}}}", "align gcc is longer than 200 characters"),
    ("{align: {gcc: [x]}}", "align gcc must be a text"),
    ("{clock: 2}", "clock"),
]


@pytest.mark.parametrize(("written", "read_as", "shown"), AMPLIFIED)
def test_what_makes_races_likelier_is_read_and_shown(written, read_as, shown):
    only = cell(f"matrix:\n  amplify: [{written}]\n")
    assert only.amplify == read_as
    assert dict(only.axes)["amplify"] == shown
    assert ("amplify" in only.id or "hot" in only.id) == bool(read_as)


def test_an_amplified_cell_is_told_by_its_id_also_where_the_whole_file_is():
    natural, amplified = (
        cell("  filesystem: tmpfs\n", HEAD.replace("  filesystem: tmpfs\n", "")),
        cell("  amplify: {load: 2}\n"),
    )
    assert amplified.id == f"{natural.id}-amplify-load-2"


@pytest.mark.parametrize(("written", "told"), NOT_AMPLIFIED)
def test_a_wrong_amplification_is_told_with_its_place(written, told):
    found = mistakes(f"  amplify: {written}\n")
    assert any(told in one for one in found)
    assert all(one.startswith("m.yaml:") for one in found)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("{debian: linux-source-5.10}", DebianSource(package="linux-source-5.10")),
        ("{debian: linux-source-6.1, suite: bookworm}", DebianSource(package="linux-source-6.1", suite="bookworm")),
        ("{dir: ../linux}", DirSource(path=str(FIXTURES.parent / "linux"))),
        ("{dir: /srv/linux}", DirSource(path="/srv/linux")),
        (
            f"{{tarball: linux.tar.xz, sha256: {'a' * 64}}}",
            TarballSource(path=str(FIXTURES / "linux.tar.xz"), sha256="a" * 64),
        ),
        ("{git: ../linux.git, rev: v6.1}", GitSource(repository=str(FIXTURES.parent / "linux.git"), rev="v6.1")),
        ("{git: https://example.org/linux, rev: 5.10}", GitSource(repository="https://example.org/linux", rev="5.10")),
    ],
)
def test_sources(written, read_as):
    assert cell("", HEAD.replace("{debian: linux-source-6.1}", written)).source == read_as


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{git: ../linux}", "git needs its 'rev'"),
        ("{git: ../linux, rev: --upload-pack=x}", "rev must be a commit, a tag or a branch"),
        ("{git: ../linux, rev: 'v1^{/x}'}", "rev must be a commit, a tag or a branch"),
        ("{git: ../linux, rev: a..b}", "rev must be a commit, a tag or a branch"),
        ("{git: 'ext::sh -c x ://', rev: v1}", "not a URL that is fetched from"),
        ("{git: 'https://me:secret@example.org/linux', rev: v1}", "not a URL that is fetched from"),
        ("{git: 'ssh://example.org/linux', rev: v1}", "not a URL that is fetched from"),
        ("{dir: ../linux, rev: v1}", "'rev' goes with 'git' only"),
    ],
)
def test_a_git_source_that_cannot_be_fetched_is_told_by_the_reader(written, told):
    with pytest.raises(MatrixError, match=re.escape(told)):
        cell("", HEAD.replace("{debian: linux-source-6.1}", written))


def test_scalars_stay_the_text_that_was_written():
    only = cell("matrix:\n  make: [{variables: {A: 5.10, B: no, C: 0x10, D: 12:30, E: }}]\n")
    assert only.make.variables == (("A", "5.10"), ("B", "no"), ("C", "0x10"), ("D", "12:30"), ("E", ""))


def test_a_fragment_of_ours_is_followed_by_what_one_architecture_adds():
    head = HEAD.replace("[tinyconfig]", "[tinyconfig, lab:boot]").replace("  arch: amd64\n", "  emulation: cross\n")
    arm64, i386 = cells("matrix:\n  arch: [arm64, i386]\n", head)
    assert arm64.kconfig[1].text == TABLES.kconfig["boot"] + TABLES.kconfig_further["boot"]["arm64"]
    assert i386.kconfig[1].text == TABLES.kconfig["boot"]


def test_kconfig_keeps_the_order_of_its_fragments():
    written = (
        "[tinyconfig, make:hardening.config, lab:boot, small.config, CONFIG_A=y, '# CONFIG_B is not set', CONFIG_C=n]"
    )
    only = cell("", HEAD.replace("[tinyconfig]", written))
    assert [(one.kind, one.text) for one in only.kconfig] == [
        ("base", "tinyconfig"),
        ("base", "hardening.config"),
        ("file", TABLES.kconfig["boot"]),
        ("file", (FIXTURES / "small.config").read_text()),
        ("line", "CONFIG_A=y"),
        ("line", "# CONFIG_B is not set"),
        ("line", "# CONFIG_C is not set"),
    ]


def test_a_patch_is_read_and_named_by_its_file():
    (patch,) = cell("matrix:\n  patches: [patches/tiny.patch]\n").patches
    assert (patch.name, patch.text) == ("tiny", (FIXTURES / "patches/tiny.patch").read_text())


def test_boot_and_deadlines():
    only = cell("matrix:\n  boot: [{append: panic_on_warn=1, memory_mib: 512}]\n  deadlines: [{boot_s: 1.5}]\n")
    assert only.boot == Boot(append=("panic_on_warn=1",), memory_mib=512)
    assert (only.deadlines.boot_s, only.deadlines.build_s) == (1.5, 7200.0)


def test_an_expectation_matches_by_name_and_by_text():
    more = """\
matrix:
  patches: [none, {name: patched, apply: patches/tiny.patch}]
  repeat: [1, 2]
expect:
  - {when: {patches: patched, repeat: 2}, outcome: FAIL, finding: timestamps.tie, because: it is so}
  - {when: {patches: none}, outcome: SKIP}
"""
    found = {(one.patches != (), one.repeat): one.expect for one in cells(more)}
    assert found[True, 1] is None
    assert found[True, 2].outcome is Outcome.FAIL
    assert found[True, 2].findings == ("timestamps.tie",)
    assert found[False, 1].outcome is Outcome.SKIP


def test_include_may_speak_of_a_value_by_its_name():
    more = """\
matrix:
  filesystem: [tmpfs, ext4-128]
  patches: [{name: patched, apply: patches/tiny.patch}]
include:
  - {patches: patched, filesystem: tmpfs, repeat: 3}
"""
    assert [(one.filesystem, one.repeat) for one in cells(more)] == [("tmpfs", 3), ("ext4-128", 1)]


def test_after_a_mistake_no_consequence_of_it_is_told():
    told = mistakes("matrix:\n  lto: [thn]\nexpect:\n  - {when: {lto: none}, outcome: FAIL}\n")
    assert [one.splitlines()[0] for one in told] == ["m.yaml:10:9: unknown lto 'thn' at matrix.lto[0]"]


def test_an_unsupported_combination_points_at_the_value_that_made_it():
    told = mistakes("include:\n  - {emulation: cross, repeat: 2}\n")
    assert told[0].startswith("m.yaml:10:17: toolchain 'gcc-12' has no image for cross/x86_64 at include[0].emulation")


def test_quickstart_is_three_cells_of_which_one_must_fail():
    quickstart = expand(read(ROOT / "matrices/quickstart.yaml", TABLES))
    assert {one.id: one.expect and one.expect.findings for one in quickstart} == {
        "x86_64-gcc-12-tmpfs": None,
        "x86_64-gcc-12-ext4-128": None,
        "x86_64-gcc-12-ext4-128-unguarded": ("timestamps.tie",),
    }
