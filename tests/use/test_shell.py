"""`lab shell`: a prompt, or a script from a pipe, where a cell is built; nothing of it is left afterwards."""

import fcntl
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from lab.model import Step
from lab.use import shell

CELL = "x86_64-gcc-12-ext4-128"
MATRIX = str(Path(__file__).parents[2] / "matrices" / "filesystems.yaml")
WORDS = [sys.executable, "-m", "lab", "shell", MATRIX, CELL]


def step(name, *argv, workdir="/out"):
    return Step(name=name, argv=argv, workdir=workdir, deadline_s=1, log="x")


def test_the_script_runs_the_steps_own_words_and_stops_at_the_first_failure(tmp_path):
    hostile = "a b'; touch wrong #"
    text = shell.script(
        [
            step("one", "printf", "%s\n", hostile, workdir=str(tmp_path)),
            step("two", "false"),
            step("three", "touch", "no"),
        ]
    )
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout == hostile + "\n"
    assert done.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_only_a_prompt_knows_the_callers_terminal():
    build = Step(name="build", argv=("make",), workdir="/out", deadline_s=1, log="x", environment=(("PATH", "/bin"),))
    assert shell._shell(build, term="xterm", prompt=True).environment == (("PATH", "/bin"), ("TERM", "xterm"))
    assert shell._shell(build, term="xterm", prompt=False).environment == build.environment


def nothing_is_left():
    mounts = Path("/proc/self/mountinfo").read_text()
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=False).stdout
    return f"shell-{CELL}" not in mounts + loops


@pytest.mark.docker
@pytest.mark.slow
def test_a_pipe_is_read_as_a_script_in_the_cells_own_environment(linux, build_image):
    words = (
        "id -u; pwd; ls /sys/class/net; touch /src/x 2>&1; stat -f -c %T /out; "
        "lab-configure && lab-build && test -s lib/ctype.o && echo built; exit 7"
    )
    done = subprocess.run(WORDS, input=words, capture_output=True, text=True, timeout=300, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 7, done.stderr
    assert int(lines[0]) != 0
    assert lines[1:3] == ["/out", "lo"]
    assert "Read-only file system" in lines[3]
    assert lines[4] == "ext2/ext3"  # coreutils' name for all three
    assert lines[-1] == "built"
    assert f"+ make -C /src O=/out {' '.join(re.findall(r'-j[0-9]+', done.stdout)[:1])}" in done.stdout
    assert nothing_is_left()


class Typist:
    """Somebody at a terminal: what they see, and what they type."""

    def __init__(self):
        self.child, self.terminal = pty.fork()
        if self.child == 0:
            os.execvp(WORDS[0], WORDS)
        self.seen = ""

    def wait_for(self, wanted, deadline_s=120):
        """Read until a pattern is seen; what came before it is dropped."""
        until = time.monotonic() + deadline_s
        while not (found := re.search(wanted, self.seen)):
            assert time.monotonic() < until, f"{wanted!r} never came; seen: {self.seen[-2000:]!r}"
            if select.select([self.terminal], [], [], 0.2)[0]:
                self.seen += os.read(self.terminal, 65536).decode(errors="replace")
        self.seen = self.seen[found.end() :]
        return found

    def type(self, text):
        os.write(self.terminal, text.encode())

    def size(self, rows, columns):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self):
        until = time.monotonic() + 30
        while (done := os.waitpid(self.child, os.WNOHANG))[0] == 0:
            assert time.monotonic() < until, "lab shell does not end"
            if select.select([self.terminal], [], [], 0.1)[0]:
                try:
                    os.read(self.terminal, 65536)
                except OSError:  # hung up
                    continue
        return os.waitstatus_to_exitcode(done[1])


@pytest.mark.docker
@pytest.mark.slow
def test_a_terminal_gets_a_prompt_with_its_size_and_is_given_back_as_it_was(linux, build_image):
    typist = Typist()
    typist.size(33, 111)
    before = termios.tcgetattr(typist.terminal)
    prompt = re.escape(CELL) + r" /out \$ "
    typist.wait_for(r"linux 6\.1\.[0-9]+ in /src")
    typist.wait_for(prompt)
    assert termios.tcgetattr(typist.terminal)[3] & termios.ICANON == 0, "not raw: Ctrl-C would not reach the container"
    typist.type("stty size\r")
    typist.wait_for(r"33 111\r\n")
    typist.size(44, 99)
    time.sleep(0.5)
    typist.type("stty size\r")
    typist.wait_for(r"44 99\r\n")
    typist.type("sleep 1000\r")
    typist.wait_for(r"1000\r\n")
    time.sleep(0.3)
    typist.type("\x03")
    typist.wait_for(prompt)
    typist.type("echo lab$((20+2))\x10\x10\r")  # Ctrl-P belongs to bash, not to the engine
    typist.wait_for(prompt)
    typist.type("exit 5\r")
    assert typist.end() == 5
    assert termios.tcgetattr(typist.terminal) == before
    assert nothing_is_left()


def test_the_words_of_a_command_come_back_from_the_script_as_they_were():
    argv = ("sh", "-c", 'exec cat -- "$@" >>.config', "sh", "/lab/kconfig/002-a")
    assert shlex.split(shell.script([step("fragments", *argv)]).splitlines()[-1]) == list(argv)
