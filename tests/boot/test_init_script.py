"""lab/data/boot/init under a real sh, with tools of its own in place of busybox."""

import shutil
import subprocess
from pathlib import Path

import pytest

INIT = Path(__file__).parents[2] / "lab/data/boot/init"

# of a module that is loaded, its name is in the file "loaded"
INSMOD = """\
echo "$1:$2" >>LOG
case $1 in
*good*|*kept*) if grep -qxF "$1" LOADED; then echo "insmod: can't insert '$1': File exists" >&2; exit 1; fi
	echo "$1" >>LOADED; exit 0 ;;
*forgetful*) exit 0 ;;
*late*) if grep -qxF "$1" LOADED; then echo "insmod: can't insert '$1': Cannot allocate memory" >&2; exit 1; fi
	echo "$1" >>LOADED; exit 0 ;;
*good*) exit 0 ;;
*loud*) echo "insmod: can't insert '$1': No such
	device   or so" >&2; exit 1 ;;
*silent*) exit 137 ;;
*) echo "insmod: can't insert '$1': No such device" >&2; exit 1 ;;
esac
"""
RMMOD = """\
echo "rmmod $1" >>LOG
case $1 in
*kept*) echo "rmmod: can't unload module '$1': Device or resource busy" >&2; exit 1 ;;
esac
"""
TOOLS = {"insmod": INSMOD, "rmmod": RMMOD, "reboot": "echo rebooting\nkill $PPID\n", "mount": "exit 1\n"}


def run(folder: Path, *modules: str, options: str = "", program: str = "") -> list[str]:
    """Return what init prints for these modules; `reboot` is the end of it. What insmod and rmmod were asked is in `log`."""
    tools = folder / "bin"
    tools.mkdir()
    (folder / "loaded").touch()
    for name, text in TOOLS.items():
        mine = text.replace("LOG", str(folder / "log")).replace("LOADED", str(folder / "loaded"))
        (tools / name).write_text(f"#!/bin/sh\n{mine}".replace("grep", "/bin/grep"))
        (tools / name).chmod(0o755)
    if options:
        (folder / "options").write_text(options)
    if program:
        (folder / "program").write_text(f"#!/bin/sh\n{program}")
        (folder / "program").chmod(0o755)
    (folder / "modules.list").write_text("".join(f"{path}\n" for path in modules))
    for name in ("grep", "tr"):
        (tools / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    script = INIT.read_text().replace("PATH=/bin\n", f"PATH={tools}\n").replace("/lab/", f"{folder}/")
    script = script.replace("/proc/modules", f"{folder}/proc_modules")
    (folder / "init").write_text(script)
    done = subprocess.run(["/bin/sh", str(folder / "init")], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert said[-3] == said[-2], "the end is said twice"
    return [*said[:-3], *said[-2:]]


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


def asked(folder: Path) -> list[str]:
    return [line.replace(f"{folder}/modules/", "") for line in (folder / "log").read_text().splitlines()]


def test_parameters_reach_insmod_as_one_text(tmp_path):
    assert "lab-init: ok 1/2 a/good.ko" in run(tmp_path, "a/good.ko\tnumber=2 text='a b' *", "good2.ko")
    assert asked(tmp_path) == ["a/good.ko:number=2 text='a b' *", "good2.ko:"]


def test_a_module_that_is_loaded_twice_must_say_that_it_is_there(tmp_path):
    assert run(tmp_path, "good.ko", "forgetful.ko", "late.ko", "absent.ko", options="twice\n")[1:-1] == [
        "lab-init: start modules=4",
        "lab-init: begin 1/4 good.ko",
        "lab-init: ok 1/4 good.ko",
        "lab-init: twice 1/4 good.ko",
        "lab-init: twice-ok 1/4 good.ko",
        "lab-init: begin 2/4 forgetful.ko",
        "lab-init: ok 2/4 forgetful.ko",
        "lab-init: twice 2/4 forgetful.ko",
        "lab-init: twice-fail 2/4 forgetful.ko it was loaded a second time",
        "lab-init: begin 3/4 late.ko",
        "lab-init: ok 3/4 late.ko",
        "lab-init: twice 3/4 late.ko",
        "lab-init: twice-fail 3/4 late.ko Cannot allocate memory",
        "lab-init: begin 4/4 absent.ko",
        "lab-init: fail 4/4 absent.ko No such device",
        "lab-init: done ok=3 fail=1",
    ]


def test_what_was_loaded_is_unloaded_in_reverse_order_and_what_stays_is_told(tmp_path):
    said = run(tmp_path, "a/good.ko", "absent.ko", "b/kept.ko", "c c/good.ko", options="unload\n")
    assert said[said.index("lab-init: ok 4/4 c c/good.ko") + 1 : -1] == [
        "lab-init: unload 4/4 c c/good.ko",
        "lab-init: unload-ok 4/4 c c/good.ko",
        "lab-init: unload 3/4 b/kept.ko",
        "lab-init: unload-kept 3/4 b/kept.ko Device or resource busy",
        "lab-init: unload 1/4 a/good.ko",
        "lab-init: unload-ok 1/4 a/good.ko",
        "lab-init: done ok=3 fail=1",
    ]
    assert asked(tmp_path)[-1] == "rmmod a/good.ko"


def test_without_modules_there_is_nothing_to_unload(tmp_path):
    assert run(tmp_path, options="unload\n")[1:-1] == ["lab-init: start modules=0", "lab-init: done ok=0 fail=0"]


def test_a_users_program_runs_between_loading_and_unloading_and_its_status_is_told(tmp_path):
    said = run(tmp_path, "good.ko", options="unload\nrun my test.sh\n", program="echo here; exit 3\n")
    assert said[3:] == [
        "lab-init: ok 1/1 good.ko",
        "lab-init: run my test.sh",
        "here",
        "lab-init: ran 3 my test.sh",
        "lab-init: unload 1/1 good.ko",
        "lab-init: unload-ok 1/1 good.ko",
        "lab-init: done ok=1 fail=0",
        "rebooting",
    ]


def test_a_program_reads_nothing_and_cannot_end_init(tmp_path):
    said = run(tmp_path, options="run t\n", program="read -r line || exit 9\n")
    assert said[1:-1] == [
        "lab-init: start modules=0",
        "lab-init: run t",
        "lab-init: ran 9 t",
        "lab-init: done ok=0 fail=0",
    ]


def test_a_module_that_the_kernel_asked_for_before_its_turn_is_loaded_and_one_that_says_so_itself_is_not(tmp_path):
    # what insmod says is the same; /proc/modules tells them apart
    (tmp_path / "loaded").write_text(f"{tmp_path}/modules/a/good-one.ko\n{tmp_path}/modules/b/good-two.ko\n")
    (tmp_path / "proc_modules").write_text("good_one 16384 0 - Live 0x0\ngood_twofold 16384 0 - Live 0x0\n")
    said = run(tmp_path, "a/good-one.ko", "b/good-two.ko", options="unload\n")
    assert said[2:8] == [
        "lab-init: begin 1/2 a/good-one.ko",
        "lab-init: ok 1/2 a/good-one.ko",
        "lab-init: begin 2/2 b/good-two.ko",
        "lab-init: fail 2/2 b/good-two.ko File exists",
        "lab-init: unload 1/2 a/good-one.ko",
        "lab-init: unload-ok 1/2 a/good-one.ko",
    ]


# ------------------------------------------------------------------------------------------------------------ modprobe

MODPROBE = INIT.parent / "modprobe"
ON_DEMAND = """\
\tcrc32c_generic\tcrypto/crc32c_generic.ko
\tcrypto_crc32c\tcrypto/crc32c_generic.ko
\tcrypto_crc32c\tlib/a.ko\tarch/x86/crypto/crc32c-intel.ko
\tcrypto_cbc(aes)\tlib/a.ko\tcrypto/cbc.ko
"""


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["-q", "--", "crypto-crc32c"], ["crypto/crc32c_generic.ko", "lib/a.ko", "arch/x86/crypto/crc32c-intel.ko"]),
        (["-q", "--", "crypto-cbc(aes)"], ["lib/a.ko", "crypto/cbc.ko"]),
        (["-q", "--", "crc32c-generic"], ["crypto/crc32c_generic.ko"]),
        (["-q", "--", "crypto-crc32"], []),
        (["-q", "--", "lib/a.ko"], []),
        (["-q", "--", "crypto-.*"], []),
        (["-q", "--", "-v"], []),
        (["-q", "--", "a b; touch /tmp/x"], []),
        ([], []),
    ],
)
def test_what_the_kernel_asks_for_is_loaded_with_what_it_needs(tmp_path, words, asked):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("grep", "tr"):
        (tools / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    (tools / "insmod").write_text(f'#!/bin/sh\necho "$1" >>{tmp_path}/log\n')
    (tools / "insmod").chmod(0o755)
    (tmp_path / "on-demand").write_text(ON_DEMAND)
    script = MODPROBE.read_text().replace("PATH=/bin\n", f"PATH={tools}\n").replace("/lab/", f"{tmp_path}/")
    (tmp_path / "modprobe").write_text(script)
    # the kernel opens no file for it
    closed = f'exec /bin/sh {tmp_path}/modprobe "$@" <&- >&- 2>&-'
    subprocess.run(["/bin/sh", "-c", closed, "sh", *words], timeout=30, check=False)
    log = (tmp_path / "log").read_text().splitlines() if (tmp_path / "log").exists() else []
    assert [line.removeprefix(f"{tmp_path}/modules/") for line in log] == asked


@pytest.mark.parametrize("script", [INIT, MODPROBE], ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script):
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here")
    done = subprocess.run(["shellcheck", script], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
