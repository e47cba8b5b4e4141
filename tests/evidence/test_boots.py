import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.evidence import boots, console
from lab.evidence.boots import LeftOut, Outcome, Plan, PlannedBoot
from lab.evidence.bundle import Evidence
from lab.results import store

HEAD = "[    0.000000] Linux version 6.1.0\n"


def heard(*lines: str) -> console.ConsoleLog:
    return console.read_text(HEAD + "".join(f"{line}\n" for line in lines))


def loads(*outcomes: tuple[str, str]) -> console.ConsoleLog:
    """Return a console of modules and what came of each: "ok", "" for nothing, or an error."""
    lines = [f"lab-init: start modules={len(outcomes)}"]
    for path, outcome in outcomes:
        lines.append(f"lab-init: begin 1/1 {path}")
        if outcome:
            lines.append(f"lab-init: ok 1/1 {path}" if outcome == "ok" else f"lab-init: fail 1/1 {path} {outcome}")
    return heard(*lines)


def planned(*modules: str, step: str = "boot", **more) -> PlannedBoot:
    return PlannedBoot(step=step, console="console.txt", modules=modules, **more)


def told(consoles, plan=None) -> dict[str, str]:
    return {one.path: one.outcome for one in boots.outcomes(consoles, plan)}


def said(outcome) -> list[str]:
    return [line.text for line in outcome.said]


# ---------------------------------------------------------------------------------------------------------------- names


def test_the_first_boot_has_the_plain_names():
    assert [boots.numbered(name, 1) for name in ("boot", "console.txt")] == ["boot", "console.txt"]
    assert [boots.numbered(name, 12) for name in ("boot", "console.txt")] == ["boot-12", "console-12.txt"]


@pytest.mark.parametrize(
    ("step", "is_one"),
    [("boot", True), ("boot-2", True), ("build", False), ("bootstrap", False), ("boot-", False), ("boot-x", False)],
)
def test_a_boot_is_told_from_other_steps(step, is_one):
    assert boots.is_boot(step) is is_one


def test_boots_are_found_by_their_consoles_and_by_their_steps(tmp_path):
    (tmp_path / "console.txt").write_text(HEAD)
    (tmp_path / "console-2.txt").write_text(HEAD)
    rows = [{"name": name, "ending": "exited", "status": 0, "seconds": 1.0} for name in ("build", "boot", "boot-3")]
    (tmp_path / "steps.json").write_text(json.dumps(rows))
    evidence = Evidence(tmp_path)
    found = boots.found(evidence.steps, evidence.file, evidence.name_of)
    assert [(one.file, one.step is not None, one.console is not None) for one in found] == [
        ("console.txt", True, True),
        ("console-2.txt", False, True),
        ("console-3.txt", True, False),
    ]


# ----------------------------------------------------------------------------------------------------------------- plan


def test_a_plan_comes_back_as_it_was_written(tmp_path):
    plan = Plan(
        boots=(planned("a.ko", "b.ko", borrowed=("a.ko",), because="the rest"),),
        left_out=(LeftOut(path="c.ko", because="skipped"),),
        named=("b.ko",),
        needs={"b.ko": ("a.ko",)},
    )
    store.write(tmp_path / "boots.json", plan)
    assert boots.read_plan(tmp_path / "boots.json") == plan


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["boots", "needs", "a"]), inner),
)


@given(json_values)
def test_whatever_is_in_a_plan_reading_it_raises_nothing(value):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "boots.json")
        path.write_text(json.dumps(value))
        assert boots.read_plan(path) is None or isinstance(boots.read_plan(path), Plan)


# ------------------------------------------------------------------------------------------------------------- outcomes


def test_the_outcomes_of_several_boots_are_put_together():
    one = loads(("a.ko", "ok"), ("b.ko", "No such device"))
    two = loads(("a.ko", "ok"), ("c.ko", ""))
    assert told([("console.txt", one), ("console-2.txt", two)]) == {"a.ko": "ok", "b.ko": "no device", "c.ko": "begun"}


def test_of_a_module_that_several_boots_load_the_worst_counts():
    one, two = loads(("a.ko", "ok")), loads(("a.ko", "Invalid argument"))
    (outcome,) = boots.outcomes([("console.txt", one), ("console-2.txt", two)], None)
    assert (outcome.outcome, outcome.file, outcome.at) == ("refused", "console-2.txt", 3)


def test_what_was_planned_and_never_tried_is_told_with_its_reason():
    plan = Plan(
        boots=(planned("a.ko", "b.ko", "c.ko"),), left_out=(LeftOut(path="c.ko", because="it needs a.ko"),)
    )  # fmt: skip
    found = {one.path: one for one in boots.outcomes([("console.txt", loads(("a.ko", "")))], plan)}
    assert found["b.ko"] == Outcome(path="b.ko", outcome="not tried", because="boot ended before it")
    assert found["c.ko"] == Outcome(path="c.ko", outcome="not tried", because="it needs a.ko")


def test_a_module_without_what_it_needs_is_no_fault_of_its_own():
    log = heard(
        "lab-init: begin 1/2 hv/hv_vmbus.ko", "lab-init: fail 1/2 hv/hv_vmbus.ko No such device",
        "lab-init: begin 2/2 hid/hid-hyperv.ko", "[    1.000000] hid_hyperv: Unknown symbol vmbus_open (err -2)",
        "lab-init: fail 2/2 hid/hid-hyperv.ko unknown symbol in module, or unknown parameter",
    )  # fmt: skip
    plan = Plan(needs={"hid/hid-hyperv.ko": ("hv/hv_vmbus.ko",)})
    assert told([("console.txt", log)], plan) == {"hv/hv_vmbus.ko": "no device", "hid/hid-hyperv.ko": "needs"}
    # without the plan nobody knows that, and the kernel's word stands
    assert told([("console.txt", log)])["hid/hid-hyperv.ko"] == "fail"


def test_a_symbol_that_nobody_has_is_a_fault_also_of_a_module_that_needs_others():
    log = heard(
        "lab-init: begin 1/2 a.ko", "lab-init: ok 1/2 a.ko", "lab-init: begin 2/2 b.ko",
        "[    1.000000] b: Unknown symbol gone (err -2)",
        "lab-init: fail 2/2 b.ko unknown symbol in module, or unknown parameter",
    )  # fmt: skip
    (_, outcome) = boots.outcomes([("console.txt", log)], Plan(needs={"b.ko": ("a.ko",)}))
    assert (outcome.outcome, said(outcome)) == ("fail", ["b: Unknown symbol gone (err -2)"])


@pytest.mark.parametrize(
    "line",
    [
        "xfs: Unknown symbol crc32c (err -2)",
        "xfs: disagrees about version of symbol module_layout",
        "xfs: no symbol version for module_layout",
        "xfs: version magic '6.1.0 SMP' should be '6.1.0 SMP preempt'",
        "xfs: exports duplicate symbol xfs_a (owned by ext4)",
        "xfs: module uses symbol (a) from namespace B, but does not import it.",
        "xfs: `x' invalid for parameter `a'",
        "xfs: `xxxxxxxx' too large for parameter `a'",
        "xfs: Unknown rela relocation: 42",
        "module xfs: unsupported RELA relocation: 275",
        "x86/modules: Invalid relocation target, existing value is nonzero for type 1",
        "overflow in relocation type 10 val ffffffffc0000000",
        "xfs: section 4 reloc 1 sym 'printk': relocation 28 out of range (0x1 -> 0x2)",
        "Invalid ELF header type: 1 != 2",
        "Invalid architecture in ELF header: 40",
    ],
)
def test_a_word_of_the_loader_makes_it_the_kernels_refusal(line):
    log = heard("lab-init: begin 1/1 xfs.ko", f"[    1.500000] {line}", "lab-init: fail 1/1 xfs.ko Invalid argument")
    (outcome,) = boots.outcomes([("console.txt", log)], None)
    assert (outcome.outcome, said(outcome)) == ("fail", [line])


@pytest.mark.parametrize("error", ["invalid module format", "Key was rejected by service", "insmod exited 137"])
def test_some_errors_are_the_loaders_own_without_a_word(error):
    assert told([("console.txt", loads(("a.ko", error)))]) == {"a.ko": "fail"}


@pytest.mark.parametrize(
    "error",
    ["Invalid argument", "Device or resource busy", "unknown symbol in module, or unknown parameter", "File exists"],
)
def test_any_other_error_without_a_word_of_the_kernel_is_the_modules_own(error):
    assert told([("console.txt", loads(("a.ko", error)))]) == {"a.ko": "refused"}


def test_what_a_kernel_may_also_say_of_a_module_that_it_takes_is_told_last():
    log = heard(
        "lab-init: begin 1/1 xfs.ko", "[    1.000000] failed to validate module [xfs] BTF: -22",
        "[    1.000000] xfs: Unknown symbol a (err -2)", "lab-init: fail 1/1 xfs.ko Invalid argument",
    )  # fmt: skip
    (outcome,) = boots.outcomes([("console.txt", log)], None)
    assert said(outcome)[0] == "xfs: Unknown symbol a (err -2)"


def test_a_word_about_another_module_before_is_not_taken_for_this_one():
    log = heard(
        "[    0.500000] b: Unknown symbol gone (err -2)", "lab-init: begin 1/1 a.ko",
        "lab-init: fail 1/1 a.ko Input/output error",
    )  # fmt: skip
    assert told([("console.txt", log)]) == {"a.ko": "refused"}


def test_the_second_load_and_the_unloading_stand_with_the_module():
    log = heard(
        "lab-init: begin 1/1 a.ko", "lab-init: ok 1/1 a.ko", "lab-init: twice 1/1 a.ko", "lab-init: twice-ok 1/1 a.ko",
        "lab-init: unload 1/1 a.ko", "lab-init: unload-kept 1/1 a.ko Device or resource busy",
    )  # fmt: skip
    (outcome,) = boots.outcomes([("console.txt", log)], None)
    assert (outcome.outcome, outcome.again, outcome.unload) == ("ok", "ok", "Device or resource busy")
