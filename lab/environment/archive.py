"""The Debian archive, asked through apt itself with a configuration of its own: signatures and hashes are apt's work.

The mirror is the machine's own unless a setting names another. Suites that the machine does not follow are found on the
same mirror, so that a bookworm host can fetch a compiler or a kernel source of another suite.

Source: sources.list(5), apt.conf(5), apt-get(8) "indextargets".
"""

from __future__ import annotations

import fcntl
import time
from dataclasses import dataclass
from pathlib import Path

from lab import proc
from lab.errors import EnvironmentFault
from lab.settings import Settings

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
UPDATE_DEADLINE_S = 300.0
DOWNLOAD_DEADLINE_S = 1800.0
INDEX_FRESH_S = 12 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """sources: one-line sources.list entries of one suite, its updates and its security archive where known."""

    suite: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package file that apt has verified. version: as the archive says."""

    name: str
    version: str
    path: Path


def archive(suite: str, settings: Settings) -> Archive:
    """Return where the suite's packages come from.

    Raises EnvironmentFault if neither a setting nor the machine's apt names a Debian mirror.
    """
    known = _machine_sources(settings)
    if settings.mirror:
        base: str | None = settings.mirror
        extra: list[tuple[str, str]] = []
    else:
        plain = [uri for uri, name in known if not name.endswith(("-security", "-updates", "-backports"))]
        base = plain[0] if plain else None
        extra = [(uri, name) for uri, name in known if name in (f"{suite}-updates", f"{suite}-security")]
    if base is None:
        raise EnvironmentFault(
            "no Debian mirror is known",
            finding="infra.network",
            facts=(("asked", "apt-get indextargets"),),
            hint="set LAB_MIRROR to the base URL of a Debian archive",
        )
    return Archive(suite=suite, sources=tuple(_entry(uri, name) for uri, name in [(base, suite), *extra]))


def download(package: str, suite: str, folder: Path, settings: Settings) -> Package:
    """Fetch one package of architecture all or amd64 into `folder`, verified by apt, and return it.

    Raises EnvironmentFault when the archive cannot be reached or does not have the package.
    """
    where = archive(suite, settings)
    options = _private_apt(where, settings)
    told = proc.run(["apt-cache", *options, "policy", package], deadline_s=60, environment=dict(settings.environment))
    candidate = next((line.split()[1] for line in told.output.splitlines() if "Candidate:" in line), "(none)")
    if candidate == "(none)":
        raise EnvironmentFault(
            f"no package {package!r} in suite {suite!r}",
            finding="infra.network",
            facts=(("asked", "the mirror's index"),),
            hint="`apt-cache search linux-source` lists what the machine's suites have",
        )
    folder.mkdir(parents=True, exist_ok=True)
    done = proc.run(
        ["apt-get", *options, "download", f"{package}={candidate}"],
        deadline_s=DOWNLOAD_DEADLINE_S,
        environment=dict(settings.environment),
        workdir=folder,
    )
    found = sorted(folder.glob(f"{package}_*.deb"))
    if not done.ok or not found:
        raise EnvironmentFault(
            f"cannot download {package!r}", finding="infra.network", facts=(("apt-get", done.last_line),)
        )
    return Package(name=package, version=candidate, path=found[-1])


def refresh(suite: str, settings: Settings) -> None:
    """Read the suite's index unless that was done in the last twelve hours. Raises EnvironmentFault infra.network."""
    _private_apt(archive(suite, settings), settings)


def newest_suite(package: str, settings: Settings) -> str:
    """Return the machine's own suite: the one whose name apt lists first.

    A matrix that wants another names it (`suite:`), so that the same file means the same kernel everywhere.
    """
    for _, name in _machine_sources(settings):
        if not name.endswith(("-security", "-updates", "-backports")):
            return name
    raise EnvironmentFault(f"no suite is known for package {package!r}", hint="name it: {debian: …, suite: bookworm}")


def _machine_sources(settings: Settings) -> list[tuple[str, str]]:
    """Return (repository URI, codename) of Debian's own repositories that the machine's apt follows, in its order."""
    told = proc.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)\t$(CODENAME)\t$(ORIGIN)", "Created-By: Packages"],
        deadline_s=60,
        environment=dict(settings.environment),
    )
    rows = [line.split("\t") for line in told.output.splitlines() if line.count("\t") == 2]
    return list(dict.fromkeys((uri, codename) for uri, codename, origin in rows if origin == "Debian"))


def _entry(uri: str, suite: str) -> str:
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    return f"deb {signed}{uri} {suite} main"


def _private_apt(where: Archive, settings: Settings) -> tuple[str, ...]:
    """Make (or refresh) an apt root of our own for the suite and return the options that select it.

    Nothing of the host's apt state is read or changed but its proxy and TLS settings (/etc/apt/apt.conf.d).
    """
    root = settings.cache / "apt" / where.suite
    for name in ("lists/partial", "archives/partial", "etc"):
        (root / name).mkdir(parents=True, exist_ok=True)
    options = (
        "-o", f"Dir::Etc::SourceList={root}/etc/sources.list",
        "-o", "Dir::Etc::SourceParts=/dev/null",
        "-o", f"Dir::State={root}",
        "-o", f"Dir::State::lists={root}/lists",
        "-o", "Dir::State::status=/dev/null",
        "-o", f"Dir::Cache={root}",
        "-o", f"Dir::Cache::archives={root}/archives",
        "-o", "APT::Sandbox::User=",
        "-o", "Acquire::Retries=3",
        "-o", "Acquire::Languages=none",
    )  # fmt: skip
    listed = "\n".join(where.sources) + "\n"
    sources = root / "etc/sources.list"
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = root / "updated"
        fresh = stamp.exists() and _age_s(stamp) < INDEX_FRESH_S
        if not fresh or not sources.exists() or sources.read_text() != listed:
            sources.write_text(listed)
            done = proc.run(
                ["apt-get", *options, "update"], deadline_s=UPDATE_DEADLINE_S, environment=dict(settings.environment)
            )
            if not done.ok:
                raise EnvironmentFault(
                    f"cannot read the index of suite {where.suite!r}",
                    finding="infra.network",
                    facts=(("apt-get", done.last_line),),
                )
            stamp.touch()
    return options


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime
