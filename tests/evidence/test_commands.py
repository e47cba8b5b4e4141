import os

from hypothesis import given
from hypothesis import strategies as st

from lab.evidence import commands

# drivers/mcb/.mcb-parse.o.cmd of linux 6.1, shortened
OF_6_1 = """cmd_drivers/mcb/mcb-parse.o := gcc-12 -Wp,-MMD,drivers/mcb/.mcb-parse.o.d -DX='$$y' -c -o x.o /src/x.c

source_drivers/mcb/mcb-parse.o := /src/drivers/mcb/mcb-parse.c

deps_drivers/mcb/mcb-parse.o := \\
    $(wildcard include/config/SWIOTLB) \\
  /src/include/linux/kconfig.h \\
  arch/x86/include/generated/uapi/asm/types.h \\
  ./include/generated/bounds.h \\

drivers/mcb/mcb-parse.o: $(deps_drivers/mcb/mcb-parse.o)

$(deps_drivers/mcb/mcb-parse.o):

ksymdeps_drivers/mcb/mcb-parse.o := \\
    $(wildcard include/ksym/chameleon_parse_cells) \\

drivers/mcb/mcb-parse.o: $(ksymdeps_drivers/mcb/mcb-parse.o)

$(ksymdeps_drivers/mcb/mcb-parse.o):

drivers/mcb/mcb-parse.o: $(wildcard ./tools/objtool/objtool)
"""


def test_a_file_of_6_1():
    command = commands.parse_command("drivers/mcb/.mcb-parse.o.cmd", OF_6_1)
    assert command.target == "drivers/mcb/mcb-parse.o"
    assert command.command.startswith("gcc-12 -Wp")
    assert command.source == "/src/drivers/mcb/mcb-parse.c"
    assert command.deps == (
        "include/config/SWIOTLB",
        "/src/include/linux/kconfig.h",
        "arch/x86/include/generated/uapi/asm/types.h",
        "include/generated/bounds.h",
        "tools/objtool/objtool",
    )
    assert command.ksyms == ("include/ksym/chameleon_parse_cells",)


def test_a_file_of_6_3_and_later_says_savedcmd():
    command = commands.parse_command(".x.o.cmd", "savedcmd_fs/x.o := gcc x.c\n\nsource_fs/x.o := x.c\n")
    assert (command.target, command.command, command.source, command.deps) == ("fs/x.o", "gcc x.c", "x.c", ())


def test_before_5_1_the_exports_stand_among_the_dependencies():
    text = (
        "cmd_x.o := gcc\n\ndeps_x.o := \\\n  a.h \\\n    $(wildcard include/config/ksym///put/user/4.h) \\\n\nx.o: y\n"
    )
    command = commands.parse_command(".x.o.cmd", text)
    assert (command.deps, command.ksyms) == (("a.h",), ("include/config/ksym/put/user/4.h",))


def test_a_target_without_dependencies_has_none():
    text = "cmd_usr/gen := gcc\n\nsource_usr/gen := gen.c\n\ndeps_usr/gen := \\\n\nusr/gen: $(deps_usr/gen)\n"
    assert commands.parse_command(".gen.cmd", text).deps == ()


def test_commands_survive_the_jsonl(tmp_path):
    found = (
        commands.parse_command("drivers/mcb/.mcb-parse.o.cmd", OF_6_1),
        commands.parse_command("drivers/mcb/.again.o.cmd", OF_6_1),
        commands.Command(file=".odd\udcff\n.cmd", target="", command=""),
    )
    path = tmp_path / "commands.jsonl"
    path.write_text("".join(commands.jsonl(found)))
    assert commands.read_jsonl(path) == found


@given(st.text(alphabet="cmd_:=\\ \n$()wildcardepsxksym/.", max_size=300))
def test_any_text_is_a_cmd_file(text):
    commands.parse_command(".x.cmd", "cmd_x := y\n" + text)
    commands.parse_command(".x.cmd", text)


def test_any_half_of_a_file_is_read():
    for end in range(len(OF_6_1)):
        commands.parse_command(".x.cmd", OF_6_1[:end])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_commands_jsonl(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("commands") / "commands.jsonl"
    path.write_bytes(
        data + b'\n{"file":"f","target":"t","command":"c","source":"","new":[],"deps":[99],"ksyms":[]}\n{"new":7}'
    )
    commands.read_jsonl(path)


def lines(*names):
    return "".join(f"  {name} \\\n" for name in names)


HEADERS = (
    "/src/include/linux/kconfig.h",
    "/src/include/linux/slab.h",
    "include/generated/x.h",
    "/src/include/linux/smp.h",
)


@given(st.lists(st.sampled_from([*HEADERS, "a//b.h", "./c.h", "$$x.h", "", "../up.h"]), max_size=12))
def test_many_files_in_one_go_are_read_as_each_by_itself(tmp_path_factory, names):
    """What is remembered of one file must not show in the next."""
    root = tmp_path_factory.mktemp("tree")
    texts = {}
    for number, listed in enumerate([HEADERS, names, names[::-1], (), HEADERS[::-1]]):
        text = f"cmd_x{number}.o := gcc\n\nsource_x{number}.o := x.c\n\ndeps_x{number}.o := \\\n{lines(*listed)}"
        texts[f".x{number}.o.cmd"] = f"{text}\nx{number}.o: $(deps_x{number}.o)\n\n$(deps_x{number}.o):\n"
        root.joinpath(f".x{number}.o.cmd").write_text(texts[f".x{number}.o.cmd"])
    alone = [commands.parse_command(file, text) for file, text in texts.items()]
    assert list(commands.read_commands(root, texts)) == alone
    assert alone[0].deps == HEADERS


def test_links_pipes_and_folders_are_no_command_files(tmp_path):
    tmp_path.joinpath("real").write_text(OF_6_1)
    tmp_path.joinpath(".link.cmd").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / ".pipe.cmd")
    tmp_path.joinpath(".folder.cmd").mkdir()
    tmp_path.joinpath(".good.cmd").write_text(OF_6_1)
    files = [".link.cmd", ".pipe.cmd", ".folder.cmd", "gone/.x.cmd", ".gone.cmd", "a\0b/.x.cmd", ".good.cmd"]
    assert [one.file for one in commands.read_commands(tmp_path, files)] == [".good.cmd"]
