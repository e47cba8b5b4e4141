"""Namespaces, licences, doubles, versions, sections and a left-over list: faulty, healthy and nearly faulty."""

import sys
from pathlib import Path

import pytest

from lab import checks
from lab.checks import exports
from lab.evidence.bundle import Evidence
from lab.model import Finding, NotApplicable, Severity
from lab.use import check as use_check

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
import module_elf
from synthetic_tree import Tree

MODULE = "drivers/mcb/mcb-lpc.ko"
STOPPED = "make[2]: *** [scripts/Makefile.modpost:126: Module.symvers] Error 1\n"


def judged(root):
    return [answer for answer in exports.check(Evidence(root)) if isinstance(answer, Finding)]


def said(tmp_path, log, stopped=STOPPED):
    (tmp_path / "build.txt").write_text(log + stopped)
    return judged(tmp_path)


@pytest.fixture
def tree(tmp_path):
    made = Tree(tmp_path / "out")
    made.object("lib/crc.o", exports=["crc16"])
    return made


def linked(tree, ko=MODULE, *, needs=(), exported=(), info=("license=GPL", "import_ns=MCB"), crcs=None, at=30.0):
    """Write a linked module with its own .modinfo and versions."""
    tree.module(ko, undefined=needs, exports=exported, at=at)
    sections = {".text": b"\x90", ".modinfo": module_elf.modinfo(*info)}
    if crcs is not None:
        sections["__versions"] = module_elf.versions(crcs)
    tree.file(ko, with_undefined(sections, needs, exported), at=at)


def with_undefined(sections, needs, exported):
    """Return an ELF file whose symbols `needs` are global and undefined."""
    data = bytearray(module_elf.elf(sections, (*(f"__ksymtab_{name}" for name in exported), *needs)))
    for number in range(len(needs)):  # the last entries of the symbol table, which lies right before the string table
        strings = data.index(b"\0" + (f"__ksymtab_{exported[0]}" if exported else needs[0]).encode() + b"\0")
        at = strings - 24 * (number + 1)
        data[at + 4] = 1 << 4
        data[at + 6 : at + 8] = b"\0\0"
    return bytes(data)


def symvers(tree, *rows, at=60.0):
    tree.file("Module.symvers", "".join("\t".join(row) + "\n" for row in rows), at)


PLAIN = ("0x00000001", "crc16", "vmlinux", "EXPORT_SYMBOL", "")
GPL = ("0x00000002", "crc_gpl", "vmlinux", "EXPORT_SYMBOL_GPL", "")
SPACED = ("0x00000003", "mcb_bus", "drivers/mcb/mcb", "EXPORT_SYMBOL_GPL", "MCB")

# ------------------------------------------------------------------------------------------------- what modpost said


def test_symbols_of_one_namespace_and_module_are_one_fault(tmp_path):
    (tmp_path / "modules.order").write_text("fs/binfmt_misc.o\n")
    lines = [
        f"ERROR: modpost: module binfmt_misc uses symbol {one} from namespace VFS, but does not import it.\n"
        for one in "ab"
    ]
    lines.append("ERROR: modpost: module other uses symbol a from namespace VFS, but does not import it.\n")
    first, second = said(tmp_path, "".join(lines))
    assert (first.id, first.severity, first.blame) == ("modpost.namespace", Severity.FAIL, "fs/binfmt_misc.ko")
    assert (first.data["symbols"], first.data["namespace"]) == (["a", "b"], "VFS")
    assert (first.data["target"], first.data["script"]) == ("Module.symvers", "scripts/Makefile.modpost:126")
    assert (first.where.first, first.where.last) == (1, 2)
    assert second.blame == "other.ko"


MISMATCH = (
    "WARNING: modpost: vmlinux.o: section mismatch in reference: %s (section: .text) -> b (section: .init.text)\n"
)


def test_section_mismatches_that_only_warn_are_a_warning_a_module(tmp_path):
    (found,) = said(tmp_path, MISMATCH % "a" + MISMATCH % "c", stopped="")
    assert (found.id, found.severity, found.blame) == ("modpost.section-mismatch", Severity.WARNING, "vmlinux.o")
    assert [one[0] for one in found.data["references"]] == ["a", "c"]


@pytest.mark.parametrize("word", ["FATAL", "ERROR"])
def test_section_mismatches_that_stop_the_build_are_one_fault_with_its_references(tmp_path, word):
    (found,) = said(tmp_path, MISMATCH % "a" + MISMATCH % "c" + f"{word}: modpost: Section mismatches detected.\n")
    assert (found.severity, found.data["message"]) == (Severity.FAIL, "Section mismatches detected.")
    assert len(found.data["references"]) == 2
    assert "vmlinux.o: section mismatch in reference: a " in found.because[0]


@pytest.mark.parametrize(
    ("line", "identity", "severity"),
    [
        ("WARNING: modpost: missing MODULE_LICENSE() in fs/m.o", "modpost.license", Severity.WARNING),
        ("ERROR: modpost: missing MODULE_LICENSE() in fs/m.o", "modpost.license", Severity.FAIL),
        ("FATAL: modpost: GPL-incompatible module m.ko uses GPL-only symbol 's'", "modpost.license", Severity.FAIL),
        ("WARNING: fs/m: 's' exported twice. Previous export was in vmlinux", "modpost.exported-twice", Severity.WARNING),
        ("ERROR: modpost: fs/m: 's' exported twice. Previous export was in vmlinux", "modpost.exported-twice", Severity.FAIL),
        ('ERROR: modpost: "s" [fs/m.ko] was exported without definition', "modpost.export", Severity.FAIL),
        ("ERROR: modpost: too long symbol \"s\" [fs/m.ko]", "modpost.other", Severity.FAIL),
    ],
)  # fmt: skip
def test_each_form_has_its_id_and_the_severity_of_what_it_did(tmp_path, line, identity, severity):
    (found,) = said(tmp_path, line + "\n", stopped=STOPPED if severity is Severity.FAIL else "")
    assert (found.id, found.severity) == (identity, severity)


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: modpost: missing MODULE_DESCRIPTION() in fs/m.o",
        "WARNING: could not find /src/lib/.x.o.cmd for /src/lib/x.o",
        "WARNING: modpost: Symbol info of vmlinux is missing. Unresolved symbol check will be entirely skipped.",
        "WARNING: modpost: suppressed 3 unresolved symbol warnings because there were too many)",
    ],
)
def test_warnings_that_say_nothing_certain_are_silent(tmp_path, line):
    assert said(tmp_path, line + "\n", stopped="") == []


def test_a_version_that_failed_and_the_modules_without_it_are_one_fault(tmp_path):
    log = 'WARNING: modpost: EXPORT symbol "s" [vmlinux] version generation failed, symbol will not be versioned.\n'
    log += 'WARNING: modpost: "s" [fs/a.ko] has no CRC!\nWARNING: modpost: "s" [fs/b.ko] has no CRC!\n'
    (found,) = said(tmp_path, log, stopped="")
    assert (found.id, found.severity, found.data["line_count"]) == ("modpost.version", Severity.WARNING, 3)


def test_what_a_full_disk_made_modpost_say_is_not_the_kernels(tmp_path):
    log = "ld: final link failed: No space left on device\nFATAL: modpost: parse error in symbol dump file\n"
    assert said(tmp_path, log) == []


def test_a_log_alone_and_the_whole_evidence_agree_on_ids(tmp_path):
    log = "ERROR: modpost: missing MODULE_LICENSE() in fs/m.o\n" + MISMATCH % "a"
    whole, _ = checks.judge(Evidence(said(tmp_path, log) and tmp_path))
    alone = use_check.log_file(tmp_path / "build.txt", "build").findings
    assert {(one.id, one.severity) for one in whole} == {(one.id, one.severity) for one in alone}
    assert len([one for one in whole if one.id == "modpost.license"]) == 1


# ------------------------------------------------------------------------------------------------ what the files show


def test_a_healthy_build_is_silent(tree):
    linked(tree, needs=("crc16", "crc_gpl", "mcb_bus"), crcs={"crc16": 1, "crc_gpl": 2, "mcb_bus": 3})
    symvers(tree, PLAIN, GPL, SPACED)
    with (tree.root / ".config").open("a") as file:
        file.write("CONFIG_MODVERSIONS=y\n")
    assert judged(tree.done().root) == []


@pytest.mark.parametrize(("allowed", "severity"), [("", Severity.FAIL), ("y", Severity.WARNING)])
def test_a_namespace_that_is_not_imported_is_seen_without_a_log(tree, allowed, severity):
    linked(tree, needs=("crc16", "mcb_bus"), info=("license=GPL",))
    symvers(tree, PLAIN, SPACED)
    if allowed:
        with (tree.root / ".config").open("a") as file:
            file.write("CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS=y\n")
    (found,) = judged(tree.done().root)
    assert (found.id, found.severity, found.blame) == ("modpost.namespace", severity, MODULE)
    assert (found.data["symbol"], found.data["namespace"]) == ("mcb_bus", "MCB")


def test_what_modpost_said_is_not_said_again(tree):
    linked(tree, needs=("mcb_bus",), info=("license=GPL",))
    symvers(tree, SPACED)
    tree.file(
        "build.txt", "ERROR: modpost: module mcb-lpc uses symbol mcb_bus from namespace MCB, but does not import it.\n"
    )
    (found,) = judged(tree.done().root)
    assert (found.data["said"], found.blame) == (True, MODULE)


@pytest.mark.parametrize(
    ("licences", "needs", "ids"),
    [
        (("license=Proprietary",), ("crc_gpl",), ["modpost.license"]),
        (("license=Proprietary",), ("crc16",), []),
        (("license=Dual BSD/GPL",), ("crc_gpl",), []),
        (("license=GPL", "license=Proprietary"), ("crc_gpl",), ["modpost.license"]),
        (("description=none",), (), ["modpost.license"]),
    ],
)
def test_gpl_only_symbols_of_other_modules_are_seen_without_a_log(tree, licences, needs, ids):
    linked(tree, needs=needs, info=licences)
    symvers(tree, PLAIN, GPL)
    assert [one.id for one in judged(tree.done().root)] == ids


def test_a_symbol_that_two_modules_export_is_seen_without_a_log(tree):
    linked(tree, "fs/a/a.ko", exported=("same", "one"))
    linked(tree, "fs/b/b.ko", exported=("same", "two"))
    linked(tree, "updates/b.ko", exported=("two",))  # takes the place of fs/b/b.ko
    (found,) = judged(tree.done().root)
    assert (found.id, found.severity, found.data["symbol"]) == ("modpost.exported-twice", Severity.WARNING, "same")
    assert (found.data["previous"], found.blame) == ("fs/a/a.ko", "fs/b/b.ko")


def versioned(tree, *, crc, made_at=30.0):
    linked(tree, needs=("crc16", "crc_gpl"), crcs={"crc16": crc, "crc_gpl": 2}, at=made_at)
    symvers(tree, PLAIN, GPL)
    tree.file(MODULE.replace(".ko", ".mod.c"), at=29.0)
    with (tree.root / ".config").open("a") as file:
        file.write("CONFIG_MODVERSIONS=y\n")
    return tree.done()


def test_a_module_that_asks_for_another_version_is_told(tree):
    (found,) = judged(versioned(tree, crc=0xBAD).root)
    assert (found.id, found.severity, found.blame) == ("modpost.version", Severity.FAIL, MODULE)
    assert (found.data["symbol"], found.data["symbol_count"]) == ("crc16", 1)
    assert "0x00000bad, Module.symvers says 0x00000001 of 'crc16'" in found.message


def test_a_module_that_is_still_to_be_linked_again_is_not_accused(tree):
    versioned(tree, crc=0xBAD)
    tree.time(MODULE.replace(".ko", ".mod.c"), 31)
    assert judged(tree.root) == []


def test_versions_are_not_compared_with_a_symvers_that_is_cut_off_or_of_an_earlier_build(tree):
    versioned(tree, crc=0xBAD)
    path = tree.root / "Module.symvers"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    assert judged(tree.root) == []
    path.write_bytes(whole)
    tree.time("Module.symvers", 1)
    assert judged(tree.root) == []


def test_nothing_to_look_at_is_not_applicable(tmp_path):
    (answer,) = exports.check(Evidence(Tree(tmp_path / "out").done().root))
    assert isinstance(answer, NotApplicable)


# ---------------------------------------------------------------------------------------------- the list of used symbols

OBJECTS = [f"lib/o{number}.o" for number in range(30)]
COMPILED = "".join(f"  CC      {name}\n" for name in OBJECTS)
HOST = "  HOSTCC  usr/gen_init_cpio\n"
SUMMARY = "  CHK     include/generated/autoksyms.h\n  KSYMS   symbols: before=%d, after=1871, changed=17\n"


def rebuilt(tmp_path, log):
    tree = Tree(tmp_path / "out", version="4.14.23")
    for name in OBJECTS:
        tree.object(name)
    tree.file("build.txt", log)
    return judged(tree.done().root)


def test_a_list_that_make_clean_left_over_is_a_warning(tmp_path):
    (found,) = rebuilt(tmp_path, HOST + COMPILED + SUMMARY % 1872)
    assert (found.id, found.severity) == ("modpost.leftover-autoksyms", Severity.WARNING)
    assert (found.data["before"], found.data["changed"]) == (1872, 17)
    assert found.where.first == 33


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(HOST + COMPILED + SUMMARY % 0, id="a clean build"),
        pytest.param(COMPILED + SUMMARY % 1872, id="all compiled again for another flag, nothing cleaned"),
        pytest.param(HOST + COMPILED[: len(COMPILED) // 2] + SUMMARY % 1872, id="an incremental build"),
        pytest.param("  GEN     include/generated/autoksyms.h\n" + HOST + COMPILED + SUMMARY % 1, id="a whitelist"),
        pytest.param(HOST + COMPILED + SUMMARY % 0 + SUMMARY % 1871, id="the second round of one build"),
        pytest.param(HOST + SUMMARY % 1872 + COMPILED, id="compiled later"),
        pytest.param(HOST + COMPILED + "  KSYMS   symbols: before=99999999999999999999", id="a cut and huge count"),
    ],
)
def test_other_lists_are_silent(tmp_path, log):
    assert rebuilt(tmp_path, log) == []


@pytest.mark.parametrize(("log", "found"), [("  CC      init/main.o\n", 1), ("", 0)])
def test_a_log_alone_needs_the_first_object_and_a_cleaned_tree(tmp_path, log, found):
    assert len(said(tmp_path, "  CLEAN   .\n" + log + COMPILED + SUMMARY % 5, stopped="")) == found


@pytest.mark.parametrize(
    "log", ["ERROR: modpost: \x00\x1b[31m\n" * 3, "WARNING: modpost: fs/m: 's' exp", "\xff" * 70000]
)
def test_hostile_logs_are_endured(tmp_path, log):
    for finding in said(tmp_path, log, stopped=""):
        assert finding.message.isprintable()
