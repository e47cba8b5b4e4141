"""Bundles on the real engine: the same verdict from an empty home, and from a machine with nothing but busybox and docker.

The kernel is a make file of a few lines that says what kbuild says, so that a build takes a second; one test builds a real one.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import tarfile
import textwrap
import threading
from pathlib import Path

import pytest
from attempt_folders import boot, record

from lab.environment import archive
from lab.errors import ExitCode
from lab.events import silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Outcome
from lab.report import bundle as packed
from lab.report import reproduce
from lab.report.tarball import Member, write_tar
from lab.results import expected
from lab.results.expected import Answer, Expected
from lab.use import bundle, rerun, session, verify

pytestmark = [pytest.mark.docker, pytest.mark.slow]

MAKEFILE = """\
VERSION = 6
PATCHLEVEL = 1
SUBLEVEL = 0

tinyconfig:
	@echo CONFIG_MINI=y >$(O)/.config
olddefconfig:
	@:
%.o:
	@mkdir -p $(O)/$(@D)
	@echo "  CC      $@"
	@$(CC) -c -o $(O)/$@ $(CURDIR)/$*.c
"""
MATRIX = """
version: 1
name: mini
defaults:
  source: {dir: TREE}
  arch: x86_64
  toolchain: gcc-12
  kconfig: [tinyconfig, CONFIG_MINI=y]
  make: {targets: [lib/ctype.o]}
  patches: [broken.patch]
  boot: off
matrix:
  filesystem: [tmpfs]
"""
PATCH = """\
--- a/lib/ctype.c
+++ b/lib/ctype.c
@@ -1,2 +1,3 @@
 // the whole of a kernel
+int lab_broken = ;
 int lab_ctype = 1;
"""
HARMLESS = PATCH.replace("lab_broken = ;", "lab_whole = 1;")


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    (folder / "lib").mkdir(parents=True)
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "lib/ctype.c").write_text("// the whole of a kernel\nint lab_ctype = 1;\n")
    return folder


@pytest.fixture
def bundled(real, rows, tree, tmp_path):
    """Run the small matrix and bundle its only attempt."""

    def bundled(text=MATRIX, patch=PATCH, **options):
        (tmp_path / "broken.patch").write_text(patch)
        path = tmp_path / "matrix.yaml"
        path.write_text(textwrap.dedent(text).replace("TREE", str(tree)))
        matrix = read(path, rows)
        request = session.Request(matrix=path, name=matrix.name, cells=expand(matrix))
        done = session.run(request, real, rows, silent, threading.Event())
        attempt = done.folder / done.results[0].attempts[0].folder
        wanted = bundle.Request(attempt=attempt, output=tmp_path / "b.tar", here=tmp_path, **options)
        return bundle.bundled(wanted, real, silent)

    return bundled


@pytest.fixture
def verified(real, rows):
    if not real.may_mount:
        pytest.skip("the script of a bundle needs root")

    def verified(file, **options):
        return verify.verified(verify.Request(file=file, **options), real, rows, silent)

    yield verified
    left = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(real.work / "verify-") in line
    ]
    assert not left, "something stayed mounted"


def test_a_failing_cell_fails_again_from_an_empty_home(bundled, verified, real):
    made = bundled()
    assert (made.expected.word, [fault.id for fault in made.expected.faults]) == ("FAIL", ["build.compiler"])
    found = verified(made.path, keep=True)
    assert (found.answer, found.exit_code) == (Answer.SAME, ExitCode.AS_EXPECTED), found.words
    assert found.runs[0].findings[0].data["file"].endswith("lib/ctype.c")
    assert (found.kept / "1/writes.tsv").stat().st_size > 0, "nobody watched the order of writes"
    assert found.kept.is_relative_to(real.results)


@pytest.mark.parametrize(
    ("filesystem", "granularity_ns"),
    [("ext4-128", 1_000_000_000), ("fuse-2s", 2_000_000_000), ("overlay-ext4", range(1, 10_000_001))],
)
def test_a_passing_cell_passes_again_on_its_filesystem(filesystem, granularity_ns, bundled, verified):
    found = verified(bundled(MATRIX.replace("tmpfs", filesystem), HARMLESS).path, keep=True)
    assert (found.answer, found.exit_code) == (Answer.SAME, ExitCode.AS_EXPECTED), found.words
    measured = json.loads((found.kept / "1/record.json").read_text())["granularity_ns"]
    assert measured in granularity_ns if isinstance(granularity_ns, range) else measured == granularity_ns


def test_another_verdict_is_told_as_such(bundled, verified, tree):
    made = bundled()
    (tree / "Makefile").write_text(MAKEFILE.replace("@$(CC) -c", "@: $(CC) -c"))
    found = verified(made.path)
    assert (found.answer, found.exit_code) == (Answer.OTHER, ExitCode.KERNEL_FAULT)
    assert found.words == "another verdict: FAIL in 0 of 1 runs, but PASS"


def test_a_patch_that_does_not_apply_here_cannot_be_judged(bundled, verified, tree):
    made = bundled()
    (tree / "lib/ctype.c").write_text("int other;\n")
    assert verified(made.path).exit_code is ExitCode.UNTESTABLE


def test_a_source_that_is_not_here_is_the_machines_trouble_unless_it_came_along(bundled, verified, tree):
    without = bundled()
    shutil.copy(without.path, without.path.with_name("without.tar"))
    with_source = bundled(with_source=True)
    shutil.rmtree(tree)
    found = verified(without.path.with_name("without.tar"))
    assert found.exit_code is ExitCode.LAB_FAULT
    assert "no kernel tree" in found.words
    assert verified(with_source.path).answer is Answer.SAME


def test_a_cell_known_to_be_flaky_is_run_until_it_fails(bundled, verified, tree, tmp_path):
    """A build that fails when a file that it makes is not there yet: the second run's, as both have the same source."""
    made = bundled(patch=HARMLESS)
    flaky = dataclasses.replace(
        made.expected,
        outcome=Outcome.FAIL,
        faults=(expected.Fault(id="build.compiler", blame="", function="", main=True),),
        rate=expected.statistics.rate(8, 10),
    )
    changed = rewritten(made.path, tmp_path / "flaky.tar", flaky)
    open_ = verified(changed, times=1)
    assert (open_.answer, open_.exit_code) == (Answer.OPEN, ExitCode.UNTESTABLE)
    other = verified(changed)
    assert (other.answer, len(other.runs)) == (Answer.OTHER, expected.times(flaky))


def rewritten(file, target, wanted: Expected):
    """Write a bundle again with another expectation."""
    from lab.results import store

    with tarfile.open(file) as archive_:
        held = {one.name.partition("/")[2]: archive_.extractfile(one).read() for one in archive_.getmembers()}
    del held["MANIFEST"]
    held[packed.EXPECTED] = store.encoded(wanted)
    with target.open("wb") as out:
        write_tar(packed.TOP, [Member(path=path, data=data) for path, data in held.items()], out)
    return target


# ---------------------------------------------------------------------------------------------------- a machine of its own


@contextlib.contextmanager
def shared_folder(folder):
    """A folder whose mounts a container's are: the engine of this machine must see what is mounted in there."""
    folder.mkdir()
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "--make-shared", folder], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "-R", "-l", folder], check=True)


def test_it_runs_where_there_is_nothing_but_busybox_and_docker(bundled, engine, rows, real, tmp_path):
    """The same verdict in a container with a static busybox, docker's client and its socket: no Python, no lab, no Debian.

    The engine behind the socket and the kernel are this machine's, with the images that it has.
    """
    client = shutil.which("docker")
    socket = engine.url.removeprefix("unix://")
    if client is None or not socket.startswith("/") or not real.may_mount:
        pytest.skip("needs docker's client, a local socket and root")
    made = bundled(with_source=True)
    with shared_folder(tmp_path / "machine") as machine:
        with tarfile.open(made.path) as archive_:
            archive_.extractall(machine, filter="data")
        done = subprocess.run(
            ["docker", "run", "--rm", "--network", "none", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined",
             "--security-opt", "apparmor=unconfined", "--workdir", machine,
             "-v", f"{machine}:{machine}:rshared", "-v", f"{client}:/docker/docker:ro", "-v", f"{socket}:/var/run/docker.sock",
             busybox_image(rows, engine, real), "/bin/busybox", "sh", "-euc", CLEAN, "sh",
             machine / packed.TOP / packed.SCRIPT],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stdout + done.stderr
        assert "there is no python3 here" in done.stdout
        (tmp_path / "evidence").mkdir()
        unpacked = verify.unpack(made.path, tmp_path / "unpacked")
        work = machine / reproduce.file_name(f"reproduce-{unpacked.record['cell']}")
        found = rerun.judged(unpacked.record, work, tmp_path / "evidence", done.returncode)
    assert expected.same(unpacked.expected, found.run), found.run


CLEAN = """\
mkdir -p /usr/bin /home
/bin/busybox --install -s /usr/bin
PATH=/usr/bin:/docker
! command -v python3 || exit 99
echo there is no python3 here
exec env -i PATH="$PATH" HOME=/home sh "$1"
"""


def busybox_image(rows, engine, settings):
    """Return the image that holds a static busybox and nothing else."""
    from lab.environment import image

    return image.prepare(rows.image["bookworm-amd64-guest"], engine, settings).id


def test_an_image_that_the_engine_lacks_is_made_of_debians_packages(rows, real, engine, build_image, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("the script needs root")
    made = record(rows, filesystem="tmpfs", boot=boot())
    made["image"]["id"] = made["boot"]["image"]["id"] = build_image.id
    made["boot"]["guest"] |= {
        "id": "sha256:" + "0" * 64,
        "wanted": ["busybox-static"],
        "packages": {"busybox-static": "1:0-1"},
    }
    script = tmp_path / "reproduce.sh"
    script.write_text(reproduce.script(made))
    mirror = archive.archive("bookworm", real).sources[0].split("] ")[-1].split()[0]
    work = tmp_path / "work"
    try:
        done = subprocess.run(
            ["sh", script],
            env={"PATH": os.defpath + ":/usr/sbin:/sbin", "WORK": str(work), "SOURCE": "/nowhere", "MIRROR": mirror},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 128, "there is no source"
        assert "no kernel tree in '/nowhere'" in done.stderr
        assert "1 packages differ" in done.stderr
        assert "1:0-1 was in the record's image" in (work / "images/guest.differs").read_text()
        assert b"ELF" in engine.read_file((work / "images/guest.id").read_text().strip(), "/bin/busybox")[:4]
    finally:
        if (work / "images/guest.id").exists():
            engine.remove_image((work / "images/guest.id").read_text().strip())


# ----------------------------------------------------------------------------------------------------------- a real kernel


def test_a_real_kernel_from_its_own_tarball_fails_again(bundled, verified):
    real_source = MATRIX.replace("{dir: TREE}", "{debian: linux-source-6.1, suite: bookworm}").replace(
        "kconfig: [tinyconfig, CONFIG_MINI=y]", "kconfig: [tinyconfig]"
    )
    patch = """\
    --- a/lib/ctype.c
    +++ b/lib/ctype.c
    @@ -6,6 +6,7 @@
      */
     \n\
     #include <linux/ctype.h>
    +int lab_broken = ;
     #include <linux/compiler.h>
     #include <linux/export.h>
     \n\
    """
    made = bundled(real_source, textwrap.dedent(patch), with_source=True)
    found = verified(made.path)
    assert (found.answer, found.exit_code) == (Answer.SAME, ExitCode.AS_EXPECTED), found.words
    assert found.runs[0].findings[0].blame == "lib/ctype.o"
