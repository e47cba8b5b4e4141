"""What a crash is put down to: the code that crashed, the module that was being loaded, what the kernel used; and what not."""

from dataclasses import replace

import pytest

from lab.checks import join
from lab.model import Finding, Severity, Span

AUTOFS, WATCHDOG, XFS = "fs/autofs/autofs4.ko", "drivers/watchdog/watchdog.ko", "fs/xfs/xfs.ko"
PARTS = {
    "fs/autofs/init.o": AUTOFS, "fs/autofs/inode.o": AUTOFS, "fs/autofs/autofs4.o": AUTOFS, "fs/xfs/xfs_super.o": XFS,
    "kernel/fork.o": "vmlinux", "kernel/exit.o": "vmlinux",
}  # fmt: skip


def finding(id_, severity=Severity.FAIL, *, at=1, file="build.txt", blame="", function="", **data):
    where = Span(file=file, first=at, last=at)
    return Finding(
        id=id_,
        severity=severity,
        title=id_,
        message=f"{id_} says",
        where=where,
        blame=blame,
        function=function,
        data=data,
    )


def crash(*, function="f", module="", object_="", loading="", linked=(), trace=(), caller="", text="BUG: x", frames=()):
    return finding(
        "boot.oops", at=94, file="console.txt", function=function, category="oops", module=module, object=object_,
        loading=loading, modules=list(linked), trace=list(trace), caller=caller, text=text, frames=list(frames), tainted="",
    )  # fmt: skip


def flags(blame=AUTOFS, objects=("fs/autofs/autofs4.o",), missing=("--module",), damaged=(), intact=(), **data):
    return finding(
        "objtool.flags", blame=blame, objects=list(objects), missing=list(missing), damaged=list(damaged), intact=list(intact),
        **data,
    )  # fmt: skip


def sections(module=AUTOFS, lacking=()):
    return finding("objtool.sections", blame=module, module=module, lacking=list(lacking))


def stale(object_):
    return finding("timestamps.stale", blame=object_, object=object_, missing=[])


def stories(*findings):
    return [(one.id, [part.id for part in one.joined]) for one in join.joined(findings, PARTS)]


ONE = [("objtool.flags", ["boot.oops"])]
TWO = [("objtool.flags", []), ("boot.oops", [])]
CHAIN = [("objtool.flags", ["objtool.sections", "boot.oops"])]


def test_the_story_of_report_003_is_the_flag_the_sections_it_left_and_the_panic():
    panic = crash(
        function="__static_call_init", object_="kernel/static_call_inline.o", loading=AUTOFS, linked=["autofs4"]
    )
    told = join.joined([sections(), panic, flags(damaged=["fs/autofs/autofs4.o"])], PARTS)
    assert [(one.id, [part.id for part in one.joined]) for one in told] == CHAIN
    assert told[0].because == (f"the kernel was loading {AUTOFS} when it crashed in __static_call_init()",)


# ------------------------------------------------------------------------------------------------ while a module is loaded


@pytest.mark.parametrize("loading", [AUTOFS, "autofs4"])  # our init's marker, or "autofs4(+)" in "Modules linked in"
def test_the_module_being_loaded_is_known_by_a_marker_or_by_its_sign(loading):
    assert stories(flags(), crash(loading=loading)) == ONE


def test_a_module_that_was_read_and_lacks_nothing_is_innocent_while_it_loads_and_later():
    whole = flags(blame=WATCHDOG, objects=["drivers/watchdog/watchdog.o"], intact=[WATCHDOG])
    assert stories(whole, crash(loading=WATCHDOG)) == TWO
    assert stories(whole, crash(module="watchdog")) == TWO


def test_of_two_modules_with_one_finding_only_the_damaged_one_is_put_down_to_it():
    both = flags(
        objects=["fs/autofs/autofs4.o", "drivers/watchdog/watchdog.o"],
        damaged=["fs/autofs/autofs4.o"],
        intact=[WATCHDOG],
    )
    assert stories(both, crash(loading=AUTOFS)) == ONE
    assert stories(both, crash(loading=WATCHDOG)) == TWO


def test_the_code_of_another_module_is_not_put_down_to_the_one_being_loaded():
    assert stories(flags(), crash(loading=AUTOFS, module="xfs", object_="fs/xfs/xfs_super.o")) == TWO


def test_a_flag_too_many_leads_to_no_crash():
    assert len(stories(replace(flags(missing=()), severity=Severity.WARNING), crash(loading=AUTOFS))) == 2
    assert len(stories(flags(missing=()), crash(loading=AUTOFS))) == 2


# ----------------------------------------------------------------------------------------- later, in the code of a module


def test_a_crash_in_the_code_of_a_broken_module_long_after_it_was_loaded():
    later = crash(function="autofs_wait", module="autofs4", object_="fs/autofs/inode.o", linked=["autofs4", "xfs"])
    (told,) = join.joined([flags(), later], PARTS)
    assert told.because[-1] == "the kernel crashed in autofs_wait(), in code of fs/autofs/inode.o"


def test_a_broken_module_that_is_only_linked_in_is_not_to_blame():
    assert stories(flags(damaged=["fs/autofs/autofs4.o"]), crash(linked=["autofs4", "xfs"], function="f")) == TWO
    assert stories(flags(), crash(module="xfs", linked=["autofs4", "xfs"])) == TWO


def test_of_a_finding_about_one_object_the_others_of_the_module_are_innocent():
    one = flags(objects=["fs/autofs/init.o"])
    assert stories(one, crash(module="autofs4", object_="fs/autofs/init.o")) == ONE
    assert stories(one, crash(module="autofs4", object_="fs/autofs/inode.o")) == TWO
    assert stories(one, crash(module="autofs4", object_="fs/autofs/inode.o", loading=AUTOFS)) == TWO


def test_the_innermost_module_of_the_trace_counts_if_it_is_proven_to_be_damaged():
    called = crash(function="vfs_read", caller="autofs4")
    assert stories(flags(damaged=["fs/autofs/autofs4.o"]), called) == ONE
    assert stories(flags(), called) == TWO
    assert stories(flags(damaged=["fs/autofs/autofs4.o"]), crash(function="vfs_read", caller="xfs")) == TWO


def test_the_instruction_pointer_tells_the_module_if_the_guilty_function_is_another():
    frames = [{"pointer": True, "module": "autofs4", "object": "fs/autofs/inode.o", "function": "autofs_wait"}]
    assert stories(flags(), crash(function="f", frames=frames)) == ONE


# -------------------------------------------------------------------------------------- what the kernel used, and built-in


USED = {"function": "__static_call_update", "linked": ["xfs", "autofs4"]}


def test_static_calls_that_are_updated_later_lead_to_the_only_module_that_lacks_them():
    (told,) = join.joined([flags(damaged=["fs/autofs/autofs4.o"]), sections(), crash(**USED)], PARTS)
    assert "of what was linked in, fs/autofs/autofs4.ko lacks it" in told.because[-1]


def test_of_several_candidates_none_is_accused_and_all_are_named():
    other = sections(XFS, lacking=[".static_call_sites"])
    told = join.joined([flags(damaged=["fs/autofs/autofs4.o"]), other, crash(**USED)], PARTS)
    assert [(one.id, one.joined) for one in told] == [
        ("objtool.flags", ()),
        ("objtool.sections", ()),
        ("boot.oops", ()),
    ]
    assert AUTOFS in told[-1].because[-1]
    assert XFS in told[-1].because[-1]
    assert join.joined(told, PARTS) == told


@pytest.mark.parametrize(
    "other",
    [
        {"function": "__static_call_update", "linked": ["xfs"]},  # it is not linked in
        {"function": "vfs_read", "linked": ["autofs4"]},  # nothing that objtool writes was used
        {
            "function": "__static_call_init",
            "linked": ["xfs", "autofs4"],
            "loading": XFS,
        },  # that of the other module was
    ],
)
def test_without_the_module_or_the_use_they_stay_apart(other):
    assert stories(flags(damaged=["fs/autofs/autofs4.o"]), crash(**other)) == TWO


@pytest.mark.parametrize(
    ("lacking", "function", "stories_told"),
    [
        (".orc_unwind", "unwind_next_frame", 1), (".orc_unwind", "__static_call_update", 2),
        (".return_sites", "apply_returns", 1), (".return_sites", "unwind_next_frame", 2),
        ("__mcount_loc", "ftrace_bug", 1), (".ibt_endbr_seal", "exc_control_protection", 1),
    ],
)  # fmt: skip
def test_damage_of_one_kind_explains_the_use_of_that_alone(lacking, function, stories_told):
    assert len(stories(sections(lacking=[lacking]), crash(function=function, linked=["autofs4"]))) == stories_told


def test_static_calls_of_which_relocations_lack_are_half_written():
    half = sections()
    half = replace(half, data=half.data | {"sites": 55, "relocations": 1})
    whole = replace(half, data=half.data | {"sites": 4, "relocations": 8})
    assert len(stories(half, crash(**USED))) == 1
    assert len(stories(whole, crash(**USED))) == 2


def test_a_panic_before_init_is_put_down_to_the_object_that_crashed():
    wrong = flags(blame="kernel/fork.o", objects=["kernel/fork.o"], missing=["--orc"])
    assert stories(wrong, crash(function="fork_init", object_="kernel/fork.o")) == ONE
    assert stories(wrong, crash(function="do_exit", object_="kernel/exit.o")) == TWO
    assert stories(wrong, crash(function="fork_init", object_="")) == TWO


def test_an_object_that_was_not_rebuilt_and_the_crash_in_it():
    here = crash(function="fork_init", object_="kernel/fork.o")
    assert stories(stale("kernel/fork.o"), here) == [("timestamps.stale", ["boot.oops"])]
    assert len(stories(stale("kernel/exit.o"), here)) == 2
    assert len(stories(stale("fs/autofs/init.o"), crash(module="autofs4", object_="fs/autofs/inode.o"))) == 2


def test_the_nearest_of_two_causes_is_the_root():
    """The module that is being loaded is broken, but what crashed is a stale object of the kernel."""
    told = stories(flags(), stale("kernel/fork.o"), crash(object_="kernel/fork.o", loading=AUTOFS))
    assert told == [("objtool.flags", []), ("timestamps.stale", ["boot.oops"])]


def test_vmlinux_as_a_whole_counts_only_where_what_objtool_writes_was_used():
    whole = flags(blame="vmlinux.o", objects=["vmlinux.o"], missing=["--static-call"])
    assert stories(whole, crash(function="static_call_init")) == ONE
    assert stories(whole, crash(function="vfs_read")) == TWO
    assert stories(whole, crash(function="static_call_init", loading=AUTOFS)) == TWO


def test_a_warning_of_a_living_kernel_is_put_down_to_nothing():
    assert len(stories(flags(), replace(crash(loading=AUTOFS), severity=Severity.WARNING))) == 2
