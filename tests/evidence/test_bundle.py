import json
import os

import pytest
from synthetic_tree import GUARDED, SECOND, Tree, elf, mcb

from lab.errors import UsageError
from lab.evidence.bundle import Evidence, Shape, pack
from lab.model import Ending


def packed(tree, folder, writes=None):
    folder.mkdir(exist_ok=True)
    pack(tree.root, folder, source=folder.parent / "src", writes=writes)
    return Evidence(folder)


def test_the_shape_is_found_out_and_not_guessed_from_the_name(tmp_path):
    tree = mcb(tmp_path / "results", object_at=10.2, list_at=10.4, touch_at=11.5)
    assert Evidence(tree.root).shape is Shape.OUTPUT
    assert packed(tree, tmp_path / "out").shape is Shape.ATTEMPT


def test_a_folder_of_something_else_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(UsageError, match="neither") as caught:
        Evidence(tmp_path)
    assert ".config" in str(caught.value)
    assert "record.json" in str(caught.value)


def test_both_shapes_give_the_same_facts(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=11.5)
    mine, other = Evidence(tree.root), packed(tree, tmp_path / "folder")
    for name in ("config", "kernel_version", "mtimes", "granularity_ns", "commands", "autoksyms", "symvers", "objects"):
        assert getattr(mine, name) == getattr(other, name), name
    assert [(one.path, one.undefined, one.depends) for one in mine.modules] == [
        (one.path, one.undefined, one.depends) for one in other.modules
    ]
    assert mine.modules[0].depends == ("mcb",)
    assert mine.granularity_ns == SECOND
    assert other.vmlinux is not None


def test_an_empty_folder_of_an_attempt_that_died_early_has_no_facts(tmp_path):
    tmp_path.joinpath("record.json").write_text("{}")
    evidence = Evidence(tmp_path)
    assert (evidence.steps, evidence.config, evidence.modules, evidence.commands) == ((), {}, (), ())
    assert (evidence.build_log, evidence.writes, evidence.autoksyms, evidence.granularity_ns) == (
        None,
        None,
        None,
        None,
    )


def test_the_measured_granularity_counts_before_the_inferred_one(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=11.5)
    evidence = packed(tree, tmp_path / "folder")
    tmp_path.joinpath("folder/record.json").write_text(json.dumps({"measured": {"granularity_ns": 4000000}}))
    assert evidence.granularity_ns == 4_000_000


def test_steps_are_read_and_nonsense_among_them_is_not(tmp_path):
    tmp_path.joinpath("record.json").write_text("[]")
    rows = [{"name": "build", "ending": "exited", "status": 2, "seconds": 1.5}, {"name": "x", "ending": "?"}, 7]
    tmp_path.joinpath("steps.json").write_text(json.dumps(rows))
    (step,) = Evidence(tmp_path).steps
    assert (step.name, step.ending, step.status) == ("build", Ending.EXITED, 2)
    assert Evidence(tmp_path).record == {}


def test_the_script_is_found_through_the_source_link_and_packed(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=11.5)
    tmp_path.joinpath("src/scripts").mkdir(parents=True)
    tmp_path.joinpath("src/scripts/adjust_autoksyms.sh").write_text(GUARDED)
    tree.root.joinpath("source").symlink_to(tmp_path / "src")
    assert Evidence(tree.root).adjust_script == GUARDED
    assert packed(tree, tmp_path / "folder").adjust_script == GUARDED


def test_a_link_in_a_strangers_tree_leads_nowhere(tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    secret.joinpath("evil.ko").write_bytes(elf([]))
    secret.joinpath("System.map").write_text("root:x:0:0")
    tree = Tree(tmp_path / "out")
    tree.root.joinpath("System.map").symlink_to(secret / "System.map")
    tree.root.joinpath("drivers").symlink_to(secret)
    tree.root.joinpath("vmlinux").symlink_to(secret / "evil.ko")
    tree.file("modules.order", "drivers/evil.ko\n../secret/evil.ko\n/etc/passwd.ko\n")
    evidence = packed(tree, tmp_path / "folder")
    assert Evidence(tree.root).system_map is None
    assert [module.file for module in Evidence(tree.root).modules] == [None]
    assert (evidence.system_map, evidence.vmlinux) == (None, None)
    assert not tmp_path.joinpath("folder/modules").exists()


def test_odd_files_do_not_stop_the_packing(tmp_path):
    tree = Tree(tmp_path / "out")
    os.mkfifo(tree.root / "Module.symvers")
    tree.file("a\n\tb.o", b"")
    tree.file(".x\udcff.o.cmd", b"cmd_\xff := \xff\n")
    tree.file("modules.order", b"\xff\xff.ko\n")
    tree.file("include/generated/autoksyms.h", b"\xff\n#define __KSYM_a 1\n#define __KSYM_\n")
    evidence = packed(tree, tmp_path / "folder")
    assert "a\n\tb.o" in evidence.mtimes
    assert evidence.commands[0].target == "\udcff"
    assert evidence.autoksyms >= {"a"}


def test_what_is_no_output_directory_packs_to_nothing(tmp_path):
    tmp_path.joinpath("out").mkdir()
    folder = tmp_path / "folder"
    folder.mkdir()
    pack(tmp_path / "out", folder, source=tmp_path, writes=None)
    assert list(folder.iterdir()) == []


def test_no_half_written_file_is_left(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=11.5)
    packed(tree, tmp_path / "folder", writes=tree.writes(tmp_path / "order"))
    names = [path.name for path in tmp_path.joinpath("folder").rglob("*")]
    assert not [name for name in names if name.startswith(".new-")]
    assert {"mtimes.tsv", "writes.tsv", "commands.jsonl", "objects.jsonl", "vmlinux.zst", "config.txt"} <= set(names)


def test_the_kallsyms_passes_that_the_wrapper_saved_are_packed_kernels_compressed(tmp_path):
    tree = mcb(tmp_path / "out", object_at=10.2, list_at=10.4, touch_at=11.5)
    kept = tree.root / ".lab-kallsyms"
    kept.mkdir()
    for name in ("compared", ".tmp_System.map", "System.map", ".tmp_vmlinux.kallsyms2", ".tmp_vmlinux2.kallsyms.o"):
        (kept / name).write_bytes(b"1 System.map .tmp_System.map\n" * 100)
    packed(tree, tmp_path / "folder")
    assert sorted(path.name for path in (tmp_path / "folder/kallsyms").iterdir()) == [
        ".tmp_System.map",
        ".tmp_vmlinux.kallsyms2.zst",
        ".tmp_vmlinux2.kallsyms.o",
        "System.map",
        "compared",
    ]
