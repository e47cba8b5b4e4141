import io
import stat

import pytest

from lab.boot.initramfs import (
    APPLETS,
    Entry,
    ModuleFile,
    OnDemand,
    Tasks,
    entries,
    initramfs,
    load_order,
    write_archive,
)
from lab.errors import UsageError

INIT = "#!/bin/sh\n"


def module(path: str, *depends: str) -> ModuleFile:
    return ModuleFile(path=path, data=path.encode(), depends=depends)


def ordered(*modules: ModuleFile) -> list[str]:
    return [one.path for one in load_order(modules).modules]


def archive(*members: Entry) -> bytes:
    out = io.BytesIO()
    assert write_archive(members, out) == len(out.getvalue())
    return out.getvalue()


def members(data: bytes) -> list[tuple[str, dict[str, int], bytes]]:
    """Read a newc archive as init/initramfs.c does: (name, header fields, data) of each member."""
    names = ["ino", "mode", "uid", "gid", "nlink", "mtime", "filesize", "devmajor", "devminor"]
    names += ["rdevmajor", "rdevminor", "namesize", "check"]
    found, at = [], 0
    while True:
        assert data[at : at + 6] == b"070701"
        assert at % 4 == 0
        fields = {name: int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i, name in enumerate(names)}
        name = data[at + 110 : at + 110 + fields["namesize"] - 1].decode()
        start = (at + 110 + fields["namesize"] + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found.append((name, fields, data[start : start + fields["filesize"]]))
        at = (start + fields["filesize"] + 3) & ~3


def by_name(data: bytes) -> dict[str, tuple[dict[str, int], bytes]]:
    return {name: (fields, content) for name, fields, content in members(data)}


# ------------------------------------------------------------------------------------------------------------- order


def test_modules_come_after_those_they_depend_on():
    assert ordered(module("a.ko", "b"), module("b.ko", "c"), module("c.ko")) == ["c.ko", "b.ko", "a.ko"]


def test_independent_modules_stay_as_given():
    assert ordered(module("z.ko"), module("a.ko"), module("m.ko")) == ["z.ko", "a.ko", "m.ko"]


def test_dash_and_underscore_are_one_letter_in_a_modules_name():
    assert ordered(module("x/a.ko", "mcb_core"), module("x/mcb-core.ko")) == ["x/mcb-core.ko", "x/a.ko"]


def test_a_dependency_that_is_not_there_is_left_to_the_guest():
    assert ordered(module("a.ko", "builtin")) == ["a.ko"]


def test_a_circle_is_reported_and_every_module_is_still_loaded_once():
    order = load_order([module("a.ko", "b"), module("b.ko", "c"), module("c.ko", "a"), module("d.ko", "a")])
    assert order.cycles == (("a.ko", "b.ko", "c.ko", "a.ko"),)
    assert sorted(one.path for one in order.modules) == ["a.ko", "b.ko", "c.ko", "d.ko"]


def test_a_module_that_names_itself_is_no_circle():
    assert load_order([module("a.ko", "a")]).cycles == ()


def test_two_modules_of_one_name_both_come_before_who_needs_them():
    assert ordered(module("u.ko", "d"), module("x/d.ko"), module("y/d.ko")) == ["x/d.ko", "y/d.ko", "u.ko"]


def test_a_chain_of_ten_thousand_modules_is_no_trouble():
    chain = [module(f"m{n}.ko", f"m{n + 1}") for n in range(10_000)]
    assert ordered(*chain)[0] == "m9999.ko"


# ------------------------------------------------------------------------------------------------------------- archive


def test_the_same_input_gives_the_same_bytes_in_any_order():
    one, other = module("x/a.ko"), module("y/b.ko")
    extra = [Entry(path="etc/passwd", mode=stat.S_IFREG | 0o644), Entry(path="etc/a", mode=stat.S_IFREG | 0o644)]
    data = initramfs(b"busybox", [one, other], INIT, extra=extra)
    assert data == initramfs(b"busybox", [one, other], INIT, extra=extra[::-1])


def test_no_time_and_no_owner_is_in_the_archive():
    for _, fields, _ in members(initramfs(b"busybox", [module("a.ko")], INIT)):
        assert (fields["mtime"], fields["uid"], fields["gid"]) == (0, 0, 0)


def test_inode_numbers_count_from_one():
    numbers = [fields["ino"] for _, fields, _ in members(initramfs(b"busybox", [], INIT))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_folder_comes_before_what_lies_in_it():
    # "a-b" sorts before "a/b" as text, and a folder that is missing is added
    names = [
        name for name, _, _ in members(archive(*(Entry(path=p, mode=stat.S_IFREG) for p in ("a/b", "a-b", "a/c/d"))))
    ]
    assert names == ["a", "a/b", "a/c", "a/c/d", "a-b"]


def test_the_console_is_a_device_node():
    fields, _ = by_name(initramfs(b"", [], INIT))["dev/console"]
    assert stat.S_ISCHR(fields["mode"])
    assert (fields["rdevmajor"], fields["rdevminor"]) == (5, 1)


def test_every_applet_is_a_link_to_busybox():
    found = by_name(initramfs(b"elf", [], INIT))
    assert {found[f"bin/{name}"][1] for name in APPLETS} == {b"busybox"}
    assert found["bin/busybox"][1] == b"elf"


def test_modules_are_listed_in_their_order_and_lie_under_their_paths():
    found = by_name(initramfs(b"", [module("z/z z.ko"), module("a/a.ko")], INIT))
    assert found["lab/modules.list"][1] == b"z/z z.ko\na/a.ko\n"
    assert found["lab/modules/z/z z.ko"][1] == b"z/z z.ko"


def test_init_is_executable():
    assert by_name(initramfs(b"", [], INIT))["init"][0]["mode"] == stat.S_IFREG | 0o755


def test_a_module_may_be_a_file_that_is_read_when_the_archive_is_written(tmp_path):
    (tmp_path / "a.ko").write_bytes(b"elf")
    made = initramfs(b"", [ModuleFile(path="a.ko", data=tmp_path / "a.ko")], INIT)
    assert by_name(made)["lab/modules/a.ko"][1] == b"elf"


def test_an_extra_entry_takes_the_place_of_ours():
    mine = Entry(path="init", mode=stat.S_IFREG | 0o700, data=b"mine")
    assert by_name(initramfs(b"", [], INIT, extra=[mine]))["init"][1] == b"mine"


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a//b", "a/./b", "", "a\0b"])
def test_a_path_that_leaves_the_archive_is_refused(path):
    with pytest.raises(UsageError):
        archive(Entry(path=path, mode=stat.S_IFREG))


@pytest.mark.parametrize("path", ["a\nlab-init: done ok=1 fail=0.ko", "a\x1b[2J.ko"])
def test_a_module_cannot_forge_a_line_of_the_console(path):
    with pytest.raises(UsageError):
        entries(b"", [module(path)], INIT)


def test_the_archive_is_a_whole_number_of_blocks():
    assert len(archive(Entry(path="a", mode=stat.S_IFREG, data=b"123"))) % 512 == 0


# --------------------------------------------------------------------------------------------------------------- tasks


def test_parameters_stand_behind_a_tab_in_the_list():
    one = ModuleFile(path="a/a.ko", data=b"", parameters="x=1 y='a b'")
    assert by_name(initramfs(b"", [one, module("b.ko")], INIT))["lab/modules.list"][1] == b"a/a.ko\tx=1 y='a b'\nb.ko\n"


def test_what_init_is_to_do_besides_is_in_its_options():
    tasks = Tasks(twice=True, program=("t.sh", b"#!/bin/sh\n"))
    members = {one.path: one for one in entries(b"", [], INIT, tasks=tasks)}
    assert members["lab/options"].data == b"twice\nrun t.sh\n"
    assert (members["lab/program"].data, members["lab/program"].mode) == (b"#!/bin/sh\n", stat.S_IFREG | 0o755)
    assert by_name(initramfs(b"", [], INIT))["lab/options"][1] == b""


@pytest.mark.parametrize("text", ["a=1\nlab-init: done ok=1 fail=0", "a\tb", "\x1b[2J"])
def test_parameters_and_names_cannot_forge_a_line(text):
    with pytest.raises(UsageError):
        entries(b"", [ModuleFile(path="a.ko", data=b"", parameters=text)], INIT)
    with pytest.raises(UsageError):
        entries(b"", [], INIT, tasks=Tasks(program=(text, b"")))


def test_what_the_kernel_may_ask_for_is_there_with_a_modprobe_and_a_list_of_names():
    a = ModuleFile(path="lib/a.ko", data=b"a")
    b = ModuleFile(path="crypto/b-c.ko", data=b"b", depends=("a",), aliases=("crypto-b", "b"))
    asked = OnDemand(modules=(b, a), script="#!/bin/sh\n")
    members = {one.path: one for one in entries(b"", [a], INIT, on_demand=asked)}
    assert members["lab/on-demand"].data == (
        b"\tb_c\tlib/a.ko\tcrypto/b-c.ko\n\tcrypto_b\tlib/a.ko\tcrypto/b-c.ko\n\tb\tlib/a.ko\tcrypto/b-c.ko\n\ta\tlib/a.ko\n"
    )
    assert (members["sbin/modprobe"].data, members["sbin/modprobe"].mode) == (b"#!/bin/sh\n", stat.S_IFREG | 0o755)
    assert (members["lab/modules/crypto/b-c.ko"].data, members["lab/modules.list"].data) == (b"b", b"lib/a.ko\n")


def test_without_such_modules_there_is_no_modprobe():
    assert "sbin/modprobe" not in by_name(initramfs(b"", [module("a.ko")], INIT))


def test_an_alias_cannot_forge_a_line():
    asked = OnDemand(modules=(ModuleFile(path="a.ko", data=b"", aliases=("crypto-x\ty\n",)),), script="")
    with pytest.raises(UsageError):
        entries(b"", [], INIT, on_demand=asked)
