"""The fast way to read .cmd files, held against the plain way, which parse_command() goes."""

from hypothesis import example, given
from hypothesis import strategies as st

from lab.evidence import commands, runs

START = "cmd_x.o := gcc -c x.c\n\nsource_x.o := /src/x.c\n\ndeps_x.o := \\\n"
END = "\nx.o: $(deps_x.o)\n\n$(deps_x.o):\n"
EXPORTS = "\nksymdeps_x.o := \\\n    $(wildcard include/ksym/kfree) \\\n\nx.o: $(ksymdeps_x.o)\n\n$(ksymdeps_x.o):\n"
OBJTOOL = "\nx.o: $(wildcard ./tools/objtool/objtool)\n"
SMP, BUG = ("    $(wildcard include/config/SMP) \\\n", "    $(wildcard include/config/BUG) \\\n")
KCONFIG, SLAB = ("  /src/include/linux/kconfig.h \\\n", "  /src/include/linux/slab.h \\\n")
LINES = [
    *(SMP, BUG, KCONFIG, SLAB, "  /src/arch/x86/include/asm/bug.h \\\n", "  include/generated/x.h \\\n"),
    *("  /usr/include/stdio.h \\\n", "  ./a//b.h \\\n", "  /src/a(b) \\\n"),
    *("  include/linux/kconfig.h \\\n", "  ../include/linux/kconfig.h \\\n"),  # built in place, and beside the source
    "    $(wildcard include/config/ksym/put/user/4.h) \\\n",  # before 5.1
]
OTHERS = [
    *("\n", "\n\n", " \\\n", "  ", ")", " := ", "\\", "$$", "\0", "\udcff", "saved", START, END, EXPORTS, OBJTOOL),
    *("cmd_x.o := ", "source_x.o := x.c", "deps_x.o := \\\n", "ksymdeps_x.o := \\\n", "x.o: $(wildcard a b)\n"),
]


def joined(pieces, at_most):
    return st.lists(st.sampled_from(pieces), max_size=at_most).map("".join)


def texts():
    """Files as kbuild writes them, such files with something put in anywhere, and heaps of pieces."""
    sound = st.builds("{}{}{}{}".format, st.just(START), joined(LINES, 14), st.just(END), joined([EXPORTS, OBJTOOL], 2))
    spoilt = st.builds(
        lambda one, at, piece: one[:at] + piece + one[at:], sound, st.integers(0, 900), joined(OTHERS, 2)
    )
    return sound | spoilt | joined(LINES + OTHERS, 20)


@given(st.lists(texts(), max_size=6))
@example([START + SMP + KCONFIG + SMP + SLAB + END, START + SMP + SLAB + END + OBJTOOL])
# the list is over before what looks like its end; a header, and no option, that ends in a bracket
@example([START + KCONFIG + "\n" + SLAB + SMP + SLAB + END, START + KCONFIG + LINES[8] + SLAB + LINES[8] + SLAB + END])
def test_the_fast_way_reads_what_the_plain_way_reads(tmp_path_factory, contents):
    root = tmp_path_factory.mktemp("tree")
    files = [f".x{number}.o.cmd" for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        root.joinpath(file).write_bytes(content.encode("utf-8", "surrogateescape"))
    # from the first list with such a file on, exports' files are no dependencies, whoever names them
    old = [number for number, content in enumerate(contents) if "include/config/ksym/" in content]
    for number, command in list(enumerate(commands.read_commands(root, files)))[: old[0] + 1 if old else None]:
        assert command == commands.parse_command(files[number], contents[number])


def fast(text, known):
    return commands._as_written("f", text.encode(), known)


def test_files_as_kbuild_writes_them_are_read_the_fast_way():
    """The other tests would pass without it."""
    known = commands._Known()
    archive = "cmd_fs/built-in.a := ar cDPrST fs/built-in.a\n"
    for text in (START + SMP + KCONFIG + BUG + SLAB + END + EXPORTS + OBJTOOL, archive, "saved" + archive):
        assert fast(text, known) == commands.parse_command("f", text)


def test_objects_that_depend_on_the_same_share_it():
    known = commands._Known()
    listed = KCONFIG + SMP + SLAB + BUG + LINES[4]
    one, other = fast(START + listed + END, known), fast(START + LINES[0] + listed + END, known)
    assert len(one.runs) == 3
    assert other.runs[-2:] == one.runs[-2:]


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(runs, "MAX_KNOWN_BYTES", 5000)
    known = commands._Known()
    for number in range(200):
        options = [f"    $(wildcard include/config/{letter}{number}) \\\n" for letter in "AB"]
        text = START + KCONFIG + options[0] + SLAB + options[1] + SLAB + END
        assert fast(text, known) == commands.parse_command("f", text)
    assert len(known.lists._inner) < 30
