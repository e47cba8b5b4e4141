"""What the findings of a crash say of its code when the kernel is at hand: line or source, object, command lines."""

import json
import sys
from pathlib import Path

import pytest

from lab.checks import boot
from lab.evidence import commands, lines, objects
from lab.evidence.bundle import Evidence
from lab.evidence.commands import Command
from lab.evidence.lines import Line, Where
from lab.evidence.objects import ObjectFacts
from lab.model import Finding
from lab.report.text import findings_text

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
from code_elf import ET_REL, elf, file, function, static

BASE, SHIFT = 0xFFFFFFFF81000000, 0x35A00000
AUTOFS = "fs/autofs/autofs4.ko"
KERNEL = [
    file("main.c"), static("do_one_initcall", BASE + 0x100, 0x153), function("start_kernel", BASE, 0x100),
    file("static_call_inline.c"), static("__static_call_init", BASE + 0x300, 0x229), function("_end", BASE + 0x600, 8),
]  # fmt: skip
MODULE = [
    file("waitq.c"), static("autofs_probe_later", 0x40, 0x2F), function("autofs_probe", 0x6F, 8),
    file("init.c"), static("init_autofs_fs", 0, 0x35, ".init.text"),
]  # fmt: skip
LINK = "ld -m elf_x86_64 -r -o fs/autofs/autofs4.o @fs/autofs/autofs4.mod"
CC = "gcc -O2 -D__KERNEL__ -c -o {0}.o /src/{0}.c ; ./tools/objtool/objtool --orc --module {0}.o"
HEAD = (
    "[    1.608064] BUG: kernel NULL pointer dereference, address: 0000000000000000\n"
    "[    1.608064] Oops: 0000 [#1] PREEMPT\n"
)
IN_MODULE = (
    HEAD + "[    1.608064] RIP: 0010:autofs_probe_later+0x13/0x2f [autofs4]\n[    1.608064] Call Trace:\n"
    "[    1.608064]  ? 0xffffffffc0261000\n[    1.608064]  autofs_probe+0x5/0x8 [autofs4]\n"
    "[    1.608064]  init_autofs_fs+0xd/0x35 [autofs4]\n[    1.608064]  do_one_initcall+0x71/0x153\n"
    "[    1.608064] Modules linked in: autofs4(+)\n[    1.608064] ---[ end trace 0000000000000000 ]---\n"
    "[    1.608064] Kernel panic - not syncing: Fatal exception\n"
    "[    1.608064] Kernel Offset: 0x35a00000 from 0xffffffff81000000 (relocation range: 0x1-0x2)\n"
)  # fmt: skip
IN_KERNEL = (
    HEAD + "[    1.608064] RIP: 0010:__static_call_init+0x12f/0x229\n[    1.608064] Modules linked in: autofs4(+)\n"
)


def evidence(folder, console, *, config="CONFIG_RANDOMIZE_BASE=y\n", known=(), build=True, kernel=True):
    folder.mkdir()
    made = [
        Command(file="fs/autofs/.autofs4.o.cmd", target="fs/autofs/autofs4.o", command=LINK),
        *(
            Command(file=f"{path.rpartition('/')[0]}/.{path.rpartition('/')[2]}.o.cmd", target=f"{path}.o",
                    command=CC.format(path), source=f"/src/{path}.c")
            for path in ("fs/autofs/waitq", "fs/autofs/init", "init/main", "kernel/static_call_inline")
        ),
    ]  # fmt: skip
    facts = [
        ObjectFacts(path=one.target, part_of=AUTOFS if "autofs" in one.target else "vmlinux", defines=())
        for one in made
    ]
    (folder / "record.json").write_text("{}")
    if build:
        (folder / "commands.jsonl").write_text("".join(commands.jsonl(made)))
        (folder / "objects.jsonl").write_text("".join(objects.jsonl(facts)))
    if kernel:
        (folder / "vmlinux").write_bytes(elf(KERNEL))
        (folder / "modules/fs/autofs").mkdir(parents=True)
        (folder / "modules" / AUTOFS).write_bytes(elf(MODULE, kind=ET_REL))
    (folder / "modules.order").write_text(f"{AUTOFS}\n")
    (folder / "config.txt").write_text(config)
    (folder / "console.txt").write_text(console)
    (folder / "lines.jsonl").write_text("".join(lines.jsonl(dict(known))))
    return Evidence(folder)


def crash(found):
    return next(one for one in boot.check(found) if isinstance(one, Finding) and one.id == "boot.oops")


def test_a_crash_in_a_module_tells_its_object_and_every_command_line(tmp_path):
    found = crash(evidence(tmp_path / "a", IN_MODULE))
    assert (found.blame, found.function, found.data["place"]) == (AUTOFS, "autofs_probe_later", "fs/autofs/waitq.c")
    assert (found.data["object"], found.data["kernel_offset"]) == ("fs/autofs/waitq.o", hex(SHIFT))
    because = "\n".join(found.because)
    assert "autofs_probe_later comes from fs/autofs/waitq.o: the symbol table names waitq.c" in because
    assert (
        f"fs/autofs/waitq.o (of {AUTOFS}), made by: gcc … -c -o fs/autofs/waitq.o /src/fs/autofs/waitq.c; "
        "linked by: ld … -r -o fs/autofs/autofs4.o @fs/autofs/autofs4.mod; objtool --orc --module fs/autofs/waitq.o "
        "(fs/autofs/.waitq.o.cmd)"
    ) in because
    (built,) = found.data["built"]
    assert (built["module"], built["linked"]) == (AUTOFS, LINK)
    json.dumps(found.data)


def test_every_frame_is_told_with_where_it_lies_or_why_not(tmp_path):
    frames = crash(evidence(tmp_path / "a", IN_MODULE)).data["frames"]
    told = [
        (one["line"], one["function"], one["file"], one["section"], one["address"], one["source"]) for one in frames
    ]
    assert told == [
        (3, "autofs_probe_later", AUTOFS, ".text", 0x53, "fs/autofs/waitq.c"),
        (5, "", "", "", 0, ""),
        (6, "autofs_probe", AUTOFS, ".text", 0x74, ""),
        (7, "init_autofs_fs", AUTOFS, ".init.text", 0xD, "fs/autofs/init.c"),
        (8, "do_one_initcall", "vmlinux", "", BASE + 0x171, "init/main.c"),
    ]
    assert [one["pointer"] for one in frames] == [True, False, False, False, False]
    assert "outside vmlinux" in frames[1]["why"]


def test_a_crash_of_the_kernel_while_a_module_is_loaded_tells_how_that_was_linked(tmp_path):
    found = crash(evidence(tmp_path / "a", IN_KERNEL))
    assert (found.blame, found.data["object"]) == (AUTOFS, "kernel/static_call_inline.o")
    assert [one["module"] for one in found.data["built"]] == [AUTOFS, "vmlinux"]
    assert any(one.startswith(f"{AUTOFS}, linked by: ld … -r -o") for one in found.because)


CHAIN = (Line(function="list_add", file="include/linux/list.h", line=95),
         Line(function="autofs_probe_later", file="fs/autofs/waitq.c", line=532))  # fmt: skip


def test_lines_that_were_read_after_the_crash_are_told_with_what_was_inlined(tmp_path):
    known = {Where(object=AUTOFS, section=".text", address=0x53): CHAIN}
    found = crash(evidence(tmp_path / "a", IN_MODULE, known=known))
    assert found.data["place"] == "fs/autofs/waitq.c:532"
    assert found.data["frames"][0]["lines"][0] == {"function": "list_add", "file": "include/linux/list.h", "line": 95}
    assert (
        "autofs_probe_later+0x13/0x2f [autofs4] is include/linux/list.h:95 in list_add, "
        "inlined into fs/autofs/waitq.c:532 in autofs_probe_later"
    ) in found.because
    assert "autofs_probe_later() at fs/autofs/waitq.c:532" in findings_text([found])


def test_without_the_build_the_symbol_table_alone_is_told(tmp_path):
    found = crash(evidence(tmp_path / "a", IN_MODULE, build=False))
    assert (found.data["place"], found.data["object"], found.data["built"]) == ("waitq.c", "", [])


def test_without_the_kernel_every_place_says_why_it_is_not_known(tmp_path):
    found = crash(evidence(tmp_path / "a", IN_MODULE, kernel=False))
    assert (found.blame, found.data["place"]) == (AUTOFS, "")
    assert {one["why"] for one in found.data["frames"]} == {"there is no vmlinux", "there is no module 'autofs4' here"}


@pytest.mark.parametrize("name", ["vmlinux", f"modules/{AUTOFS}", "lines.jsonl", "commands.jsonl", "objects.jsonl"])
@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF\x02\x01\x01" + b"\xff" * 200, b'{"object":1,"lines":[[]]}\n', b"\xff" * 64]
)
def test_damaged_evidence_leaves_the_crash_as_the_console_tells_it(tmp_path, name, data):
    folder = evidence(tmp_path / "a", IN_MODULE).root
    (folder / name).write_bytes(data)
    found = crash(Evidence(folder))
    assert found.function == "autofs_probe_later"
    assert len(found.data["frames"]) == 5


def test_what_another_cpu_says_between_the_lines_is_not_of_this_report(tmp_path):
    other = IN_MODULE.replace("[    1.608064]", "[    1.608064][  T17]").replace(
        "Call Trace:\n", "Call Trace:\n[    1.608064][  T18]  start_kernel+0x10/0x100\n"
    )
    frames = crash(evidence(tmp_path / "a", other)).data["frames"]
    assert "start_kernel" not in [one["function"] for one in frames]
    assert len(frames) == 5
