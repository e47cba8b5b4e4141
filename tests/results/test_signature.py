"""Signatures: the same fault is the same on every machine and in every run, and two faults stay two."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.model import Finding, Severity, Span
from lab.results.signature import Signature, signature, steady, steady_function, steady_path, told

UNDEFINED = Finding(
    id="modpost.undefined",
    severity=Severity.FAIL,
    title="'__mcb_register_driver' is undefined",
    message="needs it",
    where=Span(file="build.txt", first=1161, last=1161),
    blame="drivers/tty/serial/8250/8250_men_mcb.ko",
)
words = st.sampled_from(["BUG:", "x86_64", "in", "fs/xfs/xfs.ko", "'put_user_2'", "CONFIG_64BIT", "of", "8250_pci"])
numbers = st.integers(0, 10**9)
VARYING = (
    "0x{a:x}", "{a}", "{a}.{b} s", "[{a}.{b}]", "fs/xfs/xfs.c:{a}:{b}: error", "xfs_open+0x{a:x}/0x{b:x}", "make[{a}]",
    "CPU: {a}", "kworker/{a}:{b}", "/tmp/cc{a:06x}.s", "ffffffff8{a:07x}", "xfs_open.isra.{a}", "__func__.{a}",
    "2026-11-21 02:27:52.{a} UTC", "of {a} MiB", "line {a}", "pid {a}", "__UNIQUE_ID_alias{a}",
)  # fmt: skip


@given(st.sampled_from(VARYING), numbers, numbers, numbers, numbers, st.lists(words, max_size=3))
def test_what_varies_has_no_part_in_a_title(form, a, b, c, d, around):
    one, other = (" ".join([*around, form.format(a=x, b=y), *around]) for x, y in ((a, b), (c, d)))
    assert steady(one) == steady(other)


@given(st.text(max_size=400))
def test_twice_is_once(text):
    assert steady(steady(text)) == steady(text)
    assert steady_path(steady_path(text)) == steady_path(text)
    assert steady_function(steady_function(text)) == steady_function(text)


@given(st.lists(st.one_of(words, st.sampled_from(VARYING).map(lambda form: form.format(a=7, b=42))), max_size=8))
def test_twice_is_once_also_for_lines_of_logs(parts):
    assert steady(steady(" ".join(parts))) == steady(" ".join(parts))


ROOTS = (
    "/home/me/linux",
    "/usr/src/linux-6.1",
    "/var/lib/lab/src",
    "/lib/modules/6.1/build",
    "/root/kernel/linux",
    "/o",
)
IN_TREE = (
    "arch/x86/lib/retpoline.S", "fs/xfs/xfs_file.o", "drivers/net/tun.ko", "lib/ctype.c", "kernel/fork.c", "mm/slub.c",
    "tools/arch/x86/lib/insn.c", "net/core/dev.c", "sound/core/init.c",
)  # fmt: skip


@pytest.mark.parametrize("path", IN_TREE)
@pytest.mark.parametrize("root", ROOTS)
def test_it_does_not_matter_where_the_tree_lies(root, path):
    assert steady_path(f"{root}/{path}") == path
    assert steady(f"error in {root}/{path}:12:3 here") == steady(f"error in {path}:4711 here")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("'__put_user_2' is undefined", "'__put_user_4' is undefined"),
        ("CONFIG_64BIT did not survive olddefconfig", "CONFIG_32BIT did not survive olddefconfig"),
        ("BUG: null pointer in xfs_open", "BUG: null pointer in xfs_close"),
        ("test failed: math.div64", "test failed: math.div32"),
        ("module does not load: lib/crc4.ko", "module does not load: lib/crc8.ko"),
        ("module does not load: drivers/a/x.ko", "module does not load: drivers/b/x.ko"),
        ("no rule to make 'arch/arm/lib/a.o'", "no rule to make 'arch/arm64/lib/a.o'"),
    ],
)
def test_two_faults_stay_two(one, other):
    assert steady(one) != steady(other)


def test_a_signature_is_what_the_fault_is_and_not_where_it_was_seen():
    again = replace(UNDEFINED, where=Span(file="build.txt", first=7), message="other", because=("x",), data={"a": 1})
    assert signature(again) == signature(UNDEFINED)
    assert signature(again).key == signature(UNDEFINED).key
    changes = ({"blame": "lib/x.ko"}, {"id": "modpost.licence"}, {"title": "'x' is undefined"}, {"function": "f"})
    for change in changes:
        assert signature(replace(UNDEFINED, **change)).key != signature(UNDEFINED).key


def test_the_key_is_the_same_for_ever():
    """Files of known issues and other people's notes name faults by it: a change here breaks them."""
    assert signature(UNDEFINED).key == "71ad73d55a65"


def test_words_name_the_fault():
    assert signature(UNDEFINED).words() == (
        "modpost.undefined drivers/tty/serial/8250/8250_men_mcb.ko: '__mcb_register_driver' is undefined"
    )
    assert Signature(id="boot.oops", function="f").words() == "boot.oops f()"


def test_what_is_joined_is_told_and_does_not_stand_by_itself():
    inner = replace(UNDEFINED, id="timestamps.stale", joined=(replace(UNDEFINED, id="timestamps.tie"),))
    outer = replace(UNDEFINED, joined=(inner,))
    found = [(finding.id, alone) for finding, alone in told([outer])]
    assert found == [("modpost.undefined", True), ("timestamps.stale", False), ("timestamps.tie", False)]


def test_a_function_is_named_as_in_the_source():
    for name in ("xfs_open", "xfs_open.isra.0.cold", "xfs_open+0x13/0x2f [xfs]", "xfs_open.llvm.1234567"):
        assert steady_function(name) == "xfs_open"


LONG = (
    "a" + ".1" * 1990, "a" + ".isra.1" * 560, "0x" * 2000, "/a" * 2000, "1:" * 2000, "+0x1" * 1000, "1f" * 2000, "/tmp/" * 800,
    "a+0x1/0x1" * 440, "kworker/" * 500, "a1:1:1" * 600,
)  # fmt: skip


@pytest.mark.parametrize("text", LONG, ids=[text[:8] for text in LONG])
def test_a_line_of_a_strangers_log_comes_to_an_end(text):
    assert steady(steady(text)) == steady(text)
    assert steady_path(steady_path(text)) == steady_path(text)
    assert steady_function(steady_function(text)) == steady_function(text)


@given(st.text("a1.:/ x0-+[]_f", max_size=300))
def test_twice_is_once_for_what_looks_like_addresses_and_paths(text):
    assert steady(steady(text)) == steady(text)
    assert steady_path(steady_path(text)) == steady_path(text)
    assert steady_function(steady_function(text)) == steady_function(text)
