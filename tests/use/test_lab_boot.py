"""`lab boot` on Debian's own kernel: a package from the archive, a few of its modules, under qemu."""

import json
import subprocess
import sys

import pytest

from lab.environment import archive
from lab.evidence.bundle import Evidence
from lab.evidence.elf import open_elf
from lab.use import given

pytestmark = [pytest.mark.docker, pytest.mark.qemu, pytest.mark.slow]
SUITE = "bookworm"
UD2 = b"\x0f\x0b"  # an instruction that x86 has no other use for: invalid opcode
SIGNED = b"~Module signature appended~\n"
SCRIPT = """\
#!/bin/sh
echo "release $(uname -r)"
while read -r name rest; do echo "loaded $name"; done </proc/modules
"""


@pytest.fixture(scope="module")
def package(machine_settings, tmp_path_factory):
    """Debian's kernel for amd64, as the archive has it today."""
    folder = tmp_path_factory.mktemp("debs")
    meta = archive.download("linux-image-amd64", SUITE, folder, machine_settings)
    asked = ["dpkg-deb", "--field", meta.path, "Depends"]
    depends = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return archive.download(depends.split()[0].rstrip(","), SUITE, folder, machine_settings).path


@pytest.fixture
def boot(tmp_path, monkeypatch):
    """Call lab boot; return its document and its exit code."""
    monkeypatch.setenv("LAB_RESULTS", str(tmp_path / "results"))

    def boot(*words):
        command = [sys.executable, "-m", "lab", "boot", *map(str, words), "--accel", "tcg", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout), done.returncode

    return boot


def outcomes(document):
    (note,) = [finding for finding in document["findings"] if finding["id"] == "boot.modules"]
    return {row["path"]: row["outcome"] for row in note["data"]["modules"]}, note


def test_a_debian_package_boots_with_a_sample_of_its_modules_twice_and_a_program(boot, package, tmp_path):
    (tmp_path / "look.sh").write_text(SCRIPT)
    document, code = boot(package, "--sample", 20, "--twice", "--unload", "--run", tmp_path / "look.sh")
    assert (code, document["outcome"]) == (0, "PASS"), document["reason"]
    assert (document["kernel"]["arch"], document["kernel"]["chosen"], document["kernel"]["boots"]) == ("x86_64", 20, 1)
    found, note = outcomes(document)
    assert len(found) == 20
    loaded = {path for path, outcome in found.items() if outcome == "ok"}
    assert len(loaded) >= 10
    assert set(found.values()) <= {"ok", "no device", "needs", "refused"}
    assert {row["again"] for row in note["data"]["modules"] if row["outcome"] == "ok"} == {"ok"}
    assert any(row.get("unload") == "ok" for row in note["data"]["modules"])

    folder = tmp_path / "results" / document["folder"].rpartition("/")[2]
    said = (folder / "console.txt").read_text(errors="replace")
    assert f"release {document['kernel']['release']}" in said
    names = {path.rpartition("/")[2].removesuffix(".ko").replace("-", "_") for path in loaded}
    assert all(f"loaded {name}" in said for name in names)
    assert {path.name for path in folder.iterdir()} >= {"record.json", "boots.json", "modules.list", "result.json"}
    assert subprocess.run(["sh", "-n", folder / "reproduce.sh"], check=False).returncode == 0
    assert json.loads((folder / "result.json").read_text())["outcome"] == "PASS"


def with_a_crash(path):
    """Break a module's init: the first two bytes that no relocation touches become an invalid opcode.

    A signature is cut off: a wrong one is refused, none only taints. Source: kernel/module_signature.c.
    """
    with open_elf(path) as elf:
        symbols = elf.symbols()
        at = symbols.names().index("init_module")
        number = int(symbols.sections[at])
        section, start = elf.sections[number], int(symbols.values[at])
        relocated = next((one for one in elf.sections if one.type == 4 and one.info == number), None)
        taken = elf.relocations(relocated).offsets.tolist() if relocated else []
    # behind the call of __fentry__ and an ENDBR, which the kernel itself rewrites
    offset = next(one for one in range(start + 9, start + 60) if not any(one - 4 < reloc < one + 2 for reloc in taken))
    data = bytearray(path.read_bytes())
    if data.endswith(SIGNED):
        length = int.from_bytes(data[-len(SIGNED) - 4 : -len(SIGNED)], "big")
        del data[-len(SIGNED) - 12 - length :]
    data[section.offset + offset : section.offset + offset + 2] = UD2
    path.write_bytes(data)


def test_after_a_crash_the_others_are_tried_without_the_culprit(boot, package, tmp_path):
    # dummy crashes and comes before the others, which must be loaded all the same; libcrc32c needs some more
    names = ["dummy", "crc8", "libcrc32c", "crc-itu-t"]
    unpacked = tmp_path / "kernel"
    given.deb.unpack(package, unpacked)
    (broken,) = unpacked.rglob("dummy.ko")
    with_a_crash(broken)
    document, code = boot(unpacked, *(word for name in names for word in ("--only", name)))
    assert (code, document["outcome"]) == (1, "FAIL")
    first = document["findings"][0]
    assert (first["id"], first["blame"]) == ("boot.oops", "drivers/net/dummy.ko"), first
    found, note = outcomes(document)
    assert found["drivers/net/dummy.ko"] == "begun"
    others = [row for row in note["data"]["modules"] if row["path"] != "drivers/net/dummy.ko"]
    assert {row["outcome"] for row in others} <= {"ok", "no device"}, (others, document["reason"], document["findings"])
    assert note["data"]["boots"] == document["kernel"]["boots"] == 2
    folder = tmp_path / "results" / document["folder"].rpartition("/")[2]
    assert [step.name for step in Evidence(folder).steps] == ["boot", "boot-2"]
    assert "drivers/net/dummy.ko" not in (folder / "modules-2.list").read_text()
