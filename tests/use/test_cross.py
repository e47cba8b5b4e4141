"""A cross build on the real engine: another architecture's compiler, object and guest."""

import json
import textwrap
import threading

import pytest
from elftools.elf.elffile import ELFFile

from lab.environment import image
from lab.errors import EnvironmentFault
from lab.events import silent
from lab.evidence.objects import read_jsonl
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Outcome
from lab.use import guest, session

pytestmark = [pytest.mark.docker, pytest.mark.slow]

ARM64 = """
version: 1
name: cross
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: arm64
  toolchain: gcc-12
  emulation: cross
  filesystem: tmpfs
  kconfig: [tinyconfig, lab:boot]
  make: {targets: [lib/ctype.o]}
"""


def test_the_exports_of_a_big_endian_object_are_read(real, rows, tmp_path):
    path = tmp_path / "cross.yaml"
    path.write_text(textwrap.dedent(ARM64).replace("arm64", "s390x").replace("lab:boot", "lab:boot, CONFIG_MODULES=y"))
    matrix = read(path, rows)
    request = session.Request(matrix=path, name=matrix.name, cells=expand(matrix))
    done = session.run(request, real, rows, silent, threading.Event())
    (result,) = done.results
    assert result.outcome is Outcome.PASS, result.reason
    objects = read_jsonl(done.folder / result.attempts[0].folder / "objects.jsonl")
    (ctype,) = [one for one in objects if one.path == "lib/ctype.o"]
    assert (ctype.unreadable, ctype.ksymtab, ctype.defines) == ("", ("_ctype",), ("_ctype",))


def test_an_object_is_of_the_other_architecture_and_the_build_has_no_finding(real, rows, tmp_path):
    path = tmp_path / "cross.yaml"
    path.write_text(textwrap.dedent(ARM64))
    matrix = read(path, rows)
    request = session.Request(matrix=path, name=matrix.name, cells=expand(matrix))
    done = session.run(request, real, rows, silent, threading.Event())
    (result,) = done.results
    assert result.outcome is Outcome.PASS, result.reason
    assert result.attempts[0].findings == ()
    folder = done.folder / result.attempts[0].folder
    assert "CONFIG_SERIAL_AMBA_PL011_CONSOLE=y\n" in (folder / "config.txt").read_text()
    commands = [json.loads(line) for line in (folder / "commands.jsonl").read_text().splitlines()]
    (compiled,) = [one for one in commands if one["target"] == "lib/ctype.o"]
    assert "aarch64-linux-gnu-gcc-12" in compiled["command"]


@pytest.mark.parametrize("name", ["arm64", "riscv64", "ppc64le", "s390x"])
def test_a_guests_busybox_is_static_and_of_its_architecture(name, engine, rows, real, tmp_path):
    arch = rows.arch[name]
    try:
        built = image.prepare(rows.image[arch.guest], engine, real)
    except EnvironmentFault as error:
        # a mirror whose index of this architecture is not the one that its Release names: apt refuses it, rightly
        if not any("Mirror sync in progress" in text for _, text in error.facts):
            raise
        pytest.skip(f"no guest of {name}: {error.message}; {error.facts[0][1].rpartition('/')[2]}")
    assert "busybox-static" in built.packages
    file = tmp_path / "busybox"
    file.write_bytes(engine.read_file(built.id, guest.BUSYBOX))
    with file.open("rb") as stream:
        elf = ELFFile(stream)
        assert elf["e_machine"] == arch.elf_machine
        assert (elf.elfclass, elf.little_endian) == (arch.bits, arch.little_endian)
        assert not [one for one in elf.iter_segments() if one["p_type"] == "PT_INTERP"]


@pytest.mark.parametrize("path", ["/bin/nosuch", "/bin"])
def test_an_image_that_lacks_a_file_is_no_lost_engine(path, engine, rows, real):
    built = image.prepare(rows.image[rows.arch["arm64"].guest], engine, real)
    with pytest.raises(EnvironmentFault) as caught:
        engine.read_file(built.id, path)
    assert caught.value.finding == "infra.image"
