"""System.map and the table in vmlinux held against vmlinux, in a folder that a build, or a copy of one, left."""

import os
import struct
import sys
from pathlib import Path

import pytest

from lab.checks import kallsyms
from lab.evidence.bundle import Evidence
from lab.model import Finding, NotApplicable

sys.path.insert(0, str(Path(__file__).parents[1] / "evidence"))
from kallsyms_image import LAYOUTS, image

TEXT, RODATA = 0x10000, 0x200000
SYMBOLS = [(TEXT, "T", "_stext"), (TEXT, "T", "_text")]
SYMBOLS += [(TEXT + 64 * number, "t", f"sys_{number}") for number in range(1, 600)]
SYMBOLS += [(TEXT + 64 * 600, "T", "_etext")]
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def vmlinux(symbols=SYMBOLS, *, layout="6.12", change=None):
    """Return an ELF file with .text, a kallsyms table of `symbols` in .rodata, and a symbol table."""
    data, labels = image([one for one in symbols if one[2] != "_etext"], layout=layout, base=TEXT)
    data = bytearray(data)
    if layout == "7.2":  # offsets from the place: `image` counts places from 0
        at = labels["kallsyms_offsets"]
        for number in range((labels["kallsyms_seqs_of_names"] - at) // 4):
            said = struct.unpack_from("<i", data, at + 4 * number)[0]
            struct.pack_into("<i", data, at + 4 * number, said - RODATA)
    if change is not None:
        change(data, labels)
    rows, names = [b"\0" * 24], b"\0"
    placed = [(value, 1, name, letter.isupper()) for value, letter, name in symbols]
    placed += [(RODATA + at, 2, name, False) for name, at in labels.items()]
    for value, section, name, is_global in sorted(placed, key=lambda one: one[3]):
        rows.append(struct.pack("<IBBHQQ", len(names), is_global << 4, 0, section, value, 0))
        names += name.encode() + b"\0"
    headers = b"\0.text\0.rodata\0.symtab\0.strtab\0.shstrtab\0"
    bodies = [(1, 1, 6, TEXT, b"\x90" * 64 * 601, 0, 0), (7, 1, 2, RODATA, bytes(data), 0, 0)]
    bodies += [(15, 2, 0, 0, b"".join(rows), 4, 24), (23, 3, 0, 0, names, 0, 0), (31, 3, 0, 0, headers, 0, 0)]
    body, table = b"", [b"\0" * 64]
    for name, kind, flags, address, content, link, entry in bodies:
        fields = (name, kind, flags, address, 64 + len(body), len(content), link, 0, 1, entry)
        table.append(struct.pack("<IIQQQQIIQQ", *fields))
        body += content
    head = (2, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, len(table), 5)
    return b"\x7fELF\x02\x01\x01" + b"\0" * 9 + struct.pack("<HHIQQQIHHHHHH", *head) + body + b"".join(table)


def system_map(symbols=SYMBOLS):
    return "".join(f"{value:016x} {letter} {name}\n" for value, letter, name in symbols)


def moved(by=64, first=300):
    """Return the symbols of another build: from the first one on, all lie further."""
    return [
        (value + by if number >= first else value, letter, name) for number, (value, letter, name) in enumerate(SYMBOLS)
    ]


def tree(folder, files, *, commands=True):
    """Write an output directory. files: (name, content), one second apart, in this order."""
    folder.mkdir()
    (folder / ".config").write_text("CONFIG_KALLSYMS=y\n")
    for number, (name, content) in enumerate(files):
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(folder / name, ns=(START + number * SECOND,) * 2)
    for number in range(20):
        made, noted = folder / f"o{number}.a", folder / f".o{number}.a.cmd"
        made.write_bytes(b"")
        noted.write_text(f"cmd_o{number}.a := ar cDPrST\n")
        os.utime(made, ns=(START, START))
        os.utime(noted, ns=(START + (SECOND if commands else -SECOND),) * 2)
    return folder


def answers(folder):
    return list(kallsyms.check(Evidence(folder)))


def ids(folder):
    return [one.id for one in answers(folder) if isinstance(one, Finding)]


PASSES = [(".tmp_vmlinux1.syms", system_map()), (".tmp_vmlinux2.syms", system_map())]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_finished_build_is_silent_in_every_layout(tmp_path, layout):
    files = [*PASSES, ("vmlinux", vmlinux(layout=layout)), ("System.map", system_map())]
    assert answers(tree(tmp_path / "O", files)) == []


def test_a_system_map_of_another_build_is_told_with_symbols_and_times(tmp_path):
    files = [*PASSES, ("vmlinux", vmlinux())]
    folder = tree(tmp_path / "O", files)
    (folder / "System.map").write_text(system_map(moved()))
    os.utime(folder / "System.map", ns=(START - 60 * SECOND,) * 2)
    found = [one for one in answers(folder) if isinstance(one, Finding)]
    assert [one.id for one in found] == ["kallsyms.map-wrong"]
    assert found[0].data["wrong_count"] == len(SYMBOLS) - 300
    assert found[0].blame == "System.map"
    assert any("'sys_299' at 14b00, vmlinux at 14ac0" in reason for reason in found[0].because)
    assert any("System.map is of 2023-11-14 22:12:20" in reason for reason in found[0].because)
    assert "System.map was exchanged" in found[0].because[-1]


def test_a_vmlinux_of_another_build_is_told_from_a_map_of_another_build(tmp_path):
    files = [*PASSES, ("vmlinux", vmlinux(moved())), ("System.map", system_map())]
    (found,) = [one for one in answers(tree(tmp_path / "O", files)) if isinstance(one, Finding)]
    assert (found.id, found.because[-1].partition(": ")[2]) == (
        "kallsyms.map-wrong", "vmlinux was exchanged or changed after the link"
    )  # fmt: skip


def test_one_entry_that_vmlinux_does_not_have_is_enough(tmp_path):
    files = [("vmlinux", vmlinux()), ("System.map", system_map([*SYMBOLS, (TEXT + 99999, "T", "stranger")]))]
    assert ids(tree(tmp_path / "O", files)) == ["kallsyms.map-wrong"]


def test_what_a_version_takes_out_of_the_map_or_of_vmlinux_is_no_difference(tmp_path):
    mapped = [one for one in SYMBOLS if one[2] != "sys_7"] + [(TEXT + 9, "r", "__mod_device_table__pci__x__y")]
    assert answers(tree(tmp_path / "O", [("vmlinux", vmlinux()), ("System.map", system_map(mapped))])) == []


def test_a_link_that_stopped_before_vmlinux_was_linked_again_is_not_accused(tmp_path):
    """7.2 links vmlinux.unstripped first: vmlinux is then the old one, and System.map may be the new one."""
    files = [
        ("vmlinux", vmlinux()),
        (".tmp_vmlinux1.syms", system_map(moved())),
        (".tmp_vmlinux2.syms", system_map(moved())),
    ]
    found = answers(tree(tmp_path / "O", [*files, ("System.map", system_map(moved()))]))
    assert [one.check for one in found if isinstance(one, NotApplicable)] == ["kallsyms.map-wrong"]
    assert not any(isinstance(one, Finding) for one in found)


def test_a_map_that_cannot_be_read_is_told_to_be_so(tmp_path):
    found = answers(tree(tmp_path / "O", [("vmlinux", vmlinux()), ("System.map", "no map\n")]))
    assert [one.because for one in found] == ["System.map cannot be read: lines of another form, or empty"]


def test_a_distribution_s_note_in_place_of_the_map_accuses_nobody(tmp_path):
    note = "ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n"
    found = answers(tree(tmp_path / "O", [("vmlinux", vmlinux()), ("System.map", note)]))
    assert [one.check for one in found if isinstance(one, NotApplicable)] == ["kallsyms.map-wrong"]
    assert not any(isinstance(one, Finding) for one in found)


# Passes that do not fit the final map.
STRANGE = [
    (".tmp_vmlinux1.syms", system_map()),
    (".tmp_vmlinux2.syms", system_map(moved())),
    ("System.map", system_map()),
]


def test_passes_of_another_time_accuse_nobody_whose_own_table_is_right(tmp_path):
    assert answers(tree(tmp_path / "O", [*STRANGE, ("vmlinux", vmlinux())])) == []


def test_without_vmlinux_a_copy_without_times_says_what_is_not_known(tmp_path):
    found = answers(tree(tmp_path / "O", STRANGE, commands=False))
    assert [one.check for one in found] == ["kallsyms.inconsistent"]
    assert isinstance(found[0], NotApplicable)
    assert "did not keep the files' times" in found[0].because


def test_without_vmlinux_the_build_s_own_times_tell_that_they_are_inconsistent(tmp_path):
    assert ids(tree(tmp_path / "O", STRANGE)) == ["kallsyms.inconsistent"]


def test_a_final_link_that_alone_is_different_is_told_as_what_no_pass_settles(tmp_path):
    alike = [(f".tmp_vmlinux{number}.syms", system_map()) for number in (1, 2)]
    last = [*SYMBOLS[:300], (SYMBOLS[300][0], "T", "only_at_last"), *moved()[300:]]
    (found,) = answers(tree(tmp_path / "O", [*alike, ("System.map", system_map(last))]))
    assert found.id == "kallsyms.inconsistent"
    assert any("only the final link is different" in text for text in found.because)


def test_what_the_lab_saved_of_an_earlier_link_does_not_hide_a_later_one(tmp_path):
    folder = tree(tmp_path / "O", STRANGE)
    (folder / ".lab-kallsyms").mkdir()
    for number, (name, content) in enumerate([*PASSES, ("System.map", system_map())]):
        (folder / ".lab-kallsyms" / name).write_text(content)
        os.utime(folder / ".lab-kallsyms" / name, ns=(START - (60 - number) * SECOND,) * 2)
    assert ids(folder) == ["kallsyms.inconsistent"]


def test_the_first_pass_alone_says_nothing(tmp_path):
    """Its kernel has no table yet, or an empty one: all behind it moves later."""
    assert ids(tree(tmp_path / "O", [(".tmp_vmlinux1.syms", system_map(moved())), ("System.map", system_map())])) == []


def offset(data, labels):
    struct.pack_into("<i", data, labels["kallsyms_offsets"] + 4 * 100, 0x777)


def name(data, labels):
    at = data.index(b"\x04123", labels["kallsyms_names"])  # PAIRS[4] is "sys_"
    data[at : at + 4] = b"\x04987"


def token(data, labels):
    at = data.index(b"sys_\0", labels["kallsyms_token_table"])
    data[at : at + 4] = b"sos_"


def marker(data, labels):
    struct.pack_into("<I", data, labels["kallsyms_markers"] + 4, 1)


@pytest.mark.parametrize("change", [offset, name, token, marker])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_table_with_a_changed_byte_is_found(tmp_path, layout, change):
    folder = tree(tmp_path / "O", [("vmlinux", vmlinux(layout=layout, change=change)), ("System.map", system_map())])
    assert ids(folder) == ["kallsyms.table-wrong"]


def test_a_file_of_debug_symbols_has_no_table_to_judge(tmp_path):
    """objcopy --only-keep-debug leaves the sections' addresses and no contents."""
    data = bytearray(vmlinux())
    headers = int.from_bytes(data[40:48], "little")
    struct.pack_into("<I", data, headers + 2 * 64 + 4, 8)  # .rodata: SHT_NOBITS
    found = answers(tree(tmp_path / "O", [("vmlinux", bytes(data)), ("System.map", system_map())]))
    assert [type(one) for one in found] == [NotApplicable]
    assert "debug symbols" in found[0].because
