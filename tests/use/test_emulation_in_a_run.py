import dataclasses
import json
import os
import textwrap
import threading

import pytest

from lab.environment import image
from lab.errors import EnvironmentFault, ExitCode
from lab.events import silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Outcome
from lab.report import document
from lab.use import session

TINY = """
version: 1
name: emulation
defaults:
  source: {debian: linux-source-6.1, suite: bookworm}
  arch: armhf
  toolchain: gcc-12
  emulation: accelerated
  filesystem: tmpfs
  kconfig: [allnoconfig]
  make: {targets: [lib/ctype.o]}
"""
# What qemu-user prints when a program under it dies; here make says it, twice.
CRASHING = """\
--- a/lib/Makefile
+++ b/lib/Makefile
@@ -1,3 +1,4 @@
 # SPDX-License-Identifier: GPL-2.0
+$(shell echo 'qemu: uncaught target signal 11 (Segmentation fault) - core dumped' >&2; kill -9 $$PPID)
 #
 # Makefile for some libs needed in the kernel.
"""


def cells(tmp_path, tables, text=TINY):
    path = tmp_path / "matrix.yaml"
    path.write_text(textwrap.dedent(text))
    matrix = read(path, tables)
    return session.Request(matrix=path, name=matrix.name, cells=expand(matrix))


def without_handler(rows):
    return dataclasses.replace(
        rows, arch={**rows.arch, "armhf": dataclasses.replace(rows.arch["armhf"], qemu_user="qemu-nosuch")}
    )


def test_without_a_binfmt_handler_emulated_cells_are_refused_before_anything_is_done(tmp_path, rows):
    request = cells(tmp_path, rows)
    [error] = session.obstacles(request.cells, without_handler(rows)).values()
    assert "'qemu-nosuch' is not registered" in error.message


def test_a_cross_build_needs_no_binfmt_handler(tmp_path, rows):
    request = cells(tmp_path, rows, TINY.replace("accelerated", "cross"))
    assert session.obstacles(request.cells, without_handler(rows)) == {}


@pytest.mark.docker
@pytest.mark.slow
def test_an_emulator_that_crashes_twice_is_the_labs_trouble_and_was_tried_twice(tmp_path, rows, real):
    (tmp_path / "crash.patch").write_text(CRASHING)
    text = TINY.replace("arch: armhf", "arch: x86_64").replace("accelerated", "native")
    request = cells(tmp_path, rows, text + "  patches: [crash.patch]\n")
    done = session.run(request, real, rows, silent, threading.Event())
    [result] = done.results
    assert result.outcome is Outcome.ERROR, result.reason
    assert result.attempts[0].facts["retried_after"]
    assert (done.folder / result.cell / "1.aside-1" / "build.txt").is_file()
    assert document.run_document(done.facts, done.by_cell, folder="")["exit_code"] == ExitCode.LAB_FAULT


@pytest.mark.docker
@pytest.mark.slow
def test_native_tools_build_in_a_foreign_container(tmp_path, rows, real, engine):
    request = cells(tmp_path, rows)
    try:
        image.prepare(rows.image["bookworm-armhf-gcc12"], engine, real)
    except EnvironmentFault as error:
        pytest.skip(f"no foreign image: {error.message}; {error.facts}")
    done = session.run(request, real, rows, silent, threading.Event())
    [result] = done.results
    assert result.outcome is Outcome.PASS, result.reason
    record = json.loads((done.folder / result.attempts[0].folder / "record.json").read_text())
    assert (record["image"]["debian_arch"], record["tools"]["debian_arch"]) == ("armhf", "amd64")


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.skipif(os.uname().machine not in ("x86_64", "i686"), reason="this kernel does not run i386 programs")
def test_an_i386_container_builds_i386_kernels_natively(tmp_path, rows, real, engine):
    text = TINY.replace("arch: armhf", "arch: i386").replace("accelerated", "native")
    request = cells(tmp_path, rows, text)
    try:
        image.prepare(rows.image["bookworm-i386-gcc12"], engine, real)
    except EnvironmentFault as error:
        pytest.skip(f"no i386 image: {error.message}; {error.facts}")
    done = session.run(request, real, rows, silent, threading.Event())
    [result] = done.results
    assert result.outcome is Outcome.PASS, result.reason
    folder = done.folder / result.attempts[0].folder
    assert json.loads((folder / "record.json").read_text())["image"]["debian_arch"] == "i386"
    [ctype] = [
        json.loads(line) for line in (folder / "objects.jsonl").read_text().splitlines() if "lib/ctype.o" in line
    ]
    assert ctype
    assert "\nCONFIG_X86_32=y\n" in (folder / "config.txt").read_text()
