"""lab/data/bin/amplify with a real shell, and with a clock and a sleep that only write down what they are asked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "lab/data/bin/amplify"
HOSTILE = "$(touch pwned)`touch pwned`;touch pwned;'\"\\*?["


class Lab:
    """What /lab shows a build: wrappers, their instructions, and behind them in PATH the tools that they stand for."""

    def __init__(self, folder: Path, rules: str, *tools: str) -> None:
        self.folder, self.tools = folder, folder / "tools"
        self.wrappers = folder / "lab" / "amplify"
        self.wrappers.mkdir(parents=True)
        self.tools.mkdir()
        (folder / "lab" / "amplification").write_text(rules)
        self.notes = folder / "notes"
        self.asked = folder / "asked"  # what date and sleep were asked, a line each
        for tool in tools:
            shutil.copy(SCRIPT, self.wrappers / tool)
            self.tool(tool, 'echo "real $0"; for word; do echo "<$word>"; done')
        self.tool("sleep", f'echo "sleep $*" >>{self.asked}')
        self.path = f"{self.wrappers}:{self.tools}:{os.defpath}:/usr/bin:/bin"

    def tool(self, name: str, text: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.tools / name).chmod(0o755)

    def clock(self, *nanoseconds: str) -> None:
        """Let `date +%N` give these, one after the other, then the last for ever."""
        for number, text in enumerate(nanoseconds):
            (self.folder / f"time-{number}").write_text(text)
        last = len(nanoseconds) - 1
        self.tool(
            "date",
            f'echo "date $*" >>{self.asked}; at=$(cat {self.folder}/at 2>/dev/null || echo 0)\n'
            f'cat {self.folder}/time-$at; [ "$at" -ge {last} ] || echo $((at + 1)) >{self.folder}/at',
        )

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        values = {"PATH": self.path, "LAB_AMPLIFIED": str(self.notes)} | environment
        return subprocess.run(
            words, cwd=self.folder, env=values, capture_output=True, text=True, check=False,
            executable=self.wrappers / words[0],
        )  # fmt: skip

    @property
    def waited(self) -> list[str]:
        return self.asked.read_text().splitlines() if self.asked.exists() else []

    @property
    def noted(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []


# ----------------------------------------------------------------------------------------------------------------- slow


def test_a_slowed_tool_sleeps_and_then_is_itself(tmp_path):
    lab = Lab(tmp_path, "slow touch 0.3\nslow ld 2\n", "touch", "ld")
    done = lab.run("touch", "a b", "", "*")
    assert done.stdout.splitlines() == [f"real {lab.tools}/touch", "<a b>", "<>", "<*>"]
    assert (done.returncode, done.stderr) == (0, "")
    assert lab.waited == ["sleep 0.3"]
    assert lab.noted == ["slow touch"]


def test_status_and_input_are_the_tools_own(tmp_path):
    lab = Lab(tmp_path, "slow cat 0.1\n", "cat")
    lab.tool("cat", "read -r line; echo $line; exit 3")
    values = {"PATH": lab.path, "LAB_AMPLIFIED": str(lab.notes)}
    done = subprocess.run(
        [lab.wrappers / "cat"], env=values, input="given\n", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "given\n")


def test_a_tool_without_an_instruction_does_not_wait(tmp_path):
    lab = Lab(tmp_path, "slow touch-up 0.3\nalign touch other\n", "touch")
    lab.clock("999999999")
    assert lab.run("touch", "a").returncode == 0
    assert (lab.waited, lab.noted) == ([], [])


def test_what_waits_is_not_slowed_itself(tmp_path):
    """Also sleep and date may be tools of the build."""
    lab = Lab(tmp_path, "slow sleep 0.2\nslow date 0.2\nalign sleep 7\n", "sleep", "date")
    lab.tool("sleep", f'echo "sleep $*" >>{lab.asked}')
    lab.clock("400000000", "002000000")
    assert lab.run("sleep", "7").returncode == 0
    assert lab.waited == ["sleep 0.2", "date +%N", "sleep 0.602000000", "date +%N", "sleep 7"]


# ---------------------------------------------------------------------------------------------------------------- align


@pytest.mark.parametrize(
    ("now", "slept"),
    [
        ("250000000", "0.752000000"),
        ("050000000", "0.952000000"),
        ("999999999", "0.002000001"),
        ("089000000", "0.913000000"),  # no octal number
    ],
)
def test_an_aligned_tool_sleeps_to_the_beginning_of_a_second(tmp_path, now, slept):
    lab = Lab(tmp_path, "align cc mcb-core.c\n", "cc")
    lab.clock(now, "002300000")
    done = lab.run("cc", "-c", "-o", "x.o", "drivers/mcb/mcb-core.c")
    assert done.stdout.splitlines()[-1] == "<drivers/mcb/mcb-core.c>"
    assert lab.waited == ["date +%N", f"sleep {slept}", "date +%N"]
    assert lab.noted == ["align cc 2300000"]


def test_a_second_that_has_just_begun_is_not_waited_for(tmp_path):
    lab = Lab(tmp_path, "align cc mcb-core.c\n", "cc")
    lab.clock("049999999")
    lab.run("cc", "mcb-core.c")
    assert lab.waited == ["date +%N"]
    assert lab.noted == ["align cc 49999999"]


def test_a_sleep_that_ends_late_is_tried_again_and_at_most_ten_times(tmp_path):
    late = Lab(tmp_path, "align cc x\n", "cc")
    late.clock("300000000", "100000000", "060000000", "004000000")
    late.run("cc", "x")
    assert late.noted == ["align cc 4000000"]
    assert sum(line.startswith("sleep") for line in late.waited) == 3


def test_a_machine_that_never_hits_a_second_runs_the_tool_all_the_same(tmp_path):
    lab = Lab(tmp_path, "align cc x\n", "cc")
    lab.clock("500000000")
    assert lab.run("cc", "x").returncode == 0
    assert lab.noted == ["missed cc 500000000"]
    assert sum(line.startswith("sleep") for line in lab.waited) == 10


@pytest.mark.parametrize("answer", ["", "%N", "N", "12345678", "1234567890", "12345678a"])
def test_a_clock_without_nanoseconds_is_not_waited_for(tmp_path, answer):
    lab = Lab(tmp_path, "align cc x\n", "cc")
    lab.clock(answer)
    assert lab.run("cc", "x").stdout.splitlines()[-1] == "<x>"
    assert lab.noted == ["missed cc 0"]


def test_with_the_machines_own_clock_it_begins_with_a_second(tmp_path):
    """By its own record, which says missed where a busy machine did not let it."""
    lab = Lab(tmp_path, "align cc x\n", "cc")
    (lab.tools / "sleep").unlink()
    assert lab.run("cc", "x").returncode == 0
    (noted,) = lab.noted
    word, tool, after_ns = noted.split()
    assert tool == "cc"
    assert (int(after_ns) < 50_000_000) == (word == "align")


# ---------------------------------------------------------------------------------------- nothing of a matrix is a shell's


def test_texts_and_arguments_are_never_read_by_the_shell(tmp_path):
    lab = Lab(tmp_path, f"align cc {HOSTILE}\nslow cc {HOSTILE}\n", "cc")
    lab.clock("000000001")
    done = lab.run("cc", f"a/{HOSTILE}.c")
    assert f"<a/{HOSTILE}.c>" in done.stdout.splitlines()
    assert lab.noted == ["slow cc", "align cc 1"]
    assert lab.waited == [f"sleep {HOSTILE}", "date +%N"]
    assert not (tmp_path / "pwned").exists()


def test_a_text_is_no_pattern(tmp_path):
    lab = Lab(tmp_path, "align cc m*.c\n", "cc")
    lab.clock("000000001")
    lab.run("cc", "mcb-core.c")
    assert lab.noted == []
    lab.run("cc", "m*.c")
    assert lab.noted == ["align cc 1"]


@pytest.mark.parametrize("place", ["/proc/nowhere/notes", "/dev/full", ""])
def test_a_place_for_notes_that_cannot_be_written_changes_nothing(tmp_path, place):
    lab = Lab(tmp_path, "slow touch 0.3\n", "touch")
    done = lab.run("touch", "a", LAB_AMPLIFIED=place)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_instructions_or_without_the_tool_the_answer_is_the_shells(tmp_path):
    lab = Lab(tmp_path, "", "touch")
    (tmp_path / "lab/amplification").unlink()
    assert lab.run("touch").returncode == 0
    (lab.tools / "touch").unlink()
    shutil.copy(SCRIPT, lab.wrappers / "no-such-tool")
    done = lab.run("no-such-tool")
    assert (done.returncode, done.stderr) == (127, "no-such-tool: not found\n")


# ----------------------------------------------------------------------------------------------------------------- load


def test_the_load_is_there_while_the_command_runs_and_gone_with_it(tmp_path):
    lab = Lab(tmp_path, "", "lab-load")
    count = "for one in /proc/[0-9]*/stat; do cut -d ' ' -f 4 $one 2>/dev/null; done | grep -cx $PPID"
    done = lab.run("lab-load", "3", "sh", "-c", f"echo $PPID; {count}; exit 9")
    parent, children = done.stdout.split()
    assert (done.returncode, done.stderr) == (9, "")
    assert int(children) == 4  # three busy ones, and the command
    left = [one for one in Path("/proc").glob("[0-9]*/stat") if _parent(one) == parent]
    assert left == []


def _parent(stat: Path) -> str:
    try:
        return stat.read_text().rpartition(")")[2].split()[1]
    except OSError:
        return ""


def test_no_load_is_only_the_command(tmp_path):
    lab = Lab(tmp_path, "", "lab-load")
    done = lab.run("lab-load", "0", "sh", "-c", "exit 4")
    assert (done.returncode, done.stderr) == (4, "")


def test_shellcheck_has_nothing_to_say():
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here")
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout == ""
