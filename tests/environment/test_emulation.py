import dataclasses
from types import SimpleNamespace

import pytest

from lab.environment import emulation
from lab.environment.image import BuiltImage
from lab.errors import EnvironmentFault
from lab.model import Emulation
from lab.tables import Image, Purpose

ARMHF = SimpleNamespace(name="armhf", uname_machine="armv7l", runs_on=(), qemu_user="qemu-arm")
GOOD = "enabled\ninterpreter /usr/libexec/qemu-binfmt/arm-binfmt-P\nflags: PF\noffset 0\n"


def handler(folder, text):
    (folder / "qemu-arm").write_text(text)
    return emulation.obstacle(ARMHF, Emulation.EMULATED, machine="x86_64", binfmt=folder)


def test_an_enabled_handler_that_works_in_containers_is_no_obstacle(tmp_path):
    assert handler(tmp_path, GOOD) is None


def test_a_host_of_that_architecture_needs_no_handler(tmp_path):
    assert emulation.obstacle(ARMHF, Emulation.EMULATED, machine="armv7l", binfmt=tmp_path) is None


def test_a_kernel_that_runs_the_programs_of_another_architecture_needs_no_handler(rows, tmp_path):
    i386 = rows.arch["i386"]
    for how in (Emulation.NATIVE, Emulation.EMULATED):
        assert emulation.obstacle(i386, how, machine="x86_64", binfmt=tmp_path) is None


def test_native_never_means_emulated(tmp_path):
    (tmp_path / "qemu-arm").write_text(GOOD)
    error = emulation.obstacle(ARMHF, Emulation.NATIVE, machine="x86_64", binfmt=tmp_path)
    assert error.finding == "infra.binfmt"
    assert dict(error.facts) == {"uname -m": "x86_64", "runs on": "armv7l"}


def test_a_cross_build_runs_no_foreign_programs(tmp_path):
    assert emulation.obstacle(ARMHF, Emulation.CROSS, machine="x86_64", binfmt=tmp_path) is None


@pytest.mark.parametrize(
    ("text", "word"),
    [("", "not registered"), (GOOD.replace("enabled", "disabled"), "disabled"), (GOOD.replace("PF", "P"), "flag F")],
)
def test_a_handler_that_does_not_work_says_why_and_how_to_get_one(tmp_path, text, word):
    error = handler(tmp_path, text)
    assert word in error.message
    assert "lab doctor --fix" in error.hint


def built(name, **packages):
    return BuiltImage(
        name=name, key="k", tag="t", id="sha256:1", packages={k.replace("_", "-"): v for k, v in packages.items()}
    )


def test_a_debian_revision_makes_no_other_version():
    foreign = built("foreign", gcc_12="12.2.0-14+deb12u1", make="4.3-4.1", zlib1g="1:1.2.13.dfsg-1")
    tools = built(
        "tools", gcc_12_arm_linux_gnueabihf="12.2.0-14cross1", make="4.3-4.1+b1", zlib1g="1:1.2.13.dfsg-1", only="1"
    )
    assert emulation.unequal_versions(foreign, tools) == ()


def test_another_upstream_version_is_told():
    foreign, tools = built("foreign", gcc_12="12.2.0-14"), built("tools", gcc_12_arm_linux_gnueabihf="12.3.0-1")
    assert emulation.unequal_versions(foreign, tools) == (("gcc-12", "12.2.0-14", "12.3.0-1"),)


def row(*over):
    return Image(
        name="tools", purpose=Purpose.TOOLS, suite="bookworm", debian_arch="amd64", packages=("make",), over=over
    )


def test_tools_are_mounted_read_only_over_the_same_path_from_where_they_really_lie(tmp_path):
    found = emulation.mounts(row("/lib64", "/usr/bin/make", "/bin/bash"), tmp_path)
    assert [(str(one.host.relative_to(tmp_path)), one.inside) for one in found] == [
        ("usr/lib64", "/lib64"),
        ("usr/bin/make", "/usr/bin/make"),
        ("usr/bin/bash", "/bin/bash"),
    ]
    assert not any(one.writable for one in found)


def test_another_list_of_tools_is_another_folder(machine_settings):
    image = built("tools")
    folders = {emulation.folder_of(one, image, machine_settings) for one in (row("/bin/a"), row("/bin/a", "/bin/b"))}
    assert len(folders) == 2


def test_unequal_versions_are_told_with_what_builds_both_again():
    foreign, tools = built("foreign", gcc_12="12.2.0-14"), built("tools", gcc_12_arm_linux_gnueabihf="12.3.0-1")
    with pytest.raises(EnvironmentFault) as caught:
        emulation.check_versions(foreign, tools)
    assert caught.value.facts == (("gcc-12", "12.2.0-14, native 12.3.0-1"),)
    assert "docker rmi t t; lab image build foreign tools" in caught.value.hint


def test_what_the_tools_do_not_need_may_be_of_another_version():
    foreign = built("foreign", make="4.3", apt="2.6.1")
    tools = dataclasses.replace(built("tools", make="4.3", apt="2.6.2"), needed=("make",))
    assert emulation.unequal_versions(foreign, tools) == ()
    assert emulation.unequal_versions(foreign, dataclasses.replace(tools, needed=())) == (("apt", "2.6.1", "2.6.2"),)
