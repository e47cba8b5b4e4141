"""Who made a container or a scratch folder, and whether they live: what the dead left behind is swept by others."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def this_process() -> str:
    """Return the owner that stands for this process."""
    return f"pid:{os.getpid()}"


def owner_is_alive(owner: str) -> bool:
    """Whether the lab that owns a container lives. owner: "pid:NUMBER", or the path of a scratch folder that it locks."""
    if owner.startswith("pid:"):
        return Path("/proc", owner.removeprefix("pid:")).exists()
    try:
        with Path(owner, "owner").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
