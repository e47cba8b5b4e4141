"""`lab check` on what plain make left, outside the lab: the same findings as from the lab's own run."""

import json
import subprocess
import sys

import pytest

from lab import kbuild
from lab.environment import filesystem, source
from lab.environment.engine import Mount, Place
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.model import Step

pytestmark = [pytest.mark.docker, pytest.mark.slow]
MAKE = "make -C /src O=/out ARCH=x86_64 CC='ccache gcc-12' HOSTCC='ccache gcc-12'"
BY_HAND = f"""
{MAKE} tinyconfig && cat /lab/*.config >> /out/.config && {MAKE} olddefconfig || exit 1
{MAKE} -j2 -k > /out/build.log 2>&1
true
"""


def check(folder):
    done = subprocess.run(
        [sys.executable, "-m", "lab", "check", str(folder), "--json"], capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout), done.returncode


@pytest.mark.parametrize(("cell", "wanted"), [("ext4-128-unguarded", "timestamps.tie"), ("ext4-128", None)])
def test_an_output_directory_made_by_hand_is_judged_alike(
    cell, wanted, real, rows, engine, build_image, repository, tmp_path
):
    cells = {one.id: one for one in expand(read(repository / "matrices" / "quickstart.yaml", rows))}
    decided = cells[f"x86_64-gcc-12-{cell}"]
    tree = source.patched(source.prepare(decided.source, real), decided.patches, real)
    ccache = real.cache / "ccache" / build_image.key
    ccache.mkdir(parents=True, exist_ok=True)
    ccache.chmod(0o777)
    with filesystem.scratch(f"byhand-{tmp_path.name}", real, engine, build_image.id) as place:
        for name, text in kbuild.kconfig_files(decided):
            (place.lab / f"{name}.config").write_text(text)
        with filesystem.mounted(rows.filesystem["ext4-128"], place, real, engine, build_image.id):
            step = Step(
                name="byhand",
                argv=("sh", "-c", BY_HAND),
                workdir="/out",
                deadline_s=1200,
                log="log.txt",
                environment=(
                    ("PATH", "/usr/bin:/bin"),
                    ("CCACHE_DIR", "/ccache"),
                    (
                        "CCACHE_COMPILERCHECK",
                        f"string:{build_image.id}",
                    ),  # what the lab's own cells filled is of use here
                    ("HOME", "/tmp"),
                    ("LC_ALL", "C"),
                ),
            )
            where = Place(
                image=build_image.id,
                owner=place.owner,
                mounts=(
                    Mount(host=tree.path, inside="/src"),
                    Mount(host=place.out, inside="/out", writable=True),
                    Mount(host=place.lab, inside="/lab"),
                    Mount(host=ccache, inside="/ccache", writable=True),
                ),
            )
            result = engine.execute(step, where, tmp_path / "log.txt")
            assert result.ok, (tmp_path / "log.txt").read_text()[-2000:]
            # on the machine of somebody who built by hand the link leads to the tree, not into a container
            (place.out / "source").unlink()
            (place.out / "source").symlink_to(tree.path)
            document, code = check(place.out)
    ids = [finding["id"] for finding in document["findings"]]
    if wanted is None:
        assert (ids, code) == ([], 0), document["findings"]
    else:
        assert wanted in ids
        assert code == 1
