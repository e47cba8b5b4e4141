import sys
from pathlib import Path

from lab.checks import modpost
from lab.evidence.bundle import Evidence, pack
from lab.model import Finding, NotApplicable, Severity

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
from synthetic_tree import Tree, mcb

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
