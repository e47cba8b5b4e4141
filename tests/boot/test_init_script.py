"""lab/data/boot/init under a real sh, with tools of its own in place of busybox."""

import subprocess
from pathlib import Path

import pytest

INIT = Path(__file__).parents[2] / "lab/data/boot/init"

INSMOD = """\
case $1 in
*good*) exit 0 ;;
*loud*) echo "insmod: can't insert '$1': No such
	device   or so" >&2; exit 1 ;;
*silent*) exit 137 ;;
*) echo "insmod: can't insert '$1': No such device" >&2; exit 1 ;;
esac
"""


def run(folder: Path, *modules: str) -> list[str]:
    """Return what init prints for these modules; `reboot` is the end of it."""
    tools = folder / "bin"
    tools.mkdir()
    for name, text in {"insmod": INSMOD, "reboot": "echo rebooting\nkill $PPID\n", "mount": "exit 1\n"}.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}")
        (tools / name).chmod(0o755)
    (folder / "modules.list").write_text("".join(f"{path}\n" for path in modules))
    script = INIT.read_text().replace("PATH=/bin\n", f"PATH={tools}\n").replace("/lab/", f"{folder}/")
    (folder / "init").write_text(script)
    done = subprocess.run(["/bin/sh", str(folder / "init")], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_every_module_has_a_marker_before_and_after(tmp_path):
    assert run(tmp_path, "drivers/good.ko", "drivers/mcb/mcb-lpc.ko") == [
        "",
        "lab-init: start modules=2",
        "lab-init: begin 1/2 drivers/good.ko",
        "lab-init: ok 1/2 drivers/good.ko",
        "lab-init: begin 2/2 drivers/mcb/mcb-lpc.ko",
        "lab-init: fail 2/2 drivers/mcb/mcb-lpc.ko No such device",
        "lab-init: done ok=1 fail=1",
        "rebooting",
    ]


def test_a_kernel_without_modules_is_done_at_once(tmp_path):
    assert run(tmp_path)[1:] == ["lab-init: start modules=0", "lab-init: done ok=0 fail=0", "rebooting"]


@pytest.mark.parametrize("name", ["a b  good.ko", " good", "*good*", "good\\n$(reboot)`x`'\"", "-good", "good%s"])
def test_an_odd_name_is_printed_as_it_is(tmp_path, name):
    assert run(tmp_path, name)[2:4] == [f"lab-init: begin 1/1 {name}", f"lab-init: ok 1/1 {name}"]


def test_an_error_of_many_lines_stays_one_marker(tmp_path):
    assert run(tmp_path, "loud.ko")[3] == "lab-init: fail 1/1 loud.ko No such device or so"


def test_an_insmod_that_dies_without_a_word_is_a_failure(tmp_path):
    assert run(tmp_path, "silent.ko")[3] == "lab-init: fail 1/1 silent.ko insmod exited 137"
