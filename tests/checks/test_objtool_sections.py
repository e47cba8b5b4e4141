"""What objtool must have written into every module, and flags that no other call of the build has."""

import pytest
from test_objtool import BASE, MULTI, SINGLE, attempt, delayed, early, findings, ko

from lab.evidence.objtool import Marks, unwritten
from lab.model import Severity

ORC = frozenset({".orc_unwind", ".orc_unwind_ip"})
RETURNS = "__x86_return_thunk"
ALL = {"UNWINDER_ORC": "y", "RETHUNK": "y"}


def marks(*sections, refers=(), text=64):
    return Marks(sections=ORC | frozenset(sections), text=text, refers=frozenset(refers))


def test_a_module_whose_unwind_table_was_taken_out_is_found(tmp_path):
    """objcopy --remove-section .orc_unwind."""
    modules = [(f"{MULTI}.ko", ko(sites=0, relocations=0, sections=(".orc_unwind_ip",)))]
    modules += [(f"{SINGLE}.ko", ko(sites=4, relocations=8))]
    (found,) = findings(delayed(tmp_path / "a", modules=modules))
    assert (found.id, found.severity, found.blame) == ("objtool.sections", Severity.FAIL, f"{MULTI}.ko")
    assert found.message == f"{MULTI}.ko: no .orc_unwind"
    assert found.data["lacking"] == [".orc_unwind"]
    assert any("CONFIG_UNWINDER_ORC=y" in reason and "64 bytes" in reason for reason in found.because)


def test_without_the_unwinder_nobody_expects_its_table(tmp_path):
    assert unwritten({"a.ko": Marks(text=64)}, {"UNWINDER_FRAME_POINTER": "y"}) == {}


def test_a_module_without_code_needs_nothing():
    assert unwritten({"a.ko": Marks(text=0)}, ALL) == {}


def test_what_another_module_with_the_same_code_has_must_be_there():
    found = {"a.ko": marks(refers=[RETURNS]), "b.ko": marks(".return_sites", refers=[RETURNS]), "c.ko": marks()}
    assert unwritten(found, ALL) == {"a.ko": (".return_sites",)}


def test_what_no_module_has_this_version_does_not_write():
    """Kernels before 5.10.133 have RETPOLINE and no .retpoline_sites."""
    assert unwritten({"a.ko": marks(refers=[RETURNS]), "b.ko": marks(refers=[RETURNS])}, ALL) == {}


@pytest.mark.parametrize("flag", ["--dry-run", "--mnop"])
def test_a_flag_that_no_other_call_has_is_superfluous(tmp_path, flag):
    (found,) = findings(early(tmp_path / "a", built_in=f" {flag}"))
    assert (found.severity, found.data["superfluous"]) == (Severity.WARNING, [flag])
    assert found.data["objects"] == ["kernel/fork.o"]


def test_a_module_that_is_only_tried_is_found_among_few(tmp_path):
    (found,) = findings(delayed(tmp_path / "a", single="--link --module --dry-run"))
    assert found.data["superfluous"] == ["--dry-run"]


def test_objects_with_rules_of_their_own_are_left_alone(tmp_path):
    """7.2, arch/x86/boot/startup/Makefile."""
    rows = [(f"kernel/{name}.o", BASE, False, "vmlinux") for name in "abcd"]
    rows += [("arch/x86/boot/startup/sme.o", f"{BASE} --dry-run --noabs", False, "vmlinux")]
    assert findings(attempt(tmp_path / "a", rows)) == []
