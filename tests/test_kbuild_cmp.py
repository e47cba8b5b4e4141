"""lab/data/bin/cmp with a toy link script and real tools."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

WRAPPER = Path(__file__).parents[1] / "lab/data/bin/cmp"

# The end of scripts/link-vmlinux.sh of linux 5.10, which deletes all evidence, with its clean-up.
LINK = """\
set -e
cleanup() { rm -f .tmp_System.map .tmp_kallsyms* .tmp_vmlinux* System.map vmlinux; }
if ! cmp -s System.map MAP; then
	echo >&2 Inconsistent kallsyms data
	cleanup
	exit 1
fi
"""


class Linked:
    """A folder as it is when the link script compares, and what one run of the script came to."""

    def __init__(self, folder: Path, last_map: str, *, same: bool) -> None:
        self.folder = folder / "out"
        self.kept = self.folder / ".lab-kallsyms"
        self.map = last_map
        self.folder.mkdir()
        bin_folder = folder / "lab-bin"
        bin_folder.mkdir()
        shutil.copy(WRAPPER, bin_folder / "cmp")
        self.path = f"{bin_folder}:{os.defpath}:/usr/bin:/bin"
        self.write("System.map", "c1 T main\n")
        self.write(last_map, "c1 T main\n" if same else "c2 T main\n")
        for name in ("vmlinux", ".tmp_vmlinux1", ".tmp_vmlinux.kallsyms2", ".tmp_vmlinux.kallsyms2.o"):
            self.write(name, name)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def run(self, script: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        values = {"PATH": self.path, "LAB_KALLSYMS": str(self.kept)} | environment
        return subprocess.run(
            ["sh", "-c", script or LINK.replace("MAP", self.map)],
            cwd=self.folder,
            env=values,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.kept.iterdir()} if self.kept.exists() else set()


@pytest.fixture(
    params=[".tmp_System.map", ".tmp_vmlinux.kallsyms2.syms", ".tmp_vmlinux2.syms"], ids=["5.10", "6.1", "6.12"]
)
def last_map(request):
    return request.param


def test_what_the_script_deletes_after_a_mismatch_is_kept(tmp_path, last_map):
    linked = Linked(tmp_path, last_map, same=False)
    done = linked.run()
    assert (done.returncode, done.stderr) == (1, "Inconsistent kallsyms data\n")
    assert not (linked.folder / "System.map").exists()
    assert (linked.kept / "System.map").read_text() == "c1 T main\n"
    assert (linked.kept / last_map).read_text() == "c2 T main\n"
    assert {"vmlinux", ".tmp_vmlinux1", ".tmp_vmlinux.kallsyms2", ".tmp_vmlinux.kallsyms2.o"} < linked.names
    assert (linked.kept / "compared").read_text() == f"1 System.map {last_map}\n"


def test_after_a_match_only_maps_and_tables_are_kept(tmp_path, last_map):
    linked = Linked(tmp_path, last_map, same=True)
    assert linked.run().returncode == 0
    assert linked.names == {"System.map", last_map, ".tmp_vmlinux.kallsyms2.o", "compared"}


def test_times_of_the_kept_files_are_those_of_the_originals(tmp_path, last_map):
    linked = Linked(tmp_path, last_map, same=True)
    os.utime(linked.folder / "System.map", ns=(10**18, 10**18))
    linked.run()
    assert (linked.kept / "System.map").stat().st_mtime_ns == 10**18


def test_only_the_last_comparison_is_kept(tmp_path):
    linked = Linked(tmp_path, ".tmp_vmlinux2.syms", same=False)
    linked.run("cmp -s System.map .tmp_vmlinux2.syms")
    linked.write(".tmp_vmlinux2.syms", "c1 T main\n")
    linked.run("cmp -s System.map .tmp_vmlinux2.syms")
    assert (linked.kept / "compared").read_text() == "0 System.map .tmp_vmlinux2.syms\n"
    assert ".tmp_vmlinux1" not in linked.names


def test_any_other_comparison_keeps_nothing_and_is_cmps_own(tmp_path):
    linked = Linked(tmp_path, ".tmp_vmlinux2.syms", same=False)
    ours = linked.run(
        "cmp System.map .tmp_vmlinux2.syms; echo $?; cmp -s a b; echo $?; printf x | cmp - vmlinux; echo $?"
    )
    cmps = linked.run(
        "cmp System.map .tmp_vmlinux2.syms; echo $?; cmp -s a b; echo $?; printf x | cmp - vmlinux; echo $?",
        PATH=f"{os.defpath}:/usr/bin:/bin",
    )
    assert ours.stdout == cmps.stdout
    # one names itself by its path, the other by its name
    assert ours.stderr.replace("/usr/bin/", "").replace("/bin/", "") == cmps.stderr.replace("/usr/bin/", "")
    assert linked.names == set()


@pytest.mark.parametrize("place", ["/proc/nowhere/kept", "{file}", "{file}/kept", ""])
@pytest.mark.parametrize("same", [True, False])
def test_a_place_that_cannot_be_written_changes_nothing(tmp_path, place, same):
    linked = Linked(tmp_path, ".tmp_vmlinux2.syms", same=same)
    (tmp_path / "file").write_text("somebody's")
    done = linked.run("cmp -s System.map .tmp_vmlinux2.syms", LAB_KALLSYMS=place.format(file=tmp_path / "file"))
    assert (done.returncode, done.stdout, done.stderr) == (0 if same else 1, "", "")
    assert (tmp_path / "file").read_text() == "somebody's"


def test_a_disk_that_is_nearly_full_is_left_alone(tmp_path):
    linked = Linked(tmp_path, ".tmp_vmlinux2.syms", same=False)
    df = tmp_path / "lab-bin" / "df"
    df.write_text("#!/bin/sh\necho Filesystem 1024-blocks Used Available\necho x 1000 900 100 90% /out\n")
    df.chmod(0o755)
    assert linked.run("cmp -s System.map .tmp_vmlinux2.syms").returncode == 1
    assert linked.names == set()


def test_a_copy_that_breaks_off_leaves_no_half_set(tmp_path):
    linked = Linked(tmp_path, ".tmp_vmlinux2.syms", same=True)
    cp = tmp_path / "lab-bin" / "cp"
    cp.write_text('#!/bin/sh\necho "cp: No space left on device" >&2\nexit 1\n')
    cp.chmod(0o755)
    done = linked.run("cmp -s System.map .tmp_vmlinux2.syms")
    assert (done.returncode, done.stderr) == (0, "")
    assert not linked.kept.exists()
    assert not linked.kept.with_name(".lab-kallsyms.new").exists()


def test_without_a_real_cmp_the_shells_own_answer_is_given(tmp_path):
    linked = Linked(tmp_path, ".tmp_vmlinux2.syms", same=True)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    done = linked.run("cmp -s a b", PATH=f"{tmp_path / 'lab-bin'}:{tools}")
    assert (done.returncode, done.stderr) == (127, "cmp: not found\n")
