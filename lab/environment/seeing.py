"""Whether containers see what the lab mounts.

A lab in a mount namespace of its own (PrivateTmp=, unshare(1), ip-netns(8)) mounts where the engine does not look: make would
then write into the empty folder below, or fail there, and the kernel be blamed. Source: mount_namespaces(7).
"""

from __future__ import annotations

import weakref
from pathlib import Path

from lab.environment.engine import Engine, Mount, Place
from lab.errors import EnvironmentFault
from lab.model import Step
from lab.settings import Settings

LOOK_DEADLINE_S = 60.0
_SEEING = weakref.WeakSet[Engine]()
"""Engines whose containers were seen to see what is mounted here."""


def check(out: Path, owner: str, settings: Settings, engine: Engine, image: str) -> None:
    """Raise EnvironmentFault unless a container sees what is mounted on a folder; an engine is asked once.

    owner: of the container. The log lies beside the folder.
    """
    if engine in _SEEING:
        return
    log = out.with_name("look.txt")
    step = Step(
        name="look",
        argv=("stat", "--format=%d", "/out"),
        workdir="/",
        deadline_s=LOOK_DEADLINE_S,
        log=log.name,
        environment=(("PATH", "/usr/bin:/bin"),),
    )
    where = Place(
        image=image, owner=owner, user=f"{settings.uid}:{settings.gid}", mounts=(Mount(host=out, inside="/out"),)
    )
    looked = engine.execute(step, where, log)
    said, here = log.read_text(errors="replace").strip()[:200], str(out.stat().st_dev)
    if not looked.ok or said != here:
        raise EnvironmentFault(
            "containers do not see what is mounted here"
            if looked.ok
            else "a container cannot look at what is mounted here",
            finding="infra.mount",
            facts=(("device here", here), ("in a container", said)),
            hint="run the lab where the engine is (no PrivateTmp=, unshare -m, ip netns exec), or with LAB_MOUNT=helper",
        )
    _SEEING.add(engine)
