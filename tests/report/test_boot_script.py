"""reproduce.sh of `lab boot`: a kernel that was given, booted again without the lab."""

import gzip
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.report import reproduce

IMAGE = {
    "name": "bookworm-amd64-qemu", "id": "sha256:4567", "suite": "bookworm", "debian_arch": "amd64", "wanted": ["qemu"],
    "packages": {"qemu": "7.2"},
}  # fmt: skip
CONTAINER = {"user": "1000:1000", "memory_mib": 2048, "processes": 512, "tmp_mib": 256}
KERNEL = b"a kernel image"
HOSTILE = "x'; touch pwned; $(touch pwned) `touch pwned` \"\n}\nLAB_END_2000\n\\"
TOOLS = {
    "docker": 'case "$1 $2" in "image inspect") exit "${NO_IMAGE:-0}" ;; esac\n'
    'case $1 in create) echo "container of $2"; exit ;; cp) echo busybox >"$4"; exit ;; rm) exit ;; esac\n'
    'for word; do printf "%s\\n" "$word"; done >>"$SEEN/docker"; echo -- >>"$SEEN/docker"\n',
    "id": "echo 0\n",
    "mknod": 'echo mknod "$@" >>"$SEEN/host"\n',
    # the names that are packed, in their order, and what two of the files hold
    "cpio": 'cat >"$SEEN/packed.$(ls "$SEEN" | grep -c packed)"\n'
    "cat lab/modules.list lab/modules/lib/a.ko 2>/dev/null || true\n",
}


def given(folder: Path, **kernel):
    """Return a record of a kernel in a folder, with two boots."""
    (folder / "kernel/lib").mkdir(parents=True, exist_ok=True)
    (folder / "kernel/bzImage").write_bytes(KERNEL)
    (folder / "kernel/lib/a.ko.gz").write_bytes(gzip.compress(b"module a"))
    (folder / "kernel/lib/b.ko").write_bytes(b"module b")
    step = {"name": "boot", "argv": ["qemu"], "workdir": "/tmp", "deadline_s": 60.0, "environment": [["HOME", "/tmp"]]}
    return {
        "lab_version": "0.1.0",
        "kernel": {
            "release": "6.1.0-1", "arch": "x86_64", "folder": str(folder / "kernel"), "packages": [], "image": "bzImage",
            "image_sha256": hashlib.sha256(KERNEL).hexdigest(), "unpacked": False, "device_tree": "",
            "modules": "lib/a.ko\tlib/a.ko.gz\nlib/b.ko\tlib/b.ko\n", **kernel,
        },
        "boot": {
            "image": IMAGE, "guest": {**IMAGE, "id": "sha256:89ab"}, "container": CONTAINER, "step": step,
            "kernel": "x", "init": "#!/bin/sh\n", "applets": ["sh", "insmod"], "kvm": False,
            "options": "twice\n", "program": None,
            "runs": [{"modules": "lib/a.ko\tx=1\n", "argv": ["qemu", "1"]}, {"modules": "lib/b.ko\n", "argv": ["qemu", "2"]}],
        },
    }  # fmt: skip


@pytest.fixture
def run(tmp_path):
    tools, seen = tmp_path / "tools", tmp_path / "seen"
    for path in (tools, seen):
        path.mkdir()
    for name, text in TOOLS.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}")
        (tools / name).chmod(0o755)

    def run(record, **environment):
        values = {"PATH": f"{tools}:{os.defpath}:/usr/bin:/bin", "SEEN": str(seen), "WORK": str(tmp_path / "work")}
        return subprocess.run(
            ["sh"], input=reproduce.boot_script(record), cwd=tmp_path, env=values | environment, text=True, capture_output=True,
            timeout=60, check=False,
        )  # fmt: skip

    return run


def test_each_boot_is_made_with_its_own_modules(run, tmp_path):
    done = run(given(tmp_path))
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "seen/docker").read_text().split("--\n")
    assert [part.splitlines()[-2:] for part in words if part] == [["qemu", "1"], ["qemu", "2"]]
    packed = [(tmp_path / f"seen/packed.{number}").read_text().split() for number in (0, 1)]
    assert "./lab/modules/lib/a.ko" in packed[0]
    assert "./lab/modules/lib/a.ko" not in packed[1]
    assert {"./init", "./bin/busybox", "./bin/insmod", "./lab/options", "./proc"} <= set(packed[1])
    assert sorted(path.name for path in (tmp_path / "work").glob("console*.txt")) == ["console-2.txt", "console.txt"]


def test_a_packed_module_is_unpacked(run, tmp_path):
    record = given(tmp_path)
    record["boot"]["runs"] = record["boot"]["runs"][:1]
    run(record)
    assert (tmp_path / "work/boot-in/initramfs").read_text() == "lib/a.ko\tx=1\nmodule a"


def test_what_the_kernel_may_ask_for_is_packed_each_time(run, tmp_path):
    record = given(tmp_path)
    record["boot"] |= {"modprobe": "#!/bin/sh\n", "on_demand": "\tcrypto_x\tlib/b.ko\tlib/a.ko\n"}
    assert run(record).returncode == 0
    for number in (0, 1):
        packed = (tmp_path / f"seen/packed.{number}").read_text().split()
        assert {"./sbin/modprobe", "./lab/on-demand", "./lab/modules/lib/a.ko", "./lab/modules/lib/b.ko"} <= set(packed)


def test_an_image_that_is_packed_for_keeping_is_unpacked_and_another_one_is_refused(run, tmp_path):
    record = given(tmp_path, image="kernel.gz", unpacked=True)
    (tmp_path / "kernel/kernel.gz").write_bytes(gzip.compress(KERNEL))
    done = run(record)
    assert (done.returncode, "is not the file of the record" in done.stderr) == (1, True)
    record["kernel"]["image_sha256"] = hashlib.sha256((tmp_path / "kernel/kernel.gz").read_bytes()).hexdigest()
    assert run(record).returncode == 0
    assert (tmp_path / "work/boot-in/kernel").read_bytes() == KERNEL


def test_a_package_that_has_changed_is_not_booted(run, tmp_path):
    (tmp_path / "x.deb").write_bytes(b"changed")
    done = run(given(tmp_path, packages=[{"path": str(tmp_path / "x.deb"), "sha256": "ab" * 32}]))
    assert (done.returncode, "is not the file of the record" in done.stderr) == (1, True)


def test_hostile_words_of_a_record_stay_words(run, tmp_path):
    record = given(tmp_path)
    record["kernel"]["release"] = record["kernel"]["arch"] = record["lab_version"] = HOSTILE
    record["boot"]["init"] = record["boot"]["options"] = HOSTILE
    record["boot"]["runs"][0]["argv"] = ["qemu", HOSTILE]
    record["boot"]["step"]["environment"] = [["X", HOSTILE]]
    done = run(record)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("program", [None, {"name": HOSTILE, "sha256": "00"}])
def test_the_shell_can_read_it(tmp_path, program):
    record = given(tmp_path, device_tree="dts/x.dtb", packages=[{"path": HOSTILE, "sha256": "00"}])
    record["boot"]["program"] = program
    text = reproduce.boot_script(record)
    done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_has_nothing_to_say(tmp_path):
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here")
    record = given(tmp_path, packages=[{"path": "/tmp/x.deb", "sha256": "00"}])
    record["boot"] |= {
        "modprobe": "#!/bin/sh\n",
        "on_demand": "\ta\tlib/a.ko\n",
        "program": {"name": "t", "sha256": "00"},
    }
    text = reproduce.boot_script(record)
    told = subprocess.run(["shellcheck", "-"], input=text, text=True, capture_output=True, check=False)
    assert told.returncode == 0, told.stdout


def test_a_record_that_lacks_something_is_named(tmp_path):
    record = given(tmp_path)
    del record["kernel"]
    with pytest.raises(KeyError, match="kernel"):
        reproduce.boot_script(record)
