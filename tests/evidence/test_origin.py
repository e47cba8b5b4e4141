"""Which object a function comes from, and how that was built: by what it defines, its source, the link, its neighbours."""

import pytest
from code_elf import ET_EXEC, ET_REL, HIDDEN, LOCAL, Symbol, elf, file, function, static

from lab.evidence import code, link_order, origin
from lab.evidence.commands import Command
from lab.evidence.objects import ObjectFacts
from lab.evidence.origin import Origins

AUTOFS = "fs/autofs/autofs4.ko"
CC = "gcc -Wp,-MMD,x.d -nostdinc -I./include -I /src/kernel -include x.h -D__KERNEL__ -O2 -c -o {o} {c}"
OBJTOOL = "./tools/objtool/objtool --orc"


def cc(target, source, tool=""):
    return Command(
        file=f"{target.rpartition('/')[0]}/.{target.rpartition('/')[2]}.cmd", target=target, source=source,
        command=CC.format(o=target, c=source) + (f" ; {tool} {target}" if tool else ""),
    )  # fmt: skip


def archive(name, *members):
    folder = name.rpartition("/")[0]
    line = f'rm -f {name};  printf "{folder or "."}/%s " {" ".join(members)} | xargs ar cDPrST {name}'
    return Command(file=f".{name}.cmd", target=name, command=line)


COMMANDS = (
    cc("kernel/fork.o", "/src/kernel/fork.c", OBJTOOL), cc("kernel/core.o", "/src/kernel/core.c"),
    cc("mm/core.o", "/src/mm/core.c"), cc("mm/slab.o", "../mm/slab.c"), cc("net/core.o", "net/core.c"),
    cc("kernel/entry.o", "/src/kernel/entry.S"),
    cc("fs/autofs/init.o", "/src/fs/autofs/init.c"), cc("fs/autofs/root.o", "/src/fs/autofs/root.c"),
    Command(file="fs/autofs/.autofs4.o.cmd", target="fs/autofs/autofs4.o",
            command="ld -m elf_x86_64 -r -o fs/autofs/autofs4.o @fs/autofs/autofs4.mod ; "
            f"{OBJTOOL} --link fs/autofs/autofs4.o"),
    cc("lib/single.o", "/src/lib/single.c", OBJTOOL + " --module"),
    archive("built-in.a", "kernel/built-in.a", "mm/built-in.a", "net/built-in.a"),
    archive("kernel/built-in.a", "fork.o", "core.o", "entry.o"), archive("mm/built-in.a", "core.o", "slab.o"),
    archive("net/built-in.a", "core.o"),
)  # fmt: skip
OBJECTS = {
    one.path: one
    for one in (
        ObjectFacts(path="kernel/fork.o", part_of="vmlinux", defines=("fork", "weak")),
        ObjectFacts(path="kernel/core.o", part_of="vmlinux", defines=("kernel_core",)),
        ObjectFacts(path="kernel/entry.o", part_of="vmlinux", defines=("entry",)),
        ObjectFacts(path="mm/core.o", part_of="vmlinux", defines=("mm_core",)),
        ObjectFacts(path="mm/slab.o", part_of="vmlinux", defines=("slab", "weak")),
        ObjectFacts(path="net/core.o", part_of="vmlinux"),
        ObjectFacts(path="fs/autofs/init.o", part_of=AUTOFS, defines=("init_module",)),
        ObjectFacts(path="fs/autofs/root.o", part_of=AUTOFS, defines=("root",)),
        ObjectFacts(path="fs/autofs/autofs4.o", part_of=AUTOFS),
        ObjectFacts(path="lib/single.o", part_of="lib/single.ko"),
    )
}
ORIGINS = Origins(COMMANDS, OBJECTS, (AUTOFS, "lib/single.ko"))


def functions_of(tmp_path, rows, kind=ET_EXEC):
    (tmp_path / "x").write_bytes(elf(rows, kind=kind))
    return code.of_file(tmp_path / "x")


KERNEL = [
    file("fork.c"), static("own", 0x10, 0x10), file("core.c"), static("in_kernel", 0x20, 0x10),
    file("core.c"), static("in_mm", 0x60, 0x10), file("slab.c"), static("in_slab", 0x80, 0x10),
    file("core.c"), static("in_net", 0xA0, 0x10),
    function("fork", 0, 0x10), function("kernel_core", 0x30, 0x10), function("entry", 0x40, 0x10),
    function("mm_core", 0x50, 0x10), function("slab", 0x70, 0x10), function("weak", 0x90, 0x10), function("stray", 0xB0, 8),
    Symbol("hidden", ".text", 0x15, 4, bind=LOCAL, visibility=HIDDEN),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "object_", "how"),
    [
        ("fork", "kernel/fork.o", "it defines the symbol"),
        ("own", "kernel/fork.o", "the symbol table names fork.c"),
        ("in_kernel", "kernel/core.o", "the symbol table names core.c, and the order of the link which one"),
        ("in_mm", "mm/core.o", "the symbol table names core.c, and the order of the link which one"),
        ("in_net", "net/core.o", "the symbol table names core.c, and the order of the link which one"),
        ("weak", "mm/slab.o", "it lies beside in_slab"),
        ("hidden", "", ""),  # between two objects
        ("stray", "", ""),
    ],
)
def test_the_object_of_a_function_of_the_kernel(tmp_path, name, object_, how):
    functions = functions_of(tmp_path, KERNEL)
    found = ORIGINS.of("vmlinux", functions.named(name)[0], functions)
    assert (found.object, found.how) == (object_, how)


def test_without_the_order_of_the_link_neighbours_tell_sources_of_one_name_apart(tmp_path):
    functions = functions_of(tmp_path, KERNEL)
    without = Origins([one for one in COMMANDS if not one.target.endswith(".a")], OBJECTS, (AUTOFS,))
    found = without.of("vmlinux", functions.named("in_kernel")[0], functions)
    assert (found.object, found.how) == ("kernel/core.o", "it lies beside kernel_core")
    assert without.of("vmlinux", functions.named("in_net")[0], functions).object == ""


MODULE = [
    file("init.c"), static("helper", 0, 8), file("root.c"), static("look", 8, 8), function("init_module", 0, 8, ".init.text"),
]  # fmt: skip


def test_an_object_of_a_module_and_the_line_that_linked_the_module(tmp_path):
    functions = functions_of(tmp_path, MODULE, ET_REL)
    found = ORIGINS.of(AUTOFS, functions.named("look")[0], functions)
    assert (found.object, found.source, found.file) == ("fs/autofs/root.o", "fs/autofs/root.c", "fs/autofs/.root.o.cmd")
    assert found.command.startswith("gcc -Wp")
    assert found.linked == "ld -m elf_x86_64 -r -o fs/autofs/autofs4.o @fs/autofs/autofs4.mod"
    assert found.objtool == "./tools/objtool/objtool --orc --link fs/autofs/autofs4.o"


def test_a_module_of_one_object_is_that_object(tmp_path):
    functions = functions_of(tmp_path, MODULE, ET_REL)
    found = ORIGINS.of("lib/single.ko", functions.named("look")[0], functions)
    assert (found.object, found.linked) == ("lib/single.o", "")
    assert found.objtool == "./tools/objtool/objtool --orc --module lib/single.o"
    assert ORIGINS.of_module("lib/single.ko").object == "lib/single.o"
    assert ORIGINS.of_module(AUTOFS).object == ""
    assert ORIGINS.of_module(AUTOFS).linked.startswith("ld ")


def test_a_kernel_without_its_build_has_the_source_s_name_at_most(tmp_path):
    functions = functions_of(tmp_path, KERNEL)
    nothing = Origins((), {}, ())
    found = nothing.of("vmlinux", functions.named("own")[0], functions)
    assert (found.object, found.source, found.file, found.objtool) == ("", "fork.c", "", "")
    assert nothing.of_module("x.ko") == origin.Origin()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("/src/kernel/fork.c", "kernel/fork.c"), ("../kernel/fork.c", "kernel/fork.c"), ("kernel/fork.c", "kernel/fork.c"),
        ("/home/me/fs/linux/kernel/fork.c", "kernel/fork.c"), ("/elsewhere/own.c", "/elsewhere/own.c"),
    ],
)  # fmt: skip
def test_a_source_is_named_as_the_tree_names_it(source, found):
    assert origin.source_of(Command(file="", target="kernel/fork.o", command="", source=source)) == found


def test_a_command_line_for_people_has_the_program_the_input_and_the_output():
    line = CC.format(o="a.o", c="a.c")
    assert origin.shortened(line) == "gcc … -c -o a.o a.c"
    assert origin.shortened("ld -m elf_x86_64 -z x -r -o a.o @a.mod") == "ld … -r -o a.o @a.mod"
    assert origin.shortened("") == ""
    assert len(origin.shortened("x " + "y" * 5000)) == origin.MAX_SHOWN


# ------------------------------------------------------------------------------------------------------ the link's order


def test_objects_are_linked_in_the_order_of_their_archives():
    assert link_order.link_order(COMMANDS) == (
        "kernel/fork.o", "kernel/core.o", "kernel/entry.o", "mm/core.o", "mm/slab.o", "net/core.o",
    )  # fmt: skip


def test_older_kernels_name_members_by_their_paths_and_have_no_archive_of_all():
    older = [
        Command(
            file="",
            target="mm/built-in.a",
            command="rm -f mm/built-in.a;  ar cDPrST mm/built-in.a mm/a.o mm/b/built-in.a",
        ),
        Command(
            file="", target="mm/b/built-in.a", command="rm -f mm/b/built-in.a;  ar cDPrST mm/b/built-in.a mm/b/c.o"
        ),
        Command(
            file="", target="init/built-in.a", command="rm -f init/built-in.a;  ar cDPrST init/built-in.a init/main.o"
        ),
    ]
    assert link_order.link_order(older) == ("init/main.o", "mm/a.o", "mm/b/c.o")


def test_archives_that_hold_each_other_end():
    assert link_order.link_order([archive("a/x.a", "y.a"), archive("a/y.a", "x.a", "z.o")]) == ()
    assert link_order.link_order([archive("a.a", "b.o", "a.a")]) == ("b.o",)


ORDER = ("a/fork.o", "a/core.o", "b/core.o", "b/slab.o", "c/core.o")
OF = {"fork.c": ["a/fork.o"], "core.c": ["a/core.o", "b/core.o", "c/core.o", "m/core.o"], "slab.c": ["b/slab.o"]}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("fork.c", "core.c", "core.c", "slab.c", "core.c"), ["a/core.o", "b/core.o", "c/core.o"]),
        (("fork.c", "core.c", "slab.c", "core.c"), ["", "c/core.o"]),  # one of two has no static function: which one?
        (("slab.c", "core.c", "fork.c"), [""]),  # another order than that of the link
        (("core.c",), [""]),
    ],
)
def test_landmarks_tell_sources_of_one_name_apart_if_each_has_its_place(names, found):
    sought = [number for number, name in enumerate(names) if name == "core.c"]
    assert [link_order.at(number, names, ORDER, lambda name: OF.get(name, ())) for number in sought] == found
