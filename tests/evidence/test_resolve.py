"""From what a console prints to a place in the code: moved kernels, modules, functions of one name, another build."""

import pytest
from code_elf import ET_REL, elf, file, function, static

from lab.evidence import code, resolve
from lab.evidence.console_addresses import KernelOffset, spots
from lab.evidence.elf import UnreadableError
from lab.evidence.resolve import Moved

BASE, SHIFT = 0xFFFFFFFF81000000, 0x1C000000
KERNEL = [
    file("core.c"), static("show", BASE + 0x100, 0x20), file("cpu.c"), static("show", BASE + 0x200, 0x30),
    file("twin.c"), static("twin", BASE + 0x300, 0x10), static("twin", BASE + 0x310, 0x10),
    function("start_kernel", BASE, 0x100), function("end", BASE + 0x400, 0x10),
]  # fmt: skip
MODULE = [
    file("init.c"), static("probe", 0x10, 0x18), file("root.c"), static("probe", 0, 0x20, ".init.text"),
    function("first", 0, 0x10), function("last", 0x28, 8),
]  # fmt: skip
AT_HOME = Moved(offset=0)


@pytest.fixture
def kernel(tmp_path):
    (tmp_path / "vmlinux").write_bytes(elf(KERNEL))
    (tmp_path / "x.ko").write_bytes(elf(MODULE, kind=ET_REL))
    (tmp_path / "y.ko").write_bytes(b"\x7fELF" + b"\0" * 60)
    modules = {"drivers/my-x.ko": tmp_path / "x.ko", "drivers/y.ko": tmp_path / "y.ko"}
    return code.of_files(tmp_path / "vmlinux", modules)


def one(kernel, text, moved=AT_HOME):
    (found,) = resolve.resolved(spots(text), kernel.code, moved)
    return found


def place(kernel, text, moved=AT_HOME):
    found = one(kernel, text, moved)
    assert found.place is not None, found.why
    where = found.place
    return where.object, where.function.name, where.function.file, where.at - (BASE if where.object == "vmlinux" else 0)


def test_a_return_address_is_looked_up_at_the_call_before_it(kernel):
    assert place(kernel, " start_kernel+0x40/0x100") == ("vmlinux", "start_kernel", "", 0x3F)
    assert place(kernel, "RIP: 0010:start_kernel+0x40/0x100") == ("vmlinux", "start_kernel", "", 0x40)
    assert place(kernel, " start_kernel+0x0/0x100") == ("vmlinux", "start_kernel", "", 0)


def test_the_first_frame_of_a_trace_may_be_the_instruction_pointer_again(kernel):
    lines = ["pc : show+0x4/0x20", "lr : show+0x4/0x20", "Call trace:", " show+0x4/0x20"]
    some = [spot for line in lines for spot in spots(line)]
    assert {found.place.at - BASE for found in resolve.resolved(some, kernel.code, AT_HOME)} == {0x104}


def test_functions_of_one_name_are_told_apart_by_their_size(kernel):
    assert place(kernel, " show+0x4/0x20")[2] == "core.c"
    assert place(kernel, " show+0x4/0x30")[2] == "cpu.c"


def test_two_that_fit_are_both_named_and_none_is_taken(kernel):
    found = one(kernel, " twin+0x4/0x10")
    assert found.place is None
    assert found.why.startswith("2 functions of this name and size in vmlinux: twin.c 0xffffffff81000300, twin.c")


def test_an_address_beside_the_name_decides_between_them(kernel):
    line = f" [<{BASE + SHIFT + 0x314:x}>] twin+0x4/0x10"
    assert place(kernel, line, Moved(offset=SHIFT)) == ("vmlinux", "twin", "twin.c", 0x313)


def test_a_kernel_of_another_build_is_noticed(kernel):
    found = one(kernel, " start_kernel+0x40/0x180")
    assert not found.place.trusted
    assert "0x100 bytes in this vmlinux, and 0x180 in the one that ran: another build?" in found.why
    assert "none of the 2 functions" in one(kernel, " show+0x4/0x28").why


def test_a_place_of_a_module_is_an_offset_in_the_section_of_its_function(kernel):
    found = one(kernel, " probe+0x8/0x20 [my_x]")
    assert (found.place.object, found.place.function.section, found.place.at) == ("drivers/my-x.ko", ".init.text", 7)
    assert one(kernel, " probe+0x8/0x18 [my_x]").place.function.section == ".text"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (" nothing+0x8/0x18", "vmlinux has no function 'nothing'"),
        (" f+0x8/0x18 [gone]", "there is no module 'gone' here"),
        (" f+0x8/0x18 [my_x]", "drivers/my-x.ko has no function 'f'"),
        (" f+0x8/0x18 [y]", "cannot read drivers/y.ko: unknown ELF class 0 or byte order 0"),
        (" 0xffffffffa0000010", "it lies outside vmlinux"),
    ],
)
def test_what_is_not_known_is_said_with_the_reason(kernel, line, why):
    found = one(kernel, line)
    assert found.place is None
    assert found.why.startswith(why)


def test_an_address_alone_needs_to_know_how_far_the_kernel_was_moved(kernel):
    line = f" [<{BASE + SHIFT + 0x48:x}>] 0x{BASE + SHIFT + 0x48:x}"
    (found, *_) = resolve.resolved(spots(line), kernel.code, Moved(offset=SHIFT))
    assert (found.place.function.name, found.place.at - BASE, found.why) == ("start_kernel", 0x47, "")
    (lost, *_) = resolve.resolved(spots(line), kernel.code, Moved())
    assert lost.place is None
    assert "nothing on the console says how far" in lost.why
    doubtful = one(kernel, f" 0x{BASE + 0x48:x}", Moved())
    assert not doubtful.place.trusted


def test_without_a_kernel_everything_says_so(tmp_path):
    nothing = code.of_files(None, {})
    assert one(nothing, " f+0x8/0x18").why == "no vmlinux was given"
    (tmp_path / "vmlinux").write_bytes(b"MZ")
    with pytest.raises(UnreadableError):
        code.of_files(tmp_path / "vmlinux", {})


# --------------------------------------------------------------------------------------------------------------- KASLR


def some_spots(*lines):
    return [spot for line in lines for spot in spots(line)]


PAIR = f" [<{BASE + SHIFT + 0x104:x}>] show+0x4/0x20"
HASHED = " [<00000000deadbeef>] show+0x4/0x20"


def test_the_panic_says_how_far_the_kernel_was_moved(kernel):
    found = resolve.moved([], kernel.code.kernel, KernelOffset(offset=SHIFT, base=BASE))
    assert (found.offset, found.how) == (SHIFT, "the console says so")


def test_addresses_beside_names_say_it_too(kernel):
    pair = f" [<{BASE + SHIFT + 0x40:x}>] start_kernel+0x40/0x100"
    assert resolve.moved(some_spots(PAIR, pair), kernel.code.kernel, None).offset == SHIFT
    assert resolve.moved(some_spots(pair), kernel.code.kernel, None).offset == SHIFT


def test_of_two_functions_of_one_name_the_address_fits_one_only_if_another_agrees(kernel):
    """0x100 apart: a multiple of the page decides, and that is only one of them here."""
    assert resolve.moved(some_spots(PAIR), kernel.code.kernel, None).offset == SHIFT


@pytest.mark.parametrize("lines", [(), (HASHED,), (" f+0x1/0x2",), (" [<ffffffffa0000104>] show+0x4/0x20 [my_x]",)])
def test_hashes_and_modules_say_nothing(kernel, lines):
    assert resolve.moved(some_spots(*lines), kernel.code.kernel, None).offset is None


def test_addresses_that_contradict_each_other_say_nothing(kernel):
    other = f" [<{BASE + 2 * SHIFT + 0x40:x}>] start_kernel+0x40/0x100"
    assert resolve.moved(some_spots(PAIR, other), kernel.code.kernel, None).offset is None


@pytest.mark.parametrize(
    ("path", "name"), [("fs/autofs/autofs4.ko", "autofs4"), ("kernel/a/b-c.ko.xz", "b_c"), ("x.y.ko.zst", "x.y")]
)
def test_the_kernel_s_name_of_a_module(path, name):
    assert resolve.module_name(path) == name
