"""The options of one call of lab as one frozen value. Built by lab.cli (the only reader of the environment) and by tests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import UsageError

UNITS_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things lie and how much may be used.

    cache: images' records, sources, ccache, scratch of running attempts. results: the store. images: image definitions.
    data: rows, scripts and fragments that come with the package. environment: variables of the caller that child processes
    may see (proxies, certificates, DOCKER_HOST); nothing else is handed on. engine: URL of the engine, "" to look for one.
    mirror: Debian mirror, "" for the machine's own. snapshot: base URL of an archive of past days, "" for none.
    keyring: file with the keys that sign both, "" for Debian's.
    index: URL of the database of the index, "" for a file beside the runs. store: URL of the store of finished attempts, ""
    for none.
    cache_budget_bytes: what caches and images may take, 0 for no limit. uid, gid: whom builds run as, never 0.
    """

    cache: Path
    results: Path
    images: Path
    data: Path
    environment: tuple[tuple[str, str], ...] = ()
    engine: str = ""
    mirror: str = ""
    cores: int = 1
    memory_mib: int = 2048
    uid: int = 1000
    gid: int = 1000
    may_mount: bool = False  # this process may mount(2); otherwise a helper container does
    ccache_size: str = "10G"
    snapshot: str = ""
    keyring: str = ""
    cache_budget_bytes: int = 0
    index: str = ""
    store: str = ""

    @property
    def work(self) -> Path:
        """Scratch folders of running attempts; whatever no living lab holds a lock on is swept."""
        return self.cache / "work"


def bytes_of(text: str, name: str) -> int:
    """Return a size such as "50G", "500M" or "0" in bytes. Raises UsageError that calls it by `name`."""
    found = re.fullmatch(r"([0-9]{1,12})([KMGT]?)(?:i?B)?", text.strip(), re.I)
    if not found:
        raise UsageError(f"{name} must be a size such as 50G, not {text!r}", facts=(("units", "K M G T"),))
    return int(found[1]) * UNITS_BYTES[found[2].upper()]


def seconds_of(text: str, name: str) -> float:
    """Return a time span such as "7d" or "12h" in seconds. Raises UsageError that calls it by `name`."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text.strip())
    if not found:
        raise UsageError(f"{name} must be a time such as 7d, not {text!r}", facts=(("units", " ".join(UNITS_S)),))
    return float(int(found[1]) * UNITS_S[found[2]])
