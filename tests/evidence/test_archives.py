"""Thin archives as GNU ar writes them: what stands in the last place of a name, and from where members are seen."""

from synthetic_tree import TEXT, elf, thin_archive

from lab.evidence import objects
from lab.evidence.bundle import Evidence

MEMBERS = ["lockref.o", "a_long_name_of_an_object.o"]


def with_leftovers(archive):
    """GNU ar 2.40 writes the number of a long name into 14 places and leaves the slash of a short name in the last."""
    return archive.replace(b"/0              0", b"/0             /0").replace(
        b"/11             0", b"/11            /0"
    )


def test_a_number_with_something_left_behind_it_is_a_number(tmp_path):
    path = tmp_path / "built-in.a"
    data = with_leftovers(thin_archive(MEMBERS))
    assert b"/0             /" in data
    path.write_bytes(data)
    assert objects.archive_members(path) == tuple(MEMBERS)


def test_members_are_seen_from_the_folder_of_their_archive(tmp_path):
    """Without vmlinux.a (5.10, or a build that stopped) the archives of folders tell what is linked."""
    (tmp_path / ".config").write_text("CONFIG_MODULES=y\n")
    (tmp_path / "lib").mkdir()
    for name in MEMBERS:
        (tmp_path / "lib" / name).write_bytes(elf([("f", 1, TEXT)]))
    (tmp_path / "lib" / "lib.a").write_bytes(thin_archive(MEMBERS))
    facts = Evidence(tmp_path).objects
    assert {path: one.part_of for path, one in facts.items()} == {f"lib/{name}": "vmlinux" for name in MEMBERS}
