import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lab.evidence import mtimes
from lab.evidence.paths import escape, unescape
from lab.evidence.writes import read_writes

SECOND = 1_000_000_000


@given(st.binary(min_size=1, max_size=40))
@example(b"a\\x41\\n\\\\x")
@example(b"\xff\n\t\r\x00\\")
def test_any_name_survives_the_escape(raw):
    path = os.fsdecode(raw)
    assert unescape(escape(path)) == path
    assert len(escape(path).splitlines()) == 1
    assert "\t" not in escape(path)


@given(st.text())
def test_any_text_can_be_unescaped(text):
    unescape(text.encode("utf-8", "ignore").decode())


def test_the_scan_lists_files_and_neither_follows_nor_lists_links(tmp_path):
    tree = tmp_path / "out"
    tree.joinpath("a").mkdir(parents=True)
    tree.joinpath("a/b.o").write_bytes(b"")
    tmp_path.joinpath("secret").write_bytes(b"")
    tree.joinpath("up").symlink_to(tmp_path)
    tree.joinpath("link").symlink_to(tmp_path / "secret")
    os.mkfifo(tree / "pipe")
    assert list(mtimes.scan(tree).times) == ["a/b.o"]


def test_sources_are_found_wherever_links_lead(tmp_path):
    source, out = tmp_path / "linux", tmp_path / "build/out"
    for folder in (source / "include/linux", source / "arch/x86/include/asm", out, tmp_path / "other"):
        folder.mkdir(parents=True)
    for number, name in enumerate(("include/linux/a.h", "arch/x86/include/asm/b.h", "include/linux/c.h")):
        source.joinpath(name).write_bytes(b"")
        os.utime(source / name, ns=(0, number))
    tmp_path.joinpath("other/d.h").write_bytes(b"")
    source.joinpath("asm").symlink_to("arch/x86/include/asm")
    source.joinpath("link.h").symlink_to("include/linux/c.h")
    source.joinpath("away.h").symlink_to(tmp_path / "other/d.h")
    tmp_path.joinpath("other/back.h").symlink_to(source / "include/linux/c.h")
    source.joinpath("loop").symlink_to("loop")
    names = [
        f"{source}/include/linux/a.h", "../../linux/include/linux/a.h", f"{source}/asm/b.h", f"{source}/link.h",
        f"{source}/away.h", f"{tmp_path}/other/back.h", f"{tmp_path}/other/d.h", f"{source}/include/linux/gone.h",
        f"{source}/loop/x.h", f"{source}/loop", "include/linux/a.h", f"{source}/a\0.h", f"{source}/include",
        f"{source}/include/..", f"{source}/x.h/", f"{source}/include/linux/a.h/x", "/x.h", "/", "../..",
        f"{source}/include/../include/linux/c.h",
    ]  # fmt: skip
    wanted = {}
    for name in names:
        if name.startswith(("/", "../")) and "\0" not in name:
            path = os.path.realpath(out / name)
            if path.startswith(f"{source}/") and os.path.lexists(path):
                wanted[name] = os.lstat(path).st_mtime_ns
    assert mtimes.of_sources(out, source, names) == wanted
    assert len(wanted) == 8


def test_times_survive_the_tsv(tmp_path):
    tree = mtimes.Tree(times={"a b": 1, "c\n\udcff": SECOND, "d\\": -5}, captured_ns=7)
    path = tmp_path / "mtimes.tsv"
    path.write_text("".join(mtimes.tsv(tree)))
    assert mtimes.read_tsv(path) == tree


@given(st.binary(max_size=200))
def test_any_bytes_are_a_tsv(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("tsv") / "x.tsv"
    path.write_bytes(data + b"\n12\ta\n99999999999999999999999\tb\n\xd9\xa3\tc")
    assert mtimes.read_tsv(path).times["a"] == 12
    assert read_writes(path) == ()


def test_writes_come_in_the_order_of_their_times(tmp_path):
    path = tmp_path / "writes.tsv"
    path.write_text("20\tCW\tb\\n\n10\tM\ta\nhalf\t")
    assert [(one.time_ns, one.letters, one.path) for one in read_writes(path)] == [(10, "M", "a"), (20, "CW", "b\n")]


@pytest.mark.parametrize(
    ("times", "granularity_ns"),
    [
        ([n * SECOND for n in range(20)], SECOND),
        ([n * 2 * SECOND for n in range(20)], 2 * SECOND),
        ([n * SECOND + n for n in range(20)], 1),
        ([n * 2 * SECOND for n in range(3)], SECOND),
        ([1, 2], None),
        ([], None),
    ],
)
def test_the_granularity_is_what_the_times_have_in_common(times, granularity_ns):
    assert mtimes.inferred_granularity_ns(times) == granularity_ns


def test_a_shared_second_is_told_as_a_date():
    assert mtimes.shared_tick(1_520_957_813 * SECOND + 1, 1_520_957_813 * SECOND, SECOND) == "2018-03-13 16:16:53 UTC"
    assert mtimes.shared_tick(SECOND - 1, SECOND, SECOND) is None


def test_a_tick_of_two_seconds_begins_with_an_even_one():
    second = 1_520_957_813  # odd
    assert mtimes.shared_tick(second * SECOND, (second - 1) * SECOND, 2 * SECOND) == "2018-03-13 16:16:52 UTC"
    assert mtimes.shared_tick(second * SECOND, (second + 1) * SECOND, 2 * SECOND) is None


@pytest.mark.parametrize(
    ("granularity_ns", "name"),
    [(1, "time"), (4_000_000, "time"), (SECOND, "second"), (2 * SECOND, "two seconds"), (10 * SECOND, "10 s")],
)
def test_what_equal_times_share_has_a_name(granularity_ns, name):
    assert mtimes.tick_name(granularity_ns) == name


def test_a_time_beyond_the_calendar_is_still_printed():
    assert mtimes.utc(10**30).startswith("1")
