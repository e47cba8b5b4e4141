import copy
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.report import reproduce

PATCH = """\
--- a/kernel/fork.c
+++ b/kernel/fork.c
@@ -1 +1 @@
-old
+new
"""
STEP = {
    "name": "build",
    "argv": ["make", "-C", "/src", "O=/out", "-j2", "CC=ccache gcc-12"],
    "workdir": "/out",
    "deadline_s": 60.0,
    "environment": [["CCACHE_DIR", "/ccache"], ["PATH", "/lab/bin:/usr/bin:/bin"]],
}
IMAGE = {
    "name": "bookworm-amd64-gcc12",
    "id": "sha256:0123",
    "suite": "bookworm",
    "debian_arch": "amd64",
    "wanted": ["gcc-12", "make"],
    "packages": {"gcc-12": "12.2.0-14", "make": "4.3-4.1"},
}
CONTAINER = {"user": "1000:1000", "memory_mib": 2048, "processes": 512, "tmp_mib": 256}
RECORD: dict[str, Any] = {
    "lab_version": "0.1.0",
    "cell": "x86_64-gcc-12-ext4-128",
    "attempt": 1,
    "granularity_ns": 1_000_000_000,
    "image": IMAGE,
    "container": CONTAINER,
    "source": {"kind": "dir", "path": "/nowhere"},
    "patches": [{"name": "guard-removed", "text": PATCH}],
    "filesystem": {
        "name": "ext4-128",
        "kind": "loop",
        "fstype": "ext4",
        "mkfs": ["mkfs.ext4", "-q", "-F", "-I", "128"],
        "mount_options": ["nosuid", "nodev"],
        "size_mib": 64,
    },
    "kconfig": [{"name": "001-trim", "text": "CONFIG_TRIM_UNUSED_KSYMS=y\n"}],
    "steps": [{**STEP, "name": "olddefconfig", "argv": ["make", "olddefconfig"]}, STEP],
    "boot": {
        "image": {**IMAGE, "name": "bookworm-amd64-qemu", "id": "sha256:4567"},
        "guest": {**IMAGE, "name": "bookworm-amd64-guest", "id": "sha256:89ab", "wanted": ["busybox-static"]},
        "container": CONTAINER,
        "step": {**STEP, "name": "boot", "argv": ["qemu-system-x86_64", "-append", "console=ttyS0 panic=-1"]},
        "kernel": "arch/x86/boot/bzImage",
        "init": "#!/bin/sh\necho lab-init: start\n",
        "applets": ["sh", "insmod"],
        "kvm": False,
    },
}
DEBIAN = {"kind": "debian", "package": "linux-source-6.1", "version": "6.1.192-2", "sha256": "ab" * 32}
TARBALL = {"kind": "tarball", "path": "/tmp/li nux.tar.xz", "sha256": "cd" * 32}
TMPFS = {**RECORD["filesystem"], "name": "tmpfs", "kind": "tmpfs", "fstype": "tmpfs", "mkfs": []}
COARSE = {
    **TMPFS, "name": "fuse-2s", "kind": "coarse", "fstype": "fuse", "base": TMPFS, "size_mib": 0, "step_ns": 2_000_000_000,
    "server": {"name": "coarse-times", "text": "print('ready', flush=True)\n"},
}  # fmt: skip
HOSTILE = "x'; touch pwned; $(touch pwned) `touch pwned` \"\n}\nLAB_END_1\n\\"
VARIANTS: dict[str, dict[str, Any]] = {
    "dir, patched, loop, booted": {},
    "debian": {"source": DEBIAN, "patches": []},
    "git": {
        "source": {"kind": "git", "repository": "/srv/linux; x", "rev": "v6.1", "commit": "ab" * 20},
        "patches": [],
    },
    "coarse": {"filesystem": COARSE},
    "tarball, tmpfs": {"source": TARBALL, "filesystem": TMPFS},
    "several boots": {
        "boot": {
            **RECORD["boot"],
            "options": "twice\nunload\n",
            "runs": [{"modules": "a/a.ko\tx=1\n", "argv": ["qemu", "1"]}, {"modules": "", "argv": ["qemu", "2"]}],
        }
    },
    "not booted, no fragments": {"boot": None, "kconfig": []},
    "amplified": {
        "amplify": {
            "words": "load=2",
            "tools": ["ccache", "lab-load"],
            "rules": {"name": "amplification", "text": "align ccache mcb.c\n"},
            "script": {"name": "amplify", "text": "#!/bin/sh\nexec true\n"},
        }
    },
}


def made(**changes: Any) -> str:
    return reproduce.script({**RECORD, **changes})


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_the_shell_can_read_it(changes):
    done = subprocess.run(["sh", "-n"], input=made(**changes), text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_shellcheck_has_nothing_to_say(changes):
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here")
    done = subprocess.run(["shellcheck", "-"], input=made(**changes), text=True, capture_output=True, check=False)
    assert done.stdout == ""


AMPLIFY = {
    "words": "load=2 align=ccache:mcb.c",
    "tools": ["ccache", "lab-load"],
    "rules": {"name": "amplification", "text": "align ccache mcb.c\n"},
    "script": {"name": "amplify", "text": "#!/bin/sh\nexec true\n"},
}


def test_what_made_races_likelier_is_told_and_laid_out(tmp_path):
    text = made(boot=None, amplify=AMPLIFY)
    assert "# Amplified, so that races are lost more often than by nature: load=2 align=ccache:mcb.c\n" in text
    assert "Amplified" not in made(boot=None)
    world = World(tmp_path)
    assert world.run(text).returncode == 0
    lab = world.work / "lab"
    assert (lab / "amplification").read_text() == "align ccache mcb.c\n"
    for tool in AMPLIFY["tools"]:
        assert (lab / "amplify" / tool).read_text() == AMPLIFY["script"]["text"]
        assert os.access(lab / "amplify" / tool, os.X_OK)


def test_what_is_to_be_amplified_is_no_text_for_the_shell(tmp_path):
    hostile = {
        "words": HOSTILE,
        "tools": [HOSTILE, "../../x"],
        "rules": {"name": HOSTILE, "text": HOSTILE},
        "script": {"name": "amplify", "text": HOSTILE},
    }
    world = World(tmp_path)
    world.run(made(boot=None, amplify=hostile))
    assert not list(tmp_path.rglob("pwned"))
    names = {path.name for path in (world.work / "lab/amplify").iterdir()}
    assert names == {reproduce.file_name(tool) for tool in hostile["tools"]}


def test_it_says_which_packages_the_image_had():
    assert "\ngcc-12 12.2.0-14\nmake 4.3-4.1\n" in made()


def test_it_says_of_which_day_the_images_packages_are():
    image = {**IMAGE, "snapshot": "20250520", "releases": {"bookworm": "Tue, 20 May 2025 08:13:22 UTC"}}
    text = made(image=image)
    assert (
        "#     as the archive was on 20250520\n#     from the index of bookworm, Tue, 20 May 2025 08:13:22 UTC\n"
        in text
    )
    assert "as the archive was" not in made()


def test_the_source_package_is_verified_before_it_is_unpacked():
    text = made(source=DEBIAN)
    assert "apt-get download -- linux-source-6.1=6.1.192-2" in text
    assert text.index("sha256sum -c") < text.index("tar -C")
    assert f'linux-source-*.tar.*)" {DEBIAN["sha256"]}\n' in text


def test_a_record_that_lacks_something_is_named():
    with pytest.raises(KeyError, match="steps"):
        reproduce.script({name: value for name, value in RECORD.items() if name != "steps"})


@pytest.mark.parametrize(
    ("text", "number", "expected"),
    [
        ("a\n", 1, "<<'LAB_END_1'\na\nLAB_END_1"),
        ("a", 1, "<<'LAB_END_1'\na\nLAB_END_1"),
        ("", 2, "<<'LAB_END_2'\nLAB_END_2"),
        ("LAB_END_1\nLAB_END_1_\n", 1, "<<'LAB_END_1__'\nLAB_END_1\nLAB_END_1_\nLAB_END_1__"),
    ],
)
def test_a_here_document_ends_where_its_text_does(text, number, expected):
    assert reproduce.heredoc(text, number) == expected


def test_a_comment_stays_on_its_line():
    assert reproduce.comment("a\nrm -rf /\r\x1b") == "a?rm -rf /??"


# -------------------------------------------------------------------------------- run with tools that only write down


TOOLS = {
    # an image is there, unless it is named in LACKING; one that was loaded or imported is
    "docker": 'case "$1 $2" in "image inspect")\n'
    '[ -n "$3" ] || exit 1\n'
    'case " ${LACKING:-} " in *" $3 "*) grep -qsx "$3" "$SEEN/loaded" ;; esac; exit\nesac\n'
    'case $1 in load) echo "$@" >>"$SEEN/host"; echo "$LACKING" | tr " " "\\n" >>"$SEEN/loaded"; exit ;;\n'
    'import) echo docker "$@" >>"$SEEN/host"; echo sha256:made; exit ;; esac\n'
    # the patch is applied to the copy, mkfs is written down
    'case " $* " in *" patch -d /src "*) tree=$(echo "$*" | sed "s/.* -v \\([^ :]*\\):\\/src .*/\\1/")\n'
    'exec patch -d "$tree" -p1 --batch --forward --fuzz=0 --no-backup-if-mismatch --reject-file=- ;;\n'
    '*" mkfs."*) echo "$@" | sed "s/.* -v/-v/" >>"$SEEN/host"; exit ;; esac\n'
    # a file is taken out of the guest's image
    'case $1 in create) echo "container of $2"; exit ;; rm) exit ;;\n'
    'cp) case $2 in *dpkg/status) cat "$SEEN/status" >"$3" ;; *) echo "$3" >"$4" ;; esac; exit ;; esac\n'
    'for word; do printf "%s\\n" "$word"; done >>"$SEEN/docker"; echo -- >>"$SEEN/docker"\n'
    'case " $* " in *" make "*" -j2 "*) exit "${BUILD_STATUS:-0}" ;; esac\n'
    # the container that packs the initramfs
    'case " $* " in *" /lab/pack "*) mkdir -p "$WORK/out/arch/x86/boot"; '
    'echo k >"$WORK/out/arch/x86/boot/bzImage"; : >"$WORK/out/.reproduce-initramfs" ;; esac\n',
    "id": "echo 0\n",
    "mount": 'echo mount "$@" >>"$SEEN/host"\n',
    "umount": "exit 1\n",
    "mmdebstrap": 'for word; do printf "%s\\n" "$word"; done >"$SEEN/mmdebstrap"; cp "$PINS" "$SEEN/pins"; : >"$SEEN/layer"\n'
    'for word; do case $word in *.layer.tar) : >"$word" ;; esac; done; exit "${NO_PACKAGES:-0}"\n',
    "apt-get": "exit 100\n",
    "chown": 'echo chown "$@" >>"$SEEN/host"\n',
}


class World:
    """A folder with a kernel tree, and tools in place of docker and mount that write their arguments down."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.work, self.seen, self.tree = folder, folder / "work", folder / "seen", folder / "tree"
        tools = folder / "tools"
        for path in (tools, self.seen, self.tree / "kernel"):
            path.mkdir(parents=True)
        (self.tree / "Makefile").write_text("VERSION = 6\n")
        (self.tree / "kernel/fork.c").write_text("old\n")
        for name, text in TOOLS.items():
            (tools / name).write_text(f"#!/bin/sh\n{text}")
            (tools / name).chmod(0o755)
        self.path = f"{tools}:{os.defpath}:/usr/bin:/bin"

    def run(self, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
        values = {"PATH": self.path, "SEEN": str(self.seen), "WORK": str(self.work), "SOURCE": str(self.tree)}
        return subprocess.run(
            ["sh"],
            input=text,
            cwd=self.folder,
            env=values | environment,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )

    def containers(self) -> list[list[str]]:
        text = (self.seen / "docker").read_text()
        return [part.splitlines() for part in text.split("--\n") if part]

    def host(self) -> str:
        return (self.seen / "host").read_text()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_the_recorded_command_lines_reach_the_container_word_by_word(world):
    done = world.run(made())
    assert done.returncode == 0, done.stderr
    assert world.containers()[1][-7:] == ["sha256:0123", *STEP["argv"]]


def test_the_recorded_environment_reaches_the_container(world):
    world.run(made())
    words = world.containers()[1]
    given = [words[at + 1] for at, word in enumerate(words) if word == "-e"]
    assert given == ["CCACHE_DIR=/ccache", "PATH=/lab/bin:/usr/bin:/bin"]


def test_containers_are_as_restricted_as_the_labs(world):
    world.run(made())
    for words in world.containers():
        assert {"--read-only", "no-new-privileges", "ALL", "none", "2048m", "512"} < set(words)
        assert words[words.index("--user") + 1] == "1000:1000"


def test_the_source_is_read_only_in_the_container(world):
    world.run(made(patches=[]))
    assert f"{world.tree}:/src:ro" in world.containers()[0]


def test_a_patch_is_applied_to_a_copy(world):
    world.run(made())
    assert (world.work / "patched/kernel/fork.c").read_text() == "new\n"
    assert (world.tree / "kernel/fork.c").read_text() == "old\n"


def test_the_filesystem_is_the_recorded_one(world):
    world.run(made())
    image, out = world.work / "out.img", world.work / "out"
    mkfs = f"-v {image}:/disk.img sha256:0123 mkfs.ext4 -q -F -I 128 /disk.img\n"
    assert f"{mkfs}mount -t ext4 -o loop,nosuid,nodev {image} {out}\n" in world.host()


def test_a_tmpfs_has_the_recorded_size(world):
    world.run(made(filesystem=TMPFS))
    assert "mount -t tmpfs -o size=64m,nosuid,nodev reproduce" in world.host()


def test_a_server_of_coarse_times_comes_with_the_script_and_shows_the_base(world):
    done = world.run(made(filesystem=COARSE))
    assert done.returncode == 0, done.stderr
    assert f"mount -t tmpfs -o size=64m,nosuid,nodev reproduce {world.work}/base\n" in world.host()
    assert (world.work / "coarse-times").read_text() == COARSE["server"]["text"]
    assert f"'umount {world.work}/out; sleep 1; umount {world.work}/base' takes it away" in done.stdout
    assert '"$BASE" "$OUT" 2000000000 nosuid,nodev stay >' in made(filesystem=COARSE)


def test_a_server_that_does_not_come_up_is_told(world):
    dies = {**COARSE, "server": {"name": "coarse-times", "text": "import sys\nsys.exit('no /dev/fuse')\n"}}
    done = world.run(made(filesystem=dies))
    assert done.returncode == 128
    assert "did not come up: no /dev/fuse" in done.stderr


def test_the_kernel_is_booted_with_its_deadline(world):
    world.run(made())
    assert (
        world.containers()[-1][-7:]
        == [
            "sha256:4567",
            "timeout",
            "-k",
            "5",
            "60.0",
            *["qemu-system-x86_64", "-append", "console=ttyS0 panic=-1"],
        ][-7:]
    )


def test_each_boot_that_was_made_is_made_again_with_its_own_modules(world):
    done = world.run(made(**VARIANTS["several boots"]))
    assert done.returncode == 0, done.stderr
    assert [words[-2:] for words in world.containers() if "qemu" in words] == [["qemu", "1"], ["qemu", "2"]]
    assert (world.work / "lab/options").read_text() == "twice\nunload\n"
    assert sorted(path.name for path in world.work.glob("console*.txt")) == ["console-2.txt", "console.txt"]
    # the list of the second boot is what the last packing saw
    assert (world.work / "lab/modules.list").read_text() == ""


def test_a_users_program_is_taken_from_beside_the_script_and_must_be_the_same(world):
    program = world.folder / "program"
    program.write_text("#!/bin/sh\n")
    boot = {**RECORD["boot"], "program": {"name": "t.sh", "sha256": hashlib.sha256(program.read_bytes()).hexdigest()}}
    done = world.run(made(boot=boot), PROGRAM=str(program))
    assert done.returncode == 0, done.stderr
    assert (world.work / "lab/program").read_text() == "#!/bin/sh\n"
    shutil.rmtree(world.work)
    program.write_text("#!/bin/sh\nexit 1\n")
    done = world.run(made(boot=boot), PROGRAM=str(program))
    assert done.returncode == 128
    assert "is not the program of the record" in done.stderr


def test_the_guests_busybox_comes_from_its_own_image(world):
    world.run(made())
    assert (world.work / "lab/busybox").read_text() == "container of sha256:89ab:/bin/busybox\n"


def test_nothing_is_booted_after_a_failed_build_and_its_status_is_told(world):
    done = world.run(made(), BUILD_STATUS="2")
    assert done.returncode == 2
    assert len(world.containers()) == 2


def test_the_status_of_each_step_is_kept(world):
    world.run(made(), BUILD_STATUS="2")
    lines = [line.split() for line in (world.work / "steps").read_text().splitlines()]
    assert [(name, status) for name, status, _ in lines] == [("1-olddefconfig", "0"), ("2-build", "2")]


def test_a_container_that_docker_could_not_run_is_not_the_kernels_fault(world):
    assert world.run(made(), BUILD_STATUS="125").returncode == 128


def test_what_fails_before_the_first_step_is_never_the_kernels_fault(world):
    (world.folder / "tools/mount").write_text("#!/bin/sh\nexit 32\n")
    assert world.run(made()).returncode == 128


def test_a_patch_that_does_not_apply_cannot_be_judged(world):
    (world.tree / "kernel/fork.c").write_text("something else\n")
    done = world.run(made())
    assert done.returncode == 125
    assert not (world.seen / "docker").exists(), "something was built"


def test_a_hook_is_told_what_has_been_reached(world):
    hook = world.folder / "hook"
    hook.write_text('#!/bin/sh\necho "$@" >>"$SEEN/hook"\n')
    hook.chmod(0o755)
    world.run(made(probe={**STEP, "name": "remake"}), HOOK=str(hook))
    rest = f"{world.work} {world.work}/patched"
    assert (world.seen / "hook").read_text() == f"mounted {rest}\nbuilt {rest}\nremade {rest}\n"


def test_what_was_built_badly_is_made_again_too_and_the_first_status_counts(world):
    done = world.run(made(probe={**STEP, "name": "remake"}), BUILD_STATUS="2")
    assert done.returncode == 2
    assert [line.split()[0] for line in (world.work / "steps").read_text().splitlines()][1:] == ["2-build", "remake"]


def test_wrappers_come_first_in_path(world):
    world.run(made(wrappers=[{"name": "cmp", "text": "#!/bin/sh\nexit 0\n"}]))
    assert (world.work / "lab/bin/cmp").stat().st_mode & 0o777 == 0o755


def test_a_tarball_beside_the_script_is_the_source(world):
    beside = world.folder / "source"
    beside.mkdir()
    subprocess.run(["tar", "-C", world.folder, "-cf", beside / "tarball", "tree"], check=True)
    done = world.run(made(), SOURCE="")
    assert done.returncode == 0, done.stderr
    assert (world.work / "source/tree/kernel/fork.c").read_text() == "new\n"
    damaged = world.run(made(source=TARBALL), SOURCE="")
    assert damaged.returncode == 128
    assert "is not the tarball of the record" in damaged.stderr


def test_a_missing_image_is_loaded_from_beside_the_script(world):
    (world.folder / "images").mkdir()
    (world.folder / "images/build.tar").write_text("an archive\n")
    done = world.run(made(), LACKING="sha256:0123")
    assert done.returncode == 0, done.stderr
    assert f"load -q -i {world.folder}/images/build.tar\n" in world.host()
    assert world.containers()[1][-7] == "sha256:0123"


def test_a_missing_image_is_made_of_the_recorded_versions_and_what_differs_is_told(world):
    (world.seen / "status").write_text("Package: gcc-12\nVersion: 12.2.0-14+deb12u1\n\nPackage: new\nVersion: 1\n")
    done = world.run(made(), LACKING="sha256:0123", MIRROR="file:/mirror")
    assert done.returncode == 0, done.stderr
    words = (world.seen / "mmdebstrap").read_text().splitlines()
    assert words[-4:] == ["--", "bookworm", f"{world.work}/images/build.layer.tar", "deb file:/mirror bookworm main"]
    assert {"--variant=minbase", "--architectures=amd64", "--include=gcc-12,make"} < set(words)
    assert "Package: gcc-12\nPin: version 12.2.0-14\nPin-Priority: 1001\n" in (world.seen / "pins").read_text()
    assert (world.work / "images/build.differs").read_text().splitlines() == [
        "gcc-12: 12.2.0-14+deb12u1 is there, 12.2.0-14 was in the record's image",
        "make: not there, 4.3-4.1 was in the record's image",
        "new: 1 came on top",
    ]
    assert "3 packages differ" in done.stderr
    assert world.containers()[1][-7] == "sha256:made"


def test_an_image_of_a_past_day_is_made_from_an_archive_of_past_days(world):
    (world.seen / "status").write_text("")
    image = {**IMAGE, "snapshot": "20250520"}
    done = world.run(made(image=image), LACKING="sha256:0123", SNAPSHOT="file:/snapshot")
    assert done.returncode == 0, done.stderr
    last = (world.seen / "mmdebstrap").read_text().splitlines()[-1]
    assert last == "deb [check-valid-until=no] file:/snapshot/20250520T000000Z/ bookworm main"


def test_an_image_that_cannot_be_made_is_the_machines_fault(world):
    done = world.run(made(), LACKING="sha256:0123", NO_PACKAGES="25")
    assert done.returncode == 128
    assert "mmdebstrap could not make the image build" in done.stderr
    (world.folder / "tools/mmdebstrap").unlink()
    if shutil.which("mmdebstrap") is None:
        assert "take a bundle that was made with --with-image" in world.run(made(), LACKING="sha256:0123").stderr


def test_an_image_that_somebody_names_is_never_made(world):
    done = world.run(made(), IMAGE="mine", LACKING="mine")
    assert done.returncode == 128
    assert "the engine has no image 'mine'" in done.stderr


def test_hostile_words_of_a_record_stay_words(world):
    record = copy.deepcopy(RECORD)
    record["cell"] = record["lab_version"] = HOSTILE
    record["patches"][0]["name"] = HOSTILE
    record["patches"][0]["text"] = PATCH + HOSTILE
    record["image"]["packages"][HOSTILE] = HOSTILE
    record["kconfig"][0] = {"name": HOSTILE, "text": HOSTILE}
    record["steps"][1]["argv"].append(HOSTILE)
    record["steps"][1]["environment"].append(["X", HOSTILE])
    record["boot"]["init"] = record["boot"]["options"] = HOSTILE
    done = world.run(reproduce.script(record))
    assert done.returncode == 0, done.stderr
    assert not list(world.folder.rglob("pwned"))
    assert (world.work / "lab/init").read_text() == HOSTILE + "\n"
