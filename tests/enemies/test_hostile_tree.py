"""A kernel tree whose Makefile is the enemy, on the real engine: contained, bounded, reported as what it is.

Each enemy says what it managed ("GOT …") in its own log; no test asks only whether the lab survived.
"""

import os
import stat
import textwrap
import threading
from pathlib import Path

import pytest

from lab.events import silent
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Ending, Outcome
from lab.report import document, page, text
from lab.use import session

pytestmark = [pytest.mark.docker, pytest.mark.slow]

MAKEFILE = """\
VERSION = 6
PATCHLEVEL = 1
SUBLEVEL = 0
NAME = Enemy

tinyconfig olddefconfig:
\t@echo CONFIG_ENEMY=y >$(O)/.config
all:
\t@sh $(CURDIR)/enemy.sh $(O)
.DEFAULT_GOAL := all
"""
MATRIX = """
version: 1
name: enemy
defaults:
  source: {dir: tree}
  arch: x86_64
  toolchain: gcc-12
  kconfig: [tinyconfig]
  ccache: off
  filesystem: tmpfs
  make: {jobs: 1}
  deadlines: {build_s: %d}
"""


@pytest.fixture
def enemy(real, rows, tmp_path):
    """Build a tree whose build is this script; return (result, its log, its folder)."""

    def enemy(script, deadline_s=60):
        tree = tmp_path / "tree"
        tree.mkdir()
        (tree / "Makefile").write_text(MAKEFILE)
        (tree / "enemy.sh").write_text("out=$1\n" + textwrap.dedent(script))
        path = tmp_path / "matrix.yaml"
        path.write_text(MATRIX % deadline_s)
        request = session.Request(matrix=path, name="enemy", cells=expand(read(path, rows)))
        done = session.run(request, real, rows, silent, threading.Event())
        (result,) = done.results
        folder = done.folder / result.attempts[0].folder
        # whatever it did, the reports can be made of it
        page.write_page(done.facts, done.by_cell, done.folder)
        said = text.run_text(done.results, folder=done.folder)
        assert "\x1b" not in said
        document.printed_json(document.run_document(done.facts, done.by_cell, folder=""))
        log = folder / "build.txt"
        return result, log.read_text(errors="replace") if log.is_file() else "", folder

    return enemy


def test_it_reaches_no_network_no_engine_and_no_other_process(enemy):
    result, log, _ = enemy("""
        ls /sys/class/net | grep -vx lo && echo GOT network
        (exec 3<>/dev/tcp/1.1.1.1/53) 2>/dev/null && echo GOT tcp
        bash -c 'exec 3<>/dev/udp/127.0.0.53/53 && echo x >&3 && read -t 1 y <&3' 2>/dev/null && echo GOT dns
        for socket in /run/docker.sock /var/run/docker.sock /run/podman/podman.sock; do [ -e $socket ] && echo GOT $socket; done
        [ "$(ls -d /proc/[0-9]* | wc -l)" -lt 50 ] || echo GOT the processes of the host
        kill -9 -1 2>/dev/null
        echo still here
    """)
    assert "GOT" not in log
    assert result.attempts[0].steps[-1].name == "build"


def test_it_reads_nothing_of_the_host(enemy, tmp_path, machine_settings):
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    result, log, _ = enemy(f"""
        cat {secret} 2>/dev/null && echo GOT the secret
        cat /etc/shadow 2>/dev/null && echo GOT shadow
        [ -e {machine_settings.cache} ] && echo GOT the cache
        cat /proc/1/root/etc/hostname 2>/dev/null | grep -vx lab && echo GOT another root
        env | grep -i -e proxy -e token -e docker -e ssh -e LAB_CACHE -e LAB_MIRROR && echo GOT the environment
        ls /dev | grep -e '^[sv]d' -e loop -e kvm -e '^mem$' && echo GOT devices
        dd if=/dev/mem count=1 2>/dev/null | grep -q . && echo GOT memory
        true
    """)
    assert "GOT" not in log
    assert result.outcome is not Outcome.FAIL or "build" in result.reason


def test_it_writes_nowhere_but_into_the_output(enemy, tmp_path):
    _, log, _ = enemy("""
        for place in / /etc /usr/bin /src /src/Makefile /lab /lab/bin /proc/sys/kernel/core_pattern; do
            if [ -d $place ]; then (echo x >$place/enemy) 2>/dev/null && echo GOT $place
            else (echo x >>$place) 2>/dev/null && echo GOT $place; fi
        done
        chmod 777 /src 2>/dev/null && echo GOT the source
        mount -t tmpfs none /mnt 2>/dev/null && echo GOT mount
        unshare -Ur mount -t tmpfs none /mnt 2>/dev/null && echo GOT mount in a namespace
        mknod $1/disk b 8 0 2>/dev/null && echo GOT a device
        touch $out/own && echo wrote into the output
    """)
    assert "GOT" not in log
    assert "wrote into the output" in log
    assert not (tmp_path / "tree" / "enemy").exists()
    assert stat.S_IMODE((tmp_path / "tree").stat().st_mode) != 0o777


def test_setuid_and_ptrace_win_nothing(enemy):
    _, log, folder = enemy("""
        cp /bin/sh $out/root-shell; chmod 6755 $out/root-shell
        $out/root-shell -p -c 'id -u' | grep -x 0 && echo GOT root
        su -c id 2>/dev/null | grep uid=0 && echo GOT su
        grep -q '^CapEff:.*[1-9a-f]' /proc/self/status && echo GOT capabilities
        grep -q '^NoNewPrivs:.*1' /proc/self/status || echo GOT new privileges
        sh -c 'echo 0 >/proc/sys/kernel/yama/ptrace_scope' 2>/dev/null && echo GOT ptrace scope
        for pid in $(ls /proc | grep '^[0-9]'); do
            [ "$(stat -c %u /proc/$pid 2>/dev/null)" = 0 ] || continue
            dd if=/proc/$pid/mem count=1 2>/dev/null | grep -q . && echo GOT memory of root
        done
        true
    """)
    assert "GOT" not in log
    assert not [path for path in folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o6000]


def text_of(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_fork_bomb_goes_with_its_container(enemy):
    script = """
        i=0
        while [ $i -lt 9000 ]; do sleep 987654 & i=$((i+1)); done 2>&1
        echo GOT all of them
        wait
    """
    result, log, _ = enemy(script, 60)
    assert "GOT" not in log, "processes are bounded"
    assert result.outcome is not Outcome.PASS
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"987654" in text_of(path)]
    assert not left, "none outlives its container"


def test_memory_is_bounded_and_told(enemy):
    result, _, _ = enemy("exec tail /dev/zero", 300)
    step = result.attempts[0].steps[-1]
    assert result.outcome is Outcome.ERROR, result.reason
    assert step.ending is Ending.OUT_OF_MEMORY or "infra.out-of-memory" in result.reason or "killed" in result.reason


def test_a_full_output_is_the_machines_trouble_and_nobody_elses(enemy, real):
    free_before = os.statvfs(real.cache).f_bavail
    result, _, _ = enemy(
        "i=0; while head -c 200000000 /dev/zero >$out/fill-$i; do i=$((i+1)); [ $i -lt 400 ] || break; done; echo full; exit 1",
        300,
    )
    assert result.outcome is Outcome.ERROR, result.reason
    frame = os.statvfs(real.cache)
    assert (free_before - frame.f_bavail) * frame.f_frsize < 8 << 30


def test_a_make_that_never_ends_is_ended(enemy):
    result, _, _ = enemy("trap '' INT TERM HUP; while :; do :; done", 8)
    assert result.outcome is Outcome.ERROR
    assert result.attempts[0].findings[0].id == "infra.deadline"


def test_a_log_without_end_is_bounded(enemy):
    result, _, folder = enemy("yes 'CC      fs/x.o'", 3)
    assert result.outcome is Outcome.ERROR
    assert (folder / "build.txt").stat().st_size < 700 << 20


HOSTILE_NAMES = """
    cd $out
    mkdir -p fs include lib
    ln -s /etc/passwd vmlinux; ln -s /etc/passwd System.map; ln -s /etc include/config; ln -s / fs/root
    ln -s ../../../../../../etc/passwd fs/x.ko; ln -s loop loop; ln -s /dev/zero Module.symvers
    mkfifo fs/.x.o.cmd fs/y.ko; mkfifo .vmlinux.export.c
    printf 'x' >"fs/$(printf 'a\\nb\\033[2J\\rc').ko"
    printf 'x' >"fs/$(printf '\\377\\376').ko"; printf 'x' >"fs/--help.ko"; printf 'x' >'fs/<script>alert(1)</script>.ko'
    mkdir -p "lib/$(printf 'd%.0s' $(seq 200))"; touch "lib/$(printf 'n%.0s' $(seq 250)).o"
    i=0; deep=lib; while [ $i -lt 300 ]; do deep=$deep/d; i=$((i+1)); done
    mkdir -p $deep 2>/dev/null; touch $deep/x.o 2>/dev/null
    chmod 000 lib/n*.o; mkdir closed; touch closed/x.ko; chmod 000 closed
    printf '%s\\n' '../../../../etc/passwd' '/etc/passwd' 'fs/x.ko' 'fs/y.ko' >modules.order
    truncate -s 4G .tmp_vmlinux1
    echo 'fs/x.o: error: \033[31mred\033[0m <b>bold</b>'
    exit 0
"""


def test_links_pipes_and_names_of_the_output_lead_nowhere(enemy):
    result, _, folder = enemy(HOSTILE_NAMES)
    assert result.outcome is not Outcome.PASS or result.attempts[0].not_applicable, "nothing here was built"
    passwd = Path("/etc/passwd").read_bytes()
    for path in folder.rglob("*"):
        assert not path.is_symlink(), f"{path} would lead a reader out of the folder"
        assert path.is_dir() or path.is_file(), f"{path} is neither"
        if path.is_file() and path.stat().st_size < 1 << 20:
            assert passwd not in path.read_bytes(), f"{path} holds a file of the host"
    total = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    assert total < 1 << 30
