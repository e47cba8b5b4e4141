"""The options of one call of lab as one frozen value. Built by lab.cli (the only reader of the environment) and by tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things lie and how much may be used.

    cache: images' records, sources, ccache, scratch of running attempts. results: the store. images: image definitions.
    data: rows, scripts and fragments that come with the package. environment: variables of the caller that child processes
    may see (proxies, certificates, DOCKER_HOST); nothing else is handed on. engine: URL of the engine, "" to look for one.
    mirror: Debian mirror, "" for the machine's own. uid, gid: whom builds run as, never 0.
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

    @property
    def work(self) -> Path:
        """Scratch folders of running attempts; whatever no living lab holds a lock on is swept."""
        return self.cache / "work"
