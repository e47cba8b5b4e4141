import sys
from pathlib import Path

import pytest

from lab import checks
from lab.checks import modpost
from lab.evidence.bundle import Evidence, pack
from lab.model import Finding, NotApplicable, Severity

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
from synthetic_tree import Tree, elf, mcb

MODULE = "drivers/mcb/mcb-lpc.ko"


def judged(tree):
    return [answer for answer in modpost.check(Evidence(tree.root)) if isinstance(answer, Finding)]


def test_a_stale_exporter_is_named_with_the_shared_second(tmp_path):
    tree = mcb(tmp_path / "out", stale=True, object_at=10.2, list_at=10.4, touch_at=10.5)
    # another object keeps an export, so that it is known what vmlinux exports
    tree.object("lib/crc.o", exports=["crc16"])
    tree.file(
        "build.txt", '  MODPOST Module.symvers\nERROR: modpost: "mcb_alloc_bus" [drivers/mcb/mcb-lpc.ko] undefined!\n'
    )
    (finding,) = judged(tree.done(vmlinux=False))
    assert (finding.id, finding.severity, finding.blame) == ("modpost.undefined", Severity.FAIL, MODULE)
    assert (finding.where.file, finding.where.first) == ("build.txt", 2)
    facts = {key: finding.data[key] for key in ("symbol", "modules", "exporter", "cause")}
    assert facts == {
        "symbol": "mcb_alloc_bus",
        "modules": [MODULE],
        "exporter": "drivers/mcb/mcb-core.o",
        "cause": "stale-object",
    }
    assert "include/ksym/mcb_alloc_bus" in finding.because[-1]
    assert "2023-11-14 22:13:30 UTC" in finding.because[-1]


def test_a_healthy_kernel_is_silent(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=11.5)
    assert judged(tree) == []


def test_symbols_that_modpost_suppressed_are_found_in_the_modules(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", exports=["crc16"])
    tree.module(MODULE, undefined=["z_said", "a_unsaid", "crc16"], linked=False)
    tree.file("build.txt", 'ERROR: modpost: "z_said" [drivers/mcb/mcb-lpc.ko] undefined!\n')
    assert [(one.data["symbol"], one.data["said"]) for one in judged(tree.done(vmlinux=False))] == [
        ("z_said", True),
        ("a_unsaid", False),
    ]


def test_each_cause_is_told_apart(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.wanted("crc16")
    tree.object("lib/crc.o", could=["crc16", "crc_trimmed"], exports=["crc16"], defines=["crc_local"])
    tree.object("lib/old.o", defines=["crc_old"], linked=False)
    tree.module(MODULE, undefined=["crc16", "crc_trimmed", "crc_local", "crc_old", "crc_none"])
    causes = {one.data["symbol"]: (one.data["cause"], one.data["exporter"]) for one in judged(tree.done())}
    assert causes == {
        "crc_trimmed": ("trimmed", "lib/crc.o"),
        "crc_local": ("not-exported", "lib/crc.o"),
        "crc_old": ("not-linked", "lib/old.o"),
        "crc_none": ("never-defined", ""),
    }


def test_weak_references_exports_of_modules_and_modposts_own_names_are_no_fault(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", exports=["crc16"])
    tree.module("drivers/mcb/mcb.ko", exports=["mcb_alloc_bus"])
    names = ["mcb_alloc_bus", "__this_module", "_GLOBAL_OFFSET_TABLE_", "_restgpr_31_x"]
    tree.module(MODULE, undefined=names, weak=["maybe"])
    assert judged(tree.done()) == []


def test_one_symbol_of_many_modules_is_one_finding(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", exports=["crc16"])
    tree.module("fs/a/a.ko", undefined=["gone"])
    tree.module("fs/b/b.ko", undefined=["gone"])
    (finding,) = judged(tree.done())
    assert finding.data["modules"] == ["fs/a/a.ko", "fs/b/b.ko"]


def test_modules_without_anything_that_says_what_vmlinux_exports_are_not_applicable(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.module(MODULE, undefined=["printk"])
    (answer,) = modpost.check(Evidence(tree.done().root))
    assert isinstance(answer, NotApplicable)


def test_a_kernel_without_modules_is_not_applicable(tmp_path):
    (answer,) = modpost.check(Evidence(Tree(tmp_path / "out").done().root))
    assert isinstance(answer, NotApplicable)


def test_a_module_that_cannot_be_read_is_no_crash(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", exports=["crc16"])
    tree.module(MODULE, undefined=["crc16"])
    tree.file(MODULE, b"\x7fELF\x02\x01" + b"\xff" * 300)
    assert judged(tree.done()) == []


def test_a_build_that_stopped_before_modpost_accuses_nobody(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", exports=["crc16"])
    tree.module(MODULE, undefined=["of_an_object_to_come"], linked=False)
    tree.file("build.txt", "mm/x.c:1:1: error: y\nmake[2]: *** [scripts/Makefile.build:250: mm/x.o] Error 1\n")
    (answer,) = modpost.check(Evidence(tree.done(vmlinux=False).root))
    assert isinstance(answer, NotApplicable)
    assert "stopped before modpost" in answer.because


def test_a_module_symvers_of_an_earlier_build_is_not_believed(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", exports=["crc16"], at=70)
    tree.symvers("crc16", "moved_into_nothing", at=60)
    tree.module(MODULE, undefined=["crc16", "moved_into_nothing"], linked=False, at=80)
    tree.file("vmlinux.o", elf([]), at=90)
    assert [one.data["symbol"] for one in judged(tree.done())] == ["moved_into_nothing"]
    tree.time("vmlinux.o", 50)  # not linked again: objects may still be to come
    assert judged(tree) == []


def trimmed(tmp_path, *, list_at, version="6.1.192", whitelist=""):
    tree = Tree(tmp_path / "out", version=version)
    if whitelist:
        path = tree.root / ".config"
        path.write_text(path.read_text() + f'CONFIG_UNUSED_KSYMS_WHITELIST="{whitelist}"\n')
    tree.wanted("crc16", at=list_at)
    tree.object("lib/crc.o", could=["crc16", "crc_trimmed"], exports=["crc16"], at=5.5)
    tree.module(MODULE, undefined=["crc16", "crc_trimmed"], at=20.25)
    return tree


@pytest.mark.parametrize(("list_at", "order"), [(10.5, "older than"), (30.5, "newer than")])
def test_a_trimmed_export_tells_whether_the_list_is_older_than_the_module(tmp_path, list_at, order):
    tree = trimmed(tmp_path, list_at=list_at, whitelist="keep.txt")
    tree.file(MODULE.replace(".ko", ".usyms"), "crc16\ncrc_trimmed\n")
    (finding,) = judged(tree.done())
    assert (finding.data["cause"], finding.data["exporter"]) == ("trimmed", "lib/crc.o")
    assert "include/generated/autoksyms.h was made when no module" in finding.because[1]
    assert f") is {order} 'drivers/mcb/mcb-lpc.o'" in finding.because[2]
    assert (
        "mcb-lpc.usyms', which the list is made from, names it, so that the list is out of date" in finding.because[3]
    )
    assert "CONFIG_UNUSED_KSYMS_WHITELIST (keep.txt)" in finding.because[4]


def test_in_a_kernel_that_trims_in_modpost_the_list_is_module_symvers(tmp_path):
    tree = Tree(tmp_path / "out", version="6.12.107")
    tree.file("lib/crc.o", elf([(f"__export_symbol_{name}", 0, 1) for name in ("crc16", "crc_new")]))
    tree.linked.append("lib/crc.o")
    tree.command("lib/crc.o")
    tree.module("fs/a/a.ko", undefined=["crc16"])
    tree.module("fs/b/b.ko", undefined=["crc_new"])
    tree.symvers("crc16")
    (finding,) = judged(tree.done())
    assert (finding.data["symbol"], finding.data["cause"], finding.data["exporter"]) == (
        "crc_new",
        "trimmed",
        "lib/crc.o",
    )
    assert "Module.symvers was made when no module was known to need it" in finding.because[1]
    tree.symvers("crc16", "crc_new")
    assert judged(tree) == []


def test_an_export_that_the_linked_kernel_lacks_is_a_stale_link(tmp_path):
    tree = Tree(tmp_path / "out", version="6.12.107")
    tree.file("lib/crc.o", elf([(f"__export_symbol_{name}", 0, 1) for name in ("crc16", "crc_new")]))
    tree.linked.append("lib/crc.o")
    tree.command("lib/crc.o")
    tree.module("fs/b/b.ko", undefined=["crc16", "crc_new"])
    tree.symvers("crc16", "crc_new")
    tree.done()
    tree.file("vmlinux", elf([("__ksymtab_crc16", 0, 1)]), at=61)
    (finding,) = judged(tree)
    assert (finding.data["symbol"], finding.data["cause"]) == ("crc_new", "stale-link")
    tree.time("vmlinux", 50)  # near-miss: it was not linked after this modpost, so it is only to come
    assert judged(tree) == []
    tree.file("vmlinux", elf([("__ksymtab_crc16", 0, 1), ("__ksymtab_crc_new", 0, 1)]), at=61)
    assert judged(tree) == []


def sourced(tmp_path):
    source = tmp_path / "linux"
    files = {
        "Makefile": "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 192\n",
        "scripts/mod/modpost.c": "",
        "lib/Makefile": "obj-$(CONFIG_CRC_OFF) += crcoff.o\n",
        "lib/crcoff.c": "\nEXPORT_SYMBOL(crc_off);\n",
    }
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", exports=["crc16"])
    tree.module(MODULE, undefined=["crc16", "crc_off", "crc_none"])
    (tree.root / "source").symlink_to(source)
    return tree.done()


def test_an_exporter_that_this_configuration_does_not_build_is_found_in_the_source(tmp_path):
    none, off = judged(sourced(tmp_path))
    assert (off.data["cause"], off.data["source"], off.data["options"]) == ("not-built", "lib/crcoff.c:2", ["CRC_OFF"])
    assert "lib/crcoff.c:2 exports it, and this configuration does not build that file" in off.message
    assert "CONFIG_CRC_OFF is not set" in off.because[-1]
    assert (none.data["symbol"], none.data["cause"]) == ("crc_none", "never-defined")
    assert "no file of the source tree exports it" in none.because[-1]


def test_objects_that_cannot_be_read_leave_the_cause_unknown(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", exports=["crc16"])
    tree.object("lib/bitcode.o")
    tree.file("lib/bitcode.o", b"BC\xc0\xde")
    tree.module(MODULE, undefined=["crc16", "maybe_in_bitcode", "in_vmlinux_o"])
    tree.file("vmlinux.o", elf([("in_vmlinux_o", 1, 1)]))
    causes = {one.data["symbol"]: (one.data["cause"], one.data["exporter"]) for one in judged(tree.done())}
    assert causes == {"maybe_in_bitcode": ("unknown", ""), "in_vmlinux_o": ("not-exported", "vmlinux.o")}


LINE = 'modpost: "crc_none" [drivers/mcb/mcb-lpc.ko] undefined!\n'
COMMAND = (
    "cmd_Module.symvers := sed 's/ko$$/o/' modules.order | scripts/mod/modpost %s  -o Module.symvers -T - vmlinux.o\n"
)


@pytest.mark.parametrize(
    ("log", "option", "severity"),
    [
        ("ERROR: " + LINE, "", Severity.FAIL),
        ("WARNING: " + LINE, "", Severity.WARNING),
        (None, "", Severity.FAIL),
        (None, "-w", Severity.WARNING),
        (None, "-W", Severity.FAIL),  # KBUILD_EXTRA_WARN, not KBUILD_MODPOST_WARN
    ],
)
def test_who_asked_modpost_only_to_warn_is_only_warned(tmp_path, log, option, severity):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", exports=["crc16"])
    tree.module(MODULE, undefined=["crc_none"])
    tree.file(".Module.symvers.cmd", COMMAND % option)
    if log is not None:
        tree.file("build.txt", log)
    (finding,) = judged(tree.done())
    assert finding.severity is severity


def test_an_error_that_did_not_fail_the_build_is_a_warning(tmp_path):
    (tmp_path / "build.txt").write_text("ERROR: " + LINE)
    steps = tmp_path / "steps.json"
    steps.write_text('[{"name": "build", "ending": "exited", "status": 0}]')
    assert [one.severity for one in modpost.check(Evidence(tmp_path))] == [Severity.WARNING]
    steps.write_text('[{"name": "build", "ending": "exited", "status": 2}]')
    assert [one.severity for one in modpost.check(Evidence(tmp_path))] == [Severity.FAIL]


@pytest.mark.parametrize(("word", "findings"), [("ERROR", 1), ("WARNING", 0)])
def test_a_modpost_without_vmlinux_is_one_fault_or_none(tmp_path, word, findings):
    lines = "".join(f'{word}: modpost: "s{number}" [fs/a/a.ko] undefined!\n' for number in range(10))
    (tmp_path / "build.txt").write_text("WARNING: vmlinux.o is missing.\n         Modules may not have\n" + lines)
    answers = list(modpost.check(Evidence(tmp_path)))
    assert len(answers) == 1
    found = [one for one in answers if isinstance(one, Finding)]
    assert [(one.data["cause"], len(one.data["symbols"])) for one in found] == [("vmlinux-missing", 10)] * findings


REPORT = """  Building modules, stage 2.
  MODPOST 146 modules
ERROR: "__put_user_2" [net/ipv4/netfilter/ip_tables.ko] undefined!
ERROR: "__put_user_2" [net/ipv4/netfilter/arp_tables.ko] undefined!
ERROR: "__fill_rsb" [arch/x86/kvm/kvm-intel.ko] undefined!
make[2]: *** [/usr/src/linux-4.14.23/scripts/Makefile.modpost:92: __modpost] Error 1
make[1]: *** [/usr/src/linux-4.14.23/Makefile:1218: modules] Error 2
"""


def test_a_log_of_4_14_alone_gives_symbols_modules_and_what_make_said(tmp_path):
    (tmp_path / "build.txt").write_text("  KSYMS   symbols: before=0, after=1871, changed=1871\n" + REPORT)
    first, second = (one for one in modpost.check(Evidence(tmp_path)) if isinstance(one, Finding))
    assert first.data["modules"] == ["net/ipv4/netfilter/ip_tables.ko", "net/ipv4/netfilter/arp_tables.ko"]
    assert (second.data["symbol"], second.data["target"]) == ("__fill_rsb", "__modpost")
    assert first.data["script"] == "/usr/src/linux-4.14.23/scripts/Makefile.modpost:92"
    assert first.data["cause"] == "unknown"
    assert "if running make again mends it" in first.because[-1]


def overfull(root, **times):
    """Return the race's Tree whose object still has an export that the list lacks."""
    tree = mcb(root, **times)
    tree.wanted("another", at=10)
    tree.module(MODULE, undefined=["another"], at=20)
    tree.object("lib/another.o", could=["another"], exports=["another"], at=5)
    tree.symvers("another", "mcb_alloc_bus")
    return tree.done()


def test_a_stale_object_that_exports_too_much_is_told_once(tmp_path):
    tree = overfull(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=10.5)
    findings, _ = checks.judge(Evidence(tree.root))
    [root] = [one for one in findings if "mcb_alloc_bus" in str(one.data)]
    assert [(one.id, one.blame, one.data["superfluous"]) for one in root.joined] == [
        ("timestamps.stale", "drivers/mcb/mcb-core.o", ["mcb_alloc_bus"])
    ]


@pytest.mark.parametrize("symbol", ["\x1b[31mred\x1b[0m", "s" * 5000, "\x00", "%s%n", "\udc80"])
def test_hostile_names_are_endured_and_made_harmless(tmp_path, symbol):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", exports=["crc16"])
    tree.module(MODULE, undefined=["crc16"])
    text = f'ERROR: modpost: "{symbol}" [a\x1b[31m.ko] undefined!\nERROR: modpost: "cut" [dri'
    tree.file("build.txt", text.encode("utf-8", "surrogateescape"))
    for finding in judged(tree.done()):
        assert finding.message.isprintable()


def test_a_thousand_undefined_symbols_are_bounded(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.object("lib/crc.o", exports=["crc16"])
    tree.module(MODULE, undefined=[f"s{number}" for number in range(3000)])
    assert len(judged(tree.done())) == modpost.MAX_FINDINGS


def test_the_packed_folder_gives_the_findings_of_the_output_directory(tmp_path):
    tree = Tree(tmp_path / "out")
    tree.wanted("crc16")
    tree.object("lib/crc.o", could=["crc16", "crc_trimmed"], exports=["crc16"], defines=["crc_local"])
    tree.module(MODULE, undefined=["crc16", "crc_trimmed", "crc_local", "crc_none"])
    tree.module("fs/b/b.ko", undefined=["gone"], linked=False)
    folder = tmp_path / "attempt"
    folder.mkdir()
    pack(tree.done().root, folder, source=tmp_path, writes=None)
    assert list(modpost.check(Evidence(folder))) == list(modpost.check(Evidence(tree.root))) != []
