"""objtool's command lines against kbuild's rules: LTO and IBT, gcc without either, and what a wrong call leaves behind."""

import struct

import pytest

from lab.checks import objtool
from lab.evidence import commands, objects
from lab.evidence.bundle import Evidence
from lab.model import Finding, NotApplicable, Severity

BASE = "--hacks=jump_label  --hacks=noinstr --orc --static-call --uaccess"
CONFIG = """CONFIG_OBJTOOL=y
CONFIG_HAVE_JUMP_LABEL_HACK=y
CONFIG_HAVE_NOINSTR_HACK=y
CONFIG_UNWINDER_ORC=y
CONFIG_HAVE_STATIC_CALL_INLINE=y
CONFIG_HAVE_UACCESS_VALIDATION=y
# CONFIG_RETPOLINE is not set
"""
MULTI, SINGLE = "fs/autofs/autofs4", "drivers/watchdog/softdog"
COMPILE = "gcc -Wp,-MMD,x.d -D__KERNEL__ -c -o {o} {c}"
SAID = f"{MULTI}.o: warning: objtool: static_call: can't find static_call_key symbol: __SCK__preempt_schedule\n"


def line(target, flags, *, linked=False):
    tool = f" ; ./tools/objtool/objtool {flags} {target}" if flags is not None else ""
    if linked:
        return f"ld -m elf_x86_64 -z noexecstack -r -o {target} @{target[:-2]}.mod {tool}"
    return COMPILE.format(o=target, c=target[:-2] + ".c") + tool


def ko(*, sites, relocations, sections=(".orc_unwind", ".orc_unwind_ip")):
    """Return the bytes of a module with text, a table of static calls and sections that objtool writes."""
    bodies = [(".text", 1, 6, b"\x90" * 64, 0), (".static_call_sites", 1, 2, b"\0" * 8 * sites, 0)]
    bodies += [(".rela.static_call_sites", 4, 0, b"\0" * 24 * relocations, 24)]
    bodies += [(name, 1, 2, b"\0" * 12, 0) for name in sections]
    names = b"\0" + b"".join(name.encode() + b"\0" for name, *_ in bodies) + b".shstrtab\0"
    data, table = b"", [b"\0" * 64]
    for name, kind, flags, body, entry in [*bodies, (".shstrtab", 3, 0, names, 0)]:
        fields = (names.find(name.encode() + b"\0"), kind, flags, 0, 64 + len(data), len(body), 0, 0, 1, entry)
        table.append(struct.pack("<IIQQQQIIQQ", *fields))
        data += body
    head = struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 64 + len(data), 0, 64, 0, 0, 64, len(table), len(table) - 1)
    return b"\x7fELF\x02\x01\x01" + b"\0" * 9 + head + data + b"".join(table)


def attempt(folder, rows, *, config=CONFIG, log="", modules=()):
    """Write an evidence folder. rows: (target, flags or None, linked, part of)."""
    folder.mkdir()
    found = [
        commands.Command(
            file=f".{target}.cmd",
            target=target,
            command=line(target, flags, linked=linked),
            source="" if linked else "x.c",
        )
        for target, flags, linked, _ in rows
    ]
    (folder / "commands.jsonl").write_text("".join(commands.jsonl(found)))
    facts = [objects.ObjectFacts(path=target, part_of=part) for target, _, _, part in rows if part]
    (folder / "objects.jsonl").write_text("".join(objects.jsonl(facts)))
    (folder / "config.txt").write_text(config)
    (folder / "modules.order").write_text(f"{MULTI}.ko\n{SINGLE}.ko\n")
    if log:
        (folder / "build.txt").write_text(log)
    for path, data in modules:
        (folder / "modules" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "modules" / path).write_bytes(data)
    return Evidence(folder)


def delayed(folder, *, multi="--link --module", single="--link --module", **more):
    """A build with LTO or IBT: only linked objects are checked."""
    rows = [
        ("kernel/fork.o", None, False, "vmlinux"),
        ("fs/autofs/init.o", None, False, f"{MULTI}.ko"),
        ("fs/autofs/inode.o", None, False, f"{MULTI}.ko"),
        (f"{MULTI}.o", f"{BASE} {multi}" if multi is not None else None, True, f"{MULTI}.ko"),
        (f"{SINGLE}.o", f"{BASE} {single}", False, f"{SINGLE}.ko"),
        (f"{SINGLE}.mod.o", None, False, ""),
        ("vmlinux.o", f"{BASE} --link", True, ""),
    ]
    return attempt(folder, rows, config=CONFIG + more.pop("config", "CONFIG_LTO_CLANG=y\n"), **more)


def early(folder, *, part=" --module", built_in="", **more):
    """A build without: every object is checked as it is compiled."""
    rows = [
        ("kernel/fork.o", BASE + built_in, False, "vmlinux"),
        ("kernel/exit.o", BASE, False, "vmlinux"),
        ("kernel/pid.o", BASE, False, "vmlinux"),
        ("arch/x86/entry/thunk.o", None, False, "vmlinux"),
        ("fs/autofs/init.o", BASE + part, False, f"{MULTI}.ko"),
        ("fs/autofs/inode.o", f"{BASE} --module", False, f"{MULTI}.ko"),
        (f"{MULTI}.o", None, True, f"{MULTI}.ko"),
        (f"{SINGLE}.o", f"{BASE} --module", False, f"{SINGLE}.ko"),
        ("vmlinux.o", None, True, ""),
    ]
    return attempt(folder, rows, **more)


def findings(evidence):
    return [answer for answer in objtool.check(evidence) if isinstance(answer, Finding)]


@pytest.mark.parametrize("config", ["CONFIG_LTO_CLANG=y\n", "CONFIG_X86_KERNEL_IBT=y\n", "CONFIG_KLP_BUILD=y\n"])
def test_a_healthy_build_is_silent(tmp_path, config):
    ibt = " --ibt" if "IBT" in config else ""
    evidence = delayed(tmp_path / "late", config=config, multi=f"--link --module{ibt}", single=f"--link --module{ibt}")
    rest = [one for one in findings(evidence) if one.blame != "vmlinux.o"]
    assert rest == []
    assert findings(early(tmp_path / "early")) == []


def test_a_multi_object_module_without_its_flag_is_told_with_the_damage_and_the_damage_too(tmp_path):
    modules = [(f"{MULTI}.ko", ko(sites=55, relocations=1, sections=())), (f"{SINGLE}.ko", ko(sites=4, relocations=8))]
    evidence = delayed(tmp_path / "a", multi="--link", log=f"  LD [M]  {MULTI}.o\n{SAID}", modules=modules)
    found, left = findings(evidence)
    assert (found.id, found.severity, found.blame) == ("objtool.flags", Severity.FAIL, f"{MULTI}.ko")
    assert (left.id, left.blame, left.data["lacking"]) == (
        "objtool.sections",
        f"{MULTI}.ko",
        [".orc_unwind", ".orc_unwind_ip"],
    )
    assert found.data["missing"] == ["--module"]
    assert (found.data["damaged"], found.data["intact"]) == ([f"{MULTI}.o"], [])
    assert (found.where.file, found.where.first) == ("build.txt", 2)
    because = "\n".join(found.because)
    assert "55 entries and 1 relocations" in because
    assert ".orc_unwind" in because
    assert f"{SINGLE}.o, a single-object module of the same build, has --module" in because
    assert f"linked by: ld … -r -o {MULTI}.o @{MULTI}.mod" in because
    assert "OBJTOOL_VERBOSE=1 ./tools/objtool/objtool" in because


def test_a_module_that_the_missing_flag_did_no_harm_is_told_to_be_whole(tmp_path):
    evidence = delayed(tmp_path / "a", multi="--link", modules=[(f"{MULTI}.ko", ko(sites=4, relocations=8))])
    (found,) = findings(evidence)
    assert (found.data["damaged"], found.data["intact"]) == ([], [f"{MULTI}.ko"])


def test_a_missing_flag_is_found_though_nothing_warned(tmp_path):
    (found,) = findings(delayed(tmp_path / "a", multi="--link"))
    assert found.data["objects"] == [f"{MULTI}.o"]
    assert (found.where.file, found.where.first) == ("commands.jsonl", 4)


def test_a_part_of_a_module_needs_it_where_objtool_does_not_wait(tmp_path):
    (found,) = findings(early(tmp_path / "a", part=""))
    assert (found.data["objects"], found.data["missing"]) == (["fs/autofs/init.o"], ["--module"])
    assert found.blame == f"{MULTI}.ko"


def test_a_flag_too_many_on_a_built_in_object_is_a_warning(tmp_path):
    (found,) = findings(early(tmp_path / "a", built_in=" --module"))
    assert (found.severity, found.data["superfluous"]) == (Severity.WARNING, ["--module"])


def test_a_module_on_which_it_did_not_run(tmp_path):
    (found,) = findings(delayed(tmp_path / "a", multi=None))
    assert found.data["uncalled"]
    assert "did not run" in found.message


def test_a_flag_that_the_configuration_asks_for(tmp_path):
    evidence = delayed(tmp_path / "a", config="CONFIG_LTO_CLANG=y\nCONFIG_MITIGATION_RETPOLINE=y\n")
    assert {one.data["role"]: one.data["missing"] for one in findings(evidence)} == {
        "single-object module": ["--retpoline"],
        "multi-object module": ["--retpoline"],
        "vmlinux.o": ["--retpoline"],
    }


def test_damage_with_a_right_command_line_is_told_by_itself(tmp_path):
    evidence = delayed(tmp_path / "a", log=SAID, modules=[(f"{MULTI}.ko", ko(sites=3, relocations=1))])
    (found,) = findings(evidence)
    assert (found.id, found.severity) == ("objtool.sections", Severity.FAIL)


def test_a_warning_has_its_object_and_function(tmp_path):
    evidence = delayed(tmp_path / "a", log="lib/x.o: warning: objtool: foo+0x20: unreachable instruction\n")
    (found,) = findings(evidence)
    assert (found.severity, found.blame, found.function) == (Severity.WARNING, "lib/x.o", "foo")
    assert found.title == "objtool: unreachable instruction"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("CONFIG_HAVE_OBJTOOL=y\n", "CONFIG_OBJTOOL is not set"),
        ("CONFIG_HAVE_STACK_VALIDATION=y\n", "CONFIG_STACK_VALIDATION is not set"),
        ("", "does not know this architecture"),
        ("CONFIG_STACK_VALIDATION=y\n", "make V=1"),
        ("CONFIG_OBJTOOL=y\n", "no .cmd file"),
    ],
)
def test_without_calls_it_is_not_applicable_and_says_why(tmp_path, config, words):
    evidence = attempt(tmp_path / "a", [("kernel/fork.o", None, False, "vmlinux")], config=config)
    (answer,) = objtool.check(evidence)
    assert isinstance(answer, NotApplicable)
    assert words in answer.because
