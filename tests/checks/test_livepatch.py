"""Livepatch modules linked by the real ld: two positions of one symbol, and what only looks like that."""

import shutil
import subprocess

import pytest

from lab.checks import livepatch
from lab.evidence.bundle import Evidence
from lab.model import Finding, NotApplicable, Severity

pytestmark = pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("ld")), reason="needs gcc and ld")

HEADER = """
struct reloc { void *sym; unsigned int sympos; } __attribute__((packed));
#define RELOC(obj) struct reloc __attribute__((section(".klp.module_relocs." #obj), used, aligned(4)))
"""
OBJECT = (
    HEADER
    + """
extern char %(symbol)s;
char *use_%(name)s(void) { return &%(symbol)s; }
RELOC(%(object)s) relocs_%(name)s[] = { { &%(symbol)s, %(position)d } };
"""
)
KERNEL = """
__asm__(".text\\n.type state_show,@function\\nstate_show: ret\\n");
void _start(void) {}
"""
ASKED = ".klp.sym.vmlinux.state_show,2"


def run(*argv, folder):
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)


def compiled(folder, name, text):
    (folder / f"{name}.c").write_text(text)
    run("gcc", "-O1", "-ffreestanding", "-fno-pie", "-c", f"{name}.c", "-o", f"{name}.o", folder=folder)
    return f"{name}.o"


def built(tmp_path, wishes, *, copies=3):
    """Link a livepatch of one object a wish (object, symbol, position), beside a vmlinux with `copies` of state_show."""
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir()
    out.mkdir()
    parts = [
        compiled(
            work, f"part{number}", OBJECT % {"symbol": symbol, "name": number, "object": owner, "position": position}
        )
        for number, (owner, symbol, position) in enumerate(wishes)
    ]
    run("ld", "-r", *parts, "-o", str(out / "patch.ko"), folder=work)
    shows = "".join(f'__asm__(".text\\n.local state_show_{n}\\nstate_show_{n}: ret\\n");\n' for n in range(copies))
    kernel = compiled(work, "kernel", "void _start(void) {}\n" + shows)
    for number in range(copies):  # an assembler has one symbol of a name a file, a linked kernel has many
        part = compiled(work, f"copy{number}", "static void __attribute__((used)) state_show(void) {}\n")
        kernel += f" {part}"
    run("ld", "-o", str(out / "vmlinux"), *kernel.split(), folder=work)
    (out / ".config").write_text("CONFIG_LIVEPATCH=y\n")
    (out / "modules.order").write_text("patch.ko\n")
    return Evidence(out)


def findings(evidence):
    return [answer for answer in livepatch.check(evidence) if isinstance(answer, Finding)]


def test_two_objects_that_want_two_positions_of_one_symbol_are_a_conflict(tmp_path):
    (found,) = findings(built(tmp_path, [("vmlinux", "state_show", 2), ("vmlinux", "state_show", 3)]))
    assert (found.id, found.severity, found.blame) == ("livepatch.conflict", Severity.FAIL, "patch.ko")
    assert found.data["positions"] == [2, 3]
    assert found.data["undefined"] == 1
    assert "Conflicting KLP_SYMPOS definition: vmlinux.state_show,2 vs. vmlinux.state_show,3" in found.because[0]


@pytest.mark.parametrize(
    "wishes",
    [
        [("vmlinux", "state_show", 2), ("vmlinux", "state_show", 2)],
        [("vmlinux", "state_show", 2), ("btrfs", "state_show", 1)],
        [("vmlinux", "state_show", 3)],
        [("vmlinux", "_start", 0)],
        [("vmlinux", "_start", 1)],
    ],
)
def test_what_can_be_told_apart_is_no_conflict(tmp_path, wishes):
    assert findings(built(tmp_path, wishes)) == []


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (("vmlinux", "state_show", 4), "livepatch.position"),
        (("vmlinux", "state_show", 0), "livepatch.position"),
        (("vmlinux", "nosuch_show", 1), "livepatch.symbol"),
    ],
)
def test_what_the_kernel_does_not_have(tmp_path, wish, expected):
    (found,) = findings(built(tmp_path, [wish]))
    assert found.id == expected
    assert found.severity is Severity.FAIL


def test_a_converted_symbol_is_held_against_the_format(tmp_path):
    evidence = built(tmp_path, [("vmlinux", "state_show", 2)])
    work = tmp_path / "work"
    compiled(work, "converted", f'__asm__(".globl \\"{ASKED}\\"\\n.quad \\"{ASKED}\\"\\n");\n')
    section = "--rename-section=.text=.klp.rela.vmlinux.text"
    run("objcopy", section, "converted.o", str(evidence.root / "patch.ko"), folder=work)
    (found,) = findings(Evidence(evidence.root))
    assert found.id == "livepatch.format"
    assert "SHN_LIVEPATCH" in " ".join((found.message, *found.because))


def test_without_livepatches_it_is_not_applicable(tmp_path):
    evidence = built(tmp_path, [("vmlinux", "state_show", 2)])
    (evidence.root / "modules.order").write_text("")
    (answer,) = livepatch.check(Evidence(evidence.root))
    assert isinstance(answer, NotApplicable)


def test_what_is_annotated_needs_no_exporter(tmp_path):
    """klp-convert makes livepatch relocations of it; an ordinary undefined symbol stays one."""
    evidence = built(tmp_path, [("vmlinux", "state_show", 2)])
    assert [module.undefined for module in evidence.modules] == [()]
    assert "state_show" in evidence.modules[0].read.facts.undefined


@pytest.mark.parametrize("name", ["patch.ko", "patch.klp.o", "sub/patch.ko"])
def test_modules_that_were_linked_by_hand_are_judged_by_themselves(tmp_path, name):
    built(tmp_path, [("vmlinux", "state_show", 2), ("vmlinux", "state_show", 3)])
    alone = tmp_path / "alone"
    (alone / name).parent.mkdir(parents=True)
    (tmp_path / "out" / "patch.ko").rename(alone / name)
    if "/" in name:
        (alone / ".config").touch()  # a folder of folders must be known otherwise
    evidence = Evidence(alone)
    assert [module.path for module in evidence.modules] == [name]
    [found] = [one for one in livepatch.check(evidence) if isinstance(one, Finding)]
    assert (found.id, found.blame) == ("livepatch.conflict", name)
