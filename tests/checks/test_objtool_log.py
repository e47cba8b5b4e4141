"""objtool's flags from a log of make V=1: 5.10 notes its calls nowhere else."""

import json

import pytest

from lab.checks import objtool
from lab.evidence import commands, log, objects
from lab.evidence.bundle import Evidence
from lab.model import Finding, NotApplicable

CONFIG = """CONFIG_STACK_VALIDATION=y
CONFIG_UNWINDER_ORC=y
CONFIG_RETPOLINE=y
CONFIG_X86_SMAP=y
# CONFIG_FRAME_POINTER is not set
"""
MODULE = "drivers/watchdog/softdog"
CALLS = (
    "  ./tools/objtool/objtool orc generate   --no-fp --retpoline --uaccess kernel/fork.o\n"
    "  ./tools/objtool/objtool orc generate  {module} --no-fp --retpoline --uaccess fs/autofs/init.o\n"
    "  ./tools/objtool/objtool orc generate  --module  --no-fp --retpoline --uaccess drivers/watchdog/softdog.o\n"
)


def evidence(folder, text, config=CONFIG):
    targets = {"kernel/fork.o": "vmlinux", "fs/autofs/init.o": "fs/autofs/autofs4.ko", f"{MODULE}.o": f"{MODULE}.ko"}
    found = [
        commands.Command(file=f".{name}.cmd", target=name, command=f"gcc -c -o {name} x.c", source="x.c")
        for name in targets
    ]
    (folder / "commands.jsonl").write_text("".join(commands.jsonl(found)))
    facts = [objects.ObjectFacts(path=name, part_of=part) for name, part in targets.items()]
    (folder / "objects.jsonl").write_text("".join(objects.jsonl(facts)))
    (folder / "config.txt").write_text(config)
    (folder / "modules.order").write_text(f"fs/autofs/autofs4.ko\n{MODULE}.ko\n")
    (folder / "build.txt").write_text(text)
    (folder / "steps.json").write_text(json.dumps([{"name": "build", "ending": "exited", "status": 0, "seconds": 1.0}]))
    return Evidence(folder)


def flags(folder, text, config=CONFIG):
    answers = list(objtool.check(evidence(folder, text, config)))
    return [one for one in answers if isinstance(one, Finding) and one.id == "objtool.flags"], answers


def test_a_part_of_a_module_without_module_is_found_with_its_line(tmp_path):
    (found,), _ = flags(tmp_path, CALLS.format(module=""))
    assert (found.data["missing"], found.blame, found.where.first) == (["--module"], "fs/autofs/autofs4.ko", 2)
    assert any("orc generate" in reason and "--module" in reason for reason in found.because)


def test_a_right_log_is_silent(tmp_path):
    found, answers = flags(tmp_path, CALLS.format(module="--module"))
    assert (found, [one for one in answers if isinstance(one, NotApplicable)]) == ([], [])


def test_a_flag_of_another_configuration_is_superfluous(tmp_path):
    found, _ = flags(tmp_path, CALLS.format(module="--module"), CONFIG + "CONFIG_FRAME_POINTER=y\n")
    assert {flag for one in found for flag in one.data["superfluous"]} == {"--no-fp"}


def test_without_v_1_it_is_not_applicable(tmp_path):
    found, answers = flags(tmp_path, "  CC      kernel/fork.o\n")
    assert found == []
    assert any(isinstance(one, NotApplicable) and "V=1" in one.because for one in answers)


@pytest.mark.parametrize(
    ("line", "object_", "words"),
    [
        ("  ./tools/objtool/objtool check  --module  --no-fp a/b.o", "a/b.o", ("check", "--module", "--no-fp")),
        ("  /src/tools/objtool/objtool orc generate --no-fp vmlinux.o", "vmlinux.o", ("orc", "generate", "--no-fp")),
        (
            "  gcc -c -o a.o a.c ; ./tools/objtool/objtool --hacks=jump_label  --link a.o",
            "a.o",
            ("--hacks=jump_label", "--link"),
        ),
        ("  ld -r -o a.o @a.mod ; ./tools/objtool/objtool --link  --module a.o", "a.o", ("--link", "--module")),
    ],
)
def test_every_form_of_a_call_in_a_log_is_read(line, object_, words):
    (call,) = log.read_text(line + "\n").objtool_calls
    assert (call.object, call.flags) == (object_, words)


@pytest.mark.parametrize(
    "line", ["  HOSTLD  tools/objtool/objtool", "  LINK    /o/tools/objtool/objtool", "tools/objtool/objtool "]
)
def test_what_only_names_objtool_is_no_call(line):
    assert log.read_text(line + "\n").objtool_calls == ()


def test_a_call_behind_a_compiler_s_long_line_is_read_whole():
    line = "  gcc " + "-I./include " * 400 + "-c -o a.o a.c ; ./tools/objtool/objtool --orc  --module a.o"
    assert log.read_text(line).objtool_calls[0].flags == ("--orc", "--module")
