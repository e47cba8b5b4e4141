import json
import struct

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import cli
from lab.evidence import builds

PROGBITS, SYMTAB, STRTAB, NOBITS, NOTE = 1, 2, 3, 8, 7
TEXT = b"\x90" * 32
BUILD_ID = struct.pack("<III", 4, 8, 3) + b"GNU\0"
BANNER = b"Linux version 6.1.192 (lab@lab) (%s)\n\0"


def elf(sections, symbols=(), *, machine=62, kind=1):
    """Return a relocatable file. sections: (name, type, bytes). symbols: (name, index of its section from 1, value, size)."""
    names, rows = b"\0", [b"\0" * 24]
    for name, section, value, size in symbols:
        rows.append(struct.pack("<IBBHQQ", len(names), 0x11, 0, section, value, size))
        names += name.encode() + b"\0"
    symtab = len(sections) + 1
    every = [*sections, (".symtab", SYMTAB, b"".join(rows)), (".strtab", STRTAB, names)]
    headers = b"\0" + b"".join(name.encode() + b"\0" for name, _, _ in every) + b".shstrtab\0"
    every.append((".shstrtab", STRTAB, headers))
    data, table = b"", [b"\0" * 64]
    for index, (name, type_, body) in enumerate(every, start=1):
        link, entry = (symtab + 1, 24) if index == symtab else (0, 0)
        place = headers.find(b"\0" + name.encode() + b"\0") + 1
        table.append(struct.pack("<IIQQQQIIQQ", place, type_, 0, 0, 64 + len(data), len(body), link, 0, 1, entry))
        data += body
    ident = b"\x7fELF\2\1\1" + b"\0" * 9
    head = struct.pack(
        "<HHIQQQIHHHHHH", kind, machine, 1, 0, 0, 64 + len(data), 0, 64, 0, 0, 64, len(table), len(table) - 1
    )
    return ident + head + data + b"".join(table)


def text_object(text=TEXT, comment=b"GCC: (Debian 12.2.0-14)\0", **more):
    symbols = [("$a", 1, 0, 0), ("first", 1, 0, 16), ("second", 1, 16, 16)]
    return elf([(".text", PROGBITS, text), (".comment", PROGBITS, comment)], symbols, **more)


def output(root, files, host=()):
    """Write an output directory; each file gets a .cmd that says that it is the kernel's, but those of `host`."""
    root.mkdir()
    (root / ".config").write_text("CONFIG_MODULES=y\n")
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        flags = "" if name in host else "-D__KERNEL__ "
        (path.parent / f".{path.name}.cmd").write_text(f"cmd_{name} := gcc {flags}-c -o {name} x.c\n")
    return root


def compared(tmp_path, a, b, host=()):
    return builds.compared(builds.build(output(tmp_path / "a", a, host)), builds.build(output(tmp_path / "b", b, host)))


def test_equal_objects_are_the_same_to_the_last_byte(tmp_path):
    found = compared(tmp_path, {"lib/x.o": text_object()}, {"lib/x.o": text_object()})
    assert (found.same, found.identical, found.differing) == (1, 1, 0)


def test_the_compilers_name_for_itself_does_not_count(tmp_path):
    found = compared(tmp_path, {"lib/x.o": text_object()}, {"lib/x.o": text_object(comment=b"GCC: (cross, 12)\0")})
    assert (found.same, found.identical, found.differing) == (1, 0, 0)


def test_other_code_names_the_section_the_offset_and_the_symbol_around(tmp_path):
    other = TEXT[:19] + b"\xcc" + TEXT[20:]
    found = compared(tmp_path, {"lib/x.o": text_object()}, {"lib/x.o": text_object(other)})
    [one] = found.differences
    assert (one.path, one.section, one.offset, one.symbol) == ("lib/x.o", ".text", 19, "second+0x3")


def test_code_of_another_length_tells_both_sizes(tmp_path):
    found = compared(tmp_path, {"lib/x.o": text_object()}, {"lib/x.o": text_object(TEXT + b"\x90")})
    [one] = found.differences
    assert (one.kind, one.size_a, one.size_b, one.offset) == ("size", 32, 33, 32)


def test_an_object_that_only_one_build_has_is_a_difference(tmp_path):
    found = compared(tmp_path, {"lib/x.o": text_object(), "lib/y.o": text_object()}, {"lib/x.o": text_object()})
    assert [(one.path, one.kind) for one in found.differences] == [("lib/y.o", "only in A")]


def test_a_section_that_only_one_object_has_is_a_difference(tmp_path):
    more = elf([(".text", PROGBITS, TEXT), (".data", PROGBITS, b"1")])
    found = compared(tmp_path, {"x.o": elf([(".text", PROGBITS, TEXT)])}, {"x.o": more})
    assert (".data", "only in B", 1) in [(one.section, one.kind, one.size_b) for one in found.differences]


def with_vdso(text=TEXT, comment=b"GCC: (Debian 12.2.0-14)\0", behind=b"\xc3"):
    """Return the files of a build whose object holds a shared object whole, as .incbin does, padded to a page."""
    vdso = text_object(text, comment, kind=3)
    held = vdso.ljust(4096, b"\0") + behind
    return {"arch/x/vdso/vdso.so": vdso, "arch/x/vdso/vdso.o": elf([(".data", PROGBITS, held)])}


def test_a_vdso_in_an_object_counts_as_its_own_file_does(tmp_path):
    found = compared(tmp_path, with_vdso(), with_vdso(comment=b"GCC: (Debian 12.2.0-14+deb12u1)\0"))
    assert (found.same, found.identical, found.differing) == (2, 0, 0)


@pytest.mark.parametrize("other", [{"text": TEXT[1:] + b"\xcc"}, {"comment": b"GCC: 13\0", "behind": b"\xc9"}])
def test_another_vdso_or_what_lies_behind_it_counts(tmp_path, other):
    found = compared(tmp_path, with_vdso(), with_vdso(**other))
    assert "arch/x/vdso/vdso.o" in [one.path for one in found.differences]


def test_host_programs_may_differ(tmp_path):
    host = ("scripts/kconfig/lexer.o", "usr/gen_init_cpio.o")
    mine, other = ({name: text_object(machine=machine) for name in host} for machine in (62, 40))
    found = compared(tmp_path, {"x.o": text_object(), **mine}, {"x.o": text_object(), **other}, host)
    assert (found.same, found.differing, found.host) == (1, 0, 2)


def test_an_object_of_the_kernel_under_scripts_counts(tmp_path):
    found = compared(tmp_path, {"scripts/mod/empty.o": text_object()}, {"scripts/mod/empty.o": text_object(TEXT[1:])})
    assert found.differing == 1


def test_a_kernel_object_for_another_machine_is_a_difference(tmp_path):
    found = compared(tmp_path, {"x.o": text_object()}, {"x.o": text_object(machine=40)})
    assert "machine is 62 and 40" in found.differences[0].text


def test_a_truncated_object_is_unknown_and_not_different(tmp_path):
    found = compared(tmp_path, {"x.o": text_object()}, {"x.o": text_object()[:200]})
    assert (found.same, found.differing, [one.path for one in found.unproven]) == (0, 0, ["x.o"])


def test_a_banner_of_another_length_does_not_count(tmp_path):
    def version(compiler):
        banner = BANNER % compiler
        padded = banner + b"\0" * (-len(banner) % 4)
        symbols = [("linux_banner", 1, 0, len(banner)), ("other", 1, len(padded), 4)]
        return elf([(".rodata", PROGBITS, padded + b"rest")], symbols)

    found = compared(tmp_path, {"init/version.o": version(b"gcc-12")}, {"init/version.o": version(b"arm-linux-gcc-12")})
    assert (found.same, found.differing) == (1, 0)


def test_what_lies_behind_the_banner_counts(tmp_path):
    def version(rest):
        return elf(
            [(".rodata", PROGBITS, BANNER + rest)], [("linux_banner", 1, 0, len(BANNER)), ("other", 1, len(BANNER), 4)]
        )

    found = compared(tmp_path, {"init/version.o": version(b"rest")}, {"init/version.o": version(b"best")})
    assert [(one.section, one.symbol) for one in found.differences] == [(".rodata", "other")]


@pytest.mark.parametrize(
    ("one", "two", "differing"), [("6.1.1 SMP", "6.1.2 SMP", 0), ("6.1.1 SMP", "6.1.1 PREEMPT", 1)]
)
def test_of_vermagic_only_the_release_is_left_out(tmp_path, one, two, differing):
    def module(text):
        return elf([(".modinfo", PROGBITS, f"license=GPL\0vermagic={text} \0".encode())])

    assert compared(tmp_path, {"x.ko": module(one)}, {"x.ko": module(two)}).differing == differing


def test_a_build_id_does_not_count(tmp_path):
    mine, other = (elf([(".note.gnu.build-id", NOTE, BUILD_ID + digest * 8)]) for digest in (b"a", b"b"))
    assert compared(tmp_path, {"x.ko": mine}, {"x.ko": other}).differing == 0


def test_a_linked_kernel_moved_by_its_banner_is_left_to_its_objects(tmp_path):
    def kernel(banner):
        return elf([(".rodata", PROGBITS, banner)], [("linux_banner", 1, 0, len(banner))], kind=2)

    found = compared(
        tmp_path,
        {"vmlinux": kernel(b"short"), "x.o": text_object()},
        {"vmlinux": kernel(b"longer"), "x.o": text_object()},
    )
    assert (found.same, found.differing, [one.path for one in found.explained]) == (1, 0, ["vmlinux"])


def test_what_packs_a_kernel_with_another_build_id_is_left_out(tmp_path):
    def files(digest):
        kernel = elf([(".notes", NOTE, BUILD_ID + digest * 8)], kind=2)
        return {"vmlinux": kernel, "arch/arm/boot/compressed/piggy.o": text_object(digest * 32)}

    found = compared(tmp_path, files(b"a"), files(b"b"))
    assert (found.same, found.differing) == (1, 0)


def evidence_folder(root, text):
    (root / "modules/lib").mkdir(parents=True)
    (root / "record.json").write_text("{}")
    (root / "vmlinux.zst").write_bytes(zstandard.compress(text_object()))
    (root / "modules/lib/x.ko").write_bytes(text_object(text))
    return root


def test_an_evidence_folder_is_compared_with_an_output_directory_by_what_both_hold(tmp_path):
    folder = evidence_folder(tmp_path / "a", TEXT)
    other = output(tmp_path / "b", {"vmlinux": text_object(), "lib/x.ko": text_object(), "lib/x.o": text_object()})
    found = builds.compared(builds.build(folder), builds.build(other))
    assert (found.same, found.differing) == (2, 0)


def test_sections_that_overlap_a_thousand_times_are_refused(tmp_path):
    big = elf([(".text", PROGBITS, b"\x90" * (1 << 21))])
    data = bytearray(big)
    headers = struct.unpack_from("<Q", data, 40)[0]
    count = struct.unpack_from("<H", data, 60)[0]
    data += data[headers + 64 : headers + 128] * 1000
    struct.pack_into("<H", data, 60, count + 1000)
    found = compared(tmp_path, {"x.o": bytes(data)}, {"x.o": big})
    assert "its sections claim" in found.unproven[0].because


GOOD = text_object()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(4, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=12))
def test_damaged_objects_are_compared_or_unknown(tmp_path_factory, changes):
    data = bytearray(GOOD)
    for position, value in changes:
        data[position] = value
    compared(tmp_path_factory.mktemp("damaged"), {"x.o": GOOD}, {"x.o": bytes(data)})


@pytest.mark.parametrize(
    ("other", "code"), [(text_object(), 0), (text_object(TEXT[1:]), 1), (text_object()[:100], 125), (None, 129)]
)
def test_the_exit_code_says_same_different_unknown_or_wrong(tmp_path, capsys, other, code):
    a = output(tmp_path / "a", {"x.o": text_object()})
    b = output(tmp_path / "b", {"x.o": other}) if other else tmp_path / "none"
    assert cli.exit_code_of(["compare-builds", str(a), str(b), "--json"]) == code
    if code != 129:
        assert json.loads(capsys.readouterr().out)["exit_code"] == code


def test_the_text_says_what_differs_and_what_does_not_count(tmp_path, capsys):
    a = output(tmp_path / "a", {"x.o": text_object()})
    b = output(tmp_path / "b", {"x.o": text_object(TEXT[:19] + b"\xcc" + TEXT[20:])})
    cli.exit_code_of(["compare-builds", str(a), str(b)])
    said = capsys.readouterr().out
    assert "differs  x.o .text, at 0x13 (second+0x3)" in said
    assert "left out .comment (the compiler's version)" in said
